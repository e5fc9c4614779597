//! WebSocket (RFC 6455): the opening handshake, and a message back for each message.

use std::io::Cursor;

use tungstenite::handshake::derive_accept_key;
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use super::fifo::Fifo;
use super::{Event, Greeting, Response};
use crate::client::owed::Rule;
use crate::client::target::Target;

const HEAD_LIMIT: usize = 64 * 1024;
const HEADERS_LIMIT: usize = 200;

/// Longer messages are taken for a mistake.
const MESSAGE_LIMIT: u64 = 64 << 20;

/// Sixteen bytes in base64, as RFC 6455 section 4.1 wants.
const KEY: &str = "bGFtZWR1Y2sgY2hlY2sgIQ==";

/// A mask hides nothing from anybody here; the protocol wants one of clients.
const MASK: [u8; 4] = [0x5a, 0xa5, 0x0f, 0xf0];

/// The status of a close that the server began: it goes away.
const GOING_AWAY: u16 = 1001;

/// One connection of a client.
#[derive(Debug)]
pub(crate) struct WebSocket {
    request: Vec<u8>,
    pending: Fifo<()>,
    input: Vec<u8>,
    output: Vec<u8>,
    is_open: bool,
    /// A Close frame was sent; nothing may follow it.
    is_closed: bool,
    received: u64,
    greeting: Greeting,
}

impl WebSocket {
    pub(super) fn new(target: &Target) -> WebSocket {
        let mut head = format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n",
            target.path,
            target.authority()
        );
        for (name, value) in &target.headers {
            head += &format!("{name}: {value}\r\n");
        }
        head += "\r\n";
        WebSocket {
            request: head.into_bytes(),
            pending: Fifo::default(),
            input: Vec::new(),
            output: Vec::new(),
            is_open: false,
            is_closed: false,
            received: 0,
            greeting: Greeting::of(target.greeting),
        }
    }

    pub(super) fn greeting(&self) -> Vec<u8> {
        self.request.clone()
    }

    pub(super) fn is_open(&self) -> bool {
        self.is_open
    }

    pub(super) fn greeting_messages(&self) -> &Greeting {
        &self.greeting
    }

    pub(super) fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.output)
    }

    pub(super) fn encode(&mut self, text: &[u8]) -> (u64, Vec<u8>) {
        let key = self.pending.push(());
        (key, frame(OpCode::Data(Data::Text), text))
    }

    pub(super) fn feed(&mut self, bytes: &[u8], events: &mut Vec<Event>) -> Result<(), String> {
        self.input.extend_from_slice(bytes);
        if !self.is_open && !self.open(events)? {
            return Ok(());
        }
        while self.take_frame(events)? {}
        if let Some((key, ())) = self.pending.front() {
            let received = self.received + self.input.len() as u64;
            if received > 0 {
                events.push(Event::Progress { key, received });
            }
        }
        Ok(())
    }

    /// Looks for the server's part of the handshake.
    fn open(&mut self, events: &mut Vec<Event>) -> Result<bool, String> {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_LIMIT];
        let mut head = httparse::Response::new(&mut headers);
        let length = match head.parse(&self.input) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) if self.input.len() <= HEAD_LIMIT => {
                return Ok(false);
            }
            Ok(httparse::Status::Partial) => return Err("the head is too long".to_owned()),
            Err(error) => return Err(format!("no answer to the handshake: {error}")),
        };
        let status = head.code.unwrap_or_default();
        if status != 101 {
            return Err(format!("the handshake was answered with status {status}"));
        }
        let accept = derive_accept_key(KEY.as_bytes());
        let is_accepted = head.headers.iter().any(|header| {
            header.name.eq_ignore_ascii_case("sec-websocket-accept")
                && header.value.trim_ascii() == accept.as_bytes()
        });
        if !is_accepted {
            let problem = "the handshake was answered with a wrong Sec-WebSocket-Accept";
            return Err(problem.to_owned());
        }
        self.input.drain(..length);
        self.is_open = true;
        events.push(Event::Opened);
        Ok(true)
    }

    fn take_frame(&mut self, events: &mut Vec<Event>) -> Result<bool, String> {
        let mut cursor = Cursor::new(&self.input);
        let parsed = FrameHeader::parse(&mut cursor);
        let parsed = parsed.map_err(|error| format!("no WebSocket frame: {error}"))?;
        let Some((header, length)) = parsed else {
            return Ok(false);
        };
        if length > MESSAGE_LIMIT {
            return Err(format!("a frame of {length} bytes"));
        }
        let (start, length) = (cursor.position() as usize, length as usize);
        if self.input.len() < start + length {
            return Ok(false);
        }
        let payload = self.input.get(start..start + length);
        let payload = payload.unwrap_or_default().to_vec();
        self.input.drain(..start + length);
        match header.opcode {
            OpCode::Control(Control::Ping) if !self.is_closed => {
                let pong = frame(OpCode::Control(Control::Pong), &payload);
                self.output.extend(pong);
            }
            OpCode::Control(Control::Close) => self.close(&payload, events),
            OpCode::Data(_) => {
                self.received += (start + length) as u64;
                if header.is_final {
                    self.answered(events);
                }
            }
            OpCode::Control(_) => {}
        }
        Ok(true)
    }

    fn answered(&mut self, events: &mut Vec<Event>) {
        let length = std::mem::take(&mut self.received);
        if self.greeting.take() {
            return;
        }
        // A message that nobody asked for is the server's own affair.
        if let Some((key, ())) = self.pending.pop() {
            let response = Response {
                length,
                ..Response::default()
            };
            events.push(Event::Answered { key, response });
        } else {
            self.greeting.unasked += 1;
        }
    }

    /// Answers a Close frame with the same status (RFC 6455 section 5.5.1).
    fn close(&mut self, payload: &[u8], events: &mut Vec<Event>) {
        if self.is_closed {
            return;
        }
        self.is_closed = true;
        let status = match payload {
            [high, low, ..] => u16::from_be_bytes([*high, *low]),
            _ => GOING_AWAY,
        };
        let echo = frame(OpCode::Control(Control::Close), &status.to_be_bytes());
        self.output.extend(echo);
        events.push(Event::Announced(Rule::WebSocketClose));
    }
}

