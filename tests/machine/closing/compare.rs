//! The lingering close beside the reference, step by step.

use std::time::Duration;

use lameduck::machine::closing::{Config, Facts, Input};
use proptest::prelude::*;
use proptest::sample::select;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};

use super::alphabet::{CLOCKS, Clock, DURATIONS, INPUTS, Step, WRITTEN, decode, encode};
use super::reference::Reference;
use super::run::Run;

pub(crate) fn config() -> impl Strategy<Value = Config> {
    let time = || select(&DURATIONS);
    [time(), time(), time()].prop_map(|times| {
        let mut config = Config::default();
        [config.idle, config.total, config.ack_poll_min] = times;
        config
    })
}

pub(crate) fn facts() -> impl Strategy<Value = Facts> {
    let facts = (select(&WRITTEN), any::<bool>(), any::<bool>());
    facts.prop_map(|(written, was_idle, is_draining)| {
        let mut facts = Facts::default();
        facts.written = written;
        (facts.was_idle, facts.is_draining) = (was_idle, is_draining);
        facts
    })
}

/// Any step; those that end it more rarely.
pub(crate) fn step() -> impl Strategy<Value = Step> {
    let clock = prop_oneof![
        3 => Just(Clock::Stands),
        3 => Just(Clock::ToDeadline),
        1 => select(&CLOCKS),
    ];
    let input = prop_oneof![
        5 => select(&INPUTS[..6]),
        2 => select(&INPUTS),
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
        let both = (config(), facts());
        both.prop_map(|(config, facts)| Reference::new(config, facts))
            .boxed()
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
            ..Run::new(reference.config, reference.facts)
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
    fn the_close_does_what_the_reference_does(sequential 1..40 => Compared);
}

proptest! {
    #[test]
    fn a_script_is_read_as_it_was_written(
        config in config(),
        facts in facts(),
        steps in steps(),
    ) {
        prop_assert_eq!(decode(&encode(config, facts, &steps)), (config, facts, steps));
    }
}
