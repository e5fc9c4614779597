//! The clauses that a sweep holds, by number.

use std::time::Duration;

use lameduck::machine::sweep::{AcceptError, Config, Input, Output, Sweep, UnexpectedInput};
use lameduck::rt::CloseGuarantee;
use proptest::prelude::*;

use super::alphabet::{CLOCKS, INPUTS, Step};
use super::compare::{config, steps};
use super::reference::Reference;
use crate::{NANO, ms};

pub(crate) fn feed(
    sweep: &mut Sweep,
    now: Duration,
    input: Input,
) -> (Result<(), UnexpectedInput>, Vec<Output>) {
    let result = sweep.handle(now, input);
    let outputs = std::iter::from_fn(|| sweep.poll_output()).collect();
    (result, outputs)
}

/// Gives an input that has to fit, at so many milliseconds; returns the outputs.
#[track_caller]
pub(crate) fn must(sweep: &mut Sweep, millis: u64, input: Input) -> Vec<Output> {
    let (result, outputs) = feed(sweep, ms(millis), input);
    assert_eq!(result, Ok(()), "at {millis} ms");
    outputs
}

fn inputs(config: Config, steps: &[Step]) -> Vec<(Duration, Input)> {
    let mut reference = Reference::new(config);
    let seen = steps.iter().map(|step| {
        let (now, input) = step.seen_from(reference.now, reference.deadline());
        reference.step(now, input);
        (now, input)
    });
    seen.collect()
}

/// One sweep of each kind.
fn kinds() -> [Sweep; 4] {
    let accepting = Sweep::new(Config::default());
    let mut sweeping = accepting.clone();
    must(
        &mut sweeping,
        10,
        Input::StopAccepting(CloseGuarantee::Swept),
    );
    let mut asked = accepting.clone();
    must(
        &mut asked,
        10,
        Input::StopAccepting(CloseGuarantee::SynFiltered),
    );
    must(&mut asked, 11, Input::QueueEmpty);
    let mut closed = accepting.clone();
    must(&mut closed, 10, Input::Close);
    [accepting, sweeping, asked, closed]
}

#[test]
fn s2_nothing_comes_after_the_close() {
    let [.., closed] = kinds();
    for input in INPUTS {
        for now in [ms(0), ms(11), Duration::MAX] {
            let mut sweep = closed.clone();
            let (result, outputs) = feed(&mut sweep, now, input);
            assert!(
                result.is_err() && outputs.is_empty(),
                "{input:?}: {outputs:?}"
            );
            assert_eq!(sweep.deadline(), None);
            assert!(!sweep.may_accept(0, None));
            assert!(!sweep.is_accepting() && !sweep.is_sweeping());
        }
    }
}

proptest! {
    #[test]
    fn s3_the_close_comes_once_and_last(config in config(), steps in steps()) {
        let mut sweep = Sweep::new(config);
        let mut closes = 0;
        for (now, input) in inputs(config, &steps) {
            let (_, outputs) = feed(&mut sweep, now, input);
            prop_assert!(closes == 0 || outputs.is_empty());
            closes += outputs.iter().filter(|output| **output == Output::Close).count();
            prop_assert_eq!(closes > 0, sweep.guarantee().is_some());
        }
        prop_assert!(closes <= 1);
    }
}

#[test]
fn s8_a_sweep_does_not_close_before_its_queue_was_seen_empty() {
    let [_, mut sweep, ..] = kinds();
    for input in [
        Input::Tick,
        Input::Accepted,
        Input::AcceptFailed(AcceptError::Resources),
    ] {
        must(&mut sweep, 1_000_000, input);
        assert_eq!(sweep.guarantee(), None, "after {input:?}");
    }
    assert_eq!(
        must(&mut sweep, 1_000_000, Input::QueueEmpty),
        [Output::Close]
    );
    assert_eq!(sweep.guarantee(), Some(CloseGuarantee::Swept));
}

#[test]
fn s8_an_empty_queue_closes_no_listener_that_accepts() {
    let [mut accepting, ..] = kinds();
    assert_eq!(must(&mut accepting, 1, Input::QueueEmpty), []);
    assert!(accepting.is_accepting());
}

#[test]
fn s14_what_was_still_to_be_done_is_dropped_at_the_close() {
    for input in [Input::Close, Input::AcceptFailed(AcceptError::Listener)] {
        let mut sweep = Sweep::new(Config::default());
        for begun in [
            Input::StopAccepting(CloseGuarantee::SynFiltered),
            Input::QueueEmpty,
            Input::Handshakes(Some(1)),
        ] {
            must(&mut sweep, 0, begun);
        }
        // The next look is due, too.
        assert!(sweep.deadline() < Some(ms(500)));
        assert_eq!(must(&mut sweep, 500, input), [Output::Close]);
    }
}

#[test]
fn s14_handshakes_are_asked_for_once_until_the_answer() {
    let [_, _, mut asked, _] = kinds();
    assert_eq!(asked.deadline(), None);
    assert_eq!(must(&mut asked, 500, Input::Tick), []);
    must(&mut asked, 500, Input::Handshakes(Some(0)));
    assert!(
        feed(&mut asked, ms(500), Input::Handshakes(Some(0)))
            .0
            .is_err()
    );
}

