//! Guards: what keeps a gate from its end.

use std::borrow::Borrow;
use std::task::{Context, Poll};

use super::rounds::Unused;
use super::waiters::{Until, Waiter};
use super::word::{GuardError, Progress};
use super::{PhaseReached, Shutdown};
use crate::phase::Phase;
use crate::sync::plain::Ordering;

pub(super) const SETTLED: Until = Until::Progress(Progress::SETTLED);

/// A guard of the gate: the gate waits for its drop.
///
/// It keeps the gate alive, as an [`Arc`](std::sync::Arc) would; a
/// `Guard<&Shutdown>`, which [`Shutdown::try_guard_ref`] returns, borrows it.
///
/// It is deliberately not `Clone`: one more guard can be refused, so it is
/// asked for with [`try_clone`](Guard::try_clone).
#[derive(Debug)]
#[must_use = "the gate waits only until the guard is dropped"]
pub struct Guard<S: Borrow<Shutdown> = Shutdown> {
    /// The place among the waiters, for reads that the stop can end. It has
    /// the handle on the gate, so that a guard holds that once.
    pub(super) waiter: Waiter<S>,
}

impl<S: Borrow<Shutdown>> Guard<S> {
    /// Wraps a guard that has been counted.
    #[inline]
    pub(super) fn counted(shutdown: S) -> Guard<S> {
        Guard {
            waiter: Waiter::new(shutdown),
        }
    }

    /// Returns the gate that this guard belongs to.
    ///
    /// ```
    /// let shutdown = lameduck::Shutdown::new();
    /// let guard = shutdown.try_guard()?;
    /// guard.shutdown().stop("the holder asks");
    /// assert!(shutdown.is_draining());
    /// # Ok::<(), lameduck::GuardError>(())
    /// ```
    pub fn shutdown(&self) -> &Shutdown {
        self.waiter.shutdown.borrow()
    }

    /// Takes one more guard, also while draining: for the connections that an
    /// accept loop sweeps, and for the tasks of a connection.
    ///
    /// # Errors
    /// [`GuardError::Closed`] once the gate is stopped, which with a guard
    /// held means that a server has abandoned its holder.
    ///
    /// ```
    /// let shutdown = lameduck::Shutdown::new();
    /// let accept_loop = shutdown.try_guard()?;
    /// shutdown.stop("done");
    /// assert!(shutdown.try_guard().is_err());
    /// let swept = accept_loop.try_clone()?;
    /// # Ok::<(), lameduck::GuardError>(())
    /// ```
    #[inline]
    pub fn try_clone(&self) -> Result<Guard, GuardError> {
        self.shutdown().join()
    }

    /// Returns whether the gate has come to [`Phase::Draining`], or beyond it.
    ///
    /// ```
    /// let shutdown = lameduck::Shutdown::new();
    /// let guard = shutdown.try_guard()?;
    /// assert!(!guard.is_draining());
    /// shutdown.stop("done");
    /// assert!(guard.is_draining());
    /// # Ok::<(), lameduck::GuardError>(())
    /// ```
    pub fn is_draining(&self) -> bool {
        self.waiter.shared().word().phase() >= Phase::Draining
    }

    /// Waits until the gate drains and this guard is the only one left: the
    /// time for what must run after the last connection ([F41](crate::docs::faults)).
    ///
    /// Two holders that both wait here wait for each other.
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// let shutdown = lameduck::Shutdown::new();
    /// let accept_loop = shutdown.try_guard()?;
    /// let guard = accept_loop.try_clone()?;
    /// std::thread::spawn(move || drop(guard));
    /// shutdown.stop("done");
    /// accept_loop.others_dropped().await;
    /// assert_eq!(shutdown.guard_count(), 1); // flush, unregister, and then:
    /// drop(accept_loop);
    /// # Ok::<(), lameduck::GuardError>(()) }).unwrap();
    /// ```
    pub fn others_dropped(&self) -> PhaseReached {
        self.shutdown().until(Until::Last)
    }

    /// Returns whether what is left is to be cut off.
    #[inline]
    pub(crate) fn is_aborting(&self) -> bool {
        self.waiter
            .reached(Until::Progress(Progress::of(Phase::Aborting)))
    }

