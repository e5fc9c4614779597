//! Every state that can be reached around one listener, with small numbers: an
//! accept queue of two, handshakes that come to it, a system that lacks
//! something now and then, and a clock of a few ticks.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use lameduck::machine::sweep::{AcceptError, Config, Input, Output, Sweep};
use lameduck::rt::CloseGuarantee;

use crate::ms;

/// The room of the accept queue, and the most handshakes.
const ROOM: u8 = 2;
const HANDSHAKES: u8 = 1;
const LAST_TICK: Duration = ms(6);
/// The most connections, which keeps the search finite.
const CONNECTIONS: u8 = 4;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    sweep: Sweep,
    now: Duration,
    /// The accept queue: those that were in it when the sweep began come first.
    queue: u8,
    of_before: u8,
    handshakes: u8,
    /// All that came, so that there is an end of them.
    came: u8,
    is_filtered: bool,
    asked: bool,
}

#[derive(Clone, Copy, Debug)]
enum Act {
    HandshakeBegins,
    HandshakeEnds,
    TimePasses,
    Tick,
    /// The driver asks the queue, if it may.
    Accepts,
    AcceptFails(AcceptError),
    Stops(CloseGuarantee),
    /// The driver answers, and sees the handshakes or does not.
    Answers(bool),
    Closes,
}

const ACTS: [Act; 15] = [
    Act::HandshakeBegins,
    Act::HandshakeEnds,
    Act::TimePasses,
    Act::Tick,
    Act::Accepts,
    Act::AcceptFails(AcceptError::Connection),
    Act::AcceptFails(AcceptError::Resources),
    Act::AcceptFails(AcceptError::Listener),
    Act::Stops(CloseGuarantee::HandedOver),
    Act::Stops(CloseGuarantee::SynFiltered),
    Act::Stops(CloseGuarantee::Swept),
    Act::Stops(CloseGuarantee::Unswept),
    Act::Answers(true),
    Act::Answers(false),
    Act::Closes,
];

impl State {
    fn new(config: Config) -> State {
        State {
            sweep: Sweep::new(config),
            now: Duration::ZERO,
            queue: 0,
            of_before: 0,
            handshakes: 0,
            came: 0,
            is_filtered: false,
            asked: false,
        }
    }

    /// Returns the state after an act; `None` where the world has none such.
    fn after(&self, act: Act) -> Option<State> {
        let mut next = self.clone();
        let is_open = self.sweep.guarantee().is_none();
        let has = |holds: bool| holds.then_some(());
        match act {
            Act::HandshakeBegins => {
                has(!self.is_filtered && is_open)?;
                has(self.handshakes < HANDSHAKES && self.came < CONNECTIONS)?;
                next.handshakes += 1;
                next.came += 1;
            }
            Act::HandshakeEnds => {
                has(self.handshakes > 0 && self.queue < ROOM)?;
                next.handshakes -= 1;
                next.queue += 1;
            }
            Act::TimePasses => {
                has(self.now < LAST_TICK)?;
                next.now += ms(1);
            }
            Act::Tick => next.give(Input::Tick),
            Act::Accepts => {
                has(is_open && self.sweep.may_accept(0, None))?;
                next.accept();
            }
            Act::AcceptFails(error) => {
                has(is_open && self.sweep.may_accept(0, None))?;
                next.give(Input::AcceptFailed(error));
            }
            Act::Stops(guarantee) => {
                has(self.sweep.is_accepting())?;
                next.of_before = self.queue;
                next.is_filtered = guarantee == CloseGuarantee::SynFiltered;
                next.give(Input::StopAccepting(guarantee));
            }
            Act::Answers(sees) => {
                has(self.asked)?;
                next.asked = false;
                next.give(Input::Handshakes(
                    sees.then_some(usize::from(self.handshakes)),
                ));
            }
            Act::Closes => {
                has(is_open)?;
                next.give(Input::Close);
            }
        }
        Some(next)
    }

    fn accept(&mut self) {
        if self.queue == 0 {
            return self.give(Input::QueueEmpty);
        }
        self.queue -= 1;
        self.of_before = self.of_before.saturating_sub(1);
        self.give(Input::Accepted);
    }

    /// Gives an input that the world has, and checks the clauses.
    fn give(&mut self, input: Input) {
        let before = self.sweep.clone();
        let result = self.sweep.handle(self.now, input);
        let outputs: Vec<_> = std::iter::from_fn(|| self.sweep.poll_output()).collect();
        let is_closed = before.guarantee().is_some();
        assert_eq!(result.is_err(), is_closed, "{input:?}: {self:?}");
        assert!(
            outputs.is_empty() || !is_closed,
            "S2: {outputs:?}, {self:?}"
        );
        let closes = outputs.contains(&Output::Close);
        let closed_now = !is_closed && self.sweep.guarantee().is_some();
        assert_eq!(closes, closed_now, "S3: {self:?}");
        assert!(!closes || outputs.len() == 1, "S14: {outputs:?}");
        if outputs.contains(&Output::AskHandshakes) {
            assert!(
                !self.asked && self.is_filtered,
                "S14: asked twice, {self:?}"
            );
            self.asked = true;
        }
        self.asked &= !closes;
        let is_due = self.sweep.deadline().is_some_and(|at| at <= self.now);
        assert!(!is_due, "L3: a deadline was missed, {self:?}");
        if closes {
            self.keeps_its_promise(input);
        }
    }

