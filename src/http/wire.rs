//! The transport that hyper is given: a session, and what was read of it before.

use std::cell::RefCell;
use std::io::{self, ErrorKind::UnexpectedEof};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use futures_io::{AsyncRead, AsyncWrite, IoSlice};
use hyper::rt::{Read, ReadBufCursor, Write};

use super::state::State;
use crate::rt::Connection;
use crate::session::Session;
use crate::sync::plain::Arc;
use crate::websocket::Frames;

/// A session under hyper.
///
/// hyper never closes it: its shutdown is a flush, and the server's own close
/// follows when the session comes back (F16, F22).
pub(crate) struct Wire<C> {
    pub(crate) session: Session<C>,
    state: Arc<State>,
    has_ended: bool,
    rare: Option<Box<Rare>>,
}

/// What a connection has at its beginning or its end, and not while it waits for requests.
#[derive(Default)]
struct Rare {
    /// What was read before: it comes first.
    prefix: Bytes,
    /// Output that the system had no room for, or did not say yet that it has. hyper would
    /// give the connection away without it: the head of a response of status 101, or the end of
    /// a response after an upgrade that was refused.
    unsent: Bytes,
    /// The frames of a WebSocket: a library that owns it, such as a framework's,
    /// does not say that it holds a part of a message.
    frames: Option<Frames>,
}

