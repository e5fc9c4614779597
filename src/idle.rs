//! The idle point: a read, or any other wait, that the stop can end.
//!
//! Readable bytes win over the stop ([F17](crate::docs::faults#f17)). The order
//! of the looks makes that true: the stop is looked at first, then the
//! connection is read, and only if the system has nothing just now does the
//! stop that was seen before end the wait.

use std::borrow::Borrow;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use crate::gate::{Guard, Shutdown};
use crate::rt::Connection;

/// What one look at an idle point found.
pub(crate) enum Found<T> {
    /// Something is there: it wins over the stop.
    Item(T),
    /// The system was asked just now, and has nothing.
    Nothing,
}

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

impl<S: Borrow<Shutdown>> Guard<S> {
    /// Polls for an item; returns `None` where the gate drains and the last
    /// look found nothing.
    ///
    /// `look` is told whether its answer decides: then "nothing" must come
    /// from the system, and not from memory, and `Pending` means that it is not
    /// known yet.
    #[inline]
    pub(crate) fn poll_or_drain<T>(
        &mut self,
        cx: &mut Context<'_>,
        mut look: impl FnMut(&mut Context<'_>, bool) -> Poll<Found<T>>,
    ) -> Poll<Option<T>> {
        loop {
            // Looked at before the source: what had arrived before the stop was
            // seen is then found by the look that follows.
            let decides = self.is_settled();
            match look(cx, decides) {
                Poll::Ready(Found::Item(item)) => return Poll::Ready(Some(item)),
                Poll::Ready(Found::Nothing) if decides => return Poll::Ready(None),
                Poll::Pending if decides => return Poll::Pending,
                // A stop after the look above wakes the task once more.
                _ if self.is_registered_for(cx) => return Poll::Pending,
                // Ready here: the stop came since the look. Look once more.
                _ => ready!(self.register(cx)),
            }
        }
    }

    #[inline]
    pub(crate) fn poll_read_or_drain<C: Connection + ?Sized>(
        &mut self,
        cx: &mut Context<'_>,
        connection: &mut C,
        buffer: &mut [u8],
    ) -> Poll<io::Result<Read>> {
        if buffer.is_empty() {
            let error = "read_or_drain needs room for at least one byte";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidInput, error)));
        }
        let read = self.poll_or_drain(cx, |cx, decides| {
            if decides {
                let read = ready!(connection.poll_read_now(cx, buffer));
                return match read.transpose() {
                    // The rest of a message that has begun is awaited.
                    None if connection.is_mid_message() => Poll::Pending,
                    None => Poll::Ready(Found::Nothing),
                    Some(read) => Poll::Ready(Found::Item(read)),
                };
            }
            Pin::new(&mut *connection)
                .poll_read(cx, buffer)
                .map(Found::Item)
        });
        read.map(|read| match read {
            None => Ok(Read::Drained),
            Some(Ok(0)) => Ok(Read::EndOfInput),
            // The end without the farewell of a protocol that has one, such as
            // TLS: between two messages nothing is lost by it.
            Some(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Ok(Read::EndOfInput)
            }
            Some(read) => read.map(Read::Bytes),
        })
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

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let read = this
            .guard
            .poll_read_or_drain(cx, this.connection, this.buffer);
        read.map_ok(|read| match read {
            Read::Bytes(n) => Some(n),
            Read::EndOfInput | Read::Drained => None,
        })
    }
}
