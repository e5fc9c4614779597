//! The faults that a sweep keeps out.

use std::io;
use std::time::Duration;

use lameduck::machine::sweep::{AcceptError, Config, Input, Output, Sweep};
use lameduck::rt::CloseGuarantee;
use rustix::io::Errno;

use super::clauses::{feed, must};
use crate::{NANO, ms};

const FILTERED: Input = Input::StopAccepting(CloseGuarantee::SynFiltered);
const LACK: Input = Input::AcceptFailed(AcceptError::Resources);

fn back_off(millis: u64, is_first: bool) -> Output {
    let pause = ms(millis);
    Output::BackOff { pause, is_first }
}

/// Answers with a number of handshakes at each look, and finds the queue empty;
/// returns the times of the looks, until it has closed.
fn looks(mut sweep: Sweep, count: Option<usize>) -> (Vec<u64>, Option<CloseGuarantee>) {
    must(&mut sweep, 0, FILTERED);
    let first = must(&mut sweep, 0, Input::QueueEmpty);
    assert_eq!(first, [Output::AskHandshakes]);
    let (mut looks, mut at) = (vec![0], Duration::ZERO);
    loop {
        feed(&mut sweep, at, Input::Handshakes(count)).0.unwrap();
        let Some(next) = sweep.deadline() else {
            assert_eq!(feed(&mut sweep, at, Input::QueueEmpty).1, [Output::Close]);
            break;
        };
        assert_eq!(feed(&mut sweep, at, Input::QueueEmpty).1, []);
        at = next;
        assert_eq!(feed(&mut sweep, at, Input::Tick).1, [Output::AskHandshakes]);
        looks.push(at.as_millis() as u64);
    }
    (looks, sweep.guarantee())
}

fn default() -> Sweep {
    Sweep::new(Config::default())
}

#[test]
fn f1_what_waits_in_the_accept_queue_is_taken_before_the_close() {
    let mut sweep = default();
    must(&mut sweep, 0, Input::StopAccepting(CloseGuarantee::Swept));
    for _ in 0..3 {
        assert!(sweep.may_accept(0, None));
        assert_eq!(must(&mut sweep, 0, Input::Accepted), []);
    }
    assert_eq!(must(&mut sweep, 0, Input::QueueEmpty), [Output::Close]);
    assert_eq!(sweep.swept(), 3);
}

#[test]
fn f78_a_filtered_sweep_without_handshakes_ends_at_once() {
    let filtered = Some(CloseGuarantee::SynFiltered);
    assert_eq!(looks(default(), Some(0)), (vec![0], filtered));
}

#[test]
fn f2_handshakes_that_never_end_are_waited_for_until_the_timeout() {
    let mut config = Config::default();
    config.handshake_timeout = ms(60);
    let (looks, guarantee) = looks(Sweep::new(config), Some(1));
    assert_eq!(looks, [0, 1, 3, 7, 15, 31, 47, 63]);
    assert_eq!(guarantee, Some(CloseGuarantee::Swept));
}

#[test]
fn f2_handshakes_that_nobody_can_see_are_waited_for_a_while() {
    let (looks, guarantee) = looks(default(), None);
    assert_eq!(looks, [0, 20]);
    assert_eq!(guarantee, Some(CloseGuarantee::Swept));
}

#[test]
fn f2_a_connection_out_of_a_handshake_prolongs_the_wait() {
    for (count, wait) in [(Some(1), 300), (None, 20)] {
        for at in [2, 15] {
            let mut sweep = default();
            must(&mut sweep, 0, FILTERED);
            must(&mut sweep, 1, Input::QueueEmpty);
            must(&mut sweep, at, Input::Accepted);
            must(&mut sweep, at, Input::Handshakes(count));
            let mut last = ms(at);
            while let Some(look_at) = sweep.deadline() {
                last = look_at;
                feed(&mut sweep, look_at, Input::Tick).0.unwrap();
                feed(&mut sweep, look_at, Input::Handshakes(count))
                    .0
                    .unwrap();
            }
            let waited = last - ms(at);
            assert!(
                waited >= ms(wait) && waited < ms(wait + 16),
                "{waited:?}, {count:?}"
            );
        }
    }
}

#[test]
fn f2_the_waits_end_on_the_very_nanosecond() {
    for (count, wait) in [(Some(1), 300), (None, 20)] {
        for (early, waits) in [(NANO, true), (Duration::ZERO, false)] {
            let mut sweep = default();
            must(&mut sweep, 0, FILTERED);
            must(&mut sweep, 0, Input::QueueEmpty);
            let now = ms(wait) - early;
            feed(&mut sweep, now, Input::Handshakes(count)).0.unwrap();
            assert_eq!(sweep.deadline().is_some(), waits, "{count:?} {early:?}");
        }
    }
}