thread_local! {
    /// hyper's buffer can be filled without `unsafe` only from another one, which
    /// all connections of a thread share: it is filled and copied from in one go.
    static ROOM: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The largest read, in bytes.
const ROOM_SIZE: usize = 64 * 1024;

impl<C> Wire<C> {
    pub(crate) fn new(session: Session<C>, prefix: Bytes, state: Arc<State>) -> Wire<C> {
        let rare = Rare {
            prefix,
            ..Rare::default()
        };
        Wire {
            session,
            state,
            has_ended: false,
            rare: (!rare.prefix.is_empty()).then(|| Box::new(rare)),
        }
    }

    /// Returns the session, what hyper has not taken yet, and what the system
    /// has not taken yet: see [`unsent`](Rare::unsent).
    pub(crate) fn into_parts(self) -> (Session<C>, Bytes, Bytes) {
        let Rare { prefix, unsent, .. } = self.rare.map_or_else(Rare::default, |rare| *rare);
        (self.session, prefix, unsent)
    }
}

impl<C: Connection> Wire<C> {
    /// Writes what hyper has given the connection away without.
    pub(super) fn poll_send_unsent(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.rare {
            Some(rare) => poll_send(&mut self.session, &mut rare.unsent, cx),
            None => Poll::Ready(Ok(())),
        }
    }

    /// Keeps what could not be written, where hyper does not wait for it: no more than it
    /// has in its buffer, as the body of the last response has ended.
    fn keep(&mut self, buffers: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        if !self.state.is_tunnel() && !self.state.is_given_away() {
            return Poll::Pending;
        }
        let length = buffers.iter().map(|buffer| buffer.len()).sum();
        let unsent = &mut self.rare.get_or_insert_default().unsent;
        let mut bytes = Vec::with_capacity(unsent.len() + length);
        bytes.extend_from_slice(unsent);
        buffers
            .iter()
            .for_each(|buffer| bytes.extend_from_slice(buffer));
        *unsent = bytes.into();
        self.state.set_write_blocked(false);
        Poll::Ready(Ok(length))
    }

    /// Notes what came of a write.
    fn note_written(
        &mut self,
        buffers: &[IoSlice<'_>],
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        self.state.set_write_blocked(written.is_pending());
        match written {
            Poll::Pending => self.keep(buffers),
            Poll::Ready(Ok(n)) => {
                self.state.note_written(buffers, n);
                Poll::Ready(Ok(n))
            }
            failed => failed,
        }
    }

    /// Sends what is unsent, and gives hyper what was read before; pending where nothing of
    /// it is left.
    #[cold]
    fn poll_read_first(
        &mut self,
        cx: &mut Context<'_>,
        cursor: &mut ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if let Poll::Ready(Err(error)) = self.poll_send_unsent(cx) {
            return Poll::Ready(Err(error));
        }
        let Some(rare) = self.rare.as_mut().filter(|rare| !rare.prefix.is_empty()) else {
            return Poll::Pending;
        };
        let n = rare.prefix.len().min(cursor.remaining());
        let bytes = rare.prefix.split_to(n);
        let is_all = rare.prefix.is_empty();
        if is_all && rare.unsent.is_empty() && rare.frames.is_none() {
            self.rare = None;
        }
        self.state.note_read(&bytes);
        cursor.put_slice(&bytes);
        // What follows goes with it: hyper would look at the head twice.
        if is_all && cursor.remaining() > 0 {
            if let Poll::Ready(read) = self.poll_read_into(cx, cursor) {
                self.has_ended = read? == 0;
            }
        }
        Poll::Ready(Ok(()))
    }

    #[inline]
    fn poll_read_into(
        &mut self,
        cx: &mut Context<'_>,
        cursor: &mut ReadBufCursor<'_>,
    ) -> Poll<io::Result<usize>> {
        let read = ROOM.try_with(|room| {
            let mut room = room.try_borrow_mut().ok()?;
            if room.is_empty() {
                *room = vec![0; ROOM_SIZE];
            }
            Some(self.poll_read_by(&mut room, cx, cursor))
        });
        match read {
            Ok(Some(read)) => read,
            // The thread ends, or is in the read of another connection.
            _ => self.poll_read_apart(cx, cursor),
        }
    }

    /// Reads with room of its own.
    #[cold]
    fn poll_read_apart(
        &mut self,
        cx: &mut Context<'_>,
        cursor: &mut ReadBufCursor<'_>,
    ) -> Poll<io::Result<usize>> {
        self.poll_read_by(&mut [0; 2 * 1024], cx, cursor)
    }

    /// Returns how many bytes hyper may be given, once the peer was told of the end.
    #[cold]
    fn limit(&mut self, cx: &mut Context<'_>) -> usize {
        if let Some(goaway) = self.state.take_goaway() {
            // The connection ends, whatever comes of this.
            let _ = Pin::new(&mut self.session).poll_write(cx, &goaway);
        }
        let accepted = self.session.still_accepts();
        self.state.limit(accepted)
    }

    #[inline]
    fn poll_read_by(
        &mut self,
        room: &mut [u8],
        cx: &mut Context<'_>,
        cursor: &mut ReadBufCursor<'_>,
    ) -> Poll<io::Result<usize>> {
        let mut room_len = room.len().min(cursor.remaining());
        self.state.note_asked();
        if self.state.announces() {
            room_len = room_len.min(self.limit(cx));
            if room_len == 0 {
                self.state.origin.facts().set_found_nothing(true);
                return Poll::Pending;
            }
        }
        let room = &mut room[..room_len];
        // In the connection's own task the abort drops all of this: the wait need
        // not be registered for it. After an upgrade, it may be another task's.
        let read = match self.state.is_driven() {
            true => self.session.poll_read_in_task(cx, room),
            false => Pin::new(&mut self.session).poll_read(cx, room),
        };
        let is_mid_record = self.session.connection().is_mid_message();
        self.state.set_mid_record(is_mid_record);
        if read.is_pending() && !is_mid_record && self.state.announces() {
            self.session.note_all_read();
        }
        let frames = self.rare.as_ref().and_then(|rare| rare.frames.as_ref());
        if read.is_pending() && frames.is_some_and(|frames| frames.is_mid_message()) {
            self.state.origin.facts().set_found_nothing(false);
        }
        let n = match ready!(read) {
            // An end without the close of TLS is one, between two requests.
            Err(error) if error.kind() == UnexpectedEof && self.state.is_between() => {
                self.session.note_end();
                0
            }
            read => read?,
        };
        if self.state.is_websocket() {
            let frames = &mut self.rare.get_or_insert_default().frames;
            frames.get_or_insert_with(Frames::new).push(&room[..n]);
        } else {
            self.state.note_read(&room[..n]);
        }
        cursor.put_slice(&room[..n]);
        Poll::Ready(Ok(n))
    }
}

/// Writes `bytes`, and takes from them what was written.
pub(super) fn poll_send<W: AsyncWrite + Unpin + ?Sized>(
    writer: &mut W,
    bytes: &mut Bytes,
    cx: &mut Context<'_>,
) -> Poll<io::Result<()>> {
    while !bytes.is_empty() {
        let n = ready!(Pin::new(&mut *writer).poll_write(cx, bytes))?;
        if n == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        bytes.advance(n);
    }
    Poll::Ready(Ok(()))
}

/// A head and its body that have no more bytes are written as one buffer.
const JOINED: usize = 512;

/// Writes buffers, small ones as one: the system takes one buffer faster than a list, by
/// more than the copy costs.
fn poll_write_all<W: AsyncWrite + Unpin>(
    writer: &mut W,
    cx: &mut Context<'_>,
    buffers: &[IoSlice<'_>],
) -> Poll<io::Result<usize>> {
    let writer = Pin::new(writer);
    if let [buffer] = buffers {
        return writer.poll_write(cx, buffer);
    }
    let length = buffers.iter().map(|buffer| buffer.len()).sum();
    let mut joined = [0; JOINED];
    let Some(mut room) = joined.get_mut(..length) else {
        return writer.poll_write_vectored(cx, buffers);
    };
    for buffer in buffers {
        let (begin, rest) = room.split_at_mut(buffer.len());
        begin.copy_from_slice(buffer);
        room = rest;
    }
    writer.poll_write(cx, &joined[..length])
}

impl<C: Connection> Read for Wire<C> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut cursor: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if self.rare.is_some() {
            if let Poll::Ready(read) = self.poll_read_first(cx, &mut cursor) {
                return Poll::Ready(read);
            }
        }
        if !self.has_ended {
            let n = ready!(self.poll_read_into(cx, &mut cursor))?;
            self.has_ended = n == 0;
        }
        // The driver polls hyper again once the response has ended.
        if self.has_ended && self.state.hide_end() {
            // Nothing follows what was read.
            self.state.origin.facts().set_found_nothing(true);
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }
}

impl<C: Connection> Write for Wire<C> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = match self.poll_send_unsent(cx)? {
            Poll::Ready(()) => Pin::new(&mut self.session).poll_write(cx, bytes),
            Poll::Pending => Poll::Pending,
        };
        self.note_written(&[IoSlice::new(bytes)], written)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = match self.poll_send_unsent(cx)? {
            Poll::Ready(()) => poll_write_all(&mut self.session, cx, buffers),
            Poll::Pending => Poll::Pending,
        };
        self.note_written(buffers, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send_unsent(cx))?;
        let flushed = Pin::new(&mut self.session).poll_flush(cx);
        self.state.set_write_blocked(flushed.is_pending());
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.state.has_panicked() {
            // All streams but that one have ended in order. The server closes
            // after a panic without the close of TLS.
            return Pin::new(&mut self.session).poll_close(cx);
        }
        self.poll_flush(cx)
    }
}

#[cfg(all(test, feature = "sim", not(feature = "loom")))]
mod tests;
