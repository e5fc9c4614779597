//! The faults that a lifecycle keeps out.

use std::time::Duration;

use lameduck::machine::lifecycle::{Config, Input, Outcome, Output};
use lameduck::{Phase, Signal};
use proptest::prelude::*;

use super::alphabet::{ACTS, Act, DURATIONS, Setup, Step, decode};
use super::bare::*;
use super::compare::{setup, steps};
use super::run::Run;
use super::safety::inputs;
use crate::{NANO, ms};

const INT: Input = Input::Signal(Signal::Interrupt);
const TERM: Input = Input::Signal(Signal::Terminate);

proptest! {
    #[test]
    fn f9_nothing_serves_again_after_a_stop(
        setup in setup(),
        before in steps(),
        after in steps(),
    ) {
        let stop = Step(super::alphabet::Clock::Stands, Act::Gives(Input::Stop));
        let steps = [before.clone(), vec![stop], after].concat();
        let mut bare = Bare::new(setup);
        for (number, (now, input)) in inputs(setup, &steps).into_iter().enumerate() {
            bare.give(now, input).0.ok();
            prop_assert!(number < before.len() || bare.phase() > Phase::Running);
        }
    }

    /// Whichever listener is slow, no other waits for it to be told.
    #[test]
    fn f11_all_listeners_are_told_before_one_is_waited_for(listeners in 0usize..20) {
        let mut bare = Bare::new(Setup { listeners, ..lame_duck() });
        bare.must(0, Input::Stop);
        let told = |bare: &Bare| {
            let is_told = |o: &&Output| matches!(o, Output::StopAccepting(_));
            bare.outputs.iter().filter(is_told).count()
        };
        prop_assert_eq!(told(&bare), 0);
        bare.must(15, Input::Tick);
        prop_assert_eq!(told(&bare), listeners);
    }
}

#[test]
fn f17_idle_connections_are_read_while_the_stop_settles() {
    let mut setup = lame_duck();
    setup.config.settle = ms(20);
    let mut bare = Bare::new(setup);
    bare.must(0, Input::Stop);
    assert!(!bare.lifecycle.is_settling());
    // A tick that comes late takes no time away.
    bare.must(17, Input::Tick);
    assert!(bare.lifecycle.is_settling());
    bare.close(17);
    assert_eq!(bare.lifecycle.deadline(), Some(ms(37)));
    assert_eq!(bare.give(ms(37) - NANO, Input::Tick).1, []);
    assert_eq!(bare.must(37, Input::Tick), [Output::EndIdle]);
    assert!(!bare.lifecycle.is_settling());
    assert_eq!(bare.lifecycle.deadline(), Some((ms(15) + ms(70)) / 2));
}

#[test]
fn f17_without_a_time_to_settle_draining_ends_idle_connections_itself() {
    let mut bare = Bare::new(plain());
    bare.must(0, Input::Stop);
    assert!(!bare.lifecycle.is_settling());
    bare.must(60, Input::Tick);
    assert!(!bare.outputs.contains(&Output::EndIdle));
}

#[test]
fn f17_nothing_settles_when_nothing_is_left_or_when_it_is_aborted() {
    let mut setup = plain();
    setup.config.settle = ms(20);
    let mut empty = Bare::new(setup);
    empty.must(0, Input::Stop);
    empty.close(1);
    assert_eq!(empty.must(1, Input::Emptied), [Output::RunHook(0, ms(89))]);
    assert!(!empty.lifecycle.is_settling());
    let mut aborted = Bare::new(setup);
    aborted.must(0, Input::Stop);
    aborted.must(1, Input::Abort);
    assert!(!aborted.lifecycle.is_settling());
    assert!(!aborted.outputs.contains(&Output::EndIdle));
}

#[test]
fn f17_the_time_to_settle_ends_with_that_for_connections() {
    let mut setup = plain();
    setup.config.settle = ms(90);
    let mut bare = Bare::new(setup);
    bare.must(0, Input::Stop);
    assert_eq!(bare.lifecycle.deadline(), Some(ms(70)));
    bare.must(70, Input::Tick);
    assert_eq!(bare.phase(), Phase::Aborting);
    assert!(!bare.lifecycle.is_settling());
}

