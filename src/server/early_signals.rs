//! The signals between `bind` and `serve`: a stop that comes while the program
//! still starts up is seen at once (F59).

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use log::info;

use super::timer::Clock;
use crate::gate::Shutdown;
use crate::machine::lifecycle::{Config, SignalsSeen};
use crate::rt::{Runtime, SignalSource};
use crate::signal::Signal;
use crate::sync::plain::{Arc, Mutex, lock};

/// The signal source, until the driver takes it.
pub(super) struct EarlySignals<S> {
    state: Arc<Mutex<State<S>>>,
}

struct State<S> {
    source: Option<S>,
    seen: Vec<Signal>,
    watcher: Option<Waker>,
}

impl<S: SignalSource> EarlySignals<S> {
    /// Watches the source in a task of the runtime. Signals among `stops` ask
    /// for the stop at once, and another one for the abort; all of them are kept
    /// for the driver.
    pub(super) fn watch<R: Runtime>(
        runtime: &R,
        source: S,
        stops: Vec<Signal>,
        config: Config,
        shutdown: Shutdown,
    ) -> EarlySignals<S> {
        let state = Arc::new(Mutex::new(State {
            source: Some(source),
            seen: Vec::new(),
            watcher: None,
        }));
        runtime.spawn(Watch {
            state: state.clone(),
            stops,
            config,
            clock: Clock::new(runtime.clone()),
            asked: SignalsSeen::default(),
            shutdown,
        });
        EarlySignals { state }
    }

    /// Returns the source, and the signals that came before.
    pub(super) fn take(self) -> (Option<S>, Vec<Signal>) {
        let mut state = lock(&self.state);
        (state.source.take(), std::mem::take(&mut state.seen))
    }
}

impl<S> Drop for EarlySignals<S> {
    /// Ends the watch.
    fn drop(&mut self) {
        let mut state = lock(&self.state);
        let (source, watcher) = (state.source.take(), state.watcher.take());
        drop(state);
        drop(source);
        if let Some(watcher) = watcher {
            watcher.wake();
        }
    }
}

struct Watch<R, S> {
    state: Arc<Mutex<State<S>>>,
    stops: Vec<Signal>,
    config: Config,
    clock: Clock<R>,
    asked: SignalsSeen,
    shutdown: Shutdown,
}

// Nothing in it is pinned.
impl<R, S> Unpin for Watch<R, S> {}

impl<R: Runtime, S: SignalSource> Future for Watch<R, S> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        loop {
            let mut state = lock(&this.state);
            state.watcher = Some(cx.waker().clone());
            let Some(source) = &mut state.source else {
                return Poll::Ready(());
            };
            match source.poll_signal(cx) {
                Poll::Pending => return Poll::Pending,
                // The driver will hear that, too.
                Poll::Ready(None) => return Poll::Ready(()),
                Poll::Ready(Some(signal)) => {
                    state.seen.push(signal);
                    drop(state);
                    info!("received {signal}, before the server serves");
                    if this.stops.contains(&signal) {
                        this.ask(signal);
                    }
                }
            }
        }
    }
}

impl<R: Runtime, S> Watch<R, S> {
    fn ask(&mut self, signal: Signal) {
        let (config, now) = (&self.config, self.clock.now());
        match self.asked.is_another_request(config, now, signal) {
            true => self.shutdown.abort(signal),
            false => self.shutdown.stop(signal),
        };
    }
}

#[cfg(all(test, feature = "smol", not(feature = "loom")))]
mod tests {
    use std::collections::VecDeque;

    use super::*;
    use crate::gate::woken::Woken;
    use crate::phase::Phase;
    use crate::runtimes::smol::Smol;
    use Signal::{Hangup, Terminate};

    /// Signals that have come, and no more.
    struct Came {
        signals: Signals,
    }

    impl SignalSource for Came {
        fn poll_signal(&mut self, _: &mut Context<'_>) -> Poll<Option<Signal>> {
            match lock(&self.signals).pop_front() {
                Some(signal) => Poll::Ready(Some(signal)),
                None => Poll::Pending,
            }
        }
    }

    type Signals = Arc<Mutex<VecDeque<Signal>>>;

    fn watch() -> (Watch<Smol, Came>, EarlySignals<Came>, Signals) {
        let signals = Arc::new(Mutex::new(VecDeque::new()));
        let source = Came {
            signals: signals.clone(),
        };
        let state = Arc::new(Mutex::new(State {
            source: Some(source),
            seen: Vec::new(),
            watcher: None,
        }));
        let watch = Watch {
            state: state.clone(),
            stops: vec![Terminate],
            config: Config {
                same_signal_window: std::time::Duration::ZERO,
                ..Config::default()
            },
            clock: Clock::new(Smol),
            asked: SignalsSeen::default(),
            shutdown: Shutdown::driven().0,
        };
        (watch, EarlySignals { state }, signals)
    }

    #[test]
    fn f59_a_stop_is_seen_at_once_and_another_one_aborts_and_all_are_kept() {
        let (mut watch, early, signals) = watch();
        let cx = &mut Context::from_waker(Waker::noop());
        let shutdown = watch.shutdown.clone();
        let mut phase_after = |signal| {
            // The window for the same signal ends when the clock goes on.
            let before = watch.clock.now();
            while watch.clock.now() == before {}
            lock(&signals).push_back(signal);
            assert!(Pin::new(&mut watch).poll(cx).is_pending());
            shutdown.phase()
        };
        assert_eq!(phase_after(Hangup), Phase::Running);
        assert_eq!(phase_after(Terminate), Phase::LameDuck);
        assert_eq!(phase_after(Hangup), Phase::LameDuck);
        assert!(phase_after(Terminate) >= Phase::Aborting);
        let (source, seen) = early.take();
        assert!(source.is_some());
        assert_eq!(seen, [Hangup, Terminate, Hangup, Terminate]);
        // The driver has the source now.
        assert!(Pin::new(&mut watch).poll(cx).is_ready());
    }

    #[test]
    fn f59_a_server_that_never_serves_gives_its_signals_back() {
        let (mut watch, early, signals) = watch();
        let (woken, waker) = Woken::new();
        let cx = &mut Context::from_waker(&waker);
        assert!(Pin::new(&mut watch).poll(cx).is_pending());
        assert_eq!(Arc::strong_count(&signals), 2);
        drop(early);
        assert_eq!(Arc::strong_count(&signals), 1);
        assert_eq!(woken.times(), 1);
        assert!(Pin::new(&mut watch).poll(cx).is_ready());
    }
}
