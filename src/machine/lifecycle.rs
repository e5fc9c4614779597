//! The lifecycle of a stop: phases, budget, signals and hooks.
//!
//! # The driver's contract
//! ```
//! use lameduck::machine::lifecycle::{Config, Input, Lifecycle, Outcome, Output};
//! use std::time::Duration;
//!
//! // One listener, no hook.
//! let mut lifecycle = Lifecycle::new(Config::default(), 1, 0);
//! let mut happened = vec![Input::Emptied, Input::ListenerClosed(0, Ok(())), Input::Stop];
//! let mut outcome = None;
//! while let Some(input) = happened.pop() {
//!     // 1. Say what happened, and when.
//!     lifecycle.handle(Duration::ZERO, input)?;
//!     // 2. Do what it says, until it says nothing more.
//!     while let Some(output) = lifecycle.poll_output() {
//!         match output {
//!             Output::StopAccepting(id) => println!("sweep listener {id}, then close it"),
//!             Output::Enter(phase) => println!("tell everybody: {phase}"),
//!             Output::Complete(ended) => outcome = Some(ended),
//!             _ => {}
//!         }
//!     }
//!     // 3. Wait for the next input, or until `lifecycle.deadline()`; then
//!     //    give `Input::Tick`.
//! }
//! assert_eq!(outcome, Some(Outcome::Clean));
//! # Ok::<(), lameduck::machine::lifecycle::UnexpectedInput>(())
//! ```
//! Send [`Input::Emptied`] while [`Lifecycle::awaits_emptied`] is true, as soon
//! as no guard is left; at any other time it is refused.
//!
//! # The transitions
#![doc = include_str!("lifecycle/diagram.md")]

mod config;
mod hooks;
mod messages;
mod recording;
mod table;

use std::collections::VecDeque;
use std::time::Duration;

pub(crate) use self::config::SignalsSeen;
pub use self::config::{Config, ConfigError};
use self::hooks::Hooks;
pub use self::messages::{Failed, Input, Outcome, Output, UnexpectedInput};
pub use self::recording::{Recording, Step};
use self::table::{Effect, Event, Transition};
use crate::phase::Phase;
use crate::signal::Signal;

/// The deadlines of one stop, derived in the step that begins it (F31).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Plan {
    /// The end of the lame duck time.
    drain_at: Duration,
    /// The end of the time for clients that never pause (F97).
    busy_until: Duration,
    /// The end of the time for which those that drain last wait for others (F98).
    last_until: Duration,
    abort_at: Duration,
    /// What is left then is abandoned.
    abandon_at: Duration,
    end_at: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum ListenerState {
    Open,
    /// Told to stop accepting, or to close at once.
    Told,
    Closed,
    Failed,
}

/// Returns the middle between two times; what never ends has none.
fn middle(from: Duration, to: Duration) -> Duration {
    match to {
        Duration::MAX => to,
        to => from.saturating_add(to.saturating_sub(from) / 2),
    }
}

/// A stop, as a value.
///
/// ```
/// use lameduck::Phase;
/// use lameduck::machine::lifecycle::{Config, Input, Lifecycle};
/// use std::time::Duration;
///
/// let mut lifecycle = Lifecycle::new(Config::default(), 1, 0);
/// let mut replay = lifecycle.clone();
/// lifecycle.handle(Duration::ZERO, Input::Abort)?;
/// assert_eq!(lifecycle.phase(), Phase::Aborting);
/// assert_ne!(lifecycle, replay);
/// replay.handle(Duration::ZERO, Input::Abort)?;
/// assert_eq!(lifecycle, replay);
/// # Ok::<(), lameduck::machine::lifecycle::UnexpectedInput>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Lifecycle {
    config: Config,
    now: Duration,
    phase: Phase,
    plan: Option<Plan>,
    signals: SignalsSeen,
    /// Whether a successor serves, so that the drain has its own grace period
    /// until somebody asks for the stop.
    handed_over: bool,
    abort_requested: bool,
    /// The end of the time to settle, while there is such a time.
    settling_until: Option<Duration>,
    /// In a restart: the time until which a connection in use is not ended, unless the
    /// abort comes first.
    in_use_until: Duration,
    /// The last phase in which a freeze was made up for: once in each, so that
    /// a clock that goes wrong cannot put off the end for ever.
    prolonged_in: Option<Phase>,
    /// Whether connections that are never idle end, too.
    ends_busy: bool,
    /// Whether those that drain last do not wait for others any more.
    ends_last: bool,
    emptied: bool,
    abandoned: bool,
    listeners: Vec<ListenerState>,
    hooks: Hooks,
    outputs: VecDeque<Output>,
}

