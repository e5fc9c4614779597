//! Why a server stops.

use std::fmt;

/// A signal that asks a process to stop.
///
/// ```
/// assert_eq!(lameduck::Signal::Interrupt.to_string(), "SIGINT");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Signal {
    /// SIGINT: Ctrl-C.
    Interrupt,
    /// SIGTERM: systemd, Kubernetes, `kill`.
    Terminate,
    /// SIGQUIT: Ctrl-\\.
    Quit,
    /// SIGHUP: the terminal is gone.
    Hangup,
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Signal::Interrupt => "SIGINT",
            Signal::Terminate => "SIGTERM",
            Signal::Quit => "SIGQUIT",
            Signal::Hangup => "SIGHUP",
        })
    }
}

/// What began a stop; the first one counts.
///
/// ```
/// use lameduck::{Cause, Signal};
///
/// assert_eq!(Cause::from("upgrade"), Cause::Request("upgrade"));
/// assert_eq!(Cause::from(Signal::Terminate).to_string(), "SIGTERM");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// The operating system asked.
    Signal(Signal),
    /// The program asked, and says why.
    Request(&'static str),
    /// A listener failed for good, or closed without being told to.
    Listener,
    /// A successor took the listeners over, and serves.
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
    fn from(why: &'static str) -> Cause {
        Cause::Request(why)
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cause::Signal(signal) => signal.fmt(f),
            Cause::Request(why) => f.write_str(why),
            Cause::Listener => f.write_str("a listener failed"),
            Cause::Successor => f.write_str("a successor took over"),
            Cause::Panic => f.write_str("a handler panicked"),
        }
    }
}
