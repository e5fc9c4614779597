//! All that can be done to a lifecycle, as plain values.

use std::time::Duration;

use lameduck::Signal;
use lameduck::machine::lifecycle::{Config, Failed, Input, Lifecycle};

/// The most listeners, and the most hooks, that a run has.
pub(crate) const MOST: usize = 3;

/// The times of which a [`Config`] is made. Most mixes would be refused by
/// `Config::check`; the value has to hold with them all the same.
pub(crate) const DURATIONS: [Duration; 7] = [
    Duration::ZERO,
    Duration::from_millis(2),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(100),
    Duration::from_secs(1),
    Duration::MAX,
];

/// What a run begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Setup {
    pub(crate) config: Config,
    pub(crate) listeners: usize,
    pub(crate) hooks: usize,
}

/// How the clock moves before the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clock {
    Stands,
    GoesOn(Duration),
    /// To the value's own deadline.
    ToDeadline,
    /// As near to the deadline as can be.
    JustBeforeDeadline,
    /// So far beyond the deadline: late, or frozen.
    AfterDeadline(Duration),
    /// Beyond the time at which the stop has to be over.
    AfterEnd,
    GoesBack(Duration),
    To(Duration),
}

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// The driver does what it was told and has not done yet.
    Complies,
    /// It tries to, and fails.
    Fails,
    /// This comes, whether it fits or not.
    Gives(Input),
}

/// One step: time passes, then something happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Step(pub(crate) Clock, pub(crate) Act);

pub(crate) const CLOCKS: [Clock; 11] = [
    Clock::Stands,
    Clock::GoesOn(Duration::from_millis(1)),
    Clock::GoesOn(Duration::from_millis(7)),
    Clock::ToDeadline,
    Clock::JustBeforeDeadline,
    Clock::AfterDeadline(Duration::from_millis(1)),
    Clock::AfterDeadline(Duration::from_secs(2)),
    Clock::AfterEnd,
    Clock::GoesBack(Duration::from_millis(3)),
    Clock::To(Duration::ZERO),
    Clock::To(Duration::MAX),
];

/// Ids 0 to 2 may exist; 3 and the last never do.
pub(crate) const ACTS: [Act; 31] = {
    use Act::{Complies, Fails, Gives};
    use Input::{
        Abort, Emptied, HandedOver, HookDone, ListenerClosed, Signal as Caught, Stop, Tick,
    };
    const LAST: usize = usize::MAX;
    const FAILED: Result<(), Failed> = Err(Failed);
    [
        Complies,
        Fails,
        Gives(Tick),
        Gives(Stop),
        Gives(Abort),
        Gives(HandedOver),
        Gives(Emptied),
        Gives(Caught(Signal::Interrupt)),
        Gives(Caught(Signal::Terminate)),
        Gives(Caught(Signal::Quit)),
        Gives(Caught(Signal::Hangup)),
        Gives(ListenerClosed(0, Ok(()))),
        Gives(ListenerClosed(1, Ok(()))),
        Gives(ListenerClosed(2, Ok(()))),
        Gives(ListenerClosed(3, Ok(()))),
        Gives(ListenerClosed(LAST, Ok(()))),
        Gives(ListenerClosed(0, FAILED)),
        Gives(ListenerClosed(1, FAILED)),
        Gives(ListenerClosed(2, FAILED)),
        Gives(ListenerClosed(3, FAILED)),
        Gives(ListenerClosed(LAST, FAILED)),
        Gives(HookDone(0, Ok(()))),
        Gives(HookDone(1, Ok(()))),
        Gives(HookDone(2, Ok(()))),
        Gives(HookDone(3, Ok(()))),
        Gives(HookDone(LAST, Ok(()))),
        Gives(HookDone(0, FAILED)),
        Gives(HookDone(1, FAILED)),
        Gives(HookDone(2, FAILED)),
        Gives(HookDone(3, FAILED)),
        Gives(HookDone(LAST, FAILED)),
    ]
};

