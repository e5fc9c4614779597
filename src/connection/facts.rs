//! The facts about a connection that others than its handler read.

use std::time::Duration;

use crate::address::{Address, PeerAddress};
use crate::nanos::Nanos;
use crate::report::{Activity, CloseReason};
use crate::sync::plain::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};

/// Why a wait of the handler has ended. A connection may have several reasons, one after the
/// other.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ended {
    /// The stop has ended a wait at an idle point.
    Drained = 1,
    /// A write waited for the peer's first byte, which will not come: the server drains,
    /// or the peer has left.
    Unheard = 1 << 1,
    /// The peer's end came between two messages of the transport, and without the farewell
    /// of its protocol, such as close_notify: a read has given an error for it.
    BareEnd = 1 << 2,
    /// The same, at an idle point of the handler.
    BareEndAtIdle = 1 << 3,
}

/// The connection drains last (F94).
const DRAINS_LAST: u8 = 1 << 4;
/// The connection has ended.
const HAS_LEFT: u8 = 1 << 5;
/// A read has found that the peer has ended its side (F99).
const INPUT_ENDED: u8 = 1 << 6;
/// A write waits for room (F103).
const WRITE_PENDING: u8 = 1 << 7;

/// The bit beside the number of requests that is set once somebody waits for their end.
const REQUESTS_WATCHED: u32 = 1 << 31;

/// The place of a connection in the connection table, which is used again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot(u32);

impl Slot {
    /// Returns the place with this index. Each connection has a descriptor, and no
    /// system has more of these than this can count.
    pub(crate) fn of(index: usize) -> Slot {
        Slot(u32::try_from(index).unwrap_or(u32::MAX))
    }

    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

/// The facts about a connection that are known outside of its handler. Only
/// the holder of the connection writes the counters: they need no atomic
/// addition.
///
/// The orderings that say nothing are relaxed: a report reads each value by itself, and
/// the task that reads the connection and the one that looks at what it found are one.
///
/// The first 24 bytes are those that each message changes. With many connections they
/// are not in the processor's cache, which loads whole lines.
#[repr(C)]
pub(crate) struct ConnectionFacts {
    activity: AtomicU8,
    /// How it has ended, or would end now.
    closed: AtomicU8,
    /// The last read found nothing, between two messages.
    found_nothing: AtomicBool,
    /// One bit for each [`Ended`], and [`DRAINS_LAST`], [`HAS_LEFT`], [`INPUT_ENDED`] and
    /// [`WRITE_PENDING`].
    flags: AtomicU8,
    /// Requests in flight, where it speaks HTTP, and [`REQUESTS_WATCHED`].
    requests: AtomicU32,
    read: AtomicU64,
    written: AtomicU64,
    /// Never used again (F26).
    id: u64,
    /// Since the table was made.
    accepted_at: Nanos,
    peer: PeerAddress,
    slot: Slot,
    listener_index: u32,
}

impl ConnectionFacts {
    /// Makes those of a connection whose handler was not called yet. It was accepted so long
    /// after the table was made.
    pub(super) fn new(
        (id, slot): (u64, Slot),
        peer: Address,
        listener_index: usize,
        accepted_at: Duration,
    ) -> ConnectionFacts {
        ConnectionFacts {
            id,
            peer: peer.into(),
            slot,
            // There are fewer listeners than this can count: each has a descriptor.
            listener_index: u32::try_from(listener_index).unwrap_or(u32::MAX),
            // That is enough for five hundred years.
            accepted_at: Nanos::of(accepted_at),
            activity: AtomicU8::new(Activity::New as u8),
            // Until something better is known: the runtime may drop the task.
            closed: AtomicU8::new(CloseReason::Aborted as u8),
            found_nothing: AtomicBool::new(false),
            flags: AtomicU8::new(0),
            requests: AtomicU32::new(0),
            read: AtomicU64::new(0),
            written: AtomicU64::new(0),
        }
    }

