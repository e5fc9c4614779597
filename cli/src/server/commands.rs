//! A server that commands start and stop: docker, compose, systemctl, kubectl.

use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use smol::Timer;

use super::adopted;
use super::mark::Mark;
use crate::output::Output;
use crate::setup::{Failure, StartStop};

/// How often a command is looked at.
const POLL: Duration = Duration::from_millis(2);

/// How long a connection is tried to see whether the address is still served.
const PROBE: Duration = Duration::from_millis(200);

/// How long a process takes to leave once it is stopped.
const LEAVING: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Commands {
    stop: String,
    mark: Mark,
    address: SocketAddr,
    limit: Duration,
    output: Option<Output>,
    stopping: Option<Running>,
    status: Option<ExitStatus>,
    ended: Option<Instant>,
    is_killed: bool,
    /// The start command has begun, and has not done its work yet.
    is_starting: bool,
}

impl Drop for Commands {
    /// A start that is interrupted, or has no end, leaves no server behind.
    fn drop(&mut self) {
        if self.is_starting {
            self.kill();
            self.mark.kill();
        }
    }
}

impl Commands {
    /// Runs the start command to its end.
    pub(super) async fn start(
        commands: &StartStop,
        address: SocketAddr,
        limit: Duration,
    ) -> Result<Commands, Failure> {
        adopted::begin();
        let mut server = Commands {
            stop: commands.stop.clone(),
            mark: Mark::new(),
            address,
            limit,
            output: None,
            stopping: None,
            status: None,
            ended: None,
            is_killed: false,
            is_starting: false,
        };
        if is_served(address) {
            return Err(Failure::Other(format!(
                "{address} is served already, before the start command"
            )));
        }
        let mut running = Running::new("start", &commands.start, address, &server.mark)?;
        server.is_starting = true;
        let status = running.wait(limit).await;
        let output = running.take_output();
        match status {
            Some(status) if status.success() => {
                server.output = output;
                server.is_starting = false;
                Ok(server)
            }
            Some(status) => {
                // The stop command could stop somebody else's server, whose name or
                // port was taken.
                server.is_starting = false;
                server.mark.kill();
                Err(failure("start", &status.to_string(), output))
            }
            None => {
                let late = format!(
                    "it did not end within {}: it has to leave the server running, and end",
                    humantime::format_duration(limit)
                );
                Err(failure("start", &late, output))
            }
        }
    }

    /// Begins the stop command.
    pub(super) fn stop(&mut self) -> Result<(), Failure> {
        if self.stopping.is_none() {
            self.stopping = Some(Running::new("stop", &self.stop, self.address, &self.mark)?);
        }
        Ok(())
    }

    /// Waits for the end of the stop command, and until nobody serves the address.
    pub(super) async fn ended(&mut self) -> Instant {
        loop {
            if self.has_ended() {
                return self.ended.unwrap_or_else(Instant::now);
            }
            Timer::after(POLL).await;
        }
    }

    pub(super) fn has_ended(&mut self) -> bool {
        if self.ended.is_some() {
            return true;
        }
        let Some(stopping) = &mut self.stopping else {
            return false;
        };
        self.status = self.status.or_else(|| stopping.status());
        // A stop command that failed has nothing more to wait for.
        let is_over = match self.status {
            None => false,
            Some(status) => !status.success() || !is_served(self.address),
        };
        if is_over {
            self.ended = Some(Instant::now());
        }
        is_over
    }

    /// Says why the stop command did not do its work; asked when its time is over.
    pub(super) fn failure(&mut self) -> Option<Failure> {
        let stopping = self.stopping.as_mut()?;
        let why = match self.status {
            None => "it has no end".to_owned(),
            Some(status) if !status.success() => status.to_string(),
            Some(_) => return None,
        };
        let output = stopping.take_output();
        Some(failure("stop", &why, output))
    }

