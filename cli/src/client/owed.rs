//! What a server owes to its clients, and when it has the right not to answer.
//! Each rule names its paragraph, so that a verdict can be looked up.

use std::time::{Duration, Instant};

use super::journal::{ConnectionJournal, End, Message};

/// A reason for which a server may leave a request without an answer, although the
/// request had been written before the stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    ConnectionClose,
    Http10,
    UntilClose,
    KeepAliveCount,
    KeepAliveTime,
    SingleAnswer,
    EndedBefore,
    WrongBefore,
    AnswerLimit,
    Timeout,
    GoAway,
    RefusedStream,
    WebSocketClose,
}

impl Rule {
    pub(crate) const ALL: [Rule; 13] = [
        Rule::ConnectionClose,
        Rule::Http10,
        Rule::UntilClose,
        Rule::KeepAliveCount,
        Rule::KeepAliveTime,
        Rule::SingleAnswer,
        Rule::EndedBefore,
        Rule::WrongBefore,
        Rule::AnswerLimit,
        Rule::Timeout,
        Rule::GoAway,
        Rule::RefusedStream,
        Rule::WebSocketClose,
    ];

    /// Returns the paragraph that gives the server this right; none if it needs no
    /// paragraph, as what it says is no matter of the stop.
    fn section(self) -> Option<&'static str> {
        Some(match self {
            Rule::ConnectionClose => "RFC 9112 section 9.6",
            Rule::Http10 | Rule::KeepAliveCount => "RFC 9112 section 9.3",
            Rule::UntilClose => "RFC 9112 section 6.3",
            Rule::KeepAliveTime | Rule::SingleAnswer => "RFC 9112 section 9.5",
            Rule::EndedBefore | Rule::WrongBefore | Rule::AnswerLimit => return None,
            Rule::Timeout => "RFC 9110 section 15.5.9",
            Rule::GoAway => "RFC 9113 section 6.8",
            Rule::RefusedStream => "RFC 9113 section 8.7",
            Rule::WebSocketClose => "RFC 6455 section 5.5.1",
        })
    }

    /// Returns the rule as a sentence, with its paragraph.
    pub(crate) fn quote(self) -> String {
        match self.section() {
            Some(section) => format!("{} ({section})", self.text()),
            None => self.text().to_owned(),
        }
    }

    /// Returns what said that the connection ends, where that was no answer.
    pub(crate) fn frame(self) -> Option<&'static str> {
        match self {
            Rule::GoAway => Some("a GOAWAY"),
            Rule::WebSocketClose => Some("a Close frame"),
            _ => None,
        }
    }

    /// Returns the rule as a sentence.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Rule::ConnectionClose => {
                "an earlier answer on the connection had the header Connection: close"
            }
            Rule::Http10 => {
                "an earlier answer on the connection was HTTP/1.0 without Connection: keep-alive"
            }
            Rule::UntilClose => {
                "the end of the connection was the end of an earlier answer on it"
            }
            Rule::KeepAliveCount => {
                "an earlier answer announced Keep-Alive: max=0, so it was the last one"
            }
            Rule::KeepAliveTime => {
                "the connection had been idle for longer than the server keeps idle connections"
            }
            Rule::SingleAnswer => {
                "the server ends each connection after one answer, also while nothing is wrong"
            }
            Rule::EndedBefore => "the server had ended the connection before the stop signal",
            Rule::WrongBefore => "the server had given a wrong answer before the stop signal",
            Rule::AnswerLimit => {
                "the server ends connections after so many answers, also while nothing is wrong"
            }
            Rule::Timeout => "the server had answered 408 on the idle connection",
            Rule::GoAway => {
                "a GOAWAY named an earlier stream as the last one that the server processes"
            }
            Rule::RefusedStream => "the stream was reset with REFUSED_STREAM",
            Rule::WebSocketClose => "the server had sent a Close frame",
        }
    }
}

