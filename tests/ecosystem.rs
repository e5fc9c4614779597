//! What is written for tokio's I/O traits takes a session as it is.

#![allow(
    clippy::unwrap_used,
    reason = "a test that unwraps fails, as it should"
)]

use std::error::Error;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use futures::{AsyncRead, SinkExt, StreamExt, TryStreamExt};
use lameduck::machine::lifecycle::Outcome;
use lameduck::rt::{ConnectionOf, Socket};
use lameduck::runtimes::parts;
use lameduck::runtimes::tokio::{Connection, Tokio};
use lameduck::{
    Address, ListenOptions, Report, Runtime, Server, Session, SessionHandle, Shutdown, Signal,
};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::rustls;
use tokio_util::codec::{Decoder, Encoder, Framed, LengthDelimitedCodec, LinesCodec};

/// Serves while `client` runs, which is given the address and the gate.
async fn served<H, F, C>(
    handler: H,
    client: impl FnOnce(SocketAddr, Shutdown) -> C,
) -> (Report, C::Output)
where
    H: Fn(Session<Connection>) -> F + Send + Sync + 'static,
    F: Future<Output = io::Result<()>> + Send + 'static,
    C: Future,
{
    served_on(Tokio::current().unwrap(), handler, client).await
}

/// The same on any runtime.
async fn served_on<R: Runtime, H, F, C>(
    runtime: R,
    handler: H,
    client: impl FnOnce(SocketAddr, Shutdown) -> C,
) -> (Report, C::Output)
where
    H: Fn(Session<ConnectionOf<R>>) -> F + Send + Sync + 'static,
    F: Future<Output = io::Result<()>> + Send + 'static,
    C: Future,
{
    let server = Server::builder(runtime).signals([]);
    let server = server.listen("127.0.0.1:0").bind().unwrap();
    let address = match server.local_addrs().next() {
        Some(Address::Tcp(address)) => *address,
        other => panic!("{other:?}"),
    };
    let client = client(address, server.shutdown());
    let both = async { tokio::join!(server.serve(handler), client) };
    let both = tokio::time::timeout(Duration::from_secs(20), both);
    both.await.expect("it hangs")
}

/// Echoes the messages of a codec.
async fn echo_messages<D, I>(session: Session<Connection>, codec: D) -> io::Result<()>
where
    D: Decoder + Encoder<I> + Unpin,
    D::Item: Into<I>,
    <D as Decoder>::Error: Into<Box<dyn Error + Send + Sync>>,
    <D as Encoder<I>>::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let mut handle = session.handle()?;
    let mut framed = Framed::new(session, codec);
    let is_idle = AtomicBool::new(true);
    let mut whole = 0;
    loop {
        let message = poll_fn(|cx| {
            let message = framed.poll_next_unpin(cx);
            let read = framed.get_ref().bytes_read();
            if message.is_ready() && framed.read_buffer().is_empty() {
                whole = read;
            }
            is_idle.store(framed.read_buffer().is_empty() && read == whole, Relaxed);
            message
        });
        match handle
            .next_or_drain(message, || is_idle.load(Relaxed))
            .await
        {
            Some(Some(message)) => {
                let message = message.map_err(io::Error::other)?;
                framed
                    .send(message.into())
                    .await
                    .map_err(io::Error::other)?;
            }
            Some(None) | None => return Ok(()),
        }
    }
}

/// Answers each frame with itself, in a future that owns the session and its codec.
async fn echo_frames(session: Session<Connection>) -> io::Result<()> {
    let mut handle = session.handle()?;
    let session = session.with_frames(|head: [u8; 4]| u32::from_be_bytes(head) as usize);
    let (output, input) = Framed::new(session, LengthDelimitedCodec::new()).split();
    let work = input.map_ok(BytesMut::freeze).forward(output);
    handle.next_or_drain(work, || true).await.unwrap_or(Ok(()))
}

/// The same for lines, with a reader and a writer of tokio.
async fn echo_lines(session: Session<Connection>) -> io::Result<()> {
    let mut handle = session.handle()?;
    let (input, mut output) = tokio::io::split(session.with_delimiter(b'\n'));
    let mut lines = tokio::io::BufReader::new(input).lines();
    while let Some(line) = handle.next_or_drain(lines.next_line(), || true).await {
        let Some(line) = line? else { break };
        output.write_all(format!("{line}\n").as_bytes()).await?;
    }
    Ok(())
}

