//! Which streams of one HTTP/2 connection are open on the wire (RFC 9113, 5.1).
//!
//! hyper gives a response to h2 as fast as h2 takes it, which is long before the
//! peer has it, and says nothing of either. This follows the heads of the frames
//! of both directions. It decides nothing about them.

mod frames;
mod tasks;

use std::task::{Context, Waker};

use self::frames::{Frames, GOAWAY, HEAD, HEADERS, Part, RST_STREAM};
use self::tasks::Tasks;
use super::framing::{IN_BODY, IN_HEAD};
use super::grpc;
use crate::websocket;

/// The length of a GOAWAY without further data (RFC 9113, 6.8).
pub(super) const GOAWAY_LENGTH: usize = HEAD + 8;

/// A stream that one side at least has not ended.
#[derive(Debug)]
struct Stream {
    id: u32,
    ended_by_peer: bool,
    ended_by_us: bool,
    /// Its reader has waited in the stop, where the stop may end it.
    has_idle_point: bool,
    first: First,
    messages: Messages,
}

/// What is known of the first data of a stream ([F95](crate::docs::faults#f95)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum First {
    /// They may follow the head, which came any time ago.
    MayFollow,
    /// They are waited for.
    IsAwaited,
    /// They have had their time.
    IsLate,
    HasCome,
}

/// The messages that the data of a stream consists of, where a library reads them that
/// does not say that it holds a part of one.
#[derive(Debug)]
enum Messages {
    /// Not known before the service is called; these may be some of gRPC.
    Unknown(grpc::Messages),
    Grpc(grpc::Messages),
    /// Those of a WebSocket (RFC 8441).
    Websocket(Box<websocket::Frames>),
    /// Others.
    Other,
}

/// What the data of a stream consists of, as its request says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DataOf {
    Grpc,
    Websocket,
    Other,
}

impl Messages {
    fn is_mid_message(&self) -> bool {
        match self {
            Messages::Grpc(messages) => messages.is_mid_message(),
            Messages::Websocket(frames) => frames.is_mid_message(),
            Messages::Unknown(_) | Messages::Other => false,
        }
    }
}

/// The open streams of a connection.
pub(super) struct Streams {
    read: Frames,
    written: Frames,
    /// In the order of their numbers.
    open: Vec<Stream>,
    /// The peer has acknowledged our SETTINGS.
    is_acknowledged: bool,
    /// The last stream that the peer has opened.
    last: u32,
    /// The last stream that the service was called for.
    last_called: u32,
    /// The stop was seen, and all that had arrived is with the streams' readers.
    is_handed_on: bool,
    input: Input,
    tasks: Option<Box<Tasks>>,
}

/// Whether what comes is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Input {
    Read,
    /// What had arrived is, and then no more than to the end of a message.
    HeldBack,
    /// Nothing is read any more, and the peer is to be told which stream is the last.
    Ends,
    /// The same, and it was told.
    Ended,
}

impl Streams {
    pub(super) fn new() -> Streams {
        Streams {
            read: Frames::of_client(),
            written: Frames::default(),
            open: Vec::new(),
            is_acknowledged: false,
            last: 0,
            last_called: 0,
            is_handed_on: false,
            input: Input::Read,
            tasks: None,
        }
    }

    /// Returns what is known of the streams, in the bits of HTTP/1's
    /// [`known`](super::framing::Framing::known): a stream is in its head, or is open.
    pub(super) fn known(&self) -> u8 {
        let bit = |is: bool, bit: u8| if is { bit } else { 0 };
        bit(self.is_in_head(), IN_HEAD) | bit(self.is_any_open(), IN_BODY)
    }

    /// Returns whether a stream is open whose head has ended.
    pub(super) fn is_any_open(&self) -> bool {
        let last = self.open.last();
        let is_new = last.is_some_and(|last| last.id > self.last_called);
        self.open.len() > usize::from(is_new && self.is_in_head())
    }

    /// Returns whether something has begun of which no stream can be made yet: the
    /// preface, a head, or any other frame.
    pub(super) fn is_in_head(&self) -> bool {
        self.read.is_mid_frame()
    }

    /// Returns whether the peer has acknowledged our SETTINGS.
    pub(super) fn is_acknowledged(&self) -> bool {
        self.is_acknowledged
    }

