//! The idle point of everything that owns a session: buffers, halves, codecs,
//! WebSockets.

#![allow(
    clippy::unwrap_used,
    reason = "a test that unwraps fails, as it should"
)]

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use async_tungstenite::tungstenite::Message;
use futures::StreamExt;
use futures::io::{AsyncReadExt, AsyncWriteExt};
use lameduck::runtimes::smol::{Connection, Smol};
use lameduck::{Report, Server, Session, Shutdown};

/// Serves with `handler` while `client` runs, and returns the report.
fn serve<H, F, E>(handler: H, client: impl FnOnce(TcpStream, Shutdown)) -> Report
where
    H: Fn(Session<Connection>) -> F + Send + Sync + 'static,
    F: Future<Output = Result<(), E>> + Send + 'static,
    E: Into<Box<dyn std::error::Error + Send + Sync>> + 'static,
{
    let server = Server::builder(Smol)
        .listen("127.0.0.1:0")
        .signals([])
        .grace_period(Duration::from_secs(20))
        .bind()
        .unwrap();
    let Some(lameduck::Address::Tcp(address)) = server.local_addrs().next().cloned() else {
        panic!("it listens on TCP");
    };
    let shutdown = server.shutdown();
    std::thread::scope(|scope| {
        let serving = scope.spawn(move || smol::block_on(server.serve(handler)));
        let stream = TcpStream::connect(address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        client(stream, shutdown.clone());
        shutdown.stop("the test is over");
        serving.join().unwrap()
    })
}

fn exchange(stream: &mut TcpStream, request: &[u8], answer: &[u8]) {
    stream.write_all(request).unwrap();
    expect(stream, answer);
}

#[track_caller]
fn expect(stream: &mut TcpStream, answer: &[u8]) {
    let mut got = vec![0; answer.len()];
    stream.read_exact(&mut got).unwrap();
    assert_eq!(got, answer);
}

#[track_caller]
fn expect_end(stream: &mut TcpStream) {
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, b"", "the end is all that comes");
}

/// Answers each line with itself.
async fn lines(session: Session<impl lameduck::Connection>) -> io::Result<()> {
    let mut session = session.buffered().message_limit(64);
    let mut line = Vec::new();
    while session
        .read_until_or_drain(b'\n', &mut line)
        .await?
        .is_some()
    {
        session.write_all(&line).await?;
        line.clear();
    }
    Ok(())
}

/// Answers each line with itself, by the halves of a split session.
async fn lines_by_halves(session: Session<impl lameduck::Connection>) -> io::Result<()> {
    let mut handle = session.handle()?;
    let (mut input, mut output) = session.split();
    let (mut line, mut bytes) = (Vec::new(), [0; 16]);
    loop {
        let is_idle = line.is_empty();
        let read = handle.next_or_drain(input.read(&mut bytes), || is_idle);
        let n = match read.await {
            None | Some(Ok(0)) => return Ok(()),
            Some(n) => n?,
        };
        for byte in &bytes[..n] {
            line.push(*byte);
            if *byte == b'\n' {
                output.write_all(&line).await?;
                line.clear();
            }
        }
    }
}

macro_rules! of_each {
    ($test:ident) => {
        mod $test {
            #[test]
            fn buffered() {
                super::super::$test(super::super::lines);
            }
            #[test]
            fn by_halves() {
                super::super::$test(super::super::lines_by_halves);
            }
        }
    };
}

mod lines_of {
    of_each!(f27_half_a_line_before_the_stop_is_awaited);
    of_each!(f17_lines_that_had_arrived_are_answered_after_the_stop);
    of_each!(an_idle_connection_is_drained_and_reported_so);
    of_each!(a_peer_that_ends_is_reported_so);
}

fn f27_half_a_line_before_the_stop_is_awaited<H, F>(handler: H)
where
    H: Fn(Session<Connection>) -> F + Send + Sync + 'static,
    F: Future<Output = io::Result<()>> + Send + 'static,
{
    let report = serve(handler, |mut client, shutdown| {
        // Its half is in the same segment as a line that is answered.
        exchange(&mut client, b"one\ntw", b"one\n");
        shutdown.stop("now");
        exchange(&mut client, b"o\n", b"two\n");
        expect_end(&mut client);
    });
    assert_eq!(report.closed.drained, 1, "{report}");
}

fn f17_lines_that_had_arrived_are_answered_after_the_stop<H, F>(handler: H)
where
    H: Fn(Session<Connection>) -> F + Send + Sync + 'static,
    F: Future<Output = io::Result<()>> + Send + 'static,
{
    let report = serve(handler, |mut client, shutdown| {
        exchange(&mut client, b"one\n", b"one\n");
        client.write_all(b"two\nthree\n").unwrap();
        shutdown.stop("now");
        expect(&mut client, b"two\nthree\n");
        expect_end(&mut client);
    });
    assert_eq!(report.closed.drained, 1, "{report}");
}