impl Lifecycle {
    /// Creates a running lifecycle for a number of listeners and of hooks, which
    /// are known by their index.
    pub fn new(config: Config, listeners: usize, hooks: usize) -> Lifecycle {
        Lifecycle {
            config,
            now: Duration::ZERO,
            phase: Phase::Running,
            plan: None,
            signals: SignalsSeen::default(),
            handed_over: false,
            abort_requested: false,
            settling_until: None,
            in_use_until: Duration::ZERO,
            prolonged_in: None,
            ends_busy: false,
            ends_last: false,
            emptied: false,
            abandoned: false,
            listeners: vec![ListenerState::Open; listeners],
            hooks: Hooks::new(hooks, config.hook_reserve),
            // All that a stop can say before anybody listens: nothing is
            // allocated on the way.
            outputs: VecDeque::with_capacity(8 + 2 * listeners + 2 * hooks),
        }
    }

    /// Takes in what happened at `now`.
    ///
    /// # Errors
    /// [`UnexpectedInput`] for an input that does not fit, such as the end of a
    /// hook that does not run. It changed nothing; what is due by `now` is done
    /// all the same.
    pub fn handle(&mut self, now: Duration, input: Input) -> Result<(), UnexpectedInput> {
        let phase = self.phase;
        self.now = self.now.max(now);
        self.make_up_for_a_freeze();
        let is_expected = self.phase != Phase::Stopped && self.apply(input);
        while self.advance().is_some() {}
        if is_expected {
            Ok(())
        } else {
            Err(UnexpectedInput { phase, input })
        }
    }

    /// Returns the next thing to do; `None` when there is nothing more.
    ///
    /// ```
    /// use lameduck::Phase;
    /// use lameduck::machine::lifecycle::{Config, Input, Lifecycle, Output};
    /// use std::time::Duration;
    ///
    /// let mut lifecycle = Lifecycle::new(Config::default(), 1, 0);
    /// lifecycle.handle(Duration::ZERO, Input::Stop)?;
    /// assert_eq!(lifecycle.poll_output(), Some(Output::NotReady));
    /// assert_eq!(lifecycle.poll_output(), Some(Output::StopAccepting(0)));
    /// assert_eq!(lifecycle.poll_output(), Some(Output::Enter(Phase::Draining)));
    /// assert_eq!(lifecycle.poll_output(), None);
    /// # Ok::<(), lameduck::machine::lifecycle::UnexpectedInput>(())
    /// ```
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Returns the time at which a tick is due, if nothing happens before; `None`
    /// where nothing is due, as in a restart without end.
    ///
    /// ```
    /// use lameduck::machine::lifecycle::{Config, Input, Lifecycle};
    /// use std::time::Duration;
    ///
    /// let mut lifecycle = Lifecycle::new(Config::default(), 1, 0);
    /// assert_eq!(lifecycle.deadline(), None);
    /// lifecycle.handle(Duration::ZERO, Input::Stop)?;
    /// let Config { grace_period, abort_timeout, .. } = Config::default();
    /// assert_eq!(lifecycle.deadline(), Some((grace_period - abort_timeout) / 2));
    /// # Ok::<(), lameduck::machine::lifecycle::UnexpectedInput>(())
    /// ```
    pub fn deadline(&self) -> Option<Duration> {
        let plan = self.plan?;
        let running = self.hooks.deadline();
        let at = match self.phase {
            Phase::Running | Phase::Stopped => None,
            _ if running.is_some() => running,
            Phase::LameDuck => Some(plan.drain_at.min(plan.abort_at)),
            Phase::Draining => {
                let next = self.next_end(plan).map(|(at, _)| at);
                let next = self.settling_until.or(next);
                Some(next.map_or(plan.abort_at, |at| at.min(plan.abort_at)))
            }
            Phase::Aborting => Some(plan.abandon_at),
        };
        at.filter(|at| *at < Duration::MAX)
    }

