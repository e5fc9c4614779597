//! How long things take, to the millisecond, on the simulated clock.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::select;
use futures::io::{AsyncReadExt, AsyncWriteExt};
use lameduck::report::{Activity, Outcome};
use lameduck::rt::CloseGuarantee;
use lameduck::sim::{Check, Client, Connection, Event, Sim, SimRuntime, Verdict};
use lameduck::{Builder, Report, Runtime, Session, Signal};

const MAX_STEPS: usize = 50_000;

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Answers each byte with `size` bytes.
async fn answer(size: usize, mut session: Session<Connection>) -> io::Result<()> {
    let mut byte = [0];
    while session.read_or_drain(&mut byte).await?.is_some() {
        session.write_all(&vec![1; size]).await?;
    }
    Ok(())
}

/// Serves, with a grace period far longer than anything here takes.
fn serve(
    sim: &mut Sim,
    size: usize,
    set: impl FnOnce(Builder<SimRuntime>) -> Builder<SimRuntime>,
) {
    // Nothing comes in the middle of a poll: that would take time, too.
    sim.interruptions(false);
    let builder = sim.builder().grace_period(Duration::from_secs(60));
    sim.serve_with(set(builder), move |session| answer(size, session));
}

/// Stops the server after half a second, and returns the report.
fn stop(sim: &mut Sim) -> Report {
    sim.advance(ms(500), MAX_STEPS);
    sim.signal(Signal::Terminate);
    sim.run(MAX_STEPS).expect("the stop comes to its end")
}

#[track_caller]
fn assert_between(took: Duration, from: u64, to: u64) {
    assert!((ms(from)..=ms(to)).contains(&took), "it took {took:?}");
}

async fn stall(client: &mut Client) -> io::Result<()> {
    client.stall().await;
    Ok(())
}

/// Neither closes nor reads beyond its answers.
async fn stays(client: &mut Client) -> io::Result<()> {
    client.exchange(b"?", &[1; 10]).await?;
    stall(client).await
}

#[test]
fn inputs_are_recorded_only_when_asked_for() {
    for (limit, is_cut) in [
        (None, None),
        (Some(1), Some(true)),
        (Some(100), Some(false)),
    ] {
        let mut sim = Sim::new(1);
        serve(&mut sim, 10, |builder| match limit {
            None => builder,
            Some(limit) => builder.record(limit),
        });
        let recording = stop(&mut sim).recording;
        let found = recording.map(|recording| recording.left_out() > 0);
        assert_eq!(found, is_cut, "{limit:?}");
    }
}

#[test]
fn a_peer_that_closes_after_the_end_is_not_waited_for() {
    let mut sim = Sim::new(1);
    serve(&mut sim, 10, |builder| builder);
    sim.client(async |client| client.exchange(b"?", &[1; 10]).await);
    let report = stop(&mut sim);
    assert_between(report.duration, 0, 3);
    assert_eq!(report.closed.drained, 1, "{report}");
}

#[test]
fn f22_a_peer_that_stays_is_waited_for_until_the_idle_time_is_over() {
    for idle in [100, 250] {
        let mut sim = Sim::new(1);
        serve(&mut sim, 10, |builder| {
            builder.lingering_close(ms(idle), Duration::from_secs(5))
        });
        sim.client(stays);
        assert_between(stop(&mut sim).duration, idle, idle + 3);
    }
}

#[test]
fn f22_a_peer_that_goes_on_sending_is_waited_for_until_the_total_time_is_over() {
    let mut sim = Sim::new(1);
    serve(&mut sim, 10, |builder| builder);
    sim.client(async |client| {
        client.exchange(b"?", &[1; 10]).await?;
        client
            .read_exact(&mut [0])
            .await
            .expect_err("the server ends");
        loop {
            client.pause(ms(60)).await;
            client.write_all(b"and").await?;
        }
    });
    let report = stop(&mut sim);
    assert_between(report.duration, 5000, 5065);
    assert_eq!(report.outcome, Outcome::Clean);
}

#[test]
fn f22_the_idle_time_counts_from_the_last_input() {
    let mut sim = Sim::new(1);
    serve(&mut sim, 10, |builder| builder);
    sim.client(async |client| {
        client.exchange(b"?", &[1; 10]).await?;
        client
            .read_exact(&mut [0])
            .await
            .expect_err("the server ends");
        for _ in 0..5 {
            client.pause(ms(60)).await;
            client.write_all(b"and").await?;
        }
        stall(client).await
    });
    assert_between(stop(&mut sim).duration, 400, 405);
}

