//! The simulated machine: a clock, a network, and what is to happen.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::Waker;
use std::time::{Duration, Instant};

use super::choices::Choices;
use super::pipe::{Pipe, wake};
use super::rule::{Event, Rule, Verdict};
use super::trace::{Entry, Side, Trace};
use crate::rt::CloseGuarantee;
use crate::signal::Signal;

pub(crate) type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What is to happen at a time.
#[derive(Debug)]
enum Happening {
    Timer(u64),
    Wake(usize),
    Signal(Signal),
    Syn(usize),
    SynAck(usize),
    Ack(usize),
    Refusal(usize),
    Bytes(usize, Side, usize),
    End(usize, Side),
    Reset(usize, Side),
}

#[derive(Debug)]
struct Timer {
    key: (Duration, u64),
    waker: Waker,
}

#[derive(Debug)]
pub(crate) struct ListenerState {
    pub(crate) local: SocketAddr,
    backlog: usize,
    queue: VecDeque<usize>,
    shaking_hands: usize,
    filtered: bool,
    open: bool,
    waker: Option<Waker>,
}

#[derive(Debug)]
pub(crate) struct SignalQueue {
    caught: Vec<Signal>,
    pending: VecDeque<Signal>,
    waker: Option<Waker>,
}

/// A request that a client sent, and where its answer ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Exchange {
    pub(crate) request_end: u64,
    pub(crate) response_end: u64,
}

#[derive(Debug)]
pub(crate) struct Conn {
    pub(crate) peer: SocketAddr,
    listener: usize,
    /// From the client.
    pub(crate) up: Pipe,
    /// From the server.
    pub(crate) down: Pipe,
    /// Whoever waits for the handshake.
    connecting: Option<Waker>,
    pub(crate) refused: bool,
    pub(crate) established: Option<Duration>,
    pub(crate) queued: Option<Duration>,
    pub(crate) accepted: Option<Duration>,
    /// Of the bytes from the client, what had arrived when the stop came.
    pub(crate) arrived_before_stop: u64,
    pub(crate) exchanges: Vec<Exchange>,
    /// Which answer was not the one that was expected, and from which byte on.
    pub(crate) garbled: Option<u64>,
    client_closed: bool,
    server_closed: bool,
    /// The client went, or stopped reading, before the server's end came.
    pub(crate) left: bool,
}

impl Conn {
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
}

/// The settings of a simulation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// The longest way of a segment.
    pub(crate) latency: Duration,
    /// What it costs to poll a task.
    pub(crate) poll_cost: Duration,
    /// Of each buffer.
    pub(crate) capacity: usize,
    pub(crate) guarantee: CloseGuarantee,
    pub(crate) sees_handshakes: bool,
}

pub(crate) struct World {
    pub(crate) epoch: Instant,
    pub(crate) now: Duration,
    pub(crate) choices: Choices,
    pub(crate) settings: Settings,
    pub(crate) rules: Vec<Rule>,
    pub(crate) trace: Trace,
    pub(crate) spawned: Vec<Task>,
    pub(crate) conns: Vec<Conn>,
    pub(crate) listeners: Vec<ListenerState>,
    pub(crate) signals: Vec<SignalQueue>,
    pub(crate) stopped_at: Option<Duration>,
    happenings: BTreeMap<(Duration, u64), Happening>,
    timers: BTreeMap<u64, Timer>,
    /// Tasks whose wake-up is over its delay.
    pub(crate) woken: Vec<usize>,
    next: u64,
}

/// What comes behind a segment that is delayed.
const BEHIND: Duration = Duration::from_nanos(1);

/// How long a client waits before it tries to connect again.
const RETRY: Duration = Duration::from_secs(1);

impl World {
    pub(crate) fn new(choices: Choices) -> World {
        World {
            epoch: Instant::now(),
            now: Duration::ZERO,
            choices,
            settings: Settings {
                latency: Duration::from_micros(100),
                poll_cost: Duration::from_micros(1),
                capacity: 64 * 1024,
                guarantee: CloseGuarantee::Swept,
                sees_handshakes: true,
            },
            rules: Vec::new(),
            trace: Trace::default(),
            spawned: Vec::new(),
            conns: Vec::new(),
            listeners: Vec::new(),
            signals: Vec::new(),
            stopped_at: None,
            happenings: BTreeMap::new(),
            timers: BTreeMap::new(),
            woken: Vec::new(),
            next: 0,
        }
    }