    /// Returns the times that it goes by.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Returns the phase.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Returns the time by which the stop is over, whatever happens; `None`
    /// while running, and in a restart without end.
    ///
    /// ```
    /// use lameduck::machine::lifecycle::{Config, Input, Lifecycle};
    /// use std::time::Duration;
    ///
    /// let mut lifecycle = Lifecycle::new(Config::default(), 1, 0);
    /// lifecycle.handle(Duration::ZERO, Input::Stop)?;
    /// assert_eq!(lifecycle.ends_by(), Some(Config::default().grace_period));
    /// # Ok::<(), lameduck::machine::lifecycle::UnexpectedInput>(())
    /// ```
    pub fn ends_by(&self) -> Option<Duration> {
        let end_at = self.plan.map(|plan| plan.end_at);
        end_at.filter(|at| *at < Duration::MAX)
    }

    /// Returns whether [`Input::Emptied`] is what it waits for.
    pub fn awaits_emptied(&self) -> bool {
        matches!(self.phase, Phase::Draining | Phase::Aborting)
            && !self.emptied
            && self.listeners_closed()
    }

    /// Returns whether idle connections are still read, although the server drains
    /// ([F17](crate::docs::faults#f17)): all of them, or those in use
    /// ([F84](crate::docs::faults#f84)).
    pub fn is_settling(&self) -> bool {
        self.settling_until.is_some()
    }

    /// Applies an input; returns false, and changes nothing, where it does not
    /// fit.
    fn apply(&mut self, input: Input) -> bool {
        match input {
            Input::Tick => true,
            Input::Stop => self.ask_for_stop(),
            Input::Signal(signal) => self.signal(signal),
            Input::HandedOver => self.hand_over(),
            Input::Abort => self.ask_for_abort(),
            Input::ListenerClosed(id, result) => self.listener_closed(id, result),
            Input::Emptied => {
                let is_awaited = self.awaits_emptied();
                self.emptied |= is_awaited;
                is_awaited
            }
            Input::HookDone(id, result) => self.hooks.done(id, result),
        }
    }

    /// The first request begins the stop. A stop that began with a hand-over
    /// has the usual budget from the first request on, and the usual time to
    /// settle.
    fn ask_for_stop(&mut self) -> bool {
        let is_first = self.plan.is_none();
        if is_first || self.handed_over {
            self.handed_over = false;
            let lame_duck = if is_first {
                self.config.lame_duck
            } else {
                Duration::ZERO
            };
            self.adopt(self.plan_for(lame_duck, self.config.grace_period));
            let settled_at = self.now.saturating_add(self.config.settle_time(false));
            self.settling_until = self.settling_until.map(|at| at.min(settled_at));
            return true;
        }
        false
    }

    /// The first signal asks for the stop; another request asks for the abort.
    fn signal(&mut self, signal: Signal) -> bool {
        let (config, now) = (self.config, self.now);
        if self.signals.is_another_request(&config, now, signal) {
            self.ask_for_abort();
        } else {
            self.ask_for_stop();
        }
        // Even one that is merged was noted.
        true
    }

    /// Nobody has to notice anything when a successor goes on: there is no
    /// lame duck time.
    fn hand_over(&mut self) -> bool {
        if self.plan.is_some() {
            return false;
        }
        self.handed_over = true;
        let grace_period = self.config.restart_grace_period.unwrap_or(Duration::MAX);
        self.adopt(self.plan_for(Duration::ZERO, grace_period));
        true
    }

    fn ask_for_abort(&mut self) -> bool {
        if self.phase >= Phase::Aborting {
            return false;
        }
        self.abort_requested = true;
        let mut plan = self.plan_for(Duration::ZERO, Duration::MAX);
        plan.abort_at = self.now;
        plan.abandon_at = self.now.saturating_add(self.config.abort_timeout);
        plan.end_at = plan.abandon_at.saturating_add(self.hooks.reserve());
        self.adopt(plan);
        true
    }

    /// Derives all deadlines of a stop that begins now.
    fn plan_for(&self, lame_duck: Duration, grace_period: Duration) -> Plan {
        let drain_at = self.now.saturating_add(lame_duck);
        let end_at = self.now.saturating_add(grace_period);
        // At the edge of what a duration holds, the parts have no end either.
        let before = |at: Duration, by: Duration| match at {
            Duration::MAX => at,
            at => at.saturating_sub(by).max(self.now),
        };
        let abandon_at = before(end_at, self.hooks.reserve());
        let abort_at = before(abandon_at, self.config.abort_timeout);
        let busy_until = middle(drain_at, abort_at);
        Plan {
            drain_at,
            busy_until,
            last_until: middle(busy_until, abort_at),
            abort_at,
            abandon_at,
            end_at,
        }
    }

