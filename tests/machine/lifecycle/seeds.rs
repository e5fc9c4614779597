//! Scripts by hand, which are the fuzzer's seeds. Each has to end as it says.

use lameduck::machine::lifecycle::Input::{
    Abort, Emptied, HandedOver, HookDone, ListenerClosed, Signal as Caught, Stop, Tick,
};
use lameduck::machine::lifecycle::{Config, Failed, Outcome, Output};
use lameduck::{Phase, Signal};

use super::alphabet::Act::{Complies, Fails, Gives};
use super::alphabet::Clock::{AfterEnd, JustBeforeDeadline, Stands, To, ToDeadline};
use super::alphabet::{CLOCKS, Clock, DURATIONS, Setup, Step, encode};
use super::run::Run;
use crate::scripts::assert_seeds;

/// A script, and the phase and the outcome that it leads to.
struct Seed {
    name: &'static str,
    change: fn(&mut Config),
    steps: &'static [Step],
    ends: Result<Outcome, Phase>,
}

const A_LITTLE_LATER: Clock = CLOCKS[1];
const LATER: Clock = CLOCKS[2];
const A_LITTLE_LATE: Clock = CLOCKS[5];
const FROZEN: Clock = CLOCKS[6];
const FAILED: Result<(), Failed> = Err(Failed);

/// What was told is done, and nothing else happens.
const DONE: Step = Step(Stands, Complies);
/// The timer fires.
const TICK: Step = Step(ToDeadline, Gives(Tick));

fn nothing(_: &mut Config) {}

fn lame_duck(config: &mut Config) {
    config.lame_duck = DURATIONS[3];
}

fn settle(config: &mut Config) {
    config.settle = DURATIONS[3];
}

/// Two listeners and two hooks; a grace period of 1 s, of which 100 ms are for
/// hooks and 10 ms for an abort.
fn setup(change: fn(&mut Config)) -> Setup {
    let mut config = Config::default();
    config.grace_period = DURATIONS[5];
    config.abort_timeout = DURATIONS[3];
    config.hook_reserve = DURATIONS[4];
    config.same_signal_window = DURATIONS[2];
    config.other_signal_window = DURATIONS[4];
    change(&mut config);
    Setup {
        config,
        listeners: 2,
        hooks: 2,
    }
}

const TERM: Step = Step(Stands, Gives(Caught(Signal::Terminate)));
const INT: Step = Step(Stands, Gives(Caught(Signal::Interrupt)));
const STOP: Step = Step(Stands, Gives(Stop));

