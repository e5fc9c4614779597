//! A server in a thread, and a client that reads responses.

use std::convert::Infallible;
use std::future::Future;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures::SinkExt;
use futures::io::{AsyncReadExt, AsyncWriteExt};
use futures::stream::{self, StreamExt};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::ext::Protocol;
use hyper::header::{CONNECTION, HeaderValue, UPGRADE};
use hyper::service::Service;
use hyper::upgrade::Upgraded;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use lameduck::http::{ConnectionInfo, HealthPaths, Http, on_upgrade};
use lameduck::runtimes::smol::Smol;
use lameduck::runtimes::tokio::Tokio;
use lameduck::{Address, Builder, Report, Runtime, Server, SessionHandle, Shutdown};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

/// Longer than anything here takes; what is over it hangs.
pub(crate) const LONG: Duration = Duration::from_secs(20);
pub(crate) const LARGE: usize = 8 * 1024 * 1024;
/// The number of events at `/queue`, and the length of each.
pub(crate) const QUEUED: usize = 4096;
/// How long a piece of a request is worked at.
const WORK: Duration = Duration::from_millis(20);
/// How often something comes that never ends.
const TICK: Duration = Duration::from_millis(50);

/// Starts a runtime of tokio. It stays: a test may leave a task behind.
pub(crate) fn tokio() -> Tokio {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(2).enable_io().enable_time().build();
    let runtime = runtime.expect("a runtime");
    let tokio = Tokio::new(runtime.handle().clone());
    std::mem::forget(runtime);
    tokio
}

/// The addresses of the server and of the client. The client's alone is not enough: the
/// system gives its port to a connection to another server, too.
pub(crate) type Pair = [String; 2];

/// The lengths of the bodies that were read after the response.
static RECEIVED: Mutex<Vec<(Pair, Result<usize, ()>)>> = Mutex::new(Vec::new());

/// Returns the length of the body that is read after the response, once the server was
/// stopped.
pub(crate) fn received_on(pair: &Pair) -> Option<Result<usize, ()>> {
    let received = RECEIVED.lock().expect("no panic");
    let received = received.iter().find(|(on, _)| on == pair);
    received.map(|(_, length)| *length)
}

/// The clients that send their next request at the end of `/next`.
static NEXT: Mutex<Vec<(Pair, TcpStream)>> = Mutex::new(Vec::new());

/// Lets a client of `/next` send a request just before the end of the response is written.
pub(crate) fn next_at_end(pair: Pair, client: &TcpStream) {
    let client = client.try_clone().expect("a descriptor");
    NEXT.lock().expect("no panic").push((pair, client));
}

fn send_next(pair: &Pair) {
    let mut next = NEXT.lock().expect("no panic");
    let client = next.iter_mut().find(|(on, _)| on == pair);
    let (_, client) = client.expect("it was noted");
    client.write_all(GET).expect("the server reads");
}

pub(crate) type Body = UnsyncBoxBody<Bytes, Infallible>;

/// The service of all tests.
#[derive(Clone)]
pub(crate) struct Routes;

impl Service<Request<Incoming>> for Routes {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        assert_ne!(request.uri().path(), "/panic/call", "it was asked to");
        Box::pin(async { Ok(answer(request).await) })
    }
}

