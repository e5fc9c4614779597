//! The shutdown state machine: pure, with no I/O, no clock and no lock.
//!
//! It plans a stop and decides all of it: the stages, their deadlines, when a
//! listener closes, when the living are told, when they are cut off, how it
//! ended. A driver feeds it with what happens, and carries out what it says.
//!
//! # The driver's contract
//! ```
//! use lameduck::machine::{Config, Input, Machine, Outcome, Output};
//! use std::time::Duration;
//!
//! let mut machine = Machine::new(Config::default(), 1, 0);
//! let mut inputs = vec![
//!     Input::Stop { cause: "done".into() },
//!     Input::ListenerQuiet(0),
//!     Input::ListenerClosed(0, Ok(())),
//!     Input::Emptied,
//! ];
//! inputs.reverse();
//! let mut ended = None;
//! // 1. Tell the machine what happened, and when.
//! while let Some(input) = inputs.pop() {
//!     let now = Duration::ZERO; // since whatever moment the driver likes
//!     let _ = machine.handle(now, input);
//!     // 2. Carry out what it says, until it has nothing to say.
//!     while let Some(output) = machine.poll_output() {
//!         if let Output::Complete(outcome) = output {
//!             ended = Some(outcome);
//!         }
//!     }
//!     // 3. Wait for the next input, or until `machine.deadline()`: then
//!     //    tell it `Input::Tick`.
//! }
//! assert_eq!(ended, Some(Outcome::Clean));
//! ```
//! Emptiness counts only once nobody can come any more: it is to be told when,
//! or as soon as, [`Machine::awaits_emptied`] says so, and is ignored before.
//!
//! Time is a [`Duration`] since any fixed moment. It saturates, and a `now`
//! that goes back counts as the latest one.
//!
//! # The transitions
#![doc = include_str!("machine/diagram.md")]

mod config;
mod log;
mod messages;
mod table;

use std::collections::VecDeque;
use std::time::Duration;

pub use self::config::{Config, ConfigError};
pub use self::log::{Log, LogError, Replayed};
pub use self::messages::{Fault, Ignored, Input, Outcome, Output, Stage};
pub use self::table::{Effect, Event, TABLE, Transition, diagram};
use crate::cause::Cause;

/// The deadlines of one stop, derived once, when it begins (F31).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Plan {
    quiesce_at: Duration,
    sweep_until: Duration,
    settle_until: Duration,
    force_at: Duration,
    end_at: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Listener {
    Open,
    Quiescing,
    /// Told to close.
    Closing,
    Closed,
    Failed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Hook {
    Waiting,
    Running,
    Done,
    Failed,
}

/// A stop, as a value: to clone it is to branch, to compare is to replay.
///
/// ```
/// use lameduck::machine::{Config, Input, Machine, Output, Stage};
/// use std::time::Duration;
///
/// let mut machine = Machine::new(Config::default(), 1, 0);
/// machine.handle(Duration::ZERO, Input::Escalate)?;
/// let mut replay = Machine::new(Config::default(), 1, 0);
/// assert_ne!(machine, replay);
/// replay.handle(Duration::ZERO, Input::Escalate)?;
/// assert_eq!(machine, replay);
/// # let _ = (Output::Drain, Stage::Force);
/// # Ok::<(), lameduck::machine::Ignored>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Machine {
    config: Config,
    now: Duration,
    stage: Stage,
    cause: Option<Cause>,
    escalated: bool,
    emptied: bool,
    settling: bool,
    drained: bool,
    plan: Option<Plan>,
    armed: Option<Duration>,
    listeners: Vec<Listener>,
    hooks: Vec<Hook>,
    outputs: VecDeque<Output>,
}

impl Machine {
    /// A running machine for so many listeners and hooks, which are known by
    /// their place from 0 on.
    pub fn new(config: Config, listeners: usize, hooks: usize) -> Machine {
        Machine {
            config,
            now: Duration::ZERO,
            stage: Stage::Running,
            cause: None,
            escalated: false,
            emptied: false,
            settling: false,
            drained: false,
            plan: None,
            armed: None,
            listeners: vec![Listener::Open; listeners],
            hooks: vec![Hook::Waiting; hooks],
            // All that a stop can say before anybody listens: nothing is
            // allocated on the way.
            outputs: VecDeque::with_capacity(16 + 2 * listeners + hooks),
        }
    }

    /// Takes in what happened at `now`.
    ///
    /// # Errors
    /// [`Ignored`] for what means nothing here, such as the end of a hook that
    /// does not run. It changed nothing; deadlines were looked at all the same.
    pub fn handle(&mut self, now: Duration, input: Input) -> Result<(), Ignored> {
        self.now = self.now.max(now);
        let applied = self.apply(input);
        while let Some(row) = self
            .event()
            .and_then(|on| table::transition(self.stage, on))
        {
            self.stage = row.to;
            for effect in row.effects {
                self.carry(*effect);
            }
        }
        self.settle();
        self.run_hooks();
        self.arm();
        applied
    }

