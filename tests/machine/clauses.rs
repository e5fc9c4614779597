//! The safety clauses, by number. S4 and S9 are the gate's and the server's.

use std::collections::HashSet;
use std::time::Duration;

use lameduck::Cause;
use lameduck::machine::{Config, Input, Outcome, Output, Stage};
use proptest::prelude::*;

use crate::alphabet::{ACTS, DURATIONS, PASSES, Setup, Step};
use crate::run::Run;
use crate::scenario::*;
use crate::strategies::{setup, steps};

/// Every letter of the alphabet.
fn letters() -> impl Iterator<Item = Step> {
    let with = |pass| ACTS.into_iter().map(move |act| Step { pass, act });
    PASSES.into_iter().flat_map(with)
}

/// All that can begin a stop.
fn beginnings() -> [Input; 4] {
    let unbidden = Input::ListenerClosed(1, Ok(()));
    let fault = Input::ListenerClosed(1, BAD);
    [STOP, Input::Escalate, unbidden, fault]
}

proptest! {
    #[test]
    fn s1_stage_never_goes_back(setup in setup(), steps in steps()) {
        let mut machine = machine(setup);
        let mut announced = Stage::Running;
        for (now, input) in log(setup, &steps) {
            let before = machine.stage();
            let (_, outputs) = feed(&mut machine, now, input);
            prop_assert!(machine.stage() >= before);
            for output in outputs {
                prop_assert_ne!(output, Output::SetReady(true));
                if let Output::Notify(stage) = output {
                    prop_assert!(stage > announced);
                    announced = stage;
                }
            }
        }
    }
}

#[test]
fn s2_stopped_is_absorbing() {
    let run = Run::in_stage(Stage::Stopped);
    for step in letters() {
        let (now, input) = run.seen(step);
        let mut machine = run.machine.clone();
        let (result, outputs) = feed(&mut machine, now, input);
        assert!(result.is_err(), "{step:?} meant something");
        assert_eq!(outputs, [], "after {step:?}");
        assert_eq!(machine.stage(), Stage::Stopped, "after {step:?}");
        assert_eq!(machine.deadline(), None, "after {step:?}");
    }
}

proptest! {
    #[test]
    fn s3_complete_comes_exactly_once(setup in setup(), steps in steps()) {
        let mut log = log(setup, &steps);
        log.push((Duration::MAX, STOP));
        log.push((Duration::MAX, Input::Tick));
        let outputs = outputs(setup, &log);
        let complete = |output: &&Output| matches!(output, Output::Complete(_));
        prop_assert_eq!(outputs.iter().filter(complete).count(), 1);
        prop_assert!(outputs.last().as_ref().is_some_and(complete));
    }
}

#[test]
fn s5_clean_means_that_nothing_was_left_or_went_wrong() {
    let mut clean = Run::new(noticed());
    clean.must(0, STOP);
    clean.must(20, Input::Tick);
    clean.cooperate(50);
    assert_eq!(clean.outcome(), Some(Outcome::Clean));
    let wrongs = [
        (Stage::Running, Input::ListenerClosed(0, Ok(()))),
        (Stage::Notice, Input::ListenerClosed(0, Ok(()))),
        (Stage::Quiesce, Input::ListenerClosed(1, Ok(()))),
        (Stage::Quiesce, Input::ListenerClosed(1, BAD)),
        (Stage::Running, Input::Escalate),
        (Stage::Notice, Input::Escalate),
        (Stage::Quiesce, Input::Escalate),
        (Stage::Finish, Input::Escalate),
    ];
    for (stage, wrong) in wrongs {
        let mut run = Run::in_stage(stage);
        run.must(33, wrong);
        run.at(60, Input::Tick);
        run.cooperate(60);
        assert_eq!(run.machine.stage(), Stage::Stopped);
        assert_ne!(run.outcome(), Some(Outcome::Clean), "{wrong:?} in {stage}");
    }
    let mut hook = Run::in_stage(Stage::Finish);
    hook.must(33, Input::Emptied);
    hook.must(33, Input::HookDone(0, BAD));
    hook.must(33, Input::HookDone(1, Ok(())));
    assert_eq!(hook.outcome(), Some(Outcome::Failed));
}