    pub(crate) fn tell(&mut self, entry: Entry) {
        self.trace.push(self.now, entry);
    }

    /// Asks the rules.
    pub(crate) fn ask_rules(&mut self, event: Event) -> Verdict {
        let choices = &mut self.choices;
        let mut below = |bound| choices.choose(bound);
        for rule in &mut self.rules {
            let verdict = rule(&event, &mut below);
            if verdict != Verdict::Pass {
                self.trace.push(self.now, Entry::Fault(event, verdict));
                return verdict;
            }
        }
        Verdict::Pass
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn schedule(&mut self, at: Duration, happening: Happening) -> (Duration, u64) {
        let key = (at, self.number());
        self.happenings.insert(key, happening);
        key
    }

    /// The way of one segment takes some of the latency.
    fn way(&mut self) -> Duration {
        let longest = u32::try_from(self.settings.latency.as_micros()).unwrap_or(u32::MAX);
        Duration::from_micros(1 + u64::from(self.choices.choose(longest.max(1))))
    }

    pub(crate) fn next_at(&self) -> Option<Duration> {
        self.happenings.keys().next().map(|(at, _)| *at)
    }

    /// Lets the next thing happen, and the clock go there.
    pub(crate) fn happen(&mut self) -> bool {
        let Some(((at, _), happening)) = self.happenings.pop_first() else {
            return false;
        };
        self.now = self.now.max(at);
        match happening {
            Happening::Timer(id) => self.fire(id),
            Happening::Wake(task) => self.woken.push(task),
            Happening::Signal(signal) => self.signal_arrives(signal),
            Happening::Syn(id) => self.syn(id),
            Happening::SynAck(id) => self.syn_ack(id),
            Happening::Ack(id) => self.ack(id),
            Happening::Refusal(id) => self.refusal(id),
            Happening::Bytes(id, from, n) => self.bytes(id, from, n),
            Happening::End(id, from) => {
                let pipe = self.conns[id].pipe(from);
                if !pipe.is_cut && !pipe.is_stalled {
                    pipe.end_arrives();
                    self.tell(Entry::EndArrives(id, from));
                }
            }
            Happening::Reset(id, from) => {
                self.tell(Entry::ResetArrives(id, from));
                let conn = &mut self.conns[id];
                conn.pipe(from).reset();
                conn.pipe(from.other()).cut();
            }
        }
        true
    }

    pub(crate) fn wake_later(&mut self, task: usize, by: Duration) {
        self.schedule(self.now + by, Happening::Wake(task));
    }

    // Timers

    pub(crate) fn set_timer(&mut self, at: Duration, waker: &Waker) -> u64 {
        let id = self.number();
        let key = self.schedule(at.max(self.now), Happening::Timer(id));
        let waker = waker.clone();
        self.timers.insert(id, Timer { key, waker });
        id
    }

    /// Whether the timer has fired; if not, who is to be woken.
    pub(crate) fn poll_timer(&mut self, id: u64, waker: &Waker) -> bool {
        match self.timers.get_mut(&id) {
            None => true,
            Some(timer) => {
                timer.waker.clone_from(waker);
                false
            }
        }
    }

    pub(crate) fn cancel_timer(&mut self, id: u64) {
        if let Some(timer) = self.timers.remove(&id) {
            self.happenings.remove(&timer.key);
        }
    }

    fn fire(&mut self, id: u64) {
        match self.ask_rules(Event::Timer) {
            Verdict::Delay(by) => {
                let key = self.schedule(self.now + by, Happening::Timer(id));
                if let Some(timer) = self.timers.get_mut(&id) {
                    timer.key = key;
                }
            }
            Verdict::Drop => {}
            _ => {
                if let Some(timer) = self.timers.remove(&id) {
                    timer.waker.wake();
                }
            }
        }
    }

    // Signals

    pub(crate) fn signal(&mut self, signal: Signal) {
        match self.ask_rules(Event::Signal(signal)) {
            Verdict::Drop => return,
            Verdict::Delay(by) => {
                self.schedule(self.now + by, Happening::Signal(signal));
                return;
            }
            Verdict::Twice => self.signal_arrives(signal),
            _ => {}
        }
        self.signal_arrives(signal);
    }

    fn signal_arrives(&mut self, signal: Signal) {
        self.tell(Entry::Signal(signal));
        self.note_stop();
        for queue in &mut self.signals {
            if queue.caught.contains(&signal) {
                queue.pending.push_back(signal);
                wake(&mut queue.waker);
            }
        }
    }

    /// From now on what arrives comes after the stop.
    pub(crate) fn note_stop(&mut self) {
        if self.stopped_at.is_none() {
            self.stopped_at = Some(self.now);
            for conn in &mut self.conns {
                conn.arrived_before_stop = conn.up.arrived;
            }
        }
    }

    pub(crate) fn catch(&mut self, caught: Vec<Signal>) -> usize {
        self.signals.push(SignalQueue {
            caught,
            pending: VecDeque::new(),
            waker: None,
        });
        self.signals.len() - 1
    }

    pub(crate) fn poll_signal(&mut self, queue: usize, waker: &Waker) -> Option<Signal> {
        let queue = &mut self.signals[queue];
        let signal = queue.pending.pop_front();
        if signal.is_none() {
            queue.waker = Some(waker.clone());
        }
        signal
    }

    // Listeners

    pub(crate) fn listen(&mut self, mut local: SocketAddr, backlog: i32) -> io::Result<usize> {
        if local.port() == 0 {
            local.set_port(1024 + self.listeners.len() as u16);
        }
        let taken = |other: &ListenerState| other.open && other.local == local;
        if self.listeners.iter().any(taken) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        self.listeners.push(ListenerState {
            local,
            backlog: usize::try_from(backlog).unwrap_or(0).max(1),
            queue: VecDeque::new(),
            shaking_hands: 0,
            filtered: false,
            open: true,
            waker: None,
        });
        let id = self.listeners.len() - 1;
        self.tell(Entry::Listens(id));
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
        if let Verdict::Fail(errno) = self.ask_rules(Event::Accept) {
            return Some(Err(io::Error::from_raw_os_error(errno)));
        }
        let id = self.listeners[listener].queue.pop_front()?;
        self.conns[id].accepted = Some(self.now);
        self.tell(Entry::Accepted(id));
        Some(Ok(id))
    }

    pub(crate) fn stop_accepting(&mut self, listener: usize) -> CloseGuarantee {
        self.tell(Entry::Quiesces(listener));
        self.listeners[listener].filtered =
            self.settings.guarantee == CloseGuarantee::SynFiltered;
        self.settings.guarantee
    }

    pub(crate) fn handshakes(&self, listener: usize) -> usize {
        self.listeners[listener].shaking_hands
    }

    /// Who waits in its queue is reset, as by the kernel (F1).
    pub(crate) fn stop_listening(&mut self, listener: usize) {
        if std::mem::replace(&mut self.listeners[listener].open, false) {
            self.tell(Entry::StopsListening(listener));
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
        self.conns.push(Conn {
            peer: SocketAddr::new([10, 0, (id >> 14) as u8, 2].into(), port),
            listener: listener.unwrap_or(usize::MAX),
            up: Pipe::new(self.settings.capacity),
            down: Pipe::new(self.settings.capacity),
            connecting: None,
            refused: false,
            established: None,
            queued: None,
            accepted: None,
            arrived_before_stop: 0,
            exchanges: Vec::new(),
            garbled: None,
            client_closed: false,
            server_closed: false,
            left: false,
        });
        self.tell(Entry::Connects(id));
        let way = self.way();
        self.schedule(self.now + way, Happening::Syn(id));
        id
    }

    /// Whether the handshake has come to its end for the client.
    pub(crate) fn poll_connect(&mut self, id: usize, waker: &Waker) -> Option<io::Result<()>> {
        let conn = &mut self.conns[id];
        if conn.refused {
            return Some(Err(io::ErrorKind::ConnectionRefused.into()));
        }
        if conn.established.is_some() {
            return Some(Ok(()));
        }
        conn.connecting = Some(waker.clone());
        None
    }

    fn syn(&mut self, id: usize) {
        let way = self.way();
        let listener = self.conns[id].listener;
        match self.listeners.get_mut(listener) {
            Some(listener) if listener.open => {
                let full = listener.queue.len() + listener.shaking_hands >= listener.backlog;
                if listener.filtered || full {
                    self.schedule(self.now + RETRY, Happening::Syn(id));
                    return;
                }
                listener.shaking_hands += 1;
                self.schedule(self.now + way, Happening::SynAck(id));
            }
            _ => {
                self.schedule(self.now + way, Happening::Refusal(id));
            }
        }
    }

    fn refusal(&mut self, id: usize) {
        self.tell(Entry::GuardError(id));
        self.conns[id].refused = true;
        wake(&mut self.conns[id].connecting);
    }

    fn syn_ack(&mut self, id: usize) {
        self.tell(Entry::Established(id));
        let way = self.way();
        let conn = &mut self.conns[id];
        conn.established = Some(self.now);
        wake(&mut conn.connecting);
        // What the client sends comes after its acknowledgement.
        conn.up.last_at = self.now + way;
        self.schedule(self.now + way, Happening::Ack(id));
    }

    fn ack(&mut self, id: usize) {
        let Some(listener) = self.listeners.get_mut(self.conns[id].listener) else {
            return;
        };
        listener.shaking_hands -= 1;
        if !listener.open {
            self.reset(id, Side::Server);
            return;
        }
        listener.queue.push_back(id);
        wake(&mut listener.waker);
        self.conns[id].queued = Some(self.now);
        self.tell(Entry::Queued(id));
    }

    // Connections

    fn in_order(&mut self, id: usize, from: Side) -> Duration {
        let at = self.now + self.way();
        let pipe = self.conns[id].pipe(from);
        pipe.last_at = pipe.last_at.max(at);
        pipe.last_at
    }

    pub(crate) fn send(&mut self, id: usize, from: Side, bytes: &[u8]) -> usize {
        let n = self.conns[id].pipe(from).send(bytes);
        if n > 0 {
            self.tell(Entry::Sends(id, from, n));
            let at = self.in_order(id, from);
            self.schedule(at, Happening::Bytes(id, from, n));
        }
        n
    }

    fn bytes(&mut self, id: usize, from: Side, n: usize) {
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
                let pipe = self.conns[id].pipe(from);
                pipe.last_at = pipe.last_at.max(at + BEHIND);
                self.delay_others(id, from, at);
                self.schedule(at, Happening::Bytes(id, from, n));
                return;
            }
            _ => {}
        }
        self.tell(Entry::Arrives(id, from, n));
        let conn = &mut self.conns[id];
        if *conn.closed(from.other()) && !conn.pipe(from).is_cut {
            // Nobody is there to read it: a reset, which destroys what the
            // closed side still has under way (RFC 1122 4.2.2.13).
            self.reset(id, from.other());
            return;
        }
        conn.pipe(from).arrive(n);
    }

