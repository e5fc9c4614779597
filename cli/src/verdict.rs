//! What one round found, and what the rounds of a scenario add up to.

mod finding;
mod loss;
mod row;
mod story;

use std::time::{Duration, Instant};

use crate::client::journal::Message;
use crate::client::owed::{self, Debt, Rule};
use crate::client::{ClientJournal, ConnectionJournal, End};
use crate::trace::{Judgement, Trace};

pub(crate) use finding::{Finding, Groups};
pub(crate) use loss::{LossKind, Losses};
pub(crate) use row::{Row, Verdict};
pub(crate) use story::tell;

/// One stop of one server.
#[derive(Debug, Default)]
pub(crate) struct RoundResult {
    pub(crate) messages_lost: usize,
    pub(crate) connections_lost: usize,
    pub(crate) resets: usize,
    pub(crate) hung: usize,
    pub(crate) exchanges: u64,
    /// From the signal to the end of the process. `None` says that it had to be killed.
    pub(crate) stop: Option<Duration>,
    /// From the signal to the last end that a client saw.
    pub(crate) last_end: Option<Duration>,
    /// Connections that lost something.
    pub(crate) losses: Losses,
    /// What convicts beyond the counts.
    pub(crate) findings: Vec<Finding>,
    /// Half messages whose rest came behind a Close frame.
    pub(crate) cut: usize,
    /// What does not convict.
    pub(crate) notes: Vec<String>,
    /// So many answers are the most on a connection, also while nothing is wrong.
    pub(crate) answer_limit: Option<u64>,
    /// Why nothing could be seen.
    pub(crate) skipped: Option<String>,
    /// The story of every connection, where that was asked for.
    pub(crate) stories: Vec<String>,
    /// What each client went through.
    pub(crate) trace: Trace,
}

impl RoundResult {
    /// Says whether nothing convicts the server.
    pub(crate) fn is_lossless(&self) -> bool {
        let counts = self.messages_lost + self.connections_lost + self.hung;
        counts == 0 && self.findings.is_empty()
    }

    /// Returns the result of a round in which nothing could be seen.
    pub(crate) fn skip(reason: impl Into<String>) -> RoundResult {
        RoundResult {
            skipped: Some(reason.into()),
            ..RoundResult::default()
        }
    }

    /// Says how many half messages a server has the right to discard.
    pub(crate) fn note_cut(&mut self) {
        let what = match self.cut {
            0 => return,
            1 => "a half message".to_owned(),
            n => format!("{n} half messages"),
        };
        self.notes.push(format!(
            "a Close frame came before the rest of {what}, which RFC 6455 section 5.5.1 allows; \
             a server that waits for the rest loses nothing"
        ));
    }

    /// Adds what convicts the server.
    pub(crate) fn convict(&mut self, text: impl Into<String>) {
        self.findings.push(Finding::of_server(text));
    }

    /// Adds what one client went through; the server was told to stop at `signal`.
    pub(crate) fn judge(
        &mut self,
        id: usize,
        kind: &str,
        client: &ClientJournal,
        signal: Instant,
    ) {
        self.exchanges += client.answered + client.current.answered;
        for connection in client.past.iter().chain([&client.current]) {
            self.judge_connection(id, kind, connection, signal);
        }
        for plain in &client.recent {
            let nothing = Judgement::default();
            self.trace.add(id, kind, plain, &nothing, signal);
        }
    }

    /// Adds what became of one connection.
    fn judge_connection(
        &mut self,
        id: usize,
        kind: &str,
        connection: &ConnectionJournal,
        signal: Instant,
    ) {
        let messages = self.lost(connection, signal);
        let lost = messages.len();
        // An end from before the signal says nothing about the stop.
        let is_early = connection.ended.is_some_and(|at| at < signal);
        let is_reset = connection.end == End::Reset && !is_early && !connection.is_ignored;
        let is_open = connection.end == End::Open && connection.connected.is_some();
        let is_hung = is_open && connection.was_connected(signal);
        let is_lost = connection.was_connected(signal)
            && (lost > 0
                || is_reset
                    && !is_harmless(connection)
                    && !owed::is_used_up(connection, self.answer_limit));
        self.messages_lost += lost;
        self.connections_lost += usize::from(is_lost);
        self.resets += usize::from(is_reset);
        self.hung += usize::from(is_hung);
        if is_open && !is_hung {
            let note =
                "a connection that began after the signal saw no end, which is not counted";
            push_new(&mut self.notes, note);
        }
        let is_wrong = is_wrong(connection, signal);
        if let End::Garbled(problem) = &connection.end
            && is_wrong
        {
            self.findings.push(Finding::of_client(id, kind, problem));
        }
        let loss = match (is_lost, is_hung) {
            (true, _) if lost > 0 => Some(LossKind::Lost),
            (_, true) => Some(LossKind::Hung),
            (true, false) => Some(LossKind::Reset),
            (false, false) => None,
        };
        if let Some(loss) = loss {
            let story = tell(id, kind, connection, signal);
            self.losses.add(loss, story);
        }
        let ended = match connection.end {
            End::Fin | End::Reset => connection.ended,
            _ => None,
        };
        let after = ended.and_then(|at| at.checked_duration_since(signal));
        self.last_end = self.last_end.max(after);
        let judgement = Judgement {
            lost: messages,
            is_lost,
            is_hung,
            is_wrong,
        };
        self.trace.add(id, kind, connection, &judgement, signal);
    }

