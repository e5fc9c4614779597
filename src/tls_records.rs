//! Where one record of TLS ends and the next begins (RFC 8446, 5.1).

/// Where one record ends and the next begins: type, version, length, and then
/// as many bytes, in TLS 1.2 and 1.3 alike.
#[derive(Debug, Default)]
pub(crate) struct TlsRecords {
    head: [u8; HEAD],
    head_len: usize,
    payload: usize,
}

pub(crate) const HEAD: usize = 5;

impl TlsRecords {
    /// Returns whether a record has begun that has not ended.
    pub(crate) fn is_mid_record(&self) -> bool {
        self.head_len > 0 || self.payload > 0
    }

    /// Takes bytes that were read.
    pub(crate) fn push(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.payload > 0 {
                let taken = self.payload.min(bytes.len());
                self.payload -= taken;
                bytes = &bytes[taken..];
                continue;
            }
            let taken = (HEAD - self.head_len).min(bytes.len());
            self.head[self.head_len..][..taken].copy_from_slice(&bytes[..taken]);
            self.head_len += taken;
            bytes = &bytes[taken..];
            if self.head_len == HEAD {
                self.payload = usize::from(u16::from_be_bytes([self.head[3], self.head[4]]));
                self.head_len = 0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_followed_in_pieces_of_any_size() {
        let records = [&[22, 3, 1, 0, 2, 9, 9][..], &[23, 3, 3, 1, 0], &[7; 256]].concat();
        for piece in 1..=records.len() {
            let (mut heads, mut seen) = (TlsRecords::default(), 0);
            for piece in records.chunks(piece) {
                heads.push(piece);
                seen += piece.len();
                let is_between = seen == 7 || seen == records.len();
                assert_eq!(heads.is_mid_record(), !is_between, "after {seen}");
            }
        }
    }

    #[test]
    fn an_empty_record_ends_with_its_head() {
        let mut heads = TlsRecords::default();
        heads.push(&[23, 3, 3, 0]);
        assert!(heads.is_mid_record());
        heads.push(&[0]);
        assert!(!heads.is_mid_record());
    }
}
