//! What happened to one client, in its own words.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Connections that are told about in full; of the others only the number is kept.
const KEPT: usize = 1000;

/// How a connection ended, as its client saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It did not.
    Open,
    /// The server ended it in an orderly way.
    Fin,
    /// The server, or its kernel, broke it.
    Reset,
    /// It never began.
    Refused(String),
    /// The client ended it.
    Left,
    /// What came was not the answer.
    Garbled(String),
}

/// Something that was sent, and that an answer is owed to.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) label: String,
    /// When the write had returned.
    pub(crate) written: Option<Instant>,
    /// How many bytes of an answer came.
    pub(crate) received: usize,
}

/// One connection.
#[derive(Clone, Debug)]
pub(crate) struct ConnectionJournal {
    pub(crate) connected: Option<Instant>,
    pub(crate) local: Option<SocketAddr>,
    pub(crate) answered: u64,
    pub(crate) unanswered: VecDeque<Message>,
    pub(crate) end: End,
    pub(crate) ended: Option<Instant>,
}

impl ConnectionJournal {
    fn new() -> ConnectionJournal {
        ConnectionJournal {
            connected: None,
            local: None,
            answered: 0,
            unanswered: VecDeque::new(),
            end: End::Open,
            ended: None,
        }
    }

    /// Messages whose write had returned before `signal`, and that nobody answered.
    pub(crate) fn lost(&self, signal: Instant) -> impl Iterator<Item = &Message> {
        let sent = move |message: &&Message| message.written.is_some_and(|at| at <= signal);
        self.unanswered.iter().filter(sent)
    }

    pub(crate) fn was_connected(&self, signal: Instant) -> bool {
        self.connected.is_some_and(|at| at <= signal)
    }

    pub(crate) fn finish(&mut self, end: End) {
        if self.end == End::Open {
            self.end = end;
            self.ended = Some(Instant::now());
        }
    }

    /// Whether nothing can be said against how it went.
    fn is_plain(&self) -> bool {
        self.unanswered.is_empty() && matches!(self.end, End::Fin | End::Left)
    }
}

/// Everything about one client: its connection, and those before it.
#[derive(Debug)]
pub(crate) struct ClientJournal {
    pub(crate) current: ConnectionJournal,
    /// Earlier connections that something can be said against.
    pub(crate) past: Vec<ConnectionJournal>,
    /// Exchanges on earlier connections.
    pub(crate) answered: u64,
    /// Earlier connections.
    pub(crate) connections: u64,
}

/// An account that the client writes and the judge reads.
#[derive(Clone, Debug)]
pub(crate) struct Journal(Arc<Mutex<ClientJournal>>);

impl Journal {
    pub(crate) fn new() -> Journal {
        Journal(Arc::new(Mutex::new(ClientJournal {
            current: ConnectionJournal::new(),
            past: Vec::new(),
            answered: 0,
            connections: 0,
        })))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, ClientJournal> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts over with another connection.
    pub(crate) fn reconnect(&self) {
        let account = &mut *self.lock();
        let last = std::mem::replace(&mut account.current, ConnectionJournal::new());
        account.answered += last.answered;
        account.connections += u64::from(last.connected.is_some());
        if !last.is_plain() && account.past.len() < KEPT {
            account.past.push(last);
        }
    }
}