#[test]
fn f28_a_stop_has_an_end_by_default() {
    let config = Config::default();
    assert_eq!(config.grace_period, Duration::from_secs(25));
    let mut bare = Bare::new(Setup { config, ..plain() });
    bare.must(0, Input::Stop);
    assert_eq!(bare.lifecycle.ends_by(), Some(config.grace_period));
}

#[test]
fn f29_a_lost_tick_is_made_up_for_by_any_input() {
    for (late, phase) in [
        (15, Phase::Draining),
        (70, Phase::Aborting),
        (75, Phase::Aborting),
    ] {
        for act in ACTS {
            let Act::Gives(input) = act else { continue };
            let mut bare = Bare::new(lame_duck());
            bare.must(0, Input::Stop);
            bare.at(late, input);
            assert!(
                bare.phase() >= phase,
                "{} at {late} ms, by {input:?}",
                bare.phase()
            );
        }
    }
}

#[test]
fn f29_a_tick_that_comes_too_early_changes_nothing() {
    for phase in [Phase::LameDuck, Phase::Draining, Phase::Aborting] {
        let mut bare = Bare::in_phase(phase);
        let at = bare.lifecycle.deadline().unwrap();
        assert_eq!(bare.give(at - NANO, Input::Tick).1, []);
        assert_eq!(bare.phase(), phase);
        assert_eq!(bare.lifecycle.deadline(), Some(at));
        assert_ne!(bare.give(at, Input::Tick).1, []);
    }
}

#[test]
fn f30_the_deadline_comes_in_the_same_step_as_the_stop() {
    for begin in [Input::Stop, TERM, Input::ListenerClosed(0, FAILED)] {
        let mut bare = Bare::new(lame_duck());
        assert_eq!(bare.lifecycle.ends_by(), None);
        bare.must(7, begin);
        assert_eq!(bare.phase(), Phase::LameDuck);
        assert_eq!(bare.lifecycle.deadline(), Some(ms(22)));
        assert_eq!(bare.lifecycle.ends_by(), Some(ms(107)));
    }
}

#[test]
fn f31_the_parts_have_to_fit_into_the_grace_period() {
    assert_eq!(Config::default().check(), Ok(()));
    let mut config = Config::default();
    config.grace_period = ms(100);
    config.lame_duck = ms(40);
    config.settle = ms(30);
    config.abort_timeout = ms(20);
    config.hook_reserve = ms(10);
    assert_eq!(config.check(), Ok(()));
    let longer: [fn(&mut Config) -> &mut Duration; 4] = [
        |config| &mut config.lame_duck,
        |config| &mut config.settle,
        |config| &mut config.abort_timeout,
        |config| &mut config.hook_reserve,
    ];
    for part in longer {
        for by in [NANO, Duration::MAX - ms(100)] {
            let mut config = config;
            *part(&mut config) += by;
            assert!(config.check().is_err(), "{config:?}");
        }
    }
    // A restart has no lame duck time, and here no settle of its own.
    config.restart_settle = config.settle;
    config.restart_grace_period = Some(ms(60));
    assert_eq!(config.check(), Ok(()));
    config.restart_grace_period = Some(ms(60) - NANO);
    let text = config.check().unwrap_err().to_string();
    let end = "do not fit into the grace period 100ms, or into that of a restart, 59.999999ms: \
               make them shorter, or the grace period longer";
    assert!(text.ends_with(end), "{text}");
    config.restart_grace_period = Some(ms(60));
    config.restart_settle = ms(30) + NANO;
    let text = config.check().unwrap_err().to_string();
    let end = "or into that of a restart, 60ms, with its settle, 30.000001ms: \
               make them shorter, or the grace period longer";
    assert!(text.ends_with(end), "{text}");
}

#[test]
fn f31_all_deadlines_derive_from_the_one_budget() {
    let mut setup = lame_duck();
    setup.config.settle = ms(5);
    let mut bare = Bare::new(setup);
    bare.must(1000, Input::Stop);
    let mut deadlines = Vec::new();
    while let Some(at) = bare.lifecycle.deadline() {
        deadlines.push(at);
        bare.give(at, Input::Tick).0.unwrap();
    }
    let half = (ms(1015) + ms(1070)) / 2;
    let last = (half + ms(1070)) / 2;
    let mut all = [1015, 1020, 1070, 1080, 1090, 1100].map(ms).to_vec();
    all.splice(2..2, [half, last]);
    assert_eq!(deadlines, all);
}

