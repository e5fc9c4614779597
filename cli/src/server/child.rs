//! The server as a child: in a group of its own, seen only from outside.

use std::ffi::OsStr;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, kill_process, kill_process_group,
    test_kill_process_group, waitid,
};
use smol::Timer;
use smol::channel::{Receiver, bounded};

use super::adopted;
use super::mark::Mark;
use crate::limits;
use crate::output::Output;
use crate::procfs::{self, Born};
use crate::setup::{Failure, Launch, Setup};
use crate::signal::StopSignal;
use crate::sockets;

/// How long a child of the server may take to be gone after the server is.
const LEAVING: Duration = Duration::from_millis(500);

/// A process that was started, and its group.
#[derive(Debug)]
pub(super) struct Child {
    child: std::process::Child,
    pid: Pid,
    mark: Mark,
    /// The processes that serve and have left the group, as a wrapper can have them do.
    outside: Vec<Born>,
    output: Output,
    ending: Receiver<Instant>,
    ended: Option<Instant>,
    /// Set once it was waited for; its number may then belong to another.
    status: Option<ExitStatus>,
}

impl Child {
    pub(super) fn spawn(setup: &Setup, address: SocketAddr) -> Result<Child, Failure> {
        let mut command = command(setup, address)?;
        adopted::begin();
        let mark = Mark::new();
        mark.put(&mut command);
        let mut child =
            limits::with_original(|| adopted::spawn(&mut command)).map_err(|error| {
                let program = command.get_program().to_string_lossy().into_owned();
                Failure::Spawn { program, error }
            })?;
        let pid = Pid::from_child(&child);
        let mut streams: Vec<OwnedFd> = Vec::new();
        streams.extend(child.stdout.take().map(OwnedFd::from));
        streams.extend(child.stderr.take().map(OwnedFd::from));
        let output = Output::follow(streams).map_err(|error| {
            let _ = child.kill();
            let _ = child.wait();
            Failure::Other(format!("cannot read what it prints: {error}"))
        })?;
        Ok(Child {
            child,
            pid,
            mark,
            outside: Vec::new(),
            output,
            ending: watch(pid),
            ended: None,
            status: None,
        })
    }

