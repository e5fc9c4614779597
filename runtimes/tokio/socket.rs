//! A connected socket that tokio's reactor watches while somebody may wait for
//! it.

use std::fmt::Debug;
use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use ::tokio::io::ReadBuf;
use ::tokio::net::{TcpStream, UnixStream};
use ::tokio::runtime::Handle;
use ::tokio::task::coop::poll_proceed;
use futures_io::{AsyncRead, AsyncWrite, IoSlice};
use rustix::io::retry_on_intr;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, recv, send, sendmsg};
use socket2::SockRef;

use crate::rt::Connection;
use crate::runtimes::parts;

/// The streams of tokio that a [`TokioSocket`] can have.
pub trait TokioStream:
    sealed::Sealed + ::tokio::io::AsyncRead + ::tokio::io::AsyncWrite + AsFd + Unpin + Debug
{
    /// The same outside of the reactor.
    type Std: AsFd + Send + Unpin + Debug;

    #[doc(hidden)]
    fn watch(socket: Self::Std) -> io::Result<Self>;

    #[doc(hidden)]
    fn unwatch(self) -> io::Result<Self::Std>;
}

mod sealed {
    pub trait Sealed: Sized + Send + 'static {}
    impl Sealed for super::TcpStream {}
    impl Sealed for super::UnixStream {}
}

impl TokioStream for TcpStream {
    type Std = std::net::TcpStream;

    fn watch(socket: Self::Std) -> io::Result<TcpStream> {
        TcpStream::from_std(socket)
    }

    fn unwatch(self) -> io::Result<Self::Std> {
        self.into_std()
    }
}

impl TokioStream for UnixStream {
    type Std = std::os::unix::net::UnixStream;

    fn watch(socket: Self::Std) -> io::Result<UnixStream> {
        UnixStream::from_std(socket)
    }

    fn unwatch(self) -> io::Result<Self::Std> {
        self.into_std()
    }
}

/// How many buffers the system takes at once (`UIO_MAXIOV`, linux/uio.h).
const MOST_BUFFERS: usize = 1024;

/// A socket that tokio's reactor watches from the first wait to the half-close.
///
/// Many connections that are swept, or that bring their one request along, never
/// wait. With its half-close a socket leaves the reactor: when thousands end at
/// once, nearly all peers have answered with their own end before anybody looks,
/// and the kernel, the reactor and the scheduler would hand on that event one
/// after the other.
#[derive(Debug)]
pub struct TokioSocket<T: TokioStream> {
    /// `None` once the system has refused a change, and so closed it.
    state: Option<State<T>>,
}

#[derive(Debug)]
enum State<T: TokioStream> {
    Watched {
        stream: T,
        /// A write has found no room. Until then the reactor may not know that there is
        /// some.
        was_full: bool,
    },
    /// With the runtime that is to watch it.
    Unwatched(T::Std, Handle),
}

impl<T: TokioStream> TokioSocket<T> {
    /// Wraps a nonblocking socket that no reactor watches.
    pub(super) fn unwatched(socket: T::Std, handle: Handle) -> TokioSocket<T> {
        TokioSocket {
            state: Some(State::Unwatched(socket, handle)),
        }
    }

    fn descriptor(&self) -> io::Result<BorrowedFd<'_>> {
        match &self.state {
            Some(State::Watched { stream, .. }) => Ok(stream.as_fd()),
            Some(State::Unwatched(socket, _)) => Ok(socket.as_fd()),
            None => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    fn is_watched(&self) -> bool {
        matches!(self.state, Some(State::Watched { .. }))
    }

    fn watched(&mut self) -> io::Result<Pin<&mut T>> {
        if !self.is_watched() {
            self.watch()?;
        }
        match &mut self.state {
            Some(State::Watched { stream, .. }) => Ok(Pin::new(stream)),
            _ => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    #[cold]
    fn watch(&mut self) -> io::Result<()> {
        if let Some(State::Unwatched(socket, handle)) = self.state.take() {
            let _context = handle.enter();
            self.state = Some(State::Watched {
                stream: T::watch(socket)?,
                was_full: false,
            });
        }
        Ok(())
    }

    /// Asks the system itself to write, until it has no room for the first time. `None`:
    /// the write is tokio's, which would let the first one wait until the reactor has told
    /// that there is room.
    #[inline]
    fn poll_write_now(
        &mut self,
        cx: &mut Context<'_>,
        call: impl FnOnce(BorrowedFd<'_>) -> rustix::io::Result<usize>,
    ) -> Poll<io::Result<Option<usize>>> {
        if matches!(self.state, Some(State::Watched { was_full: true, .. })) {
            return Poll::Ready(Ok(None));
        }
        let sent = ready!(self.poll_system(cx, call))?;
        if sent.is_none() {
            self.watched()?;
            if let Some(State::Watched { was_full, .. }) = &mut self.state {
                *was_full = true;
            }
        }
        Poll::Ready(Ok(sent))
    }

    /// Ends our side: the peer reads what was written, then the end.
    fn half_close(&mut self) -> io::Result<()> {
        self.state = match (self.state.take(), Handle::try_current()) {
            (Some(State::Watched { stream, .. }), Ok(handle)) => {
                Some(State::Unwatched(stream.unwatch()?, handle))
            }
            // Outside of the runtime it could not come back.
            (state, _) => state,
        };
        SockRef::from(&self.descriptor()?).shutdown(Shutdown::Write)
    }

    /// Reads from the system itself. `Pending`: it is the turn of other tasks.
    fn poll_system<N>(
        &self,
        cx: &mut Context<'_>,
        call: impl FnOnce(BorrowedFd<'_>) -> rustix::io::Result<N>,
    ) -> Poll<io::Result<Option<N>>> {
        // tokio's own reads and writes count as well: a peer that only sends
        // must not hold the thread.
        let budget = ready!(poll_proceed(cx));
        match call(self.descriptor()?) {
            Err(rustix::io::Errno::WOULDBLOCK) => Poll::Ready(Ok(None)),
            called => {
                budget.made_progress();
                Poll::Ready(called.map(Some).map_err(io::Error::from))
            }
        }
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<Option<usize>>> {
        self.poll_system(cx, |socket| {
            retry_on_intr(|| recv(socket, &mut *buffer, RecvFlags::empty())).map(|(n, _)| n)
        })
    }

    /// Reads what tokio has, and registers the task otherwise.
    fn poll_watched(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(buffer);
        ready!(self.watched()?.poll_read(cx, &mut buffer))?;
        Poll::Ready(Ok(buffer.filled().len()))
    }
}

impl<T: TokioStream> AsFd for TokioSocket<T> {
    /// # Panics
    /// When the reactor could not take it back after its half-close: the read
    /// that asked for it has given the error.
    #[expect(
        clippy::expect_used,
        reason = "without a socket there is no descriptor"
    )]
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor()
            .expect("an error was given for this socket")
    }
}

impl<T: TokioStream> AsyncRead for TokioSocket<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if !self.is_watched() {
            if let Some(n) = ready!(self.poll_recv(cx, buffer))? {
                return Poll::Ready(Ok(n));
            }
        }
        self.poll_watched(cx, buffer)
    }
}

impl<T: TokioStream> AsyncWrite for TokioSocket<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        let sent = self.poll_write_now(cx, |socket| {
            retry_on_intr(|| send(socket, buffer, SendFlags::NOSIGNAL))
        });
        if let Some(n) = ready!(sent)? {
            return Poll::Ready(Ok(n));
        }
        self.watched()?.poll_write(cx, buffer)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let sent = self.poll_write_now(cx, |socket| {
            let mut control = SendAncillaryBuffer::default();
            let most = buffers.len().min(MOST_BUFFERS);
            let first = &buffers[..most];
            retry_on_intr(|| sendmsg(socket, first, &mut control, SendFlags::NOSIGNAL))
        });
        if let Some(n) = ready!(sent)? {
            return Poll::Ready(Ok(n));
        }
        self.watched()?.poll_write_vectored(cx, buffers)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A socket has no buffer of its own.
        Poll::Ready(Ok(()))
    }

    fn poll_close(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.half_close())
    }
}

