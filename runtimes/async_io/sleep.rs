//! A timer that is shared by all who wait until nearly the same moment.
//!
//! Each timer of async-io wakes the thread that keeps the time, at half a dozen system
//! calls. When thousands of connections set one at the same stop, that would be more work
//! than the stop itself.

use std::collections::BTreeMap;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::OnceLock;
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use async_io::Timer;

use crate::sync::plain::{Arc, Mutex, lock};

/// A timer on a thread of its own: it comes although every thread of a runtime
/// is held by a handler. See [`Runtime::sleep_until`](crate::rt::Runtime::sleep_until).
///
/// It can be late by a 32nd of the wait, and by 17 ms at most: waits that end at nearly
/// the same moment share one timer.
#[derive(Debug)]
pub struct Sleep {
    at: Instant,
    waiting: Option<Waiting>,
}

/// A place among the sleepers.
#[derive(Debug)]
struct Waiting {
    place: Place,
    /// The waker that was given last, so that most polls take no lock.
    waker: Waker,
}

impl Sleep {
    /// Waits until `at`.
    pub fn until(at: Instant) -> Sleep {
        Sleep { at, waiting: None }
    }

    /// Takes a place, unless it has one for the same task.
    fn wait(&mut self, now: Instant, cx: &mut Context<'_>) {
        let has_place = self.waiting.as_ref();
        if has_place.is_some_and(|waiting| waiting.waker.will_wake(cx.waker())) {
            return;
        }
        self.leave();
        let waker = cx.waker().clone();
        let moment = shared_moment(now, self.at);
        let (place, is_first) = lock(&SLEEPERS).insert(moment, waker.clone());
        self.waiting = Some(Waiting { place, waker });
        if is_first {
            set_timer(moment);
        }
    }

    fn leave(&mut self) {
        if let Some(waiting) = self.waiting.take() {
            let left = lock(&SLEEPERS).remove(waiting.place);
            // Outside of the lock: it may be the last that holds a task.
            drop(left);
        }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let now = Instant::now();
        if now < self.at {
            self.wait(now, cx);
            return Poll::Pending;
        }
        self.leave();
        Poll::Ready(())
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.leave();
    }
}

/// A moment, in nanoseconds since the first timer of the process.
type Moment = u64;

/// A moment, and the number of one sleeper.
type Place = (Moment, u64);

/// The longest that a timer comes late for the sake of sharing: 2^24 ns, 17 ms.
const COARSEST_BITS: u32 = 24;

fn origin() -> Instant {
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    *ORIGIN.get_or_init(Instant::now)
}

