//! Scripts by hand, which are the fuzzer's seeds. Each has to end as it says.

use lameduck::machine::sweep::{AcceptError, Config, Input};
use lameduck::rt::CloseGuarantee::{self, HandedOver, Swept, SynFiltered, Unswept};

use super::alphabet::Clock::{self, Stands, ToDeadline};
use super::alphabet::{CLOCKS, COUNTS, DURATIONS, Step, encode};
use super::run::Run;
use crate::scripts::assert_seeds;

struct Seed {
    name: &'static str,
    change: fn(&mut Config),
    steps: &'static [Step],
    ends: Option<CloseGuarantee>,
}

const LATER: Clock = CLOCKS[1];
const ACCEPT: Step = Step(Stands, Input::Accepted);
const EMPTY: Step = Step(Stands, Input::QueueEmpty);
const TICK: Step = Step(ToDeadline, Input::Tick);
const NO_DESCRIPTOR: Step = Step(Stands, Input::AcceptFailed(AcceptError::Resources));
const GONE: Step = Step(Stands, Input::AcceptFailed(AcceptError::Connection));
const BROKEN: Step = Step(Stands, Input::AcceptFailed(AcceptError::Listener));
const CLOSE: Step = Step(Stands, Input::Close);

const fn stop(guarantee: CloseGuarantee) -> Step {
    Step(Stands, Input::StopAccepting(guarantee))
}

const fn handshakes(count: Option<usize>) -> Step {
    Step(Stands, Input::Handshakes(count))
}

fn config(change: fn(&mut Config)) -> Config {
    let mut config = Config::default();
    config.queue = COUNTS[3];
    config.batch = 2;
    config.back_off_min = DURATIONS[3];
    config.back_off_max = DURATIONS[4];
    config.sweep_back_off_max = DURATIONS[4];
    config.handshake_poll_min = DURATIONS[2];
    config.handshake_poll_max = DURATIONS[3];
    config.handshake_timeout = DURATIONS[4];
    config.blind_wait = DURATIONS[3];
    change(&mut config);
    config
}

fn nothing(_: &mut Config) {}

const SEEDS: &[Seed] = &[
    Seed {
        name: "accepting",
        change: nothing,
        steps: &[ACCEPT, EMPTY, ACCEPT, GONE, ACCEPT, EMPTY],
        ends: None,
    },
    Seed {
        name: "swept",
        change: nothing,
        steps: &[stop(Swept), ACCEPT, ACCEPT, EMPTY],
        ends: Some(Swept),
    },
    Seed {
        name: "as-many-as-the-queue-holds",
        change: nothing,
        steps: &[stop(Swept), ACCEPT, ACCEPT, ACCEPT, ACCEPT],
        ends: Some(Swept),
    },
    Seed {
        name: "limited",
        change: |config| config.limit = Some(COUNTS[2]),
        steps: &[stop(Swept), ACCEPT, ACCEPT],
        ends: Some(Unswept),
    },
    Seed {
        name: "limited-to-nothing",
        change: |config| config.limit = Some(COUNTS[0]),
        steps: &[stop(SynFiltered)],
        ends: Some(Unswept),
    },
    Seed {
        name: "handed-over",
        change: nothing,
        steps: &[ACCEPT, stop(HandedOver), EMPTY],
        ends: Some(HandedOver),
    },
    Seed {
        name: "filtered",
        change: nothing,
        steps: &[
            stop(SynFiltered),
            EMPTY,
            TICK,
            handshakes(Some(0)),
            ACCEPT,
            EMPTY,
        ],
        ends: Some(SynFiltered),
    },
    Seed {
        name: "handshakes",
        change: nothing,
        steps: &[
            stop(SynFiltered),
            EMPTY,
            handshakes(Some(3)),
            ACCEPT,
            TICK,
            handshakes(Some(3)),
            ACCEPT,
            EMPTY,
            TICK,
            handshakes(Some(0)),
            EMPTY,
        ],
        ends: Some(SynFiltered),
    },
    Seed {
        name: "handshakes-that-never-end",
        change: |config| config.handshake_timeout = DURATIONS[2],
        steps: &[
            stop(SynFiltered),
            EMPTY,
            handshakes(Some(3)),
            TICK,
            handshakes(Some(3)),
            EMPTY,
        ],
        ends: Some(Swept),
    },
    Seed {
        name: "handshakes-that-nobody-sees",
        change: nothing,
        steps: &[
            stop(SynFiltered),
            EMPTY,
            handshakes(None),
            EMPTY,
            TICK,
            handshakes(None),
            EMPTY,
        ],
        ends: Some(Swept),
    },
    Seed {
        name: "no-descriptors",
        change: nothing,
        steps: &[
            NO_DESCRIPTOR,
            TICK,
            NO_DESCRIPTOR,
            TICK,
            NO_DESCRIPTOR,
            stop(Swept),
            NO_DESCRIPTOR,
            TICK,
            ACCEPT,
            EMPTY,
        ],
        ends: Some(Swept),
    },
    Seed {
        name: "no-descriptors-until-the-abort",
        change: nothing,
        steps: &[
            stop(Swept),
            NO_DESCRIPTOR,
            TICK,
            NO_DESCRIPTOR,
            Step(LATER, Input::Tick),
            CLOSE,
        ],
        ends: Some(Unswept),
    },
    Seed {
        name: "closed-while-asked",
        change: nothing,
        steps: &[
            stop(SynFiltered),
            EMPTY,
            Step(ToDeadline, Input::Close),
            handshakes(Some(0)),
        ],
        ends: Some(Unswept),
    },
    Seed {
        name: "broken",
        change: nothing,
        steps: &[ACCEPT, BROKEN, ACCEPT],
        ends: Some(Unswept),
    },
    Seed {
        name: "no-time-and-no-room",
        change: |config| *config = super::alphabet::decode(&[0; 9]).0,
        steps: &[NO_DESCRIPTOR, TICK, NO_DESCRIPTOR, TICK, ACCEPT, CLOSE],
        ends: Some(Unswept),
    },
];

#[test]
fn every_seed_ends_as_it_says() {
    for seed in SEEDS {
        let mut run = Run::new(config(seed.change));
        for step in seed.steps {
            let _ = run.take(*step);
        }
        assert_eq!(run.sweep.guarantee(), seed.ends, "{}", seed.name);
    }
}

#[test]
fn the_fuzzers_seeds_are_these() {
    let bytes = |seed: &Seed| encode(config(seed.change), seed.steps);
    let seeds: Vec<_> = SEEDS.iter().map(|seed| (seed.name, bytes(seed))).collect();
    assert_seeds("sweep", &seeds);
}
