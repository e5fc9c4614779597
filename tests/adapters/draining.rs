//! What arrived is answered; what is idle ends; what is busy goes on.

use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use futures::channel::mpsc::unbounded;
use futures::channel::oneshot;
use futures::io::{AsyncReadExt, AsyncWriteExt};
use futures::{FutureExt, StreamExt};
use lameduck::report::{Outcome, ServerError};
use lameduck::rt::CloseGuarantee;
use lameduck::{Cause, Connection, Readiness, Runtime, Session};

use crate::support::{
    Client, LONG, Running, builder, echo, eventually, first_address, number, start,
};

fn echo_server<R: Runtime>(runtime: R) -> Running {
    start(builder(runtime).bind().unwrap(), echo)
}

pub(crate) fn answers_exactly_what_it_read(runtime: impl Runtime) {
    let server = echo_server(runtime);
    let mut client = server.connect();
    client.exchange(b"hello");
    let report = server.stop();
    assert_eq!(client.rest(), b"");
    assert_eq!(report.outcome, Outcome::Clean);
    assert_eq!(report.cause, Cause::from("the test is over"));
    assert_eq!(report.exit_status(), 0);
}

pub(crate) fn f17_readable_bytes_win_over_the_stop(runtime: impl Runtime) {
    for _ in 0..50 {
        let server = echo_server(runtime.clone());
        let mut clients: Vec<_> = (0..4).map(|_| server.connect()).collect();
        for client in &mut clients {
            client.exchange(b"parked");
        }
        // On loopback a write that returned has arrived.
        for client in &mut clients {
            client.send(b"before the stop");
        }
        server.shutdown.stop("now");
        for client in &mut clients {
            assert_eq!(client.rest(), b"before the stop");
        }
        drop(clients);
        assert_eq!(server.report().closed.drained, 4);
    }
}

pub(crate) fn idle_connections_see_the_end_of_input(runtime: impl Runtime) {
    let server = echo_server(runtime);
    let mut clients: Vec<_> = (0..200).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.exchange(b"once");
    }
    server.shutdown.stop("now");
    for client in &mut clients {
        assert_eq!(client.rest(), b"");
    }
    drop(clients);
    let report = server.report();
    assert_eq!((report.accepted, report.closed.drained), (200, 200));
}

pub(crate) fn l2_an_empty_server_stops_at_once(runtime: impl Runtime) {
    let report = echo_server(runtime).stop();
    assert_eq!(report.outcome, Outcome::Clean);
    // Far below every deadline: no timer had a part in it.
    assert!(report.duration < LONG / 2, "{report}");
}

pub(crate) fn f1_what_waits_in_the_accept_queue_is_served(runtime: impl Runtime) {
    let bound = builder(runtime).bind().unwrap();
    let shutdown = bound.shutdown();
    let address = first_address(&bound);
    let mut clients: Vec<_> = (0..100).map(|_| Client::connect(address)).collect();
    for client in &mut clients {
        client.send(b"queued");
    }
    // Nothing is accepted when the stop comes: all of them wait in the queue.
    shutdown.stop("before the first accept");
    let server = start(bound, echo);
    for client in &mut clients {
        assert_eq!(client.rest(), b"queued");
    }
    drop(clients);
    let report = server.report();
    assert_eq!(report.accepted, 100);
    assert_eq!(report.listeners[0].swept, 100);
}

pub(crate) fn f13_a_lame_duck_accepts_and_serves(runtime: impl Runtime) {
    let (told, ready) = mpsc::channel();
    let lame_duck = Duration::from_millis(400);
    let server = builder(runtime)
        .lame_duck(lame_duck)
        .on_readiness_change(move |ready| _ = told.send(ready));
    let server = start(server.bind().unwrap(), echo);
    assert_eq!(ready.recv(), Ok(Readiness::Ready));
    let mut served = server.connect();
    served.exchange(b"before");

    server.shutdown.stop("the balancer will learn");
    assert_eq!(ready.recv(), Ok(Readiness::NotReady));
    assert!(!server.shutdown.is_ready());
    let mut late = server.connect();
    late.exchange(b"the balancer did not know");
    served.exchange(b"nobody has told me");
    assert!(!server.shutdown.is_draining());
    assert_eq!((late.rest(), served.rest()), (vec![], vec![]));
    drop((late, served));
    let report = server.report();
    assert_eq!(report.accepted, 2);
    assert!(report.duration >= lame_duck);
}

