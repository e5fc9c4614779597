//! A simulated machine: does *your* service lose data when it is stopped?
//!
//! One thread, a virtual clock, a network in memory with bounded buffers and
//! TCP's half-closes and resets, and a seed from which all follows: in which
//! order tasks run, how long each segment takes, when the stop comes. A stop
//! takes some microseconds, so a test goes through thousands of them, and what
//! fails once fails again, on any machine.
//!
//! ```
//! use futures_io::AsyncWriteExt;
//! use lameduck::sim;
//!
//! // A service that answers each byte with the same byte.
//! sim::check(|sim| {
//!     sim.serve(|mut session| async move {
//!         let mut buffer = [0; 16];
//!         while let Some(n) = session.read_or_drain(&mut buffer).await? {
//!             session.write_all(&buffer[..n]).await?;
//!         }
//!         Ok(())
//!     });
//!     sim.client(async |client| {
//!         client.exchange(b"ping", b"ping").await?;
//!         client.exchange(b"pong", b"pong").await
//!     });
//! });
//! ```
//!
//! [`check`] stops the server at another moment each time, and the
//! [checkers](verify) look at what came of it. For a single simulation, by
//! hand, there is [`Sim`].
//!
//! # What is like the real thing, and what is not
//! A listener has a bounded queue, and its close resets who waits there (F1)
//! and whose handshake is under way (F2). To close a connection with unread
//! input, or to get input after the close, resets it and destroys the output
//! that is under way (F16). There is no loss, no congestion and no path MTU: a
//! segment takes up to [the latency](Sim::latency), and a
//! [rule](Sim::rule) can delay it or stall its connection.

mod check;
mod choices;
mod client;
pub(crate) mod pipe;
mod rule;
pub(crate) mod trace;
pub mod verify;
pub(crate) mod world;

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Wake, Waker};
use std::time::Duration;

pub use self::check::{Check, check};
use self::choices::Choices;
pub use self::client::Client;
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

/// Where a simulated server listens, unless told otherwise.
const ADDRESS: ([u8; 4], u16) = ([10, 0, 0, 1], 80);

/// A simulated machine with a server and its clients.
///
/// ```
/// use lameduck::Signal;
/// use lameduck::sim::{Sim, verify};
///
/// let mut sim = Sim::new(1);
/// sim.serve(|session| async move { drop(session); Ok(()) });
/// sim.client(async |client| client.half_close().await);
/// sim.run_until_idle(10_000);
/// sim.signal(Signal::Terminate);
/// let report = sim.run(10_000).expect("it ends");
/// assert_eq!(report.accepted, 1);
/// verify::all(&sim.history(), &report).unwrap();
/// ```
pub struct Sim {
    world: Arc<Mutex<World>>,
    tasks: Vec<Option<Pin<Box<dyn Future<Output = ()>>>>>,
    wakers: Vec<Arc<TaskWaker>>,
    vacant: Vec<usize>,
    ready: Arc<Mutex<Ready>>,
    shutdown: Option<Shutdown>,
    report: Arc<Mutex<Option<(Duration, Report)>>>,
    budget: Duration,
    stop_is_asked: bool,
}

impl fmt::Debug for Sim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sim")
            .field("now", &self.now())
            .finish_non_exhaustive()
    }
}

/// Who can run, in the order of their wake-ups.
#[derive(Debug, Default)]
struct Ready {
    woken: Vec<usize>,
}

struct TaskWaker {
    task: usize,
    ready: Arc<Mutex<Ready>>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        let mut ready = lock(&self.ready);
        if !ready.woken.contains(&self.task) {
            ready.woken.push(self.task);
        }
    }
}

impl Sim {
    /// A machine on which nothing happens yet; all chance follows from `seed`.
    pub fn new(seed: u64) -> Sim {
        Sim::with(Choices::from_seed(seed))
    }

    /// A machine whose chance is a list: each number decides one thing, and
    /// what comes after the last is as simple as can be. For fuzzers.
    ///
    /// ```
    /// let mut sim = lameduck::sim::Sim::with_choices([3, 1, 4]);
    /// assert_eq!(sim.choose(10), 3);
    /// ```
    pub fn with_choices(choices: impl IntoIterator<Item = u32>) -> Sim {
        Sim::with(Choices::given(choices.into_iter().collect()))
    }

    fn with(choices: Choices) -> Sim {
        Sim {
            world: Arc::new(Mutex::new(World::new(choices))),
            tasks: Vec::new(),
            wakers: Vec::new(),
            vacant: Vec::new(),
            ready: Arc::default(),
            shutdown: None,
            report: Arc::default(),
            budget: Duration::MAX,
            stop_is_asked: false,
        }
    }

    /// The longest way of a segment. Default: 100 µs.
    pub fn latency(&mut self, longest: Duration) {
        lock(&self.world).settings.latency = longest;
    }

    /// The size of every buffer, in bytes. Default: 64 KiB.
    pub fn socket_buffer(&mut self, capacity: usize) {
        lock(&self.world).settings.capacity = capacity.max(1);
    }

