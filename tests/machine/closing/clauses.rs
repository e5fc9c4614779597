//! The clauses that a lingering close holds, by number.

use std::time::Duration;

use lameduck::machine::closing::{
    Config, Facts, Input, LingeringClose, Output, UnexpectedInput,
};
use proptest::prelude::*;

use super::alphabet::{CLOCKS, INPUTS, Step, WRITTEN};
use super::compare::{config, facts, steps};
use super::reference::Reference;
use crate::{NANO, ms};

pub(crate) fn feed(
    closing: &mut LingeringClose,
    now: Duration,
    input: Input,
) -> (Result<(), UnexpectedInput>, Vec<Output>) {
    let result = closing.handle(now, input);
    let outputs = std::iter::from_fn(|| closing.poll_output()).collect();
    (result, outputs)
}

/// Gives an input that has to fit, at so many milliseconds; returns the outputs.
#[track_caller]
pub(crate) fn must(closing: &mut LingeringClose, millis: u64, input: Input) -> Vec<Output> {
    let (result, outputs) = feed(closing, ms(millis), input);
    assert_eq!(result, Ok(()), "at {millis} ms");
    outputs
}

/// What the system says about a connection.
pub(crate) fn progress(unacknowledged: impl Into<Option<u64>>) -> Input {
    Input::Progress {
        unacknowledged: unacknowledged.into(),
        round_trip: None,
    }
}

/// A close of a large output whose side has ended at 0 ms.
pub(crate) fn half_closed() -> LingeringClose {
    let mut facts = Facts::default();
    facts.written = WRITTEN[3];
    let mut closing = LingeringClose::new(Config::default(), facts);
    assert_eq!(closing.poll_output(), Some(Output::HalfClose));
    assert_eq!(must(&mut closing, 0, Input::HalfClosed), []);
    closing
}

/// One close of each kind.
fn kinds() -> [LingeringClose; 5] {
    let mut new = LingeringClose::new(Config::default(), Facts::default());
    assert_eq!(new.poll_output(), Some(Output::HalfClose));
    let reading = half_closed();
    let mut asked = half_closed();
    must(&mut asked, 100, Input::Tick);
    let mut ended = half_closed();
    must(&mut ended, 10, Input::End);
    must(&mut ended, 10, progress(1));
    let mut closed = half_closed();
    must(&mut closed, 100, Input::Tick);
    assert_eq!(must(&mut closed, 100, progress(0)), [Output::Close]);
    [new, reading, asked, ended, closed]
}

fn inputs(config: Config, facts: Facts, steps: &[Step]) -> Vec<(Duration, Input)> {
    let mut reference = Reference::new(config, facts);
    let seen = steps.iter().map(|step| {
        let (now, input) = step.seen_from(reference.now, reference.deadline());
        reference.step(now, input);
        (now, input)
    });
    seen.collect()
}

#[test]
fn s2_nothing_comes_after_the_close() {
    let [.., closed] = kinds();
    for input in INPUTS {
        for now in [ms(0), ms(200), Duration::MAX] {
            let mut closing = closed.clone();
            let (result, outputs) = feed(&mut closing, now, input);
            assert!(
                result.is_err() && outputs.is_empty(),
                "{input:?}: {outputs:?}"
            );
            assert_eq!(closing.deadline(), None);
            assert!(!closing.is_reading());
        }
    }
}

#[test]
fn s14_the_system_is_asked_once_until_it_answers() {
    let [_, _, mut asked, ..] = kinds();
    assert_eq!(asked.deadline(), None);
    for input in [Input::Tick, Input::Received, Input::NoInput, Input::End] {
        assert_eq!(must(&mut asked, 500, input), [], "{input:?}");
    }
    must(&mut asked, 500, progress(1));
    assert!(feed(&mut asked, ms(500), progress(1)).0.is_err());
}

#[test]
fn s14_a_close_replaces_what_was_still_to_be_done() {
    let mut facts = Facts::default();
    facts.is_draining = true;
    let mut closing = LingeringClose::new(Config::default(), facts);
    closing.handle(ms(0), Input::HalfClosed).unwrap();
    closing.handle(ms(0), Input::NoInput).unwrap();
    closing.handle(ms(0), Input::End).unwrap();
    let outputs: Vec<_> = std::iter::from_fn(|| closing.poll_output()).collect();
    assert_eq!(outputs, [Output::Close]);
}

#[test]
fn s16_no_two_steps_panic_under_any_config() {
    let extremes = [Duration::ZERO, NANO, Duration::MAX];
    for (idle, total) in extremes.iter().flat_map(|a| extremes.map(|b| (*a, b))) {
        for written in WRITTEN {
            let (mut config, mut facts) = (Config::default(), Facts::default());
            (config.idle, config.total, config.ack_poll_min) = (idle, total, total);
            facts.written = written;
            for input in INPUTS.iter().flat_map(|a| INPUTS.map(|b| [*a, b])) {
                for clock in CLOCKS {
                    let mut closing = LingeringClose::new(config, facts);
                    closing.handle(ms(1), Input::HalfClosed).unwrap();
                    for input in input {
                        let step = Step(clock, input);
                        let (now, input) = step.seen_from(ms(1), closing.deadline());
                        closing.handle(now, input).ok();
                    }
                }
            }
        }
    }
}

