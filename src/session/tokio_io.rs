//! tokio's I/O traits for a session, beside those of futures.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_io::{AsyncBufRead, AsyncRead, AsyncWrite};
use tokio::io::ReadBuf;

use super::{BufferedSession, Session};
use crate::rt::Connection;

/// Gives tokio's I/O traits to what has those of futures.
macro_rules! tokio_io {
    ([$($generics:tt)*] $session:ty, $(#[$attribute:meta])+) => {
        $(#[$attribute])+
        impl<$($generics)*> tokio::io::AsyncRead for $session {
            fn poll_read(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buffer: &mut ReadBuf<'_>,
            ) -> Poll<io::Result<()>> {
                let read = AsyncRead::poll_read(self, cx, buffer.initialize_unfilled());
                buffer.advance(ready!(read)?);
                Poll::Ready(Ok(()))
            }
        }

        /// The shutdown ends our side, as the server does itself after the handler.
        impl<$($generics)*> tokio::io::AsyncWrite for $session {
            fn poll_write(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buffer: &[u8],
            ) -> Poll<io::Result<usize>> {
                AsyncWrite::poll_write(self, cx, buffer)
            }

            fn poll_write_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buffers: &[io::IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                AsyncWrite::poll_write_vectored(self, cx, buffers)
            }

            fn is_write_vectored(&self) -> bool {
                true
            }

            fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                AsyncWrite::poll_flush(self, cx)
            }

            fn poll_shutdown(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
            ) -> Poll<io::Result<()>> {
                AsyncWrite::poll_close(self, cx)
            }
        }
    };
}

tokio_io! {
    [C: Connection] Session<C>,
    /// With the feature `tokio`, on any runtime: a session is what tokio-rustls,
    /// tokio-tungstenite, the codecs of tokio-util and `hyper_util::rt::TokioIo`
    /// take.
    ///
    /// ```
    /// use lameduck::{Connection, Session};
    /// use std::io;
    /// use tokio::io::AsyncWriteExt;
    ///
    /// async fn echo(mut session: Session<impl Connection>) -> io::Result<()> {
    ///     let mut buffer = [0; 4096];
    ///     while let Some(n) = session.read_or_drain(&mut buffer).await? {
    ///         session.write_all(&buffer[..n]).await?;
    ///     }
    ///     Ok(())
    /// }
    /// ```
}

tokio_io! {
    [C: Connection] BufferedSession<C>,
    /// With the feature `tokio`, on any runtime.
    ///
    /// ```
    /// use lameduck::{Connection, Session};
    /// use std::io;
    /// use tokio::io::AsyncWriteExt;
    ///
    /// /// Echoes lines.
    /// async fn echo(session: Session<impl Connection>) -> io::Result<()> {
    ///     let mut session = session.buffered();
    ///     let mut line = Vec::new();
    ///     while session.read_until_or_drain(b'\n', &mut line).await?.is_some() {
    ///         session.write_all(&line).await?;
    ///         line.clear();
    ///     }
    ///     Ok(())
    /// }
    /// ```
}

#[cfg(feature = "http")]
tokio_io! {
    [] crate::http::Upgraded,
    /// With the feature `tokio`, on any runtime: an upgraded connection is what
    /// tokio-tungstenite and `tokio::io::copy_bidirectional` take.
    ///
    /// ```
    /// use futures::StreamExt;
    /// use lameduck::SessionHandle;
    /// use lameduck::http::Upgraded;
    /// use std::error::Error;
    /// use tokio_tungstenite::WebSocketStream;
    /// use tokio_tungstenite::tungstenite::protocol::Role;
    ///
    /// async fn talk(
    ///     upgraded: Upgraded,
    ///     mut handle: SessionHandle,
    /// ) -> Result<(), Box<dyn Error + Send + Sync>> {
    ///     let upgraded = upgraded.with_websocket_frames(&handle)?;
    ///     let mut socket = WebSocketStream::from_raw_socket(upgraded, Role::Server, None).await;
    ///     while let Some(message) = handle.next_or_drain(socket.next(), || true).await {
    ///         // Answer it.
    ///         let _ = message.transpose()?;
    ///     }
    ///     Ok(socket.close(None).await?)
    /// }
    /// ```
}

impl<C: Connection> tokio::io::AsyncBufRead for BufferedSession<C> {
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        AsyncBufRead::poll_fill_buf(self, cx)
    }

    fn consume(self: Pin<&mut Self>, bytes: usize) {
        AsyncBufRead::consume(self, bytes);
    }
}