/// An idle connection is not tested beyond this time where the server announces no
/// limit: the shortest one that is in use is two seconds.
pub(crate) const UNANNOUNCED: Duration = Duration::from_millis(1900);

/// What a server said of a connection, and when its client read it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Announcement {
    pub(crate) rule: Rule,
    pub(crate) at: Instant,
    /// How many messages had been begun by then: those of which the server owes answers.
    pub(crate) begun: u64,
    /// The message after those had begun, too, and its rest came behind a Close frame.
    pub(crate) cuts: bool,
}

impl Announcement {
    /// Says whether a message had begun, and was not whole.
    pub(crate) fn has_cut(&self, message: &Message) -> bool {
        self.cuts && message.number == self.begun
    }
}

/// The verdict on one message without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Debt {
    /// The server had to answer it.
    Lost,
    /// The server had the right not to answer it.
    Excused(Rule),
    /// It was written too late to be owed anything.
    TooLate,
}

/// Judges a message without an answer on a connection to a server that was told to
/// stop at `signal`.
pub(crate) fn judge(
    connection: &ConnectionJournal,
    message: &Message,
    signal: Instant,
) -> Debt {
    let Some(written) = message.written.filter(|written| *written <= signal) else {
        return Debt::TooLate;
    };
    if let Some(rule) = message.returned {
        return Debt::Excused(rule);
    }
    // The stop does not cause what happens before its signal. The time of the signal is
    // taken before it is sent, and that of an end after it is read: no end by the stop is
    // excused.
    let is_early = |at: Option<Instant>| at.is_some_and(|at| at < signal);
    if is_early(message.failed) {
        return Debt::Excused(Rule::WrongBefore);
    }
    let has_ended = is_early(connection.ended);
    // A part of an answer is a broken promise, whatever was announced before it.
    if (message.received > 0 || message.problem.is_some()) && !has_ended {
        return Debt::Lost;
    }
    if let Some(announced) = connection.announced
        && announced.begun <= message.number
    {
        return Debt::Excused(announced.rule);
    }
    // The server owes the first answer of a connection, and no other.
    if connection.is_single && message.number > 0 {
        return Debt::Excused(Rule::SingleAnswer);
    }
    if has_ended {
        return Debt::Excused(Rule::EndedBefore);
    }
    if !connection.closes_idle || connection.answered == 0 {
        return Debt::Lost;
    }
    // From here on: a request on a connection that had an answer before.
    let limit = connection.idle_limit.unwrap_or(UNANNOUNCED);
    let idle_since = connection.idle_since.unwrap_or(written);
    // A server that stands still cannot look at its clock: the stop is what counts.
    match signal.saturating_duration_since(idle_since) >= limit {
        true => Debt::Excused(Rule::KeepAliveTime),
        false => Debt::Lost,
    }
}

/// Returns the number of answers after which a server ends connections while nothing is
/// stopped, if these connections show one: none of them had more answers, and several
/// ended with so many.
pub(crate) fn answer_limit<'a>(
    connections: impl Iterator<Item = &'a ConnectionJournal>,
    signal: Instant,
) -> Option<u64> {
    let (mut most, mut ended) = (0, 0);
    for connection in connections {
        if connection.answered > most {
            (most, ended) = (connection.answered, 0);
        }
        let is_end = matches!(connection.end, End::Fin | End::Reset)
            && connection.ended.is_some_and(|at| at < signal)
            && connection.announced.is_none();
        ended += usize::from(is_end && connection.answered == most);
    }
    (most > 0 && ended >= SEVERAL).then_some(most)
}

/// So many connections that end alike are no chance.
const SEVERAL: usize = 3;

