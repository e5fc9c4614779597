//! Models of the gate: every interleaving, under `cargo test --features loom`.

use std::io;
use std::task::{Wake, Waker};

use futures::io::{AsyncRead, AsyncWrite};

use loom::future::block_on;
use loom::sync::atomic::{AtomicBool, AtomicUsize as Count};
use loom::thread;

use super::*;
use crate::rt::Connection;

/// Every interleaving of `body`, or all with up to three preemptions where
/// there would be too many.
fn model(preemptions: Option<usize>, body: impl Fn() + Send + Sync + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = model.preemption_bound.or(preemptions);
    let executions = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = executions.clone();
    model.check(move || {
        counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        body();
    });
    let executions = executions.load(std::sync::atomic::Ordering::Relaxed);
    println!("{executions} executions");
}

fn stopped_and_empty(shutdown: &Shutdown) {
    assert_eq!(shutdown.phase(), Phase::Stopped);
    assert_eq!(shutdown.guard_count(), 0);
}

/// A waker that counts.
struct Woken(Count);

impl Woken {
    fn new() -> std::sync::Arc<Woken> {
        std::sync::Arc::new(Woken(Count::new(0)))
    }

    fn times(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl Wake for Woken {
    fn wake(self: std::sync::Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn poll<F: Future + Unpin>(future: &mut F, woken: &std::sync::Arc<Woken>) -> Poll<F::Output> {
    let waker = Waker::from(woken.clone());
    Pin::new(future).poll(&mut Context::from_waker(&waker))
}

/// A connection that has a byte, once there is one.
struct Inbox(Arc<AtomicBool>);

impl AsyncRead for Inbox {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        // Acquire: pairs with the sender's release.
        if self.0.load(Ordering::Acquire) {
            Poll::Ready(Ok(1))
        } else {
            Poll::Pending
        }
    }
}

impl AsyncWrite for Inbox {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Connection for Inbox {
    fn poll_half_close(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[test]
fn f8_a_guard_against_the_stop_is_counted_or_refused_but_never_lost() {
    model(None, || {
        let shutdown = Shutdown::new();
        let entering = shutdown.clone();
        let client = thread::spawn(move || match entering.try_guard() {
            Ok(guard) => {
                assert_ne!(
                    entering.phase(),
                    Phase::Stopped,
                    "stopped with a guard held"
                );
                assert_eq!(entering.guard_count(), 1);
                drop(guard);
            }
            Err(refused) => {
                assert!(matches!(refused, GuardError::Closed(_)));
                assert_eq!(
                    entering.guard_count(),
                    0,
                    "the refused guard is half-counted"
                );
            }
        });
        shutdown.stop("now");
        client.join().unwrap();
        stopped_and_empty(&shutdown);
    });
}

#[test]
fn l2_the_last_leave_against_the_stop_ends_stopped() {
    model(None, || {
        let shutdown = Shutdown::new();
        let guard = shutdown.try_guard().unwrap();
        let leaving = thread::spawn(move || drop(guard));
        shutdown.stop("now");
        leaving.join().unwrap();
        stopped_and_empty(&shutdown);
    });
}

#[test]
fn l2_two_leaves_at_once_end_stopped() {
    model(None, || {
        let shutdown = Shutdown::new();
        let (one, two) = (shutdown.try_guard().unwrap(), shutdown.try_guard().unwrap());
        shutdown.stop("now");
        let leaving = thread::spawn(move || drop(one));
        drop(two);
        leaving.join().unwrap();
        stopped_and_empty(&shutdown);
    });
}

#[test]
fn l2_a_refused_guard_against_the_last_leave_ends_stopped() {
    model(Some(2), || {
        let shutdown = Shutdown::new();
        let guard = shutdown.try_guard().unwrap();
        shutdown.stop("now");
        let refused = shutdown.clone();
        let refused = thread::spawn(move || assert!(refused.try_guard().is_err()));
        let leaving = thread::spawn(move || drop(guard));
        block_on(shutdown.stopped());
        leaving.join().unwrap();
        refused.join().unwrap();
        stopped_and_empty(&shutdown);
    });
}

#[test]
fn l2_a_refused_guard_against_the_release_of_the_hold_ends_stopped() {
    model(Some(3), || {
        let (shutdown, hold) = Shutdown::driven();
        shutdown.advance(Phase::Draining);
        let other = shutdown.clone();
        let refused = thread::spawn(move || assert!(other.try_guard().is_err()));
        drop(hold);
        refused.join().unwrap();
        stopped_and_empty(&shutdown);
    });
}

#[test]
fn l4_the_last_holder_is_woken_although_a_guard_is_just_refused() {
    model(Some(2), || {
        let shutdown = Shutdown::new();
        let (guard, last) = (shutdown.try_guard().unwrap(), shutdown.try_guard().unwrap());
        shutdown.stop("now");
        let refused = shutdown.clone();
        let refused = thread::spawn(move || assert!(refused.try_guard().is_err()));
        let leaving = thread::spawn(move || drop(guard));
        block_on(last.others_dropped());
        leaving.join().unwrap();
        refused.join().unwrap();
        assert_eq!(shutdown.guard_count(), 1);
    });
}

#[test]
fn l4_an_observer_of_the_end_sees_what_all_guard_holders_did() {
    model(Some(3), || {
        let shutdown = Shutdown::new();
        let guards = [shutdown.try_guard().unwrap(), shutdown.try_guard().unwrap()];
        shutdown.stop("now");
        let work = Arc::new(Count::new(0));
        let leaving = guards.map(|guard| {
            let work = work.clone();
            thread::spawn(move || {
                work.fetch_add(1, Ordering::Relaxed);
                drop(guard);
            })
        });
        if shutdown.phase() == Phase::Stopped {
            assert_eq!(work.load(Ordering::Relaxed), 2, "a leave releases nothing");
        }
        for one in leaving {
            one.join().unwrap();
        }
        stopped_and_empty(&shutdown);
    });
}

#[test]
fn l4_f44_a_waiter_sees_the_last_leave_and_what_came_before_it() {
    model(None, || {
        let shutdown = Shutdown::new();
        let guard = shutdown.try_guard().unwrap();
        let work = Arc::new(Count::new(0));
        shutdown.stop("now");
        let worker = {
            let work = work.clone();
            thread::spawn(move || {
                // Relaxed: the leave publishes it.
                work.store(1, Ordering::Relaxed);
                drop(guard);
            })
        };
        block_on(shutdown.stopped());
        assert_eq!(work.load(Ordering::Relaxed), 1);
        worker.join().unwrap();
    });
}

#[test]
fn f30_one_of_two_stops_begins_it_and_is_its_cause() {
    model(Some(3), || {
        let shutdown = Shutdown::new();
        let other = shutdown.clone();
        let stopping = thread::spawn(move || other.stop("one"));
        let begun = shutdown.stop("two");
        // An observer of a stop sees its cause.
        let cause = shutdown.cause().expect("a stop without a cause");
        assert_ne!(stopping.join().unwrap(), begun);
        assert_eq!(shutdown.cause(), Some(cause), "the first cause is kept");
    });
}

#[test]
fn f30_no_stop_is_seen_without_its_cause() {
    model(None, || {
        let shutdown = Shutdown::new();
        let other = shutdown.clone();
        // The observer is the one that is spawned: loom notices a load that
        // comes after a store, and can miss one before a load and a store.
        let observer = thread::spawn(move || {
            let ready = other.is_ready();
            assert!(ready || other.cause().is_some(), "a stop without a cause");
        });
        shutdown.stop("now");
        observer.join().unwrap();
    });
}

#[test]
fn s1_an_abort_against_completion_does_not_go_back() {
    model(Some(3), || {
        let shutdown = Shutdown::new();
        let guard = shutdown.try_guard().unwrap();
        shutdown.stop("now");
        let leaving = thread::spawn(move || drop(guard));
        let other = shutdown.clone();
        let aborting = thread::spawn(move || other.abort("hurry"));
        // Aborting or complete, a waiter for the abort is not left waiting.
        block_on(shutdown.reached(Phase::Aborting));
        leaving.join().unwrap();
        aborting.join().unwrap();
        stopped_and_empty(&shutdown);
    });
}

#[test]
fn l4_a_waiter_that_is_dropped_takes_no_wake_from_another() {
    model(Some(3), || {
        let shutdown = Shutdown::new();
        let other = shutdown.clone();
        let stopping = thread::spawn(move || other.stop("now"));
        let wokens = [Woken::new(), Woken::new(), Woken::new()];
        let (mut dropped, mut kept) = (shutdown.stopped(), shutdown.stopped());
        let _ = poll(&mut dropped, &Woken::new());
        let mut pending = vec![poll(&mut kept, &wokens[0])];
        drop(dropped);
        // The first of these gets the place of the dropped one.
        let mut later = [shutdown.stopped(), shutdown.stopped()];
        for (future, woken) in later.iter_mut().zip(&wokens[1..]) {
            pending.push(poll(future, woken));
        }
        stopping.join().unwrap();
        for (pending, woken) in pending.iter().zip(&wokens) {
            assert!(
                pending.is_ready() || woken.times() == 1,
                "a waiter sleeps on"
            );
        }
    });
}

#[test]
fn l4_the_waker_that_was_registered_last_is_woken() {
    model(Some(3), || {
        let shutdown = Shutdown::new();
        let other = shutdown.clone();
        let stopping = thread::spawn(move || other.stop("now"));
        let mut stopped = shutdown.stopped();
        let (first, last) = (Woken::new(), Woken::new());
        let _ = poll(&mut stopped, &first);
        let pending = poll(&mut stopped, &last).is_pending();
        stopping.join().unwrap();
        assert!(
            !pending || last.times() == 1,
            "the task that waits sleeps on"
        );
    });
}

#[test]
fn l4_the_last_holder_is_woken_by_the_leave_of_the_other() {
    model(Some(3), || {
        let shutdown = Shutdown::new();
        let accept_guard = shutdown.try_guard().unwrap();
        let guard = accept_guard.try_clone().unwrap();
        let leaving = thread::spawn(move || drop(guard));
        let other = shutdown.clone();
        let stopping = thread::spawn(move || other.stop("now"));
        block_on(accept_guard.others_dropped());
        assert_eq!(shutdown.guard_count(), 1);
        assert_eq!(shutdown.phase(), Phase::Draining, "a guard is still held");
        leaving.join().unwrap();
        stopping.join().unwrap();
        drop(accept_guard);
        stopped_and_empty(&shutdown);
    });
}

#[test]
fn s9_a_holder_brings_in_another_also_against_the_stop() {
    model(Some(3), || {
        let shutdown = Shutdown::new();
        let accept_guard = shutdown.try_guard().unwrap();
        let other = shutdown.clone();
        let stopping = thread::spawn(move || other.stop("now"));
        let swept = accept_guard.try_clone().expect("a guard is held");
        drop(accept_guard);
        assert_ne!(
            shutdown.phase(),
            Phase::Stopped,
            "stopped with a guard held"
        );
        drop(swept);
        stopping.join().unwrap();
        stopped_and_empty(&shutdown);
    });
}

#[test]
fn f44_a_parked_read_is_ended_by_the_stop() {
    model(Some(3), || {
        let shutdown = Shutdown::new();
        let mut guard = shutdown.try_guard().unwrap();
        let other = shutdown.clone();
        let stopping = thread::spawn(move || other.stop("now"));
        let mut nothing = Inbox(Arc::new(AtomicBool::new(false)));
        let mut buffer = [0];
        let read = block_on(guard.read_or_drain(&mut nothing, &mut buffer));
        assert_eq!(read.unwrap(), None);
        stopping.join().unwrap();
    });
}

#[test]
fn l4_a_read_that_is_polled_again_is_woken() {
    model(Some(3), || {
        let shutdown = Shutdown::new();
        let mut guard = shutdown.try_guard().unwrap();
        let other = shutdown.clone();
        let stopping = thread::spawn(move || other.stop("now"));
        let mut nothing = Inbox(Arc::new(AtomicBool::new(false)));
        let (mut buffer, woken) = ([0], Woken::new());
        let mut read = guard.read_or_drain(&mut nothing, &mut buffer);
        // Only the first registers; the second relies on it.
        let pending = (0..2).all(|_| poll(&mut read, &woken).is_pending());
        stopping.join().unwrap();
        assert!(!pending || woken.times() == 1, "the read sleeps on");
    });
}

#[test]
fn f17_what_arrived_before_the_stop_is_read() {
    model(Some(3), || {
        let shutdown = Shutdown::new();
        let mut guard = shutdown.try_guard().unwrap();
        let full = Arc::new(AtomicBool::new(false));
        let (other, sent) = (shutdown.clone(), full.clone());
        let client = thread::spawn(move || {
            // Release: pairs with the reader's acquire.
            sent.store(true, Ordering::Release);
            other.stop("after the byte");
        });
        let (mut inbox, mut buffer) = (Inbox(full), [0]);
        let read = block_on(guard.read_or_drain(&mut inbox, &mut buffer));
        assert_eq!(
            read.unwrap(),
            Some(1),
            "the stop won over a byte that was there"
        );
        client.join().unwrap();
    });
}

#[test]
fn l2_the_release_of_the_hold_against_the_last_leave_ends_stopped() {
    model(Some(3), || {
        let (shutdown, hold) = Shutdown::driven();
        let guard = hold.try_guard().expect("the gate is open");
        shutdown.stop("now");
        shutdown.advance(Phase::Draining);
        let leaving = thread::spawn(move || drop(guard));
        drop(hold);
        leaving.join().unwrap();
        stopped_and_empty(&shutdown);
    });
}

#[test]
fn l4_the_driver_is_woken_by_the_last_leave() {
    model(Some(3), || {
        let (shutdown, hold) = Shutdown::driven();
        let guard = hold.try_guard().expect("the gate is open");
        let leaving = thread::spawn(move || drop(guard));
        shutdown.stop("now");
        shutdown.advance(Phase::Draining);
        block_on(hold.drained());
        assert_eq!(shutdown.guard_count(), 0);
        assert_eq!(shutdown.phase(), Phase::Draining, "the hold is given up");
        leaving.join().unwrap();
        drop(hold);
        stopped_and_empty(&shutdown);
    });
}

#[test]
fn f17_a_settling_read_goes_on_until_it_is_settled() {
    model(Some(3), || {
        let (shutdown, hold) = Shutdown::driven();
        let mut guard = hold.try_guard().expect("the gate is open");
        shutdown.settle();
        let other = shutdown.clone();
        let settled = thread::spawn(move || other.advance(Phase::Draining));
        let mut nothing = Inbox(Arc::new(AtomicBool::new(false)));
        let mut buffer = [0];
        let read = block_on(guard.read_or_drain(&mut nothing, &mut buffer));
        assert_eq!(read.unwrap(), None);
        settled.join().unwrap();
        drop((guard, hold));
        stopped_and_empty(&shutdown);
    });
}

#[test]
fn f44_f84_a_connection_in_use_is_woken_by_each_round_and_by_the_end() {
    let rounds_in_which_nothing_is_read: fn(&Shutdown) =
        |shutdown| (0..3).for_each(|_| shutdown.end_unused());
    let abort = |shutdown: &Shutdown| assert!(shutdown.advance(Phase::Aborting));
    for end in [rounds_in_which_nothing_is_read, Shutdown::end_idle, abort] {
        model(Some(3), move || {
            let (shutdown, hold) = Shutdown::driven();
            let mut guard = hold.try_guard().expect("the gate is open");
            shutdown.settle();
            shutdown.end_unused();
            let mut unused = Unused::default();
            let first = Woken::new();
            let waker = Waker::from(first.clone());
            let cx = Context::from_waker(&waker);
            assert!(guard.poll_unused(&cx, &mut unused, 1).is_pending());
            let other = shutdown.clone();
            let ending = thread::spawn(move || end(&other));
            block_on(std::future::poll_fn(|cx| {
                guard.poll_unused(cx, &mut unused, 1)
            }));
            ending.join().unwrap();
            drop((guard, hold));
            stopped_and_empty(&shutdown);
        });
    }
}

#[test]
fn f84_who_sees_that_idle_connections_end_sees_the_round() {
    model(None, || {
        let (shutdown, hold) = Shutdown::driven();
        let guard = hold.try_guard().expect("the gate is open");
        shutdown.settle();
        let other = shutdown.clone();
        let ending = thread::spawn(move || other.end_unused());
        assert!(!guard.is_settled() || guard.spares_those_in_use());
        ending.join().unwrap();
    });
}

#[test]
fn f94_who_drains_last_is_woken_when_nobody_else_is_open() {
    model(Some(3), || {
        let (shutdown, _hold) = Shutdown::driven();
        shutdown.joins_last(true);
        let other = shutdown.clone();
        let rests = thread::spawn(move || block_on(other.others_ended()));
        block_on(std::future::poll_fn(|cx| shutdown.poll_end_last(cx, || 1)));
        rests.join().unwrap();
    });
}

#[test]
fn f94_the_driver_hears_that_only_those_are_left_that_drain_last() {
    model(Some(3), || {
        let (shutdown, _hold) = Shutdown::driven();
        shutdown.settle();
        shutdown.joins_last(true);
        // The other one ends: first for the table of connections, then for the gate.
        let open = Arc::new(Count::new(2));
        let (other, table) = (shutdown.clone(), open.clone());
        let ends = thread::spawn(move || {
            table.fetch_sub(1, Ordering::AcqRel);
            other.has_left(false);
        });
        let mut rests = shutdown.others_ended();
        let (woken, last) = (Woken::new(), shutdown.clone());
        assert!(poll(&mut rests, &woken).is_pending());
        block_on(std::future::poll_fn(|cx| {
            last.poll_end_last(cx, || open.load(Ordering::Acquire))
        }));
        assert_eq!(woken.times(), 1);
        assert!(poll(&mut rests, &woken).is_ready());
        ends.join().unwrap();
    });
}

#[test]
fn f98_who_drains_last_is_woken_when_it_has_waited_long_enough() {
    model(Some(3), || {
        let (shutdown, _hold) = Shutdown::driven();
        shutdown.joins_last(true);
        let other = shutdown.clone();
        let rests = thread::spawn(move || block_on(other.others_ended()));
        shutdown.end_last();
        rests.join().unwrap();
    });
}
