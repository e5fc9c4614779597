//! Any script on the machine: every clause is checked after each step.
//!
//! The letters and the checker are those of `tests/machine`, which also
//! writes the seeds, byte for index: see `seeds.rs` there.
#![no_main]

// Each has a little that only the tests use.
#[allow(dead_code)]
#[path = "../../tests/machine/alphabet.rs"]
mod alphabet;
#[allow(dead_code)]
#[path = "../../tests/machine/checker.rs"]
mod checker;
#[allow(dead_code)]
#[path = "../../tests/machine/run.rs"]
mod run;

use arbitrary::{Arbitrary, Result, Unstructured};
use lameduck::machine::{Config, Stage};
use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};

use crate::alphabet::{ACTS, DURATIONS, MOST, PASSES, Setup, Step};
use crate::run::Run;

/// As many as the longest of the seeds has, and one to go wrong in.
const MOST_STEPS: usize = 10;

/// Two bytes a step, after seven for the setup.
#[derive(Debug)]
struct Script {
    setup: Setup,
    steps: Vec<Step>,
}

// By hand: a derived one would refuse whatever is shorter than these types
// are in memory.
impl Arbitrary<'_> for Script {
    fn arbitrary(bytes: &mut Unstructured<'_>) -> Result<Script> {
        let config = Config {
            grace: *bytes.choose(&DURATIONS)?,
            notice: *bytes.choose(&DURATIONS)?,
            sweep: *bytes.choose(&DURATIONS)?,
            settle: *bytes.choose(&DURATIONS)?,
            abort_timeout: *bytes.choose(&DURATIONS)?,
        };
        let setup = Setup {
            config,
            listeners: bytes.int_in_range(0..=MOST)?,
            hooks: bytes.int_in_range(0..=MOST)?,
        };
        let most = MOST_STEPS.min(bytes.len().div_ceil(2));
        let mut steps = Vec::with_capacity(most);
        for _ in 0..most {
            steps.push(Step {
                pass: *bytes.choose(&PASSES)?,
                act: *bytes.choose(&ACTS)?,
            });
        }
        Ok(Script { setup, steps })
    }
}

fuzz_target!(|script: Script| {
    // A copy of the machine in the checker holds S17 and all of S18. It costs a
    // quarter of the speed: one run in eight has it.
    let copied = script.steps.len() % 8 == 0;
    let mut run = Run::with_copy(script.setup, copied);
    let mut beyond = 0;
    for step in script.steps {
        let _ = run.take(step);
        if run.machine.stage() == Stage::Stopped {
            beyond += 1;
        }
        if beyond > 1 {
            break;
        }
    }
});

// Longer inputs would only be cut.
fuzz_mutator!(
    |data: &mut [u8], size: usize, max_size: usize, _seed: u32| {
        fuzzer_mutate(data, size, max_size.min(7 + 2 * MOST_STEPS))
    }
);