/// What a step is seen from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View {
    pub(crate) now: Duration,
    pub(crate) deadline: Option<Duration>,
    pub(crate) ends_by: Option<Duration>,
    /// The input by which the driver would comply.
    pub(crate) owed: Option<Input>,
}

impl Step {
    /// Returns the time and the input that the step means here.
    pub(crate) fn seen_from(self, view: View) -> (Duration, Input) {
        let owed = view.owed.unwrap_or(Input::Tick);
        let input = match self.1 {
            Act::Complies => owed,
            Act::Fails => match owed {
                Input::ListenerClosed(id, _) => Input::ListenerClosed(id, Err(Failed)),
                Input::HookDone(id, _) => Input::HookDone(id, Err(Failed)),
                other => other,
            },
            Act::Gives(input) => input,
        };
        (self.0.seen_from(view), input)
    }
}

impl Clock {
    fn seen_from(self, view: View) -> Duration {
        let now = view.now;
        let nano = Duration::from_nanos(1);
        let deadline = view.deadline.unwrap_or(now);
        match self {
            Clock::Stands => now,
            Clock::GoesOn(by) => now.saturating_add(by),
            Clock::ToDeadline => deadline,
            Clock::JustBeforeDeadline => deadline.saturating_sub(nano),
            Clock::AfterDeadline(by) => deadline.saturating_add(by),
            Clock::AfterEnd => view.ends_by.unwrap_or(now).saturating_add(nano),
            Clock::GoesBack(by) => now.saturating_sub(by),
            Clock::To(at) => at,
        }
    }
}

impl Setup {
    pub(crate) fn lifecycle(self) -> Lifecycle {
        Lifecycle::new(self.config, self.listeners, self.hooks)
    }
}

/// The times of a [`Config`], in the order of the bytes.
fn times(config: &mut Config) -> [&mut Duration; 8] {
    [
        &mut config.grace_period,
        &mut config.lame_duck,
        &mut config.settle,
        &mut config.abort_timeout,
        &mut config.hook_reserve,
        &mut config.same_signal_window,
        &mut config.other_signal_window,
        &mut config.restart_settle,
    ]
}

/// Reads a script. Any bytes are one: each chooses an item of a list.
pub(crate) fn decode(bytes: &[u8]) -> (Setup, Vec<Step>) {
    let mut bytes = bytes.iter().map(|byte| usize::from(*byte));
    let mut next = || bytes.next();
    let mut config = Config::default();
    for time in times(&mut config) {
        *time = DURATIONS[next().unwrap_or_default() % DURATIONS.len()];
    }
    // One more than there are times: no end.
    let restart = next().unwrap_or_default() % (DURATIONS.len() + 1);
    config.restart_grace_period = DURATIONS.get(restart).copied();
    let setup = Setup {
        config,
        listeners: next().unwrap_or_default() % (MOST + 1),
        hooks: next().unwrap_or_default() % (MOST + 1),
    };
    let mut steps = Vec::new();
    while let (Some(clock), Some(act)) = (next(), next()) {
        steps.push(Step(CLOCKS[clock % CLOCKS.len()], ACTS[act % ACTS.len()]));
    }
    (setup, steps)
}

/// Writes a script, so that [`decode`] reads it.
pub(crate) fn encode(setup: Setup, steps: &[Step]) -> Vec<u8> {
    let mut config = setup.config;
    let mut bytes: Vec<u8> = times(&mut config)
        .map(|time| index(&DURATIONS, time))
        .into();
    bytes.push(match config.restart_grace_period {
        Some(time) => index(&DURATIONS, &time),
        None => DURATIONS.len() as u8,
    });
    bytes.extend([setup.listeners as u8, setup.hooks as u8]);
    for Step(clock, act) in steps {
        bytes.extend([index(&CLOCKS, clock), index(&ACTS, act)]);
    }
    bytes
}

fn index<T: PartialEq + std::fmt::Debug>(list: &[T], wanted: &T) -> u8 {
    let index = list.iter().position(|item| item == wanted);
    assert!(index.is_some(), "{wanted:?} is not in the alphabet");
    index.unwrap_or_default() as u8
}
