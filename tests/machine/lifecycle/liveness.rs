//! The liveness clauses that are the lifecycle's.

use std::time::Duration;

use lameduck::Phase;
use lameduck::machine::lifecycle::{Input, Output};
use proptest::prelude::*;

use super::alphabet::{MOST, Setup};
use super::bare::*;
use super::compare::{setup, steps};
use super::safety::inputs;
use crate::ms;

/// A lifecycle that was led somewhere, and then asked for the usual stop.
fn asked_after(setup: Setup, steps: &[super::alphabet::Step]) -> Bare {
    let mut bare = Bare::new(setup);
    for (now, input) in inputs(setup, steps) {
        bare.give(now, input).0.ok();
    }
    bare.give(Duration::ZERO, Input::Stop).0.ok();
    bare
}

/// The most ticks that a stop needs: lame duck, settle, abort, abandon, and each
/// hook; and one more for each where a freeze was made up for.
const TICKS: usize = 2 * (4 + MOST);

proptest! {
    /// Nothing happens any more but the ticks that were asked for.
    #[test]
    fn l1_a_stop_ends_within_its_budget_by_ticks_alone(setup in setup(), steps in steps()) {
        let mut bare = asked_after(setup, &steps);
        let end = bare.lifecycle.ends_by();
        for _ in 0..TICKS {
            let Some(at) = bare.lifecycle.deadline() else { break };
            prop_assert!(end.is_none_or(|end| at <= end), "{at:?} is beyond {end:?}");
            bare.give(at, Input::Tick).0.ok();
        }
        prop_assert!(bare.phase() == Phase::Stopped || end.is_none());
        prop_assert!(end.is_none() || bare.lifecycle.ends_by() <= end);
    }

    /// Each tick comes so late that it could be taken for a freeze.
    #[test]
    fn l1_a_clock_that_goes_wrong_cannot_put_off_the_end_for_ever(
        setup in setup(),
        steps in steps(),
        late in 1u64..10_000,
    ) {
        let mut bare = asked_after(setup, &steps);
        for _ in 0..TICKS {
            let Some(at) = bare.lifecycle.deadline() else { break };
            bare.give(at.saturating_add(ms(late)), Input::Tick).0.ok();
        }
        let is_over = bare.phase() == Phase::Stopped;
        prop_assert!(is_over || bare.lifecycle.deadline().is_none(), "{}", bare.phase());
    }

    /// All that was asked for is done at once; only lame duck needs a tick.
    #[test]
    fn l2_when_the_last_thing_ends_stopped_follows_on_that_input(
        setup in setup(),
        steps in steps(),
    ) {
        let mut bare = asked_after(setup, &steps);
        if bare.phase() == Phase::LameDuck {
            let drain_at = bare.lifecycle.deadline().unwrap_or(Duration::MAX);
            bare.give(drain_at, Input::Tick).0.ok();
        }
        for id in 0..setup.listeners {
            bare.give(Duration::ZERO, Input::ListenerClosed(id, Ok(()))).0.ok();
        }
        bare.give(Duration::ZERO, Input::Emptied).0.ok();
        for id in 0..setup.hooks {
            bare.give(Duration::ZERO, Input::HookDone(id, Ok(()))).0.ok();
        }
        prop_assert_eq!(bare.phase(), Phase::Stopped);
    }

    #[test]
    fn l3_while_draining_a_tick_is_asked_for_before_the_next_deadline(
        setup in setup(),
        steps in steps(),
    ) {
        let mut bare = Bare::new(setup);
        let mut now = Duration::ZERO;
        for (at, input) in inputs(setup, &steps) {
            now = now.max(at);
            bare.give(at, input).0.ok();
            let deadline = bare.lifecycle.deadline();
            let is_stopping = ![Phase::Running, Phase::Stopped].contains(&bare.phase());
            prop_assert!(deadline.is_none_or(|at| at > now), "missed at {:?}", now);
            prop_assert!(is_stopping || deadline.is_none());
            let has_end = bare.lifecycle.ends_by().is_some();
            prop_assert!(deadline.is_some() || !is_stopping || !has_end);
        }
    }

    #[test]
    fn l7_every_hook_starts(setup in setup(), steps in steps()) {
        let mut bare = asked_after(setup, &steps);
        bare.give(Duration::ZERO, Input::Abort).0.ok();
        for _ in 0..TICKS {
            bare.give(Duration::MAX, Input::Tick).0.ok();
        }
        prop_assert_eq!(bare.phase(), Phase::Stopped);
        for id in 0..setup.hooks {
            let is_start = |output: &Output| matches!(output, Output::RunHook(i, _) if *i == id);
            prop_assert!(bare.outputs.iter().any(is_start), "hook {}", id);
        }
    }
}

#[test]
fn l2_a_stop_with_nothing_to_wait_for_ends_on_the_last_close() {
    let mut bare = Bare::new(Setup {
        hooks: 0,
        ..plain()
    });
    bare.must(0, Input::Stop);
    bare.close(0);
    bare.must(0, Input::Emptied);
    assert_eq!(bare.phase(), Phase::Stopped);
    assert_eq!(bare.lifecycle.deadline(), None);
}

#[test]
fn l2_a_lame_duck_without_a_listener_drains_at_once() {
    let mut bare = Bare::in_phase(Phase::LameDuck);
    assert_eq!(bare.must(12, Input::ListenerClosed(0, FAILED)), []);
    let outputs = bare.must(12, Input::ListenerClosed(1, FAILED));
    assert_eq!(outputs, [Output::Enter(Phase::Draining)]);
    // Without listeners the time is the program's own.
    let mut none = Bare::new(Setup {
        listeners: 0,
        ..lame_duck()
    });
    none.must(0, Input::Stop);
    assert_eq!(none.phase(), Phase::LameDuck);
    assert_eq!(none.lifecycle.deadline(), Some(ms(15)));
}

#[test]
fn l7_a_hook_starts_also_without_time_for_it() {
    let mut setup = plain();
    setup.config.hook_reserve = Duration::ZERO;
    let mut bare = Bare::new(setup);
    bare.must(0, Input::Stop);
    bare.must(90, Input::Tick);
    let outputs = bare.must(100, Input::Tick);
    let none = Duration::ZERO;
    let runs = [0, 1].map(|id| [Output::RunHook(id, none), Output::CancelHook(id)]);
    assert_eq!(outputs[..4], runs.concat());
}
