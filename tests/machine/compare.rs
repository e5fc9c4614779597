//! The machine beside the reference model, step by step.

use std::collections::HashSet;
use std::time::Duration;

use lameduck::machine::{Input, Output};
use proptest::prelude::*;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};

use crate::reference::Reference;
use crate::run::Run;
use crate::strategies::{setup, step, steps};

impl ReferenceStateMachine for Reference {
    type State = Reference;
    type Transition = (Duration, Input);

    fn init_state() -> BoxedStrategy<Reference> {
        setup().prop_map(Reference::new).boxed()
    }

    fn transitions(state: &Reference) -> BoxedStrategy<(Duration, Input)> {
        let view = state.predict().view();
        step().prop_map(move |step| step.seen_from(view)).boxed()
    }

    fn apply(mut state: Reference, (now, input): &(Duration, Input)) -> Reference {
        state.push(*now, *input);
        state
    }
}

struct Compared;

impl StateMachineTest for Compared {
    type SystemUnderTest = Run;
    type Reference = Reference;

    fn init_test(reference: &Reference) -> Run {
        Run::new(reference.setup)
    }

    fn apply(mut run: Run, reference: &Reference, (now, input): (Duration, Input)) -> Run {
        let taken = run.give(now, input).is_ok();
        assert_eq!(
            taken,
            reference.predict().taken,
            "whether {input:?} was taken"
        );
        run
    }

    fn check_invariants(run: &Run, reference: &Reference) {
        let predicted = reference.predict();
        let timer = |output: &&Output| matches!(output, Output::ArmTimer(_));
        let said = run.said.iter().filter(|output| !timer(output));
        assert_eq!(said.clone().count(), predicted.said.len(), "S14");
        let said: HashSet<Output> = said.copied().collect();
        assert_eq!(said, predicted.said);
        assert_eq!(run.machine.stage(), predicted.stage);
        assert_eq!(run.machine.deadline(), predicted.deadline);
        assert_eq!(run.machine.ends_by(), predicted.ends_by);
        let outcome = run.said.iter().find_map(|output| match output {
            Output::Complete(outcome) => Some(*outcome),
            _ => None,
        });
        assert_eq!(outcome, predicted.outcome);
    }
}

prop_state_machine! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn the_machine_does_what_the_reference_predicts(sequential 1..30 => Compared);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    /// The checker holds every clause after each step.
    #[test]
    fn every_run_passes_the_checker(setup in setup(), steps in steps()) {
        let mut run = Run::new(setup);
        for step in steps {
            let _ = run.take(step);
        }
    }
}
