//! What happened to one client, as it saw it.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::codec::KeepAlive;
use super::owed::{Announcement, Rule};

/// Connections that are told about in full; of the others only the number is kept.
const KEPT: usize = 1000;

/// Earlier connections without a fault that are kept for the picture.
const RECENT: usize = 32;

/// An answer comes within this many times of what the first ones took.
const USUAL: u32 = 4;

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
    /// What the codec knows it by.
    pub(crate) key: u64,
    /// Its place on the connection, counted from 0.
    pub(crate) number: u64,
    pub(crate) label: String,
    /// When the write had returned.
    pub(crate) written: Option<Instant>,
    /// How many bytes of an answer came.
    pub(crate) received: usize,
    /// The answer was a wrong one, and this is what was wrong with it.
    pub(crate) problem: Option<String>,
    /// When such an answer was whole.
    pub(crate) failed: Option<Instant>,
    /// The server said that it did not process it, as it may.
    pub(crate) returned: Option<Rule>,
}

impl Message {
    pub(crate) fn new(key: u64, number: u64, label: impl Into<String>) -> Message {
        Message {
            key,
            number,
            label: label.into(),
            written: None,
            received: 0,
            problem: None,
            failed: None,
            returned: None,
        }
    }

    /// Says whether nothing more will come for it.
    fn is_settled(&self) -> bool {
        self.problem.is_some() || self.returned.is_some()
    }
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
    /// Messages without a right answer.
    pub(crate) unanswered: VecDeque<Message>,
    pub(crate) end: End,
    pub(crate) ended: Option<Instant>,
    /// The server said that this connection ends.
    pub(crate) announced: Option<Announcement>,
    /// The protocol lets a server end connections that are idle for too long.
    pub(crate) closes_idle: bool,
    /// The server ends each connection after one answer, whether it says so or not.
    pub(crate) is_single: bool,
    /// The announced limit of such a time.
    pub(crate) idle_limit: Option<Duration>,
    /// When the server had answered last, as far as its client can know.
    pub(crate) idle_since: Option<Instant>,
    /// How long the server takes to answer while nothing is wrong.
    pub(crate) answer_time: Duration,
    /// Over TLS: whether a close_notify came before the end.
    pub(crate) close_notify: Option<bool>,
    /// How many messages were begun.
    pub(crate) begun_messages: u64,
    /// Of the last one a part is written, and not all.
    pub(crate) is_mid_message: bool,
    /// When the client had written its part of an opening handshake that is not over.
    pub(crate) opening: Option<Instant>,
}