/// Says whether a connection had all the answers that the server gives on one.
pub(crate) fn is_used_up(connection: &ConnectionJournal, limit: Option<u64>) -> bool {
    let is_untouched = |message: &Message| message.received == 0 || message.problem.is_some();
    limit.is_some_and(|limit| connection.answered >= limit)
        && connection.unanswered.iter().all(is_untouched)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::codec::KeepAlive;

    const MS: Duration = Duration::from_millis(1);

    fn message(signal: Instant) -> Message {
        Message {
            written: Some(signal - 5 * MS),
            ..Message::new(1, 1, "request")
        }
    }

    fn reused(signal: Instant) -> ConnectionJournal {
        ConnectionJournal {
            connected: Some(signal - 2000 * MS),
            answered: 1,
            idle_since: Some(signal - 10 * MS),
            closes_idle: true,
            end: End::Fin,
            ended: Some(signal + MS),
            ..ConnectionJournal::new()
        }
    }

    fn announced(rule: Rule, begun: u64) -> Option<Announcement> {
        Some(Announcement {
            rule,
            at: Instant::now(),
            begun,
            cuts: false,
        })
    }

    #[test]
    fn an_unanswered_message_is_lost() {
        let signal = Instant::now() + 10_000 * MS;
        assert_eq!(judge(&reused(signal), &message(signal), signal), Debt::Lost);
    }

    #[test]
    fn what_is_written_after_the_signal_is_too_late() {
        let signal = Instant::now() + 10_000 * MS;
        let late = Message {
            written: Some(signal + MS),
            ..message(signal)
        };
        assert_eq!(judge(&reused(signal), &late, signal), Debt::TooLate);
    }

    #[test]
    fn only_messages_behind_an_announced_close_are_excused() {
        let signal = Instant::now() + 10_000 * MS;
        for rule in [Rule::ConnectionClose, Rule::Http10, Rule::WebSocketClose] {
            let mut connection = reused(signal);
            connection.announced = announced(rule, 1);
            let debt = judge(&connection, &message(signal), signal);
            assert_eq!(debt, Debt::Excused(rule));
            connection.announced = announced(rule, 2);
            assert_eq!(judge(&connection, &message(signal), signal), Debt::Lost);
        }
    }

    #[test]
    fn a_part_of_an_answer_is_lost_behind_an_announcement_too() {
        let signal = Instant::now() + 10_000 * MS;
        let mut connection = reused(signal);
        let rule = Rule::ConnectionClose;
        connection.announced = announced(rule, 1);
        let half = Message {
            received: 7,
            ..message(signal)
        };
        assert_eq!(judge(&connection, &half, signal), Debt::Lost);
    }

    #[test]
    fn an_idle_limit_excuses_only_requests_on_reused_connections() {
        let signal = Instant::now() + 10_000 * MS;
        let mut connection = reused(signal);
        connection.idle_limit = Some(8 * MS);
        let message = message(signal);
        let excused = Debt::Excused(Rule::KeepAliveTime);
        assert_eq!(judge(&connection, &message, signal), excused);
        connection.idle_limit = Some(50 * MS);
        assert_eq!(judge(&connection, &message, signal), Debt::Lost);
        connection.idle_since = Some(signal - 51 * MS);
        connection.answered = 0;
        assert_eq!(judge(&connection, &message, signal), Debt::Lost);
    }

    /// The answer came in a millisecond, and the client was not let to read it for a
    /// second, in which the server's limit passed.
    #[test]
    fn an_answer_that_was_read_late_does_not_shorten_the_idle_time() {
        let mut connection = ConnectionJournal::new();
        connection.closes_idle = true;
        connection.idle_limit = Some(1000 * MS);
        connection.begin(0, "request");
        connection.sent();
        connection.unanswered[0].written = Instant::now().checked_sub(1200 * MS);
        let mut slow = connection.clone();
        connection.answer_time = MS;
        slow.answer_time = 400 * MS;
        for connection in [&mut connection, &mut slow] {
            connection.answer(0, KeepAlive::default());
        }
        let signal = Instant::now() + MS;
        let message = message(signal);
        let excused = Debt::Excused(Rule::KeepAliveTime);
        assert_eq!(judge(&connection, &message, signal), excused);
        assert_eq!(judge(&slow, &message, signal), Debt::Lost);
    }

    #[test]
    fn a_connection_that_ended_before_the_signal_loses_nothing_to_the_stop() {
        let signal = Instant::now() + 10_000 * MS;
        let mut connection = reused(signal);
        connection.ended = Some(signal - MS);
        let excused = Debt::Excused(Rule::EndedBefore);
        assert_eq!(judge(&connection, &message(signal), signal), excused);
    }

    /// Servers of every protocol end connections while nothing is stopped: at a limit of
    /// commands, or of clients.
    #[test]
    fn no_end_and_no_answer_of_before_the_signal_is_a_loss_in_any_protocol() {
        let signal = Instant::now() + 10_000 * MS;
        for end in [End::Fin, End::Reset, End::Garbled("nonsense".to_owned())] {
            for answered in [0, 10] {
                let mut connection = ConnectionJournal {
                    answered,
                    end: end.clone(),
                    closes_idle: false,
                    ..reused(signal)
                };
                let part = Message {
                    received: 3,
                    ..message(signal)
                };
                for message in [message(signal), part] {
                    assert_eq!(judge(&connection, &message, signal), Debt::Lost);
                    connection.ended = Some(signal - MS);
                    let excused = Debt::Excused(Rule::EndedBefore);
                    assert_eq!(judge(&connection, &message, signal), excused);
                    connection.ended = Some(signal);
                }
            }
        }
        let mut connection = reused(signal);
        connection.closes_idle = false;
        let wrong = |failed| Message {
            problem: Some("554 too many commands".to_owned()),
            failed: Some(failed),
            ..message(signal)
        };
        assert_eq!(judge(&connection, &wrong(signal), signal), Debt::Lost);
        let excused = Debt::Excused(Rule::WrongBefore);
        assert_eq!(judge(&connection, &wrong(signal - MS), signal), excused);
    }

    #[test]
    fn a_server_of_single_answers_owes_one_on_each_connection() {
        let signal = Instant::now() + 10_000 * MS;
        let connection = ConnectionJournal {
            answered: 0,
            is_single: true,
            ..reused(signal)
        };
        let debts = [0, 1, 2].map(|number| {
            let message = Message {
                number,
                ..message(signal)
            };
            judge(&connection, &message, signal)
        });
        let excused = Debt::Excused(Rule::SingleAnswer);
        assert_eq!(debts, [Debt::Lost, excused, excused]);
    }

    #[test]
    fn a_limit_of_answers_shows_in_ends_of_before_the_signal_alone() {
        let signal = Instant::now() + 10_000 * MS;
        let with = |answered, ended| ConnectionJournal {
            answered,
            ended: Some(ended),
            ..reused(signal)
        };
        let (early, late) = (signal - MS, signal + MS);
        let limit = |all: &[ConnectionJournal]| answer_limit(all.iter(), signal);
        let ended = [
            with(10, early),
            with(10, early),
            with(10, early),
            with(3, late),
        ];
        assert_eq!(limit(&ended), Some(10));
        assert!(is_used_up(&with(10, late), Some(10)));
        assert!(!is_used_up(&with(9, late), Some(10)));
        assert_eq!(limit(&ended[1..]), None, "two can be a chance");
        assert_eq!(limit(&[&ended[..], &[with(11, late)]].concat()), None);
        let by_the_stop = [with(10, late), with(10, late), with(10, late)];
        assert_eq!(limit(&by_the_stop), None);
        let refused = [with(0, early), with(0, early), with(0, early)];
        assert_eq!(limit(&refused), None);
    }

    #[test]
    fn a_rule_of_a_protocol_quotes_its_paragraph() {
        assert!(Rule::GoAway.quote().ends_with("(RFC 9113 section 6.8)"));
        for rule in Rule::ALL {
            let section = rule.section();
            assert!(
                section.is_none_or(|section| section.starts_with("RFC ")),
                "{rule:?}"
            );
            assert!(rule.quote().starts_with(rule.text()));
            assert!(!rule.text().is_empty());
        }
    }
}
