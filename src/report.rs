//! The report of a stop: every accepted connection has exactly one outcome.

use std::error::Error;
use std::fmt;
use std::io;
use std::process::{ExitCode, Termination};
use std::time::Duration;

use crate::address::Address;
use crate::cause::Cause;
pub use crate::machine::lifecycle::Outcome;
use crate::machine::lifecycle::Recording;
use crate::rt::CloseGuarantee;
use crate::sync::plain::Arc;

/// The way in which a connection ended.
///
/// ```
/// assert_eq!(lameduck::report::CloseReason::PeerClosed.to_string(), "closed by the peer");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CloseReason {
    /// The handler came to its end by itself.
    Finished,
    /// The stop ended it where it was idle.
    Drained,
    /// The peer ended its side, and the handler followed.
    PeerClosed,
    /// The handler returned an error.
    Failed,
    /// The handler panicked.
    Panicked,
    /// It was cut off: by the abort, or in the stop because its peer has taken no output
    /// for the total time of a lingering close, and has not all of it.
    Aborted,
}

impl CloseReason {
    pub(crate) const ALL: [CloseReason; 6] = [
        CloseReason::Finished,
        CloseReason::Drained,
        CloseReason::PeerClosed,
        CloseReason::Failed,
        CloseReason::Panicked,
        CloseReason::Aborted,
    ];
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CloseReason::Finished => "finished",
            CloseReason::Drained => "drained",
            CloseReason::PeerClosed => "closed by the peer",
            CloseReason::Failed => "failed",
            CloseReason::Panicked => "panicked",
            CloseReason::Aborted => "aborted",
        })
    }
}

/// The activity of a connection.
///
/// ```
/// assert_eq!(lameduck::report::Activity::Idle.to_string(), "idle");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Activity {
    /// It was accepted; its handler has not begun.
    New,
    /// Its handler works, or waits for anything but its idle point.
    Busy,
    /// Its handler waits at its idle point.
    Idle,
    /// Its handler has ended; the close is under way.
    Closing,
}

impl fmt::Display for Activity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Activity::New => "new",
            Activity::Busy => "busy",
            Activity::Idle => "idle",
            Activity::Closing => "closing",
        })
    }
}

/// The number of connections that ended in each way.
///
/// ```
/// let mut counts = lameduck::report::CloseCounts::default();
/// (counts.finished, counts.aborted) = (2, 1);
/// assert_eq!(counts.total(), 3);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CloseCounts {
    /// [`CloseReason::Finished`]: the handler came to its end by itself.
    pub finished: u64,
    /// [`CloseReason::Drained`]: the stop ended it where it was idle.
    pub drained: u64,
    /// [`CloseReason::PeerClosed`]: the peer ended its side.
    pub peer_closed: u64,
    /// [`CloseReason::Failed`]: the handler returned an error.
    pub failed: u64,
    /// [`CloseReason::Panicked`]: the handler panicked.
    pub panicked: u64,
    /// [`CloseReason::Aborted`]: it was cut off.
    pub aborted: u64,
}

impl CloseCounts {
    pub(crate) fn count(&mut self, closed: CloseReason) {
        *match closed {
            CloseReason::Finished => &mut self.finished,
            CloseReason::Drained => &mut self.drained,
            CloseReason::PeerClosed => &mut self.peer_closed,
            CloseReason::Failed => &mut self.failed,
            CloseReason::Panicked => &mut self.panicked,
            CloseReason::Aborted => &mut self.aborted,
        } += 1;
    }

    /// Returns the number of all that ended.
    pub fn total(&self) -> u64 {
        self.finished
            + self.drained
            + self.peer_closed
            + self.failed
            + self.panicked
            + self.aborted
    }
}

/// A connection that did not end in time.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Straggler {
    /// The number of the connection: see [`Session::id`](crate::Session::id).
    pub id: u64,
    /// The address of the peer.
    pub peer: Address,
    /// The handler's own name for it: see
    /// [`SessionHandle::set_label`](crate::SessionHandle::set_label).
    pub label: Option<String>,
    /// The time since it was accepted.
    pub age: Duration,
    /// Its activity when it was cut off.
    pub activity: Activity,
    /// The number of HTTP requests that were in flight; 0 for other protocols.
    pub requests: u32,
    /// The number of bytes that its handler had read.
    pub read: u64,
    /// The number of bytes that its handler had written.
    pub written: u64,
}

impl fmt::Display for Straggler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Straggler {
            id,
            peer,
            label,
            age,
            activity,
            requests,
            read,
            written,
        } = self;
        write!(f, "#{id} {peer}: ")?;
        if let Some(label) = label {
            write!(f, "{label}, ")?;
        }
        match requests {
            0 => {}
            1 => f.write_str("1 request in flight, ")?,
            _ => write!(f, "{requests} requests in flight, ")?,
        }
        write!(f, "{activity}, {age:.1?} old, ")?;
        write!(f, "{read} B read, {written} B written")
    }
}

