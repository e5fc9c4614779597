//! What a stop did: every accepted connection in exactly one outcome.

use std::fmt;
use std::process::ExitCode;
use std::time::Duration;

use crate::address::Address;
use crate::cause::Cause;
use crate::machine::{Log, Outcome};
use crate::traits::Guarantee;

/// How one connection ended.
///
/// ```
/// assert_eq!(lameduck::report::Closed::PeerClosed.to_string(), "closed by the peer");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Closed {
    /// The handler came to its end by itself.
    Finished,
    /// It ended because of the stop, where it was idle.
    Drained,
    /// The peer ended its side, and the handler followed.
    PeerClosed,
    /// The handler returned an error.
    Failed,
    /// The handler panicked.
    Panicked,
    /// It was cut off by force.
    Aborted,
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Closed::Finished => "finished",
            Closed::Drained => "drained",
            Closed::PeerClosed => "closed by the peer",
            Closed::Failed => "failed",
            Closed::Panicked => "panicked",
            Closed::Aborted => "aborted",
        })
    }
}

/// What a connection was doing.
///
/// ```
/// assert_eq!(lameduck::report::Activity::Idle.to_string(), "idle");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Activity {
    /// Accepted; its handler has not begun.
    New,
    /// Its handler works, or waits for anything but the interruptible read.
    Busy,
    /// Its handler is parked in `read_or_drain`.
    Idle,
    /// Its handler is done; the close is under way.
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

/// How many connections ended in which way.
///
/// ```
/// let tally = lameduck::report::Tally { finished: 2, aborted: 1, ..Default::default() };
/// assert_eq!(tally.total(), 3);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// [`Closed::Finished`]: the handler came to its end by itself.
    pub finished: u64,
    /// [`Closed::Drained`]: ended because of the stop, where it was idle.
    pub drained: u64,
    /// [`Closed::PeerClosed`]: the peer ended its side.
    pub peer_closed: u64,
    /// [`Closed::Failed`]: the handler returned an error.
    pub failed: u64,
    /// [`Closed::Panicked`]: the handler panicked.
    pub panicked: u64,
    /// [`Closed::Aborted`]: cut off by force.
    pub aborted: u64,
}

impl Tally {
    pub(crate) fn count(&mut self, closed: Closed) {
        *match closed {
            Closed::Finished => &mut self.finished,
            Closed::Drained => &mut self.drained,
            Closed::PeerClosed => &mut self.peer_closed,
            Closed::Failed => &mut self.failed,
            Closed::Panicked => &mut self.panicked,
            Closed::Aborted => &mut self.aborted,
        } += 1;
    }

    /// All that ended.
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
    /// Its number: the first connection accepted is 1, and none is reused.
    pub id: u64,
    /// Who was at the other end.
    pub peer: Address,
    /// How long ago it was accepted.
    pub age: Duration,
    /// What it was doing when it was cut off.
    pub activity: Activity,
    /// Bytes that its handler had read.
    pub read: u64,
    /// Bytes that its handler had written.
    pub written: u64,
}

impl fmt::Display for Straggler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Straggler {
            id,
            peer,
            age,
            activity,
            read,
            written,
        } = self;
        write!(f, "#{id} {peer}: {activity}, {age:.1?} old, ")?;
        write!(f, "{read} B read, {written} B written")
    }
}

/// What became of one listener.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListenerReport {
    /// Where it listened.
    pub local: Address,
    /// How many connections it accepted.
    pub accepted: u64,
    /// How many of them were taken from its queue after the stop began.
    pub swept: u64,
    /// What its close guaranteed.
    pub guarantee: Guarantee,
}

/// What a stop did; made once, when it is over.
///
/// ```
/// # #[cfg(feature = "smol")] fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use lameduck::{Address, Server, runtimes::smol::Smol};
///
/// let builder = Server::builder(Smol).listen("127.0.0.1:0".parse::<Address>()?);
/// let server = builder.bind()?;
/// server.shutdown().stop("done");
/// let report = smol::block_on(server.serve(|_| async { Ok(()) }));
/// assert!(report.to_string().starts_with("stopped clean"));
/// assert_eq!((report.accepted, report.exit_status()), (0, 0));
/// # Ok(()) }
/// # #[cfg(not(feature = "smol"))] fn main() {}
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Report {
    /// How it ended.
    pub outcome: Outcome,
    /// What began it.
    pub cause: Cause,
    /// From the stop to the end.
    pub took: Duration,
    /// Connections accepted, over the server's whole life.
    pub accepted: u64,
    /// How those that ended did so.
    pub closed: Tally,
    /// Those that were cut off, the oldest first.
    pub aborted: Vec<Straggler>,
    /// Those that were cut off and are still not gone.
    pub abandoned: Vec<Straggler>,
    /// Guards that others than connections still hold.
    pub other_guards: usize,
    /// Every listener.
    pub listeners: Vec<ListenerReport>,
    /// Every error of a listener or a hook.
    pub errors: Vec<String>,
    /// What the machine was told, where the builder was asked to
    /// [record](crate::Builder::record) it.
    pub log: Option<Log>,
}

impl Report {
    /// Whether the sums agree: each accepted connection came from a listener
    /// and has exactly one outcome, and who is counted is also named (S4).
    pub fn adds_up(&self) -> bool {
        let abandoned = self.abandoned.len() as u64;
        let listeners: u64 = self.listeners.iter().map(|l| l.accepted).sum();
        self.accepted == self.closed.total() + abandoned
            && self.accepted == listeners
            && self.closed.aborted == self.aborted.len() as u64
    }

    /// The exit status that follows: 0 clean, 1 a listener or a hook failed,
    /// 3 something was forced or abandoned.
    pub fn exit_status(&self) -> u8 {
        match self.outcome {
            Outcome::Clean => 0,
            Outcome::Failed => 1,
            Outcome::Forced | Outcome::Abandoned => 3,
        }
    }

    /// [`exit_status`](Report::exit_status), to be returned from `main`.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.exit_status())
    }
}

/// How many stragglers of a kind are shown by name.
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

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let outcome = match self.outcome {
            Outcome::Clean => "clean".to_owned(),
            Outcome::Failed => format!("with {} errors", self.errors.len()),
            Outcome::Forced => format!("by force, {} aborted", self.aborted.len()),
            Outcome::Abandoned => {
                let unresponsive = self.abandoned.len() + self.other_guards;
                format!("by force, {unresponsive} abandoned")
            }
        };
        write!(
            f,
            "stopped {outcome}, {:.1?} after {}",
            self.took, self.cause
        )?;
        let tally = self.closed;
        write!(
            f,
            "\n  {} accepted: {} finished, {} drained, {} closed by the peer, \
             {} failed, {} panicked, {} aborted, {} abandoned",
            self.accepted,
            tally.finished,
            tally.drained,
            tally.peer_closed,
            tally.failed,
            tally.panicked,
            tally.aborted,
            self.abandoned.len(),
        )?;
        for listener in &self.listeners {
            write!(
                f,
                "\n  {}: {} accepted, {} of them swept; closed with {}",
                listener.local, listener.accepted, listener.swept, listener.guarantee
            )?;
        }
        show(f, "aborted", &self.aborted)?;
        show(f, "abandoned", &self.abandoned)?;
        if self.other_guards > 0 {
            write!(f, "\n  {} guards of others still held", self.other_guards)?;
        }
        for error in &self.errors {
            write!(f, "\n  error: {error}")?;
        }
        Ok(())
    }
}
