//! One run: a sweep, and the reference beside it.

use std::time::Duration;

use lameduck::machine::sweep::{Config, Input, Output, Sweep, UnexpectedInput};

use super::alphabet::Step;
use super::reference::Reference;

#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) sweep: Sweep,
    pub(crate) reference: Reference,
}

impl Run {
    pub(crate) fn new(config: Config) -> Run {
        Run {
            sweep: Sweep::new(config),
            reference: Reference::new(config),
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
        let Run { sweep, reference } = self;
        let result = sweep.handle(now, input);
        let has_output = sweep.has_output();
        let outputs: Vec<_> = std::iter::from_fn(|| sweep.poll_output()).collect();
        let expected = reference.step(now, input);
        assert_eq!(
            result.is_ok(),
            expected.0,
            "is {input:?} expected, at {now:?}"
        );
        assert_eq!(has_output, !outputs.is_empty());
        assert!(!sweep.has_output());
        assert_eq!(outputs, expected.1, "after {input:?} at {now:?}");
        assert_eq!(sweep.deadline(), reference.deadline(), "after {input:?}");
        assert_eq!(sweep.guarantee(), reference.guarantee, "after {input:?}");
        assert_eq!(sweep.is_sweeping(), reference.is_sweeping());
        let is_accepting = !sweep.is_sweeping() && sweep.guarantee().is_none();
        assert_eq!(sweep.is_accepting(), is_accepting);
        assert_eq!(sweep.accepted(), reference.accepted);
        assert_eq!(sweep.swept(), reference.swept);
        assert_eq!(sweep.may_accept(1, Some(2)), reference.may_accept(true));
        assert_eq!(sweep.may_accept(2, Some(2)), reference.may_accept(false));
        assert_eq!(sweep.may_accept(2, None), reference.may_accept(true));
        (result, outputs)
    }
}
