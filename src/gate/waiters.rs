//! The waiters of the gate, and the order that loses no wake-up: register,
//! recheck, then wait (F44).

use std::borrow::Borrow;
use std::mem;
use std::task::{Context, Poll, Waker};

use super::Shutdown;
use super::shared::Shared;
use super::word::{Progress, Word};
use crate::phase::Phase;
use crate::sync::{Mutex, lock};

const ABORTING: Progress = Progress::of(Phase::Aborting);

/// What a waiter waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Until {
    /// The stop has come this far, or further.
    Progress(Progress),
    /// The gate is closed, and one holder is left at most.
    Last,
    /// The next round of the connections in use begins, or the abort comes.
    NextRound,
}

impl Until {
    #[inline]
    fn reached(self, word: Word) -> bool {
        match self {
            Until::Progress(progress) => word.has_reached(progress),
            Until::Last => word.is_last(),
            Until::NextRound => word.has_reached(ABORTING),
        }
    }

    /// Returns whether it stays reached. Otherwise a waiter can be woken, find
    /// it gone again, and has to register once more: its waker was used.
    #[inline]
    fn is_sticky(self) -> bool {
        match self {
            Until::Progress(_) => true,
            // The last holder may bring in another.
            Until::Last => false,
            // A round is followed by another.
            Until::NextRound => false,
        }
    }
}

/// The waiters of one gate.
#[derive(Debug)]
pub(super) struct Waiters {
    lists: Mutex<Lists>,
}

/// A list for each thing that can be waited for, so that a wake takes a whole
/// list and looks at no other waiters.
#[derive(Debug, Default)]
struct Lists {
    by_progress: [List; Progress::COUNT],
    last: List,
    next_round: List,
}

/// A slab of waiters: registering allocates only when it grows.
#[derive(Debug, Default)]
struct List {
    entries: Vec<Entry>,
    vacant: Option<u32>,
    /// The stop has come this far, and never goes back: nobody registers any more.
    is_over: bool,
}

/// It takes no more room than a waker alone: each idle connection has two of these.
#[derive(Debug)]
enum Entry {
    Waiting(Waker),
    Empty(Empty),
}

#[derive(Debug)]
enum Empty {
    /// Its waiter was woken, and keeps its place.
    Woken,
    Vacant {
        next: Option<u32>,
    },
}

/// The room that a list begins with.
const INITIAL: usize = 16;

impl Waiters {
    pub(super) fn new() -> Waiters {
        Waiters {
            lists: Mutex::default(),
        }
    }

    /// Wakes the waiters that have what they wait for.
    pub(super) fn wake(&self, word: Word) {
        let taken = lock(&self.lists).take_reached(word);
        wake_all(taken);
    }

    /// Wakes those that wait for the next round.
    pub(super) fn wake_for_round(&self) {
        let taken = lock(&self.lists).next_round.take_wakers();
        wake_all([taken]);
    }

    /// Returns the waiter's place; `None` where what it waits for has come.
    fn register(&self, until: Until, waker: Waker) -> Option<u32> {
        let put = lock(&self.lists).of(until).put(waker);
        // A waker's drop is foreign code: it too stays outside of the lock.
        put.ok()
    }

    fn remove(&self, until: Until, place: u32) {
        let removed = lock(&self.lists).of(until).vacate(place);
        drop(removed);
    }
}

/// Wakes what was taken from the lists, and never under the lock: a waker is
/// foreign code (L6).
fn wake_all(taken: impl IntoIterator<Item = Vec<Entry>>) {
    for entry in taken.into_iter().flatten() {
        if let Entry::Waiting(waker) = entry {
            waker.wake();
        }
    }
}

