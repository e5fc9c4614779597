//! A stop that is asked for after a successor has begun to serve.
//!
//! The gate is in the wanted phase then; the driver still has to hear of it, since a
//! restart may go on for ever, and a stop may not ([F51](crate::docs::faults#f51)).

use std::task::{Context, Poll, Waker};

use crate::sync::{Mutex, lock};

/// It knows whether somebody asked for such a stop, and wakes those that wait for it.
#[derive(Debug, Default)]
pub(super) struct StopInRestart(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    is_asked: bool,
    wakers: [Option<Waker>; 2],
}

/// Those that wait for such a stop.
#[derive(Clone, Copy, Debug)]
pub(crate) enum InRestart {
    Driver,
    #[cfg(feature = "parts")]
    HardDeadline,
}

impl StopInRestart {
    pub(super) fn ask(&self) {
        let mut state = lock(&self.0);
        state.is_asked = true;
        let wakers = std::mem::take(&mut state.wakers);
        drop(state);
        wakers.into_iter().flatten().for_each(Waker::wake);
    }

    pub(super) fn poll(&self, waits: InRestart, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = lock(&self.0);
        if state.is_asked {
            return Poll::Ready(());
        }
        let before = state.wakers[waits as usize].replace(cx.waker().clone());
        drop(state);
        drop(before);
        Poll::Pending
    }
}

#[cfg(all(test, not(feature = "loom")))]
mod tests {
    use super::*;
    use crate::cause::Cause;
    use crate::gate::Shutdown;
    use crate::gate::woken::Woken;

    /// Returns whether the driver hears of a stop after these causes.
    fn hears_of(causes: [Cause; 2]) -> bool {
        let (shutdown, _hold) = Shutdown::driven();
        let (woken, task) = Woken::new();
        let mut cx = Context::from_waker(&task);
        let mut poll = || shutdown.poll_stop_in_restart(InRestart::Driver, &mut cx);
        assert!(poll().is_pending());
        for (n, cause) in causes.into_iter().enumerate() {
            assert_eq!(shutdown.stop(cause), n == 0, "the first one begins it");
        }
        let is_told = poll().is_ready();
        assert_eq!(woken.times(), usize::from(is_told));
        is_told
    }

    #[test]
    fn f51_a_stop_in_a_restart_is_told_to_the_driver() {
        let now = || Cause::from("now");
        assert!(hears_of([Cause::Successor, now()]));
        assert!(!hears_of([now(), now()]), "the first one was a stop itself");
    }

    #[test]
    fn f51_the_begin_of_a_restart_is_no_stop_in_it() {
        let (shutdown, _hold) = Shutdown::driven();
        assert!(shutdown.stop(Cause::Successor));
        let mut cx = Context::from_waker(Waker::noop());
        let polled = shutdown.poll_stop_in_restart(InRestart::Driver, &mut cx);
        assert!(polled.is_pending());
    }
}
