//! HTTP/1: the end of each answer, and what it says about its connection.

use std::time::Duration;

use super::fifo::Fifo;
use super::{Event, Response, quoted};
use crate::client::owed::Rule;
use crate::client::target::Request;

/// Longer heads are refused.
const HEAD_LIMIT: usize = 64 * 1024;
const HEADERS_LIMIT: usize = 200;

/// The limits of a connection that a server announced (RFC 2068, section 19.7.1.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct KeepAlive {
    /// How long the connection may be idle.
    pub(crate) timeout: Option<Duration>,
    /// How many more requests it may carry.
    pub(crate) max: Option<u64>,
}

/// What has to be known of a request to find the end of its answer.
#[derive(Clone, Copy, Debug)]
struct Asked {
    is_head: bool,
    closes: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Head,
    Length(u64),
    ChunkSize,
    Chunk(u64),
    ChunkEnd,
    Trailer,
    /// The end of the connection is the end of the answer (RFC 9112 section 6.3).
    UntilEnd,
}

/// Answers in the order of their requests (RFC 9112 section 9.3.2).
#[derive(Debug)]
pub(crate) struct Http {
    pending: Fifo<Asked>,
    state: State,
    /// The head or the line that is not yet whole.
    text: Vec<u8>,
    response: Response,
    is_announced: bool,
}

impl Default for Http {
    fn default() -> Http {
        Http {
            pending: Fifo::default(),
            state: State::Head,
            text: Vec::new(),
            response: Response::default(),
            is_announced: false,
        }
    }
}

impl Http {
    pub(super) fn push(&mut self, request: &Request) -> u64 {
        self.pending.push(Asked {
            is_head: request.is_head,
            closes: request.closes,
        })
    }

    pub(super) fn feed(
        &mut self,
        mut bytes: &[u8],
        events: &mut Vec<Event>,
    ) -> Result<(), String> {
        while !bytes.is_empty() {
            let taken = match self.state {
                State::Length(left) | State::Chunk(left) => self.take_body(left, bytes.len()),
                State::UntilEnd => self.take_until_end(bytes.len()),
                State::Head => self.take_head(bytes, events)?,
                _ => self.take_line(bytes)?,
            };
            self.response.length += taken as u64;
            bytes = bytes.get(taken..).unwrap_or_default();
            if self.state == State::Length(0) {
                self.complete(events)?;
            }
        }
        if let Some((key, _)) = self.pending.front()
            && self.response.length > 0
        {
            let received = self.response.length;
            events.push(Event::Progress { key, received });
        }
        Ok(())
    }

    /// Takes the end of the connection: an answer without a length is whole then.
    pub(super) fn finish(&mut self) -> Option<Event> {
        if self.state != State::UntilEnd {
            return None;
        }
        self.state = State::Head;
        let (key, _) = self.pending.pop()?;
        let response = self.response;
        Some(Event::Answered { key, response })
    }

    fn complete(&mut self, events: &mut Vec<Event>) -> Result<(), String> {
        let response = std::mem::take(&mut self.response);
        self.state = State::Head;
        match self.pending.pop() {
            Some((key, _)) => events.push(Event::Answered { key, response }),
            // A server may say why it ends a connection that is idle for too long
            // (RFC 9110 section 15.5.9).
            None if response.status == 408 => events.push(Event::Announced(Rule::Timeout)),
            None => {
                let status = response.status;
                return Err(format!("an answer with status {status} to no request"));
            }
        }
        Ok(())
    }

    fn take_body(&mut self, left: u64, available: usize) -> usize {
        let taken = left.min(available as u64);
        self.state = match self.state {
            State::Chunk(_) if left == taken => State::ChunkEnd,
            State::Chunk(_) => State::Chunk(left - taken),
            _ => State::Length(left - taken),
        };
        taken as usize
    }

    fn take_until_end(&mut self, available: usize) -> usize {
        *self.response.until_end.get_or_insert_default() += available as u64;
        available
    }

