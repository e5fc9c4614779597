//! A connection that speaks TLS over another one.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use futures_io::{AsyncRead, AsyncWrite, IoSlice};
use futures_rustls::server::TlsStream;
use futures_rustls::{FallibleAccept, TlsAcceptor};

use super::config::TlsConfig;
use super::info::TlsInfo;
use super::records::{Flags, Records, poll_write_all};
use crate::rt::{Connection, Runtime};
use crate::sync::plain::Arc;
use crate::tls_records::HEAD;

/// A connection that speaks TLS over another one, or the other one as it is.
///
/// The handshake runs with the first read or write.
pub struct TlsConnection<R: Runtime, C> {
    state: State<C>,
    tls: Option<Box<Facts<R>>>,
}

/// What is known of a connection that speaks TLS.
struct Facts<R: Runtime> {
    runtime: R,
    config: TlsConfig,
    flags: Arc<Flags>,
    info: Option<TlsInfo>,
    /// The time of the first byte.
    began_at: Option<Instant>,
    timer: Option<Pin<Box<R::Sleep>>>,
    /// The first request is still on its way, until this moment at most.
    first_request_by: Option<Instant>,
    /// The handler failed: no close_notify may say that all was sent.
    has_failed: bool,
    /// Our side has ended, and the handler may read on.
    is_half_closed: bool,
    /// The handler has ended.
    is_discarding: bool,
}

enum State<C> {
    Plain(C),
    /// Nothing has come yet.
    New(C),
    Handshaking(Box<FallibleAccept<Records<C>>>),
    Open(Box<TlsStream<Records<C>>>),
    /// The handshake has failed; what remains is to send the alert, and to end
    /// the connection.
    Failed(C, Vec<u8>),
    /// Our side and the handler have ended: the peer's input is discarded as it is.
    Ended(C),
    Gone,
}

/// More than rustls holds of what was read: a record that is not whole, and what it has
/// decrypted. Either is a little more than 16 KiB at most (RFC 8446, 5.2).
const HELD: u64 = 64 * 1024;

/// The error of a write to a peer that has left before its handshake.
fn left() -> io::Error {
    let error = "the client has left before its handshake";
    io::Error::new(io::ErrorKind::UnexpectedEof, error)
}

impl<R: Runtime, C: Connection> TlsConnection<R, C> {
    pub(super) fn plain(connection: C) -> TlsConnection<R, C> {
        TlsConnection {
            state: State::Plain(connection),
            tls: None,
        }
    }

    pub(super) fn accepted(connection: C, runtime: R, config: TlsConfig) -> Self {
        TlsConnection {
            state: State::New(connection),
            tls: Some(Box::new(Facts {
                runtime,
                config,
                flags: Arc::default(),
                info: None,
                began_at: None,
                timer: None,
                first_request_by: None,
                has_failed: false,
                is_half_closed: false,
                is_discarding: false,
            })),
        }
    }

    /// Returns the connection below, for its options; `None` while a handshake
    /// is under way.
    pub fn inner(&self) -> Option<&C> {
        match &self.state {
            State::Plain(c) | State::New(c) | State::Failed(c, _) | State::Ended(c) => Some(c),
            State::Open(stream) => Some(stream.get_ref().0.connection()),
            State::Handshaking(_) | State::Gone => None,
        }
    }