/// Such a decoder keeps the length to itself, and has an empty buffer then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f92_a_codec_that_keeps_a_head_reads_a_message_of_which_any_part_had_arrived() {
    let echo = |session| echo_messages::<_, Bytes>(session, LengthDelimitedCodec::new());
    awaits_frames(echo, b"\0\0\0\x04half").await;
}

/// Nobody else sees what it has in its buffer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f105_a_library_with_frames_of_its_own_reads_one_of_which_any_part_had_arrived() {
    awaits_frames(echo_frames, b"\0\0\0\x04half").await;
    awaits_frames(echo_lines, b"a line.\n").await;
}

/// Serves clients of whose second frame a part has arrived at the stop.
async fn awaits_frames<F>(
    echo: impl Fn(Session<Connection>) -> F + Send + Sync + 'static,
    frame: &[u8; 8],
) where
    F: Future<Output = io::Result<()>> + Send + 'static,
{
    let (report, ()) = served(echo, async |address, shutdown| {
        let mut idle = TcpStream::connect(address).await.unwrap();
        let mut busy = Vec::new();
        for cut in 1..frame.len() {
            busy.push((cut, TcpStream::connect(address).await.unwrap()));
        }
        let mut answer = [0; 8];
        let clients = busy.iter_mut().map(|(_, client)| client).chain([&mut idle]);
        for client in clients {
            client.write_all(frame).await.unwrap();
            client.read_exact(&mut answer).await.unwrap();
            assert_eq!(&answer, frame);
        }
        for (cut, client) in &mut busy {
            client.write_all(&frame[..*cut]).await.unwrap();
        }
        shutdown.stop("now");
        assert_eq!(idle.read(&mut answer).await.unwrap(), 0);
        for (cut, mut client) in busy {
            client.write_all(&frame[cut..]).await.unwrap();
            let mut rest = Vec::new();
            client.read_to_end(&mut rest).await.unwrap();
            assert_eq!(rest, frame, "cut after {cut} B");
        }
    })
    .await;
    assert_eq!(report.outcome, Outcome::Clean, "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_codec_of_tokio_util_reads_a_line_whose_half_had_arrived() {
    let lines = |session| echo_messages::<_, String>(session, LinesCodec::new());
    let (report, ()) = served(lines, async |address, shutdown| {
        let mut idle = TcpStream::connect(address).await.unwrap();
        let mut busy = TcpStream::connect(address).await.unwrap();
        let mut answer = [0; 6];
        for client in [&mut idle, &mut busy] {
            client.write_all(b"hello\n").await.unwrap();
            client.read_exact(&mut answer).await.unwrap();
            assert_eq!(&answer, b"hello\n");
        }
        busy.write_all(b"hal").await.unwrap();
        shutdown.stop("now");
        assert_eq!(idle.read(&mut answer).await.unwrap(), 0);
        busy.write_all(b"ves\n").await.unwrap();
        let mut rest = String::new();
        busy.read_to_string(&mut rest).await.unwrap();
        assert_eq!(rest, "halves\n");
    })
    .await;
    assert_eq!(report.outcome, Outcome::Clean, "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_buffered_session_has_tokios_traits() {
    use tokio::io::AsyncBufReadExt;

    /// Lines of which each says how many bytes follow it.
    async fn counted(session: Session<Connection>) -> io::Result<()> {
        let mut session = session.buffered();
        let mut line = Vec::new();
        while session
            .read_until_or_drain(b'\n', &mut line)
            .await?
            .is_some()
        {
            let count: usize = String::from_utf8_lossy(&line).trim().parse().unwrap();
            line.clear();
            let mut bytes = vec![0; count];
            session.read_exact(&mut bytes).await?;
            // The rest of the line, by the trait alone.
            session.read_until(b'\n', &mut bytes).await?;
            session.write_all(&bytes).await?;
        }
        session.shutdown().await
    }
    let (report, ()) = served(counted, async |address, shutdown| {
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(b"3\none.\n5\nthr").await.unwrap();
        let mut answer = [0; 5];
        client.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"one.\n");
        shutdown.stop("now");
        client.write_all(b"ee!\n").await.unwrap();
        let mut rest = String::new();
        client.read_to_string(&mut rest).await.unwrap();
        assert_eq!(rest, "three!\n");
    })
    .await;
    assert_eq!(report.outcome, Outcome::Clean, "{report}");
}

/// More than one poll of a task of tokio may take from a channel.
const QUEUED: u32 = 1000;

/// Sends the sum of what waits in a channel at the stop.
async fn channel_beside_session<C: lameduck::Connection>(
    mut session: Session<C>,
) -> io::Result<()> {
    let mut handle = session.handle()?;
    let (sender, mut inbox) = tokio::sync::mpsc::unbounded_channel();
    (0..QUEUED).for_each(|n| sender.send(n).unwrap());
    handle.shutdown().stop("now");
    let (mut sum, mut buffer) = (0, [0; 16]);
    loop {
        let work = poll_fn(|cx| match inbox.poll_recv(cx) {
            Poll::Pending => Pin::new(&mut session)
                .poll_read(cx, &mut buffer)
                .map(|_| None),
            item => item,
        });
        match handle.next_or_drain(work, || true).await {
            Some(n) => sum += n.unwrap(),
            None => {
                let sum: u32 = sum;
                return session.write_all(&sum.to_be_bytes()).await;
            }
        }
    }
}

async fn sum_of(address: SocketAddr, _: Shutdown) -> u32 {
    let mut client = TcpStream::connect(address).await.unwrap();
    client.read_u32().await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f17_a_channel_beside_a_session_is_emptied_before_the_stop() {
    let (report, sum) = served(channel_beside_session, sum_of).await;
    assert_eq!(sum, (0..QUEUED).sum());
    assert_eq!(report.outcome, Outcome::Clean, "{report}");
}

/// tokio's tasks over other sockets, which have no part in a task's budget.
#[derive(Clone)]
struct OwnSockets;

impl Runtime for OwnSockets {
    type Listener = parts::Listener;
    type Signals = parts::Signals;
    type Sleep = parts::Sleep;
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        tokio::spawn(task);
    }
    fn now(&self) -> Instant {
        Instant::now()
    }
    fn sleep_until(&self, at: Instant) -> parts::Sleep {
        parts::Sleep::until(at)
    }
    fn bind(&self, address: &Address, options: &ListenOptions) -> io::Result<parts::Listener> {
        parts::Listener::bind(address, options)
    }
    fn adopt(&self, socket: Socket, options: &ListenOptions) -> io::Result<parts::Listener> {
        parts::Listener::adopt(socket, options)
    }
    fn signals(&self, signals: &[Signal]) -> io::Result<parts::Signals> {
        parts::Signals::catch(signals)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f17_a_channel_is_emptied_beside_sockets_that_are_not_tokios() {
    let (report, sum) = served_on(OwnSockets, channel_beside_session, sum_of).await;
    assert_eq!(sum, (0..QUEUED).sum());
    assert_eq!(report.outcome, Outcome::Clean, "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_web_socket_of_tokio_tungstenite_is_closed_in_order() {
    use tokio_tungstenite::tungstenite::Message;
    use tokio_tungstenite::{accept_async, client_async};

    async fn echo(session: Session<Connection>) -> io::Result<()> {
        let mut handle = session.handle()?;
        let session = session.with_websocket_frames();
        let mut socket = accept_async(session).await.map_err(io::Error::other)?;
        while let Some(message) = handle.next_or_drain(socket.next(), || true).await {
            match message.transpose().map_err(io::Error::other)? {
                Some(message) if message.is_text() => {
                    socket.send(message).await.map_err(io::Error::other)?;
                }
                Some(_) => {}
                None => return Ok(()),
            }
        }
        socket.close(None).await.map_err(io::Error::other)
    }
    let (report, ()) = served(echo, async |address, shutdown| {
        let stream = TcpStream::connect(address).await.unwrap();
        let (mut socket, _) = client_async("ws://localhost/", stream).await.unwrap();
        socket.send(Message::text("hello")).await.unwrap();
        let answer = socket.next().await.unwrap().unwrap();
        assert_eq!(answer, Message::text("hello"));
        socket.send(Message::text("before the stop")).await.unwrap();
        shutdown.stop("now");
        let answer = socket.next().await.unwrap().unwrap();
        assert_eq!(answer, Message::text("before the stop"));
        let close = socket.next().await.unwrap().unwrap();
        assert!(close.is_close(), "{close:?}");
    })
    .await;
    assert_eq!(report.outcome, Outcome::Clean, "{report}");
}

/// A server's configuration with a certificate of its own, and a client's that
/// trusts it.
fn tls() -> (rustls::ServerConfig, rustls::ClientConfig) {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let certificate = certified.cert.der().clone();
    let key =
        rustls::pki_types::PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der());
    let server = rustls::ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key.into())
        .unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate).unwrap();
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    (server, client)
}

async fn echo_over_tls(
    mut stream: tokio_rustls::server::TlsStream<Session<Connection>>,
    mut handle: SessionHandle,
) -> io::Result<()> {
    let mut buffer = [0; 1024];
    while let Some(n) = handle
        .next_or_drain(stream.read(&mut buffer), || true)
        .await
    {
        match n? {
            0 => break,
            n => stream.write_all(&buffer[..n]).await?,
        }
    }
    stream.shutdown().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_of_tokio_rustls_ends_with_close_notify() {
    let (server, client) = tls();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(server));
    let connector = tokio_rustls::TlsConnector::from(Arc::new(client));
    let echo = move |session: Session<Connection>| {
        let acceptor = acceptor.clone();
        async move {
            let handle = session.handle()?;
            echo_over_tls(acceptor.accept(session).await?, handle).await
        }
    };
    let (report, ()) = served(echo, async |address, shutdown| {
        let stream = TcpStream::connect(address).await.unwrap();
        let name = "localhost".try_into().unwrap();
        let mut stream = connector.connect(name, stream).await.unwrap();
        let mut answer = [0; 5];
        stream.write_all(b"hello").await.unwrap();
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"hello");
        shutdown.stop("now");
        // Without close_notify this would be an error.
        assert_eq!(stream.read(&mut answer).await.unwrap(), 0);
    })
    .await;
    assert_eq!(report.outcome, Outcome::Clean, "{report}");
}