    /// Ends the input: nothing more is read.
    pub(super) fn end_input(&mut self) {
        self.input = Input::Ends;
    }

    /// Holds back what comes, or reads it on.
    pub(super) fn hold_back(&mut self, holds_back: bool) {
        match (self.input, holds_back) {
            (Input::Read, true) => self.input = Input::HeldBack,
            (Input::HeldBack, false) => self.input = Input::Read,
            _ => {}
        }
    }

    pub(super) fn is_held_back(&self) -> bool {
        self.input == Input::HeldBack
    }

    /// Returns how many bytes may be read. `accepted`: so many had arrived when connections
    /// began to end that are never idle, and are still to be read.
    pub(super) fn limit(&self, accepted: Option<u64>) -> usize {
        match (self.input, accepted) {
            (Input::HeldBack, Some(0)) => match self.read.missing() {
                // On to the end of the next frame, with which a message may end.
                0 if !self.is_any_between() => HEAD,
                missing => missing,
            },
            (Input::HeldBack, Some(bytes)) => usize::try_from(bytes).unwrap_or(usize::MAX),
            (Input::Read | Input::HeldBack, _) => usize::MAX,
            (Input::Ends | Input::Ended, _) => 0,
        }
    }

    /// Returns whether the peer goes on with a stream that the stop may end at its idle
    /// point.
    pub(super) fn has_idle_point(&self) -> bool {
        self.open.iter().any(Stream::can_be_idle)
    }

    /// Returns whether such a stream is between two messages.
    fn is_any_between(&self) -> bool {
        let mut open = self.open.iter();
        open.any(|stream| stream.can_be_idle() && !stream.is_mid_message())
    }

    /// Returns, once, the GOAWAY that names the last stream, where the input has ended. What
    /// we have written has to end with a frame.
    pub(super) fn take_goaway(&mut self) -> Option<[u8; GOAWAY_LENGTH]> {
        if self.input != Input::Ends || self.written.is_mid_frame() {
            return None;
        }
        self.input = Input::Ended;
        let mut frame = [0; GOAWAY_LENGTH];
        (frame[2], frame[3]) = ((GOAWAY_LENGTH - HEAD) as u8, GOAWAY);
        // The flags, the stream and the error are zero.
        frame[HEAD..HEAD + 4].copy_from_slice(&self.last.to_be_bytes());
        Some(frame)
    }

    /// Takes bytes of the peer.
    pub(super) fn push_read(&mut self, bytes: &[u8]) {
        let Streams {
            read,
            open,
            is_acknowledged,
            last,
            ..
        } = self;
        read.push(bytes, |part| match part {
            Part::Frame {
                kind: HEADERS,
                ends_stream,
                stream,
            } if stream > *last => {
                *last = stream;
                if open.len() == open.capacity() {
                    // It begins with one: most connections have no room for more to keep.
                    open.reserve_exact(open.len().max(1));
                }
                open.push(Stream {
                    id: stream,
                    ended_by_peer: ends_stream,
                    ended_by_us: false,
                    has_idle_point: false,
                    first: First::MayFollow,
                    messages: Messages::Unknown(grpc::Messages::default()),
                });
            }
            Part::Data { stream, bytes } => {
                if let Some(stream) = find(open, stream) {
                    stream.push_data(bytes);
                }
            }
            Part::Acknowledged => *is_acknowledged = true,
            part => note(open, &part, |stream| stream.ended_by_peer = true),
        });
    }

    /// Takes bytes that the system has taken for the peer.
    pub(super) fn push_written(&mut self, bytes: &[u8]) {
        let Streams { written, open, .. } = self;
        written.push(bytes, |part| {
            note(open, &part, |stream| stream.ended_by_us = true);
        });
    }

    /// Notes that the service is called, which it is in the order of the streams,
    /// but for those that h2 has reset. Returns the number of the stream.
    pub(super) fn call(&mut self) -> Option<u32> {
        let next = self
            .open
            .partition_point(|stream| stream.id <= self.last_called);
        let stream = self.open.get(next)?;
        self.last_called = stream.id;
        Some(stream.id)
    }

