//! The gate's word: phase and count of the living, which change together.
//!
//! [`Word::step`] is pure. The atomic in the gate only retries it, so that
//! enumerating small words checks every transition there is.

use std::fmt;

/// How far a stop has come, as everybody who watches the gate sees it.
///
/// The order is the order of time: a phase never goes back.
///
/// ```
/// use lameduck::Phase;
///
/// assert!(Phase::Running < Phase::Draining);
/// assert_eq!(Phase::ALL.last(), Some(&Phase::Stopped));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Serving; no stop was asked for.
    Running,
    /// A stop was asked for: not ready any more, still accepting, and no
    /// connection has been told (lame duck).
    Notice,
    /// No entry from outside; the living may announce their end. Those that
    /// wait for bytes are still read, for what is on its way. It is passed over
    /// unless a server is given time to settle.
    Settling,
    /// The living come to an end; who waits for bytes is done.
    Draining,
    /// The budget is spent, or someone escalated: the living are cut off.
    Forcing,
    /// It is over.
    Stopped,
}

impl Phase {
    /// Every phase, in order.
    pub const ALL: [Phase; 6] = [
        Phase::Running,
        Phase::Notice,
        Phase::Settling,
        Phase::Draining,
        Phase::Forcing,
        Phase::Stopped,
    ];
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Phase::Running => "running",
            Phase::Notice => "giving notice",
            Phase::Settling => "settling",
            Phase::Draining => "draining",
            Phase::Forcing => "forcing",
            Phase::Stopped => "stopped",
        })
    }
}

/// Why the gate refused a step. A refused step changes nothing.
///
/// ```
/// use lameduck::{Phase, Refused, Shutdown};
///
/// let shutdown = Shutdown::new();
/// shutdown.stop("done");
/// let refused = shutdown.enter().unwrap_err();
/// assert_eq!(refused, Refused::Closed(Phase::Stopped));
/// assert_eq!(refused.to_string(), "no entry: the server is stopped");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Refused {
    /// The door is closed: the gate is in this phase.
    Closed(Phase),
    /// No more living can be counted.
    Full,
    /// The gate has already come to this phase, which is not before the one
    /// that was asked for.
    NotForward(Phase),
    /// There is nobody who could leave or bring others in.
    Nobody,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refused::Closed(phase) => write!(f, "no entry: the server is {phase}"),
            Refused::Full => f.write_str("no entry: the gate cannot count more"),
            Refused::NotForward(phase) => write!(f, "the server is already {phase}"),
            Refused::Nobody => f.write_str("nobody is inside"),
        }
    }
}

impl std::error::Error for Refused {}

/// What can be done to the word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    /// Somebody comes in from outside.
    Enter,
    /// Somebody who lives brings in another.
    Join,
    /// Somebody who lives leaves. Refused only where nobody lives, so the gate
    /// takes it as a plain subtraction.
    Leave,
    /// The last has left while draining: it is over.
    End,
    /// The stop goes forward to a phase.
    Advance(Phase),
}

/// Phase in the low bits, count of the living above them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Word(usize);

const PHASE_BITS: u32 = 3;
const PHASE_MASK: usize = (1 << PHASE_BITS) - 1;

