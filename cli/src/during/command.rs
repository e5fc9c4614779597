//! The command that runs under the load.

use std::fmt;
use std::os::fd::AsFd;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use smol::Timer;
use smol::future::FutureExt;
use smol::process::Child;

use super::options::During;
use crate::limits;
use crate::setup::Failure;

/// How long the command is given to end when it is told to.
const FAREWELL: Duration = Duration::from_secs(5);

/// How the command ended.
#[derive(Clone, Copy, Debug)]
pub(crate) enum CommandEnd {
    Status(ExitStatus),
    /// It was told to stop after this time.
    Late(Duration),
}

impl CommandEnd {
    pub(crate) fn is_success(self) -> bool {
        matches!(self, CommandEnd::Status(status) if status.success())
    }
}

impl fmt::Display for CommandEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CommandEnd::Status(status) => status.fmt(f),
            CommandEnd::Late(limit) => {
                let limit = humantime::format_duration(*limit);
                write!(f, "it did not end within {limit}, and was told to stop")
            }
        }
    }
}

/// A command that was started.
#[derive(Debug)]
pub(super) struct Running {
    child: Child,
    has_ended: bool,
}

impl Running {
    /// Starts the command. What it prints goes to the standard error, so that the
    /// standard output holds the result alone.
    pub(super) fn spawn(options: &During) -> Result<Running, Failure> {
        let Some((program, arguments)) = options.command.split_first() else {
            return Err(Failure::Other("there is no command".to_owned()));
        };
        // A relative path is one of this folder; `Command` leaves that open.
        let mut command = std::process::Command::new(match &options.directory {
            Some(directory) if program.contains('/') => directory.join(program),
            _ => program.into(),
        });
        command.args(arguments);
        if let Some(directory) = &options.directory {
            command.current_dir(directory);
        }
        // Ctrl-C on our terminal is for us: it must not hit a server that the
        // command has started.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut command = smol::process::Command::from(command);
        // Not through a pipe of ours: a server that the command starts and leaves
        // keeps these descriptors, and must not be broken by our end.
        command
            .stdin(Stdio::null())
            .stdout(match options.output.quiet {
                true => Stdio::null(),
                false => standard_error(),
            });
        let child = limits::with_original(|| command.spawn()).map_err(|error| {
            let program = program.clone();
            Failure::Spawn { program, error }
        })?;
        Ok(Running {
            child,
            has_ended: false,
        })
    }

    /// Waits for the end of the command; one that takes too long is told to stop.
    pub(super) async fn ended(mut self, limit: Duration) -> Result<CommandEnd, Failure> {
        let ended = async { Some(self.child.status().await) };
        let late = async {
            Timer::after(limit).await;
            None
        };
        match ended.or(late).await {
            Some(Ok(status)) => {
                self.has_ended = true;
                Ok(CommandEnd::Status(status))
            }
            Some(Err(error)) => Err(Failure::Other(format!(
                "the command cannot be waited for: {error}"
            ))),
            None => Ok(CommandEnd::Late(limit)),
        }
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, signal);
        }
    }
}

impl Drop for Running {
    /// Tells the command to stop, and kills it when it does not. What it has
    /// started is its own matter: that can be the server.
    fn drop(&mut self) {
        if self.has_ended {
            return;
        }
        self.signal(Signal::TERM);
        let ended = async { self.child.status().await.is_ok() };
        let late = async {
            Timer::after(FAREWELL).await;
            false
        };
        if !smol::block_on(ended.or(late)) {
            let _ = self.child.kill();
        }
    }
}

fn standard_error() -> Stdio {
    // Closed on exec: a server that the command leaves must not hold it besides.
    match std::io::stderr().as_fd().try_clone_to_owned() {
        Ok(descriptor) => Stdio::from(descriptor),
        // Without a standard error there is nowhere to print to.
        Err(_) => Stdio::null(),
    }
}
