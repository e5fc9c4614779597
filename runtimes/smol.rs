//! The adapter for [smol](https://docs.rs/smol).

use std::future::Future;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use smol::{Async, Timer};

use super::bind::{self, Listening};
use super::{Signals, Stream};
use crate::address::Address;
use crate::cause::Signal;
use crate::traits::{self, Guarantee, Holders, Socket};

/// smol's global executor.
///
/// ```no_run
/// use lameduck::{Server, runtimes::smol::Smol};
///
/// let server = Server::builder(Smol)
///     .listen("127.0.0.1:48879".parse::<lameduck::Address>()?)
///     .bind()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Smol;

/// What a [`Listener`] accepts: smol's [`Async`], which has one owner and is
/// cheaper than the shared streams of `smol::net`, in memory and at each wait.
/// [`Async::get_ref`] is the socket of the standard library, for its options.
pub type Connection = Stream<Async<TcpStream>, Async<UnixStream>>;

/// A listener on TCP or on a Unix socket.
#[derive(Debug)]
pub struct Listener {
    socket: Listening<Async<TcpListener>, Async<UnixListener>>,
    local: Address,
}

impl Listener {
    fn new(socket: Listening) -> io::Result<Listener> {
        Ok(Listener {
            local: socket.local()?,
            socket: match socket {
                Listening::Tcp(socket) => Listening::Tcp(Async::new(socket)?),
                Listening::Unix(socket, path) => Listening::Unix(Async::new(socket)?, path),
            },
        })
    }
}

impl traits::Listener for Listener {
    type Connection = Connection;

    fn local(&self) -> &Address {
        &self.local
    }

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<(Connection, Address)>> {
        loop {
            let accepted = match &self.socket {
                Listening::Tcp(socket) => accept_tcp(socket),
                Listening::Unix(socket, _) => accept_unix(socket),
            };
            match accepted {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                accepted => return Poll::Ready(accepted),
            }
            ready!(match &self.socket {
                Listening::Tcp(socket) => socket.poll_readable(cx),
                Listening::Unix(socket, _) => socket.poll_readable(cx),
            })?;
        }
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

fn accept_tcp(socket: &Async<TcpListener>) -> io::Result<(Connection, Address)> {
    let (stream, peer) = socket.get_ref().accept()?;
    Ok((Stream::Tcp(Async::new(stream)?), peer.into()))
}

fn accept_unix(socket: &Async<UnixListener>) -> io::Result<(Connection, Address)> {
    let (stream, peer) = socket.get_ref().accept()?;
    Ok((Stream::Unix(Async::new(stream)?), (&peer).into()))
}

/// Completes at a time; see [`Runtime::sleep_until`](traits::Runtime::sleep_until).
#[derive(Debug)]
pub struct Sleep(Timer);

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.0).poll(cx).map(|_| ())
    }
}

impl traits::Runtime for Smol {
    type Listener = Listener;
    type Signals = Signals;
    type Sleep = Sleep;

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        // A task of smol is cancelled when its handle is dropped.
        smol::spawn(task).detach();
    }

    fn now(&self) -> Instant {
        Instant::now()
    }

    fn sleep_until(&self, at: Instant) -> Sleep {
        Sleep(Timer::at(at))
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
