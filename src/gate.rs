//! The gate: one atomic word that holds the phase and the count of the living.
//!
//! It is a useful library alone. A program with an accept loop of its own
//! needs three things of it: the loop holds a [`Guard`] as long as it accepts,
//! each connection gets a guard of its own *where it is accepted*, before
//! anything is spawned, and the end is awaited with [`Shutdown::stopped`].
//!
//! ```
//! use lameduck::{Phase, Shutdown};
//!
//! let shutdown = Shutdown::new();
//! let door = shutdown.enter()?; // the accept loop lives
//! let guard = door.enter()?; // so does a connection
//!
//! shutdown.stop("configuration changed");
//! assert!(shutdown.enter().is_err()); // nobody comes in from outside,
//! let swept = door.enter()?; // the living still bring in others
//!
//! drop((guard, swept));
//! assert_eq!(shutdown.phase(), Phase::Draining); // the door is still held
//! drop(door);
//! assert_eq!(shutdown.phase(), Phase::Stopped);
//! # Ok::<(), lameduck::Refused>(())
//! ```
//!
//! To enter is one compare-and-swap on the word, and to leave one subtraction,
//! which the last to leave while draining follows up with the end. A read
//! that waits for the stop as well loads the word, and takes no lock and
//! writes nothing while the task that polls it stays the same.

mod guard;
mod waiters;
mod word;

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

pub(crate) use self::guard::Read;
pub use self::guard::{Guard, ReadOrDrain};
use self::waiters::{Until, Waiter, Waiters};
pub use self::word::{Phase, Refused};
use self::word::{Step, Word};
use crate::cause::Cause;
use crate::sync::{Arc, AtomicUsize, Mutex, Ordering, lock};

#[derive(Debug)]
struct Shared {
    word: AtomicUsize,
    /// Where [`Shutdown::stop`] leads: at once to the drain, or to the notice
    /// that a server's driver goes on from.
    first: Phase,
    cause: Mutex<Option<Cause>>,
    waiters: Waiters,
}

impl Shared {
    #[inline]
    fn word(&self) -> Word {
        // Acquire: pairs with the release in `change`. Who sees Stopped sees
        // all that the guards' holders did; who sees a stop sees its cause.
        Word::from_bits(self.word.load(Ordering::Acquire))
    }

    /// Takes a step of the word: gives the word before and the one after.
    #[inline]
    fn change(&self, step: Step) -> Result<(Word, Word), Refused> {
        let mut before = self.word();
        loop {
            let after = before.step(step)?;
            // AcqRel: the release pairs with the acquire in `word`; the
            // acquire makes each leave part of what the next one releases.
            match self.word.compare_exchange_weak(
                before.bits(),
                after.bits(),
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => return Ok((before, after)),
                Err(bits) => before = Word::from_bits(bits),
            }
        }
    }

    /// One more lives. That is no news to anybody.
    #[inline]
    fn enter(&self, step: Step) -> Result<(), Refused> {
        self.change(step).map(|_| ())
    }

    /// Goes forward, and wakes those to whom it is news.
    fn advance(&self, step: Step) -> Result<(), Refused> {
        let (before, after) = self.change(step)?;
        if after.is_news_after(before) {
            self.waiters.wake(after);
        }
        Ok(())
    }

    /// One who was counted leaves. Nothing can refuse that, so nothing needs
    /// to be looked at before: a subtraction is cheaper than the loop above.
    #[inline]
    fn leave(&self) {
        // AcqRel: as in `change`.
        let before = Word::from_bits(self.word.fetch_sub(Word::ONE, Ordering::AcqRel));
        if before.phase() != Phase::Running {
            self.left(before);
        }
    }

    #[cold]
    fn left(&self, before: Word) {
        let after = before.step(Step::Leave);
        debug_assert!(after.is_ok(), "a guard was counted and is not any more");
        let Ok(after) = after else { return };
        if after.is_at_end() {
            // Refused when somebody's advance has found the gate empty.
            let _ = self.advance(Step::End);
        } else if after.is_news_after(before) {
            self.waiters.wake(after);
        }
    }
}

