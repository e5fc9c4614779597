//! The sweep of one listener: accepting, backing off, sweeping, closing.
//!
//! While a server runs, a listener accepts in batches, and backs off while the
//! system lacks descriptors or memory ([F7](crate::docs::faults#f7)). When the
//! stop begins, it takes everything that is in its accept queue
//! ([F1](crate::docs::faults#f1)), waits for the handshakes that are under way
//! ([F2](crate::docs::faults#f2)), and closes. The sweep is bounded by the
//! length of the queue, and by the budget of the stop, whose
//! [abort](Input::Close) ends it; it has no time of its own while it makes
//! progress or lacks descriptors ([F46](crate::docs::faults#f46)).
//!
//! ```
//! use lameduck::machine::sweep::{Config, Input, Output, Sweep};
//! use lameduck::rt::CloseGuarantee;
//! use std::time::Duration;
//!
//! let (now, mut sweep) = (Duration::ZERO, Sweep::new(Config::default()));
//! sweep.handle(now, Input::Accepted)?;
//! sweep.handle(now, Input::QueueEmpty)?; // nobody waits: nothing to do
//! assert_eq!(sweep.poll_output(), None);
//!
//! sweep.handle(now, Input::StopAccepting(CloseGuarantee::Swept))?;
//! sweep.handle(now, Input::Accepted)?; // a client was in the queue
//! sweep.handle(now, Input::QueueEmpty)?;
//! assert_eq!(sweep.poll_output(), Some(Output::Close));
//! assert_eq!(sweep.guarantee(), Some(CloseGuarantee::Swept));
//! assert_eq!((sweep.accepted(), sweep.swept()), (2, 1));
//! # Ok::<(), lameduck::machine::sweep::UnexpectedInput>(())
//! ```

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::time::Duration;

use rustix::io::Errno;

use crate::rt::CloseGuarantee;

/// The limits and times of a listener.
///
/// ```
/// let mut config = lameduck::machine::sweep::Config::default();
/// config.queue = 129; // `listen(2)` holds one more than it is told
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Config {
    /// The most connections that the accept queue holds. A sweep that has
    /// taken as many has taken everybody who was in the queue when it began:
    /// a queue is first in, first out. Default: 4,097.
    pub queue: u64,
    /// The most connections that a sweep takes. With 0 the listener closes at
    /// once. Default: `queue`.
    pub limit: Option<u64>,
    /// The number of accepts before other tasks get their turn. Default: 64.
    pub batch: u32,
    /// The first pause after an error that passes. It doubles from error to
    /// error. This one and all others below are never shorter than 1 ms, or the
    /// listener would keep its thread busy. Default: 5 ms.
    pub back_off_min: Duration,
    /// The longest such pause. Default: 1 s.
    pub back_off_max: Duration,
    /// The longest such pause in a sweep, whose time is that of the stop. Default: 50 ms.
    pub sweep_back_off_max: Duration,
    /// The time between the first two looks at the handshakes under way, of
    /// which the first comes once the queue is empty. It doubles from look to
    /// look. Default: 1 ms.
    pub handshake_poll_min: Duration,
    /// The longest time between two looks. Default: 16 ms.
    pub handshake_poll_max: Duration,
    /// The longest wait for handshakes, counted from the last connection: a
    /// round trip around the world. Those of peers that are gone would take a
    /// minute. Default: 300 ms.
    pub handshake_timeout: Duration,
    /// The wait for handshakes where the system does not say which are under
    /// way: several round trips of a near network. Default: 20 ms.
    pub blind_wait: Duration,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            queue: 4097,
            limit: None,
            batch: 64,
            back_off_min: Duration::from_millis(5),
            back_off_max: Duration::from_secs(1),
            sweep_back_off_max: Duration::from_millis(50),
            handshake_poll_min: Duration::from_millis(1),
            handshake_poll_max: Duration::from_millis(16),
            handshake_timeout: Duration::from_millis(300),
            blind_wait: Duration::from_millis(20),
        }
    }
}

/// The shortest pause: what is tried again has to leave time for something to
/// change.
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);

/// The kinds of errors of `accept(2)`. None but the last ends acceptance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AcceptError {
    /// One connection is gone before it was accepted.
    Connection,
    /// The system lacks something, such as descriptors: it passes.
    Resources,
    /// The listener is of no use any more.
    Listener,
}

