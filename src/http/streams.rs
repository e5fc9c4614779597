//! Which streams of one HTTP/2 connection are open on the wire (RFC 9113, 5.1).
//!
//! hyper gives a response to h2 as fast as h2 takes it, which is long before the
//! peer has it, and says nothing of either. This follows the heads of the frames
//! of both directions. It decides nothing about them.

/// Follows one direction.
#[derive(Debug, Default)]
struct Frames {
    /// The head of a frame, as far as it has come.
    head: [u8; HEAD],
    head_len: usize,
    /// What is to come of the payload of the frame, or of the preface.
    left: usize,
}

/// The length of the head of a frame (RFC 9113, 4.1).
const HEAD: usize = 9;

/// The length of what a client begins with (RFC 9113, 3.4).
const PREFACE: usize = 24;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const END_STREAM: u8 = 1;

/// The head of a frame.
struct Frame {
    kind: u8,
    ends_stream: bool,
    stream: u32,
}

impl Frames {
    fn push(&mut self, mut bytes: &[u8], mut seen: impl FnMut(Frame)) {
        while !bytes.is_empty() {
            if self.left > 0 {
                let taken = self.left.min(bytes.len());
                self.left -= taken;
                bytes = &bytes[taken..];
                continue;
            }
            let taken = (HEAD - self.head_len).min(bytes.len());
            self.head[self.head_len..self.head_len + taken].copy_from_slice(&bytes[..taken]);
            self.head_len += taken;
            bytes = &bytes[taken..];
            if self.head_len == HEAD {
                self.head_len = 0;
                let [a, b, c, kind, flags, stream @ ..] = self.head;
                self.left = u32::from_be_bytes([0, a, b, c]) as usize;
                seen(Frame {
                    kind,
                    ends_stream: matches!(kind, DATA | HEADERS) && flags & END_STREAM != 0,
                    // The first bit is reserved.
                    stream: u32::from_be_bytes(stream) & 0x7fff_ffff,
                });
            }
        }
    }
}

/// A stream that one side at least has not ended.
#[derive(Debug)]
struct Stream {
    id: u32,
    ended_by_peer: bool,
    ended_by_us: bool,
}

/// The open streams of a connection.
#[derive(Debug)]
pub(super) struct Streams {
    read: Frames,
    written: Frames,
    open: Vec<Stream>,
    /// The last stream that the peer has opened.
    last: u32,
}

impl Streams {
    pub(super) fn new() -> Streams {
        Streams {
            read: Frames {
                left: PREFACE,
                ..Frames::default()
            },
            written: Frames::default(),
            open: Vec::new(),
            last: 0,
        }
    }

    pub(super) fn is_any_open(&self) -> bool {
        !self.open.is_empty()
    }

    /// Takes bytes of the peer.
    pub(super) fn push_read(&mut self, bytes: &[u8]) {
        let Streams {
            read, open, last, ..
        } = self;
        read.push(bytes, |frame| match frame.kind {
            HEADERS if frame.stream > *last => {
                *last = frame.stream;
                open.push(Stream {
                    id: frame.stream,
                    ended_by_peer: frame.ends_stream,
                    ended_by_us: false,
                });
            }
            RST_STREAM => open.retain(|stream| stream.id != frame.stream),
            _ if frame.ends_stream => end(open, frame.stream, |stream| {
                stream.ended_by_peer = true;
            }),
            _ => {}
        });
    }

    /// Takes bytes that the system has taken for the peer.
    pub(super) fn push_written(&mut self, bytes: &[u8]) {
        let Streams { written, open, .. } = self;
        written.push(bytes, |frame| match frame.kind {
            RST_STREAM => open.retain(|stream| stream.id != frame.stream),
            _ if frame.ends_stream => end(open, frame.stream, |stream| {
                stream.ended_by_us = true;
            }),
            _ => {}
        });
    }
}

/// Ends one side of a stream, which is open no more if the other one has ended.
fn end(open: &mut Vec<Stream>, id: u32, side: impl Fn(&mut Stream)) {
    open.retain_mut(|stream| {
        if stream.id == id {
            side(stream);
        }
        !(stream.ended_by_peer && stream.ended_by_us)
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    const PING: u8 = 6;

    fn frame(kind: u8, flags: u8, stream: u8, payload: usize) -> Vec<u8> {
        let length = u8::try_from(payload).unwrap();
        let head = [0, 0, length, kind, flags, 0x80, 0, 0, stream];
        [&head[..], &vec![0x11; payload]].concat()
    }

    /// Says after each frame whether a stream is open, whatever the pieces are.
    #[track_caller]
    fn check(script: &[(bool, Vec<u8>, bool)]) {
        for piece in 1..20 {
            let mut streams = Streams::new();
            for part in [7; PREFACE].chunks(piece) {
                streams.push_read(part);
            }
            for (is_read, bytes, is_open) in script {
                for part in bytes.chunks(piece) {
                    match is_read {
                        true => streams.push_read(part),
                        false => streams.push_written(part),
                    }
                }
                assert_eq!(streams.is_any_open(), *is_open, "{streams:?}");
            }
        }
    }

    #[test]
    fn f79_a_stream_is_open_until_its_last_frame_is_written() {
        check(&[
            (true, frame(4, END_STREAM, 0, 12), false),
            (true, frame(HEADERS, END_STREAM | 4, 1, 30), true),
            (false, frame(HEADERS, 4, 1, 10), true),
            (false, frame(DATA, 0, 1, 200), true),
            (true, frame(PING, END_STREAM, 0, 8), true),
            (false, frame(DATA, END_STREAM, 1, 0), false),
        ]);
    }

    #[test]
    fn f79_a_stream_is_open_while_its_request_comes() {
        check(&[
            (true, frame(HEADERS, 4, 1, 30), true),
            (true, frame(HEADERS, END_STREAM | 4, 3, 30), true),
            (false, frame(HEADERS, END_STREAM | 4, 1, 10), true),
            (false, frame(HEADERS, END_STREAM | 4, 3, 10), true),
            (true, frame(DATA, 0, 1, 100), true),
            // The trailers.
            (true, frame(HEADERS, END_STREAM | 4, 1, 10), false),
        ]);
    }

    #[test]
    fn f79_a_reset_ends_a_stream_from_either_side() {
        for by_peer in [true, false] {
            check(&[
                (true, frame(HEADERS, 4, 1, 30), true),
                (by_peer, frame(RST_STREAM, 0, 1, 4), false),
                // What was under way opens it no more.
                (true, frame(HEADERS, END_STREAM | 4, 1, 10), false),
            ]);
        }
    }
}
