//! What a runtime gives to a server: the contracts that an adapter fulfils.
//!
//! An adapter decides nothing. It says what the operating system said, and
//! leaves retries, back-off, order and time to the server.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::task::{Context, Poll};
use std::time::Instant;

use futures::io::{AsyncRead, AsyncWrite};

use crate::address::Address;
use crate::cause::Signal;

/// A stream of bytes in both directions.
///
/// The server closes it in three steps: flush, half-close, and after the
/// peer's end of input, drop.
///
/// A read is `Pending` only when the system was asked just now and had nothing:
/// that readable bytes win over the stop relies on it. A runtime that remembers
/// that a socket was not readable, and does not ask again, needs care.
///
/// ```
/// use futures::io::AsyncWriteExt;
/// use lameduck::Connection;
///
/// /// Says a last word on whatever kind of connection.
/// async fn dismiss(mut connection: impl Connection) -> std::io::Result<()> {
///     connection.write_all(b"good bye").await?;
///     std::future::poll_fn(|cx| connection.poll_half_close(cx)).await
/// }
/// ```
pub trait Connection: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// Ends the outgoing side: the peer reads what was written, then the end.
    ///
    /// Reading must go on to work. Called after a flush, and at most once.
    /// Asked for apart from `poll_close`, which runtimes read differently:
    /// some half-close there, some only flush.
    ///
    /// # Errors
    /// When the peer is gone already; the connection is then dropped.
    fn poll_half_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// How many bytes the peer has not acknowledged, the end of our side
    /// counting as one: what would be lost if this host went away now (F24).
    /// `None`, as by default, when that is not known.
    fn unacknowledged(&self) -> Option<u64> {
        None
    }
}

/// Which guarantee the close of a listener had.
///
/// ```
/// assert_eq!(lameduck::traits::Guarantee::Sweep.to_string(), "Sweep");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Guarantee {
    /// A successor holds the same socket and accepts from its queue.
    Handoff,
    /// No handshake could begin any more; those under way were let come to
    /// their end, and were accepted before the close.
    SynFilter,
    /// The accept queue was emptied before the close. What remains is a
    /// handshake that ends between the last look and the close (F2).
    Sweep,
    /// It was closed with no look at its queue: forced, or failed.
    None,
}

impl fmt::Display for Guarantee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Guarantee::Handoff => "Handoff",
            Guarantee::SynFilter => "SynFilter",
            Guarantee::Sweep => "Sweep",
            Guarantee::None => "None",
        })
    }
}

/// Who else may hold a listening socket, which descriptors in other processes
/// share with all that is set on it.
///
/// ```
/// use lameduck::traits::Holders;
///
/// // What one of several holders may not do: change the socket for the others.
/// assert_ne!(Holders::Alone, Holders::Others);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Holders {
    /// Nobody: the socket ends with its close.
    Alone,
    /// Maybe the one who passed it on, such as a supervisor.
    Others,
    /// A successor, which accepts from now on.
    Successor,
}

/// A listening socket that somebody else has bound.
///
/// ```
/// use lameduck::traits::Socket;
///
/// let socket = Socket::from(std::net::TcpListener::bind("127.0.0.1:0")?);
/// assert!(socket.local()?.to_string().starts_with("127.0.0.1:"));
/// # std::io::Result::Ok(())
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum Socket {
    /// For TCP.
    Tcp(TcpListener),
    /// For Unix sockets.
    Unix(UnixListener),
}

impl Socket {
    /// Where it listens.
    ///
    /// # Errors
    /// Those of `getsockname(2)`.
    pub fn local(&self) -> io::Result<Address> {
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

/// Where connections come from.
pub trait Listener: Send + Unpin + 'static {
    /// What it accepts.
    type Connection: Connection;

    /// The address that it is bound to; of port 0, the port that was given.
    fn local(&self) -> &Address;

    /// Takes the next connection from the accept queue.
    ///
    /// `Pending` means that the queue was asked just now and is empty: the
    /// sweep relies on it. A connection that was taken is always returned.
    ///
    /// # Errors
    /// As `accept(2)` gives them. After an error it can be polled again.
    fn poll_accept(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<(Self::Connection, Address)>>;

    /// Lets no new connection begin, as far as the system can, and says which
    /// guarantee a sweep and a close will have from now on. Called once.
    ///
    /// Must not lose what is in the queue, and must leave other `holders` of
    /// the same socket as they are: no filter and no `shutdown(2)` on what they
    /// share (F4), and no path taken from under a successor (F10). With a
    /// successor there is nothing to sweep: `Handoff`.
    fn quiesce(&mut self, holders: Holders) -> Guarantee;

    /// How many handshakes are under way, asked once none can begin; they are
    /// waited for. `None`, as by default, when that is not known.
    fn handshakes(&self) -> Option<usize> {
        None
    }

    /// Another descriptor of the same socket, for a successor.
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

/// Where signals come from.
///
/// They are caught from the moment that it exists, and no longer act by
/// themselves (F35). Two of a kind may be seen as one (F36).
///
/// ```
/// use futures::channel::mpsc;
/// use futures::stream::StreamExt;
/// use lameduck::{Signal, SignalSource};
/// use std::task::{Context, Poll};
///
/// /// Signals that a test sends.
/// struct Scripted(mpsc::Receiver<Signal>);
///
/// impl SignalSource for Scripted {
///     fn poll_signal(&mut self, cx: &mut Context<'_>) -> Poll<Option<Signal>> {
///         self.0.poll_next_unpin(cx)
///     }
/// }
/// ```
pub trait SignalSource: Send + Unpin + 'static {
    /// The next signal; `Ready(None)` when none will ever come.
    fn poll_signal(&mut self, cx: &mut Context<'_>) -> Poll<Option<Signal>>;
}

/// What a server needs of an async runtime.
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
    /// Its listeners.
    type Listener: Listener;
    /// Its signals.
    type Signals: SignalSource;
    /// Its timer.
    type Sleep: Future<Output = ()> + Send + 'static;

    /// Runs a future to its end, whether or not anybody looks (F25).
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static);

    /// The time, which never goes back.
    fn now(&self) -> Instant;

    /// Completes at `at` or later.
    fn sleep_until(&self, at: Instant) -> Self::Sleep;

    /// Binds, and listens with an accept queue for `backlog` connections.
    ///
    /// # Errors
    /// Those of the operating system.
    fn bind(&self, address: &Address, backlog: i32) -> io::Result<Self::Listener>;

    /// Takes over a socket that somebody else has bound, and may still hold:
    /// to drop the listener must not take its path away.
    ///
    /// # Errors
    /// Those of the operating system; `Unsupported` unless it is implemented.
    fn adopt(&self, socket: Socket) -> io::Result<Self::Listener> {
        drop(socket);
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Catches `signals` from now on.
    ///
    /// # Errors
    /// When one of them cannot be caught.
    fn signals(&self, signals: &[Signal]) -> io::Result<Self::Signals>;
}

/// The connections of a runtime.
pub type ConnectionOf<R> = <<R as Runtime>::Listener as Listener>::Connection;
