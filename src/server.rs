//! The server: builder, driver, and the tasks of connections.
//!
//! It decides nothing about the stop. The [machine](crate::machine) does; the
//! driver tells it what happens on the [traits](crate::traits) and carries out
//! what it says.

mod accept;
mod closing;
mod driver;
mod ledger;
mod task;

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::time::Duration;

pub use self::closing::Linger;
pub use self::driver::Serve;
pub(crate) use self::ledger::Named;

use self::accept::Accepting;
use self::ledger::Ledger;
use self::task::Common;
use crate::address::Address;
use crate::cause::Signal;
use crate::connection::Session;
use crate::gate::{Guard, Shutdown};
use crate::machine::{Config, ConfigError};
use crate::traits::{ConnectionOf, Runtime};

/// Work that runs after the last connection, by name.
struct Hook {
    name: String,
    work: Option<Pin<Box<dyn Future<Output = io::Result<()>> + Send>>>,
}

/// Makes a [`Server`]; see [`Server::builder`].
///
/// ```
/// # #[cfg(feature = "smol")] fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
/// use lameduck::{Address, Server, runtimes::smol::Smol};
///
/// let server = Server::builder(Smol)
///     .listen("127.0.0.1:0".parse::<Address>()?)
///     .grace(Duration::from_secs(10))
///     .notice(Duration::from_secs(2))
///     .connection_limit(10_000)
///     .after_drain("flush", async { Ok(()) })
///     .on_ready(|ready| println!("ready: {ready}"))
///     .bind()?;
/// # drop(server);
/// # Ok(()) }
/// # #[cfg(not(feature = "smol"))] fn main() {}
/// ```
#[must_use = "a builder does nothing until `bind`"]
pub struct Builder<R: Runtime> {
    runtime: R,
    addresses: Vec<Address>,
    signals: Vec<Signal>,
    grace: Duration,
    notice: Duration,
    sweep: Option<Duration>,
    sweep_limit: Option<u64>,
    settle: Duration,
    force_margin: Duration,
    linger: Linger,
    limit: usize,
    backlog: i32,
    stop_on_panic: bool,
    hooks: Vec<Hook>,
    on_ready: Option<Box<dyn Fn(bool) + Send + Sync>>,
}

impl<R: Runtime> Builder<R> {
    fn new(runtime: R) -> Builder<R> {
        let config = Config::default();
        Builder {
            runtime,
            addresses: Vec::new(),
            signals: vec![Signal::Interrupt, Signal::Terminate],
            grace: config.grace,
            notice: config.notice,
            sweep: None,
            sweep_limit: None,
            settle: config.settle,
            force_margin: config.force_margin,
            linger: Linger::default(),
            limit: usize::MAX,
            backlog: 4096,
            stop_on_panic: false,
            hooks: Vec::new(),
            on_ready: None,
        }
    }

    /// Adds an address to listen on; at least one is needed.
    pub fn listen(mut self, address: impl Into<Address>) -> Self {
        self.addresses.push(address.into());
        self
    }

    /// The whole budget of a stop. Default: 25 s, inside of the 30 s that
    /// Kubernetes gives by default.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// How long to go on accepting while not ready any more, for load
    /// balancers that learn late (F13). Default: none.
    pub fn notice(mut self, notice: Duration) -> Self {
        self.notice = notice;
        self
    }

    /// The longest sweep of the accept queues. Default: 1 s, or what grace
    /// leaves for it. An empty queue takes no time.
    pub fn sweep(mut self, sweep: Duration) -> Self {
        self.sweep = Some(sweep);
        self
    }

    /// The most connections that a sweep takes from one accept queue, so that
    /// a flood cannot keep the server from stopping. Default: what the
    /// [`backlog`](Builder::backlog) lets the queue hold, since a queue is
    /// first in, first out: whoever was in it before the stop is served.
    pub fn sweep_limit(mut self, connections: u64) -> Self {
        self.sweep_limit = Some(connections);
        self
    }

