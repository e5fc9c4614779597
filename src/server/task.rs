//! One connection's task: its handler, its close, its one outcome.

use std::borrow::Borrow;
use std::error::Error;
use std::future::{Future, poll_fn};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use log::{Level, debug, error, log, warn};

use super::close::{self, CloseRest, CutOff};
use super::hooks::BoxError;
use super::table::ConnectionTable;
use crate::address::Address;
use crate::cause::Cause;
use crate::connection::{
    ConnectionFacts, ConnectionRecord, Ended, GuardedConnection, LastRead,
};
use crate::gate::{AbortWait, Guard, Shutdown};
use crate::machine::closing::{Config, Facts, LingeringClose};
use crate::report::{Activity, Chain, CloseReason};
use crate::rt::{Connection, ConnectionOf, Runtime};
use crate::session::Session;
use crate::sync::plain::Arc;

/// What all connections of a server share.
pub(super) struct ServerShared<R> {
    pub(super) runtime: R,
    pub(super) table: ConnectionTable,
    pub(super) shutdown: Shutdown,
    pub(super) lingering_close: Config,
    pub(super) stop_on_panic: bool,
}

/// The handler, with what all connections share. The server drops its own before the
/// hooks, and the last connection its own as it ends, or as it is aborted.
pub(super) struct WithHandler<R, H> {
    /// `None`: the connection is aborted, and another task keeps its session.
    handler: Option<H>,
    /// The same as the server's: the way to it would be longer at each poll.
    shutdown: Shutdown,
    server: Arc<ServerShared<R>>,
}

impl<R, H> WithHandler<R, H> {
    pub(super) fn new(server: Arc<ServerShared<R>>, handler: H) -> WithHandler<R, H> {
        WithHandler {
            handler: Some(handler),
            shutdown: server.shutdown.clone(),
            server,
        }
    }

    /// Returns the same without the handler.
    fn without(&self) -> WithHandler<R, H> {
        WithHandler {
            handler: None,
            shutdown: self.shutdown.clone(),
            server: self.server.clone(),
        }
    }
}

/// What a connection has of it, and by it the server's gate.
struct SharedByAll<R, H>(Arc<WithHandler<R, H>>);

impl<R, H> Borrow<Shutdown> for SharedByAll<R, H> {
    #[inline]
    fn borrow(&self) -> &Shutdown {
        &self.0.shutdown
    }
}

/// An open connection. Its drop records the outcome, even if the runtime drops
/// the task (F25).
struct ConnectionTask<R: Runtime, H> {
    /// It leads to what all connections share.
    aborting: AbortWait<SharedByAll<R, H>>,
    record: Arc<ConnectionRecord<ConnectionOf<R>>>,
}

impl<R: Runtime, H> Drop for ConnectionTask<R, H> {
    fn drop(&mut self) {
        let guard = self.record.take_returned().map(|inner| inner.close());
        let now = self.shared().runtime.now();
        let facts = self.record.facts();
        self.shared().table.remove(facts, now);
        self.shared().shutdown.has_left(facts.set_left());
        debug!("#{} {}: {}", facts.id(), facts.peer_addr(), facts.closed());
        // The guard last: a thread that sees an empty gate sees a complete table.
        drop(guard);
    }
}

/// A connection that its task closes. The drop leaves it in the record, from where
/// the task's own drop takes it: its guard goes last.
struct Taken<'a, C> {
    connection: Option<Box<GuardedConnection<C>>>,
    record: &'a ConnectionRecord<C>,
}

impl<C> Drop for Taken<'_, C> {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.record.give_back(connection);
        }
    }
}

/// A connection that was just accepted.
pub(super) struct AcceptedConnection<C> {
    pub(super) connection: C,
    pub(super) guard: Guard,
    pub(super) peer: Address,
    pub(super) listener_index: usize,
}

