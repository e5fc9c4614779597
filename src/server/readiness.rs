//! The callback for readiness, which runs off the driver: one that blocks its
//! thread holds up neither the budget nor a second signal (F47).

use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use log::warn;

use super::Readiness;
use crate::gate::Guard;
use crate::rt::Runtime;
use crate::sync::plain::{Arc, Mutex, lock};

type Tell = Box<dyn Fn(Readiness) + Send + Sync>;

/// The function that a program has set, and the calls that are due.
pub(super) struct ReadinessCallback {
    calls: Arc<Calls>,
}

struct Calls {
    tell: Tell,
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    /// Each with a guard, so that the stop waits for the call as it waits for a
    /// handler.
    pending: VecDeque<(Readiness, Option<Guard>)>,
    /// Whether a task makes the calls just now. There is one at most, so they
    /// come in order and one at a time.
    has_task: bool,
}

impl ReadinessCallback {
    pub(super) fn new(tell: Tell) -> ReadinessCallback {
        let queue = Mutex::new(Queue::default());
        ReadinessCallback {
            calls: Arc::new(Calls { tell, queue }),
        }
    }

    /// Calls the function in a task of its own, after the calls before.
    pub(super) fn call(
        &self,
        runtime: &impl Runtime,
        readiness: Readiness,
        guard: Option<Guard>,
    ) {
        let mut queue = lock(&self.calls.queue);
        queue.pending.push_back((readiness, guard));
        if queue.has_task {
            return;
        }
        queue.has_task = true;
        drop(queue);
        let calls = self.calls.clone();
        runtime.spawn(async move { calls.make_all() });
    }
}

impl Calls {
    fn make_all(&self) {
        while let Some((readiness, guard)) = self.next() {
            if catch_unwind(AssertUnwindSafe(|| (self.tell)(readiness))).is_err() {
                warn!("the callback for readiness changes panicked");
            }
            drop(guard);
        }
    }

    fn next(&self) -> Option<(Readiness, Option<Guard>)> {
        let mut queue = lock(&self.queue);
        let next = queue.pending.pop_front();
        queue.has_task = next.is_some();
        next
    }
}

impl fmt::Debug for ReadinessCallback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadinessCallback").finish_non_exhaustive()
    }
}