async fn answer(mut request: Request<Incoming>) -> Response<Body> {
    let info = request.extensions().get::<ConnectionInfo>().cloned();
    let info = info.expect("it is in each request");
    match (request.method(), request.uri().path()) {
        (&Method::CONNECT, _) => {
            let handle = info.handle().expect("the server is not stopped");
            tunnel(&mut request, handle);
            Response::new(full(Bytes::new()))
        }
        (&Method::POST, "/") => match request.into_body().collect().await {
            Ok(body) => Response::new(full(body.to_bytes())),
            Err(_) => status(StatusCode::BAD_REQUEST),
        },
        // Each piece of the request is sent back as it comes, until the server drains.
        (&Method::POST, "/both") => {
            let pieces = request.into_body().into_data_stream();
            let pieces = pieces.map(|piece| piece.expect("the client goes on"));
            let frames = info
                .until_draining(pieces)
                .rest(Duration::ZERO)
                .map(|piece| Ok(Frame::data(piece)));
            Response::new(StreamBody::new(frames).boxed_unsync())
        }
        // Ticks without an end.
        (&Method::POST, "/ticks") => {
            let ticks =
                smol::Timer::interval(TICK).map(|_| Ok(Frame::data(Bytes::from("tick"))));
            Response::new(StreamBody::new(info.until_draining(ticks)).boxed_unsync())
        }
        // The same, with work at each piece: the end is that of the pieces, or of the answers.
        (&Method::POST, "/work" | "/work-within") => {
            let is_within = request.uri().path() == "/work-within";
            let pieces = request.into_body().into_data_stream();
            let pieces = pieces.map(|piece| piece.expect("the client goes on"));
            let at_work = |piece| async {
                smol::Timer::after(WORK).await;
                Ok(Frame::data(piece))
            };
            let body = match is_within {
                true => {
                    let pieces = info.until_draining(pieces).rest(Duration::ZERO);
                    StreamBody::new(pieces.then(at_work)).boxed_unsync()
                }
                false => {
                    let answers = info.until_draining(pieces.then(at_work));
                    StreamBody::new(answers).boxed_unsync()
                }
            };
            Response::new(body)
        }
        // The body is sent back once the server drains, and not read before.
        (&Method::POST, "/echo-late") => {
            info.shutdown().draining().await;
            let body = request.into_body();
            let body = body.map_err(|error| panic!("the client goes on: {error}"));
            Response::new(body.boxed_unsync())
        }
        // A response at once; the body is read by work of its own.
        (&Method::POST, "/later") => {
            // The server waits for it.
            let handle = info.handle().expect("the server is not stopped");
            let pair = [info.local_addr().to_string(), info.peer_addr().to_string()];
            let body = request.into_body();
            std::thread::spawn(move || {
                let body = smol::block_on(body.collect());
                let length = body.map_err(drop).map(|body| body.to_bytes().len());
                let mut received = RECEIVED.lock().expect("no panic");
                received.push((pair, length));
                drop(handle);
            });
            status(StatusCode::ACCEPTED)
        }
        // Without a look at the body.
        (&Method::POST, "/early") => Response::new(full("early")),
        (_, "/") => Response::new(full("hello")),
        (_, "/peer") => Response::new(full(info.peer_addr().to_string())),
        (_, "/local") => Response::new(full(info.local_addr().to_string())),
        // At work until the server drains.
        (_, "/drain") => {
            info.shutdown().draining().await;
            Response::new(full("drained"))
        }
        (_, "/events") => {
            let endless = stream::once(async { "one" }).chain(stream::pending());
            let mut events = Box::pin(info.until_draining(endless));
            let events = stream::poll_fn(move |cx| {
                let event = ready!(events.poll_next_unpin(cx));
                // As layers do that compress.
                if event.is_none() {
                    for _ in 0..300 {
                        assert_eq!(events.poll_next_unpin(cx), Poll::Ready(None));
                    }
                }
                Poll::Ready(event)
            });
            let frames = events.map(|event| Ok(Frame::data(Bytes::from(event))));
            Response::new(StreamBody::new(frames).boxed_unsync())
        }
        // The client sends its next request when this ends, once the server drains.
        (_, "/next") => {
            let pair = [info.local_addr().to_string(), info.peer_addr().to_string()];
            let shutdown = info.shutdown().clone();
            let end = stream::once(async move {
                shutdown.draining().await;
                send_next(&pair);
                "end"
            });
            let frames = stream::once(async { "one" }).chain(end);
            let frames = frames.map(|event| Ok(Frame::data(Bytes::from(event))));
            Response::new(StreamBody::new(frames).boxed_unsync())
        }
        // Another event comes a moment after the server began to drain.
        (_, "/late") => {
            let shutdown = info.shutdown().clone();
            let late = async move {
                shutdown.draining().await;
                smol::Timer::after(Duration::from_millis(20)).await;
                "late"
            };
            let events = stream::once(late).chain(stream::pending());
            let events = stream::once(async { "one" }).chain(events);
            let frames = info.until_draining(events.boxed());
            let frames = frames.map(|event| Ok(Frame::data(Bytes::from(event))));
            Response::new(StreamBody::new(frames).boxed_unsync())
        }
        // More than fits into the buffers of a connection is ready.
        (_, "/queue") => {
            let (sender, mut ready) = tokio::sync::mpsc::unbounded_channel();
            for _ in 0..QUEUED {
                let sent = sender.send(Bytes::from_static(&[b'x'; QUEUED]));
                sent.expect("it is open");
            }
            let ready = stream::poll_fn(move |cx| {
                // It stays open, and a task of tokio may not take all of it at once.
                let _open = &sender;
                ready.poll_recv(cx)
            });
            let events = info.until_draining(ready);
            let frames = events.map(|event| Ok(Frame::data(event)));
            Response::new(StreamBody::new(frames).boxed_unsync())
        }
        (_, "/endless") => {
            let endless = stream::once(async { "one" }).chain(stream::pending());
            let frames = endless.map(|event| Ok(Frame::data(Bytes::from(event))));
            Response::new(StreamBody::new(frames).boxed_unsync())
        }
        (_, "/slow") => {
            smol::Timer::after(WORK).await;
            Response::new(full("slow"))
        }
        (_, "/large") => Response::new(full(vec![b'x'; LARGE])),
        (_, "/panic") => panic!("it was asked to"),
        (_, "/forever") => std::future::pending().await,
        (_, "/upgrade") => {
            match request.uri().query() {
                Some("drain") => info.shutdown().draining().await,
                Some("refused") => {
                    let work = |_, _| async move {
                        let _connection = info;
                        std::io::Result::Ok(())
                    };
                    on_upgrade(&mut request, work).expect("it is HTTP/1.1");
                    return status(StatusCode::FORBIDDEN);
                }
                _ => {}
            }
            upgrade(&mut request)
        }
        _ => status(StatusCode::NOT_FOUND),
    }
}

