//! The driver of an HTTP/2 connection.
//!
//! The graceful shutdown of hyper is right here: a GOAWAY that refuses nothing,
//! a ping, and with its answer the GOAWAY that names the last stream. All that
//! had arrived comes before that answer. Where none comes in time, the wire writes that
//! GOAWAY: hyper has no way to.

use std::future::Future;
use std::panic::resume_unwind;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::Service;
use hyper::{Request, Response};
use log::debug;
use pin_project_lite::pin_project;

use super::driver::{Driver, Due};
use super::error::Error;
use super::h1::unbox;
use super::info::Origin;
use super::rt::{HyperTimer, StreamExecutor};
use super::service::CountedService;
use super::state::State;
use super::wire::Wire;
use super::{BoxError, Shared};
use crate::rt::{Connection, Runtime};
use crate::session::Session;
use crate::sync::plain::Arc;

type Hyper<C, S> = http2::Connection<Wire<C>, CountedService<S>, StreamExecutor>;

pin_project! {
    /// The work of a connection, by hand: an `async fn` would keep room for its arguments,
    /// and for what polls hyper.
    pub(super) struct Serve<H, R: Runtime> {
        #[pin]
        hyper: H,
        driver: Driver<R>,
        state: Arc<State>,
        // The peer was told of the end of the connection.
        was_told: bool,
    }
}

/// Serves a session, of which some bytes were read before; both are in a box, as for
/// HTTP/1.
pub(super) fn serve<R, C, S, B>(
    shared: &Arc<Shared<S>>,
    runtime: R,
    driver: Box<Driver<R>>,
    origin: Origin,
    found: Box<(Session<C>, Bytes)>,
) -> Serve<Hyper<C, S>, R>
where
    R: Runtime,
    C: Connection,
    S: Service<Request<Incoming>, Response = Response<B>> + Send + Sync + 'static,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    let state = Arc::new(State::http2(origin, driver.options()));
    let service = CountedService {
        shared: shared.clone(),
        state: state.clone(),
    };
    let (session, prefix) = unbox(found);
    let wire = Wire::new(session, prefix, state.clone());
    let executor = StreamExecutor::new(state.clone());
    let mut builder = http2::Builder::new(executor);
    if let Some(configure) = &shared.http2 {
        // Only pings to the peer need it, which are an option.
        builder.timer(HyperTimer(runtime));
        configure(&mut builder);
    }
    let mut driver = unbox(driver);
    driver.opens();
    Serve {
        hyper: builder.serve_connection(wire, service),
        driver,
        state,
        was_told: false,
    }
}

impl<R, C, S, B> Future for Serve<Hyper<C, S>, R>
where
    R: Runtime,
    C: Connection,
    S: Service<Request<Incoming>, Response = Response<B>> + Send + Sync + 'static,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    type Output = Result<(), Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let this = self.project();
        let (driver, state) = (this.driver, this.state);
        let ended = ready!(poll(this.hyper, driver, state, this.was_told, cx));
        // By the stop, and not by its age; maybe in the lame duck already.
        if *this.was_told && !driver.handle.shutdown().is_ready() {
            driver.facts().set_drained();
        }
        if let Some(panic) = state.take_panic() {
            // The server counts it, as it counts that of an HTTP/1 handler.
            resume_unwind(panic);
        }
        Poll::Ready(match ended {
            Ok(result) => Error::of_hyper(result, state.origin.id()),
            Err(due) => {
                let what = match due {
                    Due::Head => "a head has taken too long",
                    _ => "the peer answers neither SETTINGS nor the ping of a GOAWAY",
                };
                debug!("#{}: {what}", state.origin.id());
                Ok(())
            }
        })
    }
}

/// Polls hyper; an error says what the peer has taken too long for.
fn poll<R, C, S, B>(
    mut hyper: Pin<&mut Hyper<C, S>>,
    driver: &mut Driver<R>,
    state: &State,
    was_told: &mut bool,
    cx: &mut Context<'_>,
) -> Poll<Result<hyper::Result<()>, Due>>
where
    R: Runtime,
    C: Connection,
    S: Service<Request<Incoming>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    loop {
        if state.has_panicked() {
            // Its other streams end in order, and then the panic is counted.
            driver.retire();
        }
        // A connection that is new to a lame duck is told with its first
        // request: a client that is told at once would only come again.
        let announces = driver.announces() && state.calls() > 0;
        let is_settled = driver.is_settled();
        let ends = is_settled || driver.is_retired();
        let ends_idle = ends && !driver.awaits_first(state, ends);
        if !*was_told && (ends_idle || announces) {
            *was_told = true;
            hyper.as_mut().graceful_shutdown();
            driver.told();
            state.set_announces(true);
        }
        driver.facts().set_found_nothing(false);
        if is_settled {
            state.hold_back(driver.holds_back(state));
            state.begin_look();
            driver.await_first_data(state);
        }
        let calls = state.calls();
        if let Poll::Ready(result) = state.drive(|| hyper.as_mut().poll(cx)) {
            return Poll::Ready(Ok(result));
        }
        if is_settled && driver.facts().found_nothing() {
            state.end_look();
        }
        if is_settled && state.is_held_back() && !driver.holds_back(state) {
            continue;
        }
        if *was_told {
            state.watch_in_flight(cx);
        }
        driver.observe(state);
        if !driver.awaits_first(state, ends) && ends && !*was_told {
            continue;
        }
        if !*was_told && calls == 0 && state.calls() > 0 && driver.announces() {
            continue;
        }
        match driver.poll_due(cx) {
            Poll::Ready(Due::Head) => return Poll::Ready(Err(Due::Head)),
            Poll::Ready(Due::Goaway) => {
                *was_told = true;
                // hyper names the last stream only with the answer to its ping, and this with
                // the next read. A request that was not read is then known to be refused.
                state.end_input();
                let _ = state.drive(|| hyper.as_mut().poll(cx));
                return Poll::Ready(Err(Due::Goaway));
            }
            Poll::Ready(Due::FirstData) => {
                state.end_first();
                continue;
            }
            Poll::Ready(_) => continue,
            Poll::Pending => {}
        }
        if driver.poll_announcing(cx).is_pending() {
            return Poll::Pending;
        }
        if !*was_told && state.calls() > 0 {
            continue;
        }
        if driver.poll_stop(cx, is_settled).is_pending() {
            return Poll::Pending;
        }
    }
}
