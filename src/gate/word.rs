//! The gate's word: phase and guard count, which change together.
//!
//! [`Word::step`] is pure. The atomic in the gate only retries it, so that
//! enumerating small words checks every transition there is.

use std::fmt;

use crate::phase::Phase;

/// The error of a guard that the gate refuses.
///
/// ```
/// use lameduck::{GuardError, Phase, Shutdown};
///
/// let shutdown = Shutdown::new();
/// shutdown.stop("done");
/// let error = shutdown.try_guard().unwrap_err();
/// assert_eq!(error, GuardError::Closed(Phase::Stopped));
/// assert_eq!(error.to_string(), "no new guard: the server is stopped");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum GuardError {
    /// The gate is closed: it has come to this phase.
    Closed(Phase),
    /// The gate cannot count one more guard.
    Full,
}

impl fmt::Display for GuardError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GuardError::Closed(phase) => write!(f, "no new guard: the server is {phase}"),
            GuardError::Full => f.write_str("no new guard: the gate cannot count more"),
        }
    }
}

/// The text of the error: a `main` that returns it prints this.
impl fmt::Debug for GuardError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for GuardError {}

impl From<GuardError> for std::io::Error {
    fn from(error: GuardError) -> std::io::Error {
        std::io::Error::other(error)
    }
}

/// A step of the word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    /// Counts a guard for work from outside.
    Enter,
    /// Counts a guard for work that a holder brings in.
    Join,
    /// Drops a guard. It is refused only where none is counted, so the gate
    /// takes it as a plain subtraction.
    Leave,
    /// Gives up the server's hold, which keeps the gate from its end.
    Release,
    /// Ends the stop, after the last guard was dropped.
    End,
    /// Goes to `Draining`, and leaves idle connections time to settle.
    Settle,
    /// Goes to a phase.
    Advance(Phase),
}

/// The reason why a step was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum StepError {
    /// The step counts a guard, which the gate refuses.
    Guard(GuardError),
    /// The gate is already in the wanted phase, or beyond it.
    NotForward,
    /// Nothing is counted that could be dropped, or could bring in others.
    NotHeld,
}

/// How far a stop has come, in the order of time: the phase, and inside of
/// `Draining` whether the time to settle is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Progress(u8);

impl Progress {
    /// The beginning of a phase.
    pub(crate) const fn of(phase: Phase) -> Progress {
        Progress((phase as u8) << 1)
    }

    /// Draining, with no time left to settle: an idle connection ends.
    pub(crate) const SETTLED: Progress = Progress(Progress::of(Phase::Draining).0 + 1);

    /// The number of places in the order of time.
    pub(crate) const COUNT: usize = Progress::of(Phase::Stopped).index() + 1;

    /// Returns its place in the order of time; not all places have one.
    #[inline]
    pub(crate) const fn index(self) -> usize {
        self.0 as usize
    }
}

/// Settled flag and phase in the low bits, then the server's hold, then the
/// guard count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Word(usize);

const PROGRESS_BITS: u32 = 4;
const PROGRESS_MASK: usize = (1 << PROGRESS_BITS) - 1;
const HELD: usize = 1 << PROGRESS_BITS;
const COUNT_SHIFT: u32 = PROGRESS_BITS + 1;
/// The least bits of a word that can count no more.
const FULL: usize = Word::MAX_GUARDS << COUNT_SHIFT;

impl Word {
    /// Running, with no guard.
    pub(crate) const NEW: Word = Word(0);
    /// Running, with the server's hold.
    pub(crate) const NEW_HELD: Word = Word(HELD);
    /// One guard, to be subtracted when it is dropped.
    pub(crate) const ONE: usize = 1 << COUNT_SHIFT;
    /// The highest guard count: half of what there are bits for, since a refused guard is
    /// counted until it is taken back.
    pub(crate) const MAX_GUARDS: usize = usize::MAX >> (COUNT_SHIFT + 1);

    #[inline]
    pub(crate) const fn from_bits(bits: usize) -> Word {
        Word(bits)
    }

