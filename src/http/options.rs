//! The options of an HTTP server.

use std::time::Duration;

use crate::phase::Phase;

/// The phase from which on connections announce that they close: with
/// `Connection: close` on the last response, or with a GOAWAY.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Announce {
    /// From the lame duck on, while new connections are still accepted. Busy
    /// connections then move to other servers by themselves, and the drain finds
    /// few of them.
    #[default]
    LameDuck,
    /// From the drain on.
    Draining,
}

impl Announce {
    pub(super) fn phase(self) -> Phase {
        match self {
            Announce::LameDuck => Phase::LameDuck,
            Announce::Draining => Phase::Draining,
        }
    }
}

/// The longest age of a connection, spread so that connections of the same age
/// do not end in the same moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct MaxAge {
    pub(super) age: Duration,
    pub(super) jitter: f64,
}

impl MaxAge {
    /// Returns the age of the connection with this number.
    pub(super) fn of(self, id: u64) -> Duration {
        // The steps of splitmix64: numbers that follow one another are spread
        // evenly, and a simulation with the same seed stays the same.
        let mut x = id.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let part = (x >> 40) as f64 / (1_u64 << 24) as f64;
        // The longest age times one is more than a duration can be (F34).
        let shorter = self.age.mul_f64(self.jitter * part);
        self.age.saturating_sub(shorter)
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Options {
    pub(super) announce: Announce,
    pub(super) header_timeout: Option<Duration>,
    pub(super) keep_alive: bool,
    pub(super) half_close: bool,
    pub(super) keep_alive_timeout: Option<Duration>,
    pub(super) max_age: Option<MaxAge>,
    pub(super) settle: Duration,
    pub(super) goaway_timeout: Duration,
    /// A panic in a stream stops the server, whose connection goes on.
    pub(super) stop_on_panic: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            announce: Announce::default(),
            header_timeout: Some(Duration::from_secs(30)),
            keep_alive: true,
            half_close: true,
            keep_alive_timeout: None,
            max_age: None,
            settle: Duration::ZERO,
            goaway_timeout: Duration::from_secs(2),
            stop_on_panic: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_spread_over_the_jitter_and_not_beyond() {
        let max_age = MaxAge {
            age: Duration::from_secs(100),
            jitter: 0.5,
        };
        let ages: Vec<_> = (1..=1000).map(|id| max_age.of(id)).collect();
        assert!(ages.iter().all(|age| (50..=100).contains(&age.as_secs())));
        for decade in [50, 60, 70, 80, 90] {
            let within = decade..decade + 10;
            let count = ages
                .iter()
                .filter(|age| within.contains(&age.as_secs()))
                .count();
            assert!((140..=260).contains(&count), "{count} from {decade} s on");
        }
    }
}
