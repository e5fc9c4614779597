//! Proxies of bytes, which do not know where a message ends.

use std::future::poll_fn;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::pin::Pin;
use std::task::Poll;
use std::thread;
use std::time::Duration;

use futures::channel::oneshot;
use futures::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use lameduck::report::Outcome;
use lameduck::{Connection, Report, Runtime, Session};

use crate::support::{LONG, Running, builder, start};

/// Serves so many connections with `serve`, each in a thread of its own.
fn upstream(
    connections: usize,
    serve: impl Fn(TcpStream) + Clone + Send + 'static,
) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().take(connections) {
            let (serve, stream) = (serve.clone(), stream.unwrap());
            thread::spawn(move || serve(stream));
        }
    });
    address
}

/// Copies in both directions, until both sides have ended or it is quiet.
async fn copy_both_ways(
    session: Session<impl Connection>,
    upstream: SocketAddr,
    runtime: impl Runtime,
    quiet: Duration,
) -> io::Result<()> {
    let mut handle = session.handle()?;
    let upstream = smol::net::TcpStream::connect(upstream).await?;
    let (from_client, mut to_client) = session.split();
    let (from_upstream, mut to_upstream) = upstream.split();
    let there = async {
        futures::io::copy(from_client, &mut to_upstream).await?;
        to_upstream.close().await
    };
    let back = async {
        futures::io::copy(from_upstream, &mut to_client).await?;
        to_client.close().await
    };
    let both = async { futures::try_join!(there, back) };
    let copied = handle.run_until_quiet(&runtime, quiet, both).await;
    copied.transpose().map(drop)
}

fn proxy<R: Runtime>(runtime: R, upstream: SocketAddr, quiet: Duration) -> Running {
    let server = builder(runtime.clone()).bind().unwrap();
    start(server, move |session| {
        copy_both_ways(session, upstream, runtime.clone(), quiet)
    })
}

/// Neither the upload that goes on after the stop, with pauses, nor its answer.
pub(crate) fn f88_a_proxy_of_bytes_loses_nothing_that_moves(runtime: impl Runtime) {
    const QUIET: Duration = Duration::from_secs(1);
    let echo = |mut stream: TcpStream| {
        let mut back = stream.try_clone().unwrap();
        let _ = io::copy(&mut stream, &mut back);
        let _ = back.shutdown(Shutdown::Write);
    };
    let proxy = proxy(runtime, upstream(2, echo), QUIET);
    let mut idle = proxy.connect();
    idle.exchange(b"before");
    let mut client = proxy.connect();
    client.exchange(b"0");
    for piece in 1..=20u8 {
        if piece == 10 {
            proxy.shutdown.stop("in the middle of an upload");
        }
        client.send(&[piece; 1000]);
        thread::sleep(QUIET / 50);
    }
    let expected: Vec<u8> = (1..=20).flat_map(|piece| [piece; 1000]).collect();
    assert_eq!(client.rest(), expected);
    assert_eq!(idle.rest(), b"");
    let report = proxy.report();
    assert_eq!(
        (report.closed.drained, report.exit_status()),
        (2, 0),
        "{report}"
    );
    assert!(report.duration >= QUIET, "{report}");
    assert!(report.duration < LONG / 2, "{report}");
}

const QUIET: Duration = Duration::from_millis(100);

/// Answers what has ended with its length, and takes its time.
fn think(mut stream: TcpStream) {
    let mut all = Vec::new();
    stream.read_to_end(&mut all).unwrap();
    thread::sleep(10 * QUIET);
    stream.write_all(all.len().to_string().as_bytes()).unwrap();
}

pub(crate) fn f99_a_client_that_has_ended_its_side_has_its_answer(runtime: impl Runtime) {
    let proxy = proxy(runtime, upstream(3, think), QUIET);
    let mut clients: Vec<_> = (0..3).map(|_| proxy.connect()).collect();
    for client in &mut clients {
        client.send(&[7; 1000]);
    }
    // One was quiet for a while, one ends just now, and one does not end.
    clients[0].0.shutdown(Shutdown::Write).unwrap();
    thread::sleep(2 * QUIET);
    clients[1].0.shutdown(Shutdown::Write).unwrap();
    proxy.shutdown.stop("an answer is awaited");
    let answers: Vec<_> = clients.iter_mut().map(|client| client.rest()).collect();
    assert_eq!(answers, [&b"1000"[..], b"1000", b""]);
    let report = proxy.report();
    let closed = (report.closed.peer_closed, report.closed.drained);
    assert_eq!((closed, report.exit_status()), ((2, 1), 0), "{report}");
}

