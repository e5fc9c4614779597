//! HTTP/2 (RFC 9113), as far as a client needs it to know what it is owed.

use std::collections::BTreeMap;

use loona_hpack::Decoder;

use super::{Event, Response, quoted};
use crate::client::owed::Rule;
use crate::client::target::{Request, Target};
use crate::h2::{self, Frame, Kind};

/// How much room for answers a client grants, for the connection and each stream.
const WINDOW: u32 = (1 << 31) - 1;

/// What a connection grants before any WINDOW_UPDATE (RFC 9113 section 6.9.2).
const DEFAULT_WINDOW: u32 = 65_535;

/// The room is granted again after so many bytes.
const REFILL: u64 = 64 * 1024;

/// One connection of a client.
pub(crate) struct H2 {
    scheme: &'static str,
    authority: String,
    hpack: Decoder<'static>,
    input: h2::Input,
    output: Vec<u8>,
    streams: BTreeMap<u32, Response>,
    next: u32,
    /// A header block that is not yet whole: its stream, whether it ends the
    /// stream, and what of it came.
    block: Option<(u32, bool, Vec<u8>)>,
    unacknowledged: u64,
    is_held: bool,
    is_announced: bool,
}

impl std::fmt::Debug for H2 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("H2")
            .field("streams", &self.streams)
            .field("next", &self.next)
            .finish_non_exhaustive()
    }
}

impl H2 {
    pub(super) fn new(target: &Target) -> H2 {
        H2 {
            scheme: match target.tls {
                Some(_) => "https",
                None => "http",
            },
            authority: target.authority(),
            hpack: Decoder::new(),
            input: h2::Input::default(),
            output: Vec::new(),
            streams: BTreeMap::new(),
            next: 1,
            block: None,
            unacknowledged: 0,
            is_held: target.holds_windows,
            is_announced: false,
        }
    }

    pub(super) fn greeting(&self) -> Vec<u8> {
        let mut bytes = h2::PREFACE.to_vec();
        let mut settings = h2::setting(h2::ENABLE_PUSH, 0);
        if !self.is_held {
            settings.extend(h2::setting(h2::INITIAL_WINDOW_SIZE, WINDOW));
        }
        h2::write(&mut bytes, Kind::Settings, 0, 0, &settings);
        if !self.is_held {
            h2::write_window_update(&mut bytes, 0, WINDOW - DEFAULT_WINDOW);
        }
        bytes
    }

