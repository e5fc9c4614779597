//! The builder: what a server is made of, checked before anything is bound.

use std::fmt;
use std::future::Future;
use std::io;
use std::time::Duration;

use super::accept::{Accepting, Origin};
use super::driver::Handover;
use super::ledger::Ledger;
use super::task::Common;
use super::{BindError, Hook, Linger, Server};
use crate::address::Address;
use crate::cause::Signal;
use crate::gate::Shutdown;
#[cfg(feature = "handover")]
use crate::handover::{Inherited, Restart};
use crate::machine::{Config, Log};
use crate::traits::{Runtime, Socket};

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
    sockets: Vec<Socket>,
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
    recorded: usize,
    hooks: Vec<Hook>,
    on_ready: Option<Box<dyn Fn(bool) + Send + Sync>>,
    #[cfg(feature = "handover")]
    inherit: bool,
    #[cfg(feature = "handover")]
    restart: Option<Restart>,
}

impl<R: Runtime> Builder<R> {
    pub(super) fn new(runtime: R) -> Builder<R> {
        let config = Config::default();
        Builder {
            runtime,
            addresses: Vec::new(),
            sockets: Vec::new(),
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
            recorded: 0,
            hooks: Vec::new(),
            on_ready: None,
            #[cfg(feature = "handover")]
            inherit: false,
            #[cfg(feature = "handover")]
            restart: None,
        }
    }

    /// Adds an address to listen on; at least one is needed.
    pub fn listen(mut self, address: impl Into<Address>) -> Self {
        self.addresses.push(address.into());
        self
    }

    /// Adds a listening socket that is bound already, be it by this program or
    /// by whoever started it.
    ///
    /// Others may hold it too, so nothing is changed on it: the stop sweeps its
    /// queue, and leaves the path of a Unix socket where it is.
    ///
    /// ```
    /// # #[cfg(feature = "smol")] fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use lameduck::{Server, runtimes::smol::Smol};
    ///
    /// let bound = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// let server = Server::builder(Smol).adopt(bound).bind()?;
    /// # drop(server);
    /// # Ok(()) }
    /// # #[cfg(not(feature = "smol"))] fn main() {}
    /// ```
    pub fn adopt(mut self, socket: impl Into<Socket>) -> Self {
        self.sockets.push(socket.into());
        self
    }

    /// Takes the listening sockets that this process was started with
    /// (`LISTEN_FDS`): those of a supervisor such as systemd, or of a
    /// predecessor. An [address](Builder::listen) that one of them listens on is
    /// not bound anew; without an address all of them are served. What is not
    /// asked for is closed.
    ///
    /// Call it before threads are started that look at the environment, and in
    /// one server of a process: `bind` takes the variables away.
    ///
    /// ```
    /// # #[cfg(feature = "smol")] fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use lameduck::{Address, Server, runtimes::smol::Smol};
    ///
    /// // Bound here, unless a supervisor has done it:
    /// let builder = Server::builder(Smol).listen("127.0.0.1:0".parse::<Address>()?);
    /// let server = builder.inherit().bind()?;
    /// # drop(server);
    /// # Ok(()) }
    /// # #[cfg(not(feature = "smol"))] fn main() {}
    /// ```
    #[cfg(feature = "handover")]
    #[cfg_attr(docsrs, doc(cfg(feature = "handover")))]
    pub fn inherit(mut self) -> Self {
        self.inherit = true;
        self
    }