const SEEDS: &[Seed] = &[
    Seed {
        name: "clean-stop",
        change: nothing,
        steps: &[STOP, DONE, DONE, DONE, DONE, DONE],
        ends: Ok(Outcome::Clean),
    },
    Seed {
        name: "lame-duck",
        change: lame_duck,
        steps: &[STOP, TICK, DONE, DONE, DONE, DONE, DONE],
        ends: Ok(Outcome::Clean),
    },
    Seed {
        name: "settle",
        change: settle,
        steps: &[STOP, DONE, DONE, TICK, DONE, DONE, DONE],
        ends: Ok(Outcome::Clean),
    },
    Seed {
        name: "emptied-while-settling",
        change: settle,
        steps: &[STOP, DONE, DONE, DONE, DONE, DONE],
        ends: Ok(Outcome::Clean),
    },
    Seed {
        name: "restart",
        change: lame_duck,
        steps: &[
            Step(A_LITTLE_LATER, Gives(HandedOver)),
            DONE,
            DONE,
            Step(FROZEN, Gives(Tick)),
            DONE,
            DONE,
            DONE,
        ],
        ends: Ok(Outcome::Clean),
    },
    Seed {
        name: "restart-then-stop",
        change: nothing,
        steps: &[
            Step(Stands, Gives(HandedOver)),
            DONE,
            DONE,
            TERM,
            TICK,
            TICK,
            TICK,
        ],
        ends: Err(Phase::Aborting),
    },
    Seed {
        name: "restart-with-an-end",
        change: |config| config.restart_grace_period = Some(DURATIONS[5]),
        steps: &[
            Step(Stands, Gives(HandedOver)),
            DONE,
            DONE,
            // Half of the time, three quarters of it, and the abort.
            TICK,
            TICK,
            TICK,
            DONE,
            DONE,
            DONE,
        ],
        ends: Ok(Outcome::Aborted),
    },
    Seed {
        name: "the-same-signal-twice-at-once",
        change: nothing,
        steps: &[
            TERM,
            Step(A_LITTLE_LATER, Gives(Caught(Signal::Terminate))),
            INT,
        ],
        ends: Err(Phase::Draining),
    },
    Seed {
        name: "the-same-signal-twice",
        change: nothing,
        steps: &[TERM, Step(LATER, Gives(Caught(Signal::Terminate)))],
        ends: Err(Phase::Aborting),
    },
    Seed {
        name: "a-stop-then-a-signal",
        change: nothing,
        steps: &[STOP, Step(LATER, Gives(Caught(Signal::Terminate)))],
        ends: Err(Phase::Draining),
    },
    Seed {
        name: "abort-while-running",
        change: lame_duck,
        steps: &[Step(Stands, Gives(Abort)), DONE, DONE, DONE, DONE, DONE],
        ends: Ok(Outcome::Aborted),
    },
    Seed {
        name: "abort-while-a-hook-runs",
        change: nothing,
        steps: &[
            STOP,
            DONE,
            DONE,
            DONE,
            Step(A_LITTLE_LATER, Gives(Abort)),
            DONE,
            TICK,
        ],
        ends: Ok(Outcome::Aborted),
    },
    Seed {
        name: "grace-period-over",
        change: nothing,
        steps: &[STOP, DONE, DONE, TICK, TICK, TICK, DONE, DONE, DONE],
        ends: Ok(Outcome::Aborted),
    },
    Seed {
        name: "abandoned",
        change: nothing,
        steps: &[
            STOP,
            TICK,
            TICK,
            TICK,
            Step(JustBeforeDeadline, Gives(Tick)),
            TICK,
            Step(Stands, Gives(HookDone(0, Ok(())))),
            Step(Stands, Gives(HookDone(1, Ok(())))),
            STOP,
        ],
        ends: Ok(Outcome::Abandoned),
    },
    Seed {
        name: "emptied-after-it-was-abandoned",
        change: nothing,
        steps: &[
            STOP,
            DONE,
            DONE,
            TICK,
            TICK,
            TICK,
            TICK,
            Step(Stands, Gives(Emptied)),
            DONE,
            DONE,
        ],
        ends: Ok(Outcome::Aborted),
    },
    Seed {
        name: "a-little-late",
        change: lame_duck,
        steps: &[
            STOP,
            Step(A_LITTLE_LATE, Gives(Tick)),
            Step(A_LITTLE_LATE, Gives(Tick)),
            Step(A_LITTLE_LATE, Gives(Tick)),
            Step(A_LITTLE_LATE, Gives(Tick)),
            Step(A_LITTLE_LATE, Gives(Tick)),
            Step(A_LITTLE_LATE, Gives(Tick)),
            Step(A_LITTLE_LATE, Gives(Tick)),
        ],
        ends: Ok(Outcome::Abandoned),
    },
    Seed {
        name: "frozen-for-ever",
        change: nothing,
        steps: &[
            STOP,
            Step(FROZEN, Gives(Tick)),
            Step(FROZEN, Gives(Tick)),
            Step(FROZEN, Gives(Tick)),
            Step(FROZEN, Gives(Tick)),
            Step(FROZEN, Gives(Tick)),
            Step(FROZEN, Gives(Tick)),
            Step(FROZEN, Gives(Tick)),
            Step(FROZEN, Gives(Tick)),
        ],
        ends: Ok(Outcome::Abandoned),
    },
    Seed {
        name: "lost-ticks",
        change: |config| config.abort_timeout = DURATIONS[0],
        steps: &[STOP, Step(AfterEnd, Gives(Stop))],
        ends: Ok(Outcome::Abandoned),
    },
    Seed {
        name: "one-listener-fails-while-running",
        change: lame_duck,
        steps: &[
            Step(Stands, Gives(ListenerClosed(1, FAILED))),
            TICK,
            DONE,
            DONE,
            DONE,
            DONE,
        ],
        ends: Ok(Outcome::Failed),
    },
    Seed {
        name: "all-listeners-fail-while-lame-duck",
        change: lame_duck,
        steps: &[
            STOP,
            Step(Stands, Gives(ListenerClosed(0, FAILED))),
            Step(Stands, Gives(ListenerClosed(1, FAILED))),
            DONE,
            DONE,
            DONE,
        ],
        ends: Ok(Outcome::Failed),
    },
    Seed {
        name: "a-sweep-fails",
        change: nothing,
        steps: &[STOP, Step(Stands, Fails), DONE, DONE, DONE, DONE],
        ends: Ok(Outcome::Failed),
    },
    Seed {
        name: "a-hook-fails",
        change: nothing,
        steps: &[STOP, DONE, DONE, DONE, Step(Stands, Fails), DONE],
        ends: Ok(Outcome::Failed),
    },
    Seed {
        name: "hooks-hang",
        change: nothing,
        steps: &[STOP, DONE, DONE, DONE, TICK, TICK],
        ends: Ok(Outcome::Failed),
    },
    Seed {
        name: "no-time-for-anything",
        change: |config| config.grace_period = DURATIONS[0],
        steps: &[STOP],
        ends: Ok(Outcome::Abandoned),
    },
    Seed {
        name: "the-clock-goes-wrong",
        change: lame_duck,
        steps: &[
            Step(LATER, Gives(Tick)),
            Step(CLOCKS[9], Gives(Stop)),
            Step(CLOCKS[8], Gives(Tick)),
            Step(To(DURATIONS[6]), Gives(Tick)),
            Step(CLOCKS[9], Gives(Tick)),
        ],
        ends: Ok(Outcome::Abandoned),
    },
    Seed {
        name: "nothing-that-fits",
        change: nothing,
        steps: &[
            Step(Stands, Gives(Emptied)),
            Step(Stands, Gives(HookDone(0, FAILED))),
            STOP,
            Step(Stands, Gives(ListenerClosed(usize::MAX, FAILED))),
            Step(Stands, Gives(Emptied)),
            Step(Stands, Gives(HandedOver)),
            STOP,
        ],
        ends: Err(Phase::Draining),
    },
];

#[test]
fn every_seed_ends_as_it_says() {
    for seed in SEEDS {
        let mut run = Run::new(setup(seed.change));
        for step in seed.steps {
            let _ = run.take(*step);
        }
        let ended = match run.outputs.last() {
            Some(Output::Complete(outcome)) => Ok(*outcome),
            _ => Err(run.lifecycle.phase()),
        };
        assert_eq!(ended, seed.ends, "{}", seed.name);
    }
}

#[test]
fn the_fuzzers_seeds_are_these() {
    let bytes = |seed: &Seed| encode(setup(seed.change), seed.steps);
    let seeds: Vec<_> = SEEDS.iter().map(|seed| (seed.name, bytes(seed))).collect();
    assert_seeds("lifecycle", &seeds);
}
