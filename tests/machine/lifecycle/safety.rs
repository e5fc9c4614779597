//! The safety clauses, by number. S4 and S9 are the gate's and the server's,
//! S19 and S20 those of the other values.

use std::collections::HashSet;
use std::time::Duration;

use lameduck::machine::lifecycle::{Config, Input, Lifecycle, Outcome, Output};
use lameduck::{Phase, Signal};
use proptest::prelude::*;

use super::alphabet::{ACTS, CLOCKS, DURATIONS, Setup, Step};
use super::bare::*;
use super::compare::{setup, steps};
use super::reference::Reference;
use crate::{NANO, ms};

/// Every step of the alphabet.
fn all_steps() -> impl Iterator<Item = Step> {
    let with = |clock| ACTS.into_iter().map(move |act| Step(clock, act));
    CLOCKS.into_iter().flat_map(with)
}

/// The times and inputs that the steps come to, as the reference sees it:
/// whatever the lifecycle does.
pub(crate) fn inputs(setup: Setup, steps: &[Step]) -> Vec<(Duration, Input)> {
    let mut reference = Reference::new(setup);
    let seen = steps.iter().map(|step| {
        let (now, input) = step.seen_from(reference.view());
        reference.step(now, input);
        (now, input)
    });
    seen.collect()
}

/// Every output of a lifecycle under these inputs.
pub(crate) fn outputs(setup: Setup, inputs: &[(Duration, Input)]) -> Vec<Output> {
    let mut lifecycle = setup.lifecycle();
    let feed = |(now, input): &(Duration, Input)| feed(&mut lifecycle, *now, *input).1;
    inputs.iter().flat_map(feed).collect()
}

/// All inputs that can begin a stop.
fn beginnings() -> [Input; 6] {
    [
        Input::Stop,
        Input::Signal(Signal::Terminate),
        Input::HandedOver,
        Input::Abort,
        Input::ListenerClosed(1, Ok(())),
        Input::ListenerClosed(1, FAILED),
    ]
}

proptest! {
    #[test]
    fn s1_the_phase_never_goes_backwards(setup in setup(), steps in steps()) {
        let mut lifecycle = setup.lifecycle();
        let mut entered = Phase::Running;
        for (now, input) in inputs(setup, &steps) {
            let before = lifecycle.phase();
            let (_, outputs) = feed(&mut lifecycle, now, input);
            prop_assert!(lifecycle.phase() >= before);
            for output in outputs {
                if let Output::Enter(phase) = output {
                    prop_assert!(phase > entered);
                    entered = phase;
                }
            }
        }
    }
}

#[test]
fn s2_nothing_comes_after_the_end() {
    let stopped = Bare::in_phase(Phase::Stopped).lifecycle;
    for step in all_steps() {
        for now in [ms(0), ms(41), Duration::MAX] {
            let (_, input) = step.seen_from(Reference::new(plain()).view());
            let mut lifecycle = stopped.clone();
            let (result, outputs) = feed(&mut lifecycle, now, input);
            assert!(result.is_err(), "{input:?} fits");
            assert_eq!(outputs, [], "after {input:?}");
            assert_eq!(lifecycle.phase(), Phase::Stopped, "after {input:?}");
            assert_eq!(lifecycle.deadline(), None, "after {input:?}");
            assert!(!lifecycle.awaits_emptied() && !lifecycle.is_settling());
        }
    }
}

proptest! {
    #[test]
    fn s3_complete_comes_exactly_once(setup in setup(), steps in steps()) {
        let mut inputs = inputs(setup, &steps);
        // Whatever was frozen before, the third time all is over.
        inputs.extend([(Duration::MAX, Input::Stop); 2]);
        inputs.extend([(Duration::MAX, Input::Tick); 8]);
        let outputs = outputs(setup, &inputs);
        let is_complete = |output: &&Output| matches!(output, Output::Complete(_));
        prop_assert_eq!(outputs.iter().filter(is_complete).count(), 1);
        prop_assert!(outputs.last().as_ref().is_some_and(is_complete));
    }
}

#[test]
fn s5_a_stop_in_which_all_ended_by_itself_is_clean() {
    let mut bare = Bare::in_phase(Phase::Draining);
    bare.must(69, Input::Emptied);
    bare.end_hooks(70);
    assert_eq!(bare.outcome(), Some(Outcome::Clean));
}

