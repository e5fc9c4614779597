//! All listeners of a server. Each has a waker of its own, so that a wake of the
//! driver costs what woke it, and not the number of listeners
//! ([F68](crate::docs::faults#f68)).

use std::collections::{BTreeSet, VecDeque};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use super::listener::{Accepted, Limit, ListenerTask};
use super::timer::{Clock, Timer};
use crate::address::Address;
use crate::machine::sweep::Input;
use crate::report::ServerError;
use crate::rt::{ConnectionOf, Listener, Runtime, SocketSharing};
use crate::sync::plain::{Arc, Mutex, lock};

pub(super) struct Listeners<R: Runtime> {
    tasks: Vec<ListenerTask<R>>,
    wakers: Vec<Waker>,
    woken: Arc<Woken>,
    /// Those that are polled next.
    queue: VecDeque<usize>,
    /// Those that have let other tasks go first.
    yielded: Vec<usize>,
    /// Those that have clients, and wait at the connection limit. The next
    /// connection is for the one that has waited longest.
    at_limit: VecDeque<usize>,
    /// Those that were told to stop, and whose sweep begins.
    stopping: Vec<usize>,
    /// Those that want to know about handshakes under way.
    asking: Vec<usize>,
    /// Those whom listeners that were closed at once had taken.
    taken: VecDeque<Taken<R>>,
    deadlines: Deadlines,
    timer: Timer<R>,
    open: usize,
}

/// A connection that the listener of an id had taken before its close, and its peer.
type Taken<R> = (usize, ConnectionOf<R>, Address);

/// The deadlines of the sweeps, which share one timer.
#[derive(Default)]
struct Deadlines {
    sorted: BTreeSet<(Duration, usize)>,
    of: Vec<Option<Duration>>,
}

impl Deadlines {
    fn set(&mut self, id: usize, deadline: Option<Duration>) {
        if self.of[id] != deadline {
            if let Some(before) = self.of[id] {
                self.sorted.remove(&(before, id));
            }
            self.sorted.extend(deadline.map(|at| (at, id)));
            self.of[id] = deadline;
        }
    }

    fn next(&self) -> Option<Duration> {
        self.sorted.first().map(|(at, _)| *at)
    }

    fn pop_due(&mut self, now: Duration) -> Option<usize> {
        let (at, id) = *self.sorted.first()?;
        if at > now {
            return None;
        }
        self.set(id, None);
        Some(id)
    }
}

/// The listeners that were woken since the driver looked.
struct Woken {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    ids: Vec<usize>,
    is_woken: Vec<bool>,
    /// The driver, until it is woken.
    driver: Option<Waker>,
}

/// The waker of one listener.
struct ListenerWaker {
    id: usize,
    woken: Arc<Woken>,
}

impl Wake for ListenerWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let mut inner = lock(&self.woken.inner);
        inner.push(self.id);
        let driver = inner.driver.take();
        // Nobody is woken while a lock is held (L6).
        drop(inner);
        if let Some(driver) = driver {
            driver.wake();
        }
    }
}

impl Inner {
    fn push(&mut self, id: usize) {
        if !std::mem::replace(&mut self.is_woken[id], true) {
            self.ids.push(id);
        }
    }
}

