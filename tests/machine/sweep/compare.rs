//! The sweep beside the reference, step by step.

use std::time::Duration;

use lameduck::machine::sweep::{Config, Input};
use proptest::prelude::*;
use proptest::sample::select;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};

use super::alphabet::{CLOCKS, COUNTS, Clock, DURATIONS, INPUTS, Step, decode, encode};
use super::reference::Reference;
use super::run::Run;

pub(crate) fn config() -> impl Strategy<Value = Config> {
    let time = || select(&DURATIONS);
    let counts = (
        select(&COUNTS),
        prop::option::of(select(&COUNTS)),
        select(&COUNTS[..4]),
    );
    let times = prop::collection::vec(time(), 7);
    (counts, times).prop_map(|(counts, times)| {
        let mut config = Config::default();
        config.queue = counts.0;
        config.limit = counts.1;
        config.batch = counts.2 as u32;
        config.back_off_min = times[0];
        config.back_off_max = times[1];
        config.handshake_poll_min = times[2];
        config.handshake_poll_max = times[3];
        config.handshake_timeout = times[4];
        config.blind_wait = times[5];
        config.sweep_back_off_max = times[6];
        config
    })
}

/// Any step; those that end it more rarely.
pub(crate) fn step() -> impl Strategy<Value = Step> {
    let clock = prop_oneof![
        3 => Just(Clock::Stands),
        2 => Just(Clock::ToDeadline),
        1 => select(&CLOCKS),
    ];
    let input = prop_oneof![
        5 => select(&INPUTS[..5]),
        3 => select(&INPUTS[7..13]),
        1 => select(&INPUTS),
    ];
    (clock, input).prop_map(|(clock, input)| Step(clock, input))
}

pub(crate) fn steps() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(step(), 0..40)
}

impl ReferenceStateMachine for Reference {
    type State = Reference;
    type Transition = (Duration, Input);

    fn init_state() -> BoxedStrategy<Reference> {
        config().prop_map(Reference::new).boxed()
    }

    fn transitions(state: &Reference) -> BoxedStrategy<(Duration, Input)> {
        let (now, deadline) = (state.now, state.deadline());
        step()
            .prop_map(move |step| step.seen_from(now, deadline))
            .boxed()
    }

    fn apply(mut state: Reference, (now, input): &(Duration, Input)) -> Reference {
        state.step(*now, *input);
        state
    }
}

struct Compared;

impl StateMachineTest for Compared {
    type SystemUnderTest = Run;
    type Reference = Reference;

    fn init_test(reference: &Reference) -> Run {
        Run {
            reference: reference.clone(),
            ..Run::new(reference.config)
        }
    }

    fn apply(mut run: Run, _: &Reference, (now, input): (Duration, Input)) -> Run {
        let _ = run.give(now, input);
        run
    }
}

prop_state_machine! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn the_sweep_does_what_the_reference_does(sequential 1..40 => Compared);
}

proptest! {
    #[test]
    fn a_script_is_read_as_it_was_written(config in config(), steps in steps()) {
        prop_assert_eq!(decode(&encode(config, &steps)), (config, steps));
    }
}
