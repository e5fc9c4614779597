//! The gate: one atomic word that holds the phase and the guard count.
//!
//! The gate is a useful library alone. A program with an accept loop of its
//! own holds a [`Guard`] for as long as the loop accepts, takes a guard for
//! each connection *where it is accepted*, before anything is spawned, and
//! awaits the end with [`Shutdown::stopped`]. The pure values in
//! [`machine`](crate::machine) add the accept policy, the sweep and the
//! lingering close.
//!
//! ```
//! use lameduck::{Phase, Shutdown};
//!
//! let shutdown = Shutdown::new();
//! let accept_loop = shutdown.try_guard()?;
//! let connection = accept_loop.try_clone()?;
//!
//! shutdown.stop("configuration changed");
//! assert!(shutdown.try_guard().is_err()); // closed to work from outside,
//! let swept = accept_loop.try_clone()?; // a holder still brings in others
//!
//! drop((connection, swept));
//! assert_eq!(shutdown.phase(), Phase::Draining); // the loop holds a guard
//! drop(accept_loop);
//! assert_eq!(shutdown.phase(), Phase::Stopped);
//! # Ok::<(), lameduck::GuardError>(())
//! ```
//!
//! Taking a guard costs one addition to the word. Dropping one costs
//! one subtraction; the drop of the last guard of a closed gate also ends the
//! stop. A read that waits for the stop as well loads the word; it takes no
//! lock and writes nothing while the same task polls it.

mod guard;
mod last;
#[cfg(feature = "http")]
mod plain_guard;
mod rounds;
mod shared;
mod stop_in_restart;
mod waiters;
#[cfg(test)]
pub(crate) mod woken;
mod word;

use std::borrow::Borrow;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

pub use self::guard::Guard;
pub(crate) use self::guard::Hold;
pub(crate) use self::last::OthersEnded;
#[cfg(feature = "http")]
pub(crate) use self::plain_guard::PlainGuard;
pub(crate) use self::rounds::Unused;
use self::shared::Shared;
pub(crate) use self::stop_in_restart::InRestart;
use self::waiters::{Until, Waiter};
pub use self::word::GuardError;
use self::word::{Progress, Step, Word};
use crate::cause::Cause;
use crate::phase::Phase;
use crate::sync::{Arc, Ordering, lock};

/// A handle on the gate: asks for the stop, observes it, waits for it.
///
/// It is cheap to clone; all clones are the same gate. To ask and to wait are
/// two things: a handler may ask, and must not wait for the end that it is
/// itself part of ([F39](crate::docs::faults)).
///
/// A program without sockets, such as a worker of a queue, has a gate of its own. What a
/// server does beside it is then done by hand: to catch the signals, and to end the wait
/// when the grace period is over.
///
/// ```
/// use futures::channel::mpsc::{UnboundedReceiver, unbounded};
/// use futures::future::{Either, select};
/// use futures::stream::StreamExt;
/// use lameduck::{Guard, Runtime, Shutdown, Signal, SignalSource, runtimes::smol::Smol};
/// use std::error::Error;
/// use std::future::poll_fn;
/// use std::process::ExitCode;
/// use std::time::Duration;
///
/// /// Does all jobs that were queued before the stop. Until then it holds its guard.
/// async fn work(mut guard: Guard, mut jobs: UnboundedReceiver<u32>) {
///     while let Some(Some(job)) = guard.wait_or_drain(|cx| jobs.poll_next_unpin(cx)).await {
///         println!("job {job}");
///     }
/// }
///
/// async fn run() -> Result<ExitCode, Box<dyn Error>> {
///     // First thing: what takes time at the start comes behind it.
///     let mut signals = Smol.signals(&[Signal::Interrupt, Signal::Terminate])?;
///     let shutdown = Shutdown::new();
///     let (queue, jobs) = unbounded();
///     smol::spawn(work(shutdown.try_guard()?, jobs)).detach();
///     queue.unbounded_send(1)?;
/// #   rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::TERM)?;
///
///     poll_fn(|cx| signals.poll_signal(cx)).await;
///     shutdown.stop("a signal");
///     let grace_period = smol::Timer::after(Duration::from_secs(25));
///     match select(shutdown.stopped(), grace_period).await {
///         Either::Left(_) => Ok(ExitCode::SUCCESS),
///         Either::Right(_) => Ok(ExitCode::from(3)),
///     }
/// }
/// # assert_eq!(smol::block_on(run()).unwrap(), ExitCode::SUCCESS);
/// ```
#[derive(Clone, Debug)]
pub struct Shutdown {
    shared: Arc<Shared>,
}