#[test]
fn f24_a_peer_that_takes_no_output_is_waited_for_until_the_total_time_is_over() {
    let mut sim = Sim::new(1);
    sim.socket_buffer(1000);
    serve(&mut sim, 1900, |builder| builder);
    sim.client(async |client| {
        client.request(b"?", &[1; 1900]).await?;
        stall(client).await
    });
    let report = stop(&mut sim);
    assert_between(report.duration, 5000, 5105);
    assert_cut_off(&report);
}

/// S5: it has not all output.
#[track_caller]
fn assert_cut_off(report: &Report) {
    assert_eq!(report.outcome, Outcome::Aborted, "{report}");
    let cut_off: Vec<_> = report.aborted.iter().map(|cut| cut.activity).collect();
    assert_eq!(cut_off, [Activity::Closing], "{report}");
    assert_eq!(report.exit_status(), 3);
    assert!(
        report.to_string().starts_with("stopped with 1 aborted, "),
        "{report}"
    );
}

/// The connection ends with a loss, but the server runs on.
#[test]
fn s5_what_a_peer_did_not_take_before_the_stop_is_no_loss_of_the_stop() {
    for signal_at in [5600, 4900] {
        let mut sim = Sim::new(1);
        sim.socket_buffer(1000);
        sim.interruptions(false);
        sim.serve(|mut session| async move {
            session.read_exact(&mut [0]).await?;
            session.write_all(&[1; 1900]).await
        });
        sim.client(async |client| {
            client.write_all(b"?").await?;
            client.stall().await;
            Ok(())
        });
        sim.advance(ms(signal_at), MAX_STEPS);
        sim.signal(Signal::Terminate);
        let report = sim.run(MAX_STEPS).expect("the stop comes to its end");
        match signal_at {
            5600 => assert_eq!(report.outcome, Outcome::Clean, "{report}"),
            _ => assert_cut_off(&report),
        }
    }
}

#[test]
fn f24_a_peer_that_takes_some_output_has_the_total_time_again() {
    let mut sim = Sim::new(1);
    sim.socket_buffer(1000);
    serve(&mut sim, 1900, |builder| builder);
    sim.client(async |client| {
        client.request(b"?", &[1; 1900]).await?;
        // Four seconds after the stop.
        client.pause(ms(4500)).await;
        client.read_exact(&mut [0; 300]).await?;
        stall(client).await
    });
    let report = stop(&mut sim);
    assert_between(report.duration, 9000, 9205);
    assert_cut_off(&report);
}

/// Adds a client that ends its side, and reads later.
fn reads_after(sim: &mut Sim, size: usize, pause: Duration) {
    sim.client(async move |client| {
        client.request(b"?", &vec![1; size]).await?;
        client.pause(ms(600)).await;
        client.half_close().await?;
        client.pause(pause).await;
        client.responses().await
    });
}

#[test]
fn f24_output_is_waited_for_although_the_input_has_ended() {
    // The peer's end proves nothing about a large answer.
    let mut sim = Sim::new(1);
    sim.socket_buffer(10_000);
    serve(&mut sim, 19_000, |builder| builder);
    reads_after(&mut sim, 19_000, ms(1000));
    assert_between(stop(&mut sim).duration, 1100, 1205);
    assert!(sim.history().clients[0].ended);
}

#[test]
fn f24_acknowledgements_are_looked_for_ever_more_rarely() {
    // Each look is a timer.
    let mut sim = Sim::new(1);
    sim.socket_buffer(10_000);
    serve(&mut sim, 19_000, |builder| builder);
    let timers = Arc::new(AtomicUsize::new(0));
    let seen = timers.clone();
    sim.rule(move |event, _| {
        seen.fetch_add(usize::from(*event == Event::Timer), Ordering::Relaxed);
        Verdict::Pass
    });
    reads_after(&mut sim, 19_000, ms(1000));
    let report = stop(&mut sim);
    assert_eq!(report.outcome, Outcome::Clean);
    // After 1, 2, 4, … 64 ms, and then every 100 ms.
    let timers = timers.load(Ordering::Relaxed);
    assert!((14..=22).contains(&timers), "{timers} looks");
}