    pub(super) fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.output)
    }

    /// Grants room that was held back.
    pub(super) fn hold_windows(&mut self, is_held: bool) {
        if self.is_held && !is_held {
            h2::write_window_update(&mut self.output, 0, WINDOW - DEFAULT_WINDOW);
            for stream in self.streams.keys() {
                let room = WINDOW - DEFAULT_WINDOW;
                h2::write_window_update(&mut self.output, *stream, room);
            }
        }
        self.is_held = is_held;
    }

    pub(super) fn encode(&mut self, request: &Request) -> (u64, Vec<u8>) {
        let stream = self.next;
        self.next += 2;
        self.streams.insert(stream, Response::default());
        let mut block = Vec::new();
        h2::write_header(&mut block, ":method", &request.method);
        h2::write_header(&mut block, ":scheme", self.scheme);
        h2::write_header(&mut block, ":authority", &self.authority);
        h2::write_header(&mut block, ":path", &request.path);
        for (name, value) in &request.headers {
            h2::write_header(&mut block, &name.to_ascii_lowercase(), value);
        }
        if !request.body.is_empty() {
            let length = request.body.len().to_string();
            h2::write_header(&mut block, "content-length", &length);
        }
        let mut bytes = Vec::new();
        let end = match request.body.is_empty() {
            true => h2::END_STREAM,
            false => 0,
        };
        h2::write(
            &mut bytes,
            Kind::Headers,
            end | h2::END_HEADERS,
            stream,
            &block,
        );
        if !request.body.is_empty() {
            h2::write(
                &mut bytes,
                Kind::Data,
                h2::END_STREAM,
                stream,
                &request.body,
            );
        }
        (u64::from(stream), bytes)
    }

    pub(super) fn feed(&mut self, bytes: &[u8], events: &mut Vec<Event>) -> Result<(), String> {
        self.input.extend(bytes);
        while let Some(frame) = self.input.next()? {
            self.take(&frame, events)?;
        }
        Ok(())
    }

    fn take(&mut self, frame: &Frame, events: &mut Vec<Event>) -> Result<(), String> {
        if self.block.is_some() && frame.kind != Kind::Continuation {
            return Err("a header block is interrupted (RFC 9113 section 6.10)".to_owned());
        }
        let is_end = frame.has(h2::END_STREAM);
        match frame.kind {
            Kind::Headers => {
                let block = frame.headers()?.to_vec();
                self.block = Some((frame.stream, is_end, block));
                self.end_block(frame, events)?;
            }
            Kind::Continuation => {
                let Some((_, _, block)) = &mut self.block else {
                    return Err("a CONTINUATION without HEADERS".to_owned());
                };
                block.extend_from_slice(&frame.payload);
                self.end_block(frame, events)?;
            }
            Kind::Data => {
                self.acknowledge(frame);
                self.progress(frame.stream, frame.payload.len(), events);
                if is_end {
                    self.end_stream(frame.stream, events);
                }
            }
            Kind::ResetStream => self.reset(frame, events),
            Kind::GoAway => self.go_away(frame, events)?,
            Kind::Settings if !frame.has(h2::ACK) => {
                h2::write(&mut self.output, Kind::Settings, h2::ACK, 0, &[]);
            }
            Kind::Ping if !frame.has(h2::ACK) => {
                let output = &mut self.output;
                h2::write(output, Kind::Ping, h2::ACK, 0, &frame.payload);
            }
            Kind::PushPromise => {
                return Err("a push that SETTINGS had forbidden".to_owned());
            }
            _ => {}
        }
        Ok(())
    }

    /// Reads the headers of an answer, once all of them are here.
    fn end_block(&mut self, frame: &Frame, events: &mut Vec<Event>) -> Result<(), String> {
        if !frame.has(h2::END_HEADERS) {
            return Ok(());
        }
        let Some((stream, is_end, block)) = self.block.take() else {
            return Ok(());
        };
        let headers = self.hpack.decode(&block);
        let headers = headers.map_err(|error| format!("no headers: {error:?}"))?;
        let status = headers.iter().find(|(name, _)| name == b":status");
        if let Some((_, value)) = status
            && let Some(response) = self.streams.get_mut(&stream)
        {
            let text = String::from_utf8_lossy(value);
            let status = text.parse();
            response.status = status.map_err(|_| format!("no status: {}", quoted(&text)))?;
        }
        let status = headers.iter().find(|(name, _)| name == b"grpc-status");
        if let Some((_, value)) = status
            && let Some(response) = self.streams.get_mut(&stream)
        {
            let text = String::from_utf8_lossy(value);
            let status = text.parse();
            let status = status.map_err(|_| format!("no grpc-status: {}", quoted(&text)))?;
            response.grpc = Some(status);
        }
        self.progress(stream, block.len(), events);
        if is_end {
            self.end_stream(stream, events);
        }
        Ok(())
    }

    fn progress(&mut self, stream: u32, length: usize, events: &mut Vec<Event>) {
        if let Some(response) = self.streams.get_mut(&stream) {
            response.length += length as u64;
            events.push(Event::Progress {
                key: u64::from(stream),
                received: response.length,
            });
        }
    }

    fn end_stream(&mut self, stream: u32, events: &mut Vec<Event>) {
        if let Some(response) = self.streams.remove(&stream) {
            let key = u64::from(stream);
            events.push(Event::Answered { key, response });
        }
    }

    /// A stream that the server refused was not processed (RFC 9113 section 8.7).
    fn reset(&mut self, frame: &Frame, events: &mut Vec<Event>) {
        let key = u64::from(frame.stream);
        let code = frame.number(0).unwrap_or_default();
        let Some(response) = self.streams.remove(&frame.stream) else {
            return;
        };
        events.push(match code {
            h2::REFUSED_STREAM => Event::Returned {
                key,
                rule: Rule::RefusedStream,
            },
            _ => Event::Wrong {
                key,
                problem: format!("its stream was reset with error {code}"),
                received: response.length,
            },
        });
    }

    /// Streams above the last one of a GOAWAY were not processed (section 6.8).
    fn go_away(&mut self, frame: &Frame, events: &mut Vec<Event>) -> Result<(), String> {
        let last = frame.number(0).ok_or("a short GOAWAY")? & (WINDOW);
        if !self.is_announced {
            self.is_announced = true;
            events.push(Event::Announced(Rule::GoAway));
        }
        let returned = self.streams.split_off(&last.saturating_add(1));
        for stream in returned.into_keys() {
            let key = u64::from(stream);
            let rule = Rule::GoAway;
            events.push(Event::Returned { key, rule });
        }
        // An error does not make it worse: streams up to the last one are still owed.
        Ok(())
    }

    /// Grants the server again the room that it has used up.
    fn acknowledge(&mut self, frame: &Frame) {
        if self.is_held {
            return;
        }
        self.unacknowledged += u64::from(frame.length);
        if self.unacknowledged >= REFILL {
            let room = u32::try_from(self.unacknowledged).unwrap_or(WINDOW);
            self.unacknowledged = 0;
            h2::write_window_update(&mut self.output, 0, room);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fed;
    use super::*;
    use crate::setup::Protocol;

    fn codec() -> H2 {
        let address = "127.0.0.1:1".parse().unwrap();
        H2::new(&Target::new(address, Protocol::H2))
    }

    fn request(codec: &mut H2) -> u64 {
        codec.encode(&Request::default()).0
    }

    fn answer(stream: u32, is_whole: bool) -> Vec<u8> {
        let mut bytes = Vec::new();
        // 0x88 is ":status: 200" of the static table.
        h2::write(&mut bytes, Kind::Headers, h2::END_HEADERS, stream, &[0x88]);
        if is_whole {
            h2::write(&mut bytes, Kind::Data, h2::END_STREAM, stream, b"well");
        }
        bytes
    }

    #[test]
    fn an_answer_is_whole_at_the_end_of_its_stream() {
        let mut codec = codec();
        let keys = [request(&mut codec), request(&mut codec)];
        let mut events = Vec::new();
        for byte in [answer(3, true), answer(1, false)].concat() {
            events.extend(fed(|events| codec.feed(&[byte], events)).unwrap());
        }
        let answered: Vec<(u64, u16)> = events
            .iter()
            .filter_map(|event| match event {
                Event::Answered { key, response } => Some((*key, response.status)),
                _ => None,
            })
            .collect();
        assert_eq!(keys, [1, 3]);
        assert_eq!(answered, [(3, 200)]);
    }

    #[test]
    fn an_answer_before_an_error_counts() {
        let mut codec = codec();
        request(&mut codec);
        let mut bytes = answer(1, true);
        h2::write(&mut bytes, Kind::PushPromise, 0, 1, &[]);
        let mut events = Vec::new();
        assert!(codec.feed(&bytes, &mut events).is_err());
        assert!(matches!(
            events.last(),
            Some(Event::Answered { key: 1, .. })
        ));
    }

    #[test]
    fn a_grpc_status_is_read_from_the_trailers() {
        let mut codec = codec();
        request(&mut codec);
        let mut bytes = answer(1, false);
        let mut trailers = Vec::new();
        h2::write_header(&mut trailers, "grpc-status", "14");
        let flags = h2::END_HEADERS | h2::END_STREAM;
        h2::write(&mut bytes, Kind::Headers, flags, 1, &trailers);
        let events = fed(|events| codec.feed(&bytes, events)).unwrap();
        let Some(Event::Answered { response, .. }) = events.last() else {
            panic!("{events:?}");
        };
        assert_eq!((response.status, response.grpc), (200, Some(14)));
    }

    #[test]
    fn a_goaway_returns_what_it_does_not_cover() {
        let mut codec = codec();
        request(&mut codec);
        request(&mut codec);
        let mut bytes = Vec::new();
        h2::write(&mut bytes, Kind::GoAway, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0]);
        let events = fed(|events| codec.feed(&bytes, events)).unwrap();
        let (key, rule) = (3, Rule::GoAway);
        assert_eq!(
            events,
            [Event::Announced(rule), Event::Returned { key, rule }]
        );
    }

    #[test]
    fn a_refused_stream_is_returned_and_any_other_reset_is_wrong() {
        let mut codec = codec();
        request(&mut codec);
        request(&mut codec);
        let mut bytes = Vec::new();
        h2::write(&mut bytes, Kind::ResetStream, 0, 1, &[0, 0, 0, 7]);
        h2::write(&mut bytes, Kind::ResetStream, 0, 3, &[0, 0, 0, 2]);
        let events = fed(|events| codec.feed(&bytes, events)).unwrap();
        assert!(matches!(events[0], Event::Returned { key: 1, .. }));
        assert!(matches!(events[1], Event::Wrong { key: 3, .. }));
    }

    #[test]
    fn settings_and_pings_are_acknowledged() {
        let mut codec = codec();
        let mut bytes = Vec::new();
        h2::write(&mut bytes, Kind::Settings, 0, 0, &[]);
        h2::write(&mut bytes, Kind::Ping, 0, 0, b"12345678");
        fed(|events| codec.feed(&bytes, events)).unwrap();
        let mut expected = Vec::new();
        h2::write(&mut expected, Kind::Settings, h2::ACK, 0, &[]);
        h2::write(&mut expected, Kind::Ping, h2::ACK, 0, b"12345678");
        assert_eq!(codec.take_output(), expected);
    }
}
