//! What clients send, and to whom.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use super::codec::{self, Response};
use super::tls::Tls;
use crate::setup::{Protocol, Traits};

/// The server as its clients know it.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    pub(crate) protocol: Protocol,
    pub(crate) tls: Option<Tls>,
    pub(crate) path: String,
    /// What has a response of several megabytes.
    pub(crate) large: Option<OwnRequest>,
    /// What every client sends instead of requests of ours.
    pub(crate) own: Option<OwnRequest>,
    /// Headers of every request.
    pub(crate) headers: Vec<(String, String)>,
    /// The statuses of a good answer; empty: see `usual`.
    pub(crate) expected: Vec<Statuses>,
    /// How the lines of good answers begin; empty: in any way.
    pub(crate) expected_text: Vec<String>,
    /// The statuses that the server gave when it was asked for the first time: what
    /// it says then is no refusal of a stopping server.
    pub(crate) usual: Vec<u16>,
    /// The same of its grpc-status.
    pub(crate) usual_grpc: Option<u16>,
    /// How many lines or messages each client gets before it has asked anything.
    pub(crate) greeting: u64,
    /// A request may come before the greeting.
    pub(crate) takes_early: bool,
    /// The server takes POST, too.
    pub(crate) posts: bool,
    /// A connection can be used for more than one request.
    pub(crate) keeps: bool,
    /// How long the server takes to answer while nothing is wrong.
    pub(crate) answer_time: Duration,
    /// How long the body of the large response is, where the end of the connection is
    /// its end.
    pub(crate) whole: Option<u64>,
    /// The client grants an h2 server no more room than the protocol starts with.
    pub(crate) holds_windows: bool,
}

/// A request that the user wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OwnRequest {
    pub(crate) method: String,
    /// The path of HTTP; the text of lines, redis and ws.
    pub(crate) path: String,
    pub(crate) body: Vec<u8>,
}

impl OwnRequest {
    pub(crate) fn get(path: &str) -> OwnRequest {
        OwnRequest {
            method: "GET".to_owned(),
            path: path.to_owned(),
            body: Vec::new(),
        }
    }
}

/// A range of statuses, such as 200, 2xx or 200-299.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Statuses(u16, u16);

impl Statuses {
    pub(crate) fn parse(text: &str) -> Option<Statuses> {
        let lower = text.to_ascii_lowercase();
        let (first, last) = match (lower.strip_suffix("xx"), lower.split_once('-')) {
            (Some(class), _) => (format!("{class}00"), format!("{class}99")),
            (None, Some((first, last))) => (first.to_owned(), last.to_owned()),
            (None, None) => (lower.clone(), lower.clone()),
        };
        let (first, last) = (first.parse().ok()?, last.parse().ok()?);
        let is_status = (100..600).contains(&first) && (first..600).contains(&last);
        is_status.then_some(Statuses(first, last))
    }

    /// Returns the range of one status; none for what is no status.
    pub(crate) fn only(status: u16) -> Option<Statuses> {
        (100..600)
            .contains(&status)
            .then_some(Statuses(status, status))
    }

    pub(crate) fn contains(self, status: u16) -> bool {
        (self.0..=self.1).contains(&status)
    }
}

impl fmt::Display for Statuses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Statuses(first, last) if first == last => write!(f, "{first}"),
            Statuses(first, last) => write!(f, "{first}-{last}"),
        }
    }
}

/// What to send.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) label: String,
    /// All of it, but for h2, where the connection decides.
    pub(crate) bytes: Vec<u8>,
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// The answer has no body (RFC 9110 section 9.3.2).
    pub(crate) is_head: bool,
    /// The client asked for the end of the connection (RFC 9112 section 9.6).
    pub(crate) closes: bool,
}

impl Target {
    pub(crate) fn new(address: SocketAddr, protocol: Protocol) -> Target {
        Target {
            address,
            protocol,
            tls: None,
            path: "/".to_owned(),
            large: None,
            own: None,
            headers: Vec::new(),
            expected: Vec::new(),
            expected_text: Vec::new(),
            usual: Vec::new(),
            usual_grpc: None,
            greeting: 0,
            takes_early: true,
            posts: false,
            keeps: true,
            answer_time: Duration::MAX,
            whole: None,
            holds_windows: false,
        }
    }

    /// Takes over what was found out about the server.
    pub(crate) fn apply(&mut self, traits: &Traits) {
        self.greeting = traits.greeting.count;
        self.takes_early = traits.greeting.takes_early;
        self.posts = traits.posts;
        self.keeps = traits.keeps;
        self.answer_time = traits.answer_time;
        self.usual.clone_from(&traits.usual);
        self.usual_grpc = traits.usual_grpc;
    }

