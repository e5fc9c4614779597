//! What the clients saw, counted: before, during and after the command.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::moments::Moments;

/// Losses that are kept in full; of the others only the number is.
const KEPT: usize = 1000;

/// Longer latencies, in microseconds, count as this one: a day.
const LONGEST_MICROS: u64 = 24 * 3600 * 1_000_000;

/// A request that begins so long after it was due is late.
const LATE: Duration = Duration::from_millis(50);

/// What the command was doing when something happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Before,
    During,
    After,
}

impl Phase {
    pub(crate) const ALL: [Phase; 3] = [Phase::Before, Phase::During, Phase::After];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Phase::Before => "before",
            Phase::During => "during",
            Phase::After => "after",
        }
    }
}

/// Why a request has no good answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LossKind {
    /// There was an answer, and it was not the right one.
    Failed,
    /// The connection ended in an orderly way before the answer was whole.
    Lost,
    /// The connection was reset before the answer was whole.
    Reset,
    /// There was no connection.
    Refused,
    /// Nothing, for too long.
    Hung,
}

impl LossKind {
    pub(crate) const ALL: [LossKind; 5] = [
        LossKind::Failed,
        LossKind::Lost,
        LossKind::Reset,
        LossKind::Refused,
        LossKind::Hung,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            LossKind::Failed => "failed",
            LossKind::Lost => "lost",
            LossKind::Reset => "reset",
            LossKind::Refused => "refused",
            LossKind::Hung => "hung",
        }
    }

    /// Its place in a table of all kinds.
    pub(crate) fn index(self) -> usize {
        self as usize
    }
}

/// A request without a good answer, as its connection tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Loss {
    pub(crate) kind: LossKind,
    pub(crate) problem: String,
    /// How many bytes of an answer came.
    pub(crate) received: u64,
    /// The server said that it did not process the request.
    pub(crate) is_returned: bool,
}

/// One request, from its sending to its end.
#[derive(Debug)]
pub(super) struct Sample {
    pub(super) client: usize,
    pub(super) from: Option<SocketAddr>,
    /// It is the request with this number on its connection, counted from 1;
    /// 0: there was no connection.
    pub(super) exchange: u64,
    /// When it was to be sent.
    pub(super) due: Instant,
    /// When the client began with it.
    pub(super) begun: Instant,
    pub(super) done: Instant,
    pub(super) result: Result<(), Loss>,
}

/// A loss, told in full.
#[derive(Clone, Debug)]
pub(crate) struct LossRecord {
    pub(crate) loss: Loss,
    pub(crate) phase: Phase,
    pub(crate) client: usize,
    pub(crate) from: Option<SocketAddr>,
    pub(crate) exchange: u64,
    pub(crate) begun: Instant,
    pub(crate) done: Instant,
}

/// What happened in one phase.
#[derive(Clone, Debug)]
pub(crate) struct Counts {
    pub(crate) answered: u64,
    /// Of those, the slow ones.
    pub(crate) slow: u64,
    /// Requests that their client began late, since it was still busy.
    pub(crate) late: u64,
    /// By `LossKind::index`.
    pub(crate) losses: [u64; 5],
    /// Requests that were sent once more, as their protocol allows.
    pub(crate) retried: u64,
    /// Connections that the server ended while nothing was under way on them.
    pub(crate) ended_idle: u64,
    /// The same with a reset.
    pub(crate) reset_idle: u64,
    /// Of answered requests, in microseconds.
    pub(crate) latency: Histogram<u64>,
}

impl Counts {
    fn new() -> Counts {
        let latency = Histogram::new_with_bounds(1, LONGEST_MICROS, 3)
            .expect("the bounds and three digits of precision are valid");
        Counts {
            answered: 0,
            slow: 0,
            late: 0,
            losses: [0; 5],
            retried: 0,
            ended_idle: 0,
            reset_idle: 0,
            latency,
        }
    }

    pub(crate) fn lost(&self) -> u64 {
        self.losses.iter().sum()
    }

