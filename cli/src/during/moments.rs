//! What happened when, in slices of time that grow with the run.

use std::time::{Duration, Instant};

use super::tally::LossKind;

/// A run has at most so many slices, however long it takes.
const MOST: usize = 600;

/// The length of a slice at the start.
const LENGTH: Duration = Duration::from_millis(20);

/// What happened in one slice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Slice {
    pub(crate) answered: u64,
    /// By `LossKind::index`.
    pub(crate) losses: [u64; 5],
    /// The longest that an answer took.
    pub(crate) slowest: Duration,
}

impl Slice {
    pub(crate) fn lost(&self) -> u64 {
        self.losses.iter().sum()
    }

    fn merge(&mut self, other: &Slice) {
        self.answered += other.answered;
        for (own, others) in self.losses.iter_mut().zip(other.losses) {
            *own += others;
        }
        self.slowest = self.slowest.max(other.slowest);
    }
}

/// All slices of a run.
#[derive(Clone, Debug)]
pub(crate) struct Moments {
    origin: Instant,
    pub(crate) length: Duration,
    pub(crate) slices: Vec<Slice>,
}

impl Moments {
    pub(crate) fn new(origin: Instant) -> Moments {
        Moments {
            origin,
            length: LENGTH,
            slices: Vec::new(),
        }
    }

    pub(crate) fn answer(&mut self, at: Instant, latency: Duration) {
        if let Some(slice) = self.slice(at) {
            slice.answered += 1;
            slice.slowest = slice.slowest.max(latency);
        }
    }

    pub(crate) fn loss(&mut self, at: Instant, kind: LossKind) {
        let count = self.slice(at).and_then(|s| s.losses.get_mut(kind.index()));
        if let Some(count) = count {
            *count += 1;
        }
    }

    fn slice(&mut self, at: Instant) -> Option<&mut Slice> {
        let after = at.saturating_duration_since(self.origin);
        let index = loop {
            let index = after.as_nanos() / self.length.as_nanos();
            match usize::try_from(index) {
                Ok(index) if index < MOST => break index,
                _ => self.halve(),
            }
        };
        if self.slices.len() <= index {
            self.slices.resize(index + 1, Slice::default());
        }
        self.slices.get_mut(index)
    }

    /// Makes one slice of each two.
    fn halve(&mut self) {
        self.length *= 2;
        let merged = self.slices.chunks(2).map(|pair| {
            let mut slice = Slice::default();
            pair.iter().for_each(|half| slice.merge(half));
            slice
        });
        self.slices = merged.collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_lost_when_slices_are_merged() {
        let origin = Instant::now();
        let mut moments = Moments::new(origin);
        for second in 0..10_000u64 {
            let at = origin + Duration::from_secs(second);
            moments.answer(at, Duration::from_millis(second));
            moments.loss(at, LossKind::Reset);
        }
        assert!(moments.slices.len() <= MOST);
        let answered: u64 = moments.slices.iter().map(|slice| slice.answered).sum();
        let lost: u64 = moments.slices.iter().map(Slice::lost).sum();
        assert_eq!((answered, lost), (10_000, 10_000));
        let slowest = moments.slices.iter().map(|slice| slice.slowest).max();
        assert_eq!(slowest, Some(Duration::from_millis(9_999)));
    }

    #[test]
    fn an_event_is_in_the_slice_of_its_moment() {
        let origin = Instant::now();
        let mut moments = Moments::new(origin);
        moments.loss(origin + LENGTH * 3, LossKind::Hung);
        let lost: Vec<u64> = moments.slices.iter().map(Slice::lost).collect();
        assert_eq!(lost, [0, 0, 0, 1]);
    }
}
