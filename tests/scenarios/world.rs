//! The simulated machine itself: what it tells, and what it can do to a server.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use futures::io::AsyncWriteExt;
use lameduck::sim::{Check, Connection, Event, Expected, Match, Sim, Verdict, verify};
use lameduck::{Session, Signal};

const MAX_STEPS: usize = 100_000;

async fn echo(mut session: Session<Connection>) -> io::Result<()> {
    let mut buffer = [0; 16];
    while let Some(n) = session.read_or_drain(&mut buffer).await? {
        session.write_all(&buffer[..n]).await?;
    }
    Ok(())
}

#[test]
fn a_long_trace_ends_with_the_last_line_of_the_run() {
    let mut sim = Sim::new(1);
    sim.serve(echo);
    sim.client(async |client| {
        for _ in 0..1000 {
            client.exchange_bytes(b"ping", b"ping").await?;
        }
        Ok(())
    });
    sim.run_until_idle(MAX_STEPS);
    sim.signal(Signal::Terminate);
    assert!(sim.run(MAX_STEPS).is_some());
    let trace = sim.trace();
    let last = trace.lines().last().unwrap();
    assert!(last.ends_with("the server has stopped"), "{last}");
    let first = trace.lines().next().unwrap();
    assert!(first.ends_with(" earlier lines were dropped"), "{first}");
}

#[test]
fn a_verdict_is_told_only_where_it_changes_something() {
    // A timer cannot fail, a task's wake-up cannot be lost, an accept cannot be
    // late, and bytes do not come twice.
    let mut sim = Sim::new(1);
    sim.rule(|event, _| match event {
        Event::Timer => Verdict::Fail(24),
        Event::Wake => Verdict::Drop,
        Event::Accept => Verdict::Delay(Duration::from_secs(1)),
        Event::ToServer(_) | Event::ToClient(_) => Verdict::Twice,
        _ => Verdict::Delay(Duration::ZERO),
    });
    // The first rule has changed nothing: the next one is asked.
    let mut is_first = true;
    sim.rule(move |event, _| match event {
        Event::ToServer(_) if std::mem::take(&mut is_first) => {
            Verdict::Delay(Duration::from_millis(7))
        }
        _ => Verdict::Pass,
    });
    sim.serve(echo);
    sim.client(async |client| client.exchange_bytes(b"a", b"a").await);
    sim.run_until_idle(MAX_STEPS);
    sim.signal(Signal::Terminate);
    let report = sim.run(MAX_STEPS).expect("it ends");
    verify::all(&sim.history(), &report).unwrap();
    let trace = sim.trace();
    let faults: Vec<&str> = trace
        .lines()
        .filter(|line| line.contains("fault"))
        .collect();
    assert_eq!(faults.len(), 1, "{trace}");
    assert!(
        faults[0].ends_with("fault: ToServer(0): Delay(7ms)"),
        "{trace}"
    );
}

#[test]
fn a_segment_can_arrive_and_a_signal_come_in_the_middle_of_a_poll() {
    let arrives = |trace: &str| {
        let interrupted = trace.split("in the middle of a poll:").skip(1);
        let mut interrupted = interrupted.map(|rest| rest.split("the poll goes on").next());
        interrupted.any(|lines| {
            lines.is_some_and(|lines| lines.contains("arrive") && lines.contains("SIGTERM"))
        })
    };
    let found = (0..1000).any(|seed| {
        let mut sim = Sim::new(seed);
        sim.serve(echo);
        sim.client(async |client| client.exchange_bytes(b"ping", b"ping").await);
        let steps = sim.choose(20);
        (0..steps).for_each(|_| _ = sim.step());
        sim.signal_in_poll(Signal::Terminate);
        let report = sim.run(MAX_STEPS).expect("it ends");
        verify::all(&sim.history(), &report).unwrap();
        arrives(&sim.trace())
    });
    assert!(
        found,
        "in a thousand stops none was in the middle of a poll"
    );
}

#[test]
fn without_interruptions_no_poll_is_interrupted() {
    for seed in 0..100 {
        let mut sim = Sim::new(seed);
        sim.interruptions(false);
        sim.serve(echo);
        sim.client(async |client| client.exchange_bytes(b"ping", b"ping").await);
        sim.run_until_idle(MAX_STEPS);
        sim.signal_in_poll(Signal::Terminate);
        assert!(
            sim.run(MAX_STEPS).is_some(),
            "the signal comes all the same"
        );
        assert!(!sim.trace().contains("in the middle"), "{}", sim.trace());
    }
}

#[test]
fn a_frozen_server_does_nothing_while_its_clients_go_on() {
    let mut sim = Sim::new(1);
    sim.serve(echo);
    sim.client(async |client| client.exchange_bytes(b"ping", b"ping").await);
    sim.freeze(Duration::from_secs(3));
    assert_eq!(sim.now(), Duration::from_secs(3));
    let client = sim.history().clients.remove(0);
    assert!(client.queued.is_some() && client.accepted.is_none());
    sim.run_until_idle(MAX_STEPS);
    sim.signal(Signal::Terminate);
    sim.freeze(Duration::from_secs(5));
    let report = sim.run(MAX_STEPS).expect("it ends");
    let history = sim.history();
    verify::all(&history, &report).unwrap();
    assert_eq!(history.frozen, Duration::from_secs(5));
}

