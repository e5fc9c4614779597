//! What all handles on a gate share: the atomic word, and what a stop needs beside it.
//!
//! [`Word`] decides about each step; here it is taken, so that it is seen whole or not at
//! all, and the waiters are woken that it concerns.

use super::last::Last;
use super::rounds::Rounds;
use super::stop_in_restart::StopInRestart;
use super::waiters::Waiters;
use super::word::{GuardError, Step, StepError, Word};
use crate::cause::Cause;
use crate::phase::Phase;
use crate::sync::plain::AtomicBool;
use crate::sync::{AtomicUsize, Mutex, Ordering, look};

/// The part of a gate that all of its handles and guards share.
#[derive(Debug)]
pub(super) struct Shared {
    word: AtomicUsize,
    /// The phase that [`Shutdown::stop`] leads to: `Draining`, or `LameDuck`
    /// for a server, whose driver goes on from there.
    pub(super) stop_phase: Phase,
    pub(super) cause: Mutex<Option<Cause>>,
    pub(super) stop_in_restart: StopInRestart,
    pub(super) rounds: Rounds,
    pub(super) last: Last,
    /// Connections that are never idle end, too.
    pub(super) ends_busy: AtomicBool,
    pub(super) waiters: Waiters,
}

impl Shared {
    pub(super) fn new(stop_phase: Phase, word: Word) -> Shared {
        Shared {
            word: AtomicUsize::new(word.bits()),
            stop_phase,
            cause: Mutex::new(None),
            stop_in_restart: StopInRestart::default(),
            rounds: Rounds::new(),
            last: Last::default(),
            ends_busy: AtomicBool::new(false),
            waiters: Waiters::new(),
        }
    }

    #[inline]
    pub(super) fn word(&self) -> Word {
        look();
        // Acquire: pairs with the release in `change`. A thread that sees
        // Stopped sees all that the guards' holders did; one that sees a stop
        // sees its cause.
        Word::from_bits(self.word.load(Ordering::Acquire))
    }

    /// Takes a step of the word; returns the words before and after it.
    #[inline]
    fn change(&self, step: Step) -> Result<(Word, Word), StepError> {
        let mut before = self.word();
        loop {
            let after = before.step(step)?;
            // AcqRel: the release pairs with the acquire in `word`; the
            // acquire makes each leave part of what the next one releases.
            match self.word.compare_exchange_weak(
                before.bits(),
                after.bits(),
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => return Ok((before, after)),
                Err(bits) => before = Word::from_bits(bits),
            }
        }
    }

    /// Counts a guard. Nothing can be waiting for that, so no waiter is woken.
    ///
    /// It adds first and looks then: an addition never has to be tried again. What the
    /// gate refuses is taken back.
    #[inline]
    pub(super) fn enter(&self, step: Step) -> Result<(), GuardError> {
        look();
        // AcqRel: as in `change`.
        let before = Word::from_bits(self.word.fetch_add(Word::ONE, Ordering::AcqRel));
        match before.step(step) {
            Ok(_) => Ok(()),
            Err(refused) => Err(self.take_back(refused)),
        }
    }

    /// Takes a refused guard back, which was counted for a moment. Others may have left in
    /// that moment, and not have found the gate empty: so this is a leave like any other.
    #[cold]
    fn take_back(&self, refused: StepError) -> GuardError {
        self.leave();
        match refused {
            StepError::Guard(error) => error,
            // Only a dropped guard could be missing, and a dropped guard
            // cannot be asked.
            StepError::NotForward | StepError::NotHeld => {
                debug_assert!(false, "a guard brings in another, and is not counted");
                GuardError::Closed(Phase::Stopped)
            }
        }
    }

    /// Takes a step, and wakes the waiters that it concerns.
    pub(super) fn advance(&self, step: Step) -> Result<(), StepError> {
        let (before, after) = self.change(step)?;
        if after.needs_wake(before) {
            self.waiters.wake(after);
        }
        Ok(())
    }

    /// Drops a guard. Nothing can refuse that, so nothing needs to be looked
    /// at before: a subtraction is cheaper than the loop in `change`.
    #[inline]
    pub(super) fn leave(&self) {
        // AcqRel: as in `change`.
        let before = Word::from_bits(self.word.fetch_sub(Word::ONE, Ordering::AcqRel));
        if before.phase() != Phase::Running {
            self.left(before, before.step(Step::Leave));
        }
    }

    /// Gives up the server's hold.
    pub(super) fn release(&self) {
        if let Ok((before, after)) = self.change(Step::Release) {
            self.left(before, Ok(after));
        }
    }

    #[cold]
    fn left(&self, before: Word, after: Result<Word, StepError>) {
        debug_assert!(after.is_ok(), "a guard was dropped that was not counted");
        let Ok(after) = after else { return };
        if after.is_at_end() {
            // Refused when another thread's advance has found the gate empty, or when
            // another thread has yet to take back a guard that was refused to it.
            let _ = self.advance(Step::End);
        } else if after.needs_wake(before) {
            self.waiters.wake(after);
        }
    }
}
