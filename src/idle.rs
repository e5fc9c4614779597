//! The idle point: a read, or any other wait, that the stop can end.
//!
//! Readable bytes win over the stop ([F17](crate::docs::faults#f17)). The order
//! of the looks makes that true: the stop is looked at first, then the
//! connection is read, and only if the system has nothing just now does the
//! stop that was seen before end the wait.

use std::borrow::Borrow;
use std::fmt;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use crate::gate::{Guard, Shutdown};
use crate::rt::Connection;

/// The end of a read that the stop can end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Read {
    /// So many bytes, at least one.
    Bytes(usize),
    /// The peer has ended its side.
    EndOfInput,
    /// The gate drains, and nothing more was readable.
    Drained,
}

#[cold]
fn no_room() -> io::Error {
    let error = "read_or_drain needs room for at least one byte";
    io::Error::new(io::ErrorKind::InvalidInput, error)
}

impl Read {
    pub(crate) fn from_result(read: io::Result<usize>) -> io::Result<Read> {
        match read {
            Ok(n @ 1..) => Ok(Read::Bytes(n)),
            read => Read::end(read),
        }
    }

    /// Returns what a read means that gave no byte.
    #[cold]
    fn end(read: io::Result<usize>) -> io::Result<Read> {
        match read {
            Ok(_) => Ok(Read::EndOfInput),
            // The end without the farewell of a protocol that has one, such as
            // TLS: between two messages nothing is lost by it.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(Read::EndOfInput),
            Err(error) => Err(error),
        }
    }
}