#[test]
fn f31_without_hooks_no_time_is_kept_for_them() {
    let mut bare = Bare::new(Setup {
        hooks: 0,
        ..plain()
    });
    bare.must(0, Input::Stop);
    assert_eq!(bare.must(46, Input::Tick), [Output::EndBusy]);
    assert_eq!(bare.must(68, Input::Tick), [Output::EndLast]);
    assert_eq!(bare.lifecycle.deadline(), Some(ms(90)));
}

#[test]
fn f31_parts_that_do_not_fit_cannot_put_off_the_end() {
    for part in DURATIONS {
        let mut setup = plain();
        setup.config.lame_duck = part;
        setup.config.settle = part;
        let mut bare = Bare::new(setup);
        bare.must(0, Input::Stop);
        bare.at(70, Input::Tick);
        assert_eq!(bare.phase(), Phase::Aborting);
        for millis in [80, 90, 100] {
            bare.at(millis, Input::Tick);
        }
        assert_eq!(bare.phase(), Phase::Stopped);
    }
    // Nor can an abort that takes longer than all that there is.
    let mut setup = plain();
    setup.config.abort_timeout = ms(200);
    let mut bare = Bare::new(setup);
    bare.must(10, Input::Stop);
    assert_eq!(bare.phase(), Phase::Aborting);
    assert_eq!(bare.lifecycle.deadline(), Some(ms(90)));
    assert_eq!(bare.lifecycle.ends_by(), Some(ms(110)));
}

#[test]
fn f34_time_saturates() {
    let longest = Duration::MAX;
    let mut setup = plain();
    setup.config.grace_period = longest;
    setup.config.lame_duck = longest;
    setup.config.settle = longest;
    setup.config.abort_timeout = longest;
    setup.config.hook_reserve = longest;
    let mut bare = Bare::new(setup);
    bare.must(1, Input::Stop);
    assert_eq!(bare.phase(), Phase::LameDuck);
    assert_eq!(bare.lifecycle.deadline(), None);
    assert_eq!(bare.lifecycle.ends_by(), None);
    bare.must(2, Input::Abort);
    assert_eq!(bare.phase(), Phase::Aborting);
    assert_eq!(bare.lifecycle.deadline(), None);
    bare.close(2);
    assert_eq!(
        bare.must(2, Input::Emptied),
        [Output::RunHook(0, longest - ms(2))]
    );
    // Where the parts have an end, the stop has none all the same.
    let mut setup = plain();
    setup.config.grace_period = longest;
    let mut bare = Bare::new(setup);
    bare.must(1, Input::Stop);
    assert_eq!(bare.lifecycle.deadline(), None);
    assert_eq!(bare.lifecycle.ends_by(), None);
}

#[test]
fn f36_two_signals_that_merged_into_one_are_made_up_for_by_time() {
    let mut bare = Bare::new(plain());
    bare.must(0, TERM);
    bare.must(70, Input::Tick);
    assert_eq!(bare.phase(), Phase::Aborting);
}

proptest! {
    #[test]
    fn f38_a_second_stop_neither_panics_nor_is_anything_but_a_tick(
        setup in setup(),
        steps in steps(),
    ) {
        let mut bare = Bare::new(setup);
        bare.must(0, Input::Stop);
        for (now, input) in inputs(setup, &steps) {
            let mut ticked = bare.lifecycle.clone();
            feed(&mut ticked, now, Input::Tick).0.ok();
            prop_assert!(bare.give(now, Input::Stop).0.is_err());
            prop_assert_eq!(&bare.lifecycle, &ticked);
            bare.give(now, input).0.ok();
        }
    }
}

