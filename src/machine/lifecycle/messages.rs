//! The inputs and the outputs of a lifecycle.

use std::fmt;
use std::time::Duration;

use crate::phase::Phase;
use crate::signal::Signal;

/// The mark of something that failed; the reason stays with the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_structs, reason = "a mark, which has no parts")]
pub struct Failed;

/// An input: something that happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Input {
    /// The program asks for the stop.
    Stop,
    /// A stop signal arrived.
    Signal(Signal),
    /// A successor serves in this server's place.
    HandedOver,
    /// The program asks for what is left to be cut off.
    Abort,
    /// A listener is closed: it was told to, or failed.
    ListenerClosed(usize, Result<(), Failed>),
    /// No guard is left, and with the listeners closed none can come.
    Emptied,
    /// A hook has ended.
    HookDone(usize, Result<(), Failed>),
    /// Time has passed.
    Tick,
}

/// An output: something to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Output {
    /// Tell load balancers and supervisors that new work is not welcome.
    NotReady,
    /// Let this listener stop accepting: sweep it, and close it then.
    StopAccepting(usize),
    /// Lead the gate to this phase.
    Enter(Phase),
    /// End the connections of which nothing was read since this was said the last time
    /// but one. It comes again and again, only in a restart, and `EndIdle` after it.
    EndUnused,
    /// End the idle connections: their time to settle is over. It comes only
    /// where there was such a time; otherwise `Enter(Draining)` ends them.
    EndIdle,
    /// End the connections that are never idle, since their clients never pause: between
    /// two messages, once all that has arrived by now was read. Half of their time is over.
    EndBusy,
    /// End those of the connections that drain last which are at their idle points, although
    /// others are still open. A quarter of their time is left, for those that are stuck.
    EndLast,
    /// Close this listener at once.
    CloseListener(usize),
    /// Run this hook, which has so much time.
    RunHook(usize, Duration),
    /// Cancel this hook, whose time is over.
    CancelHook(usize),
    /// The stop is over; the last output.
    Complete(Outcome),
}

/// The outcome of a stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// All ended by themselves, and nothing failed.
    Clean,
    /// All ended by themselves; a listener or a hook failed.
    Failed,
    /// What was left was cut off.
    Aborted,
    /// Something was cut off, and is still there.
    Abandoned,
}

impl Outcome {
    /// Returns the outcome where so many connections were cut off, be it without an abort
    /// of the whole stop ([S5](crate::docs::spec#s5)).
    pub(crate) fn with_cut_off(self, connections: usize) -> Outcome {
        match self {
            Outcome::Clean | Outcome::Failed if connections > 0 => Outcome::Aborted,
            outcome => outcome,
        }
    }
}

/// The error of an input that does not fit the phase. It changed nothing but
/// the time.
///
/// ```
/// use lameduck::machine::lifecycle::{Config, Input, Lifecycle};
/// use std::time::Duration;
///
/// let mut lifecycle = Lifecycle::new(Config::default(), 1, 0);
/// let error = lifecycle.handle(Duration::ZERO, Input::Emptied).unwrap_err();
/// assert_eq!(error.to_string(), "unexpected input Emptied while running");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct UnexpectedInput {
    /// The phase in which it came.
    pub phase: Phase,
    /// The input.
    pub input: Input,
}

impl fmt::Display for UnexpectedInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unexpected input {:?} while {}", self.input, self.phase)
    }
}

impl std::error::Error for UnexpectedInput {}
