//! One connection of the load, and one exchange on it.

use std::net::SocketAddr;
use std::sync::Arc;

use smol::future::poll_once;

use super::tally::{Loss, LossKind};
use crate::client::{Connection, Disconnected, End, Journal, Request, Response, Target};

/// How a connection ended on which nothing was under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IdleEnd {
    Orderly,
    Reset,
}

/// A connection.
#[derive(Debug)]
pub(super) struct Link {
    connection: Connection,
    journal: Journal,
    /// Exchanges so far.
    pub(super) exchanges: u64,
}

impl Link {
    pub(super) async fn open(target: &Arc<Target>) -> Result<Link, Loss> {
        let journal = Journal::new();
        match Connection::open(target, &journal).await {
            Ok(connection) => Ok(Link {
                connection,
                journal,
                exchanges: 0,
            }),
            Err(Disconnected) => Err(Loss {
                kind: LossKind::Refused,
                problem: match &journal.lock().current.end {
                    End::Refused(problem) | End::Garbled(problem) => problem.clone(),
                    End::Reset => "the connection was reset in its handshake".to_owned(),
                    _ => "the connection ended in its handshake".to_owned(),
                },
                received: 0,
                is_returned: false,
            }),
        }
    }

    pub(super) fn local_addr(&self) -> Option<SocketAddr> {
        self.connection.local()
    }

    /// Sends a request and reads its answer.
    ///
    /// # Cancel safety
    /// A link whose exchange was dropped is of no use any more.
    pub(super) async fn exchange(&mut self, request: &Request) -> Result<Response, Loss> {
        self.exchanges += 1;
        let response = self.connection.exchange(request).await;
        let client = self.journal.lock();
        let journal = &client.current;
        let Some(message) = journal.unanswered.front() else {
            return response.map_err(|Disconnected| ended(&journal.end, 0));
        };
        let received = message.received as u64;
        if let Some(rule) = message.returned {
            return Err(Loss {
                kind: LossKind::Lost,
                problem: format!("it was not processed, as {}", rule.text()),
                received: 0,
                is_returned: true,
            });
        }
        match &message.problem {
            Some(problem) => Err(failed(problem, received)),
            None => Err(ended(&journal.end, received)),
        }
    }

    /// Says whether the server has announced the end of the connection, or ended it.
    pub(super) fn is_over(&self) -> bool {
        let journal = &self.journal.lock().current;
        journal.announced.is_some() || journal.end != End::Open
    }

    /// Waits until something comes while nothing is under way.
    ///
    /// # Cancel safety
    /// Nothing is lost when it is dropped.
    pub(super) async fn stirred(&mut self) {
        let _ = self.connection.peek().await;
    }

    /// Says whether something has come while nothing was under way.
    pub(super) async fn has_stirred(&mut self) -> bool {
        poll_once(self.stirred()).await.is_some()
    }

    /// Takes what has come while nothing was under way, and says whether that ends
    /// the connection.
    pub(super) async fn take_idle(&mut self) -> Option<IdleEnd> {
        if self.journal.lock().current.end == End::Open {
            // An error is in the journal.
            let _ = self.connection.absorb().await;
        }
        let is_reset = self.journal.lock().current.end == End::Reset;
        match (self.is_over(), is_reset) {
            (false, _) => None,
            (true, true) => Some(IdleEnd::Reset),
            // Bytes that nobody asked for are a farewell: a 408, for one.
            (true, false) => Some(IdleEnd::Orderly),
        }
    }

    /// Ends the connection from this side.
    pub(super) fn close(self) {
        self.connection.leave();
    }
}

fn failed(problem: &str, received: u64) -> Loss {
    Loss {
        kind: LossKind::Failed,
        problem: problem.to_owned(),
        received,
        is_returned: false,
    }
}

fn ended(end: &End, received: u64) -> Loss {
    let after = match received {
        0 => "without an answer".to_owned(),
        n => format!("after {n} bytes of the answer"),
    };
    let (kind, problem) = match end {
        End::Garbled(problem) => return failed(problem, received),
        End::Reset => (LossKind::Reset, format!("the connection was reset {after}")),
        _ => (LossKind::Lost, format!("the connection ended {after}")),
    };
    Loss {
        kind,
        problem,
        received,
        is_returned: false,
    }
}
