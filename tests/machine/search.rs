//! Every state that can be reached, with small numbers: two listeners, three
//! connections, one hook, and a clock of a few ticks. Every clause is checked
//! on every edge, and from every state the stop is led to its end.
//!
//! `LAMEDUCK_SEARCH=full` takes all mixes of durations, in a release build.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use lameduck::machine::{Config, Fault, Input, Machine, Outcome, Output, Stage};
use lameduck::{Cause, Signal};

use crate::alphabet::Setup;
use crate::checker::{Checker, Facts};

/// The most that live at a time.
const CONNECTIONS: u8 = 3;

/// Beyond the longest budget here.
const LAST_TICK: u64 = 7;

/// A machine, what is known of it, and the living around it.
#[derive(Clone, Debug)]
struct State {
    machine: Machine,
    checker: Checker,
    now: Duration,
    living: u8,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Key(Machine, Facts, Duration, u8);

/// What can happen in any state.
#[derive(Clone, Copy, Debug)]
enum Act {
    /// A connection comes, or goes.
    Come,
    Go,
    /// The clock goes on by a tick.
    Pass,
    /// Told to the machine, at the time that it is.
    Say(Input),
    /// A tick, when the machine has asked for it.
    TickInTime,
}

fn acts(setup: Setup) -> Vec<Act> {
    let mut inputs = vec![
        Input::Tick,
        Input::Escalate,
        Input::Emptied,
        Input::Stop {
            cause: Cause::Signal(Signal::Terminate),
        },
        Input::Stop {
            cause: Cause::Successor,
        },
    ];
    // One more than there are: who does not exist is refused.
    for id in 0..=setup.listeners {
        inputs.push(Input::ListenerQuiet(id));
        inputs.push(Input::ListenerClosed(id, Ok(())));
        inputs.push(Input::ListenerClosed(id, Err(Fault)));
    }
    for id in 0..=setup.hooks {
        inputs.push(Input::HookDone(id, Ok(())));
        inputs.push(Input::HookDone(id, Err(Fault)));
    }
    let others = [Act::Come, Act::Go, Act::Pass, Act::TickInTime];
    others
        .into_iter()
        .chain(inputs.into_iter().map(Act::Say))
        .collect()
}

impl State {
    fn new(setup: Setup) -> State {
        let machine = Machine::new(setup.config, setup.listeners, setup.hooks);
        State {
            // With a copy: S17 and S18 are held, too.
            checker: Checker::new(setup, Some(machine.clone())),
            machine,
            now: Duration::ZERO,
            living: 0,
        }
    }

    fn key(&self) -> Key {
        let known = self.checker.known();
        Key(self.machine.clone(), known, self.now, self.living)
    }

    /// False where the act means nothing, or a driver could not do it.
    fn take(&mut self, act: Act) -> bool {
        match act {
            Act::Come => {
                let may = self.living < CONNECTIONS && !self.checker.all_closed();
                self.living += u8::from(may);
                may
            }
            Act::Go => {
                let may = self.living > 0;
                self.living -= u8::from(may);
                may
            }
            Act::Pass => {
                let may = self.now < ticks(LAST_TICK);
                self.now += ticks(u64::from(may));
                may
            }
            Act::TickInTime => match self.machine.deadline() {
                Some(at) if at > self.now => {
                    self.now = at;
                    self.give(Input::Tick);
                    true
                }
                _ => false,
            },
            // The gate tells it, and only when nobody lives.
            Act::Say(Input::Emptied) if self.living > 0 => false,
            Act::Say(input) => {
                self.give(input);
                true
            }
        }
    }

    fn give(&mut self, input: Input) {
        let result = self.machine.handle(self.now, input);
        let outputs: Vec<Output> = std::iter::from_fn(|| self.machine.poll_output()).collect();
        self.checker
            .observe(self.now, input, result, &outputs, &self.machine);
    }

    /// L1: nobody does anything any more but give the ticks that are asked for.
    fn ends_by_ticks_alone(mut self) {
        self.give(Input::Stop {
            cause: Cause::Request("liveness"),
        });
        let end = self.machine.ends_by();
        // One for each stage, and one for the time to settle.
        for _ in 0..6 {
            let Some(at) = self.machine.deadline() else {
                break;
            };
            assert!(Some(at) <= end, "L1: {at:?} is beyond {end:?}");
            self.now = self.now.max(at);
            self.give(Input::Tick);
        }
        assert_eq!(self.machine.stage(), Stage::Stopped, "L1");
    }

