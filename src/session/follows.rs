//! Follows where the messages of a session end, for libraries that read from it and do not
//! say whether they hold a part of one.

use super::Session;
use crate::frames::{Delimited, Follow, Frames};
use crate::tls_records;
use crate::websocket::WebSocket;

/// Follows what is read.
pub(crate) enum Follows {
    Websocket(WebSocket),
    /// Those of a protocol that the program speaks itself.
    Frames(Box<dyn Follow>),
}

impl Follows {
    /// Takes bytes that were read.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        match self {
            Follows::Websocket(websocket) => websocket.push(bytes),
            Follows::Frames(frames) => frames.push(bytes),
        }
    }

    /// Returns whether something has begun that has not ended.
    pub(crate) fn is_mid_message(&self) -> bool {
        match self {
            Follows::Websocket(websocket) => websocket.is_mid_message(),
            Follows::Frames(frames) => frames.is_mid_frame(),
        }
    }
}

impl<C> Session<C> {
    /// Follows the frames of a WebSocket, so that a client in the middle of a message, or
    /// of its request, is not idle for [`next_or_drain`](super::SessionHandle::next_or_drain):
    /// libraries do not say whether they hold a part of one.
    ///
    /// It is for a session of which nothing was read yet, and which a WebSocket's library
    /// gets. There is an example at [`SessionHandle`](super::SessionHandle).
    pub fn with_websocket_frames(self) -> Session<C> {
        self.following(Follows::Websocket(WebSocket::new()))
    }

    /// Follows the records of TLS from here on, so that a client in the middle of one is not
    /// idle for [`next_or_drain`](super::SessionHandle::next_or_drain): rustls does not say
    /// that it holds a part of a record.
    ///
    /// It is for TLS that begins on a plain connection, as after STARTTLS, with a library
    /// of the program's choice around the session. For TLS from the start there is the
    /// feature `tls`.
    ///
    /// ```
    /// use std::io;
    /// use std::sync::Arc;
    ///
    /// use futures::io::{AsyncReadExt, AsyncWriteExt};
    /// use futures_rustls::{TlsAcceptor, rustls::ServerConfig};
    /// use lameduck::{Connection, Session};
    ///
    /// async fn serve(
    ///     mut session: Session<impl Connection>,
    ///     config: Arc<ServerConfig>,
    /// ) -> io::Result<()> {
    ///     let mut line = [0; 10];
    ///     session.read_exact(&mut line).await?; // "STARTTLS\r\n"
    ///     session.write_all(b"220 go ahead\r\n").await?;
    ///
    ///     let mut handle = session.handle()?;
    ///     let session = session.with_tls_records();
    ///     let mut stream = TlsAcceptor::from(config).accept(session).await?;
    ///     let mut buffer = [0; 4096];
    ///     while let Some(n) = handle.next_or_drain(stream.read(&mut buffer), || true).await {
    ///         match n? {
    ///             0 => break,
    ///             n => stream.write_all(&buffer[..n]).await?,
    ///         }
    ///     }
    ///     stream.close().await
    /// }
    /// ```
    pub fn with_tls_records(self) -> Session<C> {
        self.following(Follows::Frames(Box::new(tls_records::follow())))
    }

    /// Follows frames from here on, so that a client in the middle of one is not idle for
    /// [`next_or_drain`](super::SessionHandle::next_or_drain): for a library that gets the
    /// session, and does not say that it holds a part of a frame, such as one of remote
    /// calls, or of several streams in one connection ([F105](crate::docs::faults#f105)).
    ///
    /// A frame begins with a head of `HEAD` bytes, and `rest` returns how many bytes follow
    /// this head.
    ///
    /// ```
    /// use futures::{SinkExt, StreamExt};
    /// use lameduck::{Connection, Session};
    /// use std::io;
    /// use tokio_util::codec::{Framed, LengthDelimitedCodec};
    ///
    /// async fn echo(session: Session<impl Connection>) -> io::Result<()> {
    ///     let mut handle = session.handle()?;
    ///     let session = session.with_frames(|head: [u8; 4]| u32::from_be_bytes(head) as usize);
    ///     let mut framed = Framed::new(session, LengthDelimitedCodec::new());
    ///     while let Some(Some(frame)) = handle.next_or_drain(framed.next(), || true).await {
    ///         framed.send(frame?.freeze()).await?;
    ///     }
    ///     Ok(())
    /// }
    /// ```
    ///
    /// One of [yamux](https://docs.rs/yamux) has twelve bytes, and a rest only where it
    /// carries data: `|head: [u8; 12]|`, and for `head[1] == 0` the number in `head[8..]`.
    pub fn with_frames<const HEAD: usize, F>(self, rest: F) -> Session<C>
    where
        F: Fn([u8; HEAD]) -> usize + Send + Sync + 'static,
    {
        self.following(Follows::Frames(Box::new(Frames::new(rest))))
    }

    /// Follows lines from here on, or other messages that end with `delimiter`, so that a
    /// client in the middle of one is not idle for
    /// [`next_or_drain`](super::SessionHandle::next_or_drain): for a reader with a buffer of
    /// its own ([F105](crate::docs::faults#f105)).
    ///
    /// ```
    /// use lameduck::{Connection, Session};
    /// use std::io;
    /// use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
    ///
    /// /// Says each line again.
    /// async fn echo(session: Session<impl Connection>) -> io::Result<()> {
    ///     let mut handle = session.handle()?;
    ///     let (input, mut output) = tokio::io::split(session.with_delimiter(b'\n'));
    ///     let mut lines = BufReader::new(input).lines();
    ///     while let Some(line) = handle.next_or_drain(lines.next_line(), || true).await {
    ///         let Some(line) = line? else { break };
    ///         output.write_all(format!("{line}\n").as_bytes()).await?;
    ///     }
    ///     Ok(())
    /// }
    /// ```
    ///
    /// Without a library, a [buffered](Session::buffered) session reads lines.
    pub fn with_delimiter(self, delimiter: u8) -> Session<C> {
        self.following(Follows::Frames(Box::new(Delimited::by(delimiter))))
    }

    fn following(mut self, follows: Follows) -> Session<C> {
        let rare = self.inner_mut().rare.get_or_insert_default();
        rare.follows = Some(follows);
        self
    }
}
