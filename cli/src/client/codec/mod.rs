//! What is spoken on a connection, without any I/O: bytes in, events out.

mod fifo;
mod h2;
mod http;
mod redis;
mod text;
mod websocket;

use super::owed::Rule;
use super::target::{Request, Target};
use crate::setup::Protocol;

pub(crate) use http::KeepAlive;
pub(crate) use redis::command;

/// What a whole answer said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Response {
    /// The status of HTTP; 0 in protocols without one.
    pub(crate) status: u16,
    /// The grpc-status of h2, which comes in trailers; none where it is not spoken.
    pub(crate) grpc: Option<u16>,
    /// The server said that it ends the connection after this answer.
    pub(crate) closes: bool,
    /// The length of the answer, in bytes.
    pub(crate) length: u64,
    /// The length of its body where the end of the connection is its end: it may be only
    /// a part of it.
    pub(crate) until_end: Option<u64>,
    /// The limits of the connection that the server announced.
    pub(crate) keep_alive: KeepAlive,
}

/// What a codec found in its input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// A part of an answer is here; `received` bytes of it by now.
    Progress { key: u64, received: u64 },
    /// An answer is whole.
    Answered { key: u64, response: Response },
    /// An answer of `received` bytes is whole, and it is a wrong one.
    Wrong {
        key: u64,
        problem: String,
        received: u64,
    },
    /// The server said that it did not process a request, as `rule` allows.
    Returned { key: u64, rule: Rule },
    /// The server said that it ends the connection: nothing that is sent from now
    /// on has to be answered.
    Announced(Rule),
    /// The connection can be used.
    Opened,
}

/// The lines or messages that a server sends to each client before any request. None of
/// them is an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Greeting {
    left: u64,
    /// The number of later ones that came without a request.
    pub(crate) unasked: u64,
}

impl Greeting {
    fn of(left: u64) -> Greeting {
        Greeting { left, unasked: 0 }
    }

    /// Takes what has come for a part of the greeting, unless that is over.
    fn take(&mut self) -> bool {
        let is_greeting = self.left > 0;
        self.left = self.left.saturating_sub(1);
        is_greeting
    }

    pub(crate) fn is_over(&self) -> bool {
        self.left == 0
    }
}

/// The state of one connection in its protocol.
#[derive(Debug)]
pub(crate) enum Codec {
    Echo(text::Echo),
    Lines(text::Lines),
    Redis(redis::Redis),
    Http(http::Http),
    WebSocket(Box<websocket::WebSocket>),
    H2(Box<h2::H2>),
}

impl Codec {
    pub(crate) fn new(target: &Target) -> Codec {
        match target.protocol {
            Protocol::Echo => Codec::Echo(text::Echo::default()),
            Protocol::Lines => Codec::Lines(text::Lines::new(
                target.expected_text.clone(),
                Greeting::of(target.greeting),
            )),
            Protocol::Redis => Codec::Redis(redis::Redis::default()),
            Protocol::Http => Codec::Http(http::Http::default()),
            Protocol::Ws => Codec::WebSocket(Box::new(websocket::WebSocket::new(target))),
            Protocol::H2 => Codec::H2(Box::new(h2::H2::new(target))),
        }
    }

    /// Returns what a client sends before its first request; empty if nothing.
    pub(crate) fn greeting(&mut self) -> Vec<u8> {
        match self {
            Codec::WebSocket(codec) => codec.greeting(),
            Codec::H2(codec) => codec.greeting(),
            _ => Vec::new(),
        }
    }

    /// Says whether requests can be sent, or the server's part of an opening
    /// handshake is still missing.
    pub(crate) fn is_open(&self) -> bool {
        match self {
            Codec::WebSocket(codec) => codec.is_open(),
            _ => true,
        }
    }

    /// Returns what has come of the server's greeting.
    pub(crate) fn heard(&self) -> Greeting {
        match self {
            Codec::Lines(codec) => *codec.greeting(),
            Codec::WebSocket(codec) => *codec.greeting_messages(),
            _ => Greeting::default(),
        }
    }

