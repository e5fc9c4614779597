//! Scripts by hand, which are the fuzzer's seeds. Each has to end as it says.

use lameduck::machine::closing::{Config, Facts, Input};

use super::alphabet::Clock::{self, JustBeforeDeadline, Stands, ToDeadline};
use super::alphabet::{CLOCKS, DURATIONS, INPUTS, Step, WRITTEN, encode};
use super::run::Run;
use crate::scripts::assert_seeds;

struct Seed {
    name: &'static str,
    change: fn(&mut Config, &mut Facts),
    steps: &'static [Step],
    is_closed: bool,
}

const LATER: Clock = CLOCKS[1];
const ENDED: Step = Step(Stands, Input::HalfClosed);
const NO_INPUT: Step = Step(Stands, Input::NoInput);
const PEER_ENDS: Step = Step(Stands, Input::End);
const BYTES: Step = Step(LATER, Input::Received);
const TICK: Step = Step(ToDeadline, Input::Tick);
const TWO_LEFT: Step = Step(Stands, INPUTS[3]);
const ONE_LEFT: Step = Step(Stands, INPUTS[4]);
const UNKNOWN: Step = Step(Stands, INPUTS[7]);
const ALL_RECEIVED: Step = Step(Stands, INPUTS[8]);
const SLOW_NETWORK: Step = Step(Stands, INPUTS[10]);

fn nothing(_: &mut Config, _: &mut Facts) {}

fn much(_: &mut Config, facts: &mut Facts) {
    facts.written = WRITTEN[3];
}

fn draining(_: &mut Config, facts: &mut Facts) {
    facts.is_draining = true;
}

fn parts(change: fn(&mut Config, &mut Facts)) -> (Config, Facts) {
    let (mut config, mut facts) = (Config::default(), Facts::default());
    config.idle = DURATIONS[3];
    config.total = DURATIONS[4];
    config.ack_poll_min = DURATIONS[2];
    change(&mut config, &mut facts);
    (config, facts)
}

const SEEDS: &[Seed] = &[
    Seed {
        name: "the-peer-ends",
        change: nothing,
        steps: &[ENDED, NO_INPUT, PEER_ENDS],
        is_closed: true,
    },
    Seed {
        name: "the-peer-is-idle",
        change: nothing,
        steps: &[ENDED, NO_INPUT, TICK, ALL_RECEIVED],
        is_closed: true,
    },
    Seed {
        name: "the-peer-is-idle-where-nothing-is-known",
        change: nothing,
        steps: &[ENDED, NO_INPUT, TICK, UNKNOWN],
        is_closed: true,
    },
    Seed {
        name: "the-peer-goes-on",
        change: nothing,
        steps: &[
            ENDED,
            BYTES,
            BYTES,
            BYTES,
            BYTES,
            BYTES,
            BYTES,
            BYTES,
            ALL_RECEIVED,
        ],
        is_closed: true,
    },
    Seed {
        name: "a-slow-network",
        change: nothing,
        steps: &[ENDED, NO_INPUT, TICK, SLOW_NETWORK, TICK, SLOW_NETWORK],
        is_closed: true,
    },
    Seed {
        name: "the-peer-takes-output",
        change: much,
        steps: &[
            ENDED,
            NO_INPUT,
            TICK,
            TWO_LEFT,
            TICK,
            ONE_LEFT,
            TICK,
            ALL_RECEIVED,
        ],
        is_closed: true,
    },
    Seed {
        name: "the-peer-takes-nothing",
        change: much,
        steps: &[
            ENDED, NO_INPUT, TICK, ONE_LEFT, TICK, ONE_LEFT, TICK, ONE_LEFT, TICK, ONE_LEFT,
        ],
        is_closed: true,
    },
    Seed {
        name: "the-peer-ends-before-it-has-all",
        change: much,
        steps: &[
            ENDED,
            PEER_ENDS,
            TWO_LEFT,
            TICK,
            ONE_LEFT,
            TICK,
            ALL_RECEIVED,
        ],
        is_closed: true,
    },
    Seed {
        name: "draining-and-the-end-came-before",
        change: draining,
        steps: &[ENDED, PEER_ENDS],
        is_closed: false,
    },
    Seed {
        name: "draining-and-the-end-is-an-answer",
        change: draining,
        steps: &[ENDED, NO_INPUT, PEER_ENDS],
        is_closed: true,
    },
    Seed {
        name: "idle-and-draining",
        change: |_, facts| (facts.is_draining, facts.was_idle) = (true, true),
        steps: &[ENDED, PEER_ENDS],
        is_closed: true,
    },
    Seed {
        name: "no-time-at-all",
        change: |config, _| *config = super::alphabet::decode(&[0; 3]).0,
        steps: &[ENDED, ONE_LEFT, ONE_LEFT],
        is_closed: true,
    },
    Seed {
        name: "nothing-that-fits",
        change: nothing,
        steps: &[BYTES, PEER_ENDS, ALL_RECEIVED, ENDED, ENDED, ALL_RECEIVED],
        is_closed: false,
    },
    Seed {
        name: "not-yet-idle",
        change: nothing,
        steps: &[ENDED, NO_INPUT, Step(JustBeforeDeadline, Input::Tick)],
        is_closed: false,
    },
];

#[test]
fn every_seed_ends_as_it_says() {
    for seed in SEEDS {
        let (config, facts) = parts(seed.change);
        let mut run = Run::new(config, facts);
        for step in seed.steps {
            let _ = run.take(*step);
        }
        assert_eq!(run.reference.closed, seed.is_closed, "{}", seed.name);
    }
}

#[test]
fn the_fuzzers_seeds_are_these() {
    let bytes = |seed: &Seed| {
        let (config, facts) = parts(seed.change);
        encode(config, facts, seed.steps)
    };
    let seeds: Vec<_> = SEEDS.iter().map(|seed| (seed.name, bytes(seed))).collect();
    assert_seeds("closing", &seeds);
}
