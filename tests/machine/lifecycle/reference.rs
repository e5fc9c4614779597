//! A second lifecycle, written to be obvious: it has no table and no events. It
//! notes facts, and after each input it walks once through the whole story of a
//! stop and says what is missing.

use std::time::Duration;

use lameduck::machine::lifecycle::{Config, Input, Outcome, Output};
use lameduck::{Phase, Signal};

use super::alphabet::{Setup, View};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hook {
    NotRun,
    RunsUntil(Duration),
    Ended,
}

#[derive(Clone, Debug)]
pub(crate) struct Reference {
    pub(crate) setup: Setup,
    now: Duration,
    pub(crate) phase: Phase,
    stop_asked: bool,
    abort_asked: bool,
    /// Handed over, and nobody has asked for the stop since.
    is_restart: bool,
    drain_at: Duration,
    half_at: Duration,
    said_half: bool,
    last_at: Duration,
    said_last: bool,
    abort_at: Duration,
    abandon_at: Duration,
    end_at: Duration,
    drained_at: Duration,
    pub(crate) settling_until: Option<Duration>,
    signals: Vec<(Signal, Duration)>,
    told: Vec<bool>,
    told_to_close: Vec<bool>,
    closed: Vec<bool>,
    emptied: bool,
    abandoned: bool,
    failed: bool,
    hooks: Vec<Hook>,
    /// Freezes that were made up for: before the abort, after it, of each hook.
    thawed: (bool, bool, Vec<bool>),
    said: Vec<Output>,
}

impl Reference {
    pub(crate) fn new(setup: Setup) -> Reference {
        Reference {
            setup,
            now: Duration::ZERO,
            phase: Phase::Running,
            stop_asked: false,
            abort_asked: false,
            is_restart: false,
            drain_at: Duration::MAX,
            half_at: Duration::MAX,
            said_half: false,
            last_at: Duration::MAX,
            said_last: false,
            abort_at: Duration::MAX,
            abandon_at: Duration::MAX,
            end_at: Duration::MAX,
            drained_at: Duration::ZERO,
            settling_until: None,
            signals: Vec::new(),
            told: vec![false; setup.listeners],
            told_to_close: vec![false; setup.listeners],
            closed: vec![false; setup.listeners],
            emptied: false,
            abandoned: false,
            failed: false,
            hooks: vec![Hook::NotRun; setup.hooks],
            thawed: (false, false, vec![false; setup.hooks]),
            said: Vec::new(),
        }
    }

    /// Takes an input; returns whether it fits, and what it says.
    pub(crate) fn step(&mut self, now: Duration, input: Input) -> (bool, Vec<Output>) {
        self.now = self.now.max(now);
        if self.phase == Phase::Stopped {
            return (false, Vec::new());
        }
        self.thaw();
        let fits = self.note(input);
        self.tell();
        (fits, std::mem::take(&mut self.said))
    }

    pub(crate) fn awaits_emptied(&self) -> bool {
        let drains = [Phase::Draining, Phase::Aborting].contains(&self.phase);
        drains && !self.emptied && self.closed.iter().all(|closed| *closed)
    }

    pub(crate) fn ends_by(&self) -> Option<Duration> {
        (self.end_at < Duration::MAX).then_some(self.end_at)
    }

    pub(crate) fn deadline(&self) -> Option<Duration> {
        let running = self.hooks.iter().find_map(|hook| match hook {
            Hook::RunsUntil(at) => Some(*at),
            _ => None,
        });
        let next_at = match (self.said_half, self.said_last) {
            (false, _) => self.half_at,
            (true, false) => self.last_at,
            (true, true) => Duration::MAX,
        };
        let settling = self.settling_until.unwrap_or(next_at);
        let at = match (self.phase, running) {
            (Phase::Running | Phase::Stopped, _) => Duration::MAX,
            (_, Some(at)) => at,
            (Phase::LameDuck, _) => self.drain_at.min(self.abort_at),
            (Phase::Draining, _) => settling.min(self.abort_at),
            (Phase::Aborting, _) => self.abandon_at,
        };
        (at < Duration::MAX).then_some(at)
    }

