//! An adapter that does what one over io_uring does: operations are under way that nobody
//! polls, and own their buffers. It is right, or has one flaw that such adapters have.

use std::future::{Future, poll_fn};
use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker, ready};
use std::time::Instant;

use futures::io::{AsyncRead, AsyncWrite};
use lameduck::report::Outcome;
use lameduck::rt::{CloseGuarantee, ConnectionOf, SocketSharing};
use lameduck::{Address, Connection, ListenOptions, Listener, Runtime, Signal};

use crate::support::{Client, builder, echo, first_address, start};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// Whom it has taken before anybody asked is dropped as it closes.
    DropsTaken,
    /// The accept that is under way is not cancelled by the close, and holds the socket.
    HoldsSocket,
    /// What the caller's buffer has no room for is thrown away.
    DropsRest,
    /// The half-close does not wait for the write that is under way.
    OvertakesWrite,
    /// A reset is taken for the end.
    ResetIsEnd,
    /// The end wakes nobody.
    SwallowsEnd,
}

#[derive(Clone)]
pub(crate) struct Completing<R> {
    inner: R,
    flaw: Option<Flaw>,
}

impl<R> Completing<R> {
    pub(crate) fn new(inner: R, flaw: impl Into<Option<Flaw>>) -> Completing<R> {
        let flaw = flaw.into();
        Completing { inner, flaw }
    }
}

impl<R: Runtime> Runtime for Completing<R> {
    type Listener = CompletingListener<R>;
    type Signals = R::Signals;
    type Sleep = R::Sleep;

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.inner.spawn(task);
    }

    fn now(&self) -> Instant {
        self.inner.now()
    }

    fn sleep_until(&self, at: Instant) -> R::Sleep {
        self.inner.sleep_until(at)
    }

    fn bind(&self, address: &Address, options: &ListenOptions) -> io::Result<Self::Listener> {
        Ok(CompletingListener {
            inner: self.inner.bind(address, options)?,
            runtime: self.clone(),
            taken: None,
            is_under_way: false,
        })
    }

    fn signals(&self, signals: &[Signal]) -> io::Result<R::Signals> {
        self.inner.signals(signals)
    }
}

type Accepted<R> = (ConnectionOf<R>, Address);

pub(crate) struct CompletingListener<R: Runtime> {
    inner: R::Listener,
    runtime: Completing<R>,
    /// What the accept came to that was under way.
    taken: Option<Accepted<R>>,
    /// Whether an accept is under way that has to end before the close.
    is_under_way: bool,
}

impl<R: Runtime> CompletingListener<R> {
    fn give(&self, (inner, peer): Accepted<R>) -> (CompletingConnection<R>, Address) {
        let shared = Shared {
            inner,
            writing: Vec::new(),
            error: None,
            writer: None,
        };
        let connection = CompletingConnection {
            runtime: self.runtime.clone(),
            shared: Arc::new(Mutex::new(shared)),
            read: Vec::new(),
        };
        (connection, peer)
    }

    /// Lets the accept that is under way come to its end in the last moment.
    fn complete(&mut self) {
        if self.taken.is_none() {
            let cx = &mut Context::from_waker(Waker::noop());
            if let Poll::Ready(Ok(accepted)) = self.inner.poll_accept(cx) {
                self.taken = Some(accepted);
            }
        }
    }
}

impl<R: Runtime> Listener for CompletingListener<R> {
    type Connection = CompletingConnection<R>;

    fn local_addr(&self) -> &Address {
        self.inner.local_addr()
    }