    /// What follows on the same way cannot overtake.
    fn delay_others(&mut self, id: usize, from: Side, until: Duration) {
        let is_behind = |happening: &Happening| match happening {
            Happening::Bytes(other, side, _) | Happening::End(other, side) => {
                (*other, *side) == (id, from)
            }
            _ => false,
        };
        let early = self.happenings.range(..(until, 0));
        let keys: Vec<_> = early
            .filter(|(_, h)| is_behind(h))
            .map(|(key, _)| *key)
            .collect();
        let number = self.number();
        self.next += keys.len() as u64;
        for (n, key) in keys.into_iter().enumerate() {
            if let Some(happening) = self.happenings.remove(&key) {
                // Behind the one that is delayed, which gets a lower number.
                let at = until + BEHIND;
                self.happenings.insert((at, number + n as u64), happening);
            }
        }
    }

    /// The half-close.
    pub(crate) fn end(&mut self, id: usize, from: Side) {
        if !std::mem::replace(&mut self.conns[id].pipe(from).ended, true) {
            self.tell(Entry::Ends(id, from));
            let at = self.in_order(id, from);
            self.schedule(at, Happening::End(id, from));
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
        let (unread, reset) = (input.has_unread(), input.is_reset);
        self.tell(Entry::Closes(id, side));
        match (reset, unread) {
            (true, _) => {}
            (false, true) => self.reset(id, side),
            (false, false) => self.end(id, side),
        }
    }

    /// A reset destroys what this side has under way, and is told to the other.
    pub(crate) fn reset(&mut self, id: usize, side: Side) {
        if self.conns[id].pipe(side).is_cut {
            return;
        }
        self.tell(Entry::Resets(id, side));
        self.conns[id].pipe(side).cut();
        let at = self.now + self.way();
        self.schedule(at, Happening::Reset(id, side));
    }
}
