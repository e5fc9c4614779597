//! The reads and writes of a session, and what they wait for besides the connection.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_io::{AsyncRead, AsyncWrite, IoSlice, IoSliceMut};

use super::{Session, pending};
use crate::connection::{Describe, Ended, GuardedConnection, LastRead};
use crate::idle::Read;
use crate::report::Activity;
use crate::rt::Connection;

/// The error of a write that waits for the first byte of its peer, once the server drains.
fn unheard() -> io::Error {
    let error = "the server stops, and the client has not begun its handshake";
    io::Error::new(io::ErrorKind::NotConnected, error)
}

impl<C: Connection> Session<C> {
    /// See [`read_or_drain`](Session::read_or_drain).
    pub(super) fn poll_read_or_drain(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<Option<usize>>> {
        if self.inner().guard.is_settled() && self.refuses_input() {
            self.inner_mut().last_read = LastRead::Drained;
            return Poll::Ready(Ok(None));
        }
        let GuardedConnection {
            connection, guard, ..
        } = self.inner_mut();
        let mut read = guard.poll_read_or_drain(cx, connection, buffer, |read| read);
        if matches!(read, Poll::Ready(Ok(Read::Drained))) && guard.spares_those_in_use() {
            read = self.poll_in_use(cx, buffer);
        }
        let connection = &self.inner().connection;
        let is_idle = read.is_pending() && !connection.is_mid_message();
        self.record.facts().set_activity(match is_idle {
            true => Activity::Idle,
            false => Activity::Busy,
        });
        match ready!(read)? {
            Read::Bytes(n) => {
                self.note_read(n);
                Poll::Ready(Ok(Some(n)))
            }
            Read::EndOfInput => {
                self.note_read(0);
                Poll::Ready(Ok(None))
            }
            Read::Drained => {
                self.inner_mut().last_read = LastRead::Drained;
                Poll::Ready(Ok(None))
            }
        }
    }

    /// Reads on where the connection is in use, although idle ones end: nothing was
    /// there just now.
    #[cold]
    fn poll_in_use(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<Read>> {
        self.ask_unacknowledged();
        let record = self.record.clone();
        let inner = self.inner_mut();
        if record.poll_unused(&mut inner.guard, cx).is_ready() {
            return Poll::Ready(Ok(Read::Drained));
        }
        let connection = &mut inner.connection;
        let read = ready!(Pin::new(connection).poll_read(cx, buffer));
        Poll::Ready(Read::from_result(read))
    }

    /// Asks, after a restart, whether the peer still receives its last answer.
    #[cold]
    fn ask_unacknowledged(&self) {
        let GuardedConnection {
            connection, guard, ..
        } = self.inner();
        let mut unused = self.record.unused();
        guard.ask(&mut unused, || connection.unacknowledged());
        self.record.set_unused(unused);
    }

    /// Looks once more, where the connection remembers that it has nothing: once
    /// the server drains, the system is asked.
    pub(super) fn poll_parked(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let GuardedConnection {
            connection, guard, ..
        } = self.inner_mut();
        // Read before the connection is: what had arrived before the stop was
        // seen is then found.
        if guard.is_settled() {
            if let Some(n) = ready!(connection.poll_read_now(cx, buffer))? {
                return Poll::Ready(Ok(n));
            }
            if guard.spares_those_in_use() {
                self.ask_unacknowledged();
            }
        }
        self.note_nothing();
        Poll::Pending
    }

    fn note_nothing(&mut self) {
        let connection = &self.inner().connection;
        let is_mid_message = connection.is_mid_message();
        let follows = self.inner_mut().follows();
        let is_mid_message =
            is_mid_message || follows.is_some_and(|follows| follows.is_mid_message());
        self.record.facts().set_found_nothing(!is_mid_message);
    }

    /// Fails in an abort, and is pending where input is refused.
    #[cold]
    fn poll_settled(&mut self, cx: &Context<'_>) -> Poll<io::Result<()>> {
        self.check_abort()?;
        self.poll_accepted(cx).map(Ok)
    }

    /// Pending where input is refused, as if nothing had come.
    #[cold]
    pub(super) fn poll_accepted(&mut self, cx: &Context<'_>) -> Poll<()> {
        if !self.inner().guard.ends_busy() {
            return Poll::Ready(());
        }
        match self.record.may_refuse(cx.waker()) {
            Some(is_looking) if self.refuses_input() => {
                self.note_nothing();
                if !is_looking {
                    // Another task reads, or a part of the look's work that is polled again
                    // only once it was woken.
                    cx.waker().wake_by_ref();
                }
                Poll::Pending
            }
            _ => Poll::Ready(()),
        }
    }

    /// Returns whether reads between two messages find nothing, whatever has come.
    #[cold]
    fn refuses_input(&mut self) -> bool {
        !self.inner().connection.is_mid_message() && self.still_accepts() == Some(0)
    }

    /// Returns how many bytes are still to be read, once the server ends connections that
    /// are never idle: of those that had arrived when that was seen first
    /// ([F97](crate::docs::faults#f97)).
    #[cold]
    pub(crate) fn still_accepts(&mut self) -> Option<u64> {
        let read = self.record.facts().bytes_read();
        let GuardedConnection {
            connection,
            guard,
            rare,
            ..
        } = self.inner_mut();
        if !guard.ends_busy() {
            return None;
        }
        let refused_after = &mut rare.get_or_insert_default().refused_after;
        let arrived = || read.saturating_add(connection.readable().unwrap_or(u64::MAX));
        let last = refused_after.get_or_insert_with(arrived);
        Some(last.saturating_sub(read))
    }

    /// Notes that a read has found nothing: what had arrived is read, although there may have
    /// been less of it than was known at the time, as over TLS.
    #[cfg(feature = "http")]
    #[cold]
    pub(crate) fn note_all_read(&mut self) {
        let read = self.record.facts().bytes_read();
        let rare = self.inner_mut().rare.as_mut();
        if let Some(last) = rare.and_then(|rare| rare.refused_after.as_mut()) {
            *last = read.min(*last);
        }
    }

    /// Notes where the error of a read means that the peer has ended its side between two
    /// messages, and without a farewell.
    #[cold]
    fn note_bare_end(&mut self, error: io::Error) -> io::Error {
        let inner = self.inner_mut();
        let is_end = error.kind() == io::ErrorKind::UnexpectedEof;
        if is_end && !inner.connection.is_mid_message() {
            inner.last_read = LastRead::EndOfInput;
            self.record.facts().set_ended(Ended::BareEnd);
        }
        error
    }

    /// Counts what was written, or says what a write comes to that has written nothing.
    #[inline]
    fn end_write(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        let n = match written {
            Poll::Ready(Ok(n)) => n,
            unwritten => ready!(self.poll_unwritten(cx, unwritten))?,
        };
        self.record.facts().count_written(n);
        self.record.facts().end_write_pending();
        Poll::Ready(Ok(n))
    }

    /// Waits for the abort, beside output that waits for room.
    fn poll_room<T>(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        pending::note_write();
        self.record.facts().set_write_pending();
        self.poll_abort(cx, |aborts| &mut aborts.write)
    }

    /// Returns what a write comes to that is pending or has failed: it waits for the
    /// abort, too, and until the peer has sent its first byte it is an idle point.
    #[cold]
    fn poll_unwritten(
        &mut self,
        cx: &mut Context<'_>,
        unwritten: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if !self.connection().awaits_first_byte() {
            return match unwritten {
                Poll::Pending => self.poll_room(cx),
                failed => failed,
            };
        }
        let (last_read, error) = match unwritten {
            Poll::Pending => match ready!(self.poll_first_byte(cx))? {
                LastRead::Drained => (LastRead::Drained, unheard()),
                last_read => (last_read, io::ErrorKind::UnexpectedEof.into()),
            },
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                (LastRead::EndOfInput, error)
            }
            failed => return failed,
        };
        self.inner_mut().last_read = last_read;
        self.record.facts().set_ended(Ended::Unheard);
        Poll::Ready(Err(error))
    }

    /// Waits until the first byte of the peer will not come any more: ready with the
    /// reason. It was polled just now, and was pending.
    fn poll_first_byte(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<LastRead>> {
        let GuardedConnection {
            connection, guard, ..
        } = self.inner_mut();
        let look = |connection: &mut C, cx: &mut Context<'_>| {
            let read = ready!(connection.poll_read_now(cx, &mut []))?;
            if !connection.awaits_first_byte() {
                // It has come: the write goes on.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Poll::Ready(Ok(match read {
                Some(_) => LastRead::EndOfInput,
                None => LastRead::Drained,
            }))
        };
        guard.poll_or_drain(cx, connection, |_, _| Poll::Pending, look)
    }

    /// Reads what the system has just now; returns `None` where it has nothing,
    /// and no message has begun.
    #[cfg(feature = "http")]
    pub(crate) fn poll_look(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<Option<usize>>> {
        let inner = self.inner_mut();
        let read = ready!(inner.connection.poll_read_now(cx, buffer))?;
        match read {
            Some(n) => self.note_read(n),
            None if inner.connection.is_mid_message() => return Poll::Pending,
            None => {}
        }
        Poll::Ready(Ok(read))
    }
}