impl AcceptError {
    /// Classifies an error by the list of accept(2).
    ///
    /// ```
    /// use lameduck::machine::sweep::AcceptError;
    ///
    /// let aborted = std::io::ErrorKind::ConnectionAborted.into();
    /// assert_eq!(AcceptError::of(&aborted), AcceptError::Resources); // no errno
    /// let emfile = std::io::Error::from_raw_os_error(24);
    /// assert_eq!(AcceptError::of(&emfile), AcceptError::Resources);
    /// ```
    pub fn of(error: &io::Error) -> AcceptError {
        match Errno::from_io_error(error) {
            Some(
                Errno::CONNABORTED
                | Errno::CONNRESET
                | Errno::INTR
                | Errno::PROTO
                | Errno::PERM
                | Errno::NETDOWN
                | Errno::NETUNREACH
                | Errno::HOSTDOWN
                | Errno::HOSTUNREACH
                | Errno::NOPROTOOPT
                | Errno::TIMEDOUT,
            ) => AcceptError::Connection,
            Some(
                Errno::BADF | Errno::INVAL | Errno::NOTSOCK | Errno::FAULT | Errno::OPNOTSUPP,
            ) => AcceptError::Listener,
            // EMFILE, ENFILE, ENOBUFS, ENOMEM, ENOSPC of epoll. An error that
            // is not known is better waited for than died of.
            _ => AcceptError::Resources,
        }
    }
}

/// An input: something that happened to the listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Input {
    /// A connection was taken from the accept queue.
    Accepted,
    /// The accept queue was asked just now, and is empty.
    QueueEmpty,
    /// Taking a connection failed.
    AcceptFailed(AcceptError),
    /// The listener was told to stop accepting, and its close will have this
    /// guarantee.
    StopAccepting(CloseGuarantee),
    /// The number of handshakes under way, which [`Output::AskHandshakes`] asked
    /// for; `None` where the system does not say.
    Handshakes(Option<usize>),
    /// The listener has to close at once.
    Close,
    /// Time has passed.
    Tick,
}

/// An output: something to be done with the listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Output {
    /// Let other tasks run before the next accept.
    Yield,
    /// Accepting pauses for so long. `is_first` is true for the first pause
    /// in a row: one warning is enough.
    BackOff {
        /// The length of the pause.
        pause: Duration,
        /// Whether no other pause came since the last connection.
        is_first: bool,
    },
    /// Ask the system for the handshakes that are under way.
    AskHandshakes,
    /// Close the listener.
    Close,
}

/// The error of an input that does not fit. It changed nothing but the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct UnexpectedInput {
    /// The input.
    pub input: Input,
}

impl fmt::Display for UnexpectedInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unexpected input {:?} for a listener", self.input)
    }
}

impl std::error::Error for UnexpectedInput {}

/// The wait for the handshakes that were under way when none could begin any
/// more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Handshakes {
    /// Nobody was asked: that is done once the queue is empty. `since`: the
    /// beginning of the sweep, or its last connection.
    Unknown { since: Duration },
    /// `pause`: the one after the next look.
    Waiting {
        since: Duration,
        look_at: Duration,
        pause: Duration,
    },
    /// The system was asked, and has not answered yet. `pause`: the next one.
    Asked { since: Duration, pause: Duration },
    /// None is waited for: an empty queue is the last look.
    Done,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum State {
    Accepting,
    Sweeping {
        guarantee: CloseGuarantee,
        handshakes: Handshakes,
    },
    Closed(CloseGuarantee),
}

/// The pauses of accepting, while the system lacks something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct BackOff {
    until: Option<Duration>,
    /// The pause that was the last one in a row.
    last: Option<Duration>,
}

/// One listener, as a value. See the [module](self).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Sweep {
    config: Config,
    now: Duration,
    state: State,
    back_off: BackOff,
    /// Accepts since other tasks had their turn.
    in_batch: u32,
    accepted: u64,
    swept: u64,
    outputs: VecDeque<Output>,
}

impl Sweep {
    /// Creates a listener that accepts.
    pub fn new(config: Config) -> Sweep {
        Sweep {
            config,
            now: Duration::ZERO,
            state: State::Accepting,
            back_off: BackOff::default(),
            in_batch: 0,
            accepted: 0,
            swept: 0,
            outputs: VecDeque::with_capacity(4),
        }
    }

