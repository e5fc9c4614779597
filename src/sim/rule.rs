//! Faults: rules that are asked in order.

use std::time::Duration;

use crate::signal::Signal;

/// Something that is about to happen, and that a rule may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The server takes a connection from the accept queue.
    Accept,
    /// Bytes come to the server, of the connection with this number.
    ToServer(usize),
    /// Bytes come to a client, of the connection with this number.
    ToClient(usize),
    /// A timer of the server comes to its time.
    Timer,
    /// A task of the server is woken.
    Wake,
    /// A signal comes to the server.
    Signal(Signal),
}

/// What a rule makes of an [`Event`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// Nothing: the next rule is asked.
    Pass,
    /// It happens later: a slow network, a late tick, a busy machine.
    Delay(Duration),
    /// It never happens: a stalled peer, a lost tick, signals that merged. An
    /// accept or a wake-up cannot be lost, and happens.
    Drop,
    /// It happens twice: a signal that is sent again, a spurious wake-up.
    /// Nothing else is ever doubled.
    Twice,
    /// The system call fails with this `errno`; only an accept can.
    Fail(i32),
}

pub(crate) type Rule = Box<dyn FnMut(&Event, &mut dyn FnMut(u32) -> u32) -> Verdict + Send>;
