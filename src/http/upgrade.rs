//! Upgraded connections: WebSockets, and other protocols that take over.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use futures_io::{AsyncRead, AsyncWrite, IoSlice};
use hyper::upgrade::OnUpgrade;
use hyper::{Request, Version};

use super::info::ConnectionInfo;
use super::wire::{Wire, poll_send};
use crate::rt::Connection;
use crate::server::BoxError;
use crate::session::SessionHandle;
use crate::websocket::Frames;

type Work = Pin<Box<dyn Future<Output = Result<(), BoxError>> + Send>>;
type Run = Box<dyn FnOnce(Upgraded, SessionHandle) -> Work + Send>;

/// What a request has left for the time after the upgrade.
pub(super) struct UpgradeWork {
    pub(super) upgrade: OnUpgrade,
    pub(super) run: Run,
}

/// Runs `work` with the connection of `request`, once the response of status
/// 101 has upgraded it.
///
/// It runs in the connection's own task: an abort reaches it, a panic of it is
/// counted, and no runtime is needed. Its [`SessionHandle`] is the idle point.
/// hyper's own `hyper::upgrade::on` works as well, for tasks of one's own.
///
/// # Errors
/// [`UpgradeError`] where the request cannot upgrade its connection: it is
/// HTTP/2, was not received by an [`Http`](super::Http), or its connection has ended.
///
/// ```
/// use futures::io::{AsyncReadExt, AsyncWriteExt};
/// use hyper::body::Incoming;
/// use hyper::header::UPGRADE;
/// use hyper::{Request, Response, StatusCode};
/// use lameduck::http::{UpgradeError, on_upgrade};
///
/// /// Echoes bytes after the upgrade.
/// fn upgrade(mut request: Request<Incoming>) -> Result<Response<String>, UpgradeError> {
///     on_upgrade(&mut request, |mut io, mut handle| async move {
///         let mut buffer = [0; 1024];
///         while let Some(n) = handle.next_or_drain(io.read(&mut buffer), || true).await {
///             let n = n?;
///             if n == 0 {
///                 break;
///             }
///             io.write_all(&buffer[..n]).await?;
///         }
///         std::io::Result::Ok(())
///     })?;
///     let mut response = Response::new(String::new());
///     *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
///     response.headers_mut().insert(UPGRADE, "echo".parse().expect("it is a token"));
///     Ok(response)
/// }
/// ```
pub fn on_upgrade<B, W, F, E>(request: &mut Request<B>, work: W) -> Result<(), UpgradeError>
where
    W: FnOnce(Upgraded, SessionHandle) -> F + Send + 'static,
    F: Future<Output = Result<(), E>> + Send + 'static,
    E: Into<BoxError>,
{
    if request.version() > Version::HTTP_11 {
        return Err(UpgradeError(()));
    }
    let info = request.extensions().get::<ConnectionInfo>().cloned();
    let info = info.ok_or(UpgradeError(()))?;
    let upgrade = hyper::upgrade::on(request);
    let run: Run = Box::new(|upgraded, handle| {
        let work = work(upgraded, handle);
        Box::pin(async move { work.await.map_err(Into::into) })
    });
    let work = Box::new(UpgradeWork { upgrade, run });
    info.state().leave_work(work).map_err(|_| UpgradeError(()))
}

/// The error of a request that cannot upgrade its connection.
#[derive(Debug)]
pub struct UpgradeError(());

impl fmt::Display for UpgradeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("this request cannot upgrade its connection")
    }
}

impl Error for UpgradeError {}

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// An upgraded connection; see [`on_upgrade`].
pub struct Upgraded {
    io: Box<dyn Io>,
    /// What hyper had read of the new protocol.
    prefix: Bytes,
    /// What hyper had not written of the response.
    unsent: Bytes,
    /// A handle, to say that the last read was in the middle of a frame.
    frames: Option<(Frames, SessionHandle)>,
}

impl Upgraded {
    /// Takes the session out of what hyper upgraded.
    pub(super) fn of<C: Connection>(upgraded: hyper::upgrade::Upgraded) -> Option<Upgraded> {
        let parts = upgraded.downcast::<Wire<C>>().ok()?;
        let (session, rest, unsent) = parts.io.into_parts();
        let prefix = match rest.is_empty() {
            true => parts.read_buf,
            false => [parts.read_buf, rest].concat().into(),
        };
        Some(Upgraded {
            io: Box::new(session),
            prefix,
            unsent,
            frames: None,
        })
    }

    pub(super) fn poll_send_unsent(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        poll_send(&mut *self.io, &mut self.unsent, cx)
    }

    /// Follows the frames of a WebSocket, so that a client in the middle of a
    /// message is not idle: libraries do not say whether they hold a part of
    /// one. `handle` is the one that came with the connection.
    ///
    /// # Errors
    /// [`GuardError::Closed`](crate::GuardError::Closed) once the server is
    /// stopped.
    pub fn with_websocket_frames(
        mut self,
        handle: &SessionHandle,
    ) -> Result<Upgraded, crate::GuardError> {
        self.frames = Some((Frames::new(), handle.try_clone()?));
        Ok(self)
    }

    fn note(&mut self, bytes: &[u8]) {
        if let Some((frames, _)) = &mut self.frames {
            frames.push(bytes);
        }
    }
}

impl fmt::Debug for Upgraded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upgraded").finish_non_exhaustive()
    }
}

impl AsyncRead for Upgraded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let n = if self.prefix.is_empty() {
            let read = Pin::new(&mut self.io).poll_read(cx, buffer);
            if let (Poll::Pending, Some((frames, handle))) = (&read, &self.frames) {
                if frames.is_mid_message() {
                    handle.set_mid_message();
                }
            }
            ready!(read)?
        } else {
            let n = self.prefix.len().min(buffer.len());
            self.prefix.copy_to_slice(&mut buffer[..n]);
            n
        };
        self.note(&buffer[..n]);
        Poll::Ready(Ok(n))
    }
}

impl AsyncWrite for Upgraded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, buffers)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_close(cx)
    }
}