    /// How long it takes to poll a task. Default: 1 µs. The more it is, the
    /// busier is the machine, and the more has arrived before it is looked at.
    ///
    /// It is never nothing: a task that wakes itself for ever moves the clock
    /// on, and so the deadlines of others.
    pub fn poll_cost(&mut self, cost: Duration) {
        lock(&self.world).settings.poll_cost = cost.max(Duration::from_nanos(1));
    }

    /// What listeners can do when they quiesce. Default: `Sweep`.
    pub fn guarantee(&mut self, guarantee: CloseGuarantee) {
        lock(&self.world).settings.guarantee = guarantee;
    }

    /// Whether the system says how many handshakes are under way. Default: it
    /// does.
    pub fn sees_handshakes(&mut self, sees: bool) {
        lock(&self.world).settings.sees_handshakes = sees;
    }

    /// Adds a rule. Rules are asked in order, and the first that does not
    /// [pass](Verdict::Pass) decides; `below` gives it numbers by chance.
    ///
    /// ```
    /// use lameduck::sim::{Verdict, Event, Sim};
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

    /// A number below `bound`, by chance; 0 when `bound` is.
    pub fn choose(&mut self, bound: u32) -> u32 {
        lock(&self.world).choices.choose(bound)
    }

    /// The runtime, for a builder of one's own.
    pub fn runtime(&self) -> SimRuntime {
        SimRuntime {
            world: self.world.clone(),
        }
    }

    /// A server's builder, which has an address already.
    pub fn builder(&self) -> Builder<SimRuntime> {
        Server::builder(self.runtime()).listen(SocketAddr::from(ADDRESS))
    }

    /// Serves with the defaults.
    ///
    /// # Panics
    /// When the server cannot be bound: there is one already.
    pub fn serve<H, F>(&mut self, handler: H)
    where
        H: Fn(Session<Connection>) -> F + Send + Sync + 'static,
        F: Future<Output = io::Result<()>> + Send + 'static,
    {
        self.serve_with(self.builder(), handler);
    }

    /// Serves with the settings of `builder`.
    ///
    /// # Panics
    /// When the server cannot be bound.
    pub fn serve_with<H, F>(&mut self, builder: Builder<SimRuntime>, handler: H)
    where
        H: Fn(Session<Connection>) -> F + Send + Sync + 'static,
        F: Future<Output = io::Result<()>> + Send + 'static,
    {
        self.budget = builder.longest_stop();
        let server = match builder.bind() {
            Ok(server) => server,
            Err(error) => panic!("the simulated server cannot be bound: {error}"),
        };
        self.shutdown = Some(server.shutdown());
        let (world, slot) = (self.world.clone(), self.report.clone());
        let serve = server.serve(handler);
        self.spawn(async move {
            let report = serve.await;
            let mut world = lock(&world);
            world.tell(Entry::Reports);
            // One who stopped without a signal has stopped by now.
            world.note_stop();
            let now = world.now;
            drop(world);
            *lock(&slot) = Some((now, report));
        });
    }

    /// The handle on the gate of the server; `None` before one serves.
    pub fn shutdown(&self) -> Option<&Shutdown> {
        self.shutdown.as_ref()
    }

    /// A client that connects to the server and follows `program`; then it
    /// reads to the server's end, and closes.
    ///
    /// An error ends the program and not the simulation: that a client which
    /// comes too late is refused, for one, is no fault of the server.
    pub fn client<P>(&mut self, program: P)
    where
        P: AsyncFnOnce(&mut Client) -> io::Result<()> + 'static,
    {
        self.client_at(SocketAddr::from(ADDRESS), program);
    }

    /// The same, to another address.
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

    /// A connection for a task of one's own.
    ///
    /// # Errors
    /// `ConnectionRefused` when nobody listens there.
    pub fn connect(
        &self,
        address: SocketAddr,
    ) -> impl Future<Output = io::Result<Client>> + use<> {
        Client::connect(self.world.clone(), address)
    }

    /// Any other task of the simulation.
    pub fn spawn(&mut self, task: impl Future<Output = ()> + 'static) {
        let id = match self.vacant.pop() {
            Some(id) => id,
            None => {
                let task = self.tasks.len();
                let ready = self.ready.clone();
                self.wakers.push(Arc::new(TaskWaker { task, ready }));
                self.tasks.push(None);
                task
            }
        };
        self.tasks[id] = Some(Box::pin(task));
        Wake::wake(self.wakers[id].clone());
    }

    /// Sends a signal to the server.
    pub fn signal(&mut self, signal: Signal) {
        self.stop_is_asked = true;
        lock(&self.world).signal(signal);
    }

    /// Asks for the stop as a program does, through its [`Shutdown`].
    pub fn stop(&mut self, cause: &'static str) {
        self.stop_is_asked = true;
        lock(&self.world).note_stop();
        if let Some(shutdown) = &self.shutdown {
            shutdown.stop(cause);
        }
    }

    /// Cuts the living off, as a program does that is in a hurry.
    pub fn abort(&mut self, cause: &'static str) {
        self.stop_is_asked = true;
        lock(&self.world).note_stop();
        if let Some(shutdown) = &self.shutdown {
            shutdown.abort(cause);
        }
    }