#[test]
fn f38_an_abort_is_the_way_to_hurry() {
    for phase in [Phase::Running, Phase::LameDuck, Phase::Draining] {
        let mut bare = Bare::in_phase(phase);
        bare.must(36, Input::Abort);
        assert_eq!(bare.phase(), Phase::Aborting);
        bare.refuses(36, Input::Abort);
        assert_eq!(bare.lifecycle.ends_by(), Some(ms(66)));
    }
}

#[test]
fn f40_an_error_of_one_listener_does_not_end_the_stop() {
    for phase in [Phase::Running, Phase::LameDuck] {
        let mut bare = Bare::in_phase(phase);
        bare.must(20, Input::ListenerClosed(0, FAILED));
        bare.at(35, Input::Tick);
        assert!(bare.outputs.contains(&Output::StopAccepting(1)), "{phase}");
        assert!(!bare.outputs.contains(&Output::StopAccepting(0)), "{phase}");
        bare.must(36, Input::ListenerClosed(1, Ok(())));
        bare.must(36, Input::Emptied);
        bare.end_hooks(36);
        assert_eq!(bare.outcome(), Some(Outcome::Failed), "{phase}");
    }
}

#[test]
fn f40_a_listener_that_closes_untold_while_running_begins_the_stop() {
    for result in [Ok(()), FAILED] {
        let mut bare = Bare::new(plain());
        let outputs = bare.must(5, Input::ListenerClosed(1, result));
        let stop = [
            Output::NotReady,
            Output::StopAccepting(0),
            Output::Enter(Phase::Draining),
        ];
        assert_eq!(outputs, stop);
        bare.refuses(5, Input::ListenerClosed(1, result));
    }
}

#[test]
fn f40_a_failed_listener_is_not_told_to_close() {
    let mut bare = Bare::in_phase(Phase::LameDuck);
    bare.must(12, Input::ListenerClosed(1, FAILED));
    let outputs = bare.must(13, Input::Abort);
    let expected = [Output::CloseListener(0), Output::Enter(Phase::Aborting)];
    assert_eq!(outputs, expected);
}

#[test]
fn f41_hooks_run_after_connections_and_one_after_the_other() {
    for aborts in [false, true] {
        let mut bare = Bare::new(Setup {
            hooks: 3,
            ..plain()
        });
        bare.must(0, Input::Stop);
        bare.close(0);
        if aborts {
            bare.must(1, Input::Abort);
        }
        let is_hook = |output: &Output| matches!(output, Output::RunHook(..));
        assert!(!bare.outputs.iter().any(is_hook), "too early");
        bare.refuses(1, Input::HookDone(0, Ok(())));
        assert!(matches!(
            bare.must(2, Input::Emptied)[..],
            [Output::RunHook(0, _)]
        ));
        bare.refuses(2, Input::HookDone(1, Ok(())));
        for id in 0..2 {
            // A hook that fails keeps no other from running.
            let next = bare.must(3, Input::HookDone(id, FAILED));
            assert!(matches!(next[..], [Output::RunHook(next, _)] if next == id + 1));
            bare.refuses(3, Input::HookDone(id, Ok(())));
        }
        bare.must(4, Input::HookDone(2, Ok(())));
        assert_eq!(bare.phase(), Phase::Stopped);
    }
}

#[test]
fn f42_a_restart_has_no_lame_duck_time() {
    let mut bare = Bare::new(lame_duck());
    bare.must(0, Input::HandedOver);
    assert_eq!(bare.phase(), Phase::Draining);
}

#[test]
fn f84_a_restart_may_settle_for_longer_than_a_stop() {
    let mut setup = plain();
    setup.config.restart_settle = ms(20);
    let mut stop = Bare::new(setup);
    stop.must(0, Input::Stop);
    assert!(!stop.lifecycle.is_settling());
    let mut restart = Bare::new(setup);
    restart.must(0, Input::HandedOver);
    restart.close(0);
    assert_eq!(restart.give(ms(20) - NANO, Input::Tick).1, []);
    assert_eq!(restart.must(20, Input::Tick), [Output::EndUnused]);
    setup.config.settle = ms(30);
    let mut longer = Bare::new(setup);
    longer.must(0, Input::HandedOver);
    longer.close(0);
    assert_eq!(longer.lifecycle.deadline(), Some(ms(30)));
}