    pub(crate) fn view(&self) -> View {
        let told =
            |id: &usize| (self.told[*id] || self.told_to_close[*id]) && !self.closed[*id];
        let runs = |id: &usize| matches!(self.hooks[*id], Hook::RunsUntil(_));
        let listener = (0..self.setup.listeners).find(told);
        let hook = (0..self.setup.hooks).find(runs);
        View {
            now: self.now,
            deadline: self.deadline(),
            ends_by: self.ends_by(),
            owed: match (listener, hook) {
                (Some(id), _) => Some(Input::ListenerClosed(id, Ok(()))),
                (_, Some(id)) => Some(Input::HookDone(id, Ok(()))),
                _ => self.awaits_emptied().then_some(Input::Emptied),
            },
        }
    }

    fn reserve(&self) -> Duration {
        match self.setup.hooks {
            0 => Duration::ZERO,
            _ => self.setup.config.hook_reserve,
        }
    }

    /// The reserve of the hooks that come after this one.
    fn reserve_after(&self, id: usize) -> Duration {
        let count = self.setup.hooks as u32;
        (self.reserve() / count).saturating_mul(count - 1 - id as u32)
    }

    /// F61: whatever is late by more than half of the timeout gets it once more.
    fn thaw(&mut self) {
        let timeout = self.setup.config.abort_timeout;
        let again_at = self.now.saturating_add(timeout);
        let now = self.now;
        let is_late =
            |at: Duration| timeout > Duration::ZERO && now.saturating_sub(at) > timeout / 2;
        let is_left = self.stop_asked && !self.emptied && !self.abandoned;
        let reserve = self.reserve();
        if is_left && self.phase < Phase::Aborting && !self.thawed.0 && is_late(self.abort_at) {
            self.thawed.0 = true;
            self.last_at = again_at - (again_at - now) / 2;
            self.abort_at = again_at;
            self.abandon_at = again_at.saturating_add(timeout);
            self.end_at = self.end_at.max(self.abandon_at.saturating_add(reserve));
        }
        if is_left
            && self.phase == Phase::Aborting
            && !self.thawed.1
            && is_late(self.abandon_at)
        {
            self.thawed.1 = true;
            self.abandon_at = again_at;
            self.end_at = self.end_at.max(again_at.saturating_add(reserve));
        }
        for id in 0..self.setup.hooks {
            if let Hook::RunsUntil(at) = self.hooks[id] {
                if is_late(at) && !self.thawed.2[id] {
                    self.thawed.2[id] = true;
                    self.hooks[id] = Hook::RunsUntil(again_at);
                    let end_at = again_at.saturating_add(self.reserve_after(id));
                    self.end_at = self.end_at.max(end_at);
                }
            }
        }
    }

    /// Notes the input, where it fits.
    fn note(&mut self, input: Input) -> bool {
        match input {
            Input::Tick => true,
            Input::Stop => self.stop(),
            Input::Abort => self.abort(),
            Input::HandedOver if self.stop_asked => false,
            Input::HandedOver => {
                (self.stop_asked, self.is_restart) = (true, true);
                self.drain_at = self.now;
                self.limit_to(
                    self.setup
                        .config
                        .restart_grace_period
                        .unwrap_or(Duration::MAX),
                );
                true
            }
            Input::Signal(signal) => {
                if self.is_another_request(signal) {
                    self.abort();
                } else {
                    self.stop();
                }
                self.signals.push((signal, self.now));
                true
            }
            Input::ListenerClosed(id, result) => {
                if self.closed.get(id) != Some(&false) {
                    return false;
                }
                self.closed[id] = true;
                let was_told = self.told[id] || self.told_to_close[id];
                self.failed |= !was_told || result.is_err();
                if !self.stop_asked {
                    self.stop();
                }
                true
            }
            Input::Emptied if self.awaits_emptied() => {
                self.emptied = true;
                true
            }
            Input::HookDone(id, result) => match self.hooks.get(id) {
                Some(Hook::RunsUntil(_)) => {
                    self.hooks[id] = Hook::Ended;
                    self.failed |= result.is_err();
                    true
                }
                _ => false,
            },
            _ => false,
        }
    }