    /// Returns when it was accepted, since the table was made.
    pub(super) fn accepted_at(&self) -> Duration {
        self.accepted_at.duration()
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    pub(crate) fn slot(&self) -> Slot {
        self.slot
    }

    pub(crate) fn listener_index(&self) -> usize {
        self.listener_index as usize
    }

    pub(crate) fn peer_addr(&self) -> Address {
        (&self.peer).into()
    }

    pub(crate) fn bytes_read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    pub(crate) fn bytes_written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn count_read(&self, bytes: usize) {
        add(&self.read, bytes);
    }

    #[inline]
    pub(crate) fn count_written(&self, bytes: usize) {
        add(&self.written, bytes);
    }

    #[inline]
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

    pub(crate) fn set_closed(&self, closed: CloseReason) {
        self.closed.store(closed as u8, Ordering::Relaxed);
    }

    pub(crate) fn closed(&self) -> CloseReason {
        let closed = self.closed.load(Ordering::Relaxed);
        let known = CloseReason::ALL.into_iter();
        let mut known = known.filter(|known| *known as u8 == closed);
        known.next().unwrap_or(CloseReason::Aborted)
    }

    /// Notes whether a read has just found nothing, between two messages.
    #[inline]
    pub(crate) fn set_found_nothing(&self, found_nothing: bool) {
        if self.found_nothing.load(Ordering::Relaxed) != found_nothing {
            self.found_nothing.store(found_nothing, Ordering::Relaxed);
        }
    }

    #[inline]
    pub(crate) fn found_nothing(&self) -> bool {
        self.found_nothing.load(Ordering::Relaxed)
    }

    /// Notes that the stop has ended the handler's wait.
    pub(crate) fn set_drained(&self) {
        self.set_ended(Ended::Drained);
    }

    pub(crate) fn was_drained(&self) -> bool {
        self.has_ended(Ended::Drained)
    }

    /// Notes what has ended a wait of the handler.
    pub(crate) fn set_ended(&self, ended: Ended) {
        self.flags.fetch_or(ended as u8, Ordering::Relaxed);
    }

    pub(crate) fn has_ended(&self, ended: Ended) -> bool {
        self.flags.load(Ordering::Relaxed) & ended as u8 != 0
    }

    /// Lets the connection drain last. Returns false where it does already, or has ended.
    pub(crate) fn set_drains_last(&self) -> bool {
        let before = self.flags.fetch_or(DRAINS_LAST, Ordering::Relaxed);
        before & (DRAINS_LAST | HAS_LEFT) == 0
    }

    /// Notes the end of the connection. Returns whether it drained last.
    pub(crate) fn set_left(&self) -> bool {
        let before = self.flags.fetch_or(HAS_LEFT, Ordering::Relaxed);
        before & DRAINS_LAST != 0
    }

    /// Notes that a read has found the peer's end.
    pub(crate) fn set_input_ended(&self) {
        self.flags.fetch_or(INPUT_ENDED, Ordering::Relaxed);
    }

    /// Returns whether a read has found the peer's end, with a farewell or without one.
    pub(crate) fn has_input_ended(&self) -> bool {
        self.flags.load(Ordering::Relaxed) & (INPUT_ENDED | Ended::BareEnd as u8) != 0
    }

    /// Notes that a write waits for room.
    pub(crate) fn set_write_pending(&self) {
        self.flags.fetch_or(WRITE_PENDING, Ordering::Relaxed);
    }

    /// Notes that no write waits any more.
    #[inline]
    pub(crate) fn end_write_pending(&self) {
        if self.is_write_pending() {
            self.flags.fetch_and(!WRITE_PENDING, Ordering::Relaxed);
        }
    }

    /// Returns whether the last write waits for room.
    #[inline]
    pub(crate) fn is_write_pending(&self) -> bool {
        self.flags.load(Ordering::Relaxed) & WRITE_PENDING != 0
    }

    #[cfg(feature = "http")]
    #[inline]
    pub(crate) fn begin_request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns whether it was the last one in flight, and somebody waits for that.
    #[cfg(feature = "http")]
    #[inline]
    pub(crate) fn end_request(&self) -> bool {
        // Acquire: pairs with the Release of `watch_requests`.
        self.requests.fetch_sub(1, Ordering::Acquire) == REQUESTS_WATCHED + 1
    }

    /// Notes that somebody waits for the end of the last request. Either a look at
    /// [`requests`](ConnectionFacts::requests) after this finds none, or their last
    /// [`end_request`](ConnectionFacts::end_request) says so.
    #[cfg(feature = "http")]
    pub(crate) fn watch_requests(&self) {
        // Release: pairs with the Acquire of `end_request`.
        self.requests.fetch_or(REQUESTS_WATCHED, Ordering::Release);
    }

    #[inline]
    pub(crate) fn requests(&self) -> u32 {
        self.requests.load(Ordering::Relaxed) & !REQUESTS_WATCHED
    }
}

/// Adds to a counter that nobody else writes.
#[inline]
fn add(counter: &AtomicU64, bytes: usize) {
    let sum = counter.load(Ordering::Relaxed) + bytes as u64;
    counter.store(sum, Ordering::Relaxed);
}

#[cfg(all(test, feature = "http"))]
mod tests {
    use super::*;

    #[test]
    fn f44_the_end_of_the_last_request_is_told_to_whoever_waits() {
        let id = (1, Slot::of(0));
        let facts = ConnectionFacts::new(id, Address::Unix(None), 0, Duration::ZERO);
        facts.begin_request();
        assert!(!facts.end_request(), "nobody waits");
        facts.begin_request();
        facts.begin_request();
        facts.watch_requests();
        assert!(!facts.end_request(), "it is not the last");
        assert_eq!(facts.requests(), 1);
        assert!(facts.end_request());
        assert_eq!(facts.requests(), 0);
    }
}
