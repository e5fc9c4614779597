//! What a request can know of its connection, and of the stop.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use pin_project_lite::pin_project;

use super::stream_idle::StreamIdle;
use super::upgrade::UpgradeSlot;
use crate::address::Address;
use crate::connection::{ConnectionFacts, Describe};
use crate::gate::{Guard, GuardError, PhaseReached, Shutdown};
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
pub struct ConnectionInfo(Arc<Inner>);

struct Inner {
    handle: SessionHandle,
    local: Arc<Address>,
    #[cfg(feature = "tls")]
    tls: Option<Box<TlsInfo>>,
    upgrade: UpgradeSlot,
}

impl ConnectionInfo {
    pub(super) fn new(
        handle: SessionHandle,
        local: Arc<Address>,
        #[cfg(feature = "tls")] tls: Option<TlsInfo>,
    ) -> ConnectionInfo {
        ConnectionInfo(Arc::new(Inner {
            handle,
            local,
            #[cfg(feature = "tls")]
            tls: tls.map(Box::new),
            upgrade: UpgradeSlot::default(),
        }))
    }

    /// Returns what a request knows of the connection whose stream is read on.
    pub(super) fn of_stream(&self, idle: StreamIdle) -> Result<ConnectionInfo, GuardError> {
        let inner = &*self.0;
        Ok(ConnectionInfo(Arc::new(Inner {
            handle: inner.handle.of_part(Arc::new(idle))?,
            local: inner.local.clone(),
            #[cfg(feature = "tls")]
            tls: inner.tls.clone(),
            upgrade: UpgradeSlot::default(),
        })))
    }

    /// Returns the number of the connection: see
    /// [`Session::id`](crate::Session::id).
    pub fn id(&self) -> u64 {
        self.0.handle.id()
    }

    /// Returns the address of the peer.
    pub fn peer_addr(&self) -> Address {
        self.0.handle.peer_addr()
    }

    /// Returns the address of the listener that accepted the connection.
    pub fn local_addr(&self) -> &Address {
        &self.0.local
    }

    /// Returns what was agreed on by TLS; `None` without TLS.
    #[cfg(feature = "tls")]
    #[cfg_attr(docsrs, doc(cfg(feature = "tls")))]
    pub fn tls(&self) -> Option<&TlsInfo> {
        self.0.tls.as_deref()
    }

    /// Returns the server's gate: to ask for the stop, or to observe it.
    pub fn shutdown(&self) -> &Shutdown {
        self.0.handle.shutdown()
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
        self.0.handle.try_clone()
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
        self.0.handle.try_guard()
    }

    /// Returns `stream` with an end: once the server drains, it ends as soon as it
    /// has no item ready. It is for answers without an end of their own, such as
    /// server-sent events, which would hold the stop until its abort.
    ///
    /// What is ready wins over the stop: events that wait in a channel for a client
    /// who reads slowly are still sent. So a stream that always has an item ready
    /// does not end by this. Once it has ended, it stays ended. Where it answers the
    /// messages of its own request, as in calls of gRPC that go both ways, those that had
    /// arrived are answered.
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
    pub fn until_draining<S: Stream>(&self, stream: S) -> UntilDraining<S> {
        UntilDraining {
            stream,
            draining: self.0.handle.draining(),
            looks: 0,
            connection: self.clone(),
        }
    }

    /// Returns whether all that had arrived at the stop is with its reader.
    fn is_handed_on(&self, cx: &Context<'_>) -> bool {
        self.0.handle.is_handed_on(cx)
    }

    pub(super) fn connection(&self) -> &dyn Describe {
        self.0.handle.connection()
    }

    pub(super) fn facts(&self) -> &ConnectionFacts {
        self.connection().facts()
    }

    pub(super) fn upgrade_slot(&self) -> &UpgradeSlot {
        &self.0.upgrade
    }
}

impl fmt::Debug for ConnectionInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut info = f.debug_struct("ConnectionInfo");
        info.field("id", &self.id());
        info.field("peer", &self.peer_addr());
        info.field("local", &self.0.local);
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
        draining: PhaseReached,
        // The looks that have found nothing, one after the other. As many as it takes:
        // the stream has ended.
        looks: u8,
        connection: ConnectionInfo,
    }
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
        if *this.looks == LOOKS {
            return Poll::Ready(None);
        }
        loop {
            // Asked before the stream is, which may wait for the rest of the request.
            let was_draining = this.connection.0.handle.is_draining();
            let is_handed_on = was_draining && this.connection.is_handed_on(cx);
            if let Poll::Ready(item) = this.stream.as_mut().poll_next(cx) {
                *this.looks = if item.is_some() { 0 } else { LOOKS };
                return Poll::Ready(item);
            }
            if !was_draining {
                ready!(Pin::new(&mut *this.draining).poll(cx));
                continue;
            }
            if is_handed_on {
                ready!(poll_budget(cx));
                *this.looks += 1;
                if *this.looks == LOOKS {
                    return Poll::Ready(None);
                }
                cx.waker().wake_by_ref();
            }
            return Poll::Pending;
        }
    }
}

/// How many looks have to find nothing. On HTTP/1 hyper reads a piece of the request,
/// and then asks for the response up to two times.
const LOOKS: u8 = 3;
