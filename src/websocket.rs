//! Where one message of a WebSocket ends and the next begins (RFC 6455, 5.2).

/// Follows the frames of one direction.
#[derive(Debug)]
pub(crate) struct Frames {
    /// The head of a frame, as far as it has come.
    head: [u8; 14],
    head_len: usize,
    /// What is to come of the payload of the frame.
    payload: u64,
    /// The message goes on with another frame.
    is_fragmented: bool,
}

impl Frames {
    pub(crate) fn new() -> Frames {
        Frames {
            head: [0; 14],
            head_len: 0,
            payload: 0,
            is_fragmented: false,
        }
    }

    /// Returns whether a message has begun that has not ended.
    pub(crate) fn is_mid_message(&self) -> bool {
        self.head_len > 0 || self.payload > 0 || self.is_fragmented
    }

    pub(crate) fn push(&mut self, mut bytes: &[u8]) {
        while let [first, rest @ ..] = bytes {
            if self.payload > 0 {
                let taken = usize::try_from(self.payload).unwrap_or(usize::MAX);
                let taken = taken.min(bytes.len());
                self.payload -= taken as u64;
                bytes = &bytes[taken..];
                continue;
            }
            self.head[self.head_len] = *first;
            self.head_len += 1;
            bytes = rest;
            if self.head_len >= 2 && self.head_len == self.whole_head() {
                self.end_head();
            }
        }
    }

    fn extended(&self) -> usize {
        match self.head[1] & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        }
    }

    fn whole_head(&self) -> usize {
        let mask = match self.head[1] & 0x80 {
            0 => 0,
            _ => 4,
        };
        2 + self.extended() + mask
    }

    fn end_head(&mut self) {
        let length = &self.head[2..2 + self.extended()];
        self.payload = match length {
            [] => u64::from(self.head[1] & 0x7f),
            bytes => bytes.iter().fold(0, |n, byte| n << 8 | u64::from(*byte)),
        };
        let (is_final, opcode) = (self.head[0] & 0x80 != 0, self.head[0] & 0x0f);
        // Control frames come also between the frames of a message.
        if opcode < 8 {
            self.is_fragmented = !is_final;
        }
        self.head_len = 0;
    }
}

/// What the server reads of a WebSocket: the head of the client's request, and then
/// its frames.
#[derive(Debug)]
pub(crate) struct WebSocket {
    has_begun: bool,
    /// How much of the end of the head has just come.
    matched: usize,
    frames: Frames,
}

/// The end of the head (RFC 9112, 2.1).
const END_OF_HEAD: &[u8; 4] = b"\r\n\r\n";

impl WebSocket {
    pub(crate) fn new() -> WebSocket {
        WebSocket {
            has_begun: false,
            matched: 0,
            frames: Frames::new(),
        }
    }

    /// Returns whether a request or a message has begun that has not ended.
    pub(crate) fn is_mid_message(&self) -> bool {
        match self.matched == END_OF_HEAD.len() {
            true => self.frames.is_mid_message(),
            false => self.has_begun,
        }
    }

    pub(crate) fn push(&mut self, mut bytes: &[u8]) {
        while let [first, rest @ ..] = bytes {
            self.has_begun = true;
            match END_OF_HEAD.get(self.matched) {
                None => return self.frames.push(bytes),
                Some(next) if next == first => self.matched += 1,
                Some(_) => self.matched = usize::from(*first == END_OF_HEAD[0]),
            }
            bytes = rest;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mid_message_after(bytes: &[u8]) -> Vec<bool> {
        let mut frames = Frames::new();
        let push = |byte: &u8| {
            frames.push(&[*byte]);
            frames.is_mid_message()
        };
        bytes.iter().map(push).collect()
    }

    #[test]
    fn a_message_ends_with_its_last_byte() {
        let text = [0x81, 0x82, 1, 2, 3, 4, b'h', b'i'];
        let ended = mid_message_after(&text);
        assert_eq!(ended, [true, true, true, true, true, true, true, false]);
    }

    #[test]
    fn a_message_of_fragments_ends_with_the_last_of_them() {
        // A ping stands between the two.
        let bytes = [0x01, 0x01, b'h', 0x89, 0x00, 0x80, 0x01, b'i'];
        let ended = mid_message_after(&bytes);
        assert_eq!(ended, [true, true, true, true, true, true, true, false]);
    }

    #[test]
    fn long_payloads_are_followed() {
        for head in [&[0x82, 126, 1, 0][..], &[0x82, 127, 0, 0, 0, 0, 0, 0, 1, 0]] {
            let bytes = [head, &[7; 256]].concat();
            let mut frames = Frames::new();
            frames.push(&bytes[..bytes.len() - 1]);
            assert!(frames.is_mid_message());
            frames.push(&[7]);
            assert!(!frames.is_mid_message());
        }
    }

    #[test]
    fn f27_frames_follow_the_head_of_the_request() {
        let bytes = b"GET / HTTP/1.1\r\nhost: a\r\r\n\r\n\x81\x81\0\0\0\0h\x81";
        let mut websocket = WebSocket::new();
        assert!(!websocket.is_mid_message());
        let push = |byte: &u8| {
            websocket.push(&[*byte]);
            websocket.is_mid_message()
        };
        let between: Vec<_> = bytes.iter().map(push).collect();
        let between = between.iter().enumerate().filter(|(_, is_mid)| !**is_mid);
        let between: Vec<_> = between.map(|(n, _)| n + 1).collect();
        // After the head, and after the message.
        assert_eq!(between, [28, 35]);
    }
}
