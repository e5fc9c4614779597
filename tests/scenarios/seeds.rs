//! The fuzzer's seeds, byte for byte: stops that are known to be hard.

use std::path::Path;

use crate::alphabet::{AFTERS, Act, CLIENTS, MOST_BYTES, SETUP_BYTES, decode};
use crate::run::run;

/// `(after, act, client)` by index.
type Letters = &'static [(u8, u8, u8)];

const CONNECT: u8 = 0;
const ECHO: u8 = 3;
const MUCH: u8 = 4;
const SLOW: u8 = 6;
const PANIC: u8 = 7;
const HANG: u8 = 9;
const HALF: u8 = 10;
const HALF_CLOSE: u8 = 12;
const LEAVE: u8 = 13;
const RESET: u8 = 14;
const STALL: u8 = 15;
const SIGNAL: u8 = 16;
const ESCALATE: u8 = 17;

/// The setup's bytes that are not zero, by place.
type SetUp = &'static [(usize, u8)];

const SEEDS: [(&str, SetUp, Letters); 14] = [
    (
        "idle",
        &[],
        &[(0, CONNECT, 0), (4, ECHO, 0), (5, SIGNAL, 0)],
    ),
    (
        "queued",
        &[(1, 2)],
        &[
            (0, CONNECT, 0),
            (0, CONNECT, 0),
            (0, ECHO, 1),
            (2, SIGNAL, 0),
        ],
    ),
    (
        "handshake",
        &[(2, 2)],
        &[(0, CONNECT, 0), (0, ECHO, 0), (1, SIGNAL, 0)],
    ),
    (
        "handshake-filtered",
        &[(0, 1), (2, 2)],
        &[(0, CONNECT, 0), (0, ECHO, 0), (1, SIGNAL, 0)],
    ),
    (
        "unread",
        &[(1, 2)],
        &[(0, CONNECT, 0), (4, ECHO, 0), (4, ECHO, 0), (3, SIGNAL, 0)],
    ),
    (
        "half",
        &[],
        &[(0, CONNECT, 0), (4, HALF, 0), (3, SIGNAL, 0), (3, ECHO, 0)],
    ),
    (
        "slow-reader",
        &[(3, 1)],
        &[(0, CONNECT, 0), (3, MUCH, 0), (3, SIGNAL, 0), (1, STALL, 0)],
    ),
    (
        "slow-answer",
        &[],
        &[(0, CONNECT, 0), (3, SLOW, 0), (4, SIGNAL, 0)],
    ),
    (
        "hang",
        &[],
        &[
            (0, CONNECT, 0),
            (3, HANG, 0),
            (4, SIGNAL, 0),
            (2, ESCALATE, 1),
        ],
    ),
    (
        "panic",
        &[],
        &[(0, CONNECT, 0), (3, PANIC, 0), (3, SIGNAL, 0)],
    ),
    (
        "limit",
        &[(5, 2)],
        &[
            (0, CONNECT, 0),
            (0, CONNECT, 0),
            (3, ECHO, 1),
            (4, SIGNAL, 0),
        ],
    ),
    (
        "accept-fails",
        &[(9, 1)],
        &[
            (0, CONNECT, 0),
            (1, CONNECT, 0),
            (2, ECHO, 1),
            (2, SIGNAL, 0),
        ],
    ),
    (
        "late-and-odd",
        &[(9, 30), (6, 1), (7, 1), (8, 1)],
        &[(0, CONNECT, 0), (3, ECHO, 0), (2, SIGNAL, 0)],
    ),
    (
        "leavers",
        &[],
        &[
            (0, CONNECT, 0),
            (0, CONNECT, 0),
            (0, CONNECT, 0),
            (3, LEAVE, 0),
            (1, RESET, 1),
            (1, HALF_CLOSE, 2),
            (1, SIGNAL, 0),
        ],
    ),
];

fn bytes(setup: SetUp, letters: Letters) -> Vec<u8> {
    let mut bytes = vec![0; SETUP_BYTES];
    setup.iter().for_each(|(at, byte)| bytes[*at] = *byte);
    for (after, act, client) in letters {
        bytes.extend([after + client * AFTERS.len() as u8, *act]);
    }
    bytes
}

#[test]
fn the_seeds_are_what_the_fuzzer_begins_with() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/timing");
    for (name, setup, letters) in SEEDS {
        let (file, bytes) = (folder.join(format!("{name}.seed")), bytes(setup, letters));
        assert!(bytes.len() <= MOST_BYTES, "{name} would be cut");
        if std::env::var_os("LAMEDUCK_BLESS").is_some() {
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(&file, &bytes).unwrap();
        }
        // The package has no fuzzer.
        if folder.exists() {
            assert_eq!(
                std::fs::read(&file).unwrap(),
                bytes,
                "LAMEDUCK_BLESS=1 writes {name}"
            );
        }
    }
}

#[test]
fn each_seed_says_what_it_means_and_passes() {
    for (name, setup, letters) in SEEDS {
        let (setup, steps) = decode(&bytes(setup, letters));
        assert_eq!(steps.len(), letters.len(), "{name}");
        assert!(matches!(steps[0].act, Act::Connect), "{name}");
        assert!(letters.iter().all(|(_, _, client)| *client < CLIENTS));
        for (step, (after, ..)) in steps.iter().zip(letters) {
            assert_eq!(step.after, AFTERS[usize::from(*after)], "{name}");
        }
        if let Err(problem) = run(setup, &steps) {
            panic!("{name}: {problem}");
        }
    }
}
