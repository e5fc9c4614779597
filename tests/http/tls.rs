//! HTTP over TLS, with records that are cut by hand.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use futures::io::{AsyncReadExt, AsyncWriteExt};
use lameduck::tls::{Tls, TlsConfig};
use lameduck::{Connection, Report, Runtime, Session};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig};

use crate::support::{Client, GET, LONG, Running, builder, http, run_as, serving};

/// A certificate for `localhost`, signed by itself.
pub(crate) struct Identity {
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

pub(crate) fn identity() -> Identity {
    let names = vec!["localhost".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).expect("a certificate");
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der());
    Identity {
        certificate: made.cert.der().clone(),
        key: key.expect("a key"),
    }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

impl Identity {
    pub(crate) fn server(&self) -> ServerConfig {
        let builder = ServerConfig::builder_with_provider(provider());
        let builder = builder
            .with_safe_default_protocol_versions()
            .expect("versions");
        let chain = vec![self.certificate.clone()];
        let builder = builder.with_no_client_auth();
        let config = builder.with_single_cert(chain, self.key.clone_key());
        config.expect("a pair")
    }

    pub(crate) fn client(&self) -> ClientConnection {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).expect("a certificate");
        let builder = ClientConfig::builder_with_provider(provider());
        let builder = builder
            .with_safe_default_protocol_versions()
            .expect("versions");
        let config = builder.with_root_certificates(roots).with_no_client_auth();
        let name = ServerName::try_from("localhost").expect("a name");
        ClientConnection::new(Arc::new(config), name).expect("a client")
    }
}

/// A client over TLS that is strict: an end without close_notify is an error.
pub(crate) struct Strict {
    tls: ClientConnection,
    stream: TcpStream,
}

impl Strict {
    pub(crate) fn connect(server: &Running, identity: &Identity) -> Strict {
        Strict {
            tls: identity.client(),
            stream: server.connect().stream,
        }
    }

    /// Returns the records that are to be sent now.
    fn records(&mut self) -> Vec<u8> {
        let mut records = Vec::new();
        while self.tls.wants_write() {
            self.tls.write_tls(&mut records).expect("a vector has room");
        }
        records
    }

    fn handshake(&mut self) {
        while self.tls.is_handshaking() || self.tls.wants_write() {
            self.tls.complete_io(&mut self.stream).expect("a handshake");
        }
    }
}

impl Read for Strict {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        rustls::Stream::new(&mut self.tls, &mut self.stream).read(buffer)
    }
}

impl Write for Strict {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        rustls::Stream::new(&mut self.tls, &mut self.stream).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        rustls::Stream::new(&mut self.tls, &mut self.stream).flush()
    }
}

pub(crate) fn tls<R: Runtime>(runtime: R, identity: &Identity) -> Tls<R> {
    Tls::new(
        runtime,
        TlsConfig::new(identity.server()).with_http_protocols(),
    )
}

pub(crate) fn requests_over_tls_are_answered_and_the_close_is_clean<R: Runtime>(runtime: R) {
    let identity = identity();
    let report = serving(builder(tls(runtime, &identity)), http(), |server| {
        let mut idle = Client::new(Strict::connect(server, &identity));
        let mut busy = Client::new(Strict::connect(server, &identity));
        assert_eq!(idle.exchange(GET).body, b"hello");
        busy.send(&[GET, b"GET /drain HTTP/1.1\r\nhost: a\r\n\r\n", GET].concat());
        assert_eq!(busy.answer().body, b"hello");
        server.shutdown.stop("now");
        // An end without close_notify would be an error for this client.
        idle.expect_end();
        assert_eq!(busy.answer().body, b"drained");
        assert!(busy.answer().closes);
        busy.expect_end();
    });
    assert_eq!(
        (report.closed.drained, report.exit_status()),
        (1, 0),
        "{report}"
    );
}