/// Encodes a frame of a client.
fn frame(opcode: OpCode, payload: &[u8]) -> Vec<u8> {
    let header = FrameHeader {
        is_final: true,
        opcode,
        mask: Some(MASK),
        ..FrameHeader::default()
    };
    let mut bytes = Vec::new();
    // Writing into a vector cannot fail.
    let _ = header.format(payload.len() as u64, &mut bytes);
    let masked = payload.iter().zip(MASK.iter().cycle());
    bytes.extend(masked.map(|(byte, mask)| byte ^ mask));
    bytes
}

#[cfg(test)]
mod tests {
    use super::super::fed;
    use super::*;
    use crate::setup::Protocol;

    fn opened() -> WebSocket {
        let address = "127.0.0.1:1".parse().unwrap();
        let mut codec = WebSocket::new(&Target::new(address, Protocol::Ws));
        let accept = derive_accept_key(KEY.as_bytes());
        let head = format!("HTTP/1.1 101 Switching\r\nSec-WebSocket-Accept: {accept}\r\n\r\n");
        assert_eq!(
            fed(|events| codec.feed(head.as_bytes(), events)).unwrap(),
            [Event::Opened]
        );
        codec
    }

    #[test]
    fn a_wrong_handshake_is_refused() {
        let address = "127.0.0.1:1".parse().unwrap();
        for head in [
            "HTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.1 101 Switching\r\nSec-WebSocket-Accept: no\r\n\r\n",
        ] {
            let mut codec = WebSocket::new(&Target::new(address, Protocol::Ws));
            assert!(fed(|events| codec.feed(head.as_bytes(), events)).is_err());
        }
    }

    #[test]
    fn a_message_of_two_frames_is_one_answer() {
        let mut codec = opened();
        codec.encode(b"hello");
        let events = fed(|events| codec.feed(&[0x01, 1, b'a'], events)).unwrap();
        assert!(matches!(events[..], [Event::Progress { key: 0, .. }]));
        let events = fed(|events| codec.feed(&[0x80, 1, b'b'], events)).unwrap();
        assert!(matches!(events[..], [Event::Answered { key: 0, .. }]));
    }

    #[test]
    fn an_answer_before_an_error_counts() {
        let mut codec = opened();
        codec.encode(b"hello");
        let mut events = Vec::new();
        // The second frame has an opcode that is reserved.
        assert!(codec.feed(&[0x81, 1, b'a', 0x83, 0], &mut events).is_err());
        assert!(matches!(events[..], [Event::Answered { key: 0, .. }]));
    }

    #[test]
    fn a_close_is_answered_once() {
        let mut codec = opened();
        let close = [0x88, 2, 0x03, 0xe9];
        let events = fed(|events| codec.feed(&close, events)).unwrap();
        assert_eq!(events, [Event::Announced(Rule::WebSocketClose)]);
        assert_eq!(codec.take_output().len(), 2 + 4 + 2);
        fed(|events| codec.feed(&close, events)).unwrap();
        assert!(codec.take_output().is_empty());
    }

    #[test]
    fn a_ping_is_answered() {
        let mut codec = opened();
        fed(|events| codec.feed(&[0x89, 1, b'x'], events)).unwrap();
        let pong = codec.take_output();
        assert_eq!(pong, frame(OpCode::Control(Control::Pong), b"x"));
    }
}