    /// Returns the process, which is also its group.
    pub(super) fn group(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    fn is_there(&self) -> io::Result<()> {
        match self.status {
            Some(_) => Err(io::ErrorKind::NotFound.into()),
            None => Ok(()),
        }
    }

    pub(super) fn send(&self, signal: StopSignal) -> io::Result<()> {
        self.is_there()?;
        signal.send(self.pid)
    }

    pub(super) fn send_group(&self, signal: StopSignal) -> io::Result<()> {
        self.is_there()?;
        signal.send_group(self.pid)
    }

    /// Sends a signal to every process of the server.
    pub(super) fn signal_all(&self, signal: Signal) -> io::Result<()> {
        self.is_there()?;
        kill_process_group(self.pid, signal)?;
        for process in procfs::families(&self.outside) {
            match Pid::from_raw(process.pid).map(|pid| kill_process(pid, signal)) {
                // It has ended in the meantime.
                Some(Err(Errno::SRCH)) | Some(Ok(())) | None => {}
                Some(Err(error)) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Looks for the processes that serve at this address and have left the group.
    pub(super) fn look_outside(&mut self, address: SocketAddr) {
        let mut outside = self.all();
        let group = procfs::members(self.group()).unwrap_or_default();
        outside.retain(|pid| !group.contains(pid));
        let serving = sockets::listeners(address, &outside).unwrap_or_default();
        self.outside = serving.into_iter().filter_map(procfs::born).collect();
    }

    /// Returns the processes of the server: its group, and those that serve outside of it,
    /// with all that descend from them.
    pub(super) fn processes(&self) -> Option<Vec<i32>> {
        let mut processes = procfs::members(self.group())?;
        for process in procfs::families(&self.outside) {
            if !processes.contains(&process.pid) {
                processes.push(process.pid);
            }
        }
        Some(processes)
    }

    /// Says whether the process itself is reported as stopped, without `/proc`.
    pub(super) fn is_stopped(&self) -> Option<bool> {
        let options = WaitIdOptions::STOPPED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        Some(waitid(WaitId::Pid(self.pid), options).ok()?.is_some())
    }

    pub(super) async fn ended(&mut self) -> Instant {
        if self.ended.is_none() {
            // An error means that the watcher is gone, which is at an end, too.
            let at = self.ending.recv().await.unwrap_or_else(|_| Instant::now());
            self.ended = Some(at);
        }
        self.ended.unwrap_or_else(Instant::now)
    }

    pub(super) fn has_ended(&mut self) -> bool {
        if self.ended.is_none() {
            self.ended = self.ending.try_recv().ok();
        }
        self.ended.is_some()
    }

    pub(super) fn output(&self) -> Vec<String> {
        self.output.tail(Duration::from_millis(300))
    }

    pub(super) async fn stop_reading(&mut self) -> Result<(), String> {
        let stopped = self.output.stop_reading().await;
        stopped.map_err(|error| format!("its output cannot be held up: {error}"))
    }

    /// Returns the status of a process that has ended.
    pub(super) fn reap(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() && self.has_ended() {
            self.status = self.child.wait().ok();
        }
        self.status
    }

    /// Returns who of the group is still there after its leader was waited for.
    pub(super) async fn orphans(&self) -> Option<String> {
        let deadline = Instant::now() + LEAVING;
        // A process group keeps its number reserved as long as it has members.
        while test_kill_process_group(self.pid).is_ok() {
            let members = procfs::members(self.group());
            if Instant::now() >= deadline && members.as_ref().is_none_or(|m| !m.is_empty()) {
                return match members {
                    Some(members) => procfs::names(&members),
                    None => Some(String::new()),
                };
            }
            if Instant::now() >= deadline {
                return None;
            }
            Timer::after(Duration::from_millis(5)).await;
        }
        None
    }

    /// Returns who of all that it has started has left its group, and is still there.
    pub(super) async fn detached(&self) -> Option<String> {
        let deadline = Instant::now() + LEAVING;
        loop {
            let group = procfs::members(self.group())?;
            let mut detached = self.mark.processes();
            detached.retain(|pid| !group.contains(pid));
            if detached.is_empty() || Instant::now() >= deadline {
                return procfs::names(&detached);
            }
            Timer::after(Duration::from_millis(5)).await;
        }
    }

    /// Returns its group and all else that it has started.
    pub(super) fn all(&self) -> Vec<i32> {
        let mut all = self.mark.processes();
        all.extend(procfs::members(self.group()).unwrap_or_default());
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Returns what it has left running, if it has left anything.
    pub(super) fn left(&self) -> Option<String> {
        self.mark.found()
    }

    /// Kills what is left, whatever it is.
    pub(super) fn kill(&mut self) {
        match self.status {
            // Its number is not used again while the group has members; without
            // members there is nobody to hit.
            Some(_) => {
                if procfs::members(self.group()).is_none_or(|members| !members.is_empty()) {
                    let _ = kill_process_group(self.pid, Signal::KILL);
                }
            }
            None => {
                let _ = kill_process_group(self.pid, Signal::KILL);
                let _ = self.child.kill();
                self.status = self.child.wait().ok();
            }
        }
        self.mark.kill();
    }
}

fn command(setup: &Setup, address: SocketAddr) -> Result<Command, Failure> {
    let Launch::Child {
        command: words,
        directory,
        stdin_open,
    } = &setup.launch
    else {
        return Err(Failure::Other("there is no command".to_owned()));
    };
    let host = address.ip().to_string();
    let port = address.port().to_string();
    let addr = address.to_string();
    let fill = |word: &String| {
        word.replace("{addr}", &addr)
            .replace("{host}", &host)
            .replace("{port}", &port)
    };
    let words: Vec<String> = words.iter().map(fill).collect();
    let Some((program, args)) = words.split_first() else {
        return Err(Failure::Other("there is no command".to_owned()));
    };
    // A relative path is one of this directory; `Command` leaves that open.
    let program = match directory {
        Some(directory) if program.contains('/') => directory.join(program),
        _ => PathBuf::from(program),
    };
    let mut command = Command::new(&program);
    command.args(args);
    if setup.blocks_signal {
        command = blocked(setup, program.as_os_str(), args)?;
    }
    for (name, value) in [("ADDR", &addr), ("HOST", &host), ("PORT", &port)] {
        command.env(name, value);
        command.env(format!("LAMEDUCK_{name}"), value);
    }
    if let Some(directory) = directory {
        command.current_dir(directory);
    }
    command.stdin(match stdin_open {
        // The child holds the other end until it is dropped.
        true => Stdio::piped(),
        false => Stdio::null(),
    });
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    // Ctrl-C on our terminal is for us; what becomes of the server we decide.
    command.process_group(0);
    Ok(command)
}

/// Tells when a process has ended, and leaves it to be waited for.
fn watch(pid: Pid) -> Receiver<Instant> {
    let (sender, receiver) = bounded(1);
    thread::spawn(move || {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        while let Err(Errno::INTR) = waitid(WaitId::Pid(pid), options) {}
        let _ = sender.try_send(Instant::now());
    });
    receiver
}

/// Has this program block the stop signal and then become the server: a supervisor's
/// mask is inherited, and the standard library clears it when it starts a child.
fn blocked(setup: &Setup, program: &OsStr, args: &[String]) -> Result<Command, Failure> {
    let own = std::env::current_exe()
        .map_err(|error| Failure::Other(format!("the own program is not known: {error}")))?;
    let mut command = Command::new(own);
    command
        .arg("blocked")
        .arg(setup.signal.number().to_string());
    command.arg("--").arg(program).args(args);
    Ok(command)
}
