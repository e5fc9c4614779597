//! One stop-aware operation of each library, to be run many times over.

use std::future::Future;
use std::hint::black_box;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use futures::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use hyper_util::server::graceful::GracefulShutdown;
use lameduck::{Connection, Shutdown};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;
use swansong::Swansong;
use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Something to be measured: it runs so many operations on each of its threads,
/// and says how long they took.
pub struct Subject {
    pub name: &'static str,
    pub run: Box<dyn FnMut(u64) -> Duration>,
}

impl Subject {
    fn new(name: &'static str, run: impl FnMut(u64) -> Duration + 'static) -> Subject {
        Subject {
            name,
            run: Box::new(run),
        }
    }

    /// Operations on several threads at once, each on a core of its own.
    fn threaded(
        name: &'static str,
        threads: usize,
        work: impl Fn(u64) + Sync + 'static,
    ) -> Subject {
        Subject::new(name, move |count| {
            // Never so few that the clock itself is what is measured.
            let run = count.max(CHUNK);
            let time = match threads {
                1 => processor_time(|| work(run)),
                _ => together(threads, run, &work),
            };
            time.mul_f64(count as f64 / run as f64)
        })
    }
}

/// How much processor time it takes: what others do meanwhile is not in it.
fn processor_time(work: impl FnOnce()) -> Duration {
    let now = || {
        Duration::from(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("Linux has it"))
    };
    let begin = now();
    work();
    now() - begin
}

/// So many operations at once are well within what a scheduler gives a thread.
const CHUNK: u64 = 10_000;

/// How often a chunk is repeated that somebody else came into.
const ATTEMPTS: usize = 50;

/// The mean of the threads' processor times. Threads that do not run at the
/// same time do not contend: what was disturbed is done once more.
fn together(threads: usize, count: u64, work: &(impl Fn(u64) + Sync)) -> Duration {
    let mut time = Duration::ZERO;
    for begun in (0..count).step_by(CHUNK as usize) {
        let chunk = CHUNK.min(count - begun);
        let attempts = (0..ATTEMPTS).map(|_| attempt(threads, chunk, work));
        let mut last = Duration::ZERO;
        for (attempt, undisturbed) in attempts {
            last = attempt;
            if undisturbed {
                break;
            }
        }
        time += last;
    }
    time
}

fn attempt(threads: usize, count: u64, work: &(impl Fn(u64) + Sync)) -> (Duration, bool) {
    let ready = &AtomicUsize::new(0);
    let run = move |core| {
        pin_to(core);
        // Spins: who sleeps until all are there, wakes too late.
        ready.fetch_add(1, Ordering::AcqRel);
        while ready.load(Ordering::Acquire) < threads {
            std::hint::spin_loop();
        }
        let begin = Instant::now();
        let time = processor_time(|| work(count));
        (begin, Instant::now(), time)
    };
    let results: Vec<_> = std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads)
            .map(|core| scope.spawn(move || run(core)))
            .collect();
        let ended = running.into_iter().map(|thread| thread.join());
        ended
            .map(|end| end.expect("an operation does not panic"))
            .collect()
    });
    let begin = results.iter().map(|result| result.0).min();
    let end = results.iter().map(|result| result.1).max();
    let wall = end
        .zip(begin)
        .map_or(Duration::ZERO, |(end, begin)| end - begin);
    let shortest = results
        .iter()
        .map(|result| result.2)
        .min()
        .unwrap_or_default();
    let mean = results.iter().map(|result| result.2).sum::<Duration>() / threads as u32;
    (mean, wall < shortest * 5 / 4)
}

/// The calling thread stays on one core; on which, if there are fewer, is left
/// to the kernel.
pub fn pin_to(core: usize) {
    let mut cores = CpuSet::new();
    if cores.set(core).is_ok() {
        let _ = sched_setaffinity(Pid::from_raw(0), &cores);
    }
}

/// tokio-graceful asks for a runtime to wait on its signal.
fn runtime() -> Runtime {
    let runtime = Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime can be had")
}

fn tokio_graceful() -> (Runtime, tokio_graceful::Shutdown) {
    let runtime = runtime();
    let entered = runtime.enter();
    let shutdown = tokio_graceful::Shutdown::new(std::future::pending::<()>());
    drop(entered);
    (runtime, shutdown)
}

