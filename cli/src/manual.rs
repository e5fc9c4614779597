//! The manual pages and the completions of shells, made from the command line's
//! own definition.

use std::path::Path;

use clap::CommandFactory;
use clap_complete::Shell;

use crate::args::Args;
use crate::check::print;
use crate::setup::Failure;

/// Prints what a shell needs to complete words.
pub(crate) fn completions(shell: Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "lameduck", &mut script);
    print(&String::from_utf8_lossy(&script))
}

/// Prints the manual page, or writes the pages of all commands into a folder.
pub(crate) fn man(folder: Option<&Path>) -> Result<(), Failure> {
    let Some(folder) = folder else {
        let mut page = Vec::new();
        let rendered = clap_mangen::Man::new(Args::command()).render(&mut page);
        rendered.map_err(|error| failed("the manual page", &error))?;
        return print(&String::from_utf8_lossy(&page));
    };
    let written = std::fs::create_dir_all(folder)
        .and_then(|()| clap_mangen::generate_to(Args::command(), folder));
    written.map_err(|error| failed(&folder.display().to_string(), &error))
}

fn failed(what: &str, error: &std::io::Error) -> Failure {
    Failure::Other(format!("cannot write {what}: {error}"))
}
