//! Every state that can be reached around one connection, with small numbers: a
//! peer that sends a few times, takes our output in pieces, ends its side or
//! does not, and a clock of a few ticks.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use lameduck::machine::closing::{Config, Facts, Input, LingeringClose, Output};

use crate::ms;

const LAST_TICK: Duration = ms(7);
/// The most that a peer sends, and that it has not acknowledged.
const SENDS: u8 = 1;
const LEFT: u8 = 2;

/// The round trip of the connection.
const ROUND_TRIP: Duration = ms(1);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    closing: LingeringClose,
    now: Duration,
    /// Input that has arrived and was not read, and that will still come.
    arrived: u8,
    to_come: u8,
    peer_ended: bool,
    end_was_read: bool,
    unacknowledged: u8,
    asked: bool,
    half_closed: bool,
    /// When the peer was last heard by us, and when a look last told progress.
    heard_at: Duration,
    progress_at: Duration,
    least_seen: Option<u8>,
}

#[derive(Clone, Copy, Debug)]
enum Act {
    PeerSends,
    PeerEnds,
    PeerAcknowledges,
    TimePasses,
    Tick,
    HalfClosed,
    /// The driver reads what there is.
    Reads,
    /// The driver answers with what the system says, which may be nothing.
    Answers(bool),
}

const ACTS: [Act; 9] = [
    Act::PeerSends,
    Act::PeerEnds,
    Act::PeerAcknowledges,
    Act::TimePasses,
    Act::Tick,
    Act::HalfClosed,
    Act::Reads,
    Act::Answers(true),
    Act::Answers(false),
];

/// Why a close came, by what the world knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Reason {
    PeerEnded,
    PeerIdle,
    TotalOver,
    /// Our own side could not be ended.
    NotHalfClosed,
}

struct World {
    config: Config,
    facts: Facts,
}

impl World {
    fn first(&self) -> State {
        let mut closing = LingeringClose::new(self.config, self.facts);
        assert_eq!(closing.poll_output(), Some(Output::HalfClose));
        State {
            closing,
            now: Duration::ZERO,
            arrived: 0,
            to_come: SENDS,
            peer_ended: false,
            end_was_read: false,
            unacknowledged: LEFT,
            asked: false,
            half_closed: false,
            heard_at: Duration::ZERO,
            progress_at: Duration::ZERO,
            least_seen: None,
        }
    }

    /// Returns the state after an act, and the reason of a close; `None` where
    /// the world has no such act.
    fn after(&self, state: &State, act: Act) -> Option<(State, Option<Reason>)> {
        let has = |holds: bool| holds.then_some(());
        let mut next = state.clone();
        let input = match act {
            Act::PeerSends => {
                has(!state.peer_ended && state.to_come > 0)?;
                next.to_come -= 1;
                next.arrived += 1;
                return Some((next, None));
            }
            Act::PeerEnds => {
                has(!state.peer_ended)?;
                next.peer_ended = true;
                return Some((next, None));
            }
            Act::PeerAcknowledges => {
                has(state.unacknowledged > 0)?;
                next.unacknowledged -= 1;
                return Some((next, None));
            }
            Act::TimePasses => {
                has(state.now < LAST_TICK)?;
                next.now += ms(1);
                return Some((next, None));
            }
            Act::Tick => Input::Tick,
            Act::HalfClosed => {
                has(!state.half_closed)?;
                next.half_closed = true;
                next.own_side_ends();
                Input::HalfClosed
            }
            Act::Reads => {
                has(state.closing.is_reading())?;
                next.reads()
            }
            Act::Answers(knows) => {
                has(state.asked)?;
                next.answers(knows)
            }
        };
        let reason = self.give(&mut next, input);
        Some((next, reason))
    }

    /// Gives an input that the world has, and checks the clauses.
    fn give(&self, state: &mut State, input: Input) -> Option<Reason> {
        let result = state.closing.handle(state.now, input);
        assert_eq!(result, Ok(()), "{state:?}");
        let outputs: Vec<_> = std::iter::from_fn(|| state.closing.poll_output()).collect();
        let mut closes = false;
        for output in &outputs {
            match output {
                Output::AskProgress => {
                    assert!(!state.asked, "S14: asked twice, {state:?}");
                    state.asked = true;
                }
                Output::Yield => {
                    let is_first = input == Input::HalfClosed && self.facts.is_draining;
                    assert!(is_first, "S14: {state:?}");
                }
                Output::Close => closes = true,
                other => panic!("{other:?}: {state:?}"),
            }
        }
        assert!(!closes || outputs.len() == 1, "S14: {outputs:?}");
        let deadline = state.closing.deadline();
        let is_due = deadline.is_some_and(|at| at <= state.now);
        assert!(!is_due, "L3: a deadline was missed, {state:?}");
        let is_waiting = !state.asked && !closes;
        assert_eq!(deadline.is_some(), is_waiting, "L3: {state:?}");
        closes.then(|| self.reason(state, input))
    }