/// The report of one listener.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListenerReport {
    /// The address that it listened on.
    pub local_addr: Address,
    /// The number of connections that it accepted.
    pub accepted: u64,
    /// The number of them that were taken from its queue after the stop began.
    pub swept: u64,
    /// The guarantee that its close had.
    pub guarantee: CloseGuarantee,
    /// The time for which new handshakes were filtered: a client that began one
    /// in that time is refused a second later
    /// ([F78](crate::docs::faults#f78)). `None`: they never were.
    pub filtered: Option<Duration>,
}

/// The report of one hook; see [`Builder::after_drain`](crate::Builder::after_drain).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HookReport {
    /// The name of the hook.
    pub name: String,
    /// How far it came.
    pub outcome: HookOutcome,
    /// The time that it took.
    pub duration: Duration,
    /// The time that it had.
    pub limit: Duration,
}

/// The outcome of a hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HookOutcome {
    /// It succeeded.
    Done,
    /// It returned an error, which is among [`Report::errors`].
    Failed,
    /// It panicked.
    Panicked,
    /// Its time was over before it ended.
    TimedOut,
}

impl fmt::Display for HookOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            HookOutcome::Done => "done",
            HookOutcome::Failed => "failed",
            HookOutcome::Panicked => "panicked",
            HookOutcome::TimedOut => "timed out",
        })
    }
}

/// An error of a listener or a hook.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ServerError {
    /// A listener failed, and was closed.
    Accept {
        /// The listener's address.
        listener: Address,
        /// The error of the system.
        source: Arc<io::Error>,
    },
    /// A listener was closed before its accept queue was empty: clients that
    /// waited in it were reset ([F46](crate::docs::faults#f46)).
    Unswept {
        /// The listener's address.
        listener: Address,
    },
    /// Something could not be cleaned up when a listener closed.
    Close {
        /// The listener's address.
        listener: Address,
        /// The error of the system.
        source: Arc<io::Error>,
    },
    /// A hook returned an error.
    Hook {
        /// The name of the hook.
        name: String,
        /// The error of the hook.
        source: Arc<dyn Error + Send + Sync>,
    },
    /// A hook panicked.
    HookPanicked {
        /// The name of the hook.
        name: String,
    },
    /// The time of a hook was over before it ended.
    HookTimedOut {
        /// The name of the hook.
        name: String,
        /// The time that it had.
        limit: Duration,
    },
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ServerError::Accept { listener, .. } => {
                write!(f, "accepting on {listener} failed for good")
            }
            ServerError::Unswept { listener } => write!(
                f,
                "{listener} was closed before its accept queue was empty: clients in it were reset"
            ),
            ServerError::Close { listener, .. } => write!(f, "closing {listener} failed"),
            ServerError::Hook { name, .. } => write!(f, "hook {name} failed"),
            ServerError::HookPanicked { name } => write!(f, "hook {name} panicked"),
            ServerError::HookTimedOut { name, limit } => {
                write!(f, "hook {name} did not end within its {limit:.1?}")
            }
        }
    }
}

impl Error for ServerError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            ServerError::Accept { source, .. } | ServerError::Close { source, .. } => {
                Some(source)
            }
            ServerError::Hook { source, .. } => Some(&**source),
            ServerError::Unswept { .. }
            | ServerError::HookPanicked { .. }
            | ServerError::HookTimedOut { .. } => None,
        }
    }
}

/// An error with all its causes, in one line.
pub(crate) struct Chain<'a>(pub(crate) &'a (dyn Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}

/// The report of a stop, made once, when it is over.
///
/// It can be returned from `main`, whose exit status follows from it.
///
/// ```
/// use lameduck::{Report, Server, runtimes::smol::Smol};
///
/// fn main() -> Result<Report, Box<dyn std::error::Error>> {
///     let server = Server::builder(Smol).listen("127.0.0.1:0").bind()?;
///     server.shutdown().stop("done");
///     let report = smol::block_on(server.serve(|_| async { std::io::Result::Ok(()) }));
///     assert!(report.to_string().starts_with("stopped clean"));
///     assert_eq!((report.accepted, report.exit_status()), (0, 0));
///     Ok(report)
/// }
/// ```
#[derive(Clone, Debug)]
#[must_use = "it says whether anything was cut off"]
#[non_exhaustive]
pub struct Report {
    /// The outcome.
    pub outcome: Outcome,
    /// The cause.
    pub cause: Cause,
    /// The time from the stop to its end.
    pub duration: Duration,
    /// The number of connections accepted, over the server's whole life.
    pub accepted: u64,
    /// The number of connections that ended in each way.
    pub closed: CloseCounts,
    /// The connections that were cut off, the oldest first.
    pub aborted: Vec<Straggler>,
    /// The connections that were cut off, and are still there.
    pub abandoned: Vec<Straggler>,
    /// The number of guards that are still held, but for one of each abandoned
    /// connection. One that has handles, as with HTTP, holds more.
    pub untracked_guards: usize,
    /// The listeners, in the order in which they were given to the builder.
    pub listeners: Vec<ListenerReport>,
    /// The hooks, in their order.
    pub hooks: Vec<HookReport>,
    /// The errors of listeners and hooks.
    pub errors: Vec<ServerError>,
    /// The inputs of the lifecycle, where the builder was asked to
    /// [record](crate::Builder::record) them.
    pub recording: Option<Recording>,
}

