//! A connection inside of the server: the part that its task, its session and
//! the connection table share.

use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::address::{Address, PeerAddress};
use crate::gate::{Guard, PhaseReached, Unused};
use crate::nanos::Nanos;
use crate::report::{Activity, CloseReason, Straggler};
use crate::session::Follows;
use crate::sync::plain::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Mutex, Ordering, lock};

/// A connection and its guard, which end together.
pub(crate) struct GuardedConnection<C> {
    // The order of the fields: the connection is dropped before its guard.
    pub(crate) connection: C,
    pub(crate) guard: Guard,
    pub(crate) last_read: LastRead,
    /// The handler has ended the outgoing side itself.
    pub(crate) is_half_closed: bool,
    /// State that few connections need.
    pub(crate) rare: Option<Box<Rare>>,
}

/// State that few connections need.
#[derive(Default)]
pub(crate) struct Rare {
    pub(crate) aborts: Aborts,
    /// Follows where each message ends. Most sessions need no such thing.
    pub(crate) follows: Option<Follows>,
    /// So many bytes had come, at most, when it was first asked whether input is refused.
    pub(crate) refused_after: Option<u64>,
}

/// What the pending read and the pending write of a session wait for besides
/// the connection, where they wait in another task than the handler's, and the
/// abort has to reach them (F69).
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
            rare: None,
        })
    }

    /// Returns what follows where each message ends, if anything does.
    #[inline]
    pub(crate) fn follows(&mut self) -> Option<&mut Follows> {
        self.rare.as_mut().and_then(|rare| rare.follows.as_mut())
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
    /// The stop has ended a wait for something else, and nobody has looked for input.
    Waited,
}

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
/// All orderings are relaxed: a report reads each value by itself, and the task
/// that reads the connection and the one that looks at what it found are one.
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
    /// What has ended waits of the handler: one bit for each [`Ended`], and
    /// [`DRAINS_LAST`], [`HAS_LEFT`], [`INPUT_ENDED`] and [`WRITE_PENDING`].
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

/// The part of a connection that its task, its session and the connection table
/// share.
///
/// Each open connection has one: a field that is no larger than it must be saves the
/// system as many bytes as there are connections. With the counts of its `Arc` it has
/// 104 B, which is what glibc's malloc can put into the gaps between tokio's tasks.
#[repr(C)]
pub(crate) struct ConnectionRecord<C> {
    facts: ConnectionFacts,
    inner: Mutex<RecordInner<C>>,
}

struct RecordInner<C> {
    /// The connection while no handler has it: before the handler's call, and when
    /// its session was dropped.
    returned: Option<Box<GuardedConnection<C>>>,
    extra: Option<Box<Extra>>,
}

/// State that few records need.
#[derive(Default)]
struct Extra {
    /// The task that waits for the connection. Most sessions end with their handler,
    /// and no task waits.
    waiting: Option<Waker>,
    label: Option<String>,
    /// For the idle points after a restart.
    unused: Unused,
    /// The task that looks, while reads may refuse what comes (F97).
    looking: Option<Waker>,
}

impl ConnectionFacts {
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

impl<C> ConnectionRecord<C> {
    /// Makes the record of a connection whose handler was not called yet.
    pub(crate) fn new(
        (id, slot): (u64, Slot),
        peer: Address,
        listener_index: usize,
        accepted_at: Duration,
        connection: Box<GuardedConnection<C>>,
    ) -> ConnectionRecord<C> {
        ConnectionRecord {
            facts: ConnectionFacts {
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
            },
            inner: Mutex::new(RecordInner {
                returned: Some(connection),
                extra: None,
            }),
        }
    }

    pub(crate) fn facts(&self) -> &ConnectionFacts {
        &self.facts
    }

    /// Takes the connection, if no handler has it.
    pub(crate) fn take_returned(&self) -> Option<Box<GuardedConnection<C>>> {
        let mut inner = lock(&self.inner);
        let returned = inner.returned.take();
        let waiting = inner.take_waiting();
        drop(inner);
        // A waker's drop is foreign code: it stays outside of the lock.
        drop(waiting);
        returned
    }

    /// Waits until no handler has the connection any more.
    pub(crate) fn poll_returned(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut inner = lock(&self.inner);
        if inner.returned.is_some() {
            return Poll::Ready(());
        }
        let extra = inner.extra.get_or_insert_default();
        let before = extra.waiting.replace(cx.waker().clone());
        drop(inner);
        drop(before);
        Poll::Pending
    }

    /// Returns whether reads may refuse what comes: `Some(true)` where it is the task of
    /// this waker that looks.
    pub(crate) fn may_refuse(&self, reading: &Waker) -> Option<bool> {
        let inner = lock(&self.inner);
        let looking = inner
            .extra
            .as_ref()
            .and_then(|extra| extra.looking.as_ref());
        looking.map(|looking| looking.will_wake(reading))
    }