pub(crate) fn f20_a_client_that_says_nothing_is_idle<R: Runtime>(runtime: R) {
    let identity = identity();
    let report = serving(builder(tls(runtime, &identity)), http(), |server| {
        let mut silent: Vec<_> = (0..20).map(|_| server.connect()).collect();
        let mut last = Client::new(Strict::connect(server, &identity));
        assert_eq!(last.exchange(GET).status, 200);
        server.shutdown.stop("now");
        silent.iter_mut().for_each(Client::expect_end);
        last.expect_end();
    });
    assert_eq!(report.closed.drained, 21, "{report}");
    assert!(report.duration < LONG / 2, "{report}");
}

/// Writes first, as servers of SMTP and FTP do.
async fn greet(mut session: Session<impl Connection>) -> io::Result<()> {
    session.write_all(b"220 hello\r\n").await?;
    session.flush().await?;
    session.read_or_drain(&mut [0]).await.map(drop)
}

/// Writes after a wait at the idle point.
async fn say_good_bye(mut session: Session<impl Connection>) -> io::Result<()> {
    session.read_or_drain(&mut [0]).await?;
    session.write_all(b"221 good bye\r\n").await
}

/// Serves with `greet` while `clients` run.
fn greeting<R: Runtime>(runtime: R, clients: impl FnOnce(&Running, &Identity)) -> Report {
    let identity = identity();
    let builder = builder(tls(runtime, &identity));
    let serve = |server: lameduck::Server<_>| smol::block_on(server.serve(greet));
    run_as(builder, serve, |_| {}, |server| clients(server, &identity))
}

pub(crate) fn f20_a_client_that_says_nothing_is_idle_for_a_handler_that_writes_first<
    R: Runtime,
>(
    runtime: R,
) {
    let report = greeting(runtime, |server, identity| {
        let mut silent: Vec<_> = (0..5).map(|_| server.connect()).collect();
        // A handshake that has begun is finished, and the greeting sent.
        let mut begun = Client::new(Strict::connect(server, identity));
        let hello = begun.stream.records();
        let sent = begun.stream.stream.write_all(&hello[..5]);
        sent.expect("it is open");
        let mut last = Client::new(Strict::connect(server, identity));
        last.stream.handshake();
        assert_eq!(last.until(b"\r\n"), "220 hello\r\n");
        server.shutdown.stop("now");
        silent.iter_mut().for_each(Client::expect_end);
        last.expect_end();
        let sent = begun.stream.stream.write_all(&hello[5..]);
        sent.expect("it is open");
        assert_eq!(begun.until(b"\r\n"), "220 hello\r\n");
        begun.expect_end();
    });
    assert_eq!(report.closed.drained, 7, "{report}");
    assert_eq!(report.exit_status(), 0, "{report}");
    assert!(report.duration < LONG / 2, "{report}");
}

pub(crate) fn f20_a_good_bye_to_a_client_that_says_nothing_does_not_hold_the_stop<
    R: Runtime,
>(
    runtime: R,
) {
    let identity = identity();
    let serve = |server: lameduck::Server<_>| smol::block_on(server.serve(say_good_bye));
    let clients = |server: &Running| {
        let mut silent = server.connect();
        server.shutdown.stop("now");
        silent.expect_end();
    };
    let report = run_as(builder(tls(runtime, &identity)), serve, |_| {}, clients);
    assert_eq!(report.closed.drained, 1, "{report}");
    assert_eq!(report.exit_status(), 0, "{report}");
    assert!(report.duration < LONG / 2, "{report}");
}

pub(crate) fn f20_a_probe_is_no_failure_of_a_handler_that_writes_first<R: Runtime>(runtime: R) {
    let report = greeting(runtime, |server, identity| {
        drop(server.connect());
        // By then the probe was seen.
        let mut next = Client::new(Strict::connect(server, identity));
        next.stream.handshake();
        assert_eq!(next.until(b"\r\n"), "220 hello\r\n");
    });
    let closed = &report.closed;
    assert_eq!((closed.peer_closed, closed.failed), (2, 0), "{report}");
}