#[test]
fn s16_no_two_steps_panic_under_any_config() {
    let extremes = [Duration::ZERO, NANO, Duration::MAX];
    for (first, second) in extremes.iter().flat_map(|a| extremes.map(|b| (*a, b))) {
        for count in [0, 1, u64::MAX] {
            let mut config = Config::default();
            (config.queue, config.limit, config.batch) = (count, Some(count), count as u32);
            (config.back_off_min, config.back_off_max) = (first, second);
            config.sweep_back_off_max = second;
            (config.handshake_poll_min, config.handshake_poll_max) = (second, first);
            (config.handshake_timeout, config.blind_wait) = (first, second);
            for input in INPUTS.iter().flat_map(|a| INPUTS.map(|b| [*a, b])) {
                for clock in CLOCKS {
                    let mut sweep = Sweep::new(config);
                    let stop = Input::StopAccepting(CloseGuarantee::SynFiltered);
                    sweep.handle(ms(1), stop).ok();
                    for input in input {
                        let (now, input) =
                            Step(clock, input).seen_from(ms(1), sweep.deadline());
                        sweep.handle(now, input).ok();
                    }
                }
            }
        }
    }
}

#[test]
fn s16_a_time_that_goes_back_counts_as_the_latest() {
    let mut sweep = Sweep::new(Config::default());
    must(&mut sweep, 50, Input::Tick);
    must(&mut sweep, 0, Input::AcceptFailed(AcceptError::Resources));
    assert_eq!(sweep.deadline(), Some(ms(55)));
}

proptest! {
    #[test]
    fn s17_the_same_inputs_give_the_same_outputs(config in config(), steps in steps()) {
        let (mut first, mut second) = (Sweep::new(config), Sweep::new(config));
        for (now, input) in inputs(config, &steps) {
            prop_assert_eq!(feed(&mut first, now, input), feed(&mut second, now, input));
            prop_assert_eq!(&first, &second);
        }
    }

    #[test]
    fn l3_a_deadline_is_always_ahead(config in config(), steps in steps()) {
        let mut sweep = Sweep::new(config);
        let mut now = Duration::ZERO;
        for (at, input) in inputs(config, &steps) {
            now = now.max(at);
            feed(&mut sweep, now, input).0.ok();
            let is_ahead = sweep.deadline().is_none_or(|at| at > now || now == Duration::MAX);
            prop_assert!(is_ahead, "{:?} at {:?}", sweep.deadline(), now);
        }
    }
}

#[test]
fn s18_a_refused_input_changes_nothing_but_the_time() {
    for before in kinds() {
        let mut refused = 0;
        for input in INPUTS {
            for now in [ms(0), ms(10), ms(1000)] {
                let (mut given, mut ticked) = (before.clone(), before.clone());
                let (result, outputs) = feed(&mut given, now, input);
                let Err(error) = result else { continue };
                refused += 1;
                assert_eq!(error.input, input);
                assert!(error.to_string().contains(&format!("{input:?}")));
                assert_eq!(outputs, feed(&mut ticked, now, Input::Tick).1);
                assert_eq!(given, ticked, "{input:?} at {now:?}");
            }
        }
        assert!(refused > 0, "nothing is refused: {before:?}");
    }
}

/// Takes one connection after the other; returns how many it took.
fn taken(sweep: &mut Sweep) -> u64 {
    let before = sweep.swept();
    while sweep.may_accept(usize::MAX, Some(0)) {
        must(sweep, 0, Input::Accepted);
    }
    sweep.swept() - before
}

#[test]
fn s20_a_sweep_takes_all_that_the_queue_can_have_held() {
    for guarantee in [CloseGuarantee::Swept, CloseGuarantee::Unswept] {
        let mut config = Config::default();
        config.queue = 5;
        let mut sweep = Sweep::new(config);
        must(&mut sweep, 0, Input::Accepted);
        must(&mut sweep, 0, Input::StopAccepting(guarantee));
        assert_eq!(taken(&mut sweep), 5);
        assert_eq!(sweep.guarantee(), Some(guarantee));
        assert_eq!((sweep.accepted(), sweep.swept()), (6, 5));
    }
}

#[test]
fn s20_a_sweep_that_a_limit_ends_is_unswept() {
    for (limit, guarantee) in [
        (0, CloseGuarantee::Unswept),
        (1, CloseGuarantee::Unswept),
        (4, CloseGuarantee::Unswept),
        (5, CloseGuarantee::Swept),
        (9, CloseGuarantee::Swept),
    ] {
        let mut config = Config::default();
        (config.queue, config.limit) = (5, Some(limit));
        let mut sweep = Sweep::new(config);
        must(&mut sweep, 0, Input::StopAccepting(CloseGuarantee::Swept));
        assert_eq!(taken(&mut sweep), limit.min(5));
        assert_eq!(sweep.guarantee(), Some(guarantee), "{limit}");
    }
}

#[test]
fn s20_a_sweep_that_is_aborted_or_fails_is_unswept() {
    for end in [Input::Close, Input::AcceptFailed(AcceptError::Listener)] {
        for mut sweep in kinds().into_iter().take(3) {
            must(&mut sweep, 20, Input::Accepted);
            must(&mut sweep, 20, end);
            assert_eq!(sweep.guarantee(), Some(CloseGuarantee::Unswept));
        }
    }
}

#[test]
fn s20_a_sweep_passes_the_connection_limit() {
    let [accepting, sweeping, ..] = kinds();
    assert!(accepting.may_accept(4, Some(5)) && accepting.may_accept(5, None));
    assert!(!accepting.may_accept(5, Some(5)) && !accepting.may_accept(6, Some(5)));
    assert!(sweeping.may_accept(5, Some(5)));
}

#[test]
fn l5_the_sweep_of_an_empty_queue_ends_without_a_connection() {
    let [_, mut sweep, ..] = kinds();
    assert_eq!(sweep.deadline(), None);
    assert_eq!(must(&mut sweep, 10, Input::QueueEmpty), [Output::Close]);
}