/// To come and to go: the floor, then the libraries.
pub fn guards(threads: usize) -> Vec<Subject> {
    let word = AtomicUsize::new(0);
    let (shutdown, scoped) = (Shutdown::new(), Shutdown::new());
    let inside = Shutdown::new().try_guard().expect("the gate is open");
    let swansong = Swansong::new();
    let tracker = TaskTracker::new();
    let (runtime, graceful) = tokio_graceful();
    let hyper = GracefulShutdown::new();
    vec![
        Subject::threaded("two read-modify-writes", threads, move |count| {
            for _ in 0..count {
                black_box(&word).fetch_add(1, Ordering::AcqRel);
                black_box(&word).fetch_sub(1, Ordering::AcqRel);
            }
        }),
        Subject::threaded("lameduck", threads, move |count| {
            for _ in 0..count {
                let _ = black_box(black_box(&shutdown).try_guard());
            }
        }),
        Subject::threaded("lameduck, for a scope", threads, move |count| {
            for _ in 0..count {
                let _ = black_box(black_box(&scoped).try_guard_ref());
            }
        }),
        Subject::threaded("lameduck, from a guard", threads, move |count| {
            for _ in 0..count {
                let _ = black_box(black_box(&inside).try_clone());
            }
        }),
        Subject::threaded("swansong", threads, move |count| {
            for _ in 0..count {
                drop(black_box(black_box(&swansong).guard()));
            }
        }),
        Subject::threaded("TaskTracker", threads, move |count| {
            for _ in 0..count {
                drop(black_box(black_box(&tracker).token()));
            }
        }),
        Subject::threaded("tokio-graceful", threads, move |count| {
            let _runtime = &runtime;
            for _ in 0..count {
                drop(black_box(black_box(&graceful).guard()));
            }
        }),
        Subject::threaded("hyper-util", threads, move |count| {
            for _ in 0..count {
                drop(black_box(black_box(&hyper).watcher()));
            }
        }),
    ]
}

/// A task that nobody runs.
struct Nothing;

impl Wake for Nothing {
    fn wake(self: Arc<Self>) {}
}

fn waker() -> Waker {
    Waker::from(Arc::new(Nothing))
}

/// Never readable.
struct Silent;

impl AsyncRead for Silent {
    #[inline(never)]
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        black_box((cx, buffer));
        Poll::Pending
    }
}

/// Not readable, readable, and so on.
#[derive(Default)]
struct Alternating(bool);

impl AsyncRead for Alternating {
    #[inline(never)]
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        black_box((cx, buffer));
        self.0 = !self.0;
        match self.0 {
            true => Poll::Pending,
            false => Poll::Ready(Ok(1)),
        }
    }
}