/// Echoes lines after the upgrade, each of which is a message.
fn upgrade(request: &mut Request<Incoming>) -> Response<Body> {
    let work = |mut io: lameduck::http::Upgraded, mut handle: lameduck::SessionHandle| async move {
        let mut buffer = [0; 64];
        while let Some(n) = handle.next_or_drain(io.read(&mut buffer), || true).await {
            match n? {
                0 => return Ok(()),
                n => io.write_all(&buffer[..n]).await?,
            }
        }
        io.write_all(b"bye").await
    };
    on_upgrade(request, work).expect("it is HTTP/1.1");
    let mut response = status(StatusCode::SWITCHING_PROTOCOLS);
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("echo"));
    response
}

/// Echoes what comes over a stream of HTTP/2, in a thread of its own.
fn tunnel(request: &mut Request<Incoming>, handle: SessionHandle) {
    let is_slow = request.uri().authority().is_some_and(|name| name == THINKS);
    let is_websocket = request.extensions().get::<Protocol>().is_some();
    let upgraded = hyper::upgrade::on(request);
    std::thread::spawn(move || {
        smol::block_on(async {
            let io = TokioIo::new(upgraded.await.expect("a tunnel"));
            match is_websocket {
                true => echo_messages(io, handle).await,
                false if is_slow => think(io, handle).await,
                false => echo_bytes(io, handle).await,
            }
        });
    });
}

/// Where a tunnel leads that answers what has ended.
pub(crate) const THINKS: &str = "thinks:1";

/// Takes its time to answer.
async fn think(mut io: TokioIo<Upgraded>, mut handle: SessionHandle) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    const QUIET: Duration = Duration::from_millis(100);
    let work = async {
        let mut question = Vec::new();
        io.read_to_end(&mut question).await.expect("it is open");
        smol::Timer::after(10 * QUIET).await;
        io.write_all(&question).await.expect("it is open");
        io.shutdown().await.expect("it is open");
    };
    handle.run_until_quiet(&Smol, QUIET, work).await;
}