    /// Takes up to the end of the head, and returns how much that was.
    fn take_head(&mut self, bytes: &[u8], events: &mut Vec<Event>) -> Result<usize, String> {
        let before = self.text.len();
        self.text.extend_from_slice(bytes);
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_LIMIT];
        let mut head = httparse::Response::new(&mut headers);
        let parsed = head.parse(&self.text);
        match parsed {
            Ok(httparse::Status::Complete(length)) => {
                let head = Head::of(&head);
                self.text.clear();
                self.begin(&head?, events)?;
                Ok(length - before)
            }
            Ok(httparse::Status::Partial) if self.text.len() > HEAD_LIMIT => {
                Err("the head of an answer is too long".to_owned())
            }
            Ok(httparse::Status::Partial) => Ok(bytes.len()),
            Err(error) => {
                let text = String::from_utf8_lossy(&self.text);
                let line = text.lines().next().unwrap_or_default();
                Err(format!("no HTTP/1 answer ({error}): {}", quoted(line)))
            }
        }
    }

    /// Decides where the body of an answer ends (RFC 9112 section 6.3).
    fn begin(&mut self, head: &Head, events: &mut Vec<Event>) -> Result<(), String> {
        let asked = self.pending.front().map(|(_, asked)| *asked);
        // RFC 9110 section 15.2: any number of interim answers come first.
        if (100..200).contains(&head.status) {
            return Ok(());
        }
        self.state = match (head.status, head.is_chunked, head.length) {
            (204 | 304, ..) => State::Length(0),
            _ if asked.is_some_and(|asked| asked.is_head) => State::Length(0),
            (_, true, _) => State::ChunkSize,
            (.., Some(length)) => State::Length(length),
            (.., None) => State::UntilEnd,
        };
        self.response.status = head.status;
        self.response.keep_alive = head.keep_alive;
        self.response.until_end = (self.state == State::UntilEnd).then_some(0);
        let rule = match self.state {
            State::UntilEnd => Some(Rule::UntilClose),
            _ if asked.is_some_and(|asked| asked.closes) => Some(Rule::ConnectionClose),
            _ => head.closes,
        };
        self.response.closes = rule.is_some();
        if let Some(rule) = rule
            && !self.is_announced
        {
            self.is_announced = true;
            events.push(Event::Announced(rule));
        }
        Ok(())
    }

    /// Takes up to the end of a line of the chunked coding (RFC 9112 section 7.1).
    fn take_line(&mut self, bytes: &[u8]) -> Result<usize, String> {
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let taken = end.map_or(bytes.len(), |end| end + 1);
        let piece = bytes.get(..taken).unwrap_or_default();
        self.text.extend_from_slice(piece);
        if self.text.len() > HEAD_LIMIT {
            return Err("a line of a chunked answer is too long".to_owned());
        }
        if end.is_none() {
            return Ok(taken);
        }
        let line = std::mem::take(&mut self.text);
        let is_empty = line.trim_ascii().is_empty();
        self.state = match self.state {
            State::ChunkSize => match httparse::parse_chunk_size(&line) {
                Ok(httparse::Status::Complete((_, 0))) => State::Trailer,
                Ok(httparse::Status::Complete((_, size))) => State::Chunk(size),
                _ => {
                    let line = String::from_utf8_lossy(&line);
                    return Err(format!("no size of a chunk: {}", quoted(&line)));
                }
            },
            State::ChunkEnd if is_empty => State::ChunkSize,
            State::ChunkEnd => return Err("a chunk is longer than its size".to_owned()),
            State::Trailer if is_empty => State::Length(0),
            state => state,
        };
        Ok(taken)
    }
}

/// What the head of an answer says.
#[derive(Debug)]
struct Head {
    status: u16,
    is_chunked: bool,
    length: Option<u64>,
    closes: Option<Rule>,
    keep_alive: KeepAlive,
}

impl Head {
    fn of(parsed: &httparse::Response<'_, '_>) -> Result<Head, String> {
        let status = parsed.code.unwrap_or_default();
        let mut head = Head {
            status,
            is_chunked: false,
            length: None,
            closes: None,
            keep_alive: KeepAlive::default(),
        };
        let (mut closes, mut keeps) = (false, false);
        for header in parsed.headers.iter() {
            let value = String::from_utf8_lossy(header.value).to_ascii_lowercase();
            let mut tokens = value.split(',').map(str::trim);
            match header.name.to_ascii_lowercase().as_str() {
                "connection" => {
                    closes |= tokens.clone().any(|token| token == "close");
                    keeps |= tokens.any(|token| token == "keep-alive");
                }
                "transfer-encoding" => {
                    head.is_chunked = tokens.next_back() == Some("chunked");
                }
                "content-length" => {
                    let length = value.trim().parse();
                    head.length = Some(
                        length.map_err(|_| format!("no content-length: {}", quoted(&value)))?,
                    );
                }
                "keep-alive" => head.keep_alive = keep_alive(tokens),
                _ => {}
            }
        }
        head.closes = match (closes, keeps, parsed.version) {
            (true, ..) => Some(Rule::ConnectionClose),
            (_, false, Some(0)) => Some(Rule::Http10),
            _ if head.keep_alive.max == Some(0) => Some(Rule::KeepAliveCount),
            _ => None,
        };
        Ok(head)
    }
}

fn keep_alive<'a>(tokens: impl Iterator<Item = &'a str>) -> KeepAlive {
    let mut limits = KeepAlive::default();
    for token in tokens {
        match token.split_once('=') {
            Some(("timeout", value)) => {
                limits.timeout = value.trim().parse().ok().map(Duration::from_secs);
            }
            Some(("max", value)) => limits.max = value.trim().parse().ok(),
            _ => {}
        }
    }
    limits
}