pub(crate) fn f17_idle_connections_are_read_while_they_settle(runtime: impl Runtime) {
    let settle = Duration::from_secs(2);
    let server = builder(runtime).settle(settle).bind().unwrap();
    let server = start(server, echo);
    let (mut idle, mut away) = (server.connect(), server.connect());
    idle.exchange(b"served");
    away.exchange(b"served");
    server.shutdown.stop("now");
    // Told, and read all the same.
    eventually("draining", || server.shutdown.is_draining());
    away.exchange(b"this was on its way");
    assert_eq!((idle.rest(), away.rest()), (vec![], vec![]));
    drop((idle, away));
    let report = server.report();
    assert_eq!(report.closed.drained, 2);
    assert!(report.duration >= settle);
}

pub(crate) fn s20_a_sweep_that_is_cut_by_its_limit_is_unswept(runtime: impl Runtime) {
    let bound = builder(runtime).sweep_limit(10).bind().unwrap();
    let shutdown = bound.shutdown();
    let address = first_address(&bound);
    let clients: Vec<_> = (0..30).map(|_| Client::connect(address)).collect();
    shutdown.stop("before the first accept");
    let server = start(bound, echo);
    for mut client in clients.into_iter().take(10) {
        assert_eq!(client.rest(), b"");
    }
    let report = server.report();
    assert_eq!((report.accepted, report.listeners[0].swept), (10, 10));
    assert_eq!(report.listeners[0].guarantee, CloseGuarantee::Unswept);
    // F46: those who were left there are no part of a clean stop.
    assert_eq!((report.outcome, report.exit_status()), (Outcome::Failed, 1));
    assert!(
        matches!(&report.errors[..], [ServerError::Unswept { .. }]),
        "{report}"
    );
}

pub(crate) fn f1_a_sweep_of_a_full_queue_keeps_its_guarantee(runtime: impl Runtime) {
    // A queue holds one more than its backlog.
    let bound = builder(runtime).backlog(9).bind().unwrap();
    let shutdown = bound.shutdown();
    let address = first_address(&bound);
    let mut clients: Vec<_> = (0..10).map(|_| Client::connect(address)).collect();
    shutdown.stop("before the first accept");
    let server = start(bound, echo);
    for client in &mut clients {
        assert_eq!(client.rest(), b"");
    }
    let report = server.report();
    assert_eq!(report.listeners[0].swept, 10);
    assert_ne!(
        report.listeners[0].guarantee,
        CloseGuarantee::Unswept,
        "{report}"
    );
}

pub(crate) fn f20_a_connection_that_never_sent_a_byte_is_idle(runtime: impl Runtime) {
    let server = echo_server(runtime);
    let mut silent = server.connect();
    eventually("accepted", || server.shutdown.guard_count() == 1);
    server.shutdown.stop("now");
    assert_eq!(silent.rest(), b"");
    drop(silent);
    let report = server.report();
    assert_eq!(report.closed.drained, 1);
    assert!(report.duration < LONG / 2, "{report}");
}

pub(crate) fn f21_a_session_in_another_task_is_waited_for(runtime: impl Runtime) {
    let spawner = runtime.clone();
    let (go, gone) = oneshot::channel::<()>();
    let gone = Arc::new(Mutex::new(Some(gone)));
    let server = start(builder(runtime).bind().unwrap(), move |mut session| {
        let (gone, spawner) = (gone.lock().unwrap().take(), spawner.clone());
        async move {
            session.write_all(b"upgraded").await?;
            spawner.spawn(async move {
                let _ = gone.expect("one connection").await;
                let _ = session.write_all(b"last").await;
            });
            Ok(())
        }
    });
    let mut client = server.connect();
    client.expect(b"upgraded");
    server.shutdown.stop("now");
    eventually("draining", || server.shutdown.is_draining());
    assert_eq!(server.shutdown.guard_count(), 1);
    go.send(()).unwrap();
    assert_eq!(client.rest(), b"last");
    drop(client);
    assert_eq!(server.report().outcome, Outcome::Clean);
}

pub(crate) fn f39_a_handler_can_ask_for_the_stop(runtime: impl Runtime) {
    let server = start(
        builder(runtime).bind().unwrap(),
        |mut session: Session<_>| async move {
            session.shutdown().stop("a client asked");
            session.draining().await;
            session.write_all(b"bye").await
        },
    );
    let mut client = server.connect();
    assert_eq!(client.rest(), b"bye");
    drop(client);
    assert_eq!(server.report().cause, Cause::from("a client asked"));
}

