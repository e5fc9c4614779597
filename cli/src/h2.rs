//! Frames of HTTP/2 (RFC 9113 section 4), of the clients and of the fixture.

/// What a client sends first (RFC 9113 section 3.4).
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Flags of frames.
pub(crate) const ACK: u8 = 0x1;
pub(crate) const END_STREAM: u8 = 0x1;
pub(crate) const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

/// Error codes (RFC 9113 section 7).
pub(crate) const NO_ERROR: u32 = 0;
pub(crate) const REFUSED_STREAM: u32 = 7;

/// Settings (RFC 9113 section 6.5.2).
pub(crate) const ENABLE_PUSH: u16 = 2;
pub(crate) const INITIAL_WINDOW_SIZE: u16 = 4;

const HEAD: usize = 9;

/// No SETTINGS of ours allow more (RFC 9113 section 4.2).
pub(crate) const FRAME_LIMIT: usize = 16_384;

/// The types of frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Data,
    Headers,
    Priority,
    ResetStream,
    Settings,
    PushPromise,
    Ping,
    GoAway,
    WindowUpdate,
    Continuation,
    /// A type that this client does not know and has to ignore (section 4.1).
    Other(u8),
}

const KINDS: [Kind; 10] = [
    Kind::Data,
    Kind::Headers,
    Kind::Priority,
    Kind::ResetStream,
    Kind::Settings,
    Kind::PushPromise,
    Kind::Ping,
    Kind::GoAway,
    Kind::WindowUpdate,
    Kind::Continuation,
];

impl Kind {
    fn number(self) -> u8 {
        match self {
            Kind::Other(number) => number,
            kind => KINDS.iter().position(|k| *k == kind).unwrap_or_default() as u8,
        }
    }
}

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: Kind,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    /// The length on the wire, with padding.
    pub(crate) length: u32,
    /// The content; of DATA without padding.
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    pub(crate) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Returns the four bytes at `at` as a number.
    pub(crate) fn number(&self, at: usize) -> Option<u32> {
        let bytes = self.payload.get(at..at + 4)?.try_into().ok()?;
        Some(u32::from_be_bytes(bytes))
    }

    /// Returns the header block of a HEADERS frame.
    pub(crate) fn headers(&self) -> Result<&[u8], String> {
        let skipped = match self.has(PRIORITY) {
            true => 5,
            false => 0,
        };
        let block = self.payload.get(skipped..);
        block.ok_or_else(|| "a short HEADERS frame".to_owned())
    }
}

/// Bytes that came, and the frames in them.
#[derive(Debug, Default)]
pub(crate) struct Input(Vec<u8>);

