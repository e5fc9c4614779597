//! Every connection in one outcome, and nothing that holds up the end.

use std::io;
use std::sync::{Arc, Mutex, mpsc};
use std::task::Poll;
use std::thread;
use std::time::Duration;

use futures::channel::oneshot;
use futures::io::{AsyncReadExt, AsyncWriteExt};
use lameduck::report::{Activity, CloseCounts, HookOutcome, Outcome};
use lameduck::{Builder, Cause, Connection, Phase, Runtime, Session};

use crate::support::{LONG, builder, echo, eventually, first_address, start};

fn panic_as_asked() -> io::Result<()> {
    panic!("as the test asked")
}

/// Does what its first byte says.
async fn obey(mut session: Session<impl Connection>) -> io::Result<()> {
    let mut order = [0];
    session.read_exact(&mut order).await?;
    match order[0] {
        b'p' => panic!("as the test asked"),
        b'e' => Err(io::Error::other("as the test asked")),
        b'f' => Ok(()),
        _ => {
            session.write_all(b"!").await?;
            echo(session).await
        }
    }
}

pub(crate) fn s4_each_connection_has_one_outcome(runtime: impl Runtime) {
    let grace = Duration::from_millis(700);
    let server = start(builder(runtime).grace_period(grace).bind().unwrap(), obey);
    let mut clients: Vec<_> = (0..6).map(|_| server.connect()).collect();
    for (client, order) in clients.iter_mut().zip([b"p", b"e", b"f", b"i", b"i", b"i"]) {
        client.send(order);
    }
    for client in &mut clients[..3] {
        assert_eq!(client.rest(), b"");
    }
    for client in &mut clients[3..] {
        client.expect(b"!");
    }
    let mut stuck = clients.pop().unwrap();
    stuck.stay();
    let leaving = clients.pop().unwrap();
    drop(leaving);
    clients.truncate(4);
    eventually("some are gone", || server.shutdown.guard_count() == 2);
    let report = server.stop();
    let CloseCounts {
        finished,
        drained,
        peer_closed,
        failed,
        panicked,
        aborted,
        ..
    } = report.closed;
    let each = [finished, drained, peer_closed, failed, panicked, aborted];
    assert_eq!((report.accepted, each), (6, [1; 6]), "{report}");
}

pub(crate) fn f25_a_panic_ends_its_connection_only(runtime: impl Runtime) {
    let server = start(builder(runtime).bind().unwrap(), obey);
    let mut calm = server.connect();
    calm.send(b"i");
    calm.expect(b"!");
    let mut panicking = server.connect();
    panicking.send(b"p");
    assert_eq!(panicking.rest(), b"");
    calm.exchange(b"still here");
    assert_eq!(server.shutdown.phase(), Phase::Running);
    drop((calm, panicking));
    let report = server.stop();
    assert_eq!(
        (report.outcome, report.closed.panicked),
        (Outcome::Clean, 1)
    );
}

pub(crate) fn f28_a_connection_that_does_not_end_is_aborted_and_named(runtime: impl Runtime) {
    // Long enough for the abort on a machine that is busy with other tests.
    let (before_abort, timeout) = (Duration::from_millis(300), Duration::from_secs(3));
    let grace = before_abort + timeout;
    let server = builder(runtime).grace_period(grace).abort_timeout(timeout);
    let server = start(
        server.bind().unwrap(),
        |mut session: Session<_>| async move {
            session.read_exact(&mut [0]).await?;
            loop {
                session.write_all(&[b'x'; 4096]).await?;
            }
        },
    );
    let mut stubborn = server.connect();
    stubborn.send(b"?");
    stubborn.expect(b"x");
    let address = stubborn.address();
    let report = server.stop();
    assert_eq!(report.outcome, Outcome::Aborted);
    assert_eq!(report.exit_status(), 3);
    // The budget is the whole of it, the abort timeout included.
    assert!(report.duration >= before_abort && report.duration < grace + LONG / 2);
    assert_eq!(report.aborted[0].peer, address);
    assert_eq!(report.aborted[0].activity, Activity::Busy);
    assert!(report.aborted[0].read > 0);
    assert!(
        report.to_string().contains(&address.to_string()),
        "{report}"
    );
}

