//! A time in half the room of a [`Duration`], for what each connection holds.

use std::time::Duration;

/// The last one, after 584 years, stands for all that are later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Nanos(u64);

impl Nanos {
    pub(crate) const ZERO: Nanos = Nanos(0);
    pub(crate) const MAX: Nanos = Nanos(u64::MAX);

    pub(crate) const fn from_millis(millis: u32) -> Nanos {
        Nanos(millis as u64 * 1_000_000)
    }

    pub(crate) fn of(time: Duration) -> Nanos {
        u64::try_from(time.as_nanos()).map_or(Nanos::MAX, Nanos)
    }

    pub(crate) fn plus(self, other: Nanos) -> Nanos {
        Nanos(self.0.saturating_add(other.0))
    }

    pub(crate) fn twice(self) -> Nanos {
        self.plus(self)
    }

    pub(crate) fn duration(self) -> Duration {
        match self {
            Nanos::MAX => Duration::MAX,
            Nanos(nanos) => Duration::from_nanos(nanos),
        }
    }
}
