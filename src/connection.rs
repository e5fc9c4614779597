//! The session that a handler is given: reads, the idle point, the way home.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Instant;

use futures::io::{AsyncRead, AsyncWrite, IoSlice, IoSliceMut};

use crate::address::Address;
use crate::gate::{Guard, Reached, Read, Shutdown};
use crate::report::{Activity, Straggler};
use crate::server::Named;
use crate::sync::plain::{Arc, AtomicU8, AtomicU64, Mutex, Ordering, lock};

/// A connection, as its handler has it.
///
/// It reads and writes like the connection itself. When the handler returns,
/// the server flushes, half-closes and lingers, so that the peer sees its last
/// byte and then the end: there is nothing to close.
///
/// The one place where the stop may end a connection is where its handler
/// waits in [`read_or_drain`](Session::read_or_drain): there it is idle. All
/// other reads and writes go on until force. A protocol says where it may be
/// stopped by choosing the read that it waits in.
///
/// ```
/// use futures::io::{AsyncReadExt, AsyncWriteExt};
/// use lameduck::{Connection, Session};
/// use std::io;
///
/// /// Frames of one length byte and so many bytes.
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
/// A session may be moved into another task: the server waits for it.
pub struct Session<C> {
    /// `None` only while it is dropped. In a box, since an `async fn` keeps
    /// its arguments twice, and the task and the record have a place for it.
    seat: Option<Box<Seat<C>>>,
    record: Arc<Record<C>>,
}

/// A connection and its place inside of the gate; they live and end together.
pub(crate) struct Seat<C> {
    // The order of the fields: the connection goes before its guard.
    pub(crate) connection: C,
    guard: Guard,
    pub(crate) last_read: LastRead,
}

impl<C> Seat<C> {
    pub(crate) fn new(connection: C, guard: Guard) -> Box<Seat<C>> {
        Box::new(Seat {
            connection,
            guard,
            last_read: LastRead::Bytes,
        })
    }

    /// Drops the connection, and leaves the guard to the caller.
    pub(crate) fn close(self) -> Guard {
        drop(self.connection);
        self.guard
    }
}

/// How the handler's last read ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LastRead {
    Bytes,
    EndOfInput,
    Drained,
}

/// What is known of a connection from outside of its handler. Whoever holds
/// the seat is alone in writing the counters: they need no atomic addition.
pub(crate) struct Record<C> {
    peer: Address,
    listener: usize,
    accepted_at: Instant,
    activity: AtomicU8,
    read: AtomicU64,
    written: AtomicU64,
    home: Mutex<Home<C>>,
}

/// Where a session leaves its connection when it is dropped.
enum Home<C> {
    Away,
    /// In a box, as hardly anybody waits: sessions mostly end with their task.
    Awaited(Box<Waker>),
    Returned(Box<Seat<C>>),
}

impl<C> Record<C> {
    pub(crate) fn new(peer: Address, listener: usize, accepted_at: Instant) -> Record<C> {
        Record {
            peer,
            listener,
            accepted_at,
            activity: AtomicU8::new(Activity::New as u8),
            read: AtomicU64::new(0),
            written: AtomicU64::new(0),
            home: Mutex::new(Home::Away),
        }
    }

    pub(crate) fn peer(&self) -> &Address {
        &self.peer
    }

    /// Bytes that the handler has written.
    pub(crate) fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    pub(crate) fn set_activity(&self, activity: Activity) {
        // Relaxed, like all of the record: a report reads each by itself.
        if self.activity.load(Ordering::Relaxed) != activity as u8 {
            self.activity.store(activity as u8, Ordering::Relaxed);
        }
    }

    fn activity(&self) -> Activity {
        let activity = self.activity.load(Ordering::Relaxed);
        let all = [Activity::New, Activity::Busy, Activity::Idle];
        let known = all.into_iter().find(|known| *known as u8 == activity);
        known.unwrap_or(Activity::Closing)
    }

