//! A stop is its log: whoever has the inputs has all of it.

use std::collections::HashSet;

use lameduck::machine::{Fault, Input, Log};
use lameduck::{Cause, Signal};
use proptest::prelude::*;

use crate::scenario::*;
use crate::strategies::{setup, steps};

proptest! {
    #[test]
    fn a_log_replays_to_the_same_machine(setup in setup(), steps in steps()) {
        let log = log(setup, &steps);
        let (mut first, mut second) = (machine(setup), machine(setup));
        let mut seen = HashSet::new();
        for (now, input) in log {
            let said = feed(&mut first, now, input);
            prop_assert_eq!(said, feed(&mut second, now, input));
            prop_assert_eq!(&first, &second);
            seen.insert(first.clone());
            prop_assert!(seen.contains(&second), "equal, and another hash");
        }
    }

    #[test]
    fn a_clone_continues_in_the_same_way(
        setup in setup(),
        steps in steps(),
        branch in any::<prop::sample::Index>(),
    ) {
        let log = log(setup, &steps);
        let branch = branch.index(log.len() + 1);
        let mut first = machine(setup);
        for (now, input) in &log[..branch] {
            let _ = feed(&mut first, *now, *input);
        }
        let mut second = first.clone();
        for (now, input) in &log[branch..] {
            let said = feed(&mut first, *now, *input);
            prop_assert_eq!(said, feed(&mut second, *now, *input));
        }
        prop_assert_eq!(first, second);
    }

    /// Whether outputs are taken at once or late makes no difference.
    #[test]
    fn outputs_keep_until_they_are_polled(setup in setup(), steps in steps()) {
        let log = log(setup, &steps);
        let mut late = machine(setup);
        for (now, input) in &log {
            let _ = late.handle(*now, *input);
        }
        let late: Vec<_> = std::iter::from_fn(|| late.poll_output()).collect();
        prop_assert_eq!(late, outputs(setup, &log));
    }
}

proptest! {
    /// As a text and back, also with what means nothing.
    #[test]
    fn a_log_is_what_it_says(setup in setup(), steps in steps()) {
        let mut recorded = Log::new(setup.config, setup.listeners, setup.hooks, 1000);
        let inputs = log(setup, &steps);
        for (now, input) in &inputs {
            recorded.push(*now, *input);
        }
        let said: Vec<_> = recorded.replay().flat_map(|step| step.said).collect();
        prop_assert_eq!(&said, &outputs(setup, &inputs));
        let read: Log = recorded.to_string().parse().expect("a log");
        let again: Vec<_> = read.replay().flat_map(|step| step.said).collect();
        prop_assert_eq!(said, again);
        prop_assert_eq!(read.to_string().parse(), Ok(read));
    }
}

#[test]
fn a_full_log_says_what_it_left_out() {
    let mut log = Log::new(plain().config, 1, 0, 1);
    log.push(ms(0), Input::Tick);
    assert_eq!(log.left_out(), 0);
    log.push(ms(1), Input::Tick);
    log.push(ms(2), Input::Tick);
    assert_eq!((log.replay().count(), log.left_out()), (1, 2));
    assert_eq!(
        log.to_string().parse::<Log>().map(|log| log.left_out()),
        Ok(2)
    );
}

#[test]
fn a_log_says_what_the_machine_answered() {
    let mut log = Log::new(plain().config, 1, 0, 9);
    log.push(ms(0), Input::Tick);
    log.push(
        ms(1),
        Input::Stop {
            cause: Cause::Panic,
        },
    );
    log.push(ms(2), Input::HookDone(7, Ok(())));
    let text = log.to_string();
    let lines: Vec<_> = text.lines().collect();
    // A tick that changes nothing has no answer.
    assert_eq!(lines[lines.len() - 3], "0.000000000 tick", "{text}");
    assert!(
        lines[lines.len() - 2].contains("  -> [SetReady(false)"),
        "{text}"
    );
    assert!(
        lines[lines.len() - 1].ends_with("  -> ignored []"),
        "{text}"
    );
}

#[test]
fn every_input_is_read_as_it_was_written() {
    let causes = [
        Cause::Signal(Signal::Interrupt),
        Cause::Signal(Signal::Terminate),
        Cause::Signal(Signal::Quit),
        Cause::Signal(Signal::Hangup),
        Cause::Listener,
        Cause::Successor,
        Cause::Panic,
    ];
    let stops = causes.map(|cause| Input::Stop { cause });
    let others = [
        Input::Escalate,
        Input::ListenerQuiet(1),
        Input::ListenerClosed(0, Ok(())),
        Input::ListenerClosed(1, Err(Fault)),
        Input::Emptied,
        Input::HookDone(0, Ok(())),
        Input::HookDone(1, Err(Fault)),
        Input::Tick,
    ];
    let inputs: Vec<_> = stops.into_iter().chain(others).collect();
    let mut log = Log::new(plain().config, 2, 2, inputs.len());
    for input in &inputs {
        log.push(ms(7), *input);
    }
    let read: Log = log.to_string().parse().expect("a log");
    assert!(read.replay().all(|step| step.at == ms(7)));
    let read: Vec<_> = read.replay().map(|step| step.input).collect();
    assert_eq!(read, inputs);
}

#[test]
fn what_is_no_log_is_named() {
    let good = Log::new(plain().config, 1, 0, 9).to_string();
    for (text, line) in [
        ("".to_owned(), 1),
        (good.replace("grace", "mercy"), 1),
        (format!("{good}\n1.5 tick"), 2),
        (format!("{good}\n1.500000000 tock"), 2),
        (format!("{good}\n1.500000000 closed 0"), 2),
        (format!("{good}\n1.500000000 closed 0 somehow"), 2),
        (format!("{good}\n1.500000000 tick tick"), 2),
    ] {
        let error = text.parse::<Log>().unwrap_err().to_string();
        assert!(error.starts_with(&format!("line {line} ")), "{error}");
    }
}