/// The handler has read a byte by then: what it makes of that counts.
pub(crate) fn f20_a_client_that_speaks_after_all_can_fail_a_handler<R: Runtime>(runtime: R) {
    let identity = identity();
    let (told, unheard) = smol::channel::unbounded();
    let handler = move |mut session: Session<_>| {
        let told = told.clone();
        async move {
            let greeted = session.write_all(b"220 hello\r\n").await;
            let _ = told.send(greeted.is_err()).await;
            session.read_exact(&mut [0]).await?;
            Err::<(), _>(io::Error::other("no greeting was sent"))
        }
    };
    let serve = |server: lameduck::Server<_>| smol::block_on(server.serve(handler));
    let clients = |server: &Running| {
        let mut client = Strict::connect(server, &identity);
        server.shutdown.stop("now");
        assert_eq!(unheard.recv_blocking(), Ok(true));
        client.handshake();
        client.write_all(b"x").expect("it is open");
        let ended = client.read(&mut [0]);
        assert!(matches!(ended, Ok(0) | Err(_)), "{ended:?}");
    };
    let report = run_as(builder(tls(runtime, &identity)), serve, |_| {}, clients);
    assert_eq!(report.closed.failed, 1, "{report}");
}

/// Answers what has ended, and takes its time.
async fn think<R: Runtime>(
    session: Session<impl Connection>,
    runtime: R,
    handles_bare_end: bool,
) -> io::Result<()> {
    const QUIET: Duration = Duration::from_millis(100);
    let mut handle = session.handle()?;
    let (mut input, mut output) = session.split();
    let mut question = Vec::new();
    let work = async {
        match input.read_to_end(&mut question).await {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof && handles_bare_end => {}
            read => _ = read?,
        }
        smol::Timer::after(10 * QUIET).await;
        output.write_all(&question).await?;
        output.close().await
    };
    let worked = handle.run_until_quiet(&runtime, QUIET, work).await;
    worked.transpose().map(drop)
}

pub(crate) fn f99_a_client_that_has_sent_close_notify_has_its_answer<R: Runtime>(runtime: R) {
    for has_farewell in [true, false] {
        let identity = identity();
        let timers = runtime.clone();
        let handler = move |session| think(session, timers.clone(), !has_farewell);
        let serve = |server: lameduck::Server<_>| smol::block_on(server.serve(handler));
        let clients = |server: &Running| {
            let mut client = Client::new(Strict::connect(server, &identity));
            client.send(b"question\n");
            if has_farewell {
                client.stream.tls.send_close_notify();
                client.stream.flush().expect("it is open");
            } else {
                let stream = &client.stream.stream;
                let ended = stream.shutdown(std::net::Shutdown::Write);
                ended.expect("it is open");
            }
            server.shutdown.stop("now");
            assert_eq!(client.until(b"\n"), "question\n");
            client.expect_end();
        };
        let builder = builder(tls(runtime.clone(), &identity));
        let report = run_as(builder, serve, |_| {}, clients);
        assert_eq!(report.closed.peer_closed, 1, "{report}");
        assert_eq!(report.exit_status(), 0, "{report}");
    }
}

/// An error that does not tell its source, as those of tokio-util's codecs.
#[derive(Debug)]
struct Codec(io::Error);

impl std::fmt::Display for Codec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Codec {}

type Wrap = fn(io::Error) -> Box<dyn std::error::Error + Send + Sync>;

/// Echoes lines, which it reads by a handle.
async fn echo_lines(session: Session<impl Connection>) -> io::Result<()> {
    let mut handle = session.handle()?;
    let (mut input, mut output) = session.split();
    let (mut line, mut buffer) = (Vec::new(), [0; 64]);
    loop {
        let is_idle = line.is_empty();
        match handle
            .next_or_drain(input.read(&mut buffer), || is_idle)
            .await
        {
            Some(read) => match read? {
                0 => return Ok(()),
                n => line.extend_from_slice(&buffer[..n]),
            },
            None => return Ok(()),
        }
        if line.ends_with(b"\n") {
            output.write_all(&line).await?;
            line.clear();
        }
    }
}