    /// Returns the connection to the task, which is woken if it waits.
    pub(crate) fn give_back(&self, connection: Box<GuardedConnection<C>>) {
        let mut inner = lock(&self.inner);
        inner.returned = Some(connection);
        let waiting = inner.take_waiting();
        drop(inner);
        if let Some(waker) = waiting {
            waker.wake();
        }
    }
}

impl<C> RecordInner<C> {
    fn take_waiting(&mut self) -> Option<Waker> {
        self.extra.as_mut().and_then(|extra| extra.waiting.take())
    }
}

/// A connection whose facts can be asked for, of whatever type it is.
pub(crate) trait Describe: Send + Sync {
    fn facts(&self) -> &ConnectionFacts;

    /// Returns whether the handle that looks at it drains last.
    fn drains_last(&self) -> bool {
        false
    }

    /// Begins a look of what reads the connection at an idle point. What it
    /// returns is for [`has_found_nothing`](Describe::has_found_nothing).
    fn begin_look(&self, _is_draining: bool, _: &Context<'_>) -> bool {
        self.facts().set_found_nothing(false);
        true
    }

    /// Returns whether the look that has ended with nothing has asked for input,
    /// between two messages.
    fn has_found_nothing(&self, _begun: bool) -> bool {
        self.facts().found_nothing()
    }

    /// Returns whether the peer is known to have ended its side.
    fn has_input_ended(&self) -> bool {
        self.facts().has_input_ended()
    }

    /// Returns whether what comes is held back, which is no rest of the peer (F97).
    fn is_held_back(&self) -> bool {
        false
    }

    /// Lets the reads of a look by this task refuse input, or not any more (F97).
    fn set_may_refuse(&self, _looking: Option<&Waker>) {}

    /// Notes what the handler does at its idle point.
    fn set_activity(&self, activity: Activity) {
        self.facts().set_activity(activity);
    }

    /// Notes that the stop has ended the handler's wait.
    fn set_drained(&self) {
        self.facts().set_drained();
    }

    /// Names the connection in the report.
    fn set_label(&self, label: String);

    fn label(&self) -> Option<String>;

    /// Returns since when it is not in use, after a restart.
    fn unused(&self) -> Unused;

    fn set_unused(&self, unused: Unused);

    /// Decides about it where it is idle: see [`Guard::poll_unused`].
    fn poll_unused(&self, guard: &mut Guard, cx: &Context<'_>) -> Poll<()> {
        let mut unused = self.unused();
        let ends = guard.poll_unused(cx, &mut unused, self.facts().bytes_read());
        self.set_unused(unused);
        ends
    }

    /// Describes it at a time since the table was made.
    fn describe(&self, now: Duration) -> Straggler {
        let facts = self.facts();
        let requests = facts.requests();
        let activity = match facts.activity() {
            // The connection's task has begun the request, and has yet to look what that means.
            Activity::New | Activity::Idle if requests > 0 => Activity::Busy,
            activity => activity,
        };
        Straggler {
            id: facts.id,
            peer: facts.peer_addr(),
            label: self.label(),
            age: now.saturating_sub(facts.accepted_at.duration()),
            activity,
            requests,
            read: facts.bytes_read(),
            written: facts.bytes_written(),
        }
    }
}

impl<C: Send> Describe for ConnectionRecord<C> {
    fn facts(&self) -> &ConnectionFacts {
        &self.facts
    }

    fn set_may_refuse(&self, looking: Option<&Waker>) {
        let looking = looking.cloned();
        let mut inner = lock(&self.inner);
        let extra = inner.extra.get_or_insert_default();
        let before = std::mem::replace(&mut extra.looking, looking);
        drop(inner);
        drop(before);
    }

    fn set_label(&self, label: String) {
        let mut inner = lock(&self.inner);
        let before = inner.extra.get_or_insert_default().label.replace(label);
        drop(inner);
        drop(before);
    }

    fn label(&self) -> Option<String> {
        let inner = lock(&self.inner);
        inner.extra.as_ref().and_then(|extra| extra.label.clone())
    }

    fn unused(&self) -> Unused {
        let inner = lock(&self.inner);
        let extra = inner.extra.as_ref();
        extra.map_or_else(Unused::default, |extra| extra.unused)
    }

    fn set_unused(&self, unused: Unused) {
        lock(&self.inner).extra.get_or_insert_default().unused = unused;
    }
}

/// Adds to a counter that nobody else writes.
#[inline]
fn add(counter: &AtomicU64, bytes: usize) {
    let sum = counter.load(Ordering::Relaxed) + bytes as u64;
    counter.store(sum, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(all(feature = "http", not(feature = "loom")))]
    #[test]
    fn f44_the_end_of_the_last_request_is_told_to_whoever_waits() {
        let guard = crate::Shutdown::new().try_guard().expect("it is open");
        let connection = GuardedConnection::new((), guard);
        let id = (1, Slot::of(0));
        let record =
            ConnectionRecord::new(id, Address::Unix(None), 0, Duration::ZERO, connection);
        let facts = record.facts();
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

    #[test]
    fn a_record_takes_little_room() {
        let counts = 2 * size_of::<usize>();
        assert!(counts + size_of::<ConnectionRecord<()>>() <= 104);
    }
}
