//! Any script, on any machine.

use proptest::prelude::*;

use crate::run::run;
use crate::strategies::{setup, steps};

/// `LAMEDUCK_CASES` for a longer search.
fn cases() -> u32 {
    let cases = std::env::var("LAMEDUCK_CASES").ok();
    cases.and_then(|text| text.parse().ok()).unwrap_or(2000)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    #[test]
    fn any_script_keeps_every_clause(setup in setup(), steps in steps()) {
        if let Err(problem) = run(setup, &steps) {
            return Err(TestCaseError::fail(problem));
        }
    }
}