/// TLS begins on a plain connection, and the stop comes in the middle of a record.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f27_half_a_record_of_tls_after_starttls_is_awaited() {
    let (server, client) = tls();
    let (acceptor, client) = (
        tokio_rustls::TlsAcceptor::from(Arc::new(server)),
        Arc::new(client),
    );
    let echo = move |mut session: Session<Connection>| {
        let acceptor = acceptor.clone();
        async move {
            AsyncReadExt::read_exact(&mut session, &mut [0; 10]).await?;
            AsyncWriteExt::write_all(&mut session, b"go\n").await?;
            let handle = session.handle()?;
            let stream = acceptor.accept(session.with_tls_records()).await?;
            echo_over_tls(stream, handle).await
        }
    };
    let (report, ()) = served(echo, async |address, shutdown| {
        let cut_by_the_stop = move || {
            use std::io::{Read, Write};

            let mut socket = std::net::TcpStream::connect(address)?;
            socket.write_all(b"STARTTLS\r\n")?;
            socket.read_exact(&mut [0; 3])?;
            let name = "localhost".try_into().expect("a name");
            let mut tls =
                rustls::ClientConnection::new(client, name).map_err(io::Error::other)?;
            let mut echoed = [0; 5];
            let mut stream = rustls::Stream::new(&mut tls, &mut socket);
            stream.write_all(b"hello")?;
            stream.read_exact(&mut echoed)?;
            tls.writer().write_all(b"again")?;
            let mut record = Vec::new();
            tls.write_tls(&mut record)?;
            socket.write_all(&record[..7])?;
            shutdown.stop("now");
            while std::net::TcpStream::connect(address).is_ok() {}
            std::thread::sleep(Duration::from_millis(50));
            socket.write_all(&record[7..])?;
            let mut stream = rustls::Stream::new(&mut tls, &mut socket);
            stream.read_exact(&mut echoed)?;
            assert_eq!(&echoed, b"again");
            stream.read(&mut echoed)
        };
        let read = tokio::task::spawn_blocking(cut_by_the_stop)
            .await
            .expect("no panic");
        // Without close_notify this would be an error.
        assert_eq!(read.expect("an orderly end"), 0);
    })
    .await;
    assert_eq!(report.outcome, Outcome::Clean, "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hyper_serves_a_session_in_hyper_utils_tokio_io() {
    use hyper_util::rt::TokioIo;

    async fn hello(session: Session<Connection>) -> io::Result<()> {
        let service = hyper::service::service_fn(async |_| {
            let body = http_body_util::Full::new(bytes::Bytes::from_static(b"hello"));
            Ok::<_, io::Error>(hyper::Response::new(body))
        });
        let builder = hyper::server::conn::http1::Builder::new();
        let served = builder.serve_connection(TokioIo::new(session), service);
        served.await.map_err(io::Error::other)
    }
    let (report, ()) = served(hello, async |address, shutdown| {
        let mut client = TcpStream::connect(address).await.unwrap();
        let request = b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        client.write_all(request).await.unwrap();
        shutdown.stop("now");
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.ends_with("\r\n\r\nhello"), "{answer}");
    })
    .await;
    assert_eq!(report.outcome, Outcome::Clean, "{report}");
}