    /// Returns the messages that the server had to answer; notes the right by which it
    /// left others without an answer.
    fn lost<'a>(
        &mut self,
        connection: &'a ConnectionJournal,
        signal: Instant,
    ) -> Vec<&'a Message> {
        if connection.end == End::Left {
            return Vec::new();
        }
        let mut lost = Vec::new();
        let is_used_up = owed::is_used_up(connection, self.answer_limit);
        let is_cut = |message: &Message| {
            let announced = connection.announced;
            announced.is_some_and(|announced| announced.has_cut(message))
        };
        for message in &connection.unanswered {
            match owed::judge(connection, message, signal) {
                Debt::Lost if is_used_up => {
                    push_new(&mut self.notes, &excuse(Rule::AnswerLimit))
                }
                Debt::Lost => lost.push(message),
                Debt::Excused(_) if is_cut(message) => self.cut += 1,
                Debt::Excused(rule) => push_new(&mut self.notes, &excuse(rule)),
                Debt::TooLate => {}
            }
        }
        lost
    }
}

/// Returns the note on a request that a rule excuses.
fn excuse(rule: Rule) -> String {
    format!(
        "a request without an answer is not counted, as {}",
        rule.quote()
    )
}

/// Says whether it convicts that what came was not the answer. What came before the signal
/// says nothing about the stop. A client that connects after the signal, or begins the
/// opening handshake only then, may be refused in any way, as a request of HTTP that is sent
/// after the signal may be.
fn is_wrong(connection: &ConnectionJournal, signal: Instant) -> bool {
    let is_in_time = |written: Instant| written <= signal;
    matches!(connection.end, End::Garbled(_))
        && connection.ended.is_none_or(|ended| ended >= signal)
        && connection.was_connected(signal)
        && connection.opening.is_none_or(is_in_time)
}

/// Says whether a reset takes nothing from a client: the server had announced the end by a
/// Close frame (RFC 6455 section 5.5.1), or in HTTP. There the client may also have begun a
/// request on an idle connection when the server was already stopping (RFC 9112 section
/// 9.5), and may repeat it (section 9.3.1). Messages that are owed are counted by themselves.
fn is_harmless(connection: &ConnectionJournal) -> bool {
    // A wrong answer that is whole is cut by nothing.
    let is_untouched = |message: &Message| message.received == 0 || message.problem.is_some();
    let rule = connection.announced.map(|announced| announced.rule);
    let has_repeatable = connection.answered > 0 && !connection.unanswered.is_empty();
    connection.unanswered.iter().all(is_untouched)
        && (rule == Some(Rule::WebSocketClose)
            || connection.closes_idle && (rule.is_some() || has_repeatable))
}

