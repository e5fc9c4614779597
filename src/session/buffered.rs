//! A session with a buffer for its input: lines, and other delimited messages.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_io::{AsyncBufRead, AsyncRead, AsyncWrite, IoSlice};

use super::Session;
use crate::rt::Connection;

/// A session with a buffer for its input; see [`Session::buffered`].
///
/// It is idle only while its buffer is empty: a message that has begun is
/// awaited to its end.
///
/// ```
/// use futures::io::AsyncWriteExt;
/// use lameduck::{Connection, Session};
/// use std::io;
///
/// /// Answers each line with its length.
/// async fn lengths(session: Session<impl Connection>) -> io::Result<()> {
///     let mut session = session.buffered();
///     let mut line = Vec::new();
///     while session.read_until_or_drain(b'\n', &mut line).await?.is_some() {
///         let answer = format!("{}\n", line.len());
///         session.write_all(answer.as_bytes()).await?;
///         line.clear();
///     }
///     Ok(())
/// }
/// ```
///
/// Messages of another kind are taken from the buffer itself:
///
/// ```
/// use futures::io::{AsyncReadExt, AsyncWriteExt};
/// use lameduck::{Connection, Session};
/// use std::io;
///
/// /// Echoes frames of one length byte and as many bytes.
/// async fn echo_frames(session: Session<impl Connection>) -> io::Result<()> {
///     let mut session = session.buffered();
///     while session.fill_or_drain().await?.is_some() {
///         // A frame has begun: the rest of it is awaited.
///         let mut length = [0];
///         session.read_exact(&mut length).await?;
///         let mut frame = vec![0; usize::from(length[0])];
///         session.read_exact(&mut frame).await?;
///         session.write_all(&frame).await?;
///     }
///     Ok(())
/// }
/// ```
#[derive(Debug)]
pub struct BufferedSession<C> {
    session: Session<C>,
    buffer: Vec<u8>,
    /// The bytes before it were consumed.
    start: usize,
    /// The bytes before it have no delimiter, which saves to look again.
    searched: usize,
    limit: usize,
}

/// The room that is made for one read.
const CHUNK: usize = 4096;

/// The longest message, unless it is told otherwise.
const LIMIT: usize = 64 * 1024;

impl<C> BufferedSession<C> {
    pub(super) fn new(session: Session<C>) -> BufferedSession<C> {
        BufferedSession {
            session,
            buffer: Vec::new(),
            start: 0,
            searched: 0,
            limit: LIMIT,
        }
    }

    /// Sets the length of the longest message, its delimiter included, so that a
    /// peer that sends no delimiter cannot take all memory. Default: 64 KiB.
    #[must_use]
    pub fn message_limit(mut self, bytes: usize) -> BufferedSession<C> {
        self.limit = bytes;
        self
    }

    /// Returns the bytes that were read and not consumed.
    pub fn buffer(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    /// Returns the session, without a buffer.
    pub fn session(&self) -> &Session<C> {
        &self.session
    }

    /// Returns the session and the bytes that were read and not consumed.
    pub fn into_parts(mut self) -> (Session<C>, Vec<u8>) {
        self.buffer.drain(..self.start);
        (self.session, self.buffer)
    }

    fn consume_bytes(&mut self, bytes: usize) {
        self.start = (self.start + bytes).min(self.buffer.len());
        self.searched = self.start;
        if self.start == self.buffer.len() {
            self.buffer.clear();
            (self.start, self.searched) = (0, 0);
        }
    }

    /// Makes room for more, where what was consumed is moved out of the way.
    fn make_room(&mut self) -> usize {
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.searched -= self.start;
            self.start = 0;
        }
        let filled = self.buffer.len();
        self.buffer.resize(filled + CHUNK, 0);
        filled
    }
}

impl<C: Connection> BufferedSession<C> {
    /// Reads a message up to and including `delimiter`, and appends it to
    /// `message`, or waits for it or for the stop: the idle point, as long as no
    /// byte of a message has come.
    ///
    /// `Ok(Some(n))`: `n` bytes were appended, at least one. They end with the
    /// delimiter, except where the peer has ended its side in the middle of a
    /// message. `Ok(None)`: nothing more will come, since the peer ended its
    /// side, or since the server drains and nothing more is readable.
    ///
    /// # Errors
    /// Those of the connection, and `InvalidData` for a message that is longer
    /// than the [limit](BufferedSession::message_limit).
    ///
    /// # Cancel safety
    /// Dropped before it completes, it keeps what was read for the next call.
    pub async fn read_until_or_drain(
        &mut self,
        delimiter: u8,
        message: &mut Vec<u8>,
    ) -> io::Result<Option<usize>> {
        self.read_message(delimiter, message, true).await
    }

    /// Reads a message as [`read_until_or_drain`](BufferedSession::read_until_or_drain)
    /// does, within the same limit, but not as an idle point: a draining server waits for
    /// it, as long as its grace period lasts.
    ///
    /// It is for conversations of several messages that are not to be ended in the middle:
    ///
    /// ```
    /// use lameduck::{BufferedSession, Connection};
    /// use std::io;
    ///
    /// /// Reads the next command. The client of a transaction can end it, also in a stop.
    /// async fn command(
    ///     session: &mut BufferedSession<impl Connection>,
    ///     is_in_transaction: bool,
    /// ) -> io::Result<Option<Vec<u8>>> {
    ///     let mut line = Vec::new();
    ///     let read = match is_in_transaction {
    ///         true => session.read_until_or_end(b'\n', &mut line).await?,
    ///         false => session.read_until_or_drain(b'\n', &mut line).await?,
    ///     };
    ///     Ok(read.map(|_| line))
    /// }
    /// ```
    ///
    /// # Errors
    /// As for `read_until_or_drain`.
    ///
    /// # Cancel safety
    /// Dropped before it completes, it keeps what was read for the next call.
    pub async fn read_until_or_end(
        &mut self,
        delimiter: u8,
        message: &mut Vec<u8>,
    ) -> io::Result<Option<usize>> {
        self.read_message(delimiter, message, false).await
    }

