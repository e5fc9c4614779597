//! The session that a handler is given: reads, writes, the idle point.

mod buffered;
mod follows;
mod handle;
mod last;
mod pending;
mod quiet;
#[cfg(feature = "tokio")]
mod tokio_io;
mod transfer;

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

pub use self::buffered::BufferedSession;
pub(crate) use self::follows::Follows;
pub use self::handle::SessionHandle;
use crate::address::Address;
use crate::connection::{Aborts, ConnectionRecord, GuardedConnection, LastRead};
use crate::gate::{Guard, GuardError, PhaseReached, Shutdown};
use crate::phase::Phase;
use crate::report::Activity;
use crate::rt::Connection;
use crate::sync::plain::Arc;

/// A connection, as its handler has it.
///
/// It reads and writes like the connection itself. When the handler returns,
/// the server flushes, half-closes and lingers, so that the peer sees its last
/// byte and then the end: there is nothing to close.
///
/// The one place where the stop may end a connection is where its handler
/// waits in [`read_or_drain`](Session::read_or_drain): there it is idle. All
/// other reads and writes go on until the abort. A protocol says where it may
/// be stopped by choosing the read that it waits in. A line protocol waits in
/// [`BufferedSession::read_until_or_drain`]; what owns the session, such as a
/// codec, waits by a [`SessionHandle`].
///
/// ```
/// use futures::io::{AsyncReadExt, AsyncWriteExt};
/// use lameduck::{Connection, Session};
/// use std::io;
///
/// /// Echoes frames of one length byte and as many bytes.
/// async fn echo_frames(mut session: Session<impl Connection>) -> io::Result<()> {
///     let mut length = [0];
///     // Between two frames it may be stopped,
///     while session.read_or_drain(&mut length).await?.is_some() {
///         let mut frame = vec![0; usize::from(length[0])];
///         // inside of one it may not.
///         session.read_exact(&mut frame).await?;
///         session.write_all(&frame).await?;
///     }
///     Ok(())
/// }
/// ```
///
/// A session may be moved into another task, split, or wrapped: the server
/// waits for it, and an abort reaches it. Its reads and writes then fail with
/// `ConnectionAborted`.
pub struct Session<C> {
    /// `None` only while it is dropped. In a box, since an `async fn` keeps
    /// its arguments twice, and the task and the record have a place for it.
    inner: Option<Box<GuardedConnection<C>>>,
    record: Arc<ConnectionRecord<C>>,
}

/// The error of reads and writes once the server aborts.
fn aborted() -> io::Error {
    let error = "the server has stopped, and aborts this connection";
    io::Error::new(io::ErrorKind::ConnectionAborted, error)
}

impl<C> Session<C> {
    pub(crate) fn new(
        inner: Box<GuardedConnection<C>>,
        record: Arc<ConnectionRecord<C>>,
    ) -> Session<C> {
        Session {
            inner: Some(inner),
            record,
        }
    }

    #[expect(clippy::expect_used, reason = "the connection is taken in drop alone")]
    fn inner(&self) -> &GuardedConnection<C> {
        self.inner.as_ref().expect("a session has its connection")
    }

    #[expect(clippy::expect_used, reason = "the connection is taken in drop alone")]
    fn inner_mut(&mut self) -> &mut GuardedConnection<C> {
        self.inner.as_mut().expect("a session has its connection")
    }

    /// Returns the number of the connection, as in the log and in the report:
    /// the first that the server accepted is 1, and none is used twice.
    pub fn id(&self) -> u64 {
        self.record.facts().id()
    }

    /// Returns the number of bytes that were read so far. One that owns the session, such
    /// as a codec, may hold a part of them.
    pub fn bytes_read(&self) -> u64 {
        self.record.facts().bytes_read()
    }

    /// Returns the address of the peer.
    pub fn peer_addr(&self) -> Address {
        self.record.facts().peer_addr()
    }

    /// Returns the index of the listener that accepted it, in the order in
    /// which listeners were given to the builder.
    pub fn listener_index(&self) -> usize {
        self.record.facts().listener_index()
    }

