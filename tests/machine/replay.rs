//! A stop is its log: whoever has the inputs has all of it.

use std::collections::HashSet;

use proptest::prelude::*;

use crate::scenario::*;
use crate::strategies::{setup, steps};

proptest! {
    #[test]
    fn a_log_replays_to_the_same_machine(setup in setup(), steps in steps()) {
        let log = log(setup, &steps);
        let (mut first, mut second) = (machine(setup), machine(setup));
        let mut seen = HashSet::new();
        for (now, input) in log {
            let said = feed(&mut first, now, input);
            prop_assert_eq!(said, feed(&mut second, now, input));
            prop_assert_eq!(&first, &second);
            seen.insert(first.clone());
            prop_assert!(seen.contains(&second), "equal, and another hash");
        }
    }

    #[test]
    fn a_clone_continues_in_the_same_way(
        setup in setup(),
        steps in steps(),
        branch in any::<prop::sample::Index>(),
    ) {
        let log = log(setup, &steps);
        let branch = branch.index(log.len() + 1);
        let mut first = machine(setup);
        for (now, input) in &log[..branch] {
            let _ = feed(&mut first, *now, *input);
        }
        let mut second = first.clone();
        for (now, input) in &log[branch..] {
            let said = feed(&mut first, *now, *input);
            prop_assert_eq!(said, feed(&mut second, *now, *input));
        }
        prop_assert_eq!(first, second);
    }

    /// Whether outputs are taken at once or late makes no difference.
    #[test]
    fn outputs_keep_until_they_are_polled(setup in setup(), steps in steps()) {
        let log = log(setup, &steps);
        let mut late = machine(setup);
        for (now, input) in &log {
            let _ = late.handle(*now, *input);
        }
        let late: Vec<_> = std::iter::from_fn(|| late.poll_output()).collect();
        prop_assert_eq!(late, outputs(setup, &log));
    }
}
