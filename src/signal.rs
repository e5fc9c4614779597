//! The signals that a server may be asked to watch.

use std::fmt;

/// A signal that asks a process to stop, or to restart.
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
    /// SIGQUIT: Ctrl-\\, and the orderly stop of some servers.
    Quit,
    /// SIGHUP: the terminal has hung up, or somebody asks for a reload.
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