    /// The connection, if no handler holds it.
    pub(crate) fn take_home(&self) -> Option<Box<Seat<C>>> {
        let home = std::mem::replace(&mut *lock(&self.home), Home::Away);
        match home {
            Home::Returned(seat) => Some(seat),
            Home::Away | Home::Awaited(_) => None,
        }
    }

    /// Waits until no handler holds the connection any more.
    pub(crate) fn poll_home(&self, cx: &mut Context<'_>) -> Poll<Box<Seat<C>>> {
        let mut home = lock(&self.home);
        match std::mem::replace(&mut *home, Home::Away) {
            Home::Returned(seat) => Poll::Ready(seat),
            before @ (Home::Away | Home::Awaited(_)) => {
                *home = Home::Awaited(Box::new(cx.waker().clone()));
                drop(home);
                drop(before);
                Poll::Pending
            }
        }
    }
}

impl<C: Send> Named for Record<C> {
    fn name(&self, id: u64, now: Instant) -> Straggler {
        Straggler {
            id,
            peer: self.peer.clone(),
            age: now.saturating_duration_since(self.accepted_at),
            activity: self.activity(),
            read: self.read.load(Ordering::Relaxed),
            written: self.written.load(Ordering::Relaxed),
        }
    }
}

impl<C> Session<C> {
    pub(crate) fn new(seat: Box<Seat<C>>, record: Arc<Record<C>>) -> Session<C> {
        Session {
            seat: Some(seat),
            record,
        }
    }

    #[expect(clippy::expect_used, reason = "the seat is taken in drop alone")]
    fn seat(&self) -> &Seat<C> {
        self.seat.as_ref().expect("a session holds its connection")
    }

    #[expect(clippy::expect_used, reason = "the seat is taken in drop alone")]
    fn seat_mut(&mut self) -> &mut Seat<C> {
        self.seat.as_mut().expect("a session holds its connection")
    }

    /// Who is at the other end.
    pub fn peer(&self) -> &Address {
        self.record.peer()
    }

    /// Which of the server's listeners accepted it, from 0 on, in the order in
    /// which they were given to the builder.
    pub fn listener(&self) -> usize {
        self.record.listener
    }

    /// The gate: to hand to other tasks, or to ask for the stop.
    pub fn shutdown(&self) -> &Shutdown {
        self.seat().guard.shutdown()
    }

    /// Whether the server drains: the time to announce a close.
    ///
    /// ```
    /// use lameduck::{Connection, Session};
    /// use std::io;
    ///
    /// async fn answer(session: &Session<impl Connection>) -> io::Result<&str> {
    ///     Ok(match session.is_draining() {
    ///         true => "connection: close",
    ///         false => "connection: keep-alive",
    ///     })
    /// }
    /// ```
    pub fn is_draining(&self) -> bool {
        self.seat().guard.is_draining()
    }

    /// Completes when the server drains; it does not borrow the session.
    ///
    /// ```
    /// use lameduck::{Connection, Session};
    /// use std::io;
    ///
    /// use futures::future::{Either, select};
    /// use futures::io::AsyncWriteExt;
    /// use std::future::pending;
    ///
    /// /// A long stream, that winds down when the server does.
    /// async fn stream(mut session: Session<impl Connection>) -> io::Result<()> {
    ///     let (draining, endless) = (session.draining(), pending::<()>());
    ///     if let Either::Left(_) = select(draining, endless).await {
    ///         session.write_all(b"good bye").await?;
    ///     }
    ///     Ok(())
    /// }
    /// ```
    pub fn draining(&self) -> Reached {
        self.shutdown().draining()
    }

    /// The connection itself, for its options.
    ///
    /// ```
    /// use lameduck::{Connection, Session};
    /// use std::io;
    /// use std::os::fd::AsFd;
    ///
    /// /// Small answers are to leave at once. A Unix socket has no such option.
    /// fn hurry(session: &Session<impl Connection + AsFd>) -> io::Result<()> {
    ///     socket2::SockRef::from(session.connection()).set_tcp_nodelay(true)
    /// }
    /// ```
    pub fn connection(&self) -> &C {
        &self.seat().connection
    }

