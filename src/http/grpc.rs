//! Finds the ends of gRPC's messages. Each has a flag, a length of four bytes, and then
//! as many bytes (gRPC's PROTOCOL-HTTP2.md, "Length-Prefixed-Message").

/// Follows the messages of one direction.
#[derive(Debug, Default)]
pub(super) struct Messages {
    /// How many bytes of the prefix have come.
    prefix_len: u8,
    /// The length, as far as the prefix has come. After it, how many bytes of the message
    /// are still to come.
    left: u32,
    /// How many have ended.
    count: u32,
}

/// The length of what a message begins with.
const PREFIX: u8 = 5;

impl Messages {
    pub(super) fn push(&mut self, mut bytes: &[u8]) {
        while let Some((&first, rest)) = bytes.split_first() {
            if self.prefix_len < PREFIX {
                // The flag, in front, is shifted out.
                self.left = (self.left << 8) | u32::from(first);
                self.prefix_len += 1;
                bytes = rest;
            } else {
                let taken = bytes.len().min(self.left as usize);
                self.left -= taken as u32;
                bytes = &bytes[taken..];
            }
            if self.prefix_len == PREFIX && self.left == 0 {
                *self = Messages {
                    count: self.count.saturating_add(1),
                    ..Messages::default()
                };
            }
        }
    }

    pub(super) fn count(&self) -> u32 {
        self.count
    }

    pub(super) fn is_mid_message(&self) -> bool {
        self.prefix_len > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f87_a_message_ends_with_its_last_byte_in_pieces_of_any_size() {
        // Compressed; empty; longer than one byte of length tells.
        let long = [&[0, 0, 0, 1, 44][..], &[7; 300]].concat();
        let all = [&[1, 0, 0, 0, 2, 8, 9][..], &[0; 5], &long].concat();
        let ends = [0, 7, 12, 12 + 305];
        for piece in 1..all.len() {
            let mut messages = Messages::default();
            let mut pushed = 0;
            for part in all.chunks(piece) {
                messages.push(part);
                pushed += part.len();
                assert_eq!(
                    messages.is_mid_message(),
                    !ends.contains(&pushed),
                    "{pushed}"
                );
                let ended = ends.iter().filter(|end| (1..=pushed).contains(*end));
                assert_eq!(messages.count(), ended.count() as u32, "{pushed}");
            }
        }
    }
}
