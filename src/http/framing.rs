//! Where one HTTP/1 request ends and the next begins, as far as it is known
//! without parsing heads.
//!
//! hyper parses and says nothing of its buffer. This follows the same bytes: it
//! looks for the ends of heads, and is told by the service how long each body
//! is. It decides nothing about requests: where it loses its way it says so, and
//! no close is announced.

/// The body of a request, as its head says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyLength {
    Known(u64),
    Chunked,
}

/// Follows the bytes of one connection.
#[derive(Debug)]
pub(crate) struct Framing {
    state: State,
    /// Bytes after the head of the request that the service was not called for yet.
    kept: Vec<u8>,
    /// How many bytes are still accepted, once the server ends connections that are never
    /// idle.
    accepted: Option<u32>,
    /// The end of the last request that was called has used them up.
    is_past_accepted: bool,
}

/// The bit of [`Framing::known`] for [`Framing::nothing_follows`].
pub(crate) const NOTHING_FOLLOWS: u8 = 1;
/// The bit for [`Framing::all_complete`].
pub(crate) const ALL_COMPLETE: u8 = 1 << 1;
/// The bit for [`Framing::is_in_head`].
pub(crate) const IN_HEAD: u8 = 1 << 2;
/// The bit for [`Framing::is_in_body`].
pub(crate) const IN_BODY: u8 = 1 << 3;
/// The bit for [`Framing::is_past_accepted`].
pub(crate) const PAST_ACCEPTED: u8 = 1 << 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Between two requests.
    Between,
    /// In a head, of which so many bytes of the current line were seen: 2 stands
    /// for more than a carriage return.
    Head {
        line: u8,
    },
    /// A head has ended, and the service was not called for its request yet.
    AwaitsCall,
    Body(u64),
    Chunk(Chunk),
    Lost,
}

/// A chunked body, of which a line ends with a carriage return and a line feed,
/// as hyper has it: where the two differ on the end of a body, the peer's end of
/// input would be hidden from a request that still awaits its rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Chunk {
    /// In the line of a size.
    Size {
        size: u64,
        part: SizePart,
    },
    Data(u64),
    /// After the data of a chunk; `has_cr`: after the carriage return, too.
    DataEnd {
        has_cr: bool,
    },
    /// At the begin of a line after the last chunk: an empty one is the end.
    TrailerStart,
    Trailer,
    /// After the carriage return of a trailer.
    TrailerEnd,
    /// After the carriage return of the empty line.
    End,
}

/// A part of the line of a chunk's size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SizePart {
    /// Before the first digit.
    Start,
    Digits,
    /// Blanks after the digits.
    Blanks,
    /// The extensions, which say nothing.
    Extensions,
    /// After the carriage return.
    End,
}

impl Framing {
    pub(crate) fn new() -> Framing {
        Framing {
            state: State::Between,
            kept: Vec::new(),
            accepted: None,
            is_past_accepted: false,
        }
    }

    /// Notes how many bytes are still accepted of those that were not pushed yet. Only the
    /// first note counts.
    pub(crate) fn accept(&mut self, bytes: u64) {
        let all = bytes.saturating_add(self.kept.len() as u64);
        self.accepted = self.accepted.or_else(|| u32::try_from(all).ok());
    }

    /// Returns whether the last request that was called has come to its end, and with it
    /// all that is accepted.
    fn is_past_accepted(&self) -> bool {
        self.is_past_accepted && self.all_complete()
    }

    /// Returns what is known of the bytes that have come: a bit for each answer.
    pub(crate) fn known(&self) -> u8 {
        let answers = [
            (self.nothing_follows(), NOTHING_FOLLOWS),
            (self.all_complete(), ALL_COMPLETE),
            (self.is_in_head(), IN_HEAD),
            (self.is_in_body(), IN_BODY),
            (self.is_past_accepted(), PAST_ACCEPTED),
        ];
        answers
            .into_iter()
            .fold(0, |known, (is_so, bit)| known | if is_so { bit } else { 0 })
    }

    /// Returns whether all bytes belong to whole requests that were called: the last of
    /// them is the last of which a byte has come. False where that is not known, as while
    /// a body comes: what has arrived behind it is not read before its end is.
    fn nothing_follows(&self) -> bool {
        self.state == State::Between
    }