#[test]
fn f84_a_restart_spares_connections_in_use_for_the_time_of_a_stop() {
    let mut setup = plain();
    setup.config.restart_settle = ms(20);
    let grace = ms(400);
    setup.config.grace_period = grace;
    // A restart may have less.
    for restart_grace in [None, Some(grace / 2)] {
        setup.config.restart_grace_period = restart_grace;
        let mut bare = Bare::new(setup);
        bare.must(0, Input::HandedOver);
        bare.close(0);
        let mut rounds = 0;
        let ended = loop {
            let at = bare.lifecycle.deadline().expect("a round");
            match bare.give(at, Input::Tick).1[..] {
                [Output::EndUnused] => assert_eq!(at, ms(20) + ms(10) * rounds),
                [Output::EndIdle, ..] => break at,
                ref said => panic!("{said:?} at {at:?}"),
            }
            rounds += 1;
        };
        let end = match restart_grace {
            Some(grace) => grace - setup.config.hook_reserve - setup.config.abort_timeout,
            None => grace,
        };
        assert!(ended < end && ended + ms(10) >= end, "{ended:?}, {end:?}");
        assert!(!bare.lifecycle.is_settling());
    }
}

/// A fuzzer found it: a freeze puts off the abort, and with it the time of those in use.
#[test]
fn f84_a_freeze_is_no_time_of_connections_in_use() {
    let (setup, steps) = decode(&[
        5, 3, 255, 255, 255, 255, 0, 3, 4, 18, 4, 0, 177, 177, 177, 177, 177, 177, 177, 6, 253,
        2, 0, 245, 247, 255, 239, 238, 247, 255, 251, 0, 0, 0,
    ]);
    let mut run = Run::new(setup);
    for step in steps {
        // It is compared with the reference, which also refuses some.
        let _ = run.take(step);
    }
}

#[test]
fn f84_who_stops_during_a_restart_spares_nobody() {
    let mut setup = plain();
    setup.config.restart_settle = ms(20);
    let mut bare = Bare::new(setup);
    bare.must(0, Input::HandedOver);
    bare.close(0);
    assert_eq!(bare.must(20, Input::Tick), [Output::EndUnused]);
    assert_eq!(bare.must(25, Input::Stop), [Output::EndIdle]);
}

#[test]
fn f84_no_round_is_shorter_than_the_clock_can_tell() {
    let mut setup = plain();
    setup.config.restart_settle = NANO;
    let mut bare = Bare::new(setup);
    bare.must(0, Input::HandedOver);
    bare.close(0);
    assert_eq!(bare.give(NANO, Input::Tick).1, [Output::EndIdle]);
}

#[test]
fn f84_a_stop_during_a_restart_settles_no_longer_than_any_stop() {
    let mut setup = plain();
    setup.config.restart_settle = ms(20);
    for (settle, ends) in [(0, 5), (3, 8), (17, 20)] {
        setup.config.settle = ms(settle);
        let mut bare = Bare::new(setup);
        bare.must(0, Input::HandedOver);
        bare.close(0);
        let said = bare.must(5, Input::Stop);
        assert_eq!(said.contains(&Output::EndIdle), settle == 0);
        let settled = bare.lifecycle.deadline().filter(|_| settle > 0);
        assert!(settled.is_none_or(|at| at == ms(ends)), "{settled:?}");
    }
}

/// A stop by these signals; returns whether it is aborted.
fn is_aborted_by(signals: &[(u64, Input)]) -> bool {
    let mut bare = Bare::new(plain());
    for (millis, input) in signals {
        assert!(bare.phase() <= Phase::Draining);
        bare.must(*millis, *input);
    }
    bare.phase() == Phase::Aborting
}

#[test]
fn f45_one_stop_that_is_delivered_twice_is_one_stop() {
    // The same signal again: 5 ms.
    assert!(!is_aborted_by(&[(0, TERM), (0, TERM)]));
    assert!(!is_aborted_by(&[(0, TERM), (5, TERM)]));
    assert!(is_aborted_by(&[(0, TERM), (6, TERM)]));
    // Another signal: 20 ms.
    assert!(!is_aborted_by(&[(0, INT), (20, TERM)]));
    assert!(is_aborted_by(&[(0, INT), (21, TERM)]));
}

