//! Everything that can be done to a machine, as plain values. proptest, the
//! fuzzer and the scenarios by hand all draw from these lists, so that none
//! of them knows a step that the others cannot take.

use std::time::Duration;

use lameduck::machine::{Config, Fault, Input};
use lameduck::{Cause, Signal};

/// The most listeners, and the most hooks, that a run has.
pub(crate) const MOST: usize = 3;

/// What the parts of a [`Config`] are taken from. Most mixes would be refused
/// by `Config::check`; the machine has to hold with them all the same.
pub(crate) const DURATIONS: [Duration; 6] = [
    Duration::ZERO,
    Duration::from_millis(2),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_secs(1),
    Duration::MAX,
];

/// What a run begins with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    pub(crate) config: Config,
    pub(crate) listeners: usize,
    pub(crate) hooks: usize,
}

/// How the clock moves before the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pass {
    Stand,
    Little,
    Much,
    /// To the machine's own deadline.
    ToDeadline,
    /// As near to it as can be.
    ShortOfDeadline,
    /// Beyond the time at which it has to be over.
    PastEnd,
    /// The clock goes wrong.
    Back,
    ToZero,
    ToMax,
}

pub(crate) const PASSES: [Pass; 9] = [
    Pass::Stand,
    Pass::Little,
    Pass::Much,
    Pass::ToDeadline,
    Pass::ShortOfDeadline,
    Pass::PastEnd,
    Pass::Back,
    Pass::ToZero,
    Pass::ToMax,
];

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// The driver does something that it was told and did not do yet.
    Oblige,
    /// It does so, and fails.
    Botch,
    /// This, whether it makes sense or not.
    Say(Input),
}

/// Ids 0 to 2 may exist, 3 and the last never do.
pub(crate) const ACTS: [Act; 34] = {
    use Act::{Botch, Oblige, Say};
    use Input::*;
    const LAST: usize = usize::MAX;
    const BAD: Result<(), Fault> = Err(Fault);
    [
        Oblige,
        Botch,
        Say(Tick),
        Say(Emptied),
        Say(Escalate),
        Say(Stop {
            cause: Cause::Request("asked"),
        }),
        Say(Stop {
            cause: Cause::Signal(Signal::Terminate),
        }),
        Say(Stop {
            cause: Cause::Panic,
        }),
        Say(ListenerQuiet(0)),
        Say(ListenerQuiet(1)),
        Say(ListenerQuiet(2)),
        Say(ListenerQuiet(3)),
        Say(ListenerQuiet(LAST)),
        Say(ListenerClosed(0, Ok(()))),
        Say(ListenerClosed(1, Ok(()))),
        Say(ListenerClosed(2, Ok(()))),
        Say(ListenerClosed(3, Ok(()))),
        Say(ListenerClosed(LAST, Ok(()))),
        Say(ListenerClosed(0, BAD)),
        Say(ListenerClosed(1, BAD)),
        Say(ListenerClosed(2, BAD)),
        Say(ListenerClosed(3, BAD)),
        Say(ListenerClosed(LAST, BAD)),
        Say(HookDone(0, Ok(()))),
        Say(HookDone(1, Ok(()))),
        Say(HookDone(2, Ok(()))),
        Say(HookDone(3, Ok(()))),
        Say(HookDone(LAST, Ok(()))),
        Say(HookDone(0, BAD)),
        Say(HookDone(1, BAD)),
        Say(HookDone(2, BAD)),
        Say(HookDone(3, BAD)),
        Say(HookDone(LAST, BAD)),
        Say(Stop {
            cause: Cause::Successor,
        }),
    ]
};

/// One letter: time passes, then something happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) pass: Pass,
    pub(crate) act: Act,
}

/// What a step is seen from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View {
    pub(crate) now: Duration,
    pub(crate) deadline: Option<Duration>,
    pub(crate) ends_by: Option<Duration>,
    /// What would carry out a command.
    pub(crate) owed: Option<Input>,
}

impl Step {
    /// The time and the input that the step means here.
    pub(crate) fn seen_from(self, view: View) -> (Duration, Input) {
        let owed = view.owed.unwrap_or(Input::Tick);
        let input = match self.act {
            Act::Oblige => owed,
            Act::Botch => botched(owed),
            Act::Say(input) => input,
        };
        (self.pass.seen_from(view), input)
    }
}

impl Pass {
    fn seen_from(self, view: View) -> Duration {
        let now = view.now;
        let nano = Duration::from_nanos(1);
        let deadline = view.deadline.unwrap_or(now);
        match self {
            Pass::Stand => now,
            Pass::Little => now.saturating_add(Duration::from_millis(1)),
            Pass::Much => now.saturating_add(Duration::from_millis(7)),
            Pass::ToDeadline => deadline,
            Pass::ShortOfDeadline => deadline.saturating_sub(nano),
            Pass::PastEnd => view.ends_by.unwrap_or(now).saturating_add(nano),
            Pass::Back => now.saturating_sub(Duration::from_millis(3)),
            Pass::ToZero => Duration::ZERO,
            Pass::ToMax => Duration::MAX,
        }
    }
}

fn botched(input: Input) -> Input {
    match input {
        Input::ListenerClosed(id, _) | Input::ListenerQuiet(id) => {
            Input::ListenerClosed(id, Err(Fault))
        }
        Input::HookDone(id, _) => Input::HookDone(id, Err(Fault)),
        other => other,
    }
}
