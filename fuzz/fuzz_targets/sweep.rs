//! Any script on the sweep: after each step it is what the reference is.
//!
//! The steps and the reference are those of `tests/machine/sweep`, which also
//! writes the seeds.
#![no_main]

// Each has a little that only the tests use.
#[allow(dead_code)]
#[path = "../../tests/machine/sweep/alphabet.rs"]
mod alphabet;
#[allow(dead_code)]
#[path = "../../tests/machine/sweep/reference.rs"]
mod reference;
#[allow(dead_code)]
#[path = "../../tests/machine/sweep/run.rs"]
mod run;

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};

use crate::alphabet::decode;
use crate::run::Run;

/// Those of the setup, and two for each of twelve steps.
const MOST_BYTES: usize = 9 + 2 * 12;

fuzz_target!(|bytes: &[u8]| {
    let bytes = &bytes[..bytes.len().min(MOST_BYTES)];
    let (config, steps) = decode(bytes);
    let mut run = Run::new(config);
    for step in steps {
        let _ = run.take(step);
    }
});

// Longer inputs would only be cut.
fuzz_mutator!(
    |data: &mut [u8], size: usize, max_size: usize, _seed: u32| {
        fuzzer_mutate(data, size, max_size.min(MOST_BYTES))
    }
);
