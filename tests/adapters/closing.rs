//! The orderly close: a peer sees its last byte, then the end, never a reset.

use std::future::poll_fn;
use std::io::{self, Read};
use std::net::Shutdown;
use std::pin::Pin;
use std::task::Poll;
use std::thread;
use std::time::Duration;

use futures::io::{AsyncReadExt, AsyncWriteExt};
use lameduck::machine::closing::{self, Facts, LingeringClose};
use lameduck::report::{Activity, Outcome};
use lameduck::{Connection, ListenOptions, Listener, Runtime, Session};

use crate::support::{Client, LONG, builder, echo, eventually, number, start, tcp};

const MEGABYTE: usize = 1 << 20;

/// Answers the first byte, and leaves the rest unread.
async fn answer_early(mut session: Session<impl lameduck::Connection>) -> io::Result<()> {
    session.read_exact(&mut [0]).await?;
    session.write_all(b"enough").await
}

pub(crate) fn f16_unread_input_does_not_reset(runtime: impl Runtime) {
    let server = start(builder(runtime).bind().unwrap(), answer_early);
    for _ in 0..10 {
        let mut client = server.connect();
        client.send(&vec![b'x'; MEGABYTE]);
        assert_eq!(client.rest(), b"enough");
    }
    let report = server.stop();
    assert_eq!(report.closed.finished, 10);
}

pub(crate) fn f16_unread_input_does_not_reset_a_draining_server(runtime: impl Runtime) {
    let server = start(builder(runtime).bind().unwrap(), answer_early);
    let mut clients: Vec<_> = (0..10).map(|_| server.connect()).collect();
    server.shutdown.stop("now");
    for client in &mut clients {
        client.send(&vec![b'x'; MEGABYTE]);
    }
    for client in &mut clients {
        assert_eq!(client.rest(), b"enough");
    }
    drop(clients);
    assert_eq!(server.report().outcome, Outcome::Clean);
}

pub(crate) fn f22_a_peer_that_never_ends_is_closed_after_the_total_time(runtime: impl Runtime) {
    let (idle, total) = (Duration::from_secs(60), Duration::from_millis(300));
    let server = start(
        builder(runtime)
            .lingering_close(idle, total)
            .bind()
            .unwrap(),
        echo,
    );
    let mut client = server.connect();
    client.exchange(b"I shall not close");
    let report = server.stop();
    assert_eq!(report.outcome, Outcome::Clean);
    assert!(
        report.duration >= total && report.duration.as_secs() < 10,
        "{report}"
    );
    assert_eq!(client.rest(), b"");
}

pub(crate) fn f22_a_silent_peer_is_closed_after_the_idle_time(runtime: impl Runtime) {
    let (idle, total) = (Duration::from_millis(50), Duration::from_secs(60));
    let server = start(
        builder(runtime)
            .lingering_close(idle, total)
            .bind()
            .unwrap(),
        echo,
    );
    let mut client = server.connect();
    client.exchange(b"I shall not close");
    let report = server.stop();
    assert!(
        report.duration >= idle && report.duration.as_secs() < 10,
        "{report}"
    );
    assert_eq!(client.rest(), b"");
}

pub(crate) fn f22_three_hundred_lingering_closes_cost_no_more_time_than_one(
    runtime: impl Runtime,
) {
    let (idle, total) = (Duration::from_millis(300), Duration::from_millis(300));
    let server = start(
        builder(runtime)
            .lingering_close(idle, total)
            .bind()
            .unwrap(),
        echo,
    );
    let mut clients: Vec<_> = (0..300).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.exchange(b"I shall not close");
    }
    let report = server.stop();
    assert_eq!(report.closed.drained, 300);
    // One after another they would take 90 s.
    assert!(report.duration.as_secs() < 10, "{report}");
}

pub(crate) fn f23_a_large_answer_reaches_a_slow_reader(runtime: impl Runtime) {
    let server = start(
        builder(runtime).bind().unwrap(),
        |mut session: Session<_>| async move {
            session.read_exact(&mut [0]).await?;
            session.write_all(&vec![b'y'; 4 * MEGABYTE]).await
        },
    );
    let readers = number("LAMEDUCK_READERS", 8);
    let mut clients: Vec<_> = (0..readers).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.send(b"?");
        client.expect(b"y");
    }
    // More than the buffers of the kernel hold is still with the handlers.
    server.shutdown.stop("now");
    let readers: Vec<_> = clients
        .into_iter()
        .map(|mut client: Client| thread::spawn(move || client.rest().len()))
        .collect();
    for reader in readers {
        assert_eq!(reader.join().unwrap(), 4 * MEGABYTE - 1);
    }
    assert_eq!(server.report().outcome, Outcome::Clean);
}

/// Answers with more than the buffers between here and a reader that waits.
async fn answer_at_length(mut session: Session<impl lameduck::Connection>) -> io::Result<()> {
    session.read_exact(&mut [0]).await?;
    session.write_all(&vec![b'y'; 8 * MEGABYTE]).await
}

