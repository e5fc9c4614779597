//! Services of tower under hyper.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use hyper::Request;
use hyper::body::Incoming;
use hyper::service::Service;
use pin_project_lite::pin_project;

/// A service of tower, such as axum's `Router` or tonic's `Routes`; see
/// [`Http::tower`](super::Http::tower).
#[derive(Clone, Debug)]
pub struct Tower<S>(pub(super) S);

impl<S> Service<Request<Incoming>> for Tower<S>
where
    S: tower_service::Service<Request<Incoming>> + Clone,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = TowerResponse<S>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        TowerResponse {
            state: State::Readying {
                service: self.0.clone(),
                request: Some(request),
            },
        }
    }
}

pin_project! {
    /// The response of a service that is awaited to be ready, and then called.
    pub struct TowerResponse<S: tower_service::Service<Request<Incoming>>> {
        #[pin]
        state: State<S, S::Future>,
    }
}

pin_project! {
    #[project = Projected]
    enum State<S, F> {
        Readying { service: S, request: Option<Request<Incoming>> },
        Called { #[pin] response: F },
    }
}

impl<S: tower_service::Service<Request<Incoming>>> Future for TowerResponse<S> {
    type Output = Result<S::Response, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            match state.as_mut().project() {
                Projected::Called { response } => return response.poll(cx),
                Projected::Readying { service, request } => {
                    ready!(service.poll_ready(cx))?;
                    let Some(request) = request.take() else {
                        return Poll::Pending;
                    };
                    let response = service.call(request);
                    state.set(State::Called { response });
                }
            }
        }
    }
}

impl<S: tower_service::Service<Request<Incoming>>> std::fmt::Debug for TowerResponse<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TowerResponse").finish_non_exhaustive()
    }
}
