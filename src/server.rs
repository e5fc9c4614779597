//! The server: builder, driver, and the tasks of connections.
//!
//! It is I/O only. The pure values in [`machine`](crate::machine) decide; the
//! driver tells them what happens on the [traits](crate::rt) of the runtime, and
//! carries out what they say.

mod builder;
mod close;
mod driver;
mod early_signals;
mod error;
#[cfg(feature = "parts")]
mod hard_deadline;
mod hooks;
mod listener;
mod listeners;
mod open;
mod readiness;
mod table;
mod task;
pub(crate) mod timer;

use std::fmt;
use std::future::Future;

pub use self::builder::Builder;
pub use self::close::close;
pub use self::driver::Serve;
pub use self::error::BindError;
pub use self::hooks::HookContext;

use self::driver::Handover;
use self::early_signals::EarlySignals;
pub(crate) use self::hooks::BoxError;
use self::hooks::Hook;
use self::listener::ListenerTask;
use self::readiness::ReadinessCallback;
use self::task::ServerShared;
use crate::address::Address;
use crate::gate::{Hold, Shutdown};
#[cfg(feature = "handover")]
use crate::handover::PassedFd;
use crate::machine::lifecycle::{Config, Recording};
use crate::rt::{ConnectionOf, Runtime};
use crate::session::Session;

/// Whether new work is welcome, as load balancers and supervisors ask; see
/// [`Builder::on_readiness_change`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "there is nothing between")]
pub enum Readiness {
    /// Connections are accepted and served.
    Ready,
    /// The stop has begun.
    NotReady,
}

/// A server that is bound, and does not serve yet.
///
/// ```
/// use lameduck::{Server, runtimes::smol::Smol};
///
/// let server = Server::builder(Smol).listen("127.0.0.1:0").bind()?;
/// assert_eq!(server.local_addrs().count(), 1);
/// # Ok::<(), lameduck::BindError>(())
/// ```
#[must_use = "it serves only once `serve` is awaited"]
pub struct Server<R: Runtime> {
    shared: ServerShared<R>,
    config: Config,
    recording: Option<Recording>,
    signals: Option<EarlySignals<R::Signals>>,
    listeners: Vec<ListenerTask<R>>,
    connection_limit: Option<usize>,
    hooks: Vec<Hook>,
    on_readiness_change: Option<ReadinessCallback>,
    hold: Hold,
    handover: Handover,
    #[cfg(feature = "handover")]
    passed: Vec<PassedFd>,
}

impl<R: Runtime> Server<R> {
    /// Creates a builder of a server on `runtime`.
    pub fn builder(runtime: R) -> Builder<R> {
        Builder::new(runtime)
    }

    /// Returns the handle on this server's gate: asks for the stop, observes
    /// it, waits for it.
    ///
    /// ```
    /// use lameduck::{Server, runtimes::smol::Smol};
    ///
    /// let server = Server::builder(Smol).listen("127.0.0.1:0").bind()?;
    /// let shutdown = server.shutdown(); // for a health check, a handler, a test
    /// assert!(shutdown.is_ready());
    /// # Ok::<(), lameduck::BindError>(())
    /// ```
    pub fn shutdown(&self) -> Shutdown {
        self.shared.shutdown.clone()
    }

    /// Returns the addresses that it listens on, with the ports that the system
    /// chose for port 0, in the order in which listeners were given to the
    /// builder.
    pub fn local_addrs(&self) -> impl Iterator<Item = &Address> {
        self.listeners.iter().map(ListenerTask::local_addr)
    }

    /// Takes the descriptors that this process was started with
    /// ([`Builder::socket_activation`]) and that no listener is made of: sockets
    /// of other kinds, FIFOs, what a supervisor keeps for its service, and
    /// listening sockets that were not asked for.
    ///
    /// Sockets that are not taken are closed when the server begins to serve.
    ///
    /// With a [`restart`](Builder::restart) the successor gets what was taken under the same
    /// names, and takes it in the same way. For that the server keeps descriptors of its own
    /// until it drains: until then a socket stays open, though the program closes it. The
    /// successor has them before its predecessor has ended, and before it is sure to serve:
    /// let it read them from [`Readiness::Ready`] on
    /// ([`Builder::on_readiness_change`]), lest a restart that fails takes datagrams away.
    /// What is no socket is passed on under Linux alone, and not where a sandbox forbids
    /// pidfd_getfd(2), as Docker's does: the log has a warning then.
    #[cfg(feature = "handover")]
    #[cfg_attr(docsrs, doc(cfg(feature = "handover")))]
    pub fn take_passed_fds(&mut self) -> Vec<PassedFd> {
        self.handover.keep(&self.passed);
        std::mem::take(&mut self.passed)
    }

    /// Returns the runtime that it serves on.
    pub fn runtime(&self) -> &R {
        &self.shared.runtime
    }

    #[cfg(feature = "http")]
    pub(crate) fn stop_on_panic(&self) -> bool {
        self.shared.stop_on_panic
    }

