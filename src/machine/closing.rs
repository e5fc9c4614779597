//! The lingering close of one connection.
//!
//! To close with unread input, or to get input after the close, makes the
//! kernel send a reset, and a reset destroys output that the peer has not got
//! (RFC 2525 2.17, RFC 1122 4.2.2.13). So the server ends its side and reads
//! on, until the peer ends its side, sends nothing for a while, or has had time
//! enough ([F16](crate::docs::faults#f16), [F22](crate::docs::faults#f22)).
//!
//! Where the system tells what the peer has acknowledged, as Linux does, all
//! output is waited for as well: what the kernel still holds when the process
//! ends is lost with the network of a container ([F24](crate::docs::faults#f24)).
//!
//! To end the own side can take time, too: a layer such as TLS may hold output
//! that a peer who reads nothing does not take. The same total time bounds it.
//!
//! ```
//! use lameduck::machine::closing::{Config, Facts, Input, LingeringClose, Output};
//! use std::time::Duration;
//!
//! let now = Duration::ZERO;
//! let mut closing = LingeringClose::new(Config::default(), Facts::default());
//! assert_eq!(closing.poll_output(), Some(Output::HalfClose));
//! closing.handle(now, Input::HalfClosed)?;
//! closing.handle(now, Input::NoInput)?; // the peer has not answered yet
//! assert_eq!(closing.deadline(), Some(Config::default().idle));
//! closing.handle(now, Input::End)?; // it ends its side
//! assert_eq!(closing.poll_output(), Some(Output::Close));
//! # Ok::<(), lameduck::machine::closing::UnexpectedInput>(())
//! ```

use std::fmt;
use std::time::Duration;

use crate::nanos::Nanos;

/// The times of a lingering close, as in nginx's `lingering_timeout` and
/// `lingering_time`.
///
/// ```
/// use lameduck::machine::closing::Config;
///
/// let config = Config::default();
/// assert!(config.idle < config.total);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Config {
    /// The longest time without a byte from the peer. It is never below two
    /// round trips of the connection, where the system tells them
    /// ([F67](crate::docs::faults#f67)). Default: 100 ms.
    pub idle: Duration,
    /// The longest time in all. It begins again while the peer takes output;
    /// two looks tell whether it does, and the second one can be as late as
    /// `idle` after the end of this time. Default: 5 s.
    pub total: Duration,
    /// After the peer's end nothing tells of its acknowledgements: they are
    /// asked for after this time, which doubles from time to time. It is never
    /// below 1 ms, or the close would keep its thread busy. Default: 1 ms.
    pub ack_poll_min: Duration,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            idle: Duration::from_millis(100),
            total: Duration::from_secs(5),
            ack_poll_min: Duration::from_millis(1),
        }
    }
}

/// The facts about a connection that is to be closed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Facts {
    /// The number of bytes that were written on it.
    pub written: u64,
    /// Whether the last read has just found no input.
    pub was_idle: bool,
    /// Whether the server drains, so that others close at the same time, and
    /// the process may soon be gone.
    pub is_draining: bool,
}

/// The shortest time between two looks.
const SHORTEST_PAUSE: Nanos = Nanos::from_millis(1);

/// The most output that any peer has room for: ten segments, the first window
/// of a connection (RFC 6928).
const SMALL: u64 = 14_600;

/// What the end of the peer's input proves about our output, so that the
/// kernel need not be asked, which costs some microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum FinProves {
    /// The peer has all of it. The output was small, and either this process
    /// goes on, or no end had come just before ours: the end is an answer.
    AllReceived,
    /// The same, if it comes after our own end.
    AllReceivedIfAfterOurs,
    /// Nothing: the peer may have ended its side long before it reads our
    /// output.
    Nothing,
}

/// An input: something that happened to the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Input {
    /// The output was flushed, and our side has ended.
    HalfClosed,
    /// Bytes came from the peer, and were discarded.
    Received,
    /// The system was asked just now, and has no input.
    NoInput,
    /// The peer has ended its side.
    End,
    /// What [`Output::AskProgress`] asked for; `None` where the system does not
    /// say.
    Progress {
        /// The number of bytes that the peer has not acknowledged.
        unacknowledged: Option<u64>,
        /// The round trip time of the connection.
        round_trip: Option<Duration>,
    },
    /// Time has passed.
    Tick,
}

