//! The server, however it is run: as a child of this tool, by commands that start and
//! stop it, or as a process that was there before.

pub(crate) mod adopted;
mod attached;
mod child;
mod commands;
mod mark;

use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use smol::Timer;
use smol::future::FutureExt;

use crate::procfs;
use crate::setup::{Failure, Launch, Setup};
use crate::signal::StopSignal;
use crate::sockets;

use attached::Attached;
use child::Child;
use commands::Commands;
pub(crate) use commands::is_served;

/// How long a server is given when this tool itself is interrupted.
const FAREWELL: Duration = Duration::from_secs(1);

#[derive(Debug)]
enum Kind {
    Child(Child),
    Commands(Commands),
    Attached(Attached),
}

/// How often the threads of a server are looked at until they rest.
const LOOK: Duration = Duration::from_millis(2);

/// A server; when it is dropped, nothing of what this tool started is left.
#[derive(Debug)]
pub(crate) struct Server {
    kind: Kind,
    /// The process that has taken the place of the first one.
    successor: Option<Attached>,
    signal: StopSignal,
    is_frozen: bool,
    pub(crate) address: SocketAddr,
}

impl Server {
    /// Starts the server, or finds it.
    pub(crate) async fn start(setup: &Setup) -> Result<Server, Failure> {
        let address = setup.address()?;
        let kind = match &setup.launch {
            Launch::Child { .. } => Kind::Child(Child::spawn(setup, address)?),
            Launch::Commands(commands) => {
                let limit = setup.command_limit();
                Kind::Commands(Commands::start(commands, address, limit).await?)
            }
            Launch::Attached { pid, .. } => Kind::Attached(Attached::find(*pid, address)?),
        };
        Ok(Server {
            kind,
            successor: None,
            signal: setup.signal,
            is_frozen: false,
            address,
        })
    }

    /// Looks for processes that serve and have left the group of the one that was started:
    /// they belong to the server from now on.
    pub(crate) fn look_outside(&mut self) {
        if let Kind::Child(child) = &mut self.kind {
            child.look_outside(self.address);
        }
    }

    /// Returns what stops it, for people.
    pub(crate) fn stop_name(&self) -> String {
        match &self.kind {
            Kind::Commands(_) => "the stop command".to_owned(),
            _ => self.signal.to_string(),
        }
    }

    /// Returns those that listen where the server should, of all that may belong to it.
    pub(crate) fn listeners(&self) -> Option<Vec<i32>> {
        let among = match &self.kind {
            Kind::Child(child) => child.all(),
            Kind::Commands(_) => return None,
            Kind::Attached(_) => procfs::all()?,
        };
        sockets::listeners(self.address, &among)
    }

    /// Goes on with the process that has taken the place of the one that has ended. Says
    /// whether it was found.
    pub(crate) fn follow(&mut self) -> bool {
        let serving = self.listeners().unwrap_or_default();
        let first = procfs::first_of(&serving);
        self.successor = first.and_then(|pid| Attached::of(pid).ok());
        self.successor.is_some()
    }

    /// Returns the processes of the server, where they are known.
    pub(crate) fn processes(&self) -> Option<Vec<i32>> {
        if let Some(successor) = &self.successor {
            return procfs::family(successor.pid());
        }
        match &self.kind {
            Kind::Child(child) => child.processes(),
            Kind::Commands(_) => None,
            Kind::Attached(attached) => procfs::family(attached.pid()),
        }
    }

    /// Returns the process that was started or found.
    pub(crate) fn main_process(&self) -> Option<i32> {
        if let Some(successor) = &self.successor {
            return Some(successor.pid());
        }
        match &self.kind {
            Kind::Child(child) => Some(child.group()),
            Kind::Commands(_) => None,
            Kind::Attached(attached) => Some(attached.pid()),
        }
    }

    /// Tells the server to stop, as its supervisor would.
    pub(crate) fn stop(&mut self) -> Result<(), Failure> {
        let signal = self.signal;
        match &mut self.kind {
            Kind::Commands(commands) => commands.stop(),
            _ => self.send(signal),
        }
    }

