//! A connected socket that tokio's reactor watches while somebody may wait for
//! it.

use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use ::tokio::io::unix::{AsyncFd, AsyncFdReadyGuard};
use ::tokio::runtime::Handle;
use ::tokio::task::coop::poll_proceed;
use futures_io::{AsyncRead, AsyncWrite, IoSlice};
use rustix::io::{Errno, retry_on_intr};
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, recv, send, sendmsg};
use socket2::SockRef;

use crate::rt;
use crate::runtimes::parts;

/// How many buffers the system takes at once (`UIO_MAXIOV`, linux/uio.h).
const MOST_BUFFERS: usize = 1024;

/// Whether a read that fills only a part of its buffer has emptied the socket, and a write
/// of a part has filled it, until the reactor reports a change. This is so with epoll
/// (epoll(7), question 9) and kqueue.
const LESS_IS_ALL: bool = cfg!(any(
    target_os = "linux",
    target_os = "android",
    target_vendor = "apple",
    target_os = "freebsd",
    target_os = "netbsd",
    target_os = "openbsd",
    target_os = "dragonfly",
));

/// A socket that a [`Listener`](super::Listener) has accepted, and that tokio's reactor
/// watches until the half-close.
///
/// It is watched from its accept on: the place in the reactor then takes the least memory,
/// since the thread that makes it makes the task of the connection as well, and each fills
/// the gaps that the other leaves. What is swept is watched from its first wait on: many
/// such connections never wait.
///
/// With its half-close a socket leaves the reactor: when thousands end at once, nearly all
/// peers have answered with their own end before anybody looks, and the kernel, the
/// reactor and the scheduler would hand on that event one after the other.
#[derive(Debug)]
pub struct Connection {
    /// `None` only while it changes.
    state: Option<State>,
}

#[derive(Debug)]
enum State {
    Watched(AsyncFd<Stream>),
    /// With the runtime that is to watch it.
    Unwatched(Stream, Handle),
}

#[derive(Debug)]
struct Stream {
    socket: OwnedFd,
    // Both are here since they take no place of their own: each open connection has them.
    /// A read has found nothing. Until then the reactor may not know that there is something.
    was_empty: bool,
    /// A write has found no room. Until then the reactor may not know that there is some.
    was_full: bool,
}

impl AsRawFd for Stream {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

impl Connection {
    /// Wraps a nonblocking socket that the reactor watches from now on.
    pub(super) fn watched(socket: OwnedFd, handle: Handle) -> Connection {
        let mut connection = Connection::unwatched(socket, handle);
        // If the reactor has no room, the first wait tries again, and returns the error.
        let _ = connection.watch();
        connection
    }

    /// Wraps a nonblocking socket that no reactor watches.
    pub(super) fn unwatched(socket: OwnedFd, handle: Handle) -> Connection {
        let stream = Stream {
            socket,
            was_empty: false,
            was_full: false,
        };
        Connection {
            state: Some(State::Unwatched(stream, handle)),
        }
    }

