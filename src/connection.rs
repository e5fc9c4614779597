//! A connection inside of the server: the part that its task, its session and
//! the connection table share.

mod facts;

use std::task::{Context, Poll, Waker};
use std::time::Duration;

pub(crate) use self::facts::{ConnectionFacts, Ended, Slot};
use crate::address::Address;
use crate::gate::{Guard, PhaseReached, Unused};
use crate::report::{Activity, Straggler};
use crate::session::Follows;
use crate::sync::plain::{Mutex, lock};

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

impl<C> ConnectionRecord<C> {
    /// Makes the record of a connection whose handler was not called yet.
    pub(crate) fn new(
        id: (u64, Slot),
        peer: Address,
        listener_index: usize,
        accepted_at: Duration,
        connection: Box<GuardedConnection<C>>,
    ) -> ConnectionRecord<C> {
        ConnectionRecord {
            facts: ConnectionFacts::new(id, peer, listener_index, accepted_at),
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
            id: facts.id(),
            peer: facts.peer_addr(),
            label: self.label(),
            age: now.saturating_sub(facts.accepted_at()),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_takes_little_room() {
        let counts = 2 * size_of::<usize>();
        assert!(counts + size_of::<ConnectionRecord<()>>() <= 104);
    }
}