/// There is memory for fewer waiters than this can count.
fn as_place(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

impl Lists {
    fn of(&mut self, until: Until) -> &mut List {
        match until {
            Until::Progress(progress) => &mut self.by_progress[progress.index()],
            Until::Last => &mut self.last,
            Until::NextRound => &mut self.next_round,
        }
    }

    fn take_reached(&mut self, word: Word) -> [Vec<Entry>; Progress::COUNT + 2] {
        let mut taken = [const { Vec::new() }; Progress::COUNT + 2];
        let [by_progress @ .., last, next_round] = &mut taken;
        let reached = self.by_progress[..=word.progress().index()].iter_mut();
        for (list, taken) in reached.zip(by_progress) {
            *taken = list.end();
        }
        for (until, taken) in [(Until::Last, last), (Until::NextRound, next_round)] {
            if until.reached(word) {
                *taken = self.of(until).take_wakers();
            }
        }
        taken
    }
}

impl List {
    /// Takes all waiters, after which there are no more.
    fn end(&mut self) -> Vec<Entry> {
        self.is_over = true;
        self.vacant = None;
        mem::take(&mut self.entries)
    }

    /// Takes the wakers of all waiters, which may register again.
    fn take_wakers(&mut self) -> Vec<Entry> {
        let waiting = |entry: &&mut Entry| matches!(entry, Entry::Waiting(_));
        let entries = self.entries.iter_mut().filter(waiting);
        entries
            .map(|entry| mem::replace(entry, Entry::Empty(Empty::Woken)))
            .collect()
    }

    /// Returns the place, or the waker where nobody registers any more.
    fn put(&mut self, waker: Waker) -> Result<u32, Waker> {
        if self.is_over {
            return Err(waker);
        }
        let entry = Entry::Waiting(waker);
        let Some(place) = self.vacant else {
            if self.entries.len() == self.entries.capacity() {
                // Half of a list that doubles would be empty.
                self.entries.reserve_exact(self.entries.len() / 8 + INITIAL);
            }
            self.entries.push(entry);
            return Ok(as_place(self.entries.len() - 1));
        };
        let before = mem::replace(&mut self.entries[place as usize], entry);
        if let Entry::Empty(Empty::Vacant { next }) = before {
            self.vacant = next;
        }
        Ok(place)
    }

    fn vacate(&mut self, place: u32) -> Option<Entry> {
        if self.is_over {
            return None;
        }
        let next = self.vacant.replace(place);
        let vacant = Entry::Empty(Empty::Vacant { next });
        Some(mem::replace(&mut self.entries[place as usize], vacant))
    }
}

/// One waiter, whose place is kept from poll to poll and given back on drop.
#[derive(Debug)]
pub(super) struct Waiter<S: Borrow<Shutdown> = Shutdown> {
    /// The gate, owned or borrowed.
    pub(super) shutdown: S,
    registered: Option<Registered>,
}

#[derive(Debug)]
struct Registered {
    until: Until,
    place: u32,
    /// A copy of the registered waker: polling again from the same task takes
    /// no lock and writes nothing.
    waker: Waker,
}

impl<S: Borrow<Shutdown>> Waiter<S> {
    #[inline]
    pub(super) fn new(shutdown: S) -> Waiter<S> {
        Waiter {
            shutdown,
            registered: None,
        }
    }

    #[inline]
    pub(super) fn shared(&self) -> &Shared {
        &self.shutdown.borrow().shared
    }

    #[inline]
    pub(super) fn reached(&self, until: Until) -> bool {
        until.reached(self.shared().word())
    }

    /// Returns ready once `until` is reached; otherwise the task is woken then.
    ///
    /// `until` is passed on every call, not stored, so that it is a constant
    /// after inlining.
    #[inline]
    pub(super) fn poll(&mut self, until: Until, cx: &mut Context<'_>) -> Poll<()> {
        if self.reached(until) {
            return Poll::Ready(());
        }
        if until.is_sticky() && self.is_registered_for(cx.waker()) {
            return Poll::Pending;
        }
        self.register(until, cx.waker())
    }

    /// Returns whether the task with this waker was registered before. What it
    /// waits for is sticky: if a look after the registration did not find it,
    /// the wake is yet to come.
    #[inline]
    pub(super) fn is_registered_for(&self, waker: &Waker) -> bool {
        let registered = self.registered.as_ref();
        registered.is_some_and(|registered| registered.waker.will_wake(waker))
    }

    /// The same, for a waiter that waits for one thing after the other.
    #[cfg(feature = "http")]
    #[inline]
    pub(super) fn poll_next(&mut self, until: Until, cx: &Context<'_>) -> Poll<()> {
        if self.reached(until) {
            return Poll::Ready(());
        }
        let registered = self.registered.as_ref();
        let awaits = |registered: &Registered| {
            registered.until == until && registered.waker.will_wake(cx.waker())
        };
        match registered.is_some_and(awaits) {
            true => Poll::Pending,
            false => self.register(until, cx.waker()),
        }
    }

    // It runs once a task: it stays out of the code of each poll.
    #[cold]
    pub(super) fn register(&mut self, until: Until, waker: &Waker) -> Poll<()> {
        self.deregister();
        let place = self.shared().waiters.register(until, waker.clone());
        self.registered = place.map(|place| Registered {
            until,
            place,
            waker: waker.clone(),
        });
        // The recheck: a step that came before the registration has not found this
        // waiter; the lock that both took makes that step visible here.
        if self.reached(until) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    /// Gives the place back.
    pub(super) fn deregister(&mut self) {
        if let Some(registered) = self.registered.take() {
            let Registered { until, place, .. } = registered;
            self.shared().waiters.remove(until, place);
        }
    }
}

impl<S: Borrow<Shutdown>> Drop for Waiter<S> {
    fn drop(&mut self) {
        // Not by `deregister`, which would write: it is a part of each guard's drop.
        if let Some(registered) = &self.registered {
            let waiters = &self.shared().waiters;
            waiters.remove(registered.until, registered.place);
        }
    }
}

#[cfg(all(test, not(feature = "loom")))]
mod tests {
    use std::future::Future;
    use std::pin::Pin;
    use std::thread;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::gate::woken::Woken;

    /// Polls twice with the same waker, the second time while another thread
    /// holds the lock.
    #[track_caller]
    fn assert_no_lock<T>(
        shutdown: &Shutdown,
        mut poll: impl FnMut(&mut Context<'_>) -> Poll<T> + Send,
    ) {
        let (_, task) = &Woken::new();
        assert!(poll(&mut Context::from_waker(task)).is_pending());
        thread::scope(|scope| {
            let held = lock(&shutdown.shared.waiters.lists);
            let again = scope.spawn(move || poll(&mut Context::from_waker(task)).is_pending());
            let begun = Instant::now();
            while !again.is_finished() && begun.elapsed() < Duration::from_secs(20) {
                thread::yield_now();
            }
            let is_finished = again.is_finished();
            drop(held);
            assert!(is_finished, "it waits for the lock");
            assert!(again.join().expect("no panic"));
        });
    }

    #[test]
    fn polling_again_from_the_same_task_takes_no_lock() {
        let shutdown = Shutdown::new();
        let mut stopped = shutdown.stopped();
        assert_no_lock(&shutdown, |cx| Pin::new(&mut stopped).poll(cx));
        let mut guard = shutdown.try_guard().unwrap();
        assert_no_lock(&shutdown, |cx| {
            if guard.is_registered_for(cx) {
                return Poll::Pending;
            }
            guard.register(cx)
        });
    }

    #[test]
    fn the_table_grows_seldom_and_not_far_ahead() {
        let mut list = List::default();
        let (mut grown, mut room) = (0, 0);
        for place in 0..10_000 {
            assert_eq!(list.put(Waker::noop().clone()).ok(), Some(place));
            let before = mem::replace(&mut room, list.entries.capacity());
            grown += usize::from(room != before);
            let most = (place + place / 8) as usize + INITIAL;
            assert!(room <= most, "room for {room}, of {place}");
        }
        assert!(grown < 100, "{grown} times");
    }

    #[test]
    fn a_place_takes_the_room_of_a_waker() {
        assert_eq!(size_of::<Entry>(), size_of::<Waker>());
    }

    #[test]
    fn l4_a_task_that_registers_again_leaves_nothing_behind() {
        let shutdown = Shutdown::new();
        let mut stopped = shutdown.stopped();
        let waiting = || {
            let mut lists = lock(&shutdown.shared.waiters.lists);
            let entries = &lists
                .of(Until::Progress(Progress::of(Phase::Stopped)))
                .entries;
            let waiting = |entry: &&Entry| matches!(entry, Entry::Waiting(_));
            (entries.iter().filter(waiting).count(), entries.len())
        };
        for _ in 0..3 {
            let (_, task) = Woken::new();
            let mut cx = Context::from_waker(&task);
            assert!(Pin::new(&mut stopped).poll(&mut cx).is_pending());
            assert_eq!(waiting(), (1, 1));
        }
        drop(stopped);
        assert_eq!(waiting(), (0, 1));
    }

    #[test]
    fn a_list_that_is_over_keeps_no_waker() {
        let mut list = List::default();
        assert_eq!(list.put(Waker::noop().clone()).ok(), Some(0));
        assert_eq!(list.end().len(), 1);
        assert_eq!(list.put(Waker::noop().clone()).ok(), None);
        assert!(list.vacate(0).is_none());
        assert!(list.entries.is_empty());
    }
}
