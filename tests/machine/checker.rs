//! Looks at every step of a run, whoever drives it, and panics with the number
//! of the clause that does not hold. It believes nothing that the machine says
//! about itself: what it knows are the inputs that were taken and the outputs.
//!
//! The fuzzer runs it millions of times: facts are bits, nothing is allocated,
//! and what a failure prints is put together out of line.

use std::time::Duration;

use lameduck::Cause;
use lameduck::machine::{Config, Ignored, Input, Machine, Outcome, Output, Stage};

use crate::alphabet::Setup;

/// A set of listeners or hooks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Ids(u64);

impl Ids {
    /// All below a count.
    fn choose(count: usize) -> Ids {
        Ids((1 << count) - 1)
    }

    fn has(self, id: usize) -> bool {
        id < 64 && self.0 >> id & 1 == 1
    }

    /// False if it was in before.
    fn add(&mut self, id: usize) -> bool {
        let new = id < 64 && !self.has(id);
        self.0 |= 1 << (id & 63);
        new
    }

    fn or(self, other: Ids) -> Ids {
        Ids(self.0 | other.0)
    }

    fn first_not_in(self, other: Ids) -> Option<usize> {
        let left = self.0 & !other.0;
        (left != 0).then(|| left.trailing_zeros() as usize)
    }

    fn covers(self, other: Ids) -> bool {
        self.0 & other.0 == other.0
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Checker {
    setup: Setup,
    listeners: Ids,
    hooks: Ids,
    /// The machine before the step, kept in step instead of being copied each
    /// time. It has a tick for each refusal.
    before: Option<Machine>,
    facts: Facts,
}

/// What is known, and the last step.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Facts {
    now: Duration,
    last: Option<Input>,
    stop_at: Option<Duration>,
    cause: Option<Cause>,
    /// When the grace ends, or ended because someone escalated.
    force_at: Duration,
    sweep_until: Duration,
    settle_until: Duration,
    ends_by: Option<Duration>,
    deadline: Option<Duration>,
    armed: Option<Duration>,
    /// The last stage that was announced.
    stage: Stage,
    not_ready: bool,
    drained: bool,
    settling: bool,
    /// Whether it was settling when the deadline was last looked at.
    settled_for: bool,
    aborted: bool,
    emptied: bool,
    /// Whether it waits for emptiness.
    awaits: bool,
    fault: bool,
    outcome: Option<Outcome>,
    quiesced: Ids,
    quiet: Ids,
    told: Ids,
    closed: Ids,
    hooks_run: Ids,
    hooks_done: Ids,
}

impl Checker {
    /// For a machine that has not had an input yet. Its copy, if there is one,
    /// holds S17 and S18 for all that no accessor shows.
    pub(crate) fn new(setup: Setup, before: Option<Machine>) -> Checker {
        Checker {
            setup,
            listeners: Ids::choose(setup.listeners),
            hooks: Ids::choose(setup.hooks),
            before,
            facts: Facts::new(),
        }
    }

    /// One step: what went in, all that came out, and the machine after it.
    pub(crate) fn observe(
        &mut self,
        now: Duration,
        input: Input,
        result: Result<(), Ignored>,
        outputs: &[Output],
        after: &Machine,
    ) {
        // S16: a `now` that goes back counts as the latest one.
        self.facts.now = self.facts.now.max(now);
        self.facts.last = Some(input);
        let was = self.facts.stage;
        if was == Stage::Stopped {
            self.hold(
                result.is_err(),
                "S2: something meant something when stopped",
            );
            self.hold(outputs.is_empty(), "S2: outputs after the stop");
        }
        if let Err(ignored) = result {
            let right = ignored.stage == was && ignored.input == input;
            self.hold(right, "S18: the refusal names another step");
            self.repeat(now, Input::Tick, outputs, after);
        } else {
            self.repeat(now, input, outputs, after);
            self.learn(input);
        }
        for output in outputs {
            self.hear(*output);
        }
        if result.is_ok() || !outputs.is_empty() {
            self.stages(after);
            self.deadlines(was, after);
            self.progress();
        } else {
            self.unchanged(after);
        }
    }

    /// What is known, whatever the last step was: two machines that are alike,
    /// and of which the same is known, will be judged alike.
    pub(crate) fn known(&self) -> Facts {
        Facts {
            last: None,
            ..self.facts.clone()
        }
    }

    /// How it ended, once it has.
    pub(crate) fn outcome(&self) -> Option<Outcome> {
        self.facts.outcome
    }

    /// Whether each listener has said that it is closed.
    pub(crate) fn all_closed(&self) -> bool {
        self.facts.closed == self.listeners
    }