impl Default for Shutdown {
    fn default() -> Shutdown {
        Shutdown::new()
    }
}

impl Shutdown {
    /// Creates a gate that is open and empty.
    ///
    /// A server creates its own gate: see [`Server::shutdown`](crate::Server::shutdown).
    pub fn new() -> Shutdown {
        Shutdown::starting_with(Phase::Draining, Word::NEW)
    }

    /// Creates a gate whose stop begins with `LameDuck`, and which the driver
    /// of a server leads on from there.
    pub(crate) fn driven() -> (Shutdown, Hold) {
        let shutdown = Shutdown::starting_with(Phase::LameDuck, Word::NEW_HELD);
        let hold = Hold::counted(shutdown.clone());
        (shutdown, hold)
    }

    fn starting_with(stop_phase: Phase, word: Word) -> Shutdown {
        Shutdown {
            shared: Arc::new(Shared::new(stop_phase, word)),
        }
    }

    /// Takes a guard: the gate does not come to its end before it is dropped.
    ///
    /// Take the guard where the work comes in, before it is spawned: a guard
    /// that is taken inside of the spawned task can be too late
    /// ([F8](crate::docs::faults)).
    ///
    /// # Errors
    /// [`GuardError::Closed`] once the gate is [`Draining`](Phase::Draining). A
    /// holder can still bring in others, with [`Guard::try_clone`].
    ///
    /// ```
    /// let shutdown = lameduck::Shutdown::new();
    /// let guard = shutdown.try_guard()?;
    /// assert_eq!(shutdown.guard_count(), 1);
    /// drop(guard);
    /// assert_eq!(shutdown.guard_count(), 0);
    /// # Ok::<(), lameduck::GuardError>(())
    /// ```
    #[inline]
    pub fn try_guard(&self) -> Result<Guard, GuardError> {
        self.shared.enter(Step::Enter)?;
        Ok(Guard::counted(self.clone()))
    }

    /// Takes a guard beside one that is held, or beside the server's hold.
    #[inline]
    fn join(&self) -> Result<Guard, GuardError> {
        self.shared.enter(Step::Join)?;
        Ok(Guard::counted(self.clone()))
    }

    /// Takes a guard that borrows the gate, which costs half of an owned one.
    ///
    /// It is for threads and tasks that may borrow, and for all others where
    /// the gate itself lives as long as the program.
    ///
    /// # Errors
    /// As [`try_guard`](Shutdown::try_guard).
    ///
    /// ```
    /// use std::sync::LazyLock;
    /// use lameduck::Shutdown;
    ///
    /// let shutdown = Shutdown::new();
    /// std::thread::scope(|scope| {
    ///     let guard = shutdown.try_guard_ref()?;
    ///     scope.spawn(move || drop(guard));
    ///     Ok::<(), lameduck::GuardError>(())
    /// })?;
    ///
    /// static GATE: LazyLock<Shutdown> = LazyLock::new(Shutdown::new);
    /// let gate: &'static Shutdown = &GATE;
    /// let guard = gate.try_guard_ref()?; // may go into any task
    /// std::thread::spawn(move || drop(guard));
    /// # Ok::<(), lameduck::GuardError>(())
    /// ```
    #[inline]
    pub fn try_guard_ref(&self) -> Result<Guard<&Shutdown>, GuardError> {
        self.shared.enter(Step::Enter)?;
        Ok(Guard::counted(self))
    }

    /// Asks for the stop; returns whether this call began it.
    ///
    /// It is idempotent: only the first cause is kept. It returns at once; to
    /// wait, see [`stopped`](Shutdown::stopped). After a restart, when a
    /// successor serves and this process ends what it has without haste, it
    /// gives the process the grace period of a stop.
    ///
    /// ```
    /// use lameduck::{Cause, Shutdown};
    ///
    /// let shutdown = Shutdown::new();
    /// assert!(shutdown.stop("upgrade"));
    /// assert!(!shutdown.stop("upgrade, once more"));
    /// assert_eq!(shutdown.cause(), Some(Cause::from("upgrade")));
    /// ```
    pub fn stop(&self, cause: impl Into<Cause>) -> bool {
        self.advance_for(self.shared.stop_phase, cause.into())
    }

