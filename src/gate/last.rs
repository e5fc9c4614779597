//! Connections that drain last: the receivers of what other connections send
//! ([F94](crate::docs::faults#f94)).
//!
//! A subscriber that is idle at the stop may have a message to come, from a publisher that
//! is at work, or that waits in the accept queue. It ends once nobody is left who could have
//! one for it: nobody is accepted any more, all connections that are open drain last, and
//! all of their handles that do are at their idle points; or once it has waited for long
//! enough ([F98](crate::docs::faults#f98)).

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use super::waiters::Until;
use super::{PhaseReached, Shutdown};
use crate::sync::{Mutex, lock};

/// The counts of one gate.
#[derive(Debug, Default)]
pub(super) struct Last(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// The open connections that drain last. One can end before it was counted here.
    connections: isize,
    /// Their handles that drain last: there can be one for each of several tasks.
    handles: usize,
    /// Those of them that are at their idle points.
    resting: usize,
    is_over: bool,
    driver: Option<Waker>,
}

impl State {
    fn all_rest(&self) -> bool {
        self.handles > 0 && self.resting == self.handles
    }
}

impl Last {
    /// Changes the counts, and wakes the driver where they may be what it waits for.
    fn change(&self, change: impl FnOnce(&mut State)) -> bool {
        let mut state = lock(&self.0);
        change(&mut state);
        let concerns = state.all_rest();
        let driver = state.driver.take_if(|_| concerns);
        let is_over = state.is_over;
        drop(state);
        driver.into_iter().for_each(Waker::wake);
        is_over
    }

    /// Notes a handle that drains last. `is_first`: that of a connection.
    pub(super) fn join(&self, is_first: bool) {
        self.change(|state| {
            state.handles += 1;
            state.connections += isize::from(is_first);
        });
    }

    /// Notes the end of such a handle.
    pub(super) fn leave(&self) {
        self.change(|state| state.handles -= 1);
    }

    /// Notes that a connection has ended. `was_last`: it was one of these.
    pub(super) fn leave_connection(&self, was_last: bool) {
        self.change(|state| state.connections -= isize::from(was_last));
    }

    /// Lets nobody wait for others any more: it is for the caller to wake those that do.
    pub(super) fn end(&self) {
        self.change(|state| state.is_over = true);
    }

    /// Ready, once, where nobody but those that rest is open any more: `open` counts all.
    /// Otherwise the driver is woken when that may be so.
    pub(super) fn poll_over(&self, cx: &Context<'_>, open: impl FnOnce() -> usize) -> Poll<()> {
        let mut state = lock(&self.0);
        if state.is_over {
            return Poll::Pending;
        }
        state.is_over = state.all_rest() && usize::try_from(state.connections) == Ok(open());
        if state.is_over {
            return Poll::Ready(());
        }
        let before = state.driver.replace(cx.waker().clone());
        drop(state);
        drop(before);
        Poll::Pending
    }
}

/// The wait of a connection that drains last, at its idle point: for the end of all others,
/// or of the time for it. From its first poll to its drop the connection rests.
#[derive(Debug)]
pub(crate) struct OthersEnded {
    woken: PhaseReached,
    rests: bool,
}

impl OthersEnded {
    pub(super) fn new(shutdown: &Shutdown) -> OthersEnded {
        OthersEnded {
            woken: shutdown.until(Until::NextRound),
            rests: false,
        }
    }

    fn last(&self) -> &Last {
        &self.woken.waiter.shared().last
    }
}

impl Future for OthersEnded {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        // Registered before the look: an end that comes after it wakes the task (F44).
        if Pin::new(&mut self.woken).poll(cx).is_ready() {
            return Poll::Ready(());
        }
        let begins = !std::mem::replace(&mut self.rests, true);
        let rests = usize::from(begins);
        match self.last().change(|state| state.resting += rests) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }
}

impl Drop for OthersEnded {
    fn drop(&mut self) {
        if self.rests {
            self.last().change(|state| state.resting -= 1);
        }
    }
}

#[cfg(all(test, not(feature = "loom")))]
mod tests {
    use super::*;
    use crate::gate::woken::Woken;
    use crate::phase::Phase;

    /// The gate of a server that drains, where so many connections drain last.
    fn draining(connections: usize) -> Shutdown {
        let (shutdown, hold) = Shutdown::driven();
        // It stays: the gate would be at its end.
        std::mem::forget(hold);
        shutdown.advance(Phase::Draining);
        (0..connections).for_each(|_| shutdown.joins_last(true));
        shutdown
    }

