//! The builder: what a server is made of, checked before anything is bound.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use super::early_signals::EarlySignals;
#[cfg(feature = "parts")]
use super::hard_deadline::HardDeadline;
use super::hooks::{BoxError, Hook, HookContext};
use super::open::{Source, Sources};
use super::readiness::ReadinessCallback;
use super::table::ConnectionTable;
use super::task::ServerShared;
use super::{BindError, Readiness, Server};
use crate::address::{Address, AddressError};
use crate::gate::Shutdown;
#[cfg(feature = "handover")]
use crate::handover::Restart;
use crate::machine::closing;
use crate::machine::lifecycle::{Config, Recording};
use crate::options::ListenOptions;
use crate::rt::{Runtime, Socket};
use crate::signal::Signal;
#[cfg(feature = "tls")]
use crate::tls::{Tls, TlsConfig};

/// A builder of a [`Server`]; see [`Server::builder`].
///
/// ```
/// use lameduck::{Server, runtimes::smol::Smol};
/// use std::time::Duration;
///
/// let server = Server::builder(Smol)
///     .listen("127.0.0.1:0")
///     .grace_period(Duration::from_secs(10))
///     .lame_duck(Duration::from_secs(2))
///     .connection_limit(10_000)
///     .after_drain("flush", |_| async { std::io::Result::Ok(()) })
///     .on_readiness_change(|readiness| println!("{readiness:?}"))
///     .bind()?;
/// # drop(server);
/// # Ok::<(), lameduck::BindError>(())
/// ```
#[must_use = "a builder does nothing until `bind`"]
pub struct Builder<R: Runtime> {
    runtime: R,
    listeners: Sources<R>,
    signals: Vec<Signal>,
    config: Config,
    abort_timeout: Option<Duration>,
    hook_reserve: Option<Duration>,
    lingering_close: closing::Config,
    connection_limit: Option<usize>,
    stop_on_panic: bool,
    #[cfg(feature = "parts")]
    hard_deadline: Option<HardDeadline>,
    recording_limit: Option<usize>,
    hooks: Vec<Hook>,
    on_readiness_change: Option<ReadinessCallback>,
}

impl<R: Runtime> Builder<R> {
    pub(super) fn new(runtime: R) -> Builder<R> {
        Builder {
            runtime,
            listeners: Sources::new(),
            signals: vec![Signal::Interrupt, Signal::Terminate],
            config: Config::default(),
            abort_timeout: None,
            hook_reserve: None,
            lingering_close: closing::Config::default(),
            connection_limit: None,
            stop_on_panic: false,
            #[cfg(feature = "parts")]
            hard_deadline: None,
            recording_limit: None,
            hooks: Vec::new(),
            on_readiness_change: None,
        }
    }

    /// Adds an address to listen on; at least one is needed.
    ///
    /// It can be a text, a [`SocketAddr`](std::net::SocketAddr), a path for a
    /// Unix socket, or an [`Address`]. An error of a text comes from
    /// [`bind`](Builder::bind).
    ///
    /// ```
    /// use lameduck::{Server, runtimes::smol::Smol};
    /// use std::path::Path;
    ///
    /// let builder = Server::builder(Smol)
    ///     .listen("127.0.0.1:48879")
    ///     .listen(([127, 0, 0, 1], 48880))
    ///     .listen(Path::new("/run/echo.sock"));
    /// # drop(builder);
    /// let error = Server::builder(Smol).listen("localhost").bind().unwrap_err();
    /// assert!(error.to_string().starts_with("`localhost` is no address"));
    /// ```
    ///
    /// `[::]` takes the connections of IPv4 as well, unless an address of IPv4
    /// with the same port is given beside it, or the system is set otherwise
    /// (`net.ipv6.bindv6only`); see [`ListenOptions::v6only`]. The path of a Unix
    /// socket that a process has left behind is replaced, and any other path
    /// that exists is refused.
    pub fn listen<A>(self, address: A) -> Self
    where
        A: TryInto<Address>,
        AddressError: From<A::Error>,
    {
        self.listen_with(address, ListenOptions::new())
    }