/// A handle on the gate: ask for the stop, observe it, wait for it.
///
/// Cheap to clone; all clones are the same gate. To ask and to wait are two
/// things: a handler may ask, and must not wait for the end that it is itself
/// part of (F39).
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
    /// A gate of its own, open and empty.
    ///
    /// A server makes its own gate: see [`Server::shutdown`](crate::Server::shutdown).
    pub fn new() -> Shutdown {
        Shutdown::starting_with(Phase::Draining, Word::NEW)
    }

    /// A gate whose stop begins with the notice, and which a driver leads on
    /// from inside.
    pub(crate) fn driven() -> (Shutdown, Guard) {
        let shutdown = Shutdown::starting_with(Phase::Notice, Word::NEW_WITH_ONE);
        let door = Guard::counted(shutdown.clone());
        (shutdown, door)
    }

    fn starting_with(first: Phase, word: Word) -> Shutdown {
        Shutdown {
            shared: Arc::new(Shared {
                word: AtomicUsize::new(word.bits()),
                first,
                cause: Mutex::new(None),
                waiters: Waiters::new(),
            }),
        }
    }

    /// Enters: as long as the guard lives, the gate does not come to its end.
    ///
    /// Take the guard where the work comes in, before it is spawned: a guard
    /// that is taken inside of the spawned task can be too late (F8).
    ///
    /// # Errors
    /// [`Refused::Closed`] once the gate is [`Draining`](Phase::Draining).
    /// Somebody who lives can still bring in others, with [`Guard::enter`].
    ///
    /// ```
    /// let shutdown = lameduck::Shutdown::new();
    /// let guard = shutdown.enter()?;
    /// assert_eq!(shutdown.living(), 1);
    /// drop(guard);
    /// assert_eq!(shutdown.living(), 0);
    /// # Ok::<(), lameduck::Refused>(())
    /// ```
    #[inline]
    pub fn enter(&self) -> Result<Guard, Refused> {
        self.shared.enter(Step::Enter)?;
        Ok(Guard::counted(self.clone()))
    }

    /// Enters with a guard that borrows the gate: it costs the count of the
    /// living alone, half of the other.
    ///
    /// For threads and tasks that may borrow, and for all others where the gate
    /// itself lives as long as the program.
    ///
    /// # Errors
    /// As [`enter`](Shutdown::enter).
    ///
    /// ```
    /// use std::sync::LazyLock;
    /// use lameduck::Shutdown;
    ///
    /// let shutdown = Shutdown::new();
    /// std::thread::scope(|scope| {
    ///     let guard = shutdown.enter_scoped()?;
    ///     scope.spawn(move || drop(guard));
    ///     Ok::<(), lameduck::Refused>(())
    /// })?;
    ///
    /// static GATE: LazyLock<Shutdown> = LazyLock::new(Shutdown::new);
    /// let gate: &'static Shutdown = &GATE;
    /// let guard = gate.enter_scoped()?; // may go into any task
    /// std::thread::spawn(move || drop(guard));
    /// # Ok::<(), lameduck::Refused>(())
    /// ```
    #[inline]
    pub fn enter_scoped(&self) -> Result<Guard<&Shutdown>, Refused> {
        self.shared.enter(Step::Enter)?;
        Ok(Guard::counted(self))
    }

    /// Asks for the stop, and says whether this call began it.
    ///
    /// Idempotent: only the first cause is kept. It returns at once; to wait,
    /// see [`stopped`](Shutdown::stopped).
    ///
    /// ```
    /// use lameduck::{Cause, Shutdown};
    ///
    /// let shutdown = Shutdown::new();
    /// assert!(shutdown.stop("upgrade"));
    /// assert!(!shutdown.stop("upgrade, once more"));
    /// assert_eq!(shutdown.cause(), Some(Cause::Request("upgrade")));
    /// ```
    pub fn stop(&self, cause: impl Into<Cause>) -> bool {
        self.advance_for(self.shared.first, cause.into())
    }

    /// Cuts the living off: what still runs is aborted.
    ///
    /// Begins the stop where none has begun. Of a gate without a server it
    /// only says so, to those who wait for [`Phase::Forcing`].
    ///
    /// ```
    /// use lameduck::{Phase, Shutdown};
    ///
    /// let shutdown = Shutdown::new();
    /// let guard = shutdown.enter()?;
    /// shutdown.stop("upgrade");
    /// shutdown.escalate("upgrade is in a hurry");
    /// assert_eq!(shutdown.phase(), Phase::Forcing);
    /// # Ok::<(), lameduck::Refused>(())
    /// ```
    pub fn escalate(&self, cause: impl Into<Cause>) -> bool {
        self.advance_for(Phase::Forcing, cause.into())
    }

    fn advance_for(&self, phase: Phase, cause: Cause) -> bool {
        // The cause first: nobody may see a stop without one (F30).
        lock(&self.shared.cause).get_or_insert(cause);
        self.advance(phase)
    }

    /// Goes forward to `phase`; false when the gate is there or beyond.
    pub(crate) fn advance(&self, phase: Phase) -> bool {
        self.shared.advance(Step::Advance(phase)).is_ok()
    }

    /// How far the stop has come.
    ///
    /// ```
    /// use lameduck::{Phase, Shutdown};
    ///
    /// let shutdown = Shutdown::new();
    /// assert_eq!(shutdown.phase(), Phase::Running);
    /// shutdown.stop("done"); // and nobody is inside
    /// assert_eq!(shutdown.phase(), Phase::Stopped);
    /// ```
    pub fn phase(&self) -> Phase {
        self.shared.word().phase()
    }

    /// Whether new work is welcome: what a readiness probe should answer.
    ///
    /// Liveness is another question: a draining server is alive (F14).
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

    /// Whether the living have been told to come to an end.
    ///
    /// ```
    /// let shutdown = lameduck::Shutdown::new();
    /// let guard = shutdown.enter()?;
    /// shutdown.stop("done");
    /// assert!(shutdown.is_draining() && guard.is_draining());
    /// # Ok::<(), lameduck::Refused>(())
    /// ```
    pub fn is_draining(&self) -> bool {
        self.phase() >= Phase::Settling
    }

    /// How many guards live.
    ///
    /// ```
    /// let shutdown = lameduck::Shutdown::new();
    /// let guards = [shutdown.enter()?, shutdown.enter()?];
    /// assert_eq!(shutdown.living(), guards.len());
    /// # Ok::<(), lameduck::Refused>(())
    /// ```
    pub fn living(&self) -> usize {
        self.shared.word().living()
    }

    /// What the first stop gave as its cause; `None` before any.
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
        *lock(&self.shared.cause)
    }

    /// Completes when the gate drains: the time to announce a close.
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// let shutdown = lameduck::Shutdown::new();
    /// let guard = shutdown.enter()?;
    /// shutdown.stop("done");
    /// shutdown.draining().await; // although somebody lives
    /// drop(guard);
    /// # Ok::<(), lameduck::Refused>(()) }).unwrap();
    /// ```
    pub fn draining(&self) -> Reached {
        self.reached(Phase::Settling)
    }

    /// Completes when the gate is stopped: all guards are gone, or given up.
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// let shutdown = lameduck::Shutdown::new();
    /// let guard = shutdown.enter()?;
    /// std::thread::spawn(move || drop(guard));
    /// shutdown.stop("done");
    /// shutdown.stopped().await;
    /// assert_eq!(shutdown.living(), 0);
    /// # Ok::<(), lameduck::Refused>(()) }).unwrap();
    /// ```
    pub fn stopped(&self) -> Reached {
        self.reached(Phase::Stopped)
    }

    /// Completes when the gate has come to `phase`, or beyond.
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// use lameduck::{Phase, Shutdown};
    ///
    /// let shutdown = Shutdown::new();
    /// shutdown.escalate("at once");
    /// shutdown.reached(Phase::Forcing).await;
    /// # });
    /// ```
    pub fn reached(&self, phase: Phase) -> Reached {
        Reached {
            waiter: Waiter::new(self.clone()),
            until: Until::Phase(phase),
        }
    }
}

/// Completes when a gate has come to a phase; see [`Shutdown::reached`].
///
/// # Cancel safety
/// It can be dropped and made again at any time: a phase never goes back.
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct Reached {
    waiter: Waiter,
    until: Until,
}

impl Future for Reached {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Reached { waiter, until } = &mut *self;
        waiter.poll(*until, cx)
    }
}

#[cfg(all(test, feature = "loom"))]
#[path = "../tests/loom/gate.rs"]
mod models;