/// In a thread with a `LocalExecutor`, which ends with the server: also what an abort does
/// not reach by the session.
#[test]
fn handlers_that_are_not_send_run_in_a_thread_of_their_own() {
    use std::cell::Cell;
    use std::io::{Read, Write};
    use std::net::TcpStream;
    use std::pin::pin;
    use std::rc::Rc;

    use futures::channel::{mpsc, oneshot};
    use futures::future::{Either, pending, select};
    use lameduck::runtimes::smol::{Connection, Smol};

    async fn count(mut session: Session<Connection>, count: Rc<Cell<u8>>) -> io::Result<()> {
        let mut byte = [0];
        while session.read_or_drain(&mut byte).await?.is_some() {
            count.set(count.get() + 1);
            futures::AsyncWriteExt::write_all(&mut session, &[count.get()]).await?;
            if byte == *b"h" {
                pending::<()>().await;
            }
        }
        Ok(())
    }

    type Given = (Session<Connection>, oneshot::Sender<io::Result<()>>);
    let (give, mut given) = mpsc::unbounded::<Given>();
    let thread = std::thread::spawn(move || {
        let executor = smol::LocalExecutor::new();
        let counter = Rc::new(Cell::new(0));
        smol::block_on(executor.run(async {
            let mut tasks = Vec::new();
            while let Some((session, mut ended)) = given.next().await {
                let work = count(session, counter.clone());
                tasks.push(executor.spawn(async move {
                    let result = match select(pin!(work), ended.cancellation()).await {
                        Either::Left((result, _)) => result,
                        Either::Right(_) => return,
                    };
                    let _ = ended.send(result);
                }));
            }
            futures::future::join_all(tasks).await;
        }));
        counter.get()
    });
    let server = Server::builder(Smol).signals([]).listen("127.0.0.1:0");
    let server = server.grace_period(Duration::from_secs(2)).bind().unwrap();
    let Some(Address::Tcp(address)) = server.local_addrs().next().cloned() else {
        panic!("it listens on TCP");
    };
    let shutdown = server.shutdown();
    let clients = std::thread::spawn(move || {
        let mut clients = [(); 2].map(|()| TcpStream::connect(address).unwrap());
        for (client, said) in clients.iter_mut().zip([b"i", b"h"]) {
            client.write_all(said).unwrap();
            client.read_exact(&mut [0]).unwrap();
        }
        shutdown.stop("now");
        assert_eq!(clients[0].read(&mut [0]).unwrap(), 0);
    });
    let report = smol::block_on(server.serve(move |session| {
        let (end, ended) = oneshot::channel();
        let sent = give.unbounded_send((session, end));
        async move {
            sent.map_err(io::Error::other)?;
            ended.await.map_err(io::Error::other)?
        }
    }));
    clients.join().unwrap();
    let counts = (report.closed.drained, report.aborted.len());
    assert_eq!((counts, report.abandoned.len()), ((1, 1), 0), "{report}");
    assert_eq!(thread.join().unwrap(), 2);
}
