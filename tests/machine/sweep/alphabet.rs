//! All that can be done to a sweep, as plain values.

use std::time::Duration;

use lameduck::machine::sweep::{AcceptError, Config, Input};
use lameduck::rt::CloseGuarantee;

pub(crate) const DURATIONS: [Duration; 6] = [
    Duration::ZERO,
    Duration::from_nanos(1),
    Duration::from_millis(1),
    Duration::from_millis(5),
    Duration::from_millis(20),
    Duration::MAX,
];

pub(crate) const COUNTS: [u64; 5] = [0, 1, 2, 4, u64::MAX];

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

pub(crate) const INPUTS: [Input; 14] = [
    Input::Accepted,
    Input::QueueEmpty,
    Input::Tick,
    Input::AcceptFailed(AcceptError::Connection),
    Input::AcceptFailed(AcceptError::Resources),
    Input::AcceptFailed(AcceptError::Listener),
    Input::StopAccepting(CloseGuarantee::HandedOver),
    Input::StopAccepting(CloseGuarantee::SynFiltered),
    Input::StopAccepting(CloseGuarantee::Swept),
    Input::StopAccepting(CloseGuarantee::Unswept),
    Input::Handshakes(None),
    Input::Handshakes(Some(0)),
    Input::Handshakes(Some(3)),
    Input::Close,
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

fn times(config: &mut Config) -> [&mut Duration; 7] {
    [
        &mut config.back_off_min,
        &mut config.back_off_max,
        &mut config.sweep_back_off_max,
        &mut config.handshake_poll_min,
        &mut config.handshake_poll_max,
        &mut config.handshake_timeout,
        &mut config.blind_wait,
    ]
}

/// Reads a script. Any bytes are one: each chooses an item of a list.
pub(crate) fn decode(bytes: &[u8]) -> (Config, Vec<Step>) {
    let mut bytes = bytes.iter().map(|byte| usize::from(*byte));
    let mut next = || bytes.next();
    let mut config = Config::default();
    config.queue = COUNTS[next().unwrap_or_default() % COUNTS.len()];
    // One more than there are counts: no limit.
    let limit = next().unwrap_or_default() % (COUNTS.len() + 1);
    config.limit = COUNTS.get(limit).copied();
    config.batch = COUNTS[next().unwrap_or_default() % 4] as u32;
    for time in times(&mut config) {
        *time = DURATIONS[next().unwrap_or_default() % DURATIONS.len()];
    }
    let mut steps = Vec::new();
    while let (Some(clock), Some(input)) = (next(), next()) {
        let (clock, input) = (clock % CLOCKS.len(), input % INPUTS.len());
        steps.push(Step(CLOCKS[clock], INPUTS[input]));
    }
    (config, steps)
}

/// Writes a script, so that [`decode`] reads it.
pub(crate) fn encode(mut config: Config, steps: &[Step]) -> Vec<u8> {
    let mut bytes = vec![index(&COUNTS, &config.queue)];
    bytes.push(match config.limit {
        Some(limit) => index(&COUNTS, &limit),
        None => COUNTS.len() as u8,
    });
    bytes.push(index(&COUNTS, &u64::from(config.batch)));
    bytes.extend(times(&mut config).map(|time| index(&DURATIONS, time)));
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
