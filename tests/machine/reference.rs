//! A second machine, written to be obvious: it has no transitions and keeps
//! no state but the log. Each time it reads the log from the start, collects
//! facts, and says what follows from them.

use std::collections::HashSet;
use std::time::Duration;

use lameduck::Cause;
use lameduck::machine::{Config, Input, Outcome, Output, Stage};

use crate::alphabet::{Setup, View};

#[derive(Clone, Debug)]
pub(crate) struct Reference {
    pub(crate) setup: Setup,
    pub(crate) log: Vec<(Duration, Input)>,
}

/// What the log comes to.
#[derive(Clone, Debug)]
pub(crate) struct Prediction {
    pub(crate) stage: Stage,
    pub(crate) outcome: Option<Outcome>,
    /// All outputs so far but for the timers, which the deadline stands for.
    pub(crate) said: HashSet<Output>,
    pub(crate) deadline: Option<Duration>,
    pub(crate) ends_by: Option<Duration>,
    /// Whether the last input meant something.
    pub(crate) taken: bool,
    facts: Facts,
}

/// Facts only ever come true.
#[derive(Clone, Debug)]
struct Facts {
    now: Duration,
    stop_at: Option<Duration>,
    handed_over: bool,
    escalated_at: Option<Duration>,
    stage: Stage,
    visited: HashSet<Stage>,
    quiet: HashSet<usize>,
    closed: HashSet<usize>,
    emptied: bool,
    hooks_done: usize,
    fault: bool,
    said: HashSet<Output>,
}

impl Reference {
    pub(crate) fn new(setup: Setup) -> Reference {
        Reference {
            setup,
            log: Vec::new(),
        }
    }

    pub(crate) fn push(&mut self, now: Duration, input: Input) {
        self.log.push((now, input));
    }

    pub(crate) fn predict(&self) -> Prediction {
        let mut facts = Facts::new();
        let mut taken = true;
        for (now, input) in &self.log {
            facts.now = facts.now.max(*now);
            taken = self.means_something(&facts, *input);
            if taken {
                self.note(&mut facts, *input);
            }
            self.conclude(&mut facts);
        }
        let stopped = facts.stage == Stage::Stopped;
        Prediction {
            stage: facts.stage,
            outcome: stopped.then(|| self.outcome(&facts)),
            said: facts.said.clone(),
            deadline: self.deadline(&facts),
            ends_by: facts.stop_at.map(|_| self.end(&facts)),
            taken,
            facts,
        }
    }

    fn means_something(&self, facts: &Facts, input: Input) -> bool {
        let Setup { listeners, .. } = self.setup;
        let told = |id| facts.said.contains(&Output::CloseListener(id));
        let swept = |id| facts.said.contains(&Output::Quiesce(id));
        let run = |id| facts.said.contains(&Output::RunHook(id));
        match input {
            _ if facts.stage == Stage::Stopped => false,
            Input::Tick => true,
            Input::Stop { .. } => facts.stop_at.is_none(),
            Input::Escalate => facts.stage != Stage::Force,
            Input::ListenerQuiet(id) => swept(id) && !told(id) && !facts.closed.contains(&id),
            Input::ListenerClosed(id, _) => id < listeners && !facts.closed.contains(&id),
            Input::Emptied => {
                facts.stage >= Stage::Finish
                    && !facts.emptied
                    && facts.closed.len() == listeners
            }
            Input::HookDone(id, _) => run(id) && facts.hooks_done == id,
        }
    }

    fn note(&self, facts: &mut Facts, input: Input) {
        let now = facts.now;
        match input {
            Input::Tick => {}
            Input::Stop { cause } => {
                facts.stop_at = Some(now);
                facts.handed_over = cause == Cause::Successor;
            }
            Input::Escalate => {
                facts.stop_at.get_or_insert(now);
                facts.escalated_at = Some(now);
            }
            Input::ListenerQuiet(id) => {
                facts.quiet.insert(id);
            }
            Input::ListenerClosed(id, result) => {
                facts.stop_at.get_or_insert(now);
                let told = facts.said.contains(&Output::CloseListener(id));
                facts.fault |= !told || result.is_err();
                facts.closed.insert(id);
            }
            Input::Emptied => facts.emptied = true,
            Input::HookDone(_, result) => {
                facts.fault |= result.is_err();
                facts.hooks_done += 1;
            }
        }
    }

    /// What the facts come to, and all that has to have been said then.
    fn conclude(&self, facts: &mut Facts) {
        if facts.stop_at.is_none() || facts.stage == Stage::Stopped {
            return;
        }
        let was_swept = facts.visited.contains(&Stage::Quiesce);
        self.visit(facts);
        let visited = |stage| facts.visited.contains(&stage);
        let mut say = vec![Output::SetReady(false)];
        let draining = [Stage::Notice, Stage::Quiesce, Stage::Finish, Stage::Force];
        let notified = draining.into_iter().filter(|stage| visited(*stage));
        say.extend(notified.map(Output::Notify));
        let Config { settle, .. } = self.setup.config;
        let settled = facts.now >= after(facts.stop_at, &[self.lame_duck(facts), settle]);
        if !was_swept && visited(Stage::Quiesce) && !settled {
            say.push(Output::Settle);
        }
        let told = visited(Stage::Quiesce) && settled || visited(Stage::Force);
        if told && !facts.emptied {
            say.push(Output::Drain);
        }
        if visited(Stage::Force) && !facts.emptied {
            say.push(Output::Abort);
        }
        let shut = visited(Stage::Finish) || visited(Stage::Force);
        for id in (0..self.setup.listeners).filter(|id| !facts.closed.contains(id)) {
            if visited(Stage::Quiesce) {
                say.push(Output::Quiesce(id));
            }
            if shut || facts.quiet.contains(&id) {
                say.push(Output::CloseListener(id));
            }
        }
        if facts.stage == Stage::Stopped {
            say.push(Output::Complete(self.outcome(facts)));
        } else if facts.emptied {
            say.push(Output::RunHook(facts.hooks_done));
        }
        facts.said.extend(say);
    }

