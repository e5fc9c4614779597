//! A connection over TCP or over a Unix socket.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_io::{AsyncRead, AsyncWrite, IoSlice, IoSliceMut};

use crate::rt::Connection;

/// A connection over TCP or over a Unix socket.
///
/// ```
/// use futures::io::{AsyncReadExt, Cursor};
/// use lameduck::runtimes::parts::TcpOrUnix;
///
/// # futures::executor::block_on(async {
/// let mut stream: TcpOrUnix<_, Cursor<Vec<u8>>> = TcpOrUnix::Tcp(Cursor::new(b"hello"));
/// let mut text = String::new();
/// stream.read_to_string(&mut text).await?;
/// assert_eq!(text, "hello");
/// # std::io::Result::Ok(()) }).unwrap();
/// ```
#[derive(Debug)]
pub enum TcpOrUnix<T, U> {
    /// Over TCP.
    Tcp(T),
    /// Over a Unix socket.
    Unix(U),
}

/// Calls the same method on whichever stream it is.
macro_rules! either {
    ($self:ident, $stream:ident => $call:expr) => {
        match $self.get_mut() {
            TcpOrUnix::Tcp($stream) => $call,
            TcpOrUnix::Unix($stream) => $call,
        }
    };
}

impl<T, U> AsyncRead for TcpOrUnix<T, U>
where
    T: AsyncRead + Unpin,
    U: AsyncRead + Unpin,
{
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        either!(self, stream => Pin::new(stream).poll_read(cx, buffer))
    }

    fn poll_read_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        either!(self, stream => Pin::new(stream).poll_read_vectored(cx, buffers))
    }
}

impl<T, U> AsyncWrite for TcpOrUnix<T, U>
where
    T: AsyncWrite + Unpin,
    U: AsyncWrite + Unpin,
{
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        either!(self, stream => Pin::new(stream).poll_write(cx, buffer))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        either!(self, stream => Pin::new(stream).poll_write_vectored(cx, buffers))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => Pin::new(stream).poll_close(cx))
    }
}

impl<T: AsFd, U: AsFd> AsFd for TcpOrUnix<T, U> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            TcpOrUnix::Tcp(stream) => stream.as_fd(),
            TcpOrUnix::Unix(stream) => stream.as_fd(),
        }
    }
}

impl<T: Connection, U: Connection> Connection for TcpOrUnix<T, U> {
    fn poll_read_now(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<Option<usize>>> {
        match self {
            TcpOrUnix::Tcp(stream) => stream.poll_read_now(cx, buffer),
            TcpOrUnix::Unix(stream) => stream.poll_read_now(cx, buffer),
        }
    }

    fn poll_half_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            TcpOrUnix::Tcp(stream) => stream.poll_half_close(cx),
            TcpOrUnix::Unix(stream) => stream.poll_half_close(cx),
        }
    }

    fn unacknowledged(&self) -> Option<u64> {
        match self {
            TcpOrUnix::Tcp(stream) => stream.unacknowledged(),
            // What is written is in the peer's queue at once.
            TcpOrUnix::Unix(_) => None,
        }
    }

    fn readable(&self) -> Option<u64> {
        match self {
            TcpOrUnix::Tcp(stream) => stream.readable(),
            TcpOrUnix::Unix(stream) => stream.readable(),
        }
    }

    fn round_trip(&self) -> Option<Duration> {
        match self {
            TcpOrUnix::Tcp(stream) => stream.round_trip(),
            TcpOrUnix::Unix(_) => None,
        }
    }

    fn is_mid_message(&self) -> bool {
        match self {
            TcpOrUnix::Tcp(stream) => stream.is_mid_message(),
            TcpOrUnix::Unix(stream) => stream.is_mid_message(),
        }
    }

    fn awaits_first_byte(&self) -> bool {
        match self {
            TcpOrUnix::Tcp(stream) => stream.awaits_first_byte(),
            TcpOrUnix::Unix(stream) => stream.awaits_first_byte(),
        }
    }
}
