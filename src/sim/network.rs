//! The simulated network: listeners, handshakes, connections.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::task::Waker;
use std::time::Duration;

use super::pipe::{Pipe, wake};
use super::rule::{Event, Verdict};
use super::trace::{Entry, Side};
use super::world::{Scheduled, World};
use crate::rt::CloseGuarantee;

#[derive(Debug)]
pub(crate) struct ListenerState {
    pub(crate) local: SocketAddr,
    backlog: usize,
    queue: VecDeque<usize>,
    handshakes: usize,
    is_filtered: bool,
    is_open: bool,
    waker: Option<Waker>,
}

/// A request that a client sent, by the places of its bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request {
    pub(super) begin: u64,
    pub(super) end: u64,
    /// Whether each byte is a request of its own.
    pub(super) is_per_byte: bool,
}

impl Request {
    /// Returns the number of answers that are owed when so many bytes have
    /// arrived.
    fn owed(&self, arrived: u64) -> u64 {
        if self.is_per_byte {
            arrived.clamp(self.begin, self.end) - self.begin
        } else {
            u64::from(self.begin < arrived || self.end <= arrived)
        }
    }
}

#[derive(Debug)]
pub(crate) struct Conn {
    pub(crate) peer: SocketAddr,
    listener: usize,
    /// What the client sends.
    pub(crate) up: Pipe,
    /// What the server sends.
    pub(crate) down: Pipe,
    /// The client's task, while it waits for the handshake.
    connecting: Option<Waker>,
    is_refused: bool,
    pub(super) established: Option<Duration>,
    pub(super) queued: Option<Duration>,
    pub(super) accepted: Option<Duration>,
    /// The number of bytes from the client that had arrived at the stop.
    pub(super) arrived_before_stop: u64,
    pub(super) requests: Vec<Request>,
    /// The number of requests that were answered.
    pub(super) answered: u64,
    /// The place of the first byte that the client did not expect.
    pub(super) wrong_answer_at: Option<u64>,
    client_closed: bool,
    server_closed: bool,
    /// Whether the client went, or stopped reading, before the server's end.
    pub(super) left: bool,
}

impl Conn {
    fn new(peer: SocketAddr, listener: usize, capacity: usize) -> Conn {
        Conn {
            peer,
            listener,
            up: Pipe::new(capacity),
            down: Pipe::new(capacity),
            connecting: None,
            is_refused: false,
            established: None,
            queued: None,
            accepted: None,
            arrived_before_stop: 0,
            requests: Vec::new(),
            answered: 0,
            wrong_answer_at: None,
            client_closed: false,
            server_closed: false,
            left: false,
        }
    }

    pub(crate) fn pipe(&mut self, from: Side) -> &mut Pipe {
        match from {
            Side::Client => &mut self.up,
            Side::Server => &mut self.down,
        }
    }

    fn closed(&mut self, side: Side) -> &mut bool {
        match side {
            Side::Client => &mut self.client_closed,
            Side::Server => &mut self.server_closed,
        }
    }

    /// Returns the number of answers that the server owed at the stop.
    pub(super) fn owed(&self) -> u64 {
        let requests = self.requests.iter();
        requests.map(|r| r.owed(self.arrived_before_stop)).sum()
    }

    fn is_open_at_server(&self) -> bool {
        self.accepted.is_some() && !self.server_closed
    }
}

/// The time between a segment that is delayed and those behind it.
const BEHIND: Duration = Duration::from_nanos(1);

/// The time after which a client tries to connect again.
const RETRY: Duration = Duration::from_secs(1);

/// The error of an accept when the process has no descriptors left.
const EMFILE: i32 = 24;

/// How many times the latency the rest of a cut send takes more, at most.
const GAPS: [u32; 3] = [1, 4, 16];

/// How many times the latency a segment takes at most.
pub(super) const LONGEST_TRANSIT: u32 = 1 + GAPS[2];

/// One send in so many is cut into two segments.
const CUT_ONE_IN: u32 = 3;

impl World {
    // Listeners

    pub(crate) fn listen(&mut self, mut local: SocketAddr, backlog: i32) -> io::Result<usize> {
        if local.port() == 0 {
            local.set_port(1024 + self.listeners.len() as u16);
        }
        let is_taken = |other: &ListenerState| other.is_open && other.local == local;
        if self.listeners.iter().any(is_taken) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        self.listeners.push(ListenerState {
            local,
            backlog: usize::try_from(backlog).unwrap_or(0).max(1),
            queue: VecDeque::new(),
            handshakes: 0,
            is_filtered: false,
            is_open: true,
            waker: None,
        });
        let id = self.listeners.len() - 1;
        self.log(Entry::Listens(id));
        Ok(id)
    }