    /// Returns the server's gate: to hand to other tasks, or to ask for the
    /// stop.
    pub fn shutdown(&self) -> &Shutdown {
        self.inner().guard.shutdown()
    }

    /// Takes a guard for a task of this connection, also while the server
    /// drains ([F71](crate::docs::faults#f71)): the server waits for its drop.
    ///
    /// # Errors
    /// [`GuardError::Closed`] once the server is stopped.
    ///
    /// ```
    /// use lameduck::{Connection, Session};
    /// use std::io;
    ///
    /// async fn handle(session: Session<impl Connection>) -> io::Result<()> {
    ///     let guard = session.try_guard()?;
    ///     std::thread::spawn(move || {
    ///         println!("the server waits for this line");
    ///         drop(guard);
    ///     });
    ///     Ok(())
    /// }
    /// ```
    pub fn try_guard(&self) -> Result<Guard, GuardError> {
        self.inner().guard.try_clone()
    }

    /// Returns whether the server drains: the time to announce a close.
    ///
    /// ```
    /// use lameduck::{Connection, Session};
    ///
    /// fn header(session: &Session<impl Connection>, is_last: bool) -> &'static str {
    ///     // Requests that had arrived are answered: announce it with the last.
    ///     if session.is_draining() && is_last {
    ///         "connection: close"
    ///     } else {
    ///         "connection: keep-alive"
    ///     }
    /// }
    /// ```
    pub fn is_draining(&self) -> bool {
        self.inner().guard.is_draining()
    }

    /// Waits until the server drains; the future does not borrow the session.
    ///
    /// ```
    /// use futures::future::{Either, select};
    /// use futures::io::AsyncWriteExt;
    /// use lameduck::{Connection, Session};
    /// use std::future::pending;
    /// use std::io;
    ///
    /// /// Serves a long stream, which ends when the server drains.
    /// async fn stream(mut session: Session<impl Connection>) -> io::Result<()> {
    ///     let (draining, endless) = (session.draining(), pending::<()>());
    ///     if let Either::Left(_) = select(draining, endless).await {
    ///         session.write_all(b"good bye").await?;
    ///     }
    ///     Ok(())
    /// }
    /// ```
    pub fn draining(&self) -> PhaseReached {
        self.shutdown().draining()
    }

    /// Returns a handle on the session, to be taken before the session is given
    /// away: to a codec, to a protocol library, or split into two halves. The
    /// handle is then the idle point: see
    /// [`next_or_drain`](SessionHandle::next_or_drain).
    ///
    /// # Errors
    /// [`GuardError::Closed`] once the server is stopped.
    ///
    /// ```
    /// use futures::io::{AsyncReadExt, AsyncWriteExt};
    /// use lameduck::{Connection, Session};
    /// use std::io;
    ///
    /// /// Echoes with the two halves apart.
    /// async fn echo(session: Session<impl Connection>) -> io::Result<()> {
    ///     let mut handle = session.handle()?;
    ///     let (mut input, mut output) = session.split();
    ///     let mut buffer = [0; 4096];
    ///     // Every byte is answered at once: each wait is an idle point.
    ///     while let Some(n) = handle.next_or_drain(input.read(&mut buffer), || true).await {
    ///         let n = n?;
    ///         if n == 0 {
    ///             break;
    ///         }
    ///         output.write_all(&buffer[..n]).await?;
    ///     }
    ///     Ok(())
    /// }
    /// ```
    pub fn handle(&self) -> Result<SessionHandle, GuardError>
    where
        C: Send + 'static,
    {
        Ok(SessionHandle::new(self.try_guard()?, self.record.clone()))
    }

    /// Returns the session with a buffer for its input, for protocols of lines
    /// or of other delimited messages.
    pub fn buffered(self) -> BufferedSession<C> {
        BufferedSession::new(self)
    }

