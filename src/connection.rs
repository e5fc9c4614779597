//! A connection inside of the server: the part that its task, its session and
//! the connection table share.

use std::task::{Context, Poll, Waker};
use std::time::Instant;

use crate::address::Address;
use crate::gate::Guard;
use crate::report::{Activity, Straggler};
use crate::sync::plain::{AtomicU8, AtomicU64, Mutex, Ordering, lock};

/// A connection and its guard, which end together.
pub(crate) struct GuardedConnection<C> {
    // The order of the fields: the connection is dropped before its guard.
    pub(crate) connection: C,
    pub(crate) guard: Guard,
    pub(crate) last_read: LastRead,
}

impl<C> GuardedConnection<C> {
    pub(crate) fn new(connection: C, guard: Guard) -> Box<GuardedConnection<C>> {
        Box::new(GuardedConnection {
            connection,
            guard,
            last_read: LastRead::Bytes,
        })
    }

    /// Drops the connection, and returns the guard.
    pub(crate) fn close(self) -> Guard {
        drop(self.connection);
        self.guard
    }
}

/// The end of the handler's last read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LastRead {
    Bytes,
    EndOfInput,
    Drained,
}

/// The facts about a connection that are known outside of its handler. Only
/// the holder of the connection writes the counters: they need no atomic
/// addition.
pub(crate) struct ConnectionRecord<C> {
    /// Never used again (F26).
    id: u64,
    peer: Address,
    listener_index: usize,
    accepted_at: Instant,
    activity: AtomicU8,
    read: AtomicU64,
    written: AtomicU64,
    return_slot: Mutex<ReturnSlot<C>>,
}

/// The place where a session leaves its connection when it is dropped.
enum ReturnSlot<C> {
    /// The handler has the connection.
    InUse,
    /// The task waits for it. The waker is in a box, since most sessions end
    /// with their handler, and no task waits.
    Waiting(Box<Waker>),
    Returned(Box<GuardedConnection<C>>),
}

impl<C> ConnectionRecord<C> {
    pub(crate) fn new(
        id: u64,
        peer: Address,
        listener_index: usize,
        accepted_at: Instant,
    ) -> ConnectionRecord<C> {
        ConnectionRecord {
            id,
            peer,
            listener_index,
            accepted_at,
            activity: AtomicU8::new(Activity::New as u8),
            read: AtomicU64::new(0),
            written: AtomicU64::new(0),
            return_slot: Mutex::new(ReturnSlot::InUse),
        }
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    pub(crate) fn listener_index(&self) -> usize {
        self.listener_index
    }

    pub(crate) fn peer_addr(&self) -> &Address {
        &self.peer
    }

    pub(crate) fn bytes_read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    pub(crate) fn bytes_written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    pub(crate) fn set_activity(&self, activity: Activity) {
        // Relaxed, like all of the record: a report reads each value by itself.
        if self.activity.load(Ordering::Relaxed) != activity as u8 {
            self.activity.store(activity as u8, Ordering::Relaxed);
        }
    }

    pub(crate) fn activity(&self) -> Activity {
        let activity = self.activity.load(Ordering::Relaxed);
        let all = [Activity::New, Activity::Busy, Activity::Idle];
        let known = all.into_iter().find(|known| *known as u8 == activity);
        known.unwrap_or(Activity::Closing)
    }

    /// Takes the connection, if no handler has it.
    pub(crate) fn take_returned(&self) -> Option<Box<GuardedConnection<C>>> {
        let slot = std::mem::replace(&mut *lock(&self.return_slot), ReturnSlot::InUse);
        match slot {
            ReturnSlot::Returned(connection) => Some(connection),
            ReturnSlot::InUse | ReturnSlot::Waiting(_) => None,
        }
    }

    /// Waits until no handler has the connection any more.
    pub(crate) fn poll_returned(
        &self,
        cx: &mut Context<'_>,
    ) -> Poll<Box<GuardedConnection<C>>> {
        let mut slot = lock(&self.return_slot);
        match std::mem::replace(&mut *slot, ReturnSlot::InUse) {
            ReturnSlot::Returned(connection) => Poll::Ready(connection),
            before @ (ReturnSlot::InUse | ReturnSlot::Waiting(_)) => {
                *slot = ReturnSlot::Waiting(Box::new(cx.waker().clone()));
                drop(slot);
                drop(before);
                Poll::Pending
            }
        }
    }

    /// Returns the connection to the task, which is woken if it waits.
    pub(crate) fn give_back(&self, connection: Box<GuardedConnection<C>>) {
        let returned = ReturnSlot::Returned(connection);
        let before = std::mem::replace(&mut *lock(&self.return_slot), returned);
        if let ReturnSlot::Waiting(waker) = before {
            waker.wake();
        }
    }

    pub(crate) fn count_read(&self, bytes: usize) {
        add(&self.read, bytes);
    }

    pub(crate) fn count_written(&self, bytes: usize) {
        add(&self.written, bytes);
    }
}

/// A connection that a report can describe.
pub(crate) trait Describe: Send + Sync {
    fn describe(&self, now: Instant) -> Straggler;
}

impl<C: Send> Describe for ConnectionRecord<C> {
    fn describe(&self, now: Instant) -> Straggler {
        Straggler {
            id: self.id,
            peer: self.peer.clone(),
            age: now.saturating_duration_since(self.accepted_at),
            activity: self.activity(),
            read: self.bytes_read(),
            written: self.bytes_written(),
        }
    }
}

/// Adds to a counter that nobody else writes.
fn add(counter: &AtomicU64, bytes: usize) {
    let sum = counter.load(Ordering::Relaxed) + bytes as u64;
    counter.store(sum, Ordering::Relaxed);
}