/// An output: something to be done with the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Output {
    /// Flush, and end our side. Until that is done, what is asked for beside it
    /// goes on.
    HalfClose,
    /// Let other tasks run: first all peers get their end, and then one looks
    /// whose end has come meanwhile.
    Yield,
    /// Ask for the output that the peer has not acknowledged, and for the round
    /// trip time.
    AskProgress,
    /// Close the connection: the peer has all that it can have.
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
        write!(f, "unexpected input {:?} for a close", self.input)
    }
}

impl std::error::Error for UnexpectedInput {}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum State {
    /// Our side is about to end.
    HalfClosing {
        /// The start of that, or the last look at what is acknowledged; `None`
        /// until it was asked for.
        since: Option<Nanos>,
    },
    /// Input is discarded until the peer's end.
    Reading {
        /// The last input, or the end of our side.
        heard_at: Nanos,
        /// The same, or the last look at what is acknowledged.
        since: Nanos,
        /// Whether an end that comes now comes after ours.
        is_after_ours: bool,
    },
    /// The peer has ended, and has not acknowledged everything.
    AwaitingAcks {
        since: Nanos,
        /// Zero until the first look, which is at once.
        pause: Nanos,
    },
    Closed,
}

/// One connection's close, as a value. See the [module](self).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LingeringClose {
    /// The times of the [`Config`], of which the first one may grow.
    idle: Nanos,
    total: Nanos,
    ack_poll_min: Nanos,
    fin_proves: FinProves,
    is_draining: bool,
    now: Nanos,
    state: State,
    give_up_at: Nanos,
    /// The least output that was ever unacknowledged; `None` before the first
    /// look.
    unacknowledged: Option<u64>,
    is_cut_off: bool,
    is_asked: bool,
    must_yield: bool,
    output: Option<Output>,
}

impl LingeringClose {
    /// Creates the close of a connection of which `facts` are known.
    pub fn new(config: Config, facts: Facts) -> LingeringClose {
        let fin_proves = match facts {
            Facts {
                written: SMALL.., ..
            } => FinProves::Nothing,
            Facts { was_idle: true, .. } => FinProves::AllReceived,
            Facts {
                is_draining: true, ..
            } => FinProves::AllReceivedIfAfterOurs,
            _ => FinProves::AllReceived,
        };
        LingeringClose {
            idle: Nanos::of(config.idle),
            total: Nanos::of(config.total),
            ack_poll_min: Nanos::of(config.ack_poll_min),
            fin_proves,
            is_draining: facts.is_draining,
            now: Nanos::ZERO,
            state: State::HalfClosing { since: None },
            give_up_at: Nanos::MAX,
            unacknowledged: None,
            is_cut_off: false,
            is_asked: false,
            must_yield: false,
            output: Some(Output::HalfClose),
        }
    }

    /// Takes in what happened at `now`.
    ///
    /// # Errors
    /// [`UnexpectedInput`] for an input that does not fit, such as input before
    /// our side has ended. It changed nothing; what is due by `now` is done all
    /// the same.
    pub fn handle(&mut self, now: Duration, input: Input) -> Result<(), UnexpectedInput> {
        self.now = self.now.max(Nanos::of(now));
        let is_expected = match (input, &mut self.state) {
            (_, State::Closed) => false,
            (Input::Tick, _) => true,
            (Input::HalfClosed, State::HalfClosing { .. }) => {
                self.state = State::Reading {
                    heard_at: self.now,
                    since: self.now,
                    is_after_ours: false,
                };
                self.give_up_at = self.now.plus(self.total);
                self.output = None;
                // What was asked was asked of a side that had not ended.
                self.is_asked = false;
                self.unacknowledged = None;
                self.must_yield = self.is_draining;
                true
            }
            (
                Input::Received,
                State::Reading {
                    heard_at, since, ..
                },
            ) => {
                (*heard_at, *since) = (self.now, self.now);
                true
            }
            (Input::NoInput, State::Reading { is_after_ours, .. }) => {
                *is_after_ours = true;
                true
            }
            (Input::End, State::Reading { is_after_ours, .. }) => {
                let is_after_ours = *is_after_ours;
                self.peer_ended(is_after_ours);
                true
            }
            (
                Input::Progress {
                    unacknowledged,
                    round_trip,
                },
                _,
            ) if self.is_asked => {
                self.progress(unacknowledged, round_trip.unwrap_or_default());
                true
            }
            _ => false,
        };
        if self.due_at().is_some_and(|at| self.now >= at) {
            self.ask();
        }
        if is_expected {
            Ok(())
        } else {
            Err(UnexpectedInput { input })
        }
    }

