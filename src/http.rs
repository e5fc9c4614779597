//! HTTP/1.1 and HTTP/2 without loss, through [hyper](https://hyper.rs).
//!
//! ```no_run
//! use hyper::body::Incoming;
//! use hyper::service::service_fn;
//! use hyper::{Request, Response};
//! use lameduck::http::Http;
//! use lameduck::{Report, Server, runtimes::smol::Smol};
//! use std::convert::Infallible;
//!
//! async fn hello(_: Request<Incoming>) -> Result<Response<String>, Infallible> {
//!     Ok(Response::new("hello\n".to_owned()))
//! }
//!
//! fn main() -> Result<Report, Box<dyn std::error::Error>> {
//!     let server = Server::builder(Smol).listen("127.0.0.1:8080").bind()?;
//!     Ok(smol::block_on(server.serve_http(Http::new(service_fn(hello)))))
//! }
//! ```
//!
//! # What is kept at a stop
//! - Every request of which a byte had arrived is answered, in whatever state
//!   the stop finds it: half a head, half a body, pipelined behind others, in the
//!   accept queue. HTTP/2 is ended with two GOAWAYs, the first of which refuses
//!   nothing.
//! - `Connection: close` stands on the last response only
//!   ([F75](crate::docs::faults#f75)): whatever had arrived behind a request is
//!   answered first.
//! - A client of HTTP/1 that ends its side after its request gets its response. One of
//!   HTTP/2 does not: it has to acknowledge what it is sent, and cannot.
//! - An upgrade in flight is answered with 101, and the upgraded connection is
//!   waited for: see [`on_upgrade`].
//! - Idle connections are ended at once, also such as have never said anything, or
//!   nothing but the empty lines that may come before a request (RFC 9112, section 2.2).
//!
//! # What is not
//! A request that crosses the end of an idle connection on its way cannot be
//! saved by a server ([F17](crate::docs::faults#f17)); it can be made rare. With
//! a [`lame_duck`](crate::Builder::lame_duck) time, responses announce the close
//! while connections are still accepted, so that clients and balancers leave by
//! themselves; [`Http::settle`] reads idle connections on for a while. An answer
//! without an end is ended by the program:
//! [`ConnectionInfo::until_draining`].

mod driver;
mod error;
mod framing;
mod grpc;
mod h1;
mod h2;
mod health;
mod hold;
mod info;
mod options;
mod rt;
mod serve;
mod service;
mod state;
mod stream_idle;
mod streams;
mod tower;
mod upgrade;
mod wire;

use std::fmt;
use std::future::Future;
use std::time::Duration;

use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::Service;
use hyper::{Request, Response};

use self::driver::Common;
pub use self::error::Error;
pub use self::health::{Health, HealthPaths};
use self::info::Local;
pub use self::info::{ConnectionInfo, UntilDraining};
pub use self::options::Announce;
use self::options::{MaxAge, Options};
use self::rt::HyperTimer;
pub use self::rt::StreamExecutor;
pub use self::tower::{Tower, TowerResponse};
pub use self::upgrade::{UpgradeError, Upgraded, on_upgrade};
use crate::address::Address;
use crate::report::Report;
use crate::rt::{Connection, Runtime};
use crate::server::timer::Clock;
use crate::server::{BoxError, Server};
use crate::session::Session;
use crate::sync::plain::Arc;

/// A service for HTTP, and how its connections are served.
///
/// ```
/// use hyper::service::service_fn;
/// use hyper::{Request, Response, body::Incoming};
/// use lameduck::http::{HealthPaths, Http};
/// use std::convert::Infallible;
/// use std::time::Duration;
///
/// let service = service_fn(|_: Request<Incoming>| async {
///     Ok::<_, Infallible>(Response::new(String::new()))
/// });
/// let http = Http::new(service)
///     .health(HealthPaths::default())
///     .keep_alive_timeout(Duration::from_secs(75))
///     .max_age(Duration::from_secs(3600), 0.1)
///     .http1(|http1| _ = http1.max_headers(50))
///     .http2(|http2| _ = http2.max_concurrent_streams(100));
/// # drop(http);
/// ```
#[must_use = "it serves only once it is given to `serve_http`"]
pub struct Http<S> {
    shared: Shared<S>,
}

/// What all connections share.
struct Shared<S> {
    service: S,
    health: Option<HealthPaths>,
    options: Options,
    protocol: Protocol,
    http1: http1::Builder,
    http2: Option<Configure>,
}

