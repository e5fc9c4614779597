//! The alphabet as proptest's strategies.

use proptest::prelude::*;
use proptest::sample::select;

use lameduck::machine::Config;

use crate::alphabet::{ACTS, Act, DURATIONS, MOST, PASSES, Pass, Setup, Step};

/// Any setup, also such as `Config::check` refuses.
pub(crate) fn setup() -> impl Strategy<Value = Setup> {
    let time = || select(&DURATIONS);
    let parts = (time(), time(), time(), time(), time());
    (parts, 0..=MOST, 0..=MOST).prop_map(|(parts, listeners, hooks)| Setup {
        config: Config {
            grace: parts.0,
            notice: parts.1,
            sweep: parts.2,
            settle: parts.3,
            abort_timeout: parts.4,
        },
        listeners,
        hooks,
    })
}

/// Any step; those that lead somewhere more often than the odd ones.
pub(crate) fn step() -> impl Strategy<Value = Step> {
    let pass = prop_oneof![
        6 => Just(Pass::Stand),
        1 => Just(Pass::Little),
        2 => select(&PASSES),
    ];
    let act = prop_oneof![
        4 => Just(Act::Oblige),
        3 => select(&ACTS),
    ];
    (pass, act).prop_map(|(pass, act)| Step { pass, act })
}

pub(crate) fn steps() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(step(), 0..40)
}