    /// S8, S20: a close promises what is so.
    fn keeps_its_promise(&self, input: Input) {
        let Some(guarantee) = self.sweep.guarantee() else {
            unreachable!("it is closed");
        };
        match guarantee {
            CloseGuarantee::SynFiltered => {
                assert!(self.is_filtered, "F2: there is no filter, {self:?}");
                assert_eq!(self.queue + self.handshakes, 0, "F2: lost, {self:?}");
            }
            CloseGuarantee::Swept => {
                assert_eq!(self.of_before, 0, "S20: left in the queue, {self:?}");
            }
            CloseGuarantee::HandedOver => {
                assert_eq!(input, Input::StopAccepting(guarantee), "{self:?}");
            }
            _ => {}
        }
    }

    /// L5: the driver does what it is told; nobody connects, nothing fails, and
    /// the peers of handshakes are gone.
    fn ends_without_a_connection(mut self) {
        self.handshakes = 0;
        if self.sweep.is_accepting() {
            self.of_before = self.queue;
            self.give(Input::StopAccepting(CloseGuarantee::Swept));
        }
        for _ in 0..4 * (ROOM + 4) {
            if self.sweep.guarantee().is_some() {
                return;
            }
            if std::mem::take(&mut self.asked) {
                self.give(Input::Handshakes(Some(0)));
            } else if self.sweep.may_accept(usize::MAX, Some(0)) {
                self.accept();
                let closed = self.sweep.guarantee().is_some();
                if let (false, 0, Some(at)) = (closed, self.queue, self.sweep.deadline()) {
                    self.now = self.now.max(at);
                    self.give(Input::Tick);
                }
            } else if let Some(at) = self.sweep.deadline() {
                self.now = self.now.max(at);
                self.give(Input::Tick);
            }
        }
        panic!("L5: it has no end, {self:?}");
    }
}

#[derive(Debug, Default)]
struct Seen {
    states: usize,
    edges: usize,
    guarantees: HashMap<CloseGuarantee, usize>,
}

fn search(config: Config, seen: &mut Seen) {
    let first = State::new(config);
    let mut known = HashSet::from([first.clone()]);
    let mut open = VecDeque::from([first]);
    while let Some(state) = open.pop_front() {
        seen.states += 1;
        state.clone().ends_without_a_connection();
        for act in ACTS {
            let Some(next) = state.after(act) else {
                continue;
            };
            seen.edges += 1;
            match next.sweep.guarantee() {
                Some(guarantee) => *seen.guarantees.entry(guarantee).or_default() += 1,
                None if known.insert(next.clone()) => open.push_back(next),
                None => {}
            }
        }
    }
}

fn config(queue: u64, limit: Option<u64>, batch: u32, millis: [u64; 4]) -> Config {
    let mut config = Config::default();
    (config.queue, config.limit, config.batch) = (queue, limit, batch);
    let [back_off, poll, timeout, blind] = millis.map(ms);
    (config.back_off_min, config.back_off_max) = (back_off, back_off * 2);
    config.sweep_back_off_max = back_off;
    (config.handshake_poll_min, config.handshake_poll_max) = (poll, poll * 2);
    (config.handshake_timeout, config.blind_wait) = (timeout, blind);
    config
}

#[test]
#[cfg_attr(miri, ignore = "a million edges are too many for an interpreter")]
fn every_reachable_state_keeps_every_clause() {
    let is_full = std::env::var("LAMEDUCK_SEARCH").is_ok_and(|what| what == "full");
    let mut seen = Seen::default();
    let room = u64::from(ROOM);
    search(config(room, None, 2, [1, 1, 2, 2]), &mut seen);
    search(config(room, Some(0), 0, [0, 0, 0, 0]), &mut seen);
    if is_full {
        for limit in [None, Some(1), Some(2), Some(9)] {
            for queue in [room, room + 1, 9] {
                for batch in [0, 1, 3] {
                    for millis in [[0, 0, 0, 0], [1, 1, 3, 2], [2, 1, 1, 3], [1, 2, 4, 0]] {
                        search(config(queue, limit, batch, millis), &mut seen);
                    }
                }
            }
        }
    } else {
        search(config(room, Some(1), 1, [1, 1, 0, 0]), &mut seen);
    }
    let Seen {
        states,
        edges,
        guarantees,
    } = &seen;
    println!("sweep: {states} states, {edges} edges; to an end: {guarantees:?}");
    assert_eq!(guarantees.len(), 4, "every guarantee is given");
    assert!(*states > FLOOR, "{states} states are too few to be all");
}

/// Fewer would mean that something is not reached any more.
const FLOOR: usize = 50_000;
