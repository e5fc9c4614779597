//! The simulated machine: a clock, and what is scheduled on it.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::task::Waker;
use std::time::{Duration, Instant};

use super::choices::Choices;
use super::executor::{Driver, Ready};
use super::network::{Conn, ListenerState};
use super::pipe::wake;
use super::rule::{Event, Rule, Verdict};
use super::trace::{Entry, Side, Trace};
use crate::rt::CloseGuarantee;
use crate::signal::Signal;
use crate::sync::plain::{Arc, Mutex, lock};

pub(crate) type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Something that happens at a time.
#[derive(Debug)]
pub(super) enum Scheduled {
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
pub(crate) struct SignalQueue {
    caught: Vec<Signal>,
    pending: VecDeque<Signal>,
    waker: Option<Waker>,
}

/// The settings of a simulation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// The longest time that a segment takes.
    pub(crate) latency: Duration,
    /// The time that it takes to poll a task.
    pub(crate) poll_cost: Duration,
    /// The size of each buffer.
    pub(crate) capacity: usize,
    pub(crate) guarantee: CloseGuarantee,
    pub(crate) sees_handshakes: bool,
    /// The most connections that the server can have open.
    pub(crate) descriptors: usize,
    /// Whether a task can be interrupted in the middle of a poll.
    pub(crate) interruptions: bool,
    /// Whether a read or a write can be told to come back later.
    pub(crate) forced_yields: bool,
}

pub(crate) struct World {
    pub(crate) epoch: Instant,
    pub(crate) now: Duration,
    pub(crate) choices: Choices,
    pub(crate) settings: Settings,
    pub(crate) rules: Vec<Rule>,
    pub(crate) trace: Trace,
    pub(crate) spawned: Vec<Task>,
    /// The tasks that were woken.
    pub(super) ready: Arc<Mutex<Ready>>,
    /// The drivers of servers, which can run in the middle of another poll.
    pub(super) drivers: Vec<Driver>,
    /// A signal for the middle of the next poll.
    pub(super) signal_in_poll: Option<Signal>,
    pub(crate) conns: Vec<Conn>,
    pub(crate) listeners: Vec<ListenerState>,
    pub(crate) signals: Vec<SignalQueue>,
    pub(crate) stopped_at: Option<Duration>,
    /// The time for which the server was frozen since the stop.
    pub(crate) frozen: Duration,
    scheduled: BTreeMap<(Duration, u64), Scheduled>,
    timers: BTreeMap<u64, Timer>,
    /// The tasks that a rule woke later.
    pub(crate) woken: Vec<usize>,
    next: u64,
}