    /// Takes a plan over, where its deadlines are earlier (S12, S13).
    fn adopt(&mut self, new: Plan) {
        let plan = match self.plan {
            None => new,
            Some(old) => Plan {
                drain_at: old.drain_at.min(new.drain_at),
                busy_until: old.busy_until.min(new.busy_until),
                last_until: old.last_until.min(new.last_until),
                abort_at: old.abort_at.min(new.abort_at),
                abandon_at: old.abandon_at.min(new.abandon_at),
                end_at: old.end_at.min(new.end_at),
            },
        };
        self.plan = Some(plan);
        self.hooks.limit(self.now, plan.end_at);
    }

    /// A process that was frozen beyond a deadline has had no time: what runs
    /// gets the abort timeout, before it is aborted, abandoned or cancelled
    /// ([F61](crate::docs::faults#f61)).
    ///
    /// Any tick is a little late. One that is late by more than half of the
    /// timeout leaves too little of it.
    fn make_up_for_a_freeze(&mut self) {
        let (now, timeout) = (self.now, self.config.abort_timeout);
        let is_late = |at: Duration| now.saturating_sub(at) > timeout / 2;
        if timeout.is_zero() {
            return;
        }
        let to = now.saturating_add(timeout);
        self.prolong_connections(to, is_late);
        if let (Some(plan), Some(end_at)) = (&mut self.plan, self.hooks.prolong(to, is_late)) {
            plan.end_at = plan.end_at.max(end_at);
        }
    }

    fn prolong_connections(&mut self, to: Duration, is_late: impl Fn(Duration) -> bool) {
        let reserve = self.hooks.reserve();
        let Some(plan) = &mut self.plan else { return };
        let phase = self.phase.max(Phase::Draining);
        if self.emptied || self.abandoned || self.prolonged_in >= Some(phase) {
            return;
        }
        if phase == Phase::Draining && is_late(plan.abort_at) {
            plan.last_until = middle(self.now, to);
            plan.abort_at = to;
            plan.abandon_at = to.saturating_add(self.config.abort_timeout);
        } else if phase == Phase::Aborting && is_late(plan.abandon_at) {
            plan.abandon_at = to;
        } else {
            return;
        }
        plan.end_at = plan.end_at.max(plan.abandon_at.saturating_add(reserve));
        self.prolonged_in = Some(phase);
    }

    fn listener_closed(&mut self, id: usize, result: Result<(), Failed>) -> bool {
        let Some(listener) = self.listeners.get_mut(id) else {
            return false;
        };
        if *listener >= ListenerState::Closed {
            return false;
        }
        // One that was not told has failed, whatever it says.
        let was_told = *listener != ListenerState::Open;
        *listener = if was_told && result.is_ok() {
            ListenerState::Closed
        } else {
            ListenerState::Failed
        };
        if self.plan.is_none() {
            self.ask_for_stop();
        }
        true
    }