    /// Sends a signal to the process that was started, as supervisors do.
    pub(crate) fn send(&self, signal: StopSignal) -> Result<(), Failure> {
        let sent = match (&self.successor, &self.kind) {
            (Some(process), _) | (None, Kind::Attached(process)) => process.send(signal),
            (None, Kind::Child(child)) => child.send(signal),
            (None, Kind::Commands(_)) => Err(std::io::ErrorKind::Unsupported.into()),
        };
        sent.map_err(|error| Failure::Other(format!("cannot send {signal}: {error}")))
    }

    /// Sends the stop signal to every process of the server at the same time, as a
    /// terminal does on Ctrl-C.
    pub(crate) fn stop_group(&self) -> Result<(), Failure> {
        match &self.kind {
            Kind::Child(child) => child
                .send_group(self.signal)
                .map_err(|error| Failure::Other(format!("cannot send it: {error}"))),
            _ => Err(Failure::Other("its group is not ours".to_owned())),
        }
    }

    /// Freezes the server, which has not been told to stop, and returns when every thread
    /// of it stands still.
    pub(crate) async fn freeze(&mut self) -> Result<(), Failure> {
        if self.freeze_unless_ended().await? {
            Ok(())
        } else {
            Err(self.died())
        }
    }

    /// Freezes the server, unless it ends before. Says whether it stands still.
    pub(crate) async fn freeze_unless_ended(&mut self) -> Result<bool, Failure> {
        self.is_frozen = true;
        if let Err(error) = self.signal_all(Signal::STOP) {
            if self.has_ended() {
                return Ok(false);
            }
            return Err(Failure::Other(format!(
                "cannot stop it with SIGSTOP: {error}"
            )));
        }
        let deadline = Instant::now() + Duration::from_secs(5);
        while Instant::now() < deadline {
            let are_stopped = self.processes().and_then(|all| procfs::are_stopped(&all));
            if are_stopped.or_else(|| self.is_reported_stopped()) == Some(true) {
                return Ok(true);
            }
            if self.has_ended() {
                return Ok(false);
            }
            Timer::after(Duration::from_micros(200)).await;
        }
        Err(Failure::Other("SIGSTOP does not stop it".to_owned()))
    }

    /// Lets a frozen server run on.
    pub(crate) fn thaw(&mut self) -> Result<(), Failure> {
        self.is_frozen = false;
        match self.signal_all(Signal::CONT) {
            Err(error) if !self.has_ended() => {
                Err(Failure::Other(format!("cannot continue it: {error}")))
            }
            _ => Ok(()),
        }
    }

    fn signal_all(&self, signal: Signal) -> std::io::Result<()> {
        match (&self.successor, &self.kind) {
            (None, Kind::Child(child)) => child.signal_all(signal),
            (None, Kind::Commands(_)) => Err(std::io::ErrorKind::Unsupported.into()),
            (Some(process), _) | (None, Kind::Attached(process)) => {
                for pid in procfs::family(process.pid()).unwrap_or_default() {
                    if let Some(pid) = Pid::from_raw(pid) {
                        rustix::process::kill_process(pid, signal)?;
                    }
                }
                Ok(())
            }
        }
    }

    /// Waits until no thread of the server runs or wants to: it has then acted on all that
    /// it was told. Says whether that was seen within `limit`; it cannot be where the
    /// processes are not known.
    pub(crate) async fn rests_within(&self, limit: Duration) -> bool {
        rest_within(|| self.processes(), limit).await
    }

    /// Without `/proc`: whether the process itself is reported as stopped.
    fn is_reported_stopped(&self) -> Option<bool> {
        match &self.kind {
            Kind::Child(child) => child.is_stopped(),
            _ => None,
        }
    }

    /// Waits for the end of the server.
    pub(crate) async fn ended(&mut self) -> Instant {
        match (&mut self.successor, &mut self.kind) {
            (None, Kind::Child(child)) => child.ended().await,
            (None, Kind::Commands(commands)) => commands.ended().await,
            (Some(process), _) | (None, Kind::Attached(process)) => process.ended().await,
        }
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
        match (&mut self.successor, &mut self.kind) {
            (None, Kind::Child(child)) => child.has_ended(),
            (None, Kind::Commands(commands)) => commands.has_ended(),
            (Some(process), _) | (None, Kind::Attached(process)) => process.has_ended(),
        }
    }

