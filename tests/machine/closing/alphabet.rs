//! All that can be done to a lingering close, as plain values.

use std::time::Duration;

use lameduck::machine::closing::{Config, Facts, Input};

pub(crate) const DURATIONS: [Duration; 6] = [
    Duration::ZERO,
    Duration::from_nanos(1),
    Duration::from_millis(1),
    Duration::from_millis(5),
    Duration::from_millis(20),
    Duration::MAX,
];

/// What was written: nothing, the most that any peer has room for and one byte
/// less, and much.
pub(crate) const WRITTEN: [u64; 4] = [0, 14_599, 14_600, u64::MAX];

/// How the clock moves before the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clock {
    Stands,
    GoesOn(Duration),
    ToDeadline,
    JustBeforeDeadline,
    AfterDeadline(Duration),
    To(Duration),
}

/// One step: time passes, then something happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Step(pub(crate) Clock, pub(crate) Input);

pub(crate) const CLOCKS: [Clock; 7] = [
    Clock::Stands,
    Clock::GoesOn(Duration::from_millis(3)),
    Clock::ToDeadline,
    Clock::JustBeforeDeadline,
    Clock::AfterDeadline(Duration::from_millis(1)),
    Clock::To(Duration::ZERO),
    Clock::To(Duration::MAX),
];

const fn progress(unacknowledged: Option<u64>, round_trip: Option<Duration>) -> Input {
    Input::Progress {
        unacknowledged,
        round_trip,
    }
}

pub(crate) const INPUTS: [Input; 13] = [
    Input::Tick,
    Input::Received,
    Input::NoInput,
    progress(Some(2), None),
    progress(Some(1), None),
    Input::HalfClosed,
    Input::End,
    progress(None, None),
    progress(Some(0), None),
    progress(Some(u64::MAX), None),
    progress(Some(0), Some(Duration::from_millis(4))),
    progress(Some(1), Some(Duration::from_millis(30))),
    progress(Some(1), Some(Duration::MAX)),
];

impl Step {
    /// Returns the time and the input that the step means here.
    pub(crate) fn seen_from(
        self,
        now: Duration,
        deadline: Option<Duration>,
    ) -> (Duration, Input) {
        let deadline = deadline.unwrap_or(now);
        let at = match self.0 {
            Clock::Stands => now,
            Clock::GoesOn(by) => now.saturating_add(by),
            Clock::ToDeadline => deadline,
            Clock::JustBeforeDeadline => deadline.saturating_sub(Duration::from_nanos(1)),
            Clock::AfterDeadline(by) => deadline.saturating_add(by),
            Clock::To(at) => at,
        };
        (at, self.1)
    }
}

/// Reads a script. Any bytes are one: each chooses an item of a list.
pub(crate) fn decode(bytes: &[u8]) -> (Config, Facts, Vec<Step>) {
    let mut bytes = bytes.iter().map(|byte| usize::from(*byte));
    let mut next = || bytes.next();
    let mut time = || DURATIONS[next().unwrap_or_default() % DURATIONS.len()];
    let mut config = Config::default();
    (config.idle, config.total, config.ack_poll_min) = (time(), time(), time());
    let mut facts = Facts::default();
    facts.written = WRITTEN[next().unwrap_or_default() % WRITTEN.len()];
    facts.was_idle = next().unwrap_or_default() % 2 == 1;
    facts.is_draining = next().unwrap_or_default() % 2 == 1;
    let mut steps = Vec::new();
    while let (Some(clock), Some(input)) = (next(), next()) {
        let (clock, input) = (clock % CLOCKS.len(), input % INPUTS.len());
        steps.push(Step(CLOCKS[clock], INPUTS[input]));
    }
    (config, facts, steps)
}

/// Writes a script, so that [`decode`] reads it.
pub(crate) fn encode(config: Config, facts: Facts, steps: &[Step]) -> Vec<u8> {
    let times = [config.idle, config.total, config.ack_poll_min];
    let mut bytes = times.map(|time| index(&DURATIONS, &time)).to_vec();
    bytes.push(index(&WRITTEN, &facts.written));
    bytes.extend([u8::from(facts.was_idle), u8::from(facts.is_draining)]);
    for Step(clock, input) in steps {
        bytes.extend([index(&CLOCKS, clock), index(&INPUTS, input)]);
    }
    bytes
}

fn index<T: PartialEq + std::fmt::Debug>(list: &[T], wanted: &T) -> u8 {
    let index = list.iter().position(|item| item == wanted);
    assert!(index.is_some(), "{wanted:?} is not in the alphabet");
    index.unwrap_or_default() as u8
}
