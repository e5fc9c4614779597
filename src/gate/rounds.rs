//! Which idle connections are still in use, after a restart
//! ([F84](crate::docs::faults#f84)).
//!
//! A protocol that cannot announce its end gives the server no good moment to end a
//! connection that is used again and again: the next request may be on its way. After a
//! restart nobody waits for the end of the old process, so such a connection is read
//! until it has rested for the time to settle.

use crate::sync::{AtomicU32, Ordering};

/// A connection ends once it has rested for so many rounds, which are a time to settle
/// together, and for a part of the round before them.
const ROUNDS_OF_REST: u32 = 2;

/// The number of the round; 0 while all connections that are idle end.
#[derive(Debug)]
pub(super) struct Rounds(AtomicU32);

impl Rounds {
    pub(super) fn new() -> Rounds {
        Rounds(AtomicU32::new(0))
    }

    /// Relaxed, here and below: the first round is stored before the word of the gate
    /// says that idle connections end, and who has seen that sees the round. Who
    /// registers for a later one is woken, or takes the lock of the waiters after it.
    pub(super) fn current(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn begin_next(&self) {
        // Only the driver of the server stores.
        let next = self.current().wrapping_add(1).max(1);
        self.0.store(next, Ordering::Relaxed);
    }

    pub(super) fn end(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

/// Since when a connection has not been used.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Unused {
    /// The round in which that was seen first; 0 before.
    since: u32,
    /// The round in which it was asked for what is unacknowledged.
    asked_in: u32,
    /// The bytes that had been read by then.
    read: u64,
    /// The bytes that the peer had not acknowledged.
    unacknowledged: u64,
}

impl Unused {
    /// Returns whether the connection is to be read on, of which so many bytes were read.
    /// One that was never used is not in use.
    pub(super) fn is_in_use(&mut self, round: u32, read: u64) -> bool {
        if round == 0 || read == 0 {
            return false;
        }
        if self.since == 0 || self.read != read {
            (self.since, self.read) = (round, read);
        }
        round.wrapping_sub(self.since) <= ROUNDS_OF_REST
    }

    /// Returns whether its peer was seen to receive.
    #[cfg(feature = "http")]
    pub(crate) fn is_receiving(&self) -> bool {
        self.unacknowledged > 0 || self.since != 0
    }

    /// Asks, once in a round, how many bytes the peer has not acknowledged. As long as the
    /// number changes, the peer still receives its last answer.
    pub(super) fn ask(&mut self, round: u32, unacknowledged: impl FnOnce() -> Option<u64>) {
        if self.asked_in == round {
            return;
        }
        self.asked_in = round;
        let unacknowledged = unacknowledged().unwrap_or(0);
        if self.unacknowledged != unacknowledged {
            (self.since, self.unacknowledged) = (round, unacknowledged);
        }
    }
}

#[cfg(all(test, not(feature = "loom")))]
mod tests {
    use super::*;

    #[test]
    fn f84_a_connection_is_in_use_until_it_has_rested_for_two_rounds() {
        let mut unused = Unused::default();
        let rounds = [
            (1, 10, true),
            (2, 10, true),
            (3, 10, true),
            // At the very end of a round: two more are to begin and to end.
            (3, 20, true),
            (4, 20, true),
            (5, 20, true),
            (6, 20, false),
        ];
        for (round, bytes, is_in_use) in rounds {
            assert_eq!(unused.is_in_use(round, bytes), is_in_use, "{round}");
        }
        assert!(!Unused::default().is_in_use(0, 1), "no rounds, no use");
        assert!(!Unused::default().is_in_use(1, 0), "no bytes, no use");
    }

    #[test]
    fn f84_a_connection_is_in_use_while_its_peer_receives() {
        let mut unused = Unused::default();
        // The round, what is unacknowledged in it, and whether it is in use.
        let rounds = [
            (1, 900, true),
            (2, 900, true),
            (3, 900, true),
            (4, 500, true),
            (5, 0, true),
            (6, 0, true),
            (7, 0, true),
            (8, 0, false),
        ];
        for (round, left, is_in_use) in rounds {
            unused.ask(round, || Some(left));
            unused.ask(round, || unreachable!("it was asked in this round"));
            assert_eq!(unused.is_in_use(round, 10), is_in_use, "{round}");
        }
        unused.ask(9, || None);
        assert!(!unused.is_in_use(9, 10), "not known");
    }

    #[test]
    fn f84_rounds_never_come_back_to_none() {
        let rounds = Rounds(AtomicU32::new(u32::MAX));
        rounds.begin_next();
        assert_eq!(rounds.current(), 1);
        rounds.end();
        assert_eq!(rounds.current(), 0);
    }
}
