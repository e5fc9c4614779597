//! One connection of the load, and one exchange on it.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;

use smol::future::poll_once;
use smol::io::{AsyncReadExt, AsyncWriteExt};

use super::options::Speech;
use super::stream::{Dialer, Stream};
use super::tally::{Loss, LossKind};
use crate::client::http::Parser;

/// What the clients send, and where.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) dialer: Dialer,
    pub(super) speech: Speech,
    /// What stands in the Host field.
    pub(super) authority: String,
    pub(super) path: String,
    /// More fields of each request, each with its line end.
    pub(super) fields: String,
    /// The statuses of a good answer; none: every status.
    pub(super) expected: Vec<u16>,
}

impl Target {
    fn request(&self, client: usize, number: u64) -> Vec<u8> {
        let Target {
            authority,
            path,
            fields,
            ..
        } = self;
        match self.speech {
            Speech::Http => {
                format!("GET {path} HTTP/1.1\r\nHost: {authority}\r\n{fields}\r\n").into_bytes()
            }
            // No two clients send the same, so that a mix-up shows.
            Speech::Echo => format!("client {client} message {number}\n").into_bytes(),
        }
    }

    /// What a request is called in a list of losses.
    pub(super) fn label(&self) -> String {
        match self.speech {
            Speech::Http => format!("GET {}", self.path),
            Speech::Echo => "a message".to_owned(),
        }
    }
}

/// A whole and good answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// Of HTTP.
    pub(super) status: Option<u16>,
    /// The server ends the connection after it.
    pub(super) is_last: bool,
}

/// How a connection ended on which nothing was under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IdleEnd {
    Orderly,
    Reset,
}

/// A connection.
#[derive(Debug)]
pub(super) struct Link {
    stream: Stream,
    /// Exchanges so far.
    pub(super) exchanges: u64,
}

impl Link {
    pub(super) async fn open(target: &Target) -> Result<Link, Loss> {
        let stream = target.dialer.open().await;
        let stream = stream.map_err(|error| Loss {
            kind: LossKind::Refused,
            problem: error.to_string(),
            received: 0,
        })?;
        Ok(Link {
            stream,
            exchanges: 0,
        })
    }

    pub(super) fn local_addr(&self) -> Option<SocketAddr> {
        self.stream.local_addr()
    }

    /// Sends a request and reads its answer.
    ///
    /// # Cancel safety
    /// A link whose exchange was dropped is of no use any more.
    pub(super) async fn exchange(
        &mut self,
        target: &Target,
        client: usize,
        number: u64,
    ) -> Result<Answer, Loss> {
        let request = target.request(client, number);
        self.exchanges += 1;
        let written = self.stream.write_all(&request).await;
        written.map_err(|error| broken(&error, 0))?;
        let flushed = self.stream.flush().await;
        flushed.map_err(|error| broken(&error, 0))?;
        match target.speech {
            Speech::Http => self.receive_http(&target.expected).await,
            Speech::Echo => self.receive_echo(&request).await,
        }
    }

    async fn receive_http(&mut self, expected: &[u16]) -> Result<Answer, Loss> {
        let mut parser = Parser::new();
        let mut buffer = [0; 16 * 1024];
        let response = loop {
            let read = self.stream.read(&mut buffer).await;
            let n = read.map_err(|error| broken(&error, parser.received()))?;
            if n == 0 {
                break parser.end().ok_or_else(|| ended(parser.received()))?;
            }
            match parser.feed(buffer.get(..n).unwrap_or_default()) {
                Ok(Some(response)) => break response,
                Ok(None) => {}
                Err(problem) => return Err(failed(problem, parser.received())),
            }
        };
        let status = response.status;
        match expected.is_empty() || expected.contains(&status) {
            true => Ok(Answer {
                status: Some(status),
                is_last: response.close,
            }),
            false => Err(failed(format!("status {status}"), response.length)),
        }
    }

    async fn receive_echo(&mut self, sent: &[u8]) -> Result<Answer, Loss> {
        let mut answer = vec![0; sent.len()];
        let mut filled = 0;
        while filled < sent.len() {
            let rest = answer.get_mut(filled..).unwrap_or_default();
            let read = self.stream.read(rest).await;
            match read.map_err(|error| broken(&error, filled as u64))? {
                0 => return Err(ended(filled as u64)),
                n => filled += n,
            }
        }
        match answer == sent {
            true => Ok(Answer {
                status: None,
                is_last: false,
            }),
            false => Err(failed("it is not an echo".to_owned(), filled as u64)),
        }
    }

    /// Waits for the end of the connection while nothing is under way on it.
    pub(super) async fn idle(&mut self) -> IdleEnd {
        match self.stream.read(&mut [0]).await {
            Err(error) if is_reset(&error) => IdleEnd::Reset,
            // Bytes that nobody asked for are a farewell: a 408, for one.
            Ok(_) | Err(_) => IdleEnd::Orderly,
        }
    }

    /// Whether the connection has ended already.
    pub(super) async fn idle_now(&mut self) -> Option<IdleEnd> {
        poll_once(self.idle()).await
    }

    /// The client ends the connection.
    pub(super) fn close(self) {
        self.stream.close();
    }
}

fn failed(problem: String, received: u64) -> Loss {
    Loss {
        kind: LossKind::Failed,
        problem,
        received,
    }
}

fn ended(received: u64) -> Loss {
    let problem = match received {
        0 => "the connection ended without an answer".to_owned(),
        n => format!("the connection ended after {n} bytes of the answer"),
    };
    Loss {
        kind: LossKind::Lost,
        problem,
        received,
    }
}

fn broken(error: &io::Error, received: u64) -> Loss {
    let after = match received {
        0 => "without an answer".to_owned(),
        n => format!("after {n} bytes of the answer"),
    };
    let (kind, problem) = match error.kind() {
        _ if is_reset(error) => (LossKind::Reset, format!("the connection was reset {after}")),
        // TLS without its close_notify: the end cannot be told from a cut.
        ErrorKind::UnexpectedEof => (LossKind::Lost, format!("the connection ended {after}")),
        _ => (LossKind::Lost, format!("{error}, {after}")),
    };
    Loss {
        kind,
        problem,
        received,
    }
}

fn is_reset(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::BrokenPipe
            | ErrorKind::NotConnected
    )
}