    /// Adds an address to listen on, with options of its own.
    ///
    /// ```
    /// use lameduck::{ListenOptions, Server, runtimes::smol::Smol};
    ///
    /// let options = ListenOptions::new().mode(0o660).group(33);
    /// let builder = Server::builder(Smol).listen_with("unix:/run/echo.sock", options);
    /// # drop(builder);
    /// ```
    pub fn listen_with<A>(mut self, address: A, options: ListenOptions) -> Self
    where
        A: TryInto<Address>,
        AddressError: From<A::Error>,
    {
        let address = address.try_into().map_err(AddressError::from);
        self.listeners.add(Source::Address(address, options), None);
        self
    }

    /// Adds a listening socket that is bound already, by this program or by the
    /// one that started it.
    ///
    /// Other processes may hold it too, so nothing is changed on it: the stop
    /// sweeps its queue, and leaves the path of a Unix socket where it is.
    ///
    /// ```
    /// use lameduck::{Server, runtimes::smol::Smol};
    ///
    /// let bound = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// let server = Server::builder(Smol).listen_on(bound).bind()?;
    /// # drop(server);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn listen_on(mut self, socket: impl Into<Socket>) -> Self {
        self.listeners.add(Source::Socket(socket.into()), None);
        self
    }

    /// Takes the listening sockets that this process was started with
    /// (`LISTEN_FDS`): those of a supervisor such as systemd, or of a
    /// predecessor.
    ///
    /// An [address](Builder::listen) that one of them listens on, or covers, is
    /// not bound again: systemd's `ListenStream=80` is `[::]:80`, which serves
    /// every program that asks for `0.0.0.0:80`. They can be asked for by
    /// [name](Builder::listen_fd_name) as well. With neither an address nor a
    /// name, all that listen are served.
    ///
    /// What is not asked for, and what is no listening socket, is left to the
    /// program: see [`Server::take_passed_fds`].
    ///
    /// Call it before threads are started that look at the environment, and in
    /// one server of a process: `bind` takes the variables away.
    ///
    /// ```
    /// use lameduck::{Server, runtimes::smol::Smol};
    ///
    /// // Bound here, unless a supervisor has done it:
    /// let builder = Server::builder(Smol).listen("127.0.0.1:0");
    /// let server = builder.socket_activation().bind()?;
    /// # drop(server);
    /// # Ok::<(), lameduck::BindError>(())
    /// ```
    #[cfg(feature = "handover")]
    #[cfg_attr(docsrs, doc(cfg(feature = "handover")))]
    pub fn socket_activation(mut self) -> Self {
        self.listeners.socket_activation = true;
        self
    }

    /// Adds the listening sockets that were passed on by this name
    /// (`LISTEN_FDNAMES`): with systemd, what `FileDescriptorName=` says, or the
    /// name of the unit. It implies
    /// [`socket_activation`](Builder::socket_activation).
    ///
    /// ```
    /// use lameduck::{Server, runtimes::smol::Smol};
    ///
    /// let error = Server::builder(Smol).listen_fd_name("http").bind().unwrap_err();
    /// assert!(error.to_string().contains("`http`"));
    /// ```
    #[cfg(feature = "handover")]
    #[cfg_attr(docsrs, doc(cfg(feature = "handover")))]
    pub fn listen_fd_name(mut self, name: impl Into<String>) -> Self {
        self.listeners.socket_activation = true;
        self.listeners.add(Source::Named(name.into()), None);
        self
    }

    /// Restarts without a gap on a signal: see [`handover`](crate::handover). It
    /// implies [`socket_activation`](Builder::socket_activation), which the
    /// successor needs.
    ///
    /// ```no_run
    /// use lameduck::handover::Restart;
    /// use lameduck::{Server, Signal, runtimes::smol::Smol};
    ///
    /// let server = Server::builder(Smol)
    ///     .listen("127.0.0.1:48879")
    ///     .restart(Restart::on(Signal::Hangup))
    ///     .bind()?;
    /// # drop(server);
    /// # Ok::<(), lameduck::BindError>(())
    /// ```
    #[cfg(feature = "handover")]
    #[cfg_attr(docsrs, doc(cfg(feature = "handover")))]
    pub fn restart(mut self, restart: Restart) -> Self {
        self.listeners.restart = Some(restart);
        self
    }

    /// Sets the grace period: the whole budget of a stop, within which
    /// [`serve`](Server::serve) returns. Default: 25 s, inside of the 30 s that
    /// Kubernetes gives by default.
    pub fn grace_period(mut self, grace_period: Duration) -> Self {
        self.config.grace_period = grace_period;
        self
    }

    /// Sets the time to keep accepting after readiness turned false, until load
    /// balancers have noticed ([F13](crate::docs::faults#f13)). Default: none.
    pub fn lame_duck(mut self, lame_duck: Duration) -> Self {
        self.config.lame_duck = lame_duck;
        self
    }

    /// Sets the most connections that a sweep takes from one accept queue, so
    /// that a flood cannot keep the server from stopping.
    ///
    /// Default: what the queue holds, no matter who set its length. A queue is first
    /// in, first out: every connection that was in it before the stop is served.
    /// A sweep that ends at a smaller limit is an error of the stop.
    pub fn sweep_limit(mut self, connections: u64) -> Self {
        self.listeners.sweep_limit = Some(connections);
        self
    }

    /// Sets whether new handshakes are filtered while the accept queue is swept.
    /// Default: yes, where the system allows it (Linux, with CAP_NET_ADMIN).
    ///
    /// With the filter, the close of a listener resets nobody. In exchange,
    /// clients who connect while it is on are refused after a second and not at
    /// once, since their first segment is dropped. It is on for less than a
    /// millisecond, or for as long as handshakes are under way;
    /// [`ListenerReport::filtered`](crate::report::ListenerReport::filtered) says
    /// how long it was. Without the filter, a client whose handshake ends between
    /// the last look at the queue and the close is reset
    /// ([F2](crate::docs::faults#f2), [F78](crate::docs::faults#f78)).
    pub fn syn_filter(mut self, filter: bool) -> Self {
        self.listeners.syn_filter = filter;
        self
    }

    /// Sets the time for which idle connections are still read once draining
    /// began, for requests that were sent before the stop and are on their way
    /// ([F17](crate::docs::faults#f17)).
    ///
    /// Handlers see [`is_draining`](crate::Session::is_draining) at once.
    /// Default: none, since it puts off the end of every stop that finds an idle
    /// connection.
    ///
    /// What had arrived is read with or without it. It helps clients that are
    /// far away: give it the time that a message takes from them, which is half
    /// of a round trip. With 20 ms of way, 12 messages of 100 clients that send
    /// ten times a second are lost in a stop without it, and none with 20 ms
    /// (`cargo run --release --example settle`).
    pub fn settle(mut self, settle: Duration) -> Self {
        self.config.settle = settle;
        self
    }

    /// Sets the time that what was aborted has to go, before it counts as
    /// abandoned. It is a part of the grace period. Default: 500 ms, and at most a
    /// quarter of the grace period.
    pub fn abort_timeout(mut self, timeout: Duration) -> Self {
        self.abort_timeout = Some(timeout);
        self
    }

    /// Sets the part of the grace period that is kept for the
    /// [hooks](Builder::after_drain), also when connections have spent the rest.
    /// Default where there are hooks: 5 s, and at most a fifth of the grace period.
    pub fn hook_reserve(mut self, reserve: Duration) -> Self {
        self.hook_reserve = Some(reserve);
        self
    }

    /// Sets the times in which a second signal is the same stop, and not a
    /// request to abort ([F45](crate::docs::faults#f45)): for the same signal,
    /// and for another one. Default: 100 ms and 1 s.
    pub fn signal_windows(mut self, same: Duration, other: Duration) -> Self {
        self.config.same_signal_window = same;
        self.config.other_signal_window = other;
        self
    }

    /// Sets the times of the [lingering close](closing): the longest time
    /// without a byte from the peer, and the longest time in all. Default:
    /// 100 ms and 5 s.
    pub fn lingering_close(mut self, idle: Duration, total: Duration) -> Self {
        self.lingering_close.idle = idle;
        self.lingering_close.total = total;
        self
    }

    /// Sets the most connections at a time. At the limit the others wait in the
    /// accept queue; those that wait there when the stop comes are served
    /// beyond it. Default: no limit but that of the system.
    pub fn connection_limit(mut self, limit: usize) -> Self {
        self.connection_limit = Some(limit);
        self
    }

    /// Sets the number of connections that the accept queue of each address
    /// holds; -1 is the system's maximum. Default: 4096. The system may hold less
    /// (`net.core.somaxconn`).
    pub fn backlog(mut self, backlog: i32) -> Self {
        self.listeners.backlog = Some(backlog);
        self
    }

    /// Sets whether small writes are sent at once (`TCP_NODELAY`), on all
    /// connections over TCP. Otherwise the system puts them together while an
    /// acknowledgement is awaited, which a peer may hold back for 40 ms
    /// ([F76](crate::docs::faults#f76)). Default: true.
    pub fn nodelay(mut self, nodelay: bool) -> Self {
        self.listeners.nodelay = Some(nodelay);
        self
    }

    /// Sets the signals that stop the server. Default: SIGINT and SIGTERM. The
    /// first begins the stop, a later one aborts it. With none, only the program
    /// stops it.
    ///
    /// They are caught from [`bind`](Builder::bind) on. When `serve` has ended, each
    /// of them ends the process, as it does by default, even if another part of the
    /// program catches it as well, such as `tokio::signal`. A program that goes on
    /// after `serve` and handles signals itself gives none here, and stops the server
    /// with [`Shutdown::stop`](crate::Shutdown::stop). A signal that was ignored when the
    /// process began, as by `nohup`, is ignored again (on Linux). Process 1, as in a
    /// container, ignores all of them after `serve`, and before `bind`: call `bind` before
    /// what takes time at the start, lest a stop is lost.
    ///
    /// ```
    /// use lameduck::{Server, Signal, runtimes::smol::Smol};
    ///
    /// let builder = Server::builder(Smol).signals([Signal::Terminate, Signal::Quit]);
    /// # drop(builder);
    /// ```
    pub fn signals(mut self, signals: impl IntoIterator<Item = Signal>) -> Self {
        self.signals = signals.into_iter().collect();
        self
    }

    /// Sets whether a handler's panic stops the server. Default: no; it is
    /// counted, its connection is closed, and the server goes on.
    ///
    /// The exit status says what the stop has lost, and not why it began: after a
    /// panic it is 0 as well. [`Report::cause`](crate::Report::cause) tells.
    pub fn stop_on_panic(mut self, stop: bool) -> Self {
        self.stop_on_panic = stop;
        self
    }

    /// Ends the process with `exit_status` if it is still there `margin` after the
    /// end of the budget ([F47](crate::docs::faults#f47)).
    ///
    /// The deadline is kept by a thread of its own, which follows the signals
    /// and the gate by itself: a logger whose pipe is full, a callback, a hook or
    /// a handler that blocks its thread cannot hold it up. It holds for the
    /// whole process, also after [`serve`](Server::serve) has returned: do not
    /// ask for it in a program that goes on when this server has stopped.
    /// Default: none.
    ///
    /// ```no_run
    /// use lameduck::{Server, runtimes::smol::Smol};
    /// use std::time::Duration;
    ///
    /// let server = Server::builder(Smol)
    ///     .listen("127.0.0.1:48879")
    ///     .hard_deadline(Duration::from_secs(1), 4)
    ///     .bind()?;
    /// # drop(server);
    /// # Ok::<(), lameduck::BindError>(())
    /// ```
    #[cfg(feature = "parts")]
    #[cfg_attr(docsrs, doc(cfg(feature = "parts")))]
    pub fn hard_deadline(mut self, margin: Duration, exit_status: u8) -> Self {
        self.hard_deadline = Some(HardDeadline {
            margin,
            exit_status,
        });
        self
    }

    /// Adds a hook: work for after the last connection, such as to flush a log.
    ///
    /// Hooks run in order, one after another ([F41](crate::docs::faults#f41)),
    /// each in a task of the runtime. Every hook starts, also after an abort,
    /// and is told how long it has ([F54](crate::docs::faults#f54)).
    ///
    /// ```
    /// use lameduck::{Server, runtimes::smol::Smol};
    ///
    /// let builder = Server::builder(Smol).listen("127.0.0.1:0");
    /// let builder = builder.after_drain("flush", |context| async move {
    ///     println!("no connection is left; {:?} to flush the log", context.limit);
    ///     std::io::Result::Ok(())
    /// });
    /// # drop(builder);
    /// ```
    pub fn after_drain<H, F, E>(mut self, name: impl Into<String>, hook: H) -> Self
    where
        H: FnOnce(HookContext) -> F + Send + 'static,
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<BoxError>,
    {
        self.hooks.push(Hook::new(name.into(), hook));
        self
    }

    /// Keeps the first `limit` inputs of the lifecycle, for the report: they
    /// tell step by step how a stop went, with [`Recording::replay`]. A plain
    /// stop has some ten inputs. Default: none are kept.
    ///
    /// ```
    /// use lameduck::{Server, runtimes::smol::Smol};
    ///
    /// let server = Server::builder(Smol).listen("127.0.0.1:0").record(1000).bind()?;
    /// server.shutdown().stop("done");
    /// let report = smol::block_on(server.serve(|_| async { std::io::Result::Ok(()) }));
    /// println!("{}", report.recording.expect("it was recorded"));
    /// # Ok::<(), lameduck::BindError>(())
    /// ```
    pub fn record(mut self, limit: usize) -> Self {
        self.recording_limit = Some(limit);
        self
    }

    /// Sets a function that is called with `Ready` once connections are
    /// accepted, and with `NotReady` when the stop begins: the place to tell a
    /// supervisor or a load balancer.
    ///
    /// It is not called with `NotReady` when a successor serves, since the service is
    /// ready then, nor by a server that is stopped before it was `Ready`.
    ///
    /// The calls are made in order, in a task of the runtime, so that one that
    /// blocks its thread holds up neither the grace period nor a second signal
    /// where the runtime has another thread. The stop waits for a call as it
    /// waits for a handler, and the report counts one that does not return
    /// among its `untracked_guards`.
    pub fn on_readiness_change(
        mut self,
        tell: impl Fn(Readiness) + Send + Sync + 'static,
    ) -> Self {
        self.on_readiness_change = Some(ReadinessCallback::new(Box::new(tell)));
        self
    }

    /// The longest time from the stop to the end.
    #[cfg(feature = "sim")]
    pub(crate) fn longest_stop(&self) -> Duration {
        self.config.grace_period
    }

    /// Checks the configuration, catches the signals and binds the addresses,
    /// in this order. Clients can connect from now on, and wait in the queue
    /// until the server [serves](Server::serve).
    ///
    /// # Errors
    /// [`BindError`], which says what to do. Nothing stays bound.
    ///
    /// ```
    /// use lameduck::{Server, runtimes::smol::Smol};
    ///
    /// let taken = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// let error = Server::builder(Smol).listen(taken.local_addr()?).bind().unwrap_err();
    /// assert!(error.to_string().contains("choose another port"));
    /// # std::io::Result::Ok(())
    /// ```
    pub fn bind(mut self) -> Result<Server<R>, BindError> {
        let config = self.config()?;
        if self.connection_limit == Some(0) {
            return Err(BindError::ZeroConnectionLimit);
        }
        self.listeners.check()?;
        let wanted = self.wanted_signals();
        let signals = if wanted.is_empty() {
            None
        } else {
            let caught = self.runtime.signals(&wanted);
            Some(caught.map_err(BindError::Signals)?)
        };
        let stops = self.stop_signals();
        let opened = self.listeners.open(&self.runtime)?;
        let listeners = opened.listeners;
        let (shutdown, hold) = Shutdown::driven();
        #[cfg(feature = "parts")]
        if let Some(deadline) = self.hard_deadline {
            let source = (!stops.is_empty()).then(|| self.runtime.signals(&stops));
            let source = source.transpose().map_err(BindError::Signals)?;
            let watched = deadline.watch(config, self.hooks.len(), source, &shutdown);
            watched.map_err(BindError::HardDeadline)?;
        }
        let signals = signals.map(|source| {
            EarlySignals::watch(&self.runtime, source, stops, config, shutdown.clone())
        });
        let recording = self
            .recording_limit
            .map(|limit| Recording::new(config, listeners.len(), self.hooks.len(), limit));
        Ok(Server {
            recording,
            shared: ServerShared {
                table: ConnectionTable::new(self.runtime.now()),
                runtime: self.runtime,
                shutdown,
                lingering_close: self.lingering_close,
                stop_on_panic: self.stop_on_panic,
            },
            config,
            signals,
            listeners,
            connection_limit: self.connection_limit,
            hooks: self.hooks,
            on_readiness_change: self.on_readiness_change,
            hold,
            handover: opened.handover,
            #[cfg(feature = "handover")]
            passed: opened.passed,
        })
    }

    fn wanted_signals(&self) -> Vec<Signal> {
        #[allow(unused_mut, reason = "without the feature nothing is added")]
        let mut wanted = self.signals.clone();
        #[cfg(feature = "handover")]
        if let Some(restart) = self.listeners.restart.as_ref() {
            if !wanted.contains(&restart.signal) {
                wanted.push(restart.signal);
            }
        }
        wanted
    }

    /// The signals that stop, and do not restart.
    fn stop_signals(&self) -> Vec<Signal> {
        let wanted = self.wanted_signals().into_iter();
        #[cfg(feature = "handover")]
        let wanted = {
            let restart = self
                .listeners
                .restart
                .as_ref()
                .map(|restart| restart.signal);
            wanted.filter(move |signal| Some(*signal) != restart)
        };
        wanted.collect()
    }

    /// Derives the parts that were not set, so that they fit.
    fn config(&self) -> Result<Config, BindError> {
        let grace_period = self.config.grace_period;
        let default = Config::default();
        let reserve = default.hook_reserve.min(grace_period / 5);
        let timeout = default.abort_timeout.min(grace_period / 4);
        let config = Config {
            abort_timeout: self.abort_timeout.unwrap_or(timeout),
            hook_reserve: match self.hook_reserve {
                Some(reserve) => reserve,
                None if self.hooks.is_empty() => Duration::ZERO,
                None => reserve,
            },
            ..self.config
        };
        #[cfg(feature = "handover")]
        let config = match &self.listeners.restart {
            Some(restart) => restart.config(config),
            None => config,
        };
        config.check().map_err(BindError::Config)?;
        Ok(config)
    }
}

