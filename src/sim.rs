//! A simulated machine, to test whether a service loses data when it is stopped.
//!
//! It has one thread, a virtual clock, a network in memory with bounded buffers,
//! half-closes and resets, and a seed from which everything follows: the order
//! in which tasks run, the time that each segment takes, the moment of the stop.
//! A stop takes some microseconds, so a test goes through thousands of them, and
//! a stop that fails once fails again, on any machine.
//!
//! ```
//! use futures::io::AsyncWriteExt;
//! use lameduck::sim;
//!
//! // A service that answers each byte with the same byte.
//! sim::check(|sim| {
//!     sim.serve(async |mut session: lameduck::Session<sim::Connection>| {
//!         let mut buffer = [0; 16];
//!         while let Some(n) = session.read_or_drain(&mut buffer).await? {
//!             session.write_all(&buffer[..n]).await?;
//!         }
//!         std::io::Result::Ok(())
//!     });
//!     sim.client(async |client| {
//!         client.exchange_bytes(b"ping", b"ping").await?;
//!         client.exchange_bytes(b"pong", b"pong").await
//!     });
//! });
//! ```
//!
//! [`check`] stops the server at another moment each time, and the
//! [checkers](verify) look at what came of it. For a single simulation, by
//! hand, there is [`Sim`].
//!
//! # What it simulates, and what not
//! A listener has a bounded accept queue, and its close resets the connections
//! in it ([F1](crate::docs::faults#f1)) and those whose handshake is under way
//! ([F2](crate::docs::faults#f2)). To close a connection with unread input, or to
//! receive input after the close, resets it and destroys the output that is
//! under way ([F16](crate::docs::faults#f16)). Messages come in pieces, and
//! between two looks of one poll segments can arrive and the stop can come
//! ([F74](crate::docs::faults#f74)). There is no loss, no congestion and no path
//! MTU: a segment takes up to [the latency](Sim::latency), and a
//! [rule](Sim::rule) can delay it or stall its connection.

mod check;
mod choices;
mod client;
pub(crate) mod executor;
mod expect;
mod network;
pub(crate) mod pipe;
mod rule;
pub(crate) mod trace;
pub mod verify;
pub(crate) mod world;

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

pub use self::check::{Check, check};
use self::choices::Choices;
pub use self::client::Client;
use self::executor::Executor;
pub use self::expect::{Expected, Match};
use self::network::LONGEST_TRANSIT;
pub use self::rule::{Event, Verdict};
use self::trace::Entry;
use self::verify::{ClientHistory, History};
use self::world::World;
use crate::gate::Shutdown;
use crate::report::Report;
use crate::rt::CloseGuarantee;
pub use crate::runtimes::sim::{Connection, Listener, Signals, SimRuntime, Sleep};
use crate::server::{Builder, Server};
use crate::session::Session;
use crate::signal::Signal;
use crate::sync::plain::{Arc, Mutex, lock};

/// The address of a simulated server, unless it is told another one.
const ADDRESS: ([u8; 4], u16) = ([10, 0, 0, 1], 80);

/// The steps in which a signal waits for the middle of a poll.
const POLLS: usize = 1000;

/// An assertion at the end of a checked simulation.
type AtEnd = Box<dyn FnOnce(&History, &Report) -> Result<(), String>>;

/// A simulated machine with a server and its clients.
///
/// ```
/// use lameduck::Signal;
/// use lameduck::sim::{Sim, verify};
///
/// let mut sim = Sim::new(1);
/// sim.serve(|session| async move { drop(session); std::io::Result::Ok(()) });
/// sim.client(async |client| client.half_close().await);
/// sim.run_until_idle(10_000);
/// sim.signal(Signal::Terminate);
/// let report = sim.run(10_000).expect("it ends");
/// assert_eq!(report.accepted, 1);
/// verify::all(&sim.history(), &report).unwrap();
/// ```
pub struct Sim {
    world: Arc<Mutex<World>>,
    executor: Executor,
    shutdown: Option<Shutdown>,
    report: Arc<Mutex<Option<(Duration, Report)>>>,
    budget: Duration,
    is_stop_requested: bool,
    at_end: Vec<AtEnd>,
}

impl fmt::Debug for Sim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sim")
            .field("now", &self.now())
            .finish_non_exhaustive()
    }
}

impl Sim {
    /// Creates a machine on which nothing happens yet. All chance follows from
    /// `seed`.
    pub fn new(seed: u64) -> Sim {
        Sim::with(Choices::from_seed(seed))
    }

