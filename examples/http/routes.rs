//! The service: what each path answers.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{self, Stream, StreamExt};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE};
use hyper::service::Service;
use hyper::{Method, Request, Response, StatusCode};
use lameduck::Runtime;
use lameduck::http::ConnectionInfo;

use crate::websocket;

pub(crate) type Body = UnsyncBoxBody<Bytes, Infallible>;

/// The longest body that is sent back.
const BODY_LIMIT: usize = 16 * 1024 * 1024;
const LARGE: usize = 4 * 1024 * 1024;

#[derive(Clone)]
pub(crate) struct Routes<R> {
    runtime: R,
    large: Bytes,
}

impl<R: Runtime> Routes<R> {
    pub(crate) fn new(runtime: R) -> Routes<R> {
        Routes {
            runtime,
            large: Bytes::from(vec![b'x'; LARGE]),
        }
    }

    async fn answer(self, request: Request<Incoming>) -> Response<Body> {
        match (request.method(), request.uri().path()) {
            (&Method::GET, "/") => text("hello\n"),
            (&Method::POST, "/") => body_back(request.into_body()).await,
            (&Method::GET, "/large") => Response::new(full(self.large)),
            (&Method::GET, "/slow") => self.slow(request.uri().query()).await,
            (&Method::GET, "/stream") => self.events(&request),
            (&Method::GET, "/ws") => websocket::upgrade(request),
            _ => status(StatusCode::NOT_FOUND),
        }
    }

    async fn slow(self, query: Option<&str>) -> Response<Body> {
        let ms = query.and_then(|query| query.strip_prefix("ms="));
        let Some(ms) = ms.and_then(|ms| ms.parse().ok()) else {
            return status(StatusCode::BAD_REQUEST);
        };
        self.sleep(Duration::from_millis(ms)).await;
        text("slow\n")
    }

    async fn sleep(&self, time: Duration) {
        let at = self.runtime.now().checked_add(time);
        match at {
            Some(at) => self.runtime.sleep_until(at).await,
            None => std::future::pending().await,
        }
    }

    /// One event a second, until the server drains.
    fn events(self, request: &Request<Incoming>) -> Response<Body> {
        let ticks = stream::unfold((self, 0_u64), |(routes, tick)| async move {
            if tick > 0 {
                routes.sleep(Duration::from_secs(1)).await;
            }
            Some((format!("data: {tick}\n\n"), (routes, tick + 1)))
        });
        let events = match request.extensions().get::<ConnectionInfo>() {
            Some(connection) => body_of(connection.until_draining(ticks)),
            None => body_of(ticks),
        };
        let mut response = Response::new(events);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, value("text/event-stream"));
        headers.insert(CACHE_CONTROL, value("no-store"));
        response
    }
}

impl<R: Runtime> Service<Request<Incoming>> for Routes<R> {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let answer = self.clone().answer(request);
        Box::pin(async { Ok(answer.await) })
    }
}

async fn body_back(body: Incoming) -> Response<Body> {
    match Limited::new(body, BODY_LIMIT).collect().await {
        Ok(body) => Response::new(full(body.to_bytes())),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => {
            status(StatusCode::PAYLOAD_TOO_LARGE)
        }
        Err(_) => status(StatusCode::BAD_REQUEST),
    }
}

fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).boxed_unsync()
}

fn body_of(events: impl Stream<Item = String> + Send + 'static) -> Body {
    let frames = events.map(|event| Ok(Frame::data(Bytes::from(event))));
    StreamBody::new(frames).boxed_unsync()
}

fn text(text: &'static str) -> Response<Body> {
    let mut response = Response::new(full(text));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, value("text/plain; charset=utf-8"));
    response
}

pub(crate) fn status(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(full(Bytes::new()));
    *response.status_mut() = status;
    response
}

fn value(text: &'static str) -> hyper::header::HeaderValue {
    hyper::header::HeaderValue::from_static(text)
}