    /// Returns whether all requests that were called have come to their ends.
    fn all_complete(&self) -> bool {
        matches!(
            self.state,
            State::Between | State::Head { .. } | State::AwaitsCall
        )
    }

    /// Returns whether a request has begun whose head has not ended.
    fn is_in_head(&self) -> bool {
        matches!(self.state, State::Head { .. })
    }

    /// Returns whether the body of a request that was called has not ended.
    fn is_in_body(&self) -> bool {
        matches!(self.state, State::Body(_) | State::Chunk(_))
    }

    /// Takes bytes that the server was given.
    pub(crate) fn push(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (taken, ends) = match &mut self.state {
                State::Lost => return,
                State::AwaitsCall => {
                    self.kept.extend_from_slice(bytes);
                    return;
                }
                State::Between => {
                    // Empty lines before a request are no part of it.
                    let is_line_end = |byte: &&u8| matches!(**byte, b'\r' | b'\n');
                    let skipped = bytes.iter().take_while(is_line_end).count();
                    if is_whole_head(&bytes[skipped..]) {
                        self.state = State::AwaitsCall;
                        (bytes.len(), false)
                    } else {
                        if skipped < bytes.len() {
                            self.state = State::Head { line: 2 };
                        }
                        (skipped, false)
                    }
                }
                State::Head { line } => {
                    let (taken, ended) = push_lines(line, bytes);
                    if ended {
                        self.state = State::AwaitsCall;
                    }
                    (taken, false)
                }
                State::Body(left) => {
                    let taken = clamp(*left, bytes);
                    *left -= taken as u64;
                    (taken, *left == 0)
                }
                State::Chunk(chunk) => match chunk.push(bytes) {
                    Some(taken) => taken,
                    None => {
                        self.state = State::Lost;
                        return;
                    }
                },
            };
            if let Some(accepted) = &mut self.accepted {
                *accepted -= clamp((*accepted).into(), &bytes[..taken]) as u32;
            }
            if ends {
                self.end_request();
            }
            bytes = &bytes[taken..];
        }
    }

    fn end_request(&mut self) {
        self.state = State::Between;
        self.is_past_accepted = self.accepted == Some(0);
    }

    /// Notes that the service was called with the next request.
    pub(crate) fn call(&mut self, body: BodyLength) {
        if self.state != State::AwaitsCall {
            self.state = State::Lost;
            return;
        }
        match body {
            BodyLength::Known(0) => self.end_request(),
            BodyLength::Known(length) => self.state = State::Body(length),
            BodyLength::Chunked => self.state = State::Chunk(Chunk::start()),
        }
        if self.kept.is_empty() {
            return;
        }
        let kept = std::mem::take(&mut self.kept);
        self.push(&kept);
        if self.kept.is_empty() {
            // For the next request, unless it was a large one.
            self.kept = kept;
            self.kept.clear();
            self.kept.shrink_to(1024);
        }
    }
}

fn clamp(left: u64, bytes: &[u8]) -> usize {
    usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()))
}

/// Goes on to the end of an empty line; returns the bytes taken, and whether it
/// was found.
fn push_lines(line: &mut u8, bytes: &[u8]) -> (usize, bool) {
    let mut begin = match *line {
        2 => skip_blocks(bytes),
        // The empty line may have begun before.
        _ => 0,
    };
    let rest = begin;
    for end in memchr::memchr_iter(b'\n', &bytes[rest..]) {
        let end = rest + end;
        let is_empty = match &bytes[begin..end] {
            [] => *line < 2,
            [b'\r'] => *line == 0,
            _ => false,
        };
        begin = end + 1;
        *line = 0;
        if is_empty {
            return (begin, true);
        }
    }
    *line = match &bytes[begin..] {
        [] => *line,
        [b'\r'] if *line == 0 => 1,
        _ => 2,
    };
    (bytes.len(), false)
}

/// So many bytes are compared at once.
const BLOCK: usize = 32;

/// Passes over what can have no empty line: blocks without a line feed that another one or
/// a carriage return follows. It costs less than to look at each line. Returns the bytes
/// taken, after which a line goes on or a new one begins with another byte than these.
fn skip_blocks(bytes: &[u8]) -> usize {
    let mut taken = 0;
    while let Some(block) = bytes[taken..].first_chunk() {
        if may_end_head(block) {
            break;
        }
        taken += BLOCK;
    }
    taken
}