pub(crate) fn an_end_without_close_notify_is_an_end_for_a_handle<R: Runtime>(runtime: R) {
    let wraps: [Wrap; 4] = [
        |error| error.into(),
        |error| Codec(error).into(),
        |error| io::Error::other(Codec(error)).into(),
        |error| io::Error::new(io::ErrorKind::InvalidData, error).into(),
    ];
    let [same, codec, other, different] = wraps;
    for wrap in [same, codec, other] {
        bare_end(runtime.clone(), wrap, [("", 1, 0), ("half", 0, 1)]);
    }
    bare_end(runtime, different, [("", 0, 1), ("half", 0, 1)]);
}

fn bare_end<R: Runtime>(runtime: R, wrap: Wrap, ends: [(&str, u64, u64); 2]) {
    for (sent, peer_closed, failed) in ends {
        let identity = identity();
        let serve = |server: lameduck::Server<_>| {
            let handler = move |session| async move { echo_lines(session).await.map_err(wrap) };
            smol::block_on(server.serve(handler))
        };
        let clients = |server: &Running| {
            let mut client = Client::new(Strict::connect(server, &identity));
            client.send(b"line\n");
            assert_eq!(client.until(b"\n"), "line\n");
            client.send(sent.as_bytes());
            let stream = &client.stream.stream;
            let ended = stream.shutdown(std::net::Shutdown::Write);
            ended.expect("it is open");
            // What was cut off has no farewell in return.
            assert_eq!(client.stream.read(&mut [0]).is_err(), failed > 0);
        };
        let builder = builder(tls(runtime.clone(), &identity));
        let report = run_as(builder, serve, |_| {}, clients);
        let closed = &report.closed;
        let counted = (closed.peer_closed, closed.failed);
        assert_eq!(counted, (peer_closed, failed), "{sent:?}: {report}");
    }
}

pub(crate) fn f20_a_probe_is_no_failure_for_a_handle<R: Runtime>(runtime: R) {
    let identity = identity();
    let serve = |server: lameduck::Server<_>| smol::block_on(server.serve(echo_lines));
    let clients = |server: &Running| {
        let mut probe = server.connect();
        let ended = probe.stream.shutdown(std::net::Shutdown::Write);
        ended.expect("it is open");
        probe.expect_end();
    };
    let report = run_as(builder(tls(runtime, &identity)), serve, |_| {}, clients);
    let closed = &report.closed;
    assert_eq!((closed.peer_closed, closed.failed), (1, 0), "{report}");
}

/// Ends its side first, and then reads: in one way or in the other.
async fn read_after_close(mut session: Session<impl Connection>) -> io::Result<()> {
    let mut way = [0];
    session.read_exact(&mut way).await?;
    if way == *b"d" {
        session.handle().expect("it serves").draining().await;
    }
    session.write_all(b"bye").await?;
    session.close().await?;
    let (mut read, mut buffer) = (Vec::new(), [0; 64]);
    match &way {
        b"d" => {
            while let Some(n @ 1..) = session.read_or_drain(&mut buffer).await? {
                read.extend_from_slice(&buffer[..n]);
            }
        }
        _ => _ = session.read_to_end(&mut read).await?,
    }
    match read == b"still here" {
        true => Ok(()),
        false => Err(io::Error::other(format!("it has read {read:?}"))),
    }
}

pub(crate) fn f70_a_session_over_tls_reads_on_after_its_close<R: Runtime>(runtime: R) {
    let identity = identity();
    let serve = |server: lameduck::Server<_>| smol::block_on(server.serve(read_after_close));
    let clients = |server: &Running| {
        let mut reading = Strict::connect(server, &identity);
        let mut draining = Strict::connect(server, &identity);
        draining.write_all(b"dstill here").expect("sent");
        reading.write_all(b"r").expect("sent");
        let mut all = Vec::new();
        reading.read_to_end(&mut all).expect("a close_notify");
        assert_eq!(all, b"bye");
        reading.write_all(b"still here").expect("sent");
        reading.tls.send_close_notify();
        reading.flush().expect("sent");
        server.shutdown.stop("now");
        all.clear();
        draining.read_to_end(&mut all).expect("a close_notify");
        assert_eq!(all, b"bye");
    };
    let report = run_as(builder(tls(runtime, &identity)), serve, |_| {}, clients);
    assert_eq!(report.closed.failed, 0, "{report}");
    assert_eq!(report.exit_status(), 0, "{report}");
}

