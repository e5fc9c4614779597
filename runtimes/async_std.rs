//! The adapter for [async-std](https://docs.rs/async-std).
//!
//! async-std is discontinued upstream (RUSTSEC-2025-0052), which points to
//! smol. This adapter is tested like the other one and stays; for something
//! new, take [smol](https://docs.rs/smol).

use std::fmt;
use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use async_std::net::{TcpListener, TcpStream};
use async_std::os::unix::net::{UnixListener, UnixStream};
use async_std::task;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream, StreamExt};

use super::bind::{self, Listening};
use super::{Signals, Stream};
use crate::address::Address;
use crate::cause::Signal;
use crate::sync::plain::Arc;
use crate::traits::{self, Guarantee, Holders, Socket};

/// async-std's global executor.
///
/// ```no_run
/// use lameduck::{Server, runtimes::async_std::AsyncStd};
///
/// let server = Server::builder(AsyncStd)
///     .listen("127.0.0.1:48879".parse::<lameduck::Address>()?)
///     .bind()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct AsyncStd;

type Sockets = Listening<Arc<TcpListener>, Arc<UnixListener>>;
type Accepted = io::Result<(Connection, Address)>;

/// What a [`Listener`] accepts.
pub type Connection = Stream<TcpStream, UnixStream>;

/// A listener on TCP or on a Unix socket.
pub struct Listener {
    socket: Sockets,
    local: Address,
    /// async-std lets nobody poll its listeners but through a future: one
    /// after the other, in the same box.
    accepting: BoxStream<'static, Accepted>,
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut listener = f.debug_struct("Listener");
        listener.field("local", &self.local).finish_non_exhaustive()
    }
}

impl Listener {
    fn new(socket: Listening) -> io::Result<Listener> {
        let local = socket.local()?;
        let socket: Sockets = match socket {
            Listening::Tcp(socket) => Listening::Tcp(Arc::new(socket.into())),
            Listening::Unix(socket, path) => Listening::Unix(Arc::new(socket.into()), path),
        };
        let accepting = match &socket {
            Listening::Tcp(socket) => accept_tcp(socket.clone()).boxed(),
            Listening::Unix(socket, _) => accept_unix(socket.clone()).boxed(),
        };
        Ok(Listener {
            socket,
            local,
            accepting,
        })
    }
}

impl traits::Listener for Listener {
    type Connection = Connection;

    fn local(&self) -> &Address {
        &self.local
    }

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<Accepted> {
        // Polled again, the future asks the queue again: `Pending` is news.
        let accepted = ready!(self.accepting.poll_next_unpin(cx));
        Poll::Ready(accepted.unwrap_or_else(|| Err(io::ErrorKind::NotConnected.into())))
    }

    fn quiesce(&mut self, holders: Holders) -> Guarantee {
        self.socket.quiesce(holders, &self.local)
    }

    fn handshakes(&self) -> Option<usize> {
        self.socket.handshakes(&self.local)
    }

    fn share(&self) -> io::Result<OwnedFd> {
        self.socket.share()
    }

    fn close(self) -> io::Result<()> {
        self.socket.close()
    }
}

/// Never ends, nor after an error.
fn accept_tcp(socket: Arc<TcpListener>) -> impl stream::Stream<Item = Accepted> {
    stream::unfold(socket, async |socket| {
        let accepted = socket.accept().await;
        let accepted = accepted.map(|(stream, peer)| (Connection::Tcp(stream), peer.into()));
        Some((accepted, socket))
    })
}

/// As [`accept_tcp`].
fn accept_unix(socket: Arc<UnixListener>) -> impl stream::Stream<Item = Accepted> {
    stream::unfold(socket, async |socket| {
        let accepted = socket.accept().await;
        let accepted =
            accepted.map(|(stream, peer)| (Connection::Unix(stream), (&peer).into()));
        Some((accepted, socket))
    })
}

impl traits::Runtime for AsyncStd {
    type Listener = Listener;
    type Signals = Signals;
    type Sleep = BoxFuture<'static, ()>;

    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        // A task of async-std goes on when its handle is dropped.
        drop(task::spawn(work));
    }

    fn now(&self) -> Instant {
        Instant::now()
    }

    fn sleep_until(&self, at: Instant) -> BoxFuture<'static, ()> {
        let left = at.saturating_duration_since(self.now());
        Box::pin(task::sleep(left))
    }

    fn bind(&self, address: &Address, backlog: i32) -> io::Result<Listener> {
        Listener::new(bind::open(address, backlog)?)
    }

    fn adopt(&self, socket: Socket) -> io::Result<Listener> {
        Listener::new(bind::adopt(socket)?)
    }

    fn signals(&self, signals: &[Signal]) -> io::Result<Signals> {
        Signals::catch(signals)
    }
}
