//! The hard deadline of a stop: a thread of its own that ends the process, for
//! programs that ask for it (F47).
//!
//! It follows the signals and the gate by a [`Lifecycle`] of its own, and does
//! not log: a logger may be what blocks.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, JoinHandle, Thread};
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
        let mut watch = Watch::new(self.margin, config, hooks, signals, shutdown);
        let watch = move || {
            watch.run();
            self.end_process()
        };
        let name = "lameduck-deadline".to_owned();
        thread::Builder::new().name(name).spawn(watch)?;
        Ok(())
    }

    fn end_process(self) -> ! {
        // By another thread: to write may block.
        let text = "lameduck: the process is still there at its hard deadline: ending it";
        let told = thread::Builder::new().spawn(move || eprintln!("{text}"));
        if let Ok(told) = told {
            wait_for(&told, Duration::from_millis(100));
        }
        // Not `std::process::exit`, which flushes stdout, and may block.
        signal_hook::low_level::exit(self.exit_status.into())
    }
}

/// Waits until the thread has ended, for so long at most.
fn wait_for(thread: &JoinHandle<()>, at_most: Duration) {
    let begun = Instant::now();
    while !thread.is_finished() && begun.elapsed() < at_most {
        thread::park_timeout(Duration::from_millis(10));
    }
}

/// Follows a stop until its hard deadline.
struct Watch<S> {
    margin: Duration,
    lifecycle: Lifecycle,
    signals: Option<S>,
    stopping: PhaseReached,
    aborting: PhaseReached,
    shutdown: Shutdown,
    /// Whether a stop can still be asked for, since a successor serves (F51).
    is_in_restart: bool,
}

impl<S: SignalSource> Watch<S> {
    fn new(
        margin: Duration,
        config: Config,
        hooks: usize,
        signals: Option<S>,
        shutdown: &Shutdown,
    ) -> Watch<S> {
        Watch {
            margin,
            lifecycle: Lifecycle::new(config, 0, hooks),
            signals,
            stopping: shutdown.reached(Phase::LameDuck),
            aborting: shutdown.reached(Phase::Aborting),
            shutdown: shutdown.clone(),
            is_in_restart: false,
        }
    }

    /// Returns at the hard deadline.
    fn run(&mut self) {
        let origin = Instant::now();
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        let mut cx = Context::from_waker(&waker);
        while self.poll(origin.elapsed(), &mut cx).is_pending() {
            match self.next_at() {
                None => thread::park(),
                Some(at) => thread::park_timeout(at.saturating_sub(origin.elapsed())),
            }
        }
    }

    /// Feeds the lifecycle with all that has happened; returns ready at the hard
    /// deadline.
    fn poll(&mut self, now: Duration, cx: &mut Context<'_>) -> Poll<()> {
        while let Some(signals) = &mut self.signals {
            match signals.poll_signal(cx) {
                Poll::Ready(Some(signal)) => self.feed(now, Input::Signal(signal)),
                Poll::Ready(None) => self.signals = None,
                Poll::Pending => break,
            }
        }
        let phase = self.lifecycle.phase();
        if phase == Phase::Running && Pin::new(&mut self.stopping).poll(cx).is_ready() {
            self.is_in_restart = self.shutdown.cause() == Some(Cause::Successor);
            let begun = match self.is_in_restart {
                true => Input::HandedOver,
                false => Input::Stop,
            };
            self.feed(now, begun);
        }
        if self.is_in_restart {
            let waits = InRestart::HardDeadline;
            if self.shutdown.poll_stop_in_restart(waits, cx).is_ready() {
                self.is_in_restart = false;
                self.feed(now, Input::Stop);
            }
        }
        if phase < Phase::Aborting && Pin::new(&mut self.aborting).poll(cx).is_ready() {
            self.feed(now, Input::Abort);
        }
        self.feed(now, Input::Tick);
        match self.ends_by() {
            Some(end) if now >= end => Poll::Ready(()),
            _ => Poll::Pending,
        }
    }

    /// Only the times are of interest; the server does what there is to do.
    fn feed(&mut self, now: Duration, input: Input) {
        let _ = self.lifecycle.handle(now, input);
        while self.lifecycle.poll_output().is_some() {}
    }

    fn ends_by(&self) -> Option<Duration> {
        let end = self.lifecycle.ends_by()?;
        Some(end.saturating_add(self.margin))
    }

    /// Returns the time of the next poll, if nothing wakes it before.
    fn next_at(&self) -> Option<Duration> {
        let end = self.ends_by()?;
        Some(self.lifecycle.deadline().map_or(end, |at| at.min(end)))
    }
}

#[cfg(all(test, not(feature = "loom")))]
mod tests {
    use std::sync::mpsc::{self, Receiver, Sender, TryRecvError};

    use super::*;
    use crate::signal::Signal;

