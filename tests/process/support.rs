//! A child process, its log, and clients.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Signal, WaitOptions};
use rustix::process::{getrlimit, kill_process, setrlimit, waitpid};

pub(crate) use crate::example::{echo, http};

/// Longer than anything here takes.
pub(crate) const LONG: Duration = Duration::from_secs(20);

/// A serving child; killed when a test fails halfway.
pub(crate) struct Echo {
    child: Child,
    pub(crate) address: SocketAddr,
    log: Option<JoinHandle<String>>,
    lines: Arc<(Mutex<Vec<String>>, Condvar)>,
}

impl Echo {
    pub(crate) fn start(runtime: &str, args: &[&str]) -> Echo {
        let mut command = Command::new(echo(runtime));
        command.args(["--runtime", runtime, "--listen", "127.0.0.1:0"]);
        Echo::spawn(command.args(args))
    }

    pub(crate) fn spawn(command: &mut Command) -> Echo {
        let mut child = command.stderr(Stdio::piped()).spawn().expect("spawn");
        let stderr = BufReader::new(child.stderr.take().expect("piped"));
        let (told, listening) = mpsc::channel();
        let lines = Arc::new((Mutex::new(Vec::new()), Condvar::new()));
        let seen = lines.clone();
        // Read to the end: a full pipe would hold up the server.
        let log = thread::spawn(move || {
            let mut log = String::new();
            for line in stderr.lines().map_while(Result::ok) {
                if let Some((_, address)) = line.split_once("listening on ") {
                    let _ = told.send(address.parse());
                }
                log.push_str(&line);
                log.push('\n');
                seen.0.lock().expect("lines").push(line);
                seen.1.notify_all();
            }
            log
        });
        let address = listening.recv_timeout(LONG).expect("it never listens");
        Echo {
            child,
            address: address.expect("an address"),
            log: Some(log),
            lines,
        }
    }

    pub(crate) fn connect(&self) -> TcpStream {
        connect(self.address)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("kill");
    }

    /// Waits until a line of the log has this text.
    pub(crate) fn wait_for(&self, text: &str) {
        let (lines, changed) = &*self.lines;
        let lines = lines.lock().expect("lines");
        let is_missing =
            |lines: &mut Vec<String>| !lines.iter().any(|line| line.contains(text));
        let waited = changed.wait_timeout_while(lines, LONG, is_missing);
        assert!(
            !waited.expect("lines").1.timed_out(),
            "never in the log: {text}"
        );
    }

    /// Until all its threads stand still: the signal alone does not wait.
    pub(crate) fn freeze(&self) {
        self.signal(Signal::STOP);
        let waited = waitpid(Some(self.pid()), WaitOptions::UNTRACED).expect("wait");
        assert!(waited.is_some_and(|(_, status)| status.stopped()));
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Waits for the end; gives the exit status and the log.
    pub(crate) fn wait(mut self) -> (i32, String) {
        let status = wait(&mut self.child);
        let log = self.log.take().expect("once").join().expect("log");
        (
            status.code().unwrap_or_else(|| panic!("{status}: {log}")),
            log,
        )
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn wait(child: &mut Child) -> ExitStatus {
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("wait") {
            return status;
        }
        assert!(begun.elapsed() < LONG, "the process does not end");
        thread::sleep(Duration::from_millis(1));
    }
}

pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("connect");
    stream.set_read_timeout(Some(LONG)).expect("timeout");
    stream
}

#[track_caller]
pub(crate) fn exchange(stream: &mut (impl Read + Write), bytes: &[u8]) {
    stream.write_all(bytes).expect("send");
    let mut answer = vec![0; bytes.len()];
    stream.read_exact(&mut answer).expect("an answer");
    assert_eq!(answer, bytes);
}

/// Everything until the orderly end; a reset fails the test.
#[track_caller]
pub(crate) fn rest(mut stream: impl Read) -> Vec<u8> {
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).expect("an orderly end");
    rest
}

/// Writes until the server, whose answers nobody reads, takes no more.
pub(crate) fn stuff(stream: &mut TcpStream) {
    let quiet = Some(Duration::from_millis(300));
    stream.set_write_timeout(quiet).expect("timeout");
    while stream.write_all(&[b'x'; 65536]).is_ok() {}
}

/// For this process and its children; many systems begin with 1,024.
pub(crate) fn raise_descriptor_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).expect("a limit up to the maximum");
}

/// How much of something, which the environment can say.
pub(crate) fn number(variable: &str, default: usize) -> usize {
    let value = std::env::var(variable).ok();
    value.map_or(default, |value| value.parse().expect("a number"))
}
