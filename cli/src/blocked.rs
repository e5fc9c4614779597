//! Becomes another program, with a signal blocked.

use std::ffi::CString;

use nix::sys::signal::{SigSet, Signal};

use crate::setup::Failure;

/// Blocks a signal, and runs a program in place of this one.
///
/// # Errors
/// There is no such program; it does not return otherwise.
pub(crate) fn run(number: i32, words: &[String]) -> Result<(), Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::Other(error.to_string());
    let signal = Signal::try_from(number).map_err(|error| failed(&error))?;
    let mut blocked = SigSet::empty();
    blocked.add(signal);
    blocked.thread_block().map_err(|error| failed(&error))?;
    let words: Result<Vec<CString>, _> = words
        .iter()
        .map(|word| CString::new(word.as_bytes()))
        .collect();
    let words = words.map_err(|error| failed(&error))?;
    let Some(program) = words.first() else {
        return Err(failed(&"there is no command"));
    };
    match nix::unistd::execvp(program, &words) {
        Ok(never) => match never {},
        Err(error) => Err(Failure::Other(format!("cannot start {program:?}: {error}"))),
    }
}