    fn stream(&self) -> io::Result<&Stream> {
        match &self.state {
            Some(State::Watched(watched)) => Ok(watched.get_ref()),
            Some(State::Unwatched(stream, _)) => Ok(stream),
            None => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    fn stream_mut(&mut self) -> io::Result<&mut Stream> {
        match &mut self.state {
            Some(State::Watched(watched)) => Ok(watched.get_mut()),
            Some(State::Unwatched(stream, _)) => Ok(stream),
            None => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    fn is_watched(&self) -> bool {
        matches!(self.state, Some(State::Watched(_)))
    }

    fn watch_if_unwatched(&mut self) -> io::Result<&AsyncFd<Stream>> {
        if !self.is_watched() {
            self.watch()?;
        }
        match &self.state {
            Some(State::Watched(watched)) => Ok(watched),
            _ => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    #[allow(
        deprecated,
        reason = "what is unsound for a type that closes its descriptor early is sound for \
                  one of the standard library, and `register` is unsafe for all"
    )]
    fn watch(&mut self) -> io::Result<()> {
        if let Some(State::Unwatched(stream, handle)) = self.state.take() {
            let context = handle.enter();
            let watched = AsyncFd::try_new(stream);
            drop(context);
            match watched {
                Ok(watched) => self.state = Some(State::Watched(watched)),
                Err(refused) => {
                    let (stream, error) = refused.into_parts();
                    self.state = Some(State::Unwatched(stream, handle));
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Ends our side: the peer reads what was written, then the end.
    fn half_close(&mut self) -> io::Result<()> {
        self.state = match (self.state.take(), Handle::try_current()) {
            (Some(State::Watched(watched)), Ok(handle)) => {
                let mut stream = watched.into_inner();
                stream.was_empty = false;
                Some(State::Unwatched(stream, handle))
            }
            // Outside of the runtime it could not come back.
            (state, _) => state,
        };
        SockRef::from(&self.stream()?.socket).shutdown(Shutdown::Write)
    }

    /// Asks the system itself: `None` where it would have to wait. `Pending`: it is the
    /// turn of other tasks.
    fn poll_system<N>(
        &self,
        cx: &mut Context<'_>,
        call: impl FnOnce(&OwnedFd) -> rustix::io::Result<N>,
    ) -> Poll<io::Result<Option<N>>> {
        // tokio's own reads and writes count as well: a peer that only sends
        // must not hold the thread.
        let budget = ready!(poll_proceed(cx));
        match call(&self.stream()?.socket) {
            Err(Errno::WOULDBLOCK) => Poll::Ready(Ok(None)),
            called => {
                budget.made_progress();
                Poll::Ready(called.map(Some).map_err(io::Error::from))
            }
        }
    }

    fn poll_receive_now(
        &self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<Option<usize>>> {
        self.poll_system(cx, |socket| receive(socket, buffer))
    }

    /// Reads what the reactor knows of, and registers the task otherwise. Until there was
    /// nothing for the first time, the system is asked at once.
    #[inline]
    fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if !self.stream()?.was_empty {
            if let Some(n) = ready!(self.poll_receive_now(cx, buffer))? {
                return Poll::Ready(Ok(n));
            }
            self.stream_mut()?.was_empty = true;
        }
        self.poll_watched(cx, AsyncFd::poll_read_ready, buffer.len(), |socket| {
            receive(socket, buffer)
        })
    }

    /// Writes up to `most` bytes by `call`. Until the system has no room for the first
    /// time, it is asked at once: the reactor may not have told yet that there is room.
    #[inline]
    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        most: usize,
        call: impl Fn(&OwnedFd) -> rustix::io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        if !self.stream()?.was_full {
            if let Some(n) = ready!(self.poll_system(cx, &call))? {
                return Poll::Ready(Ok(n));
            }
            self.stream_mut()?.was_full = true;
        }
        self.poll_watched(cx, AsyncFd::poll_write_ready, most, call)
    }

    /// Moves up to `most` bytes by `call` where the reactor knows of some or of room, and
    /// registers the task otherwise.
    #[inline]
    fn poll_watched(
        &mut self,
        cx: &mut Context<'_>,
        poll_ready: impl for<'a> Fn(
            &'a AsyncFd<Stream>,
            &mut Context<'_>,
        ) -> Poll<io::Result<AsyncFdReadyGuard<'a, Stream>>>,
        most: usize,
        mut call: impl FnMut(&OwnedFd) -> rustix::io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        let watched = self.watch_if_unwatched()?;
        loop {
            let mut known = ready!(poll_ready(watched, cx))?;
            match call(&watched.get_ref().socket) {
                Err(Errno::WOULDBLOCK) => known.clear_ready(),
                moved => {
                    if LESS_IS_ALL && moved.is_ok_and(|n| 0 < n && n < most) {
                        known.clear_ready();
                    }
                    return Poll::Ready(moved.map_err(io::Error::from));
                }
            }
        }
    }
}

fn receive(socket: &OwnedFd, buffer: &mut [u8]) -> rustix::io::Result<usize> {
    retry_on_intr(|| recv(socket, &mut *buffer, RecvFlags::empty())).map(|(n, _)| n)
}

impl AsFd for Connection {
    #[expect(
        clippy::expect_used,
        reason = "the state is taken only to make the next one of it"
    )]
    fn as_fd(&self) -> BorrowedFd<'_> {
        let stream = self.stream().expect("a connection has a socket");
        stream.socket.as_fd()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_receive(cx, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_send(cx, buffer.len(), |socket| {
            retry_on_intr(|| send(socket, buffer, SendFlags::NOSIGNAL))
        })
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let buffers = &buffers[..buffers.len().min(MOST_BUFFERS)];
        let most = buffers.iter().map(|buffer| buffer.len()).sum();
        self.poll_send(cx, most, |socket| {
            let mut control = SendAncillaryBuffer::default();
            retry_on_intr(|| sendmsg(socket, buffers, &mut control, SendFlags::NOSIGNAL))
        })
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A socket has no buffer of its own.
        Poll::Ready(Ok(()))
    }

    fn poll_close(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.half_close())
    }
}

impl rt::Connection for Connection {
    /// Asks the system where tokio has nothing. The task is registered before,
    /// so that what comes after the answer wakes it.
    fn poll_read_now(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<Option<usize>>> {
        if let Poll::Ready(read) = self.poll_receive(cx, buffer) {
            return Poll::Ready(read.map(Some));
        }
        // tokio has said so from memory, or because the task's budget is used
        // up. The latter makes this `Pending` as well.
        self.poll_receive_now(cx, buffer)
    }

    fn poll_half_close(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.half_close())
    }

    fn unacknowledged(&self) -> Option<u64> {
        parts::unacknowledged(&self.stream().ok()?.socket)
    }

    fn readable(&self) -> Option<u64> {
        parts::readable(&self.stream().ok()?.socket)
    }

    fn round_trip(&self) -> Option<Duration> {
        parts::round_trip(&self.stream().ok()?.socket)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::io::Read;
    use std::os::unix::net::UnixStream;
    use std::task::Waker;

    use super::*;

    #[test]
    fn a_connection_takes_no_more_memory_than_an_async_fd() {
        assert_eq!(size_of::<Connection>(), size_of::<AsyncFd<OwnedFd>>());
    }

    fn runtime() -> ::tokio::runtime::Runtime {
        let mut builder = ::tokio::runtime::Builder::new_current_thread();
        builder.enable_io().build().unwrap()
    }

    fn pair(handle: &Handle) -> (Connection, UnixStream) {
        let (ours, peer) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        (Connection::unwatched(ours.into(), handle.clone()), peer)
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