type Configure = Box<dyn Fn(&mut http2::Builder<StreamExecutor>) + Send + Sync>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Any,
    Http1,
    Http2,
}

/// Sets the options of hyper on which the driver relies.
fn set_what_is_ours(http1: &mut http1::Builder) {
    http1
        // The driver has a timer of its own, which leaves idle connections alone.
        .header_read_timeout(None)
        // The driver is to know which responses announce the close.
        .keep_alive(true)
        // It hides the peer's end itself while something is in flight.
        .half_close(false)
        // hyper would keep responses to itself while a part of the next request is
        // there, and lose them when it gives the connection back.
        .pipeline_flush(false);
}

impl<S> Http<S> {
    fn options_mut(&mut self) -> &mut Options {
        &mut self.shared.options
    }

    /// Creates it from a service of hyper. One of tower is taken by [`Http::tower`].
    pub fn new(service: S) -> Http<S> {
        let mut http1 = http1::Builder::new();
        set_what_is_ours(&mut http1);
        Http {
            shared: Shared {
                service,
                health: None,
                options: Options::default(),
                protocol: Protocol::Any,
                http1,
                http2: None,
            },
        }
    }

    /// Answers for readiness and liveness on these paths, before the service is
    /// asked. Default: all paths are the service's.
    pub fn health(mut self, paths: HealthPaths) -> Http<S> {
        self.shared.health = Some(paths);
        self
    }

    /// Sets the phase from which on connections announce that they close.
    /// Default: from the lame duck on.
    pub fn announce(mut self, announce: Announce) -> Http<S> {
        self.options_mut().announce = announce;
        self
    }

    /// Sets the longest time that a head may take, from its first byte on; a
    /// connection that takes longer is closed. Default: 30 s.
    pub fn header_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Http<S> {
        self.options_mut().header_timeout = timeout.into();
        self
    }

    /// Sets whether a connection of HTTP/1 is used for more than one request.
    /// Default: true. Without, each response announces the close, and requests that
    /// a client sends behind its first one are not answered.
    pub fn keep_alive(mut self, keep_alive: bool) -> Http<S> {
        self.options_mut().keep_alive = keep_alive;
        self
    }

    /// Sets the longest time that a connection may wait for its next request,
    /// or for its first. Default: no limit.
    pub fn keep_alive_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Http<S> {
        self.options_mut().keep_alive_timeout = timeout.into();
        self
    }

    /// Sets whether a client of HTTP/1 is answered that has ended its side of the
    /// connection behind its request, as `nc` and some proxies do. Default: yes.
    ///
    /// A client that has gone away looks the same until something is written to it. So
    /// by default the work for its request goes on, also in a stop. With `false`, the
    /// future of the service is dropped when a client ends its side, as by hyper alone,
    /// and a client that only awaits its response loses it.
    pub fn half_close(mut self, half_close: bool) -> Http<S> {
        self.options_mut().half_close = half_close;
        self
    }

    /// Sets the longest age of a connection, so that clients connect again, to
    /// other servers as well. It is then drained: what had arrived is answered, and
    /// the next response announces the close. Default: no limit.
    ///
    /// An HTTP/1 connection without a next request is ended once it has been idle
    /// for a second, or for a shorter [`keep_alive_timeout`](Http::keep_alive_timeout).
    ///
    /// `jitter`, from 0 to 1, is the part of the age by which connections end
    /// earlier, each by another share of it.
    pub fn max_age(mut self, age: Duration, jitter: f64) -> Http<S> {
        let jitter = jitter.clamp(0.0, 1.0);
        self.options_mut().max_age = Some(MaxAge { age, jitter });
        self
    }

    /// Sets the time for which a connection is still read after a response that
    /// did not announce the close. Default: none, since it puts off the end of
    /// the stop. It is never below 100 ms where the response has ended in the stop,
    /// such as server-sent events that end with
    /// [`until_draining`](ConnectionInfo::until_draining).
    /// [`Builder::settle`](crate::Builder::settle) is the same for what was idle at
    /// the stop.
    pub fn settle(mut self, settle: Duration) -> Http<S> {
        self.options_mut().settle = settle;
        self
    }

