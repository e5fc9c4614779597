//! The frames of one direction of HTTP/2 (RFC 9113, 4.1): their heads, and the data of streams.

/// Follows one direction.
#[derive(Debug, Default)]
pub(super) struct Frames {
    /// The head of a frame, as far as it has come, where it comes in pieces.
    head: [u8; HEAD - 1],
    head_len: u8,
    /// What is to come of the payload of the frame, or of the preface.
    left: u32,
    /// How much of the end of it is padding; `None` until that is known.
    padding: Option<u8>,
    /// The stream whose data the payload is; 0 is none.
    data_of: u32,
    /// The head of a request goes on in the next frame.
    is_in_fields: bool,
}

/// The length of the head of a frame (RFC 9113, 4.1).
pub(super) const HEAD: usize = 9;

/// The length of what a client begins with (RFC 9113, 3.4).
pub(super) const PREFACE: u32 = 24;

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const GOAWAY: u8 = 7;
pub(super) const CONTINUATION: u8 = 9;
pub(super) const ACK: u8 = 1;
pub(super) const END_STREAM: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;
pub(super) const PADDED: u8 = 8;

/// A part of what one direction carries.
pub(super) enum Part<'a> {
    /// The head of a frame.
    Frame {
        kind: u8,
        ends_stream: bool,
        stream: u32,
    },
    /// Data of a stream.
    Data { stream: u32, bytes: &'a [u8] },
    /// The settings of the other side were taken.
    Acknowledged,
}

impl Frames {
    /// Those of a client, which begins with the preface.
    pub(super) fn of_client() -> Frames {
        Frames {
            left: PREFACE,
            ..Frames::default()
        }
    }

    pub(super) fn push(&mut self, mut bytes: &[u8], mut seen: impl FnMut(Part<'_>)) {
        while !bytes.is_empty() {
            if self.left > 0 {
                let taken = self.push_payload(bytes, &mut seen);
                bytes = &bytes[taken..];
                continue;
            }
            let had = usize::from(self.head_len);
            if let (0, Some((head, rest))) = (had, bytes.split_first_chunk()) {
                seen(self.end_head(*head));
                bytes = rest;
                continue;
            }
            let (begin, rest) = bytes.split_at((HEAD - had).min(bytes.len()));
            bytes = rest;
            let len = had + begin.len();
            if len < HEAD {
                self.head[had..len].copy_from_slice(begin);
                self.head_len = len as u8;
                continue;
            }
            let mut head = [0; HEAD];
            head[..had].copy_from_slice(&self.head[..had]);
            head[had..].copy_from_slice(begin);
            self.head_len = 0;
            seen(self.end_head(head));
        }
    }

    #[inline]
    fn end_head(&mut self, head: [u8; HEAD]) -> Part<'static> {
        let [a, b, c, kind, flags, stream @ ..] = head;
        // The first bit is reserved.
        let stream = u32::from_be_bytes(stream) & 0x7fff_ffff;
        self.left = u32::from_be_bytes([0, a, b, c]);
        self.data_of = if kind == DATA { stream } else { 0 };
        self.padding = (flags & PADDED == 0).then_some(0);
        if matches!(kind, HEADERS | CONTINUATION) {
            self.is_in_fields = flags & END_HEADERS == 0;
        }
        if kind == SETTINGS && flags & ACK != 0 {
            return Part::Acknowledged;
        }
        Part::Frame {
            kind,
            ends_stream: matches!(kind, DATA | HEADERS) && flags & END_STREAM != 0,
            stream,
        }
    }

    /// Takes a part of a payload, and returns its length.
    fn push_payload(&mut self, bytes: &[u8], seen: &mut impl FnMut(Part<'_>)) -> usize {
        // No more than the payload is long, which has 24 bits.
        let taken = (self.left as usize).min(bytes.len());
        if self.data_of == 0 {
            self.left -= taken as u32;
            return taken;
        }
        let Some(padding) = self.padding else {
            // The first byte says it (RFC 9113, 6.1).
            self.padding = Some(bytes[0]);
            self.left -= 1;
            return 1;
        };
        let data = self.left.saturating_sub(padding.into()) as usize;
        seen(Part::Data {
            stream: self.data_of,
            bytes: &bytes[..data.min(taken)],
        });
        self.left -= taken as u32;
        taken
    }

    /// Returns how many bytes are missing to the end of what has begun, as far as is known.
    pub(super) fn missing(&self) -> usize {
        match (self.left as usize, usize::from(self.head_len)) {
            (0, 0) if self.is_in_fields => HEAD,
            (0, 0) => 0,
            (0, begun) => HEAD - begun,
            (left, _) => left,
        }
    }

    /// Returns whether the preface, a frame, or a head has begun and not ended.
    pub(super) fn is_mid_frame(&self) -> bool {
        self.head_len > 0 || self.left > 0 || self.is_in_fields
    }

    /// Returns whether a frame has begun that may be data of `stream`.
    pub(super) fn is_mid_data(&self, stream: u32) -> bool {
        self.head_len > 0 || (self.left > 0 && self.data_of == stream)
    }
}
