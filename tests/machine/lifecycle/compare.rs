//! The lifecycle beside the reference, step by step.

use std::time::Duration;

use lameduck::machine::lifecycle::{Config, Input};
use proptest::prelude::*;
use proptest::sample::select;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};

use super::alphabet::{ACTS, Act, CLOCKS, Clock, DURATIONS, MOST, Setup, Step, decode, encode};
use super::reference::Reference;
use super::run::Run;

/// Any setup, also such as `Config::check` refuses.
pub(crate) fn setup() -> impl Strategy<Value = Setup> {
    let time = || select(&DURATIONS);
    let parts = (time(), time(), time(), time(), time());
    let windows = (time(), time());
    let restart = (prop::option::of(time()), time());
    let counts = (0..=MOST, 0..=MOST);
    (parts, windows, restart, counts).prop_map(|(parts, windows, restart, counts)| {
        let mut config = Config::default();
        config.grace_period = parts.0;
        config.lame_duck = parts.1;
        config.settle = parts.2;
        config.abort_timeout = parts.3;
        config.hook_reserve = parts.4;
        (config.same_signal_window, config.other_signal_window) = windows;
        (config.restart_grace_period, config.restart_settle) = restart;
        let (listeners, hooks) = counts;
        Setup {
            config,
            listeners,
            hooks,
        }
    })
}

/// Any step; those that lead somewhere more often than the odd ones.
pub(crate) fn step() -> impl Strategy<Value = Step> {
    let clock = prop_oneof![
        6 => Just(Clock::Stands),
        1 => Just(Clock::ToDeadline),
        2 => select(&CLOCKS),
    ];
    let act = prop_oneof![
        4 => Just(Act::Complies),
        3 => select(&ACTS),
    ];
    (clock, act).prop_map(|(clock, act)| Step(clock, act))
}

pub(crate) fn steps() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(step(), 0..40)
}

impl ReferenceStateMachine for Reference {
    type State = Reference;
    type Transition = (Duration, Input);

    fn init_state() -> BoxedStrategy<Reference> {
        setup().prop_map(Reference::new).boxed()
    }

    fn transitions(state: &Reference) -> BoxedStrategy<(Duration, Input)> {
        let view = state.view();
        step().prop_map(move |step| step.seen_from(view)).boxed()
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
            ..Run::new(reference.setup)
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
    fn the_lifecycle_does_what_the_reference_does(sequential 1..40 => Compared);
}

proptest! {
    #[test]
    fn a_script_is_read_as_it_was_written(setup in setup(), steps in steps()) {
        prop_assert_eq!(decode(&encode(setup, &steps)), (setup, steps));
    }
}
