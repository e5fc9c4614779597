//! Waiters are woken when they have what they wait for, and not otherwise.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Sender};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use lameduck::{Phase, Shutdown};

/// A task that counts how often it is woken.
#[derive(Default)]
struct Task(AtomicUsize);

impl Task {
    fn new() -> Arc<Task> {
        Arc::default()
    }

    fn wakes(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn poll<F: Future>(future: Pin<&mut F>, task: &Arc<Task>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(&Waker::from(task.clone())))
}

#[test]
fn l4_the_last_holder_that_brings_in_another_is_told_again_when_that_one_leaves() {
    let shutdown = Shutdown::new();
    let accept_guard = shutdown.try_guard().unwrap();
    let guard = accept_guard.try_clone().unwrap();
    shutdown.stop("now");
    let task = Task::new();
    let mut last = pin!(accept_guard.others_dropped());
    assert!(poll(last.as_mut(), &task).is_pending());
    drop(guard);
    assert_eq!(task.wakes(), 1);
    let another = accept_guard.try_clone().unwrap();
    assert!(
        poll(last.as_mut(), &task).is_pending(),
        "another guard is held"
    );
    drop(another);
    assert_eq!(task.wakes(), 2, "the task that waits sleeps on");
    assert!(poll(last.as_mut(), &task).is_ready());
    assert_eq!(shutdown.phase(), Phase::Draining);
}

#[test]
fn l4_all_of_many_waiters_are_woken_once() {
    let shutdown = Shutdown::new();
    let accept_guard = shutdown.try_guard().unwrap();
    let task = Task::new();
    let mut waiting: Vec<_> = (0..200).map(|_| shutdown.draining()).collect();
    for waiter in &mut waiting {
        assert!(poll(Pin::new(waiter), &task).is_pending());
    }
    shutdown.stop("now");
    assert_eq!(task.wakes(), 200);
    // Once each: a waiter that is not polled again needs no second wake.
    drop(accept_guard);
    assert_eq!(task.wakes(), 200);
}

#[test]
fn l4_a_waiter_for_the_end_is_woken_then_and_not_before() {
    let shutdown = Shutdown::new();
    let accept_guard = shutdown.try_guard().unwrap();
    let (draining, stopped) = (Task::new(), Task::new());
    let mut drains = pin!(shutdown.draining());
    let mut stops = pin!(shutdown.stopped());
    assert!(poll(drains.as_mut(), &draining).is_pending());
    assert!(poll(stops.as_mut(), &stopped).is_pending());
    shutdown.stop("now");
    assert_eq!((draining.wakes(), stopped.wakes()), (1, 0));
    drop(accept_guard);
    assert_eq!((draining.wakes(), stopped.wakes()), (1, 1));
    assert!(poll(stops.as_mut(), &stopped).is_ready());
}

/// A waker that uses the gate while it is woken and while it is dropped, and
/// says so.
struct UsesTheGate {
    shutdown: Shutdown,
    used: Sender<&'static str>,
}

impl UsesTheGate {
    /// Registers a waiter and removes it, which takes the lock of the waiters.
    fn use_gate(&self) {
        let mut stopped = pin!(self.shutdown.stopped());
        let mut cx = Context::from_waker(Waker::noop());
        assert!(stopped.as_mut().poll(&mut cx).is_pending());
    }
}

impl Wake for UsesTheGate {
    fn wake(self: Arc<Self>) {
        self.use_gate();
        self.used.send("woken").expect("the test listens");
    }
}

impl Drop for UsesTheGate {
    fn drop(&mut self) {
        self.use_gate();
        self.used.send("dropped").expect("the test listens");
    }
}

#[test]
fn l6_a_waker_may_use_the_gate_while_it_is_woken_or_dropped() {
    let (used, uses) = mpsc::channel();
    // In a thread of its own: a deadlock fails the test and does not hang it.
    thread::spawn(move || {
        let shutdown = Shutdown::new();
        let _guard = shutdown.try_guard().unwrap();
        let waker = |used: &Sender<_>| {
            let (shutdown, used) = (shutdown.clone(), used.clone());
            Waker::from(Arc::new(UsesTheGate { shutdown, used }))
        };
        let mut dropped = shutdown.draining();
        let first = waker(&used);
        assert!(
            Pin::new(&mut dropped)
                .poll(&mut Context::from_waker(&first))
                .is_pending()
        );
        drop(first);
        drop(dropped);
        let mut woken = shutdown.draining();
        let second = waker(&used);
        assert!(
            Pin::new(&mut woken)
                .poll(&mut Context::from_waker(&second))
                .is_pending()
        );
        drop(second);
        shutdown.stop("now");
    });
    let next = || uses.recv_timeout(Duration::from_secs(30));
    assert_eq!(next(), Ok("dropped"));
    assert_eq!(next(), Ok("woken"));
}

#[test]
fn a_dropped_waiter_is_not_woken_and_leaves_no_waker() {
    let shutdown = Shutdown::new();
    let accept_guard = shutdown.try_guard().unwrap();
    let task = Task::new();
    for _ in 0..3 {
        let mut draining = pin!(shutdown.draining());
        assert!(poll(draining.as_mut(), &task).is_pending());
        assert!(Arc::strong_count(&task) > 1);
    }
    assert_eq!(Arc::strong_count(&task), 1, "a waker is kept");
    shutdown.stop("now");
    assert_eq!(task.wakes(), 0);
    drop(accept_guard);
}