    /// Takes in what happened at `now`.
    ///
    /// # Errors
    /// [`UnexpectedInput`] for an input that does not fit, such as a connection
    /// of a listener that is closed. It changed nothing; what is due by `now` is
    /// done all the same.
    pub fn handle(&mut self, now: Duration, input: Input) -> Result<(), UnexpectedInput> {
        self.now = self.now.max(now);
        self.tick();
        let is_expected = match (input, self.state) {
            (_, State::Closed(_)) => false,
            (Input::Tick, _) => true,
            (Input::Accepted, _) => self.accept(),
            (Input::QueueEmpty, state) => {
                self.queue_empty(state);
                true
            }
            (Input::AcceptFailed(error), _) => self.accept_failed(error),
            (Input::StopAccepting(guarantee), State::Accepting) => self.stop(guarantee),
            (Input::Handshakes(count), State::Sweeping { handshakes, .. }) => {
                self.handshakes(handshakes, count)
            }
            (Input::Close, _) => {
                self.close(CloseGuarantee::Unswept);
                true
            }
            _ => false,
        };
        if is_expected {
            Ok(())
        } else {
            Err(UnexpectedInput { input })
        }
    }

    /// Returns the next thing to do; `None` when there is nothing more.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Returns whether there is something to do.
    pub fn has_output(&self) -> bool {
        !self.outputs.is_empty()
    }

    /// Returns the time at which a tick is due, if nothing happens before.
    pub fn deadline(&self) -> Option<Duration> {
        match self.state {
            State::Closed(_) => None,
            State::Sweeping {
                handshakes: Handshakes::Waiting { look_at, .. },
                ..
            } => Some(
                self.back_off
                    .until
                    .map_or(look_at, |until| until.min(look_at)),
            ),
            _ => self.back_off.until,
        }
    }

    /// Returns whether a connection may be taken from the accept queue now.
    ///
    /// `connections` is the number of open connections of the server, `limit`
    /// the most that it may have. A sweep passes the limit: its connections
    /// were in before the stop, and a queue is bounded.
    pub fn may_accept(&self, connections: usize, limit: Option<usize>) -> bool {
        let has_room = limit.is_none_or(|limit| connections < limit);
        match self.state {
            State::Accepting => has_room && self.back_off.until.is_none(),
            State::Sweeping { .. } => self.back_off.until.is_none(),
            State::Closed(_) => false,
        }
    }

    /// Returns whether no stop has begun for it.
    pub fn is_accepting(&self) -> bool {
        self.state == State::Accepting
    }

    /// Returns whether it takes what is left in the accept queue.
    pub fn is_sweeping(&self) -> bool {
        matches!(self.state, State::Sweeping { .. })
    }

    /// Returns the guarantee of the close; `None` before it.
    pub fn guarantee(&self) -> Option<CloseGuarantee> {
        match self.state {
            State::Closed(guarantee) => Some(guarantee),
            _ => None,
        }
    }

    /// Returns the number of connections that were taken.
    pub fn accepted(&self) -> u64 {
        self.accepted
    }

    /// Returns the number of connections that were taken by the sweep.
    pub fn swept(&self) -> u64 {
        self.swept
    }

    /// Does what is due: ends a pause, asks for handshakes.
    fn tick(&mut self) {
        if self.back_off.until.is_some_and(|until| self.now >= until) {
            self.back_off.until = None;
        }
        if let State::Sweeping {
            guarantee,
            handshakes:
                Handshakes::Waiting {
                    since,
                    look_at,
                    pause,
                },
        } = self.state
        {
            if self.now >= look_at {
                self.ask(guarantee, since, pause);
            }
        }
    }

    fn ask(&mut self, guarantee: CloseGuarantee, since: Duration, pause: Duration) {
        let handshakes = Handshakes::Asked { since, pause };
        self.state = State::Sweeping {
            guarantee,
            handshakes,
        };
        self.outputs.push_back(Output::AskHandshakes);
    }

    fn queue_empty(&mut self, state: State) {
        self.in_batch = 0;
        if let State::Sweeping {
            guarantee,
            handshakes,
        } = state
        {
            match handshakes {
                // At once: as long as no handshake can begin, a client that connects
                // waits for a second (F78).
                Handshakes::Unknown { since } => {
                    let pause = self.config.handshake_poll_min.max(SHORTEST_PAUSE);
                    self.ask(guarantee, since, pause);
                }
                Handshakes::Done => self.close(guarantee),
                Handshakes::Waiting { .. } | Handshakes::Asked { .. } => {}
            }
        }
    }