#[test]
fn f45_each_signal_counts_from_its_own_first_time() {
    assert!(!is_aborted_by(&[(0, INT), (18, TERM), (22, TERM)]));
    assert!(is_aborted_by(&[(0, INT), (18, TERM), (24, TERM)]));
    assert!(is_aborted_by(&[(0, INT), (18, TERM), (19, INT)]));
    // Neither window begins again.
    assert!(is_aborted_by(&[(0, TERM), (4, TERM), (8, TERM)]));
    assert!(is_aborted_by(&[
        (0, INT),
        (18, TERM),
        (36, Input::Signal(Signal::Quit))
    ]));
}

#[test]
fn f45_a_signal_after_a_stop_by_the_program_joins_it() {
    assert!(!is_aborted_by(&[(0, Input::Stop), (60, TERM)]));
    assert!(!is_aborted_by(&[(0, Input::Stop), (60, TERM), (65, TERM)]));
    assert!(is_aborted_by(&[(0, Input::Stop), (60, TERM), (66, TERM)]));
    let mut failed = Bare::new(plain());
    failed.must(0, Input::ListenerClosed(0, FAILED));
    failed.must(60, TERM);
    assert_eq!(failed.phase(), Phase::Draining);
}

#[test]
fn f45_the_windows_are_100_ms_and_1_s_by_default() {
    let config = Config::default();
    assert_eq!(config.same_signal_window, ms(100));
    assert_eq!(config.other_signal_window, ms(1000));
}

#[test]
fn f51_a_restart_has_no_end_by_default() {
    let mut bare = Bare::new(plain());
    bare.must(0, Input::HandedOver);
    bare.close(1);
    assert_eq!(bare.lifecycle.deadline(), None);
    assert_eq!(bare.lifecycle.ends_by(), None);
    bare.must(1_000_000, Input::Tick);
    assert_eq!(bare.phase(), Phase::Draining);
    assert!(bare.lifecycle.awaits_emptied());
}

#[test]
fn f51_a_restart_can_have_an_end_of_its_own() {
    let mut setup = plain();
    setup.config.restart_grace_period = Some(ms(1000));
    let mut bare = Bare::new(setup);
    bare.must(0, Input::HandedOver);
    bare.close(1);
    assert_eq!(bare.lifecycle.ends_by(), Some(ms(1000)));
    assert_eq!(bare.must(490, Input::Tick), [Output::EndBusy]);
    assert_eq!(bare.must(730, Input::Tick), [Output::EndLast]);
    assert_eq!(bare.lifecycle.deadline(), Some(ms(970)));
}

#[test]
fn f51_a_stop_in_a_restart_has_the_usual_budget() {
    for stop in [Input::Stop, TERM] {
        let mut bare = Bare::new(lame_duck());
        bare.must(0, Input::HandedOver);
        bare.close(1);
        bare.must(500, stop);
        assert_eq!(bare.phase(), Phase::Draining);
        assert_eq!(bare.lifecycle.deadline(), Some(ms(535)));
        assert_eq!(bare.lifecycle.ends_by(), Some(ms(600)));
        bare.refuses(510, Input::Stop);
        bare.must(540, TERM);
        let is_second = stop == TERM;
        assert_eq!(bare.phase() == Phase::Aborting, is_second);
    }
}

#[test]
fn f54_hooks_have_a_reserved_part_of_the_budget_after_an_abort() {
    let mut bare = Bare::new(plain());
    bare.must(0, Input::Stop);
    bare.must(70, Input::Tick);
    assert_eq!(bare.must(80, Input::Tick), [Output::RunHook(0, ms(10))]);
    assert_eq!(bare.lifecycle.deadline(), Some(ms(90)));
    let next = [Output::CancelHook(0), Output::RunHook(1, ms(10))];
    assert_eq!(bare.must(90, Input::Tick), next);
    bare.refuses(90, Input::HookDone(0, Ok(())));
    let end = [Output::CancelHook(1), Output::Complete(Outcome::Abandoned)];
    assert_eq!(bare.must(100, Input::Tick), end);
}