impl<S: Borrow<Shutdown>> Guard<S> {
    /// Polls a source at an idle point.
    ///
    /// `wait` polls it while the gate is open. `look` decides, once the gate
    /// drains: its "nothing" has to come from the system, and not from memory,
    /// and its `Pending` means that it is not known yet.
    #[inline]
    pub(crate) fn poll_or_drain<I, T>(
        &mut self,
        cx: &mut Context<'_>,
        mut source: I,
        wait: impl FnOnce(&mut I, &mut Context<'_>) -> Poll<T>,
        look: impl FnOnce(I, &mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        // Looked at before the source: what had arrived before the stop was
        // seen is then found by the look that follows.
        if !self.is_settled() {
            match wait(&mut source, cx) {
                // A stop after the look above wakes the task once more.
                Poll::Pending if self.is_registered_for(cx) => return Poll::Pending,
                Poll::Pending => {}
                ready => return ready,
            }
        }
        self.poll_decide(cx, source, look)
    }

    /// Looks for the last time, or registers the task and waits. It runs once or
    /// twice a task: it stays out of the code of each poll.
    #[cold]
    #[inline(never)]
    fn poll_decide<I, T>(
        &mut self,
        cx: &mut Context<'_>,
        source: I,
        look: impl FnOnce(I, &mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        if !self.is_settled() {
            // Ready here: the stop came since.
            ready!(self.register(cx));
        }
        look(source, cx)
    }

    /// Polls a connection at an idle point, and returns what `result` makes of the
    /// read: of a constant where bytes were read, so that it costs nothing there.
    ///
    /// It is [`poll_or_drain`](Guard::poll_or_drain) by hand: connection and
    /// buffer stay in registers until something is to be decided.
    #[inline]
    pub(crate) fn poll_read_or_drain<C: Connection + ?Sized, T>(
        &mut self,
        cx: &mut Context<'_>,
        connection: &mut C,
        buffer: &mut [u8],
        result: impl Fn(Read) -> T,
    ) -> Poll<io::Result<T>> {
        if buffer.is_empty() {
            return Poll::Ready(Err(no_room()));
        }
        if !self.is_settled() {
            match Pin::new(&mut *connection).poll_read(cx, buffer) {
                Poll::Ready(Ok(n @ 1..)) => return Poll::Ready(Ok(result(Read::Bytes(n)))),
                Poll::Ready(read) => return Poll::Ready(Read::end(read).map(result)),
                Poll::Pending if self.is_registered_for(cx) => return Poll::Pending,
                Poll::Pending => {}
            }
        }
        let look = |(connection, buffer): (&mut C, &mut [u8]), cx: &mut Context<'_>| {
            let read = ready!(connection.poll_read_now(cx, buffer));
            match read.transpose() {
                // The rest of a message that has begun is awaited.
                None if connection.is_mid_message() => Poll::Pending,
                None => Poll::Ready(Ok(Read::Drained)),
                Some(read) => Poll::Ready(Read::from_result(read)),
            }
        };
        let decided = self.poll_decide(cx, (connection, buffer), look);
        decided.map_ok(result)
    }

    /// Reads bytes, or learns that there is nothing more to wait for.
    ///
    /// `Ok(Some(n))`: `n` bytes, at least one. `Ok(None)`: the peer has ended
    /// its side, or the gate drains and nothing more is readable. Bytes that
    /// are there win over the stop: what arrived before it is always read.
    ///
    /// It asks for a [`Connection`] and not for any reader: a reader that
    /// remembers that a socket was not readable would lose what arrived since
    /// ([F72](crate::docs::faults#f72)).
    ///
    /// # Errors
    /// Those of the connection, and `InvalidInput` for an empty buffer.
    ///
    /// # Cancel safety
    /// Dropped before it completes, it has read nothing.
    pub fn read_or_drain<'a, C>(
        &'a mut self,
        connection: &'a mut C,
        buffer: &'a mut [u8],
    ) -> ReadOrDrain<'a, C, S>
    where
        C: Connection + ?Sized,
    {
        ReadOrDrain {
            guard: self,
            connection,
            buffer,
        }
    }

    /// Waits for what `poll` gives, or for the stop: the idle point of a channel,
    /// a stream, an accept loop, or anything else that is no [`Connection`].
    ///
    /// `Some(item)`: `poll` was ready. `None`: the gate drains, and `poll` was
    /// pending after that was seen. What is ready wins over the stop: jobs that
    /// were queued before it are handed out first.
    ///
    /// A pending `poll` has to mean that nothing is there. What remembers the
    /// readiness of a socket, such as tokio's listeners, has to ask the system
    /// in `poll` as well. A task of tokio whose budget is used up gets a new one
    /// before that is decided (with the feature `tokio`).
    ///
    /// Where something is always ready, such as for a UDP socket in a flood, the gate's stop
    /// ends no loop over it, and neither does the abort: the second example bounds it.
    ///
    /// # Cancel safety
    /// That of `poll`: nothing is kept between two polls.
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// use futures::channel::mpsc;
    /// use futures::stream::StreamExt;
    ///
    /// let shutdown = lameduck::Shutdown::new();
    /// let mut guard = shutdown.try_guard()?;
    /// let (sender, mut jobs) = mpsc::unbounded();
    /// sender.unbounded_send("a job").unwrap();
    /// shutdown.stop("done");
    ///
    /// let job = guard.wait_or_drain(|cx| jobs.poll_next_unpin(cx)).await;
    /// assert_eq!(job, Some(Some("a job")));
    /// let none = guard.wait_or_drain(|cx| jobs.poll_next_unpin(cx)).await;
    /// assert_eq!(none, None);
    /// # Ok::<(), lameduck::GuardError>(()) }).unwrap();
    /// ```
    ///
    /// What had arrived at the stop is in the queue then, and is no more than that holds:
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// # use std::task::Poll;
    /// # let shutdown = lameduck::Shutdown::new();
    /// # let mut guard = shutdown.try_guard()?;
    /// # let mut poll_receive = |_: &mut std::task::Context<'_>| Poll::Ready("a datagram");
    /// # shutdown.stop("done");
    /// let mut left = 512; // as many as the socket's buffer holds
    /// while let Some(datagram) = guard.wait_or_drain(&mut poll_receive).await {
    ///     println!("{datagram}");
    ///     if guard.is_draining() {
    ///         left -= 1;
    ///         if left == 0 {
    ///             break;
    ///         }
    ///     }
    /// }
    /// # Ok::<(), lameduck::GuardError>(()) }).unwrap();
    /// ```
    pub fn wait_or_drain<T, F>(&mut self, poll: F) -> WaitOrDrain<'_, F, S>
    where
        F: FnMut(&mut Context<'_>) -> Poll<T>,
    {
        WaitOrDrain { guard: self, poll }
    }

    /// Runs a future until it completes, or until the gate drains and the future
    /// is pending; returns `None` in that case, and the future is dropped.
    ///
    /// It is polled before the stop is looked at: one that can complete at once
    /// does. What it has begun and not ended is lost with it; give it only what
    /// may be cancelled anywhere, such as a timer, and no request that was read.
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// let shutdown = lameduck::Shutdown::new();
    /// let mut guard = shutdown.try_guard()?;
    /// shutdown.stop("done");
    /// assert_eq!(guard.run_until_drained(async { 7 }).await, Some(7));
    /// assert_eq!(guard.run_until_drained(std::future::pending::<()>()).await, None);
    /// # Ok::<(), lameduck::GuardError>(()) }).unwrap();
    /// ```
    pub async fn run_until_drained<F: Future>(&mut self, future: F) -> Option<F::Output> {
        let mut future = pin!(future);
        self.wait_or_drain(|cx| future.as_mut().poll(cx)).await
    }

    #[inline]
    pub(crate) fn poll_wait_or_drain<T>(
        &mut self,
        cx: &mut Context<'_>,
        poll: &mut impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<Option<T>> {
        self.poll_or_drain(
            cx,
            poll,
            |poll, cx| poll(cx).map(Some),
            |poll, cx| match poll(cx) {
                Poll::Ready(item) => Poll::Ready(Some(item)),
                Poll::Pending => poll_budget(cx).map(|()| None),
            },
        )
    }
}

/// Returns ready where a pending answer says something about its source: tokio's
/// channels and sockets are pending as well once their task has had its share of
/// the thread. Such a task is woken, and then has a new share.
#[inline]
pub(crate) fn poll_budget(cx: &Context<'_>) -> Poll<()> {
    #[cfg(feature = "tokio")]
    if !tokio::task::coop::has_budget_remaining() {
        cx.waker().wake_by_ref();
        return Poll::Pending;
    }
    _ = cx;
    Poll::Ready(())
}

/// A wait that the stop can end; see [`Guard::wait_or_drain`].
#[must_use = "futures do nothing unless awaited"]
pub struct WaitOrDrain<'a, F, S: Borrow<Shutdown> = Shutdown> {
    guard: &'a mut Guard<S>,
    poll: F,
}

// The function is called, and never pinned.
impl<F, S: Borrow<Shutdown>> Unpin for WaitOrDrain<'_, F, S> {}

impl<T, F, S> Future for WaitOrDrain<'_, F, S>
where
    F: FnMut(&mut Context<'_>) -> Poll<T>,
    S: Borrow<Shutdown>,
{
    type Output = Option<T>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        this.guard.poll_wait_or_drain(cx, &mut this.poll)
    }
}

impl<F, S: Borrow<Shutdown>> fmt::Debug for WaitOrDrain<'_, F, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WaitOrDrain").finish_non_exhaustive()
    }
}

/// A read that the stop can end; see [`Guard::read_or_drain`].
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct ReadOrDrain<'a, C: ?Sized, S: Borrow<Shutdown> = Shutdown> {
    guard: &'a mut Guard<S>,
    connection: &'a mut C,
    buffer: &'a mut [u8],
}

impl<C, S> Future for ReadOrDrain<'_, C, S>
where
    C: Connection + ?Sized,
    S: Borrow<Shutdown>,
{
    type Output = io::Result<Option<usize>>;

    #[inline(always)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let result = |read| match read {
            Read::Bytes(n) => Some(n),
            Read::EndOfInput | Read::Drained => None,
        };
        this.guard
            .poll_read_or_drain(cx, this.connection, this.buffer, result)
    }
}
