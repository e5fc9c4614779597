//! What a request can know of its connection, and of the stop.

use std::fmt;
use std::future::Future;
use std::num::NonZeroU32;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_core::Stream;
use hyper::rt::{Sleep, Timer};
use pin_project_lite::pin_project;

use super::rt::Task;
use super::state::State;
use super::stream_idle::StreamIdle;
use crate::address::Address;
use crate::connection::{ConnectionFacts, Describe};
use crate::gate::{Guard, GuardError, PhaseReached, PlainGuard, Shutdown};
use crate::idle::poll_budget;
use crate::session::SessionHandle;
use crate::sync::plain::Arc;
#[cfg(feature = "tls")]
use crate::tls::TlsInfo;

/// The connection that a request came on: an extension of each request.
///
/// It holds a guard of the server, as the request does that it belongs to.
///
/// ```
/// use lameduck::http::ConnectionInfo;
///
/// fn peer<B>(request: &hyper::Request<B>) -> String {
///     match request.extensions().get::<ConnectionInfo>() {
///         Some(connection) => connection.peer_addr().to_string(),
///         None => "a test".to_owned(),
///     }
/// }
/// ```
#[derive(Clone)]
pub struct ConnectionInfo {
    state: Arc<State>,
    /// The stream of HTTP/2, where something of it is still to be read.
    stream: Option<NonZeroU32>,
    messages: Messages,
}

/// What a request says: its response may be one of answers to it.
#[derive(Clone, Copy)]
pub(super) enum Messages {
    /// It has no body.
    None,
    /// Its body is one message, by its type.
    One,
    /// Its body may be a stream of messages.
    Many,
}

/// What the connections of a listener have in common.
pub(super) struct Local {
    pub(super) address: Address,
    pub(super) timer: Box<dyn Timer + Send + Sync>,
    pub(super) spawn: Box<dyn Fn(Task) + Send + Sync>,
    /// A panic in a stream of HTTP/2 stops the server.
    pub(super) stops_on_panic: bool,
}

/// The connection that requests come on, as it is from its beginning on.
pub(super) struct Origin {
    guard: PlainGuard,
    connection: Arc<dyn Describe>,
    local: Arc<Local>,
    #[cfg(feature = "tls")]
    tls: Option<Box<TlsInfo>>,
}

impl Origin {
    pub(super) fn new(
        handle: &SessionHandle,
        local: Arc<Local>,
        #[cfg(feature = "tls")] tls: Option<TlsInfo>,
    ) -> Result<Origin, GuardError> {
        let (guard, connection) = handle.parts()?;
        Ok(Origin {
            guard,
            connection,
            local,
            #[cfg(feature = "tls")]
            tls: tls.map(Box::new),
        })
    }

    /// Returns the same for the next connection of hyper.
    pub(super) fn try_clone(&self) -> Result<Origin, GuardError> {
        Ok(Origin {
            guard: self.guard.try_clone()?,
            connection: self.connection.clone(),
            local: self.local.clone(),
            #[cfg(feature = "tls")]
            tls: self.tls.clone(),
        })
    }

    #[inline]
    pub(super) fn connection(&self) -> &dyn Describe {
        &*self.connection
    }

    #[inline]
    pub(super) fn facts(&self) -> &ConnectionFacts {
        self.connection.facts()
    }

    pub(super) fn id(&self) -> u64 {
        self.facts().id()
    }

    pub(super) fn peer_addr(&self) -> Address {
        self.facts().peer_addr()
    }

    /// Returns the server's gate.
    #[inline]
    pub(super) fn shutdown(&self) -> &Shutdown {
        self.guard.shutdown()
    }

    /// Returns whether a panic in a stream of HTTP/2 stops the server.
    pub(super) fn stops_on_panic(&self) -> bool {
        self.local.stops_on_panic
    }

    /// Spawns a task of the connection.
    pub(super) fn spawn(&self, task: Task) {
        (self.local.spawn)(task);
    }
}

