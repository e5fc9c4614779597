//! The transport that hyper is given: a session, and what was read of it before.

use std::io::{self, ErrorKind::UnexpectedEof};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_io::{AsyncRead, AsyncWrite, IoSlice};
use hyper::rt::{Read, ReadBufCursor, Write};

use super::state::State;
use crate::rt::Connection;
use crate::session::Session;
use crate::sync::plain::Arc;

/// A session under hyper.
///
/// hyper never closes it: its shutdown is a flush, and the server's own close
/// follows when the session comes back (F16, F22).
pub(crate) struct Wire<C> {
    pub(crate) session: Session<C>,
    /// What was read before: it comes first.
    prefix: Bytes,
    state: Arc<State>,
    /// Room for reads that the stack has not; empty while reads are small.
    large: Vec<u8>,
    has_ended: bool,
}

/// hyper's buffer can be filled without `unsafe` only from another one. Most
/// requests fit into this.
const SMALL: usize = 2 * 1024;
const LARGE: usize = 64 * 1024;

impl<C> Wire<C> {
    pub(crate) fn new(session: Session<C>, prefix: Bytes, state: Arc<State>) -> Wire<C> {
        Wire {
            session,
            prefix,
            state,
            large: Vec::new(),
            has_ended: false,
        }
    }

    /// Returns the session, and what hyper has not taken yet.
    pub(crate) fn into_parts(self) -> (Session<C>, Bytes) {
        (self.session, self.prefix)
    }
}

impl<C: Connection> Wire<C> {
    fn poll_read_into(
        &mut self,
        cx: &mut Context<'_>,
        cursor: &mut ReadBufCursor<'_>,
    ) -> Poll<io::Result<usize>> {
        let mut small = [0; SMALL];
        let is_small = self.large.is_empty();
        let room = if is_small {
            &mut small[..]
        } else {
            &mut self.large[..]
        };
        let room_len = room.len().min(cursor.remaining());
        let room = &mut room[..room_len];
        let n = match ready!(Pin::new(&mut self.session).poll_read(cx, room)) {
            // An end without the close of TLS is one, between two requests.
            Err(error) if error.kind() == UnexpectedEof && self.state.is_between() => {
                self.session.note_end();
                0
            }
            read => read?,
        };
        self.state.note_read(&room[..n]);
        cursor.put_slice(&room[..n]);
        if is_small && n == SMALL {
            self.large = vec![0; LARGE];
        } else if !is_small && n < SMALL {
            self.large = Vec::new();
        }
        Poll::Ready(Ok(n))
    }
}

impl<C: Connection> Read for Wire<C> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut cursor: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.prefix.is_empty() {
            let n = self.prefix.len().min(cursor.remaining());
            let bytes = self.prefix.split_to(n);
            self.state.note_read(&bytes);
            cursor.put_slice(&bytes);
            // What follows goes with it: hyper would look at the head twice.
            if self.prefix.is_empty() && cursor.remaining() > 0 {
                if let Poll::Ready(read) = self.poll_read_into(cx, &mut cursor) {
                    self.has_ended = read? == 0;
                }
            }
            return Poll::Ready(Ok(()));
        }
        if !self.has_ended {
            let n = ready!(self.poll_read_into(cx, &mut cursor))?;
            self.has_ended = n == 0;
        }
        // The driver polls hyper again once the response has ended.
        if self.has_ended && self.state.hide_end() {
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
        let written = Pin::new(&mut self.session).poll_write(cx, bytes);
        self.state.set_write_blocked(written.is_pending());
        written
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.session).poll_write_vectored(cx, buffers);
        self.state.set_write_blocked(written.is_pending());
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.session).poll_flush(cx);
        self.state.set_write_blocked(flushed.is_pending());
        flushed
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(cx)
    }
}