#[test]
fn f2_a_connection_that_comes_while_handshakes_are_asked_for_is_taken() {
    let mut sweep = default();
    must(&mut sweep, 0, FILTERED);
    must(&mut sweep, 1, Input::QueueEmpty);
    must(&mut sweep, 1, Input::Accepted);
    must(&mut sweep, 1, Input::QueueEmpty);
    must(&mut sweep, 1, Input::Handshakes(Some(0)));
    // The queue is looked at once more: one may have come before the answer.
    assert_eq!(sweep.guarantee(), None);
    must(&mut sweep, 1, Input::Accepted);
    must(&mut sweep, 1, Input::QueueEmpty);
    assert_eq!(sweep.guarantee(), Some(CloseGuarantee::SynFiltered));
}

#[test]
fn f3_a_successors_queue_is_not_swept() {
    let mut sweep = default();
    let stop = Input::StopAccepting(CloseGuarantee::HandedOver);
    assert_eq!(must(&mut sweep, 0, stop), [Output::Close]);
    assert_eq!(sweep.guarantee(), Some(CloseGuarantee::HandedOver));
}

#[test]
fn f7_failing_accepts_are_tried_ever_more_rarely() {
    let mut sweep = default();
    let mut now = Duration::ZERO;
    let mut pauses = Vec::new();
    for _ in 0..10 {
        let (_, outputs) = feed(&mut sweep, now, LACK);
        assert!(!sweep.may_accept(0, None));
        let until = sweep.deadline().unwrap();
        feed(&mut sweep, until - NANO, Input::Tick).0.unwrap();
        assert!(!sweep.may_accept(0, None));
        feed(&mut sweep, until, Input::Tick).0.unwrap();
        assert!(sweep.may_accept(0, None) && sweep.is_accepting());
        now = until;
        pauses.extend(outputs);
    }
    let millis = [5, 10, 20, 40, 80, 160, 320, 640, 1000, 1000];
    let expected: Vec<_> = millis.iter().map(|ms| back_off(*ms, *ms == 5)).collect();
    assert_eq!(pauses, expected);
}

/// The time of a sweep is that of the stop.
#[test]
fn f46_a_sweep_tries_again_soon() {
    let mut sweep = default();
    must(&mut sweep, 0, Input::StopAccepting(CloseGuarantee::Swept));
    let mut pauses = Vec::new();
    for _ in 0..6 {
        let now = sweep.deadline().unwrap_or_default();
        feed(&mut sweep, now, Input::Tick).0.unwrap();
        pauses.extend(feed(&mut sweep, now, LACK).1);
    }
    let expected = [5, 10, 20, 40, 50, 50].map(|ms| back_off(ms, ms == 5));
    assert_eq!(pauses, expected);
}

#[test]
fn f7_only_the_first_pause_in_a_row_is_the_first_one() {
    // Also where the pauses do not grow.
    let mut config = Config::default();
    config.back_off_max = config.back_off_min;
    let mut sweep = Sweep::new(config);
    assert_eq!(must(&mut sweep, 0, LACK), [back_off(5, true)]);
    assert_eq!(must(&mut sweep, 5, LACK), [back_off(5, false)]);
    must(&mut sweep, 10, Input::Accepted);
    assert_eq!(must(&mut sweep, 10, LACK), [back_off(5, true)]);
}

#[test]
fn f7_a_connection_or_the_stop_ends_the_pause() {
    for end in [Input::Accepted, Input::StopAccepting(CloseGuarantee::Swept)] {
        let mut sweep = default();
        must(&mut sweep, 0, LACK);
        must(&mut sweep, 5, LACK);
        must(&mut sweep, 6, end);
        assert!(sweep.may_accept(0, None), "{end:?}");
        assert_eq!(sweep.deadline(), None);
        assert_eq!(must(&mut sweep, 6, LACK), [back_off(5, true)]);
    }
}

#[test]
fn f7_no_pause_is_too_short_to_let_others_run() {
    for millis in [0, 1] {
        let mut config = Config::default();
        (config.back_off_min, config.back_off_max) = (Duration::ZERO, ms(millis));
        let mut sweep = Sweep::new(config);
        for now in 0..5 {
            assert_eq!(must(&mut sweep, now, LACK), [back_off(1, now == 0)]);
            assert_eq!(sweep.deadline(), Some(ms(now + 1)));
        }
        (config.handshake_poll_min, config.handshake_poll_max) = (NANO, Duration::ZERO);
        config.handshake_timeout = ms(3);
        assert_eq!(looks(Sweep::new(config), Some(1)).0, [0, 1, 2, 3]);
    }
}

#[test]
fn f7_an_error_of_one_connection_does_not_pause() {
    let mut sweep = default();
    let error = Input::AcceptFailed(AcceptError::Connection);
    assert_eq!(must(&mut sweep, 0, error), []);
    assert!(sweep.may_accept(0, None));
    assert_eq!(sweep.accepted(), 0);
}

#[test]
fn f7_other_tasks_run_after_each_batch() {
    let mut config = Config::default();
    config.batch = 3;
    let mut sweep = Sweep::new(config);
    let gone = Input::AcceptFailed(AcceptError::Connection);
    let mut yields = |input| must(&mut sweep, 0, input) == [Output::Yield];
    for _ in 0..3 {
        assert_eq!(
            [Input::Accepted, gone, Input::Accepted].map(&mut yields),
            [false, false, true]
        );
    }
    // An empty queue, or a pause, has let them run.
    for pause in [Input::QueueEmpty, LACK] {
        let inputs = [
            Input::Accepted,
            Input::Accepted,
            pause,
            Input::Accepted,
            Input::Accepted,
        ];
        assert_eq!(inputs.map(&mut yields), [false; 5]);
        assert!(yields(Input::Accepted));
    }
}