    fn poll_accept(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<(Self::Connection, Address)>> {
        let accepted = match self.taken.take() {
            Some(taken) => Poll::Ready(Ok(taken)),
            None => self.inner.poll_accept(cx),
        };
        if accepted.is_pending() && self.runtime.flaw == Some(Flaw::HoldsSocket) {
            std::mem::forget(self.inner.share());
        }
        accepted.map_ok(|accepted| self.give(accepted))
    }

    fn poll_taken(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<(Self::Connection, Address)>> {
        if self.runtime.flaw == Some(Flaw::DropsTaken) {
            return Poll::Ready(None);
        }
        let taken = self.taken.take();
        if taken.is_none() && std::mem::take(&mut self.is_under_way) {
            // Cancelled, which takes a moment.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(taken.map(|taken| self.give(taken)))
    }

    fn stop_accepting(&mut self, sharing: SocketSharing) -> CloseGuarantee {
        let guarantee = self.inner.stop_accepting(sharing);
        // From here on the inner one asks the system, and does not answer from memory.
        self.complete();
        self.is_under_way = true;
        guarantee
    }

    fn handshakes(listeners: &[&Self]) -> Vec<Option<usize>> {
        let inner: Vec<_> = listeners.iter().map(|listener| &listener.inner).collect();
        R::Listener::handshakes(&inner)
    }

    fn queue_limit(&self) -> Option<u64> {
        self.inner.queue_limit().map(|limit| limit + 1)
    }

    fn share(&self) -> io::Result<OwnedFd> {
        self.inner.share()
    }

    fn close(self) -> io::Result<()> {
        self.inner.close()
    }
}

/// What the connection shares with its write that is under way.
struct Shared<C> {
    inner: C,
    writing: Vec<u8>,
    error: Option<io::Error>,
    writer: Option<Waker>,
}

impl<C: Connection> Shared<C> {
    /// Goes on with the write that is under way.
    fn poll_writing(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while !self.writing.is_empty() {
            match ready!(Pin::new(&mut self.inner).poll_write(cx, &self.writing)) {
                Ok(written) => drop(self.writing.drain(..written)),
                Err(error) => {
                    self.error = Some(error);
                    self.writing.clear();
                }
            }
        }
        Poll::Ready(())
    }

    /// Waits for the write that is under way.
    fn poll_written(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.writing.is_empty() {
            self.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(self.error.take().map_or(Ok(()), Err))
    }
}

pub(crate) struct CompletingConnection<R: Runtime> {
    runtime: Completing<R>,
    shared: Arc<Mutex<Shared<ConnectionOf<R>>>>,
    /// What was read, and nobody has asked for yet.
    read: Vec<u8>,
}

/// How much one operation reads or writes.
const CHUNK: usize = 4096;

impl<R: Runtime> CompletingConnection<R> {
    fn has(&self, flaw: Flaw) -> bool {
        self.runtime.flaw == Some(flaw)
    }

    fn give(&mut self, buffer: &mut [u8]) -> usize {
        let n = buffer.len().min(self.read.len());
        buffer[..n].copy_from_slice(&self.read[..n]);
        self.read.drain(..n);
        if self.has(Flaw::DropsRest) {
            self.read.clear();
        }
        n
    }

    /// Takes in what an operation has read.
    fn completed(&mut self, read: io::Result<&[u8]>, buffer: &mut [u8]) -> io::Result<usize> {
        match read {
            Err(_) if self.has(Flaw::ResetIsEnd) => Ok(0),
            Err(error) => Err(error),
            Ok(read) => {
                self.read.extend_from_slice(read);
                Ok(self.give(buffer))
            }
        }
    }
}

impl<R: Runtime> AsyncRead for CompletingConnection<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if !self.read.is_empty() {
            return Poll::Ready(Ok(self.give(buffer)));
        }
        let mut own = [0; CHUNK];
        let read = {
            let mut shared = self.shared.lock().unwrap();
            ready!(Pin::new(&mut shared.inner).poll_read(cx, &mut own))
        };
        Poll::Ready(self.completed(read.map(|n| &own[..n]), buffer))
    }
}

impl<R: Runtime> AsyncWrite for CompletingConnection<R> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut shared = self.shared.lock().unwrap();
        ready!(shared.poll_written(cx))?;
        let n = buffer.len().min(CHUNK);
        shared.writing.extend_from_slice(&buffer[..n]);
        drop(shared);
        let shared = self.shared.clone();
        self.runtime.spawn(async move {
            poll_fn(|cx| shared.lock().unwrap().poll_writing(cx)).await;
            let writer = shared.lock().unwrap().writer.take();
            writer.into_iter().for_each(Waker::wake);
        });
        Poll::Ready(Ok(n))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.has(Flaw::OvertakesWrite) {
            return Poll::Ready(Ok(()));
        }
        let mut shared = self.shared.lock().unwrap();
        ready!(shared.poll_written(cx))?;
        Pin::new(&mut shared.inner).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_half_close(cx)
    }
}

impl<R: Runtime> Connection for CompletingConnection<R> {
    fn poll_read_now(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<Option<usize>>> {
        if !self.read.is_empty() {
            return Poll::Ready(Ok(Some(self.give(buffer))));
        }
        let mut own = [0; CHUNK];
        let read = {
            let mut shared = self.shared.lock().unwrap();
            ready!(shared.inner.poll_read_now(cx, &mut own))
        };
        let Some(read) = read.transpose() else {
            return Poll::Ready(Ok(None));
        };
        if self.has(Flaw::SwallowsEnd) && matches!(read, Ok(0)) {
            return Poll::Pending;
        }
        let read = self.completed(read.map(|n| &own[..n]), buffer);
        Poll::Ready(read.map(Some))
    }

    fn poll_half_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut shared = self.shared.lock().unwrap();
        if !self.has(Flaw::OvertakesWrite) {
            ready!(shared.poll_written(cx))?;
        }
        shared.inner.poll_half_close(cx)
    }

    fn unacknowledged(&self) -> Option<u64> {
        let shared = self.shared.lock().unwrap();
        let left = shared.writing.len() as u64;
        shared.inner.unacknowledged().map(|sent| sent + left)
    }
}

/// The queue is not swept, and the one whom the listener has taken is not in it.
pub(crate) fn f48_whom_a_listener_had_taken_is_served_where_nobody_sweeps(
    runtime: impl Runtime,
) {
    let server = builder(Completing::new(runtime, None)).sweep_limit(0);
    let server = server.bind().unwrap();
    let mut client = Client::connect(first_address(&server));
    client.send(b"taken already");
    server.shutdown().stop("before the first accept");
    let server = start(server, echo);
    assert_eq!(client.rest(), b"taken already");
    drop(client);
    let report = server.report();
    let listener = &report.listeners[0];
    assert_eq!((report.accepted, listener.accepted), (1, 1), "{report}");
    assert_eq!(listener.guarantee, CloseGuarantee::Unswept);
}

/// It is cut off as everybody else, and is counted.
pub(crate) fn f48_whom_a_listener_had_taken_at_an_abort_is_counted(runtime: impl Runtime) {
    // It is told to stop, and not polled before the abort.
    let server = builder(Completing::new(runtime, None)).bind().unwrap();
    let client = Client::connect(first_address(&server));
    server.shutdown().stop("before the first accept");
    server.shutdown().abort("at once");
    let report = start(server, echo).report();
    drop(client);
    assert_eq!(report.outcome, Outcome::Aborted, "{report}");
    assert_eq!((report.accepted, report.closed.aborted), (1, 1), "{report}");
}
