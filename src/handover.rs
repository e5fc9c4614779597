//! Listening sockets that pass from one process to the next.
//!
//! A supervisor such as systemd binds the sockets and passes them on
//! (`LISTEN_FDS`, sd_listen_fds(3)): see [`Builder::socket_activation`]. A server that is
//! to be replaced starts its successor with its own sockets: see
//! [`Builder::restart`].
//!
//! # A restart without a gap
//! 1. On the signal, the server starts its successor, which inherits the
//!    listening sockets, and goes on serving.
//! 2. The successor binds and gets ready. When it begins to serve, it says so,
//!    and waits. Until then it accepts nothing.
//! 3. The server tells it to go, closes its own descriptors of the sockets,
//!    and drains. Those in the accept queue are accepted by the successor:
//!    the queue belongs to the socket, and that was open all the time. The
//!    server reads its idle connections for a moment more ([`Restart::settle`]):
//!    a client that has just connected is about to send. It reads one that is in
//!    use until its client rests.
//!
//! A successor that cannot be started, ends, or is not ready in time is logged
//! and ended, and the server serves on as if nothing had been asked; so it does
//! when the stop comes first. When the server dies on the way, the successor
//! serves (F42).
//!
//! The successor takes the socket that listens on an address, or else one that
//! covers it. Where it is to listen on more than before, such as `0.0.0.0:80` in
//! place of `127.0.0.1:80`, it cannot bind beside its predecessor: the restart
//! fails, and the log says that only a stop and a start can do it
//! ([F65](crate::docs::faults#f65)).
//!
//! A restart also passes on what the program took with [`Server::take_passed_fds`], such as
//! a UDP socket of its supervisor, under the same name. It does not pass on a socket that
//! the program bound itself: let the supervisor bind it, or let both processes bind it with
//! `SO_REUSEPORT`.
//!
//! Under systemd, with `Type=notify` and `NotifyAccess=all`, let the successor
//! say who is in charge: `MAINPID=` beside `READY=1`, from
//! [`Builder::on_readiness_change`].
//!
//! [`Builder::socket_activation`]: crate::Builder::socket_activation
//! [`Builder::restart`]: crate::Builder::restart
//! [`Builder::on_readiness_change`]: crate::Builder::on_readiness_change
//! [`Server::take_passed_fds`]: crate::Server::take_passed_fds

mod inherited;
mod predecessor;
mod successor;

use std::ffi::OsString;
use std::path::{Path, PathBuf, absolute};
use std::time::Duration;

pub(crate) use self::inherited::Inherited;
pub use self::inherited::PassedFd;
pub(crate) use self::predecessor::Predecessor;
pub(crate) use self::successor::Successor;
use crate::machine::lifecycle::Config;
use crate::signal::Signal;

/// For how long idle connections are read after a restart, by default: longer
/// than any way through the internet.
const SETTLE: Duration = Duration::from_secs(1);

/// The name of the channel between the two, among the inherited descriptors.
const CHANNEL: &str = "lameduck-predecessor";

/// What the predecessor says: serve.
const MSG_GO: u8 = b'g';
/// What the predecessor says: it serves on itself.
const MSG_CANCEL: u8 = b's';
/// What the predecessor says: it was asked for a restart, and is not the one to
/// begin it any more.
const MSG_RESTART: u8 = b'r';
/// What the predecessor says at last: no other process holds the sockets.
const MSG_SOLE_OWNER: u8 = b'a';
/// What the successor says, before a sign for each socket, and a line's end.
const MSG_READY: &[u8] = b"ready ";
/// The sign of a socket that the successor serves.
const MARK_TAKEN: u8 = b'+';
/// The sign of a socket that it has no use for.
const MARK_LEFT: u8 = b'-';

/// How a server starts its successor; see [`Builder::restart`].
///
/// ```
/// use lameduck::Signal;
/// use lameduck::handover::Restart;
/// use std::time::Duration;
///
/// // The same program with the same arguments:
/// let again = Restart::on(Signal::Hangup).ready_within(Duration::from_secs(5));
/// // another one:
/// let next = Restart::on(Signal::Hangup).command(["/opt/next/server", "--verbose"]);
/// # drop((again, next));
/// ```
///
/// [`Builder::restart`]: crate::Builder::restart
#[derive(Clone, Debug)]
pub struct Restart {
    pub(crate) signal: Signal,
    command: Vec<OsString>,
    ready_within: Duration,
    pub(crate) grace_period: Option<Duration>,
    pub(crate) settle: Option<Duration>,
    pub(crate) on_terminal_hangup: bool,
}

