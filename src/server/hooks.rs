//! Hooks: work that runs after the last connection, in tasks of their own.
//!
//! A hook runs off the driver: one that blocks its thread holds up neither the
//! budget nor a second signal (F47).

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use log::{debug, warn};

use crate::gate::Shutdown;
use crate::report::{Chain, HookOutcome, HookReport, ServerError};
use crate::rt::Runtime;
use crate::sync::plain::{Arc, Mutex, lock};

/// An error of any kind, as handlers and hooks return it.
pub(crate) type BoxError = Box<dyn Error + Send + Sync>;

type Work = Pin<Box<dyn Future<Output = Result<(), BoxError>> + Send>>;

/// The circumstances in which a hook runs; see
/// [`Builder::after_drain`](crate::Builder::after_drain).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HookContext {
    /// The time that the hook has. It is cancelled then.
    pub limit: Duration,
    /// The server's gate, which says why it stops.
    pub shutdown: Shutdown,
}

/// A hook, by name.
pub(super) struct Hook {
    name: String,
    start: Option<Box<dyn FnOnce(HookContext) -> Work + Send>>,
    running: Option<Running>,
    report: Option<HookReport>,
}

struct Running {
    slot: Arc<Slot>,
    started_at: Instant,
    limit: Duration,
}

/// The end of a hook that did not succeed.
#[derive(Debug)]
enum Failure {
    Error(BoxError),
    Panicked,
}

/// The place where a hook's task and the driver meet.
#[derive(Debug)]
struct Slot {
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    Running {
        driver: Option<Waker>,
        task: Option<Waker>,
    },
    Cancelled,
    Ended(Result<(), Failure>),
}

impl Hook {
    pub(super) fn new<H, F, E>(name: String, hook: H) -> Hook
    where
        H: FnOnce(HookContext) -> F + Send + 'static,
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<BoxError>,
    {
        // The call itself is part of the work: it, too, may block or panic.
        let start = |context| -> Work {
            Box::pin(async move { hook(context).await.map_err(Into::into) })
        };
        Hook {
            name,
            start: Some(Box::new(start)),
            running: None,
            report: None,
        }
    }

    /// Starts the hook in a task of its own.
    pub(super) fn run<R: Runtime>(&mut self, runtime: &R, limit: Duration, gate: &Shutdown) {
        let Some(start) = self.start.take() else {
            return;
        };
        debug!("running hook {}, for {limit:.1?} at most", self.name);
        let slot = Arc::new(Slot {
            state: Mutex::new(State::Running {
                driver: None,
                task: None,
            }),
        });
        let shutdown = gate.clone();
        runtime.spawn(HookTask {
            has_started: false,
            work: Some(start(HookContext { limit, shutdown })),
            slot: slot.clone(),
        });
        self.running = Some(Running {
            slot,
            started_at: runtime.now(),
            limit,
        });
    }

    /// Waits for the end of the hook.
    pub(super) fn poll(
        &mut self,
        now: impl Fn() -> Instant,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), ServerError>> {
        let Some(running) = &self.running else {
            return Poll::Pending;
        };
        let ended = match running.slot.poll_ended(cx) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(ended) => ended,
        };
        let name = self.name.clone();
        let (outcome, result) = match ended {
            Ok(()) => (HookOutcome::Done, Ok(())),
            Err(Failure::Panicked) => (
                HookOutcome::Panicked,
                Err(ServerError::HookPanicked { name }),
            ),
            Err(Failure::Error(error)) => {
                let source = error.into();
                (HookOutcome::Failed, Err(ServerError::Hook { name, source }))
            }
        };
        if let Err(error) = &result {
            warn!("{}", Chain(error));
        }
        self.ended(now(), outcome);
        Poll::Ready(result)
    }

    /// Cancels the hook, whose time is over.
    pub(super) fn cancel(&mut self, now: Instant) -> Option<ServerError> {
        let running = self.running.as_ref()?;
        running.slot.cancel();
        let error = ServerError::HookTimedOut {
            name: self.name.clone(),
            limit: running.limit,
        };
        warn!("{error}");
        self.ended(now, HookOutcome::TimedOut);
        Some(error)
    }

    fn ended(&mut self, now: Instant, outcome: HookOutcome) {
        if let Some(running) = self.running.take() {
            self.report = Some(HookReport {
                name: self.name.clone(),
                outcome,
                duration: now.saturating_duration_since(running.started_at),
                limit: running.limit,
            });
        }
    }

    pub(super) fn report(&self) -> Option<HookReport> {
        self.report.clone()
    }
}

