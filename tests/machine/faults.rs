//! The faults of other servers that the machine is there to keep out.

use std::time::Duration;

use lameduck::Cause;
use lameduck::machine::{Config, Input, Outcome, Output, Stage};
use proptest::prelude::*;

use crate::alphabet::{ACTS, Act, DURATIONS, Setup, Step};
use crate::run::Run;
use crate::scenario::*;
use crate::strategies::{setup, steps};

proptest! {
    #[test]
    fn f9_nothing_serves_again_after_a_stop(
        setup in setup(),
        before in steps(),
        after in steps(),
    ) {
        let mut run = Run::new(setup);
        for step in before {
            let _ = run.take(step);
        }
        let _ = run.take_stop();
        for step in after {
            let _ = run.take(step);
            prop_assert!(run.machine.stage() > Stage::Running);
            prop_assert!(!run.said.contains(&Output::SetReady(true)));
            prop_assert!(run.machine.cause().is_some());
        }
    }

    /// Whichever listener is slow, none waits for it to be quiesced.
    #[test]
    fn f11_all_are_quiesced_then_waited_for(listeners in 0usize..20, notice in 0u64..2) {
        let mut setup = Setup { listeners, ..plain() };
        setup.config.notice = ms(notice);
        let mut run = Run::new(setup);
        run.must(0, STOP);
        if notice > 0 {
            prop_assert!(!run.said.iter().any(|o| matches!(o, Output::Quiesce(_))));
            run.must(1, Input::Tick);
        }
        let quiesced = run.said.iter().filter(|o| matches!(o, Output::Quiesce(_)));
        prop_assert_eq!(quiesced.count(), listeners);
    }
}

#[test]
fn f29_lost_or_late_ticks_do_not_lose_the_deadline() {
    // Each stage's deadline passes without a tick. Whatever comes next, sense
    // or none, is enough, and whoever missed several has them all made up.
    for late in [20, 30, 100, 105, 1_000_000] {
        for act in ACTS {
            let Act::Say(input) = act else { continue };
            let mut run = Run::new(noticed());
            run.must(0, STOP);
            run.at(late, input);
            let least = match late {
                20 => Stage::Quiesce,
                30 => Stage::Finish,
                100 => Stage::Force,
                _ => Stage::Stopped,
            };
            let stage = run.machine.stage();
            assert!(stage >= least, "{stage} at {late} ms after {input:?}");
        }
    }
}

#[test]
fn f29_a_tick_too_early_changes_nothing() {
    for stage in &STAGES[1..5] {
        let mut run = Run::in_stage(*stage);
        let at = run.machine.deadline().expect("a stop has a deadline");
        let _ = run.give(at - NANO, Input::Tick);
        assert_eq!(run.fresh(), []);
        assert_eq!(run.machine.stage(), *stage);
        let _ = run.give(at, Input::Tick);
        assert!(run.machine.stage() > *stage);
    }
}

#[test]
fn f17_the_idle_are_read_while_it_settles() {
    let mut setup = plain();
    setup.config.settle = ms(20);
    let mut run = Run::new(setup);
    let said = run.must(0, STOP);
    assert!(said.contains(&Output::Settle) && !said.contains(&Output::Drain));
    run.close_all();
    assert_eq!(run.machine.stage(), Stage::Finish);
    assert_eq!(run.machine.deadline(), Some(ms(20)));
    run.at(19, Input::Tick);
    assert_eq!(run.fresh(), []);
    run.at(20, Input::Tick);
    assert_eq!(run.fresh(), [Output::Drain, Output::ArmTimer(ms(100))]);
}

#[test]
fn f17_nobody_settles_when_nobody_lives_or_force_comes() {
    let mut setup = plain();
    (setup.config.settle, setup.hooks) = (ms(20), 0);
    let mut empty = Run::new(setup);
    empty.must(0, STOP);
    empty.close_all();
    let said = empty.must(0, Input::Emptied);
    assert_eq!(said, [Output::Complete(Outcome::Clean)]);
    let mut forced = Run::new(setup);
    forced.must(0, STOP);
    let said = forced.must(1, Input::Escalate);
    let place = |output| said.iter().position(|said| *said == output);
    assert!(place(Output::Drain).is_some());
    assert!(place(Output::Drain) < place(Output::Abort), "{said:?}");
}

#[test]
fn f42_a_successor_needs_no_notice() {
    let mut run = Run::new(noticed());
    let cause = Cause::Successor;
    let said = run.must(0, Input::Stop { cause });
    assert!(said.contains(&Output::Notify(Stage::Quiesce)), "{said:?}");
}

#[test]
fn f30_the_deadline_comes_in_the_same_step_as_the_stop() {
    for begin in [STOP, Input::ListenerClosed(0, BAD)] {
        let mut machine = machine(noticed());
        assert_eq!((machine.deadline(), machine.ends_by()), (None, None));
        assert_eq!(machine.handle(ms(7), begin), Ok(()));
        assert_eq!(machine.stage(), Stage::Notice);
        assert_eq!(machine.deadline(), Some(ms(27)));
        assert_eq!(machine.ends_by(), Some(ms(112)));
    }
}

#[test]
fn f31_the_parts_have_to_fit_into_the_whole() {
    let config = |grace, notice, sweep| Config {
        grace,
        notice,
        sweep,
        settle: ms(0),
        abort_timeout: ms(0),
    };
    assert_eq!(Config::default().check(), Ok(()));
    assert_eq!(config(ms(30), ms(20), ms(10)).check(), Ok(()));
    for (notice, sweep) in [(20, 11), (21, 10), (31, 0), (0, 31)] {
        assert!(config(ms(30), ms(notice), ms(sweep)).check().is_err());
    }
    let config_of = config(ms(30), ms(10), ms(10));
    for (settle, fits) in [(20, true), (21, false)] {
        let settle = ms(settle);
        let config = Config {
            settle,
            ..config_of
        };
        assert_eq!(config.check().is_ok(), fits);
    }
    let longest = Duration::MAX;
    assert!(config(ms(30), longest, longest).check().is_err());
    assert_eq!(config(longest, longest, longest).check(), Ok(()));
    let error = config(ms(3), ms(2), ms(4)).check().expect_err("too long");
    let text = error.to_string();
    assert!(text.contains("2ms") && text.contains("4ms") && text.contains("3ms"));
}