    fn stop(&mut self) -> bool {
        if self.stop_asked && !self.is_restart {
            return false;
        }
        if !self.stop_asked {
            self.drain_at = self.now.saturating_add(self.setup.config.lame_duck);
        }
        (self.stop_asked, self.is_restart) = (true, false);
        self.limit_to(self.setup.config.grace_period);
        if let Some(at) = &mut self.settling_until {
            // F84: the longer time was for the restart alone.
            *at = self.now.saturating_add(self.setup.config.settle).min(*at);
        }
        true
    }

    fn abort(&mut self) -> bool {
        if self.phase >= Phase::Aborting {
            return false;
        }
        (self.stop_asked, self.abort_asked) = (true, true);
        self.drain_at = self.drain_at.min(self.now);
        self.abort_at = self.abort_at.min(self.now);
        let timeout = self.setup.config.abort_timeout;
        let abandon_at = self.now.saturating_add(timeout);
        self.abandon_at = self.abandon_at.min(abandon_at);
        self.end_at = self.end_at.min(abandon_at.saturating_add(self.reserve()));
        self.limit_hook();
        true
    }

    /// F31: the parts are counted back from the end. What has no end has no
    /// parts that end.
    fn limit_to(&mut self, grace: Duration) {
        let end_at = self.now.saturating_add(grace);
        if end_at < Duration::MAX {
            let abandon_at = end_at.saturating_sub(self.reserve()).max(self.now);
            let abort_at = abandon_at.saturating_sub(self.setup.config.abort_timeout);
            let abort_at = abort_at.max(self.now);
            // Of a restart or a stop that begins to drain now, or after the lame duck.
            let drain_at = match self.phase {
                Phase::Running => self.drain_at,
                _ => self.now,
            };
            let half = abort_at.saturating_sub(drain_at) / 2;
            let half_at = drain_at.saturating_add(half);
            let last_at = half_at.saturating_add(abort_at.saturating_sub(half_at) / 2);
            self.half_at = self.half_at.min(half_at);
            self.last_at = self.last_at.min(last_at);
            self.abort_at = self.abort_at.min(abort_at);
            self.abandon_at = self.abandon_at.min(abandon_at);
            self.end_at = self.end_at.min(end_at);
        }
        self.limit_hook();
    }

    fn limit_hook(&mut self) {
        for id in 0..self.setup.hooks {
            if let Hook::RunsUntil(at) = self.hooks[id] {
                self.hooks[id] = Hook::RunsUntil(at.min(self.hook_until(id)));
            }
        }
    }

    /// F54: all of the budget, but for what the hooks after it have reserved.
    fn hook_until(&self, id: usize) -> Duration {
        match self.end_at {
            Duration::MAX => Duration::MAX,
            at => at.saturating_sub(self.reserve_after(id)).max(self.now),
        }
    }

    /// F45: once more the same signal, or another one, after its window.
    fn is_another_request(&self, signal: Signal) -> bool {
        let config = self.setup.config;
        let same = self.signals.iter().find(|(seen, _)| *seen == signal);
        let (since, window) = match (same, self.signals.first()) {
            (Some((_, at)), _) => (*at, config.same_signal_window),
            (None, Some((_, at))) => (*at, config.other_signal_window),
            (None, None) => return false,
        };
        self.now - since > window
    }

