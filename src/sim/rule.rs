//! Faults: rules that are asked in order.

use std::time::Duration;

use crate::signal::Signal;

/// Something that is about to happen, and that a [rule](super::Sim::rule) may
/// change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The server takes a connection from the accept queue.
    Accept,
    /// The end of a handshake arrives at the server, of the connection with this
    /// number.
    Handshake(usize),
    /// Bytes arrive at the server, on the connection with this number.
    ToServer(usize),
    /// Bytes arrive at a client, on the connection with this number.
    ToClient(usize),
    /// A timer of the server fires.
    Timer,
    /// A task that was woken is about to be polled.
    Wake,
    /// A signal arrives at the server.
    Signal(Signal),
}

/// What a [rule](super::Sim::rule) makes of an [`Event`].
///
/// A verdict that the event cannot have counts as [`Pass`](Verdict::Pass).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// The rule changes nothing: the next rule is asked.
    Pass,
    /// It happens later: a slow network, a late timer, a busy machine. Every
    /// event but an accept can be late.
    Delay(Duration),
    /// It never happens: a stalled peer, a lost timer, signals that merged.
    /// Bytes, timers and signals can be lost.
    Drop,
    /// It happens twice: a signal that is sent again, a spurious wake-up.
    /// Nothing else is ever doubled.
    Twice,
    /// The system call fails with this `errno`. Only an accept can fail.
    Fail(i32),
}

impl Event {
    /// Returns whether the verdict changes anything for this event.
    pub(crate) fn can_have(&self, verdict: Verdict) -> bool {
        match verdict {
            Verdict::Pass => false,
            Verdict::Delay(by) => !by.is_zero() && *self != Event::Accept,
            Verdict::Drop => !matches!(self, Event::Accept | Event::Handshake(_) | Event::Wake),
            Verdict::Twice => matches!(self, Event::Wake | Event::Signal(_)),
            Verdict::Fail(_) => *self == Event::Accept,
        }
    }
}

pub(crate) type Rule = Box<dyn FnMut(&Event, &mut dyn FnMut(u32) -> u32) -> Verdict + Send>;