    /// Creates a machine whose chance is a list: each number decides one thing,
    /// and after the last one all is as simple as can be. It is for fuzzers.
    ///
    /// ```
    /// let mut sim = lameduck::sim::Sim::with_choices([3, 1, 4]);
    /// assert_eq!(sim.choose(10), 3);
    /// ```
    pub fn with_choices(choices: impl IntoIterator<Item = u32>) -> Sim {
        Sim::with(Choices::given(choices.into_iter().collect()))
    }

    fn with(choices: Choices) -> Sim {
        let ready = Arc::default();
        let world = Arc::new(Mutex::new(World::new(choices, Arc::clone(&ready))));
        Sim {
            executor: Executor::new(world.clone(), ready),
            world,
            shutdown: None,
            report: Arc::default(),
            budget: Duration::MAX,
            is_stop_requested: false,
            at_end: Vec::new(),
        }
    }

    // Settings

    /// Sets the longest time that a segment takes. Default: 100 µs.
    pub fn latency(&mut self, longest: Duration) {
        lock(&self.world).settings.latency = longest;
    }

    /// Sets the size of every buffer, in bytes. Default: 64 KiB.
    pub fn socket_buffer(&mut self, capacity: usize) {
        lock(&self.world).settings.capacity = capacity.max(1);
    }

    /// Sets the time that it takes to poll a task. Default: 1 µs. The longer it
    /// is, the busier is the machine, and the more has arrived before the server
    /// looks.
    ///
    /// It is never zero: a task that wakes itself for ever moves the clock on,
    /// and so comes to the deadlines of others.
    pub fn poll_cost(&mut self, cost: Duration) {
        lock(&self.world).settings.poll_cost = cost.max(Duration::from_nanos(1));
    }

    /// Sets the guarantee that listeners can give when they stop accepting.
    /// Default: `Swept`.
    pub fn guarantee(&mut self, guarantee: CloseGuarantee) {
        lock(&self.world).settings.guarantee = guarantee;
    }

    /// Sets whether the system says how many handshakes are under way. Default:
    /// it does.
    pub fn sees_handshakes(&mut self, sees: bool) {
        lock(&self.world).settings.sees_handshakes = sees;
    }

    /// Sets the most connections that the server can have open: beyond it an
    /// accept fails with EMFILE. Default: no limit.
    pub fn descriptor_limit(&mut self, connections: usize) {
        lock(&self.world).settings.descriptors = connections;
    }

    /// Sets whether a poll of the server's tasks can be interrupted: segments
    /// arrive, a signal comes and the driver runs between two looks of one poll,
    /// as on a machine with several processors. Default: true.
    pub fn interruptions(&mut self, can_interrupt: bool) {
        lock(&self.world).settings.interruptions = can_interrupt;
    }

    /// Sets whether reads and writes of the server sometimes return `Pending`
    /// although they could go on, and wake the task: runtimes such as tokio make
    /// a task yield so. Default: false.
    pub fn forced_yields(&mut self, has_to_yield: bool) {
        lock(&self.world).settings.forced_yields = has_to_yield;
    }

    /// Adds a rule. Rules are asked in order, and the first one whose verdict
    /// changes something decides. `choose` gives it numbers by chance.
    ///
    /// ```
    /// use lameduck::sim::{Event, Sim, Verdict};
    ///
    /// let mut sim = Sim::new(1);
    /// // One accept in ten fails with EMFILE.
    /// sim.rule(|event, choose| match event {
    ///     Event::Accept if choose(10) == 9 => Verdict::Fail(24),
    ///     _ => Verdict::Pass,
    /// });
    /// ```
    pub fn rule<R>(&mut self, rule: R)
    where
        R: FnMut(&Event, &mut dyn FnMut(u32) -> u32) -> Verdict + Send + 'static,
    {
        lock(&self.world).rules.push(Box::new(rule));
    }

    /// Returns a number below `bound`, by chance; 0 where `bound` is 0.
    pub fn choose(&mut self, bound: u32) -> u32 {
        lock(&self.world).choices.choose(bound)
    }

    // Servers and clients

    /// Returns the runtime, for a builder of your own.
    pub fn runtime(&self) -> SimRuntime {
        SimRuntime {
            world: self.world.clone(),
        }
    }

    /// Returns the builder of a server, which has an address already.
    pub fn builder(&self) -> Builder<SimRuntime> {
        Server::builder(self.runtime()).listen(SocketAddr::from(ADDRESS))
    }