    /// Whether nobody lives and each hook has said that it is done.
    pub(crate) fn all_done(&self) -> bool {
        self.facts.emptied && self.facts.hooks_done == self.hooks
    }

    /// What would carry out a command that was not yet carried out.
    pub(crate) fn owed(&self) -> Option<Input> {
        let facts = &self.facts;
        let gone = facts.told.or(facts.closed);
        if let Some(id) = facts.told.first_not_in(facts.closed) {
            Some(Input::ListenerClosed(id, Ok(())))
        } else if let Some(id) = facts.quiesced.first_not_in(gone) {
            Some(Input::ListenerQuiet(id))
        } else if let Some(id) = facts.hooks_run.first_not_in(facts.hooks_done) {
            Some(Input::HookDone(id, Ok(())))
        } else {
            (facts.drained && !facts.emptied).then_some(Input::Emptied)
        }
    }

    /// S17 for what was taken; S18 for what was refused, which is to have done
    /// exactly what a tick at that time does.
    fn repeat(&mut self, now: Duration, input: Input, outputs: &[Output], after: &Machine) {
        let Some(before) = &mut self.before else {
            return;
        };
        let _ = before.handle(now, input);
        let mut same = true;
        for output in outputs {
            same &= before.poll_output() == Some(*output);
        }
        same &= before == after;
        self.hold(same, "S17, S18: not what the same input, or a tick, does");
    }

    /// Takes down an input that the machine has taken.
    fn learn(&mut self, input: Input) {
        let facts = &mut self.facts;
        match input {
            Input::Tick => {}
            Input::Stop { cause } => {
                let first = facts.stop_at.is_none();
                self.begin(cause);
                self.hold(first, "S13: a second stop was taken");
            }
            Input::Escalate => {
                let before = facts.stage < Stage::Force;
                self.begin(Cause::Request("escalated"));
                self.facts.force_at = self.facts.force_at.min(self.facts.now);
                self.hold(before, "S18: escalated beyond force");
            }
            Input::ListenerQuiet(id) => {
                let gone = facts.told.or(facts.closed).has(id);
                let sweeps = facts.quiesced.has(id) && !gone;
                facts.quiet.add(id);
                self.hold(sweeps, "S18: a listener that does not sweep was quiet");
            }
            Input::ListenerClosed(id, result) => {
                let new = self.listeners.has(id) && facts.closed.add(id);
                facts.fault |= result.is_err() || !facts.told.has(id);
                self.begin(Cause::Listener);
                self.hold(new, "S18: a listener that is none closed");
            }
            Input::Emptied => {
                let new = !facts.emptied && facts.stage >= Stage::Finish;
                facts.emptied = true;
                let shut = new && self.all_closed();
                self.hold(shut, "S7: emptied while somebody could still come");
            }
            Input::HookDone(id, result) => {
                let new = facts.hooks_run.has(id) && facts.hooks_done.add(id);
                facts.fault |= result.is_err();
                self.hold(new, "S18: a hook that did not run is done");
            }
        }
    }

    /// S13: the first stop is the one that counts.
    fn begin(&mut self, cause: Cause) {
        let facts = &mut self.facts;
        if facts.stop_at.is_none() {
            let Config {
                grace,
                notice,
                sweep,
                settle,
                ..
            } = self.setup.config;
            // Nobody has to learn of anything when a successor goes on.
            let notice = match cause {
                Cause::Successor => Duration::ZERO,
                _ => notice,
            };
            facts.stop_at = Some(facts.now);
            facts.cause = Some(cause);
            facts.force_at = facts.now.saturating_add(grace);
            let quiesce_at = facts.now.saturating_add(notice);
            facts.sweep_until = quiesce_at.saturating_add(sweep);
            facts.settle_until = quiesce_at.saturating_add(settle);
        }
    }

