//! The opening of a connection: TLS, and a protocol's own handshake and greeting.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Instant;

use super::{CHUNK, Connection, Disconnected};
use crate::client::journal::{End, Journal};
use crate::client::target::{Request, Target};
use crate::client::tls;

/// No codec gives this key to a request.
const HANDSHAKE_KEY: u64 = u64::MAX;

impl Connection {
    /// Connects, with all that comes before the first request.
    pub(crate) async fn open(
        target: &Arc<Target>,
        journal: &Journal,
    ) -> Result<Connection, Disconnected> {
        let mut connection = Connection::open_socket(target, journal, None).await?;
        connection.greet().await?;
        Ok(connection)
    }

    /// Connects with small buffers on this side, so that the server has to wait for us.
    pub(crate) async fn open_narrow(
        target: &Arc<Target>,
        journal: &Journal,
        buffer: usize,
    ) -> Result<Connection, Disconnected> {
        let mut connection = Connection::open_socket(target, journal, Some(buffer)).await?;
        connection.greet().await?;
        Ok(connection)
    }

    /// Connects, and sends nothing: no TLS, no preface, no handshake.
    pub(crate) async fn open_silent(
        target: &Arc<Target>,
        journal: &Journal,
    ) -> Result<Connection, Disconnected> {
        Connection::open_socket(target, journal, None).await
    }

    /// Does what comes before the first request: TLS, and a protocol's own handshake.
    pub(crate) async fn greet(&mut self) -> Result<(), Disconnected> {
        if let Some(hello) = self.begin_tls()? {
            self.write_wire(&hello).await?;
            self.note_opening(Some(Instant::now()));
            self.finish_tls().await?;
        }
        let greeting = self.codec.greeting();
        if !greeting.is_empty() {
            self.write_late(&greeting).await?;
            self.note_opening(Some(Instant::now()));
        }
        self.finish_handshake().await?;
        self.note_opening(None);
        self.hear_greeting().await
    }

    /// Reads until the protocol's own handshake is over.
    async fn finish_handshake(&mut self) -> Result<(), Disconnected> {
        while !self.codec.is_open() {
            self.read_events(CHUNK).await?;
        }
        Ok(())
    }

    /// Reads until the server has said what it says before it is asked.
    async fn hear_greeting(&mut self) -> Result<(), Disconnected> {
        while !self.codec.heard().is_over() {
            self.read_events(CHUNK).await?;
        }
        Ok(())
    }

    /// Notes when a part of the opening handshake was written. `None` says that the
    /// handshake is over.
    fn note_opening(&self, written: Option<Instant>) {
        self.journal.lock().current.opening = written;
    }

    /// Sends what a client can send before it has heard anything of the server: the
    /// request, or the first part of a handshake. It counts as a message.
    pub(crate) async fn send_first(&mut self, request: &Request) -> Result<(), Disconnected> {
        if let Some(hello) = self.begin_tls()? {
            self.begin_handshake("TLS handshake");
            self.write_wire(&hello).await?;
            self.mark_sent();
            return Ok(());
        }
        let greeting = self.codec.greeting();
        if !self.codec.is_open() {
            self.begin_handshake("WebSocket handshake");
            return self.write(&greeting).await;
        }
        if !self.target.takes_early {
            return Ok(());
        }
        let bytes = self.begin(request);
        self.write(&[greeting, bytes].concat()).await
    }

    /// Waits for the answer to `send_first`.
    pub(crate) async fn receive_first(&mut self) -> Result<(), Disconnected> {
        if self.target.tls.is_some() {
            self.finish_tls().await?;
            self.answered();
            return Ok(());
        }
        if !self.codec.is_open() {
            return self.open_late().await;
        }
        if self.target.takes_early {
            return self.receive().await.map(drop);
        }
        // Nothing could be asked: the greeting is what there is to wait for.
        self.hear_greeting().await
    }

    /// Returns what a client says before its first request.
    pub(crate) fn greeting(&mut self) -> Vec<u8> {
        self.codec.greeting()
    }

    /// Waits for the server's part of an opening handshake that is noted as a message.
    pub(crate) async fn open_late(&mut self) -> Result<(), Disconnected> {
        self.finish_handshake().await?;
        self.answered();
        Ok(())
    }

    /// Notes a handshake as a message that comes next.
    pub(crate) fn begin_handshake(&self, label: &str) {
        self.journal.lock().current.begin(HANDSHAKE_KEY, label);
    }

    /// Begins a handshake of TLS and returns the ClientHello, or `None` without TLS.
    pub(crate) fn begin_tls(&mut self) -> Result<Option<Vec<u8>>, Disconnected> {
        let Some(tls) = &self.target.tls else {
            return Ok(None);
        };
        let hello = tls.connect();
        let hello = hello.and_then(|session| self.stream.begin_tls(session));
        hello.map(Some).map_err(|error| self.broken(&error))
    }

    /// Completes a handshake that has begun.
    pub(crate) async fn finish_tls(&mut self) -> Result<(), Disconnected> {
        if let Err(error) = self.stream.finish_tls().await {
            return Err(match error.kind() {
                ErrorKind::UnexpectedEof => self.ended(End::Fin),
                ErrorKind::InvalidData => self.ended(End::Garbled(tls::refusal(&error))),
                _ => self.broken(&error),
            });
        }
        let wanted = self.target.protocol.alpn();
        match wanted {
            Some(wanted) if self.stream.protocol() != Some(wanted.as_bytes()) => {
                let problem = format!("TLS does not agree on {wanted:?} (ALPN)");
                Err(self.ended(End::Garbled(problem)))
            }
            _ => Ok(()),
        }
    }
}
