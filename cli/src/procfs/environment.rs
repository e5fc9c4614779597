//! The environment with which other processes were started.

use std::fs;
use std::io::{ErrorKind, Read};

use super::{Moment, processes};

/// The processes that carry a variable, and those of which it cannot be told now.
#[derive(Debug, Default)]
pub(crate) struct Carriers {
    pub(crate) known: Vec<i32>,
    /// They are between two programs, or between the last one and their end.
    pub(crate) unknown: Vec<i32>,
}

/// Returns the processes that were started with this variable, which none had before
/// `since`.
pub(crate) fn carriers(name: &str, value: &str, since: Option<Moment>) -> Carriers {
    // In include/linux/sched.h: a thread of the kernel, which runs no program.
    const PF_KTHREAD: u64 = 0x0020_0000;
    let mut carriers = Carriers::default();
    let mut buffer = vec![0; ENVIRONMENT];
    for (pid, stat) in processes().unwrap_or_default() {
        // A process that is older and shows no environment was started without one.
        let is_candidate = stat.flags & PF_KTHREAD == 0
            && since.is_some_and(|since| stat.started + 1 >= since.0);
        match environment(pid, &mut buffer) {
            Some(environment) if holds(environment, name, value) => carriers.known.push(pid),
            Some([]) if is_candidate => carriers.unknown.push(pid),
            _ => {}
        }
    }
    carriers
}

/// Says whether a process was started with this variable.
pub(crate) fn has_variable(pid: i32, name: &str, value: &str) -> bool {
    let mut buffer = vec![0; ENVIRONMENT];
    let environment = environment(pid, &mut buffer);
    environment.is_some_and(|environment| holds(environment, name, value))
}

/// Says whether a process was started with a variable of this name.
pub(crate) fn has_any(pid: i32, name: &str) -> bool {
    let start = format!("{name}=");
    let mut buffer = vec![0; ENVIRONMENT];
    environment(pid, &mut buffer).is_some_and(|environment| {
        let mut variables = environment.split(|byte| *byte == 0);
        variables.any(|variable| variable.starts_with(start.as_bytes()))
    })
}

/// Room for most environments.
const ENVIRONMENT: usize = 64 << 10;

/// Returns the environment with which a process was started: `None` where it is another
/// user's, and not ours to see, and an empty one where there is none at the moment.
///
/// It is read by one call: between two, the process can start another program, and what
/// was read would be a part (`environ_read` in fs/proc/base.c of Linux).
fn environment(pid: i32, buffer: &mut Vec<u8>) -> Option<&[u8]> {
    loop {
        let read = fs::File::open(format!("/proc/{pid}/environ"))
            .and_then(|mut file| file.read(buffer));
        match read {
            Ok(length) if length < buffer.len() => return Some(&buffer[..length]),
            Ok(length) => buffer.resize(2 * length, 0),
            Err(error) if error.kind() == ErrorKind::PermissionDenied => return None,
            Err(_) => return Some(&[]),
        }
    }
}

/// Says whether an environment has this variable with this value.
fn holds(environment: &[u8], name: &str, value: &str) -> bool {
    let wanted = format!("{name}={value}");
    let mut variables = environment.split(|byte| *byte == 0);
    variables.any(|variable| variable == wanted.as_bytes())
}