impl ConnectionInfo {
    pub(super) fn new(
        state: Arc<State>,
        stream: Option<NonZeroU32>,
        messages: Messages,
    ) -> ConnectionInfo {
        ConnectionInfo {
            state,
            stream,
            messages,
        }
    }

    #[inline]
    fn origin(&self) -> &Origin {
        &self.state.origin
    }

    /// Returns the number of the connection: see
    /// [`Session::id`](crate::Session::id).
    pub fn id(&self) -> u64 {
        self.origin().id()
    }

    /// Returns the address of the peer.
    pub fn peer_addr(&self) -> Address {
        self.origin().peer_addr()
    }

    /// Returns the address of the listener that accepted the connection.
    pub fn local_addr(&self) -> &Address {
        &self.origin().local.address
    }

    /// Returns what was agreed on by TLS; `None` without TLS.
    #[cfg(feature = "tls")]
    #[cfg_attr(docsrs, doc(cfg(feature = "tls")))]
    pub fn tls(&self) -> Option<&TlsInfo> {
        self.origin().tls.as_deref()
    }

    /// Returns the server's gate: to ask for the stop, or to observe it.
    #[inline]
    pub fn shutdown(&self) -> &Shutdown {
        self.origin().shutdown()
    }

    /// Returns a handle on the session: the idle point of what takes the
    /// connection over, such as a WebSocket of a framework.
    ///
    /// For a request of HTTP/2 with a body its
    /// [`next_or_drain`](SessionHandle::next_or_drain) is the idle point of that stream:
    /// of the messages of a call that go both ways, or of a WebSocket by RFC 8441, which
    /// is not idle in the middle of a message. Whether its work reads the stream is not
    /// seen, so that must not wait for anything else.
    ///
    /// # Errors
    /// [`GuardError::Closed`] once the server is stopped.
    pub fn handle(&self) -> Result<SessionHandle, GuardError> {
        let guard = self.try_guard()?;
        let connection = match self.stream {
            None => self.origin().connection.clone(),
            Some(stream) => Arc::new(StreamIdle::new(self.state.clone(), stream)),
        };
        Ok(SessionHandle::new(guard, connection))
    }

    /// Takes a guard for work that goes on after the response: the server waits for
    /// its drop. It is given while the server drains as well, when requests that had
    /// arrived are still answered, and [`Shutdown::try_guard`] is refused.
    ///
    /// ```
    /// use hyper::Request;
    /// use lameduck::http::ConnectionInfo;
    /// use lameduck::{GuardError, Runtime};
    ///
    /// fn later<B>(request: &Request<B>, runtime: &impl Runtime) -> Result<(), GuardError> {
    ///     if let Some(connection) = request.extensions().get::<ConnectionInfo>() {
    ///         let guard = connection.try_guard()?;
    ///         runtime.spawn(async move {
    ///             // Send the mail, and then:
    ///             drop(guard);
    ///         });
    ///     }
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    /// [`GuardError::Closed`] once the server is stopped.
    pub fn try_guard(&self) -> Result<Guard, GuardError> {
        self.origin().guard.try_guard()
    }