    /// Returns the connection itself, for its options.
    ///
    /// ```
    /// use lameduck::{Connection, Session};
    /// use std::io;
    /// use std::os::fd::AsFd;
    ///
    /// /// Lets small answers leave at once. A Unix socket has no such option.
    /// fn hurry(session: &Session<impl Connection + AsFd>) -> io::Result<()> {
    ///     socket2::SockRef::from(session.connection()).set_tcp_nodelay(true)
    /// }
    /// ```
    pub fn connection(&self) -> &C {
        &self.inner().connection
    }

    /// Returns the connection itself. What is read or written past the session
    /// is not counted in the report.
    pub fn connection_mut(&mut self) -> &mut C {
        &mut self.inner_mut().connection
    }

    /// Notes that a wait at the idle point is over, or was cancelled.
    fn end_wait(&self) {
        self.record.facts().set_activity(Activity::Busy);
    }

    /// Fails once the server aborts: the handler's future is dropped then, but
    /// the session may be in another task ([F69](crate::docs::faults#f69)).
    fn check_abort(&self) -> io::Result<()> {
        if self.inner().guard.is_aborting() {
            return Err(aborted());
        }
        Ok(())
    }

    /// Waits for the abort, beside a read or a write that is pending.
    fn poll_abort<T>(
        &mut self,
        cx: &mut Context<'_>,
        direction: fn(&mut Aborts) -> &mut Option<PhaseReached>,
    ) -> Poll<io::Result<T>> {
        let inner = self.inner_mut();
        let aborting = direction(&mut inner.rare.get_or_insert_default().aborts);
        let shutdown = inner.guard.shutdown();
        let aborting = aborting.get_or_insert_with(|| shutdown.reached(Phase::Aborting));
        Pin::new(aborting).poll(cx).map(|()| Err(aborted()))
    }