    const GRACE: Duration = Duration::from_secs(10);
    const ABORT: Duration = Duration::from_millis(500);
    const MARGIN: Duration = Duration::from_secs(2);
    const SECOND: Duration = Duration::from_secs(1);
    const NANO: Duration = Duration::from_nanos(1);

    impl SignalSource for Receiver<Signal> {
        fn poll_signal(&mut self, _: &mut Context<'_>) -> Poll<Option<Signal>> {
            match self.try_recv() {
                Ok(signal) => Poll::Ready(Some(signal)),
                Err(TryRecvError::Empty) => Poll::Pending,
                Err(TryRecvError::Disconnected) => Poll::Ready(None),
            }
        }
    }

    fn watch() -> (Watch<Receiver<Signal>>, Sender<Signal>, Shutdown) {
        let (shutdown, hold) = Shutdown::driven();
        // The gate is not emptied, and does not stop by itself.
        std::mem::forget(hold);
        let mut config = Config::default();
        (config.grace_period, config.abort_timeout) = (GRACE, ABORT);
        let (sender, signals) = mpsc::channel();
        let watch = Watch::new(MARGIN, config, 0, Some(signals), &shutdown);
        (watch, sender, shutdown)
    }

    impl Watch<Receiver<Signal>> {
        fn polled(&mut self, now: Duration) -> bool {
            self.poll(now, &mut Context::from_waker(Waker::noop()))
                .is_ready()
        }

        /// Returns when it is over, where nothing more happens: `None` where it waits
        /// for ever.
        fn over_at(&mut self, mut now: Duration) -> Option<Duration> {
            while !self.polled(now) {
                let next = self.next_at()?;
                assert!(now < next, "L3: {next:?} is not after {now:?}");
                assert!(!self.polled(next - NANO), "{next:?}");
                now = next;
            }
            Some(now)
        }
    }

    #[test]
    fn f47_a_stop_is_over_at_the_end_of_its_budget_and_the_margin() {
        let (mut watch, sender, _shutdown) = watch();
        assert_eq!(watch.over_at(SECOND), None, "nobody stops");
        sender.send(Signal::Terminate).unwrap();
        assert_eq!(watch.over_at(SECOND), Some(SECOND + GRACE + MARGIN));
    }

    #[test]
    fn f47_a_stop_by_code_is_heard_without_signals() {
        let (mut watch, sender, shutdown) = watch();
        drop(sender);
        assert_eq!(watch.over_at(Duration::ZERO), None);
        shutdown.stop("now");
        assert_eq!(watch.over_at(SECOND), Some(SECOND + GRACE + MARGIN));
    }

    #[test]
    fn f47_a_second_signal_leaves_the_time_of_an_abort() {
        let (mut watch, sender, _shutdown) = watch();
        sender.send(Signal::Terminate).unwrap();
        assert!(!watch.polled(Duration::ZERO));
        sender.send(Signal::Interrupt).unwrap();
        assert_eq!(watch.over_at(2 * SECOND), Some(2 * SECOND + ABORT + MARGIN));
    }

    #[test]
    fn f47_an_abort_by_code_is_heard_before_and_in_a_stop() {
        for stops_before in [false, true] {
            let (mut watch, _sender, shutdown) = watch();
            if stops_before {
                shutdown.stop("now");
            }
            assert!(!watch.polled(Duration::ZERO));
            shutdown.abort("at once");
            assert_eq!(watch.over_at(SECOND), Some(SECOND + ABORT + MARGIN));
        }
    }

    #[test]
    fn f51_a_restart_has_no_end_until_a_stop_is_asked_for() {
        let (mut watch, _sender, shutdown) = watch();
        shutdown.stop(Cause::Successor);
        assert_eq!(watch.over_at(SECOND), None);
        assert_eq!(watch.over_at(60 * SECOND), None);
        shutdown.stop("now");
        assert_eq!(
            watch.over_at(90 * SECOND),
            Some(90 * SECOND + GRACE + MARGIN)
        );
    }

    #[test]
    fn f47_the_last_line_is_waited_for_but_not_for_ever() {
        let (end, until) = mpsc::channel();
        let writes = thread::spawn(move || until.recv().unwrap_or_default());
        wait_for(&writes, Duration::from_millis(30));
        assert!(!writes.is_finished());

        let (begun, at_most) = (Instant::now(), Duration::from_secs(20));
        thread::spawn(move || {
            thread::park_timeout(Duration::from_millis(50));
            drop(end);
        });
        wait_for(&writes, at_most);
        assert!(writes.is_finished() && begun.elapsed() < at_most);
    }

    #[test]
    fn its_waker_unparks_the_thread() {
        let begun = Instant::now();
        let long = Duration::from_secs(20);
        Waker::from(Arc::new(Unpark(thread::current()))).wake();
        thread::park_timeout(long);
        assert!(begun.elapsed() < long);
    }
}