impl fmt::Debug for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hook")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Slot {
    fn poll_ended(&self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        let mut state = lock(&self.state);
        match &mut *state {
            State::Running { driver, .. } => {
                let before = driver.replace(cx.waker().clone());
                drop(state);
                drop(before);
                Poll::Pending
            }
            State::Cancelled => Poll::Pending,
            State::Ended(ended) => Poll::Ready(std::mem::replace(ended, Ok(()))),
        }
    }

    fn end(&self, ended: Result<(), Failure>) {
        self.replace(State::Ended(ended));
    }

    fn cancel(&self) {
        self.replace(State::Cancelled);
    }

    /// Replaces the state while the hook runs, and wakes both sides.
    fn replace(&self, new: State) {
        let mut state = lock(&self.state);
        let State::Running { driver, task } = &mut *state else {
            return;
        };
        let wakers = [driver.take(), task.take()];
        *state = new;
        drop(state);
        wakers.into_iter().flatten().for_each(Waker::wake);
    }

    /// Registers the task; returns whether the hook was cancelled.
    fn is_cancelled(&self, cx: &mut Context<'_>) -> bool {
        let mut state = lock(&self.state);
        let State::Running { task, .. } = &mut *state else {
            return true;
        };
        let before = task.replace(cx.waker().clone());
        drop(state);
        drop(before);
        false
    }
}

/// The task of a hook. It ends when the work does, or when it is cancelled.
struct HookTask {
    /// Whether the work was polled: each hook starts, also one without any time,
    /// which is cancelled before its task first runs (L7).
    has_started: bool,
    work: Option<Work>,
    slot: Arc<Slot>,
}

impl Future for HookTask {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let has_started = std::mem::replace(&mut self.has_started, true);
        let is_cancelled = self.slot.is_cancelled(cx) && has_started;
        let Some(work) = self.work.as_mut().filter(|_| !is_cancelled) else {
            let work = self.work.take();
            // Its drop is the program's code.
            let _ = catch_unwind(AssertUnwindSafe(|| drop(work)));
            return Poll::Ready(());
        };
        let ended = match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(cx))) {
            // Cancelled before or while it was polled: looked at once more.
            Ok(Poll::Pending) if self.slot.is_cancelled(cx) => return self.poll(cx),
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(ended)) => ended.map_err(Failure::Error),
            Err(_) => Err(Failure::Panicked),
        };
        let work = self.work.take();
        let dropped = catch_unwind(AssertUnwindSafe(|| drop(work)));
        self.slot
            .end(dropped.map_err(|_| Failure::Panicked).and(ended));
        Poll::Ready(())
    }
}

impl Drop for HookTask {
    /// A runtime that drops the task has ended the hook.
    fn drop(&mut self) {
        let error = "the runtime dropped its task";
        self.slot.end(Err(Failure::Error(error.into())));
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::gate::woken::Woken;

    /// A hook that never ends, how often it was polled, and what its drop releases.
    fn endless() -> (HookTask, Arc<Slot>, Arc<AtomicUsize>) {
        let slot = Arc::new(Slot {
            state: Mutex::new(State::Running {
                driver: None,
                task: None,
            }),
        });
        let polls = Arc::new(AtomicUsize::new(0));
        let counted = polls.clone();
        let work = poll_fn(move |_| {
            // Relaxed: one thread polls and reads.
            counted.fetch_add(1, Ordering::Relaxed);
            Poll::Pending
        });
        let task = HookTask {
            has_started: false,
            work: Some(Box::pin(work)),
            slot: slot.clone(),
        };
        (task, slot, polls)
    }

    fn is_released(polls: &Arc<AtomicUsize>) -> bool {
        Arc::strong_count(polls) == 1
    }

    #[test]
    fn l4_a_hook_that_is_cancelled_is_woken_and_dropped() {
        let (mut task, slot, polls) = endless();
        let (woken, waker) = Woken::new();
        let cx = &mut Context::from_waker(&waker);
        assert!(Pin::new(&mut task).poll(cx).is_pending());
        assert_eq!(woken.times(), 0);
        slot.cancel();
        assert_eq!(woken.times(), 1);
        assert!(Pin::new(&mut task).poll(cx).is_ready());
        assert_eq!(polls.load(Ordering::Relaxed), 1);
        assert!(is_released(&polls));
    }

    #[test]
    fn l7_a_hook_that_is_cancelled_first_is_polled_once_and_dropped_at_once() {
        let (mut task, slot, polls) = endless();
        slot.cancel();
        let cx = &mut Context::from_waker(Waker::noop());
        assert!(Pin::new(&mut task).poll(cx).is_ready());
        assert_eq!(polls.load(Ordering::Relaxed), 1);
        assert!(is_released(&polls));
    }

    #[test]
    fn l4_a_hook_whose_task_the_runtime_drops_has_failed() {
        let (task, slot, _) = endless();
        let cx = &mut Context::from_waker(Waker::noop());
        assert!(slot.poll_ended(cx).is_pending());
        drop(task);
        let ended = slot.poll_ended(cx);
        assert!(
            matches!(ended, Poll::Ready(Err(Failure::Error(_)))),
            "{ended:?}"
        );
    }
}
