//! What a runtime gives to a server: the contracts that an adapter fulfils.
//!
//! An adapter decides nothing. It reports what the operating system said, and
//! leaves retries, back-off, order and time to the server.

#[cfg(feature = "conformance")]
#[cfg_attr(docsrs, doc(cfg(feature = "conformance")))]
pub mod conformance;

use std::fmt;
use std::future::Future;
use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_io::{AsyncRead, AsyncWrite};

use crate::address::Address;
use crate::options::ListenOptions;
use crate::signal::Signal;
#[cfg(feature = "tls")]
use crate::tls::TlsInfo;

/// A stream of bytes in both directions.
///
/// The server closes it in three steps: it flushes, half-closes, and drops it
/// after the peer's end of input. It can be dropped while an operation is under way, which
/// is cancelled then.
///
/// It is `Send`, and so are sessions and the tasks of connections: also where a runtime
/// keeps each task in one thread.
///
/// ```
/// use lameduck::Connection;
/// use smol::io::AsyncWriteExt;
///
/// /// Says a last word on any kind of connection.
/// async fn dismiss(mut connection: impl Connection) -> std::io::Result<()> {
///     connection.write_all(b"good bye").await?;
///     std::future::poll_fn(|cx| connection.poll_half_close(cx)).await
/// }
/// ```
pub trait Connection: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// Reads what the system has just now: what the server calls in place of
    /// `poll_read` once it drains, when an answer from memory would lose what
    /// had arrived.
    ///
    /// - `Ready(Ok(Some(n)))`: `n` bytes, or the end of input for 0.
    /// - `Ready(Ok(None))`: the system was asked just now, and has nothing. The
    ///   task is registered to be woken all the same.
    /// - `Pending`: not known yet, since it is the turn of other tasks, or since
    ///   an operation is under way. The connection wakes the task once it can be
    ///   known: nobody polls it before.
    ///
    /// The default believes a pending `poll_read`. A runtime that remembers
    /// that a socket was not readable, and does not ask again, has to
    /// implement it.
    ///
    /// So does one whose reads are under way before anybody polls, as over io_uring. A
    /// socket that a peek finds empty is no answer there: the read may have taken the
    /// bytes, and nobody has seen its completion yet. After the peek the queue of
    /// completions is read to its end, and only where the read is still under way there is
    /// nothing. A peek that fails has taken the error from the socket: it has to be given.
    ///
    /// # Errors
    /// Those of the connection.
    fn poll_read_now(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<Option<usize>>> {
        match Pin::new(self).poll_read(cx, buffer) {
            Poll::Ready(read) => Poll::Ready(read.map(Some)),
            Poll::Pending => Poll::Ready(Ok(None)),
        }
    }

    /// Ends the outgoing side: the peer reads what was written, then the end.
    ///
    /// Reading must still work. It is called after a flush, and at most once.
    /// It is apart from `poll_close`, which runtimes read differently: some
    /// half-close there, some only flush.
    ///
    /// # Errors
    /// When the peer is gone already; the connection is then dropped.
    fn poll_half_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Returns the number of bytes that the peer has not acknowledged, the end
    /// of our side counting as one: what would be lost if this host went away
    /// now ([F24](crate::docs::faults#f24)). Bytes that `poll_write` has taken, and that
    /// the system does not have yet, are among them. `None`, as by default, when it is
    /// not known.
    fn unacknowledged(&self) -> Option<u64> {
        None
    }

    /// Returns how many bytes, at most, have arrived and were not read. `None`, as by
    /// default, when it is not known: then a client that never pauses is read until the
    /// abort ([F97](crate::docs::faults#f97)).
    fn readable(&self) -> Option<u64> {
        None
    }

    /// Returns the round trip time of the connection
    /// ([F67](crate::docs::faults#f67)). `None`, as by default, when it is not
    /// known.
    fn round_trip(&self) -> Option<Duration> {
        None
    }

    /// Returns whether the last byte that was read is inside of a message, so
    /// that the rest has to be awaited. It is for connections that know about
    /// messages, such as those of TLS. Default: false.
    fn is_mid_message(&self) -> bool {
        false
    }

    /// Returns whether nothing has come from the peer yet, and writes wait for its first
    /// byte. It is for connections whose handshake the peer begins, such as those of TLS.
    /// Default: false.
    ///
    /// Such a connection is idle, also where its handler writes first. While it waits,
    /// [`poll_read_now`](Connection::poll_read_now) may be called with an empty buffer: it
    /// then looks for the first byte, and gives `Some(0)` where the peer has left.
    fn awaits_first_byte(&self) -> bool {
        false
    }

    /// Tells that the handler has failed, so that what was sent may not be all:
    /// the end that follows must not say that it is. It is for connections that
    /// can say so, such as those of TLS. Default: nothing.
    fn set_failed(&mut self) {}

    /// Tells that the handler has ended: what still comes is read to be thrown away,
    /// and may be given as it comes. Default: nothing.
    ///
    /// A connection that speaks a protocol such as TLS need not follow it any more: a
    /// peer that breaks it at this point does no harm.
    fn set_discarding(&mut self) {}

    /// Returns what was agreed on by TLS; `None`, as by default, without TLS, and
    /// before the handshake has ended.
    #[cfg(feature = "tls")]
    #[cfg_attr(docsrs, doc(cfg(feature = "tls")))]
    fn tls(&self) -> Option<&TlsInfo> {
        None
    }
}

