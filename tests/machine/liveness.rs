//! The liveness clauses that are the machine's.

use lameduck::machine::{Input, Output, Stage};
use proptest::prelude::*;

use crate::run::Run;
use crate::scenario::*;
use crate::strategies::{setup, steps};

proptest! {
    /// After any prefix nobody does anything any more but give the ticks that
    /// were asked for.
    #[test]
    fn l1_stop_ends_within_grace_and_margin(setup in setup(), steps in steps()) {
        let mut run = Run::new(setup);
        for step in steps {
            let _ = run.take(step);
        }
        let _ = run.take_stop();
        let end = run.machine.ends_by().expect("a stop has an end");
        for _stage in STAGES {
            if let Some(at) = run.machine.deadline() {
                prop_assert!(at <= end);
                let _ = run.give(at, Input::Tick);
            }
        }
        prop_assert_eq!(run.machine.stage(), Stage::Stopped);
        prop_assert!(run.machine.ends_by() <= Some(end));
    }

    /// The same, and all is carried out in between, but for the one thing
    /// that nobody can promise: that the living end.
    #[test]
    fn l1_whatever_the_connections_do(setup in setup(), early in 0u64..40) {
        let mut run = Run::new(setup);
        run.must(early, STOP);
        let end = run.machine.ends_by().expect("a stop has an end");
        for _stage in STAGES {
            let Some(at) = run.machine.deadline() else { break };
            for id in 0..setup.listeners {
                let _ = run.give(ms(early), Input::ListenerQuiet(id));
                let _ = run.give(ms(early), Input::ListenerClosed(id, Ok(())));
            }
            let _ = run.give(at, Input::Tick);
        }
        prop_assert_eq!(run.machine.stage(), Stage::Stopped);
        prop_assert!(run.machine.ends_by() <= Some(end));
    }
}

#[test]
fn l2_the_last_thing_to_end_ends_the_stop() {
    // The last listener ends the sweep, the last of the living starts the
    // hooks, the last hook ends it all: the clock stands, and nothing ticks.
    let mut run = Run::new(plain());
    run.must(0, STOP);
    run.must(0, Input::ListenerQuiet(0));
    run.must(0, Input::ListenerQuiet(1));
    run.must(0, Input::ListenerClosed(1, Ok(())));
    run.must(0, Input::ListenerClosed(0, Ok(())));
    assert_eq!(run.machine.stage(), Stage::Finish);
    assert_eq!(run.must(0, Input::Emptied), [Output::RunHook(0)]);
    assert_eq!(
        run.must(0, Input::HookDone(0, Ok(()))),
        [Output::RunHook(1)]
    );
    run.must(0, Input::HookDone(1, Ok(())));
    assert_eq!(run.machine.stage(), Stage::Stopped);
}

#[test]
fn l2_without_hooks_emptied_is_the_last_thing() {
    for stage in [Stage::Finish, Stage::Force] {
        let mut setup = noticed();
        setup.hooks = 0;
        setup.listeners = 0;
        let mut run = Run::new(setup);
        run.must(0, STOP);
        run.must(20, Input::Tick);
        if stage == Stage::Force {
            run.must(20, Input::Escalate);
        }
        assert_eq!(run.machine.stage(), stage);
        run.must(20, Input::Emptied);
        assert_eq!(run.machine.stage(), Stage::Stopped);
    }
}

proptest! {
    #[test]
    fn l3_while_draining_a_timer_is_armed(setup in setup(), steps in steps()) {
        let mut machine = machine(setup);
        let mut armed = None;
        for (now, input) in log(setup, &steps) {
            for output in feed(&mut machine, now, input).1 {
                if let Output::ArmTimer(at) = output {
                    armed = Some(at);
                }
            }
            let draining = Stage::Running < machine.stage() && machine.stage() < Stage::Stopped;
            prop_assert_eq!(machine.deadline().is_some(), draining);
            if draining {
                prop_assert!(armed.is_some() && armed <= machine.deadline());
            }
        }
    }
}