    pub(crate) fn accept(
        &mut self,
        listener: usize,
        waker: &Waker,
    ) -> Option<io::Result<usize>> {
        if self.listeners[listener].queue.is_empty() {
            self.listeners[listener].waker = Some(waker.clone());
            return None;
        }
        let open = self.conns.iter().filter(|conn| conn.is_open_at_server());
        let limit = self.settings.descriptors;
        if limit < usize::MAX && open.count() >= limit {
            return Some(Err(io::Error::from_raw_os_error(EMFILE)));
        }
        if let Verdict::Fail(errno) = self.ask_rules(Event::Accept) {
            return Some(Err(io::Error::from_raw_os_error(errno)));
        }
        let id = self.listeners[listener].queue.pop_front()?;
        self.conns[id].accepted = Some(self.now);
        self.log(Entry::Accepted(id));
        Some(Ok(id))
    }

    pub(crate) fn stop_accepting(&mut self, listener: usize) -> CloseGuarantee {
        self.log(Entry::StopsAccepting(listener));
        let guarantee = self.settings.guarantee;
        self.listeners[listener].is_filtered = guarantee == CloseGuarantee::SynFiltered;
        guarantee
    }

    pub(crate) fn handshakes(&self, listener: usize) -> usize {
        self.listeners[listener].handshakes
    }

    /// Closes a listener. The connections in its queue are reset, as by the
    /// kernel (F1).
    pub(crate) fn stop_listening(&mut self, listener: usize) {
        if std::mem::replace(&mut self.listeners[listener].is_open, false) {
            self.log(Entry::StopsListening(listener));
            for id in std::mem::take(&mut self.listeners[listener].queue) {
                self.reset(id, Side::Server);
            }
        }
    }

    // Handshakes

    pub(crate) fn connect(&mut self, address: SocketAddr) -> usize {
        let id = self.conns.len();
        let listens = |listener: &ListenerState| listener.local == address;
        let listener = self.listeners.iter().rposition(listens);
        let port = 49_152 + id as u16 % 16_384;
        let peer = SocketAddr::new([10, 0, (id >> 14) as u8, 2].into(), port);
        let (listener, capacity) = (listener.unwrap_or(usize::MAX), self.settings.capacity);
        self.conns.push(Conn::new(peer, listener, capacity));
        self.log(Entry::Connects(id));
        let transit = self.transit_time();
        self.schedule(self.now + transit, Scheduled::Syn(id));
        id
    }

    /// Returns the end of the handshake, as the client sees it.
    pub(crate) fn poll_connect(&mut self, id: usize, waker: &Waker) -> Option<io::Result<()>> {
        let conn = &mut self.conns[id];
        if conn.is_refused {
            return Some(Err(io::ErrorKind::ConnectionRefused.into()));
        }
        if conn.established.is_some() {
            return Some(Ok(()));
        }
        conn.connecting = Some(waker.clone());
        None
    }

    pub(super) fn syn(&mut self, id: usize) {
        let transit = self.transit_time();
        let listener = self.conns[id].listener;
        match self.listeners.get_mut(listener) {
            Some(listener) if listener.is_open => {
                let full = listener.queue.len() + listener.handshakes >= listener.backlog;
                if listener.is_filtered || full {
                    self.schedule(self.now + RETRY, Scheduled::Syn(id));
                    return;
                }
                listener.handshakes += 1;
                self.schedule(self.now + transit, Scheduled::SynAck(id));
            }
            _ => {
                self.schedule(self.now + transit, Scheduled::Refusal(id));
            }
        }
    }

    pub(super) fn refusal(&mut self, id: usize) {
        self.log(Entry::Refused(id));
        self.conns[id].is_refused = true;
        wake(&mut self.conns[id].connecting);
    }

    pub(super) fn syn_ack(&mut self, id: usize) {
        self.log(Entry::Established(id));
        let transit = self.transit_time();
        let conn = &mut self.conns[id];
        conn.established = Some(self.now);
        wake(&mut conn.connecting);
        // What the client sends comes after its acknowledgement.
        conn.up.last_at = self.now + transit;
        self.schedule(self.now + transit, Scheduled::Ack(id));
    }

    pub(super) fn ack(&mut self, id: usize) {
        if let Verdict::Delay(by) = self.ask_rules(Event::Handshake(id)) {
            let at = self.now + by;
            self.schedule(at, Scheduled::Ack(id));
            // What the client sends comes after its acknowledgement.
            self.delay_others(id, Side::Client, at);
            return;
        }
        let Some(listener) = self.listeners.get_mut(self.conns[id].listener) else {
            return;
        };
        listener.handshakes -= 1;
        if !listener.is_open {
            self.reset(id, Side::Server);
            return;
        }
        listener.queue.push_back(id);
        wake(&mut listener.waker);
        self.conns[id].queued = Some(self.now);
        self.log(Entry::Queued(id));
    }

    // Connections