    /// Serves until it is stopped, and completes with the report.
    ///
    /// `handler` is called for each connection, in a task of its own. When
    /// its future is done, the connection is closed in order: flushed,
    /// half-closed, and read until the peer's end. An error of any kind, or a
    /// panic of a handler, ends its own connection only; it is logged with its
    /// causes, and counted. An abort drops the handler's future where it is.
    ///
    /// # Cancel safety
    /// Dropped before it completes, it closes its listeners with no sweep and
    /// tells its connections to drain. Nobody then waits for them: to stop,
    /// ask [`Shutdown::stop`] and await the end.
    ///
    /// ```
    /// use futures::io::AsyncWriteExt;
    /// use lameduck::{Server, runtimes::smol::Smol};
    /// use std::io::Read;
    ///
    /// let bound = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// let address = bound.local_addr()?;
    /// let server = Server::builder(Smol).listen_on(bound).bind()?;
    /// let mut client = std::net::TcpStream::connect(address)?;
    /// server.shutdown().stop("one client is enough");
    ///
    /// // The client waits in the accept queue, and is served all the same.
    /// let report = smol::block_on(server.serve(|mut session| async move {
    ///     session.write_all(b"welcome").await
    /// }));
    /// let mut greeting = String::new();
    /// client.read_to_string(&mut greeting)?;
    /// assert_eq!(greeting, "welcome");
    /// assert_eq!(report.closed.finished, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// A handler that is not [`Send`], since it holds an `Rc`, runs in a thread that has it to
    /// itself: the server's handler sends the session there, and awaits the end.
    ///
    /// ```
    /// use futures::channel::{mpsc, oneshot};
    /// use futures::future::{Either, select};
    /// use futures::io::AsyncWriteExt;
    /// use futures::stream::StreamExt;
    /// use lameduck::runtimes::tokio::{Connection, Tokio};
    /// use lameduck::{Server, Session};
    /// use std::cell::Cell;
    /// use std::pin::pin;
    /// use std::rc::Rc;
    /// use std::{io, thread};
    /// use tokio::runtime::Builder;
    /// use tokio::task::{LocalSet, spawn_local};
    ///
    /// async fn greet(mut session: Session<Connection>, count: Rc<Cell<u32>>) -> io::Result<()> {
    ///     count.set(count.get() + 1);
    ///     session.write_all(format!("welcome, {}", count.get()).as_bytes()).await
    /// }
    ///
    /// type Given = (Session<Connection>, oneshot::Sender<io::Result<()>>);
    ///
    /// async fn serve_given(mut given: mpsc::UnboundedReceiver<Given>) {
    ///     let count = Rc::default();
    ///     while let Some((session, mut ended)) = given.next().await {
    ///         let work = greet(session, Rc::clone(&count));
    ///         spawn_local(async move {
    ///             // An abort drops the server's handler: the work ends with it.
    ///             let result = match select(pin!(work), ended.cancellation()).await {
    ///                 Either::Left((result, _)) => result,
    ///                 Either::Right(_) => return,
    ///             };
    ///             let _ = ended.send(result);
    ///         });
    ///     }
    /// }
    ///
    /// let threads: Vec<_> = (0..2)
    ///     .map(|_| {
    ///         let (give, given) = mpsc::unbounded();
    ///         thread::spawn(move || {
    ///             let runtime = Builder::new_current_thread().enable_all().build()?;
    ///             LocalSet::new().block_on(&runtime, serve_given(given));
    ///             io::Result::Ok(())
    ///         });
    ///         give
    ///     })
    ///     .collect();
    /// let handler = move |session: Session<_>| {
    ///     let (end, ended) = oneshot::channel();
    ///     let thread = &threads[session.id() as usize % threads.len()];
    ///     let sent = thread.unbounded_send((session, end)).map_err(io::Error::other);
    ///     async move {
    ///         sent?;
    ///         ended.await.map_err(io::Error::other)?
    ///     }
    /// };
    /// # let bound = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// # let address = bound.local_addr()?;
    /// # let mut clients = [(); 4].map(|()| std::net::TcpStream::connect(address).unwrap());
    /// # let runtime = Builder::new_current_thread().enable_all().build()?;
    /// # let report = runtime.block_on(async {
    /// #     let server = Server::builder(Tokio::current().unwrap()).listen_on(bound);
    /// #     let server = server.bind().unwrap();
    /// #     server.shutdown().stop("four clients are enough");
    /// let report = server.serve(handler).await;
    /// #     report
    /// # });
    /// # assert_eq!((report.closed.finished, report.exit_status()), (4, 0), "{report}");
    /// # let said = clients.each_mut().map(|client| std::io::read_to_string(client).unwrap());
    /// # assert_eq!(said.iter().filter(|said| *said == "welcome, 2").count(), 2, "{said:?}");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn serve<H, F, E>(self, handler: H) -> Serve<R, H>
    where
        H: Fn(Session<ConnectionOf<R>>) -> F + Send + Sync + 'static,
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<BoxError>,
    {
        Serve::new(self, handler)
    }
}

impl<R: Runtime> fmt::Debug for Server<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut server = f.debug_struct("Server");
        server.field("local_addrs", &self.local_addrs().collect::<Vec<_>>());
        server.field("config", &self.config);
        server.finish_non_exhaustive()
    }
}