#[test]
fn f24_a_peers_end_after_ours_proves_that_all_output_arrived() {
    let mut sim = Sim::new(1);
    sim.latency(ms(50));
    serve(&mut sim, 10, |builder| builder);
    sim.client(async |client| client.exchange(b"?", &[1; 10]).await);
    // A round trip, and no look after it.
    assert_between(stop(&mut sim).duration, 1, 103);
}

/// Delays the first segment to the client by two seconds.
fn late_answer(sim: &mut Sim) {
    let mut is_late = false;
    sim.rule(move |event, _| match event {
        Event::ToClient(_) if !is_late => {
            is_late = true;
            Verdict::Delay(ms(2000))
        }
        _ => Verdict::Pass,
    });
}

#[test]
fn f24_small_output_is_not_waited_for_while_running() {
    // The client has ended its side; the answer is still under way.
    let mut sim = Sim::new(1);
    serve(&mut sim, 10, |builder| builder);
    late_answer(&mut sim);
    sim.client(async |client| {
        client.request(b"?", &[1; 10]).await?;
        client.half_close().await
    });
    let report = stop(&mut sim);
    assert_eq!(report.closed.peer_closed, 1, "{report}");
    assert_between(report.duration, 0, 3);
}

#[test]
fn f24_output_is_waited_for_when_the_process_will_end() {
    // As before, but the client ends its side after the stop, and before the
    // server does.
    let mut sim = Sim::new(1);
    serve(&mut sim, 10, |builder| builder.settle(ms(100)));
    late_answer(&mut sim);
    sim.client(async |client| {
        client.pause(ms(550)).await;
        client.request(b"?", &[1; 10]).await?;
        client.half_close().await
    });
    assert_between(stop(&mut sim).duration, 2000, 2205);
}

#[test]
fn f24_a_peer_that_resets_is_not_waited_for() {
    // As before, but the client resets before the answer arrives.
    let mut sim = Sim::new(1);
    serve(&mut sim, 10, |builder| builder.settle(ms(100)));
    late_answer(&mut sim);
    sim.client(async |client| {
        client.pause(ms(550)).await;
        client.request(b"?", &[1; 10]).await?;
        client.half_close().await?;
        client.pause(ms(500)).await;
        client.reset();
        Ok(())
    });
    assert_between(stop(&mut sim).duration, 500, 700);
}

#[test]
fn f7_failing_accepts_are_tried_ever_more_rarely() {
    let mut sim = Sim::new(1);
    serve(&mut sim, 10, |builder| builder);
    let tries = Arc::new(AtomicUsize::new(0));
    let seen = tries.clone();
    sim.rule(move |event, _| match event {
        // EMFILE
        Event::Accept => {
            seen.fetch_add(1, Ordering::Relaxed);
            Verdict::Fail(24)
        }
        _ => Verdict::Pass,
    });
    sim.client(async |client| client.exchange(b"?", &[1; 10]).await);
    sim.advance(Duration::from_secs(10), MAX_STEPS);
    // After 5, 10, 20, … 640 ms, and then every second.
    let tries = tries.load(Ordering::Relaxed);
    assert!((16..=18).contains(&tries), "{tries} tries");
}

#[test]
fn f7_after_a_success_the_pause_is_short_again() {
    let mut sim = Sim::new(1);
    serve(&mut sim, 10, |builder| builder);
    let mut left = 8;
    sim.rule(move |event, _| match event {
        Event::Accept if left > 0 => {
            left -= 1;
            Verdict::Fail(24)
        }
        Event::Accept => {
            left = 1;
            Verdict::Pass
        }
        _ => Verdict::Pass,
    });
    for _ in 0..2 {
        sim.client(async |client| client.exchange(b"?", &[1; 10]).await);
    }
    sim.advance(Duration::from_secs(3), MAX_STEPS);
    let clients = sim.history().clients;
    let mut accepted: Vec<_> = clients
        .iter()
        .filter_map(|client| client.accepted)
        .collect();
    accepted.sort();
    assert_between(accepted[0], 1275, 1280);
    assert_between(accepted[1] - accepted[0], 5, 6);
}

#[test]
fn other_tasks_run_after_64_accepts() {
    let mut sim = Sim::new(1);
    // All clients are in the queue before the server looks.
    sim.rule(|event, _| match event {
        Event::Wake => Verdict::Delay(ms(50)),
        _ => Verdict::Pass,
    });
    serve(&mut sim, 10, |builder| builder.backlog(500));
    for _ in 0..200 {
        sim.client(async |client| client.exchange(b"?", &[1; 10]).await);
    }
    let report = stop(&mut sim);
    assert_eq!(report.accepted, 200);
    let mut at_once = std::collections::BTreeMap::new();
    for client in sim.history().clients {
        *at_once.entry(client.accepted).or_insert(0) += 1;
    }
    assert_eq!(at_once.values().max(), Some(&64), "{at_once:?}");
}

