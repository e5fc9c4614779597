//! A planted mistake: an adapter for tokio that looks right, and believes what
//! tokio remembers.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use futures::io::{AsyncRead, AsyncWrite};
use lameduck::rt::{CloseGuarantee, SocketSharing};
use lameduck::runtimes::parts::{ListeningSocket, Signals, Sleep};
use lameduck::runtimes::tokio::Tokio;
use lameduck::{Address, Connection, ListenOptions, Listener, Runtime, Signal};
use socket2::SockRef;
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

#[derive(Clone)]
pub(crate) struct Naive(pub(crate) Tokio);

impl Runtime for Naive {
    type Listener = NaiveListener;
    type Signals = Signals;
    type Sleep = Sleep;

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.0.spawn(task);
    }

    fn now(&self) -> Instant {
        Instant::now()
    }

    fn sleep_until(&self, at: Instant) -> Sleep {
        Sleep::until(at)
    }

    fn bind(&self, address: &Address, options: &ListenOptions) -> io::Result<NaiveListener> {
        let socket = ListeningSocket::bind(address, options)?;
        let local = socket.local_addr()?;
        let _context = self.0.handle().enter();
        let socket = socket.try_map(TcpListener::from_std, UnixListener::from_std)?;
        let runtime = self.0.clone();
        Ok(NaiveListener {
            socket,
            local,
            runtime,
        })
    }

    fn signals(&self, signals: &[Signal]) -> io::Result<Signals> {
        Signals::catch(signals)
    }
}

pub(crate) struct NaiveListener {
    socket: ListeningSocket<TcpListener, UnixListener>,
    local: Address,
    runtime: Tokio,
}

impl Listener for NaiveListener {
    type Connection = NaiveConnection;

    fn local_addr(&self) -> &Address {
        &self.local
    }

    fn poll_accept(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<(NaiveConnection, Address)>> {
        let _context = self.runtime.handle().enter();
        match &self.socket {
            ListeningSocket::Tcp(socket) => socket
                .poll_accept(cx)
                .map_ok(|(stream, peer)| (NaiveConnection::Tcp(stream), peer.into())),
            ListeningSocket::Unix(socket, _) => socket
                .poll_accept(cx)
                .map_ok(|(stream, _)| (NaiveConnection::Unix(stream), Address::Unix(None))),
        }
    }

    fn stop_accepting(&mut self, sharing: SocketSharing) -> CloseGuarantee {
        self.socket.stop_accepting(sharing, &self.local)
    }

    fn close(self) -> io::Result<()> {
        self.socket.close()
    }
}

pub(crate) enum NaiveConnection {
    Tcp(TcpStream),
    Unix(UnixStream),
}

macro_rules! either {
    ($self:ident, $stream:ident => $call:expr) => {
        match $self.get_mut() {
            NaiveConnection::Tcp($stream) => $call,
            NaiveConnection::Unix($stream) => $call,
        }
    };
}

impl AsyncRead for NaiveConnection {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(buffer);
        let read = either!(self, stream => Pin::new(stream).poll_read(cx, &mut buffer));
        read.map_ok(|()| buffer.filled().len())
    }
}

impl AsyncWrite for NaiveConnection {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        either!(self, stream => Pin::new(stream).poll_write(cx, buffer))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => Pin::new(stream).poll_shutdown(cx))
    }
}

impl Connection for NaiveConnection {
    fn poll_half_close(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let end = std::net::Shutdown::Write;
        Poll::Ready(match self {
            NaiveConnection::Tcp(stream) => SockRef::from(&*stream).shutdown(end),
            NaiveConnection::Unix(stream) => SockRef::from(&*stream).shutdown(end),
        })
    }
}
