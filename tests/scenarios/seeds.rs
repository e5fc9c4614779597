//! The fuzzer's first inputs: stops that are known to be hard.

use std::path::Path;
use std::time::Duration;

use lameduck::Signal;
use lameduck::report::Outcome;
use lameduck::rt::CloseGuarantee;

use crate::alphabet::{
    Action, Ask, BACKLOGS, Faults, LATENCIES, LIMITS, MOST_BYTES, POLL_COSTS, SOCKET_BUFFERS,
    Setup, Step, WAITS, decode, encode,
};
use crate::run::run;

/// A script with a name, and how its stop ends.
struct Seed {
    name: &'static str,
    setup: Setup,
    steps: Vec<Step>,
    outcome: Outcome,
}

const BUSY: Duration = POLL_COSTS[2];
const FAR: Duration = LATENCIES[2];
const TERMINATE: Action = Action::Signal(Signal::Terminate);

fn after(after: u16, action: Action) -> Step {
    Step { after, action }
}

fn ask(client: u8, ask: Ask) -> Action {
    Action::Ask(client, ask)
}

fn seed(name: &'static str, setup: Setup, steps: impl IntoIterator<Item = Step>) -> Seed {
    Seed {
        name,
        setup,
        steps: steps.into_iter().collect(),
        outcome: Outcome::Clean,
    }
}

fn ends(outcome: Outcome, seed: Seed) -> Seed {
    Seed { outcome, ..seed }
}

fn seeds() -> Vec<Seed> {
    let mut seeds = connections();
    seeds.extend(listeners());
    seeds.extend(stops());
    seeds
}

/// What connections do around the stop.
fn connections() -> Vec<Seed> {
    let simple = Setup::SIMPLE;
    let busy = Setup {
        poll_cost: BUSY,
        ..simple
    };
    let small = Setup {
        socket_buffer: SOCKET_BUFFERS[1],
        ..simple
    };
    let yields = Setup {
        faults: Faults {
            forced_yields: true,
            ..Faults::NONE
        },
        ..simple
    };
    let (connect, echo) = (Action::Connect, ask(0, Ask::Echo));
    vec![
        seed(
            "idle",
            simple,
            [after(0, connect), after(50, echo), after(400, TERMINATE)],
        ),
        seed(
            "unread",
            busy,
            [
                after(0, connect),
                after(50, echo),
                after(50, echo),
                after(10, TERMINATE),
            ],
        ),
        seed(
            "half",
            simple,
            [
                after(0, connect),
                after(50, Action::AskHalf(0)),
                after(10, TERMINATE),
                after(1, echo),
            ],
        ),
        seed(
            "between-two-looks",
            simple,
            [
                after(0, connect),
                after(3, echo),
                after(3, Action::SignalInPoll(Signal::Terminate)),
            ],
        ),
        seed(
            "yields",
            yields,
            [
                after(0, connect),
                after(10, echo),
                after(3, echo),
                after(3, TERMINATE),
            ],
        ),
        // Its answer does not fit into the buffers, and it never closes.
        seed(
            "stalls",
            small,
            [
                after(0, connect),
                after(10, ask(0, Ask::Much)),
                after(10, TERMINATE),
                after(1, Action::Stall(0)),
            ],
        ),
        seed(
            "slow-answer",
            simple,
            [
                after(0, connect),
                after(10, ask(0, Ask::Slow(60))),
                after(50, TERMINATE),
            ],
        ),
        seed(
            "panic",
            simple,
            [
                after(0, connect),
                after(10, ask(0, Ask::Panic)),
                after(10, TERMINATE),
            ],
        ),
        seed(
            "leavers",
            simple,
            [
                after(0, connect),
                after(0, connect),
                after(0, connect),
                after(10, Action::CloseNow(0)),
                after(1, Action::Reset(1)),
                after(1, Action::HalfClose(2)),
                after(1, TERMINATE),
            ],
        ),
    ]
}

/// What is in the accept queue, and what comes out of handshakes.
fn listeners() -> Vec<Seed> {
    let simple = Setup::SIMPLE;
    let (connect, echo) = (Action::Connect, ask(0, Ask::Echo));
    let far = Setup {
        latency: FAR,
        ..simple
    };
    let filtered = Setup {
        guarantee: CloseGuarantee::SynFiltered,
        ..far
    };
    let late = Setup {
        faults: Faults {
            late_handshakes: true,
            hidden_handshakes: true,
            ..Faults::NONE
        },
        ..filtered
    };
    let handshake = [after(0, connect), after(0, echo), after(1, TERMINATE)];
    let two = [
        after(0, connect),
        after(0, connect),
        after(10, ask(1, Ask::Echo)),
        after(50, TERMINATE),
    ];
    vec![
        seed(
            "queued",
            Setup {
                poll_cost: BUSY,
                backlog: BACKLOGS[1],
                ..simple
            },
            [
                after(0, connect),
                after(0, connect),
                after(0, ask(1, Ask::Echo)),
                after(3, TERMINATE),
            ],
        ),
        seed("handshake", far, handshake),
        seed("handshake-filtered", filtered, handshake),
        seed("handshake-late", late, handshake),
        seed(
            "limit",
            Setup {
                connection_limit: LIMITS[2],
                ..simple
            },
            two,
        ),
        seed(
            "descriptors",
            Setup {
                descriptor_limit: LIMITS[2],
                ..simple
            },
            two,
        ),
        // The one that has the only descriptor never ends (F46).
        ends(
            Outcome::Aborted,
            seed(
                "descriptors-for-ever",
                Setup {
                    descriptor_limit: LIMITS[2],
                    ..simple
                },
                [
                    after(0, connect),
                    after(10, ask(0, Ask::Hang)),
                    after(3, connect),
                    after(3, ask(1, Ask::Echo)),
                    after(50, TERMINATE),
                ],
            ),
        ),
        seed(
            "accept-fails",
            Setup {
                faults: Faults {
                    accepts_fail: true,
                    ..Faults::NONE
                },
                ..simple
            },
            two,
        ),
    ]
}