    pub(super) fn output(&self) -> Vec<String> {
        let output = self.output.as_ref();
        output.map_or_else(Vec::new, |output| output.tail(Duration::from_millis(300)))
    }

    /// Stops the server once more if no stop has worked, and waits for that; what runs on
    /// all the same is killed, as far as it can be known.
    pub(super) fn kill(&mut self) {
        let has_failed = self.status.is_some_and(|status| !status.success());
        if self.ended.is_some() && !has_failed || self.is_killed {
            return;
        }
        self.is_killed = true;
        // One that hangs, or does nothing, would do so again.
        let was_stopped = self.stopping.take().is_some();
        let again = || Running::new("stop", &self.stop, self.address, &self.mark).ok();
        let again = (!was_stopped || has_failed).then(again).flatten();
        if let Some(mut last) = again {
            let limit = self.limit.min(Duration::from_secs(30));
            smol::block_on(async { last.wait(limit).await });
            self.status = last.status();
        }
        if self.is_served_after(LEAVING) {
            self.mark.kill();
            if self.is_served_after(LEAVING) {
                let address = self.address;
                log::warn!("{address} is still served: the stop command did not work");
            }
        }
    }

    /// Says whether the address is still served after this time.
    fn is_served_after(&self, limit: Duration) -> bool {
        let begun = Instant::now();
        while is_served(self.address) {
            if begun.elapsed() >= limit {
                return true;
            }
            std::thread::sleep(POLL);
        }
        false
    }
}

/// A command of the user that runs.
#[derive(Debug)]
struct Running {
    child: std::process::Child,
    output: Option<Output>,
    status: Option<ExitStatus>,
}

impl Running {
    fn new(
        what: &str,
        text: &str,
        address: SocketAddr,
        mark: &Mark,
    ) -> Result<Running, Failure> {
        let failed = |error| Failure::Other(format!("cannot run the {what} command: {error}"));
        let mut command = Command::new("sh");
        command.arg("-c").arg(text).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        mark.put(&mut command);
        command.env("LAMEDUCK_ADDR", address.to_string());
        command.env("LAMEDUCK_HOST", address.ip().to_string());
        command.env("LAMEDUCK_PORT", address.port().to_string());
        command.process_group(0);
        let mut child = adopted::spawn(&mut command).map_err(failed)?;
        let mut streams: Vec<OwnedFd> = Vec::new();
        streams.extend(child.stdout.take().map(OwnedFd::from));
        streams.extend(child.stderr.take().map(OwnedFd::from));
        let output = Output::follow(streams).map_err(failed)?;
        Ok(Running {
            child,
            output: Some(output),
            status: None,
        })
    }

    fn status(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() {
            self.status = self.child.try_wait().ok().flatten();
        }
        self.status
    }

    async fn wait(&mut self, limit: Duration) -> Option<ExitStatus> {
        let begun = Instant::now();
        while self.status().is_none() && begun.elapsed() < limit {
            Timer::after(POLL).await;
        }
        self.status
    }

    fn take_output(&mut self) -> Option<Output> {
        self.output.take()
    }
}

impl Drop for Running {
    /// A command that hangs is not left behind; what it started on purpose has a
    /// group of its own, or is not below it at all.
    fn drop(&mut self) {
        if self.status().is_none() {
            let group = Pid::from_child(&self.child);
            let _ = kill_process_group(group, Signal::KILL);
            let _ = self.child.wait();
        }
    }
}

/// Says whether somebody accepts connections on an address.
pub(crate) fn is_served(address: SocketAddr) -> bool {
    TcpStream::connect_timeout(&address, PROBE).is_ok()
}

fn failure(what: &str, why: &str, output: Option<Output>) -> Failure {
    let output = output.map_or_else(Vec::new, |output| output.tail(Duration::from_millis(300)));
    Failure::Command {
        problem: format!("the {what} command failed: {why}"),
        output,
    }
}