    /// Asks for what is left to be cut off; returns whether this call did.
    ///
    /// It begins the stop where none has begun; otherwise the cause of the stop stays.
    /// A gate without a server only tells those that wait for [`Phase::Aborting`].
    ///
    /// ```
    /// use lameduck::{Phase, Shutdown};
    ///
    /// let shutdown = Shutdown::new();
    /// let guard = shutdown.try_guard()?;
    /// shutdown.stop("upgrade");
    /// shutdown.abort("the upgrade cannot wait");
    /// assert_eq!(shutdown.phase(), Phase::Aborting);
    /// # Ok::<(), lameduck::GuardError>(())
    /// ```
    pub fn abort(&self, cause: impl Into<Cause>) -> bool {
        self.advance_for(Phase::Aborting, cause.into())
    }

    fn advance_for(&self, phase: Phase, cause: Cause) -> bool {
        // The cause first: nobody may see a stop without one (F30).
        let is_restart = *lock(&self.shared.cause).get_or_insert(cause) == Cause::Successor;
        let is_first = self.advance(phase);
        if is_restart && !is_first {
            self.shared.stop_in_restart.ask();
        }
        is_first
    }

    /// Waits until a stop is asked for although a successor serves.
    pub(crate) fn poll_stop_in_restart(
        &self,
        waits: InRestart,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        self.shared.stop_in_restart.poll(waits, cx)
    }

    /// Goes forward to `phase`; returns false when the gate is there already,
    /// or beyond it.
    pub(crate) fn advance(&self, phase: Phase) -> bool {
        self.shared.advance(Step::Advance(phase)).is_ok()
    }

    /// Closes the gate, and leaves idle connections time to settle.
    pub(crate) fn settle(&self) -> bool {
        self.shared.advance(Step::Settle).is_ok()
    }

    /// Ends the idle connections, but for those in use: each call begins a round.
    pub(crate) fn end_unused(&self) {
        self.shared.rounds.begin_next();
        self.end_those_that_wait();
    }

    /// Ends the idle connections.
    pub(crate) fn end_idle(&self) {
        self.shared.rounds.end();
        self.end_those_that_wait();
    }

    /// Ends the connections that are never idle, between two of their messages, once they
    /// have read all that has arrived.
    pub(crate) fn end_busy(&self) {
        // Relaxed: nothing else is to be seen by those that see it, and nobody waits for it.
        self.shared.ends_busy.store(true, Ordering::Relaxed);
    }

    /// Ends the connections that drain last, at their idle points, although others are open.
    pub(crate) fn end_last(&self) {
        self.shared.last.end();
        self.shared.waiters.wake_for_round();
    }

    fn end_those_that_wait(&self) {
        if !self.advance(Phase::Draining) {
            // Nothing new for the word: those wait that were in use in the last round.
            self.shared.waiters.wake_for_round();
        }
    }

    /// Notes that a handle drains last. `is_first`: that of a connection.
    pub(crate) fn joins_last(&self, is_first: bool) {
        self.shared.last.join(is_first);
    }

    /// Notes the end of such a handle.
    pub(crate) fn leaves_last(&self) {
        self.shared.last.leave();
    }

    /// Notes that a connection of the server has ended. `was_last`: it drained last.
    pub(crate) fn has_left(&self, was_last: bool) {
        if was_last || self.is_draining() {
            self.shared.last.leave_connection(was_last);
        }
    }

    /// Ends those that drain last where nobody else is open any more. Ready: it has done
    /// so. Otherwise the driver is woken when it may be time.
    pub(crate) fn poll_end_last(
        &self,
        cx: &Context<'_>,
        open: impl FnOnce() -> usize,
    ) -> Poll<()> {
        let over = self.shared.last.poll_over(cx, open);
        if over.is_ready() {
            self.shared.waiters.wake_for_round();
        }
        over
    }

    /// Returns the wait of a connection that drains last.
    pub(crate) fn others_ended(&self) -> OthersEnded {
        OthersEnded::new(self)
    }

    /// Returns the phase.
    ///
    /// ```
    /// use lameduck::{Phase, Shutdown};
    ///
    /// let shutdown = Shutdown::new();
    /// assert_eq!(shutdown.phase(), Phase::Running);
    /// shutdown.stop("done"); // and no guard is held
    /// assert_eq!(shutdown.phase(), Phase::Stopped);
    /// ```
    #[inline]
    pub fn phase(&self) -> Phase {
        self.shared.word().phase()
    }

    /// Returns whether new work is welcome, as a readiness probe asks.
    ///
    /// Liveness is another question: a draining server is alive
    /// ([F14](crate::docs::faults)).
    ///
    /// ```
    /// let shutdown = lameduck::Shutdown::new();
    /// assert!(shutdown.is_ready());
    /// shutdown.stop("done");
    /// assert!(!shutdown.is_ready());
    /// ```
    pub fn is_ready(&self) -> bool {
        self.phase() == Phase::Running
    }