    /// How long idle connections are still read once the listeners quiesce,
    /// for bytes that were sent before the stop and are on their way (F17).
    /// Handlers see [`Session::is_draining`] at once. Default: none, since it
    /// puts off the end of every stop that finds somebody idle.
    ///
    /// What had arrived is read with or without it. It helps those who are far
    /// away: give it half of a round trip to them.
    pub fn settle(mut self, settle: Duration) -> Self {
        self.settle = settle;
        self
    }

    /// After force, how long to wait for what was cut off before it is given
    /// up. It follows the grace. Default: 500 ms.
    pub fn force_margin(mut self, margin: Duration) -> Self {
        self.force_margin = margin;
        self
    }

    /// How long a connection that we closed first waits for its peer.
    pub fn linger(mut self, linger: Linger) -> Self {
        self.linger = linger;
        self
    }

    /// The most connections at a time. At the limit the others wait in the
    /// accept queue; those that wait there when the stop comes are served
    /// beyond it. Default: no limit but that of the system.
    pub fn connection_limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// How many connections the accept queue holds. Default: 4096; the system
    /// may hold less (`net.core.somaxconn`).
    pub fn backlog(mut self, backlog: i32) -> Self {
        self.backlog = backlog;
        self
    }

    /// The signals that stop the server. Default: SIGINT and SIGTERM. The
    /// first begins the stop, the second forces it. None: only code stops it.
    ///
    /// ```
    /// # #[cfg(feature = "smol")] fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use lameduck::{Address, Server, runtimes::smol::Smol};
    ///
    /// use lameduck::Signal;
    ///
    /// let builder = Server::builder(Smol).signals([Signal::Terminate, Signal::Quit]);
    /// # let _: Option<Address> = None; drop(builder);
    /// # Ok(()) }
    /// # #[cfg(not(feature = "smol"))] fn main() {}
    /// ```
    pub fn signals(mut self, signals: impl IntoIterator<Item = Signal>) -> Self {
        self.signals = signals.into_iter().collect();
        self
    }

    /// Whether a handler's panic stops the server. Default: no; it is counted,
    /// its connection is closed, and the others are served on.
    pub fn stop_on_panic(mut self, stop: bool) -> Self {
        self.stop_on_panic = stop;
        self
    }

    /// Adds work for after the last connection, such as to flush a log. The
    /// hooks run in order, one after another, within the same grace (F41).
    ///
    /// ```
    /// # #[cfg(feature = "smol")] fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use lameduck::{Address, Server, runtimes::smol::Smol};
    ///
    /// let builder = Server::builder(Smol).listen("127.0.0.1:0".parse::<Address>()?);
    /// let server = builder.after_drain("flush", async {
    ///     println!("nobody is connected any more");
    ///     Ok(())
    /// });
    /// # drop(server);
    /// # Ok(()) }
    /// # #[cfg(not(feature = "smol"))] fn main() {}
    /// ```
    pub fn after_drain(
        mut self,
        name: impl Into<String>,
        work: impl Future<Output = io::Result<()>> + Send + 'static,
    ) -> Self {
        self.hooks.push(Hook {
            name: name.into(),
            work: Some(Box::pin(work)),
        });
        self
    }

    /// Called with true once connections are accepted, and with false when
    /// the stop begins: the place to tell a supervisor or a load balancer.
    pub fn on_ready(mut self, tell: impl Fn(bool) + Send + Sync + 'static) -> Self {
        self.on_ready = Some(Box::new(tell));
        self
    }