    fn ends_last(shutdown: &Shutdown, open: usize) -> bool {
        let cx = Context::from_waker(Waker::noop());
        shutdown.poll_end_last(&cx, || open).is_ready()
    }

    #[test]
    fn f94_they_end_when_all_rest_and_nobody_else_is_open() {
        let shutdown = draining(2);
        let (woken, task) = Woken::new();
        let mut cx = Context::from_waker(&task);
        let mut rests = [shutdown.others_ended(), shutdown.others_ended()];
        assert!(Pin::new(&mut rests[0]).poll(&mut cx).is_pending());
        assert!(!ends_last(&shutdown, 2), "one of them is at work");
        for _ in 0..2 {
            assert!(Pin::new(&mut rests[1]).poll(&mut cx).is_pending());
        }
        assert!(!ends_last(&shutdown, 3), "somebody else is open");
        assert_eq!(woken.times(), 0);
        assert!(ends_last(&shutdown, 2) && !ends_last(&shutdown, 2), "once");
        assert_eq!(woken.times(), 2);
        for rests in &mut rests {
            assert!(Pin::new(rests).poll(&mut cx).is_ready());
        }
        // Who comes to its idle point later need not wait.
        assert!(
            Pin::new(&mut shutdown.others_ended())
                .poll(&mut cx)
                .is_ready()
        );
    }

    #[test]
    fn f98_they_end_at_their_idle_points_although_one_never_rests() {
        let shutdown = draining(2);
        let (woken, task) = Woken::new();
        let mut cx = Context::from_waker(&task);
        let [mut rests, mut stuck] = [shutdown.others_ended(), shutdown.others_ended()];
        assert!(Pin::new(&mut rests).poll(&mut cx).is_pending());
        shutdown.end_last();
        assert_eq!(woken.times(), 1);
        assert!(Pin::new(&mut rests).poll(&mut cx).is_ready());
        // It has come to rest after all.
        assert!(Pin::new(&mut stuck).poll(&mut cx).is_ready());
        drop(rests);
        assert!(!ends_last(&shutdown, 2), "they have ended");
    }

    #[test]
    fn f94_who_goes_on_does_not_rest_any_more() {
        let shutdown = draining(1);
        let mut cx = Context::from_waker(Waker::noop());
        let mut rests = shutdown.others_ended();
        assert!(Pin::new(&mut rests).poll(&mut cx).is_pending());
        drop(rests);
        assert!(!ends_last(&shutdown, 1));
        let mut rests = shutdown.others_ended();
        assert!(!ends_last(&shutdown, 1), "it was not polled");
        assert!(Pin::new(&mut rests).poll(&mut cx).is_pending());
        assert!(ends_last(&shutdown, 1));
    }

    #[test]
    fn f94_without_any_nothing_ends() {
        let shutdown = draining(1);
        shutdown.leaves_last();
        shutdown.has_left(true);
        assert!(!ends_last(&shutdown, 0));
    }

    #[test]
    fn f94_all_handles_of_a_connection_have_to_rest() {
        let shutdown = draining(1);
        shutdown.joins_last(false);
        let mut cx = Context::from_waker(Waker::noop());
        let mut rests = [shutdown.others_ended(), shutdown.others_ended()];
        for rests in &mut rests {
            assert!(!ends_last(&shutdown, 1));
            assert!(Pin::new(rests).poll(&mut cx).is_pending());
        }
        assert!(ends_last(&shutdown, 1));
    }

    #[test]
    fn f94_the_driver_is_woken_by_the_last_of_the_others() {
        let shutdown = draining(1);
        let (woken, task) = Woken::new();
        let cx = &mut Context::from_waker(&task);
        let mut rests = shutdown.others_ended();
        assert!(Pin::new(&mut rests).poll(cx).is_pending());
        let (driver_woken, driver) = Woken::new();
        let driver = Context::from_waker(&driver);
        assert!(shutdown.poll_end_last(&driver, || 2).is_pending());
        shutdown.has_left(false);
        assert_eq!((driver_woken.times(), woken.times()), (1, 0));
        assert!(shutdown.poll_end_last(&driver, || 1).is_ready());
        assert_eq!(woken.times(), 1);
    }

    #[test]
    fn f69_f94_the_abort_ends_the_wait_for_others() {
        let shutdown = draining(1);
        let (woken, task) = Woken::new();
        let mut cx = Context::from_waker(&task);
        let mut rests = shutdown.others_ended();
        assert!(Pin::new(&mut rests).poll(&mut cx).is_pending());
        shutdown.advance(Phase::Aborting);
        assert_eq!(woken.times(), 1);
        assert!(Pin::new(&mut rests).poll(&mut cx).is_ready());
    }
}