    /// Takes one row of the table, if the state and the time call for it.
    fn advance(&mut self) -> Option<&'static Transition> {
        let event = self.event()?;
        let row = table::transition(self.phase, event);
        debug_assert!(row.is_some(), "no row for {event:?} while {}", self.phase);
        let row = row?;
        self.phase = row.to;
        for effect in row.effects {
            self.perform(*effect, row.from);
        }
        Some(row)
    }

    /// Returns what the state and the time call for, if anything.
    fn event(&self) -> Option<Event> {
        let plan = self.plan?;
        let now = self.now;
        let (emptied, left) = (self.emptied, !self.emptied && !self.abandoned);
        match self.phase {
            Phase::Running if plan.drain_at > now => Some(Event::StopWithLameDuck),
            Phase::Running => Some(Event::Stop),
            Phase::Stopped => None,
            Phase::LameDuck | Phase::Draining if self.abort_requested => Some(Event::Abort),
            Phase::LameDuck | Phase::Draining if !emptied && now >= plan.abort_at => {
                Some(Event::Abort)
            }
            Phase::LameDuck if now >= plan.drain_at || self.have_all_failed() => {
                Some(Event::LameDuckOver)
            }
            Phase::LameDuck => None,
            Phase::Draining if self.settling_until.is_some_and(|at| emptied || now >= at) => {
                Some(match self.spares_those_in_use() {
                    true => Event::RoundOver,
                    false => Event::Settled,
                })
            }
            Phase::Draining if left => {
                let (at, event) = self.next_end(plan)?;
                (now >= at).then_some(event)
            }
            Phase::Aborting if left && now >= plan.abandon_at => Some(Event::AbortTimeoutOver),
            Phase::Aborting if left => None,
            Phase::Draining | Phase::Aborting => self.hooks.event(now),
        }
    }

    /// Returns when more connections end than those that are idle, and the event.
    fn next_end(&self, plan: Plan) -> Option<(Duration, Event)> {
        match (self.ends_busy, self.ends_last) {
            _ if self.settling_until.is_some() => None,
            (false, _) => Some((plan.busy_until, Event::HalfTimeOver)),
            (true, false) => Some((plan.last_until, Event::WaitOver)),
            (true, true) => None,
        }
    }

    /// After a hand-over nobody waits for the end: a connection in use has the grace
    /// period of a stop until it rests (F84).
    fn spares_those_in_use(&self) -> bool {
        let next = self.now.saturating_add(self.round());
        let abort_at = self.plan.map_or(Duration::MAX, |plan| plan.abort_at);
        let limit = self.in_use_until.min(abort_at);
        self.handed_over && !self.emptied && self.now < next && next < limit
    }

    /// The time between two looks for connections that are not in use.
    fn round(&self) -> Duration {
        self.config.settle_time(true) / 2
    }

    fn perform(&mut self, effect: Effect, from: Phase) {
        match effect {
            Effect::NotReady => self.emit(Output::NotReady),
            Effect::Enter => {
                let settle = self.config.settle_time(self.handed_over);
                self.settling_until = (self.phase == Phase::Draining && !settle.is_zero())
                    .then(|| self.now.saturating_add(settle));
                self.in_use_until = self.now.saturating_add(self.config.grace_period);
                self.emit(Output::Enter(self.phase));
            }
            Effect::StopAccepting => {
                for id in 0..self.listeners.len() {
                    if self.listeners[id] == ListenerState::Open {
                        self.listeners[id] = ListenerState::Told;
                        self.emit(Output::StopAccepting(id));
                    }
                }
            }
            Effect::EndUnused => {
                self.settling_until = Some(self.now.saturating_add(self.round()));
                self.emit(Output::EndUnused);
            }
            Effect::EndIdle => {
                self.settling_until = None;
                if !self.emptied {
                    self.emit(Output::EndIdle);
                }
            }
            Effect::EndBusy => {
                self.ends_busy = true;
                if let Some(plan) = &mut self.plan {
                    // It may come late: those that it ends still have something for others.
                    plan.last_until = middle(self.now, plan.abort_at);
                }
                self.emit(Output::EndBusy);
            }
            Effect::EndLast => {
                self.ends_last = true;
                self.emit(Output::EndLast);
            }
            Effect::CloseListeners => {
                for id in 0..self.listeners.len() {
                    if self.listeners[id] < ListenerState::Closed {
                        self.listeners[id] = ListenerState::Told;
                        self.emit(Output::CloseListener(id));
                    }
                }
            }
            Effect::Abandon => self.abandoned = true,
            Effect::RunHook => {
                let end_at = self.plan.map_or(self.now, |plan| plan.end_at);
                if let Some((id, limit)) = self.hooks.run(self.now, end_at) {
                    self.emit(Output::RunHook(id, limit));
                }
            }
            Effect::CancelHook => {
                if let Some(id) = self.hooks.cancel() {
                    self.emit(Output::CancelHook(id));
                }
            }
            Effect::Complete => self.emit(Output::Complete(self.outcome(from))),
        }
    }

    /// Returns the outcome of a stop that ends in this phase.
    fn outcome(&self, phase: Phase) -> Outcome {
        let has_failed =
            self.listeners.contains(&ListenerState::Failed) || self.hooks.has_failed();
        if !self.emptied {
            Outcome::Abandoned
        } else if phase == Phase::Aborting {
            Outcome::Aborted
        } else if has_failed {
            Outcome::Failed
        } else {
            Outcome::Clean
        }
    }

    /// Returns whether no listener is left that could accept: a lame duck time
    /// has no use then.
    fn have_all_failed(&self) -> bool {
        !self.listeners.is_empty() && self.listeners_closed()
    }

    fn listeners_closed(&self) -> bool {
        let mut listeners = self.listeners.iter();
        listeners.all(|listener| *listener >= ListenerState::Closed)
    }

    fn emit(&mut self, output: Output) {
        self.outputs.push_back(output);
    }
}
