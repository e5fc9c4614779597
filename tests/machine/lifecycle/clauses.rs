//! The clauses that hold on every edge of the search. They are judged by the
//! inputs that were taken and by the outputs, not by the reference.

use std::time::Duration;

use lameduck::machine::lifecycle::{Input, Lifecycle, Outcome, Output, UnexpectedInput};
use lameduck::{Phase, Signal};

use super::alphabet::Setup;

/// A set of listeners, or of hooks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Ids(u8);

impl Ids {
    fn first(count: usize) -> Ids {
        Ids((1 << count) - 1)
    }

    fn has(self, id: usize) -> bool {
        self.0 & (1 << id) != 0
    }

    /// Returns whether it is new.
    fn add(&mut self, id: usize) -> bool {
        let is_new = !self.has(id);
        self.0 |= 1 << id;
        is_new
    }

    fn covers(self, other: Ids) -> bool {
        self.0 & other.0 == other.0
    }
}

/// One edge of the search.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Edge<'a> {
    pub(crate) setup: Setup,
    pub(crate) before: &'a Lifecycle,
    pub(crate) now: Duration,
    pub(crate) input: Input,
    pub(crate) result: Result<(), UnexpectedInput>,
    pub(crate) outputs: &'a [Output],
    pub(crate) after: &'a Lifecycle,
}

/// What is known of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Facts {
    not_ready: bool,
    told: Ids,
    told_to_close: Ids,
    closed: Ids,
    hooks_run: Ids,
    hooks_over: Ids,
    has_failed: bool,
    emptied: bool,
    abort_asked: bool,
    is_restart: bool,
    entered: Option<Phase>,
    idle_ended: bool,
    busy_ended: bool,
    last_ended: bool,
    /// The latest end, and the earliest abort that nobody asks for.
    ends_by: Option<Duration>,
    aborts_at: Option<Duration>,
    signals: [Option<Duration>; 2],
    pub(crate) outcome: Option<Outcome>,
}

impl Facts {
    pub(crate) fn all_closed(&self, setup: Setup) -> bool {
        self.closed == Ids::first(setup.listeners)
    }

    /// Checks an edge, and notes what it tells.
    pub(crate) fn check(&mut self, edge: &Edge<'_>) {
        self.repeats(edge);
        if self.outcome.is_some() {
            let is_silent = edge.result.is_err() && edge.outputs.is_empty();
            return edge.holds(is_silent, "S2: something comes after the end");
        }
        match edge.result {
            Ok(()) => self.note(edge),
            Err(error) => {
                let is_right = error.input == edge.input && error.phase == edge.before.phase();
                edge.holds(is_right, "S18: the error names another step");
            }
        }
        self.allow_for_a_freeze(edge);
        for output in edge.outputs {
            self.hear(edge, *output);
        }
        self.holds_after(edge);
    }

    /// S17 for what fits; S18 for what does not, which does what a tick does.
    fn repeats(&self, edge: &Edge<'_>) {
        let input = match edge.result {
            Ok(()) => edge.input,
            Err(_) => Input::Tick,
        };
        let mut again = edge.before.clone();
        again.handle(edge.now, input).ok();
        let outputs: Vec<_> = std::iter::from_fn(|| again.poll_output()).collect();
        let is_same = outputs == edge.outputs && again == *edge.after;
        edge.holds(
            is_same,
            "S17, S18: not what the same input, or a tick, does",
        );
    }

    /// Notes an input that fits.
    fn note(&mut self, edge: &Edge<'_>) {
        let (setup, now) = (edge.setup, edge.now);
        let has_stopped = self.ends_by.is_some() || self.is_restart;
        match edge.input {
            Input::Tick => {}
            Input::Stop => {
                edge.holds(!has_stopped || self.is_restart, "S13: a second stop fits");
                self.limit(setup, now);
            }
            Input::HandedOver => {
                edge.holds(!has_stopped, "S13: a stop is handed over");
                self.is_restart = true;
            }
            Input::Signal(signal) => self.note_signal(edge, signal),
            Input::Abort => self.abort(edge),
            Input::ListenerClosed(id, result) => {
                let is_new = id < setup.listeners && self.closed.add(id);
                edge.holds(is_new, "S18: no such listener is open");
                let was_told = self.told.has(id) || self.told_to_close.has(id);
                self.has_failed |= !was_told || result.is_err();
                if !has_stopped {
                    self.limit(setup, now);
                }
            }
            Input::Emptied => {
                let drains = self.entered >= Some(Phase::Draining);
                let fits = drains && !self.emptied && self.all_closed(setup);
                edge.holds(fits, "S7: emptied while a connection could still come");
                self.emptied = true;
            }
            Input::HookDone(id, result) => {
                let ran = id < setup.hooks && self.hooks_run.has(id) && self.hooks_over.add(id);
                edge.holds(ran, "S18: no such hook runs");
                self.has_failed |= result.is_err();
            }
            _ => edge.holds(false, "an input that the clauses do not know"),
        }
    }

