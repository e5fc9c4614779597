//! Listeners that fail, by an adapter around an adapter.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use lameduck::report::Outcome;
use lameduck::rt::{CloseGuarantee, SocketSharing};
use lameduck::{Address, Cause, ListenOptions, Listener, Runtime, Server, Signal};
use rustix::io::Errno;

use crate::draining;
use crate::support::{Client, builder, echo, eventually, start, tcp};

/// What the listeners do wrong, each in the order in which they were bound.
#[derive(Clone, Debug, Default)]
struct Script {
    /// Errors of the first accepts.
    accept: VecDeque<Errno>,
    /// The error of the close.
    close: Option<Errno>,
    /// The close is met here, and goes on when it is met once more.
    meet_at_close: Option<Arc<Barrier>>,
}

/// A sleep that lasts longer has no end, where that is wanted.
const LONG_SLEEP: Duration = Duration::from_millis(500);

/// A runtime whose listeners fail as they are told.
#[derive(Clone)]
struct Faulty<R> {
    inner: R,
    scripts: Arc<Mutex<VecDeque<Script>>>,
    /// Whether long sleeps have no end, and whether there was one.
    sleeps_for_ever: Option<Arc<AtomicBool>>,
    /// Whether the next task is dropped, with a panic.
    loses_next_task: Arc<AtomicBool>,
}

struct FaultyListener<L> {
    inner: L,
    script: Script,
}

impl<R: Runtime> Runtime for Faulty<R> {
    type Listener = FaultyListener<R::Listener>;
    type Signals = R::Signals;
    type Sleep = R::Sleep;

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let loses = self.loses_next_task.swap(false, Ordering::Relaxed);
        assert!(!loses, "no thread for it, as the test asked");
        self.inner.spawn(task);
    }

    fn now(&self) -> Instant {
        self.inner.now()
    }

    fn sleep_until(&self, at: Instant) -> R::Sleep {
        match &self.sleeps_for_ever {
            Some(sleeps) if at - self.now() >= LONG_SLEEP => {
                sleeps.store(true, Ordering::Relaxed);
                self.inner.sleep_until(at + Duration::from_secs(3600))
            }
            _ => self.inner.sleep_until(at),
        }
    }

    fn bind(&self, address: &Address, options: &ListenOptions) -> io::Result<Self::Listener> {
        let inner = self.inner.bind(address, options)?;
        let script = self.scripts.lock().unwrap().pop_front();
        let script = script.unwrap_or_default();
        Ok(FaultyListener { inner, script })
    }

    fn signals(&self, signals: &[Signal]) -> io::Result<R::Signals> {
        self.inner.signals(signals)
    }
}

impl<L: Listener> Listener for FaultyListener<L> {
    type Connection = L::Connection;

    fn local_addr(&self) -> &Address {
        self.inner.local_addr()
    }

