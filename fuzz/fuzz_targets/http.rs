//! HTTP/1 in pieces that the bytes decide, beside hyper alone, with a stop and
//! without: see `tests/http/differential.rs`.
#![no_main]

#[path = "../../tests/http/differential.rs"]
mod differential;

use libfuzzer_sys::fuzz_target;

/// More says nothing new, and takes longer.
const MOST_BYTES: usize = 2000;

fuzz_target!(|bytes: &[u8]| {
    // The first byte cuts: a piece has so many bytes at most, or all of them.
    let Some((most, rest)) = bytes.split_first() else {
        return;
    };
    let rest = &rest[..rest.len().min(MOST_BYTES)];
    // hyper's answer to the preface of HTTP/2 depends on how much of it comes at
    // once.
    if rest.is_empty() || rest.windows(3).any(|three| three == b"PRI") {
        return;
    }
    let most = match most {
        0 => rest.len(),
        most => usize::from(*most),
    };
    let pieces: Vec<_> = rest.chunks(most).map(<[u8]>::to_vec).collect();
    differential::compare(&pieces);
});