    fn note_signal(&mut self, edge: &Edge<'_>, signal: Signal) {
        let config = edge.setup.config;
        let (own, other) = match signal {
            Signal::Interrupt => (0, 1),
            _ => (1, 0),
        };
        let aborts = match (self.signals[own], self.signals[other]) {
            (Some(at), _) => edge.now - at > config.same_signal_window,
            (None, Some(at)) => edge.now - at > config.other_signal_window,
            (None, None) => false,
        };
        self.signals[own].get_or_insert(edge.now);
        if aborts && self.entered < Some(Phase::Aborting) {
            self.abort(edge);
        } else if self.ends_by.is_none() {
            self.limit(edge.setup, edge.now);
        }
    }

    fn reserve(setup: Setup) -> Duration {
        match setup.hooks {
            0 => Duration::ZERO,
            _ => setup.config.hook_reserve,
        }
    }

    /// The usual stop begins.
    fn limit(&mut self, setup: Setup, now: Duration) {
        self.is_restart = false;
        self.end_by(now + setup.config.grace_period);
        let parts = Facts::reserve(setup) + setup.config.abort_timeout;
        let aborts_at = (now + setup.config.grace_period).saturating_sub(parts);
        let aborts_at = aborts_at.max(now);
        self.aborts_at = Some(self.aborts_at.map_or(aborts_at, |at| at.min(aborts_at)));
    }

    fn abort(&mut self, edge: &Edge<'_>) {
        let is_early = self.entered < Some(Phase::Aborting);
        edge.holds(is_early, "S18: aborted twice");
        self.abort_asked = true;
        let parts = edge.setup.config.abort_timeout + Facts::reserve(edge.setup);
        self.end_by(edge.now + parts);
    }

    fn end_by(&mut self, at: Duration) {
        self.ends_by = Some(self.ends_by.map_or(at, |before| before.min(at)));
    }

    /// F61: what is late by more than half of the abort timeout gets that
    /// timeout, and puts off the end.
    fn allow_for_a_freeze(&mut self, edge: &Edge<'_>) {
        let timeout = edge.setup.config.abort_timeout;
        let late = edge
            .before
            .deadline()
            .is_some_and(|at| edge.now > at + timeout / 2);
        if let (true, Some(end)) = (late && timeout > Duration::ZERO, self.ends_by) {
            let latest = edge.now + 2 * timeout + Facts::reserve(edge.setup);
            self.ends_by = Some(end.max(latest));
        }
    }

    /// Judges an output by what came before it.
    fn hear(&mut self, edge: &Edge<'_>, output: Output) {
        let (setup, now) = (edge.setup, edge.now);
        edge.holds(self.outcome.is_none(), "S2, S3: an output after Complete");
        match output {
            Output::NotReady => {
                let is_new = !std::mem::replace(&mut self.not_ready, true);
                edge.holds(is_new, "S14: not ready twice");
            }
            Output::StopAccepting(id) => {
                let is_new = self.told.add(id) && !self.closed.has(id);
                edge.holds(is_new, "S14: a listener is told twice, or when closed");
                edge.holds(self.not_ready, "S6: a listener is told while ready");
            }
            Output::CloseListener(id) => {
                let is_new = self.told_to_close.add(id) && !self.closed.has(id);
                edge.holds(is_new, "S14: a listener is closed twice");
                edge.holds(self.may_abort(now), "S8: a listener is closed unswept");
                edge.holds(self.not_ready, "S6: a listener is closed while ready");
            }
            Output::Enter(phase) => {
                let is_forward = self.entered < Some(phase) && phase > Phase::Running;
                edge.holds(
                    is_forward && phase < Phase::Stopped,
                    "S1: a phase goes back",
                );
                edge.holds(self.not_ready, "S6: a phase begins while ready");
                let all = Ids(self.told.0 | self.told_to_close.0 | self.closed.0);
                let all_told = all.covers(Ids::first(setup.listeners));
                edge.holds(
                    all_told || phase == Phase::LameDuck,
                    "S7: a listener accepts",
                );
                let may_abort = phase < Phase::Aborting || self.may_abort(now);
                edge.holds(may_abort, "S10, S11: an abort before its time");
                self.entered = Some(phase);
            }
            Output::EndUnused => {
                let drains = self.entered == Some(Phase::Draining);
                edge.holds(
                    drains && self.is_restart && !self.idle_ended && !self.emptied,
                    "F84: connections in use are spared, but idle ones have ended",
                );
            }
            Output::EndIdle => {
                let is_new = !std::mem::replace(&mut self.idle_ended, true);
                edge.holds(is_new && !self.emptied, "S14: idle connections end twice");
                let drains = self.entered == Some(Phase::Draining);
                edge.holds(drains, "F17: idle connections end, but it does not drain");
            }
            Output::EndBusy => {
                let is_new = !std::mem::replace(&mut self.busy_ended, true);
                edge.holds(is_new && !self.emptied, "F97: busy connections end twice");
                let drains = self.entered == Some(Phase::Draining);
                let settled = !edge.after.is_settling();
                edge.holds(drains && settled, "F97: busy ones end before idle ones");
            }
            Output::EndLast => {
                let is_new = !std::mem::replace(&mut self.last_ended, true);
                edge.holds(is_new && !self.emptied, "F98: the last end twice");
                let drains = self.entered == Some(Phase::Draining);
                edge.holds(drains && self.busy_ended, "F98: they end before busy ones");
            }
            Output::RunHook(id, limit) => {
                let is_abandoned = self.entered == Some(Phase::Aborting);
                edge.holds(
                    self.emptied || is_abandoned,
                    "F41: a hook under connections",
                );
                let is_next = self.hooks_over == Ids::first(id);
                edge.holds(is_next && self.hooks_run.add(id), "F41: a hook out of turn");
                let is_in_budget = self.ends_by.is_none_or(|end| now + limit <= end.max(now));
                edge.holds(is_in_budget, "L1: a hook beyond the budget");
            }
            Output::CancelHook(id) => {
                let runs = self.hooks_run.has(id) && self.hooks_over.add(id);
                edge.holds(runs, "S14: a hook that does not run is cancelled");
                self.has_failed = true;
            }
            Output::Complete(outcome) => self.hear_complete(edge, outcome),
            _ => edge.holds(false, "an output that the clauses do not know"),
        }
    }

