//! The server's book: who lives, and how each of the others ended (S4).

use std::collections::HashMap;
use std::fmt;
use std::task::{Context, Waker};
use std::time::Instant;

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

#[derive(Default)]
struct Book {
    accepted: u64,
    closed: Tally,
    living: HashMap<u64, Arc<dyn Named>>,
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

    /// Enters somebody, under a number that is never used again (F26).
    pub(crate) fn open(&self, named: Arc<dyn Named>) -> u64 {
        let mut book = lock(&self.book);
        book.accepted += 1;
        let id = book.accepted;
        book.living.insert(id, named);
        book.check();
        id
    }

    /// Books the one outcome of somebody.
    pub(crate) fn close(&self, id: u64, closed: Closed, now: Instant) {
        let mut book = lock(&self.book);
        let Some(named) = book.living.remove(&id) else {
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
        let mut living: Vec<_> = book.living.iter().map(|(id, n)| n.name(*id, now)).collect();
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