    /// The time since the beginning.
    pub fn now(&self) -> Duration {
        lock(&self.world).now
    }

    /// Lets one thing happen: a task runs, or the clock goes on to what comes
    /// next. False when nothing can happen any more.
    pub fn step(&mut self) -> bool {
        self.step_until(Duration::MAX)
    }

    /// One step, if it comes at `until` or earlier.
    fn step_until(&mut self, until: Duration) -> bool {
        let mut world = lock(&self.world);
        let due = world.next_at();
        let mut ready = lock(&self.ready);
        let can_run = ready.woken.len() as u32;
        let is_due = due.is_some_and(|at| at <= world.now);
        // Whoever can run, and what is due by now, come in any order.
        let chosen = world.choices.choose(can_run + u32::from(is_due));
        if chosen < can_run {
            let task = ready.woken.remove(chosen as usize);
            drop((ready, world));
            self.take_turn(task);
            return true;
        }
        drop(ready);
        let happened = due.is_some_and(|at| at <= until) && world.happen();
        let woken = std::mem::take(&mut world.woken);
        drop(world);
        for task in woken {
            self.poll(task);
        }
        happened
    }

    /// The turn of a task that was woken, unless a rule has something else.
    fn take_turn(&mut self, task: usize) {
        let mut world = lock(&self.world);
        let verdict = world.ask_rules(Event::Wake);
        if let Verdict::Delay(by) = verdict {
            world.wake_later(task, by);
            return;
        }
        drop(world);
        self.poll(task);
        if verdict == Verdict::Twice {
            self.poll(task);
        }
    }

    fn spend_a_turn(&mut self) {
        let mut world = lock(&self.world);
        let cost = world.settings.poll_cost;
        world.now += cost;
    }

    fn poll(&mut self, id: usize) {
        self.spend_a_turn();
        let Some(mut task) = self.tasks[id].take() else {
            return;
        };
        let waker = Waker::from(self.wakers[id].clone());
        match task
            .as_mut()
            .poll(&mut Context::from_waker(&waker))
            .is_ready()
        {
            true => self.vacant.push(id),
            false => self.tasks[id] = Some(task),
        }
        let spawned = std::mem::take(&mut lock(&self.world).spawned);
        for task in spawned {
            self.spawn(task);
        }
    }

    /// Steps as long as something can happen without waiting for a timer that
    /// is further away than a round trip, at the most `max_steps`. Gives the
    /// number of steps.
    pub fn run_until_idle(&mut self, max_steps: usize) -> usize {
        for steps in 0..max_steps {
            let latency = lock(&self.world).settings.latency;
            if !self.step_until(self.now() + latency * 2) {
                return steps;
            }
        }
        max_steps
    }

    /// Lets so much time pass, with all that happens in it, at the most
    /// `max_steps`. Gives the number of steps.
    pub fn advance(&mut self, by: Duration, max_steps: usize) -> usize {
        let until = self.now() + by;
        for steps in 0..max_steps {
            if !self.step_until(until) {
                let mut world = lock(&self.world);
                world.now = world.now.max(until);
                return steps;
            }
        }
        max_steps
    }

    /// Runs until the server has ended and its clients have seen what there is
    /// to see, at the most `max_steps`. Gives the report.
    pub fn run(&mut self, max_steps: usize) -> Option<Report> {
        for _ in 0..max_steps {
            if !self.step() {
                break;
            }
        }
        self.report()
    }

    /// The server's report, once it has ended.
    pub fn report(&self) -> Option<Report> {
        lock(&self.report)
            .as_ref()
            .map(|(_, report)| report.clone())
    }

    /// What was seen so far, for the [checkers](verify).
    pub fn history(&self) -> History {
        let world = lock(&self.world);
        let clients = world.conns.iter().enumerate().map(|(id, conn)| {
            let owed = conn.exchanges.iter();
            let owed = owed.filter(|e| e.request_end <= conn.arrived_before_stop);
            ClientHistory {
                id,
                peer: conn.peer.into(),
                established: conn.established,
                queued: conn.queued,
                accepted: conn.accepted,
                owed: owed.map(|e| e.response_end).max().unwrap_or(0),
                received: conn.down.read,
                garbled: conn.garbled,
                ended: conn.down.is_at_end(),
                reset: conn.down.is_reset && !conn.down.is_at_end(),
                left: conn.left,
            }
        });
        History {
            stopped_at: world.stopped_at,
            ended_at: lock(&self.report).as_ref().map(|(at, _)| *at),
            clients: clients.collect(),
        }
    }

    /// What happened, line by line.
    pub fn trace(&self) -> String {
        lock(&self.world).trace.to_string()
    }

    fn into_choices(self) -> Vec<u32> {
        lock(&self.world).choices.clone().into_made()
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        // Tasks hold the world, which may hold tasks.
        self.tasks.clear();
        let spawned = std::mem::take(&mut lock(&self.world).spawned);
        drop(spawned);
    }
}