/// What the other side does not end is no clean stop.
pub(crate) fn f99_an_answer_that_never_comes_ends_with_the_abort(runtime: impl Runtime) {
    let never = |stream: TcpStream| {
        (&stream).read_to_end(&mut Vec::new()).unwrap();
        thread::sleep(LONG);
    };
    let upstream = upstream(2, never);
    // Long enough for the abort on a machine that is busy with other tests.
    let budget = builder(runtime.clone()).abort_timeout(LONG);
    let budget = budget.grace_period(10 * QUIET + LONG);
    let server = start(budget.bind().unwrap(), move |session| {
        let (runtime, (ended, has_ended)) = (runtime.clone(), oneshot::channel());
        // The abort drops the handler; it does not drop another task.
        let in_another_task = session.id() == 2;
        async move {
            let copies = copy_both_ways(session, upstream, runtime.clone(), QUIET);
            if !in_another_task {
                return copies.await;
            }
            runtime.spawn(async move {
                let _ = ended.send(copies.await);
            });
            has_ended.await.map_err(io::Error::other)?
        }
    });
    let mut clients = [server.connect(), server.connect()];
    for client in &mut clients {
        client.0.shutdown(Shutdown::Write).unwrap();
    }
    let report = server.stop();
    assert_eq!(report.outcome, Outcome::Aborted, "{report}");
    let counts = (report.aborted.len(), report.abandoned.len());
    assert_eq!(counts, (2, 0), "{report}");
    assert_eq!(report.untracked_guards, 0, "{report}");
}

/// So much that no socket holds it.
const LARGE: usize = 16 << 20;

/// Sends back what it reads, and reads ahead while a write waits.
async fn read_ahead(session: Session<impl Connection>) -> io::Result<()> {
    let (mut input, mut output) = session.split();
    let (mut held, mut has_ended) = (Vec::new(), false);
    let mut room = [0; 4096];
    poll_fn(|cx| {
        while !has_ended {
            let Poll::Ready(n) = Pin::new(&mut input).poll_read(cx, &mut room)? else {
                break;
            };
            held.extend_from_slice(&room[..n]);
            has_ended = n == 0;
        }
        let mut sent = 0;
        while sent < held.len() {
            match Pin::new(&mut output).poll_write(cx, &held[sent..])? {
                Poll::Ready(n) => sent += n,
                Poll::Pending => break,
            }
        }
        held.drain(..sent);
        match has_ended && held.is_empty() {
            true => Poll::Ready(Ok(())),
            false => Poll::Pending,
        }
    })
    .await
}

/// Stops while one client has read nothing yet of what it was sent, and returns what it gets.
fn stop_slow_reader(server: Running) -> (usize, Report) {
    let mut idle = server.connect();
    idle.exchange(b"before");
    let mut slow = server.connect();
    // The server has read all of it, or holds it back where it has no room.
    slow.send(&vec![7; LARGE]);
    server.shutdown.stop("output waits for its client");
    assert_eq!(idle.rest(), b"");
    thread::sleep(2 * QUIET);
    let rest = slow.rest();
    assert!(rest.iter().all(|byte| *byte == 7));
    (rest.len(), server.report())
}

pub(crate) fn f103_output_that_waits_is_sent_by_what_reads_ahead(runtime: impl Runtime) {
    let server = builder(runtime).bind().unwrap();
    let server = start(server, async |session: Session<_>| -> io::Result<()> {
        let mut handle = session.handle()?;
        let ended = handle.next_or_drain(read_ahead(session), || true).await;
        ended.transpose().map(drop)
    });
    let (received, report) = stop_slow_reader(server);
    assert_eq!((received, report.exit_status()), (LARGE, 0), "{report}");
}

pub(crate) fn f103_a_client_that_reads_slowly_is_not_quiet(runtime: impl Runtime) {
    let server = builder(runtime.clone()).bind().unwrap();
    let server = start(server, move |session: Session<_>| {
        let runtime = runtime.clone();
        async move {
            let mut handle = session.handle()?;
            let work = read_ahead(session);
            let ended = handle.run_until_quiet(&runtime, QUIET, work).await;
            ended.transpose().map(drop)
        }
    });
    let (received, report) = stop_slow_reader(server);
    assert_eq!((received, report.exit_status()), (LARGE, 0), "{report}");
}