#[test]
fn s5_what_is_left_at_the_end_is_named() {
    let mut forced = Run::in_stage(Stage::Force);
    forced.must(34, Input::Emptied);
    forced.cooperate(34);
    assert_eq!(forced.outcome(), Some(Outcome::Aborted));
    let mut abandoned = Run::in_stage(Stage::Force);
    abandoned.must(38, Input::Tick);
    assert_eq!(abandoned.outcome(), Some(Outcome::Abandoned));
}

#[test]
fn s6_not_ready_comes_before_any_quiesce() {
    for setup in [plain(), noticed()] {
        for begin in beginnings() {
            let log = [(ms(0), begin), (ms(20), Input::Tick)];
            let outputs = outputs(setup, &log);
            let not_ready = place(&outputs, Output::SetReady(false));
            assert_eq!(not_ready, Some(0), "{begin:?} said {outputs:?}");
            let quiesce = place(&outputs, Output::Quiesce(0));
            let at_once = begin == Input::Escalate && setup.config.notice > ms(0);
            assert!(at_once || quiesce > not_ready, "{begin:?}: {outputs:?}");
        }
    }
}

#[test]
fn s7_all_listeners_quiesce_before_anything_waits_for_emptiness() {
    let mut run = Run::new(plain());
    let outputs = run.must(0, STOP);
    for id in 0..2 {
        let quiesce = place(&outputs, Output::Quiesce(id));
        assert!(quiesce.is_some() && quiesce < place(&outputs, Output::Drain));
    }
    let closing = [
        Input::ListenerQuiet(1),
        Input::ListenerClosed(1, Ok(())),
        Input::ListenerQuiet(0),
    ];
    for input in closing {
        assert!(!run.machine.awaits_emptied());
        assert!(run.give(ms(0), Input::Emptied).is_err());
        run.must(0, input);
    }
    run.must(0, Input::ListenerClosed(0, Ok(())));
    assert!(run.machine.awaits_emptied());
    run.must(0, Input::Emptied);
}

#[test]
fn s7_a_sweep_that_is_over_is_not_a_listener_that_is_closed() {
    for last in [Input::Tick, Input::Escalate] {
        let mut run = Run::new(plain());
        run.must(0, STOP);
        run.must(10, last);
        assert!(run.machine.stage() >= Stage::Finish);
        for id in 0..2 {
            assert!(!run.machine.awaits_emptied());
            assert!(run.give(ms(10), Input::Emptied).is_err());
            run.must(10, Input::ListenerClosed(id, Ok(())));
        }
        run.must(10, Input::Emptied);
    }
}

#[test]
fn s8_no_listener_closes_before_its_queue_was_seen() {
    let close = |outputs: &[Output], id| outputs.contains(&Output::CloseListener(id));
    let mut run = Run::new(plain());
    assert!(!close(&run.must(0, STOP), 0));
    let quiet = run.must(1, Input::ListenerQuiet(1));
    assert!(close(&quiet, 1) && !close(&quiet, 0), "{quiet:?}");
    assert_eq!(run.at(9, Input::Tick), []);
    let bound = run.must(10, Input::Tick);
    assert!(close(&bound, 0) && !close(&bound, 1), "{bound:?}");
    let mut forced = Run::new(plain());
    forced.must(0, STOP);
    let escalated = forced.must(1, Input::Escalate);
    assert!(place(&escalated, Output::Notify(Stage::Force)).is_some());
    assert!(close(&escalated, 0) && close(&escalated, 1));
}

