//! A connection over TCP or over a Unix socket.

use std::io;
use std::net::Shutdown;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::io::{AsyncRead, AsyncWrite, IoSlice, IoSliceMut};

use crate::traits::Connection;

/// The end of a runtime's stream that `Connection` asks for by name.
pub trait HalfClose {
    /// `shutdown(2)` of one side, or of both.
    ///
    /// # Errors
    /// When the peer is gone already.
    fn shut(&self, how: Shutdown) -> io::Result<()>;
}

/// A connection over TCP or over a Unix socket.
///
/// ```
/// use futures::io::{AsyncReadExt, Cursor};
/// use lameduck::runtimes::Stream;
///
/// # futures::executor::block_on(async {
/// let mut stream: Stream<_, Cursor<Vec<u8>>> = Stream::Tcp(Cursor::new(b"hello"));
/// let mut text = String::new();
/// stream.read_to_string(&mut text).await?;
/// assert_eq!(text, "hello");
/// # std::io::Result::Ok(()) }).unwrap();
/// ```
#[derive(Debug)]
pub enum Stream<T, U> {
    /// Over TCP.
    Tcp(T),
    /// Over a Unix socket.
    Unix(U),
}

/// Calls the same method on whichever stream it is.
macro_rules! either {
    ($self:ident, $stream:ident => $call:expr) => {
        match $self.get_mut() {
            Stream::Tcp($stream) => $call,
            Stream::Unix($stream) => $call,
        }
    };
}

impl<T, U> AsyncRead for Stream<T, U>
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

impl<T, U> AsyncWrite for Stream<T, U>
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

impl<T, U> Connection for Stream<T, U>
where
    T: HalfClose + AsyncRead + AsyncWrite + Unpin + Send + 'static,
    U: HalfClose + AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    fn poll_half_close(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(match self {
            Stream::Tcp(stream) => stream.shut(Shutdown::Write),
            Stream::Unix(stream) => stream.shut(Shutdown::Write),
        })
    }
}

/// Both runtimes' streams have the method; neither has a trait for it.
macro_rules! half_close {
    ($($stream:ty),*) => {
        $(impl crate::runtimes::stream::HalfClose for $stream {
            fn shut(&self, how: std::net::Shutdown) -> std::io::Result<()> {
                self.shutdown(how)
            }
        })*
    };
}
pub(super) use half_close;