    /// Checks the configuration, catches the signals and binds the addresses,
    /// in this order. Clients can connect from now on, and wait in the queue
    /// until the server [serves](Server::serve).
    ///
    /// # Errors
    /// [`BindError`], which says what to do. Nothing stays bound.
    ///
    /// ```
    /// # #[cfg(feature = "smol")] fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use lameduck::{Address, Server, runtimes::smol::Smol};
    ///
    /// let taken = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// let error = Server::builder(Smol).listen(taken.local_addr()?).bind().unwrap_err();
    /// assert!(error.to_string().contains("choose another port"));
    /// # let _: Option<Address> = None;
    /// # Ok(()) }
    /// # #[cfg(not(feature = "smol"))] fn main() {}
    /// ```
    pub fn bind(self) -> Result<Server<R>, BindError> {
        let config = self.config()?;
        if self.addresses.is_empty() {
            return Err(BindError::NoAddress);
        }
        if self.limit == 0 {
            return Err(BindError::NoRoom);
        }
        let signals = match self.signals.is_empty() {
            true => None,
            false => {
                let caught = self.runtime.signals(&self.signals);
                Some(caught.map_err(BindError::Signals)?)
            }
        };
        // `listen(2)` holds one more than it is told.
        let queue = u64::try_from(self.backlog).unwrap_or(0) + 1;
        let sweep_limit = self.sweep_limit.unwrap_or(queue);
        let mut listeners = Vec::new();
        for address in self.addresses {
            match self.runtime.bind(&address, self.backlog) {
                Ok(listener) => listeners.push(Accepting::new(listener, sweep_limit)),
                Err(error) => return Err(BindError::Listen(address, error)),
            }
        }
        let (shutdown, door) = Shutdown::driven();
        Ok(Server {
            common: Common {
                runtime: self.runtime,
                handler: (),
                ledger: Ledger::new(),
                shutdown,
                linger: self.linger,
                stop_on_panic: self.stop_on_panic,
            },
            config,
            signals,
            listeners,
            limit: self.limit,
            hooks: self.hooks,
            on_ready: self.on_ready,
            door,
        })
    }

    fn config(&self) -> Result<Config, BindError> {
        let left = self.grace.saturating_sub(self.notice);
        let config = Config {
            grace: self.grace,
            notice: self.notice,
            sweep: self.sweep.unwrap_or(Config::default().sweep.min(left)),
            settle: self.settle,
            force_margin: self.force_margin,
        };
        config.check().map_err(BindError::Config)?;
        Ok(config)
    }
}

impl<R: Runtime> fmt::Debug for Builder<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut builder = f.debug_struct("Builder");
        builder.field("addresses", &self.addresses);
        builder.field("grace", &self.grace);
        builder.finish_non_exhaustive()
    }
}

/// Why a server could not be bound. Its text is one line that says what to do.
#[derive(Debug)]
#[non_exhaustive]
pub enum BindError {
    /// The parts of the budget exceed it.
    Config(ConfigError),
    /// There is no address to listen on.
    NoAddress,
    /// The connection limit is 0.
    NoRoom,
    /// The signals cannot be caught.
    Signals(io::Error),
    /// An address cannot be listened on.
    Listen(Address, io::Error),
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BindError::Config(error) => error.fmt(f),
            BindError::NoAddress => f.write_str("no address to listen on: give at least one"),
            BindError::NoRoom => {
                f.write_str("a connection limit of 0 lets nobody in: give at least 1")
            }
            BindError::Signals(error) => write!(f, "cannot catch the signals: {error}"),
            BindError::Listen(address, error) => {
                write!(f, "cannot listen on {address}: {error}")?;
                match advice(address, error.kind()) {
                    Some(advice) => write!(f, "; {advice}"),
                    None => Ok(()),
                }
            }
        }
    }
}

fn advice(address: &Address, kind: io::ErrorKind) -> Option<&'static str> {
    match (address, kind) {
        (Address::Inet(_), io::ErrorKind::AddrInUse) => {
            Some("another process has this port: stop that one, or choose another port")
        }
        (Address::Inet(_), io::ErrorKind::PermissionDenied) => {
            Some("choose a port from 1024 on, or give the process CAP_NET_BIND_SERVICE")
        }
        (Address::Inet(_), io::ErrorKind::AddrNotAvailable) => {
            Some("no interface of this machine has this address: choose another one")
        }
        (Address::Unix(_), io::ErrorKind::AddrInUse | io::ErrorKind::AlreadyExists) => {
            Some("the path exists: stop the server that has it, or remove it")
        }
        (Address::Unix(_), io::ErrorKind::PermissionDenied) => {
            Some("choose a directory that this user may write to")
        }
        (Address::Unix(_), io::ErrorKind::NotFound) => Some("make its directory first"),
        _ => None,
    }
}