fn an_idle_connection_is_drained_and_reported_so<H, F>(handler: H)
where
    H: Fn(Session<Connection>) -> F + Send + Sync + 'static,
    F: Future<Output = io::Result<()>> + Send + 'static,
{
    let report = serve(handler, |mut client, shutdown| {
        exchange(&mut client, b"one\n", b"one\n");
        shutdown.stop("now");
        expect_end(&mut client);
    });
    assert_eq!(report.closed.drained, 1, "{report}");
    assert_eq!(report.exit_status(), 0);
}

fn a_peer_that_ends_is_reported_so<H, F>(handler: H)
where
    H: Fn(Session<Connection>) -> F + Send + Sync + 'static,
    F: Future<Output = io::Result<()>> + Send + 'static,
{
    let report = serve(handler, |mut client, _| {
        exchange(&mut client, b"one\n", b"one\n");
        client.shutdown(std::net::Shutdown::Write).unwrap();
        expect_end(&mut client);
    });
    assert_eq!(report.closed.peer_closed, 1, "{report}");
}

#[test]
fn a_line_beyond_the_limit_fails_its_own_connection() {
    let report = serve(lines, |mut client, _| {
        client.write_all(&[b'x'; 100]).unwrap();
        expect_end(&mut client);
    });
    assert_eq!(report.closed.failed, 1, "{report}");
}

/// The limit is 64 bytes, the delimiter among them.
#[test]
fn the_limit_of_a_line_does_not_depend_on_how_it_is_cut() {
    for (letters, is_taken) in [(63, true), (64, false)] {
        let line = "x".repeat(letters) + "\n";
        for cut in [0, 1, line.len() - 1] {
            let report = serve(lines, |mut client, _| {
                let (first, second) = line.as_bytes().split_at(cut);
                client.write_all(b"first\n").unwrap();
                expect(&mut client, b"first\n");
                client.write_all(first).unwrap();
                client.write_all(second).unwrap();
                if is_taken {
                    expect(&mut client, line.as_bytes());
                } else {
                    expect_end(&mut client);
                }
            });
            assert_eq!(
                report.closed.failed,
                u64::from(!is_taken),
                "{cut}: {report}"
            );
        }
    }
}

/// Answers each line with itself. What begins with `begin` goes on until `end`.
async fn transactions(session: Session<impl lameduck::Connection>) -> io::Result<()> {
    let mut session = session.buffered().message_limit(64);
    let (mut line, mut is_open) = (Vec::new(), false);
    loop {
        let read = match is_open {
            true => session.read_until_or_end(b'\n', &mut line).await?,
            false => session.read_until_or_drain(b'\n', &mut line).await?,
        };
        if read.is_none() {
            return Ok(());
        }
        is_open = is_open && line != b"end\n" || line == b"begin\n";
        session.write_all(&line).await?;
        line.clear();
    }
}

#[test]
fn a_conversation_of_several_messages_goes_on_in_a_stop() {
    let report = serve(transactions, |mut client, shutdown| {
        exchange(&mut client, b"begin\n", b"begin\n");
        shutdown.stop("in the middle");
        exchange(&mut client, b"more\n", b"more\n");
        exchange(&mut client, b"end\n", b"end\n");
        expect_end(&mut client);
    });
    assert_eq!(report.closed.drained, 1, "{report}");
}

#[test]
fn a_line_in_a_conversation_has_the_same_limit() {
    let report = serve(transactions, |mut client, _| {
        exchange(&mut client, b"begin\n", b"begin\n");
        client.write_all(&[b'x'; 100]).unwrap();
        expect_end(&mut client);
    });
    assert_eq!(report.closed.failed, 1, "{report}");
}

#[test]
fn the_last_line_needs_no_delimiter() {
    let report = serve(lines, |mut client, _| {
        client.write_all(b"one").unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
        expect(&mut client, b"one");
        expect_end(&mut client);
    });
    assert_eq!(report.closed.peer_closed, 1, "{report}");
}

#[test]
fn f70_a_close_ends_our_side_and_the_session_reads_on() {
    async fn last_word(mut session: Session<Connection>) -> io::Result<()> {
        session.write_all(b"bye").await?;
        session.close().await?;
        let error = session.write_all(b"!").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        let mut rest = Vec::new();
        session.read_to_end(&mut rest).await?;
        assert_eq!(rest, b"still here");
        Ok(())
    }
    let report = serve(last_word, |mut client, _| {
        let mut all = Vec::new();
        client.read_to_end(&mut all).unwrap();
        assert_eq!(all, b"bye");
        client.write_all(b"still here").unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
    });
    assert_eq!(report.closed.peer_closed, 1, "{report}");
}

#[test]
fn a_label_names_what_was_cut_off() {
    async fn stuck(mut session: Session<Connection>) -> io::Result<()> {
        session.write_all(b"!").await?;
        session.handle()?.set_label("the upload of user 7");
        std::future::pending().await
    }
    let report = serve(stuck, |mut client, shutdown| {
        expect(&mut client, b"!");
        shutdown.abort("at once");
        let _ = client.read(&mut [0]);
    });
    let label = report.aborted[0].label.as_deref();
    assert_eq!(label, Some("the upload of user 7"));
    assert!(report.to_string().contains("the upload of user 7, busy"));
}