pub(crate) fn f41_hooks_run_after_connections_in_order(runtime: impl Runtime) {
    let log = Arc::new(Mutex::new(Vec::new()));
    let note = |what: &'static str| {
        let log = log.clone();
        move || log.lock().unwrap().push(what)
    };
    let (first, second, ended) = (note("first"), note("second"), note("connection"));
    let ended = Arc::new(ended);
    let server = builder(runtime)
        .after_drain("first", |_| async move {
            first();
            io::Result::Ok(())
        })
        .after_drain("second", |_| async move {
            second();
            io::Result::Ok(())
        });
    let server = start(server.bind().unwrap(), move |session| {
        let ended = ended.clone();
        async move {
            echo(session).await?;
            ended();
            Ok(())
        }
    });
    let mut client = server.connect();
    client.exchange(b"here");
    drop(client);
    let mut client = server.connect();
    client.exchange(b"here too");
    assert_eq!(server.stop().outcome, Outcome::Clean);
    let log = log.lock().unwrap();
    assert_eq!(*log, ["connection", "connection", "first", "second"]);
}

pub(crate) fn f93_a_hook_awaits_a_worker_that_the_handler_feeds(runtime: impl Runtime) {
    let (jobs, queue) = unbounded();
    let (ends, ended) = oneshot::channel();
    runtime.spawn(async move {
        let _ = ends.send(queue.collect::<Vec<u8>>().await);
    });
    let (done, all) = mpsc::channel();
    let server = builder(runtime).after_drain("the jobs", move |_| async move {
        done.send(ended.await.map_err(io::Error::other)?)
            .map_err(io::Error::other)
    });
    let server = start(server.bind().unwrap(), move |mut session| {
        let jobs = jobs.clone();
        async move {
            let mut job = [0];
            while session.read_or_drain(&mut job).await?.is_some() {
                jobs.unbounded_send(job[0]).map_err(io::Error::other)?;
                session.write_all(b"k").await?;
            }
            Ok(())
        }
    });
    let mut client = server.connect();
    for job in [b"1", b"2", b"3"] {
        client.send(job);
        client.expect(b"k");
    }
    let report = server.stop();
    assert_eq!(report.outcome, Outcome::Clean, "{report}");
    assert_eq!(all.try_recv().unwrap(), b"123");
}

/// The abort gives up a session that another task keeps, and with it the handler.
pub(crate) fn f93_a_hook_awaits_the_worker_beside_a_session_that_is_kept(
    runtime: impl Runtime,
) {
    let (jobs, queue) = unbounded();
    let (ends, ended) = oneshot::channel();
    runtime.spawn(async move {
        let _ = ends.send(queue.collect::<Vec<u8>>().await);
    });
    let (done, all) = mpsc::channel();
    let server = builder(runtime.clone()).grace_period(LONG / 4);
    let server = server.after_drain("the jobs", move |_| async move {
        done.send(ended.await.map_err(io::Error::other)?)
            .map_err(io::Error::other)
    });
    let (release, kept) = oneshot::channel::<()>();
    let kept = kept.shared();
    let server = start(server.bind().unwrap(), move |mut session: Session<_>| {
        let (jobs, kept, runtime) = (jobs.clone(), kept.clone(), runtime.clone());
        async move {
            jobs.unbounded_send(b'1').map_err(io::Error::other)?;
            session.write_all(b"k").await?;
            runtime.spawn(async move {
                let _ = kept.await;
                drop(session);
            });
            io::Result::Ok(())
        }
    });
    let mut client = server.connect();
    client.expect(b"k");
    server.shutdown.abort("at once");
    let report = server.report();
    drop(release);
    assert_eq!(report.outcome, Outcome::Abandoned, "{report}");
    assert!(report.errors.is_empty(), "{report}");
    assert_eq!(all.try_recv().unwrap(), b"1");
}

pub(crate) fn s11_a_busy_connection_is_not_interrupted(runtime: impl Runtime) {
    let server = start(
        builder(runtime).bind().unwrap(),
        |mut session: Session<_>| async move {
            let mut length = [0];
            while session.read_or_drain(&mut length).await?.is_some() {
                let mut message = vec![0; usize::from(length[0])];
                session.read_exact(&mut message).await?;
                session.write_all(&message).await?;
            }
            io::Result::Ok(())
        },
    );
    let mut client = server.connect();
    client.send(b"\x06hal");
    eventually("accepted", || server.shutdown.guard_count() == 1);
    server.shutdown.stop("in the middle of a message");
    eventually("draining", || server.shutdown.is_draining());
    client.send(b"ves");
    assert_eq!(client.rest(), b"halves");
    drop(client);
    assert_eq!(server.report().closed.drained, 1);
}