impl ConnectionJournal {
    pub(crate) fn new() -> ConnectionJournal {
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
            announced: None,
            closes_idle: false,
            is_single: false,
            idle_limit: None,
            idle_since: None,
            answer_time: Duration::MAX,
            close_notify: None,
            begun_messages: 0,
            is_mid_message: false,
            opening: None,
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

    /// A message comes next; it counts once a write has returned.
    pub(crate) fn begin(&mut self, key: u64, label: &str) {
        let number = self.begun_messages;
        self.begun_messages += 1;
        self.unanswered.push_back(Message::new(key, number, label));
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

    /// A write has returned that held all messages which were begun.
    pub(crate) fn sent_all(&mut self) {
        let now = Instant::now();
        let mut labels = Vec::new();
        for message in self.unanswered.iter_mut().filter(|m| m.written.is_none()) {
            message.written = Some(now);
            labels.push(message.label.clone());
        }
        for label in labels {
            self.note(now, EventKind::Sent(label));
        }
    }

    /// More of a message that counts as written already.
    pub(crate) fn sent_more(&mut self) {
        self.note(Instant::now(), EventKind::SentMore);
    }

    /// So many bytes of the answer to a message are here.
    pub(crate) fn progress(&mut self, key: u64, received: u64) {
        let Some(message) = self.find(key) else {
            return;
        };
        let has_begun = message.received == 0 && received > 0;
        message.received = usize::try_from(received).unwrap_or(usize::MAX);
        if has_begun {
            self.note(Instant::now(), EventKind::AnswerBegan);
        }
    }

    /// The answer to a message is whole.
    pub(crate) fn answer(&mut self, key: u64, limits: KeepAlive) {
        let now = Instant::now();
        let sent = self.find(key).and_then(|message| message.written);
        self.unanswered.retain(|message| message.key != key);
        self.answered += 1;
        // It answered by now. On a busy machine that may be read late, and the server
        // counts from when it was written.
        let usual =
            sent.and_then(|sent| sent.checked_add(self.answer_time.saturating_mul(USUAL)));
        self.idle_since = Some(usual.map_or(now, |usual| usual.min(now)));
        self.idle_limit = limits.timeout.or(self.idle_limit);
        self.note(now, EventKind::Answered);
    }

    /// The answer to a message is whole and wrong, and has so many bytes.
    pub(crate) fn fail(&mut self, key: u64, problem: String, received: u64) {
        // However much of it was read at first.
        self.progress(key, received);
        if let Some(message) = self.find(key) {
            message.problem = Some(problem);
            message.failed = Some(Instant::now());
        }
    }

    /// The server said that it did not process a message.
    pub(crate) fn give_back(&mut self, key: u64, rule: Rule) {
        if let Some(message) = self.find(key) {
            message.returned = Some(rule);
        }
    }

    /// The server said that it ends this connection.
    pub(crate) fn announce(&mut self, rule: Rule) {
        if self.announced.is_some() {
            return;
        }
        // The announcement stands in an answer, so that the message which is
        // answered by it is still owed; GOAWAY and Close are no answers.
        let open = self.unanswered.front().map(|message| message.number + 1);
        // The server may discard input behind a Close frame (RFC 6455 section 5.5.1), and the
        // rest of a message comes behind it.
        let cuts = rule == Rule::WebSocketClose && self.is_mid_message;
        let begun = match rule {
            Rule::WebSocketClose => self.begun_messages - u64::from(cuts),
            Rule::GoAway => self.begun_messages,
            _ => open.unwrap_or(self.begun_messages),
        };
        self.announced = Some(Announcement {
            rule,
            at: Instant::now(),
            begun,
            cuts,
        });
    }

    /// Says whether an answer is still to come.
    pub(crate) fn is_waiting(&self) -> bool {
        self.unanswered.iter().any(|message| !message.is_settled())
    }

    fn find(&mut self, key: u64) -> Option<&mut Message> {
        let mut messages = self.unanswered.iter_mut();
        messages.find(|message| message.key == key)
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

    /// Says whether nothing can be said against how it went.
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

/// A journal that the client writes and the judge reads.
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
        let journal = &mut *self.lock();
        let last = std::mem::replace(&mut journal.current, ConnectionJournal::new());
        journal.answered += last.answered;
        journal.connections += u64::from(last.connected.is_some());
        if last.is_plain() {
            if journal.recent.len() == RECENT {
                journal.recent.pop_front();
            }
            journal.recent.push_back(last);
        } else if journal.past.len() < KEPT {
            journal.past.push(last);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A whole message and half of one were written before a Close frame came.
    #[test]
    fn a_close_frame_cuts_the_message_that_is_not_whole() {
        let mut connection = ConnectionJournal::new();
        for label in ["whole", "half"] {
            connection.begin(0, label);
            connection.sent();
        }
        connection.is_mid_message = true;
        connection.announce(Rule::WebSocketClose);
        let announced = connection.announced.unwrap();
        assert_eq!(announced.begun, 1);
        let cut = connection.unanswered.iter();
        let cut: Vec<bool> = cut.map(|message| announced.has_cut(message)).collect();
        assert_eq!(cut, [false, true]);
    }

    #[test]
    fn a_wrong_answer_counts_with_all_its_bytes() {
        let mut connection = ConnectionJournal::new();
        connection.begin(0, "request");
        connection.sent();
        connection.progress(0, 1);
        connection.fail(0, "it was answered with status 408".to_owned(), 80);
        assert_eq!(connection.unanswered[0].received, 80);
    }

    #[test]
    fn a_close_frame_behind_whole_messages_cuts_none() {
        let mut connection = ConnectionJournal::new();
        connection.begin(0, "whole");
        connection.sent();
        connection.announce(Rule::WebSocketClose);
        let announced = connection.announced.unwrap();
        assert_eq!((announced.begun, announced.cuts), (1, false));
    }
}
