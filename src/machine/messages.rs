//! What goes into the machine, and what comes out of it.

use std::fmt;
use std::time::Duration;

use crate::cause::Cause;

/// The stages of a stop, in order. Those from `Notice` to `Force` are what the
/// gate calls draining.
///
/// ```
/// use lameduck::machine::Stage;
///
/// assert!(Stage::Quiesce < Stage::Finish);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// No stop was asked for.
    Running,
    /// Not ready any more, still accepting (lame duck).
    Notice,
    /// Listeners are swept and closed; the living are told.
    Quiesce,
    /// The living finish what they hold; then the hooks run.
    Finish,
    /// What is left is cut off.
    Force,
    /// It is over.
    Stopped,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Stage::Running => "running",
            Stage::Notice => "notice",
            Stage::Quiesce => "quiesce",
            Stage::Finish => "finish",
            Stage::Force => "force",
            Stage::Stopped => "stopped",
        })
    }
}

/// That something ended badly; what it was, the driver keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fault;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Input {
    /// A stop is asked for.
    Stop {
        /// By whom.
        cause: Cause,
    },
    /// Someone will not wait: force what is left.
    Escalate,
    /// A quiescing listener's queue was seen empty, or the count that its
    /// sweep is bounded by is spent.
    ListenerQuiet(usize),
    /// A listener is closed: told to, or by a fault of its own.
    ListenerClosed(usize, Result<(), Fault>),
    /// Nobody lives, and with the listeners closed nobody can come.
    Emptied,
    /// A hook has run.
    HookDone(usize, Result<(), Fault>),
    /// Time has passed.
    Tick,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Output {
    /// Tell the world whether new work is welcome.
    SetReady(bool),
    /// A stage was entered.
    Notify(Stage),
    /// Let no new connection begin on this listener, sweep its queue.
    Quiesce(usize),
    /// Close this listener.
    CloseListener(usize),
    /// Tell the living that it is about to end; the idle are still read.
    Settle,
    /// Tell the living to come to an end: the idle are read no more.
    Drain,
    /// Cut the living off.
    Abort,
    /// Run this hook.
    RunHook(usize),
    /// Give a tick at this time, if nothing else comes before. It replaces
    /// the timer before it.
    ArmTimer(Duration),
    /// It is over; the last output.
    Complete(Outcome),
}

/// How a stop ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// All ended by themselves, and nothing failed.
    Clean,
    /// All ended by themselves; a listener or a hook failed.
    Failed,
    /// What was left at the end of the grace, or on escalation, was cut off.
    Forced,
    /// Something was cut off and is still not gone.
    Abandoned,
}

/// An input that means nothing in the machine's state. It changed nothing but
/// the time.
///
/// ```
/// use lameduck::machine::{Config, Input, Machine};
/// use std::time::Duration;
///
/// let mut machine = Machine::new(Config::default(), 1, 0);
/// let ignored = machine.handle(Duration::ZERO, Input::Emptied).unwrap_err();
/// assert_eq!(ignored.to_string(), "Emptied means nothing in running");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ignored {
    /// The stage in which it came.
    pub stage: Stage,
    /// What came.
    pub input: Input,
}

impl fmt::Display for Ignored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} means nothing in {}", self.input, self.stage)
    }
}

impl std::error::Error for Ignored {}