/// Reads in small steps until the report is there; then all that is left has
/// to have arrived already.
fn f24_the_stop_waits_for_acknowledgements(runtime: impl Runtime, half_closes: bool) {
    let server = start(builder(runtime).bind().unwrap(), answer_at_length);
    let mut client = server.connect();
    client.send(b"?");
    if half_closes {
        client.0.shutdown(Shutdown::Write).unwrap();
    }
    let mut step = vec![0; MEGABYTE / 4];
    client.0.read_exact(&mut step).unwrap();
    let mut read = step.len();
    server.shutdown.stop("now");
    let stopped = server.shutdown.stopped();
    let over = thread::spawn(move || futures::executor::block_on(stopped));
    while !over.is_finished() {
        // Longer than the linger is quiet: only acknowledgements hold it up.
        thread::sleep(Duration::from_millis(130));
        let ready = rustix::io::ioctl_fionread(&client.0).unwrap() as usize;
        let take = ready.min(step.len());
        client.0.read_exact(&mut step[..take]).unwrap();
        read += take;
    }
    let arrived = rustix::io::ioctl_fionread(&client.0).unwrap() as usize;
    assert_eq!(read + arrived, 8 * MEGABYTE, "the kernel still held some");
    assert_eq!(client.rest().len(), arrived);
    assert_eq!(server.report().outcome, Outcome::Clean);
}

pub(crate) fn f24_the_stop_waits_for_a_slow_reader(runtime: impl Runtime) {
    f24_the_stop_waits_for_acknowledgements(runtime, false);
}

pub(crate) fn f24_the_stop_waits_for_a_slow_reader_that_has_half_closed(runtime: impl Runtime) {
    f24_the_stop_waits_for_acknowledgements(runtime, true);
}

pub(crate) fn f24_the_stop_does_not_wait_for_a_peer_that_resets(runtime: impl Runtime) {
    let (idle, total) = (Duration::from_millis(20), Duration::from_secs(60));
    let server = builder(runtime)
        .grace_period(LONG * 6)
        .lingering_close(idle, total)
        .bind()
        .unwrap();
    let server = start(server, answer_at_length);
    let mut client = server.connect();
    client.send(b"?");
    client.0.shutdown(Shutdown::Write).unwrap();
    client.expect(b"y");
    server.shutdown.stop("now");
    eventually("draining", || server.shutdown.is_draining());
    // Dropped with unread input, it resets.
    drop(client);
    let report = server.report();
    assert_eq!(report.outcome, Outcome::Clean);
    assert!(report.duration < LONG, "{report}");
}

pub(crate) fn s5_a_peer_that_takes_no_output_is_cut_off_after_the_total_time(
    runtime: impl Runtime,
) {
    let (idle, total) = (Duration::from_millis(20), Duration::from_millis(400));
    let server = builder(runtime)
        .lingering_close(idle, total)
        .bind()
        .unwrap();
    let server = start(server, |mut session| async move {
        session.write_all(&vec![b'y'; MEGABYTE / 2]).await
    });
    let client = server.connect();
    // All is written, and half of it is in our kernel: nobody reads.
    eventually("closing", || server.shutdown.guard_count() == 1);
    let report = server.stop();
    assert_eq!(report.outcome, Outcome::Aborted, "{report}");
    let cut_off: Vec<_> = report.aborted.iter().map(|cut| cut.activity).collect();
    assert_eq!(cut_off, [Activity::Closing], "{report}");
    assert!(report.duration.as_secs() < 10, "{report}");
    drop(client);
}

/// Writes until the system has no room left, and returns how much that was.
async fn fill(connection: &mut impl Connection) -> u64 {
    let mut written = 0;
    poll_fn(|cx| {
        loop {
            match Pin::new(&mut *connection).poll_write(cx, &[b'y'; 4096]) {
                Poll::Ready(n) => written += n.expect("a connection that takes output") as u64,
                Poll::Pending => return Poll::Ready(()),
            }
        }
    })
    .await;
    written
}

/// The close without a server, as a program with an accept loop of its own has it.
pub(crate) fn s5_a_close_that_is_cut_off_says_so(runtime: impl Runtime) {
    let options = ListenOptions::default();
    let loopback = "127.0.0.1:0".parse().unwrap();
    let mut listener = runtime.bind(&loopback, &options).unwrap();
    let mut client = Client::connect(tcp(listener.local_addr()));
    client.send(b"?");
    let closed = futures::executor::block_on(async {
        let accepted = poll_fn(|cx| listener.poll_accept(cx)).await;
        let (mut connection, _) = accepted.unwrap();
        connection.read_exact(&mut [0]).await.unwrap();
        let mut config = closing::Config::default();
        config.total = Duration::from_millis(400);
        let mut facts = Facts::default();
        facts.written = fill(&mut connection).await;
        let closing = LingeringClose::new(config, facts);
        lameduck::close(&mut connection, &runtime, closing).await
    });
    let error = closed.expect_err("the client reads nothing");
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert_eq!(
        error.to_string(),
        "the peer takes no output, and has not all of it"
    );
}