    /// Returns whether idle connections are to end: the gate drains, and no
    /// time is left to settle.
    #[inline]
    pub(crate) fn is_settled(&self) -> bool {
        self.waiter.reached(SETTLED)
    }

    /// Returns whether the task with this waker will be woken when
    /// [`is_settled`](Guard::is_settled) becomes true after it was false.
    #[inline]
    pub(crate) fn is_registered_for(&self, cx: &Context<'_>) -> bool {
        self.waiter.is_registered_for(cx.waker())
    }

    /// Returns whether connections in use are read on although idle ones end.
    pub(crate) fn spares_those_in_use(&self) -> bool {
        self.waiter.shared().rounds.current() > 0
    }

    /// Returns whether connections end, too, that are never idle.
    #[cold]
    pub(crate) fn ends_busy(&self) -> bool {
        self.waiter.shared().ends_busy.load(Ordering::Relaxed)
    }

    /// Ready once the gate has come to `phase`; otherwise the task is woken then. Phases that
    /// come one after the other, and the end of idle connections behind them, can be awaited
    /// by one guard.
    #[cfg(feature = "http")]
    #[inline]
    pub(crate) fn poll_phase(&mut self, phase: Phase, cx: &Context<'_>) -> Poll<()> {
        self.waiter
            .poll_next(Until::Progress(Progress::of(phase)), cx)
    }

    /// Ready once idle connections are to end; otherwise the task is woken then.
    #[cfg(feature = "http")]
    #[inline]
    pub(crate) fn poll_settled(&mut self, cx: &Context<'_>) -> Poll<()> {
        self.waiter.poll_next(SETTLED, cx)
    }

    /// Ready where the server aborts; otherwise the task is woken when it does.
    pub(crate) fn poll_abort(&mut self, cx: &Context<'_>) -> Poll<()> {
        self.waiter
            .register(Until::Progress(Progress::of(Phase::Aborting)), cx.waker())
    }

    /// Asks, once in a round, how many bytes the peer of a connection has not acknowledged.
    pub(crate) fn ask(
        &self,
        unused: &mut Unused,
        unacknowledged: impl FnOnce() -> Option<u64>,
    ) {
        unused.ask(self.waiter.shared().rounds.current(), unacknowledged);
    }

    /// Decides about an idle connection, of which so many bytes were read: ready where
    /// it ends. Pending where it is in use: the task is woken to look again, also by the
    /// abort.
    pub(crate) fn poll_unused(
        &mut self,
        cx: &Context<'_>,
        unused: &mut Unused,
        bytes: u64,
    ) -> Poll<()> {
        // Each time, since a round takes the waker; and before the look at the round: one
        // that began before the registration has woken nobody (F44).
        let registered = self.waiter.register(Until::NextRound, cx.waker());
        let round = self.waiter.shared().rounds.current();
        match registered.is_pending() && unused.is_in_use(round, bytes) {
            true => Poll::Pending,
            false => Poll::Ready(()),
        }
    }

    /// Registers the task to be woken, and looks once more: ready where idle
    /// connections are to end by now.
    #[inline]
    pub(crate) fn register(&mut self, cx: &Context<'_>) -> Poll<()> {
        self.waiter.register(SETTLED, cx.waker())
    }
}

impl<S: Borrow<Shutdown>> Drop for Guard<S> {
    #[inline]
    fn drop(&mut self) {
        self.waiter.shared().leave();
    }
}

/// The hold of a server's driver on its gate: by it the gate stays open for
/// connections that are swept, and does not end before the hooks have run.
#[derive(Debug)]
pub(crate) struct Hold {
    shutdown: Shutdown,
}

impl Hold {
    pub(super) fn counted(shutdown: Shutdown) -> Hold {
        Hold { shutdown }
    }

    /// Takes a guard for a connection, also while draining.
    #[inline]
    pub(crate) fn try_guard(&self) -> Result<Guard, GuardError> {
        self.shutdown.join()
    }