/// Half of the clients are served when a handler computes, and half are new; all
/// send meanwhile, and then that handler stops the server. Another task holds
/// another thread. `LAMEDUCK_CONNECTIONS` says how many clients.
pub(crate) fn f17_what_arrived_while_a_handler_computes_is_answered(runtime: impl Runtime) {
    let clients = number("LAMEDUCK_CONNECTIONS", 200);
    let (begun, has_begun) = mpsc::channel();
    let (go_on, told) = mpsc::channel::<()>();
    let computing = Arc::new(Mutex::new(Some((begun, told))));
    let handler = move |mut session: Session<_>| {
        let computing = computing.clone();
        async move {
            let mut buffer = [0; 64];
            while let Some(n) = session.read_or_drain(&mut buffer).await? {
                if &buffer[..n] == b"compute" {
                    let (begun, told) = computing.lock().unwrap().take().unwrap();
                    begun.send(()).unwrap();
                    let _ = told.recv();
                    session.shutdown().stop("a handler asks");
                    return Ok(());
                }
                session.write_all(&buffer[..n]).await?;
            }
            io::Result::Ok(())
        }
    };
    let server = start(builder(runtime.clone()).bind().unwrap(), handler);
    let mut computes = server.connect();
    let mut served: Vec<_> = (0..clients / 2).map(|_| server.connect()).collect();
    for client in &mut served {
        client.exchange(b"here");
    }
    computes.send(b"compute");
    has_begun.recv().unwrap();
    let (release, released) = mpsc::channel::<()>();
    runtime.spawn(async move { _ = released.recv() });
    let mut all = served;
    all.extend((0..clients / 2).map(|_| server.connect()));
    for client in &mut all {
        client.send(b"before the stop");
    }
    go_on.send(()).unwrap();
    eventually("draining", || server.shutdown.is_draining());
    drop(release);
    for client in &mut all {
        assert_eq!(client.rest(), b"before the stop");
    }
    drop((all, computes));
    assert_eq!(server.report().outcome, Outcome::Clean);
}

/// Answers each piece with itself, and takes its time.
async fn slow_echo(
    mut session: Session<impl Connection>,
    by_handle: bool,
    time: Duration,
) -> io::Result<()> {
    let mut handle = session.handle()?;
    let mut buffer = [0; 2 * LINE.len()];
    loop {
        let n = if by_handle {
            let read = handle.next_or_drain(session.read(&mut buffer), || true);
            read.await.transpose()?
        } else {
            session.read_or_drain(&mut buffer).await?
        };
        match n {
            None | Some(0) => return Ok(()),
            Some(n) => {
                smol::Timer::after(time).await;
                session.write_all(&buffer[..n]).await?;
            }
        }
    }
}

const LINE: &[u8] = b"1234567\n";
/// So many are under way at any time.
const WINDOW: usize = 100;

/// All that had arrived is answered, and the end is an orderly one.
pub(crate) fn f97_a_client_that_never_pauses_is_ended_between_two_messages(
    runtime: impl Runtime,
) {
    for by_handle in [false, true] {
        let server = builder(runtime.clone()).grace_period(Duration::from_secs(3));
        let server = start(server.bind().unwrap(), move |session| {
            slow_echo(session, by_handle, Duration::from_millis(1))
        });
        let mut client = server.connect();
        client.send(&LINE.repeat(WINDOW));
        let (mut sent, mut answered, mut owed) = (WINDOW * LINE.len(), 0, None);
        let mut buffer = [0; 1024];
        loop {
            let n = client.0.read(&mut buffer).expect("no reset");
            if n == 0 {
                break;
            }
            answered += n;
            if answered > 10 * LINE.len() && owed.is_none() {
                owed = Some(sent);
                server.shutdown.stop("now");
            }
            // The server may have ended its side.
            if client.0.write_all(&buffer[..n]).is_ok() {
                sent += n;
            }
        }
        assert!(
            owed.is_some_and(|owed| answered >= owed),
            "{answered} of {owed:?}"
        );
        drop(client);
        let report = server.report();
        assert_eq!(
            (report.outcome, report.closed.drained),
            (Outcome::Clean, 1),
            "{report}"
        );
        assert!(report.duration < Duration::from_millis(2500), "{report}");
    }
}

/// It takes more than half of the time to answer it all.
pub(crate) fn f97_what_had_arrived_is_answered_when_half_of_the_time_is_over(
    runtime: impl Runtime,
) {
    let run = |by_handle| {
        let server = builder(runtime.clone()).grace_period(Duration::from_secs(6));
        let server = start(server.bind().unwrap(), move |session| {
            slow_echo(session, by_handle, Duration::from_millis(70))
        });
        let mut client = server.connect();
        client.send(&LINE.repeat(WINDOW));
        client.expect(LINE);
        server.shutdown.stop("now");
        assert_eq!(client.rest().len(), LINE.len() * (WINDOW - 1));
        drop(client);
        assert_eq!(server.report().outcome, Outcome::Clean);
    };
    thread::scope(|scope| {
        scope.spawn(|| run(false));
        run(true);
    });
}
