//! The tool, its fixtures, and what it says.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

pub(crate) const LAMEDUCK: &str = env!("CARGO_BIN_EXE_lameduck");

/// What the tool said, and its exit status.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs the tool to its end.
pub(crate) fn lameduck(args: &[&str]) -> Answer {
    let mut command = Command::new(LAMEDUCK);
    let output = command.args(args).stdin(Stdio::null()).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Answer {
        status: output.status.code().expect("it exits by itself"),
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    }
}

/// Checks the server that a shell starts.
pub(crate) fn check_shell(options: &[&str], script: &str) -> Answer {
    let server = ["--", "sh", "-c", script, LAMEDUCK];
    lameduck(&[&["check"], options, &server].concat())
}

/// A folder of its own for a test, gone when it ends.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Folder {
        let name = format!("lameduck-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        Folder(path)
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub(crate) fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}
