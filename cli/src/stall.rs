//! Times in which the machine stood still: a virtual machine that was halted, or one so
//! busy that nothing ran. A server has no chance to be in time then, and neither has a
//! client.

use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// A thread that wakes so much too late was not merely kept waiting by others.
const STALL: Duration = Duration::from_secs(2);

/// How often it is looked.
const PERIOD: Duration = Duration::from_millis(50);

/// The time after which a stall has been seen that is over.
pub(crate) const NOTICE: Duration = Duration::from_millis(200);

/// The milliseconds of all stalls so far.
static MILLIS: AtomicU64 = AtomicU64::new(0);

/// Returns how long the machine has stood still since this was called first.
pub(crate) fn total() -> Duration {
    static WATCH: Once = Once::new();
    WATCH.call_once(|| {
        let watch = thread::Builder::new().name("stalls".to_owned());
        // Without the thread no stall is seen, and all is as without this module.
        drop(watch.spawn(watch_for_ever));
    });
    // Relaxed: a number that nothing else depends on.
    Duration::from_millis(MILLIS.load(Ordering::Relaxed))
}

fn watch_for_ever() {
    loop {
        let begun = Instant::now();
        thread::sleep(PERIOD);
        if let Some(stall) = stall(begun.elapsed()) {
            let millis = u64::try_from(stall.as_millis()).unwrap_or(u64::MAX);
            MILLIS.fetch_add(millis, Ordering::Relaxed);
        }
    }
}

/// Returns the stall that made a period last so long.
fn stall(period: Duration) -> Option<Duration> {
    let late = period.saturating_sub(PERIOD);
    (late >= STALL).then_some(late)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_long_delay_is_a_stall() {
        assert_eq!(stall(PERIOD), None);
        assert_eq!(stall(Duration::from_secs(2)), None);
        assert_eq!(stall(PERIOD + STALL), Some(STALL));
    }
}