    /// S19, F16, F24: it closes at the peer's end, its idle time, or its total,
    /// and not before the peer has all output, unless that takes too long.
    fn reason(&self, state: &State, input: Input) -> Reason {
        let Config { idle, total, .. } = self.config;
        let is_idle = state.now >= state.heard_at + idle;
        let is_over = state.now >= state.progress_at + total;
        if !state.half_closed {
            assert!(is_over, "S19: the half-close has its time, {state:?}");
            return Reason::NotHalfClosed;
        }
        let may_have_all = match input {
            // The system does not say, or says that nothing is left.
            Input::Progress { unacknowledged, .. } => unacknowledged.unwrap_or(0) == 0,
            // The peer's end says it, for a small output.
            _ => state.end_was_read && self.facts.written < 14_600,
        };
        assert!(may_have_all || is_over, "F24: output is left, {state:?}");
        if state.end_was_read {
            Reason::PeerEnded
        } else if is_over {
            Reason::TotalOver
        } else {
            assert!(is_idle, "S19: neither idle nor over, {state:?}");
            Reason::PeerIdle
        }
    }

    /// S19: whatever the peer does from here on, it comes to an end, also if our
    /// side cannot be ended.
    fn ends(&self, mut state: State, sends_for_ever: bool, half_closes: bool) {
        if half_closes && !state.half_closed {
            state.half_closed = true;
            state.own_side_ends();
            if self.give(&mut state, Input::HalfClosed).is_some() {
                return;
            }
        }
        // The last progress can still be seen once, and then a look is a
        // millisecond away at least.
        let latest = state.now + self.config.total * 4 + self.config.idle * 4 + ms(16);
        while state.now <= latest {
            let input = if state.asked {
                state.answers(true)
            } else if sends_for_ever && state.closing.is_reading() {
                state.now += ms(1);
                state.heard_at = state.now;
                Input::Received
            } else {
                state.now = state.closing.deadline().unwrap_or(state.now);
                Input::Tick
            };
            if self.give(&mut state, input).is_some() {
                return;
            }
        }
        panic!("S19: it has no end, {state:?}");
    }
}

impl State {
    fn own_side_ends(&mut self) {
        (self.heard_at, self.progress_at) = (self.now, self.now);
        (self.asked, self.least_seen) = (false, None);
    }

    fn reads(&mut self) -> Input {
        if self.arrived > 0 {
            self.arrived -= 1;
            self.heard_at = self.now;
            Input::Received
        } else if self.peer_ended {
            self.end_was_read = true;
            Input::End
        } else {
            Input::NoInput
        }
    }

    fn answers(&mut self, knows: bool) -> Input {
        self.asked = false;
        if knows {
            // The first look can only begin to tell, and the last one ends it.
            if self.unacknowledged > 0
                && self
                    .least_seen
                    .is_some_and(|least| self.unacknowledged < least)
            {
                self.progress_at = self.now;
            }
            let least = self.least_seen.unwrap_or(self.unacknowledged);
            self.least_seen = Some(least.min(self.unacknowledged));
        }
        Input::Progress {
            unacknowledged: knows.then_some(u64::from(self.unacknowledged)),
            round_trip: knows.then_some(ROUND_TRIP),
        }
    }
}

#[derive(Debug, Default)]
struct Seen {
    states: usize,
    edges: usize,
    reasons: HashMap<Reason, usize>,
}

fn search(world: &World, seen: &mut Seen) {
    let first = world.first();
    let mut known = HashSet::from([first.clone()]);
    let mut open = VecDeque::from([first]);
    while let Some(state) = open.pop_front() {
        seen.states += 1;
        world.ends(state.clone(), false, false);
        world.ends(state.clone(), false, true);
        world.ends(state.clone(), true, true);
        for act in ACTS {
            let Some((next, reason)) = world.after(&state, act) else {
                continue;
            };
            seen.edges += 1;
            match reason {
                Some(reason) => *seen.reasons.entry(reason).or_default() += 1,
                None if known.insert(next.clone()) => open.push_back(next),
                None => {}
            }
        }
    }
}

fn world(idle: u64, total: u64, written: u64, was_idle: bool, is_draining: bool) -> World {
    let (mut config, mut facts) = (Config::default(), Facts::default());
    (config.idle, config.total) = (ms(idle), ms(total));
    facts.written = written;
    (facts.was_idle, facts.is_draining) = (was_idle, is_draining);
    World { config, facts }
}

#[test]
#[cfg_attr(miri, ignore = "a million edges are too many for an interpreter")]
fn every_reachable_state_keeps_every_clause() {
    let is_full = std::env::var("LAMEDUCK_SEARCH").is_ok_and(|what| what == "full");
    let mut seen = Seen::default();
    search(&world(1, 3, 14_600, false, true), &mut seen);
    search(&world(0, 0, 0, false, true), &mut seen);
    if is_full {
        for (idle, total) in [(0, 1), (1, 1), (1, 4), (2, 3), (3, 2), (4, 0), (1, 6)] {
            for written in [0, 14_600] {
                for (was_idle, is_draining) in
                    [(false, false), (false, true), (true, false), (true, true)]
                {
                    let world = world(idle, total, written, was_idle, is_draining);
                    search(&world, &mut seen);
                }
            }
        }
    }
    let Seen {
        states,
        edges,
        reasons,
    } = &seen;
    println!("closing: {states} states, {edges} edges; to an end: {reasons:?}");
    assert_eq!(reasons.len(), 4, "every reason is seen");
    assert!(*states > FLOOR, "{states} states are too few to be all");
}

/// Fewer would mean that something is not reached any more.
const FLOOR: usize = 100_000;