    /// Whether the clients are too few for their rate.
    pub(crate) fn is_behind(&self) -> bool {
        self.late * 10 > self.answered + self.lost()
    }

    pub(crate) fn of(&self, kind: LossKind) -> u64 {
        self.losses.get(kind.index()).copied().unwrap_or_default()
    }

    /// The latency that this part of the answers did not exceed.
    pub(crate) fn latency_at(&self, quantile: f64) -> Option<Duration> {
        let value = Duration::from_micros(self.latency.value_at_quantile(quantile));
        (self.answered > 0).then_some(value)
    }

    pub(crate) fn slowest(&self) -> Option<Duration> {
        (self.answered > 0).then(|| Duration::from_micros(self.latency.max()))
    }
}

/// Everything that the clients saw.
#[derive(Clone, Debug)]
pub(crate) struct Tally {
    pub(crate) begun: Instant,
    pub(crate) command_begun: Option<Instant>,
    pub(crate) command_ended: Option<Instant>,
    slow: Duration,
    counts: [Counts; 3],
    pub(crate) losses: Vec<LossRecord>,
    pub(crate) moments: Moments,
}

impl Tally {
    pub(super) fn new(begun: Instant, slow: Duration) -> Tally {
        Tally {
            begun,
            command_begun: None,
            command_ended: None,
            slow,
            counts: std::array::from_fn(|_| Counts::new()),
            losses: Vec::new(),
            moments: Moments::new(begun),
        }
    }

    /// The phase of something that took from one moment to another: what was over
    /// before the command is of before, what began after it is of after.
    fn phase(&self, begun: Instant, done: Instant) -> Phase {
        let is_before = self.command_begun.is_none_or(|at| done < at);
        let is_after = self.command_ended.is_some_and(|at| begun > at);
        match (is_before, is_after) {
            (true, _) => Phase::Before,
            (_, true) => Phase::After,
            _ => Phase::During,
        }
    }

    pub(crate) fn counts(&self, phase: Phase) -> &Counts {
        let [before, during, after] = &self.counts;
        match phase {
            Phase::Before => before,
            Phase::During => during,
            Phase::After => after,
        }
    }

    fn counts_mut(&mut self, phase: Phase) -> &mut Counts {
        let [before, during, after] = &mut self.counts;
        match phase {
            Phase::Before => before,
            Phase::During => during,
            Phase::After => after,
        }
    }

    /// All losses, also those that are not kept.
    pub(crate) fn lost(&self) -> u64 {
        self.counts.iter().map(Counts::lost).sum()
    }

    pub(crate) fn answered(&self) -> u64 {
        self.counts.iter().map(|counts| counts.answered).sum()
    }

    /// Adds a request that has an answer, or will never have one.
    pub(super) fn add(&mut self, sample: Sample) {
        let phase = self.phase(sample.begun, sample.done);
        let latency = sample.done.saturating_duration_since(sample.due);
        let is_slow = latency > self.slow;
        let lateness = sample.begun.saturating_duration_since(sample.due);
        let counts = self.counts_mut(phase);
        counts.late += u64::from(lateness > LATE);
        match sample.result {
            Ok(()) => {
                counts.answered += 1;
                counts.slow += u64::from(is_slow);
                let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
                counts.latency.saturating_record(micros);
                self.moments.answer(sample.done, latency);
            }
            Err(loss) => {
                if let Some(count) = counts.losses.get_mut(loss.kind.index()) {
                    *count += 1;
                }
                self.moments.loss(sample.done, loss.kind);
                if self.losses.len() < KEPT {
                    self.losses.push(LossRecord {
                        loss,
                        phase,
                        client: sample.client,
                        from: sample.from,
                        exchange: sample.exchange,
                        begun: sample.begun,
                        done: sample.done,
                    });
                }
            }
        }
    }