    /// Returns whether the gate has come to [`Phase::Draining`], or beyond it.
    ///
    /// ```
    /// let shutdown = lameduck::Shutdown::new();
    /// let guard = shutdown.try_guard()?;
    /// shutdown.stop("done");
    /// assert!(shutdown.is_draining() && guard.is_draining());
    /// # Ok::<(), lameduck::GuardError>(())
    /// ```
    pub fn is_draining(&self) -> bool {
        self.phase() >= Phase::Draining
    }

    /// Returns the number of guards, and of those that are just being refused.
    ///
    /// On a server each connection has one; the server's own hold on its gate
    /// is not counted.
    ///
    /// ```
    /// let shutdown = lameduck::Shutdown::new();
    /// let guards = [shutdown.try_guard()?, shutdown.try_guard()?];
    /// assert_eq!(shutdown.guard_count(), guards.len());
    /// # Ok::<(), lameduck::GuardError>(())
    /// ```
    pub fn guard_count(&self) -> usize {
        self.shared.word().guard_count()
    }

    /// Returns the cause of the stop; `None` before one.
    ///
    /// ```
    /// let shutdown = lameduck::Shutdown::new();
    /// assert_eq!(shutdown.cause(), None);
    /// shutdown.stop(lameduck::Signal::Terminate);
    /// assert_eq!(shutdown.cause().unwrap().to_string(), "SIGTERM");
    /// ```
    pub fn cause(&self) -> Option<Cause> {
        if self.is_ready() {
            return None;
        }
        lock(&self.shared.cause).clone()
    }

    /// Waits until the gate drains: the time to announce a close.
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// let shutdown = lameduck::Shutdown::new();
    /// let guard = shutdown.try_guard()?;
    /// shutdown.stop("done");
    /// shutdown.draining().await; // although a guard is held
    /// drop(guard);
    /// # Ok::<(), lameduck::GuardError>(()) }).unwrap();
    /// ```
    pub fn draining(&self) -> PhaseReached {
        self.reached(Phase::Draining)
    }

    /// Waits until the gate is stopped: all guards are dropped, or given up.
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// let shutdown = lameduck::Shutdown::new();
    /// let guard = shutdown.try_guard()?;
    /// std::thread::spawn(move || drop(guard));
    /// shutdown.stop("done");
    /// shutdown.stopped().await;
    /// assert_eq!(shutdown.guard_count(), 0);
    /// # Ok::<(), lameduck::GuardError>(()) }).unwrap();
    /// ```
    pub fn stopped(&self) -> PhaseReached {
        self.reached(Phase::Stopped)
    }

    /// Waits until the gate has come to `phase`, or beyond it.
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// use lameduck::{Phase, Shutdown};
    ///
    /// let shutdown = Shutdown::new();
    /// shutdown.abort("at once");
    /// shutdown.reached(Phase::Aborting).await;
    /// # });
    /// ```
    pub fn reached(&self, phase: Phase) -> PhaseReached {
        self.until(Until::Progress(Progress::of(phase)))
    }

    fn until(&self, until: Until) -> PhaseReached {
        PhaseReached {
            waiter: Waiter::new(self.clone()),
            until,
        }
    }
}

/// A future that completes when a gate has come to a phase; see
/// [`Shutdown::reached`].
///
/// # Cancel safety
/// It can be dropped and made again at any time: a phase never goes back.
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct PhaseReached {
    waiter: Waiter,
    until: Until,
}

impl Future for PhaseReached {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let PhaseReached { waiter, until } = &mut *self;
        waiter.poll(*until, cx)
    }
}

/// The wait of a connection's task for the abort. It has no handle of its own on
/// the gate, but what the task needs anyway: each connection has one of these.
#[derive(Debug)]
pub(crate) struct AbortWait<S: Borrow<Shutdown>> {
    waiter: Waiter<S>,
}

impl<S: Borrow<Shutdown>> AbortWait<S> {
    pub(crate) fn new(shared: S) -> AbortWait<S> {
        AbortWait {
            waiter: Waiter::new(shared),
        }
    }

    /// Returns what leads to the gate.
    pub(crate) fn shared(&self) -> &S {
        &self.waiter.shutdown
    }

    /// Returns ready once the gate aborts; otherwise the task is woken then.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let aborting = Until::Progress(Progress::of(Phase::Aborting));
        self.waiter.poll(aborting, cx)
    }
}

#[cfg(all(test, feature = "loom"))]
#[path = "../tests/loom/gate.rs"]
mod models;