#[test]
fn s10_abort_only_in_force() {
    let ways = [(ms(0), Input::Escalate), (NANO, Input::Tick)];
    for stage in [Stage::Notice, Stage::Quiesce, Stage::Finish] {
        for (later, input) in ways {
            let mut run = Run::in_stage(stage);
            let short = ms(110) - NANO;
            let _ = run.give(short, Input::Tick);
            assert_eq!(place(&run.said, Output::Abort), None, "in {stage}");
            let _ = run.give(short + later, input);
            let outputs = run.fresh();
            let force = place(outputs, Output::Notify(Stage::Force));
            let abort = place(outputs, Output::Abort);
            assert!(abort > force && force.is_some(), "{outputs:?}");
        }
    }
}

#[test]
fn s10_there_is_no_abort_when_nobody_lives() {
    let mut run = Run::in_stage(Stage::Finish);
    run.must(33, Input::Emptied);
    run.must(34, Input::Escalate);
    assert_eq!(run.machine.stage(), Stage::Force);
    assert_eq!(place(&run.said, Output::Abort), None);
}

#[test]
fn s11_the_busy_are_left_alone_before_force() {
    // Both listeners are closed, which stands for no connection.
    let mut run = Run::in_stage(Stage::Finish);
    for millis in 33..110 {
        assert_eq!(run.at(millis, Input::Tick), [], "at {millis} ms");
        assert_eq!(run.machine.stage(), Stage::Finish);
    }
    assert!(run.must(110, Input::Tick).contains(&Output::Abort));
    let told = run
        .said
        .iter()
        .filter(|o| matches!(o, Output::CloseListener(_)));
    assert_eq!(told.count(), 2);
}

proptest! {
    #[test]
    fn s12_a_deadline_only_moves_earlier(setup in setup(), steps in steps()) {
        let mut machine = machine(setup);
        for (now, input) in log(setup, &steps) {
            let before = machine.clone();
            let (_, said) = feed(&mut machine, now, input);
            if let Some(end) = before.ends_by() {
                prop_assert!(machine.ends_by().is_some_and(|now| now <= end));
            }
            // The time to settle ends inside of a stage, and with it its deadline.
            let settled = said.contains(&Output::Drain) || input == Input::Emptied;
            let same = machine.stage() == before.stage() && !settled;
            if let (Some(at), true) = (before.deadline(), same) {
                prop_assert!(machine.deadline().is_some_and(|now| now <= at));
            }
        }
    }
}

#[test]
fn s12_escalating_brings_the_end_forward() {
    let mut run = Run::in_stage(Stage::Finish);
    assert_eq!(run.machine.ends_by(), Some(ms(115)));
    run.must(40, Input::Escalate);
    assert_eq!(run.machine.ends_by(), Some(ms(45)));
    // Too late to bring anything forward.
    let mut late = Run::in_stage(Stage::Finish);
    late.must(112, Input::Escalate);
    assert_eq!(late.machine.ends_by(), Some(ms(115)));
}

#[test]
fn s13_of_two_stops_the_earlier_deadline_holds() {
    for stage in &STAGES[1..] {
        for millis in [0, 39, 41] {
            let mut run = Run::in_stage(*stage);
            let _ = run.give(ms(39), Input::Tick);
            let (end, stage) = (run.machine.ends_by(), run.machine.stage());
            let cause = Cause::Panic;
            let result = run.give(ms(millis), Input::Stop { cause });
            assert!(result.is_err(), "in {stage}");
            assert_eq!(run.machine.ends_by(), end, "in {stage}");
            assert_eq!(run.machine.cause(), Some(Cause::Request("asked")));
        }
    }
}

proptest! {
    #[test]
    fn s14_no_output_is_given_twice(setup in setup(), steps in steps()) {
        let mut once = HashSet::new();
        let mut armed = None;
        for output in outputs(setup, &log(setup, &steps)) {
            if let Output::ArmTimer(at) = output {
                // Only the same timer in place of itself would be too much.
                prop_assert_ne!(armed.replace(at), Some(at));
            } else {
                prop_assert!(once.insert(output), "{:?} twice", output);
            }
        }
    }
}