    /// Serves with the defaults.
    ///
    /// # Panics
    /// When the server cannot be bound: there is one already.
    pub fn serve<H, F, E>(&mut self, handler: H)
    where
        H: Fn(Session<Connection>) -> F + Send + Sync + 'static,
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<Box<dyn Error + Send + Sync>> + 'static,
    {
        self.serve_with(self.builder(), handler);
    }

    /// Serves with the settings of `builder`.
    ///
    /// # Panics
    /// When the server cannot be bound.
    pub fn serve_with<H, F, E>(&mut self, builder: Builder<SimRuntime>, handler: H)
    where
        H: Fn(Session<Connection>) -> F + Send + Sync + 'static,
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<Box<dyn Error + Send + Sync>> + 'static,
    {
        self.budget = builder.longest_stop();
        let server = match builder.bind() {
            Ok(server) => server,
            Err(error) => panic!("the simulated server cannot be bound: {error}"),
        };
        self.shutdown = Some(server.shutdown());
        let (world, slot) = (self.world.clone(), self.report.clone());
        let serve = server.serve(handler);
        self.executor.spawn_driver(async move {
            let report = serve.await;
            let mut world = lock(&world);
            world.log(Entry::Stopped);
            // A handler may have asked for the stop.
            world.note_stop();
            let now = world.now;
            drop(world);
            *lock(&slot) = Some((now, report));
        });
    }

    /// Returns the handle on the gate of the server; `None` before one serves.
    pub fn shutdown(&self) -> Option<&Shutdown> {
        self.shutdown.as_ref()
    }

    /// Adds a client, which connects to the server and follows `program`. Then
    /// it reads to the server's end, and closes.
    ///
    /// An error ends the program and not the simulation: a client that comes
    /// too late is refused, for one, and that is no fault of the server.
    pub fn client<P>(&mut self, program: P)
    where
        P: AsyncFnOnce(&mut Client) -> io::Result<()> + 'static,
    {
        self.client_at(SocketAddr::from(ADDRESS), program);
    }

    /// Adds a client that connects to another address; see
    /// [`client`](Sim::client).
    pub fn client_at<P>(&mut self, address: SocketAddr, program: P)
    where
        P: AsyncFnOnce(&mut Client) -> io::Result<()> + 'static,
    {
        let world = self.world.clone();
        self.spawn(async move {
            if let Ok(mut client) = Client::connect(world, address).await {
                let _ = program(&mut client).await;
                client.finish().await;
            }
        });
    }

    /// Connects a client, for a task of your own.
    ///
    /// # Errors
    /// `ConnectionRefused` when no server listens there.
    pub fn connect(
        &self,
        address: SocketAddr,
    ) -> impl Future<Output = io::Result<Client>> + use<> {
        Client::connect(self.world.clone(), address)
    }

    /// Spawns a task of your own, on a machine of its own.
    pub fn spawn(&mut self, task: impl Future<Output = ()> + 'static) {
        self.executor.spawn_client(task);
    }

    /// Adds an assertion for the end of a simulation that [`check`] runs. Its
    /// error fails the check and is made as simple as can be, like any other.
    ///
    /// ```
    /// use futures::io::AsyncWriteExt;
    /// use lameduck::sim;
    /// use std::cell::Cell;
    /// use std::rc::Rc;
    ///
    /// sim::check(|sim| {
    ///     sim.serve(async |mut session: lameduck::Session<sim::Connection>| {
    ///         session.write_all(b"hello").await
    ///     });
    ///     let greeted = Rc::new(Cell::new(false));
    ///     let seen = greeted.clone();
    ///     sim.client(async move |client| {
    ///         client.exchange(b"", b"hello").await?;
    ///         greeted.set(true);
    ///         Ok(())
    ///     });
    ///     sim.at_end(move |_, report| match report.accepted {
    ///         1 if !seen.get() => Err("a client was accepted and not greeted"),
    ///         _ => Ok(()),
    ///     });
    /// });
    /// ```
    pub fn at_end<A, E>(&mut self, assertion: A)
    where
        A: FnOnce(&History, &Report) -> Result<(), E> + 'static,
        E: fmt::Display,
    {
        self.at_end.push(Box::new(|history, report| {
            assertion(history, report).map_err(|error| error.to_string())
        }));
    }

    // Stops

    /// Sends a signal to the server.
    pub fn signal(&mut self, signal: Signal) {
        self.is_stop_requested = true;
        lock(&self.world).signal(signal);
    }