    fn poll_accept(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<(L::Connection, Address)>> {
        match self.script.accept.pop_front() {
            Some(errno) => Poll::Ready(Err(errno.into())),
            None => self.inner.poll_accept(cx),
        }
    }

    fn stop_accepting(&mut self, sharing: SocketSharing) -> CloseGuarantee {
        self.inner.stop_accepting(sharing)
    }

    fn close(self) -> io::Result<()> {
        self.inner.close()?;
        if let Some(barrier) = &self.script.meet_at_close {
            barrier.wait();
            barrier.wait();
        }
        self.script.close.map_or(Ok(()), |errno| Err(errno.into()))
    }
}

fn faulty<R: Runtime>(runtime: R, scripts: impl Into<VecDeque<Script>>) -> Faulty<R> {
    Faulty {
        inner: runtime,
        scripts: Arc::new(Mutex::new(scripts.into())),
        sleeps_for_ever: None,
        loses_next_task: Arc::default(),
    }
}

fn accepts_with(errors: impl Into<VecDeque<Errno>>) -> Script {
    Script {
        accept: errors.into(),
        ..Script::default()
    }
}

pub(crate) fn f7_accept_errors_do_not_end_acceptance(runtime: impl Runtime) {
    let errors = [
        Errno::CONNABORTED,
        Errno::MFILE,
        Errno::INTR,
        Errno::NOMEM,
        Errno::PROTO,
    ];
    let server = builder(faulty(runtime, [accepts_with(errors)]));
    let server = start(server.bind().unwrap(), echo);
    let mut client = server.connect();
    client.exchange(b"after all of them");
    drop(client);
    let report = server.stop();
    assert_eq!((report.outcome, report.accepted), (Outcome::Clean, 1));
}

pub(crate) fn f8_a_task_that_the_runtime_panics_at_is_one_lost_connection(
    runtime: impl Runtime,
) {
    let runtime = faulty(runtime, []);
    let loses = runtime.loses_next_task.clone();
    let server = start(builder(runtime).bind().unwrap(), echo);
    let mut first = server.connect();
    first.exchange(b"served");
    loses.store(true, Ordering::Relaxed);
    let mut lost = server.connect();
    assert_eq!(lost.rest(), b"");
    let mut next = server.connect();
    next.exchange(b"served as well");
    drop((first, next));
    let report = server.stop();
    assert_eq!((report.accepted, report.closed.aborted), (3, 1), "{report}");
}

pub(crate) fn f7_the_stop_interrupts_the_back_off(runtime: impl Runtime) {
    // The pauses double: the eighth is the first long one, behind which nothing fails.
    let mut runtime = faulty(runtime, [accepts_with([Errno::MFILE; 8])]);
    let pauses = Arc::<AtomicBool>::default();
    runtime.sleeps_for_ever = Some(pauses.clone());
    let server = start(builder(runtime).bind().unwrap(), echo);
    eventually("a long pause", || pauses.load(Ordering::Relaxed));
    let report = server.stop();
    assert_eq!(report.outcome, Outcome::Clean);
}

/// This adapter does not say how long the queue is.
pub(crate) fn f52_a_queue_of_unknown_length_is_swept_as_it_was_asked_for(
    runtime: impl Runtime,
) {
    draining::f1_a_sweep_of_a_full_queue_keeps_its_guarantee(faulty(runtime, []));
}

pub(crate) fn f40_a_listener_that_fails_begins_the_stop_of_all(runtime: impl Runtime) {
    let scripts = [accepts_with([Errno::BADF]), Script::default()];
    let second: std::net::SocketAddr = ([127, 0, 0, 1], 0).into();
    let server = builder(faulty(runtime, scripts)).listen(second);
    let server: Server<_> = server.bind().unwrap();
    let addresses: Vec<_> = server.local_addrs().cloned().collect();
    let mut client = Client::connect(tcp(&addresses[1]));
    client.send(b"established before");
    let server = start(server, echo);
    assert_eq!(client.rest(), b"established before");
    drop(client);
    let report = server.report();
    assert_eq!((report.outcome, report.exit_status()), (Outcome::Failed, 1));
    assert_eq!(report.cause, Cause::Listener);
    assert_eq!(report.errors.len(), 1);
    assert!(
        report.errors[0]
            .to_string()
            .contains(&addresses[0].to_string()),
        "{report}"
    );
}

pub(crate) fn f40_a_close_that_fails_is_reported(runtime: impl Runtime) {
    let script = Script {
        close: Some(Errno::IO),
        ..Script::default()
    };
    let server = builder(faulty(runtime, [script]));
    let report = start(server.bind().unwrap(), echo).stop();
    assert_eq!((report.outcome, report.errors.len()), (Outcome::Failed, 1));
}

/// The driver has looked at the gate in this turn already, and sees the empty
/// server before it sees what emptied it: work of the program's own, which gives
/// up at the abort. A connection that is cut off would be counted in any case.
pub(crate) fn s5_an_abort_in_the_same_poll_is_not_reported_as_clean(runtime: impl Runtime) {
    let met = Arc::new(Barrier::new(2));
    let script = Script {
        meet_at_close: Some(met.clone()),
        ..Script::default()
    };
    let server = builder(faulty(runtime, [script]));
    let server = start(server.bind().unwrap(), echo);
    let work = server.shutdown.try_guard().unwrap();
    server.shutdown.stop("slowly");
    met.wait();
    server.shutdown.abort("quickly");
    drop(work);
    met.wait();
    assert_eq!(server.report().outcome, Outcome::Aborted);
}

pub(crate) fn f46_a_sweep_waits_for_descriptors(runtime: impl Runtime) {
    // 5 ms, then twice as long each time: more than a second of sweeping.
    let server = builder(faulty(runtime, [accepts_with([Errno::MFILE; 8])]));
    let server = server.bind().unwrap();
    let mut client = Client::connect(tcp(server.local_addrs().next().unwrap()));
    client.send(b"in the queue");
    server.shutdown().stop("before the first accept");
    let server = start(server, echo);
    assert_eq!(client.rest(), b"in the queue");
    drop(client);
    let report = server.report();
    assert_eq!((report.outcome, report.accepted), (Outcome::Clean, 1));
    assert_ne!(report.listeners[0].guarantee, CloseGuarantee::Unswept);
}

pub(crate) fn f46_a_listener_that_fails_in_its_sweep_makes_it_no_clean_stop(
    runtime: impl Runtime,
) {
    let server = builder(faulty(runtime, [accepts_with([Errno::BADF])]));
    let server = server.bind().unwrap();
    server.shutdown().stop("before the first accept");
    let report = start(server, echo).report();
    assert_eq!(report.listeners[0].guarantee, CloseGuarantee::Unswept);
    assert_eq!((report.outcome, report.errors.len()), (Outcome::Failed, 1));
}

/// What epoll says when it has no room: the listener is asked again.
pub(crate) fn f48_what_the_runtime_has_no_room_for_is_served_later(runtime: impl Runtime) {
    let errors = [Errno::NOSPC, Errno::NOMEM, Errno::NOSPC];
    let server = builder(faulty(runtime, [accepts_with(errors)]));
    let server = start(server.bind().unwrap(), echo);
    let mut client = server.connect();
    client.exchange(b"a little later");
    drop(client);
    let report = server.stop();
    assert_eq!((report.outcome, report.accepted), (Outcome::Clean, 1));
}