    /// Returns the last lines that the server printed.
    pub(crate) fn output(&self) -> Vec<String> {
        match &self.kind {
            Kind::Child(child) => child.output(),
            Kind::Commands(commands) => commands.output(),
            Kind::Attached(_) => Vec::new(),
        }
    }

    /// Reads no more of what the server prints, and makes its next line wait.
    pub(crate) async fn stop_reading(&mut self) -> Result<(), String> {
        match &mut self.kind {
            Kind::Child(child) => child.stop_reading().await,
            _ => Err("its output is not ours".to_owned()),
        }
    }

    /// Returns what is to be said of a server that ended on its own.
    pub(crate) fn died(&mut self) -> Failure {
        let status = match self.status() {
            Some(status) => status.to_string(),
            None => "its status is unknown".to_owned(),
        };
        let output = self.output();
        let left = match &self.kind {
            Kind::Child(child) => child.left(),
            _ => None,
        };
        Failure::Died {
            status,
            left,
            output,
        }
    }

    /// Returns the status of a server that has ended, if that can be known.
    pub(crate) fn status(&mut self) -> Option<ExitStatus> {
        match &mut self.kind {
            Kind::Child(child) if self.successor.is_none() => child.reap(),
            _ => None,
        }
    }

    /// Returns why its stop failed: a stop command that failed, or that has no end.
    pub(crate) fn stop_failure(&mut self) -> Option<Failure> {
        match &mut self.kind {
            Kind::Commands(commands) => commands.failure(),
            _ => None,
        }
    }

    /// Returns the other addresses on which the server listens.
    pub(crate) fn elsewhere(&self) -> Vec<SocketAddr> {
        let processes = self.processes().unwrap_or_default();
        let mut listening = sockets::listening(&processes).unwrap_or_default();
        // It may have begun to in the meantime.
        listening.remove(&sockets::canonical(self.address));
        listening.into_iter().collect()
    }

    /// Returns the paths of the Unix sockets on which the server listens.
    pub(crate) fn unix_listeners(&self) -> Vec<String> {
        let processes = self.processes().unwrap_or_default();
        sockets::unix_listening(&processes).unwrap_or_default()
    }

    /// Returns the processes that are left of a group whose leader has ended.
    pub(crate) async fn orphans(&self) -> Option<String> {
        match &self.kind {
            Kind::Child(child) => child.orphans().await,
            _ => None,
        }
    }

    /// Returns the processes that a server which has ended has started, that have left its
    /// group, and that are still there.
    pub(crate) async fn detached(&self) -> Option<String> {
        match &self.kind {
            Kind::Child(child) => child.detached().await,
            _ => None,
        }
    }

    /// Ends what is left of a server that this tool started.
    pub(crate) fn kill(&mut self) {
        match &mut self.kind {
            Kind::Child(child) => child.kill(),
            Kind::Commands(commands) => commands.kill(),
            // It was there before, and nobody asked for its death.
            Kind::Attached(_) => {}
        }
    }
}

impl Drop for Server {
    /// Asks first, so that a server can remove its files; then kills.
    fn drop(&mut self) {
        if self.is_frozen {
            let _ = self.thaw();
        }
        if let Kind::Child(_) = self.kind
            && !self.has_ended()
        {
            let _ = self.stop();
            let _ = self.signal_all(Signal::CONT);
            smol::block_on(self.ended_within(FAREWELL));
        }
        self.kill();
    }
}

/// Waits until no thread of these processes runs or wants to. Says whether that was seen
/// within `limit`.
pub(crate) async fn rest_within(
    processes: impl Fn() -> Option<Vec<i32>>,
    limit: Duration,
) -> bool {
    let begun = Instant::now();
    let mut last = None;
    while begun.elapsed() < limit {
        let Some(processes) = processes() else {
            return false;
        };
        let now = procfs::resting(&processes);
        if now.is_some() && now == last {
            return true;
        }
        last = now;
        Timer::after(LOOK).await;
    }
    false
}

/// Returns the signal of a status that says a process died of one, also by the custom
/// of shells and runtimes: 128 and its number.
pub(crate) fn death_signal(status: ExitStatus) -> Option<i32> {
    let by_custom = status.code().and_then(|code| code.checked_sub(128));
    status.signal().or(by_custom.filter(|number| *number > 0))
}

/// Returns the status if it says that the process crashed, whatever it was sent.
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
