//! The connection table: open connections, and the outcome of the others (S4).

use std::fmt;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use slab::Slab;

use crate::connection::{ConnectionFacts, Describe, Slot};
use crate::report::{CloseCounts, CloseReason, Straggler};
use crate::sync::plain::{Arc, Mutex, lock};

#[derive(Debug)]
pub(crate) struct ConnectionTable {
    /// The time of its making, from which others are counted.
    origin: Instant,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    accepted: u64,
    closed: CloseCounts,
    open: Slab<Arc<dyn Describe>>,
    aborted: Vec<Straggler>,
    /// The driver, while it waits at the connection limit.
    at_limit: Option<Waker>,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut inner = f.debug_struct("Inner");
        inner.field("accepted", &self.accepted);
        inner.field("closed", &self.closed);
        inner.field("open", &self.open.len());
        inner.finish_non_exhaustive()
    }
}

impl Inner {
    fn assert_consistent(&self) {
        let open = self.open.len() as u64;
        debug_assert_eq!(self.accepted, open + self.closed.total(), "S4");
    }
}

/// The room that a table begins with.
const INITIAL: usize = 16;

/// The state of the table at one moment.
pub(crate) struct Snapshot {
    pub(crate) accepted: u64,
    pub(crate) closed: CloseCounts,
    pub(crate) aborted: Vec<Straggler>,
    pub(crate) open: Vec<Straggler>,
}

impl ConnectionTable {
    pub(crate) fn new(now: Instant) -> ConnectionTable {
        ConnectionTable {
            origin: now,
            inner: Mutex::new(Inner::default()),
        }
    }

    /// Returns the time since it was made.
    pub(crate) fn time_of(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.origin)
    }

    /// Adds a connection, which `record` makes of its number and of its place.
    pub(crate) fn insert<D>(&self, record: impl FnOnce(u64, Slot) -> D) -> Arc<D>
    where
        D: Describe + 'static,
    {
        let mut inner = lock(&self.inner);
        inner.accepted += 1;
        let (id, open) = (inner.accepted, inner.open.len());
        if open == inner.open.capacity() {
            // Half of a table that doubles would be empty.
            inner.open.reserve_exact(open / 8 + INITIAL);
        }
        let vacant = inner.open.vacant_entry();
        let record = Arc::new(record(id, Slot::of(vacant.key())));
        vacant.insert(record.clone());
        inner.assert_consistent();
        record
    }

    /// Removes a connection, with its one outcome.
    pub(crate) fn remove(&self, facts: &ConnectionFacts, now: Instant) {
        let (id, closed) = (facts.id(), facts.closed());
        let mut inner = lock(&self.inner);
        let removed = inner.open.try_remove(facts.slot().index());
        let Some(record) = removed.filter(|known| known.facts().id() == id) else {
            debug_assert!(false, "S4: connection {id} ended twice");
            return;
        };
        inner.closed.count(closed);
        if closed == CloseReason::Aborted {
            inner.aborted.push(record.describe(self.time_of(now)));
        }
        inner.assert_consistent();
        let at_limit = inner.at_limit.take();
        drop(inner);
        if let Some(driver) = at_limit {
            driver.wake();
        }
    }

    /// Returns the number of open connections.
    pub(crate) fn open_count(&self) -> usize {
        lock(&self.inner).open.len()
    }

    /// Returns the number of open connections. If they have come to `limit`,
    /// the task is woken when one ends.
    pub(crate) fn count_below(&self, limit: usize, cx: &mut Context<'_>) -> usize {
        let mut inner = lock(&self.inner);
        let open = inner.open.len();
        let before = if open < limit {
            None
        } else {
            inner.at_limit.replace(cx.waker().clone())
        };
        drop(inner);
        drop(before);
        open
    }

    pub(crate) fn snapshot(&self, now: Instant) -> Snapshot {
        let now = self.time_of(now);
        let inner = lock(&self.inner);
        let open = inner.open.iter();
        let mut open: Vec<_> = open.map(|(_, record)| record.describe(now)).collect();
        let mut aborted = inner.aborted.clone();
        open.sort_by_key(|straggler| straggler.id);
        aborted.sort_by_key(|straggler| straggler.id);
        Snapshot {
            accepted: inner.accepted,
            closed: inner.closed,
            aborted,
            open,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::Unused;

    struct Nobody;

    impl Describe for Nobody {
        fn facts(&self) -> &ConnectionFacts {
            unreachable!("no report is made")
        }

        fn set_label(&self, _: String) {}

        fn label(&self) -> Option<String> {
            None
        }

        fn unused(&self) -> Unused {
            Unused::default()
        }

        fn set_unused(&self, _: Unused) {}
    }

    #[test]
    fn the_table_grows_seldom_and_not_far_ahead() {
        let table = ConnectionTable::new(Instant::now());
        let (mut grown, mut room) = (0, 0);
        for open in 0..10_000 {
            table.insert(|_, _| Nobody);
            let now = lock(&table.inner).open.capacity();
            grown += usize::from(room != now);
            room = now;
            let most = open + open / 8 + INITIAL;
            assert!(room <= most, "room for {room}, of {open}");
        }
        assert!(grown < 100, "{grown} times");
    }

    #[test]
    fn the_driver_waits_for_an_end_at_the_limit_only() {
        let table = ConnectionTable::new(Instant::now());
        let cx = &mut Context::from_waker(Waker::noop());
        for open in 0..3 {
            assert_eq!(table.count_below(3, cx), open);
            assert!(lock(&table.inner).at_limit.is_none(), "{open} are open");
            table.insert(|_, _| Nobody);
        }
        for limit in [3, 2] {
            assert_eq!(table.count_below(limit, cx), 3);
            assert!(lock(&table.inner).at_limit.take().is_some(), "of {limit}");
        }
    }

    #[test]
    fn its_times_count_from_its_making() {
        let (begun, second) = (Instant::now(), Duration::from_secs(1));
        let table = ConnectionTable::new(begun);
        assert_eq!(table.time_of(begun + second), second);
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "S4")]
    fn s4_a_table_that_does_not_add_up_is_noticed() {
        let table = ConnectionTable::new(Instant::now());
        lock(&table.inner).accepted = 1;
        table.insert(|_, _| Nobody);
    }
}