#[test]
fn s5_a_stop_in_which_something_went_wrong_is_not_clean() {
    let wrongs = [
        (
            Phase::Running,
            Input::ListenerClosed(0, Ok(())),
            Outcome::Failed,
        ),
        (
            Phase::LameDuck,
            Input::ListenerClosed(0, Ok(())),
            Outcome::Failed,
        ),
        (
            Phase::LameDuck,
            Input::ListenerClosed(0, FAILED),
            Outcome::Failed,
        ),
        (Phase::Running, Input::Abort, Outcome::Aborted),
        (Phase::LameDuck, Input::Abort, Outcome::Aborted),
        (Phase::Draining, Input::Abort, Outcome::Aborted),
    ];
    for (phase, wrong, outcome) in wrongs {
        let mut bare = Bare::in_phase(phase);
        bare.must(36, wrong);
        bare.at(51, Input::Tick);
        for id in 0..2 {
            bare.at(51, Input::ListenerClosed(id, Ok(())));
        }
        bare.at(51, Input::Emptied);
        bare.end_hooks(51);
        assert_eq!(bare.outcome(), Some(outcome), "{wrong:?} while {phase}");
    }
}

#[test]
fn s5_a_stop_in_which_a_told_listener_or_a_hook_failed_is_failed() {
    let mut listener = Bare::new(plain());
    listener.must(0, Input::Stop);
    listener.must(1, Input::ListenerClosed(0, Ok(())));
    listener.must(1, Input::ListenerClosed(1, FAILED));
    listener.must(1, Input::Emptied);
    listener.end_hooks(1);
    assert_eq!(listener.outcome(), Some(Outcome::Failed));
    let mut hook = Bare::in_phase(Phase::Draining);
    hook.must(33, Input::Emptied);
    hook.must(33, Input::HookDone(0, FAILED));
    hook.must(33, Input::HookDone(1, Ok(())));
    assert_eq!(hook.outcome(), Some(Outcome::Failed));
}

#[test]
fn s5_an_abort_that_comes_with_the_last_end_is_not_reported_as_clean() {
    let mut bare = Bare::in_phase(Phase::Draining);
    bare.must(36, Input::Abort);
    bare.must(36, Input::Emptied);
    bare.end_hooks(36);
    assert_eq!(bare.outcome(), Some(Outcome::Aborted));
}

#[test]
fn s5_what_is_still_there_at_the_end_is_abandoned() {
    let mut bare = Bare::in_phase(Phase::Aborting);
    assert_eq!(bare.must(45, Input::Tick), [Output::RunHook(0, ms(10))]);
    bare.end_hooks(46);
    assert_eq!(bare.outcome(), Some(Outcome::Abandoned));
}

#[test]
fn s5_what_is_gone_by_the_end_is_not_abandoned() {
    let mut bare = Bare::in_phase(Phase::Aborting);
    bare.must(45, Input::Tick);
    bare.must(46, Input::Emptied);
    bare.end_hooks(46);
    assert_eq!(bare.outcome(), Some(Outcome::Aborted));
}

#[test]
fn s6_not_ready_comes_before_any_listener_stops_accepting() {
    for setup in [plain(), lame_duck()] {
        for begin in beginnings() {
            let script = [(ms(0), begin), (ms(15), Input::Tick)];
            let outputs = outputs(setup, &script);
            assert_eq!(place(&outputs, Output::NotReady), Some(0), "{begin:?}");
            let is_told = outputs.contains(&Output::StopAccepting(0))
                || outputs.contains(&Output::CloseListener(0));
            assert!(is_told, "{begin:?}: {outputs:?}");
        }
    }
}

#[test]
fn s7_all_listeners_stop_accepting_before_anything_waits_for_emptiness() {
    let mut bare = Bare::new(plain());
    let outputs = bare.must(0, Input::Stop);
    let drains = place(&outputs, Output::Enter(Phase::Draining));
    for id in 0..2 {
        let stops = place(&outputs, Output::StopAccepting(id));
        assert!(stops.is_some() && stops < drains, "{outputs:?}");
    }
    for id in [1, 0] {
        assert!(!bare.lifecycle.awaits_emptied());
        bare.refuses(0, Input::Emptied);
        bare.must(0, Input::ListenerClosed(id, Ok(())));
    }
    assert!(bare.lifecycle.awaits_emptied());
    bare.must(0, Input::Emptied);
    assert!(!bare.lifecycle.awaits_emptied());
    bare.refuses(0, Input::Emptied);
}