    /// Returns `stream` with an end: once the server drains, and a
    /// [`settle`](crate::Builder::settle) time is over, it ends as soon as it has no item
    /// ready. It is for answers without an end of their own, such as
    /// server-sent events, which would hold the stop until its abort.
    ///
    /// What is ready wins over the stop: events that wait in a channel for a client
    /// who reads slowly are still sent. So a stream that always has an item ready
    /// does not end by this; one of what a client of HTTP/2 sends without a pause ends when
    /// half of the time for connections is over ([F97](crate::docs::faults#f97)). Once it has
    /// ended, it stays ended. An answer that ends by itself, though late, such as a text that
    /// is sent while it is written, needs none of this: it would be cut off.
    ///
    /// **A response that answers the messages of its request**, as in calls of gRPC that go
    /// both ways: put this around the stream of the messages, such as tonic's `Streaming`,
    /// without a [`rest`](UntilDraining::rest), and let the answers end when that does. Then
    /// all messages that had arrived are answered, however long each of them takes. Around
    /// the answers it cannot tell work at a message from the wait for the next one: it ends
    /// where a second has passed without an answer, and not before.
    ///
    /// **The messages of a WebSocket** end by
    /// [`next_or_drain`](SessionHandle::next_or_drain) instead, which does not end them in the
    /// middle of one, nor while `is_idle` knows of answers that are under way elsewhere.
    ///
    /// ```
    /// use futures::channel::mpsc;
    /// use futures::stream::StreamExt;
    /// use lameduck::http::ConnectionInfo;
    ///
    /// # fn events(connection: &ConnectionInfo) {
    /// let (publisher, events) = mpsc::channel::<&str>(100);
    /// let body = connection.until_draining(events);
    /// # drop((publisher, body.map(|event| event.len()))); }
    /// ```
    ///
    /// **A response of another crate** ends if a layer wraps its body, for the paths that have
    /// no end. A call of gRPC needs trailers, which say that it was no success: here the
    /// `Watch` of tonic-health, where `Routes::into_axum_router` takes the layer as
    /// `axum::middleware::from_fn`.
    ///
    /// ```
    /// use axum::body::{Body, HttpBody};
    /// use axum::extract::{Extension, Request};
    /// use axum::http::{HeaderMap, HeaderName, HeaderValue};
    /// use axum::middleware::Next;
    /// use axum::response::Response;
    /// use futures::stream::{self, StreamExt};
    /// use http_body_util::{BodyStream, StreamBody};
    /// use hyper::body::Frame;
    /// use lameduck::http::ConnectionInfo;
    ///
    /// async fn end_of_watch(
    ///     Extension(connection): Extension<ConnectionInfo>,
    ///     request: Request,
    ///     next: Next,
    /// ) -> Response {
    ///     let is_endless = request.uri().path() == "/grpc.health.v1.Health/Watch";
    ///     let response = next.run(request).await;
    ///     // A response that is all head is an error.
    ///     if !is_endless || response.body().is_end_stream() {
    ///         return response;
    ///     }
    ///     response.map(|body| {
    ///         let frames = connection.until_draining(BodyStream::new(body));
    ///         // 14 is UNAVAILABLE. Behind the trailers of the body itself, nothing is sent.
    ///         let unavailable = (HeaderName::from_static("grpc-status"), HeaderValue::from(14));
    ///         let end = Frame::trailers(HeaderMap::from_iter([unavailable]));
    ///         Body::new(StreamBody::new(frames.chain(stream::once(async { Ok(end) }))))
    ///     })
    /// }
    /// ```
    pub fn until_draining<S: Stream>(&self, stream: S) -> UntilDraining<S> {
        UntilDraining {
            stream,
            settled: self.origin().guard.settled(),
            looks: 0,
            has_ended: false,
            given: 0,
            rest: None,
            resting: None,
            connection: self.clone(),
        }
    }

    /// Returns whether all that had arrived at the stop is with its reader.
    /// It is asked before the reader looks: what comes after that had not arrived.
    /// Otherwise the task is woken when it may be.
    fn is_handed_on(&self, cx: &Context<'_>) -> bool {
        self.stream
            .is_none_or(|stream| self.state.is_between_in(stream, cx))
    }

    /// Returns whether so many answers are all that the request calls for, as far as that
    /// is known.
    fn is_answered(&self, answers: u64) -> bool {
        self.stream
            .is_some_and(|stream| self.state.is_answered(stream, answers))
    }

    /// Returns the state of the connection.
    pub(super) fn state(&self) -> &State {
        &self.state
    }
}