    /// Restarts without a gap on a signal: see [`handover`](crate::handover).
    /// It [inherits](Builder::inherit) too, as the successor will have to.
    ///
    /// ```no_run
    /// # #[cfg(feature = "smol")] fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use lameduck::handover::Restart;
    /// use lameduck::{Address, Server, Signal, runtimes::smol::Smol};
    ///
    /// let server = Server::builder(Smol)
    ///     .listen("127.0.0.1:48879".parse::<Address>()?)
    ///     .restart(Restart::on(Signal::Hangup))
    ///     .bind()?;
    /// # drop(server);
    /// # Ok(()) }
    /// # #[cfg(not(feature = "smol"))] fn main() {}
    /// ```
    #[cfg(feature = "handover")]
    #[cfg_attr(docsrs, doc(cfg(feature = "handover")))]
    pub fn restart(mut self, restart: Restart) -> Self {
        self.restart = Some(restart);
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
    /// Handlers see [`is_draining`](crate::Session::is_draining) at once. Default: none, since it
    /// puts off the end of every stop that finds somebody idle.
    ///
    /// What had arrived is read with or without it. It helps those who are far
    /// away: give it the time that a message takes from them, which is half of
    /// a round trip. With 20 ms of way, 12 messages of 100 clients who speak ten
    /// times a second are lost in a stop without it, and none with 20 ms
    /// (`cargo run --release --example settle`).
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

    /// Keeps the first `limit` inputs of the machine, for the report: a stop that
    /// went otherwise than it should is then told again, step by step, with
    /// [`Log::replay`]. A plain stop has some ten inputs. Default: none are kept.
    ///
    /// ```
    /// # #[cfg(feature = "smol")] fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use lameduck::{Address, Server, runtimes::smol::Smol};
    ///
    /// let builder = Server::builder(Smol).listen("127.0.0.1:0".parse::<Address>()?);
    /// let server = builder.record(1000).bind()?;
    /// server.shutdown().stop("done");
    /// let report = smol::block_on(server.serve(|_| async { Ok(()) }));
    /// println!("{}", report.log.expect("it was recorded"));
    /// # Ok(()) }
    /// # #[cfg(not(feature = "smol"))] fn main() {}
    /// ```
    pub fn record(mut self, limit: usize) -> Self {
        self.recorded = limit;
        self
    }

    /// Called with true once connections are accepted, and with false when
    /// the stop begins: the place to tell a supervisor or a load balancer.
    /// Not called with false when a successor serves: the service is ready.
    pub fn on_ready(mut self, tell: impl Fn(bool) + Send + Sync + 'static) -> Self {
        self.on_ready = Some(Box::new(tell));
        self
    }

    /// The longest time from the stop to the end.
    #[cfg(feature = "sim")]
    pub(crate) fn longest_stop(&self) -> Duration {
        self.grace.saturating_add(self.force_margin)
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
    pub fn bind(mut self) -> Result<Server<R>, BindError> {
        let config = self.config()?;
        if self.limit == 0 {
            return Err(BindError::NoRoom);
        }
        let wanted = self.wanted_signals();
        let signals = match wanted.is_empty() {
            true => None,
            false => {
                let caught = self.runtime.signals(&wanted);
                Some(caught.map_err(BindError::Signals)?)
            }
        };
        let (listeners, handover) = self.open()?;
        let (shutdown, door) = Shutdown::driven();
        let log = Log::new(config, listeners.len(), self.hooks.len(), self.recorded);
        Ok(Server {
            log: (self.recorded > 0).then_some(log),
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
            handover,
        })
    }

    /// Opens every listener, or none.
    fn open(&mut self) -> Result<(Vec<Accepting<R>>, Handover), BindError> {
        let mut opened = Vec::new();
        #[cfg(feature = "handover")]
        let mut inherited = self.inherited()?;
        for address in &self.addresses {
            #[cfg(feature = "handover")]
            if let Some(socket) = inherited.take(address) {
                opened.push((self.adopt_one(socket)?, Origin::Inherited));
                continue;
            }
            let listener = self.runtime.bind(address, self.backlog);
            let listener = listener.map_err(|e| BindError::Listen(address.clone(), e))?;
            opened.push((listener, Origin::Bound));
        }
        for socket in std::mem::take(&mut self.sockets) {
            opened.push((self.adopt_one(socket)?, Origin::Adopted));
        }
        #[cfg(feature = "handover")]
        if opened.is_empty() {
            for socket in inherited.take_all() {
                opened.push((self.adopt_one(socket)?, Origin::Inherited));
            }
        }
        #[cfg(feature = "handover")]
        let handover = Handover::new(self.restart.take(), inherited.close_rest());
        #[cfg(not(feature = "handover"))]
        let handover = Handover;
        if opened.is_empty() {
            return Err(BindError::NoAddress);
        }
        // `listen(2)` holds one more than it is told.
        let queue = u64::try_from(self.backlog).unwrap_or(0) + 1;
        let limit = self.sweep_limit.unwrap_or(queue);
        let mut listeners = Vec::new();
        for (listener, origin) in opened {
            listeners.push(Accepting::new(listener, origin, queue, limit));
        }
        Ok((listeners, handover))
    }

    fn adopt_one(&self, socket: Socket) -> Result<R::Listener, BindError> {
        let local = socket.local().map_err(BindError::Adopt)?;
        let adopted = self.runtime.adopt(socket);
        adopted.map_err(|error| BindError::Listen(local, error))
    }

    #[cfg(feature = "handover")]
    fn inherited(&self) -> Result<Inherited, BindError> {
        match self.inherit || self.restart.is_some() {
            true => Inherited::from_env().map_err(BindError::Adopt),
            false => Ok(Inherited::default()),
        }
    }

    fn wanted_signals(&self) -> Vec<Signal> {
        #[allow(unused_mut, reason = "without the feature nothing is added")]
        let mut wanted = self.signals.clone();
        #[cfg(feature = "handover")]
        if let Some(restart) = self.restart.as_ref() {
            if !wanted.contains(&restart.signal) {
                wanted.push(restart.signal);
            }
        }
        wanted
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
