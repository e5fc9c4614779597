//! Instructions, counted by callgrind: the same on a busy machine as on an idle
//! one, and so what CI can hold on to.

use std::future::Future;
use std::hint::black_box;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures::io::{AsyncRead, AsyncWrite};
use gungraun::{library_benchmark, library_benchmark_group, main};
use lameduck::machine::lifecycle::{Config, Input, Lifecycle};
use lameduck::{Connection, Guard, PhaseReached, Shutdown};

/// How often each thing is done in one count.
const TIMES: usize = 1_000;

/// A connection that is never readable, or at each second look.
struct Reader {
    never: bool,
    waited: bool,
}

impl AsyncRead for Reader {
    #[inline(never)]
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        self.waited = !self.waited;
        match self.never || self.waited {
            true => Poll::Pending,
            false => Poll::Ready(Ok(1)),
        }
    }
}

impl AsyncWrite for Reader {
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

impl Connection for Reader {
    fn poll_half_close(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn gate() -> Shutdown {
    Shutdown::new()
}

fn held() -> Guard {
    gate().try_guard().expect("the gate is open")
}

/// A gate with a number of waiters.
fn waited_for(waiters: usize) -> (Shutdown, Guard, Vec<PhaseReached>) {
    let shutdown = gate();
    let guard = shutdown.try_guard().expect("the gate is open");
    let mut cx = Context::from_waker(Waker::noop());
    let mut waiting: Vec<PhaseReached> = (0..waiters).map(|_| shutdown.draining()).collect();
    for waiter in &mut waiting {
        assert!(Pin::new(waiter).poll(&mut cx).is_pending());
    }
    (shutdown, guard, waiting)
}

#[library_benchmark]
#[bench::from_outside(gate())]
fn guard(shutdown: Shutdown) -> Shutdown {
    for _ in 0..TIMES {
        let _ = black_box(black_box(&shutdown).try_guard());
    }
    shutdown
}

#[library_benchmark]
#[bench::from_a_guard(held())]
fn guard_of_guard(guard: Guard) -> Guard {
    for _ in 0..TIMES {
        let _ = black_box(black_box(&guard).try_clone());
    }
    guard
}

#[library_benchmark]
#[bench::polled_again(held())]
fn parked(mut guard: Guard) -> Guard {
    let (mut reader, mut buffer) = (
        Reader {
            never: true,
            waited: false,
        },
        [0; 64],
    );
    let mut cx = Context::from_waker(Waker::noop());
    {
        let mut read = pin!(guard.read_or_drain(&mut reader, &mut buffer));
        for _ in 0..TIMES {
            assert!(black_box(read.as_mut().poll(&mut cx)).is_pending());
        }
    }
    guard
}

#[library_benchmark]
#[bench::pending_then_ready(held())]
fn read(mut guard: Guard) -> Guard {
    let (mut reader, mut buffer) = (
        Reader {
            never: false,
            waited: false,
        },
        [0; 64],
    );
    let mut cx = Context::from_waker(Waker::noop());
    for _ in 0..TIMES {
        let mut read = pin!(guard.read_or_drain(&mut reader, &mut buffer));
        assert!(black_box(read.as_mut().poll(&mut cx)).is_pending());
        assert!(black_box(read.as_mut().poll(&mut cx)).is_ready());
    }
    guard
}

#[library_benchmark]
#[bench::thousand_waiters(waited_for(TIMES))]
fn stop(
    (shutdown, guard, waiting): (Shutdown, Guard, Vec<PhaseReached>),
) -> (Guard, Vec<PhaseReached>) {
    shutdown.stop("measured");
    (guard, waiting)
}

#[library_benchmark]
#[bench::whole_stop(Lifecycle::new(Config::default(), 1, 0))]
fn machine(running: Lifecycle) -> Lifecycle {
    let inputs = [
        Input::Stop,
        Input::ListenerClosed(0, Ok(())),
        Input::Emptied,
    ];
    for _ in 0..TIMES {
        let mut lifecycle = running.clone();
        for input in black_box(inputs) {
            lifecycle.handle(Duration::ZERO, input).expect("each fits");
            while let Some(output) = lifecycle.poll_output() {
                black_box(output);
            }
        }
    }
    running
}

library_benchmark_group!(
    name = counts,
    benchmarks = [guard, guard_of_guard, parked, read, stop, machine]
);

main!(library_benchmark_groups = counts);
