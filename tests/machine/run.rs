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
        Run::with_copy(setup, true)
    }

    /// With or without the checker's copy of the machine.
    pub(crate) fn with_copy(setup: Setup, copied: bool) -> Run {
        let machine = Machine::new(setup.config, setup.listeners, setup.hooks);
        Run {
            checker: Checker::new(setup, copied.then(|| machine.clone())),
            machine,
            said: Vec::with_capacity(16),
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
