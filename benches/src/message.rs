//! What clients say, and how they know that they have the whole answer.

use std::io::{self, ErrorKind};

/// One message to a server.
#[derive(Clone, Copy, Debug)]
pub enum Message {
    /// So many bytes, which come back.
    Echo(usize),
    /// A request of HTTP/1.1.
    Http1,
    /// A request of HTTP/2, in a stream of its own.
    Http2,
}

/// One side of a connection: what it has left to say, and to hear.
#[derive(Debug, Default)]
pub struct Dialogue {
    out: Vec<u8>,
    written: usize,
    awaited: Awaited,
    /// The last stream of HTTP/2; 0 before the preface.
    stream: u32,
}

#[derive(Debug, Default)]
enum Awaited {
    #[default]
    Nothing,
    /// So many bytes more.
    Bytes(usize),
    /// The rest of a response's head.
    Head(Vec<u8>),
    /// The frame with END_STREAM.
    Frames(Frames),
}

/// Reads frames (RFC 9113 section 4.1) and skips what is in them.
#[derive(Debug, Default)]
struct Frames {
    header: Vec<u8>,
    to_skip: usize,
    has_end: bool,
    was_refused: bool,
    /// The begin of an answer to a PING, whose payload is what is skipped.
    pong: Vec<u8>,
    pongs: Vec<u8>,
}

const HTTP1: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// The preface, SETTINGS without any, and WINDOW_UPDATE for the connection: as much
/// as there can be, so that no answer waits for room.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\
    \x00\x00\x00\x04\x00\x00\x00\x00\x00\
    \x00\x00\x04\x08\x00\x00\x00\x00\x00\x7f\xff\x00\x00";

/// Fields from the static table (RFC 7541 appendix A): GET, http, / and an authority.
const FIELDS: &[u8] = b"\x82\x86\x84\x01\x09localhost";

const FRAME_HEADER: usize = 9;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_STREAM_AND_HEADERS: u8 = 5;

impl Dialogue {
    /// Begins a message; the last one has been answered.
    pub fn begin(&mut self, message: Message) {
        self.written = 0;
        match message {
            Message::Echo(size) => {
                self.out.resize(size, 0);
                self.awaited = Awaited::Bytes(size);
            }
            Message::Http1 => {
                self.out.clear();
                self.out.extend_from_slice(HTTP1);
                self.awaited = Awaited::Head(Vec::new());
            }
            Message::Http2 => {
                self.out.clear();
                if self.stream == 0 {
                    self.out.extend_from_slice(PREFACE);
                }
                self.stream += if self.stream == 0 { 1 } else { 2 };
                let length = u32::try_from(FIELDS.len()).unwrap_or_default();
                self.out.extend_from_slice(&length.to_be_bytes()[1..]);
                self.out.extend([HEADERS, END_STREAM_AND_HEADERS]);
                self.out.extend(self.stream.to_be_bytes());
                self.out.extend_from_slice(FIELDS);
                // Frames of the last answer have been read to their end.
                let mut frames = match std::mem::take(&mut self.awaited) {
                    Awaited::Frames(frames) => frames,
                    _ => Frames::default(),
                };
                frames.has_end = false;
                self.awaited = Awaited::Frames(frames);
            }
        }
    }

    /// What is left to be written.
    pub fn unwritten(&self) -> &[u8] {
        &self.out[self.written..]
    }

    pub fn wrote(&mut self, count: usize) {
        self.written += count;
    }

    /// Whether the answer is not whole yet.
    pub fn awaits(&self) -> bool {
        match &self.awaited {
            Awaited::Nothing | Awaited::Bytes(0) => false,
            Awaited::Bytes(_) | Awaited::Head(_) => true,
            Awaited::Frames(frames) => !frames.has_end,
        }
    }

    /// Takes what was read.
    ///
    /// # Errors
    /// When it is no answer to the message.
    pub fn read(&mut self, bytes: &[u8]) -> io::Result<()> {
        let too_much = || io::Error::new(ErrorKind::InvalidData, "more than the answer");
        match &mut self.awaited {
            Awaited::Nothing => return Err(too_much()),
            Awaited::Bytes(left) => {
                *left = left.checked_sub(bytes.len()).ok_or_else(too_much)?;
            }
            Awaited::Head(head) => {
                head.extend_from_slice(bytes);
                if let Some(end) = head.windows(4).position(|four| four == b"\r\n\r\n") {
                    let body = head.len() - (end + 4);
                    let left = content_length(&head[..end])?.checked_sub(body);
                    self.awaited = Awaited::Bytes(left.ok_or_else(too_much)?);
                }
            }
            Awaited::Frames(frames) => {
                frames.read(bytes);
                if frames.was_refused {
                    return Err(ErrorKind::ConnectionReset.into());
                }
            }
        }
        Ok(())
    }
}