    fn in_order(&mut self, id: usize, from: Side) -> Duration {
        let at = self.now + self.transit_time();
        let pipe = self.conns[id].pipe(from);
        pipe.last_at = pipe.last_at.max(at);
        pipe.last_at
    }

    /// Sends the bytes that there is room for, and returns their number.
    pub(crate) fn send(&mut self, id: usize, from: Side, bytes: &[u8]) -> usize {
        let n = self.conns[id].pipe(from).send(bytes);
        if n > 0 {
            self.log(Entry::Sends(id, from, n));
            let cut = self.cut(from, n);
            if cut > 0 {
                let at = self.in_order(id, from);
                self.schedule(at, Scheduled::Bytes(id, from, cut));
                // The rest is under way for longer, sometimes much longer.
                let gap = self.transit_time() * GAPS[self.choices.choose(3) as usize];
                self.conns[id].pipe(from).last_at += gap;
            }
            let at = self.in_order(id, from);
            self.schedule(at, Scheduled::Bytes(id, from, n - cut));
        }
        n
    }

    /// Chooses the place where a send is cut into two segments: a server must
    /// not take half a message for no message.
    fn cut(&mut self, from: Side, n: usize) -> usize {
        if from == Side::Client && n > 1 && self.choices.choose(CUT_ONE_IN) == CUT_ONE_IN - 1 {
            1 + self.choices.choose(n as u32 - 1) as usize
        } else {
            0
        }
    }

    pub(super) fn bytes(&mut self, id: usize, from: Side, n: usize) {
        let event = match from {
            Side::Client => Event::ToServer(id),
            Side::Server => Event::ToClient(id),
        };
        if self.conns[id].pipe(from).is_stalled {
            return;
        }
        match self.ask_rules(event) {
            Verdict::Drop => {
                self.conns[id].pipe(from).is_stalled = true;
                return;
            }
            Verdict::Delay(by) => {
                let at = self.now + by;
                self.schedule(at, Scheduled::Bytes(id, from, n));
                self.delay_others(id, from, at);
                return;
            }
            _ => {}
        }
        self.log(Entry::Arrives(id, from, n));
        let conn = &mut self.conns[id];
        if *conn.closed(from.other()) && !conn.pipe(from).is_cut {
            // Nobody is there to read it: a reset, which destroys what the
            // closed side still has under way (RFC 1122 4.2.2.13).
            self.reset(id, from.other());
            return;
        }
        conn.pipe(from).arrive(n);
    }

    /// Puts off what follows in the same direction: it cannot overtake.
    fn delay_others(&mut self, id: usize, from: Side, until: Duration) {
        let at = until + BEHIND;
        let pipe = self.conns[id].pipe(from);
        pipe.last_at = pipe.last_at.max(at);
        self.put_off(until, at, |scheduled| match scheduled {
            Scheduled::Bytes(other, side, _) | Scheduled::End(other, side) => {
                (*other, *side) == (id, from)
            }
            _ => false,
        });
    }

    pub(super) fn end_arrives(&mut self, id: usize, from: Side) {
        let pipe = self.conns[id].pipe(from);
        if !pipe.is_cut && !pipe.is_stalled {
            pipe.end_arrives();
            self.log(Entry::EndArrives(id, from));
        }
    }

    pub(super) fn reset_arrives(&mut self, id: usize, from: Side) {
        self.log(Entry::ResetArrives(id, from));
        let conn = &mut self.conns[id];
        conn.pipe(from).reset();
        conn.pipe(from.other()).cut();
    }

    /// The half-close.
    pub(crate) fn end(&mut self, id: usize, from: Side) {
        if !std::mem::replace(&mut self.conns[id].pipe(from).ended, true) {
            self.log(Entry::Ends(id, from));
            let at = self.in_order(id, from);
            self.schedule(at, Scheduled::End(id, from));
        }
    }

    /// `close(2)`: an end, or a reset when there is unread input (RFC 2525
    /// 2.17).
    pub(crate) fn close(&mut self, id: usize, side: Side) {
        let conn = &mut self.conns[id];
        if std::mem::replace(conn.closed(side), true) {
            return;
        }
        if side == Side::Client && !conn.down.is_at_end() && !conn.down.is_reset {
            conn.left = true;
        }
        let input = conn.pipe(side.other());
        let (unread, is_reset) = (input.has_unread(), input.is_reset);
        self.log(Entry::Closes(id, side));
        if unread && !is_reset {
            self.reset(id, side);
        } else if !is_reset {
            self.end(id, side);
        }
    }

    /// A reset destroys what this side has under way, and is told to the other.
    pub(crate) fn reset(&mut self, id: usize, side: Side) {
        if self.conns[id].pipe(side).is_cut {
            return;
        }
        self.log(Entry::Resets(id, side));
        self.conns[id].pipe(side).cut();
        let at = self.now + self.transit_time();
        self.schedule(at, Scheduled::Reset(id, side));
    }
}
