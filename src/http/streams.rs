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
mod tests;
