//! A connected socket that the reactor watches while somebody may wait for it.

use std::future::Future;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_io::{Async, Timer};
use futures_io::{AsyncRead, AsyncWrite};
use socket2::SockRef;

use crate::rt::Connection;
use crate::runtimes::parts;
use crate::sync::plain::{Arc, AtomicU8, Ordering};

/// A socket of the standard library under async-io.
///
/// It is watched from the first wait to the half-close, and again when
/// something is waited for after that. When thousands end at once, nearly all
/// peers soon end their side, too. A socket that is not watched spares
/// the kernel, the reactor and the executor an event for each of these, while
/// other peers still wait for their end.
///
/// A socket that the reactor refuses, since the system lacks memory or watches
/// (`fs.epoll.max_user_watches`), is looked at by a timer until the reactor
/// takes it ([F48](crate::docs::faults#f48)): it is slow then, but not lost.
#[derive(Debug)]
pub struct AsyncSocket<T> {
    /// Shared with the reactor, which would close what it refuses.
    socket: Arc<T>,
    watched: Option<Async<Arc<T>>>,
    refused: Option<Box<Refused>>,
}

/// The waits of a socket that the reactor has refused: a read and a write may
/// wait in two tasks.
#[derive(Debug, Default)]
struct Refused {
    reads: Option<Timer>,
    writes: Option<Timer>,
}

#[derive(Clone, Copy, Debug)]
enum Direction {
    Read,
    Write,
}

/// The time until a socket that was refused is looked at again.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Whether the last socket was refused: then it was logged already.
static IS_REFUSING: AtomicU8 = AtomicU8::new(0);

impl<T: AsFd> AsyncSocket<T> {
    /// Makes a socket nonblocking. The reactor watches it from the first wait.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn new(socket: T) -> io::Result<AsyncSocket<T>> {
        SockRef::from(&socket).set_nonblocking(true)?;
        Ok(AsyncSocket::nonblocking(socket))
    }

    /// Takes a socket that is nonblocking.
    pub(super) fn nonblocking(socket: T) -> AsyncSocket<T> {
        AsyncSocket {
            socket: Arc::new(socket),
            watched: None,
            refused: None,
        }
    }

    /// Returns the socket itself, for its options.
    pub fn get_ref(&self) -> &T {
        &self.socket
    }

    fn watched(&mut self) -> io::Result<&mut Async<Arc<T>>> {
        let watched = match self.watched.take() {
            Some(watched) => watched,
            None => {
                let watched = Async::new_nonblocking(self.socket.clone())?;
                if self.refused.take().is_some() && IS_REFUSING.swap(0, Ordering::Relaxed) != 0
                {
                    log::info!("the reactor has room for connections again");
                }
                watched
            }
        };
        Ok(self.watched.insert(watched))
    }

    fn half_close(&mut self) -> io::Result<()> {
        self.watched = None;
        SockRef::from(&*self.socket).shutdown(Shutdown::Write)
    }

    /// Waits until the socket is worth another try, or until a moment has
    /// passed where the reactor refuses it.
    fn poll_ready(&mut self, direction: Direction, cx: &mut Context<'_>) -> Poll<()> {
        let ready = match (self.watched(), direction) {
            (Ok(watched), Direction::Read) => {
                // async-io reports the event that has woken this task once more.
                // It came before the read, which need not be done again for it:
                // from the second call on, epoll tells of what is there by then.
                match watched.poll_readable(cx) {
                    Poll::Ready(Ok(())) => ready!(watched.poll_readable(cx)),
                    polled => ready!(polled),
                }
            }
            (Ok(watched), Direction::Write) => ready!(watched.poll_writable(cx)),
            (Err(error), _) => Err(error),
        };
        match ready {
            Ok(()) => Poll::Ready(()),
            Err(error) => self.poll_timer(direction, &error, cx),
        }
    }

    fn poll_timer(
        &mut self,
        direction: Direction,
        error: &io::Error,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        // It comes back to the reactor, if that has given it up.
        self.watched = None;
        if IS_REFUSING.swap(1, Ordering::Relaxed) == 0 {
            log::warn!(
                "the reactor refuses a connection: {error}; looking at it every {LOOK_AGAIN:?}"
            );
        }
        let refused = self.refused.get_or_insert_default();
        let timer = match direction {
            Direction::Read => &mut refused.reads,
            Direction::Write => &mut refused.writes,
        };
        let set = timer.get_or_insert_with(|| Timer::after(LOOK_AGAIN));
        ready!(Pin::new(set).poll(cx));
        *timer = None;
        Poll::Ready(())
    }

    /// Reads or writes, and else is woken when there is something to do.
    fn poll_by(
        &mut self,
        direction: Direction,
        cx: &mut Context<'_>,
        mut try_it: impl FnMut(&T) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            match try_it(&self.socket) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                done => return Poll::Ready(done),
            }
            ready!(self.poll_ready(direction, cx));
        }
    }
}

