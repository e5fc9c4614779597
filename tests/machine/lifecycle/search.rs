//! Every state that can be reached, with small numbers: two listeners, two
//! connections, two hooks, and a clock of a few ticks. The clauses are checked
//! on every edge, and from every state the stop is led to its end.
//!
//! `LAMEDUCK_SEARCH=full` takes all mixes of durations; it wants a release
//! build.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use lameduck::machine::lifecycle::{Config, Input, Lifecycle, Outcome, Output};
use lameduck::{Phase, Signal};

use super::alphabet::Setup;
use super::bare::FAILED;
use super::clauses::{Edge, Facts};
use crate::ms;

/// The most connections at a time.
const CONNECTIONS: u8 = 2;

/// Beyond the longest budget here, and beyond a freeze.
const LAST_TICK: Duration = ms(7);

/// A lifecycle, what is known of it, and the server around it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    lifecycle: Lifecycle,
    facts: Facts,
    now: Duration,
    connections: u8,
}

/// What can happen in any state.
#[derive(Clone, Copy, Debug)]
enum Act {
    Connects,
    Leaves,
    /// The clock goes on by a tick, and nobody tells the lifecycle.
    TimePasses,
    Gives(Input),
}

/// What begins and hurries a stop. The times of signals are part of a state: the
/// two are not mixed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Requests {
    Program,
    Signals,
}

fn acts(setup: Setup, requests: Requests) -> Vec<Act> {
    let mut inputs = match requests {
        Requests::Program => vec![Input::Stop, Input::HandedOver, Input::Abort],
        Requests::Signals => vec![
            Input::Signal(Signal::Interrupt),
            Input::Signal(Signal::Terminate),
        ],
    };
    inputs.extend([Input::Tick, Input::Emptied]);
    // One more than there are, which is refused.
    for id in 0..=setup.listeners {
        inputs.push(Input::ListenerClosed(id, Ok(())));
        inputs.push(Input::ListenerClosed(id, FAILED));
    }
    for id in 0..=setup.hooks {
        inputs.push(Input::HookDone(id, Ok(())));
        inputs.push(Input::HookDone(id, FAILED));
    }
    let others = [Act::Connects, Act::Leaves, Act::TimePasses];
    others
        .into_iter()
        .chain(inputs.into_iter().map(Act::Gives))
        .collect()
}

impl State {
    fn new(setup: Setup) -> State {
        State {
            lifecycle: setup.lifecycle(),
            facts: Facts::default(),
            now: Duration::ZERO,
            connections: 0,
        }
    }

    /// Returns the state after an act; `None` where a server could not do it.
    fn after(&self, setup: Setup, act: Act) -> Option<State> {
        let mut next = self.clone();
        match act {
            Act::Connects => {
                let is_open = !self.facts.all_closed(setup);
                (is_open && self.connections < CONNECTIONS).then_some(())?;
                next.connections += 1;
            }
            Act::Leaves => next.connections = self.connections.checked_sub(1)?,
            Act::TimePasses => {
                (self.now < LAST_TICK).then_some(())?;
                next.now += ms(1);
            }
            // The gate says it, and only when nothing is left.
            Act::Gives(Input::Emptied) if self.connections > 0 => return None,
            Act::Gives(input) => _ = next.give(setup, input),
        }
        Some(next)
    }

    /// Gives an input, and checks the clauses.
    fn give(&mut self, setup: Setup, input: Input) -> Vec<Output> {
        let before = self.lifecycle.clone();
        let result = self.lifecycle.handle(self.now, input);
        let outputs: Vec<_> = std::iter::from_fn(|| self.lifecycle.poll_output()).collect();
        self.facts.check(&Edge {
            setup,
            before: &before,
            now: self.now,
            input,
            result,
            outputs: &outputs,
            after: &self.lifecycle,
        });
        outputs
    }

    /// L1: nothing happens any more but the ticks that are asked for.
    fn ends_by_ticks_alone(mut self, setup: Setup) {
        self.give(setup, Input::Stop);
        let end = self.lifecycle.ends_by();
        // Lame duck, settle, abort, abandon, hooks; and each late once.
        for _ in 0..2 * (4 + setup.hooks) {
            let Some(at) = self.lifecycle.deadline() else {
                break;
            };
            assert!(Some(at) <= end, "L1: {at:?} is beyond {end:?}");
            self.now = at;
            self.give(setup, Input::Tick);
        }
        let is_over = self.lifecycle.phase() == Phase::Stopped;
        assert!(is_over || end.is_none(), "L1: {self:?}");
    }