    /// Returns the next thing to do; `None` when there is nothing more.
    pub fn poll_output(&mut self) -> Option<Output> {
        if std::mem::take(&mut self.must_yield) {
            return Some(Output::Yield);
        }
        let output = self.output.take();
        if let (Some(Output::HalfClose), State::HalfClosing { since }) =
            (output, &mut self.state)
        {
            *since = Some(self.now);
            let total = self.total.max(SHORTEST_PAUSE);
            self.give_up_at = self.now.plus(total);
        }
        output
    }

    /// Returns whether there is something to do.
    pub fn has_output(&self) -> bool {
        self.must_yield || self.output.is_some()
    }

    /// Returns the time at which a tick is due, if nothing happens before.
    pub fn deadline(&self) -> Option<Duration> {
        self.due_at().map(Nanos::duration)
    }

    fn due_at(&self) -> Option<Nanos> {
        let at = match self.state {
            _ if self.is_asked => return None,
            State::HalfClosing { since: None } | State::Closed => return None,
            State::HalfClosing { since: Some(since) } => {
                since.plus(self.idle.max(SHORTEST_PAUSE))
            }
            State::Reading { since, .. } => since.plus(self.idle),
            State::AwaitingAcks { since, pause } => since.plus(pause),
        };
        Some(at.min(self.give_up_at))
    }

    /// Returns whether input is still read, and discarded.
    pub fn is_reading(&self) -> bool {
        matches!(self.state, State::Reading { .. })
    }

    /// Returns whether the close came before the peer had all output: it has taken none
    /// for too long ([S5](crate::docs::spec#s5)). False where the system does not tell.
    pub fn is_cut_off(&self) -> bool {
        self.is_cut_off
    }

    fn peer_ended(&mut self, is_after_ours: bool) {
        let has_all = match self.fin_proves {
            FinProves::AllReceived => true,
            FinProves::AllReceivedIfAfterOurs => is_after_ours,
            FinProves::Nothing => false,
        };
        if has_all {
            self.close();
        } else {
            self.state = State::AwaitingAcks {
                since: self.now,
                pause: Nanos::ZERO,
            };
            self.ask();
        }
    }

    fn ask(&mut self) {
        if !self.is_asked {
            self.is_asked = true;
            self.output = Some(Output::AskProgress);
        }
    }

    fn progress(&mut self, left: Option<u64>, round_trip: Duration) {
        let now = self.now;
        self.is_asked = false;
        let first_pause = self.ack_poll_min.max(SHORTEST_PAUSE);
        let idle = self.idle.max(first_pause);
        let idle = idle.max(Nanos::of(round_trip).twice());
        self.idle = idle;
        let is_over = now >= self.give_up_at;
        match (left, self.unacknowledged) {
            (None | Some(0), _) => return self.has_acknowledged_all(),
            // The peer takes what it is sent: it is not stuck.
            (Some(left), Some(before)) if left < before => {
                self.unacknowledged = Some(left);
                self.give_up_at = now.plus(self.total);
            }
            (Some(left), Some(_)) if is_over => {
                // The end of our side counts as one byte, and is no output.
                self.is_cut_off = left > 1 || !self.has_half_closed();
                return self.close();
            }
            (Some(_), Some(_)) => {}
            // Only one more look tells whether it takes output.
            (Some(left), None) => {
                self.unacknowledged = Some(left);
                if is_over {
                    let more = idle.min(self.total);
                    self.give_up_at = now.plus(more);
                }
            }
        }
        match &mut self.state {
            State::Reading { since, .. } => *since = now,
            State::AwaitingAcks { since, pause } => {
                *since = now;
                *pause = pause.twice().clamp(first_pause, idle);
            }
            State::HalfClosing { since } => *since = Some(now),
            State::Closed => {}
        }
    }

    /// The peer has all output. What it may still send is waited for as long as
    /// it takes to come, which may be longer than thought before.
    fn has_acknowledged_all(&mut self) {
        let (now, idle) = (self.now, self.idle);
        match &mut self.state {
            State::Reading {
                heard_at, since, ..
            } if now < heard_at.plus(idle).min(self.give_up_at) => *since = *heard_at,
            // All that was handed to the system, and there may be more.
            State::HalfClosing { since } if now < self.give_up_at => *since = Some(now),
            _ => {
                // A layer such as TLS still holds output.
                self.is_cut_off = !self.has_half_closed();
                self.close();
            }
        }
    }

    fn has_half_closed(&self) -> bool {
        !matches!(self.state, State::HalfClosing { .. })
    }

    fn close(&mut self) {
        self.state = State::Closed;
        self.must_yield = false;
        self.output = Some(Output::Close);
    }
}
