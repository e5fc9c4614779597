//! What smol and async-std have in common: both wait by async-io. One task a
//! direction waits for a socket here, so this is [`Async`] itself, and not the
//! shared streams of either, which are larger and allocate at each wait.

use std::future::Future;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use async_io::{Async, Timer};

use super::Stream;
use super::bind::{self, Listening};
use super::connected::Connected;
use crate::address::Address;
use crate::traits::{self, Guarantee, Holders};

/// What a [`Listener`] accepts.
pub type Connection = Stream<Connected<TcpStream>, Connected<UnixStream>>;

/// A listener on TCP or on a Unix socket.
#[derive(Debug)]
pub struct Listener {
    socket: Listening<Async<TcpListener>, Async<UnixListener>>,
    local: Address,
}

impl Listener {
    /// See [`Runtime::bind`](traits::Runtime::bind).
    pub(super) fn bind(address: &Address, backlog: i32) -> io::Result<Listener> {
        Listener::new(bind::open(address, backlog)?)
    }

    /// See [`Runtime::adopt`](traits::Runtime::adopt).
    pub(super) fn adopt(socket: traits::Socket) -> io::Result<Listener> {
        Listener::new(bind::adopt(socket)?)
    }

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
    Ok((Stream::Tcp(Connected::new(stream)?), peer.into()))
}

fn accept_unix(socket: &Async<UnixListener>) -> io::Result<(Connection, Address)> {
    let (stream, peer) = socket.get_ref().accept()?;
    Ok((Stream::Unix(Connected::new(stream)?), (&peer).into()))
}

/// Completes at a time; see [`Runtime::sleep_until`](traits::Runtime::sleep_until).
#[derive(Debug)]
pub struct Sleep(Timer);

impl Sleep {
    pub(super) fn until(at: Instant) -> Sleep {
        Sleep(Timer::at(at))
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.0).poll(cx).map(|_| ())
    }
}