impl<T: AsFd> AsFd for AsyncSocket<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
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
        self.poll_by(Direction::Read, cx, |mut socket| socket.read(buffer))
    }

    fn poll_read_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_by(Direction::Read, cx, |mut socket| {
            socket.read_vectored(buffers)
        })
    }
}

impl<T> AsyncWrite for AsyncSocket<T>
where
    T: AsFd + Unpin,
    for<'a> &'a T: Write,
{
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_by(Direction::Write, cx, |mut socket| socket.write(buffer))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_by(Direction::Write, cx, |mut socket| {
            socket.write_vectored(buffers)
        })
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A socket has no buffer of its own.
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl<T> Connection for AsyncSocket<T>
where
    T: AsFd + Unpin + Send + Sync + 'static,
    AsyncSocket<T>: AsyncRead + AsyncWrite,
{
    fn poll_half_close(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.half_close())
    }

    fn unacknowledged(&self) -> Option<u64> {
        parts::unacknowledged(&*self.socket)
    }

    fn readable(&self) -> Option<u64> {
        parts::readable(&*self.socket)
    }

    fn round_trip(&self) -> Option<Duration> {
        parts::round_trip(&*self.socket)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::net::UnixStream;
    use std::thread;

    use futures::executor::block_on;
    use futures::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// A socket that the reactor refuses, as epoll refuses a file, until it is
    /// told otherwise.
    #[derive(Debug)]
    struct Picky {
        socket: UnixStream,
        file: File,
        is_refused: AtomicU8,
    }

    impl AsFd for Picky {
        fn as_fd(&self) -> BorrowedFd<'_> {
            if self.is_refused.load(Ordering::Relaxed) == 0 {
                self.socket.as_fd()
            } else {
                self.file.as_fd()
            }
        }
    }

    impl Read for &Picky {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            (&self.socket).read(buffer)
        }
    }

    impl Write for &Picky {
        fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
            (&self.socket).write(buffer)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn refused() -> (AsyncSocket<Picky>, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let picky = Picky {
            socket: ours,
            file: File::open("/proc/self/exe").unwrap(),
            is_refused: AtomicU8::new(0),
        };
        let socket = AsyncSocket::new(picky).unwrap();
        socket.get_ref().is_refused.store(1, Ordering::Relaxed);
        (socket, theirs)
    }

    #[test]
    fn f48_a_socket_that_the_reactor_refuses_is_served_all_the_same() {
        let (mut socket, mut peer) = refused();
        let peer = thread::spawn(move || {
            let mut greeting = [0; 5];
            peer.read_exact(&mut greeting).unwrap();
            peer.write_all(b"a").unwrap();
            peer.read_exact(&mut greeting).unwrap();
            peer.write_all(b"b").unwrap();
            (greeting, peer)
        });
        let mut answer = [0];
        block_on(async {
            socket.write_all(b"hello").await.unwrap();
            socket.read_exact(&mut answer).await.unwrap();
            assert!(socket.watched.is_none(), "the reactor has refused it");
            // From now on the reactor has room.
            socket.get_ref().is_refused.store(0, Ordering::Relaxed);
            socket.write_all(b"again").await.unwrap();
            socket.read_exact(&mut answer).await.unwrap();
        });
        let (greeting, _peer) = peer.join().unwrap();
        assert_eq!((&answer, &greeting), (b"b", b"again"));
    }

    #[test]
    fn f48_a_refused_write_waits_for_room_at_the_peer() {
        let (mut socket, mut peer) = refused();
        let data = vec![7; 4 << 20];
        let reader = thread::spawn(move || {
            let mut all = Vec::new();
            peer.read_to_end(&mut all).map(|_| all.len())
        });
        block_on(socket.write_all(&data)).unwrap();
        let length = data.len();
        drop(socket);
        assert_eq!(reader.join().unwrap().unwrap(), length);
    }
}