/// Makes a connection of a reader; nothing is ever written on it.
macro_rules! connection {
    ($reader:ty) => {
        impl AsyncWrite for $reader {
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

        impl Connection for $reader {
            fn poll_half_close(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                Poll::Ready(Ok(()))
            }
        }
    };
}

connection!(Silent);
connection!(Alternating);

fn poll_often(mut future: Pin<&mut impl Future>, count: u64) {
    let waker = waker();
    let mut cx = Context::from_waker(&waker);
    for _ in 0..count {
        let polled = future.as_mut().poll(black_box(&mut cx));
        assert!(polled.is_pending(), "the stop has not begun");
    }
}

/// A read that waits, and its stop, are polled again by the same task.
pub fn parked(threads: usize) -> Vec<Subject> {
    let shutdown = Shutdown::new();
    let swansong = Swansong::new();
    let token = CancellationToken::new();
    let (runtime, graceful) = tokio_graceful();
    vec![
        Subject::threaded("the read alone", threads, |count| {
            let (mut reader, mut buffer) = (Silent, [0; 64]);
            poll_often(pin!(reader.read(&mut buffer)), count);
        }),
        Subject::threaded("lameduck", threads, move |count| {
            let (mut reader, mut buffer) = (Silent, [0; 64]);
            let mut guard = shutdown.try_guard().expect("the gate is open");
            poll_often(pin!(guard.read_or_drain(&mut reader, &mut buffer)), count);
        }),
        Subject::threaded("swansong", threads, move |count| {
            let (mut reader, mut buffer) = (Silent, [0; 64]);
            poll_often(pin!(swansong.interrupt(reader.read(&mut buffer))), count);
        }),
        Subject::threaded("CancellationToken", threads, move |count| {
            let (mut reader, mut buffer) = (Silent, [0; 64]);
            let read = async {
                tokio::select! {
                    read = reader.read(&mut buffer) => Some(read),
                    () = token.cancelled() => None,
                }
            };
            poll_often(pin!(read), count);
        }),
        Subject::threaded("tokio-graceful", threads, move |count| {
            let _runtime = &runtime;
            let (mut reader, mut buffer) = (Silent, [0; 64]);
            let guard = graceful.guard();
            let read = async {
                tokio::select! {
                    read = reader.read(&mut buffer) => Some(read),
                    () = guard.cancelled() => None,
                }
            };
            poll_often(pin!(read), count);
        }),
    ]
}

fn poll_twice(mut future: Pin<&mut impl Future>, cx: &mut Context<'_>) {
    assert!(future.as_mut().poll(cx).is_pending(), "first it waits");
    assert!(future.poll(cx).is_ready(), "then it is there");
}

/// A whole read: made, pending once, ready, dropped.
pub fn reads() -> Vec<Subject> {
    /// The same loop around each library's read.
    macro_rules! reads {
        (|$reader:ident, $buffer:ident| $read:expr) => {
            move |count| {
                let (mut alternating, mut room) = (Alternating::default(), [0; 64]);
                let waker = waker();
                let mut cx = Context::from_waker(&waker);
                for _ in 0..count {
                    let ($reader, $buffer) = (&mut alternating, &mut room);
                    poll_twice(pin!($read), &mut cx);
                }
            }
        };
    }
    let shutdown = Shutdown::new();
    let swansong = Swansong::new();
    let token = CancellationToken::new();
    let (runtime, graceful) = tokio_graceful();
    vec![
        Subject::threaded(
            "the read alone",
            1,
            reads!(|reader, buffer| reader.read(buffer)),
        ),
        Subject::threaded("lameduck", 1, move |count| {
            let mut guard = shutdown.try_guard().expect("the gate is open");
            let (mut reader, mut buffer) = (Alternating::default(), [0; 64]);
            let waker = waker();
            let mut cx = Context::from_waker(&waker);
            for _ in 0..count {
                let read = guard.read_or_drain(&mut reader, &mut buffer);
                poll_twice(pin!(read), &mut cx);
            }
        }),
        Subject::threaded(
            "swansong",
            1,
            reads!(|reader, buffer| swansong.interrupt(reader.read(buffer))),
        ),
        Subject::threaded(
            "CancellationToken",
            1,
            reads!(|reader, buffer| async {
                tokio::select! {
                    read = reader.read(buffer) => Some(read),
                    () = token.cancelled() => None,
                }
            }),
        ),
        Subject::threaded("tokio-graceful", 1, move |count| {
            let _runtime = &runtime;
            let guard = graceful.guard();
            reads!(|reader, buffer| async {
                tokio::select! {
                    read = reader.read(buffer) => Some(read),
                    () = guard.cancelled() => None,
                }
            })(count);
        }),
    ]
}

/// A task of its own, which notes that it was woken.
#[derive(Default)]
struct Noted(AtomicBool);

impl Wake for Noted {
    fn wake(self: Arc<Self>) {
        // Relaxed: looked at by the thread that woke.
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Lets `waiters` wait, each as a task of its own, and times what wakes them.
fn wake<F: Future + Unpin, T>(
    waiters: usize,
    mut wait: impl FnMut() -> F,
    wake: impl FnOnce() -> T,
) -> Duration {
    let tasks: Vec<Arc<Noted>> = (0..waiters).map(|_| Arc::default()).collect();
    let mut waiting: Vec<F> = tasks
        .iter()
        .map(|task| {
            let mut waiter = wait();
            let waker = Waker::from(task.clone());
            let polled = Pin::new(&mut waiter).poll(&mut Context::from_waker(&waker));
            assert!(polled.is_pending(), "nothing has happened");
            waiter
        })
        .collect();
    let mut woke = None;
    let time = processor_time(|| woke = Some(wake()));
    let woken = tasks.iter().all(|task| task.0.load(Ordering::Relaxed));
    assert!(woken, "all are woken");
    waiting.clear();
    drop(woke);
    time
}

/// The stop, with so many who wait for it.
pub fn wakes(waiters: usize) -> Vec<Subject> {
    let repeat = move |name, mut once: Box<dyn FnMut() -> Duration>| {
        Subject::new(name, move |count| (0..count).map(|_| once()).sum())
    };
    vec![
        repeat(
            "the wakes alone",
            Box::new(move || {
                let tasks: Vec<Arc<Noted>> = (0..waiters).map(|_| Arc::default()).collect();
                let wakers: Vec<Waker> = tasks.iter().cloned().map(Waker::from).collect();
                processor_time(|| wakers.into_iter().for_each(Waker::wake))
            }),
        ),
        repeat(
            "lameduck",
            Box::new(move || {
                let shutdown = Shutdown::new();
                let accept_guard = shutdown.try_guard();
                let time = wake(
                    waiters,
                    || shutdown.draining(),
                    || shutdown.stop("measured"),
                );
                drop(accept_guard);
                time
            }),
        ),
        repeat(
            "swansong",
            Box::new(move || {
                let swansong = Swansong::new();
                let wait = || swansong.interrupt(std::future::pending::<()>());
                wake(waiters, || Box::pin(wait()), || swansong.shut_down())
            }),
        ),
        repeat(
            "CancellationToken",
            Box::new(move || {
                let token = CancellationToken::new();
                let wait = || Box::pin(token.clone().cancelled_owned());
                wake(waiters, wait, || token.cancel())
            }),
        ),
    ]
}