#[cfg(feature = "tls")]
#[cfg_attr(docsrs, doc(cfg(feature = "tls")))]
impl<R: Runtime> Builder<Tls<R>> {
    /// Adds an address whose connections speak no TLS, such as one for health
    /// checks.
    pub fn listen_plain<A>(mut self, address: A) -> Self
    where
        A: TryInto<Address>,
        AddressError: From<A::Error>,
    {
        let address = address.try_into().map_err(AddressError::from);
        let runtime = self.runtime.plain();
        let source = Source::Address(address, ListenOptions::new());
        self.listeners.add(source, Some(runtime));
        self
    }

    /// Adds an address with certificates of its own.
    pub fn listen_tls<A>(mut self, address: A, config: TlsConfig) -> Self
    where
        A: TryInto<Address>,
        AddressError: From<A::Error>,
    {
        let address = address.try_into().map_err(AddressError::from);
        let runtime = self.runtime.with_config(config);
        let source = Source::Address(address, ListenOptions::new());
        self.listeners.add(source, Some(runtime));
        self
    }
}

impl<R: Runtime> fmt::Debug for Builder<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut builder = f.debug_struct("Builder");
        builder.field("config", &self.config);
        builder.finish_non_exhaustive()
    }
}

#[cfg(all(test, feature = "smol"))]
mod tests;