    /// Waits until the gate drains and no guard is left.
    pub(crate) fn drained(&self) -> PhaseReached {
        self.shutdown.until(Until::Last)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.shutdown.shared.release();
    }
}

/// Some of the rules that the models of loom check with threads, here without.
#[cfg(all(test, not(feature = "loom")))]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::Waker;

    use super::*;
    use crate::gate::woken::Woken;

    #[test]
    fn l2_the_hold_keeps_a_gate_from_its_end() {
        let (shutdown, hold) = Shutdown::driven();
        let guard = hold.try_guard().expect("the gate is open");
        assert!(shutdown.advance(Phase::Draining));
        drop(guard);
        assert_eq!(shutdown.phase(), Phase::Draining);
        drop(hold);
        assert_eq!(shutdown.phase(), Phase::Stopped);
    }

    #[test]
    fn f44_a_wait_is_woken_by_the_stop_that_ends_it() {
        let (shutdown, hold) = Shutdown::driven();
        let mut guard = hold.try_guard().expect("the gate is open");
        let (woken, task) = Woken::new();
        let mut cx = Context::from_waker(&task);
        let mut wait = pin!(guard.wait_or_drain(|_| Poll::<()>::Pending));
        for _ in 0..2 {
            assert!(wait.as_mut().poll(&mut cx).is_pending());
        }
        assert!(shutdown.settle());
        assert_eq!(woken.times(), 0);
        shutdown.end_idle();
        assert_eq!(woken.times(), 1);
        assert_eq!(wait.as_mut().poll(&mut cx), Poll::Ready(None));
    }

    #[cfg(feature = "http")]
    #[test]
    fn a_guard_awaits_one_thing_after_the_other() {
        let (shutdown, hold) = Shutdown::driven();
        let mut guard = hold.try_guard().expect("the gate is open");
        let (woken, task) = Woken::new();
        let cx = Context::from_waker(&task);
        for _ in 0..2 {
            assert!(guard.poll_phase(Phase::LameDuck, &cx).is_pending());
        }
        shutdown.stop("a test");
        assert_eq!(woken.times(), 1);
        assert!(guard.poll_phase(Phase::LameDuck, &cx).is_ready());
        for _ in 0..2 {
            assert!(guard.poll_settled(&cx).is_pending());
        }
        assert!(shutdown.settle());
        assert_eq!(woken.times(), 1);
        shutdown.end_idle();
        assert_eq!(woken.times(), 2);
        assert!(guard.poll_settled(&cx).is_ready());
    }

    #[test]
    fn f84_connections_in_use_are_spared_from_the_first_round_to_the_end() {
        let (shutdown, hold) = Shutdown::driven();
        let mut guard = hold.try_guard().expect("the gate is open");
        let mut unused = Unused::default();
        let (woken, task) = Woken::new();
        let mut poll =
            |guard: &mut Guard| guard.poll_unused(&Context::from_waker(&task), &mut unused, 1);
        assert!(shutdown.settle() && guard.is_draining());
        assert!(!guard.is_settled() && !guard.spares_those_in_use());
        shutdown.end_unused();
        assert!(guard.is_settled() && guard.spares_those_in_use());
        assert!(poll(&mut guard).is_pending());
        shutdown.end_unused();
        assert_eq!(woken.times(), 1, "by each round");
        assert!(poll(&mut guard).is_pending());
        shutdown.end_idle();
        assert_eq!(woken.times(), 2, "and by the end");
        assert!(!guard.spares_those_in_use());
        assert!(poll(&mut guard).is_ready());
    }

    #[test]
    fn f69_f84_the_abort_spares_nobody() {
        let (shutdown, hold) = Shutdown::driven();
        let mut guard = hold.try_guard().expect("the gate is open");
        let mut unused = Unused::default();
        let cx = Context::from_waker(Waker::noop());
        shutdown.end_unused();
        assert!(guard.poll_unused(&cx, &mut unused, 1).is_pending());
        assert!(!guard.is_aborting() && shutdown.advance(Phase::Aborting));
        assert!(guard.is_aborting());
        assert!(guard.poll_unused(&cx, &mut unused, 1).is_ready());
    }
}