/// Returns whether an empty line may begin in a block, behind which one byte more is seen.
#[inline]
fn may_end_head(block: &[u8; BLOCK + 1]) -> bool {
    // In numbers, of which the compiler makes the least code.
    let found = (0..BLOCK).fold(0, |found, n| {
        let follows = u8::from(block[n + 1] == b'\n') | u8::from(block[n + 1] == b'\r');
        found | (u8::from(block[n] == b'\n') & follows)
    });
    found != 0
}

/// Returns whether bytes are a head with its empty line, and nothing behind that: what most
/// reads give. False where it is not seen by blocks alone.
fn is_whole_head(bytes: &[u8]) -> bool {
    let lines = bytes.strip_suffix(b"\r\n");
    let Some(lines) = lines.filter(|lines| lines.ends_with(b"\r\n")) else {
        return false;
    };
    // Less than a block is left at the end: the last one begins before it.
    let is_rest_seen = |last| !may_end_head(last) && lines.len() - skip_blocks(lines) <= BLOCK;
    lines.last_chunk().is_some_and(is_rest_seen)
}

impl Chunk {
    /// Returns the bytes taken, at least one, and whether the body has ended;
    /// `None` where it is no chunked body.
    fn push(&mut self, bytes: &[u8]) -> Option<(usize, bool)> {
        let first = *bytes.first()?;
        *self = match (*self, first) {
            (Chunk::Data(left), _) => {
                let taken = clamp(left, bytes);
                *self = match left - taken as u64 {
                    0 => Chunk::DataEnd { has_cr: false },
                    left => Chunk::Data(left),
                };
                return Some((taken, false));
            }
            (Chunk::Size { size, part }, _) => Chunk::after_size(size, part, first)?,
            (Chunk::DataEnd { has_cr: false }, b'\r') => Chunk::DataEnd { has_cr: true },
            (Chunk::DataEnd { has_cr: true }, b'\n') => Chunk::start(),
            (Chunk::TrailerStart, b'\r') => Chunk::End,
            (Chunk::Trailer, b'\r') => Chunk::TrailerEnd,
            (Chunk::TrailerStart | Chunk::Trailer, _) => Chunk::Trailer,
            (Chunk::TrailerEnd, b'\n') => Chunk::TrailerStart,
            (Chunk::End, b'\n') => return Some((1, true)),
            (Chunk::DataEnd { .. } | Chunk::TrailerEnd | Chunk::End, _) => return None,
        };
        Some((1, false))
    }

    fn start() -> Chunk {
        Chunk::Size {
            size: 0,
            part: SizePart::Start,
        }
    }