    /// The stage that follows from the facts, and those on the way to it.
    fn visit(&self, facts: &mut Facts) {
        let Config { sweep, grace, .. } = self.setup.config;
        let notice = self.lame_duck(facts);
        let now = facts.now;
        let over = |parts: &[Duration]| now >= after(facts.stop_at, parts);
        let done = facts.emptied && facts.hooks_done == self.setup.hooks;
        let forced = facts.escalated_at.is_some() || over(&[grace]);
        let all_closed = facts.closed.len() == self.setup.listeners;
        let finish = all_closed || over(&[notice, sweep]);
        let mut path = Vec::new();
        // Whoever is stopped without a notice is swept, be it for no time.
        if facts.stage == Stage::Running {
            path.push(if over(&[notice]) {
                Stage::Quiesce
            } else {
                Stage::Notice
            });
        }
        if done {
            path.push(Stage::Stopped);
        } else if forced {
            path.push(Stage::Force);
            if now >= self.end(facts) {
                path.push(Stage::Stopped);
            }
        } else if over(&[notice]) {
            path.push(Stage::Quiesce);
            if finish {
                path.push(Stage::Finish);
            }
        }
        facts.stage = path.last().copied().unwrap_or(facts.stage).max(facts.stage);
        facts.visited.extend(path);
    }

    fn outcome(&self, facts: &Facts) -> Outcome {
        if facts.visited.contains(&Stage::Force) {
            if facts.emptied {
                Outcome::Aborted
            } else {
                Outcome::Abandoned
            }
        } else if facts.fault {
            Outcome::Failed
        } else {
            Outcome::Clean
        }
    }

    fn deadline(&self, facts: &Facts) -> Option<Duration> {
        let config = self.setup.config;
        let force = after(facts.stop_at, &[config.grace]);
        let stage_ends = |parts: &[Duration]| force.min(after(facts.stop_at, parts));
        let notice = self.lame_duck(facts);
        let told = |output| facts.said.contains(&output);
        let settling = told(Output::Settle) && !told(Output::Drain) && !facts.emptied;
        let settled = match settling {
            true => after(facts.stop_at, &[notice, config.settle]),
            false => Duration::MAX,
        };
        match facts.stage {
            Stage::Running | Stage::Stopped => None,
            Stage::Notice => Some(stage_ends(&[notice])),
            Stage::Quiesce => Some(stage_ends(&[notice, config.sweep]).min(settled)),
            Stage::Finish => Some(force.min(settled)),
            Stage::Force => Some(self.end(facts)),
        }
    }

    /// Nobody needs one when a successor goes on.
    fn notice(&self, facts: &Facts) -> Duration {
        match facts.handed_over {
            true => Duration::ZERO,
            false => self.setup.config.notice,
        }
    }

    fn end(&self, facts: &Facts) -> Duration {
        let grace = after(facts.stop_at, &[self.setup.config.grace]);
        let force = facts.escalated_at.unwrap_or(grace).min(grace);
        after(Some(force), &[self.setup.config.abort_timeout])
    }
}

fn after(start: Option<Duration>, parts: &[Duration]) -> Duration {
    let mut sum = start.unwrap_or(Duration::MAX);
    for part in parts {
        sum = sum.saturating_add(*part);
    }
    sum
}

impl Facts {
    fn new() -> Facts {
        Facts {
            now: Duration::ZERO,
            stop_at: None,
            handed_over: false,
            escalated_at: None,
            stage: Stage::Running,
            visited: HashSet::new(),
            quiet: HashSet::new(),
            closed: HashSet::new(),
            emptied: false,
            hooks_done: 0,
            fault: false,
            said: HashSet::new(),
        }
    }
}

impl Prediction {
    /// How the alphabet's steps look from here.
    pub(crate) fn view(&self) -> View {
        View {
            now: self.facts.now,
            deadline: self.deadline,
            ends_by: self.ends_by,
            owed: self.owed(),
        }
    }

    fn owed(&self) -> Option<Input> {
        let said = |output| self.said.contains(&output);
        let open = |id: &usize| !self.facts.closed.contains(id);
        let mut ids = (0..crate::alphabet::MOST).filter(open);
        let listener = ids.find_map(|id| {
            if said(Output::CloseListener(id)) {
                Some(Input::ListenerClosed(id, Ok(())))
            } else if said(Output::Quiesce(id)) {
                Some(Input::ListenerQuiet(id))
            } else {
                None
            }
        });
        let hook = self.facts.hooks_done;
        let next = if self.facts.emptied {
            Input::HookDone(hook, Ok(()))
        } else {
            Input::Emptied
        };
        listener.or((self.stage >= Stage::Finish).then_some(next))
    }
}