    /// Sends a signal in the middle of the next poll of one of the server's
    /// tasks, and runs until then; at once, where nothing happens any more.
    pub fn signal_in_poll(&mut self, signal: Signal) {
        self.is_stop_requested = true;
        lock(&self.world).signal_in_poll = Some(signal);
        for _ in 0..POLLS {
            if !self.step() || lock(&self.world).signal_in_poll.is_none() {
                break;
            }
        }
        let signal = lock(&self.world).signal_in_poll.take();
        if let Some(signal) = signal {
            self.signal(signal);
        }
    }

    /// Asks for the stop as a program does, through its [`Shutdown`].
    pub fn stop(&mut self, cause: &'static str) {
        self.note_stop(Entry::StopRequested);
        if let Some(shutdown) = &self.shutdown {
            shutdown.stop(cause);
        }
    }

    /// Aborts as a program does, through its [`Shutdown`].
    pub fn abort(&mut self, cause: &'static str) {
        self.note_stop(Entry::AbortRequested);
        if let Some(shutdown) = &self.shutdown {
            shutdown.abort(cause);
        }
    }

    fn note_stop(&mut self, entry: Entry) {
        self.is_stop_requested = true;
        let mut world = lock(&self.world);
        world.log(entry);
        world.note_stop();
    }

    /// Lets time pass in which the server does not run at all, as when its
    /// container is paused. Its system and its clients go on.
    pub fn freeze(&mut self, time: Duration) {
        self.executor.freeze(time);
    }

    // Running

    /// Returns the time since the beginning.
    pub fn now(&self) -> Duration {
        lock(&self.world).now
    }

    /// Lets one thing happen: a task runs, or the clock goes on to what is
    /// scheduled next. Returns false when nothing can happen any more.
    pub fn step(&mut self) -> bool {
        self.executor.step_until(Duration::MAX)
    }

    /// Steps as long as something can happen without waiting for a timer that
    /// is further away than the longest round trip, at most `max_steps` times.
    /// Returns the number of steps.
    pub fn run_until_idle(&mut self, max_steps: usize) -> usize {
        for steps in 0..max_steps {
            let round_trip = lock(&self.world).settings.latency * LONGEST_TRANSIT * 2;
            if !self.executor.step_until(self.now() + round_trip) {
                return steps;
            }
        }
        max_steps
    }

    /// Lets so much time pass, with all that happens in it, in at most
    /// `max_steps`. Returns the number of steps.
    pub fn advance(&mut self, by: Duration, max_steps: usize) -> usize {
        let until = self.now() + by;
        for steps in 0..max_steps {
            if !self.executor.step_until(until) {
                let mut world = lock(&self.world);
                world.now = world.now.max(until);
                return steps;
            }
        }
        max_steps
    }

    /// Runs until the server has stopped and its clients have seen what there
    /// is to see, in at most `max_steps`. Returns the report.
    pub fn run(&mut self, max_steps: usize) -> Option<Report> {
        for _ in 0..max_steps {
            if !self.step() {
                break;
            }
        }
        self.report()
    }

    // What was seen

    /// Returns the server's report, once it has stopped.
    pub fn report(&self) -> Option<Report> {
        lock(&self.report)
            .as_ref()
            .map(|(_, report)| report.clone())
    }

    /// Returns what was seen so far, for the [checkers](verify).
    pub fn history(&self) -> History {
        let world = lock(&self.world);
        let clients = world.conns.iter().enumerate();
        let clients = clients.map(|(id, conn)| ClientHistory {
            id,
            peer: conn.peer.into(),
            established: conn.established,
            queued: conn.queued,
            accepted: conn.accepted,
            owed: conn.owed(),
            answered: conn.answered,
            wrong_answer_at: conn.wrong_answer_at,
            ended: conn.down.is_at_end(),
            reset: conn.down.is_reset && !conn.down.is_at_end(),
            left: conn.left,
        });
        History {
            stopped_at: world.stopped_at,
            ended_at: lock(&self.report).as_ref().map(|(at, _)| *at),
            frozen: world.frozen,
            clients: clients.collect(),
        }
    }

    /// Returns what happened, line by line: the last 2,000 lines.
    pub fn trace(&self) -> String {
        lock(&self.world).trace.to_string()
    }

    fn into_choices(self) -> Vec<u32> {
        lock(&self.world).choices.clone().into_made()
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        // Tasks hold the world, and the world holds tasks.
        self.executor.clear();
    }
}