impl std::error::Error for BindError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            BindError::Config(error) => Some(error),
            BindError::NoAddress | BindError::NoRoom => None,
            BindError::Signals(error) | BindError::Listen(_, error) => Some(error),
        }
    }
}

/// A server that is bound, and not yet serving.
///
/// ```
/// # #[cfg(feature = "smol")] fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use lameduck::{Address, Server, runtimes::smol::Smol};
///
/// let builder = Server::builder(Smol).listen("127.0.0.1:0".parse::<Address>()?);
/// let server = builder.bind()?;
/// assert_eq!(server.local_addresses().count(), 1);
/// # Ok(()) }
/// # #[cfg(not(feature = "smol"))] fn main() {}
/// ```
#[must_use = "it serves only once `serve` is awaited"]
pub struct Server<R: Runtime> {
    common: Common<R, ()>,
    config: Config,
    signals: Option<R::Signals>,
    listeners: Vec<Accepting<R>>,
    limit: usize,
    hooks: Vec<Hook>,
    on_ready: Option<Box<dyn Fn(bool) + Send + Sync>>,
    door: Guard,
}

impl<R: Runtime> Server<R> {
    /// Begins a server on `runtime`.
    pub fn builder(runtime: R) -> Builder<R> {
        Builder::new(runtime)
    }

    /// The handle on this server's gate: ask for the stop, observe it, wait.
    ///
    /// ```
    /// # #[cfg(feature = "smol")] fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use lameduck::{Address, Server, runtimes::smol::Smol};
    ///
    /// let builder = Server::builder(Smol).listen("127.0.0.1:0".parse::<Address>()?);
    /// let server = builder.bind()?;
    /// let shutdown = server.shutdown(); // to a health check, a handler, a test
    /// assert!(shutdown.is_ready());
    /// # Ok(()) }
    /// # #[cfg(not(feature = "smol"))] fn main() {}
    /// ```
    pub fn shutdown(&self) -> Shutdown {
        self.common.shutdown.clone()
    }

    /// Where it listens, with the ports that were given for port 0.
    pub fn local_addresses(&self) -> impl Iterator<Item = &Address> {
        self.listeners.iter().map(Accepting::local)
    }

    /// Serves until it is stopped, and completes with the report.
    ///
    /// `handler` is called for each connection, in a task of its own. When
    /// its future is done, the connection is closed in order: flushed,
    /// half-closed, and read until the peer's end. An error or a panic of a
    /// handler ends its own connection only; it is logged and counted.
    ///
    /// # Cancel safety
    /// Dropped before it completes, it closes its listeners with no sweep and
    /// tells its connections to drain. Nobody then waits for them: to stop,
    /// ask [`Shutdown::stop`] and await the end.
    ///
    /// ```
    /// # #[cfg(feature = "smol")] fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use lameduck::{Address, Server, runtimes::smol::Smol};
    ///
    /// use futures::io::AsyncWriteExt;
    /// use std::io::Read;
    ///
    /// let builder = Server::builder(Smol).listen("127.0.0.1:0".parse::<Address>()?);
    /// let server = builder.bind()?;
    /// let Some(Address::Inet(address)) = server.local_addresses().next().cloned() else {
    ///     unreachable!("it listens on TCP")
    /// };
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
    /// # Ok(()) }
    /// # #[cfg(not(feature = "smol"))] fn main() {}
    /// ```
    pub fn serve<H, F>(self, handler: H) -> Serve<R, H>
    where
        H: Fn(Session<ConnectionOf<R>>) -> F + Send + Sync + 'static,
        F: Future<Output = io::Result<()>> + Send + 'static,
    {
        Serve::new(self, handler)
    }
}

impl<R: Runtime> fmt::Debug for Server<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut server = f.debug_struct("Server");
        server.field("local", &self.local_addresses().collect::<Vec<_>>());
        server.field("config", &self.config);
        server.finish_non_exhaustive()
    }
}