/// Adds the connection to the table, and returns the task that serves it.
///
/// It is added here and not in the task: a task that never runs is counted all
/// the same (F8).
pub(super) fn connection_task<R, H, F, E>(
    with_handler: Arc<WithHandler<R, H>>,
    accepted: AcceptedConnection<ConnectionOf<R>>,
) -> impl Future<Output = ()> + Send + 'static
where
    R: Runtime,
    H: Fn(Session<ConnectionOf<R>>) -> F + Send + Sync + 'static,
    F: Future<Output = Result<(), E>> + Send + 'static,
    E: Into<BoxError>,
{
    let AcceptedConnection {
        connection,
        guard,
        peer,
        listener_index,
    } = accepted;
    let server = &with_handler.server;
    let now = server.table.time_of(server.runtime.now());
    let connection = GuardedConnection::new(connection, guard);
    let record = server.table.insert(|id, slot| {
        ConnectionRecord::new((id, slot), peer, listener_index, now, connection)
    });
    let mut task = ConnectionTask {
        aborting: AbortWait::new(SharedByAll(with_handler)),
        record,
    };
    async move {
        task.record.facts().set_activity(Activity::Busy);
        // No `async fn`s of their own: what those borrow is in the task, too.
        let closed = {
            // No variable for the handler, which would be a part of the task.
            let ended = match call(&task, pin!(None)) {
                Err(Panicked) => Err(Panicked),
                Ok(handler) => {
                    let (ended, handler) = until_abort(&mut task.aborting, handler).await;
                    drop_handler(handler, ended.transpose(), task.record.facts())
                }
            };
            task.classify(ended)
        };
        if let Some(closed) = closed {
            task.finish(closed).await;
        }
        // Aborted, and in another task, whose reads and writes fail: it is open
        // until that one drops it (F69). All others are back already.
        poll_fn(|cx| {
            let returned = task.record.poll_returned(cx);
            if returned.is_pending() {
                task.let_handler_go();
            }
            returned
        })
        .await;
    }
}

/// Drops the handler, which returns the session. That is the handler's code
/// once more.
fn drop_handler<F, T>(
    mut handler: Option<CatchUnwind<'_, F>>,
    ended: Result<T, Panicked>,
    facts: &ConnectionFacts,
) -> Result<T, Panicked> {
    let activity = facts.activity();
    let drop_it = || handler.iter_mut().for_each(|handler| handler.0.set(None));
    let dropped = catch_unwind(AssertUnwindSafe(drop_it));
    // The drop of a wait ends it. The report says what an aborted handler did before that.
    facts.set_activity(activity);
    match dropped {
        Ok(()) => ended,
        Err(_) => Err(Panicked),
    }
}

struct Panicked;

/// Calls the handler, whose future goes where it stays. In an `async fn` the
/// variables that it passes through would be as large as it is, and be a part
/// of every connection's task.
fn call<'a, R, H, F>(
    task: &ConnectionTask<R, H>,
    mut handler: Pin<&'a mut Option<F>>,
) -> Result<CatchUnwind<'a, F>, Panicked>
where
    R: Runtime,
    H: Fn(Session<ConnectionOf<R>>) -> F,
{
    let session = task
        .record
        .take_returned()
        .map(|inner| Session::new(inner, task.record.clone()));
    let make = task.aborting.shared().0.handler.as_ref();
    let called = catch_unwind(AssertUnwindSafe(|| {
        handler.set(session.zip(make).map(|(session, make)| make(session)));
    }));
    called.map(|()| CatchUnwind(handler)).map_err(|_| Panicked)
}

/// A handler whose panics are values.
struct CatchUnwind<'a, F>(Pin<&'a mut Option<F>>);

impl<F, E> Future for CatchUnwind<'_, F>
where
    F: Future<Output = Result<(), E>>,
{
    type Output = Result<Result<(), E>, Panicked>;

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

/// Returns what the first error of I/O says in a chain of causes.
fn io_kind(error: &(dyn Error + 'static)) -> Option<io::ErrorKind> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        match error.downcast_ref().map(io::Error::kind) {
            None | Some(io::ErrorKind::Other) => cause = error.source(),
            kind => return kind,
        }
    }
    None
}

/// Returns whether the peer alone can make this error come: it has broken off, has sent
/// what cannot be read, or has taken too long.
fn is_of_peer(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::*;

    matches!(
        kind,
        ConnectionReset
            | ConnectionAborted
            | BrokenPipe
            | UnexpectedEof
            | InvalidData
            | TimedOut
    )
}

