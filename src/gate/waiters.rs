//! The waiters of the gate, and the order that loses no wake-up: register,
//! recheck, then wait (F44).

use std::borrow::Borrow;
use std::task::{Context, Poll, Waker};

use super::word::{Progress, Word};
use super::{Shared, Shutdown};
use crate::sync::{Mutex, lock};

/// What a waiter waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Until {
    /// The stop has come this far, or further.
    Progress(Progress),
    /// The gate is closed, and one holder is left at most.
    Last,
}

impl Until {
    #[inline]
    fn reached(self, word: Word) -> bool {
        match self {
            Until::Progress(progress) => word.has_reached(progress),
            Until::Last => word.is_last(),
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
        }
    }
}

/// A slab of waiters: registering allocates only when it grows.
#[derive(Debug)]
pub(super) struct Waiters {
    slots: Mutex<Slots>,
}

#[derive(Debug)]
struct Slots {
    entries: Vec<Entry>,
    vacant: Option<usize>,
}

#[derive(Debug)]
enum Entry {
    Vacant { next: Option<usize> },
    Taken { until: Until, waker: Option<Waker> },
}

/// The number of wakers that are taken under one hold of the lock.
const BATCH: usize = 64;

/// The room that a table begins with.
const INITIAL: usize = 16;

impl Waiters {
    pub(super) fn new() -> Waiters {
        Waiters {
            slots: Mutex::new(Slots {
                entries: Vec::new(),
                vacant: None,
            }),
        }
    }

    /// Wakes the waiters that have what they wait for, and never under the lock:
    /// a waker is foreign code (L6).
    pub(super) fn wake(&self, word: Word) {
        let mut from = 0;
        let mut batch = [const { None::<Waker> }; BATCH];
        loop {
            let taken = lock(&self.slots).take_reached(word, &mut from, &mut batch);
            for waker in batch[..taken].iter_mut().filter_map(Option::take) {
                waker.wake();
            }
            if taken < BATCH {
                return;
            }
        }
    }

    fn register(&self, key: Option<usize>, until: Until, waker: Waker) -> usize {
        let (key, replaced) = lock(&self.slots).put(key, until, waker);
        // A waker's drop is foreign code: it too stays outside of the lock.
        drop(replaced);
        key
    }

    fn remove(&self, key: usize) {
        let removed = lock(&self.slots).vacate(key);
        drop(removed);
    }
}

impl Slots {
    fn take_reached(
        &mut self,
        word: Word,
        from: &mut usize,
        batch: &mut [Option<Waker>; BATCH],
    ) -> usize {
        let mut taken = 0;
        while taken < BATCH && *from < self.entries.len() {
            if let Entry::Taken { until, waker } = &mut self.entries[*from] {
                if until.reached(word) && waker.is_some() {
                    batch[taken] = waker.take();
                    taken += 1;
                }
            }
            *from += 1;
        }
        taken
    }

    fn put(
        &mut self,
        key: Option<usize>,
        until: Until,
        waker: Waker,
    ) -> (usize, Option<Entry>) {
        let entry = Entry::Taken {
            until,
            waker: Some(waker),
        };
        let key = match key.or(self.vacant) {
            Some(key) => key,
            None => {
                if self.entries.len() == self.entries.capacity() {
                    // Half of a table that doubles would be empty.
                    self.entries.reserve_exact(self.entries.len() / 8 + INITIAL);
                }
                self.entries.push(entry);
                return (self.entries.len() - 1, None);
            }
        };
        let before = std::mem::replace(&mut self.entries[key], entry);
        if let Entry::Vacant { next } = before {
            self.vacant = next;
        }
        (key, Some(before))
    }

    fn vacate(&mut self, key: usize) -> Entry {
        let next = self.vacant.replace(key);
        std::mem::replace(&mut self.entries[key], Entry::Vacant { next })
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
    key: usize,
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

    // It runs once a task: it stays out of the code of each poll.
    #[cold]
    pub(super) fn register(&mut self, until: Until, waker: &Waker) -> Poll<()> {
        let key = self.registered.as_ref().map(|registered| registered.key);
        let waiters = &self.shared().waiters;
        let key = waiters.register(key, until, waker.clone());
        let waker = waker.clone();
        self.registered = Some(Registered { key, waker });
        // The recheck: a step that came before the registration has found no
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
            self.shared().waiters.remove(registered.key);
        }
    }
}

impl<S: Borrow<Shutdown>> Drop for Waiter<S> {
    fn drop(&mut self) {
        // Not by `deregister`, which would write: it is a part of each guard's drop.
        if let Some(registered) = &self.registered {
            self.shared().waiters.remove(registered.key);
        }
    }
}

#[cfg(all(test, not(feature = "loom")))]
mod tests {
    use std::future::Future;
    use std::pin::Pin;
    use std::task::Wake;
    use std::thread;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::sync::plain::Arc;

    struct Asleep;

    impl Wake for Asleep {
        fn wake(self: Arc<Self>) {}
    }

    /// Polls twice with the same waker, the second time while another thread
    /// holds the lock.
    #[track_caller]
    fn assert_no_lock<T>(
        shutdown: &Shutdown,
        mut poll: impl FnMut(&mut Context<'_>) -> Poll<T> + Send,
    ) {
        let task = &Waker::from(Arc::new(Asleep));
        assert!(poll(&mut Context::from_waker(task)).is_pending());
        thread::scope(|scope| {
            let held = lock(&shutdown.shared.waiters.slots);
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
        let mut slots = Slots {
            entries: Vec::new(),
            vacant: None,
        };
        let (mut grown, mut room) = (0, 0);
        for key in 0..10_000 {
            let until = Until::Progress(Progress::SETTLED);
            assert_eq!(slots.put(None, until, Waker::noop().clone()).0, key);
            let before = std::mem::replace(&mut room, slots.entries.capacity());
            grown += usize::from(room != before);
            assert!(room <= key + key / 8 + INITIAL, "room for {room}, of {key}");
        }
        assert!(grown < 100, "{grown} times");
    }
}