    /// The connection itself. What is read or written past the session is not
    /// counted in the report.
    pub fn connection_mut(&mut self) -> &mut C {
        &mut self.seat_mut().connection
    }

    fn note_read(&mut self, bytes: usize) {
        self.seat_mut().last_read = match bytes {
            0 => LastRead::EndOfInput,
            _ => LastRead::Bytes,
        };
        count(&self.record.read, bytes);
    }

    fn note_written(&mut self, bytes: usize) {
        count(&self.record.written, bytes);
    }
}

/// Adds to a counter that nobody else writes.
fn count(counter: &AtomicU64, bytes: usize) {
    let sum = counter.load(Ordering::Relaxed) + bytes as u64;
    counter.store(sum, Ordering::Relaxed);
}

impl<C: AsyncRead + Unpin> Session<C> {
    /// Waits for bytes or for the stop: the connection's idle point.
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
    /// use lameduck::{Connection, Session};
    /// use std::io;
    ///
    /// use futures::io::AsyncWriteExt;
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

/// The idle point of a session; see [`Session::read_or_drain`].
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct SessionRead<'a, C> {
    session: &'a mut Session<C>,
    buffer: &'a mut [u8],
}

impl<C: AsyncRead + Unpin> Future for SessionRead<'_, C> {
    type Output = io::Result<Option<usize>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let SessionRead { session, buffer } = self.get_mut();
        let Seat {
            connection, guard, ..
        } = session.seat_mut();
        let read = guard.poll_read_or_drain(cx, connection, buffer);
        session.record.set_activity(match read {
            Poll::Pending => Activity::Idle,
            Poll::Ready(_) => Activity::Busy,
        });
        match ready!(read)? {
            Read::Bytes(n) => {
                session.note_read(n);
                Poll::Ready(Ok(Some(n)))
            }
            Read::EndOfInput => {
                session.note_read(0);
                Poll::Ready(Ok(None))
            }
            Read::Drained => {
                session.seat_mut().last_read = LastRead::Drained;
                Poll::Ready(Ok(None))
            }
        }
    }
}

impl<C> Drop for SessionRead<'_, C> {
    fn drop(&mut self) {
        // A read that was given up is no idle point any more.
        self.session.record.set_activity(Activity::Busy);
    }
}

impl<C: AsyncRead + Unpin> AsyncRead for Session<C> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let connection = &mut self.seat_mut().connection;
        let n = ready!(Pin::new(connection).poll_read(cx, buffer))?;
        if !buffer.is_empty() {
            self.note_read(n);
        }
        Poll::Ready(Ok(n))
    }

    fn poll_read_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        let connection = &mut self.seat_mut().connection;
        let n = ready!(Pin::new(connection).poll_read_vectored(cx, buffers))?;
        if buffers.iter().any(|buffer| !buffer.is_empty()) {
            self.note_read(n);
        }
        Poll::Ready(Ok(n))
    }
}

impl<C: AsyncWrite + Unpin> AsyncWrite for Session<C> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        let connection = &mut self.seat_mut().connection;
        let n = ready!(Pin::new(connection).poll_write(cx, buffer))?;
        self.note_written(n);
        Poll::Ready(Ok(n))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let connection = &mut self.seat_mut().connection;
        let n = ready!(Pin::new(connection).poll_write_vectored(cx, buffers))?;
        self.note_written(n);
        Poll::Ready(Ok(n))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.seat_mut().connection).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.seat_mut().connection).poll_close(cx)
    }
}

impl<C> Drop for Session<C> {
    fn drop(&mut self) {
        let Some(seat) = self.seat.take() else { return };
        let home = Home::Returned(seat);
        let before = std::mem::replace(&mut *lock(&self.record.home), home);
        if let Home::Awaited(waker) = before {
            waker.wake();
        }
    }
}

impl<C> fmt::Debug for Session<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut session = f.debug_struct("Session");
        session.field("peer", &self.record.peer);
        session.field("activity", &self.record.activity());
        session.field("read", &self.record.read);
        session.field("written", &self.record.written);
        session.finish_non_exhaustive()
    }
}