    /// The next thing to do; `None` when all has been said.
    ///
    /// ```
    /// use lameduck::machine::{Config, Input, Machine, Output, Stage};
    /// use std::time::Duration;
    ///
    /// let mut machine = Machine::new(Config::default(), 1, 0);
    /// machine.handle(Duration::ZERO, Input::Stop { cause: "done".into() })?;
    /// assert_eq!(machine.poll_output(), Some(Output::SetReady(false)));
    /// assert_eq!(machine.poll_output(), Some(Output::Notify(Stage::Quiesce)));
    /// assert_eq!(machine.poll_output(), Some(Output::Quiesce(0)));
    /// assert_eq!(machine.poll_output(), Some(Output::Drain));
    /// # Ok::<(), lameduck::machine::Ignored>(())
    /// ```
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When the machine wants a tick at the latest, if nothing else happens.
    ///
    /// ```
    /// use lameduck::machine::{Config, Input, Machine, Output, Stage};
    /// use std::time::Duration;
    ///
    /// let mut machine = Machine::new(Config::default(), 1, 0);
    /// assert_eq!(machine.deadline(), None);
    /// machine.handle(Duration::ZERO, Input::Stop { cause: "done".into() })?;
    /// assert_eq!(machine.deadline(), Some(Config::default().sweep));
    /// # let _ = (Output::Drain, Stage::Force);
    /// # Ok::<(), lameduck::machine::Ignored>(())
    /// ```
    pub fn deadline(&self) -> Option<Duration> {
        let plan = self.plan?;
        let stage_ends = match self.stage {
            Stage::Running | Stage::Stopped => None,
            Stage::Notice => Some(plan.quiesce_at.min(plan.force_at)),
            Stage::Quiesce => Some(plan.sweep_until.min(plan.force_at)),
            Stage::Finish => Some(plan.force_at),
            Stage::Force => Some(plan.end_at),
        }?;
        Some(match self.settling {
            true => stage_ends.min(plan.settle_until),
            false => stage_ends,
        })
    }

    /// The stage.
    pub fn stage(&self) -> Stage {
        self.stage
    }

    /// What began the stop.
    pub fn cause(&self) -> Option<Cause> {
        self.cause
    }

    /// The time by which it is over, whatever happens; `None` while running.
    ///
    /// ```
    /// use lameduck::machine::{Config, Input, Machine, Output, Stage};
    /// use std::time::Duration;
    ///
    /// let mut machine = Machine::new(Config::default(), 1, 0);
    /// machine.handle(Duration::ZERO, Input::Stop { cause: "done".into() })?;
    /// let Config { grace, force_margin, .. } = Config::default();
    /// assert_eq!(machine.ends_by(), Some(grace + force_margin));
    /// # let _ = (Output::Drain, Stage::Force);
    /// # Ok::<(), lameduck::machine::Ignored>(())
    /// ```
    pub fn ends_by(&self) -> Option<Duration> {
        self.plan.map(|plan| plan.end_at)
    }

    /// Whether [`Input::Emptied`] is what it waits for.
    pub fn awaits_emptied(&self) -> bool {
        let finishing = matches!(self.stage, Stage::Finish | Stage::Force);
        finishing && !self.emptied && self.listeners_closed()
    }

    fn apply(&mut self, input: Input) -> Result<(), Ignored> {
        let running = self.stage == Stage::Running;
        let applies = match input {
            _ if self.stage == Stage::Stopped => false,
            Input::Tick => true,
            Input::Stop { cause } => running && self.begin(cause),
            Input::Escalate => {
                self.stage < Stage::Force && {
                    self.begin(Cause::Request("escalated"));
                    self.escalated = true;
                    true
                }
            }
            Input::ListenerQuiet(id) => self.listener_quiet(id),
            Input::ListenerClosed(id, result) => self.listener_closed(id, result),
            Input::Emptied => {
                self.awaits_emptied() && {
                    self.emptied = true;
                    true
                }
            }
            Input::HookDone(id, result) => self.hook_done(id, result),
        };
        if applies {
            Ok(())
        } else {
            Err(Ignored {
                stage: self.stage,
                input,
            })
        }
    }

    /// Derives all deadlines in the step that makes the stop known (F30).
    fn begin(&mut self, cause: Cause) -> bool {
        if self.plan.is_some() {
            return false;
        }
        let Config {
            grace,
            notice,
            sweep,
            settle,
            force_margin,
        } = self.config;
        // Nobody has to learn of anything when a successor goes on.
        let notice = match cause {
            Cause::Successor => Duration::ZERO,
            _ => notice,
        };
        let quiesce_at = self.now.saturating_add(notice);
        let force_at = self.now.saturating_add(grace);
        self.cause = Some(cause);
        self.plan = Some(Plan {
            quiesce_at,
            sweep_until: quiesce_at.saturating_add(sweep),
            settle_until: quiesce_at.saturating_add(settle),
            force_at,
            end_at: force_at.saturating_add(force_margin),
        });
        true
    }

    fn listener_quiet(&mut self, id: usize) -> bool {
        let quiescing = self.listeners.get(id) == Some(&Listener::Quiescing);
        if quiescing {
            self.close_listener(id);
        }
        quiescing
    }

