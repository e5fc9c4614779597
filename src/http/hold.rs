//! The turns in which the input of a connection of HTTP/2 is held back, and read on.
//!
//! Its streams are read by one task, in the order in which their frames have come. So one
//! whose client never pauses is never idle ([F97](crate::docs::faults#f97)), unless nothing
//! is read for a while. Then all readers come to the end of what they have. Each turn is
//! longer than the one before, as it is not known how long a reader works at what it has;
//! and as long as it was held back, the input is read on, for the other streams.

use std::time::Duration;

use crate::nanos::Nanos;

/// The turn that a connection is in.
#[derive(Debug)]
pub(super) struct Hold {
    holds_back: bool,
    length: Duration,
    until: Nanos,
}

const FIRST: Duration = Duration::from_millis(100);

/// How much longer the next turn is.
const GROWTH: u32 = 4;

/// Twice as long as the rest of a stream of answers.
const LONGEST: Duration = Duration::from_secs(2);

impl Hold {
    /// Begins to hold back.
    pub(super) fn begin(now: Nanos) -> Hold {
        Hold {
            holds_back: true,
            length: FIRST,
            until: Nanos::of(now.duration() + FIRST),
        }
    }

    /// Goes on to the next turn, if it is time.
    pub(super) fn advance(&mut self, now: Nanos) {
        if now < self.until {
            return;
        }
        self.holds_back = !self.holds_back;
        if self.holds_back {
            self.length = LONGEST.min(self.length * GROWTH);
        }
        self.until = Nanos::of(now.duration() + self.length);
    }

    pub(super) fn holds_back(&self) -> bool {
        self.holds_back
    }

    /// Returns when the turn is over.
    pub(super) fn until(&self) -> Duration {
        self.until.duration()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f97_turns_grow_and_leave_half_of_the_time_to_others() {
        let at = |ms| Nanos::of(Duration::from_millis(ms));
        let mut hold = Hold::begin(at(0));
        let mut turns = Vec::new();
        for ms in 1..20_000 {
            let before = hold.holds_back();
            hold.advance(at(ms));
            if hold.holds_back() != before {
                turns.push((ms, hold.holds_back()));
            }
        }
        let first = [
            (100, false),
            (200, true),
            (600, false),
            (1000, true),
            (2600, false),
        ];
        assert_eq!(turns[..5], first);
        let last = &turns[turns.len() - 3..];
        assert_eq!(last[2].0 - last[1].0, 2000, "{turns:?}");
        assert_eq!(last[1].0 - last[0].0, 2000, "{turns:?}");
    }
}