pub(crate) fn f27_half_a_record_is_awaited<R: Runtime>(runtime: R) {
    let identity = identity();
    for cut in [1, 4, 5, 20] {
        let report = serving(builder(tls(runtime.clone(), &identity)), http(), |server| {
            let mut client = Client::new(Strict::connect(server, &identity));
            assert_eq!(client.exchange(GET).status, 200);
            client
                .stream
                .tls
                .writer()
                .write_all(GET)
                .expect("it is buffered");
            let record = client.stream.records();
            client
                .stream
                .stream
                .write_all(&record[..cut])
                .expect("it is open");
            let mut next = Client::new(Strict::connect(server, &identity));
            assert_eq!(next.exchange(GET).status, 200);
            server.shutdown.stop("now");
            next.expect_end();
            client
                .stream
                .stream
                .write_all(&record[cut..])
                .expect("it is open");
            assert!(client.answer().closes);
            client.expect_end();
        });
        assert_eq!(report.exit_status(), 0, "cut at {cut}: {report}");
    }
}

/// The close is announced by the response to the request of which a part had arrived.
pub(crate) fn f83_half_a_record_behind_a_request_is_awaited<R: Runtime>(runtime: R) {
    let identity = identity();
    for cut in [1, 5, 20] {
        let report = serving(builder(tls(runtime.clone(), &identity)), http(), |server| {
            let mut client = Client::new(Strict::connect(server, &identity));
            client.send(b"GET /drain HTTP/1.1\r\nhost: a\r\n\r\n");
            let mut other = Client::new(Strict::connect(server, &identity));
            assert_eq!(other.exchange(GET).status, 200);
            let stream = &mut client.stream;
            stream.tls.writer().write_all(GET).expect("it is buffered");
            let record = stream.records();
            stream.stream.write_all(&record[..cut]).expect("it is open");
            server.shutdown.stop("now");
            assert!(!client.answer().closes, "cut at {cut}");
            let rest = client.stream.stream.write_all(&record[cut..]);
            rest.expect("it is open");
            assert!(client.answer().closes, "cut at {cut}");
            client.expect_end();
            other.expect_end();
        });
        assert_eq!(report.exit_status(), 0, "cut at {cut}: {report}");
    }
}

pub(crate) fn f83_half_a_record_is_not_awaited_for_ever<R: Runtime>(runtime: R) {
    let identity = identity();
    let http = http().header_timeout(Duration::from_millis(50));
    let report = serving(builder(tls(runtime, &identity)), http, |server| {
        let mut client = Client::new(Strict::connect(server, &identity));
        assert_eq!(client.exchange(GET).status, 200);
        let record = &[23, 3, 3];
        client.stream.stream.write_all(record).expect("it is open");
        client.expect_end();
    });
    assert_eq!(report.exit_status(), 0, "{report}");
}

pub(crate) fn f27_half_a_handshake_is_finished_and_its_request_answered<R: Runtime>(
    runtime: R,
) {
    let identity = identity();
    for cut in [1, 5, 60] {
        let report = serving(builder(tls(runtime.clone(), &identity)), http(), |server| {
            let mut client = Client::new(Strict::connect(server, &identity));
            let hello = client.stream.records();
            client
                .stream
                .stream
                .write_all(&hello[..cut])
                .expect("it is open");
            let mut next = Client::new(Strict::connect(server, &identity));
            assert_eq!(next.exchange(GET).status, 200);
            server.shutdown.stop("now");
            next.expect_end();
            client
                .stream
                .stream
                .write_all(&hello[cut..])
                .expect("it is open");
            // The request goes with the last record of the handshake.
            client.send(GET);
            assert_eq!(client.answer().body, b"hello", "cut at {cut}");
            client.expect_end();
        });
        assert_eq!(report.exit_status(), 0, "{report}");
    }
}