    /// Registers a request and returns its key and its bytes.
    pub(crate) fn encode(&mut self, request: &Request) -> (u64, Vec<u8>) {
        match self {
            Codec::Echo(codec) => (codec.push(&request.bytes), request.bytes.clone()),
            Codec::Lines(codec) => (codec.push(), request.bytes.clone()),
            Codec::Redis(codec) => (codec.push(), request.bytes.clone()),
            Codec::Http(codec) => (codec.push(request), request.bytes.clone()),
            Codec::WebSocket(codec) => codec.encode(&request.bytes),
            Codec::H2(codec) => codec.encode(request),
        }
    }

    /// Takes bytes and adds what they held to `events`.
    ///
    /// # Errors
    /// The bytes behind the last of `events` are not of this protocol.
    pub(crate) fn feed(&mut self, bytes: &[u8], events: &mut Vec<Event>) -> Result<(), String> {
        match self {
            Codec::Echo(codec) => codec.feed(bytes, events),
            Codec::Lines(codec) => codec.feed(bytes, events),
            Codec::Redis(codec) => codec.feed(bytes, events),
            Codec::Http(codec) => codec.feed(bytes, events),
            Codec::WebSocket(codec) => codec.feed(bytes, events),
            Codec::H2(codec) => codec.feed(bytes, events),
        }
    }

    /// Takes the orderly end of the connection, which can be the end of an answer.
    pub(crate) fn finish(&mut self) -> Option<Event> {
        match self {
            Codec::Http(codec) => codec.finish(),
            _ => None,
        }
    }

    /// Returns what the protocol itself has to say: acknowledgements and the like.
    pub(crate) fn take_output(&mut self) -> Vec<u8> {
        match self {
            Codec::WebSocket(codec) => codec.take_output(),
            Codec::H2(codec) => codec.take_output(),
            _ => Vec::new(),
        }
    }

    /// Stops granting the server room to send, or grants it again (h2 only).
    pub(crate) fn hold_windows(&mut self, is_held: bool) {
        if let Codec::H2(codec) = self {
            codec.hold_windows(is_held);
        }
    }
}

/// Quotes what a server said in a message for people, of which one line has to do.
fn quoted(text: &str) -> String {
    const MOST: usize = 60;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{:?}...", text.get(..end).unwrap_or_default()),
        None => format!("{text:?}"),
    }
}

/// Returns the events of some input.
#[cfg(test)]
fn fed(feed: impl FnOnce(&mut Vec<Event>) -> Result<(), String>) -> Result<Vec<Event>, String> {
    let mut events = Vec::new();
    feed(&mut events).map(|()| events)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_answer_is_quoted_in_part() {
        assert_eq!(quoted("a \"b\"\r"), r#""a \"b\"\r""#);
        let told = quoted(&"\u{fc}".repeat(61));
        assert_eq!(told, format!("\"{}\"...", "\u{fc}".repeat(60)));
    }

    fn codec(protocol: Protocol) -> Codec {
        let address = "127.0.0.1:1".parse().unwrap();
        Codec::new(&Target::new(address, protocol))
    }

    /// Feeds an answer with an error behind it, and returns how many answers were told.
    fn answers_before_an_error(protocol: Protocol, input: &[u8]) -> usize {
        let mut codec = codec(protocol);
        for _ in 0..2 {
            codec.encode(&Request {
                bytes: b"hello\n".to_vec(),
                ..Request::default()
            });
        }
        let mut events = Vec::new();
        assert!(codec.feed(input, &mut events).is_err(), "{protocol}");
        let is_answer = |event: &&Event| matches!(event, Event::Answered { .. });
        events.iter().filter(is_answer).count()
    }

    #[test]
    fn an_answer_before_an_error_counts() {
        let long = vec![b'x'; 1 << 17];
        for (protocol, answer, error) in [
            (Protocol::Echo, &b"hello\n"[..], &b"nonsense"[..]),
            (Protocol::Lines, b"hello\n", &long),
            (Protocol::Redis, b"+PONG\r\n", b"nonsense\r\n"),
            (
                Protocol::Http,
                b"HTTP/1.1 204 No Content\r\n\r\n",
                b"nonsense\r\n",
            ),
        ] {
            let input = [answer, error].concat();
            assert_eq!(answers_before_an_error(protocol, &input), 1, "{protocol}");
        }
    }
}
