//! One session from its first byte on: which protocol it speaks.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::task::Poll;

use bytes::Bytes;
use futures_io::AsyncRead;
use http_body::Body;
use hyper::body::Incoming;
use hyper::service::Service;
use hyper::{Request, Response};
use log::debug;

use super::driver::{Common, Driver, Due};
use super::error::Error;
use super::info::{Local, Origin};
use super::{BoxError, Protocol, ServeSession, Shared, h1, h2};
use crate::rt::{Connection, Runtime};
use crate::session::Session;
use crate::sync::plain::Arc;

/// What a client says first that knows that the server speaks HTTP/2.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Serves a session, as long as it lasts.
///
/// The first bytes are read in a box, which is freed before the one of their protocol is
/// used: a future keeps a place of its own for each variable that is moved on, and for each
/// future that it may come to.
pub(super) fn serve<R, C, S, B>(
    shared: Arc<Shared<S>>,
    (runtime, common): (R, Arc<Common<R>>),
    local: Arc<Local>,
    mut session: Session<C>,
) -> impl Future<Output = Result<(), Error>> + Send + 'static
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
    let begins = Box::pin(async move {
        let handle = session.handle().map_err(Error::guard)?;
        let mut driver = Box::new(Driver::new(common, handle));
        let mut first = [0; PREFACE.len()];
        let reading = first_bytes(&mut driver, &mut session, &mut first, shared.protocol);
        let Some(n) = reading.await? else {
            return Ok(None);
        };
        let origin = Origin::new(
            &driver.handle,
            local,
            #[cfg(feature = "tls")]
            session.connection().tls().cloned(),
        );
        let origin = origin.map_err(Error::guard)?;
        let is_http2 = match shared.protocol {
            Protocol::Any => first[..n] == PREFACE[..],
            Protocol::Http1 => false,
            Protocol::Http2 => true,
        };
        // From here on the driver waits.
        session.end_idle_waits();
        let prefix = Bytes::copy_from_slice(&first[..n]);
        let found = Box::new((session, prefix));
        let serves: ServeSession = match is_http2 {
            true => Box::pin(h2::serve(&shared, runtime, driver, origin, found)),
            false => Box::pin(h1::serve(shared, driver, origin, found)),
        };
        Ok(Some(serves))
    });
    async move {
        match begins.await? {
            Some(serves) => serves.await,
            None => Ok(()),
        }
    }
}

/// Removes empty lines, which before a request are no part of it (RFC 9112, 2.2).
/// Returns how many of the `n` bytes are left.
fn skip_empty_lines(first: &mut [u8], n: usize) -> usize {
    let mut rest = &first[..n];
    while let [b'\r', b'\n', after @ ..] | [b'\n', after @ ..] = rest {
        rest = after;
    }
    let left = rest.len();
    first.copy_within(n - left..n, 0);
    left
}

/// Reads what the system has just now; pending where that is a part of something.
async fn look<C: Connection>(
    session: &mut Session<C>,
    buffer: &mut [u8],
) -> Poll<io::Result<Option<usize>>> {
    poll_fn(|cx| {
        let read = match session.connection().is_mid_message() {
            true => Poll::Pending,
            false => session.poll_look(cx, buffer),
        };
        let end = |read: Option<usize>| read.filter(|n| *n > 0);
        Poll::Ready(read.map(|read| read.map(end)))
    })
    .await
}

/// Reads as many bytes as say which protocol it is. `None`: no byte has come,
/// and none will, or the first ones have taken too long.
async fn first_bytes<R: Runtime, C: Connection>(
    driver: &mut Driver<R>,
    session: &mut Session<C>,
    first: &mut [u8; PREFACE.len()],
    protocol: Protocol,
) -> Result<Option<usize>, Error> {
    let mut n = 0;
    while matches!(first[..n], [] | [b'\r']) {
        let read = {
            // Nothing was begun: here it is idle.
            let mut read = session.read_or_drain(&mut first[n..]);
            poll_fn(|cx| match Pin::new(&mut read).poll(cx) {
                Poll::Ready(read) => Poll::Ready(Ok(read)),
                Poll::Pending => driver.poll_due(cx).map(Err),
            })
            .await
        };
        let read = match read {
            Err(Due::Head) => Ok(None),
            Err(_) => match look(session, &mut first[n..]).await {
                Poll::Ready(read) => read,
                // Half a handshake or half a record is half a head.
                Poll::Pending => {
                    driver.head_begins();
                    continue;
                }
            },
            Ok(read) => read,
        };
        let Some(read) = read.map_err(Error::io)? else {
            return Ok(None);
        };
        n = skip_empty_lines(first, n + read);
    }
    driver.head_begins();
    while protocol == Protocol::Any && n < PREFACE.len() && PREFACE.starts_with(&first[..n]) {
        let read = poll_fn(|cx| -> Poll<io::Result<Option<usize>>> {
            match Pin::new(&mut *session).poll_read(cx, &mut first[n..]) {
                Poll::Ready(read) => Poll::Ready(read.map(Some)),
                Poll::Pending => match driver.poll_due(cx) {
                    Poll::Ready(Due::Head) => Poll::Ready(Ok(None)),
                    Poll::Ready(_) => {
                        cx.waker().wake_by_ref();
                        Poll::Pending
                    }
                    Poll::Pending => Poll::Pending,
                },
            }
        });
        match read.await.map_err(Error::io)? {
            None => {
                debug!("#{}: the first bytes have taken too long", session.id());
                return Ok(None);
            }
            Some(0) => break,
            Some(more) => n += more,
        }
    }
    Ok(Some(n))
}
