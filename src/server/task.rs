//! One connection's task: its handler, its close, its one outcome.

use std::future::{Future, poll_fn};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use log::{debug, error, warn};

use super::closing::{self, Linger, Trust};
use super::ledger::{Entry, Ledger};
use crate::cause::Cause;
use crate::connection::{LastRead, Record, Seat, Session};
use crate::gate::{Phase, Reached, Shutdown};
use crate::report::{Activity, Closed};
use crate::sync::plain::Arc;
use crate::traits::{ConnectionOf, Runtime};

/// What all connections of a server have in common.
pub(super) struct Common<R, H> {
    pub(super) runtime: R,
    pub(super) handler: H,
    pub(super) ledger: Ledger,
    pub(super) shutdown: Shutdown,
    pub(super) linger: Linger,
    pub(super) stop_on_panic: bool,
}

impl<R> Common<R, ()> {
    pub(super) fn with_handler<H>(self, handler: H) -> Common<R, H> {
        Common {
            runtime: self.runtime,
            handler,
            ledger: self.ledger,
            shutdown: self.shutdown,
            linger: self.linger,
            stop_on_panic: self.stop_on_panic,
        }
    }
}

/// Ten segments, the first window of a connection (RFC 6928): a network takes
/// them at once, and any peer has room for them.
const SMALL: u64 = 14_600;

/// One who lives: its drop books the outcome, however the task ends (F25).
struct Living<R: Runtime, H> {
    entry: Entry,
    common: Arc<Common<R, H>>,
    record: Arc<Record<ConnectionOf<R>>>,
    /// The connection, until its handler has it, and once it is back.
    seat: Option<Box<Seat<ConnectionOf<R>>>>,
    closed: Closed,
}

impl<R: Runtime, H> Drop for Living<R, H> {
    fn drop(&mut self) {
        let seat = self.seat.take().or_else(|| self.record.take_home());
        let guard = seat.map(|seat| seat.close());
        let now = self.common.runtime.now();
        self.common.ledger.close(self.entry, self.closed, now);
        debug!("#{} {}: {}", self.entry.id, self.record.peer(), self.closed);
        // The guard last: who sees an empty gate sees a book that is complete.
        drop(guard);
    }
}

/// Enters the connection into the book, and returns the task that serves it.
///
/// The entry is made here and not in the task: a task that never runs is
/// counted all the same (F8).
pub(super) fn attend<R, H, F>(
    common: Arc<Common<R, H>>,
    seat: Box<Seat<ConnectionOf<R>>>,
    record: Arc<Record<ConnectionOf<R>>>,
) -> impl Future<Output = ()> + Send + 'static
where
    R: Runtime,
    H: Fn(Session<ConnectionOf<R>>) -> F + Send + Sync + 'static,
    F: Future<Output = io::Result<()>> + Send + 'static,
{
    let mut living = Living {
        entry: common.ledger.open(record.clone()),
        common,
        record,
        seat: Some(seat),
        // Until something better is known: the runtime may drop the task.
        closed: Closed::Aborted,
    };
    async move {
        living.record.set_activity(Activity::Busy);
        let mut forced = living.common.shutdown.reached(Phase::Forcing);
        // No `async fn`s of their own: what those borrow is in the task, too.
        let closed = {
            let mut handler = pin!(None);
            let ended = match call(&mut living, handler.as_mut()) {
                Err(Panicked) => Err(Panicked),
                Ok(()) => {
                    let ended = unless(&mut forced, Contained(handler.as_mut())).await;
                    put_away(handler, ended.transpose())
                }
            };
            living.judge(ended)
        };
        if let Some(closed) = closed {
            living.finish(closed, &mut forced).await;
        }
    }
}

/// Drops the handler, by which the session comes home. That is the handler's
/// code once more.
fn put_away<F, T>(
    mut handler: Pin<&mut Option<F>>,
    ended: Result<T, Panicked>,
) -> Result<T, Panicked> {
    match catch_unwind(AssertUnwindSafe(|| handler.set(None))) {
        Ok(()) => ended,
        Err(_) => Err(Panicked),
    }
}

struct Panicked;

/// Calls the handler, whose future goes where it stays. In an `async fn` the
/// variables that it passes through would be as large as it is, and be a part
/// of every connection's task.
fn call<R, H, F>(
    living: &mut Living<R, H>,
    mut handler: Pin<&mut Option<F>>,
) -> Result<(), Panicked>
where
    R: Runtime,
    H: Fn(Session<ConnectionOf<R>>) -> F,
{
    let session = living
        .seat
        .take()
        .map(|seat| Session::new(seat, living.record.clone()));
    let called = catch_unwind(AssertUnwindSafe(|| {
        handler.set(session.map(&living.common.handler));
    }));
    called.map_err(|_| Panicked)
}