    /// L2: all that is asked for is done at once, and nothing is left. Only lame
    /// duck needs a tick, as nothing but time ends it.
    fn ends_by_what_is_done(mut self, setup: Setup) {
        self.give(setup, Input::Stop);
        if let (Phase::LameDuck, Some(at)) = (self.lifecycle.phase(), self.lifecycle.deadline())
        {
            self.now = at;
            self.give(setup, Input::Tick);
        }
        for id in 0..setup.listeners {
            self.give(setup, Input::ListenerClosed(id, Ok(())));
        }
        self.give(setup, Input::Emptied);
        for id in 0..setup.hooks {
            self.give(setup, Input::HookDone(id, Ok(())));
        }
        assert_eq!(self.lifecycle.phase(), Phase::Stopped, "L2: {self:?}");
    }
}

#[derive(Debug, Default)]
struct Seen {
    states: usize,
    edges: usize,
    outcomes: HashMap<Outcome, usize>,
}

fn search(setup: Setup, requests: Requests, seen: &mut Seen) {
    let acts = acts(setup, requests);
    let first = State::new(setup);
    let mut known = HashSet::from([first.clone()]);
    let mut open = VecDeque::from([first]);
    while let Some(state) = open.pop_front() {
        seen.states += 1;
        state.clone().ends_by_ticks_alone(setup);
        state.clone().ends_by_what_is_done(setup);
        for act in &acts {
            let Some(next) = state.after(setup, *act) else {
                continue;
            };
            seen.edges += 1;
            match next.facts.outcome {
                Some(outcome) => *seen.outcomes.entry(outcome).or_default() += 1,
                None if known.insert(next.clone()) => open.push_back(next),
                None => {}
            }
        }
    }
}

/// The times of a stop, in ticks: grace period, lame duck, settle, abort
/// timeout, hook reserve.
type Ticks = [u64; 5];

fn setup(ticks: Ticks, listeners: usize, hooks: usize) -> Setup {
    let mut config = Config::default();
    config.grace_period = ms(ticks[0]);
    config.lame_duck = ms(ticks[1]);
    config.settle = ms(ticks[2]);
    config.abort_timeout = ms(ticks[3]);
    config.hook_reserve = ms(ticks[4]);
    config.same_signal_window = ms(1);
    config.other_signal_window = ms(2);
    Setup {
        config,
        listeners,
        hooks,
    }
}

/// Those in which the parts meet in different orders, and some that do not fit.
const CHOSEN: [Ticks; 6] = [
    [4, 0, 1, 1, 0],
    [4, 2, 1, 2, 0],
    [4, 1, 0, 1, 2],
    [3, 3, 0, 0, 0],
    [0, 0, 0, 1, 1],
    [2, 3, 1, 0, 1],
];

#[test]
#[cfg_attr(miri, ignore = "a million edges are too many for an interpreter")]
fn every_reachable_state_keeps_every_clause() {
    let is_full = std::env::var("LAMEDUCK_SEARCH").is_ok_and(|what| what == "full");
    let mut seen = Seen::default();
    if is_full {
        for_each_mix(|ticks| {
            for (listeners, hooks) in [(0, 0), (1, 0), (0, 2), (1, 1), (2, 1)] {
                search(setup(ticks, listeners, hooks), Requests::Program, &mut seen);
            }
            search(setup(ticks, 1, 0), Requests::Signals, &mut seen);
        });
    } else {
        for ticks in CHOSEN {
            search(setup(ticks, 1, 0), Requests::Program, &mut seen);
        }
        search(setup(CHOSEN[2], 0, 1), Requests::Program, &mut seen);
        search(setup(CHOSEN[4], 1, 1), Requests::Program, &mut seen);
        search(setup(CHOSEN[3], 1, 0), Requests::Signals, &mut seen);
    }
    let Seen {
        states,
        edges,
        outcomes,
    } = &seen;
    println!("lifecycle: {states} states, {edges} edges; to an end: {outcomes:?}");
    assert_eq!(outcomes.len(), 4, "every outcome is reached");
    assert!(*states > FLOOR, "{states} states are too few to be all");
}

/// Fewer would mean that something is not reached any more.
const FLOOR: usize = 100_000;

fn for_each_mix(mut each: impl FnMut(Ticks)) {
    for grace in [0, 4] {
        for lame_duck in [0, 2] {
            for settle in [0, 1] {
                for abort_timeout in [0, 1, 2] {
                    for reserve in [0, 2] {
                        each([grace, lame_duck, settle, abort_timeout, reserve]);
                    }
                }
            }
        }
    }
}
