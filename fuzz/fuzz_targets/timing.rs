//! A simulated stop whose timing the bytes decide: who does what, after how
//! many steps, on which kind of machine. Every clause is checked.
//!
//! The letters are those of `tests/scenarios`, which also writes the seeds.
#![no_main]

// Each has a little that only the tests use.
#[allow(dead_code)]
#[path = "../../tests/scenarios/alphabet.rs"]
mod alphabet;
#[allow(dead_code)]
#[path = "../../tests/scenarios/run.rs"]
mod run;

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};

use crate::alphabet::{MOST_BYTES, decode};

fuzz_target!(|bytes: &[u8]| {
    let (setup, steps) = decode(bytes);
    if let Err(problem) = run::run(setup, &steps) {
        panic!("{problem}");
    }
});

// Longer inputs would only be cut.
fuzz_mutator!(
    |data: &mut [u8], size: usize, max_size: usize, _seed: u32| {
        fuzzer_mutate(data, size, max_size.min(MOST_BYTES))
    }
);
