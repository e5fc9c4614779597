//! Faults that are kept out by construction: each would show here.

use std::future::pending;
use std::io::{self, ErrorKind, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::pin::pin;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, mpsc};
use std::time::Duration;

use futures::channel::mpsc::unbounded;
use futures::future::{Either, select};
use futures::io::{AsyncReadExt, AsyncWriteExt};
use futures::stream::StreamExt;
use lameduck::handover::Restart;
use lameduck::report::Outcome;
use lameduck::rt::CloseGuarantee;
use lameduck::{Cause, Phase, Readiness, Runtime, Session, Signal};
use rustix::process::{Signal as Number, getpid, kill_process};
use socket2::{Domain, Socket, Type};

use crate::completing::Completing;
use crate::support::{Client, builder, echo, eventually, start};

pub(crate) fn f3_a_port_is_not_shared_by_two_sockets(runtime: impl Runtime) {
    let server = start(builder(runtime).bind().unwrap(), echo);
    let other = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    other.set_reuse_port(true).unwrap();
    let refused = other.bind(&server.address().into()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::AddrInUse);
    let _ = server.stop();
}

pub(crate) fn f4_other_holders_of_a_socket_are_left_alone(runtime: impl Runtime) {
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let adopted = lameduck::Server::builder(runtime).signals([]);
    let adopted = adopted.listen_on(held.try_clone().unwrap());
    let server = start(adopted.bind().unwrap(), echo);
    let mut client = server.connect();
    client.exchange(b"served by us");
    let address = server.address();
    drop(client);
    let report = server.stop();
    assert_eq!(report.listeners[0].guarantee, CloseGuarantee::Swept);
    // Neither shut down nor filtered.
    let mut client = TcpStream::connect(address).unwrap();
    client.write_all(b"served by them").unwrap();
    held.set_nonblocking(false).unwrap();
    held.accept().unwrap();
}

pub(crate) fn f5_a_waiting_accept_ends_and_takes_no_more(runtime: impl Runtime) {
    let server = start(builder(runtime).bind().unwrap(), echo);
    let address = server.address();
    // It waits for a connection when the stop comes.
    server.connect().exchange(b"the first, and the last");
    let report = server.stop();
    assert_eq!((report.outcome, report.accepted), (Outcome::Clean, 1));
    let refused = TcpStream::connect(address).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
}

pub(crate) fn f6_a_child_keeps_neither_port_nor_connection(runtime: impl Runtime) {
    let server = start(builder(runtime).bind().unwrap(), echo);
    let address = server.address();
    let mut client = server.connect();
    client.exchange(b"hello");
    // It has all that was not closed on exec, and ends with its input.
    let mut cat = Command::new("cat");
    let mut child = cat.stdin(Stdio::piped()).spawn().unwrap();
    server.shutdown.stop("now");
    assert_eq!(client.rest(), b"");
    drop(client);
    let _ = server.report();
    let refused = TcpStream::connect(address).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    assert_eq!(
        child.try_wait().unwrap(),
        None,
        "the child was to outlive it"
    );
    drop(child.stdin.take());
    child.wait().unwrap();
}

pub(crate) fn f14_not_ready_is_not_dead(runtime: impl Runtime) {
    let lame_duck = Duration::from_millis(300);
    let server = start(builder(runtime).lame_duck(lame_duck).bind().unwrap(), echo);
    let mut client = server.connect();
    client.exchange(b"ready");
    server.shutdown.stop("now");
    eventually("not ready", || !server.shutdown.is_ready());
    // Whoever asks for life, and not for readiness, has an answer.
    assert!(server.shutdown.phase() < Phase::Stopped);
    client.exchange(b"alive");
    assert_eq!(client.rest(), b"");
    drop(client);
    let _ = server.report();
}

