//! What a client expects to receive, and what it received.

use std::collections::VecDeque;
use std::fmt;

/// What a function makes of the bytes that a client has received; see
/// [`Expected::matching`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Match {
    /// It may become a message when more bytes come.
    Incomplete,
    /// The first so many bytes are the message.
    Complete(usize),
    /// It is not the message, whatever comes.
    Mismatch,
}

pub(crate) type Matcher = Box<dyn FnMut(&[u8]) -> Match>;

/// The answer that a client expects: just these bytes, one of several answers,
/// or whatever a function accepts.
///
/// ```
/// use lameduck::sim::{Expected, Match};
///
/// // A server that drains may say that it closes.
/// let either = Expected::one_of(["keep-alive\n", "close\n"]);
/// // Any line.
/// let line = Expected::matching(|input| {
///     match input.iter().position(|byte| *byte == b'\n') {
///         Some(end) => Match::Complete(end + 1),
///         None => Match::Incomplete,
///     }
/// });
/// # drop((either, line, Expected::from(b"just this")));
/// ```
pub struct Expected(pub(crate) Kind);

pub(crate) enum Kind {
    /// `matched`: how many bytes of it were compared already.
    Exactly {
        bytes: Vec<u8>,
        matched: usize,
    },
    OneOf(Vec<Vec<u8>>),
    Matching(Matcher),
    /// Each byte is an answer of its own.
    Bytes(VecDeque<u8>),
}

impl Expected {
    /// Expects one of several answers. None of them may begin with another.
    pub fn one_of<A: AsRef<[u8]>>(answers: impl IntoIterator<Item = A>) -> Expected {
        let answers = answers.into_iter().map(|answer| answer.as_ref().to_vec());
        Expected(Kind::OneOf(answers.collect()))
    }

    /// Expects what a function accepts. It is given all bytes that came since
    /// the last message, at least one, and asked again when more have come.
    pub fn matching(matcher: impl FnMut(&[u8]) -> Match + 'static) -> Expected {
        Expected(Kind::Matching(Box::new(matcher)))
    }

    pub(crate) fn bytes(bytes: &[u8]) -> Expected {
        Expected(Kind::Bytes(bytes.iter().copied().collect()))
    }
}

impl fmt::Debug for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Exactly { bytes, .. } => f.debug_tuple("Expected").field(bytes).finish(),
            Kind::OneOf(answers) => f.debug_tuple("Expected").field(answers).finish(),
            Kind::Bytes(bytes) => f.debug_tuple("Expected").field(bytes).finish(),
            Kind::Matching(_) => f.debug_tuple("Expected").finish_non_exhaustive(),
        }
    }
}

impl From<&[u8]> for Expected {
    fn from(bytes: &[u8]) -> Expected {
        let bytes = bytes.to_vec();
        Expected(Kind::Exactly { bytes, matched: 0 })
    }
}

impl<const N: usize> From<&[u8; N]> for Expected {
    fn from(bytes: &[u8; N]) -> Expected {
        bytes.as_slice().into()
    }
}

impl From<&Vec<u8>> for Expected {
    fn from(bytes: &Vec<u8>) -> Expected {
        bytes.as_slice().into()
    }
}

impl Kind {
    fn look(&mut self, input: &[u8]) -> Match {
        match self {
            Kind::Exactly { bytes, matched } => {
                let to = bytes.len().min(input.len());
                if bytes[*matched..to] != input[*matched..to] {
                    return Match::Mismatch;
                }
                *matched = to;
                if to == bytes.len() {
                    Match::Complete(to)
                } else {
                    Match::Incomplete
                }
            }
            Kind::OneOf(answers) => {
                let whole = answers.iter().find(|answer| input.starts_with(answer));
                let is_part = || answers.iter().any(|answer| answer.starts_with(input));
                match whole {
                    Some(answer) => Match::Complete(answer.len()),
                    None if is_part() => Match::Incomplete,
                    None => Match::Mismatch,
                }
            }
            Kind::Matching(_) if input.is_empty() => Match::Incomplete,
            Kind::Matching(matcher) => matcher(input),
            Kind::Bytes(bytes) => match (bytes.front(), input.first()) {
                (None, _) => Match::Complete(0),
                (_, None) => Match::Incomplete,
                (Some(expected), Some(found)) if expected == found => Match::Complete(1),
                _ => Match::Mismatch,
            },
        }
    }
}

/// A message that a client received.
pub(crate) struct Message {
    pub(crate) is_answer: bool,
    pub(crate) bytes: Vec<u8>,
}

/// The answers that a client expects, and those that it got.
#[derive(Default)]
pub(crate) struct Answers {
    expected: VecDeque<Kind>,
    unsolicited: Option<Matcher>,
    /// Received, and no message yet.
    input: Vec<u8>,
    pub(crate) messages: VecDeque<Message>,
    /// The number of answers.
    pub(crate) answered: u64,
    /// The number of bytes in messages.
    taken: u64,
    /// The place of the first byte that was not expected.
    pub(crate) wrong_at: Option<u64>,
}

impl Answers {
    pub(crate) fn expect(&mut self, expected: Expected) {
        self.expected.push_back(expected.0);
        self.take_messages();
    }

    pub(crate) fn allow_unsolicited(&mut self, matcher: Matcher) {
        self.unsolicited = Some(matcher);
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.expected.is_empty()
    }

