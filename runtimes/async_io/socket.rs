//! A connected socket that the reactor watches while somebody may wait for it.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_io::Async;
use futures_io::{AsyncRead, AsyncWrite, IoSlice, IoSliceMut};
use socket2::SockRef;

use crate::rt::Connection;
use crate::runtimes::parts;

/// A socket of the standard library under async-io.
///
/// With its half-close it leaves the reactor, and comes back when something is
/// waited for again. When thousands end at once, nearly all peers answer with
/// their own end before anybody looks: that is no news then which the kernel,
/// the reactor and the executor would hand on one after the other, while others
/// still wait for their end.
#[derive(Debug)]
pub struct AsyncSocket<T> {
    /// `None` once the system has refused a change, and so closed it.
    state: Option<State<T>>,
}

#[derive(Debug)]
enum State<T> {
    Watched(Async<T>),
    Unwatched(T),
}

impl<T: AsFd> AsyncSocket<T> {
    /// Hands a socket to the reactor, which makes it nonblocking.
    ///
    /// # Errors
    /// Those of the operating system, such as a lack of memory.
    pub fn new(socket: T) -> io::Result<AsyncSocket<T>> {
        let state = State::Watched(Async::new(socket)?);
        Ok(AsyncSocket { state: Some(state) })
    }

    /// Returns the socket itself, for its options.
    ///
    /// # Panics
    /// When the reactor could not take it back after its half-close: the read
    /// that asked for it has given the error.
    #[expect(clippy::expect_used, reason = "without a socket there is no reference")]
    pub fn get_ref(&self) -> &T {
        self.socket().expect("an error was given for this socket")
    }

    fn socket(&self) -> io::Result<&T> {
        match &self.state {
            Some(State::Watched(watched)) => Ok(watched.get_ref()),
            Some(State::Unwatched(socket)) => Ok(socket),
            None => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    fn watched(&mut self) -> io::Result<&mut Async<T>> {
        self.state = match self.state.take() {
            Some(State::Unwatched(socket)) => {
                Some(State::Watched(Async::new_nonblocking(socket)?))
            }
            state => state,
        };
        match &mut self.state {
            Some(State::Watched(watched)) => Ok(watched),
            _ => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    fn half_close(&mut self) -> io::Result<()> {
        self.state = match self.state.take() {
            Some(State::Watched(watched)) => Some(State::Unwatched(watched.into_inner()?)),
            state => state,
        };
        SockRef::from(self.socket()?).shutdown(Shutdown::Write)
    }

    /// Reads, and else is woken when there is something to read.
    fn poll_read_by(
        &mut self,
        cx: &mut Context<'_>,
        mut read: impl FnMut(&T) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            match read(self.socket()?) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return Poll::Ready(read),
            }
            let watched = self.watched()?;
            // The event that has woken this task is news to async-io once more.
            // It was before the read, which need not be done again for it: from
            // the second call on, epoll tells of whatever is there by then.
            ready!(watched.poll_readable(cx))?;
            ready!(watched.poll_readable(cx))?;
        }
    }
}

impl<T: AsFd> AsFd for AsyncSocket<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.get_ref().as_fd()
    }
}

impl<T> AsyncRead for AsyncSocket<T>
where
    T: AsFd + Unpin,
    for<'a> &'a T: Read,
{
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_read_by(cx, |mut socket| socket.read(buffer))
    }

    fn poll_read_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_read_by(cx, |mut socket| socket.read_vectored(buffers))
    }
}

impl<T> AsyncWrite for AsyncSocket<T>
where
    T: AsFd + Write + Unpin,
    Async<T>: AsyncWrite,
{
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(self.watched()?).poll_write(cx, buffer)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(self.watched()?).poll_write_vectored(cx, buffers)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.watched()?).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.watched()?).poll_close(cx)
    }
}

impl<T> Connection for AsyncSocket<T>
where
    T: AsFd + Unpin + Send + 'static,
    AsyncSocket<T>: AsyncRead + AsyncWrite,
{
    fn poll_half_close(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.half_close())
    }

    fn unacknowledged(&self) -> Option<u64> {
        parts::unacknowledged(self.socket().ok()?)
    }

    fn round_trip(&self) -> Option<Duration> {
        parts::round_trip(self.socket().ok()?)
    }
}