async fn echo_messages(io: TokioIo<Upgraded>, mut handle: SessionHandle) {
    let mut socket = WebSocketStream::from_raw_socket(io, Role::Server, None).await;
    while let Some(message) = handle.next_or_drain(socket.next(), || true).await {
        match message.expect("it goes on").expect("it is one") {
            message @ Message::Binary(_) => socket.send(message).await.expect("it is open"),
            other => panic!("{other:?}"),
        }
    }
    socket.close(None).await.expect("it is open");
    while let Some(Ok(_)) = socket.next().await {}
}

async fn echo_bytes(mut io: TokioIo<Upgraded>, mut handle: SessionHandle) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let mut buffer = [0; 64];
    while let Some(n) = handle.next_or_drain(io.read(&mut buffer), || true).await {
        let bytes = &buffer[..n.expect("it is open")];
        io.write_all(bytes).await.expect("it is open");
    }
    io.write_all(b"bye").await.expect("it is open");
    io.shutdown().await.expect("it is open");
    assert_eq!(io.read(&mut buffer).await.expect("it is open"), 0);
}

fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).boxed_unsync()
}

pub(crate) fn status(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(full(Bytes::new()));
    *response.status_mut() = status;
    response
}

pub(crate) fn http() -> Http<Routes> {
    Http::new(Routes)
        .health(HealthPaths::default())
        .http1(|http1| _ = http1.auto_date_header(false))
        .http2(|http2| _ = http2.enable_connect_protocol())
}

/// A builder for a loopback port, which only code stops.
pub(crate) fn builder<R: Runtime>(runtime: R) -> Builder<R> {
    let builder = Server::builder(runtime).listen("127.0.0.1:0").signals([]);
    builder.grace_period(LONG)
}

pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) shutdown: Shutdown,
}

impl Running {
    pub(crate) fn pair(&self, client: &TcpStream) -> Pair {
        let client = client.local_addr().expect("it was connected");
        [self.address, client].map(|address| address.to_string())
    }
}

/// Serves while `clients` run, then stops, and returns the report.
pub(crate) fn serving<R: Runtime, S>(
    builder: Builder<R>,
    http: Http<S>,
    clients: impl FnOnce(&Running),
) -> Report
where
    S: Service<Request<Incoming>, Response = Response<Body>> + Send + Sync + 'static,
    S::Future: Send + 'static,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    run(builder, http, |_| {}, clients)
}

/// The same, with something to do before the server accepts.
pub(crate) fn run<R: Runtime, S>(
    builder: Builder<R>,
    http: Http<S>,
    before: impl FnOnce(&Running),
    clients: impl FnOnce(&Running),
) -> Report
where
    S: Service<Request<Incoming>, Response = Response<Body>> + Send + Sync + 'static,
    S::Future: Send + 'static,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    run_as(
        builder,
        |server| smol::block_on(server.serve_http(http)),
        before,
        clients,
    )
}

/// The same, with any way to serve.
pub(crate) fn run_as<R: Runtime>(
    builder: Builder<R>,
    serve: impl FnOnce(Server<R>) -> Report + Send,
    before: impl FnOnce(&Running),
    clients: impl FnOnce(&Running),
) -> Report {
    let server = builder.bind().expect("a loopback port is free");
    let Some(Address::Tcp(address)) = server.local_addrs().next().cloned() else {
        panic!("it listens on TCP");
    };
    let running = Running {
        address,
        shutdown: server.shutdown(),
    };
    before(&running);
    std::thread::scope(|scope| {
        let serving = scope.spawn(move || serve(server));
        // Also when a client panics: then the test ends, and says so.
        let stop = StopOnDrop(running.shutdown.clone());
        clients(&running);
        drop(stop);
        serving.join().expect("the server does not panic")
    })
}

struct StopOnDrop(Shutdown);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stop("the test is over");
    }
}