/// The guarantee that the close of a listener had.
///
/// ```
/// assert_eq!(lameduck::rt::CloseGuarantee::Swept.to_string(), "swept");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CloseGuarantee {
    /// A successor holds the same socket and accepts from its queue.
    HandedOver,
    /// No handshake could begin any more. Those under way could come to their
    /// end, and were accepted before the close.
    SynFiltered,
    /// All who were in the accept queue at the stop were taken. A handshake that ends
    /// between the last look and the close is reset
    /// ([F2](crate::docs::faults#f2)).
    Swept,
    /// Somebody may have been left in the accept queue: by an abort, a failure, or a
    /// smaller limit.
    Unswept,
}

impl fmt::Display for CloseGuarantee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CloseGuarantee::HandedOver => "handed over",
            CloseGuarantee::SynFiltered => "SYN filtered",
            CloseGuarantee::Swept => "swept",
            CloseGuarantee::Unswept => "unswept",
        })
    }
}

/// Whether other processes may hold a listening socket: descriptors of it
/// share everything that is set on it.
///
/// ```
/// use lameduck::rt::SocketSharing;
///
/// // One of several holders may not change the socket for the others.
/// assert_ne!(SocketSharing::Exclusive, SocketSharing::Shared);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SocketSharing {
    /// No other process holds it: the socket ends with its close.
    Exclusive,
    /// Maybe the process that passed it on holds it, such as a supervisor.
    Shared,
    /// A successor holds it, and accepts from now on.
    HandedOver,
}

/// A listening socket that was bound elsewhere.
///
/// ```
/// use lameduck::rt::Socket;
///
/// let socket = Socket::from(std::net::TcpListener::bind("127.0.0.1:0")?);
/// assert!(socket.local_addr()?.to_string().starts_with("127.0.0.1:"));
/// # std::io::Result::Ok(())
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum Socket {
    /// A TCP socket.
    Tcp(TcpListener),
    /// A Unix socket.
    Unix(UnixListener),
}

impl Socket {
    /// Returns the address that it listens on.
    ///
    /// # Errors
    /// Those of `getsockname(2)`.
    pub fn local_addr(&self) -> io::Result<Address> {
        Ok(match self {
            Socket::Tcp(socket) => socket.local_addr()?.into(),
            Socket::Unix(socket) => (&socket.local_addr()?).into(),
        })
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Socket::Tcp(socket) => socket.as_fd(),
            Socket::Unix(socket) => socket.as_fd(),
        }
    }
}

impl From<TcpListener> for Socket {
    fn from(socket: TcpListener) -> Socket {
        Socket::Tcp(socket)
    }
}

impl From<UnixListener> for Socket {
    fn from(socket: UnixListener) -> Socket {
        Socket::Unix(socket)
    }
}