#[test]
fn s7_a_listener_that_was_told_to_close_is_waited_for() {
    let mut bare = Bare::new(plain());
    bare.must(0, Input::Abort);
    for id in 0..2 {
        assert!(!bare.lifecycle.awaits_emptied());
        bare.refuses(1, Input::Emptied);
        bare.must(1, Input::ListenerClosed(id, Ok(())));
    }
    bare.must(1, Input::Emptied);
}

#[test]
fn s8_no_listener_is_closed_before_the_abort() {
    for setup in [plain(), lame_duck()] {
        let mut bare = Bare::new(setup);
        bare.must(0, Input::Stop);
        bare.must(15, Input::Tick);
        bare.give(ms(70) - NANO, Input::Tick).0.unwrap();
        let is_close = |output: &Output| matches!(output, Output::CloseListener(_));
        assert!(!bare.outputs.iter().any(is_close));
        let outputs = bare.must(70, Input::Tick);
        let closes = [Output::CloseListener(0), Output::CloseListener(1)];
        assert_eq!(outputs[..2], closes);
        assert_eq!(outputs[2..], [Output::Enter(Phase::Aborting)]);
    }
}

#[test]
fn s10_the_abort_comes_when_it_is_asked_for_or_due_and_not_before() {
    for phase in [Phase::LameDuck, Phase::Draining] {
        for (now, input) in [(ms(36), Input::Abort), (ms(80), Input::Tick)] {
            let mut bare = Bare::in_phase(phase);
            let _ = bare.give(now - NANO, Input::Tick);
            assert!(bare.phase() < Phase::Aborting, "{phase}");
            let (_, outputs) = bare.give(now, input);
            let enters = place(&outputs, Output::Enter(Phase::Aborting));
            assert!(enters.is_some(), "{phase}: {outputs:?}");
        }
    }
}

#[test]
fn s11_busy_connections_are_left_alone_before_the_abort() {
    let mut bare = Bare::in_phase(Phase::Draining);
    for millis in 30..80 {
        let said = bare.at(millis, Input::Tick);
        // Between two messages, they are asked to end when half of their time is over.
        let is_half = said == [Output::EndBusy] && millis == 53;
        // Those that rest end, if it is not for others that they rest.
        let is_last = said == [Output::EndLast] && millis == 67;
        let is_due = is_half || is_last;
        assert!(said.is_empty() || is_due, "at {millis} ms: {said:?}");
        assert_eq!(bare.phase(), Phase::Draining);
    }
    assert_eq!(bare.must(80, Input::Tick), [Output::Enter(Phase::Aborting)]);
}

#[test]
fn s11_when_nothing_is_left_the_time_for_connections_aborts_nothing() {
    let mut bare = Bare::in_phase(Phase::Draining);
    bare.must(33, Input::Emptied);
    assert_eq!(bare.at(85, Input::Tick), []);
    bare.end_hooks(85);
    assert_eq!(bare.outcome(), Some(Outcome::Clean));
}

proptest! {
    #[test]
    fn s12_a_deadline_only_ever_moves_earlier(setup in setup(), steps in steps()) {
        // A freeze is the exception.
        let mut config = setup.config;
        config.abort_timeout = Duration::ZERO;
        let setup = Setup { config, ..setup };
        let mut lifecycle = setup.lifecycle();
        for (now, input) in inputs(setup, &steps) {
            let before = lifecycle.clone();
            let (_, said) = feed(&mut lifecycle, now, input);
            if let Some(end) = before.ends_by() {
                prop_assert!(lifecycle.ends_by().is_some_and(|now| now <= end));
            }
            // The deadline of what is over gives way to that of what comes next.
            let is_next = !said.is_empty() || matches!(input, Input::Emptied | Input::HookDone(..));
            if let (Some(at), false) = (before.deadline(), is_next) {
                prop_assert!(lifecycle.deadline().is_some_and(|now| now <= at));
            }
        }
    }
}

#[test]
fn s12_an_abort_brings_the_end_forward() {
    let mut bare = Bare::in_phase(Phase::Draining);
    assert_eq!(bare.lifecycle.ends_by(), Some(ms(110)));
    bare.must(40, Input::Abort);
    assert_eq!(bare.lifecycle.deadline(), Some(ms(50)));
    assert_eq!(bare.lifecycle.ends_by(), Some(ms(70)));
}