#[test]
fn s15_an_error_suppresses_no_output_of_another() {
    let setup = Setup {
        listeners: 3,
        hooks: 3,
        ..plain()
    };
    let run_with = |faulty: Option<Input>| {
        let mut run = Run::new(setup);
        run.must(0, STOP);
        for input in [Input::ListenerQuiet(0), Input::ListenerQuiet(1)] {
            run.must(1, input);
        }
        if let Some(fault @ Input::ListenerClosed(..)) = faulty {
            run.must(1, fault);
        }
        run.at(10, Input::Tick);
        run.at(10, Input::ListenerClosed(0, Ok(())));
        run.at(10, Input::ListenerClosed(1, Ok(())));
        run.at(10, Input::ListenerClosed(2, Ok(())));
        run.must(11, Input::Emptied);
        for id in 0..3 {
            let bad = Input::HookDone(id, BAD);
            let good = Input::HookDone(id, Ok(()));
            run.must(12, if faulty == Some(bad) { bad } else { good });
        }
        run.said
    };
    let whole = run_with(None);
    for id in 0..3 {
        for fault in [Input::ListenerClosed(id, BAD), Input::HookDone(id, BAD)] {
            let said = run_with(Some(fault));
            let own = [Output::CloseListener(id), Output::Complete(Outcome::Clean)];
            let others = whole.iter().filter(|o| !own.contains(o));
            for output in others {
                assert!(said.contains(output), "{fault:?}: no {output:?}");
            }
            assert_eq!(said.last(), Some(&Output::Complete(Outcome::Failed)));
        }
    }
}

#[test]
fn s16_no_two_letters_panic_under_any_config() {
    let edges = [Duration::ZERO, DURATIONS[3], Duration::MAX];
    for (grace, notice) in edges.iter().flat_map(|a| edges.map(|b| (*a, b))) {
        let config = Config {
            grace,
            notice,
            sweep: notice,
            settle: grace,
            abort_timeout: grace,
        };
        for first in letters() {
            let mut run = Run::new(Setup { config, ..plain() });
            let _ = run.take(first);
            for act in ACTS {
                let pass = first.pass;
                let _ = run.clone().take(Step { pass, act });
            }
        }
    }
}

#[test]
fn s16_a_now_that_goes_back_counts_as_the_latest() {
    let mut run = Run::new(noticed());
    run.must(50, Input::Tick);
    run.must(10, STOP);
    assert_eq!(run.machine.ends_by(), Some(ms(155)));
    run.must(70, Input::Tick);
    assert_eq!(run.machine.stage(), Stage::Quiesce);
    run.must(0, Input::Tick);
    assert_eq!(run.machine.deadline(), Some(ms(80)));
}

proptest! {
    #[test]
    fn s16_time_that_goes_back_is_clamped(setup in setup(), steps in steps()) {
        let log = log(setup, &steps);
        let mut latest = Duration::ZERO;
        let clamped: Vec<_> = log.iter().map(|(now, input)| {
            latest = latest.max(*now);
            (latest, *input)
        }).collect();
        prop_assert_eq!(outputs(setup, &log), outputs(setup, &clamped));
    }

    #[test]
    fn s17_same_inputs_same_outputs(setup in setup(), steps in steps()) {
        let log = log(setup, &steps);
        prop_assert_eq!(outputs(setup, &log), outputs(setup, &log));
    }
}

#[test]
fn s18_refused_changes_nothing() {
    for stage in STAGES {
        let run = Run::in_stage(stage);
        let mut refused = 0;
        for step in letters() {
            let (now, input) = run.seen(step);
            let (mut machine, mut ticked) = (run.machine.clone(), run.machine.clone());
            let (result, outputs) = feed(&mut machine, now, input);
            let Err(ignored) = result else { continue };
            refused += 1;
            assert_eq!((ignored.stage, ignored.input), (stage, input));
            let (_, ticks) = feed(&mut ticked, now, Input::Tick);
            assert_eq!(outputs, ticks, "{step:?} in {stage}");
            assert_eq!(machine, ticked, "{step:?} in {stage}");
        }
        assert!(refused > 0, "nothing is refused in {stage}");
    }
}