impl Dialogue {
    /// Reads what comes before the end of a connection, and returns what is to be
    /// said to it: the graceful end of HTTP/2 begins with a PING.
    pub fn read_at_end(&mut self, bytes: &[u8]) -> Vec<u8> {
        match &mut self.awaited {
            Awaited::Frames(frames) => {
                frames.read(bytes);
                std::mem::take(&mut frames.pongs)
            }
            _ => Vec::new(),
        }
    }
}

fn content_length(head: &[u8]) -> io::Result<usize> {
    let invalid = || io::Error::new(ErrorKind::InvalidData, "no answer of a known length");
    let head = str::from_utf8(head).map_err(|_| invalid())?;
    if !head.starts_with("HTTP/1.1 200 ") {
        return Err(invalid());
    }
    let mut fields = head.lines().filter_map(|line| line.split_once(": "));
    let field = fields.find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    field
        .and_then(|(_, value)| value.parse().ok())
        .ok_or_else(invalid)
}

impl Frames {
    fn read(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let skipped = self.to_skip.min(bytes.len());
            self.to_skip -= skipped;
            if !self.pong.is_empty() {
                self.pong.extend_from_slice(&bytes[..skipped]);
                if self.to_skip == 0 {
                    self.pongs.append(&mut self.pong);
                }
            }
            bytes = &bytes[skipped..];
            let wanted = (FRAME_HEADER - self.header.len()).min(bytes.len());
            self.header.extend_from_slice(&bytes[..wanted]);
            bytes = &bytes[wanted..];
            if let [a, b, c, kind, flags, ..] = self.header[..] {
                if self.header.len() < FRAME_HEADER {
                    continue;
                }
                self.to_skip = u32::from_be_bytes([0, a, b, c]) as usize;
                if kind == PING && flags & ACK == 0 {
                    self.pong.clone_from(&self.header);
                    self.pong[4] = ACK;
                }
                self.header.clear();
                match kind {
                    // DATA or HEADERS.
                    0 | HEADERS => self.has_end |= flags & END_STREAM != 0,
                    RST_STREAM | GOAWAY => self.was_refused = true,
                    _ => {}
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(message: Message, pieces: &[&[u8]]) -> io::Result<Vec<bool>> {
        let mut dialogue = Dialogue::default();
        dialogue.begin(message);
        let took = pieces.iter().map(|piece| {
            dialogue.read(piece)?;
            Ok(!dialogue.awaits())
        });
        took.collect()
    }

    #[test]
    fn an_answer_is_whole_with_its_body() {
        let head = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r".as_slice();
        let seen = answer(Message::Http1, &[head, b"\nab", b"c"]);
        assert_eq!(seen.ok(), Some(vec![false, false, true]));
        assert!(answer(Message::Http1, &[b"HTTP/1.1 503 No\r\n\r\n"]).is_err());
        assert!(answer(Message::Echo(2), &[b"abc"]).is_err());
    }

    #[test]
    fn an_answer_is_whole_with_the_end_of_its_stream() {
        let settings = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00".as_slice();
        let headers = b"\x00\x00\x01\x01\x04\x00\x00\x00\x01\x88".as_slice();
        let data = b"\x00\x00\x02\x00\x01\x00\x00\x00\x01ok";
        let seen = answer(Message::Http2, &[settings, headers, &data[..4], &data[4..]]);
        assert_eq!(seen.ok(), Some(vec![false, false, false, true]));
        let mut dialogue = Dialogue::default();
        dialogue.begin(Message::Http2);
        let ping = b"\x00\x00\x08\x06\x00\x00\x00\x00\x00abcdefgh";
        let pong = b"\x00\x00\x08\x06\x01\x00\x00\x00\x00abcdefgh";
        assert_eq!(dialogue.read_at_end(&ping[..12]), b"");
        assert_eq!(dialogue.read_at_end(&ping[12..]), pong);
        let goaway = b"\x00\x00\x08\x07\x00\x00\x00\x00\x00";
        assert!(answer(Message::Http2, &[goaway]).is_err());
    }
}