impl Restart {
    /// Restarts on this signal, which does not stop the server then.
    ///
    /// The command is the one that this process was started with. Its path is
    /// fixed now, as the working directory and `PATH` may change; the file that
    /// is there at the restart is started.
    pub fn on(signal: Signal) -> Restart {
        let mut command: Vec<_> = std::env::args_os().collect();
        if let Some(program) = command.first_mut() {
            *program = fixed(Path::new(program)).into();
        }
        Restart {
            signal,
            command,
            ready_within: Duration::from_secs(30),
            grace_period: None,
            settle: None,
            on_terminal_hangup: false,
        }
    }

    /// Sets the grace period of the drain after a restart. Default: none, so
    /// that no long work is cut at an upgrade ([F51](crate::docs::faults#f51)).
    /// A stop signal during that drain has the server's usual grace period.
    pub fn grace_period(mut self, grace_period: Duration) -> Self {
        self.grace_period = Some(grace_period);
        self
    }

    /// Sets the time for which idle connections are still read after a restart,
    /// where it is longer than [`Builder::settle`](crate::Builder::settle): a
    /// client that has just connected, or was just answered, may have its next
    /// request on the way ([F84](crate::docs::faults#f84)). A session of which something
    /// was read is read on at its idle point until it has been idle for this time, or for
    /// up to half of it longer, and its client over TCP has acknowledged its last answer. So
    /// is a connection of HTTP whose client still receives. It is looked at from the end of
    /// this time on: a session that was idle all along ends after two and a half of it, and
    /// one that [drains last](crate::SessionHandle::drain_last) after four, where the others
    /// were idle as well. That ends with the server's grace period, or when a
    /// stop is asked for: nobody waits for the end of this process, since its successor
    /// serves. Default: 1 s, or half of what a shorter grace period leaves.
    pub fn settle(mut self, settle: Duration) -> Self {
        self.settle = Some(settle);
        self
    }

    /// Restarts also when SIGHUP says that the terminal has hung up. Default: a
    /// server that was started in a terminal drains then.
    pub fn on_terminal_hangup(mut self) -> Self {
        self.on_terminal_hangup = true;
        self
    }

    /// Sets the program and its arguments. It has to take over what it inherits,
    /// with [`Builder::socket_activation`](crate::Builder::socket_activation) or
    /// [`Builder::restart`](crate::Builder::restart).
    pub fn command<W: Into<OsString>>(mut self, words: impl IntoIterator<Item = W>) -> Self {
        self.command = words.into_iter().map(Into::into).collect();
        self
    }

    /// Returns the budget of a stop with that of a restart.
    pub(crate) fn config(&self, mut config: Config) -> Config {
        config.restart_grace_period = self.grace_period;
        config.restart_settle = self.settle.unwrap_or_else(|| {
            let end = config.abort_timeout.saturating_add(config.hook_reserve);
            let room = self.grace_period.map(|most| most.saturating_sub(end) / 2);
            room.map_or(SETTLE, |room| room.min(SETTLE))
        });
        config
    }

    /// Sets the longest time until the successor begins to serve. Default: 30 s.
    pub fn ready_within(mut self, time: Duration) -> Self {
        self.ready_within = time;
        self
    }
}

/// Returns the absolute path of a program: without a slash it is looked for in
/// `PATH`, and then in what this process runs.
fn fixed(program: &Path) -> PathBuf {
    if program.components().count() > 1 {
        return absolute(program).unwrap_or_else(|_| program.to_owned());
    }
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let mut found = std::env::split_paths(&folders).map(|folder| folder.join(program));
    let found = found.find(|path| path.is_file());
    let path = found.and_then(|path| absolute(path).ok());
    path.or_else(|| std::env::current_exe().ok())
        .unwrap_or_else(|| program.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f42_a_program_is_found_without_a_slash_and_without_path() {
        assert!(fixed(Path::new("sh")).is_absolute());
        let unknown = fixed(Path::new("-no-such-program-in-any-folder"));
        assert_eq!(unknown, std::env::current_exe().unwrap());
        assert!(fixed(Path::new("./here")).is_absolute());
    }
}
