//! Timers: one for each pure value, set to the deadline that it asks for.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::nanos::Nanos;
use crate::rt::Runtime;

/// The clock of the pure values: the time since a fixed moment.
#[derive(Debug)]
pub(crate) struct Clock<R> {
    runtime: R,
    origin: Instant,
}

/// Longer than anybody waits, and within what every clock can hold (F34). A
/// timer that ends there is set again.
const LONGEST: Duration = Duration::from_secs(3_000_000_000);

impl<R: Runtime> Clock<R> {
    pub(crate) fn new(runtime: R) -> Clock<R> {
        let origin = runtime.now();
        Clock { runtime, origin }
    }

    /// See [`Runtime::yield_now`].
    pub(crate) fn yield_now(&self, cx: &mut Context<'_>) {
        self.runtime.yield_now(cx);
    }

    pub(crate) fn now(&self) -> Duration {
        let now = self.runtime.now();
        now.saturating_duration_since(self.origin)
    }
}

/// A timer that follows a deadline.
pub(crate) struct Timer<R: Runtime> {
    set: Option<(Nanos, Pin<Box<R::Sleep>>)>,
}

impl<R: Runtime> Timer<R> {
    pub(crate) fn new() -> Timer<R> {
        Timer { set: None }
    }

    /// Waits until `deadline`, which may differ from poll to poll.
    pub(crate) fn poll(
        &mut self,
        clock: &Clock<R>,
        deadline: Option<Duration>,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        let Some(at) = deadline.map(Nanos::of) else {
            self.set = None;
            return Poll::Pending;
        };
        let (_, sleep) = match self.set.take() {
            // One that comes too early costs less than to set it each time
            // that the deadline moves on.
            Some(set) if set.0 <= at => self.set.insert(set),
            _ => {
                let until = clock.origin + at.duration().min(LONGEST);
                let sleep = Box::pin(clock.runtime.sleep_until(until));
                self.set.insert((at, sleep))
            }
        };
        let polled = sleep.as_mut().poll(cx);
        if polled.is_ready() {
            // One that came early is set again.
            self.set = None;
        }
        polled
    }
}

#[cfg(all(test, feature = "smol"))]
mod tests {
    use std::future::poll_fn;
    use std::task::Waker;

    use super::*;
    use crate::runtimes::smol::Smol;

    #[test]
    fn l3_a_deadline_that_comes_nearer_is_kept() {
        let (clock, mut timer) = (Clock::new(Smol), Timer::<Smol>::new());
        let far = Duration::from_secs(60);
        let cx = &mut Context::from_waker(Waker::noop());
        assert!(timer.poll(&clock, Some(far), cx).is_pending());
        let near = Duration::from_millis(5);
        smol::block_on(poll_fn(|cx| timer.poll(&clock, Some(near), cx)));
        assert!((near..far / 2).contains(&clock.now()));
    }

    #[test]
    fn l3_no_deadline_is_no_wake() {
        let (clock, mut timer) = (Clock::new(Smol), Timer::<Smol>::new());
        let cx = &mut Context::from_waker(Waker::noop());
        assert!(timer.poll(&clock, Some(Duration::ZERO), cx).is_ready());
        assert!(timer.poll(&clock, None, cx).is_pending());
    }
}