    async fn read_message(
        &mut self,
        delimiter: u8,
        message: &mut Vec<u8>,
        may_drain: bool,
    ) -> io::Result<Option<usize>> {
        loop {
            let rest = &self.buffer[self.searched..];
            if let Some(at) = rest.iter().position(|byte| *byte == delimiter) {
                let end = self.searched + at + 1;
                self.check_limit(end - self.start)?;
                return Ok(Some(self.take(end, message)));
            }
            self.searched = self.buffer.len();
            self.check_limit(self.buffer().len())?;
            let begun = self.buffer().len();
            match self.fill_more(may_drain).await? {
                Some(()) => {}
                None if begun == 0 => return Ok(None),
                // The peer has ended its side in the middle of a message.
                None => return Ok(Some(self.take(self.buffer.len(), message))),
            }
        }
    }

    /// Returns bytes that were read and not consumed, or waits for some or for
    /// the stop: the idle point, as long as the buffer is empty. `None` as in
    /// [`read_until_or_drain`](BufferedSession::read_until_or_drain).
    ///
    /// # Errors
    /// Those of the connection.
    ///
    /// # Cancel safety
    /// Dropped before it completes, it has read nothing.
    pub async fn fill_or_drain(&mut self) -> io::Result<Option<&[u8]>> {
        if self.buffer().is_empty() && self.fill_more(true).await?.is_none() {
            return Ok(None);
        }
        Ok(Some(self.buffer()))
    }

    /// Appends what comes next; idle only while the buffer is empty, and where it
    /// `may_drain`. `None` when nothing more will come.
    fn fill_more(&mut self, may_drain: bool) -> FillMore<'_, C> {
        FillMore {
            session: self,
            may_drain,
        }
    }

    fn poll_fill_more(
        &mut self,
        cx: &mut Context<'_>,
        may_drain: bool,
    ) -> Poll<io::Result<Option<()>>> {
        let is_idle = may_drain && self.buffer().is_empty();
        let filled = self.make_room();
        let free = &mut self.buffer[filled..];
        let read = if is_idle {
            self.session.poll_read_or_drain(cx, free)
        } else {
            Pin::new(&mut self.session).poll_read(cx, free).map_ok(Some)
        };
        let n = match &read {
            Poll::Ready(Ok(Some(n))) => *n,
            _ => 0,
        };
        // Within the same poll, so that a read that is cancelled leaves no room
        // behind that looks like input.
        self.buffer.truncate(filled + n);
        read.map_ok(|n| n.filter(|n| *n > 0).map(|_| ()))
    }

    /// However the input was cut: so long is a message, or the part of it that has come.
    fn check_limit(&self, bytes: usize) -> io::Result<()> {
        if bytes > self.limit {
            let error = format!("a message is longer than {} bytes", self.limit);
            return Err(io::Error::new(io::ErrorKind::InvalidData, error));
        }
        Ok(())
    }

    fn take(&mut self, end: usize, message: &mut Vec<u8>) -> usize {
        let taken = &self.buffer[self.start..end];
        let n = taken.len();
        message.extend_from_slice(taken);
        self.consume_bytes(n);
        n
    }
}

struct FillMore<'a, C> {
    session: &'a mut BufferedSession<C>,
    may_drain: bool,
}

impl<C: Connection> Future for FillMore<'_, C> {
    type Output = io::Result<Option<()>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let may_drain = self.may_drain;
        self.session.poll_fill_more(cx, may_drain)
    }
}

impl<C> Drop for FillMore<'_, C> {
    fn drop(&mut self) {
        self.session.session.end_wait();
    }
}

impl<C: Connection> AsyncRead for BufferedSession<C> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if self.buffer().is_empty() && bytes.len() >= CHUNK {
            return Pin::new(&mut self.session).poll_read(cx, bytes);
        }
        let filled = ready!(self.as_mut().poll_fill_buf(cx))?;
        let n = filled.len().min(bytes.len());
        bytes[..n].copy_from_slice(&filled[..n]);
        self.consume_bytes(n);
        Poll::Ready(Ok(n))
    }
}

impl<C: Connection> AsyncBufRead for BufferedSession<C> {
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let this = self.get_mut();
        if this.buffer().is_empty() {
            let filled = this.make_room();
            let free = &mut this.buffer[filled..];
            let read = Pin::new(&mut this.session).poll_read(cx, free);
            let n = match &read {
                Poll::Ready(Ok(n)) => *n,
                _ => 0,
            };
            this.buffer.truncate(filled + n);
            ready!(read)?;
        }
        Poll::Ready(Ok(this.buffer()))
    }

    fn consume(mut self: Pin<&mut Self>, bytes: usize) {
        self.consume_bytes(bytes);
    }
}

impl<C: Connection> AsyncWrite for BufferedSession<C> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.session).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.session).poll_write_vectored(cx, buffers)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.session).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.session).poll_close(cx)
    }
}
