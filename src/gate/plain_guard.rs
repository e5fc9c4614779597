//! A guard without the room for a wait: what a connection of HTTP has for its requests.

use std::borrow::Borrow;

use super::guard::{Guard, SETTLED};
use super::word::{GuardError, Progress, Step};
use super::{PhaseReached, Shutdown};

/// A guard by which nobody waits for anything, and which has no room for that.
#[derive(Debug)]
pub(crate) struct PlainGuard {
    shutdown: Shutdown,
}

impl<S: Borrow<Shutdown>> Guard<S> {
    /// Takes one more that waits for nothing.
    ///
    /// # Errors
    /// As [`try_clone`](Guard::try_clone).
    pub(crate) fn try_plain(&self) -> Result<PlainGuard, GuardError> {
        PlainGuard::join(self.shutdown())
    }

    /// Gives up the place of a wait that is over, before the drop does.
    pub(crate) fn end_wait(&mut self) {
        self.waiter.deregister();
    }
}

impl PlainGuard {
    /// Takes a guard beside one that is held.
    fn join(shutdown: &Shutdown) -> Result<PlainGuard, GuardError> {
        shutdown.shared.enter(Step::Join)?;
        Ok(PlainGuard {
            shutdown: shutdown.clone(),
        })
    }

    /// Returns the gate that this guard belongs to.
    #[inline]
    pub(crate) fn shutdown(&self) -> &Shutdown {
        &self.shutdown
    }

    /// Takes one more guard, as [`Guard::try_clone`].
    #[inline]
    pub(crate) fn try_guard(&self) -> Result<Guard, GuardError> {
        self.shutdown.join()
    }

    /// The same, without a wait.
    pub(crate) fn try_clone(&self) -> Result<PlainGuard, GuardError> {
        PlainGuard::join(&self.shutdown)
    }

    /// See [`Guard::is_settled`].
    pub(crate) fn is_settled(&self) -> bool {
        self.shutdown.shared.word().has_reached(Progress::SETTLED)
    }

    /// Completes when idle connections are to end.
    pub(crate) fn settled(&self) -> PhaseReached {
        self.shutdown.until(SETTLED)
    }
}

impl Drop for PlainGuard {
    #[inline]
    fn drop(&mut self) {
        self.shutdown.shared.leave();
    }
}