    /// Notes what the data of a stream consists of, whose service is called.
    pub(super) fn follow(&mut self, id: u32, data: DataOf) {
        let Some(stream) = find(&mut self.open, id) else {
            return;
        };
        let before = std::mem::replace(&mut stream.messages, Messages::Other);
        stream.messages = match (data, before) {
            (DataOf::Grpc, Messages::Unknown(messages)) => Messages::Grpc(messages),
            // Nothing comes before it is accepted.
            (DataOf::Websocket, _) if stream.first != First::HasCome => {
                Messages::Websocket(Box::new(websocket::Frames::new()))
            }
            _ => Messages::Other,
        };
    }

    /// Begins a look of the driver, once it has seen the stop: what it reads is
    /// not with the streams' readers yet.
    pub(super) fn begin_look(&mut self) {
        self.is_handed_on = false;
    }

    /// Ends a look of the driver that has found no more, and returns the readers
    /// that wait for it.
    pub(super) fn end_look(&mut self) -> Vec<Waker> {
        self.is_handed_on = true;
        let tasks = self.tasks.as_mut();
        tasks.map_or(Vec::new(), |tasks| std::mem::take(&mut tasks.readers))
    }

    /// Returns whether so many answers are one for each message of a call of gRPC that has
    /// sent all of them.
    pub(super) fn is_answered(&mut self, id: u32, answers: u64) -> bool {
        find(&mut self.open, id).is_some_and(|stream| match &stream.messages {
            Messages::Grpc(messages) => {
                stream.ended_by_peer && u64::from(messages.count()) <= answers
            }
            _ => false,
        })
    }

    /// Returns whether the peer has ended its side of a stream that we have not ended.
    pub(super) fn has_peer_ended(&mut self, id: u32) -> bool {
        find(&mut self.open, id).is_some_and(|stream| stream.ended_by_peer)
    }

    /// Begins to wait for the first data of the streams that have had none; returns false
    /// where there are no such streams.
    pub(super) fn await_first(&mut self) -> bool {
        let mut awaits = false;
        for stream in self.open.iter_mut().filter(|stream| stream.may_begin()) {
            if stream.first == First::MayFollow {
                (stream.first, awaits) = (First::IsAwaited, true);
            }
        }
        awaits
    }

    /// Ends that wait.
    pub(super) fn end_first(&mut self) {
        for stream in &mut self.open {
            if stream.first == First::IsAwaited {
                stream.first = First::IsLate;
            }
        }
    }

    /// Returns whether all that had arrived for a stream is with its reader, and no
    /// part of it is missing that can be known of. Otherwise the reader is woken
    /// after the next look.
    pub(super) fn is_between(&mut self, id: u32, cx: &Context<'_>) -> bool {
        let stream = find(&mut self.open, id).map(|stream| {
            stream.has_idle_point = true;
            &*stream
        });
        let is_between = self.is_handed_on
            && !self.read.is_mid_data(id)
            && !stream.is_some_and(Stream::is_mid_message);
        if !is_between {
            let readers = &mut self.tasks_mut().readers;
            if !readers.iter().any(|reader| reader.will_wake(cx.waker())) {
                readers.push(cx.waker().clone());
            }
        }
        is_between
    }

    /// Returns what its tasks wait for, and have left.
    pub(super) fn tasks_mut(&mut self) -> &mut Tasks {
        self.tasks.get_or_insert_default()
    }
}

impl Stream {
    /// Returns whether the peer may send its first data yet.
    fn may_begin(&self) -> bool {
        matches!(self.first, First::MayFollow | First::IsAwaited) && !self.ended_by_peer
    }

    /// Returns whether the peer goes on with it, and the stop may end it.
    fn can_be_idle(&self) -> bool {
        self.has_idle_point && !self.ended_by_peer
    }

    fn is_mid_message(&self) -> bool {
        self.may_begin() || self.messages.is_mid_message()
    }

    fn push_data(&mut self, bytes: &[u8]) {
        self.first = First::HasCome;
        match &mut self.messages {
            Messages::Unknown(messages) | Messages::Grpc(messages) => messages.push(bytes),
            Messages::Websocket(frames) => frames.push(bytes),
            Messages::Other => {}
        }
    }
}

fn find(open: &mut [Stream], id: u32) -> Option<&mut Stream> {
    let at = open.binary_search_by_key(&id, |stream| stream.id).ok()?;
    open.get_mut(at)
}