/// Stops a server that serves one client while `count` others wait in the queue,
/// since there is room for just one. None of them closes.
fn queued(sim: &mut Sim, count: usize, sweep_limit: u64) -> Report {
    serve(sim, 10, |builder| {
        builder.sweep_limit(sweep_limit).connection_limit(1)
    });
    for _ in 0..=count {
        sim.client(stays);
    }
    let report = stop(sim);
    // All lingering closes run at the same time.
    assert_between(report.duration, 100, 103);
    report
}

#[test]
fn a_sweep_takes_at_most_its_limit() {
    let report = queued(&mut Sim::new(1), 9, 5);
    assert_eq!(
        report.listeners[0].guarantee,
        CloseGuarantee::Unswept,
        "{report}"
    );
    assert_eq!(report.listeners[0].swept, 5);
    assert_eq!(report.accepted, 6);
}

#[test]
fn f1_a_sweep_goes_beyond_the_connection_limit() {
    let report = queued(&mut Sim::new(1), 9, 100);
    assert_eq!(
        report.listeners[0].guarantee,
        CloseGuarantee::Swept,
        "{report}"
    );
    assert_eq!(report.listeners[0].swept, 9);
}

#[test]
fn f2_without_handshakes_a_filtered_sweep_ends_with_its_first_look() {
    let mut sim = Sim::new(1);
    sim.guarantee(CloseGuarantee::SynFiltered);
    serve(&mut sim, 10, |builder| builder);
    let report = stop(&mut sim);
    assert_eq!(report.listeners[0].guarantee, CloseGuarantee::SynFiltered);
    assert_between(report.duration, 0, 1);
}

#[test]
fn f2_handshakes_that_the_system_does_not_show_are_waited_for_a_while() {
    let mut sim = Sim::new(1);
    sim.guarantee(CloseGuarantee::SynFiltered);
    sim.sees_handshakes(false);
    serve(&mut sim, 10, |builder| builder);
    assert_between(stop(&mut sim).duration, 20, 21);
}

#[test]
fn f2_a_connection_from_a_handshake_prolongs_the_wait() {
    let mut prolonged = 0;
    for seed in 0..200 {
        let mut sim = Sim::new(seed);
        sim.latency(ms(20));
        sim.guarantee(CloseGuarantee::SynFiltered);
        sim.sees_handshakes(false);
        serve(&mut sim, 10, |builder| builder);
        sim.advance(ms(480), MAX_STEPS);
        sim.client(async |client| {
            client.reset();
            Ok(())
        });
        sim.advance(ms(20), MAX_STEPS);
        sim.signal(Signal::Terminate);
        let report = sim.run(MAX_STEPS).expect("the stop comes to its end");
        let history = sim.history();
        let (queued, stopped) = (history.clients[0].queued, history.stopped_at);
        let Some(after) = queued.zip(stopped).and_then(|(q, s)| q.checked_sub(s)) else {
            continue;
        };
        if report.accepted == 1 {
            prolonged += 1;
            let (from, to) = (after + ms(20), after + ms(42));
            assert!(
                from <= report.duration && report.duration <= to,
                "{after:?}: {report}"
            );
        }
    }
    assert!(prolonged > 20, "only {prolonged} came during the wait");
}

/// Stops in the middle of a handshake. Returns the report, and the time from the
/// stop to the end of the handshake; `None` when it ended before the stop.
fn handshake(seed: u64) -> Option<(Report, Duration)> {
    let mut sim = Sim::new(seed);
    sim.latency(ms(400));
    sim.guarantee(CloseGuarantee::SynFiltered);
    serve(&mut sim, 10, |builder| builder);
    sim.advance(ms(100), MAX_STEPS);
    sim.client(async |client| {
        client.close_now();
        Ok(())
    });
    let report = stop(&mut sim);
    let history = sim.history();
    let done = history.clients[0].queued.unwrap_or(Duration::MAX);
    let after = done.checked_sub(history.stopped_at.unwrap_or_default())?;
    Some((report, after))
}

