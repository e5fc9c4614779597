//! A listening socket that waits in tokio's reactor.

use std::future::{Future, poll_fn};
use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::pin::pin;
use std::task::{Context, Poll, ready};

use ::tokio::io::Interest;
use ::tokio::io::unix::AsyncFd;
use ::tokio::runtime::Handle;
use ::tokio::task::coop::unconstrained;

use super::socket::Connection;
use crate::address::Address;
use crate::options::ListenOptions;
use crate::rt::{self, CloseGuarantee, SocketSharing};
use crate::runtimes::listening_socket::{self, accept_queued};
use crate::runtimes::parts::{Accepted, ListeningSocket};

/// A listener on TCP or on a Unix socket.
///
/// It accepts by itself: tokio's listeners drop a connection that the reactor
/// has no room for ([F48](crate::docs::faults#f48)).
#[derive(Debug)]
pub struct Listener {
    socket: ListeningSocket<AsyncFd<TcpListener>, AsyncFd<UnixListener>>,
    local: Address,
    accepted: Accepted,
    handle: Handle,
    /// Whether an empty queue decides something: then the system is asked,
    /// whatever tokio remembers.
    has_stopped: bool,
}

impl Listener {
    pub(super) fn bind(
        handle: &Handle,
        address: &Address,
        options: &ListenOptions,
    ) -> io::Result<Listener> {
        Listener::new(handle, ListeningSocket::bind(address, options)?, options)
    }

    pub(super) fn adopt(
        handle: &Handle,
        socket: rt::Socket,
        options: &ListenOptions,
    ) -> io::Result<Listener> {
        Listener::new(handle, ListeningSocket::adopt(socket)?, options)
    }

    fn new(
        handle: &Handle,
        socket: ListeningSocket,
        options: &ListenOptions,
    ) -> io::Result<Listener> {
        let _context = handle.enter();
        Ok(Listener {
            accepted: socket.accepted(options),
            local: socket.local_addr()?,
            socket: socket.try_map(watch, watch)?,
            handle: handle.clone(),
            has_stopped: false,
        })
    }

    fn accept_tcp(&self, socket: &TcpListener) -> io::Result<(Connection, Address)> {
        let (stream, peer) = listening_socket::accept_tcp(socket)?;
        self.accepted.set_on(&stream);
        Ok((self.connection(stream.into()), peer.into()))
    }

    fn accept_unix(&self, socket: &UnixListener) -> io::Result<(Connection, Address)> {
        let (stream, peer) = socket.accept()?;
        stream.set_nonblocking(true)?;
        Ok((self.connection(stream.into()), (&peer).into()))
    }

    fn connection(&self, socket: OwnedFd) -> Connection {
        let handle = self.handle.clone();
        // Many of those that are swept never wait.
        match self.has_stopped {
            false => Connection::watched(socket, handle),
            true => Connection::unwatched(socket, handle),
        }
    }
}

#[allow(
    deprecated,
    reason = "what is unsound for a type that closes its descriptor early is sound for \
              those of the standard library, and `register` is unsafe for all"
)]
fn watch<T: AsRawFd>(socket: T) -> io::Result<AsyncFd<T>> {
    AsyncFd::with_interest(socket, Interest::READABLE)
}

/// Accepts. Where the queue is empty by tokio's memory, and that decides
/// something, the system is asked as well: after the task was registered, so
/// that no wake-up is lost.
fn poll_accept_on<T: AsFd + AsRawFd, C>(
    socket: &AsyncFd<T>,
    cx: &mut Context<'_>,
    decides: bool,
    accept: impl Fn(&T) -> io::Result<C>,
) -> Poll<io::Result<C>> {
    // The server lets other tasks run by a rule of its own: a queue that is
    // not empty must not seem so because tokio's budget is used up.
    let mut remembered = pin!(unconstrained(poll_fn(|cx| {
        loop {
            let mut ready = ready!(socket.poll_read_ready(cx))?;
            match accept_queued(socket.get_ref(), &accept) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready.clear_ready(),
                accepted => return Poll::Ready(accepted),
            }
        }
    })));
    match remembered.as_mut().poll(cx) {
        Poll::Pending if decides => match accept_queued(socket.get_ref(), &accept) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
            accepted => Poll::Ready(accepted),
        },
        accepted => accepted,
    }
}

impl rt::Listener for Listener {
    type Connection = Connection;

    fn local_addr(&self) -> &Address {
        &self.local
    }

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<(Connection, Address)>> {
        let decides = self.has_stopped;
        match &self.socket {
            ListeningSocket::Tcp(socket) => {
                poll_accept_on(socket, cx, decides, |socket| self.accept_tcp(socket))
            }
            ListeningSocket::Unix(socket, _) => {
                poll_accept_on(socket, cx, decides, |socket| self.accept_unix(socket))
            }
        }
    }

    fn stop_accepting(&mut self, sharing: SocketSharing) -> CloseGuarantee {
        self.has_stopped = true;
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
        match &self.socket {
            ListeningSocket::Tcp(socket) => socket.get_ref().try_clone().map(OwnedFd::from),
            ListeningSocket::Unix(socket, _) => socket.get_ref().try_clone().map(OwnedFd::from),
        }
    }

    fn close(self) -> io::Result<()> {
        self.socket.close()
    }
}
