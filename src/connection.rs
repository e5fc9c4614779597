//! A connection inside of the server: the part that its task, its session and
//! the connection table share.

use std::task::{Context, Poll, Waker};
use std::time::Instant;

use crate::address::Address;
use crate::gate::{Guard, PhaseReached};
use crate::report::{Activity, Straggler};
use crate::sync::plain::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Mutex, Ordering, lock};

/// A connection and its guard, which end together.
pub(crate) struct GuardedConnection<C> {
    // The order of the fields: the connection is dropped before its guard.
    pub(crate) connection: C,
    pub(crate) guard: Guard,
    pub(crate) last_read: LastRead,
    /// The handler has ended the outgoing side itself.
    pub(crate) is_half_closed: bool,
    /// The reads and writes that wait in another task than the handler's, where
    /// the abort has to reach them (F69).
    pub(crate) aborts: Option<Box<Aborts>>,
}

/// What the pending read and the pending write of a session wait for besides
/// the connection.
#[derive(Default)]
pub(crate) struct Aborts {
    pub(crate) read: Option<PhaseReached>,
    pub(crate) write: Option<PhaseReached>,
}

impl<C> GuardedConnection<C> {
    pub(crate) fn new(connection: C, guard: Guard) -> Box<GuardedConnection<C>> {
        Box::new(GuardedConnection {
            connection,
            guard,
            last_read: LastRead::Bytes,
            is_half_closed: false,
            aborts: None,
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
///
/// All orderings are relaxed: a report reads each value by itself, and the task
/// that reads the connection and the one that looks at what it found are one.
pub(crate) struct ConnectionFacts {
    /// Never used again (F26).
    id: u64,
    peer: Address,
    listener_index: usize,
    accepted_at: Instant,
    activity: AtomicU8,
    /// The last read found nothing, between two messages.
    found_nothing: AtomicBool,
    /// The stop has ended the wait at an idle point of the handler.
    was_drained: AtomicBool,
    /// Requests in flight, where it speaks HTTP.
    requests: AtomicU32,
    read: AtomicU64,
    written: AtomicU64,
    label: Mutex<Option<Box<str>>>,
}

/// The part of a connection that its task, its session and the connection table
/// share.
pub(crate) struct ConnectionRecord<C> {
    facts: ConnectionFacts,
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

impl ConnectionFacts {
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

    pub(crate) fn count_read(&self, bytes: usize) {
        add(&self.read, bytes);
    }

    pub(crate) fn count_written(&self, bytes: usize) {
        add(&self.written, bytes);
    }

    pub(crate) fn set_activity(&self, activity: Activity) {
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

    /// Notes whether a read has just found nothing, between two messages.
    pub(crate) fn set_found_nothing(&self, found_nothing: bool) {
        if self.found_nothing.load(Ordering::Relaxed) != found_nothing {
            self.found_nothing.store(found_nothing, Ordering::Relaxed);
        }
    }

    pub(crate) fn found_nothing(&self) -> bool {
        self.found_nothing.load(Ordering::Relaxed)
    }

    /// Notes that the stop has ended the handler's wait.
    pub(crate) fn set_drained(&self) {
        self.was_drained.store(true, Ordering::Relaxed);
    }

    pub(crate) fn was_drained(&self) -> bool {
        self.was_drained.load(Ordering::Relaxed)
    }

    #[cfg(feature = "http")]
    pub(crate) fn begin_request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the number of requests that are left.
    #[cfg(feature = "http")]
    pub(crate) fn end_request(&self) -> u32 {
        self.requests.fetch_sub(1, Ordering::Relaxed) - 1
    }

    pub(crate) fn requests(&self) -> u32 {
        self.requests.load(Ordering::Relaxed)
    }

    pub(crate) fn set_label(&self, label: String) {
        let before = lock(&self.label).replace(label.into());
        drop(before);
    }

    pub(crate) fn describe(&self, now: Instant) -> Straggler {
        Straggler {
            id: self.id,
            peer: self.peer.clone(),
            label: lock(&self.label).as_deref().map(str::to_owned),
            age: now.saturating_duration_since(self.accepted_at),
            activity: self.activity(),
            requests: self.requests(),
            read: self.bytes_read(),
            written: self.bytes_written(),
        }
    }
}

impl<C> ConnectionRecord<C> {
    pub(crate) fn new(
        id: u64,
        peer: Address,
        listener_index: usize,
        accepted_at: Instant,
    ) -> ConnectionRecord<C> {
        ConnectionRecord {
            facts: ConnectionFacts {
                id,
                peer,
                listener_index,
                accepted_at,
                activity: AtomicU8::new(Activity::New as u8),
                found_nothing: AtomicBool::new(false),
                was_drained: AtomicBool::new(false),
                requests: AtomicU32::new(0),
                read: AtomicU64::new(0),
                written: AtomicU64::new(0),
                label: Mutex::new(None),
            },
            return_slot: Mutex::new(ReturnSlot::InUse),
        }
    }

    pub(crate) fn facts(&self) -> &ConnectionFacts {
        &self.facts
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
}

/// A connection whose facts can be asked for, of whatever type it is.
pub(crate) trait Describe: Send + Sync {
    fn facts(&self) -> &ConnectionFacts;
}

impl<C: Send> Describe for ConnectionRecord<C> {
    fn facts(&self) -> &ConnectionFacts {
        &self.facts
    }
}

/// Adds to a counter that nobody else writes.
fn add(counter: &AtomicU64, bytes: usize) {
    let sum = counter.load(Ordering::Relaxed) + bytes as u64;
    counter.store(sum, Ordering::Relaxed);
}