#[test]
fn f2_handshakes_under_way_are_waited_for() {
    let (mut awaited, mut given_up) = (0, 0);
    for (report, done) in (0..400).filter_map(handshake) {
        if report.accepted == 1 {
            awaited += 1;
            assert!(done < ms(318), "{done:?}: {report}");
            // Then comes the lingering close, with a client that is far away.
            assert!(report.duration >= done, "{done:?}: {report}");
            assert!(report.duration <= done + ms(17 + 800), "{done:?}: {report}");
        } else if report.duration > ms(2) {
            given_up += 1;
            assert_between(report.duration, 300, 318);
        }
    }
    assert!(awaited > 20, "only {awaited} were awaited");
    assert!(given_up > 5, "only {given_up} came too late");
}

#[test]
fn l1_a_lingering_close_is_within_the_budget() {
    Check::new().cases(20).run(|sim| {
        serve(sim, 10, |builder| builder);
        sim.client(stays);
    });
}

/// Reads a byte a millisecond, and answers nothing.
async fn slow_sink(mut session: Session<Connection>, runtime: SimRuntime) -> io::Result<()> {
    let mut byte = [0];
    while session.read_or_drain(&mut byte).await?.is_some() {
        runtime.sleep_until(runtime.now() + ms(1)).await;
    }
    Ok(())
}

/// Its handler is never idle. What it had sent before the stop cannot be told
/// from what it sends later, where both wait at the client for room.
#[test]
fn f73_a_peer_that_never_stops_sending_is_aborted_and_named() {
    let mut sim = Sim::new(1);
    let runtime = sim.runtime();
    sim.serve(move |session| slow_sink(session, runtime.clone()));
    sim.client(async |client| {
        client.write_all(b"arrived at the stop").await?;
        loop {
            client.pause(ms(1)).await;
            client.write_all(b"and more").await?;
        }
    });
    sim.advance(ms(10), MAX_STEPS);
    sim.signal(Signal::Terminate);
    sim.advance(Duration::from_secs(30), 1_000_000);
    let report = sim.report().expect("the stop comes to its end");
    assert_eq!(report.outcome, Outcome::Aborted, "{report}");
    assert_eq!(report.aborted[0].activity, Activity::Busy, "{report}");
    assert!(report.aborted[0].read > 19, "{report}");
}

/// Each signal is waited for after the one before, also after one that changed nothing.
#[test]
fn f45_a_signal_after_one_that_was_the_same_stop_is_heard() {
    let mut sim = Sim::new(1);
    let builder = sim.builder().grace_period(Duration::from_secs(60));
    sim.serve_with(builder, async |_session| {
        std::future::pending::<()>().await;
        io::Result::Ok(())
    });
    sim.client(stays);
    for wait in [10, 50, 400] {
        sim.advance(ms(wait), MAX_STEPS);
        sim.signal(Signal::Terminate);
    }
    let report = sim.run(MAX_STEPS).expect("the stop comes to its end");
    assert_eq!(report.outcome, Outcome::Aborted, "{report}");
    assert_between(report.duration, 450, 1100);
}

/// It has something to send after half of the time, when its reads find nothing any more.
#[test]
fn f98_who_rests_is_not_polled_again_and_again() {
    let mut sim = Sim::new(1);
    let (runtime, polls) = (sim.runtime(), Arc::new(AtomicUsize::new(0)));
    let builder = sim.builder().grace_period(Duration::from_secs(60));
    let counted = polls.clone();
    sim.serve_with(builder, move |session: Session<Connection>| {
        let (runtime, polls) = (runtime.clone(), counted.clone());
        async move {
            if session.id() == 1 {
                return std::future::pending().await;
            }
            let mut handle = session.handle()?;
            handle.drain_last();
            let (mut input, mut output) = session.split();
            let mut byte = [0];
            let message = pin!(runtime.sleep_until(runtime.now() + Duration::from_secs(40)));
            let next = select(message, input.read(&mut byte));
            handle.next_or_drain(next, || true).await;
            output.write_all(b"x").await?;
            let mut read = input.read(&mut byte);
            let next = poll_fn(|cx| {
                polls.fetch_add(1, Ordering::Relaxed);
                Pin::new(&mut read).poll(cx)
            });
            handle.next_or_drain(next, || true).await;
            io::Result::Ok(())
        }
    });
    for _ in 0..2 {
        sim.client(stall);
    }
    let report = stop(&mut sim);
    assert_eq!(report.closed.drained, 1, "{report}");
    assert!(polls.load(Ordering::Relaxed) < 10, "{polls:?}");
}