/// Adds a text that is not there yet, as long as there is room.
fn push_new(list: &mut Vec<String>, text: &str) {
    if list.len() < 10 && !list.iter().any(|known| known == text) {
        list.push(text.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Journal;

    const MS: Duration = Duration::from_millis(1);

    /// A connection of before the signal with one message, unanswered.
    fn judged(end: End, written: Option<i32>) -> RoundResult {
        let signal = Instant::now() + Duration::from_secs(1);
        let record = Journal::new();
        let mut client = record.lock();
        client.current.connected = Some(signal - 10 * MS);
        client.current.unanswered.push_back(Message {
            written: written.map(|ms| match ms {
                0.. => signal + ms.unsigned_abs() * MS,
                _ => signal - ms.unsigned_abs() * MS,
            }),
            ..Message::new(0, 0, "message")
        });
        client.current.finish(end);
        client.current.ended = Some(signal + MS);
        let mut round = RoundResult::default();
        round.judge(0, "test", &client, signal);
        round
    }

    #[test]
    fn a_message_is_lost_only_if_it_was_written_before_the_signal() {
        assert_eq!(judged(End::Fin, Some(-1)).messages_lost, 1);
        assert_eq!(judged(End::Fin, Some(0)).messages_lost, 1);
        assert_eq!(judged(End::Fin, Some(1)).messages_lost, 0);
        assert_eq!(judged(End::Fin, None).messages_lost, 0);
        assert!(judged(End::Fin, Some(1)).is_lossless());
    }

    #[test]
    fn a_reset_loses_a_connection_of_before_the_signal() {
        let round = judged(End::Reset, None);
        assert_eq!((round.resets, round.connections_lost), (1, 1));
        assert!(!round.is_lossless());
    }

    /// As of a client that does not read, and has been given up before.
    #[test]
    fn a_reset_of_before_the_signal_loses_nothing() {
        let signal = Instant::now() + Duration::from_secs(1);
        let record = Journal::new();
        let mut client = record.lock();
        client.current.connected = Some(signal - 10 * MS);
        client.current.finish(End::Reset);
        let mut round = RoundResult::default();
        round.judge(0, "test", &client, signal);
        assert_eq!((round.resets, round.connections_lost), (0, 0));
        assert!(round.is_lossless());
    }

    /// A connection of WebSocket on which a Close frame came, and then a reset.
    fn reset_behind_a_close_frame(is_half: bool) -> RoundResult {
        let signal = Instant::now() + Duration::from_secs(1);
        let record = Journal::new();
        let mut client = record.lock();
        client.current.connected = Some(signal - 10 * MS);
        client.current.begin(0, "message");
        client.current.sent();
        client.current.is_mid_message = is_half;
        client.current.announce(Rule::WebSocketClose);
        client.current.finish(End::Reset);
        client.current.ended = Some(signal + MS);
        let mut round = RoundResult::default();
        round.judge(0, "test", &client, signal);
        let story = tell(0, "test", &client.current, signal);
        let close = story.find("; a Close frame ").unwrap();
        assert!(story.find("; then a reset") > Some(close), "{story}");
        round
    }

    #[test]
    fn a_close_frame_excuses_half_a_message_and_the_reset_behind_it() {
        let mut round = reset_behind_a_close_frame(true);
        assert!(round.is_lossless());
        assert_eq!((round.cut, round.resets), (1, 1));
        round.note_cut();
        assert!(round.notes.iter().any(|note| note.contains("5.5.1")));
        let round = reset_behind_a_close_frame(false);
        assert_eq!((round.messages_lost, round.connections_lost), (1, 1));
    }

    #[test]
    fn what_the_client_gave_up_is_no_loss() {
        assert!(judged(End::Left, Some(-1)).is_lossless());
    }

    #[test]
    fn a_connection_without_an_end_is_hung_only_if_it_is_of_before_the_signal() {
        assert_eq!(judged(End::Open, None).hung, 1);
        let record = Journal::new();
        let mut client = record.lock();
        let signal = Instant::now();
        client.current.connected = Some(signal + MS);
        let mut round = RoundResult::default();
        round.judge(0, "test", &client, signal);
        assert!(round.is_lossless() && !round.notes.is_empty());
    }

    /// The findings about a handshake that is answered with something else; times are
    /// milliseconds after the signal.
    fn refused(connected: i32, asked: Option<i32>) -> usize {
        refused_at(connected, asked, 9)
    }

    fn refused_at(connected: i32, asked: Option<i32>, ended: i32) -> usize {
        let signal = Instant::now() + Duration::from_secs(1);
        let at = |ms: i32| match ms {
            0.. => signal + ms.unsigned_abs() * MS,
            _ => signal - ms.unsigned_abs() * MS,
        };
        let record = Journal::new();
        let mut client = record.lock();
        client.current.connected = Some(at(connected));
        client.current.opening = asked.map(at);
        client.current.finish(End::Garbled("status 503".to_owned()));
        client.current.ended = Some(at(ended));
        let mut round = RoundResult::default();
        round.judge(0, "test", &client, signal);
        round.findings.len()
    }

    #[test]
    fn a_refusal_convicts_only_where_the_client_asked_before_the_signal() {
        assert_eq!(refused(-2, Some(-1)), 1);
        assert_eq!(refused(-2, Some(0)), 1);
        assert_eq!(refused(-2, None), 1, "the handshake was over");
        assert_eq!(refused(-2, Some(1)), 0);
        assert_eq!(refused(1, Some(2)), 0);
        assert_eq!(refused(1, None), 0);
        assert_eq!(
            refused_at(-3, Some(-2), -1),
            0,
            "it was no matter of the stop"
        );
    }

    #[test]
    fn a_connection_of_after_the_signal_is_no_loss() {
        let record = Journal::new();
        let mut client = record.lock();
        let signal = Instant::now();
        client.current.connected = Some(signal + MS);
        client.current.finish(End::Reset);
        let mut round = RoundResult::default();
        round.judge(0, "test", &client, signal);
        assert_eq!((round.resets, round.connections_lost), (1, 0));
        assert!(round.is_lossless());
    }
}
