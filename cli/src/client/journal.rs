//! What happened to one client, in its own words.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Connections that are told about in full; of the others only the number is kept.
const KEPT: usize = 1000;

/// Earlier connections without a fault that are kept for the picture.
const RECENT: usize = 32;

/// Events that are kept of one connection: the last ones are those near the stop.
const EVENTS: usize = 240;

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

/// What a client saw or did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum EventKind {
    /// The handshake was over.
    Connected,
    /// A request was written, or the first part of one.
    Sent(String),
    /// More of a request was written.
    SentMore,
    /// The first bytes of an answer came.
    AnswerBegan,
    /// An answer was whole.
    Answered,
}

/// One event, and when it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) at: Instant,
    pub(crate) kind: EventKind,
}

/// One connection.
#[derive(Clone, Debug)]
pub(crate) struct ConnectionJournal {
    /// When the client began to connect.
    pub(crate) begun: Instant,
    pub(crate) connected: Option<Instant>,
    pub(crate) local: Option<SocketAddr>,
    /// The last events, in order.
    pub(crate) events: VecDeque<Event>,
    /// Earlier events, which are not kept.
    pub(crate) events_dropped: u64,
    /// The client only stands in the way: its end says nothing.
    pub(crate) is_ignored: bool,
    pub(crate) answered: u64,
    pub(crate) unanswered: VecDeque<Message>,
    pub(crate) end: End,
    pub(crate) ended: Option<Instant>,
}

impl ConnectionJournal {
    fn new() -> ConnectionJournal {
        ConnectionJournal {
            begun: Instant::now(),
            connected: None,
            local: None,
            events: VecDeque::new(),
            events_dropped: 0,
            is_ignored: false,
            answered: 0,
            unanswered: VecDeque::new(),
            end: End::Open,
            ended: None,
        }
    }

    fn note(&mut self, at: Instant, kind: EventKind) {
        if self.events.len() == EVENTS {
            self.events.pop_front();
            self.events_dropped += 1;
        }
        self.events.push_back(Event { at, kind });
    }

    /// The handshake is over.
    pub(crate) fn connect(&mut self, local: Option<SocketAddr>) {
        let now = Instant::now();
        self.connected = Some(now);
        self.local = local;
        self.note(now, EventKind::Connected);
    }

    /// A write of the last message has returned; from now on its answer is owed.
    pub(crate) fn sent(&mut self) {
        // After the write: what is noted too late is never a loss.
        let now = Instant::now();
        let Some(message) = self.unanswered.back_mut() else {
            return;
        };
        message.written = Some(now);
        let label = message.label.clone();
        self.note(now, EventKind::Sent(label));
    }

    /// More of a message that counts as written already.
    pub(crate) fn sent_more(&mut self) {
        self.note(Instant::now(), EventKind::SentMore);
    }

    /// So many bytes of the answer to the oldest message are here.
    pub(crate) fn progress(&mut self, received: usize) {
        let Some(message) = self.unanswered.front_mut() else {
            return;
        };
        let has_begun = message.received == 0 && received > 0;
        message.received = received;
        if has_begun {
            self.note(Instant::now(), EventKind::AnswerBegan);
        }
    }

    /// The answer to the oldest message is whole.
    pub(crate) fn answer(&mut self) {
        self.unanswered.pop_front();
        self.answered += 1;
        self.note(Instant::now(), EventKind::Answered);
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
    /// The last ones of the others.
    pub(crate) recent: VecDeque<ConnectionJournal>,
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
            recent: VecDeque::new(),
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
        if last.is_plain() {
            if account.recent.len() == RECENT {
                account.recent.pop_front();
            }
            account.recent.push_back(last);
        } else if account.past.len() < KEPT {
            account.past.push(last);
        }
    }
}