    /// Returns the number of bytes that can be read without reading beyond the
    /// next answer; `None` where that is not known.
    pub(crate) fn missing(&self) -> Option<usize> {
        match self.expected.front() {
            _ if self.unsolicited.is_some() => None,
            Some(Kind::Exactly { bytes, matched }) => Some(bytes.len() - matched),
            Some(Kind::Bytes(bytes)) => Some(bytes.len()),
            _ => None,
        }
    }

    /// Takes in what was received.
    pub(crate) fn receive(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
        self.take_messages();
    }

    /// Takes in what the client's program reads by itself: only what it is owed
    /// is looked at.
    pub(crate) fn receive_raw(&mut self, bytes: &[u8]) {
        self.receive(bytes);
        if self.expected.is_empty() && self.unsolicited.is_none() {
            self.taken += self.input.len() as u64;
            self.input.clear();
        }
    }

    /// Takes in the end: what is left is no message.
    pub(crate) fn end(&mut self) {
        if !self.input.is_empty() && self.expected.is_empty() {
            self.wrong();
        }
    }

    fn wrong(&mut self) {
        self.wrong_at.get_or_insert(self.taken);
        self.input.clear();
    }

    fn take_messages(&mut self) {
        while self.wrong_at.is_none() {
            let answer = match self.expected.front_mut() {
                Some(expected) => expected.look(&self.input),
                None if self.input.is_empty() => return,
                None => Match::Mismatch,
            };
            if let Match::Complete(n) = answer {
                self.take_answer(n);
                continue;
            }
            let unsolicited = match &mut self.unsolicited {
                Some(_) if self.input.is_empty() => Match::Incomplete,
                Some(matcher) => matcher(&self.input),
                None => Match::Mismatch,
            };
            match (answer, unsolicited) {
                (_, Match::Complete(n)) if n > 0 => self.take(n, false),
                (Match::Incomplete, _) | (_, Match::Incomplete) => return,
                // It may be the answer to the next request, which the client
                // has not noted yet.
                _ if self.expected.is_empty() && self.unsolicited.is_none() => return,
                _ => self.wrong(),
            }
        }
    }

    fn take_answer(&mut self, n: usize) {
        let is_over = match self.expected.front_mut() {
            Some(Kind::Bytes(bytes)) => {
                self.answered += u64::from(bytes.pop_front().is_some());
                bytes.is_empty()
            }
            _ => {
                self.answered += 1;
                true
            }
        };
        if is_over {
            self.expected.pop_front();
        }
        self.take(n, true);
    }

    fn take(&mut self, n: usize, is_answer: bool) {
        let n = n.min(self.input.len());
        let bytes: Vec<u8> = self.input.drain(..n).collect();
        self.taken += n as u64;
        // What was compared of the next answer was the message.
        if let Some(Kind::Exactly { matched, .. }) = self.expected.front_mut() {
            *matched = 0;
        }
        self.messages.push_back(Message { is_answer, bytes });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(input: &[u8]) -> Match {
        match input.iter().position(|byte| *byte == b'\n') {
            Some(end) => Match::Complete(end + 1),
            None => Match::Incomplete,
        }
    }

    /// Lines that begin with `*` come unasked.
    fn starred(input: &[u8]) -> Match {
        if input[0] == b'*' {
            line(input)
        } else {
            Match::Mismatch
        }
    }

    fn received(expected: impl IntoIterator<Item = Expected>, input: &[u8]) -> Answers {
        let mut answers = Answers::default();
        expected.into_iter().for_each(|e| answers.expect(e));
        // Byte by byte is the hardest.
        input.chunks(1).for_each(|byte| answers.receive(byte));
        answers
    }

    #[test]
    fn answers_are_counted_in_their_order() {
        let answers = received([b"ab".into(), b"cd".into(), b"".into()], b"abcd");
        assert_eq!((answers.answered, answers.wrong_at), (3, None));
        assert!(answers.is_complete());
    }

    #[test]
    fn a_wrong_byte_is_found_at_the_beginning_of_its_answer() {
        let answers = received([b"ab".into(), b"cd".into()], b"abcx");
        assert_eq!((answers.answered, answers.wrong_at), (1, Some(2)));
    }

    #[test]
    fn one_of_several_answers_is_accepted() {
        let expected = || [Expected::one_of(["keep\n", "close\n"])];
        assert_eq!(received(expected(), b"close\n").answered, 1);
        assert_eq!(received(expected(), b"clone\n").wrong_at, Some(0));
    }

    #[test]
    fn each_byte_can_be_an_answer_of_its_own() {
        let answers = received([Expected::bytes(b"ping")], b"pi");
        assert_eq!((answers.answered, answers.wrong_at), (2, None));
        assert_eq!(answers.missing(), Some(2));
    }

    #[test]
    fn unsolicited_messages_are_no_answers() {
        let mut answers = Answers::default();
        answers.allow_unsolicited(Box::new(starred));
        answers.expect(b"ok\n".into());
        answers.receive(b"*a\nok\n*b");
        answers.receive(b"\n");
        let messages = answers.messages.iter();
        let messages: Vec<_> = messages
            .map(|m| (m.is_answer, m.bytes.as_slice()))
            .collect();
        let all = [
            (false, b"*a\n".as_slice()),
            (true, b"ok\n"),
            (false, b"*b\n"),
        ];
        assert_eq!(messages, all);
        answers.receive(b"what?");
        assert_eq!(answers.wrong_at, Some(9));
    }

    #[test]
    fn bytes_that_nobody_asked_for_are_wrong_at_the_end() {
        let mut answers = received([b"ab".into()], b"abc");
        assert_eq!(answers.wrong_at, None);
        answers.end();
        assert_eq!(answers.wrong_at, Some(2));
    }
}
