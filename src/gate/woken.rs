//! A waker that counts, for the tests without threads.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};

use crate::sync::plain::Arc;

pub(crate) struct Woken(AtomicUsize);

impl Woken {
    /// Returns the count, and its waker.
    pub(crate) fn new() -> (Arc<Woken>, Waker) {
        let woken = Arc::new(Woken(AtomicUsize::new(0)));
        (woken.clone(), woken.into())
    }

    pub(crate) fn times(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}
