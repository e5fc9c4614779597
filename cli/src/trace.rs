//! What the clients of one round went through, with times: the data of the
//! picture, and of `--events`.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use schemars::JsonSchema;
use serde::Serialize;

use crate::client::journal::{ConnectionJournal, End, Event, EventKind, Message};

/// One round, as its clients saw it. All times are seconds from the stop signal;
/// those before it are negative.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub(crate) struct Trace {
    /// Which round it is, counted from 1.
    pub(crate) round: usize,
    /// When the server had ended; null: it had to be killed.
    pub(crate) stop_seconds: Option<f64>,
    /// The clients, in the order in which they came.
    pub(crate) clients: Vec<TracedClient>,
}

/// One client.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct TracedClient {
    /// Its number.
    pub(crate) client: usize,
    /// What it does.
    pub(crate) kind: String,
    /// Its connections, the earliest first. Of those with nothing to say against
    /// only the last ones are here.
    pub(crate) connections: Vec<TracedConnection>,
}

/// One connection of a client.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct TracedConnection {
    /// The client's address.
    pub(crate) from: Option<SocketAddr>,
    /// When the client began to connect.
    pub(crate) begun_seconds: f64,
    /// When the handshake was over; null: it never was.
    pub(crate) connected_seconds: Option<f64>,
    /// The last events, in order.
    pub(crate) events: Vec<TracedEvent>,
    /// How many earlier events are not listed.
    pub(crate) events_dropped: u64,
    /// How it ended.
    pub(crate) end: TracedEnd,
    /// When it ended.
    pub(crate) ended_seconds: Option<f64>,
    /// The system's words, where it was refused, or what was wrong with the answer.
    pub(crate) problem: Option<String>,
    /// The messages that were lost on it.
    pub(crate) lost: Vec<TracedLoss>,
    /// It counts as a lost connection.
    pub(crate) is_lost: bool,
    /// It saw no end.
    pub(crate) is_hung: bool,
    /// It only stood in the way, and its end says nothing.
    pub(crate) is_ignored: bool,
    /// What came was not the answer, and convicts.
    #[serde(skip)]
    pub(crate) is_wrong: bool,
}

/// One event.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct TracedEvent {
    /// When it was.
    pub(crate) seconds: f64,
    /// What it was.
    pub(crate) kind: TracedKind,
    /// What was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) label: Option<String>,
}

/// What a client saw or did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum TracedKind {
    /// The handshake was over.
    Connected,
    /// A request was written, or the first part of one.
    Sent,
    /// More of a request was written.
    SentMore,
    /// The first bytes of an answer came.
    AnswerBegan,
    /// An answer was whole.
    Answered,
}

/// How a connection ended, as its client saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum TracedEnd {
    /// It did not end.
    None,
    /// The server ended it in an orderly way.
    Orderly,
    /// The server, or its kernel, broke it.
    Reset,
    /// It never began.
    Refused,
    /// The client ended it.
    ClientLeft,
    /// What came was not the answer.
    WrongAnswer,
}

/// A message that was lost.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct TracedLoss {
    /// What was sent.
    pub(crate) label: String,
    /// When the write had returned.
    pub(crate) sent_seconds: Option<f64>,
    /// How many bytes of an answer came.
    pub(crate) received_bytes: usize,
    /// What was wrong with the answer, if there was one.
    pub(crate) problem: Option<String>,
}

/// What was judged of one connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Judgement<'a> {
    pub(crate) lost: Vec<&'a Message>,
    pub(crate) is_lost: bool,
    pub(crate) is_hung: bool,
    /// What came was not the answer, and convicts.
    pub(crate) is_wrong: bool,
}

impl Trace {
    /// Adds a connection of a client.
    pub(crate) fn add(
        &mut self,
        client: usize,
        kind: &str,
        journal: &ConnectionJournal,
        judgement: &Judgement<'_>,
        signal: Instant,
    ) {
        let connection = TracedConnection::new(journal, judgement, signal);
        match self.clients.last_mut() {
            Some(last) if last.client == client => last.connections.push(connection),
            _ => self.clients.push(TracedClient {
                client,
                kind: kind.to_owned(),
                connections: vec![connection],
            }),
        }
    }

    /// Notes the end of the server, and puts everything in order.
    pub(crate) fn close(&mut self, stop: Option<Duration>) {
        self.stop_seconds = stop.map(|stop| stop.as_secs_f64());
        for client in &mut self.clients {
            client
                .connections
                .sort_by(|a, b| a.begun_seconds.total_cmp(&b.begun_seconds));
        }
    }
}

impl TracedClient {
    /// Whether something can be said against what it saw.
    pub(crate) fn has_loss(&self) -> bool {
        let has_loss = |connection: &TracedConnection| {
            let is_bad = connection.is_lost || connection.is_hung || connection.is_wrong;
            is_bad || !connection.lost.is_empty()
        };
        self.connections.iter().any(has_loss)
    }
}

impl TracedConnection {
    fn new(
        journal: &ConnectionJournal,
        judgement: &Judgement<'_>,
        signal: Instant,
    ) -> TracedConnection {
        let (end, problem) = match &journal.end {
            End::Open => (TracedEnd::None, None),
            End::Fin => (TracedEnd::Orderly, None),
            End::Reset => (TracedEnd::Reset, None),
            End::Left => (TracedEnd::ClientLeft, None),
            End::Refused(problem) => (TracedEnd::Refused, Some(problem.clone())),
            End::Garbled(problem) => (TracedEnd::WrongAnswer, Some(problem.clone())),
        };
        let lost = judgement.lost.iter().map(|message| TracedLoss {
            label: message.label.clone(),
            sent_seconds: message.written.map(|at| offset(at, signal)),
            received_bytes: message.received,
            problem: message.problem.clone(),
        });
        TracedConnection {
            from: journal.local,
            begun_seconds: offset(journal.begun, signal),
            connected_seconds: journal.connected.map(|at| offset(at, signal)),
            events: journal
                .events
                .iter()
                .map(|event| TracedEvent::new(event, signal))
                .collect(),
            events_dropped: journal.events_dropped,
            end,
            ended_seconds: journal.ended.map(|at| offset(at, signal)),
            problem,
            lost: lost.collect(),
            is_lost: judgement.is_lost,
            is_hung: judgement.is_hung,
            is_ignored: journal.is_ignored,
            is_wrong: judgement.is_wrong,
        }
    }
}

impl TracedEvent {
    fn new(event: &Event, signal: Instant) -> TracedEvent {
        let (kind, label) = match &event.kind {
            EventKind::Connected => (TracedKind::Connected, None),
            EventKind::Sent(label) => (TracedKind::Sent, Some(label.clone())),
            EventKind::SentMore => (TracedKind::SentMore, None),
            EventKind::AnswerBegan => (TracedKind::AnswerBegan, None),
            EventKind::Answered => (TracedKind::Answered, None),
        };
        TracedEvent {
            seconds: offset(event.at, signal),
            kind,
            label,
        }
    }
}

/// Seconds from `origin`, negative before it.
pub(crate) fn offset(at: Instant, origin: Instant) -> f64 {
    match at.checked_duration_since(origin) {
        Some(after) => after.as_secs_f64(),
        None => -origin.duration_since(at).as_secs_f64(),
    }
}