impl Input {
    pub(crate) fn extend(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Removes the preface of a client, once it is whole.
    pub(crate) fn take_preface(&mut self) -> Result<bool, String> {
        let n = self.0.len().min(PREFACE.len());
        if self.0.get(..n) != PREFACE.get(..n) {
            return Err("no preface".to_owned());
        }
        if n < PREFACE.len() {
            return Ok(false);
        }
        self.0.drain(..n);
        Ok(true)
    }

    /// Returns the next frame, once it is whole.
    pub(crate) fn next(&mut self) -> Result<Option<Frame>, String> {
        let Some(head) = self.0.get(..HEAD) else {
            return Ok(None);
        };
        let &[a, b, c, kind, flags, d, e, f, g] = head else {
            return Ok(None);
        };
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        if length > FRAME_LIMIT {
            let start = String::from_utf8_lossy(head).into_owned();
            return Err(format!("a frame of {length} bytes, beginning {start:?}"));
        }
        let Some(payload) = self.0.get(HEAD..HEAD + length) else {
            return Ok(None);
        };
        let mut frame = Frame {
            kind: KINDS
                .get(usize::from(kind))
                .copied()
                .unwrap_or(Kind::Other(kind)),
            flags,
            stream: u32::from_be_bytes([d, e, f, g]) & (u32::MAX >> 1),
            length: length as u32,
            payload: payload.to_vec(),
        };
        self.0.drain(..HEAD + length);
        if matches!(frame.kind, Kind::Data | Kind::Headers) && frame.has(PADDED) {
            unpad(&mut frame)?;
        }
        Ok(Some(frame))
    }
}

fn unpad(frame: &mut Frame) -> Result<(), String> {
    let padding = frame.payload.first().copied().map(usize::from);
    let end = padding.and_then(|padding| frame.payload.len().checked_sub(padding));
    match end {
        Some(end @ 1..) => {
            frame.payload.truncate(end);
            frame.payload.remove(0);
            Ok(())
        }
        _ => Err("more padding than there is frame".to_owned()),
    }
}

/// Appends a frame.
pub(crate) fn write(output: &mut Vec<u8>, kind: Kind, flags: u8, stream: u32, payload: &[u8]) {
    let length = (payload.len() as u32).to_be_bytes();
    output.extend_from_slice(length.get(1..).unwrap_or_default());
    output.push(kind.number());
    output.push(flags);
    output.extend_from_slice(&stream.to_be_bytes());
    output.extend_from_slice(payload);
}

pub(crate) fn write_window_update(output: &mut Vec<u8>, stream: u32, room: u32) {
    write(output, Kind::WindowUpdate, 0, stream, &room.to_be_bytes());
}

/// Encodes a setting.
pub(crate) fn setting(name: u16, value: u32) -> Vec<u8> {
    let mut bytes = name.to_be_bytes().to_vec();
    bytes.extend_from_slice(&value.to_be_bytes());
    bytes
}

/// Appends a header as a literal that is not indexed, so that no state is needed
/// (RFC 7541 section 6.2.2).
pub(crate) fn write_header(block: &mut Vec<u8>, name: &str, value: &str) {
    block.push(0);
    write_string(block, name);
    write_string(block, value);
}

fn write_string(block: &mut Vec<u8>, text: &str) {
    // RFC 7541 section 5.1, with a prefix of seven bits.
    let mut length = text.len();
    match length {
        0..127 => block.push(length as u8),
        _ => {
            block.push(127);
            length -= 127;
            while length >= 128 {
                block.push((length % 128) as u8 | 128);
                length /= 128;
            }
            block.push(length as u8);
        }
    }
    block.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_read_as_it_was_written() {
        let mut bytes = Vec::new();
        write(&mut bytes, Kind::Ping, ACK, 0, b"12345678");
        write(&mut bytes, Kind::Data, END_STREAM, 7, b"x");
        let mut input = Input::default();
        for byte in bytes {
            input.extend(&[byte]);
        }
        let ping = input.next().unwrap().unwrap();
        assert_eq!((ping.kind, ping.flags, ping.stream), (Kind::Ping, ACK, 0));
        let data = input.next().unwrap().unwrap();
        assert_eq!(
            (data.kind, data.stream, data.payload),
            (Kind::Data, 7, b"x".to_vec())
        );
        assert_eq!(input.next(), Ok(None));
    }

    #[test]
    fn padding_is_removed() {
        let mut bytes = Vec::new();
        write(&mut bytes, Kind::Data, PADDED, 1, &[2, b'x', 0, 0]);
        write(&mut bytes, Kind::Data, PADDED, 1, &[4, b'x', 0, 0]);
        let mut input = Input(bytes);
        assert_eq!(input.next().unwrap().unwrap().payload, b"x");
        assert!(input.next().is_err());
    }

    #[test]
    fn a_header_is_what_a_decoder_reads() {
        let long = "v".repeat(1000);
        let mut block = Vec::new();
        write_header(&mut block, ":path", "/");
        write_header(&mut block, "name", &long);
        let headers = loona_hpack::Decoder::new().decode(&block).unwrap();
        assert_eq!(headers[0], (b":path".to_vec(), b"/".to_vec()));
        assert_eq!(headers[1], (b"name".to_vec(), long.into_bytes()));
    }

    #[test]
    fn another_protocol_is_no_frame() {
        let mut input = Input(b"HTTP/1.1 400 Bad Request\r\n".to_vec());
        assert!(input.next().is_err());
    }
}