#[test]
fn f54_a_hook_has_all_time_but_what_is_reserved_for_those_behind_it() {
    let mut bare = Bare::new(Setup {
        hooks: 4,
        ..plain()
    });
    bare.must(0, Input::Stop);
    bare.close(1);
    assert_eq!(bare.must(10, Input::Emptied), [Output::RunHook(0, ms(75))]);
    let next = bare.must(20, Input::HookDone(0, Ok(())));
    assert_eq!(next, [Output::RunHook(1, ms(70))]);
    // A slow one takes no time from the others.
    let next = [Output::CancelHook(1), Output::RunHook(2, ms(5))];
    assert_eq!(bare.must(90, Input::Tick), next);
    let next = bare.must(91, Input::HookDone(2, Ok(())));
    assert_eq!(next, [Output::RunHook(3, ms(9))]);
}

#[test]
fn f54_an_abort_shortens_the_hook_that_runs() {
    let mut bare = Bare::in_phase(Phase::Draining);
    assert_eq!(bare.must(31, Input::Emptied), [Output::RunHook(0, ms(69))]);
    bare.must(40, Input::Abort);
    // The abort timeout and both shares, of which one is the other's.
    assert_eq!(bare.lifecycle.ends_by(), Some(ms(70)));
    assert_eq!(bare.lifecycle.deadline(), Some(ms(60)));
    let next = [Output::CancelHook(0), Output::RunHook(1, ms(10))];
    assert_eq!(bare.must(60, Input::Tick), next);
    bare.must(61, Input::HookDone(1, Ok(())));
    assert_eq!(bare.outcome(), Some(Outcome::Aborted));
}

#[test]
fn f54_an_abort_that_comes_late_does_not_prolong_the_hook_that_runs() {
    let mut bare = Bare::in_phase(Phase::Draining);
    bare.must(31, Input::Emptied);
    bare.must(95, Input::Abort);
    assert_eq!(bare.lifecycle.deadline(), Some(ms(100)));
    assert_eq!(bare.lifecycle.ends_by(), Some(ms(110)));
}

#[test]
fn f61_after_a_freeze_connections_have_the_abort_timeout_before_the_abort() {
    let mut bare = Bare::in_phase(Phase::Draining);
    // Frozen from 40 ms on: the abort was due at 80.
    assert_eq!(bare.must(500, Input::Tick), [Output::EndBusy]);
    assert_eq!(bare.must(505, Input::Tick), [Output::EndLast]);
    assert_eq!(bare.phase(), Phase::Draining);
    assert_eq!(bare.lifecycle.deadline(), Some(ms(510)));
    assert_eq!(bare.lifecycle.ends_by(), Some(ms(540)));
    assert_eq!(
        bare.must(510, Input::Tick),
        [Output::Enter(Phase::Aborting)]
    );
    assert_eq!(bare.lifecycle.deadline(), Some(ms(520)));
    assert_eq!(bare.must(520, Input::Tick), [Output::RunHook(0, ms(10))]);
}

#[test]
fn f61_what_ended_in_a_freeze_has_ended_by_itself() {
    let mut bare = Bare::in_phase(Phase::Draining);
    bare.must(500, Input::Emptied);
    bare.end_hooks(500);
    assert_eq!(bare.outcome(), Some(Outcome::Clean));
}

#[test]
fn f61_a_frozen_lame_duck_still_drains() {
    let mut bare = Bare::in_phase(Phase::LameDuck);
    bare.must(500, Input::Tick);
    bare.must(505, Input::Tick);
    assert_eq!(bare.phase(), Phase::Draining);
    assert_eq!(bare.lifecycle.deadline(), Some(ms(510)));
}

#[test]
fn f61_a_freeze_after_the_abort_is_made_up_for_too() {
    let mut bare = Bare::in_phase(Phase::Aborting);
    assert_eq!(bare.must(500, Input::Tick), []);
    assert_eq!(bare.lifecycle.deadline(), Some(ms(510)));
    assert_eq!(bare.lifecycle.ends_by(), Some(ms(530)));
    // Once: a clock that goes wrong does not put off the end for ever.
    let outputs = bare.must(900, Input::Tick);
    assert_eq!(outputs[0], Output::RunHook(0, ms(0)));
}

