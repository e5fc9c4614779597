//! Just enough of HTTP/1.1 to know where a response ends.

/// Longer heads are refused.
const HEAD_LIMIT: usize = 64 * 1024;

/// What a whole response said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Response {
    pub(crate) status: u16,
    /// The server will end the connection after it.
    pub(crate) close: bool,
    /// The length of the response, head and body.
    pub(crate) length: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Head,
    Length(u64),
    ChunkSize,
    Chunk(u64),
    ChunkEnd,
    Trailer,
    UntilEnd,
}

/// Reads one response, in whatever pieces it comes.
#[derive(Debug)]
pub(crate) struct Parser {
    state: State,
    line: Vec<u8>,
    head: Vec<String>,
    status: u16,
    close: bool,
    length: u64,
}

impl Parser {
    pub(crate) fn new() -> Parser {
        Parser {
            state: State::Head,
            line: Vec::new(),
            head: Vec::new(),
            status: 0,
            close: false,
            length: 0,
        }
    }

    /// Takes bytes; gives the response once it is whole.
    pub(crate) fn feed(&mut self, mut bytes: &[u8]) -> Result<Option<Response>, String> {
        while !bytes.is_empty() {
            let taken = match self.state {
                State::Length(left) | State::Chunk(left) => self.body(left, bytes.len()),
                State::UntilEnd => bytes.len(),
                _ => self.text(bytes)?,
            };
            self.length += taken as u64;
            bytes = bytes.get(taken..).unwrap_or_default();
            if self.state == State::Length(0) {
                let extra = bytes.len();
                return match extra {
                    0 => Ok(Some(self.response())),
                    _ => Err(format!("{extra} bytes follow the response")),
                };
            }
        }
        Ok(None)
    }

    /// The server ended the connection: whole only if that was to mark the end.
    pub(crate) fn end(&self) -> Option<Response> {
        (self.state == State::UntilEnd).then(|| self.response())
    }

    /// How many bytes came so far.
    pub(crate) fn received(&self) -> u64 {
        self.length
    }

    fn response(&self) -> Response {
        Response {
            status: self.status,
            close: self.close,
            length: self.length,
        }
    }

    fn body(&mut self, left: u64, available: usize) -> usize {
        let taken = left.min(available as u64);
        self.state = match self.state {
            State::Chunk(_) if left == taken => State::ChunkEnd,
            State::Chunk(_) => State::Chunk(left - taken),
            _ => State::Length(left - taken),
        };
        taken as usize
    }

    /// Takes up to the end of a line.
    fn text(&mut self, bytes: &[u8]) -> Result<usize, String> {
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let taken = end.map_or(bytes.len(), |end| end + 1);
        self.line
            .extend_from_slice(bytes.get(..taken).unwrap_or_default());
        if self.line.len() > HEAD_LIMIT || self.head.len() > 1000 {
            return Err("the head of the response is too long".to_owned());
        }
        if end.is_some() {
            let line = String::from_utf8_lossy(&self.line).trim_end().to_owned();
            self.line.clear();
            self.take_line(line)?;
        }
        Ok(taken)
    }

    fn take_line(&mut self, line: String) -> Result<(), String> {
        match self.state {
            State::Head if line.is_empty() => self.begin_body()?,
            State::Head => {
                if self.head.is_empty() && !line.starts_with("HTTP/1.") {
                    return Err(format!("no HTTP/1 response: {line:.60?}"));
                }
                self.head.push(line);
            }
            State::ChunkSize => {
                let size = line.split(';').next().unwrap_or_default().trim();
                let size = u64::from_str_radix(size, 16);
                self.state =
                    match size.map_err(|_| format!("no size of a chunk: {line:.60?}"))? {
                        0 => State::Trailer,
                        size => State::Chunk(size),
                    };
            }
            State::ChunkEnd => self.state = State::ChunkSize,
            State::Trailer if line.is_empty() => self.state = State::Length(0),
            _ => {}
        }
        Ok(())
    }

    fn begin_body(&mut self) -> Result<(), String> {
        let first = self.head.first().map_or("", String::as_str);
        let status = first
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok());
        self.status = status.ok_or_else(|| format!("no status: {first:.60?}"))?;
        let value = |name: &str| {
            let named = |line: &&String| {
                line.split_once(':')
                    .is_some_and(|(found, _)| found.eq_ignore_ascii_case(name))
            };
            let line = self.head.iter().skip(1).find(named)?;
            Some(line.split_once(':')?.1.trim().to_ascii_lowercase())
        };
        let connection = value("connection").unwrap_or_default();
        let is_old = first.starts_with("HTTP/1.0");
        self.close =
            connection.contains("close") || is_old && !connection.contains("keep-alive");
        let is_chunked = value("transfer-encoding").is_some_and(|v| v.contains("chunked"));
        let length = value("content-length").map(|text| text.parse());
        self.state = match (self.status, is_chunked, length) {
            (100..200, ..) => State::Head,
            (204 | 304, ..) => State::Length(0),
            (_, true, _) => State::ChunkSize,
            (.., Some(Ok(length))) => State::Length(length),
            (.., Some(Err(_))) => return Err("no number as content-length".to_owned()),
            (.., None) => {
                self.close = true;
                State::UntilEnd
            }
        };
        self.head.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str, piece: usize) -> Option<Response> {
        let mut parser = Parser::new();
        let mut response = None;
        for piece in text.as_bytes().chunks(piece) {
            assert_eq!(response, None, "too early");
            response = parser.feed(piece).unwrap();
        }
        response.or_else(|| parser.end())
    }

    #[test]
    fn a_response_is_whole_at_its_last_byte() {
        let texts = [
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", false),
            ("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n", true),
            (
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5;x\r\nhello\r\n0\r\nT: 1\r\n\r\n",
                false,
            ),
            (
                "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
                false,
            ),
            ("HTTP/1.0 200 OK\r\n\r\nuntil the end", true),
        ];
        for (text, close) in texts {
            for piece in [1, 2, 7, text.len()] {
                let response = parse(text, piece).unwrap_or_else(|| panic!("{text}"));
                assert_eq!(response.length, text.len() as u64, "{text}");
                assert_eq!(response.close, close, "{text}");
            }
        }
    }

    #[test]
    fn a_part_is_no_response() {
        for text in [
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
            "HTTP/1.1 200 OK\r\n",
        ] {
            assert_eq!(parse(text, 3), None, "{text}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "SSH-2.0-x\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
            "HTTP/1.1 204 No Content\r\n\r\nextra",
        ] {
            assert!(Parser::new().feed(text.as_bytes()).is_err(), "{text}");
        }
    }
}
