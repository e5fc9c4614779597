//! A server that was there before: it is watched and signalled, and never killed.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rustix::process::{Pid, test_kill_process};
use smol::Timer;

use crate::procfs;
use crate::setup::Failure;
use crate::signal::StopSignal;
use crate::sockets;

/// How often an end is looked for: a process that is not a child tells nobody.
const POLL: Duration = Duration::from_millis(1);

#[derive(Debug)]
pub(super) struct Attached {
    pid: Pid,
    /// When it was started: another process can get its number later.
    started: Option<String>,
    ended: Option<Instant>,
}

impl Attached {
    /// Finds the process, which is to listen on the address: a signal to another one
    /// would end something else.
    pub(super) fn find(pid: i32, address: SocketAddr) -> Result<Attached, Failure> {
        let attached = Attached::of(pid)?;
        match others(pid, address) {
            Some(others) => Err(Failure::Other(format!(
                "process {pid} does not listen on {address}, but on {others}"
            ))),
            None => Ok(attached),
        }
    }

    pub(super) fn of(pid: i32) -> Result<Attached, Failure> {
        let missing = || Failure::Other(format!("there is no process {pid}"));
        let pid = Pid::from_raw(pid).ok_or_else(missing)?;
        match test_kill_process(pid) {
            Ok(()) => Ok(Attached {
                pid,
                started: started(pid),
                ended: None,
            }),
            Err(rustix::io::Errno::PERM) => Err(Failure::Other(format!(
                "process {} belongs to another user",
                pid.as_raw_nonzero()
            ))),
            Err(_) => Err(missing()),
        }
    }

    pub(super) fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    pub(super) fn send(&self, signal: StopSignal) -> io::Result<()> {
        match self.is_alive() {
            true => signal.send(self.pid),
            false => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn is_alive(&self) -> bool {
        test_kill_process(self.pid).is_ok() && started(self.pid) == self.started
    }

    pub(super) fn has_ended(&mut self) -> bool {
        if self.ended.is_none() && !self.is_alive() {
            self.ended = Some(Instant::now());
        }
        self.ended.is_some()
    }

    pub(super) async fn ended(&mut self) -> Instant {
        while !self.has_ended() {
            Timer::after(POLL).await;
        }
        self.ended.unwrap_or_else(Instant::now)
    }
}

/// Returns when a process was started, in the system's own words; none for one that
/// has ended and only waits for its parent.
fn started(pid: Pid) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    let state = fields.next()?;
    (state != "Z" && state != "X").then(|| fields.nth(18).map(str::to_owned))?
}

/// Returns what a process listens on instead of an address, in words; none where it
/// listens on that, or where that cannot be known.
fn others(pid: i32, address: SocketAddr) -> Option<String> {
    let network = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/net")).ok();
    if network(&pid.to_string())? != network("self")? {
        return None;
    }
    let listening = sockets::listening(&procfs::family(pid)?)?;
    if listening.iter().any(|other| other.port() == address.port()) {
        return None;
    }
    if listening.is_empty() {
        return Some("nothing".to_owned());
    }
    let listening: Vec<_> = listening.iter().map(SocketAddr::to_string).collect();
    Some(listening.join(", "))
}
