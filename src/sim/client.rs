//! Clients: what they do is plain async code, and all of it is recorded.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_io::{AsyncRead, AsyncWrite};
use futures_util::{AsyncReadExt, AsyncWriteExt};

use super::expect::{Answers, Expected, Match, Message};
use super::network::Request;
use super::trace::Side;
use crate::runtimes::sim::{Connection, Shared, Sleep};
use crate::sync::plain::lock;

/// The size of a client's reads.
const READ: usize = 1024;

/// A client's connection; see [`Sim::client`](super::Sim::client).
///
/// It reads and writes like any other connection. A request that is sent with
/// [`request`](Client::request) or [`exchange`](Client::exchange) is recorded
/// together with the answer that belongs to it, so that the
/// [checkers](super::verify) know what the server owes: an answer to each
/// request of which one byte had arrived at the stop, if the client sends the
/// rest.
///
/// When it is dropped it closes as a process would, with a reset when there is
/// unread input. After its program, [`Sim::client`](super::Sim::client) reads
/// on to the server's end first.
pub struct Client {
    connection: Connection,
    answers: Answers,
    /// The place of the first byte of a request that is not complete yet.
    partial_from: Option<u64>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("id", &self.connection.id)
            .finish_non_exhaustive()
    }
}

impl Client {
    pub(crate) async fn connect(
        world: Shared,
        address: std::net::SocketAddr,
    ) -> io::Result<Client> {
        let id = lock(&world).connect(address);
        let connection = Connection {
            world,
            id,
            side: Side::Client,
        };
        poll_fn(|cx| {
            let connected = lock(&connection.world).poll_connect(id, cx.waker());
            connected.map_or(Poll::Pending, Poll::Ready)
        })
        .await?;
        Ok(Client {
            connection,
            answers: Answers::default(),
            partial_from: None,
        })
    }

    /// Returns the number of the connection, as in the trace.
    pub fn id(&self) -> usize {
        self.connection.id
    }

    /// Sends a request, to which the server owes the answer `expected`, and does
    /// not wait for it: requests can be pipelined.
    ///
    /// # Errors
    /// `ConnectionReset` and `BrokenPipe`.
    pub async fn request(
        &mut self,
        request: &[u8],
        expected: impl Into<Expected>,
    ) -> io::Result<()> {
        self.record_request(request.len(), expected.into(), false);
        self.write_all(request).await
    }

    /// Sends the beginning of a request; the next [`request`](Client::request)
    /// sends the rest of it. Once a byte of it has arrived the server owes the
    /// answer.
    ///
    /// # Errors
    /// As [`request`](Client::request).
    pub async fn partial_request(&mut self, part: &[u8]) -> io::Result<()> {
        let written = lock(&self.connection.world).conns[self.connection.id]
            .up
            .written;
        self.partial_from.get_or_insert(written);
        self.write_all(part).await
    }

    fn record_request(&mut self, len: usize, expected: Expected, is_per_byte: bool) {
        let mut world = lock(&self.connection.world);
        let conn = &mut world.conns[self.connection.id];
        let written = conn.up.written;
        conn.requests.push(Request {
            begin: self.partial_from.take().unwrap_or(written),
            end: written + len as u64,
            is_per_byte,
        });
        drop(world);
        self.answers.expect(expected);
        self.record_answers();
    }

    /// Tells the world which answers came.
    fn record_answers(&mut self) {
        let mut world = lock(&self.connection.world);
        let conn = &mut world.conns[self.connection.id];
        conn.answered = self.answers.answered;
        conn.wrong_answer_at = self.answers.wrong_at;
    }

    /// Accepts messages that nobody asked for, such as those of a subscription:
    /// `matcher` is given what is no answer to a request. Without it such a
    /// message is a wrong answer.
    ///
    /// ```
    /// use lameduck::sim::{Match, Sim};
    ///
    /// let mut sim = Sim::new(1);
    /// sim.client(async |client| {
    ///     // Lines that begin with `*` are published by others.
    ///     client.allow_unsolicited(|input| match input.iter().position(|b| *b == b'\n') {
    ///         _ if input[0] != b'*' => Match::Mismatch,
    ///         None => Match::Incomplete,
    ///         Some(end) => Match::Complete(end + 1),
    ///     });
    ///     client.exchange(b"subscribe\n", b"ok\n").await?;
    ///     assert_eq!(client.receive().await?, b"*news\n");
    ///     Ok(())
    /// });
    /// ```
    pub fn allow_unsolicited(&mut self, matcher: impl FnMut(&[u8]) -> Match + 'static) {
        self.answers.allow_unsolicited(Box::new(matcher));
    }

