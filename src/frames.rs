//! Where one frame ends and the next begins, for protocols whose frames begin with a head
//! that tells how long they are, or end with a delimiter.

/// Follows frames whose head has `HEAD` bytes.
#[derive(Debug)]
pub(crate) struct Frames<const HEAD: usize, F> {
    head: [u8; HEAD],
    head_len: usize,
    /// So many bytes are left of the frame whose head was read.
    rest: usize,
    /// How long the rest of a frame with this head is.
    rest_of: F,
}

/// Follows frames that end with a delimiter, such as lines.
pub(crate) struct Delimited {
    delimiter: u8,
    is_mid_frame: bool,
}

/// Follows frames of any kind.
pub(crate) trait Follow: Send + Sync {
    /// Takes bytes that were read.
    fn push(&mut self, bytes: &[u8]);

    /// Returns whether a frame has begun that has not ended.
    fn is_mid_frame(&self) -> bool;
}

impl<const HEAD: usize, F: Fn([u8; HEAD]) -> usize> Frames<HEAD, F> {
    pub(crate) fn new(rest_of: F) -> Frames<HEAD, F> {
        const { assert!(HEAD > 0, "a frame begins with a head") };
        Frames {
            head: [0; HEAD],
            head_len: 0,
            rest: 0,
            rest_of,
        }
    }
}

impl<const HEAD: usize, F> Follow for Frames<HEAD, F>
where
    F: Fn([u8; HEAD]) -> usize + Send + Sync,
{
    fn push(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.rest > 0 {
                let taken = self.rest.min(bytes.len());
                self.rest -= taken;
                bytes = &bytes[taken..];
                continue;
            }
            let taken = (HEAD - self.head_len).min(bytes.len());
            self.head[self.head_len..][..taken].copy_from_slice(&bytes[..taken]);
            self.head_len += taken;
            bytes = &bytes[taken..];
            if self.head_len == HEAD {
                self.rest = (self.rest_of)(self.head);
                self.head_len = 0;
            }
        }
    }

    fn is_mid_frame(&self) -> bool {
        self.head_len > 0 || self.rest > 0
    }
}

impl Delimited {
    pub(crate) fn by(delimiter: u8) -> Delimited {
        Delimited {
            delimiter,
            is_mid_frame: false,
        }
    }
}

impl Follow for Delimited {
    fn push(&mut self, bytes: &[u8]) {
        if let Some(last) = bytes.last() {
            self.is_mid_frame = *last != self.delimiter;
        }
    }

    fn is_mid_frame(&self) -> bool {
        self.is_mid_frame
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f105_a_line_ends_with_its_delimiter() {
        let mut lines = Delimited::by(b'\n');
        for (piece, is_mid_frame) in [("a", true), ("", true), ("b\n", false), ("\nc", true)] {
            lines.push(piece.as_bytes());
            assert_eq!(lines.is_mid_frame(), is_mid_frame, "after {piece:?}");
        }
    }

    #[test]
    fn f105_frames_are_followed_in_pieces_of_any_size() {
        let frames = [&[9, 3][..], b"abc", &[9, 0], &[9, 1], b"d"].concat();
        let ends = [5, 7, 10];
        for piece in 1..=frames.len() {
            let mut followed = Frames::new(|[kind, length]: [u8; 2]| {
                assert_eq!(kind, 9);
                usize::from(length)
            });
            let mut seen = 0;
            for piece in frames.chunks(piece) {
                followed.push(piece);
                seen += piece.len();
                assert_eq!(
                    followed.is_mid_frame(),
                    !ends.contains(&seen),
                    "after {seen}"
                );
            }
        }
    }
}