/// The library has no such window: a handler that wants one goes on serving for a
/// time of its own.
pub(crate) fn f15_a_handler_can_spread_the_closes(runtime: impl Runtime) {
    const WINDOW: Duration = Duration::from_secs(2);
    const CLIENTS: u32 = 10;
    let (clock, count) = (runtime.clone(), AtomicU32::new(0));
    let handler = move |mut session: Session<_>| {
        let runtime = clock.clone();
        let share = WINDOW * count.fetch_add(1, Ordering::Relaxed) / (CLIENTS - 1);
        async move {
            let mut buffer = [0; 64];
            while let Some(n) = session.read_or_drain(&mut buffer).await? {
                session.write_all(&buffer[..n]).await?;
            }
            let mut over = pin!(runtime.sleep_until(runtime.now() + share));
            while let Either::Left((read, _)) =
                select(session.read(&mut buffer), over.as_mut()).await
            {
                match read? {
                    0 => break,
                    n => session.write_all(&buffer[..n]).await?,
                }
            }
            Ok(())
        }
    };
    let server = start(builder(runtime).bind().unwrap(), handler);
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let mut client = server.connect();
        // One after the other: tasks that are ready at once have no order.
        client.exchange(b"in order");
        clients.push(client);
    }
    server.shutdown.stop("now");
    assert_eq!(clients.remove(0).rest(), b"");
    let mut last = clients.pop().unwrap();
    last.exchange(b"not yet");
    drop(clients);
    assert_eq!(last.rest(), b"");
    drop(last);
    let report = server.report();
    assert_eq!(report.outcome, Outcome::Clean);
    assert!(report.duration >= WINDOW, "{report}");
}

pub(crate) fn f26_ids_are_never_reused(runtime: impl Runtime) {
    let grace = Duration::from_millis(300);
    let server = start(builder(runtime).grace_period(grace).bind().unwrap(), echo);
    for _ in 0..20 {
        let mut client = server.connect();
        client.exchange(b"come and go");
        // The address of a socket is used again, and its descriptor as well.
        drop(client);
        eventually("gone", || server.shutdown.guard_count() == 0);
    }
    let mut stuck: Vec<_> = (0..3).map(|_| server.connect()).collect();
    stuck.iter_mut().for_each(Client::stay);
    let report = server.stop();
    let ids: Vec<_> = report
        .aborted
        .iter()
        .map(|straggler| straggler.id)
        .collect();
    assert_eq!(ids, [21, 22, 23]);
}

pub(crate) fn f27_a_request_that_was_read_is_waited_for(runtime: impl Runtime) {
    let (dispatch, mut dispatched) = unbounded::<()>();
    let (told, was_read) = mpsc::channel();
    let go = Mutex::new(Some(async move { dispatched.next().await }));
    let server = start(builder(runtime).bind().unwrap(), move |mut session| {
        let (go, told) = (go.lock().unwrap().take(), told.clone());
        async move {
            session.read_or_drain(&mut [0; 7]).await?;
            told.send(()).unwrap();
            // Read, and nobody works on it yet.
            go.expect("one connection").await;
            session.write_all(b"answer").await
        }
    });
    let mut client = server.connect();
    client.send(b"request");
    was_read.recv().unwrap();
    server.shutdown.stop("now");
    eventually("draining", || server.shutdown.is_draining());
    assert_eq!(server.shutdown.guard_count(), 1, "the request counts");
    dispatch.unbounded_send(()).unwrap();
    assert_eq!(client.rest(), b"answer");
    drop(client);
    assert_eq!(server.report().closed.finished, 1);
}

pub(crate) fn f34_the_longest_times_do_not_overflow(runtime: impl Runtime) {
    let forever = Duration::MAX;
    let (idle, total) = (forever, forever);
    let server = builder(runtime)
        .grace_period(forever)
        .abort_timeout(forever)
        .lingering_close(idle, total);
    let server = start(server.bind().unwrap(), |mut session| async move {
        session.read_exact(&mut [0; 5]).await?;
        session.write_all(b"hello").await
    });
    let mut client = server.connect();
    client.send(b"hello");
    assert_eq!(client.rest(), b"hello");
    drop(client);
    assert_eq!(server.stop().outcome, Outcome::Clean);
}

pub(crate) fn f43_a_supervisor_hears_of_the_stop_once(runtime: impl Runtime) {
    let (ours, supervisor) = UnixDatagram::pair().unwrap();
    // sd_notify(3): STOPPING=1 starts the supervisor's clock.
    let server = builder(runtime).on_readiness_change(move |readiness| {
        let state: &[u8] = if readiness == Readiness::Ready {
            b"READY=1"
        } else {
            b"STOPPING=1"
        };
        ours.send(state).unwrap();
    });
    let server = start(server.bind().unwrap(), echo);
    let hear = || {
        let mut state = [0; 32];
        let length = supervisor.recv(&mut state).unwrap();
        String::from_utf8_lossy(&state[..length]).into_owned()
    };
    assert_eq!(hear(), "READY=1");
    server.connect().exchange(b"in between");
    server.shutdown.stop("now");
    server.shutdown.stop("again");
    server.shutdown.abort("at once");
    assert_eq!(hear(), "STOPPING=1");
    let _ = server.report();
    supervisor.set_nonblocking(true).unwrap();
    assert!(supervisor.recv(&mut [0; 32]).is_err(), "said once more");
}

