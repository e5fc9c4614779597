//! The idle point of a handle, without a server.

use std::cell::Cell;
#[cfg(feature = "sim")]
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use super::*;
use crate::connection::{ConnectionRecord, GuardedConnection, Slot};
use crate::gate::Hold;
use crate::gate::woken::Woken;

/// A handle on a connection that never was, and its record.
fn handle(hold: &Hold) -> (SessionHandle, Arc<ConnectionRecord<()>>) {
    let guard = || hold.try_guard().expect("the gate is open");
    let record = Arc::new(ConnectionRecord::new(
        (1, Slot::of(0)),
        Address::from(std::net::SocketAddr::from(([127, 0, 0, 1], 1))),
        0,
        Duration::ZERO,
        GuardedConnection::new((), guard()),
    ));
    let handle = SessionHandle {
        guard: guard(),
        connection: record.clone(),
    };
    (handle, record)
}

#[test]
fn f17_what_is_queued_until_a_session_is_idle_is_handed_out() {
    let (shutdown, hold) = Shutdown::driven();
    let (mut handle, record) = handle(&hold);
    shutdown.advance(crate::Phase::Draining);
    let (queued, is_idle) = (Cell::new(false), Cell::new(false));
    let work = poll_fn(|_| {
        record.facts().set_found_nothing(true);
        if queued.get() {
            return Poll::Ready("the last message");
        }
        // Another task, right after this look.
        queued.set(true);
        is_idle.set(true);
        Poll::Pending
    });
    let mut next = pin!(handle.next_or_drain(work, || is_idle.get()));
    let mut cx = Context::from_waker(std::task::Waker::noop());
    assert!(next.as_mut().poll(&mut cx).is_pending());
    let polled = next.as_mut().poll(&mut cx);
    assert_eq!(polled, Poll::Ready(Some("the last message")));
}

#[test]
fn f84_work_on_a_connection_in_use_goes_on_after_a_restart() {
    let (shutdown, hold) = Shutdown::driven();
    let (mut handle, record) = handle(&hold);
    shutdown.settle();
    let facts = record.facts();
    let reads = poll_fn(|_| {
        facts.set_found_nothing(true);
        Poll::<()>::Pending
    });
    let mut next = pin!(handle.next_or_drain(reads, || true));
    let mut cx = Context::from_waker(std::task::Waker::noop());
    let mut is_pending = || next.as_mut().poll(&mut cx).is_pending();
    assert!(is_pending(), "it waits for the stop, and then for a round");
    facts.count_read(1);
    shutdown.end_unused();
    assert!(is_pending());
    shutdown.end_unused();
    facts.count_read(1);
    for _ in 0..3 {
        assert!(is_pending());
        shutdown.end_unused();
    }
    assert!(!is_pending(), "it has rested for two rounds");
}

#[test]
fn f69_the_abort_ends_a_wait_in_another_task() {
    let (shutdown, hold) = Shutdown::driven();
    let (mut handle, _) = handle(&hold);
    let (woken, task) = Woken::new();
    let mut cx = Context::from_waker(&task);
    let queue = std::future::pending::<()>();
    let mut next = pin!(handle.next_or_drain(queue, || false));
    shutdown.settle();
    shutdown.end_idle();
    for _ in 0..2 {
        assert!(next.as_mut().poll(&mut cx).is_pending());
    }
    shutdown.advance(crate::Phase::Aborting);
    assert_eq!(woken.times(), 1);
    assert_eq!(next.as_mut().poll(&mut cx), Poll::Ready(None));
}

#[test]
fn f84_work_goes_on_while_the_peer_receives_its_last_answer() {
    let (shutdown, hold) = Shutdown::driven();
    let (mut handle, record) = handle(&hold);
    shutdown.end_unused();
    record.facts().count_read(1);
    let left = Cell::new(9000);
    let guard = hold.try_guard().expect("the gate is open");
    let reads = poll_fn(|_| {
        record.facts().set_found_nothing(true);
        // As the session does.
        let mut unused = record.unused();
        guard.ask(&mut unused, || Some(left.get()));
        record.set_unused(unused);
        Poll::<()>::Pending
    });
    let mut next = pin!(handle.next_or_drain(reads, || true));
    let mut cx = Context::from_waker(std::task::Waker::noop());
    let mut is_pending = || next.as_mut().poll(&mut cx).is_pending();
    for _ in 0..9 {
        assert!(is_pending());
        left.set(left.get() - 1000);
        shutdown.end_unused();
    }
    for _ in 0..3 {
        assert!(is_pending(), "it has what it needs for its next message");
        shutdown.end_unused();
    }
    assert!(!is_pending());
}

/// A connection whose input is held back, or is read.
#[cfg(feature = "sim")]
struct Held {
    record: Arc<ConnectionRecord<()>>,
    is_held_back: AtomicBool,
}

#[cfg(feature = "sim")]
impl Describe for Held {
    fn facts(&self) -> &crate::connection::ConnectionFacts {
        self.record.facts()
    }

    fn is_held_back(&self) -> bool {
        self.is_held_back.load(Relaxed)
    }

    fn set_label(&self, label: String) {
        self.record.set_label(label);
    }

    fn label(&self) -> Option<String> {
        self.record.label()
    }

    fn unused(&self) -> crate::gate::Unused {
        self.record.unused()
    }

    fn set_unused(&self, unused: crate::gate::Unused) {
        self.record.set_unused(unused);
    }
}

#[cfg(feature = "sim")]
#[test]
fn f97_work_is_not_quiet_while_its_input_is_held_back() {
    let mut sim = crate::sim::Sim::with_choices([]);
    let runtime = sim.runtime();
    let (shutdown, hold) = Shutdown::driven();
    let (mut handle, record) = handle(&hold);
    let held = Arc::new(Held {
        record,
        is_held_back: true.into(),
    });
    handle.connection = held.clone();
    shutdown.advance(crate::Phase::Draining);
    let quiet = Duration::from_secs(1);
    let work = std::future::pending::<()>();
    let mut work = pin!(handle.run_until_quiet(&runtime, quiet, work));
    let mut cx = Context::from_waker(std::task::Waker::noop());
    for _ in 0..3 {
        assert!(work.as_mut().poll(&mut cx).is_pending());
        sim.advance(quiet, 1000);
    }
    assert!(work.as_mut().poll(&mut cx).is_pending());
    held.is_held_back.store(false, Relaxed);
    sim.advance(quiet, 1000);
    assert_eq!(work.as_mut().poll(&mut cx), Poll::Ready(None));
}
