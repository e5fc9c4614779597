//! The service around the user's: it counts requests, announces the close, and
//! answers for the health of the server.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::service::Service;
use hyper::{Method, Request, Response, StatusCode, Version};
use pin_project_lite::pin_project;

use super::Shared;
use super::state::{InFlight, Panic, State};
use crate::sync::plain::Arc;

/// The service of one connection.
pub(crate) struct CountedService<S> {
    pub(super) shared: Arc<Shared<S>>,
    pub(super) state: Arc<State>,
}

impl<S, B> Service<Request<Incoming>> for CountedService<S>
where
    S: Service<Request<Incoming>, Response = Response<B>>,
{
    type Response = Response<CountedBody<B>>;
    type Error = S::Error;
    type Future = CountedResponse<S::Future, B>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        let in_flight = self.state.begin(&mut request);
        let health = self.shared.health.as_ref().and_then(|paths| {
            let shutdown = self.state.origin.shutdown();
            paths.status(request.uri().path(), shutdown)
        });
        let version = request.version();
        let is_connect = *request.method() == Method::CONNECT;
        CountedResponse {
            awaited: match health {
                Some(status) => Awaited::Health { status },
                // Its panic is the request's own, as that of its future is: other
                // streams of HTTP/2 are not called from here.
                None => {
                    let service = &self.shared.service;
                    match catch_unwind(AssertUnwindSafe(|| service.call(request))) {
                        Ok(response) => Awaited::Service { response },
                        Err(panic) => Awaited::Panicked { panic: Some(panic) },
                    }
                }
            },
            ready: None,
            is_connect,
            version,
            looks: 0,
            in_flight: Some(in_flight),
        }
    }
}

pin_project! {
    /// A response that is awaited.
    #[project = ProjectedResponse]
    pub(crate) struct CountedResponse<F, B> {
        #[pin]
        awaited: Awaited<F>,
        // The response, while the driver has to look at the stop: rarely, so it
        // takes no room here.
        ready: Option<Box<Response<Option<B>>>>,
        is_connect: bool,
        version: Version,
        // The looks that it has waited for.
        looks: u8,
        in_flight: Option<InFlight>,
    }
}

pin_project! {
    #[project = Projected]
    enum Awaited<F> {
        Health { status: StatusCode },
        Service { #[pin] response: F },
        Panicked { panic: Option<Panic> },
    }
}

impl<F, B, E> Future for CountedResponse<F, B>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<CountedBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let Some(response) = this.ready.take() {
            return this.poll_give(*response, |body| body, cx);
        }
        match this.awaited.as_mut().project() {
            Projected::Health { status } => {
                let mut response = Response::new(());
                *response.status_mut() = *status;
                this.poll_give(response, |()| None, cx)
            }
            Projected::Panicked { panic } => match panic.take() {
                Some(panic) => resume_unwind(panic),
                None => Poll::Pending,
            },
            Projected::Service { response } => {
                let response = ready!(response.poll(cx))?;
                this.poll_give(response, Some, cx)
            }
        }
    }
}

impl<F, B> ProjectedResponse<'_, F, B> {
    /// Gives a response, whose body gets its type only here: a change of the type copies
    /// the head.
    #[inline]
    fn poll_give<T, E>(
        self,
        mut response: Response<T>,
        body: impl FnOnce(T) -> Option<B>,
        cx: &Context<'_>,
    ) -> Poll<Result<Response<CountedBody<B>>, E>> {
        let in_flight = self.in_flight.take();
        if let Some(state) = in_flight.as_ref().map(InFlight::state) {
            let is_stale = state.is_look_stale();
            if is_stale || state.awaits_look(*self.looks) {
                *self.looks += u8::from(!is_stale);
                *self.ready = Some(Box::new(response.map(body)));
                *self.in_flight = in_flight;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            state.announce(*self.is_connect, *self.version, &mut response);
        }
        Poll::Ready(Ok(response.map(|of_service| CountedBody {
            body: body(of_service),
            in_flight,
        })))
    }
}

pin_project! {
    /// The body of a response, which ends the request when it ends.
    pub(crate) struct CountedBody<B> {
        #[pin]
        body: Option<B>,
        in_flight: Option<InFlight>,
    }
}

impl<B: Body> Body for CountedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let this = self.project();
        let Some(body) = this.body.as_pin_mut() else {
            return Poll::Ready(None);
        };
        let frame = ready!(body.poll_frame(cx));
        if !matches!(frame, Some(Ok(_))) {
            *this.in_flight = None;
        }
        Poll::Ready(frame)
    }

    // Both are passed on: without them hyper would send chunks where the length
    // is known.
    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        match &self.body {
            Some(body) => body.size_hint(),
            None => SizeHint::with_exact(0),
        }
    }
}
