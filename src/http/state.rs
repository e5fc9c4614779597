//! What the wire, the service and the driver of one HTTP connection share.

mod http2;
mod request;
mod upgrades;

use std::any::Any;

use futures_io::IoSlice;

pub(crate) use self::request::InFlight;
use self::upgrades::Upgrades;
use super::framing::{ALL_COMPLETE, Framing, IN_BODY, IN_HEAD, NOTHING_FOLLOWS, PAST_ACCEPTED};
use super::info::Origin;
use super::options::Options;
use super::streams::Streams;
use crate::phase::Phase;
use crate::sync::plain::{AtomicBool, AtomicU8, AtomicU64, Mutex, Ordering, lock};

/// The payload of a panic.
pub(crate) type Panic = Box<dyn Any + Send>;

/// The state of one connection of hyper.
///
/// All orderings are relaxed: the parts run in one task, apart from the bodies
/// and streams of HTTP/2, whose end is followed by a wake of that task.
pub(crate) struct State {
    pub(crate) origin: Origin,
    calls: AtomicU64,
    /// The transport holds a part of what is to come.
    is_mid_record: AtomicBool,
    /// Responses are to announce the close; with HTTP/2, a GOAWAY has.
    announces: AtomicBool,
    /// hyper has asked for input in this look.
    has_asked: AtomicBool,
    /// The response that was given last, or its request, said that the
    /// connection ends with it.
    is_last: AtomicBool,
    /// hyper was told to end the connection.
    is_told: AtomicBool,
    /// hyper is polled by the driver, in the task of the connection.
    is_driven: AtomicBool,
    /// The peer's end of input is not told to hyper yet, which would give up
    /// the request in flight.
    hides_end: AtomicBool,
    /// The response is one that hyper gives the connection away with.
    is_tunnel: AtomicBool,
    /// It is one to a WebSocket, of which nothing has come before.
    is_websocket: AtomicBool,
    /// The system has no room for output, or does not know that it has.
    is_write_blocked: AtomicBool,
    /// A connection of HTTP/1 is used for more than one request.
    keeps_alive: bool,
    /// A client of HTTP/1 that has ended its side is answered.
    half_close: bool,
    /// A connection of HTTP/1 has ended: it takes no more work for after an upgrade.
    has_ended: AtomicBool,
    /// The phase from which on responses announce the close.
    announce_from: Phase,
    /// A stream of HTTP/2 has panicked.
    has_panicked: AtomicBool,
    /// The bits of [`Framing::known`] and of [`Streams::known`]. The driver reads them more
    /// often than bytes come, and without the lock.
    known: AtomicU8,
    exchanges: Exchanges,
}

/// The poll of hyper by the driver, which may end with a panic.
struct Driven<'a>(&'a AtomicBool);

impl Drop for Driven<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// What is under way on the wire, as far as the bytes of both sides tell.
enum Exchanges {
    Http1(Http1),
    /// The streams share it, which end in other tasks.
    Http2(Mutex<Streams>),
}

struct Http1 {
    framing: Mutex<Framing>,
    upgrades: Mutex<Upgrades>,
}

impl State {
    pub(super) fn http1(origin: Origin, options: &Options) -> State {
        let framing = Framing::new();
        let known = framing.known();
        let http1 = Http1 {
            framing: Mutex::new(framing),
            upgrades: Mutex::default(),
        };
        State::new(origin, options, Exchanges::Http1(http1), known)
    }

    pub(super) fn http2(origin: Origin, options: &Options) -> State {
        let streams = Streams::new();
        let known = streams.known();
        let exchanges = Exchanges::Http2(Mutex::new(streams));
        State::new(origin, options, exchanges, known)
    }

    fn new(origin: Origin, options: &Options, exchanges: Exchanges, known: u8) -> State {
        State {
            origin,
            calls: AtomicU64::new(0),
            is_mid_record: AtomicBool::new(false),
            announces: AtomicBool::new(false),
            has_asked: AtomicBool::new(false),
            is_last: AtomicBool::new(false),
            is_told: AtomicBool::new(false),
            is_driven: AtomicBool::new(false),
            hides_end: AtomicBool::new(false),
            is_tunnel: AtomicBool::new(false),
            is_websocket: AtomicBool::new(false),
            is_write_blocked: AtomicBool::new(false),
            keeps_alive: options.keep_alive,
            half_close: options.half_close,
            has_ended: AtomicBool::new(false),
            announce_from: options.announce.phase(),
            has_panicked: AtomicBool::new(false),
            known: AtomicU8::new(known),
            exchanges,
        }
    }