    /// The story of a stop, once through.
    fn tell(&mut self) {
        if !self.stop_asked {
            return;
        }
        let (now, listeners) = (self.now, self.setup.listeners);
        let aborts = self.abort_asked || !self.emptied && now >= self.abort_at;
        if self.phase == Phase::Running {
            self.said.push(Output::NotReady);
            if now < self.drain_at {
                self.enter(Phase::LameDuck);
            } else {
                self.drain();
            }
        }
        let all_closed = self.closed.iter().all(|closed| *closed);
        let is_over = now >= self.drain_at || listeners > 0 && all_closed;
        if self.phase == Phase::LameDuck && is_over && !aborts {
            self.drain();
        }
        if self.phase < Phase::Aborting && aborts {
            for id in 0..listeners {
                if !self.closed[id] {
                    self.told_to_close[id] = true;
                    self.said.push(Output::CloseListener(id));
                }
            }
            self.enter(Phase::Aborting);
        }
        if self
            .settling_until
            .is_some_and(|at| now >= at || self.emptied)
        {
            self.settling_until = None;
            let again = self.round_after(now);
            if let Some(at) = again.filter(|_| self.is_restart && !self.emptied) {
                self.settling_until = Some(at);
                self.said.push(Output::EndUnused);
            } else if !self.emptied {
                self.said.push(Output::EndIdle);
            }
        }
        let is_half = self.phase == Phase::Draining && now >= self.half_at;
        if is_half && !self.emptied && !self.said_half && self.settling_until.is_none() {
            self.said_half = true;
            self.said.push(Output::EndBusy);
            // Those that it ends have half of what is left for what others wait for.
            self.last_at = now.saturating_add(self.abort_at.saturating_sub(now) / 2);
        }
        let is_last = self.phase == Phase::Draining && now >= self.last_at;
        if is_last && !self.emptied && self.said_half && !self.said_last {
            self.said_last = true;
            self.said.push(Output::EndLast);
        }
        self.abandoned |=
            self.phase == Phase::Aborting && !self.emptied && now >= self.abandon_at;
        if self.emptied || self.abandoned {
            self.run_hooks();
        }
    }

    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.settling_until = None;
        self.said.push(Output::Enter(phase));
    }

    fn drain(&mut self) {
        for id in 0..self.setup.listeners {
            if !self.closed[id] {
                self.told[id] = true;
                self.said.push(Output::StopAccepting(id));
            }
        }
        self.enter(Phase::Draining);
        self.drained_at = self.now;
        let Config {
            mut settle,
            restart_settle,
            ..
        } = self.setup.config;
        if self.is_restart {
            settle = settle.max(restart_settle);
        }
        self.settling_until = (!settle.is_zero()).then(|| self.now.saturating_add(settle));
    }

    /// Returns when connections in use are looked at again, while they are spared.
    fn round_after(&self, now: Duration) -> Option<Duration> {
        let Config {
            settle,
            restart_settle,
            grace_period,
            ..
        } = self.setup.config;
        let round = settle.max(restart_settle) / 2;
        let limit = self
            .drained_at
            .saturating_add(grace_period)
            .min(self.abort_at);
        let at = now.saturating_add(round);
        (!round.is_zero() && at < limit).then_some(at)
    }

    fn run_hooks(&mut self) {
        for id in 0..self.setup.hooks {
            if self.hooks[id] == Hook::NotRun {
                let until = self.hook_until(id);
                self.hooks[id] = Hook::RunsUntil(until);
                self.said.push(Output::RunHook(id, until - self.now));
            }
            if let Hook::RunsUntil(at) = self.hooks[id] {
                if self.now < at {
                    return;
                }
                self.hooks[id] = Hook::Ended;
                self.failed = true;
                self.said.push(Output::CancelHook(id));
            }
        }
        let outcome = match (self.emptied, self.phase, self.failed) {
            (false, ..) => Outcome::Abandoned,
            (_, Phase::Aborting, _) => Outcome::Aborted,
            (.., true) => Outcome::Failed,
            _ => Outcome::Clean,
        };
        self.phase = Phase::Stopped;
        self.said.push(Output::Complete(outcome));
    }
}