/// Notes a frame that ends one side of a stream, or all of it. A stream of which
/// both sides have ended is open no more.
fn note(open: &mut Vec<Stream>, part: &Part<'_>, end: impl Fn(&mut Stream)) {
    match *part {
        Part::Frame {
            kind: RST_STREAM,
            stream: id,
            ..
        } => open.retain(|stream| stream.id != id),
        Part::Frame {
            ends_stream: true,
            stream: id,
            ..
        } => open.retain_mut(|stream| {
            if stream.id == id {
                end(stream);
            }
            !(stream.ended_by_peer && stream.ended_by_us)
        }),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::frames::{ACK, CONTINUATION, DATA, END_STREAM, PREFACE};
    use super::*;

    const PING: u8 = 6;

    #[test]
    fn a_stream_takes_little_room() {
        // As much as the smallest piece of glibc's malloc has.
        assert!(size_of::<Stream>() <= 24);
    }

    fn frame(kind: u8, flags: u8, stream: u8, payload: usize) -> Vec<u8> {
        let length = u8::try_from(payload).unwrap();
        let head = [0, 0, length, kind, flags, 0x80, 0, 0, stream];
        [&head[..], &vec![0x11; payload]].concat()
    }

    /// Says after each frame whether a stream is open, whatever the pieces are.
    #[track_caller]
    fn check(script: &[(bool, Vec<u8>, bool)]) {
        for piece in 1..20 {
            let mut streams = Streams::new();
            for part in [7; PREFACE as usize].chunks(piece) {
                streams.push_read(part);
            }
            for (is_read, bytes, is_open) in script {
                for part in bytes.chunks(piece) {
                    match is_read {
                        true => streams.push_read(part),
                        false => streams.push_written(part),
                    }
                }
                assert_eq!(streams.is_any_open(), *is_open, "{:?}", streams.open);
            }
        }
    }

    #[test]
    fn f79_a_stream_is_open_until_its_last_frame_is_written() {
        check(&[
            (true, frame(4, END_STREAM, 0, 12), false),
            (true, frame(HEADERS, END_STREAM | 4, 1, 30), true),
            (false, frame(HEADERS, 4, 1, 10), true),
            (false, frame(DATA, 0, 1, 200), true),
            (true, frame(PING, END_STREAM, 0, 8), true),
            (false, frame(DATA, END_STREAM, 1, 0), false),
        ]);
    }

    #[test]
    fn f79_a_stream_is_open_while_its_request_comes() {
        check(&[
            (true, frame(HEADERS, 4, 1, 30), true),
            (true, frame(HEADERS, END_STREAM | 4, 3, 30), true),
            (false, frame(HEADERS, END_STREAM | 4, 1, 10), true),
            (false, frame(HEADERS, END_STREAM | 4, 3, 10), true),
            (true, frame(DATA, 0, 1, 100), true),
            // The trailers.
            (true, frame(HEADERS, END_STREAM | 4, 1, 10), false),
        ]);
    }

    #[test]
    fn f79_a_reset_ends_a_stream_from_either_side() {
        for by_peer in [true, false] {
            check(&[
                (true, frame(HEADERS, 4, 1, 30), true),
                (by_peer, frame(RST_STREAM, 0, 1, 4), false),
                // What was under way opens it no more.
                (true, frame(HEADERS, END_STREAM | 4, 1, 10), false),
            ]);
        }
    }

    #[test]
    fn a_goaway_names_the_last_stream_between_two_frames_and_once() {
        let mut streams = Streams::new();
        streams.push_read(&[7; PREFACE as usize]);
        for id in [1, 3] {
            streams.push_read(&frame(HEADERS, END_STREAM | 4, id, 30));
        }
        let ping = frame(PING, ACK, 0, 8);
        streams.push_written(&ping[..10]);
        assert_eq!(
            (streams.limit(None), streams.take_goaway()),
            (usize::MAX, None)
        );
        streams.end_input();
        assert_eq!((streams.limit(None), streams.take_goaway()), (0, None));
        streams.push_written(&ping[10..]);
        let goaway = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0];
        assert_eq!(streams.take_goaway(), Some(goaway));
        assert_eq!((streams.limit(None), streams.take_goaway()), (0, None));
    }

    /// Byte by byte, as if none of them had arrived when half of the time was over.
    #[test]
    fn f97_the_input_is_held_back_where_a_frame_ends_with_a_message() {
        let cx = Context::from_waker(futures::task::noop_waker_ref());
        let mut streams = Streams::new();
        streams.push_read(&[7; PREFACE as usize]);
        streams.push_read(&frame(HEADERS, 4, 1, 30));
        assert_eq!(streams.call(), Some(1));
        streams.follow(1, DataOf::Grpc);
        streams.hold_back(true);
        assert!(streams.is_held_back() && !streams.has_idle_point());
        assert!(!streams.is_between(1, &cx) && streams.has_idle_point());
        assert_eq!(
            streams.limit(None),
            usize::MAX,
            "what has arrived is not known"
        );
        assert_eq!(streams.limit(Some(99)), 99);
        // A message in two frames, behind the head of a request that goes on in a second one.
        let data = |payload: &[u8]| {
            let mut frame = frame(DATA, 0, 1, payload.len());
            frame.truncate(HEAD);
            [&frame[..], payload].concat()
        };
        let parts = [
            frame(HEADERS, 0, 3, 3),
            frame(CONTINUATION, 4, 3, 2),
            data(&[0, 0, 0, 0, 2]),
            data(&[8, 9]),
        ];
        let mut ends = Vec::new();
        for (part, bytes) in parts.iter().enumerate() {
            for (at, byte) in bytes.iter().enumerate() {
                let limit = streams.limit(Some(0));
                assert!((1..=bytes.len() - at).contains(&limit), "{part}, {at}");
                streams.push_read(&[*byte]);
            }
            ends.push(streams.limit(Some(0)));
        }
        assert_eq!(ends, [HEAD, HEAD, HEAD, 0]);
        streams.hold_back(false);
        assert_eq!(streams.limit(Some(0)), usize::MAX);
        streams.push_read(&frame(DATA, END_STREAM, 1, 0));
        assert!(!streams.has_idle_point(), "its client goes on no more");
    }

    #[test]
    fn f80_the_service_is_called_in_the_order_of_the_streams_that_are_left() {
        let mut streams = Streams::new();
        streams.push_read(&[7; PREFACE as usize]);
        for id in [1, 3, 5] {
            streams.push_read(&frame(HEADERS, 4, id, 30));
        }
        assert_eq!(streams.call(), Some(1));
        streams.push_written(&frame(RST_STREAM, 0, 3, 4));
        assert_eq!(streams.call(), Some(5));
        assert_eq!(streams.call(), None);
    }

    #[test]
    fn f80_a_tunnel_whose_reader_has_all_of_it_is_between_messages() {
        let cx = Context::from_waker(futures::task::noop_waker_ref());
        let mut streams = Streams::new();
        streams.push_read(&[7; PREFACE as usize]);
        streams.push_read(&frame(HEADERS, 4, 1, 30));
        assert_eq!(streams.call(), Some(1));
        streams.follow(1, DataOf::Websocket);
        assert!(!streams.is_between(1, &cx), "nobody has looked");
        assert_eq!(streams.end_look().len(), 1, "its reader waits for it");
        assert!(!streams.is_between(1, &cx), "its first message may follow");
        assert!(streams.await_first() && !streams.await_first(), "once");
        streams.end_first();
        assert!(streams.is_between(1, &cx));
        // A message of four bytes, the last of which is missing, and then comes.
        let payload = [0x82, 4, 1, 2, 3];
        for (bytes, is_between) in [(&payload[..], false), (&[4][..], true)] {
            streams.begin_look();
            let mut frame = frame(DATA, 0, 1, bytes.len());
            frame.truncate(HEAD);
            frame.extend(bytes);
            let (last, before) = frame.split_last().unwrap();
            for byte in before {
                streams.push_read(&[*byte]);
                drop(streams.end_look());
                for _ in 0..2 {
                    assert!(!streams.is_between(1, &cx));
                }
                assert_eq!(streams.tasks_mut().readers.len(), 1, "it is one task");
            }
            streams.push_read(&[*last]);
            assert_eq!(streams.is_between(1, &cx), is_between);
        }
        assert!(!streams.has_peer_ended(1));
        streams.push_read(&frame(DATA, END_STREAM, 1, 0));
        assert!(streams.has_peer_ended(1), "it awaits what we send");
        streams.push_read(&frame(RST_STREAM, 0, 1, 4));
        assert!(!streams.has_peer_ended(1), "it awaits nothing");
        assert!(streams.is_between(1, &cx), "its reader is told of the end");
    }
}