impl fmt::Debug for ConnectionInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut info = f.debug_struct("ConnectionInfo");
        info.field("id", &self.id());
        info.field("peer", &self.peer_addr());
        info.field("local", self.local_addr());
        info.finish_non_exhaustive()
    }
}

pin_project! {
    /// A stream that ends when the server drains and no item is ready; see
    /// [`ConnectionInfo::until_draining`].
    #[must_use = "streams do nothing unless polled"]
    pub struct UntilDraining<S> {
        #[pin]
        stream: S,
        settled: PhaseReached,
        // The looks that have found nothing, one after the other.
        looks: u8,
        has_ended: bool,
        // So many items.
        given: u64,
        // As it was set.
        rest: Option<Duration>,
        // The rest, once the looks have found nothing.
        resting: Option<Pin<Box<dyn Sleep>>>,
        connection: ConnectionInfo,
    }
}

impl<S> UntilDraining<S> {
    /// Sets how long the stream must have had no item before it ends, once the server
    /// drains. Default: a second for a request with a body, whose messages may be at work;
    /// none for others, nor for a call of gRPC that has sent all of its messages, and has
    /// had an item for each, nor after the first item for a body that is one message by its
    /// type: JSON, a form of a browser's default type, or gRPC-Web. Around the messages of
    /// the request themselves none is needed.
    ///
    /// ```
    /// use futures::Stream;
    /// use lameduck::http::{ConnectionInfo, UntilDraining};
    /// use std::time::Duration;
    ///
    /// fn messages<S: Stream>(connection: &ConnectionInfo, messages: S) -> UntilDraining<S> {
    ///     connection.until_draining(messages).rest(Duration::ZERO)
    /// }
    /// ```
    pub fn rest(mut self, rest: Duration) -> Self {
        self.rest = Some(rest);
        self
    }
}

/// Returns the rest that was set, or what the request calls for.
fn rest_of(set: Option<Duration>, connection: &ConnectionInfo, given: u64) -> Duration {
    set.unwrap_or_else(|| {
        let is_answered = match connection.messages {
            Messages::None => true,
            Messages::One => given > 0,
            Messages::Many => connection.is_answered(given),
        };
        match is_answered {
            true => Duration::ZERO,
            false => ANSWER,
        }
    })
}

impl<S> fmt::Debug for UntilDraining<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UntilDraining").finish_non_exhaustive()
    }
}

impl<S: Stream> Stream for UntilDraining<S> {
    type Item = S::Item;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<S::Item>> {
        let mut this = self.project();
        if *this.has_ended {
            return Poll::Ready(None);
        }
        loop {
            // Asked before the stream is, which may wait for the rest of the request.
            let was_settled = this.connection.origin().guard.is_settled();
            let is_handed_on = was_settled && this.connection.is_handed_on(cx);
            if let Poll::Ready(item) = this.stream.as_mut().poll_next(cx) {
                (*this.looks, *this.resting, *this.has_ended) = (0, None, item.is_none());
                *this.given += u64::from(item.is_some());
                return Poll::Ready(item);
            }
            if !was_settled {
                ready!(Pin::new(&mut *this.settled).poll(cx));
                continue;
            }
            if !is_handed_on {
                return Poll::Pending;
            }
            ready!(poll_budget(cx));
            *this.looks = this.looks.saturating_add(1).min(LOOKS);
            if *this.looks < LOOKS {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let rest = rest_of(*this.rest, this.connection, *this.given);
            if !rest.is_zero() {
                let timer = &this.connection.origin().local.timer;
                let resting = this.resting.get_or_insert_with(|| timer.sleep(rest));
                ready!(resting.as_mut().poll(cx));
            }
            *this.has_ended = true;
            return Poll::Ready(None);
        }
    }
}

/// How many looks have to find nothing. On HTTP/1 hyper reads a piece of the request,
/// and then asks for the response up to two times.
const LOOKS: u8 = 3;

/// How long the answer to a message may take, where it is not known that one is awaited.
const ANSWER: Duration = Duration::from_secs(1);