/// Those at an idle point are told from the one that is busy, although the abort ends them all.
pub(crate) fn f28_the_report_says_what_each_did_at_the_abort(runtime: impl Runtime) {
    let server = builder(runtime).grace_period(2 * LONG).lame_duck(LONG);
    let server = start(
        server.bind().unwrap(),
        |mut session: Session<_>| async move {
            let mut kind = [0];
            session.read_exact(&mut kind).await?;
            session.write_all(b"!").await?;
            let mut handle = session.handle()?;
            match &kind {
                b"r" => session.read_or_drain(&mut kind).await.map(drop),
                b"w" => {
                    session.wait_or_drain(|_| Poll::<()>::Pending).await;
                    Ok(())
                }
                b"h" => {
                    let read = session.read(&mut kind);
                    handle.next_or_drain(read, || true).await;
                    Ok(())
                }
                _ => std::future::pending().await,
            }
        },
    );
    let mut clients = [b"r", b"w", b"h", b"b"].map(|kind| {
        let mut client = server.connect();
        client.send(kind);
        client.expect(b"!");
        client
    });
    // They come to their waits.
    thread::sleep(Duration::from_millis(100));
    server.shutdown.abort("in a hurry");
    for client in &mut clients {
        client.rest();
    }
    let report = server.report();
    let activities: Vec<_> = report.aborted.iter().map(|s| s.activity).collect();
    let [idle, busy] = [Activity::Idle, Activity::Busy];
    assert_eq!(activities, [idle, idle, idle, busy], "{report}");
}

/// Also where it waits for something else than its peer.
pub(crate) fn f104_the_report_says_that_the_stop_has_ended_a_wait(runtime: impl Runtime) {
    let server = builder(runtime);
    let server = start(
        server.bind().unwrap(),
        |mut session: Session<_>| async move {
            let mut kind = [0];
            session.read_exact(&mut kind).await?;
            session.write_all(b"!").await?;
            match &kind {
                b"w" => session.wait_or_drain(|_| Poll::<()>::Pending).await,
                b"r" => session.run_until_drained(std::future::pending()).await,
                // It is its own end.
                _ => None,
            };
            Ok(())
        },
    );
    let mut clients = [b"w", b"r", b"f"].map(|kind| {
        let mut client = server.connect();
        client.send(kind);
        client.expect(b"!");
        client
    });
    // That of the last one is before the stop.
    assert_eq!(clients[2].rest(), b"");
    server.shutdown.stop("they wait");
    for client in &mut clients {
        assert_eq!(client.rest(), b"");
    }
    let closed = server.report().closed;
    assert_eq!((closed.drained, closed.finished), (2, 1));
}

pub(crate) fn f32_a_connection_that_ignores_the_abort_is_abandoned(runtime: impl Runtime) {
    let (release, held) = mpsc::channel::<()>();
    let held = Mutex::new(held);
    let (begun, has_begun) = mpsc::channel();
    let (grace, timeout) = (Duration::from_millis(200), Duration::from_millis(100));
    let server = builder(runtime).grace_period(grace).abort_timeout(timeout);
    let server = start(server.bind().unwrap(), move |_session| {
        begun.send(()).unwrap();
        // Holds its thread: no runtime can take it away.
        let _ = held.lock().unwrap().recv_timeout(LONG);
        async { Ok(()) }
    });
    let client = server.connect();
    has_begun.recv_timeout(LONG).unwrap();
    let shutdown = server.shutdown.clone();
    let report = server.stop();
    release.send(()).unwrap();
    assert_eq!(report.outcome, Outcome::Abandoned);
    assert_eq!(report.exit_status(), 3);
    assert_eq!(report.abandoned[0].peer, client.address());
    assert_eq!(shutdown.phase(), Phase::Stopped);
}

pub(crate) fn f38_a_second_stop_changes_nothing(runtime: impl Runtime) {
    let server = start(builder(runtime).bind().unwrap(), echo);
    let mut client = server.connect();
    client.exchange(b"here");
    assert!(server.shutdown.stop("the first"));
    for _ in 0..10 {
        assert!(!server.shutdown.stop("another"));
    }
    assert_eq!(client.rest(), b"");
    drop(client);
    let report = server.report();
    assert_eq!(report.outcome, Outcome::Clean);
    assert_eq!(report.cause, Cause::from("the first"));
}

pub(crate) fn f38_an_abort_does_not_wait(runtime: impl Runtime) {
    let server = start(
        builder(runtime).grace_period(LONG * 5).bind().unwrap(),
        echo,
    );
    let mut stubborn = server.connect();
    stubborn.stay();
    server.shutdown.stop("slowly");
    eventually("draining", || server.shutdown.is_draining());
    server.shutdown.abort("quickly");
    let report = server.report();
    assert_eq!(
        (report.outcome, report.closed.aborted),
        (Outcome::Aborted, 1)
    );
    assert!(report.duration < LONG);
}

