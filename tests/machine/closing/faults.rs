//! The faults that a lingering close keeps out.

use std::time::Duration;

use lameduck::machine::closing::{Config, Facts, Input, LingeringClose, Output};

use super::clauses::{feed, half_closed, must, progress};
use crate::{NANO, ms};

/// The close of a connection of which this is known, half-closed at 0 ms.
fn closing(config: Config, written: u64, was_idle: bool, is_draining: bool) -> LingeringClose {
    let mut facts = Facts::default();
    facts.written = written;
    (facts.was_idle, facts.is_draining) = (was_idle, is_draining);
    let mut closing = LingeringClose::new(config, facts);
    assert_eq!(closing.poll_output(), Some(Output::HalfClose));
    let yields = must(&mut closing, 0, Input::HalfClosed) == [Output::Yield];
    assert_eq!(yields, is_draining);
    closing
}

fn config(idle: u64, total: u64) -> Config {
    let mut config = Config::default();
    (config.idle, config.total) = (ms(idle), ms(total));
    config
}

#[test]
fn f16_our_side_ends_first_and_input_is_read_on() {
    let mut closing = LingeringClose::new(Config::default(), Facts::default());
    assert!(!closing.is_reading());
    assert_eq!(closing.deadline(), None);
    assert_eq!(closing.poll_output(), Some(Output::HalfClose));
    for input in [Input::Received, Input::NoInput, Input::End, progress(0)] {
        assert!(feed(&mut closing, ms(0), input).0.is_err());
    }
    must(&mut closing, 5, Input::HalfClosed);
    assert!(closing.is_reading());
    assert_eq!(closing.deadline(), Some(ms(105)));
    must(&mut closing, 6, Input::Received);
    assert_eq!(closing.deadline(), Some(ms(106)));
    assert_eq!(must(&mut closing, 7, Input::End), [Output::Close]);
}

#[test]
fn f16_all_peers_get_their_end_before_one_is_looked_at() {
    let mut facts = Facts::default();
    facts.is_draining = true;
    // Also where the first look is due at once.
    let mut closing = LingeringClose::new(config(0, 0), facts);
    assert_eq!(closing.poll_output(), Some(Output::HalfClose));
    let outputs = must(&mut closing, 0, Input::HalfClosed);
    assert_eq!(outputs, [Output::Yield, Output::AskProgress]);
}

#[test]
fn f22_a_peer_that_is_silent_is_let_go_after_the_idle_time() {
    for answer in [progress(None), progress(0)] {
        let mut closing = half_closed();
        assert_eq!(feed(&mut closing, ms(100) - NANO, Input::Tick).1, []);
        assert_eq!(must(&mut closing, 100, Input::Tick), [Output::AskProgress]);
        assert_eq!(must(&mut closing, 100, answer), [Output::Close]);
    }
}

#[test]
fn f22_a_peer_that_falls_silent_is_let_go_an_idle_time_later() {
    let mut closing = half_closed();
    must(&mut closing, 90, Input::Received);
    assert_eq!(must(&mut closing, 189, Input::Tick), []);
    assert_eq!(must(&mut closing, 190, Input::Tick), [Output::AskProgress]);
    assert_eq!(must(&mut closing, 190, progress(0)), [Output::Close]);
}

#[test]
fn f22_a_peer_that_sends_for_ever_is_let_go_after_the_total() {
    let mut closing = half_closed();
    for millis in (50..5000).step_by(50) {
        assert_eq!(must(&mut closing, millis, Input::Received), []);
    }
    assert_eq!(
        must(&mut closing, 5000, Input::Received),
        [Output::AskProgress]
    );
    assert_eq!(must(&mut closing, 5000, progress(0)), [Output::Close]);
}