    #[inline]
    fn framing(&self) -> Option<&Mutex<Framing>> {
        match &self.exchanges {
            Exchanges::Http1(http1) => Some(&http1.framing),
            Exchanges::Http2(_) => None,
        }
    }

    fn upgrades(&self) -> Option<&Mutex<Upgrades>> {
        match &self.exchanges {
            Exchanges::Http1(http1) => Some(&http1.upgrades),
            Exchanges::Http2(_) => None,
        }
    }

    /// Returns whether it is known of the bytes that have come.
    #[inline]
    fn knows(&self, bit: u8) -> bool {
        self.known.load(Ordering::Relaxed) & bit != 0
    }

    /// Changes what is known of the bytes of HTTP/1.
    fn change(&self, framing: &Mutex<Framing>, change: impl FnOnce(&mut Framing)) {
        let mut framing = lock(framing);
        change(&mut framing);
        self.known.store(framing.known(), Ordering::Relaxed);
    }

    #[inline]
    fn streams(&self) -> Option<&Mutex<Streams>> {
        match &self.exchanges {
            Exchanges::Http1(_) => None,
            Exchanges::Http2(streams) => Some(streams),
        }
    }

    /// Changes what is known of the streams of HTTP/2.
    #[inline]
    fn change_streams<T>(
        &self,
        streams: &Mutex<Streams>,
        change: impl FnOnce(&mut Streams) -> T,
    ) -> T {
        let mut streams = lock(streams);
        let changed = change(&mut streams);
        self.known.store(streams.known(), Ordering::Relaxed);
        changed
    }

    /// Returns the number of requests whose response has not come to its end.
    #[inline]
    pub(crate) fn in_flight(&self) -> u32 {
        self.origin.facts().requests()
    }