    /// Adds a connection that ended while nothing was under way on it.
    pub(super) fn idle_end(&mut self, at: Instant, is_reset: bool) {
        let phase = self.phase(at, at);
        let counts = self.counts_mut(phase);
        counts.ended_idle += u64::from(!is_reset);
        counts.reset_idle += u64::from(is_reset);
    }

    /// Adds a request that is sent once more.
    pub(super) fn retry(&mut self, at: Instant) {
        let phase = self.phase(at, at);
        self.counts_mut(phase).retried += 1;
    }
}

/// The tally as all clients share it.
#[derive(Clone, Debug)]
pub(super) struct SharedTally(Arc<Mutex<Tally>>);

impl SharedTally {
    pub(super) fn new(tally: Tally) -> SharedTally {
        SharedTally(Arc::new(Mutex::new(tally)))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Tally> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn tally() -> (Tally, Instant) {
        let begun = Instant::now();
        let mut tally = Tally::new(begun, 100 * MS);
        tally.command_begun = Some(begun + 1000 * MS);
        tally.command_ended = Some(begun + 2000 * MS);
        (tally, begun)
    }

    fn sample(begun: Instant, from: u32, to: u32, kind: Option<LossKind>) -> Sample {
        let result = match kind {
            None => Ok(()),
            Some(kind) => Err(Loss {
                kind,
                problem: "test".to_owned(),
                received: 0,
                is_returned: false,
            }),
        };
        Sample {
            client: 0,
            from: None,
            exchange: 1,
            due: begun + from * MS,
            begun: begun + from * MS,
            done: begun + to * MS,
            result,
        }
    }

    #[test]
    fn what_touches_the_command_is_of_the_command() {
        let (tally, begun) = tally();
        let phase = |from, to| tally.phase(begun + from * MS, begun + to * MS);
        assert_eq!(phase(0, 999), Phase::Before);
        assert_eq!(phase(999, 1001), Phase::During);
        assert_eq!(phase(1200, 1900), Phase::During);
        assert_eq!(phase(1999, 2500), Phase::During);
        assert_eq!(phase(500, 2500), Phase::During);
        assert_eq!(phase(2001, 2500), Phase::After);
    }

    #[test]
    fn each_loss_is_counted_in_its_phase_and_by_its_kind() {
        let (mut tally, begun) = tally();
        for kind in LossKind::ALL {
            tally.add(sample(begun, 1100, 1200, Some(kind)));
        }
        tally.add(sample(begun, 2100, 2200, Some(LossKind::Reset)));
        assert_eq!(tally.counts(Phase::Before).lost(), 0);
        assert_eq!(tally.counts(Phase::During).losses, [1; 5]);
        assert_eq!(tally.counts(Phase::After).of(LossKind::Reset), 1);
        assert_eq!((tally.lost(), tally.losses.len()), (6, 6));
    }

    #[test]
    fn a_slow_answer_is_no_loss() {
        let (mut tally, begun) = tally();
        tally.add(sample(begun, 1100, 1201, None));
        tally.add(sample(begun, 1100, 1200, None));
        let counts = tally.counts(Phase::During);
        assert_eq!((counts.answered, counts.slow, counts.lost()), (2, 1, 0));
    }

    #[test]
    fn clients_that_are_too_few_for_their_rate_are_behind() {
        let (mut tally, begun) = tally();
        for late in [0, 0, 200] {
            let mut sample = sample(begun, 400, 500, None);
            sample.due = sample.begun - late * MS;
            tally.add(sample);
        }
        assert_eq!(tally.counts(Phase::Before).late, 1);
        assert!(tally.counts(Phase::Before).is_behind());
        assert!(!tally.counts(Phase::During).is_behind());
    }

    #[test]
    fn many_losses_are_counted_though_not_all_are_kept() {
        let (mut tally, begun) = tally();
        for _ in 0..KEPT + 5 {
            tally.add(sample(begun, 1100, 1200, Some(LossKind::Lost)));
        }
        assert_eq!(tally.losses.len(), KEPT);
        assert_eq!(tally.lost(), KEPT as u64 + 5);
    }
}
