//! One run: a machine, and the checker that looks on.

use std::time::Duration;

use lameduck::machine::{Ignored, Input, Machine, Output};

use crate::alphabet::{Setup, Step, View};
use crate::checker::Checker;

#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) machine: Machine,
    pub(crate) checker: Checker,
    /// All outputs so far.
    pub(crate) said: Vec<Output>,
    now: Duration,
    /// Where the last step's outputs begin.
    fresh: usize,
}

impl Run {
    pub(crate) fn new(setup: Setup) -> Run {
        let machine = Machine::new(setup.config, setup.listeners, setup.hooks);
        Run::checked(setup, Some(machine))
    }

    /// Without the twin that repeats each step: half the work.
    #[allow(dead_code, reason = "for the fuzzer, which includes this file")]
    pub(crate) fn alone(setup: Setup) -> Run {
        Run::checked(setup, None)
    }

    fn checked(setup: Setup, twin: Option<Machine>) -> Run {
        Run {
            machine: Machine::new(setup.config, setup.listeners, setup.hooks),
            checker: Checker::new(setup, twin),
            said: Vec::with_capacity(32),
            now: Duration::ZERO,
            fresh: 0,
        }
    }

    /// Takes a step of the alphabet, and checks it.
    pub(crate) fn take(&mut self, step: Step) -> Result<(), Ignored> {
        let (now, input) = self.seen(step);
        self.give(now, input)
    }

    /// What the step means here.
    pub(crate) fn seen(&self, step: Step) -> (Duration, Input) {
        step.seen_from(View {
            now: self.now,
            deadline: self.machine.deadline(),
            ends_by: self.machine.ends_by(),
            owed: self.checker.owed(),
        })
    }

    /// Gives an input, takes all outputs, and has the step checked.
    pub(crate) fn give(&mut self, now: Duration, input: Input) -> Result<(), Ignored> {
        self.now = self.now.max(now);
        let result = self.machine.handle(now, input);
        self.fresh = self.said.len();
        while let Some(output) = self.machine.poll_output() {
            self.said.push(output);
        }
        self.checker
            .observe(now, input, result, &self.said[self.fresh..], &self.machine);
        result
    }

    /// What the last step said.
    pub(crate) fn fresh(&self) -> &[Output] {
        &self.said[self.fresh..]
    }
}