    /// Returns the host and port as they stand in requests.
    pub(crate) fn authority(&self) -> String {
        let own = self.headers.iter();
        let mut own = own.filter(|(name, _)| name.eq_ignore_ascii_case("host"));
        match own.next() {
            Some((_, value)) => value.clone(),
            None => self.address.to_string(),
        }
    }

    /// Says whether a status is what a client may get from this server while nothing
    /// is wrong. Without `--expect` these are all but 408, 5xx, and what the server
    /// gave to the very first request.
    pub(crate) fn is_expected(&self, status: u16) -> bool {
        match self.expected.is_empty() {
            false => self.expected.iter().any(|range| range.contains(status)),
            true => {
                let is_refusal = status == 408 || status >= 500;
                !is_refusal || self.usual.contains(&status)
            }
        }
    }

    /// Says whether a large response is all of it; none where that cannot be known.
    pub(crate) fn is_whole(&self, response: &Response) -> Option<bool> {
        match (response.until_end, self.whole) {
            (None, _) => Some(true),
            (Some(length), Some(whole)) => Some(length >= whole),
            (Some(_), None) => None,
        }
    }

    /// Says what is wrong with an answer that is whole, as far as its framing tells.
    pub(crate) fn problem(&self, response: &Response) -> Option<String> {
        let status = response.status;
        if status != 0 && !self.is_expected(status) {
            return Some(format!("it was answered with status {status}"));
        }
        if let (Some(false), Some(length)) = (self.is_whole(response), response.until_end) {
            let whole = self.whole.unwrap_or_default();
            return Some(format!("its body ended after {length} of {whole} bytes"));
        }
        // The status of HTTP is 200 whatever a call comes to.
        match response.grpc {
            grpc if grpc == self.usual_grpc => None,
            Some(0) => None,
            Some(status) => Some(format!("it was answered with grpc-status {status}")),
            None => Some("it was answered without a grpc-status".to_owned()),
        }
    }

    /// Returns the next request of a client.
    pub(crate) fn request(&self, client: usize, number: u64) -> Request {
        if let Some(own) = &self.own {
            return self.own_request(own);
        }
        match self.protocol {
            Protocol::Echo | Protocol::Lines | Protocol::Ws => echo(client, number, 64),
            Protocol::Redis => redis(&["ECHO", &format!("client {client} message {number}")]),
            Protocol::Http | Protocol::H2 => match self.posts && number % 2 == 1 {
                true => self.post(client, number),
                false => self.get(&self.path),
            },
        }
    }

    /// Returns the request for a large response, if there is one.
    pub(crate) fn large_request(&self) -> Option<Request> {
        self.large.as_ref().map(|large| self.own_request(large))
    }

    fn own_request(&self, own: &OwnRequest) -> Request {
        match self.protocol {
            Protocol::Http | Protocol::H2 => self.http(&own.method, &own.path, &own.body),
            Protocol::Redis => redis(&own.path.split_whitespace().collect::<Vec<_>>()),
            Protocol::Lines => Request {
                label: own.path.clone(),
                bytes: format!("{}\r\n", own.path).into_bytes(),
                ..Request::default()
            },
            Protocol::Echo | Protocol::Ws => Request {
                label: own.path.clone(),
                bytes: own.path.clone().into_bytes(),
                ..Request::default()
            },
        }
    }

    pub(crate) fn get(&self, path: &str) -> Request {
        self.http("GET", path, &[])
    }

    pub(crate) fn post(&self, client: usize, number: u64) -> Request {
        let body = echo(client, number, 64).bytes;
        self.http("POST", &self.path, &body)
    }

    fn http(&self, method: &str, path: &str, body: &[u8]) -> Request {
        let has_header = |wanted: &str| {
            let mut names = self.headers.iter();
            names.any(|(name, _)| name.eq_ignore_ascii_case(wanted))
        };
        let mut headers = self.headers.clone();
        headers.retain(|(name, _)| !name.eq_ignore_ascii_case("host"));
        if !body.is_empty() && !has_header("content-type") {
            headers.push(("Content-Type".to_owned(), "text/plain".to_owned()));
        }
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n", self.authority());
        for (name, value) in &headers {
            head += &format!("{name}: {value}\r\n");
        }
        if !body.is_empty() {
            head += &format!("Content-Length: {}\r\n", body.len());
        }
        head += "\r\n";
        let closes = headers.iter().any(|(name, value)| {
            name.eq_ignore_ascii_case("connection") && value.eq_ignore_ascii_case("close")
        });
        Request {
            label: format!("{method} {path}"),
            bytes: [head.as_bytes(), body].concat(),
            method: method.to_owned(),
            path: path.to_owned(),
            headers,
            body: body.to_vec(),
            is_head: method == "HEAD",
            closes,
        }
    }