    fn listener_closed(&mut self, id: usize, result: Result<(), Fault>) -> bool {
        let Some(listener) = self.listeners.get_mut(id) else {
            return false;
        };
        if *listener >= Listener::Closed {
            return false;
        }
        let told = *listener == Listener::Closing;
        *listener = if told && result.is_ok() {
            Listener::Closed
        } else {
            Listener::Failed
        };
        self.begin(Cause::Listener);
        true
    }

    fn hook_done(&mut self, id: usize, result: Result<(), Fault>) -> bool {
        let running = self.hooks.get(id) == Some(&Hook::Running);
        if running {
            self.hooks[id] = if result.is_ok() {
                Hook::Done
            } else {
                Hook::Failed
            };
        }
        running
    }

    /// What the state and the time call for, if anything.
    fn event(&self) -> Option<Event> {
        let plan = self.plan?;
        let all_done = self.emptied && self.hooks_done();
        match self.stage {
            Stage::Running if plan.quiesce_at > self.now => Some(Event::StopWithNotice),
            Stage::Running => Some(Event::Stop),
            Stage::Stopped => None,
            Stage::Finish | Stage::Force if all_done => Some(Event::AllDone),
            Stage::Force => (self.now >= plan.end_at).then_some(Event::MarginOver),
            _ if self.escalated => Some(Event::Escalated),
            _ if self.now >= plan.force_at => Some(Event::GraceOver),
            Stage::Notice => (self.now >= plan.quiesce_at).then_some(Event::NoticeOver),
            Stage::Quiesce if self.listeners_closed() => Some(Event::ListenersClosed),
            Stage::Quiesce => (self.now >= plan.sweep_until).then_some(Event::SweepOver),
            Stage::Finish => None,
        }
    }

    fn carry(&mut self, effect: Effect) {
        match effect {
            Effect::NotReady => self.say(Output::SetReady(false)),
            Effect::Notify => self.say(Output::Notify(self.stage)),
            Effect::Settle => match self.plan {
                Some(plan) if plan.settle_until > self.now => {
                    self.settling = true;
                    self.say(Output::Settle);
                }
                _ => self.drain(),
            },
            Effect::Drain => self.drain(),
            Effect::QuiesceAll => {
                for id in 0..self.listeners.len() {
                    if self.listeners[id] == Listener::Open {
                        self.listeners[id] = Listener::Quiescing;
                        self.say(Output::Quiesce(id));
                    }
                }
            }
            Effect::CloseAll => {
                for id in 0..self.listeners.len() {
                    if self.listeners[id] < Listener::Closing {
                        self.close_listener(id);
                    }
                }
            }
            Effect::Abort => self.abort(),
            Effect::Complete => self.say(Output::Complete(self.outcome())),
        }
    }

    fn close_listener(&mut self, id: usize) {
        self.listeners[id] = Listener::Closing;
        self.say(Output::CloseListener(id));
    }

    fn abort(&mut self) {
        self.escalated = true;
        if let Some(plan) = &mut self.plan {
            let margin = self.now.saturating_add(self.config.force_margin);
            plan.force_at = plan.force_at.min(self.now);
            plan.end_at = plan.end_at.min(margin);
        }
        if !self.emptied {
            self.say(Output::Abort);
        }
    }

    fn drain(&mut self) {
        self.settling = false;
        if !self.drained && !self.emptied {
            self.drained = true;
            self.say(Output::Drain);
        }
    }

    /// Ends the time to settle, or what is left of it when nobody lives.
    fn settle(&mut self) {
        let over = self.plan.is_some_and(|plan| self.now >= plan.settle_until);
        if self.settling && (over || self.emptied) {
            self.drain();
        }
    }

    /// Hooks run one after another, once nobody lives (F41).
    fn run_hooks(&mut self) {
        if !self.emptied || self.stage == Stage::Stopped {
            return;
        }
        let next = self.hooks.iter().position(|hook| *hook < Hook::Done);
        if let Some(id) = next.filter(|id| self.hooks[*id] == Hook::Waiting) {
            self.hooks[id] = Hook::Running;
            self.say(Output::RunHook(id));
        }
    }

    fn arm(&mut self) {
        let deadline = self.deadline();
        if let Some(at) = deadline.filter(|_| deadline != self.armed) {
            self.say(Output::ArmTimer(at));
        }
        self.armed = deadline;
    }

    fn outcome(&self) -> Outcome {
        let failed =
            self.listeners.contains(&Listener::Failed) || self.hooks.contains(&Hook::Failed);
        match (self.escalated, self.emptied) {
            (true, false) => Outcome::Abandoned,
            (true, true) => Outcome::Forced,
            _ if failed => Outcome::Failed,
            _ => Outcome::Clean,
        }
    }

    fn listeners_closed(&self) -> bool {
        self.listeners.iter().all(|l| *l >= Listener::Closed)
    }

    fn hooks_done(&self) -> bool {
        self.hooks.iter().all(|hook| *hook >= Hook::Done)
    }

    fn say(&mut self, output: Output) {
        self.outputs.push_back(output);
    }
}