/// A listener: it gives connections.
pub trait Listener: Send + Unpin + 'static {
    /// The connections that it accepts.
    type Connection: Connection;

    /// Returns the address that it is bound to; for port 0, the port that the
    /// system chose.
    fn local_addr(&self) -> &Address;

    /// Takes the next connection from the accept queue.
    ///
    /// Once [`stop_accepting`](Listener::stop_accepting) was called, `Pending`
    /// means that the queue was asked just now and is empty: the sweep relies on
    /// it, and the server itself lets other tasks have their turn. Before, a
    /// runtime may answer from memory, as long as it wakes the task. It may be
    /// polled outside of the runtime. A connection that was taken is always returned, also
    /// where the runtime cannot watch it just now: it is kept then, and watched
    /// once there is room ([F48](crate::docs::faults#f48)). What was taken by an accept that
    /// nobody polled for is returned here, or by [`poll_taken`](Listener::poll_taken).
    ///
    /// # Errors
    /// Those of `accept(2)`. After an error it can be polled again.
    fn poll_accept(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<(Self::Connection, Address)>>;

    /// Gives what it has taken from the accept queue already, and takes nothing more.
    ///
    /// The server calls it before it closes the listener, and above all where the queue is
    /// not swept: with a successor, at the limit of the sweep, and at the abort. From
    /// then on `poll_accept` is not called any more, and what comes out is served like a
    /// connection that was swept ([F48](crate::docs::faults#f48)).
    ///
    /// - `Ready(Some(..))`: one of those that it holds. It is asked again.
    /// - `Ready(None)`: it holds nobody, and nothing is under way that could take somebody.
    /// - `Pending`: an accept that is under way has to be cancelled, and to end. The
    ///   listener wakes the task then. The abort does not wait for it.
    ///
    /// The default is right for a listener that takes nobody except in `poll_accept`. One
    /// whose accepts are under way before it is polled has to implement it, and one that
    /// wraps another listener has to pass it on.
    fn poll_taken(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<(Self::Connection, Address)>> {
        let _ = cx;
        Poll::Ready(None)
    }

    /// Stops accepting new connections, as far as the system can, and returns
    /// the guarantee that a sweep and a close will have from now on. It is
    /// called once.
    ///
    /// It must not lose what is in the queue, and must leave other holders of
    /// the same socket as they are, as `sharing` says: no filter and no
    /// `shutdown(2)` on what they share ([F4](crate::docs::faults#f4)), and no
    /// path taken from under a successor ([F10](crate::docs::faults#f10)). With
    /// a successor there is nothing to sweep: `HandedOver`.
    ///
    /// A transport without handshakes, such as a channel in memory, closes its entrance here,
    /// so that who comes later is refused and who is in the queue is not. It returns
    /// `SynFiltered`, and `Some(0)` for itself from [`handshakes`](Listener::handshakes), or
    /// the sweep waits for 20 ms. So does one that has a single connection, as from inetd.
    /// One whose entrance cannot be closed apart from the listener returns `Swept`.
    fn stop_accepting(&mut self, sharing: SocketSharing) -> CloseGuarantee;

    /// Returns for each of several listeners the number of handshakes under
    /// way, asked once none can begin; they are waited for. `None`, as by
    /// default, when it is not known.
    ///
    /// They are asked together, so that the system's table is looked at once
    /// ([F68](crate::docs::faults#f68)).
    fn handshakes(listeners: &[&Self]) -> Vec<Option<usize>>
    where
        Self: Sized,
    {
        vec![None; listeners.len()]
    }

    /// Returns the most connections that the accept queue can hold, no matter who set
    /// it: a sweep that has taken as many has taken everybody who was in it
    /// ([F52](crate::docs::faults#f52)). Those whom the listener can have taken before
    /// anybody asks are among them. `None`, as by default, when it is not known.
    fn queue_limit(&self) -> Option<u64> {
        None
    }

    /// Duplicates the descriptor of the socket, for a successor.
    ///
    /// # Errors
    /// Those of the operating system; `Unsupported` unless it is implemented.
    fn share(&self) -> io::Result<OwnedFd> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Closes this holder's descriptor, at once.
    ///
    /// # Errors
    /// What could not be cleaned up, such as the path of a Unix socket.
    fn close(self) -> io::Result<()>;
}

/// A source of signals.
///
/// The signals are caught from the moment that it exists, and no longer act by
/// themselves ([F35](crate::docs::faults#f35)). Two of a kind may be seen as one
/// ([F36](crate::docs::faults#f36)). They have to come although handlers hold
/// every thread of the runtime: the second one ends the process then. When it is dropped,
/// after the stop, its signals act by themselves again, unless something else of the
/// process catches them ([F60](crate::docs::faults#f60)).
///
/// ```
/// use futures::channel::mpsc;
/// use futures::stream::StreamExt;
/// use lameduck::{Signal, SignalSource};
/// use std::task::{Context, Poll};
///
/// /// Signals from a test.
/// struct Scripted(mpsc::Receiver<Signal>);
///
/// impl SignalSource for Scripted {
///     fn poll_signal(&mut self, cx: &mut Context<'_>) -> Poll<Option<Signal>> {
///         self.0.poll_next_unpin(cx)
///     }
/// }
/// ```
pub trait SignalSource: Send + Unpin + 'static {
    /// Returns the next signal; `Ready(None)` when none will ever come.
    fn poll_signal(&mut self, cx: &mut Context<'_>) -> Poll<Option<Signal>>;
}

/// An async runtime, as far as a server needs it.
///
/// It is generic rather than an object, so that a connection's task has the
/// size of its own parts.
///
/// ```
/// use lameduck::{Address, BindError, Runtime, Server};
///
/// /// The same server on any runtime.
/// fn bind<R: Runtime>(runtime: R, address: Address) -> Result<Server<R>, BindError> {
///     Server::builder(runtime).listen(address).bind()
/// }
/// ```
pub trait Runtime: Clone + Send + Sync + Unpin + 'static {
    /// The runtime's listeners.
    type Listener: Listener;
    /// The runtime's source of signals.
    type Signals: SignalSource;
    /// The runtime's timer.
    type Sleep: Future<Output = ()> + Send + 'static;

    /// Spawns a detached task: it runs to its end
    /// ([F25](crate::docs::faults#f25)).
    ///
    /// It must neither panic nor drop the task: one that cannot begin now, for lack of a
    /// thread, waits until it can. A connection whose task is lost is aborted.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static);

    /// Returns the time, which never goes back.
    fn now(&self) -> Instant;

    /// Waits until `at`, or longer.
    ///
    /// It has to come although handlers hold every thread of the runtime: the
    /// end of the grace period depends on it. A runtime whose timers need one of
    /// its threads takes the timer of the module `runtimes::parts`. It may be
    /// called, and the timer polled, outside of the runtime.
    fn sleep_until(&self, at: Instant) -> Self::Sleep;

    /// Wakes the task of `cx`, which returns pending, once those had their turn that are
    /// ready now, as far as that can be told.
    ///
    /// At a stop all peers get their end first, and then their answers are looked for. The
    /// default is right where tasks have their turns in the order of their wakes. What
    /// comes earlier is only slower.
    fn yield_now(&self, cx: &mut Context<'_>) {
        cx.waker().wake_by_ref();
    }

    /// Binds, and listens as the options say. They fit the address.
    ///
    /// # Errors
    /// Those of the operating system.
    fn bind(&self, address: &Address, options: &ListenOptions) -> io::Result<Self::Listener>;

    /// Takes over a socket that was bound elsewhere, and that others may hold:
    /// nothing is set on it but `O_NONBLOCK`, and dropping the listener must not remove its
    /// path. Nobody is taken from it before the first `poll_accept`: a predecessor serves
    /// until then. Of the options, those hold that are about connections.
    ///
    /// # Errors
    /// Those of the operating system; `Unsupported` unless it is implemented.
    fn adopt(&self, socket: Socket, options: &ListenOptions) -> io::Result<Self::Listener> {
        drop((socket, options));
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Catches `signals` from now on.
    ///
    /// # Errors
    /// When one of them cannot be caught.
    fn signals(&self, signals: &[Signal]) -> io::Result<Self::Signals>;
}

/// The connection type of a runtime.
pub type ConnectionOf<R> = <<R as Runtime>::Listener as Listener>::Connection;
