//! Who waits at the gate, and the order that loses no wake-up: register,
//! recheck, then wait (F44).

use std::borrow::Borrow;
use std::task::{Context, Poll, Waker};

use super::word::{Phase, Word};
use super::{Shared, Shutdown};
use crate::sync::{Mutex, lock};

/// What a waiter waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Until {
    /// This phase, or a later one.
    Phase(Phase),
    /// At most one is left inside, and nobody can come in.
    Alone,
}

impl Until {
    #[inline]
    fn reached(self, word: Word) -> bool {
        match self {
            Until::Phase(phase) => word.has_reached(phase),
            Until::Alone => word.alone(),
        }
    }

    /// Whether it stays reached. Else a waiter can be woken, find it gone
    /// again, and has to give its waker anew: the first one was used.
    #[inline]
    fn is_lasting(self) -> bool {
        match self {
            Until::Phase(_) => true,
            // Who is alone may bring in another.
            Until::Alone => false,
        }
    }
}

/// A slab of waiters, so that to register allocates only when it grows.
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

/// How many are woken between two holds of the lock.
const BATCH: usize = 64;

/// How many have room from the first one on.
const FIRST: usize = 16;

impl Waiters {
    pub(super) fn new() -> Waiters {
        Waiters {
            slots: Mutex::new(Slots {
                entries: Vec::new(),
                vacant: None,
            }),
        }
    }

    /// Wakes all who have what they wait for; never under the lock (L6).
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
                    self.entries.reserve_exact(self.entries.len() / 8 + FIRST);
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

/// One waiter's place, kept from poll to poll and given back on drop.
#[derive(Debug)]
pub(super) struct Waiter<S: Borrow<Shutdown> = Shutdown> {
    /// The gate, owned or borrowed.
    pub(super) shutdown: S,
    registered: Option<Registered>,
}

#[derive(Debug)]
struct Registered {
    key: usize,
    /// A copy of the waker that is there, so that to be polled again by the
    /// same task takes no lock and writes nothing.
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

    /// Ready once what it waits for is there; else the task will be woken. It
    /// is always the same: given anew, it is known where this is compiled.
    #[inline]
    pub(super) fn poll(&mut self, until: Until, cx: &mut Context<'_>) -> Poll<()> {
        if self.reached(until) {
            return Poll::Ready(());
        }
        if until.is_lasting() && self.is_awaited_by(cx.waker()) {
            return Poll::Pending;
        }
        self.register(until, cx.waker())
    }

    /// Whether the task with this waker was registered before. Until what it
    /// waits for is there it will be woken; it lasts, so when it was not there
    /// at a look after that, the wake is yet to come.
    #[inline]
    pub(super) fn is_awaited_by(&self, waker: &Waker) -> bool {
        let registered = self.registered.as_ref();
        registered.is_some_and(|registered| registered.waker.will_wake(waker))
    }

    // Once a task: not a part of the code that runs at each poll.
    #[cold]
    pub(super) fn register(&mut self, until: Until, waker: &Waker) -> Poll<()> {
        let key = self.registered.as_ref().map(|registered| registered.key);
        let waiters = &self.shared().waiters;
        let key = waiters.register(key, until, waker.clone());
        let waker = waker.clone();
        self.registered = Some(Registered { key, waker });
        // The recheck: a step before the registration has found nobody to
        // wake; the lock that both took makes that step visible here.
        if self.reached(until) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}

impl<S: Borrow<Shutdown>> Drop for Waiter<S> {
    fn drop(&mut self) {
        if let Some(registered) = &self.registered {
            self.shared().waiters.remove(registered.key);
        }
    }
}

#[cfg(all(test, not(feature = "loom")))]
mod tests {
    use std::future::Future;
    use std::io;
    use std::pin::Pin;
    use std::task::Wake;
    use std::thread;
    use std::time::{Duration, Instant};

    use futures::stream::{self, TryStreamExt};

    use super::*;
    use crate::sync::plain::Arc;

    struct Asleep;

    impl Wake for Asleep {
        fn wake(self: Arc<Self>) {}
    }

    /// Polls twice with the same waker, the second time while somebody else
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
    fn to_be_polled_again_by_the_same_task_takes_no_lock() {
        let shutdown = Shutdown::new();
        let mut guard = shutdown.enter().unwrap();
        let mut stopped = shutdown.stopped();
        assert_no_lock(&shutdown, |cx| Pin::new(&mut stopped).poll(cx));
        let mut silent = stream::pending::<io::Result<Vec<u8>>>().into_async_read();
        assert_no_lock(&shutdown, |cx| {
            guard.poll_read_or_drain(cx, &mut silent, &mut [0])
        });
    }

    #[test]
    fn a_table_grows_seldom_and_not_far_ahead() {
        let mut slots = Slots {
            entries: Vec::new(),
            vacant: None,
        };
        let (mut grown, mut room) = (0, 0);
        for key in 0..10_000 {
            let until = Until::Phase(Phase::Draining);
            assert_eq!(slots.put(None, until, Waker::noop().clone()).0, key);
            let before = std::mem::replace(&mut room, slots.entries.capacity());
            grown += usize::from(room != before);
            assert!(room <= key + key / 8 + FIRST, "room for {room}, of {key}");
        }
        assert!(grown < 100, "{grown} times");
    }
}