impl Termination for Report {
    fn report(self) -> ExitCode {
        self.exit_code()
    }
}

impl Report {
    /// Returns whether the sums agree: each accepted connection came from a
    /// listener and has exactly one outcome, and each that is counted as aborted
    /// is described ([S4](crate::docs::spec#s4)).
    pub fn is_consistent(&self) -> bool {
        let abandoned = self.abandoned.len() as u64;
        let listeners: u64 = self.listeners.iter().map(|l| l.accepted).sum();
        self.accepted == self.closed.total() + abandoned
            && self.accepted == listeners
            && self.closed.aborted == self.aborted.len() as u64
    }

    /// Returns the exit status that follows: 0 for clean, 1 where a listener
    /// or a hook failed, 3 where something was aborted or abandoned.
    pub fn exit_status(&self) -> u8 {
        match self.outcome {
            Outcome::Clean => 0,
            Outcome::Failed => 1,
            Outcome::Aborted | Outcome::Abandoned => 3,
        }
    }

    /// Returns the [exit status](Report::exit_status), to be returned from
    /// `main`.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.exit_status())
    }
}

/// The number of stragglers of a kind that are shown.
const SHOWN: usize = 10;

fn show(f: &mut fmt::Formatter<'_>, what: &str, all: &[Straggler]) -> fmt::Result {
    for straggler in all.iter().take(SHOWN) {
        write!(f, "\n  {what} {straggler}")?;
    }
    match all.len().saturating_sub(SHOWN) {
        0 => Ok(()),
        more => write!(f, "\n  {what} {more} more"),
    }
}

fn counted(number: usize, what: &str) -> String {
    match number {
        1 => format!("1 {what}"),
        _ => format!("{number} {what}s"),
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let outcome = match self.outcome {
            Outcome::Clean => "clean".to_owned(),
            Outcome::Failed => format!("with {}", counted(self.errors.len(), "error")),
            Outcome::Aborted if self.aborted.is_empty() => "by an abort".to_owned(),
            Outcome::Aborted => format!("with {} aborted", self.aborted.len()),
            // What a connection holds is no other one.
            Outcome::Abandoned => match self.abandoned.len() {
                0 => format!(
                    "with {} still held",
                    counted(self.untracked_guards, "guard")
                ),
                connections => format!("with {connections} abandoned"),
            },
        };
        let (duration, cause) = (self.duration, &self.cause);
        write!(f, "stopped {outcome}, {duration:.1?} after {cause}")?;
        let counts = self.closed;
        write!(
            f,
            "\n  {} accepted: {} finished, {} drained, {} closed by the peer, \
             {} failed, {} panicked, {} aborted, {} abandoned",
            self.accepted,
            counts.finished,
            counts.drained,
            counts.peer_closed,
            counts.failed,
            counts.panicked,
            counts.aborted,
            self.abandoned.len(),
        )?;
        for listener in &self.listeners {
            write!(
                f,
                "\n  {}: {} accepted, {} of them swept; close guarantee: {}",
                listener.local_addr, listener.accepted, listener.swept, listener.guarantee
            )?;
            match (listener.filtered, listener.guarantee) {
                (None, _) => {}
                (Some(time), CloseGuarantee::SynFiltered) => write!(f, " for {time:.1?}")?,
                (Some(time), _) => write!(f, ", SYN filtered for {time:.1?}")?,
            }
        }
        for hook in &self.hooks {
            let (name, outcome) = (&hook.name, hook.outcome);
            write!(f, "\n  hook {name}: {outcome} after {:.1?}", hook.duration)?;
        }
        show(f, "aborted", &self.aborted)?;
        show(f, "abandoned", &self.abandoned)?;
        if self.untracked_guards > 0 {
            write!(f, "\n  guards still held: {}", self.untracked_guards)?;
        }
        for error in &self.errors {
            write!(f, "\n  error: {}", Chain(error))?;
        }
        Ok(())
    }
}