#[test]
fn f61_a_freeze_while_a_hook_runs_is_made_up_for() {
    let mut bare = Bare::in_phase(Phase::Draining);
    bare.must(31, Input::Emptied);
    assert_eq!(bare.must(500, Input::Tick), []);
    assert_eq!(bare.lifecycle.deadline(), Some(ms(510)));
    assert_eq!(bare.lifecycle.ends_by(), Some(ms(520)));
    let next = [Output::CancelHook(0), Output::RunHook(1, ms(10))];
    assert_eq!(bare.must(510, Input::Tick), next);
    // Each hook on its own, and each once.
    assert_eq!(bare.must(600, Input::Tick), []);
    let outputs = bare.must(900, Input::Tick);
    assert_eq!(outputs[0], Output::CancelHook(1));
}

#[test]
fn f61_what_is_late_by_half_of_the_abort_timeout_is_no_freeze() {
    for (phase, at) in [(Phase::Draining, 80), (Phase::Aborting, 45)] {
        let mut late = Bare::in_phase(phase);
        let is_end = |output: &Output| *output != Output::EndBusy;
        assert!(late.must(at + 5, Input::Tick).iter().any(is_end), "{phase}");
        let mut frozen = Bare::in_phase(phase);
        let (_, said) = frozen.give(ms(at + 5) + NANO, Input::Tick);
        assert!(!said.iter().any(is_end), "{phase}: {said:?}");
    }
    // Half of the abort timeout is left to what is aborted then.
    let mut late = Bare::in_phase(Phase::Draining);
    late.must(85, Input::Tick);
    assert_eq!(late.lifecycle.deadline(), Some(ms(90)));
}

#[test]
fn f61_without_an_abort_timeout_nothing_is_made_up_for() {
    let mut setup = plain();
    setup.config.abort_timeout = ms(0);
    let mut bare = Bare::new(setup);
    bare.must(0, Input::Stop);
    bare.must(500, Input::Tick);
    assert_eq!(bare.outcome(), Some(Outcome::Abandoned));
}

#[test]
fn f98_those_that_drain_last_wait_for_others_until_a_quarter_is_left() {
    let mut setup = plain();
    setup.config.lame_duck = ms(6);
    let mut bare = Bare::new(setup);
    bare.must(0, Input::Stop);
    bare.must(6, Input::Tick);
    assert_eq!(bare.must(38, Input::Tick), [Output::EndBusy]);
    assert_eq!(bare.give(ms(54) - NANO, Input::Tick).1, []);
    assert_eq!(bare.must(54, Input::Tick), [Output::EndLast]);
    assert_eq!(bare.lifecycle.deadline(), Some(ms(70)));
    assert_eq!(bare.give(ms(70) - NANO, Input::Tick).1, []);
}

/// Those that end first may have something for the others.
#[test]
fn f98_those_that_drain_last_never_end_with_busy_ones() {
    let ended_late = |at| {
        let mut bare = Bare::in_phase(Phase::Draining);
        assert_eq!(bare.must(at, Input::Tick), [Output::EndBusy]);
        bare
    };
    assert_eq!(ended_late(70).lifecycle.deadline(), Some(ms(75)));
    // A freeze beyond the abort, before and after busy ones end.
    for mut bare in [ended_late(500), ended_late(53)] {
        let said = bare.must(500, Input::Tick);
        assert_eq!(said, [], "they have half of what is left");
        assert_eq!(bare.must(505, Input::Tick), [Output::EndLast]);
        assert_eq!(bare.lifecycle.deadline(), Some(ms(510)));
    }
}

#[test]
fn f98_a_stop_in_a_restart_leaves_those_that_drain_last_its_own_time() {
    let mut setup = plain();
    setup.config.restart_grace_period = Some(ms(1000));
    let mut bare = Bare::new(setup);
    bare.must(0, Input::HandedOver);
    assert_eq!(bare.must(490, Input::Tick), [Output::EndBusy]);
    bare.must(600, Input::Stop);
    // From 600 to 670.
    assert_eq!(bare.lifecycle.deadline(), Some((ms(635) + ms(670)) / 2));
}
