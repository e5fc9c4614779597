//! A recording has all inputs of a stop, and so all of the stop.

use lameduck::machine::lifecycle::{Config, Input, Lifecycle, Outcome, Output, Recording};
use proptest::prelude::*;

use super::bare::plain;
use super::compare::{setup, steps};
use super::safety::{inputs, outputs};
use crate::ms;

proptest! {
    #[test]
    fn a_recording_replays_to_the_same_outputs(setup in setup(), steps in steps()) {
        let inputs = inputs(setup, &steps);
        let mut recording = Recording::new(setup.config, setup.listeners, setup.hooks, 1000);
        for (now, input) in &inputs {
            recording.push(*now, *input);
        }
        let replayed: Vec<_> = recording.replay().map(|step| (step.at, step.input)).collect();
        prop_assert_eq!(&replayed, &inputs);
        let replayed: Vec<_> = recording.replay().flat_map(|step| step.outputs).collect();
        prop_assert_eq!(replayed, outputs(setup, &inputs));
    }
}

#[test]
fn a_full_recording_says_how_many_inputs_it_left_out() {
    let mut recording = Recording::new(plain().config, 1, 0, 1);
    recording.push(ms(0), Input::Tick);
    assert_eq!(recording.left_out(), 0);
    assert!(!recording.to_string().contains("more"));
    recording.push(ms(1), Input::Tick);
    recording.push(ms(2), Input::Tick);
    assert_eq!((recording.replay().count(), recording.left_out()), (1, 2));
    assert!(recording.to_string().ends_with("\nand 2 inputs more"));
}

#[test]
fn the_text_of_a_recording_has_a_line_for_each_input() {
    let mut recording = Recording::new(Config::default(), 1, 0, 9);
    recording.push(ms(0), Input::Tick);
    recording.push(ms(1), Input::Abort);
    recording.push(ms(2), Input::HookDone(7, Ok(())));
    recording.push(ms(3), Input::ListenerClosed(0, Ok(())));
    recording.push(ms(4), Input::Emptied);
    let text = recording.to_string();
    let lines: Vec<_> = text.lines().collect();
    assert!(
        lines[0].starts_with("1 listeners, 0 hooks, Config"),
        "{text}"
    );
    assert_eq!(lines[1], "    0.000000 s  Tick");
    assert!(
        lines[2].starts_with("    0.001000 s  Abort -> [NotReady, "),
        "{text}"
    );
    assert_eq!(lines[3], "    0.002000 s  HookDone(7, Ok(())) (unexpected)");
    assert_eq!(lines[5], "    0.004000 s  Emptied -> [Complete(Aborted)]");
    let last = recording.replay().last().unwrap();
    assert_eq!(last.outputs, [Output::Complete(Outcome::Aborted)]);
    assert_eq!(
        (last.at, last.input, last.result),
        (ms(4), Input::Emptied, Ok(()))
    );
}

#[test]
fn a_lifecycle_says_the_times_that_it_goes_by() {
    let config = plain().config;
    assert_eq!(*Lifecycle::new(config, 1, 0).config(), config);
}