    /// L2: all that was told is done at once, and nobody lives. Only a notice
    /// needs a tick, as nothing but time ends it.
    fn ends_by_what_is_done(mut self) {
        self.living = 0;
        self.give(Input::Stop {
            cause: Cause::Request("liveness"),
        });
        if self.machine.stage() == Stage::Notice {
            self.now = self.machine.deadline().expect("L3");
            self.give(Input::Tick);
        }
        // Listeners sweep, close, and the hook runs.
        for _ in 0..16 {
            if self.machine.stage() == Stage::Stopped {
                return;
            }
            let owed = match self.machine.awaits_emptied() {
                true => Input::Emptied,
                false => self.checker.owed().expect("L2: it waits for nothing"),
            };
            self.give(owed);
        }
        panic!("L2: it has no end");
    }
}

const fn ticks(n: u64) -> Duration {
    Duration::from_millis(n)
}

#[derive(Debug, Default)]
struct Seen {
    states: usize,
    edges: usize,
    outcomes: HashMap<Outcome, usize>,
}

fn search(setup: Setup, seen: &mut Seen) {
    let acts = acts(setup);
    let first = State::new(setup);
    let mut known = HashSet::from([first.key()]);
    let mut open = VecDeque::from([first]);
    while let Some(state) = open.pop_front() {
        seen.states += 1;
        if state.machine.stage() != Stage::Stopped {
            state.clone().ends_by_ticks_alone();
            state.clone().ends_by_what_is_done();
        }
        for act in &acts {
            let mut next = state.clone();
            if !next.take(*act) {
                continue;
            }
            seen.edges += 1;
            let ends = next.machine.stage() == Stage::Stopped;
            if ends && state.machine.stage() != Stage::Stopped {
                let outcome = next.checker.outcome().expect("S3");
                *seen.outcomes.entry(outcome).or_default() += 1;
            }
            if known.insert(next.key()) && !ends {
                open.push_back(next);
            }
        }
    }
}

fn setup(parts: [u64; 5], listeners: usize, hooks: usize) -> Setup {
    let [grace, notice, sweep, settle, abort_timeout] = parts.map(ticks);
    Setup {
        config: Config {
            grace,
            notice,
            sweep,
            settle,
            abort_timeout,
        },
        listeners,
        hooks,
    }
}

/// Those in which the parts meet in different orders.
const CHOSEN: [[u64; 5]; 8] = [
    [4, 0, 2, 0, 1],
    [4, 1, 2, 0, 1],
    [4, 0, 2, 1, 1],
    [4, 0, 1, 2, 1],
    [4, 1, 2, 3, 2],
    [3, 3, 0, 0, 0],
    [0, 0, 0, 0, 1],
    [2, 3, 3, 3, 0],
];

#[test]
#[cfg_attr(miri, ignore = "a million edges are too many for an interpreter")]
fn every_reachable_state_keeps_every_clause() {
    let is_full = std::env::var("LAMEDUCK_SEARCH").is_ok_and(|what| what == "full");
    let mut seen = Seen::default();
    if is_full {
        for_each_mix(|parts| {
            for (listeners, hooks) in [(0, 0), (1, 0), (0, 1), (1, 1), (2, 1)] {
                search(setup(parts, listeners, hooks), &mut seen);
            }
        });
    } else {
        for parts in CHOSEN {
            search(setup(parts, 1, 0), &mut seen);
        }
        search(setup(CHOSEN[2], 0, 1), &mut seen);
        search(setup(CHOSEN[6], 2, 1), &mut seen);
    }
    let Seen {
        states,
        edges,
        outcomes,
    } = &seen;
    println!("{states} states, {edges} edges; edges to an end: {outcomes:?}");
    assert_eq!(outcomes.len(), 4, "every outcome is reached");
    assert!(*states > FLOOR, "{states} states are too few to be all");
}

/// Fewer would mean that something is not reached any more.
const FLOOR: usize = 80_000;

fn for_each_mix(mut each: impl FnMut([u64; 5])) {
    for grace in [0, 3, 4] {
        for notice in [0, 1, 3] {
            for sweep in [0, 2] {
                for settle in [0, 1, 3] {
                    for margin in [0, 1] {
                        each([grace, notice, sweep, settle, margin]);
                    }
                }
            }
        }
    }
}