impl<R: Runtime> Listeners<R> {
    pub(super) fn new(tasks: Vec<ListenerTask<R>>) -> Listeners<R> {
        let count = tasks.len();
        let woken = Arc::new(Woken {
            inner: Mutex::new(Inner {
                is_woken: vec![false; count],
                ..Inner::default()
            }),
        });
        let waker = |id| {
            let woken = woken.clone();
            Waker::from(Arc::new(ListenerWaker { id, woken }))
        };
        Listeners {
            wakers: (0..count).map(waker).collect(),
            woken,
            tasks,
            queue: VecDeque::with_capacity(count),
            yielded: Vec::new(),
            at_limit: VecDeque::new(),
            stopping: Vec::new(),
            asking: Vec::new(),
            taken: VecDeque::new(),
            deadlines: Deadlines {
                of: vec![None; count],
                ..Deadlines::default()
            },
            timer: Timer::new(),
            open: count,
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &ListenerTask<R>> {
        self.tasks.iter()
    }

    pub(super) fn get(&self, id: usize) -> &ListenerTask<R> {
        &self.tasks[id]
    }

    pub(super) fn all_closed(&self) -> bool {
        self.open == 0
    }

    /// Lets all of them be polled.
    pub(super) fn wake_all(&self) {
        let mut inner = lock(&self.woken.inner);
        (0..self.tasks.len()).for_each(|id| inner.push(id));
    }

    /// Begins a poll of the driver, which is woken when a listener is.
    pub(super) fn begin_poll(&mut self, cx: &mut Context<'_>) {
        let mut inner = lock(&self.woken.inner);
        self.yielded.drain(..).for_each(|id| inner.push(id));
        let is_known = |driver: &Waker| driver.will_wake(cx.waker());
        let before = if inner.driver.as_ref().is_some_and(is_known) {
            None
        } else {
            inner.driver.replace(cx.waker().clone())
        };
        drop(inner);
        drop(before);
    }

    /// Returns whether a listener has let other tasks go first.
    pub(super) fn has_yielded(&self) -> bool {
        !self.yielded.is_empty()
    }

    /// Collects the listeners that have something to do, for
    /// [`next`](Listeners::next).
    pub(super) fn collect(&mut self, clock: &Clock<R>) {
        // At one time, so that they look at the system's table together.
        if !self.stopping.is_empty() {
            let now = clock.now();
            for id in std::mem::take(&mut self.stopping) {
                self.tasks[id].begin_sweep(now);
                self.deadlines.set(id, self.tasks[id].deadline());
            }
        }
        let mut inner = lock(&self.woken.inner);
        let Inner { ids, is_woken, .. } = &mut *inner;
        // Its room stays: a listener is woken for each connection.
        for id in ids.drain(..) {
            is_woken[id] = false;
            self.queue.push_back(id);
        }
    }

    /// Waits for the next deadline of a sweep; returns whether one has come.
    pub(super) fn poll_timer(&mut self, clock: &Clock<R>, cx: &mut Context<'_>) -> bool {
        let deadline = self.deadlines.next();
        if self.timer.poll(clock, deadline, cx).is_pending() {
            return false;
        }
        let now = clock.now();
        while let Some(id) = self.deadlines.pop_due(now) {
            self.tasks[id].handle(now, Input::Tick);
            self.deadlines.set(id, self.tasks[id].deadline());
            self.queue.push_back(id);
        }
        true
    }

    /// Returns the next listener that has something to do.
    pub(super) fn next(&mut self) -> Option<usize> {
        self.queue.pop_front()
    }

    /// Returns the next listener that waits at the limit, if the limit lets it
    /// in; else the driver is woken when a connection ends.
    pub(super) fn next_at_limit(
        &mut self,
        limit: Limit<'_>,
        cx: &mut Context<'_>,
    ) -> Option<usize> {
        let most = limit.connections?;
        self.at_limit.front()?;
        if limit.table.count_below(most, cx) < most {
            self.at_limit.pop_front()
        } else {
            None
        }
    }

    /// Polls one listener, which takes at most one connection.
    pub(super) fn poll(
        &mut self,
        id: usize,
        clock: &Clock<R>,
        limit: Limit<'_>,
    ) -> Accepted<ConnectionOf<R>> {
        let cx = &mut Context::from_waker(&self.wakers[id]);
        let task = &mut self.tasks[id];
        let was_open = !task.is_closed();
        let accepted = task.poll(clock, limit, cx);
        match accepted {
            Accepted::AtLimit if !self.at_limit.contains(&id) => self.at_limit.push_back(id),
            Accepted::AskHandshakes => self.asking.push(id),
            Accepted::Yield => self.yielded.push(id),
            _ => {}
        }
        self.open -= usize::from(was_open && task.is_closed());
        self.deadlines.set(id, task.deadline());
        accepted
    }

    /// Looks at the system's table of handshakes for all that want to know;
    /// returns whether one did.
    pub(super) fn poll_handshakes(&mut self, clock: &Clock<R>) -> bool {
        if self.asking.is_empty() {
            return false;
        }
        let asking = std::mem::take(&mut self.asking);
        let asking = asking.into_iter();
        let asking = asking.filter_map(|id| Some((id, self.tasks[id].listener()?)));
        let (ids, listeners): (Vec<_>, Vec<_>) = asking.unzip();
        let counts = R::Listener::handshakes(&listeners);
        debug_assert_eq!(counts.len(), ids.len(), "one count for each listener");
        let counts = counts.into_iter().chain(std::iter::repeat(None));
        let now = clock.now();
        for (id, count) in ids.into_iter().zip(counts) {
            self.tasks[id].handle(now, Input::Handshakes(count));
            self.deadlines.set(id, self.tasks[id].deadline());
            self.queue.push_back(id);
        }
        true
    }

    /// Tells a listener to stop accepting; its sweep begins at the next poll.
    pub(super) fn stop_accepting(&mut self, id: usize, now: Duration, sharing: SocketSharing) {
        self.tasks[id].stop_accepting(now, sharing);
        self.stopping.push(id);
        lock(&self.woken.inner).push(id);
    }

    /// Returns one of those whom a listener that was closed at once had taken.
    pub(super) fn next_taken(&mut self) -> Option<Taken<R>> {
        let taken = self.taken.pop_front()?;
        self.tasks[taken.0].count_taken();
        Some(taken)
    }

    /// Closes a listener at once; `None` where it is closed already. Those whom it had
    /// taken come by [`next_taken`](Listeners::next_taken).
    pub(super) fn close_now(
        &mut self,
        id: usize,
        clock: &Clock<R>,
    ) -> Option<Result<(), ServerError>> {
        let cx = &mut Context::from_waker(&self.wakers[id]);
        let mut taken = Vec::new();
        let closed = self.tasks[id].close_now(clock.now(), &mut taken, cx)?;
        let taken = taken.into_iter();
        self.taken
            .extend(taken.map(|(connection, peer)| (id, connection, peer)));
        self.open -= 1;
        self.deadlines.set(id, None);
        Some(closed)
    }
}

impl<R: Runtime> Drop for Listeners<R> {
    fn drop(&mut self) {
        // The driver's waker holds the driver's task, and so this.
        let driver = lock(&self.woken.inner).driver.take();
        drop(driver);
    }
}

#[cfg(test)]
mod tests;