    /// Returns what follows on `byte` in the line of a chunk's size.
    fn after_size(size: u64, part: SizePart, byte: u8) -> Option<Chunk> {
        use SizePart::{Blanks, Digits, End, Extensions, Start};
        let part = match (part, byte) {
            (End, b'\n') if size == 0 => return Some(Chunk::TrailerStart),
            (End, b'\n') => return Some(Chunk::Data(size)),
            (Digits | Blanks | Extensions, b'\r') => End,
            (Extensions, b'\n') => return None,
            (Extensions, _) | (Digits | Blanks, b';') => Extensions,
            (Digits | Blanks, b' ' | b'\t') => Blanks,
            (Start | Digits, digit) => {
                let digit = char::from(digit).to_digit(16)?;
                let size = size.checked_mul(16)?.checked_add(digit.into())?;
                return Some(Chunk::Size { size, part: Digits });
            }
            (Blanks | End, _) => return None,
        };
        Some(Chunk::Size { size, part })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds requests in pieces of every size; `calls` come as their heads end.
    fn follow(bytes: &[u8], calls: &[BodyLength]) -> Vec<Framing> {
        let follow_by = |piece: usize| {
            let mut framing = Framing::new();
            let mut calls = calls.iter();
            for piece in bytes.chunks(piece) {
                framing.push(piece);
                while framing.state == State::AwaitsCall {
                    match calls.next() {
                        Some(call) => framing.call(*call),
                        None => break,
                    }
                }
            }
            framing
        };
        (1..=bytes.len()).map(follow_by).collect()
    }

    const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";
    const NONE: BodyLength = BodyLength::Known(0);

    #[test]
    fn the_end_of_a_request_is_known_in_pieces_of_any_size() {
        for framing in follow(GET, &[NONE]) {
            assert_eq!(framing.state, State::Between);
            assert!(framing.nothing_follows() && framing.all_complete());
        }
        for framing in follow(b"GET / HTTP/1.1\nhost: a\n\n", &[NONE]) {
            assert_eq!(framing.state, State::Between);
        }
    }

    #[test]
    fn the_end_of_a_long_head_is_found_wherever_its_lines_end() {
        for (length, end) in (0..70).flat_map(|n| [(n, "\r\n"), (n, "\n")]) {
            let field = "x".repeat(length);
            let head = format!("GET / HTTP/1.1{end}a: {field}{end}\tb: \r{end}{end}");
            let bytes = format!("{head}\n\n-{head}");
            for framing in follow(bytes.as_bytes(), &[BodyLength::Known(3), NONE]) {
                assert_eq!(framing.state, State::Between, "{bytes:?}");
            }
        }
    }

    #[test]
    fn f75_one_byte_of_the_next_request_is_noticed() {
        let bytes = [GET, b"G"].concat();
        for framing in follow(&bytes, &[NONE]) {
            assert!(!framing.nothing_follows() && framing.all_complete());
            assert!(framing.is_in_head());
        }
    }

    #[test]
    fn empty_lines_between_requests_are_no_request() {
        let bytes = [b"\r\n", GET, b"\r\n\n"].concat();
        for framing in follow(&bytes, &[NONE]) {
            assert!(framing.nothing_follows(), "{framing:?}");
        }
    }

    #[test]
    fn a_body_of_known_length_is_passed_over() {
        let bytes = [b"POST / HTTP/1.1\r\n\r\n\r\n\r\n", GET].concat();
        for framing in follow(&bytes, &[BodyLength::Known(4), NONE]) {
            assert_eq!(framing.state, State::Between);
        }
        for framing in follow(b"POST / HTTP/1.1\r\n\r\nhal", &[BodyLength::Known(4)]) {
            assert!(!framing.nothing_follows() && !framing.all_complete());
        }
    }

    #[test]
    fn a_chunked_body_is_passed_over_with_extensions_and_trailers() {
        let body = b"5;a=b\r\nhel\r\n\r\nA\r\n0123456789\r\n0\r\nx: y\r\n\r\n";
        let bytes = [b"POST / HTTP/1.1\r\n\r\n", &body[..], GET].concat();
        for framing in follow(&bytes, &[BodyLength::Chunked, NONE]) {
            assert_eq!(framing.state, State::Between);
        }
        let without_trailers = b"POST / HTTP/1.1\r\n\r\n0\r\n\r\n";
        for framing in follow(without_trailers, &[BodyLength::Chunked]) {
            assert_eq!(framing.state, State::Between);
        }
    }

    #[test]
    fn what_is_no_chunked_body_is_lost_and_not_guessed() {
        for framing in follow(b"POST / HTTP/1.1\r\n\r\n1\r\nab", &[BodyLength::Chunked]) {
            assert_eq!(framing.state, State::Lost);
            assert!(!framing.nothing_follows() && !framing.all_complete());
        }
    }

    #[test]
    fn a_chunked_body_does_not_end_with_a_bare_line_feed() {
        for end in ["0\r\n\n", "0\r\n\npp", "0\r\nx: y\n\n", "0\r\nx: y\n\r\n"] {
            let bytes = [b"POST / HTTP/1.1\r\n\r\n", end.as_bytes()].concat();
            for framing in follow(&bytes, &[BodyLength::Chunked]) {
                assert!(!framing.all_complete(), "{end:?}: {framing:?}");
            }
        }
        for size in [
            "0\n\r\n",
            "\r\n\r\n",
            "0 1\r\n\r\n",
            "0;a\n\r\n",
            "0\rx\r\n",
        ] {
            let bytes = [b"POST / HTTP/1.1\r\n\r\n", size.as_bytes()].concat();
            for framing in follow(&bytes, &[BodyLength::Chunked]) {
                assert_eq!(framing.state, State::Lost, "{size:?}");
            }
        }
    }

    #[test]
    fn a_request_that_was_not_called_yet_follows() {
        for framing in follow(&[GET, GET].concat(), &[NONE]) {
            assert!(!framing.nothing_follows(), "{framing:?}");
        }
    }
}
