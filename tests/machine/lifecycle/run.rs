//! One run: a lifecycle, and the reference beside it.

use std::time::Duration;

use lameduck::machine::lifecycle::{Input, Lifecycle, Output, UnexpectedInput};

use super::alphabet::{Setup, Step};
use super::reference::Reference;

#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) lifecycle: Lifecycle,
    pub(crate) reference: Reference,
    /// All outputs so far.
    pub(crate) outputs: Vec<Output>,
}

impl Run {
    pub(crate) fn new(setup: Setup) -> Run {
        Run {
            lifecycle: setup.lifecycle(),
            reference: Reference::new(setup),
            outputs: Vec::new(),
        }
    }

    /// Takes a step of the alphabet.
    pub(crate) fn take(&mut self, step: Step) -> Result<(), UnexpectedInput> {
        let (now, input) = step.seen_from(self.reference.view());
        self.give(now, input).0
    }

    /// Gives an input to both, and compares; returns the answer and the outputs.
    #[track_caller]
    pub(crate) fn give(
        &mut self,
        now: Duration,
        input: Input,
    ) -> (Result<(), UnexpectedInput>, Vec<Output>) {
        let result = self.lifecycle.handle(now, input);
        let outputs: Vec<_> = std::iter::from_fn(|| self.lifecycle.poll_output()).collect();
        let expected = self.reference.step(now, input);
        assert_eq!(
            result.is_ok(),
            expected.0,
            "is {input:?} expected, at {now:?}"
        );
        assert_eq!(outputs, expected.1, "after {input:?} at {now:?}");
        let Reference { phase, .. } = self.reference;
        assert_eq!(self.lifecycle.phase(), phase, "after {input:?}");
        assert_eq!(
            self.lifecycle.deadline(),
            self.reference.deadline(),
            "after {input:?}"
        );
        assert_eq!(
            self.lifecycle.ends_by(),
            self.reference.ends_by(),
            "after {input:?}"
        );
        let awaits = self.reference.awaits_emptied();
        assert_eq!(self.lifecycle.awaits_emptied(), awaits, "after {input:?}");
        let is_settling = self.reference.settling_until.is_some();
        assert_eq!(self.lifecycle.is_settling(), is_settling, "after {input:?}");
        self.outputs.extend(&outputs);
        (result, outputs)
    }
}
