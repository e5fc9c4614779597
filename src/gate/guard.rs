//! One who lives, and the read that the stop can end.

use std::borrow::Borrow;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures::io::AsyncRead;

use super::waiters::{Until, Waiter};
use super::word::{Phase, Refused, Step};
use super::{Reached, Shutdown};

const DRAINING: Until = Until::Phase(Phase::Draining);

/// One of the living: the gate waits for its drop.
///
/// It keeps the gate alive, as an [`Arc`](std::sync::Arc) would; a
/// `Guard<&Shutdown>`, which [`Shutdown::enter_scoped`] gives, borrows it.
///
/// Deliberately not `Clone`: another place inside is another entry, which can
/// be refused, so it is asked for with [`enter`](Guard::enter).
#[derive(Debug)]
#[must_use = "the gate waits only as long as the guard lives"]
pub struct Guard<S: Borrow<Shutdown> = Shutdown> {
    draining: Waiter<S>,
}

impl<S: Borrow<Shutdown>> Guard<S> {
    /// Wraps an entry that has been counted.
    #[inline]
    pub(super) fn counted(shutdown: S) -> Guard<S> {
        Guard {
            draining: Waiter::new(shutdown),
        }
    }

    /// The gate that this guard belongs to.
    ///
    /// ```
    /// let shutdown = lameduck::Shutdown::new();
    /// let guard = shutdown.enter()?;
    /// guard.shutdown().stop("the guard's holder asks");
    /// assert!(shutdown.is_draining());
    /// # Ok::<(), lameduck::Refused>(())
    /// ```
    pub fn shutdown(&self) -> &Shutdown {
        self.draining.shutdown.borrow()
    }

    /// Brings in another, also while draining: what an accept loop does with
    /// the connections that it sweeps, and a connection with its own tasks.
    ///
    /// # Errors
    /// [`Refused::Closed`] once the gate is stopped, which with a live guard
    /// means that a server gave this one up as unresponsive.
    ///
    /// ```
    /// let shutdown = lameduck::Shutdown::new();
    /// let door = shutdown.enter()?;
    /// shutdown.stop("done");
    /// assert!(shutdown.enter().is_err());
    /// let swept = door.enter()?;
    /// # Ok::<(), lameduck::Refused>(())
    /// ```
    #[inline]
    pub fn enter(&self) -> Result<Guard, Refused> {
        self.draining.shared().enter(Step::Join)?;
        Ok(Guard::counted(self.shutdown().clone()))
    }

    /// Whether the living have been told to come to an end.
    ///
    /// ```
    /// let shutdown = lameduck::Shutdown::new();
    /// let guard = shutdown.enter()?;
    /// assert!(!guard.is_draining());
    /// shutdown.stop("done");
    /// assert!(guard.is_draining());
    /// # Ok::<(), lameduck::Refused>(())
    /// ```
    pub fn is_draining(&self) -> bool {
        self.draining.shared().word().phase() >= Phase::Settling
    }

    /// Completes when the gate drains and this guard is the only one left:
    /// the time for what must run after the last connection (F41).
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// let shutdown = lameduck::Shutdown::new();
    /// let door = shutdown.enter()?;
    /// let guard = door.enter()?;
    /// std::thread::spawn(move || drop(guard));
    /// shutdown.stop("done");
    /// door.alone().await;
    /// assert_eq!(shutdown.living(), 1); // flush, unregister, and then:
    /// drop(door);
    /// # Ok::<(), lameduck::Refused>(()) }).unwrap();
    /// ```
    pub fn alone(&self) -> Reached {
        Reached {
            waiter: Waiter::new(self.shutdown().clone()),
            until: Until::Alone,
        }
    }

    /// Reads, or learns that there is nothing more to wait for.
    ///
    /// `Ok(Some(n))`: `n` bytes, at least one. `Ok(None)`: the peer has ended
    /// its side, or the gate drains and nothing more is readable. Bytes that
    /// are there win over the stop: what arrived before it is always read.
    ///
    /// # Errors
    /// Those of the reader, and `InvalidInput` for an empty buffer.
    ///
    /// # Cancel safety
    /// Dropped before it completes, it has read nothing.
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// let shutdown = lameduck::Shutdown::new();
    /// let mut guard = shutdown.enter()?;
    /// shutdown.stop("done");
    ///
    /// let (mut reader, mut buffer) = (&b"last words"[..], [0; 64]);
    /// let n = guard.read_or_drain(&mut reader, &mut buffer).await?;
    /// assert_eq!(n, Some(10));
    /// assert_eq!(guard.read_or_drain(&mut reader, &mut buffer).await?, None);
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    pub fn read_or_drain<'a, R>(
        &'a mut self,
        reader: &'a mut R,
        buffer: &'a mut [u8],
    ) -> ReadOrDrain<'a, R, S>
    where
        R: AsyncRead + Unpin + ?Sized,
    {
        ReadOrDrain {
            guard: self,
            reader,
            buffer,
        }
    }

    /// The poll of [`read_or_drain`](Guard::read_or_drain).
    #[inline]
    pub(crate) fn poll_read_or_drain<R>(
        &mut self,
        cx: &mut Context<'_>,
        reader: &mut R,
        buffer: &mut [u8],
    ) -> Poll<io::Result<Read>>
    where
        R: AsyncRead + Unpin + ?Sized,
    {
        if buffer.is_empty() {
            let error = "read_or_drain needs room for at least one byte";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidInput, error)));
        }
        loop {
            // Looked at before the read: what had arrived before the stop was
            // seen is then found by the read that follows.
            let draining = self.draining.reached(DRAINING);
            match Pin::new(&mut *reader).poll_read(cx, buffer) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Ok(Read::EndOfInput)),
                Poll::Ready(read) => return Poll::Ready(read.map(Read::Bytes)),
                Poll::Pending if draining => return Poll::Ready(Ok(Read::Drained)),
                // A stop since the look above wakes the task once more.
                Poll::Pending if self.draining.is_awaited_by(cx.waker()) => {
                    return Poll::Pending;
                }
                // Ready here: the stop came since; read once more.
                Poll::Pending => ready!(self.draining.register(DRAINING, cx.waker())),
            }
        }
    }
}

impl<S: Borrow<Shutdown>> Drop for Guard<S> {
    #[inline]
    fn drop(&mut self) {
        self.draining.shared().leave();
    }
}

/// A read that the stop can end; see [`Guard::read_or_drain`].
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct ReadOrDrain<'a, R: ?Sized, S: Borrow<Shutdown> = Shutdown> {
    guard: &'a mut Guard<S>,
    reader: &'a mut R,
    buffer: &'a mut [u8],
}

impl<R, S> Future for ReadOrDrain<'_, R, S>
where
    R: AsyncRead + Unpin + ?Sized,
    S: Borrow<Shutdown>,
{
    type Output = io::Result<Option<usize>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let read = this.guard.poll_read_or_drain(cx, this.reader, this.buffer);
        read.map_ok(|read| match read {
            Read::Bytes(n) => Some(n),
            Read::EndOfInput | Read::Drained => None,
        })
    }
}

/// How a read that the stop can end came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Read {
    /// So many bytes, at least one.
    Bytes(usize),
    /// The peer has ended its side.
    EndOfInput,
    /// The gate drains, and nothing more was readable.
    Drained,
}