pub(crate) fn a_panic_can_stop_the_server(runtime: impl Runtime) {
    let server = start(builder(runtime).stop_on_panic(true).bind().unwrap(), obey);
    let mut client = server.connect();
    client.send(b"p");
    assert_eq!(client.rest(), b"");
    drop(client);
    assert_eq!(server.report().cause, Cause::Panic);
}

pub(crate) fn a_failed_hook_is_an_error(runtime: impl Runtime) {
    let (ran, has_run) = mpsc::channel();
    let server = builder(runtime)
        .after_drain("flush", |_| async {
            Err(io::Error::other("the disk is full"))
        })
        .after_drain("burst", |_| async { panic_as_asked() })
        .after_drain("last", |_| async move {
            ran.send(()).unwrap();
            io::Result::Ok(())
        });
    let report = start(server.bind().unwrap(), echo).stop();
    assert_eq!((report.outcome, report.exit_status()), (Outcome::Failed, 1));
    let errors: Vec<_> = report.errors.iter().map(ToString::to_string).collect();
    assert_eq!(errors, ["hook flush failed", "hook burst panicked"]);
    let outcomes: Vec<_> = report.hooks.iter().map(|hook| hook.outcome).collect();
    use HookOutcome::{Done, Failed, Panicked};
    assert_eq!(outcomes, [Failed, Panicked, Done], "{report}");
    assert!(
        report
            .to_string()
            .contains("hook flush failed: the disk is full")
    );
    has_run
        .try_recv()
        .expect("F40: the others run all the same");
}

pub(crate) fn f25_connections_of_a_dropped_server_end_by_themselves(runtime: impl Runtime) {
    let server = builder(runtime).bind().unwrap();
    let shutdown = server.shutdown();
    let address = first_address(&server);
    let mut serve = server.serve(echo);
    let mut client = crate::support::Client::connect(address);
    client.send(b"hello");
    eventually("accepted", || {
        let _ = futures::executor::block_on(futures::future::poll_immediate(&mut serve));
        shutdown.guard_count() == 1
    });
    client.expect(b"hello");
    drop(serve);
    assert_eq!(client.rest(), b"");
    drop(client);
    eventually("stopped", || shutdown.phase() == Phase::Stopped);
}

/// Little to wait for the abort, and enough to see what it does on a busy machine.
fn short<R: Runtime>(runtime: R) -> Builder<R> {
    let (grace, timeout) = (Duration::from_secs(3), Duration::from_secs(2));
    builder(runtime).grace_period(grace).abort_timeout(timeout)
}

pub(crate) fn f69_an_abort_reaches_a_session_in_another_task(runtime: impl Runtime) {
    let spawner = runtime.clone();
    let server = start(short(runtime).bind().unwrap(), move |mut session| {
        let spawner = spawner.clone();
        async move {
            let (ended, has_ended) = oneshot::channel();
            spawner.spawn(async move {
                // Not at an idle point: only the abort can end it.
                let mut buffer = [0; 64];
                while let Ok(n @ 1..) = session.read(&mut buffer).await {
                    session.write_all(&buffer[..n]).await.unwrap();
                }
                let _ = ended.send(());
            });
            let _ = has_ended.await;
            Ok(())
        }
    });
    let mut client = server.connect();
    client.exchange(b"before the stop");
    let report = server.stop();
    assert_eq!(client.rest(), b"");
    assert_eq!(report.outcome, Outcome::Aborted, "{report}");
    assert_eq!(report.aborted[0].peer, client.address());
    assert_eq!(
        (report.abandoned.len(), report.untracked_guards),
        (0, 0),
        "{report}"
    );
}

pub(crate) fn f69_an_abort_reaches_both_halves_of_a_session(runtime: impl Runtime) {
    let spawner = runtime.clone();
    let server = start(
        short(runtime).bind().unwrap(),
        move |session: Session<_>| {
            let (mut input, mut output) = session.split();
            spawner.spawn(async move {
                // Until the peer, who reads nothing, takes no more.
                while output.write_all(&[b'x'; 65536]).await.is_ok() {}
            });
            async move { input.read(&mut [0; 64]).await.map(drop) }
        },
    );
    let client = server.connect();
    let report = server.stop();
    drop(client);
    assert_eq!(report.outcome, Outcome::Aborted, "{report}");
    assert_eq!(
        (report.closed.aborted, report.untracked_guards),
        (1, 0),
        "{report}"
    );
}

