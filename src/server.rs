//! The server: builder, driver, and the tasks of connections.
//!
//! It decides nothing about the stop. The [machine](crate::machine) does; the
//! driver tells it what happens on the [traits](crate::traits) and carries out
//! what it says.

mod accept;
mod builder;
mod closing;
mod driver;
mod error;
mod ledger;
mod task;

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;

pub use self::builder::Builder;
pub use self::closing::Linger;
pub use self::driver::Serve;
pub use self::error::BindError;
pub(crate) use self::ledger::Named;

use self::accept::Accepting;
use self::driver::Handover;
use self::task::Common;
use crate::address::Address;
use crate::connection::Session;
use crate::gate::{Guard, Shutdown};
use crate::machine::{Config, Log};
use crate::traits::{ConnectionOf, Runtime};

/// Work that runs after the last connection, by name.
struct Hook {
    name: String,
    work: Option<Pin<Box<dyn Future<Output = io::Result<()>> + Send>>>,
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
    log: Option<Log>,
    signals: Option<R::Signals>,
    listeners: Vec<Accepting<R>>,
    limit: usize,
    hooks: Vec<Hook>,
    on_ready: Option<Box<dyn Fn(bool) + Send + Sync>>,
    door: Guard,
    handover: Handover,
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
