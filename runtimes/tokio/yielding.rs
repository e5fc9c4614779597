//! The turn of a task behind all that are ready.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Wake, Waker};
use std::time::{Duration, Instant};

use ::tokio::runtime::Handle;

use crate::runtimes::parts::Sleep;
use crate::sync::plain::{Arc, Mutex, lock};

/// Tasks that wait for their turn behind all that are ready.
///
/// A worker of tokio takes its own queue first, in which a task lands that wakes itself,
/// and the runtime's queue then. When a stop wakes thousands of tasks, most of them land
/// in the runtime's queue. A task that yields waits here until another task, which was put
/// at the end of that queue, has its turn.
#[derive(Debug, Default)]
pub(super) struct Yielding {
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    wakers: Vec<Waker>,
    /// A task is on its way to the end of the queue, or stands there.
    is_marked: bool,
}

/// The delay of the timer that wakes the marker. It must be longer than setting the timer
/// takes, so that the thread of the timers does the wake.
const SOON: Duration = Duration::from_millis(1);

impl Yielding {
    /// Wakes the task of `cx` when those had their turn that are ready now.
    pub(super) fn yield_now(self: &Arc<Yielding>, handle: &Handle, cx: &Context<'_>) {
        if handle.metrics().global_queue_depth() == 0 {
            cx.waker().wake_by_ref();
            return;
        }
        let waker = cx.waker().clone();
        let mut waiting = lock(&self.waiting);
        waiting.wakers.push(waker);
        let is_marked = std::mem::replace(&mut waiting.is_marked, true);
        drop(waiting);
        if !is_marked {
            Marker::set(handle.clone(), self.clone());
        }
    }

    fn wake_all(&self) {
        let waiting = std::mem::take(&mut *lock(&self.waiting));
        waiting.wakers.into_iter().for_each(Waker::wake);
    }
}

/// Spawns the task at the end of the queue, where only what comes from another thread
/// than the workers lands: it is woken by the thread of the timers.
struct Marker {
    handle: Handle,
    yielding: Arc<Yielding>,
    timer: Mutex<Timer>,
}

/// The timer of a marker, which holds the marker as its waker.
enum Timer {
    NotSet,
    Set { _timer: Sleep },
    Over,
}

impl Marker {
    fn set(handle: Handle, yielding: Arc<Yielding>) {
        let marker = Arc::new(Marker {
            handle,
            yielding,
            timer: Mutex::new(Timer::NotSet),
        });
        let waker = Waker::from(marker.clone());
        let mut timer = Sleep::until(Instant::now() + SOON);
        if Pin::new(&mut timer)
            .poll(&mut Context::from_waker(&waker))
            .is_ready()
        {
            waker.wake();
            return;
        }
        let mut current = lock(&marker.timer);
        // Otherwise it has come meanwhile.
        if matches!(*current, Timer::NotSet) {
            *current = Timer::Set { _timer: timer };
        }
    }
}

impl Wake for Marker {
    fn wake(self: Arc<Self>) {
        let before = std::mem::replace(&mut *lock(&self.timer), Timer::Over);
        if !matches!(before, Timer::Over) {
            let yielding = self.yielding.clone();
            self.handle.spawn(async move { yielding.wake_all() });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::task::Poll;

    use super::*;

    #[test]
    fn a_task_that_yields_comes_behind_those_in_the_queue_of_the_runtime() {
        const OTHERS: usize = 1_000;

        let runtime = ::tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .build()
            .unwrap();
        let yielding = Arc::new(Yielding::default());
        let turns = Arc::new(Mutex::new(Vec::new()));
        let (held, hold) = std::sync::mpsc::channel::<()>();
        runtime.spawn(async move { hold.recv().is_ok() });
        let yields = {
            let (turns, handle) = (turns.clone(), runtime.handle().clone());
            runtime.spawn(async move {
                let mut has_yielded = false;
                poll_fn(|cx| {
                    if std::mem::replace(&mut has_yielded, true) {
                        return Poll::Ready(());
                    }
                    yielding.yield_now(&handle, cx);
                    Poll::Pending
                })
                .await;
                lock(&turns).push(OTHERS);
            })
        };
        let others = (0..OTHERS).map(|n| {
            let turns = turns.clone();
            runtime.spawn(async move { lock(&turns).push(n) })
        });
        let others: Vec<_> = others.collect();
        drop(held);
        runtime.block_on(async {
            for other in others {
                other.await.unwrap();
            }
            yields.await.unwrap();
        });
        // A worker has up to 256 tasks in its own queue, and takes one of the other queue in
        // between now and then.
        let turns = lock(&turns);
        let turn = turns.iter().position(|task| *task == OTHERS).unwrap();
        assert!(turn >= OTHERS - 256, "{turn}");
        assert_eq!(turns.len(), OTHERS + 1);
    }
}