/// The WebSocket echo of the documentation.
async fn websocket(
    session: Session<impl lameduck::Connection>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let mut handle = session.handle()?;
    let session = session.with_websocket_frames();
    let accepting = async_tungstenite::accept_async(session);
    let Some(socket) = handle.next_or_drain(accepting, || true).await else {
        return Ok(());
    };
    let mut socket = socket?;
    while let Some(message) = handle.next_or_drain(socket.next(), || true).await {
        match message {
            Some(Ok(message @ (Message::Text(_) | Message::Binary(_)))) => {
                socket.send(message).await?;
            }
            Some(message) => _ = message?,
            None => return Ok(()),
        }
    }
    socket.close(None).await?;
    while let Some(Ok(_)) = socket.next().await {}
    Ok(())
}

#[test]
fn f17_websocket_messages_that_had_arrived_are_answered_before_the_close() {
    let report = serve(websocket, |client, shutdown| {
        let (mut socket, _) =
            async_tungstenite::tungstenite::client("ws://localhost/", client).unwrap();
        socket.send(Message::text("one")).unwrap();
        assert_eq!(socket.read().unwrap(), Message::text("one"));
        socket.send(Message::text("two")).unwrap();
        socket.send(Message::text("three")).unwrap();
        shutdown.stop("now");
        assert_eq!(socket.read().unwrap(), Message::text("two"));
        assert_eq!(socket.read().unwrap(), Message::text("three"));
        assert!(matches!(socket.read().unwrap(), Message::Close(_)));
        assert!(socket.read().is_err(), "and then the end");
    });
    assert_eq!(report.closed.drained, 1, "{report}");
}

#[test]
fn f27_half_a_message_of_a_websocket_is_awaited() {
    // A text of five bytes, masked by zeros: whole, in fragments, and each cut.
    let whole = b"\x81\x85\0\0\0\0hello";
    let fragments = b"\x01\x82\0\0\0\0he\x80\x83\0\0\0\0llo";
    let cuts = [(&whole[..], 1), (whole, 8), (fragments, 8)];
    for (bytes, cut) in cuts {
        let report = serve(websocket, |client, shutdown| {
            let address = client.peer_addr().unwrap();
            let (mut socket, _) =
                async_tungstenite::tungstenite::client("ws://localhost/", client).unwrap();
            socket.get_mut().write_all(&bytes[..cut]).unwrap();
            shutdown.stop("now");
            while TcpStream::connect(address).is_ok() {}
            std::thread::sleep(Duration::from_millis(50));
            socket.get_mut().write_all(&bytes[cut..]).unwrap();
            assert_eq!(socket.read().unwrap(), Message::text("hello"));
            assert!(matches!(socket.read().unwrap(), Message::Close(_)));
        });
        assert_eq!(report.exit_status(), 0, "{report}");
    }
}

#[test]
fn f27_half_a_request_of_a_websocket_is_awaited() {
    let report = serve(websocket, |mut client, shutdown| {
        let address = client.peer_addr().unwrap();
        let head =
            b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
            Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        client.write_all(&head[..20]).unwrap();
        shutdown.stop("now");
        while TcpStream::connect(address).is_ok() {}
        std::thread::sleep(Duration::from_millis(50));
        client.write_all(&head[20..]).unwrap();
        expect(&mut client, b"HTTP/1.1 101 ");
    });
    assert_eq!(report.exit_status(), 0, "{report}");
}

#[test]
fn f20_a_websocket_client_that_says_nothing_does_not_hold_the_stop() {
    let report = serve(websocket, |mut client, shutdown| {
        shutdown.stop("now");
        expect_end(&mut client);
    });
    assert_eq!((report.accepted, report.closed.drained), (1, 1), "{report}");
}

/// The same services, in thousands of simulated stops.
mod simulated {
    use super::*;
    use lameduck::sim::{Check, Sim};

    /// Clients that send lines in pieces, some of them pipelined.
    fn clients(sim: &mut Sim) {
        for _ in 0..1 + sim.choose(3) {
            let (pause, batch) = (u64::from(sim.choose(50)), 1 + sim.choose(3));
            sim.client(async move |client| {
                for _ in 0..3 {
                    for _ in 0..batch {
                        client.request(b"hello\n", b"hello\n").await?;
                    }
                    client.responses().await?;
                    client.pause(Duration::from_micros(pause)).await;
                }
                Ok(())
            });
        }
    }

    #[test]
    fn buffered_lines_lose_nothing() {
        Check::new().run(|sim| {
            sim.serve(lines);
            clients(sim);
        });
    }

    #[test]
    fn lines_by_halves_lose_nothing() {
        Check::new().run(|sim| {
            sim.serve(lines_by_halves);
            clients(sim);
        });
    }
}