#[test]
fn s16_a_time_that_goes_back_counts_as_the_latest() {
    let [mut closing, ..] = kinds();
    must(&mut closing, 50, Input::Tick);
    must(&mut closing, 0, Input::HalfClosed);
    assert_eq!(closing.deadline(), Some(ms(150)));
}

proptest! {
    #[test]
    fn s17_the_same_inputs_give_the_same_outputs(
        config in config(),
        facts in facts(),
        steps in steps(),
    ) {
        let mut first = LingeringClose::new(config, facts);
        let mut second = first.clone();
        for (now, input) in inputs(config, facts, &steps) {
            prop_assert_eq!(feed(&mut first, now, input), feed(&mut second, now, input));
            prop_assert_eq!(&first, &second);
        }
    }

    #[test]
    fn l3_a_deadline_is_always_ahead(
        config in config(),
        facts in facts(),
        steps in steps(),
    ) {
        let mut closing = LingeringClose::new(config, facts);
        let mut now = Duration::ZERO;
        for (at, input) in inputs(config, facts, &steps) {
            now = now.max(at);
            feed(&mut closing, now, input).0.ok();
            // The end of all time is none.
            prop_assert!(closing.deadline().is_none_or(|at| at > now || at == Duration::MAX));
        }
    }

    /// The peer sends for ever, or is silent; it takes output, or does not; our
    /// side ends, or cannot.
    #[test]
    fn s19_a_lingering_close_ends(
        config in config(),
        facts in facts(),
        steps in steps(),
        half_closes in any::<bool>(),
        is_silent in any::<bool>(),
        mut left in 0u64..5,
    ) {
        // A total without end is what was asked for.
        prop_assume!(config.total < Duration::MAX);
        let mut closing = LingeringClose::new(config, facts);
        let mut now = Duration::ZERO;
        for (at, input) in inputs(config, facts, &steps) {
            now = now.max(at);
            feed(&mut closing, now, input).0.ok();
        }
        if half_closes {
            feed(&mut closing, now, Input::HalfClosed).0.ok();
        }
        while closing.poll_output().is_some() {}
        for _ in 0..100_000 {
            if closing.handle(now, Input::Tick).is_err() {
                break;
            }
            let wait = closing.deadline().map_or(Duration::ZERO, |at| at - now);
            if wait > ms(1000) {
                // A time that is longer than this test waits is a time.
                return Ok(());
            }
            if closing.handle(now, progress(left)).is_ok() {
                left = left.saturating_sub(1).max(1);
            } else if is_silent || !closing.is_reading() {
                now += wait;
            } else {
                now += (wait / 2).max(Duration::from_micros(100));
                closing.handle(now, Input::Received).ok();
            }
        }
        prop_assert!(closing.handle(now, Input::Tick).is_err(), "{:?}", closing);
    }
}

/// Output that a layer such as TLS holds, and that the peer does not take.
#[test]
fn s19_a_side_that_cannot_be_ended_has_the_total_time() {
    let [closing, ..] = kinds();
    let Config { idle, total, .. } = Config::default();
    let look = |closing: &mut LingeringClose, now: Duration, left: Option<u64>| {
        assert_eq!(
            feed(closing, now, Input::Tick).1,
            [Output::AskProgress],
            "at {now:?}"
        );
        feed(closing, now, progress(left)).1
    };
    // Nothing moves.
    let mut stuck = closing.clone();
    let mut now = idle;
    while now < total {
        assert_eq!(look(&mut stuck, now, Some(100)), [], "at {now:?}");
        now = stuck.deadline().unwrap();
    }
    assert_eq!(
        (now, look(&mut stuck, now, Some(100))),
        (total, vec![Output::Close])
    );
    // The peer takes a little: the total time begins again.
    let mut slow = closing.clone();
    look(&mut slow, idle, Some(100));
    assert_eq!(look(&mut slow, idle * 2, Some(99)), []);
    assert_eq!(look(&mut slow, total, Some(99)), []);
    assert_eq!(look(&mut slow, idle * 2 + total, Some(99)), [Output::Close]);
    // The system has sent everything, or does not say.
    for left in [Some(0), None] {
        let mut waits = closing.clone();
        assert_eq!(look(&mut waits, idle, left), []);
        assert_eq!(look(&mut waits, total, left), [Output::Close], "{left:?}");
    }
    // What was asked before our side ended is no answer about the rest.
    let mut ends = closing;
    let _ = feed(&mut ends, idle, Input::Tick);
    let _ = feed(&mut ends, idle, Input::HalfClosed);
    assert_eq!(ends.deadline(), Some(idle * 2));
}

/// A layer such as TLS still holds output, whatever the system says of its own.
#[test]
fn s5_a_side_that_could_not_be_ended_is_cut_off() {
    for left in [Some(2), Some(1), Some(0), None] {
        let [mut closing, ..] = kinds();
        for _ in 0..100 {
            let now = closing.deadline().unwrap();
            let _ = feed(&mut closing, now, Input::Tick);
            if feed(&mut closing, now, progress(left)).1 == [Output::Close] {
                break;
            }
        }
        assert_eq!(closing.deadline(), None, "{left:?}");
        assert!(closing.is_cut_off(), "{left:?}");
    }
}

#[test]
fn s18_a_refused_input_changes_nothing_but_the_time() {
    for before in kinds() {
        let mut refused = 0;
        for input in INPUTS {
            for now in [ms(0), ms(100), ms(10_000)] {
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