    /// Judges one output by what came before it.
    fn hear(&mut self, output: Output) {
        let more = self.facts.outcome.is_none();
        self.hold(more, "S2, S3: an output after Complete");
        let facts = &mut self.facts;
        match output {
            Output::SetReady(ready) => {
                let first = !std::mem::replace(&mut facts.not_ready, true);
                self.hold(!ready, "S1: ready again");
                self.hold(first, "S14: not ready, twice");
            }
            Output::Notify(stage) => self.hear_stage(stage),
            Output::Quiesce(id) => {
                let ready = !facts.not_ready;
                let new = facts.quiesced.add(id) && !facts.closed.has(id);
                self.hold(!ready, "S6: quiesced while ready");
                self.hold(new, "S14: quiesced a second time, or when closed");
            }
            Output::CloseListener(id) => self.hear_close(id),
            Output::Settle => {
                let first = !facts.drained && !std::mem::replace(&mut facts.settling, true);
                let due = facts.now < facts.settle_until && facts.stage == Stage::Quiesce;
                let shut = facts.quiesced.or(facts.closed).covers(self.listeners);
                self.hold(first, "S14: told to settle twice, or too late");
                self.hold(due, "S15: settles without time for it");
                self.hold(shut, "S7: it settles, a listener is open");
            }
            Output::Drain => {
                let first = !std::mem::replace(&mut facts.drained, true);
                facts.settling = false;
                let late = facts.stage == Stage::Force;
                let shut = facts.quiesced.or(facts.closed).covers(self.listeners);
                self.hold(first, "S14: told the living twice");
                self.hold(late || shut, "S7: told the living, a listener is open");
            }
            Output::Abort => {
                let first = !std::mem::replace(&mut facts.aborted, true);
                self.hold(
                    first && !self.facts.emptied,
                    "S14: aborted, again or nobody",
                );
                let force = self.facts.stage == Stage::Force;
                self.hold(force, "S10: abort before force");
            }
            Output::RunHook(id) => {
                let turn = id < 64 && facts.hooks_done.covers(Ids::choose(id));
                let new = self.hooks.has(id) && facts.hooks_run.add(id);
                self.hold(self.facts.emptied, "S7: a hook under the living (F41)");
                self.hold(turn, "S15: a hook before its turn (F41)");
                self.hold(new, "S14: a hook runs twice");
            }
            Output::ArmTimer(at) => {
                let new = facts.armed.replace(at) != Some(at);
                self.hold(new, "S14: the same timer twice");
            }
            Output::Complete(outcome) => self.hear_complete(outcome),
        }
    }

    fn hear_stage(&mut self, stage: Stage) {
        self.hold(stage > self.facts.stage, "S1: the stage went back");
        self.hold(stage < Stage::Stopped, "S3: stopped is told by Complete");
        self.hold(self.facts.not_ready, "S6: a stage while ready");
        // Whoever is busy has until here.
        let due = self.facts.now >= self.facts.force_at;
        self.hold(due || stage != Stage::Force, "S11: force before its time");
        self.facts.stage = stage;
    }

    fn hear_close(&mut self, id: usize) {
        let facts = &mut self.facts;
        let swept = facts.quiet.has(id) || facts.now >= facts.sweep_until;
        let may = swept || facts.stage == Stage::Force;
        let new = facts.told.add(id) && self.listeners.has(id) && !facts.closed.has(id);
        self.hold(may, "S8: a listener is closed with its queue unseen");
        self.hold(new, "S14: a listener is closed a second time");
    }

    fn hear_complete(&mut self, outcome: Outcome) {
        let facts = &self.facts;
        let forced = facts.stage == Stage::Force;
        // Closed listeners are no reason to believe the living gone.
        let over = forced && facts.now >= self.end();
        self.hold(
            over || self.all_done(),
            "S11: complete while somebody lives",
        );
        let gone = self.all_done() && self.all_closed();
        let clean = gone && !facts.aborted && !facts.fault;
        self.hold(clean || outcome != Outcome::Clean, "S5: not clean");
        let expected = match (forced, facts.emptied, facts.fault) {
            (true, false, _) => Outcome::Abandoned,
            (true, true, _) => Outcome::Aborted,
            (false, _, true) => Outcome::Failed,
            (false, _, false) => Outcome::Clean,
        };
        self.hold(outcome == expected, "S5: the wrong outcome");
        self.facts.stage = Stage::Stopped;
        self.facts.outcome = Some(outcome);
    }

    /// S18 for all that shows: what held before a refusal holds after it, and
    /// the time that has passed was not due.
    fn unchanged(&self, after: &Machine) {
        let facts = &self.facts;
        let deadline = after.deadline();
        self.hold(after.stage() == facts.stage, "S18: another stage");
        self.hold(after.cause() == facts.cause, "S18: another cause");
        self.hold(after.ends_by() == facts.ends_by, "S18: another end");
        self.hold(deadline == facts.deadline, "S18: another deadline");
        self.hold(after.awaits_emptied() == facts.awaits, "S18: another wait");
        let missed = deadline.is_some_and(|at| at <= facts.now);
        self.hold(!missed, "L3: a deadline was missed (F29)");
    }

