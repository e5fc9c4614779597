//! The hard deadline of a stop: a thread of its own that ends the process, for
//! programs that ask for it (F47).
//!
//! It follows the signals and the gate by a [`Lifecycle`] of its own, and does
//! not log: a logger may be what blocks.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use crate::cause::Cause;
use crate::gate::{InRestart, PhaseReached, Shutdown};
use crate::machine::lifecycle::{Config, Input, Lifecycle};
use crate::phase::Phase;
use crate::rt::SignalSource;
use crate::sync::plain::Arc;

/// The end of a process whose stop takes too long.
#[derive(Clone, Copy, Debug)]
pub(super) struct HardDeadline {
    /// The time after the end of the budget.
    pub(super) margin: Duration,
    pub(super) exit_status: u8,
}

/// Wakes a thread that is parked.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

impl HardDeadline {
    /// Starts the thread.
    pub(super) fn watch<S: SignalSource>(
        self,
        config: Config,
        hooks: usize,
        signals: Option<S>,
        shutdown: &Shutdown,
    ) -> io::Result<()> {
        let mut watch = Watch {
            origin: Instant::now(),
            lifecycle: Lifecycle::new(config, 0, hooks),
            signals,
            stopping: shutdown.reached(Phase::LameDuck),
            aborting: shutdown.reached(Phase::Aborting),
            shutdown: shutdown.clone(),
            is_in_restart: false,
            deadline: self,
        };
        let name = "lameduck-deadline".to_owned();
        thread::Builder::new()
            .name(name)
            .spawn(move || watch.run())?;
        Ok(())
    }

    fn end_process(self) -> ! {
        // By another thread: to write may block.
        let text = "lameduck: the stop is not over at its hard deadline: ending the process";
        let told = thread::Builder::new().spawn(move || eprintln!("{text}"));
        if let Ok(told) = told {
            let until = Instant::now() + Duration::from_millis(100);
            while !told.is_finished() && Instant::now() < until {
                thread::park_timeout(Duration::from_millis(10));
            }
        }
        // Not `std::process::exit`, which flushes stdout, and may block.
        signal_hook::low_level::exit(self.exit_status.into())
    }
}

struct Watch<S> {
    origin: Instant,
    lifecycle: Lifecycle,
    signals: Option<S>,
    stopping: PhaseReached,
    aborting: PhaseReached,
    shutdown: Shutdown,
    /// Whether a stop can still be asked for, since a successor serves (F51).
    is_in_restart: bool,
    deadline: HardDeadline,
}

impl<S: SignalSource> Watch<S> {
    fn run(&mut self) {
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        let mut cx = Context::from_waker(&waker);
        loop {
            self.poll(&mut cx);
            match self.next_at() {
                None => thread::park(),
                Some(at) => thread::park_timeout(at.saturating_sub(self.origin.elapsed())),
            }
        }
    }

    /// Feeds the lifecycle with all that has happened.
    fn poll(&mut self, cx: &mut Context<'_>) {
        while let Some(signals) = &mut self.signals {
            match signals.poll_signal(cx) {
                Poll::Ready(Some(signal)) => self.feed(Input::Signal(signal)),
                Poll::Ready(None) => self.signals = None,
                Poll::Pending => break,
            }
        }
        let phase = self.lifecycle.phase();
        if phase == Phase::Running && Pin::new(&mut self.stopping).poll(cx).is_ready() {
            self.is_in_restart = self.shutdown.cause() == Some(Cause::Successor);
            self.feed(match self.is_in_restart {
                true => Input::HandedOver,
                false => Input::Stop,
            });
        }
        if self.is_in_restart {
            let waits = InRestart::HardDeadline;
            if self.shutdown.poll_stop_in_restart(waits, cx).is_ready() {
                self.is_in_restart = false;
                self.feed(Input::Stop);
            }
        }
        if phase < Phase::Aborting && Pin::new(&mut self.aborting).poll(cx).is_ready() {
            self.feed(Input::Abort);
        }
        let now = self.origin.elapsed();
        if self.lifecycle.deadline().is_some_and(|at| now >= at) {
            self.feed(Input::Tick);
        }
        let end = self.lifecycle.ends_by();
        let margin = self.deadline.margin;
        if end.is_some_and(|end| now >= end.saturating_add(margin)) {
            self.deadline.end_process();
        }
    }

    /// Only the times are of interest; the server does what there is to do.
    fn feed(&mut self, input: Input) {
        let _ = self.lifecycle.handle(self.origin.elapsed(), input);
        while self.lifecycle.poll_output().is_some() {}
    }

    fn next_at(&self) -> Option<Duration> {
        let margin = self.deadline.margin;
        let end = self.lifecycle.ends_by()?.saturating_add(margin);
        Some(self.lifecycle.deadline().map_or(end, |at| at.min(end)))
    }
}