#[test]
fn f22_a_peer_that_sends_and_takes_nothing_is_let_go_one_look_later() {
    let mut closing = half_closed();
    for millis in (50..5000).step_by(50) {
        must(&mut closing, millis, Input::Received);
    }
    must(&mut closing, 5000, Input::Received);
    // Only a second look tells that it takes nothing.
    assert_eq!(must(&mut closing, 5000, progress(7)), []);
    assert_eq!(closing.deadline(), Some(ms(5100)));
    assert_eq!(
        must(&mut closing, 5100, Input::Received),
        [Output::AskProgress]
    );
    assert_eq!(must(&mut closing, 5100, progress(7)), [Output::Close]);
}

#[test]
fn f22_a_peer_that_sends_and_takes_some_has_the_total_once_more() {
    let mut closing = half_closed();
    must(&mut closing, 5000, Input::Received);
    must(&mut closing, 5000, progress(7));
    must(&mut closing, 5100, Input::Tick);
    assert_eq!(must(&mut closing, 5100, progress(6)), []);
    must(&mut closing, 10_050, Input::Received);
    assert_eq!(closing.deadline(), Some(ms(10_100)));
}

/// Ticks until the close, with these numbers of unacknowledged bytes, the last
/// of which stays; returns the time of the close.
fn closed_at(closing: &mut LingeringClose, left: &[u64]) -> Duration {
    let mut left = left.iter();
    let mut now = Duration::ZERO;
    let mut last = 0;
    for _ in 0..10_000 {
        now = closing.deadline().unwrap_or(now);
        feed(closing, now, Input::Tick).0.unwrap();
        last = *left.next().unwrap_or(&last);
        if feed(closing, now, progress(last)).1 == [Output::Close] {
            return now;
        }
    }
    panic!("it does not close: {closing:?}");
}

#[test]
fn f24_output_that_the_peer_takes_is_waited_for() {
    let mut closing = half_closed();
    let left: Vec<_> = (0..200).rev().collect();
    // A look each idle time.
    assert_eq!(closed_at(&mut closing, &left), ms(20_000));
}

#[test]
fn f24_a_peer_that_takes_nothing_costs_the_total() {
    for left in [1, u64::MAX] {
        assert_eq!(closed_at(&mut half_closed(), &[left]), ms(5000));
    }
}

#[test]
fn s5_a_peer_that_has_not_taken_all_output_is_cut_off() {
    let after = |left: &[u64]| {
        let mut closing = half_closed();
        assert!(!closing.is_cut_off());
        closed_at(&mut closing, left);
        closing.is_cut_off()
    };
    assert!(after(&[2]) && after(&[9, 8, 7]));
    // All but the end of our side; all of it.
    assert!(!after(&[1]) && !after(&[9, 1]) && !after(&[9, 0]));
}

#[test]
fn f24_a_peer_that_takes_some_has_the_total_again() {
    assert_eq!(closed_at(&mut half_closed(), &[9, 9, 8]), ms(5300));
    // More than before is no progress.
    assert_eq!(closed_at(&mut half_closed(), &[9, 9, 8, 9, 8]), ms(5300));
}

#[test]
fn f24_after_the_peers_end_the_looks_become_rare() {
    let mut closing = half_closed();
    assert_eq!(must(&mut closing, 10, Input::End), [Output::AskProgress]);
    assert!(!closing.is_reading());
    let mut waits = Vec::new();
    let mut now = ms(10);
    for _ in 0..9 {
        feed(&mut closing, now, progress(1)).0.unwrap();
        let at = closing.deadline().unwrap();
        assert_eq!(feed(&mut closing, at - NANO, Input::Tick).1, []);
        assert_eq!(feed(&mut closing, at, Input::Tick).1, [Output::AskProgress]);
        waits.push((at - now).as_millis());
        now = at;
    }
    assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 100, 100]);
    assert_eq!(feed(&mut closing, now, progress(0)).1, [Output::Close]);
}

#[test]
fn f24_after_the_peers_end_the_total_bounds_the_wait() {
    let mut closing = half_closed();
    must(&mut closing, 10, Input::End);
    must(&mut closing, 10, progress(1));
    assert_eq!(closed_at(&mut closing, &[1]), ms(5000));
    // What is not known is not waited for.
    let mut unknown = half_closed();
    must(&mut unknown, 10, Input::End);
    assert_eq!(must(&mut unknown, 10, progress(None)), [Output::Close]);
}