    /// Reads until all requests are answered.
    ///
    /// # Errors
    /// `UnexpectedEof` when the server ends before that, `ConnectionReset`, and
    /// `InvalidData` for an answer that was not expected.
    ///
    /// # Cancel safety
    /// Dropped before it completes, it goes on next time where it was.
    pub async fn responses(&mut self) -> io::Result<()> {
        while !self.answers.is_complete() {
            self.read_more().await?;
        }
        self.answers.messages.retain(|message| !message.is_answer);
        Ok(())
    }

    /// Sends a request, and waits for its answer.
    ///
    /// # Errors
    /// As [`responses`](Client::responses).
    pub async fn exchange(
        &mut self,
        request: &[u8],
        expected: impl Into<Expected>,
    ) -> io::Result<()> {
        self.request(request, expected).await?;
        self.responses().await
    }

    /// Sends bytes to a service that has no longer messages than a byte, such
    /// as an echo, and waits for the answers: each byte of `request` is a
    /// request, and the byte of `response` at the same place its answer.
    ///
    /// # Errors
    /// As [`responses`](Client::responses), and `InvalidInput` where the lengths
    /// differ.
    pub async fn exchange_bytes(&mut self, request: &[u8], response: &[u8]) -> io::Result<()> {
        if request.len() != response.len() {
            let error = "each byte of the request needs a byte of the response";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, error));
        }
        if !request.is_empty() {
            self.record_request(request.len(), Expected::bytes(response), true);
            self.write_all(request).await?;
        }
        self.responses().await
    }

    /// Reads the next message, and returns it: an answer that
    /// [`responses`](Client::responses) did not wait for, or an
    /// [unsolicited](Client::allow_unsolicited) message.
    ///
    /// # Errors
    /// As [`responses`](Client::responses).
    pub async fn receive(&mut self) -> io::Result<Vec<u8>> {
        loop {
            if let Some(Message { bytes, .. }) = self.answers.messages.pop_front() {
                return Ok(bytes);
            }
            self.read_more().await?;
        }
    }

    async fn read_more(&mut self) -> io::Result<()> {
        let mut buffer = [0; READ];
        let most = self.answers.missing().unwrap_or(READ).clamp(1, READ);
        let n = self.connection.read(&mut buffer[..most]).await?;
        if n == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.answers.receive(&buffer[..n]);
        self.record_answers();
        if self.answers.wrong_at.is_some() {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(())
    }

    /// Ends the client's side, and goes on reading.
    ///
    /// # Errors
    /// When the connection is reset.
    pub async fn half_close(&mut self) -> io::Result<()> {
        self.close().await
    }

    /// Resets the connection, as the system does for a process that is killed
    /// with unread input.
    pub fn reset(&mut self) {
        let mut world = lock(&self.connection.world);
        let (id, side) = (self.connection.id, self.connection.side);
        world.conns[id].left = true;
        world.reset(id, side);
    }

    /// Closes at once, whatever is still to come.
    pub fn close_now(&mut self) {
        let mut world = lock(&self.connection.world);
        world.close(self.connection.id, self.connection.side);
    }

    /// Waits for so long.
    pub async fn pause(&self, time: Duration) {
        let world = self.connection.world.clone();
        let at = lock(&world).now + time;
        Sleep::at(world, at).await;
    }

    /// Neither reads nor closes any more, until the end of the simulation.
    pub async fn stall(&mut self) {
        lock(&self.connection.world).conns[self.connection.id].left = true;
        std::future::pending().await
    }

    /// Reads to the server's end, and then closes.
    pub(crate) async fn finish(mut self) {
        let mut rest = [0; READ];
        while let Ok(n @ 1..) = self.connection.read(&mut rest).await {
            self.answers.receive(&rest[..n]);
            self.answers.messages.clear();
            self.record_answers();
        }
        self.answers.end();
        self.record_answers();
    }
}

impl AsyncRead for Client {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let n = ready!(Pin::new(&mut self.connection).poll_read(cx, buffer))?;
        self.answers.receive_raw(&buffer[..n]);
        self.record_answers();
        Poll::Ready(Ok(n))
    }
}

impl AsyncWrite for Client {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.connection).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_close(cx)
    }
}
