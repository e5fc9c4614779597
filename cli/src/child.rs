//! The server as a process: in a group of its own, seen only from outside.

use std::io::{self, Read};
use std::net::SocketAddr;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, kill_process, kill_process_group,
    test_kill_process_group, waitid,
};
use smol::Timer;
use smol::channel::{Receiver, bounded};
use smol::future::FutureExt;

use crate::limits;
use crate::output::Output;
use crate::procfs;
use crate::setup::{Failure, Setup, free_address};
use crate::signal::StopSignal;

/// How long a server is given when this tool itself is interrupted.
const FAREWELL: Duration = Duration::from_secs(1);

/// A server that was started; when it is dropped nothing of it is left.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    pid: Pid,
    signal: StopSignal,
    output: Output,
    ending: Receiver<Instant>,
    ended: Option<Instant>,
    /// Set once it was waited for; its number may then belong to another.
    status: Option<ExitStatus>,
    pub(crate) address: SocketAddr,
}

impl Server {
    pub(crate) fn spawn(setup: &Setup) -> Result<Server, Failure> {
        let address = free_address(setup.host)?;
        let mut command = command(setup, address)?;
        let mut child = limits::with_original(|| command.spawn()).map_err(|error| {
            let program = command.get_program().to_string_lossy().into_owned();
            Failure::Spawn { program, error }
        })?;
        let pid = Pid::from_child(&child);
        let mut streams: Vec<Box<dyn Read + Send>> = Vec::new();
        streams.extend(child.stdout.take().map(|s| Box::new(s) as Box<_>));
        streams.extend(child.stderr.take().map(|s| Box::new(s) as Box<_>));
        Ok(Server {
            child,
            pid,
            signal: setup.signal,
            output: Output::follow(streams),
            ending: watch(pid),
            ended: None,
            status: None,
            address,
        })
    }

    /// The signal that stops it.
    pub(crate) fn stop_signal(&self) -> StopSignal {
        self.signal
    }

    pub(crate) fn group(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// To the process that was started, as supervisors do.
    pub(crate) fn signal(&self, signal: Signal) -> io::Result<()> {
        if self.status.is_some() {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(kill_process(self.pid, signal)?)
    }

    /// To the process that was started and all that it started in its group.
    pub(crate) fn signal_group(&self, signal: Signal) -> io::Result<()> {
        if self.status.is_some() {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(kill_process_group(self.pid, signal)?)
    }

    /// Freezes the group, and returns when every thread of it stands still.
    pub(crate) async fn freeze(&self) -> Result<(), Failure> {
        let freeze = |error| Failure::Other(format!("cannot stop it with SIGSTOP: {error}"));
        self.signal_group(Signal::STOP).map_err(freeze)?;
        let deadline = Instant::now() + Duration::from_secs(5);
        while Instant::now() < deadline {
            if procfs::is_stopped(self.group()).or_else(|| stopped(self.pid)) == Some(true) {
                return Ok(());
            }
            Timer::after(Duration::from_micros(200)).await;
        }
        Err(Failure::Other("SIGSTOP does not stop it".to_owned()))
    }

    /// When the process ended.
    pub(crate) async fn ended(&mut self) -> Instant {
        if self.ended.is_none() {
            // An error means that the watcher is gone, which is at an end, too.
            let at = self.ending.recv().await.unwrap_or_else(|_| Instant::now());
            self.ended = Some(at);
        }
        self.ended.unwrap_or_else(Instant::now)
    }

    pub(crate) async fn ended_within(&mut self, limit: Duration) -> Option<Instant> {
        let ended = async { Some(self.ended().await) };
        let late = async {
            Timer::after(limit).await;
            None
        };
        ended.or(late).await
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        if self.ended.is_none() {
            self.ended = self.ending.try_recv().ok();
        }
        self.ended.is_some()
    }

    pub(crate) fn output(&self) -> Vec<String> {
        self.output.tail(Duration::from_millis(300))
    }

    /// What is to be said of a server that ended on its own.
    pub(crate) fn died(&mut self) -> Failure {
        let status = match self.reap() {
            Some(status) => status.to_string(),
            None => "its status is unknown".to_owned(),
        };
        let output = self.output();
        Failure::Died { status, output }
    }

    /// The status of a process that has ended.
    pub(crate) fn reap(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() && self.has_ended() {
            self.status = self.child.wait().ok();
        }
        self.status
    }

    /// Who of the group is still there after its leader was waited for.
    pub(crate) async fn orphans(&self) -> Option<String> {
        let deadline = Instant::now() + Duration::from_millis(500);
        // A process group keeps its number reserved as long as it has members.
        while test_kill_process_group(self.pid).is_ok() {
            let members = procfs::members(self.group());
            if Instant::now() >= deadline && members.as_ref().is_none_or(|m| !m.is_empty()) {
                let members = members.unwrap_or_default();
                let names = members.iter().map(|pid| {
                    let name = procfs::name(*pid).unwrap_or_default();
                    format!("{name} ({pid})")
                });
                return Some(names.collect::<Vec<_>>().join(", "));
            }
            if Instant::now() >= deadline {
                return None;
            }
            Timer::after(Duration::from_millis(5)).await;
        }
        None
    }

    /// Kills what is left, whatever it is.
    pub(crate) fn kill(&mut self) {
        match self.status {
            // Its number is not taken anew while the group has members; without
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
    }
}

impl Drop for Server {
    /// Asks first, so that a server can remove its files; then kills.
    fn drop(&mut self) {
        if self.status.is_none() && !self.has_ended() {
            let _ = self.signal(self.signal.raw());
            let _ = self.signal_group(Signal::CONT);
            smol::block_on(self.ended_within(FAREWELL));
        }
        self.kill();
    }
}

/// Death by one of these is a crash, whoever sent what.
pub(crate) fn crash(status: ExitStatus) -> Option<String> {
    let signal = Signal::from_named_raw(status.signal()?)?;
    let crashes = [
        Signal::SEGV,
        Signal::ABORT,
        Signal::BUS,
        Signal::ILL,
        Signal::FPE,
    ];
    crashes.contains(&signal).then(|| status.to_string())
}

fn command(setup: &Setup, address: SocketAddr) -> Result<Command, Failure> {
    let host = address.ip().to_string();
    let port = address.port().to_string();
    let addr = address.to_string();
    let fill = |word: &String| {
        word.replace("{addr}", &addr)
            .replace("{host}", &host)
            .replace("{port}", &port)
    };
    let words: Vec<String> = setup.command.iter().map(fill).collect();
    let Some((program, args)) = words.split_first() else {
        return Err(Failure::Other("there is no command".to_owned()));
    };
    // A relative path is one of this directory; `Command` leaves that open.
    let program = match &setup.directory {
        Some(directory) if program.contains('/') => directory.join(program),
        _ => program.into(),
    };
    let mut command = Command::new(program);
    command.args(args);
    for (name, value) in [("ADDR", &addr), ("HOST", &host), ("PORT", &port)] {
        command.env(name, value);
        command.env(format!("LAMEDUCK_{name}"), value);
    }
    if let Some(directory) = &setup.directory {
        command.current_dir(directory);
    }
    command.stdin(Stdio::null());
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
        while let Err(rustix::io::Errno::INTR) = waitid(WaitId::Pid(pid), options) {}
        let _ = sender.try_send(Instant::now());
    });
    receiver
}

/// Without `/proc`: whether the process itself is reported as stopped.
fn stopped(pid: Pid) -> Option<bool> {
    let options = WaitIdOptions::STOPPED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    Some(waitid(WaitId::Pid(pid), options).ok()?.is_some())
}