fn since_origin(at: Instant) -> Moment {
    let since = at.saturating_duration_since(origin());
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// Rounds `at` up to a moment that others are likely to wait for as well.
fn shared_moment(now: Instant, at: Instant) -> Moment {
    let wait = at.saturating_duration_since(now).as_nanos();
    // The largest power of two that is no more than a 32nd of the wait.
    let bits = (wait / 32).checked_ilog2().unwrap_or(0);
    let step = 1 << bits.min(COARSEST_BITS);
    let at = since_origin(at);
    at.checked_next_multiple_of(step).unwrap_or(at)
}

/// The timer of a moment, and the sleepers that share it: at least one.
#[derive(Default)]
struct SharedTimer {
    /// By their numbers, which are never used again.
    wakers: BTreeMap<u64, Waker>,
    /// `None` until it is set.
    timer: Option<Timer>,
}

/// All sleepers.
struct Sleepers {
    timers: BTreeMap<Moment, SharedTimer>,
    next_number: u64,
}

static SLEEPERS: Mutex<Sleepers> = Mutex::new(Sleepers {
    timers: BTreeMap::new(),
    next_number: 0,
});

impl Sleepers {
    /// Returns the place, and whether it is the first one of its moment.
    fn insert(&mut self, moment: Moment, waker: Waker) -> (Place, bool) {
        let number = self.next_number;
        self.next_number += 1;
        let shared = self.timers.entry(moment).or_default();
        let is_first = shared.wakers.is_empty();
        shared.wakers.insert(number, waker);
        ((moment, number), is_first)
    }

    /// Takes a sleeper out, and the timer with the last one. The caller drops both
    /// outside of the lock.
    fn remove(&mut self, (moment, number): Place) -> Option<(Waker, Option<SharedTimer>)> {
        let shared = self.timers.get_mut(&moment)?;
        let waker = shared.wakers.remove(&number)?;
        let is_last = shared.wakers.is_empty();
        let unused = is_last.then(|| self.timers.remove(&moment)).flatten();
        Some((waker, unused))
    }
}

/// Sets the timer of a moment, outside of the lock: async-io drops wakers of others in it.
fn set_timer(moment: Moment) {
    let mut timer = match origin().checked_add(Duration::from_nanos(moment)) {
        Some(at) => Timer::at(at),
        None => Timer::never(),
    };
    let waker = Waker::from(Arc::new(AtMoment(moment)));
    let polled = Pin::new(&mut timer).poll(&mut Context::from_waker(&waker));
    if polled.is_ready() {
        waker.wake();
        return;
    }
    // The last sleeper may have left meanwhile, or the moment may have come.
    let unused = match lock(&SLEEPERS).timers.get_mut(&moment) {
        Some(shared) => shared.timer.replace(timer),
        None => Some(timer),
    };
    drop(unused);
}

/// Wakes all who wait for the moment.
struct AtMoment(Moment);

impl Wake for AtMoment {
    fn wake(self: Arc<Self>) {
        let Some(shared) = lock(&SLEEPERS).timers.remove(&self.0) else {
            return;
        };
        for waker in shared.wakers.into_values() {
            // The others wait for the same moment, and have nothing to do with its panic.
            let _ = catch_unwind(AssertUnwindSafe(|| waker.wake()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::woken::Woken;

    const SECOND: Duration = Duration::from_secs(1);

    fn is_waiting(sleep: &Sleep) -> bool {
        let waiting = sleep.waiting.as_ref();
        waiting.is_some_and(|Waiting { place, .. }| {
            let sleepers = lock(&SLEEPERS);
            let shared = sleepers.timers.get(&place.0);
            shared.is_some_and(|shared| shared.wakers.contains_key(&place.1))
        })
    }

    fn timer_of(sleep: &Sleep) -> Option<Moment> {
        let moment = sleep.waiting.as_ref()?.place.0;
        let sleepers = lock(&SLEEPERS);
        let shared = sleepers.timers.get(&moment);
        let is_set = shared.is_some_and(|shared| shared.timer.is_some());
        is_set.then_some(moment)
    }

    fn poll(sleep: &mut Sleep, waker: &Waker) -> Poll<()> {
        Pin::new(sleep).poll(&mut Context::from_waker(waker))
    }

    #[test]
    fn a_moment_is_late_by_at_most_a_32nd() {
        let origin = origin();
        let now = Instant::now();
        for micros in [
            1,
            40,
            900,
            1_000,
            99_999,
            2_000_000,
            30_000_000,
            3_600_000_000,
        ] {
            let wait = Duration::from_micros(micros);
            let at = origin + Duration::from_nanos(shared_moment(now, now + wait));
            assert!(at >= now + wait, "{wait:?}");
            let late = at - (now + wait);
            let most = (wait / 32).min(Duration::from_nanos(1 << COARSEST_BITS));
            assert!(late <= most, "{wait:?}: {late:?}");
        }
        let over = shared_moment(now, now - SECOND.min(now - origin));
        assert!(over <= since_origin(now));
    }

    #[test]
    fn thousands_who_wait_until_nearly_the_same_moment_share_few_timers() {
        let (_woken, waker) = Woken::new();
        let from = Instant::now() + 100 * SECOND;
        let mut sleeps: Vec<Sleep> = (0..5_000)
            .map(|n| Sleep::until(from + n * Duration::from_micros(10)))
            .collect();
        for sleep in &mut sleeps {
            assert!(poll(sleep, &waker).is_pending());
        }
        let mut timers: Vec<Moment> = sleeps.iter().filter_map(timer_of).collect();
        assert_eq!(timers.len(), sleeps.len());
        timers.dedup();
        // 50 ms of moments, in steps of 17 ms.
        assert!(timers.len() <= 5, "{}", timers.len());
        sleeps.truncate(1);
        assert!(is_waiting(&sleeps[0]));
        drop(sleeps);
        let left = lock(&SLEEPERS);
        assert!(
            timers
                .iter()
                .all(|moment| !left.timers.contains_key(moment))
        );
    }

    #[test]
    fn it_comes_once_the_time_is_over_and_wakes_its_last_task() {
        let ((first, first_waker), (last, last_waker)) = (Woken::new(), Woken::new());
        let (sender, receiver) = std::sync::mpsc::channel();
        let at = Instant::now() + Duration::from_millis(40);
        let mut sleep = Sleep::until(at);
        assert!(poll(&mut sleep, &first_waker).is_pending());
        assert!(poll(&mut sleep, &last_waker).is_pending());
        let mut beside = Sleep::until(at);
        let notified = Waker::from(Arc::new(Notified(Mutex::new(sender))));
        assert!(poll(&mut beside, &notified).is_pending());
        receiver.recv().unwrap();
        assert!(poll(&mut beside, &notified).is_ready());
        while last.times() == 0 {
            std::thread::yield_now();
        }
        assert!(Instant::now() >= at);
        assert!(poll(&mut sleep, &last_waker).is_ready());
        assert_eq!((first.times(), last.times()), (0, 1));
        assert!(!is_waiting(&sleep));
    }

    struct Notified(Mutex<std::sync::mpsc::Sender<()>>);

    impl Wake for Notified {
        fn wake(self: Arc<Self>) {
            lock(&self.0).send(()).unwrap();
        }
    }

    #[test]
    fn a_time_that_is_over_is_ready_at_once_and_one_that_never_comes_waits() {
        let (_woken, waker) = Woken::new();
        assert!(poll(&mut Sleep::until(Instant::now()), &waker).is_ready());
        let ages = Duration::from_secs(3_000_000_000);
        let mut sleep = Sleep::until(Instant::now() + ages);
        assert!(poll(&mut sleep, &waker).is_pending());
        assert!(is_waiting(&sleep));
    }
}
