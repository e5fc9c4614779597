//! The cause of a stop.

use std::borrow::Cow;
use std::fmt;

use crate::signal::Signal;

/// The cause of a stop; the first one is kept.
///
/// ```
/// use lameduck::{Cause, Signal};
///
/// assert_eq!(Cause::from("upgrade"), Cause::Request("upgrade".into()));
/// assert_eq!(Cause::from(format!("upgrade to {}", 2)).to_string(), "upgrade to 2");
/// assert_eq!(Cause::from(Signal::Terminate).to_string(), "SIGTERM");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// The process received a signal.
    Signal(Signal),
    /// The program asked for the stop, and says why.
    Request(Cow<'static, str>),
    /// A listener failed for good, or closed without being told to.
    Listener,
    /// A successor has taken over the listeners, and serves.
    Successor,
    /// A handler panicked, on a server that is told to stop then.
    Panic,
}

impl From<Signal> for Cause {
    fn from(signal: Signal) -> Cause {
        Cause::Signal(signal)
    }
}

impl From<&'static str> for Cause {
    fn from(reason: &'static str) -> Cause {
        Cause::Request(reason.into())
    }
}

impl From<String> for Cause {
    fn from(reason: String) -> Cause {
        Cause::Request(reason.into())
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cause::Signal(signal) => signal.fmt(f),
            Cause::Request(reason) => f.write_str(reason),
            Cause::Listener => f.write_str("a listener failed"),
            Cause::Successor => f.write_str("a successor took over"),
            Cause::Panic => f.write_str("a handler panicked"),
        }
    }
}