impl Word {
    /// Running, with nobody inside.
    pub(crate) const NEW: Word = Word(0);
    /// Running, with one inside.
    pub(crate) const NEW_WITH_ONE: Word = Word(Word::ONE);
    /// One who lives, to be subtracted when they leave.
    pub(crate) const ONE: usize = 1 << PHASE_BITS;
    /// The most that can be counted.
    pub(crate) const MOST: usize = usize::MAX >> PHASE_BITS;

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
        match self.0 & PHASE_MASK {
            0 => Phase::Running,
            1 => Phase::Notice,
            2 => Phase::Settling,
            3 => Phase::Draining,
            4 => Phase::Forcing,
            _ => Phase::Stopped,
        }
    }

    /// Whether the phase is this one, or a later one.
    #[inline]
    pub(crate) const fn has_reached(self, phase: Phase) -> bool {
        self.0 & PHASE_MASK >= phase as usize
    }

    #[inline]
    pub(crate) const fn living(self) -> usize {
        self.0 >> PHASE_BITS
    }

    #[inline]
    const fn new(phase: Phase, living: usize) -> Word {
        Word(living << PHASE_BITS | phase as usize)
    }

    /// The word after `step`, or why the step is refused.
    #[inline]
    pub(crate) fn step(self, step: Step) -> Result<Word, Refused> {
        let (phase, living) = (self.phase(), self.living());
        match step {
            Step::Enter if phase >= Phase::Settling => Err(Refused::Closed(phase)),
            Step::Join if phase == Phase::Stopped => Err(Refused::Closed(phase)),
            Step::Join if living == 0 => Err(Refused::Nobody),
            Step::Enter | Step::Join if living == Word::MOST => Err(Refused::Full),
            Step::Enter | Step::Join => Ok(Word::new(phase, living + 1)),
            Step::Leave if living == 0 => Err(Refused::Nobody),
            Step::Leave => Ok(Word::new(phase, living - 1)),
            Step::End if self.is_at_end() => Ok(Word::new(Phase::Stopped, 0)),
            Step::End => Err(Refused::NotForward(phase)),
            Step::Advance(to) if to <= phase => Err(Refused::NotForward(phase)),
            Step::Advance(to) => match Word::new(to, living) {
                // Emptiness while draining is the end, in the same step.
                word if word.is_at_end() => Ok(Word::new(Phase::Stopped, 0)),
                word => Ok(word),
            },
        }
    }

    /// Whether nobody is left, nobody can come, and it is not yet said.
    #[inline]
    pub(crate) fn is_at_end(self) -> bool {
        self.living() == 0 && (Phase::Settling..Phase::Stopped).contains(&self.phase())
    }

    /// Whether somebody may be waiting for the change from `before` to here.
    pub(crate) fn is_news_after(self, before: Word) -> bool {
        self.phase() != before.phase() || (self.alone() && !before.alone())
    }

    /// Whether at most one is left of a gate that lets nobody in.
    pub(crate) fn alone(self) -> bool {
        self.phase() >= Phase::Settling && self.living() <= 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps() -> Vec<Step> {
        let mut steps = vec![Step::Enter, Step::Join, Step::Leave, Step::End];
        steps.extend(Phase::ALL.map(Step::Advance));
        steps
    }

    /// All small words, and those at the upper end, with all steps.
    fn every_small_case() -> impl Iterator<Item = (Word, Step)> {
        let counts = (0..=5).chain(Word::MOST - 1..=Word::MOST);
        let words = counts.flat_map(|living| Phase::ALL.map(|phase| Word::new(phase, living)));
        words.flat_map(|word| steps().into_iter().map(move |step| (word, step)))
    }

    #[test]
    fn a_word_holds_what_it_was_made_of() {
        for (word, _) in every_small_case() {
            assert_eq!(Word::from_bits(word.bits()), word);
            assert_eq!(Word::new(word.phase(), word.living()), word);
        }
    }

    #[test]
    fn s1_no_step_goes_back() {
        for (word, step) in every_small_case() {
            if let Ok(next) = word.step(step) {
                assert!(next.phase() >= word.phase(), "{word:?} {step:?}");
            }
        }
    }

    #[test]
    fn s2_stopped_stays_stopped() {
        for (word, step) in every_small_case() {
            if word.phase() == Phase::Stopped {
                match word.step(step) {
                    Ok(next) => {
                        assert_eq!(step, Step::Leave);
                        assert_eq!(next, Word::new(Phase::Stopped, word.living() - 1));
                    }
                    Err(_) => assert!(step != Step::Leave || word.living() == 0),
                }
            }
        }
    }

    #[test]
    fn s4_each_step_counts_exactly_one_or_none() {
        for (word, step) in every_small_case() {
            let Ok(next) = word.step(step) else { continue };
            match step {
                Step::Enter | Step::Join => assert_eq!(next.living(), word.living() + 1),
                Step::Leave => assert_eq!(next.living() + 1, word.living()),
                Step::Advance(_) | Step::End => assert_eq!(next.living(), word.living()),
            }
        }
    }

    #[test]
    fn s9_nobody_comes_in_from_outside_once_draining() {
        for (word, step) in every_small_case() {
            if step == Step::Enter && word.phase() >= Phase::Settling {
                assert_eq!(word.step(step), Err(Refused::Closed(word.phase())));
            }
            if step == Step::Join && word.phase() == Phase::Stopped {
                assert!(word.step(step).is_err());
            }
        }
    }

    #[test]
    fn whoever_may_enter_does() {
        for (word, _) in every_small_case() {
            let full = word.living() == Word::MOST;
            let entered = match word.phase() {
                phase if phase >= Phase::Settling => Err(Refused::Closed(phase)),
                _ if full => Err(Refused::Full),
                phase => Ok(Word::new(phase, word.living() + 1)),
            };
            assert_eq!(word.step(Step::Enter), entered, "{word:?}");
            let joined = match word.phase() {
                Phase::Stopped => Err(Refused::Closed(Phase::Stopped)),
                _ if word.living() == 0 => Err(Refused::Nobody),
                _ if full => Err(Refused::Full),
                phase => Ok(Word::new(phase, word.living() + 1)),
            };
            assert_eq!(word.step(Step::Join), joined, "{word:?}");
        }
        let full = Word::from_bits(usize::MAX & !PHASE_MASK);
        assert_eq!(full.step(Step::Enter), Err(Refused::Full));
    }

    #[test]
    fn who_is_at_the_end() {
        for (word, _) in every_small_case() {
            let closing = [Phase::Settling, Phase::Draining, Phase::Forcing];
            let ends = word.living() == 0 && closing.contains(&word.phase());
            assert_eq!(word.is_at_end(), ends, "{word:?}");
            assert_eq!(word.step(Step::End).is_ok(), ends, "{word:?}");
            for phase in Phase::ALL {
                assert_eq!(word.has_reached(phase), word.phase() >= phase);
            }
        }
    }

    #[test]
    fn s13_to_stop_twice_is_to_stop_once() {
        for (word, step) in every_small_case() {
            if let (Step::Advance(_), Ok(next)) = (step, word.step(step)) {
                assert_eq!(next.step(step), Err(Refused::NotForward(next.phase())));
            }
        }
    }

    #[test]
    fn l2_the_last_to_leave_ends_it() {
        for (word, step) in every_small_case() {
            let Ok(next) = word.step(step) else { continue };
            // Who leaves an end behind takes it, and nobody else makes one.
            let is_taken = step == Step::Leave && word.living() == 1 || word.is_at_end();
            assert!(!next.is_at_end() || is_taken, "{word:?} {step:?}");
            if next.is_at_end() {
                assert_eq!(next.step(Step::End), Ok(Word::new(Phase::Stopped, 0)));
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
    fn l4_every_change_that_somebody_can_wait_for_is_news() {
        for (word, step) in every_small_case() {
            let Ok(next) = word.step(step) else { continue };
            assert_eq!(
                next.is_news_after(word),
                word.phase() != next.phase() || (next.alone() && !word.alone()),
            );
        }
        let two = Word::new(Phase::Draining, 2);
        assert!(two.step(Step::Leave).unwrap().is_news_after(two));
    }
}