/// A connection is not idle in the middle of a handshake, or of its first record.
pub(crate) fn f90_what_has_begun_is_not_ended_for_its_age<R: Runtime>(runtime: R) {
    const LIMIT: Duration = Duration::from_millis(400);
    let identity = identity();
    for http in [
        || http().max_age(LIMIT, 0.0),
        || http().keep_alive_timeout(LIMIT),
    ] {
        let report = serving(builder(tls(runtime.clone(), &identity)), http(), |server| {
            let mut greeting = Strict::connect(server, &identity);
            let hello = greeting.records();
            greeting.stream.write_all(&hello[..60]).expect("it is open");
            let mut asking = Strict::connect(server, &identity);
            asking.handshake();
            asking.tls.writer().write_all(GET).expect("it is buffered");
            let record = asking.records();
            asking.stream.write_all(&record[..20]).expect("it is open");
            std::thread::sleep(LIMIT * 2);
            greeting.stream.write_all(&hello[60..]).expect("it is open");
            asking.stream.write_all(&record[20..]).expect("it is open");
            let mut greeting = Client::new(greeting);
            greeting.send(GET);
            assert_eq!(greeting.answer().body, b"hello");
            assert_eq!(Client::new(asking).answer().body, b"hello");
        });
        assert_eq!(report.exit_status(), 0, "{report}");
    }
}

pub(crate) fn a_handshake_without_a_request_ends_soon<R: Runtime>(runtime: R) {
    let identity = identity();
    let report = serving(builder(tls(runtime, &identity)), http(), |server| {
        let mut client = Strict::connect(server, &identity);
        client.handshake();
        // The server has seen it once its next connection is served.
        let mut next = Client::new(Strict::connect(server, &identity));
        assert_eq!(next.exchange(GET).status, 200);
        server.shutdown.stop("now");
        Client::new(client).expect_end();
        next.expect_end();
    });
    assert_eq!(
        (report.closed.drained, report.exit_status()),
        (2, 0),
        "{report}"
    );
    assert!(report.duration < LONG / 2, "{report}");
}

pub(crate) fn an_end_without_close_notify_is_an_end<R: Runtime>(runtime: R) {
    let identity = identity();
    let report = serving(builder(tls(runtime, &identity)), http(), |server| {
        let mut client = Client::new(Strict::connect(server, &identity));
        assert_eq!(client.exchange(GET).status, 200);
        let stream = &client.stream.stream;
        stream
            .shutdown(std::net::Shutdown::Write)
            .expect("it is open");
        client.expect_end();
    });
    assert_eq!(report.closed.peer_closed, 1, "{report}");
}

pub(crate) fn an_abort_sends_no_close_notify<R: Runtime>(runtime: R) {
    let identity = identity();
    let report = serving(builder(tls(runtime, &identity)), http(), |server| {
        let mut client = Client::new(Strict::connect(server, &identity));
        assert_eq!(client.exchange(GET).status, 200);
        client.send(b"GET /forever HTTP/1.1\r\nhost: a\r\n\r\n");
        let mut next = Client::new(Strict::connect(server, &identity));
        assert_eq!(next.exchange(GET).status, 200);
        server.shutdown.abort("now");
        let error = client.try_answer().expect_err("it was cut off");
        let cut = [io::ErrorKind::UnexpectedEof, io::ErrorKind::ConnectionReset];
        assert!(cut.contains(&error.kind()), "{error}");
        // A strict client can tell: no close_notify has come.
        assert!(client.stream.read(&mut [0]).is_err());
    });
    assert_eq!(report.exit_status(), 3, "{report}");
}

pub(crate) fn garbage_fails_its_own_connection<R: Runtime>(runtime: R) {
    let identity = identity();
    let report = serving(builder(tls(runtime, &identity)), http(), |server| {
        let mut other = Client::new(Strict::connect(server, &identity));
        assert_eq!(other.exchange(GET).status, 200);
        let mut plain = server.connect();
        plain.send(GET);
        let mut alert = Vec::new();
        plain
            .stream
            .read_to_end(&mut alert)
            .expect("an orderly end");
        assert_eq!(alert.first(), Some(&21), "it is told by an alert");
        assert_eq!(other.exchange(GET).status, 200);
    });
    assert_eq!(report.closed.failed, 1, "{report}");
}

