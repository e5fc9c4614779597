//! The server's book: who lives, and how each of the others ended (S4).

use std::fmt;
use std::task::{Context, Waker};
use std::time::Instant;

use slab::Slab;

use crate::report::{Closed, Straggler, Tally};
use crate::sync::plain::{Arc, Mutex, lock};

/// Somebody who lives, and can be named in a report.
pub(crate) trait Named: Send + Sync {
    fn name(&self, id: u64, now: Instant) -> Straggler;
}

#[derive(Debug)]
pub(crate) struct Ledger {
    book: Mutex<Book>,
}

/// Where somebody stands in the book.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    /// Never used again (F26).
    pub(crate) id: u64,
    /// Somebody else's, later.
    place: usize,
}

#[derive(Default)]
struct Book {
    accepted: u64,
    closed: Tally,
    living: Slab<(u64, Arc<dyn Named>)>,
    aborted: Vec<Straggler>,
    /// The driver, while it waits at the connection limit.
    at_limit: Option<Waker>,
}

impl fmt::Debug for Book {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut book = f.debug_struct("Book");
        book.field("accepted", &self.accepted);
        book.field("closed", &self.closed);
        book.field("living", &self.living.len());
        book.finish_non_exhaustive()
    }
}

impl Book {
    fn check(&self) {
        let living = self.living.len() as u64;
        debug_assert_eq!(self.accepted, living + self.closed.total(), "S4");
    }
}

/// How many have room from the first one on.
const FIRST: usize = 16;

/// What the book says at the end.
pub(crate) struct Balance {
    pub(crate) accepted: u64,
    pub(crate) closed: Tally,
    pub(crate) aborted: Vec<Straggler>,
    pub(crate) living: Vec<Straggler>,
}

impl Ledger {
    pub(crate) fn new() -> Ledger {
        Ledger {
            book: Mutex::new(Book::default()),
        }
    }

    /// Enters somebody.
    pub(crate) fn open(&self, named: Arc<dyn Named>) -> Entry {
        let mut book = lock(&self.book);
        book.accepted += 1;
        let (id, living) = (book.accepted, book.living.len());
        if living == book.living.capacity() {
            // Half of a table that doubles would be empty.
            book.living.reserve_exact(living / 8 + FIRST);
        }
        let place = book.living.insert((id, named));
        book.check();
        Entry { id, place }
    }

    /// Books the one outcome of somebody.
    pub(crate) fn close(&self, entry: Entry, closed: Closed, now: Instant) {
        let Entry { id, place } = entry;
        let mut book = lock(&self.book);
        let taken = book.living.try_remove(place);
        let Some((_, named)) = taken.filter(|(entered, _)| *entered == id) else {
            debug_assert!(false, "S4: connection {id} ended twice");
            return;
        };
        book.closed.count(closed);
        if closed == Closed::Aborted {
            book.aborted.push(named.name(id, now));
        }
        book.check();
        let at_limit = book.at_limit.take();
        drop(book);
        if let Some(driver) = at_limit {
            driver.wake();
        }
    }

    /// Whether there is room below `limit`; if not, the task is woken when
    /// there is.
    pub(crate) fn has_room(&self, limit: usize, cx: &mut Context<'_>) -> bool {
        let mut book = lock(&self.book);
        let room = book.living.len() < limit;
        let before = match room {
            true => None,
            false => book.at_limit.replace(cx.waker().clone()),
        };
        drop(book);
        drop(before);
        room
    }

    pub(crate) fn balance(&self, now: Instant) -> Balance {
        let book = lock(&self.book);
        let living = book.living.iter();
        let mut living: Vec<_> = living.map(|(_, (id, n))| n.name(*id, now)).collect();
        let mut aborted = book.aborted.clone();
        living.sort_by_key(|straggler| straggler.id);
        aborted.sort_by_key(|straggler| straggler.id);
        Balance {
            accepted: book.accepted,
            closed: book.closed,
            aborted,
            living,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Nobody;

    impl Named for Nobody {
        fn name(&self, _: u64, _: Instant) -> Straggler {
            unreachable!("nobody asks for it")
        }
    }

    #[test]
    fn a_book_grows_seldom_and_not_far_ahead() {
        let ledger = Ledger::new();
        let (mut grown, mut room) = (0, 0);
        for living in 0..10_000 {
            ledger.open(Arc::new(Nobody));
            let now = lock(&ledger.book).living.capacity();
            grown += usize::from(room != now);
            room = now;
            let most = living + living / 8 + FIRST;
            assert!(room <= most, "room for {room}, of {living}");
        }
        assert!(grown < 100, "{grown} times");
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "S4")]
    fn s4_a_book_that_does_not_add_up_is_noticed() {
        let ledger = Ledger::new();
        lock(&ledger.book).accepted = 1;
        ledger.open(Arc::new(Nobody));
    }
}