pub(crate) fn f47_a_readiness_callback_that_blocks_does_not_hold_up_the_stop(
    runtime: impl Runtime,
) {
    let (release, released) = mpsc::channel::<()>();
    let (told, readiness) = mpsc::channel();
    let released = Mutex::new(released);
    let server = builder(runtime)
        .grace_period(Duration::from_millis(200))
        .on_readiness_change(move |ready| {
            told.send(ready).unwrap();
            if ready == Readiness::NotReady {
                // A supervisor that does not read what it is told.
                _ = released.lock().unwrap().recv();
            }
        });
    let server = start(server.bind().unwrap(), echo);
    assert_eq!(readiness.recv(), Ok(Readiness::Ready));
    server.shutdown.stop("now");
    assert_eq!(readiness.recv(), Ok(Readiness::NotReady));
    let report = server.report();
    assert_eq!(
        (report.outcome, report.untracked_guards),
        (Outcome::Abandoned, 1),
        "{report}"
    );
    drop(release);
}

/// Held by a test that sends the signal of a restart, which comes to all servers
/// of this process that restart on it.
static RESTARTS: Mutex<()> = Mutex::new(());

/// A restart with a successor that takes the one listener, which is descriptor
/// 3, and stays as long as there is somebody at the other end of its channel.
fn restart() -> Restart {
    let successor = ["/bin/sh", "-c", "echo 'ready +' >&4; cat <&4 >/dev/null"];
    Restart::on(Signal::Hangup).command(successor)
}

pub(crate) fn f51_a_stop_by_the_program_in_a_restart_has_the_usual_budget(
    runtime: impl Runtime,
) {
    let _alone = RESTARTS.lock();
    let server = builder(runtime)
        .restart(restart())
        .grace_period(Duration::from_millis(3300))
        // On a machine that is busy with other tests.
        .abort_timeout(Duration::from_secs(3));
    let server = start(
        server.bind().unwrap(),
        |mut session: Session<_>| async move {
            // Long work, which a restart does not cut off.
            session.read_exact(&mut [0; 4]).await?;
            pending::<io::Result<()>>().await
        },
    );
    let mut client = server.connect();
    client.send(b"work");
    kill_process(getpid(), Number::HUP).unwrap();
    eventually("draining", || server.shutdown.is_draining());
    assert!(!server.shutdown.stop("the host goes down"));
    let report = server.report();
    assert_eq!(
        (report.outcome, report.closed.aborted),
        (Outcome::Aborted, 1)
    );
    assert_eq!(report.cause, Cause::Successor, "{report}");
}

pub(crate) fn f43_a_supervisor_hears_nothing_of_a_stop_with_a_successor(runtime: impl Runtime) {
    let _alone = RESTARTS.lock();
    let (say, said) = mpsc::channel();
    let server = builder(runtime)
        .restart(restart())
        .on_readiness_change(move |ready| say.send(ready).unwrap());
    let server = start(server.bind().unwrap(), echo);
    server.connect().exchange(b"before");
    kill_process(getpid(), Number::HUP).unwrap();
    let report = server.report();
    assert_eq!(report.cause, Cause::Successor, "{report}");
    assert_eq!(said.try_iter().collect::<Vec<_>>(), [Readiness::Ready]);
}

/// It came before the successor, whose queue it is no more in.
pub(crate) fn f48_whom_a_listener_had_taken_is_served_in_a_restart(runtime: impl Runtime) {
    let _alone = RESTARTS.lock();
    // The first client fills the server: the second one waits in the queue.
    let server = builder(Completing::new(runtime, None)).connection_limit(1);
    let server = start(server.restart(restart()).bind().unwrap(), echo);
    let mut first = server.connect();
    first.exchange(b"before");
    let mut taken = server.connect();
    taken.send(b"taken already");
    kill_process(getpid(), Number::HUP).unwrap();
    assert_eq!(taken.rest(), b"taken already");
    drop((first, taken));
    let report = server.report();
    assert_eq!(report.accepted, 2, "{report}");
    assert_eq!(report.listeners[0].guarantee, CloseGuarantee::HandedOver);
}