pub(crate) fn certificates_can_be_replaced_while_it_serves<R: Runtime>(runtime: R) {
    let (first, second) = (identity(), identity());
    let config = TlsConfig::new(first.server());
    let runtime = Tls::new(runtime, config.clone());
    let report = serving(builder(runtime), http(), |server| {
        let mut before = Client::new(Strict::connect(server, &first));
        assert_eq!(before.exchange(GET).status, 200);
        config.replace(second.server());
        let mut after = Client::new(Strict::connect(server, &second));
        assert_eq!(after.exchange(GET).status, 200);
        // The connection of before goes on.
        assert_eq!(before.exchange(GET).status, 200);
    });
    assert_eq!(report.exit_status(), 0, "{report}");
}

#[test]
fn a_renewed_certificate_keeps_the_protocols() {
    let protocols = |config: &TlsConfig| config.current().alpn_protocols.clone();
    let http = [b"h2".to_vec(), b"http/1.1".to_vec()];
    let config = TlsConfig::new(identity().server()).with_http_protocols();
    let renewed = TlsConfig::new(identity().server());
    config.replace(renewed.current());
    assert_eq!(protocols(&config), http);
    assert!(protocols(&renewed).is_empty(), "it is left as it is");
    // It is the new certificate all the same.
    let resolvers = [&config, &renewed].map(|config| config.current().cert_resolver.clone());
    assert!(Arc::ptr_eq(&resolvers[0], &resolvers[1]));
    // Those of the new one win.
    config.replace(renewed.with_protocols([&b"imap"[..]]).current());
    assert_eq!(protocols(&config), [b"imap".to_vec()]);
    let none = config.clone().with_protocols([]);
    assert!(protocols(&none).is_empty() && protocols(&config).is_empty());
}

/// What is wrong with files is said before anything is bound.
#[test]
fn files_that_cannot_be_used_are_named() {
    use std::os::unix::fs::PermissionsExt;

    let folder = std::env::temp_dir().join(format!("lameduck-tls-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path
    };
    let make = || rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (made, other) = (make(), make());
    let certificate = write("a.crt", &made.cert.pem());
    let key = write("a.key", &made.signing_key.serialize_pem());
    let wrong_key = write("b.key", &other.signing_key.serialize_pem());
    let garbage = write("c.crt", "no certificate");
    let error = |certificate, key| {
        let read = TlsConfig::from_pem_files(certificate, key);
        read.expect_err("it cannot be used").to_string()
    };
    assert!(TlsConfig::from_pem_files(&certificate, &key).is_ok());
    assert!(error(&garbage, &key).contains("c.crt is no usable PEM file"));
    assert!(error(&certificate, &wrong_key).contains("cannot use"));
    let missing = folder.join("d.key");
    assert!(error(&certificate, &missing).contains("d.key"));
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(error(&certificate, &key).starts_with("anyone may read the key"));
    std::fs::remove_dir_all(&folder).unwrap();
}

/// A handshake that does not go on is given up.
#[test]
fn a_handshake_that_takes_too_long_is_given_up() {
    let identity = identity();
    let config = TlsConfig::new(identity.server());
    let config = config.with_handshake_timeout(Duration::from_millis(50));
    let runtime = Tls::new(lameduck::runtimes::smol::Smol, config);
    let report = serving(builder(runtime), http(), |server| {
        let mut client = Strict::connect(server, &identity);
        let hello = client.records();
        client.stream.write_all(&hello[..10]).unwrap();
        let _ = client.stream.read(&mut [0]);
    });
    assert_eq!(report.closed.failed, 1, "{report}");
}

/// rustls would take it, and nobody would read it: the request in it had no answer.
#[test]
fn early_data_is_not_accepted() {
    let identity = identity();
    let config = || {
        let mut config = identity.server();
        config.max_early_data_size = 1 << 14;
        config
    };
    let tls = TlsConfig::new(config());
    assert_eq!(tls.current().max_early_data_size, 0);
    tls.replace(config());
    assert_eq!(tls.current().max_early_data_size, 0);
}