impl<C: Connection> AsyncRead for Session<C> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if self.inner().guard.is_settled() {
            ready!(self.poll_settled(cx))?;
        }
        let connection = &mut self.inner_mut().connection;
        let mut read = Pin::new(connection).poll_read(cx, buffer);
        if read.is_pending() {
            read = self.poll_parked(cx, buffer);
        }
        let n = match read {
            Poll::Ready(Ok(n)) => n,
            Poll::Ready(Err(error)) => return Poll::Ready(Err(self.note_bare_end(error))),
            Poll::Pending => ready!(self.poll_abort(cx, |aborts| &mut aborts.read))?,
        };
        if let Some(follows) = self.inner_mut().follows() {
            follows.push(&buffer[..n]);
        }
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
        if self.inner().guard.is_settled() {
            ready!(self.poll_settled(cx))?;
        }
        let connection = &mut self.inner_mut().connection;
        let read = Pin::new(connection).poll_read_vectored(cx, buffers);
        let Some(first) = buffers.iter_mut().find(|buffer| !buffer.is_empty()) else {
            return read;
        };
        let read = match read {
            Poll::Pending => self.poll_parked(cx, first),
            read => read,
        };
        let n = match read {
            Poll::Ready(Ok(n)) => n,
            Poll::Ready(Err(error)) => return Poll::Ready(Err(self.note_bare_end(error))),
            Poll::Pending => ready!(self.poll_abort(cx, |aborts| &mut aborts.read))?,
        };
        if let Some(follows) = self.inner_mut().follows() {
            let mut left = n;
            for buffer in buffers.iter() {
                let read = left.min(buffer.len());
                follows.push(&buffer[..read]);
                left -= read;
            }
        }
        self.note_read(n);
        Poll::Ready(Ok(n))
    }
}

impl<C: Connection> AsyncWrite for Session<C> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(self.writer()?).poll_write(cx, buffer);
        self.end_write(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(self.writer()?).poll_write_vectored(cx, buffers);
        self.end_write(cx, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check_abort()?;
        let inner = self.inner_mut();
        if inner.is_half_closed {
            return Poll::Ready(Ok(()));
        }
        match Pin::new(&mut inner.connection).poll_flush(cx) {
            Poll::Pending => self.poll_room(cx),
            flushed => {
                self.record.facts().end_write_pending();
                flushed
            }
        }
    }

    /// Ends the outgoing side: the peer reads what was written, then the end.
    /// The session can still be read.
    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.as_mut().poll_flush(cx))?;
        let inner = self.inner_mut();
        if inner.is_half_closed {
            return Poll::Ready(Ok(()));
        }
        let half_closed = ready!(inner.connection.poll_half_close(cx));
        inner.is_half_closed = true;
        Poll::Ready(half_closed)
    }
}