impl<R: Runtime, H> ConnectionTask<R, H> {
    fn shared(&self) -> &ServerShared<R> {
        &self.aborting.shared().0.server
    }

    /// Drops what it has of the handler: a hook may wait for what that owns
    /// ([F93](crate::docs::faults#f93)).
    #[cold]
    fn let_handler_go(&mut self) {
        let without = self.aborting.shared().0.without();
        self.aborting = AbortWait::new(SharedByAll(Arc::new(without)));
    }

    /// Returns what the handler's end means for the connection; `None` where
    /// it was aborted.
    fn classify<E: Into<BoxError>>(
        &self,
        ended: Result<Option<Result<(), E>>, Panicked>,
    ) -> Option<CloseReason> {
        let facts = self.record.facts();
        let id = facts.id();
        match ended {
            Ok(None) => None,
            Ok(Some(Ok(()))) => Some(CloseReason::Finished),
            Ok(Some(Err(error))) => {
                let error = error.into();
                if self.was_unheard() || self.is_bare_end(&*error) {
                    let peer = facts.peer_addr();
                    debug!("#{id} {peer}: it has ended: {}", Chain(&*error));
                    return Some(CloseReason::Finished);
                }
                let peer = facts.peer_addr();
                // Anybody who can connect can break off: that is nothing to warn of.
                let level = match io_kind(&*error).is_some_and(is_of_peer) {
                    true => Level::Info,
                    false => Level::Warn,
                };
                log!(
                    level,
                    "#{id} {peer}: the handler failed: {}",
                    Chain(&*error)
                );
                Some(CloseReason::Failed)
            }
            Err(Panicked) => {
                error!("#{id} {}: the handler panicked", facts.peer_addr());
                if self.shared().stop_on_panic {
                    self.shared().shutdown.stop(Cause::Panic);
                }
                Some(CloseReason::Panicked)
            }
        }
    }

    /// Returns whether the handler has waited in vain to write to a peer that has not
    /// sent a byte: whatever it makes of that, it has failed at nothing.
    fn was_unheard(&self) -> bool {
        let facts = self.record.facts();
        let is_unused = facts.bytes_read() == 0 && facts.bytes_written() == 0;
        is_unused && facts.has_ended(Ended::Unheard)
    }

    /// Returns whether the error can be that of an end without a farewell, which came
    /// where the connection was idle. An error may hide its source, as those of tokio-util's
    /// codecs do. It is another one only if an error of I/O in its chain says so.
    fn is_bare_end(&self, error: &(dyn Error + 'static)) -> bool {
        if !self.record.facts().has_ended(Ended::BareEndAtIdle) {
            return false;
        }
        io_kind(error).is_none_or(|kind| kind == io::ErrorKind::UnexpectedEof)
    }

    /// Closes in order, once the session was returned, unless the abort comes
    /// first.
    async fn finish(&mut self, closed: CloseReason) {
        let returned = poll_fn(|cx| self.record.poll_returned(cx));
        if until_abort(&mut self.aborting, returned).await.0.is_none() {
            return;
        }
        let mut taken = Taken {
            connection: self.record.take_returned(),
            record: &self.record,
        };
        let Some(inner) = taken.connection.as_deref_mut() else {
            return;
        };
        let facts = self.record.facts();
        // Drained at an idle point, whatever the handler read after that: the
        // peer's answer to a good-bye, for one.
        let last_read = match inner.last_read {
            _ if facts.was_drained() => LastRead::Drained,
            last_read => last_read,
        };
        facts.set_activity(Activity::Closing);
        let facts = Facts {
            written: facts.bytes_written(),
            was_idle: last_read == LastRead::Drained,
            is_draining: inner.guard.is_draining(),
        };
        let is_half_closed = inner.is_half_closed;
        let connection = &mut inner.connection;
        if matches!(closed, CloseReason::Failed | CloseReason::Panicked) {
            connection.set_failed();
        }
        let closing = close(&mut self.aborting, connection, is_half_closed, facts);
        match closing.await {
            None => return,
            Some(Ok(())) => {}
            Some(Err(error)) => {
                let (id, peer) = (self.record.facts().id(), self.record.facts().peer_addr());
                // In a stop it counts as aborted: no stop that loses output is clean (S5).
                if CutOff::is(&error) && inner.guard.is_draining() {
                    warn!("#{id} {peer}: cut off: {error}");
                    return;
                }
                debug!("#{id} {peer}: closing: {error}");
            }
        }
        self.record.facts().set_closed(match (closed, last_read) {
            (CloseReason::Finished, LastRead::Drained | LastRead::Waited) => {
                CloseReason::Drained
            }
            (CloseReason::Finished, LastRead::EndOfInput) => CloseReason::PeerClosed,
            _ => closed,
        });
    }
}

/// Closes a connection; `None` where the abort comes before.
///
/// A close that has to wait does so in a box: the task of each connection would have the
/// room for it from the start. Where the peer has ended its side before, it does not wait.
fn close<'a, R: Runtime, H>(
    aborting: &'a mut AbortWait<SharedByAll<R, H>>,
    connection: &'a mut ConnectionOf<R>,
    is_half_closed: bool,
    facts: Facts,
) -> impl Future<Output = Option<io::Result<()>>> {
    let mut connection = Some(connection);
    let mut waits: Option<Box<CloseRest<'_, ConnectionOf<R>, R>>> = None;
    poll_fn(move |cx| {
        if aborting.poll(cx).is_ready() {
            return Poll::Ready(None);
        }
        if let Some(connection) = connection.take() {
            let server = &aborting.shared().0.server;
            let (runtime, config) = (server.runtime.clone(), server.lingering_close);
            let closing = LingeringClose::new(config, facts);
            let mut closing = close::close_rest(connection, is_half_closed, runtime, closing);
            let closed = Pin::new(&mut closing).poll(cx);
            if closed.is_pending() {
                waits = Some(Box::new(closing));
            }
            return closed.map(Some);
        }
        match &mut waits {
            Some(closing) => Pin::new(closing).poll(cx).map(Some),
            None => Poll::Pending,
        }
    })
}