impl Running {
    pub(crate) fn connect(&self) -> Client<TcpStream> {
        let stream = TcpStream::connect(self.address).expect("it listens");
        stream.set_read_timeout(Some(LONG)).expect("a time-out");
        // What is sent has arrived.
        stream.set_nodelay(true).expect("it is TCP");
        Client::new(stream)
    }
}

/// A response, as far as tests look at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) closes: bool,
    pub(crate) body: Vec<u8>,
}

/// A client that reads responses one by one.
pub(crate) struct Client<S> {
    pub(crate) stream: S,
    read: Vec<u8>,
}

impl<S: Read + Write> Client<S> {
    pub(crate) fn new(stream: S) -> Client<S> {
        Client {
            stream,
            read: Vec::new(),
        }
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the server reads");
    }

    /// Reads some more; false at the end.
    fn fill(&mut self) -> io::Result<bool> {
        let mut buffer = [0; 64 * 1024];
        let n = self.stream.read(&mut buffer)?;
        self.read.extend_from_slice(&buffer[..n]);
        Ok(n > 0)
    }

    fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = self.read.windows(2).position(|two| two == b"\r\n") {
                let line = self.read.drain(..end + 2).take(end).collect();
                return Ok(String::from_utf8(line).expect("a head is text"));
            }
            if !self.fill()? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    pub(crate) fn bytes(&mut self, length: usize) -> io::Result<Vec<u8>> {
        while self.read.len() < length {
            if !self.fill()? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(self.read.drain(..length).collect())
    }

    /// Reads to the end of the next `last`, and returns all of it.
    #[track_caller]
    pub(crate) fn until(&mut self, last: &[u8]) -> String {
        loop {
            let found = self.read.windows(last.len()).position(|part| part == last);
            if let Some(at) = found {
                let text = self.read.drain(..at + last.len()).collect();
                return String::from_utf8(text).expect("it is text");
            }
            assert!(self.fill().expect("the server goes on"), "it has ended");
        }
    }

    /// Reads one response; interim ones are passed over.
    #[track_caller]
    pub(crate) fn answer(&mut self) -> Answer {
        match self.try_answer() {
            Ok(answer) => answer,
            Err(error) => panic!("no response: {error}; read: {:?}", self.read),
        }
    }

    pub(crate) fn try_answer(&mut self) -> io::Result<Answer> {
        let mut head = vec![self.line()?];
        while let Some(line) = Some(self.line()?).filter(|line| !line.is_empty()) {
            head.push(line.to_ascii_lowercase());
        }
        // One word or another, not both.
        let connection = head.iter().filter(|line| line.starts_with("connection:"));
        let connection: String = connection.map(|line| &line[11..]).collect();
        let says = |word| connection.contains(word);
        assert!(!says("close") || !says("keep-alive"), "{connection}");
        let status = head[0][9..12].parse().expect("a status");
        if status == 100 {
            return self.try_answer();
        }
        let value = |name: &str| {
            let mut lines = head.iter();
            lines.find_map(|line| line.strip_prefix(name).map(|value| value.trim().to_owned()))
        };
        let body = match (value("content-length:"), value("transfer-encoding:")) {
            (Some(length), _) => self.bytes(length.parse().expect("a length"))?,
            (None, Some(_)) => self.chunks()?,
            _ => Vec::new(),
        };
        Ok(Answer {
            status,
            closes: says("close"),
            body,
        })
    }

    fn chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let size = self.line()?;
            let size = usize::from_str_radix(&size, 16).expect("the size of a chunk");
            body.extend(self.bytes(size)?);
            self.line()?;
            if size == 0 {
                return Ok(body);
            }
        }
    }

    #[track_caller]
    pub(crate) fn expect_end(&mut self) {
        match self.fill() {
            Ok(false) => assert_eq!(self.read, b"", "the end is all that comes"),
            Ok(true) => panic!("no end: {:?}", String::from_utf8_lossy(&self.read)),
            Err(error) => panic!("no orderly end: {error}"),
        }
    }

    #[track_caller]
    pub(crate) fn exchange(&mut self, request: &[u8]) -> Answer {
        self.send(request);
        self.answer()
    }
}

pub(crate) const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";