    #[inline]
    pub(crate) const fn bits(self) -> usize {
        self.0
    }

    #[inline]
    pub(crate) const fn phase(self) -> Phase {
        match (self.0 & PROGRESS_MASK) >> 1 {
            0 => Phase::Running,
            1 => Phase::LameDuck,
            2 => Phase::Draining,
            3 => Phase::Aborting,
            _ => Phase::Stopped,
        }
    }

    #[inline]
    pub(crate) const fn progress(self) -> Progress {
        Progress((self.0 & PROGRESS_MASK) as u8)
    }

    /// Returns whether the stop has come this far.
    #[inline]
    pub(crate) const fn has_reached(self, progress: Progress) -> bool {
        self.0 & PROGRESS_MASK >= progress.index()
    }

    #[inline]
    pub(crate) const fn guard_count(self) -> usize {
        self.0 >> COUNT_SHIFT
    }

    #[inline]
    const fn is_held(self) -> bool {
        self.0 & HELD != 0
    }

    #[inline]
    const fn with(self, progress: Progress) -> Word {
        Word((self.0 & !PROGRESS_MASK) + progress.index())
    }

    /// Returns the word after `step`, or the reason why the step is refused.
    #[inline]
    pub(crate) fn step(self, step: Step) -> Result<Word, StepError> {
        match step {
            Step::Enter if self.has_reached(Progress::of(Phase::Draining)) => self.closed(),
            Step::Join if self.has_reached(Progress::of(Phase::Stopped)) => self.closed(),
            Step::Join if self.0 < HELD => Err(StepError::NotHeld),
            Step::Enter | Step::Join if self.0 >= FULL => {
                Err(StepError::Guard(GuardError::Full))
            }
            Step::Enter | Step::Join => Ok(Word(self.0 + Word::ONE)),
            Step::Leave if self.0 < Word::ONE => Err(StepError::NotHeld),
            Step::Leave => Ok(Word(self.0 - Word::ONE)),
            Step::Release if self.is_held() => Ok(Word(self.0 & !HELD)),
            Step::Release => Err(StepError::NotHeld),
            Step::End if self.is_at_end() => Ok(self.with(Progress::of(Phase::Stopped))),
            Step::End => Err(StepError::NotForward),
            Step::Settle => self.advance(Progress::of(Phase::Draining)),
            Step::Advance(Phase::Draining) => self.advance(Progress::SETTLED),
            Step::Advance(phase) => self.advance(Progress::of(phase)),
        }
    }

    #[cold]
    fn closed(self) -> Result<Word, StepError> {
        Err(StepError::Guard(GuardError::Closed(self.phase())))
    }

    fn advance(self, to: Progress) -> Result<Word, StepError> {
        if to <= self.progress() {
            return Err(StepError::NotForward);
        }
        match self.with(to) {
            // An empty gate that closes has come to its end, in the same step.
            word if word.is_at_end() => Ok(word.with(Progress::of(Phase::Stopped))),
            word => Ok(word),
        }
    }

    /// Returns whether the gate is closed and empty, and not stopped yet.
    #[inline]
    pub(crate) fn is_at_end(self) -> bool {
        self.0 & !PROGRESS_MASK == 0
            && (Phase::Draining..Phase::Stopped).contains(&self.phase())
    }

    /// Returns whether a waiter may be waiting for the change from `before`.
    pub(crate) fn needs_wake(self, before: Word) -> bool {
        self.progress() != before.progress() || (self.is_last() && !before.is_last())
    }