    /// Goes on with the handshake; ready once data can be read and written.
    fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let TlsConnection { state, tls } = self;
        let Some(tls) = tls else {
            return Poll::Ready(Ok(()));
        };
        loop {
            match state {
                State::Plain(_) | State::Open(_) => return Poll::Ready(Ok(())),
                State::Failed(..) | State::Ended(_) | State::Gone => {
                    return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
                }
                State::New(connection) => {
                    let mut first = [0; HEAD];
                    let n = ready!(tls.poll_first(connection, cx, &mut first))?;
                    if n == 0 {
                        return Poll::Ready(Err(left()));
                    }
                    let State::New(connection) = std::mem::replace(state, State::Gone) else {
                        continue;
                    };
                    let flags = tls.flags.clone();
                    let records = Records::new(connection, &first[..n], flags);
                    let accept = TlsAcceptor::from(tls.config.current()).accept(records);
                    *state = State::Handshaking(Box::new(accept.into_fallible()));
                    tls.begin();
                }
                State::Handshaking(accept) => {
                    let Poll::Ready(accepted) = Pin::new(&mut **accept).poll(cx) else {
                        ready!(tls.poll_timer(cx));
                        *state = State::Gone;
                        let error = "the handshake has taken too long";
                        return Poll::Ready(Err(io::Error::new(
                            io::ErrorKind::TimedOut,
                            error,
                        )));
                    };
                    match accepted {
                        Ok(stream) => {
                            tls.end_handshake(TlsInfo::of(stream.get_ref().1));
                            *state = State::Open(Box::new(stream));
                        }
                        Err((error, records)) => {
                            tls.timer = None;
                            let (connection, alert) = records.into_parts();
                            *state = State::Failed(connection, alert);
                            return Poll::Ready(Err(error));
                        }
                    }
                }
            }
        }
    }

    /// Goes on without TLS.
    fn end(&mut self) {
        self.state = match std::mem::replace(&mut self.state, State::Gone) {
            State::Open(stream) => State::Ended(stream.into_inner().0.into_parts().0),
            State::New(connection) | State::Failed(connection, _) => State::Ended(connection),
            state => state,
        };
    }

    /// Polls the stream for reading, or reports the state in which there is none.
    fn poll_read_open(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        match ready!(self.poll_handshake(cx)) {
            // Nothing has begun that the end could have cut off.
            Err(error)
                if error.kind() == io::ErrorKind::UnexpectedEof && self.awaits_first_byte() =>
            {
                return Poll::Ready(Ok(0));
            }
            shaken => shaken?,
        }
        match &mut self.state {
            State::Open(stream) => {
                let n = ready!(Pin::new(&mut **stream).poll_read(cx, buffer))?;
                if let Some(tls) = self.tls.as_mut().filter(|_| n > 0) {
                    tls.first_request_by = None;
                    tls.timer = None;
                }
                Poll::Ready(Ok(n))
            }
            State::Plain(connection) => Pin::new(connection).poll_read(cx, buffer),
            _ => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }
}

impl<R: Runtime> Facts<R> {
    /// Reads the first bytes, of which rustls will be told.
    fn poll_first<C: Connection>(
        &self,
        connection: &mut C,
        cx: &mut Context<'_>,
        first: &mut [u8; HEAD],
    ) -> Poll<io::Result<usize>> {
        if !self.flags.asks_now() {
            return Pin::new(connection).poll_read(cx, first);
        }
        match ready!(connection.poll_read_now(cx, first))? {
            Some(n) => Poll::Ready(Ok(n)),
            None => {
                self.flags.note_nothing();
                Poll::Pending
            }
        }
    }

    fn begin(&mut self) {
        let now = self.runtime.now();
        self.began_at = Some(now);
        let limit = self.config.handshake_timeout();
        self.timer = Some(Box::pin(self.runtime.sleep_until(now + limit)));
    }

    fn end_handshake(&mut self, info: TlsInfo) {
        self.info = Some(info);
        self.timer = None;
        let now = self.runtime.now();
        // A handshake takes one round trip at least, and the client sends its
        // request as soon as it has ended: often with its last record.
        let round_trip = self.began_at.map_or(ROUND_TRIP_MIN, |at| now - at);
        self.first_request_by = Some(now + round_trip.max(ROUND_TRIP_MIN));
    }

    /// Ready when the timer that is set has come to its end.
    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.timer {
            Some(timer) => timer.as_mut().poll(cx),
            None => Poll::Pending,
        }
    }

    /// Waits while the first request may be on its way.
    fn poll_first_request(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(by) = self.first_request_by else {
            return Poll::Ready(());
        };
        if self.timer.is_none() {
            self.timer = Some(Box::pin(self.runtime.sleep_until(by)));
        }
        ready!(self.poll_timer(cx));
        (self.first_request_by, self.timer) = (None, None);
        Poll::Ready(())
    }
}

/// The shortest time for which a first request is awaited. A client on the same
/// machine needs it to be scheduled.
const ROUND_TRIP_MIN: Duration = Duration::from_millis(5);