    #[inline]
    pub(crate) fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn is_last(&self) -> bool {
        self.is_last.load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn hides_end(&self) -> bool {
        self.hides_end.load(Ordering::Relaxed)
    }

    /// Returns whether responses are to announce the close.
    #[inline]
    pub(crate) fn announces(&self) -> bool {
        self.announces.load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn set_announces(&self, announces: bool) {
        self.announces.store(announces, Ordering::Relaxed);
        self.has_asked.store(false, Ordering::Relaxed);
    }

    /// Returns whether what hyper writes is the last before it gives the
    /// connection away.
    #[inline]
    pub(crate) fn is_tunnel(&self) -> bool {
        self.is_tunnel.load(Ordering::Relaxed)
    }

    /// Notes that hyper was told to end the connection.
    pub(crate) fn set_told(&self) {
        self.is_told.store(true, Ordering::Relaxed);
    }

    /// Polls hyper in the task of the connection.
    #[inline]
    pub(crate) fn drive<T>(&self, poll: impl FnOnce() -> T) -> T {
        self.is_driven.store(true, Ordering::Relaxed);
        let _driven = Driven(&self.is_driven);
        poll()
    }

    /// Returns whether it is polled there.
    #[inline]
    pub(crate) fn is_driven(&self) -> bool {
        self.is_driven.load(Ordering::Relaxed)
    }

    /// Returns whether all that comes now are the frames of a WebSocket.
    #[inline]
    pub(crate) fn is_websocket(&self) -> bool {
        self.is_websocket.load(Ordering::Relaxed)
    }

    /// Returns whether a request has begun of which the service does not know.
    #[inline]
    pub(crate) fn is_in_head(&self) -> bool {
        self.knows(IN_HEAD) || self.is_mid_record()
    }

    /// Returns whether the transport holds a part of what is to come, such as half
    /// of a record of TLS.
    #[inline]
    fn is_mid_record(&self) -> bool {
        self.is_mid_record.load(Ordering::Relaxed)
    }

    /// Notes whether it does.
    #[inline]
    pub(crate) fn set_mid_record(&self, is_mid_record: bool) {
        if self.is_mid_record() != is_mid_record {
            self.is_mid_record.store(is_mid_record, Ordering::Relaxed);
        }
    }

    /// Returns whether the bytes that have come are whole requests, as far as
    /// this side can tell.
    #[inline]
    pub(crate) fn is_between(&self) -> bool {
        self.framing().is_none() || self.knows(NOTHING_FOLLOWS)
    }

    /// Returns whether a request that the service knows of is still coming, or its
    /// response is still leaving, although the service may be done with both.
    #[inline]
    pub(crate) fn is_exchanging(&self) -> bool {
        self.knows(IN_BODY)
    }

    /// Returns whether a part of the first request has come, and not its whole head.
    #[inline]
    pub(crate) fn awaits_first_head(&self) -> bool {
        self.calls() == 0 && !self.is_between()
    }

    /// Notes bytes that hyper is given.
    #[inline]
    pub(crate) fn note_read(&self, bytes: &[u8]) {
        match &self.exchanges {
            Exchanges::Http1(http1) => {
                self.change(&http1.framing, |framing| framing.push(bytes));
            }
            Exchanges::Http2(streams) => {
                self.change_streams(streams, |streams| streams.push_read(bytes));
            }
        }
    }

    /// Notes the first `n` bytes of what hyper has written: the system has them.
    #[inline]
    pub(crate) fn note_written(&self, buffers: &[IoSlice<'_>], mut n: usize) {
        let Some(streams) = self.streams() else {
            return;
        };
        self.change_streams(streams, |streams| {
            for buffer in buffers {
                let written = &buffer[..n.min(buffer.len())];
                streams.push_written(written);
                n -= written.len();
            }
        });
    }

    /// Returns whether a response is awaited, or on its way to the system.
    #[inline]
    pub(crate) fn is_answering(&self) -> bool {
        self.in_flight() > 0 || self.is_write_blocked.load(Ordering::Relaxed)
    }

    /// Notes whether the system has room for output.
    #[inline]
    pub(crate) fn set_write_blocked(&self, is_blocked: bool) {
        if self.is_write_blocked.load(Ordering::Relaxed) != is_blocked {
            self.is_write_blocked.store(is_blocked, Ordering::Relaxed);
        }
    }

    /// Returns whether the stop came since the driver has looked at it: then a
    /// response has to wait for the next look, which also shows whether more
    /// requests had arrived.
    #[inline]
    pub(crate) fn is_look_stale(&self) -> bool {
        self.framing().is_some()
            && !self.announces()
            && self.origin.shutdown().phase() >= self.announce_from
    }

    /// Returns whether a response has to wait for a look that finds no more input: it
    /// would announce the close, and what hyper was given is all that is known. hyper
    /// does not read on in every state: it has had so many looks for it.
    #[inline]
    pub(crate) fn awaits_look(&self, looks: u8) -> bool {
        let may_ask = match looks {
            0 => true,
            // What it asks for may have to wait, as for the turn of others.
            1..MOST_LOOKS => self.has_asked.load(Ordering::Relaxed),
            _ => false,
        };
        may_ask
            && self.keeps_alive
            && self.seems_last()
            && !self.is_past_accepted()
            && !self.origin.facts().found_nothing()
    }

    /// Notes that hyper asks for input.
    #[inline]
    pub(crate) fn note_asked(&self) {
        self.has_asked.store(true, Ordering::Relaxed);
    }

    /// Returns whether the next response of HTTP/1 is to announce the close, as far as
    /// what hyper was given tells: it does not read on in every state.
    #[inline]
    fn seems_last(&self) -> bool {
        self.announces()
            && !self.is_mid_record()
            && self.framing().is_some()
            && self.knows(NOTHING_FOLLOWS)
    }

    /// Returns how many bytes hyper may be given, where the peer was told of the end.
    /// `accepted`: so many, and no more, are accepted behind those that it was given.
    #[cold]
    pub(crate) fn limit(&self, accepted: Option<u64>) -> usize {
        match &self.exchanges {
            Exchanges::Http1(http1) => {
                if let Some(bytes) = accepted {
                    self.change(&http1.framing, |framing| framing.accept(bytes));
                }
                usize::MAX
            }
            Exchanges::Http2(streams) => lock(streams).limit(accepted),
        }
    }

    /// Returns whether the next response of HTTP/1 is to announce the close, whatever
    /// follows: all that is accepted was read ([F97](crate::docs::faults#f97)).
    #[inline]
    fn is_past_accepted(&self) -> bool {
        self.announces() && self.framing().is_some() && self.knows(PAST_ACCEPTED)
    }

    /// Returns whether the peer's end of input can wait: a request is being
    /// answered, all of which has come. hyper would give up its response.
    pub(crate) fn hide_end(&self) -> bool {
        let is_complete = self.framing().is_some() && self.knows(ALL_COMPLETE);
        let hides = self.half_close && self.is_answering() && is_complete;
        self.hides_end.store(hides, Ordering::Relaxed);
        hides
    }
}

/// How many looks a response waits for at the most, to know whether it is the last one.
const MOST_LOOKS: u8 = 64;

// A handle on a gate of loom is larger.
#[cfg(all(test, not(feature = "loom")))]
mod tests {
    use super::*;

    /// glibc's malloc has pieces of 16 B, less 8 B that are its own.
    #[test]
    fn a_state_takes_little_room() {
        let counts = 2 * size_of::<usize>();
        assert!(counts + size_of::<State>() <= 184);
    }
}