#[test]
fn f46_an_accept_beyond_the_descriptor_limit_fails() {
    let mut sim = Sim::new(1);
    sim.descriptor_limit(1);
    sim.serve(echo);
    for _ in 0..2 {
        sim.client(async |client| client.exchange_bytes(b"a", b"a").await);
    }
    sim.run_until_idle(MAX_STEPS);
    let accepted = |sim: &Sim| {
        let clients = sim.history().clients.into_iter();
        clients.filter(|client| client.accepted.is_some()).count()
    };
    assert_eq!(accepted(&sim), 1);
    sim.signal(Signal::Terminate);
    let report = sim.run(MAX_STEPS).expect("it ends");
    verify::all(&sim.history(), &report).unwrap();
    assert_eq!(accepted(&sim), 2);
}

/// Says `*news` to everybody once, unasked, and answers each line.
async fn news(mut session: Session<Connection>) -> io::Result<()> {
    let mut byte = [0];
    session.write_all(b"*news\n").await?;
    while session.read_or_drain(&mut byte).await?.is_some() {
        while byte[0] != b'\n' {
            futures::io::AsyncReadExt::read_exact(&mut session, &mut byte).await?;
        }
        let answer: &[u8] = if session.is_draining() {
            b"ok, close\n"
        } else {
            b"ok\n"
        };
        session.write_all(answer).await?;
    }
    Ok(())
}

fn line(input: &[u8]) -> Match {
    match input.iter().position(|byte| *byte == b'\n') {
        Some(end) => Match::Complete(end + 1),
        None => Match::Incomplete,
    }
}

fn starred(input: &[u8]) -> Match {
    if input[0] == b'*' {
        line(input)
    } else {
        Match::Mismatch
    }
}

fn unstarred(input: &[u8]) -> Match {
    if input[0] == b'*' {
        Match::Mismatch
    } else {
        line(input)
    }
}

#[test]
fn messages_that_nobody_asked_for_can_be_accepted() {
    Check::new().run(|sim| {
        sim.serve(news);
        sim.client(async |client| {
            client.allow_unsolicited(starred);
            let either = || Expected::one_of(["ok\n", "ok, close\n"]);
            client.exchange(b"subscribe\n", either()).await?;
            client.exchange(b"something\n", either()).await?;
            assert_eq!(client.receive().await?, b"*news\n");
            Ok(())
        });
    });
}

/// Runs a check that has to fail, and returns what it says.
fn convict(scenario: impl Fn(&mut Sim)) -> String {
    let check = std::panic::AssertUnwindSafe(|| Check::new().run(scenario));
    let panic = std::panic::catch_unwind(check).expect_err("nothing was found");
    panic.downcast_ref::<String>().expect("a text").clone()
}

#[test]
fn a_message_that_nobody_asked_for_is_a_wrong_answer_otherwise() {
    let message = convict(|sim| {
        sim.serve(news);
        sim.client(async |client| client.exchange(b"a\n", b"ok\n").await);
    });
    assert!(
        message.contains("answers: #0 got a wrong answer, at byte 0"),
        "{message}"
    );
}

#[test]
fn an_answer_that_differs_while_draining_is_wrong_unless_it_is_expected() {
    let message = convict(|sim| {
        sim.serve(news);
        sim.client(async |client| {
            client.allow_unsolicited(starred);
            client.exchange(b"a\n", b"ok\n").await?;
            client.exchange(b"b\n", b"ok\n").await
        });
    });
    assert!(message.contains("got a wrong answer"), "{message}");
}

/// The close is announced with the last answer: an assertion of the scenario's
/// own, over what the client received.
#[test]
fn an_assertion_at_the_end_is_made_simple_like_any_failure() {
    let scenario = |is_right: bool| {
        move |sim: &mut Sim| {
            sim.serve(news);
            let answers = Rc::new(RefCell::new(Vec::new()));
            let seen = answers.clone();
            let count = 1 + sim.choose(5);
            sim.client(async move |client| {
                client.allow_unsolicited(starred);
                for _ in 0..count {
                    client
                        .request(b"a\n", Expected::matching(unstarred))
                        .await?;
                    let message = client.receive().await?;
                    if !message.starts_with(b"*") {
                        answers.borrow_mut().push(message);
                    }
                }
                Ok(())
            });
            sim.at_end(move |_, _| {
                let closes = |answer: &Vec<u8>| answer.ends_with(b"close\n");
                let first = seen.borrow().iter().position(closes);
                match first {
                    // No answer may follow one that announces the close.
                    Some(at) if is_right && seen.borrow()[at..].iter().all(closes) => Ok(()),
                    Some(_) => Err("the close was announced"),
                    None => Ok(()),
                }
            });
        }
    };
    Check::new().run(scenario(true));
    let message = convict(scenario(false));
    assert!(
        message.contains("0.1.0: the close was announced"),
        "{message}"
    );
    let trace = message.split("attempts:").nth(1).unwrap();
    assert!(trace.lines().count() < 45, "it is not simple:\n{trace}");
}

#[test]
fn only_the_bytes_that_arrived_are_owed_by_a_service_of_bytes() {
    Check::new().run(|sim| {
        sim.socket_buffer(3);
        sim.serve(echo);
        sim.client(async |client| {
            client
                .exchange_bytes(b"longer than a buffer", b"longer than a buffer")
                .await
        });
    });
}