    fn writer(&mut self) -> io::Result<&mut C> {
        self.check_abort()?;
        let inner = self.inner_mut();
        if inner.is_half_closed {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        Ok(&mut inner.connection)
    }

    /// Notes that the peer has ended its side, where a read gave an error for it.
    #[cfg(feature = "http")]
    pub(crate) fn note_end(&mut self) {
        self.note_read(0);
    }

    fn note_read(&mut self, bytes: usize) {
        self.inner_mut().last_read = match bytes {
            0 => {
                self.record.facts().set_input_ended();
                LastRead::EndOfInput
            }
            _ => LastRead::Bytes,
        };
        self.record.facts().set_found_nothing(false);
        self.record.facts().count_read(bytes);
    }
}

impl<C: Connection> Session<C> {
    /// Reads bytes, or waits for them or for the stop: the idle point of the
    /// connection.
    ///
    /// `Ok(Some(n))`: `n` bytes were read, at least one. `Ok(None)`: nothing
    /// more will come, since the peer ended its side, or since the server
    /// drains and nothing more is readable. Readable bytes win over the stop.
    ///
    /// # Errors
    /// Those of the connection, and `InvalidInput` for an empty buffer.
    ///
    /// # Cancel safety
    /// Dropped before it completes, it has read nothing.
    ///
    /// ```
    /// use futures::io::AsyncWriteExt;
    /// use lameduck::{Connection, Session};
    /// use std::io;
    ///
    /// async fn echo(mut session: Session<impl Connection>) -> io::Result<()> {
    ///     let mut buffer = [0; 4096];
    ///     while let Some(n) = session.read_or_drain(&mut buffer).await? {
    ///         session.write_all(&buffer[..n]).await?;
    ///     }
    ///     Ok(())
    /// }
    /// ```
    pub fn read_or_drain<'a>(&'a mut self, buffer: &'a mut [u8]) -> SessionRead<'a, C> {
        SessionRead {
            session: self,
            buffer,
        }
    }
}

impl<C> Session<C> {
    /// Waits for what `poll` gives, or for the stop: an idle point of a
    /// connection that waits for something else than its peer, such as for the
    /// next message of a channel.
    ///
    /// `None`: the server drains, and nothing is ready. See
    /// [`Guard::wait_or_drain`]; to wait for the peer as well, take a guard with
    /// [`try_guard`](Session::try_guard) and use its methods.
    ///
    /// # Cancel safety
    /// That of `poll`.
    ///
    /// ```
    /// use futures::channel::mpsc::UnboundedReceiver;
    /// use futures::io::AsyncWriteExt;
    /// use futures::stream::StreamExt;
    /// use lameduck::{Connection, Session};
    /// use std::io;
    ///
    /// /// Sends messages to the peer, all that there are at the stop included.
    /// async fn publish<C: Connection>(
    ///     mut session: Session<C>,
    ///     mut messages: UnboundedReceiver<String>,
    /// ) -> io::Result<()> {
    ///     while let Some(Some(line)) = session.wait_or_drain(|cx| messages.poll_next_unpin(cx)).await {
    ///         session.write_all(line.as_bytes()).await?;
    ///     }
    ///     Ok(())
    /// }
    /// ```
    pub fn wait_or_drain<T, F>(&mut self, poll: F) -> SessionWait<'_, C, F>
    where
        F: FnMut(&mut Context<'_>) -> Poll<T>,
    {
        let session = self;
        SessionWait { session, poll }
    }

    /// Runs a future until it completes, or until the server drains and the
    /// future is pending. Then it is dropped, with all that it has begun: it must not be one
    /// that reads requests. See [`Guard::run_until_drained`].
    pub async fn run_until_drained<F: Future>(&mut self, future: F) -> Option<F::Output> {
        let mut future = pin!(future);
        self.wait_or_drain(|cx| future.as_mut().poll(cx)).await
    }
}

/// A wait at an idle point of a session; see [`Session::wait_or_drain`].
#[must_use = "futures do nothing unless awaited"]
pub struct SessionWait<'a, C, F> {
    session: &'a mut Session<C>,
    poll: F,
}

// The function is called, and never pinned.
impl<C, F> Unpin for SessionWait<'_, C, F> {}

impl<T, C, F> Future for SessionWait<'_, C, F>
where
    F: FnMut(&mut Context<'_>) -> Poll<T>,
{
    type Output = Option<T>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let SessionWait { session, poll } = self.get_mut();
        let guard = &mut session.inner_mut().guard;
        let waited = guard.poll_wait_or_drain(cx, poll);
        if let Poll::Ready(None) = waited {
            session.inner_mut().last_read = LastRead::Waited;
        }
        session.record.facts().set_activity(match waited {
            Poll::Pending => Activity::Idle,
            Poll::Ready(_) => Activity::Busy,
        });
        waited
    }
}

impl<C, F> Drop for SessionWait<'_, C, F> {
    fn drop(&mut self) {
        self.session.end_wait();
    }
}

impl<C, F> fmt::Debug for SessionWait<'_, C, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut wait = f.debug_struct("SessionWait");
        wait.field("session", &self.session);
        wait.finish_non_exhaustive()
    }
}

/// A read at the idle point of a session; see [`Session::read_or_drain`].
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct SessionRead<'a, C> {
    session: &'a mut Session<C>,
    buffer: &'a mut [u8],
}

impl<C: Connection> Future for SessionRead<'_, C> {
    type Output = io::Result<Option<usize>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let SessionRead { session, buffer } = self.get_mut();
        session.poll_read_or_drain(cx, buffer)
    }
}

impl<C> Drop for SessionRead<'_, C> {
    fn drop(&mut self) {
        // A read that is cancelled is no idle point any more.
        self.session.end_wait();
    }
}

impl<C> Drop for Session<C> {
    fn drop(&mut self) {
        if let Some(inner) = self.inner.take() {
            self.record.give_back(inner);
        }
    }
}

impl<C> fmt::Debug for Session<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut session = f.debug_struct("Session");
        session.field("id", &self.record.facts().id());
        session.field("peer", &self.record.facts().peer_addr());
        session.field("activity", &self.record.facts().activity());
        session.field("read", &self.record.facts().bytes_read());
        session.field("written", &self.record.facts().bytes_written());
        session.finish_non_exhaustive()
    }
}