impl<T: TokioStream> Connection for TokioSocket<T> {
    /// Asks the system where tokio has nothing. The task is registered before,
    /// so that what comes after the answer wakes it.
    fn poll_read_now(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<Option<usize>>> {
        if !self.is_watched() {
            if let Some(n) = ready!(self.poll_recv(cx, buffer))? {
                return Poll::Ready(Ok(Some(n)));
            }
        }
        if let Poll::Ready(read) = self.poll_watched(cx, buffer) {
            return Poll::Ready(read.map(Some));
        }
        // tokio has said so from memory, or because the task's budget is used
        // up. The latter makes this `Pending` as well.
        self.poll_recv(cx, buffer)
    }

    fn poll_half_close(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.half_close())
    }

    fn unacknowledged(&self) -> Option<u64> {
        parts::unacknowledged(&self.descriptor().ok()?)
    }

    fn round_trip(&self) -> Option<Duration> {
        parts::round_trip(&self.descriptor().ok()?)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::io::Read;
    use std::os::unix::net::UnixStream as StdStream;
    use std::task::Waker;

    use super::*;

    fn runtime() -> ::tokio::runtime::Runtime {
        let mut builder = ::tokio::runtime::Builder::new_current_thread();
        builder.enable_io().build().unwrap()
    }

    fn pair(handle: &Handle) -> (TokioSocket<UnixStream>, StdStream) {
        let (ours, peer) = StdStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        (TokioSocket::unwatched(ours, handle.clone()), peer)
    }

    /// What tokio does not know yet would have to wait for its reactor.
    #[test]
    fn the_first_write_does_not_wait_for_the_reactor() {
        let runtime = runtime();
        let (mut socket, mut peer) = pair(runtime.handle());
        let cx = &mut Context::from_waker(Waker::noop());
        let buffers = vec![IoSlice::new(b"ab"); 2 * MOST_BUFFERS];
        let Poll::Ready(sent) = Pin::new(&mut socket).poll_write_vectored(cx, &buffers) else {
            panic!("it waits");
        };
        assert_eq!(sent.unwrap(), 2 * MOST_BUFFERS);
        assert!(!socket.is_watched());
        let mut received = vec![0; 2 * MOST_BUFFERS];
        peer.read_exact(&mut received).unwrap();
        assert!(received.chunks(2).all(|pair| pair == b"ab"));
    }

    #[test]
    fn writes_wait_for_the_reactor_only_once_the_system_has_no_room() {
        let runtime = runtime();
        let (mut socket, mut peer) = pair(runtime.handle());
        let cx = &mut Context::from_waker(Waker::noop());
        assert!(Pin::new(&mut socket).poll_read(cx, &mut [0]).is_pending());
        assert!(socket.is_watched());
        let mut written = 0;
        while let Poll::Ready(sent) = Pin::new(&mut socket).poll_write(cx, &[0; 4096]) {
            written += sent.unwrap();
        }
        assert!(written > 0, "the reactor has not run");
        peer.read_exact(&mut vec![0; written]).unwrap();
        let rest = poll_fn(|cx| Pin::new(&mut socket).poll_write(cx, b"rest"));
        assert_eq!(runtime.block_on(rest).unwrap(), 4);
    }
}