    fn may_abort(&self, now: Duration) -> bool {
        self.abort_asked || self.aborts_at.is_some_and(|at| now >= at)
    }

    fn hear_complete(&mut self, edge: &Edge<'_>, outcome: Outcome) {
        let all_hooks = self.hooks_over == Ids::first(edge.setup.hooks);
        edge.holds(all_hooks, "L7: a hook has not come to its end");
        let is_aborted = self.entered == Some(Phase::Aborting);
        edge.holds(self.emptied || is_aborted, "S11: complete with connections");
        let expected = match (self.emptied, is_aborted, self.has_failed) {
            (false, ..) => Outcome::Abandoned,
            (_, true, _) => Outcome::Aborted,
            (.., true) => Outcome::Failed,
            _ => Outcome::Clean,
        };
        edge.holds(outcome == expected, "S5: the wrong outcome");
        self.outcome = Some(outcome);
    }

    /// What holds after each edge.
    fn holds_after(&self, edge: &Edge<'_>) {
        let Edge {
            after, now, setup, ..
        } = *edge;
        let phase = match self.outcome {
            Some(_) => Phase::Stopped,
            None => self.entered.unwrap_or(Phase::Running),
        };
        edge.holds(after.phase() == phase, "S1: the phase is not what was said");
        let is_stopping = self.ends_by.is_some() || self.is_restart;
        let has_begun = phase > Phase::Running;
        edge.holds(
            has_begun == is_stopping,
            "S13: a stop that was asked for has begun",
        );
        let is_open = phase == Phase::Draining || phase == Phase::Aborting;
        let awaits = is_open && !self.emptied && self.all_closed(setup);
        edge.holds(
            after.awaits_emptied() == awaits,
            "S7: what waits for emptiness",
        );
        let is_late = phase == Phase::Draining && !self.emptied && self.may_abort(now);
        let is_aborting = phase == Phase::Aborting || !self.abort_asked;
        edge.holds(
            is_aborting || phase == Phase::Stopped,
            "L1: no abort when asked",
        );
        edge.holds(
            !is_late || after.deadline().is_some(),
            "L1: an abort that nothing brings about",
        );
        let is_done = self.emptied && self.hooks_over == Ids::first(setup.hooks);
        edge.holds(
            !is_done || self.outcome.is_some(),
            "L2: all is done, and it goes on",
        );
        let runs = self.hooks_run != self.hooks_over;
        let is_over = self.outcome.is_some();
        edge.holds(
            !self.emptied || runs || is_over,
            "L2: nothing is waited for",
        );
        self.holds_deadlines(edge, phase);
    }

    /// S12, L1, L3: no deadline is lost, missed, or put off.
    fn holds_deadlines(&self, edge: &Edge<'_>, phase: Phase) {
        let (deadline, ends_by) = (edge.after.deadline(), edge.after.ends_by());
        let is_waiting = phase > Phase::Running && phase < Phase::Stopped;
        edge.holds(
            is_waiting || deadline.is_none(),
            "L3: a deadline without a stop",
        );
        let is_missed = deadline.is_some_and(|at| at <= edge.now);
        edge.holds(!is_missed, "L3: a deadline was missed (F29)");
        let is_bound =
            self.ends_by.is_none() || ends_by.is_some_and(|at| Some(at) <= self.ends_by);
        edge.holds(is_bound, "S12, S13: beyond the budget");
        let is_armed = !is_waiting || self.ends_by.is_none() || deadline.is_some();
        edge.holds(is_armed, "L3: no deadline while draining");
        let is_inside = ends_by.is_none_or(|end| deadline.is_some_and(|at| at <= end));
        edge.holds(!is_waiting || is_inside, "L1: a deadline after the end");
    }
}

impl Edge<'_> {
    #[track_caller]
    fn holds(&self, holds: bool, clause: &'static str) {
        assert!(holds, "{clause}\n{self:#?}");
    }
}