/// How a stop is asked for, and what holds it up.
fn stops() -> Vec<Seed> {
    let simple = Setup::SIMPLE;
    let interrupt = Action::Signal(Signal::Interrupt);
    let connect = Action::Connect;
    let slow = [after(0, connect), after(10, ask(0, Ask::Slow(60)))];
    let hang = [after(0, connect), after(10, ask(0, Ask::Hang))];
    let with = |steps: [Step; 2], more: &[Step]| [&steps, more].concat();
    vec![
        ends(
            Outcome::Aborted,
            seed(
                "hang",
                simple,
                with(hang, &[after(50, TERMINATE), after(3, Action::Abort)]),
            ),
        ),
        // One stop that is delivered twice (F45).
        seed(
            "same-signal-twice",
            simple,
            with(slow, &[after(50, TERMINATE), after(1, TERMINATE)]),
        ),
        seed(
            "two-signals",
            simple,
            with(slow, &[after(50, interrupt), after(3, TERMINATE)]),
        ),
        ends(
            Outcome::Aborted,
            seed(
                "signal-again",
                simple,
                with(
                    hang,
                    &[
                        after(50, TERMINATE),
                        after(0, Action::Freeze(3000)),
                        after(3, TERMINATE),
                    ],
                ),
            ),
        ),
        // A freeze takes the time of nobody (F61).
        seed(
            "frozen",
            simple,
            with(
                slow,
                &[after(50, TERMINATE), after(1, Action::Freeze(3000))],
            ),
        ),
        ends(
            Outcome::Failed,
            seed(
                "hook-hangs",
                Setup {
                    hook: Duration::MAX,
                    ..simple
                },
                with(slow, &[after(50, TERMINATE)]),
            ),
        ),
        seed(
            "late-and-odd",
            Setup {
                lame_duck: WAITS[1],
                settle: WAITS[1],
                hook: WAITS[1],
                faults: Faults {
                    slow_segments: true,
                    late_timers: true,
                    odd_wakes: true,
                    odd_signals: true,
                    ..Faults::NONE
                },
                ..simple
            },
            with(slow, &[after(3, TERMINATE)]),
        ),
    ]
}

#[test]
fn the_corpus_of_the_fuzzer_holds_these_seeds() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/timing");
    for Seed {
        name, setup, steps, ..
    } in seeds()
    {
        let (file, bytes) = (folder.join(format!("{name}.seed")), encode(&setup, &steps));
        assert!(bytes.len() <= MOST_BYTES, "{name} would be cut");
        if std::env::var_os("LAMEDUCK_BLESS").is_some() {
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(&file, &bytes).unwrap();
        }
        // The package has no fuzzer.
        if folder.exists() {
            let found = std::fs::read(&file).unwrap();
            assert_eq!(found, bytes, "LAMEDUCK_BLESS=1 writes {name}");
        }
    }
}

#[test]
fn the_bytes_of_a_script_are_the_script() {
    for seed in seeds() {
        let decoded = decode(&encode(&seed.setup, &seed.steps));
        assert_eq!(decoded, (seed.setup, seed.steps), "{}", seed.name);
    }
}

#[test]
fn each_seed_keeps_every_clause_and_ends_as_it_should() {
    for seed in seeds() {
        let name = seed.name;
        match run(seed.setup, &seed.steps) {
            Ok(report) => assert_eq!(report.outcome, seed.outcome, "{name}: {report}"),
            Err(problem) => panic!("{name}: {problem}"),
        }
    }
}

/// Each of ten silent clients has the only descriptor for the idle time of its
/// close, and there is not the time for all. The fuzzer took that for an abort
/// without a reason.
/// The pauses between tries were as long as those of a server that goes on.
#[test]
fn f46_errors_in_a_row_do_not_cut_the_sweep() {
    const FOUND: [u8; 62] = [
        0, 0, 50, 255, 15, 3, 128, 247, 255, 123, 255, 255, 255, 255, 247, 0, 0, 0, 0, 0, 0, 2,
        4, 123, 123, 123, 123, 123, 123, 123, 123, 123, 123, 123, 123, 123, 123, 123, 123, 123,
        123, 123, 91, 123, 123, 121, 123, 123, 123, 123, 123, 123, 123, 123, 123, 123, 123,
        123, 123, 123, 107, 36,
    ];
    let (setup, steps) = decode(&FOUND);
    let report = run(setup, &steps).unwrap_or_else(|problem| panic!("{problem}"));
    assert_eq!(report.accepted, 3, "{report}");
    assert_eq!(report.closed.drained, 3, "{report}");
}

#[test]
fn f46_one_descriptor_for_ten_silent_clients_takes_the_whole_budget() {
    const FOUND: [u8; 58] = [
        0, 0, 0, 0, 0, 92, 92, 92, 92, 92, 92, 92, 0, 0, 0, 0, 0, 0, 0, 64, 0, 61, 0, 46, 114,
        253, 235, 255, 0, 0, 88, 0, 0, 0, 76, 0, 0, 0, 2, 18, 0, 0, 0, 0, 0, 16, 0, 0, 12, 0,
        0, 131, 0, 0, 2, 3, 2, 18,
    ];
    let (setup, steps) = decode(&FOUND);
    let report = run(setup, &steps).unwrap_or_else(|problem| panic!("{problem}"));
    assert_eq!(report.outcome, Outcome::Aborted, "{report}");
}