impl World {
    pub(super) fn new(choices: Choices, ready: Arc<Mutex<Ready>>) -> World {
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
                descriptors: usize::MAX,
                interruptions: true,
                forced_yields: false,
            },
            rules: Vec::new(),
            trace: Trace::default(),
            spawned: Vec::new(),
            ready,
            drivers: Vec::new(),
            signal_in_poll: None,
            conns: Vec::new(),
            listeners: Vec::new(),
            signals: Vec::new(),
            stopped_at: None,
            frozen: Duration::ZERO,
            scheduled: BTreeMap::new(),
            timers: BTreeMap::new(),
            woken: Vec::new(),
            next: 0,
        }
    }

    pub(crate) fn log(&mut self, entry: Entry) {
        self.trace.push(self.now, entry);
    }

    /// Asks the rules. A verdict that changes nothing is none: the trace tells
    /// only what happened.
    pub(super) fn ask_rules(&mut self, event: Event) -> Verdict {
        let choices = &mut self.choices;
        let mut choose = |bound| choices.choose(bound);
        for rule in &mut self.rules {
            let verdict = rule(&event, &mut choose);
            if event.can_have(verdict) {
                self.trace.push(self.now, Entry::Fault(event, verdict));
                return verdict;
            }
        }
        Verdict::Pass
    }

    pub(super) fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    pub(super) fn schedule(&mut self, at: Duration, scheduled: Scheduled) -> (Duration, u64) {
        let key = (at, self.number());
        self.scheduled.insert(key, scheduled);
        key
    }

    /// Puts off what is scheduled before `until` and `is_behind`, to the time
    /// `at`, in its order.
    pub(super) fn put_off(
        &mut self,
        until: Duration,
        at: Duration,
        is_behind: impl Fn(&Scheduled) -> bool,
    ) {
        let early = self.scheduled.range(..(until, 0));
        let keys: Vec<_> = early
            .filter(|(_, scheduled)| is_behind(scheduled))
            .map(|(key, _)| *key)
            .collect();
        for key in keys {
            if let Some(scheduled) = self.scheduled.remove(&key) {
                self.schedule(at, scheduled);
            }
        }
    }

    /// Returns the time that the next segment takes: a part of the latency.
    pub(super) fn transit_time(&mut self) -> Duration {
        let longest = u32::try_from(self.settings.latency.as_micros()).unwrap_or(u32::MAX);
        Duration::from_micros(1 + u64::from(self.choices.choose(longest.max(1))))
    }

    pub(super) fn next_at(&self) -> Option<Duration> {
        self.scheduled.keys().next().map(|(at, _)| *at)
    }

    /// Lets the next scheduled thing happen, and moves the clock there; returns
    /// false where nothing is scheduled.
    pub(super) fn run_next(&mut self) -> bool {
        let Some(((at, _), scheduled)) = self.scheduled.pop_first() else {
            return false;
        };
        self.now = self.now.max(at);
        match scheduled {
            Scheduled::Timer(id) => self.fire(id),
            Scheduled::Wake(task) => self.woken.push(task),
            Scheduled::Signal(signal) => self.signal_arrives(signal),
            Scheduled::Syn(id) => self.syn(id),
            Scheduled::SynAck(id) => self.syn_ack(id),
            Scheduled::Ack(id) => self.ack(id),
            Scheduled::Refusal(id) => self.refusal(id),
            Scheduled::Bytes(id, from, n) => self.bytes(id, from, n),
            Scheduled::End(id, from) => self.end_arrives(id, from),
            Scheduled::Reset(id, from) => self.reset_arrives(id, from),
        }
        true
    }

    pub(super) fn wake_later(&mut self, task: usize, by: Duration) {
        self.schedule(self.now + by, Scheduled::Wake(task));
    }

    // Timers

    pub(crate) fn set_timer(&mut self, at: Duration, waker: &Waker) -> u64 {
        let id = self.number();
        let key = self.schedule(at.max(self.now), Scheduled::Timer(id));
        let waker = waker.clone();
        self.timers.insert(id, Timer { key, waker });
        id
    }

    /// Returns whether the timer has fired; if not, `waker` will be woken.
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
            self.scheduled.remove(&timer.key);
        }
    }

    fn fire(&mut self, id: u64) {
        match self.ask_rules(Event::Timer) {
            Verdict::Delay(by) => {
                let key = self.schedule(self.now + by, Scheduled::Timer(id));
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

    pub(super) fn signal(&mut self, signal: Signal) {
        match self.ask_rules(Event::Signal(signal)) {
            Verdict::Drop => return,
            Verdict::Delay(by) => {
                self.schedule(self.now + by, Scheduled::Signal(signal));
                return;
            }
            Verdict::Twice => self.signal_arrives(signal),
            _ => {}
        }
        self.signal_arrives(signal);
    }

    fn signal_arrives(&mut self, signal: Signal) {
        self.log(Entry::Signal(signal));
        self.note_stop();
        for queue in &mut self.signals {
            if queue.caught.contains(&signal) {
                queue.pending.push_back(signal);
                wake(&mut queue.waker);
            }
        }
    }

    /// Notes that the stop was asked for: what arrives from now on comes after
    /// it.
    pub(super) fn note_stop(&mut self) {
        if self.stopped_at.is_none() {
            self.stopped_at = Some(self.now);
            for conn in &mut self.conns {
                conn.arrived_before_stop = conn.up.arrived;
            }
        }
    }

    /// Notes that the server was frozen since `began_at`: what of it came after
    /// the stop is counted.
    pub(super) fn note_freeze(&mut self, began_at: Duration) {
        if let Some(stopped_at) = self.stopped_at {
            self.frozen += self.now.saturating_sub(stopped_at.max(began_at));
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

    /// Chooses whether a task has to yield now.
    pub(crate) fn has_to_yield(&mut self, id: usize, side: Side) -> bool {
        let yields =
            self.settings.forced_yields && side == Side::Server && self.choices.choose(4) == 3;
        if yields {
            self.log(Entry::NotNow(id));
        }
        yields
    }

    /// Wakes a task of the executor.
    pub(super) fn wake_task(&mut self, task: usize) {
        lock(&self.ready).wake(task);
    }
}