#[test]
fn s12_an_abort_that_comes_late_puts_nothing_off() {
    let mut bare = Bare::in_phase(Phase::Draining);
    bare.must(83, Input::Abort);
    assert_eq!(bare.lifecycle.deadline(), Some(ms(90)));
    assert_eq!(bare.lifecycle.ends_by(), Some(ms(110)));
}

#[test]
fn s13_a_second_stop_changes_nothing() {
    for phase in &Phase::ALL[1..] {
        let mut bare = Bare::in_phase(*phase);
        let before = bare.lifecycle.clone();
        let (end, deadline) = (before.ends_by(), before.deadline());
        bare.refuses(24, Input::Stop);
        bare.refuses(24, Input::HandedOver);
        assert_eq!(bare.lifecycle.ends_by(), end, "{phase}");
        assert_eq!(bare.lifecycle.deadline(), deadline, "{phase}");
        assert_eq!(bare.phase(), *phase);
    }
}

#[test]
fn s13_of_two_stops_the_earlier_deadline_holds() {
    let mut setup = plain();
    // The usual stop would come later than the end of the restart.
    setup.config.restart_grace_period = Some(ms(50));
    let mut earlier = Bare::new(setup);
    earlier.must(0, Input::HandedOver);
    earlier.must(10, Input::Stop);
    assert_eq!(earlier.lifecycle.ends_by(), Some(ms(50)));
    assert_eq!(earlier.lifecycle.deadline(), Some((ms(10) + ms(20)) / 2));
    setup.config.restart_grace_period = Some(ms(1000));
    let mut later = Bare::new(setup);
    later.must(0, Input::HandedOver);
    later.must(10, Input::Stop);
    assert_eq!(later.lifecycle.ends_by(), Some(ms(110)));
    assert_eq!(later.lifecycle.deadline(), Some((ms(10) + ms(80)) / 2));
}

proptest! {
    #[test]
    fn s14_no_output_is_given_twice(setup in setup(), steps in steps()) {
        let (mut lifecycle, mut seen) = (setup.lifecycle(), HashSet::new());
        for (number, (now, input)) in inputs(setup, &steps).into_iter().enumerate() {
            for output in feed(&mut lifecycle, now, input).1 {
                let what = match output {
                    // However long it has.
                    Output::RunHook(id, _) => (Output::RunHook(id, Duration::ZERO), 0),
                    // A restart has many rounds: once in each.
                    Output::EndUnused => (output, number),
                    other => (other, 0),
                };
                prop_assert!(seen.insert(what), "{:?} twice", output);
            }
        }
    }
}

/// A stop with three listeners and three hooks, of which one fails, or none.
fn with_a_failure(failing: Option<Input>) -> Vec<Output> {
    let mut bare = Bare::new(Setup {
        listeners: 3,
        hooks: 3,
        ..plain()
    });
    bare.must(0, Input::Stop);
    let mut give = |millis, good: Input, bad: Input| {
        let input = if failing == Some(bad) { bad } else { good };
        bare.must(millis, input);
    };
    for id in 0..3 {
        let (good, bad) = (
            Input::ListenerClosed(id, Ok(())),
            Input::ListenerClosed(id, FAILED),
        );
        give(1, good, bad);
    }
    give(2, Input::Emptied, Input::Tick);
    for id in 0..3 {
        give(3, Input::HookDone(id, Ok(())), Input::HookDone(id, FAILED));
    }
    bare.outputs
}

#[test]
fn s15_one_error_suppresses_no_output_of_another() {
    let whole = with_a_failure(None);
    assert_eq!(whole.last(), Some(&Output::Complete(Outcome::Clean)));
    for id in 0..3 {
        for failing in [
            Input::ListenerClosed(id, FAILED),
            Input::HookDone(id, FAILED),
        ] {
            let outputs = with_a_failure(Some(failing));
            let (last, others) = outputs.split_last().unwrap();
            assert_eq!(others, &whole[..whole.len() - 1], "{failing:?}");
            assert_eq!(*last, Output::Complete(Outcome::Failed));
        }
    }
}