    fn accept(&mut self) -> bool {
        let now = self.now;
        self.accepted += 1;
        self.back_off = BackOff::default();
        if let State::Sweeping {
            guarantee,
            handshakes,
        } = &mut self.state
        {
            self.swept += 1;
            match handshakes {
                Handshakes::Unknown { since }
                | Handshakes::Waiting { since, .. }
                | Handshakes::Asked { since, .. } => *since = now,
                Handshakes::Done => {}
            }
            let Config { queue, limit, .. } = self.config;
            let (guarantee, limit) = (*guarantee, limit.unwrap_or(queue));
            if self.swept >= queue {
                // Everybody who was there when it began has been taken, but
                // maybe not everybody who came out of a handshake since.
                self.close(match guarantee {
                    CloseGuarantee::SynFiltered => CloseGuarantee::Swept,
                    other => other,
                });
                return true;
            }
            if self.swept >= limit {
                self.close(CloseGuarantee::Unswept);
                return true;
            }
        }
        self.count_in_batch();
        true
    }

    fn count_in_batch(&mut self) {
        self.in_batch += 1;
        if self.in_batch >= self.config.batch {
            self.in_batch = 0;
            self.outputs.push_back(Output::Yield);
        }
    }

    fn accept_failed(&mut self, error: AcceptError) -> bool {
        match error {
            AcceptError::Connection => self.count_in_batch(),
            AcceptError::Listener => self.close(CloseGuarantee::Unswept),
            AcceptError::Resources => {
                let (last, config) = (self.back_off.last, self.config);
                let longest = match self.state {
                    State::Sweeping { .. } => config.sweep_back_off_max,
                    _ => config.back_off_max,
                };
                let pause = match last {
                    None => config.back_off_min,
                    Some(last) => last.saturating_mul(2).min(longest),
                };
                let pause = pause.max(SHORTEST_PAUSE);
                self.back_off = BackOff {
                    until: Some(self.now.saturating_add(pause)),
                    last: Some(pause),
                };
                let is_first = last.is_none();
                self.in_batch = 0;
                self.outputs.push_back(Output::BackOff { pause, is_first });
            }
        }
        true
    }

    /// Begins the sweep, at once also while backing off.
    fn stop(&mut self, guarantee: CloseGuarantee) -> bool {
        self.back_off = BackOff::default();
        let handshakes = match guarantee {
            // The queue is the successor's.
            CloseGuarantee::HandedOver => {
                self.close(guarantee);
                return true;
            }
            _ if self.config.limit == Some(0) => {
                self.close(CloseGuarantee::Unswept);
                return true;
            }
            CloseGuarantee::SynFiltered => Handshakes::Unknown { since: self.now },
            _ => Handshakes::Done,
        };
        self.state = State::Sweeping {
            guarantee,
            handshakes,
        };
        true
    }

    fn handshakes(&mut self, before: Handshakes, count: Option<usize>) -> bool {
        let Handshakes::Asked { since, pause } = before else {
            return false;
        };
        let Config {
            handshake_timeout,
            handshake_poll_max,
            blind_wait,
            ..
        } = self.config;
        let waited = self.now.saturating_sub(since);
        let look_at = match count {
            Some(0) => None,
            Some(_) => (waited < handshake_timeout).then(|| self.now.saturating_add(pause)),
            None => (waited < blind_wait).then(|| since.saturating_add(blind_wait)),
        };
        if let State::Sweeping {
            guarantee,
            handshakes,
        } = &mut self.state
        {
            *handshakes = match look_at {
                Some(look_at) => Handshakes::Waiting {
                    since,
                    look_at,
                    pause: pause
                        .saturating_mul(2)
                        .min(handshake_poll_max)
                        .max(SHORTEST_PAUSE),
                },
                None => Handshakes::Done,
            };
            // What was not seen to its end is not promised (F56).
            if look_at.is_none() && count != Some(0) {
                *guarantee = CloseGuarantee::Swept;
            }
        }
        true
    }

    fn close(&mut self, guarantee: CloseGuarantee) {
        self.state = State::Closed(guarantee);
        // What was still to be done has become useless.
        self.outputs.clear();
        self.outputs.push_back(Output::Close);
    }
}