impl<R: Runtime, C: Connection> Connection for TlsConnection<R, C> {
    fn poll_read_now(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<Option<usize>>> {
        let is_discarding = self.tls.as_ref().is_some_and(|tls| tls.is_discarding);
        if self
            .tls
            .as_ref()
            .is_some_and(|tls| tls.is_discarding && tls.is_half_closed)
        {
            // Not before the peer had its end: when thousands are closed, the others wait
            // for theirs.
            self.end();
        }
        match &mut self.state {
            State::Plain(connection) => return connection.poll_read_now(cx, buffer),
            // What the handler has no use for is not decrypted.
            State::Ended(connection) if is_discarding => {
                return connection.poll_read_now(cx, buffer);
            }
            _ => {}
        }
        let Some(flags) = self.tls.as_ref().map(|tls| tls.flags.clone()) else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        flags.begin_asking();
        let read = self.poll_read_open(cx, buffer);
        let found_nothing = flags.end_asking();
        match read {
            Poll::Ready(read) => Poll::Ready(read.map(Some)),
            Poll::Pending if found_nothing => {
                if let Some(tls) = self.tls.as_mut().filter(|tls| tls.info.is_some()) {
                    ready!(tls.poll_first_request(cx));
                }
                Poll::Ready(Ok(None))
            }
            Poll::Pending => Poll::Pending,
        }
    }

    fn poll_half_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.state {
            State::Open(stream) => {
                let tls = self.tls.as_mut();
                if tls.as_ref().is_some_and(|tls| !tls.has_failed) {
                    ready!(Pin::new(&mut **stream).poll_close(cx))?;
                }
                if let Some(tls) = tls {
                    let connection = stream.get_mut().0.connection_mut();
                    ready!(connection.poll_half_close(cx))?;
                    tls.is_half_closed = true;
                    return Poll::Ready(Ok(()));
                }
            }
            State::Failed(connection, alert) => ready!(poll_write_all(connection, alert, cx))?,
            _ => {}
        }
        self.end();
        match &mut self.state {
            State::Plain(connection) | State::Ended(connection) => {
                connection.poll_half_close(cx)
            }
            _ => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    fn unacknowledged(&self) -> Option<u64> {
        self.inner().and_then(Connection::unacknowledged)
    }

    fn readable(&self) -> Option<u64> {
        let below = self.inner().and_then(Connection::readable)?;
        // No less than what is read of the records.
        Some(below.saturating_add(HELD))
    }

    fn round_trip(&self) -> Option<Duration> {
        self.inner().and_then(Connection::round_trip)
    }

    fn is_mid_message(&self) -> bool {
        match (&self.state, &self.tls) {
            (State::Plain(connection), _) => connection.is_mid_message(),
            (State::Handshaking(_), _) => true,
            (State::Open(_), Some(tls)) => {
                tls.flags.is_mid_record() || tls.first_request_by.is_some()
            }
            _ => false,
        }
    }

    fn awaits_first_byte(&self) -> bool {
        match &self.state {
            State::Plain(connection) => connection.awaits_first_byte(),
            State::New(_) => true,
            _ => false,
        }
    }

    fn set_failed(&mut self) {
        if let Some(tls) = &mut self.tls {
            tls.has_failed = true;
        }
    }

    fn set_discarding(&mut self) {
        if let Some(tls) = &mut self.tls {
            tls.is_discarding = true;
        }
    }

    fn tls(&self) -> Option<&TlsInfo> {
        self.tls.as_ref().and_then(|tls| tls.info.as_ref())
    }
}

impl<R: Runtime, C: Connection> AsyncRead for TlsConnection<R, C> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_read_open(cx, buffer)
    }
}

impl<R: Runtime, C: Connection> TlsConnection<R, C> {
    /// Returns what is written to, once the handshake has ended.
    fn poll_writer(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Pin<&mut (dyn AsyncWrite + Unpin)>>> {
        ready!(self.poll_handshake(cx))?;
        Poll::Ready(match &mut self.state {
            State::Open(stream) => Ok(Pin::new(&mut **stream)),
            State::Plain(connection) => Ok(Pin::new(connection)),
            _ => Err(io::ErrorKind::NotConnected.into()),
        })
    }
}

impl<R: Runtime, C: Connection> AsyncWrite for TlsConnection<R, C> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_writer(cx))?.poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_writer(cx))?.poll_write_vectored(cx, buffers)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.state {
            // Nothing was written.
            State::New(_) | State::Handshaking(_) | State::Failed(..) | State::Gone => {
                Poll::Ready(Ok(()))
            }
            State::Open(stream) => Pin::new(&mut **stream).poll_flush(cx),
            State::Plain(connection) | State::Ended(connection) => {
                Pin::new(connection).poll_flush(cx)
            }
        }
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_half_close(cx)
    }
}

impl<R: Runtime, C> fmt::Debug for TlsConnection<R, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::Plain(_) => "plain",
            State::New(_) => "new",
            State::Handshaking(_) => "handshaking",
            State::Open(_) => "open",
            State::Failed(..) => "failed",
            State::Ended(_) => "ended",
            State::Gone => "gone",
        };
        let mut connection = f.debug_struct("TlsConnection");
        connection.field("state", &state).finish_non_exhaustive()
    }
}