#[test]
fn f7_errors_are_classified_by_the_list_of_accept() {
    use AcceptError::{Connection, Listener, Resources};
    let kinds = [
        (Errno::CONNABORTED, Connection),
        (Errno::CONNRESET, Connection),
        (Errno::INTR, Connection),
        (Errno::PROTO, Connection),
        (Errno::PERM, Connection),
        (Errno::NETDOWN, Connection),
        (Errno::NETUNREACH, Connection),
        (Errno::HOSTDOWN, Connection),
        (Errno::HOSTUNREACH, Connection),
        (Errno::NOPROTOOPT, Connection),
        (Errno::TIMEDOUT, Connection),
        (Errno::BADF, Listener),
        (Errno::INVAL, Listener),
        (Errno::NOTSOCK, Listener),
        (Errno::FAULT, Listener),
        (Errno::OPNOTSUPP, Listener),
        (Errno::MFILE, Resources),
        (Errno::NFILE, Resources),
        (Errno::NOBUFS, Resources),
        (Errno::NOMEM, Resources),
        (Errno::NOSPC, Resources),
        (Errno::IO, Resources),
    ];
    for (errno, kind) in kinds {
        let error = io::Error::from(errno);
        assert_eq!(AcceptError::of(&error), kind, "{error}");
    }
}

#[test]
fn f46_a_sweep_without_descriptors_has_no_time_of_its_own() {
    let mut sweep = default();
    must(&mut sweep, 0, Input::StopAccepting(CloseGuarantee::Swept));
    let mut now = Duration::ZERO;
    for _ in 0..2000 {
        feed(&mut sweep, now, LACK).0.unwrap();
        assert_eq!(sweep.guarantee(), None);
        now = sweep.deadline().unwrap();
        feed(&mut sweep, now, Input::Tick).0.unwrap();
    }
    assert!(now > ms(60_000));
    feed(&mut sweep, now, Input::Accepted).0.unwrap();
    feed(&mut sweep, now, Input::QueueEmpty).0.unwrap();
    assert_eq!(sweep.guarantee(), Some(CloseGuarantee::Swept));
}

#[test]
fn f46_a_sweep_that_the_abort_ends_says_so() {
    let mut sweep = default();
    must(&mut sweep, 0, Input::StopAccepting(CloseGuarantee::Swept));
    must(&mut sweep, 0, LACK);
    assert_eq!(must(&mut sweep, 1, Input::Close), [Output::Close]);
    assert_eq!(sweep.guarantee(), Some(CloseGuarantee::Unswept));
}

#[test]
fn f46_a_pause_and_a_look_end_at_their_own_times() {
    let mut config = Config::default();
    config.handshake_poll_min = ms(3);
    let mut sweep = Sweep::new(config);
    must(&mut sweep, 0, FILTERED);
    must(&mut sweep, 0, Input::QueueEmpty);
    must(&mut sweep, 0, Input::Handshakes(Some(1)));
    must(&mut sweep, 0, LACK);
    assert_eq!(sweep.deadline(), Some(ms(3)));
    assert_eq!(must(&mut sweep, 3, Input::Tick), [Output::AskHandshakes]);
    assert_eq!(sweep.deadline(), Some(ms(5)));
    must(&mut sweep, 3, Input::Handshakes(Some(1)));
    assert_eq!(sweep.deadline(), Some(ms(5)));
    assert!(!sweep.may_accept(0, None));
    must(&mut sweep, 5, Input::Tick);
    assert_eq!(sweep.deadline(), Some(ms(9)));
    assert!(sweep.may_accept(0, None));
}

#[test]
fn f52_the_queue_that_is_really_there_bounds_the_sweep() {
    assert_eq!(Config::default().queue, 4097);
    let mut config = Config::default();
    config.queue = 3;
    let mut sweep = Sweep::new(config);
    must(&mut sweep, 0, FILTERED);
    for _ in 0..2 {
        assert_eq!(must(&mut sweep, 0, Input::Accepted), []);
    }
    assert_eq!(must(&mut sweep, 0, Input::Accepted), [Output::Close]);
    // One may have come out of a handshake since.
    assert_eq!(sweep.guarantee(), Some(CloseGuarantee::Swept));
}

#[test]
fn f56_what_was_not_seen_is_not_promised() {
    for count in [None, Some(1)] {
        let mut sweep = default();
        must(&mut sweep, 0, FILTERED);
        must(&mut sweep, 0, Input::QueueEmpty);
        must(&mut sweep, 400, Input::Handshakes(count));
        must(&mut sweep, 400, Input::QueueEmpty);
        assert_eq!(sweep.guarantee(), Some(CloseGuarantee::Swept), "{count:?}");
    }
}