#[cfg(test)]
mod tests {
    use super::super::fed;
    use super::*;

    fn codec(is_head: bool) -> Http {
        let mut codec = Http::default();
        codec.push(&Request {
            is_head,
            ..Request::default()
        });
        codec
    }

    /// Feeds `text` in pieces, and returns the answer and what was announced.
    fn parse(text: &str, piece: usize, is_head: bool) -> (Option<Response>, Option<Rule>) {
        let mut codec = codec(is_head);
        let mut events = Vec::new();
        for piece in text.as_bytes().chunks(piece) {
            let is_early = events.iter().any(|e| matches!(e, Event::Answered { .. }));
            assert!(!is_early, "too early: {text}");
            events.extend(fed(|events| codec.feed(piece, events)).unwrap());
        }
        events.extend(codec.finish());
        let response = events.iter().find_map(|event| match event {
            Event::Answered { response, .. } => Some(*response),
            _ => None,
        });
        let rule = events.iter().find_map(|event| match event {
            Event::Announced(rule) => Some(*rule),
            _ => None,
        });
        (response, rule)
    }

    #[test]
    fn an_answer_is_whole_at_its_last_byte() {
        let texts = [
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", None),
            (
                "HTTP/1.1 204 No Content\r\nConnection: foo, Close\r\n\r\n",
                Some(Rule::ConnectionClose),
            ),
            (
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5;x\r\nhello\r\n0\r\nT: 1\r\n\r\n",
                None,
            ),
            (
                "HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
                None,
            ),
            (
                "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi",
                Some(Rule::Http10),
            ),
            (
                "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nhi",
                None,
            ),
            (
                "HTTP/1.0 200 OK\r\n\r\nuntil the end",
                Some(Rule::UntilClose),
            ),
        ];
        for (text, announced) in texts {
            for piece in [1, 2, 7, text.len()] {
                let (response, rule) = parse(text, piece, false);
                let response = response.unwrap_or_else(|| panic!("{text}"));
                assert_eq!(response.length, text.len() as u64, "{text}");
                assert_eq!(rule, announced, "{text}");
                assert_eq!(response.closes, announced.is_some(), "{text}");
            }
        }
    }

    #[test]
    fn the_length_of_a_body_that_ends_with_its_connection_is_known() {
        for (body, piece) in [("", 9), ("x", 1), ("until the end", 2)] {
            let text = format!("HTTP/1.1 200 OK\r\nX-Long: {body}\r\n\r\n{body}");
            let (response, _) = parse(&text, piece, false);
            let length = body.len() as u64;
            assert_eq!(response.unwrap().until_end, Some(length), "{text}");
        }
        let text = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
        assert_eq!(parse(text, 9, false).0.unwrap().until_end, None);
    }

    #[test]
    fn an_answer_to_head_has_no_body() {
        let text = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
        assert!(parse(text, 9, true).0.is_some());
        assert!(parse(text, 9, false).0.is_none());
        let body = format!("{text}hello");
        assert!(fed(|events| codec(true).feed(body.as_bytes(), events)).is_err());
    }

    #[test]
    fn a_part_is_no_answer() {
        for text in [
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
            "HTTP/1.1 100 Continue\r\n\r\n",
            "HTTP/1.1 200 OK\r\n",
        ] {
            assert_eq!(parse(text, 3, false).0, None, "{text}");
        }
    }

    #[test]
    fn pipelined_answers_come_in_order() {
        let mut codec = codec(false);
        codec.push(&Request::default());
        let text = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nA".repeat(2);
        let events = fed(|events| codec.feed(text.as_bytes(), events)).unwrap();
        let keys: Vec<u64> = events
            .iter()
            .filter_map(|event| match event {
                Event::Answered { key, .. } => Some(*key),
                _ => None,
            })
            .collect();
        assert_eq!(keys, [0, 1]);
    }

    #[test]
    fn limits_of_a_connection_are_read() {
        let text =
            "HTTP/1.1 200 OK\r\nKeep-Alive: timeout=5, max=0\r\nContent-Length: 0\r\n\r\n";
        let (response, rule) = parse(text, text.len(), false);
        let limits = response.unwrap().keep_alive;
        assert_eq!(limits.timeout, Some(Duration::from_secs(5)));
        assert_eq!(rule, Some(Rule::KeepAliveCount));
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "SSH-2.0-x\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
            "HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        ] {
            assert!(
                fed(|events| codec(false).feed(text.as_bytes(), events)).is_err(),
                "{text}"
            );
        }
    }

    #[test]
    fn a_timeout_may_be_told_to_an_idle_client() {
        let mut codec = Http::default();
        let text = "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n";
        let events = fed(|events| codec.feed(text.as_bytes(), events)).unwrap();
        assert_eq!(events, [Event::Announced(Rule::Timeout)]);
    }
}
