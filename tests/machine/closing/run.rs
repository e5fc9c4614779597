//! One run: a lingering close, and the reference beside it.

use std::time::Duration;

use lameduck::machine::closing::{
    Config, Facts, Input, LingeringClose, Output, UnexpectedInput,
};

use super::alphabet::Step;
use super::reference::Reference;

#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) closing: LingeringClose,
    pub(crate) reference: Reference,
}

impl Run {
    pub(crate) fn new(config: Config, facts: Facts) -> Run {
        Run {
            closing: LingeringClose::new(config, facts),
            reference: Reference::new(config, facts),
        }
    }

    /// Takes a step of the alphabet.
    pub(crate) fn take(&mut self, step: Step) -> Result<(), UnexpectedInput> {
        let Reference { now, .. } = self.reference;
        let (now, input) = step.seen_from(now, self.reference.deadline());
        self.give(now, input).0
    }

    /// Gives an input to both, and compares; returns the answer and the outputs.
    #[track_caller]
    pub(crate) fn give(
        &mut self,
        now: Duration,
        input: Input,
    ) -> (Result<(), UnexpectedInput>, Vec<Output>) {
        let Run { closing, reference } = self;
        let result = closing.handle(now, input);
        let fits = reference.step(now, input);
        let has_output = closing.has_output();
        let outputs: Vec<_> = std::iter::from_fn(|| closing.poll_output()).collect();
        assert_eq!(result.is_ok(), fits, "is {input:?} expected, at {now:?}");
        assert_eq!(has_output, !outputs.is_empty());
        assert!(!closing.has_output());
        assert_eq!(outputs, reference.outputs(), "after {input:?} at {now:?}");
        assert_eq!(closing.deadline(), reference.deadline(), "after {input:?}");
        assert_eq!(closing.is_reading(), reference.is_reading());
        assert_eq!(closing.is_cut_off(), reference.cut_off, "after {input:?}");
        (result, outputs)
    }
}