#[test]
fn s16_no_two_steps_panic_under_any_config() {
    let edges = [Duration::ZERO, DURATIONS[3], Duration::MAX];
    for (first, second) in edges.iter().flat_map(|a| edges.map(|b| (*a, b))) {
        let mut config = Config::default();
        config.grace_period = first;
        config.lame_duck = second;
        config.settle = first;
        config.restart_settle = second;
        config.abort_timeout = second;
        config.hook_reserve = second;
        config.same_signal_window = first;
        config.other_signal_window = second;
        let setup = Setup { config, ..plain() };
        for step in all_steps() {
            let mut before = Reference::new(setup);
            let (now, input) = step.seen_from(before.view());
            let mut lifecycle = setup.lifecycle();
            feed(&mut lifecycle, now, input).0.ok();
            before.step(now, input);
            for act in ACTS {
                let (now, input) = Step(step.0, act).seen_from(before.view());
                feed(&mut lifecycle.clone(), now, input).0.ok();
            }
        }
    }
}

#[test]
fn s16_a_time_that_goes_back_counts_as_the_latest() {
    let mut bare = Bare::new(lame_duck());
    bare.must(50, Input::Tick);
    bare.must(10, Input::Stop);
    assert_eq!(bare.lifecycle.ends_by(), Some(ms(150)));
    bare.must(65, Input::Tick);
    assert_eq!(bare.phase(), Phase::Draining);
    bare.must(0, Input::Tick);
    assert_eq!(bare.lifecycle.deadline(), Some((ms(65) + ms(120)) / 2));
}

proptest! {
    #[test]
    fn s16_times_that_go_back_are_clamped(setup in setup(), steps in steps()) {
        let inputs = inputs(setup, &steps);
        let mut latest = Duration::ZERO;
        let clamped: Vec<_> = inputs.iter().map(|(now, input)| {
            latest = latest.max(*now);
            (latest, *input)
        }).collect();
        prop_assert_eq!(outputs(setup, &inputs), outputs(setup, &clamped));
    }

    #[test]
    fn s17_the_same_inputs_give_the_same_outputs(
        setup in setup(),
        steps in steps(),
        branch in any::<prop::sample::Index>(),
    ) {
        let inputs = inputs(setup, &steps);
        let branch = branch.index(inputs.len() + 1);
        let mut first = setup.lifecycle();
        for (now, input) in &inputs[..branch] {
            feed(&mut first, *now, *input).0.ok();
        }
        let mut second = first.clone();
        let mut seen = HashSet::new();
        for (now, input) in &inputs[branch..] {
            let outputs = feed(&mut first, *now, *input);
            prop_assert_eq!(outputs, feed(&mut second, *now, *input));
            prop_assert_eq!(&first, &second);
            seen.insert(first.clone());
            prop_assert!(seen.contains(&second), "equal, and another hash");
        }
    }

    #[test]
    fn s17_outputs_keep_until_they_are_polled(setup in setup(), steps in steps()) {
        let inputs = inputs(setup, &steps);
        let mut late = setup.lifecycle();
        for (now, input) in &inputs {
            late.handle(*now, *input).ok();
        }
        let late: Vec<_> = std::iter::from_fn(|| late.poll_output()).collect();
        prop_assert_eq!(late, outputs(setup, &inputs));
    }
}

/// Asserts that a refused input does what a tick at that time does.
fn assert_refused_is_a_tick(before: &Lifecycle, now: Duration, input: Input) -> bool {
    let (mut given, mut ticked) = (before.clone(), before.clone());
    let (result, outputs) = feed(&mut given, now, input);
    let Err(error) = result else { return false };
    assert_eq!((error.phase, error.input), (before.phase(), input));
    let text = format!("unexpected input {input:?} while {}", before.phase());
    assert_eq!(error.to_string(), text);
    let (_, ticks) = feed(&mut ticked, now, Input::Tick);
    assert_eq!(outputs, ticks, "{input:?} at {now:?}");
    assert_eq!(given, ticked, "{input:?} at {now:?}");
    true
}

#[test]
fn s18_a_refused_input_changes_nothing_but_the_time() {
    for phase in Phase::ALL {
        let before = Bare::in_phase(phase).lifecycle;
        let mut refused = 0;
        for step in all_steps() {
            let (_, input) = step.seen_from(Reference::new(plain()).view());
            for now in [ms(0), ms(40), ms(41), ms(75), ms(500), Duration::MAX] {
                refused += usize::from(assert_refused_is_a_tick(&before, now, input));
            }
        }
        assert!(refused > 0, "nothing is refused while {phase}");
    }
}
