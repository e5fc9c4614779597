//! Where one record of TLS ends and the next begins (RFC 8446, 5.1).

use crate::frames::Frames;

/// Follows records: type, version, length, and then as many bytes, in TLS 1.2 and 1.3 alike.
pub(crate) type TlsRecords = Frames<HEAD, fn([u8; HEAD]) -> usize>;

pub(crate) const HEAD: usize = 5;

pub(crate) fn follow() -> TlsRecords {
    Frames::new(|[_, _, _, length @ ..]| usize::from(u16::from_be_bytes(length)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frames::Follow;

    #[test]
    fn a_record_is_followed_in_pieces_of_any_size() {
        let records = [&[22, 3, 1, 0, 2, 9, 9][..], &[23, 3, 3, 1, 0], &[7; 256]].concat();
        for piece in 1..=records.len() {
            let (mut followed, mut seen) = (follow(), 0);
            for piece in records.chunks(piece) {
                followed.push(piece);
                seen += piece.len();
                let is_between = seen == 7 || seen == records.len();
                assert_eq!(followed.is_mid_frame(), !is_between, "after {seen}");
            }
        }
    }

    #[test]
    fn an_empty_record_ends_with_its_head() {
        let mut followed = follow();
        followed.push(&[23, 3, 3, 0]);
        assert!(followed.is_mid_frame());
        followed.push(&[0]);
        assert!(!followed.is_mid_frame());
    }
}
