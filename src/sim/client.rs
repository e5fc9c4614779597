//! Clients: what they do is plain async code, and all of it is recorded.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_io::{AsyncRead, AsyncWrite};
use futures_util::{AsyncReadExt, AsyncWriteExt};

use super::trace::Side;
use super::world::Exchange;
use crate::runtimes::sim::{Connection, Shared, Sleep};
use crate::sync::plain::lock;

/// A client's connection; see [`Sim::client`](super::Sim::client).
///
/// It reads and writes like any other. What is sent with
/// [`request`](Client::request) or [`ask`](Client::ask) is recorded together
/// with the answer that belongs to it, so that the
/// [checkers](super::verify) know what the server owes.
///
/// Dropped, it closes as a process would, with a reset when there is unread
/// input. After its program, [`Sim::client`](super::Sim::client) reads on to
/// the server's end first.
pub struct Client {
    connection: Connection,
    /// Where the next expected answer ends.
    owed: u64,
    expected: Vec<u8>,
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
            owed: 0,
            expected: Vec::new(),
        })
    }

    /// The number of the connection, as in the trace.
    pub fn id(&self) -> usize {
        self.connection.id
    }

    /// Sends a request, to which the server owes `response`, and does not wait
    /// for it: requests can be pipelined.
    ///
    /// # Errors
    /// When the connection is reset.
    pub async fn request(&mut self, request: &[u8], response: &[u8]) -> io::Result<()> {
        self.owed += response.len() as u64;
        self.expected.extend(response);
        let response_end = self.owed;
        {
            let mut world = lock(&self.connection.world);
            let conn = &mut world.conns[self.connection.id];
            let request_end = conn.up.written + request.len() as u64;
            conn.exchanges.push(Exchange {
                request_end,
                response_end,
            });
        }
        self.write_all(request).await
    }

    /// Reads all answers that are owed.
    ///
    /// # Errors
    /// `UnexpectedEof` when the server ends before that, `ConnectionReset`, and
    /// `InvalidData` when it says something else.
    ///
    /// # Cancel safety
    /// Dropped before it completes, it goes on next time where it was.
    pub async fn responses(&mut self) -> io::Result<()> {
        let mut buffer = [0; 1024];
        while !self.expected.is_empty() {
            let most = buffer.len().min(self.expected.len());
            let n = self.read(&mut buffer[..most]).await?;
            if n == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if !self.expected.drain(..n).eq(buffer[..n].iter().copied()) {
                self.garbled();
                return Err(io::ErrorKind::InvalidData.into());
            }
        }
        Ok(())
    }

    /// A request, and its answer.
    ///
    /// # Errors
    /// As [`responses`](Client::responses).
    pub async fn exchange(&mut self, request: &[u8], response: &[u8]) -> io::Result<()> {
        self.request(request, response).await?;
        self.responses().await
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

    /// Waits, as people do.
    pub async fn pause(&self, time: Duration) {
        let world = self.connection.world.clone();
        let at = lock(&world).now + time;
        Sleep::at(world, at).await;
    }

    /// Neither reads nor closes any more, until the end of the simulation.
    pub async fn stall(&mut self) {
        {
            let mut world = lock(&self.connection.world);
            world.conns[self.connection.id].left = true;
        }
        std::future::pending().await
    }

    fn garbled(&mut self) {
        let mut world = lock(&self.connection.world);
        let conn = &mut world.conns[self.connection.id];
        conn.garbled = Some(conn.down.read);
    }

    /// Reads to the server's end, and then closes.
    pub(crate) async fn finish(mut self) {
        let _ = self.responses().await;
        let mut rest = [0; 1024];
        while self.read(&mut rest).await.is_ok_and(|n| n > 0) {}
    }
}

impl AsyncRead for Client {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.connection).poll_read(cx, buffer)
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
