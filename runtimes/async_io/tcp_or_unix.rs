//! A connection over TCP or over a Unix socket.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_io::{AsyncRead, AsyncWrite, IoSlice, IoSliceMut};

use super::socket::AsyncSocket;
use crate::rt::Connection;

/// A connection over TCP or over a Unix socket.
///
/// ```
/// use futures_io::{AsyncReadExt, Cursor};
/// use lameduck::runtimes::TcpOrUnix;
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

impl<T, U> Connection for TcpOrUnix<AsyncSocket<T>, AsyncSocket<U>>
where
    T: AsFd + Unpin + Send + 'static,
    U: AsFd + Unpin + Send + 'static,
    AsyncSocket<T>: AsyncRead + AsyncWrite,
    AsyncSocket<U>: AsyncRead + AsyncWrite,
{
    fn poll_half_close(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(match self {
            TcpOrUnix::Tcp(socket) => socket.half_close(),
            TcpOrUnix::Unix(socket) => socket.half_close(),
        })
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn unacknowledged(&self) -> Option<u64> {
        match self {
            TcpOrUnix::Tcp(socket) => crate::runtimes::sock_diag::unacknowledged(socket),
            // What is written is in the peer's queue at once.
            TcpOrUnix::Unix(_) => None,
        }
    }
}