pub(crate) fn f69_a_session_that_nobody_uses_is_abandoned_and_counted_once(
    runtime: impl Runtime,
) {
    let kept = Arc::new(Mutex::new(Vec::new()));
    let keep = kept.clone();
    let server = start(short(runtime).bind().unwrap(), move |session| {
        keep.lock().unwrap().push(session);
        async { Ok(()) }
    });
    let client = server.connect();
    eventually("kept", || !kept.lock().unwrap().is_empty());
    let report = server.stop();
    assert_eq!(report.outcome, Outcome::Abandoned, "{report}");
    assert_eq!(report.abandoned[0].peer, client.address());
    assert_eq!(
        (report.closed.total(), report.untracked_guards),
        (0, 0),
        "{report}"
    );
}

pub(crate) fn f54_every_hook_starts_also_after_an_abort(runtime: impl Runtime) {
    let (ran, has_run) = mpsc::channel();
    let mut server = short(runtime);
    for name in ["first", "second"] {
        let ran = ran.clone();
        server = server.after_drain(name, move |context| async move {
            ran.send((name, context.limit)).unwrap();
            io::Result::Ok(())
        });
    }
    let server = start(server.bind().unwrap(), echo);
    let mut stubborn = server.connect();
    stubborn.stay();
    let report = server.stop();
    assert_eq!(report.outcome, Outcome::Aborted, "{report}");
    let hooks: Vec<_> = has_run.try_iter().collect();
    assert!(
        hooks.iter().all(|(_, limit)| *limit > Duration::ZERO),
        "{hooks:?}"
    );
    let names: Vec<_> = hooks.into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["first", "second"], "{report}");
}

/// It is cancelled in the step in which it is started, and runs until it waits.
pub(crate) fn l7_a_hook_without_any_time_starts(runtime: impl Runtime) {
    let (ran, has_run) = mpsc::channel();
    let mut server = short(runtime).hook_reserve(Duration::ZERO);
    for name in ["first", "second"] {
        let ran = ran.clone();
        server = server.after_drain(name, move |_| async move {
            ran.send(name).unwrap();
            std::future::pending::<io::Result<()>>().await
        });
    }
    drop(ran);
    let server = start(
        server.bind().unwrap(),
        |mut session: Session<_>| async move {
            session.read_exact(&mut [0; 4]).await?;
            std::future::pending::<io::Result<()>>().await
        },
    );
    let mut busy = server.connect();
    busy.send(b"work");
    let report = server.stop();
    assert_eq!(report.outcome, Outcome::Aborted, "{report}");
    // Until each task is dropped, and its sender with it.
    let mut names: Vec<_> = has_run.iter().collect();
    names.sort_unstable();
    assert_eq!(names, ["first", "second"]);
}

pub(crate) fn f54_a_hook_that_hangs_leaves_the_others_their_time(runtime: impl Runtime) {
    const OTHERS: usize = 5;
    // Each hook has a share of the reserve: 2.5 s, which is long on a busy machine, too.
    let mut server = builder(runtime)
        .grace_period(Duration::from_secs(16))
        .hook_reserve(Duration::from_secs(15))
        .after_drain("hangs", |_| std::future::pending::<io::Result<()>>());
    let (ran, has_run) = mpsc::channel();
    for _ in 0..OTHERS {
        let ran = ran.clone();
        server = server.after_drain("database", move |_| async move {
            ran.send(()).unwrap();
            io::Result::Ok(())
        });
    }
    let report = start(server.bind().unwrap(), echo).stop();
    assert_eq!(has_run.try_iter().count(), OTHERS, "the others start");
    let outcomes: Vec<_> = report.hooks.iter().map(|hook| hook.outcome).collect();
    assert_eq!(outcomes[0], HookOutcome::TimedOut, "{report}");
    assert_eq!(outcomes[1..], [HookOutcome::Done; OTHERS], "{report}");
    assert_eq!(report.outcome, Outcome::Failed, "{report}");
    assert!(
        report.to_string().contains("hook hangs did not end within"),
        "{report}"
    );
}

pub(crate) fn f71_a_swept_connection_can_take_a_guard(runtime: impl Runtime) {
    let bound = builder(runtime).bind().unwrap();
    let shutdown = bound.shutdown();
    let address = first_address(&bound);
    let mut client = crate::support::Client::connect(address);
    shutdown.stop("before the first accept");
    let server = start(bound, |mut session: Session<_>| async move {
        let guard = session.try_guard()?;
        assert!(
            session.shutdown().try_guard().is_err(),
            "the gate is closed"
        );
        session.write_all(b"guarded").await?;
        drop(guard);
        Ok(())
    });
    assert_eq!(client.rest(), b"guarded");
    drop(client);
    assert_eq!(server.report().outcome, Outcome::Clean);
}