#[test]
fn f31_all_deadlines_derive_from_the_one_budget() {
    let mut run = Run::new(noticed());
    run.must(1000, STOP);
    let mut deadlines = Vec::new();
    for _stage in STAGES {
        let Some(at) = run.machine.deadline() else {
            break;
        };
        deadlines.push(at);
        let _ = run.give(at, Input::Tick);
    }
    assert_eq!(deadlines, [ms(1020), ms(1030), ms(1100), ms(1105)]);
}

#[test]
fn f31_parts_that_do_not_fit_cannot_put_off_the_end() {
    for part in DURATIONS {
        let mut setup = plain();
        setup.config.notice = part;
        setup.config.sweep = part;
        setup.config.settle = part;
        let mut run = Run::new(setup);
        run.must(0, STOP);
        run.at(100, Input::Tick);
        assert_eq!(run.machine.stage(), Stage::Force);
        run.at(105, Input::Tick);
        assert_eq!(run.machine.stage(), Stage::Stopped);
    }
}

#[test]
fn f34_time_saturates() {
    let longest = Duration::MAX;
    let config = Config {
        grace: longest,
        notice: longest,
        sweep: longest,
        settle: longest,
        abort_timeout: longest,
    };
    let mut run = Run::new(Setup { config, ..plain() });
    run.must(1, STOP);
    assert_eq!(run.machine.deadline(), Some(longest));
    assert_eq!(run.machine.ends_by(), Some(longest));
    run.must(2, Input::Escalate);
    assert_eq!(run.machine.stage(), Stage::Force);
    assert_eq!(run.machine.deadline(), Some(longest));
    // At the end of time everything is over.
    let mut late = Run::new(noticed());
    assert_eq!(late.give(longest, STOP), Ok(()));
    assert_eq!(late.machine.stage(), Stage::Stopped);
}

proptest! {
    #[test]
    fn f38_a_second_stop_neither_panics_nor_changes_anything(
        setup in setup(),
        steps in steps(),
    ) {
        let mut run = Run::new(setup);
        run.must(0, STOP);
        for step in steps {
            let (now, _) = run.seen(Step { act: Act::Say(Input::Tick), ..step });
            let mut ticked = run.machine.clone();
            let _ = feed(&mut ticked, now, Input::Tick);
            let again = Input::Stop { cause: Cause::Panic };
            prop_assert!(run.give(now, again).is_err());
            prop_assert_eq!(&run.machine, &ticked);
            let _ = run.take(step);
        }
    }
}

#[test]
fn f38_escalating_is_the_way_to_hurry() {
    for stage in &STAGES[..4] {
        let mut run = Run::in_stage(*stage);
        run.must(40, Input::Escalate);
        assert_eq!(run.machine.stage(), Stage::Force);
        for output in [Output::Drain, Output::Abort] {
            assert!(run.said.contains(&output), "{output:?} in {stage}");
        }
        assert!(run.give(ms(40), Input::Escalate).is_err());
    }
}

#[test]
fn f40_an_error_of_one_listener_does_not_abort_the_stop() {
    for stage in [Stage::Running, Stage::Notice, Stage::Quiesce] {
        let mut run = Run::in_stage(stage);
        run.must(33, Input::ListenerClosed(0, BAD));
        run.at(60, Input::Tick);
        assert!(run.said.contains(&Output::Quiesce(1)), "{stage}");
        assert!(!run.said.contains(&Output::CloseListener(0)), "{stage}");
        run.cooperate(60);
        assert!(run.said.contains(&Output::CloseListener(1)), "{stage}");
        assert!(run.said.contains(&Output::RunHook(1)), "{stage}");
        assert_eq!(run.outcome(), Some(Outcome::Failed), "{stage}");
    }
}

#[test]
fn f40_a_listener_that_fails_while_running_begins_the_stop() {
    for result in [Ok(()), BAD] {
        let mut run = Run::in_stage(Stage::Running);
        run.must(5, Input::ListenerClosed(1, result));
        assert_eq!(run.machine.cause(), Some(Cause::Listener));
        assert_eq!(run.said[0], Output::SetReady(false));
    }
}

#[test]
fn f41_hooks_run_after_connections_in_order() {
    for force in [false, true] {
        let setup = Setup {
            hooks: 3,
            ..plain()
        };
        let mut run = Run::new(setup);
        run.must(0, STOP);
        for id in 0..2 {
            run.must(0, Input::ListenerQuiet(id));
            run.must(0, Input::ListenerClosed(id, Ok(())));
        }
        if force {
            run.must(1, Input::Escalate);
        }
        assert!(!run.said.contains(&Output::RunHook(0)), "too early");
        assert_eq!(run.must(2, Input::Emptied), [Output::RunHook(0)]);
        assert!(run.give(ms(2), Input::HookDone(1, Ok(()))).is_err());
        for id in 0..2 {
            // A hook that fails keeps none from its turn.
            let next = run.must(3, Input::HookDone(id, BAD));
            assert_eq!(next, [Output::RunHook(id + 1)]);
        }
        run.must(4, Input::HookDone(2, Ok(())));
        assert_eq!(run.machine.stage(), Stage::Stopped);
    }
}