    /// S1, S3, S6, S7, S13, S15: what has to be so in this stage.
    fn stages(&mut self, after: &Machine) {
        let (facts, stage) = (&self.facts, self.facts.stage);
        let same = after.stage() == stage;
        self.hold(same, "S1, S3: the stage is not what was said");
        let stopping = stage > Stage::Running;
        let stopped = facts.stop_at.is_some();
        self.hold(stopping == stopped, "S13: a stop is stopping");
        self.hold(stopping == facts.not_ready, "S6: ready means running");
        self.hold(after.cause() == facts.cause, "S13: the first cause counts");
        let quiesced = stage >= Stage::Quiesce;
        let told = facts.drained || facts.settling || facts.emptied;
        self.hold(told || !quiesced, "S15: the living were not told");
        let settled = quiesced && facts.now >= facts.settle_until || stage == Stage::Force;
        let told = facts.drained || facts.emptied;
        self.hold(told || !settled, "S15: it settles for too long (F17)");
        let early = facts.drained && !quiesced;
        self.hold(!early, "S15: the living were told too early");
        let cut = facts.aborted || facts.emptied;
        self.hold(cut || stage != Stage::Force, "S15: force without an abort");
        let closing = facts.told.or(facts.closed);
        if stage >= Stage::Finish {
            let all = closing.covers(self.listeners);
            self.hold(all, "S15: a listener was not told to close");
        } else if quiesced {
            let all = closing.or(facts.quiesced).covers(self.listeners);
            self.hold(all, "S7, S15: a listener was not quiesced");
        }
        let finishing = stage == Stage::Finish || stage == Stage::Force;
        let awaits = finishing && !facts.emptied && self.all_closed();
        let same = after.awaits_emptied() == awaits;
        self.hold(same, "S7: what waits for emptiness, and when");
        self.facts.awaits = awaits;
    }

    /// S12, S13, S16, L1, L3: no deadline is lost, late or put off.
    fn deadlines(&mut self, was: Stage, after: &Machine) {
        let (facts, stage) = (&self.facts, self.facts.stage);
        let (deadline, ends_by) = (after.deadline(), after.ends_by());
        let end = facts.stop_at.map(|_| self.end());
        self.hold(ends_by == end, "S12, S13, S16: not the budget's end");
        let settling = facts.settling && !facts.emptied;
        let same = stage == was && settling == facts.settled_for;
        let put_off = same && deadline > facts.deadline;
        self.hold(!put_off, "S12: a deadline was put off");
        let draining = Stage::Running < stage && stage < Stage::Stopped;
        let some = deadline.is_some();
        self.hold(draining == some, "L3: deadlines are for draining");
        if draining {
            let ahead = deadline > Some(facts.now);
            self.hold(ahead, "L3: a deadline was missed (F29)");
            self.hold(deadline <= end, "L1: a deadline beyond the end");
            self.hold(facts.armed == deadline, "L3: another timer is armed");
        }
        self.facts.settled_for = settling;
        self.facts.deadline = deadline;
        self.facts.ends_by = ends_by;
    }

    /// L2, S15: whatever can end, has.
    fn progress(&self) {
        let facts = &self.facts;
        let stopped = facts.stage == Stage::Stopped;
        let over = stopped || !self.all_done();
        self.hold(over, "L2: all is done, and it is not over");
        let sweeps = facts.stage == Stage::Quiesce && self.all_closed();
        self.hold(!sweeps, "L2: it sweeps what is closed");
        let runs = facts.hooks_run != facts.hooks_done;
        let due = facts.emptied && !stopped;
        self.hold(runs || !due, "S15: no hook runs");
    }

    /// When it has to be over: the margin after the grace, or after someone
    /// escalated before that.
    fn end(&self) -> Duration {
        let margin = self.setup.config.abort_timeout;
        self.facts.force_at.saturating_add(margin)
    }

    #[track_caller]
    fn hold(&self, holds: bool, clause: &'static str) {
        if !holds {
            self.fail(clause);
        }
    }

    #[cold]
    #[inline(never)]
    #[track_caller]
    fn fail(&self, clause: &'static str) -> ! {
        let Checker { before, facts, .. } = self;
        panic!("{clause}\nknown: {facts:#?}\nmachine: {before:#?}");
    }
}

impl Facts {
    fn new() -> Facts {
        Facts {
            now: Duration::ZERO,
            last: None,
            stop_at: None,
            cause: None,
            force_at: Duration::MAX,
            sweep_until: Duration::MAX,
            settle_until: Duration::MAX,
            ends_by: None,
            deadline: None,
            armed: None,
            stage: Stage::Running,
            not_ready: false,
            drained: false,
            settling: false,
            settled_for: false,
            aborted: false,
            emptied: false,
            awaits: false,
            fault: false,
            outcome: None,
            quiesced: Ids::default(),
            quiet: Ids::default(),
            told: Ids::default(),
            closed: Ids::default(),
            hooks_run: Ids::default(),
            hooks_done: Ids::default(),
        }
    }
}