    /// Returns whether the gate is closed, and one holder is left at most.
    pub(crate) fn is_last(self) -> bool {
        self.phase() >= Phase::Draining && self.guard_count() + usize::from(self.is_held()) <= 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROGRESSES: [Progress; 6] = [
        Progress::of(Phase::Running),
        Progress::of(Phase::LameDuck),
        Progress::of(Phase::Draining),
        Progress::SETTLED,
        Progress::of(Phase::Aborting),
        Progress::of(Phase::Stopped),
    ];

    fn word(progress: Progress, is_held: bool, guards: usize) -> Word {
        Word(guards << COUNT_SHIFT | usize::from(is_held) << PROGRESS_BITS | progress.index())
    }

    fn all_steps() -> Vec<Step> {
        use Step::*;
        let mut steps = vec![Enter, Join, Leave, Release, End, Settle];
        steps.extend(Phase::ALL.map(Advance));
        steps
    }

    /// All small words, and those at the upper end, with all steps.
    fn every_small_case() -> impl Iterator<Item = (Word, Step)> {
        let counts = (0..=5).chain(Word::MAX_GUARDS - 1..=Word::MAX_GUARDS);
        let holds = counts.flat_map(|guards| [(guards, false), (guards, true)]);
        let words = holds.flat_map(|(guards, is_held)| {
            PROGRESSES.map(|progress| word(progress, is_held, guards))
        });
        words.flat_map(|word| all_steps().into_iter().map(move |step| (word, step)))
    }

    fn closed(phase: Phase) -> Result<Word, StepError> {
        Err(StepError::Guard(GuardError::Closed(phase)))
    }

    #[test]
    fn a_word_holds_what_it_was_made_of() {
        for guards in [0, 1, 5, Word::MAX_GUARDS] {
            for (progress, is_held) in PROGRESSES.iter().flat_map(|p| [(*p, false), (*p, true)])
            {
                let word = word(progress, is_held, guards);
                assert_eq!(Word::from_bits(word.bits()), word);
                assert_eq!(word.progress(), progress);
                assert_eq!((word.is_held(), word.guard_count()), (is_held, guards));
            }
        }
    }

    #[test]
    fn s1_no_step_goes_back() {
        for (word, step) in every_small_case() {
            if let Ok(next) = word.step(step) {
                assert!(next.progress() >= word.progress(), "{word:?} {step:?}");
                assert!(next.phase() >= word.phase(), "{word:?} {step:?}");
            }
        }
    }

    #[test]
    fn s2_stopped_stays_stopped() {
        for (word, step) in every_small_case() {
            if let (Phase::Stopped, Ok(next)) = (word.phase(), word.step(step)) {
                assert!(matches!(step, Step::Leave | Step::Release), "{step:?}");
                assert_eq!(next.phase(), Phase::Stopped);
            }
        }
    }

    #[test]
    fn s4_each_step_counts_one_guard_or_none() {
        for (word, step) in every_small_case() {
            let Ok(next) = word.step(step) else { continue };
            match step {
                Step::Enter | Step::Join => {
                    assert_eq!(next.guard_count(), word.guard_count() + 1);
                }
                Step::Leave => assert_eq!(next.guard_count() + 1, word.guard_count()),
                _ => assert_eq!(next.guard_count(), word.guard_count()),
            }
            assert_eq!(next.is_held(), word.is_held() && step != Step::Release);
        }
    }

    #[test]
    fn s9_a_closed_gate_admits_nobody_from_outside() {
        for (word, step) in every_small_case() {
            if step == Step::Enter && word.phase() >= Phase::Draining {
                assert_eq!(word.step(step), closed(word.phase()));
            }
            if step == Step::Join && word.phase() == Phase::Stopped {
                assert!(word.step(step).is_err());
            }
        }
    }

    #[test]
    fn an_open_gate_admits_all_that_it_can_count() {
        for (word, _) in every_small_case() {
            let full = word.guard_count() == Word::MAX_GUARDS;
            let more = if full {
                Err(StepError::Guard(GuardError::Full))
            } else {
                Ok(Word(word.0 + Word::ONE))
            };
            let entered = match word.phase() {
                phase if phase >= Phase::Draining => closed(phase),
                _ => more,
            };
            assert_eq!(word.step(Step::Enter), entered, "{word:?}");
            let joined = match word.phase() {
                Phase::Stopped => closed(Phase::Stopped),
                _ if word.guard_count() == 0 && !word.is_held() => Err(StepError::NotHeld),
                _ => more,
            };
            assert_eq!(word.step(Step::Join), joined, "{word:?}");
        }
    }

    #[test]
    fn only_a_closed_and_empty_gate_is_at_its_end() {
        for (word, _) in every_small_case() {
            let closing = [Phase::Draining, Phase::Aborting].contains(&word.phase());
            let ends = word.guard_count() == 0 && !word.is_held() && closing;
            assert_eq!(word.is_at_end(), ends, "{word:?}");
            assert_eq!(word.step(Step::End).is_ok(), ends, "{word:?}");
            for phase in Phase::ALL {
                assert_eq!(word.has_reached(Progress::of(phase)), word.phase() >= phase);
            }
        }
    }

    #[test]
    fn s13_a_second_stop_is_refused() {
        for (word, step) in every_small_case() {
            if let (Step::Advance(_) | Step::Settle, Ok(next)) = (step, word.step(step)) {
                assert_eq!(next.step(step), Err(StepError::NotForward));
            }
        }
    }

    #[test]
    fn f17_settling_is_a_part_of_draining() {
        let settling = Word::NEW_HELD.step(Step::Settle).unwrap();
        assert_eq!(settling.phase(), Phase::Draining);
        assert!(!settling.has_reached(Progress::SETTLED));
        let settled = settling.step(Step::Advance(Phase::Draining)).unwrap();
        assert_eq!(settled.phase(), Phase::Draining);
        assert!(settled.has_reached(Progress::SETTLED) && settled.needs_wake(settling));
        assert_eq!(settled.step(Step::Settle), Err(StepError::NotForward));
    }

    #[test]
    fn l2_the_last_guard_ends_the_stop() {
        for (word, step) in every_small_case() {
            let Ok(next) = word.step(step) else { continue };
            // The step that empties a closed gate is followed by `End`.
            let empties =
                matches!(step, Step::Leave | Step::Release) && next.bits() < Word::ONE;
            assert!(
                !next.is_at_end() || empties || word.is_at_end(),
                "{word:?} {step:?}"
            );
            if next.is_at_end() {
                assert_eq!(next.step(Step::End).unwrap().phase(), Phase::Stopped);
            }
        }
    }

    #[test]
    fn l2_only_what_is_counted_can_be_given_up() {
        for (word, step) in every_small_case() {
            let after = word.step(step);
            let is_refused = after == Err(StepError::NotHeld);
            match step {
                Step::Leave => assert_eq!(is_refused, word.guard_count() == 0),
                Step::Release => assert_eq!(is_refused, !word.is_held()),
                _ => {}
            }
            if let (Step::Release, Ok(after)) = (step, after) {
                assert_eq!(after.bits() + HELD, word.bits());
            }
        }
    }

    #[test]
    fn s3_the_end_is_taken_once() {
        for (word, step) in every_small_case() {
            if let (Step::End, Ok(next)) = (step, word.step(step)) {
                assert_eq!(next.phase(), Phase::Stopped);
                assert!(next.step(Step::End).is_err());
            }
        }
    }

    #[test]
    fn a_leave_is_a_subtraction() {
        for (word, step) in every_small_case() {
            if let (Step::Leave, Ok(next)) = (step, word.step(step)) {
                assert_eq!(next.bits(), word.bits() - Word::ONE);
            }
        }
    }

    #[test]
    fn l4_every_change_that_somebody_can_wait_for_wakes() {
        for (word, step) in every_small_case() {
            let Ok(next) = word.step(step) else { continue };
            assert_eq!(
                next.needs_wake(word),
                word.progress() != next.progress() || (next.is_last() && !word.is_last()),
            );
        }
        let two = word(Progress::SETTLED, false, 2);
        assert!(two.step(Step::Leave).unwrap().needs_wake(two));
        let held = word(Progress::SETTLED, true, 1);
        assert!(held.step(Step::Leave).unwrap().needs_wake(held));
    }
}
