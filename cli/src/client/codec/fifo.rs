//! Requests that are answered in the order in which they were sent.

use std::collections::VecDeque;

/// Requests without an answer, with what is known of each.
#[derive(Debug)]
pub(super) struct Fifo<T> {
    pending: VecDeque<(u64, T)>,
    next: u64,
}

impl<T> Default for Fifo<T> {
    fn default() -> Fifo<T> {
        Fifo {
            pending: VecDeque::new(),
            next: 0,
        }
    }
}

impl<T> Fifo<T> {
    /// Adds a request and returns its key.
    pub(super) fn push(&mut self, request: T) -> u64 {
        let key = self.next;
        self.next += 1;
        self.pending.push_back((key, request));
        key
    }

    /// Returns the oldest request.
    pub(super) fn front(&self) -> Option<(u64, &T)> {
        self.pending.front().map(|(key, request)| (*key, request))
    }

    /// Removes the oldest request.
    pub(super) fn pop(&mut self) -> Option<(u64, T)> {
        self.pending.pop_front()
    }
}
