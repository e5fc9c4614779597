//! Instructions, counted by callgrind: the same on a busy machine as on an idle
//! one, and so what CI can hold on to.

use std::future::Future;
use std::hint::black_box;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures::io::AsyncRead;
use gungraun::{library_benchmark, library_benchmark_group, main};
use lameduck::machine::{Config, Input, Machine};
use lameduck::{Guard, PhaseReached, Shutdown};

/// How often each thing is done in one count.
const TIMES: usize = 1_000;

/// Never readable, or after each second look.
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

fn gate() -> Shutdown {
    Shutdown::new()
}

fn living() -> Guard {
    gate().enter().expect("the gate is open")
}

/// A gate with so many who wait for it.
fn waited_for(waiters: usize) -> (Shutdown, Guard, Vec<PhaseReached>) {
    let shutdown = gate();
    let accept_guard = shutdown.try_guard().expect("the gate is open");
    let mut cx = Context::from_waker(Waker::noop());
    let mut waiting: Vec<PhaseReached> = (0..waiters).map(|_| shutdown.draining()).collect();
    for waiter in &mut waiting {
        assert!(Pin::new(waiter).poll(&mut cx).is_pending());
    }
    (shutdown, accept_guard, waiting)
}

#[library_benchmark]
#[bench::from_outside(gate())]
fn guard(shutdown: Shutdown) -> Shutdown {
    for _ in 0..TIMES {
        let _ = black_box(black_box(&shutdown).enter());
    }
    shutdown
}

#[library_benchmark]
#[bench::from_a_guard(living())]
fn guard_of_guard(accept_guard: Guard) -> Guard {
    for _ in 0..TIMES {
        let _ = black_box(black_box(&accept_guard).enter());
    }
    accept_guard
}

#[library_benchmark]
#[bench::polled_again(living())]
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
#[bench::pending_then_ready(living())]
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
fn stop((shutdown, accept_guard, waiting): (Shutdown, Guard, Vec<PhaseReached>)) -> (Guard, Vec<PhaseReached>) {
    shutdown.stop("measured");
    (accept_guard, waiting)
}

#[library_benchmark]
#[bench::whole_stop(Machine::new(Config::default(), 1, 0))]
fn machine(running: Machine) -> Machine {
    let inputs = [
        Input::Stop {
            cause: "measured".into(),
        },
        Input::ListenerQuiet(0),
        Input::ListenerClosed(0, Ok(())),
        Input::Emptied,
    ];
    for _ in 0..TIMES {
        let mut machine = running.clone();
        for input in black_box(inputs.clone()) {
            machine.handle(Duration::ZERO, input).expect("each applies");
            while let Some(output) = machine.poll_output() {
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