/// Returns what `work` gives, or `None` when the abort comes before, and the work
/// itself. No `async fn`: it would have a place for its work twice.
fn until_abort<W: Future + Unpin, S: Borrow<Shutdown>>(
    aborting: &mut AbortWait<S>,
    work: W,
) -> impl Future<Output = (Option<W::Output>, Option<W>)> {
    let mut work = Some(work);
    poll_fn(move |cx| {
        // First: the work would see reads and writes fail, and call that its
        // own end.
        if aborting.poll(cx).is_ready() {
            return Poll::Ready((None, work.take()));
        }
        let polled = work.as_mut().map(|work| Pin::new(work).poll(cx));
        match polled {
            Some(Poll::Ready(output)) => Poll::Ready((Some(output), work.take())),
            Some(Poll::Pending) | None => Poll::Pending,
        }
    })
}

#[cfg(all(test, feature = "smol"))]
mod tests {
    use std::io;

    use super::*;
    use crate::runtimes::smol::Smol;

    /// Returns the size of the task that serves with this handler.
    fn size<H, F>(_: H) -> usize
    where
        H: Fn(Session<ConnectionOf<Smol>>) -> F + Send + Sync + 'static,
        F: Future<Output = io::Result<()>> + Send + 'static,
    {
        fn returned<A, B, T>(_: impl Fn(A, B) -> T) -> usize {
            size_of::<T>()
        }
        returned(connection_task::<Smol, H, F, io::Error>)
    }

    #[cfg(feature = "http")]
    #[test]
    fn what_a_peer_can_do_is_found_in_a_chain_of_causes() {
        let is_of_peer = |error: io::Error| io_kind(&error).is_some_and(is_of_peer);
        let reset = || io::Error::from(io::ErrorKind::ConnectionReset);
        assert!(is_of_peer(reset()));
        let wrapped = crate::http::Error::Io(reset());
        assert!(is_of_peer(io::Error::other(wrapped)));
        assert!(!is_of_peer(io::ErrorKind::PermissionDenied.into()));
        assert!(!is_of_peer(io::Error::other("a bug")));
    }

    /// tokio adds 104 B to a task, and makes a multiple of 128 B of it: 256 B of this one.
    #[test]
    fn the_task_of_a_small_handler_is_small() {
        let least = size(|_| std::future::ready(Ok(())));
        assert!(least <= 152, "{least} B");
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