#[test]
fn f24_the_system_is_asked_only_where_the_peers_end_says_too_little() {
    let (small, large) = (14_599, 14_600);
    // Written, idle before, draining; and whether an end is enough: at once,
    // and after a look that found no input.
    for (written, was_idle, is_draining, at_once, later) in [
        (small, false, false, true, true),
        (small, true, false, true, true),
        (small, true, true, true, true),
        // It may have come before ours.
        (small, false, true, false, true),
        (large, false, false, false, false),
        (large, true, true, false, false),
        (large, false, true, false, false),
    ] {
        for (looks_first, is_enough) in [(false, at_once), (true, later)] {
            let mut closing = closing(Config::default(), written, was_idle, is_draining);
            if looks_first {
                must(&mut closing, 1, Input::NoInput);
            }
            let output = if is_enough {
                Output::Close
            } else {
                Output::AskProgress
            };
            let outputs = must(&mut closing, 2, Input::End);
            assert_eq!(
                outputs,
                [output],
                "{written} {was_idle} {is_draining} {looks_first}"
            );
        }
    }
}

#[test]
fn f67_the_idle_time_is_two_round_trips_at_least() {
    let answer = |unacknowledged| Input::Progress {
        unacknowledged: Some(unacknowledged),
        round_trip: Some(ms(150)),
    };
    let mut closing = half_closed();
    must(&mut closing, 20, Input::Received);
    must(&mut closing, 120, Input::Tick);
    // It counts from the last input.
    assert_eq!(must(&mut closing, 120, answer(0)), []);
    assert_eq!(closing.deadline(), Some(ms(320)));
    must(&mut closing, 300, Input::Received);
    assert_eq!(closing.deadline(), Some(ms(600)));
    must(&mut closing, 600, Input::Tick);
    assert_eq!(must(&mut closing, 600, answer(0)), [Output::Close]);
    // A short one does not shorten it.
    let mut near = half_closed();
    must(&mut near, 100, Input::Tick);
    let round_trip = Some(ms(1));
    let unacknowledged = Some(3);
    must(
        &mut near,
        100,
        Input::Progress {
            unacknowledged,
            round_trip,
        },
    );
    assert_eq!(near.deadline(), Some(ms(200)));
}

#[test]
fn f67_the_total_bounds_also_a_long_round_trip() {
    let mut closing = half_closed();
    must(&mut closing, 100, Input::Tick);
    let answer = Input::Progress {
        unacknowledged: Some(0),
        round_trip: Some(Duration::MAX),
    };
    must(&mut closing, 100, answer);
    assert_eq!(closing.deadline(), Some(ms(5000)));
    must(&mut closing, 5000, Input::Tick);
    assert_eq!(must(&mut closing, 5000, answer), [Output::Close]);
}

#[test]
fn f73_no_times_are_too_short_to_let_others_run() {
    let mut config = config(0, 5000);
    config.ack_poll_min = Duration::ZERO;
    let mut reading = closing(config, u64::MAX, false, false);
    let mut ended = reading.clone();
    must(&mut ended, 0, Input::End);
    for millis in 0..5 {
        for closing in [&mut reading, &mut ended] {
            must(closing, millis, Input::Tick);
            must(closing, millis, progress(9));
            assert_eq!(closing.deadline(), Some(ms(millis + 1)));
        }
    }
}

#[test]
fn f73_without_any_time_two_looks_are_all() {
    let mut closing = closing(config(0, 0), u64::MAX, false, false);
    // It was asked with the half-close.
    assert_eq!(must(&mut closing, 0, progress(9)), [Output::AskProgress]);
    assert_eq!(must(&mut closing, 0, progress(9)), [Output::Close]);
    let mut none_left = closing_without_time();
    assert_eq!(must(&mut none_left, 0, progress(0)), [Output::Close]);
}

fn closing_without_time() -> LingeringClose {
    closing(config(0, 0), 0, false, false)
}