    /// Sets the longest time to wait for the answer to the ping that comes with a
    /// GOAWAY, while no stream is open. Default: 2 s. Without an answer the connection ends
    /// then; a second GOAWAY names the last stream that was read, as it does behind an answer.
    pub fn goaway_timeout(mut self, timeout: Duration) -> Http<S> {
        self.options_mut().goaway_timeout = timeout;
        self
    }

    /// Sets whether a panic in a stream of HTTP/2 stops the server, as
    /// [`Builder::stop_on_panic`](crate::Builder::stop_on_panic) does for connections.
    /// [`serve_http`](Server::serve_http) takes it from the builder. Default: false.
    pub fn stop_on_panic(mut self, stop: bool) -> Http<S> {
        self.options_mut().stop_on_panic = stop;
        self
    }

    /// Serves HTTP/1 alone.
    pub fn http1_only(mut self) -> Http<S> {
        self.shared.protocol = Protocol::Http1;
        self
    }

    /// Serves HTTP/2 alone.
    pub fn http2_only(mut self) -> Http<S> {
        self.shared.protocol = Protocol::Http2;
        self
    }

    /// Changes hyper's own options for HTTP/1, such as its limits.
    ///
    /// Four of them have no effect, since they would lose requests or responses at
    /// a stop: `pipeline_flush`; and `header_read_timeout`, `keep_alive` and `half_close`,
    /// in place of which there are [`header_timeout`](Http::header_timeout),
    /// [`keep_alive`](Http::keep_alive) and [`half_close`](Http::half_close).
    pub fn http1(mut self, configure: impl FnOnce(&mut http1::Builder)) -> Http<S> {
        configure(&mut self.shared.http1);
        set_what_is_ours(&mut self.shared.http1);
        self
    }

    /// Changes hyper's own options for HTTP/2, such as its limits. It is called
    /// for each connection.
    pub fn http2(
        mut self,
        configure: impl Fn(&mut http2::Builder<StreamExecutor>) + Send + Sync + 'static,
    ) -> Http<S> {
        self.shared.http2 = Some(Box::new(configure));
        self
    }
}

impl<S> Http<Tower<S>> {
    /// Creates it from a service of tower, such as axum's `Router`.
    ///
    /// It is cloned for each request, as tower expects, and may answer with any
    /// body: `Router` takes requests with a body of its own, see
    /// `examples/axum/`. A router with a state is a service once it has it, by axum's
    /// `with_state`. It is the router itself that is given, and not what makes a service for
    /// each connection, such as `into_make_service`.
    pub fn tower(service: S) -> Http<Tower<S>> {
        Http::new(Tower(service))
    }
}

impl<S, B> Http<S>
where
    S: Service<Request<Incoming>, Response = Response<B>> + Send + Sync + 'static,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    /// Returns a handler for [`Server::serve`], for a server that speaks other protocols
    /// as well, each on listeners of its own.
    ///
    /// `local_addrs` are the addresses of all listeners, in their order, for
    /// [`ConnectionInfo::local_addr`].
    ///
    /// ```
    /// use futures::future::BoxFuture;
    /// use hyper::body::Incoming;
    /// use hyper::service::service_fn;
    /// use hyper::{Request, Response};
    /// use lameduck::http::Http;
    /// use lameduck::runtimes::smol::{Connection, Smol};
    /// use lameduck::{Report, Server, Session};
    /// use smol::io::AsyncWriteExt;
    /// use std::convert::Infallible;
    /// use std::error::Error;
    ///
    /// async fn hello(_: Request<Incoming>) -> Result<Response<String>, Infallible> {
    ///     Ok(Response::new("hello\n".to_owned()))
    /// }
    ///
    /// async fn echo(mut session: Session<Connection>) -> std::io::Result<()> {
    ///     let mut buffer = [0; 4096];
    ///     while let Some(n) = session.read_or_drain(&mut buffer).await? {
    ///         session.write_all(&buffer[..n]).await?;
    ///     }
    ///     Ok(())
    /// }
    ///
    /// async fn serve() -> Result<Report, Box<dyn Error + Send + Sync>> {
    ///     let server = Server::builder(Smol)
    ///         .listen("127.0.0.1:0") // HTTP
    ///         .listen("127.0.0.1:0") // echo
    ///         .bind()?;
    ///     # server.shutdown().stop("done");
    ///     let local_addrs: Vec<_> = server.local_addrs().cloned().collect();
    ///     let http = Http::new(service_fn(hello)).into_handler(Smol, local_addrs);
    ///     let handler = move |session: Session<Connection>| {
    ///         let served: BoxFuture<'static, Result<(), Box<dyn Error + Send + Sync>>> =
    ///             match session.listener_index() {
    ///                 0 => {
    ///                     let served = http(session);
    ///                     Box::pin(async { Ok(served.await?) })
    ///                 }
    ///                 _ => Box::pin(async { Ok(echo(session).await?) }),
    ///             };
    ///         served
    ///     };
    ///     Ok(server.serve(handler).await)
    /// }
    /// # let report = smol::block_on(serve()).unwrap();
    /// # assert_eq!(report.exit_status(), 0, "{report}");
    /// ```
    pub fn into_handler<R: Runtime, C: Connection>(
        self,
        runtime: R,
        local_addrs: impl IntoIterator<Item = Address>,
    ) -> impl Fn(Session<C>) -> ServeSession + Send + Sync + 'static {
        let handler = Handler::new(self.shared, runtime, local_addrs);
        move |session| Box::pin(handler.serve(session))
    }
}

