//! What smol and async-std have in common: both wait by async-io. One task a
//! direction waits for a socket here, so this is [`Async`] itself, and not the
//! shared streams of either, which are larger and allocate at each wait.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::task::{Context, Poll, ready};

use async_io::Async;

use super::socket::AsyncSocket;
use crate::address::Address;
use crate::options::ListenOptions;
use crate::rt::{self, CloseGuarantee, SocketSharing};
use crate::runtimes::listening_socket::{self, accept_queued};
use crate::runtimes::parts::{Accepted, ListeningSocket, TcpOrUnix};

/// What a [`Listener`] accepts.
pub type Connection = TcpOrUnix<AsyncSocket<TcpStream>, AsyncSocket<UnixStream>>;

/// A listener on TCP or on a Unix socket.
#[derive(Debug)]
pub struct Listener {
    socket: ListeningSocket<Async<TcpListener>, Async<UnixListener>>,
    local: Address,
    accepted: Accepted,
}

impl Listener {
    /// Binds and listens: what [`Runtime::bind`](rt::Runtime::bind) asks for.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn bind(address: &Address, options: &ListenOptions) -> io::Result<Listener> {
        Listener::new(ListeningSocket::bind(address, options)?, options)
    }

    /// Takes over a socket: what [`Runtime::adopt`](rt::Runtime::adopt) asks
    /// for.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn adopt(socket: rt::Socket, options: &ListenOptions) -> io::Result<Listener> {
        Listener::new(ListeningSocket::adopt(socket)?, options)
    }

    fn new(socket: ListeningSocket, options: &ListenOptions) -> io::Result<Listener> {
        Ok(Listener {
            accepted: socket.accepted(options),
            local: socket.local_addr()?,
            socket: socket.try_map(Async::new, Async::new)?,
        })
    }
}

impl rt::Listener for Listener {
    type Connection = Connection;

    fn local_addr(&self) -> &Address {
        &self.local
    }

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<(Connection, Address)>> {
        loop {
            let accepted = match &self.socket {
                ListeningSocket::Tcp(socket) => {
                    accept_queued(socket, |socket| accept_tcp(socket, self.accepted))
                }
                ListeningSocket::Unix(socket, _) => accept_queued(socket, accept_unix),
            };
            match accepted {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                accepted => return Poll::Ready(accepted),
            }
            ready!(match &self.socket {
                ListeningSocket::Tcp(socket) => socket.poll_readable(cx),
                ListeningSocket::Unix(socket, _) => socket.poll_readable(cx),
            })?;
        }
    }

    fn stop_accepting(&mut self, sharing: SocketSharing) -> CloseGuarantee {
        self.socket.stop_accepting(sharing, &self.local)
    }

    fn handshakes(listeners: &[&Self]) -> Vec<Option<usize>> {
        let sockets = listeners.iter().map(|this| (&this.socket, &this.local));
        ListeningSocket::handshakes(&sockets.collect::<Vec<_>>())
    }

    fn queue_limit(&self) -> Option<u64> {
        self.socket.queue_limit()
    }

    fn share(&self) -> io::Result<OwnedFd> {
        self.socket.share()
    }

    fn close(self) -> io::Result<()> {
        self.socket.close()
    }
}

fn accept_tcp(
    socket: &Async<TcpListener>,
    accepted: Accepted,
) -> io::Result<(Connection, Address)> {
    let (stream, peer) = listening_socket::accept_tcp(socket.get_ref())?;
    accepted.set_on(&stream);
    Ok((
        TcpOrUnix::Tcp(AsyncSocket::nonblocking(stream)),
        peer.into(),
    ))
}

fn accept_unix(socket: &Async<UnixListener>) -> io::Result<(Connection, Address)> {
    let (stream, peer) = socket.get_ref().accept()?;
    Ok((TcpOrUnix::Unix(AsyncSocket::new(stream)?), (&peer).into()))
}