/// A handler whose panics are values.
struct Contained<'a, F>(Pin<&'a mut Option<F>>);

impl<F: Future<Output = io::Result<()>>> Future for Contained<'_, F> {
    type Output = Result<io::Result<()>, Panicked>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(handler) = self.0.as_mut().as_pin_mut() else {
            return Poll::Pending;
        };
        match catch_unwind(AssertUnwindSafe(|| handler.poll(cx))) {
            Ok(ended) => ended.map(Ok),
            Err(_) => Poll::Ready(Err(Panicked)),
        }
    }
}

impl<R: Runtime, H> Living<R, H> {
    /// What the handler's end means for the connection; `None`: cut off.
    fn judge(&self, ended: Result<Option<io::Result<()>>, Panicked>) -> Option<Closed> {
        let peer = self.record.peer();
        match ended {
            Ok(None) => None,
            Ok(Some(Ok(()))) => Some(Closed::Finished),
            Ok(Some(Err(error))) => {
                warn!("#{} {peer}: {error}", self.entry.id);
                Some(Closed::Failed)
            }
            Err(Panicked) => {
                error!("#{} {peer}: the handler panicked", self.entry.id);
                if self.common.stop_on_panic {
                    self.common.shutdown.stop(Cause::Panic);
                }
                Some(Closed::Panicked)
            }
        }
    }

    /// Closes in order, once the session is home, unless force comes first.
    async fn finish(&mut self, closed: Closed, forced: &mut Reached) {
        let home = poll_fn(|cx| self.record.poll_home(cx));
        let Some(seat) = unless(forced, home).await else {
            return;
        };
        let last_read = seat.last_read;
        self.record.set_activity(Activity::Closing);
        let connection = &mut self.seat.insert(seat).connection;
        let (runtime, linger) = (&self.common.runtime, &self.common.linger);
        let draining = self.common.shutdown.is_draining();
        let trust = match (self.record.written(), last_read) {
            (SMALL.., _) => Trust::None,
            // That read was a moment ago, and found no end.
            (_, LastRead::Drained) => Trust::Any,
            _ if draining => Trust::Answer,
            _ => Trust::Any,
        };
        let closing = closing::close(connection, runtime, linger, trust, draining);
        let closing = pin!(closing);
        match unless(forced, closing).await {
            None => return,
            Some(Ok(())) => {}
            Some(Err(error)) => debug!(
                "#{} {}: closing: {error}",
                self.entry.id,
                self.record.peer()
            ),
        }
        self.closed = match (closed, last_read) {
            (Closed::Finished, LastRead::Drained) => Closed::Drained,
            (Closed::Finished, LastRead::EndOfInput) => Closed::PeerClosed,
            _ => closed,
        };
    }
}

/// What `work` gives, or `None` when force comes before. No `async fn`: it would
/// have a place for its work twice.
fn unless<T>(
    forced: &mut Reached,
    mut work: impl Future<Output = T> + Unpin,
) -> impl Future<Output = Option<T>> {
    poll_fn(move |cx| match Pin::new(&mut work).poll(cx) {
        Poll::Ready(done) => Poll::Ready(Some(done)),
        Poll::Pending => Pin::new(&mut *forced).poll(cx).map(|()| None),
    })
}

#[cfg(all(test, feature = "smol"))]
mod tests {
    use super::*;
    use crate::runtimes::smol::Smol;

    /// The size of the task that serves with this handler.
    fn size<H, F>(_: H) -> usize
    where
        H: Fn(Session<ConnectionOf<Smol>>) -> F + Send + Sync + 'static,
        F: Future<Output = io::Result<()>> + Send + 'static,
    {
        fn returned<A, B, C, T>(_: impl Fn(A, B, C) -> T) -> usize {
            size_of::<T>()
        }
        returned(attend::<Smol, H, F>)
    }

    #[test]
    fn a_handlers_buffer_is_in_its_task_once() {
        let small = size(|mut session| async move {
            let mut buffer = [0; 4_096];
            session.read_or_drain(&mut buffer).await.map(drop)
        });
        let large = size(|mut session| async move {
            let mut buffer = [0; 4_096 + 65_536];
            session.read_or_drain(&mut buffer).await.map(drop)
        });
        let grown = large - small;
        assert!((65_536..65_600).contains(&grown), "65536 became {grown}");
    }
}