    /// Says whether the protocol lets a server end connections that are idle.
    pub(crate) fn closes_idle(&self) -> bool {
        matches!(self.protocol, Protocol::Http | Protocol::H2)
    }
}

fn redis(words: &[&str]) -> Request {
    Request {
        label: words.join(" "),
        bytes: codec::command(words),
        ..Request::default()
    }
}

/// Returns a message that no other client sends.
pub(crate) fn echo(client: usize, number: u64, length: usize) -> Request {
    let mut bytes = format!("client {client} message {number} ").into_bytes();
    bytes.resize(length.max(bytes.len() + 1), b'.');
    if let Some(last) = bytes.last_mut() {
        *last = b'\n';
    }
    Request {
        label: format!("message {number}"),
        bytes,
        ..Request::default()
    }
}

/// Returns a piece of an endless stream in which a gap or a repetition shows.
pub(crate) fn stream(from: u64, length: usize) -> Vec<u8> {
    // As many as a prime: no power of two repeats them.
    const PERIOD: u8 = 251;
    let period: Vec<u8> = (0..PERIOD).collect();
    let skipped = (from % u64::from(PERIOD)) as usize;
    // Not byte by byte: a client that is busy with that reads too slowly.
    let mut bytes = period.repeat((skipped + length).div_ceil(period.len()));
    bytes.truncate(skipped + length);
    bytes.split_off(skipped)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target() -> Target {
        Target::new("127.0.0.1:80".parse().unwrap(), Protocol::Http)
    }

    #[test]
    fn statuses_are_single_ones_classes_and_ranges() {
        assert_eq!(Statuses::parse("204"), Some(Statuses(204, 204)));
        assert_eq!(Statuses::parse("2xx"), Some(Statuses(200, 299)));
        assert_eq!(Statuses::parse("200-204"), Some(Statuses(200, 204)));
        for text in ["", "x", "20", "299-200", "9xx", "200-"] {
            assert_eq!(Statuses::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_refusal_is_expected_only_if_it_was_usual_or_asked_for() {
        let mut target = target();
        assert!(target.is_expected(404));
        assert!(!target.is_expected(503));
        assert!(!target.is_expected(408));
        target.usual.push(503);
        assert!(target.is_expected(503));
        target.expected = vec![Statuses(200, 200)];
        assert!(!target.is_expected(404));
    }

    #[test]
    fn a_grpc_status_is_good_if_it_is_ok_or_was_usual() {
        let mut target = target();
        let with = |grpc| Response {
            status: 200,
            grpc,
            ..Response::default()
        };
        assert_eq!(target.problem(&with(None)), None);
        assert_eq!(target.problem(&with(Some(0))), None);
        assert!(target.problem(&with(Some(14))).is_some());
        target.usual_grpc = Some(0);
        assert!(target.problem(&with(None)).is_some());
        assert!(target.problem(&with(Some(14))).is_some());
        target.usual_grpc = Some(12);
        assert_eq!(target.problem(&with(Some(12))), None);
    }

    #[test]
    fn a_response_that_ends_with_its_connection_is_whole_at_its_known_length() {
        let mut target = target();
        let of = |until_end| Response {
            status: 200,
            until_end,
            ..Response::default()
        };
        assert_eq!(target.is_whole(&of(None)), Some(true));
        assert_eq!(target.is_whole(&of(Some(7))), None);
        assert_eq!(target.problem(&of(Some(7))), None);
        target.whole = Some(8);
        assert_eq!(target.problem(&of(Some(8))), None);
        let problem = target.problem(&of(Some(7))).unwrap();
        assert_eq!(problem, "its body ended after 7 of 8 bytes");
    }

    #[test]
    fn pieces_of_the_stream_fit_together() {
        let whole = stream(0, 1000);
        assert_eq!(whole[..4], [0, 1, 2, 3]);
        assert_eq!(whole[250..252], [250, 0]);
        for from in [0, 1, 250, 251, 700] {
            assert_eq!(stream(from as u64, 300), whole[from..from + 300]);
        }
        assert!(stream(7, 0).is_empty());
    }

    #[test]
    fn headers_of_the_user_replace_ours() {
        let mut target = target();
        target.headers = vec![
            ("Host".to_owned(), "example.org".to_owned()),
            ("X".to_owned(), "1".to_owned()),
        ];
        let bytes = target.get("/").bytes;
        let text = String::from_utf8(bytes).unwrap();
        assert_eq!(text, "GET / HTTP/1.1\r\nHost: example.org\r\nX: 1\r\n\r\n");
    }
}
