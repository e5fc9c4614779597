//! The tool, its fixtures, and what it says.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

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

/// How long anything here may take.
pub(crate) const LONG: Duration = Duration::from_secs(20);

/// Waits until something is so.
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < LONG, "never: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// An address that nobody listens on.
pub(crate) fn free_address() -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.local_addr().unwrap()
}

/// Waits until somebody listens.
pub(crate) fn wait_for_listener(address: SocketAddr) {
    wait_until("somebody listens", || TcpStream::connect(address).is_ok());
}

/// A process that is gone when the test ends.
pub(crate) struct Process(pub(crate) Child);

impl Process {
    pub(crate) fn start(program: &str, args: &[&str]) -> Process {
        let mut command = Command::new(program);
        command.args(args).stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        Process(command.spawn().unwrap())
    }

    /// A fixture that listens, with its address.
    pub(crate) fn fixture(fault: &str, protocol: &str) -> (Process, SocketAddr) {
        Process::fixture_with(fault, protocol, &[])
    }

    /// The same with more options.
    pub(crate) fn fixture_with(
        fault: &str,
        protocol: &str,
        options: &[&str],
    ) -> (Process, SocketAddr) {
        let address = free_address();
        let listen = address.to_string();
        let args = [
            "fixture",
            fault,
            "--listen",
            &listen,
            "--protocol",
            protocol,
        ];
        let process = Process::start(LAMEDUCK, &[&args[..], options].concat());
        wait_for_listener(address);
        (process, address)
    }

    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
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
