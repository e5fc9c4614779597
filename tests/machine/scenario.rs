//! What the tests by hand are written with.

use std::time::Duration;

use lameduck::Cause;
use lameduck::machine::{Config, Fault, Ignored, Input, Machine, Outcome, Output, Stage};

use crate::alphabet::{Act, Pass, Setup, Step};
use crate::reference::Reference;
use crate::run::Run;

pub(crate) const STOP: Input = Input::Stop {
    cause: Cause::Request("asked"),
};
pub(crate) const BAD: Result<(), Fault> = Err(Fault);
pub(crate) const NANO: Duration = Duration::from_nanos(1);

/// The stages, in order.
pub(crate) const STAGES: [Stage; 6] = [
    Stage::Running,
    Stage::Notice,
    Stage::Quiesce,
    Stage::Finish,
    Stage::Force,
    Stage::Stopped,
];

pub(crate) fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Two listeners and two hooks; 100 ms of grace, 10 ms of sweep, 5 ms of
/// margin, no notice.
pub(crate) fn plain() -> Setup {
    Setup {
        config: Config {
            grace: ms(100),
            notice: ms(0),
            sweep: ms(10),
            settle: ms(0),
            abort_timeout: ms(5),
        },
        listeners: 2,
        hooks: 2,
    }
}

/// The same, and 20 ms of notice.
pub(crate) fn noticed() -> Setup {
    let mut setup = plain();
    setup.config.notice = ms(20);
    setup
}

/// A bare machine, for what has to show without the checker.
pub(crate) fn machine(setup: Setup) -> Machine {
    Machine::new(setup.config, setup.listeners, setup.hooks)
}

/// Gives an input, and takes all outputs.
pub(crate) fn feed(
    machine: &mut Machine,
    now: Duration,
    input: Input,
) -> (Result<(), Ignored>, Vec<Output>) {
    let result = machine.handle(now, input);
    let outputs = std::iter::from_fn(|| machine.poll_output()).collect();
    (result, outputs)
}

/// The times and inputs that the steps come to on this setup, as the reference
/// sees it: whatever the machine does, and no checker comes before the test.
pub(crate) fn log(setup: Setup, steps: &[Step]) -> Vec<(Duration, Input)> {
    let mut reference = Reference::new(setup);
    for step in steps {
        let (now, input) = step.seen_from(reference.predict().view());
        reference.push(now, input);
    }
    reference.log
}

/// Every output of a bare machine under this log.
pub(crate) fn outputs(setup: Setup, log: &[(Duration, Input)]) -> Vec<Output> {
    let mut machine = machine(setup);
    let feed = |(now, input): &(Duration, Input)| feed(&mut machine, *now, *input).1;
    log.iter().flat_map(feed).collect()
}

/// Where an output stands among the others.
pub(crate) fn place(outputs: &[Output], wanted: Output) -> Option<usize> {
    outputs.iter().position(|output| *output == wanted)
}

impl Run {
    /// Gives an input at so many milliseconds; says what came out.
    pub(crate) fn at(&mut self, millis: u64, input: Input) -> Vec<Output> {
        let _ = self.give(ms(millis), input);
        self.fresh().to_vec()
    }

    /// Gives what has to mean something.
    #[track_caller]
    pub(crate) fn must(&mut self, millis: u64, input: Input) -> Vec<Output> {
        let result = self.give(ms(millis), input);
        assert_eq!(result, Ok(()), "at {millis} ms");
        self.fresh().to_vec()
    }

    /// Asks for a stop, and it does not matter whether there is one already.
    pub(crate) fn take_stop(&mut self) -> Result<(), Ignored> {
        self.take(Step {
            pass: Pass::Stand,
            act: Act::Say(STOP),
        })
    }

    pub(crate) fn outcome(&self) -> Option<Outcome> {
        match self.said.last() {
            Some(Output::Complete(outcome)) => Some(*outcome),
            _ => None,
        }
    }

    /// Carries out all that is said, at this time.
    pub(crate) fn cooperate(&mut self, millis: u64) {
        self.at(millis, Input::Tick);
        for _ in 0..32 {
            let (pass, act) = (Pass::Stand, Act::Oblige);
            let _ = self.take(Step { pass, act });
        }
    }

    /// Every listener is quiet, and closed.
    pub(crate) fn close_all(&mut self) {
        for id in 0..2 {
            self.must(0, Input::ListenerQuiet(id));
            self.must(0, Input::ListenerClosed(id, Ok(())));
        }
    }

    /// A stop with notice, brought to a stage by 40 ms.
    pub(crate) fn in_stage(stage: Stage) -> Run {
        let mut run = Run::new(noticed());
        let quiet = Input::ListenerQuiet;
        let closed = |id| Input::ListenerClosed(id, Ok(()));
        let way: [(u64, &[Input]); 5] = [
            (10, &[STOP]),
            (30, &[Input::Tick]),
            (32, &[quiet(0), quiet(1), closed(0), closed(1)]),
            (33, &[Input::Escalate]),
            (38, &[Input::Tick]),
        ];
        for (millis, inputs) in way {
            for input in inputs {
                if run.machine.stage() < stage {
                    run.must(millis, *input);
                }
            }
        }
        assert_eq!(run.machine.stage(), stage);
        run
    }
}