/// What serves connections, and what that needs.
struct Handler<R, S> {
    shared: Arc<Shared<S>>,
    runtime: R,
    common: Arc<Common<R>>,
    /// By the index of the listener.
    listeners: Vec<Arc<Local>>,
}

impl<R: Runtime, S> Handler<R, S> {
    fn new(
        shared: Shared<S>,
        runtime: R,
        local_addrs: impl IntoIterator<Item = Address>,
    ) -> Handler<R, S> {
        let local = |address| Arc::new(Self::local(&runtime, address, &shared.options));
        let listeners = local_addrs.into_iter().map(local).collect();
        let common = Common {
            options: shared.options,
            clock: Clock::new(runtime.clone()),
        };
        Handler {
            shared: Arc::new(shared),
            common: Arc::new(common),
            listeners,
            runtime,
        }
    }

    fn local(runtime: &R, address: Address, options: &Options) -> Local {
        let runtime = runtime.clone();
        Local {
            address,
            timer: Box::new(HyperTimer(runtime.clone())),
            spawn: Box::new(move |task| runtime.spawn(task)),
            stops_on_panic: options.stop_on_panic,
        }
    }

    fn serve<C: Connection, B>(
        &self,
        session: Session<C>,
    ) -> impl Future<Output = Result<(), Error>> + Send + use<R, S, C, B>
    where
        S: Service<Request<Incoming>, Response = Response<B>> + Send + Sync + 'static,
        S::Future: Send + 'static,
        S::Error: Into<BoxError>,
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<BoxError>,
    {
        let local = self.listeners.get(session.listener_index()).cloned();
        let local = local.unwrap_or_else(|| {
            let options = &self.shared.options;
            Arc::new(Self::local(&self.runtime, Address::Unix(None), options))
        });
        let common = (self.runtime.clone(), self.common.clone());
        serve::serve(self.shared.clone(), common, local, session)
    }
}

/// The work of one connection; see [`Http::into_handler`].
pub type ServeSession =
    std::pin::Pin<Box<dyn Future<Output = Result<(), Error>> + Send + 'static>>;

impl<R: Runtime> Server<R> {
    /// Serves HTTP until it is stopped, and completes with the report: as
    /// [`serve`](Server::serve), with a service in place of a handler.
    ///
    /// See the [module](crate::http) for what is kept at a stop.
    #[cfg_attr(docsrs, doc(cfg(feature = "http")))]
    pub fn serve_http<S, B>(self, http: Http<S>) -> impl Future<Output = Report> + Send
    where
        S: Service<Request<Incoming>, Response = Response<B>> + Send + Sync + 'static,
        S::Future: Send + 'static,
        S::Error: Into<BoxError>,
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<BoxError>,
    {
        let local_addrs: Vec<_> = self.local_addrs().cloned().collect();
        let mut http = http;
        http.options_mut().stop_on_panic |= self.stop_on_panic();
        let handler = Handler::new(http.shared, self.runtime().clone(), local_addrs);
        // In no box: the task of a connection has the room.
        self.serve(move |session| handler.serve(session))
    }
}

impl<S> fmt::Debug for Http<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut http = f.debug_struct("Http");
        http.field("options", &self.shared.options);
        http.field("protocol", &self.shared.protocol);
        http.finish_non_exhaustive()
    }
}
