//! The table in `faults.md` and the tests are the same.

#![allow(
    clippy::unwrap_used,
    reason = "a test that unwraps fails, as it should"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// F12, F18 and F19 were merged into others; the numbers are not used again.
fn numbers() -> impl Iterator<Item = u32> {
    (1..=44).filter(|number| ![12, 18, 19].contains(number))
}

/// The tests of each row of the table.
fn table() -> BTreeMap<u32, BTreeSet<String>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/faults.md");
    let text = fs::read_to_string(path).unwrap();
    let rows = text.lines().filter_map(|line| line.strip_prefix("| F"));
    let parse = |row: &str| {
        let cells: Vec<_> = row.split(" | ").collect();
        let names = cells[3].trim_end_matches(" |").split(", ");
        let names = names.filter(|name| *name != "none");
        let names = names.map(|name| name.trim_matches('`').to_owned());
        (cells[0].parse().unwrap(), names.collect())
    };
    rows.map(parse).collect()
}

/// The faults whose numbers are in the name of a test.
fn faults_in(name: &str) -> Vec<u32> {
    let parts = name.split('_').map_while(|part| {
        let (letter, number) = part.split_at_checked(1)?;
        let number: u32 = number.parse().ok()?;
        Some((letter == "f").then_some(number))
    });
    parts.flatten().collect()
}

/// The names of all functions below a folder that carry a fault's number.
fn functions(folder: &Path, names: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            functions(&path, names);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let named = text.split("fn ").skip(1);
            let named = named.filter_map(|rest| rest.split(['(', '<']).next());
            let numbered = named.filter(|name| !faults_in(name).is_empty());
            names.extend(numbered.map(str::to_owned));
        }
    }
}

#[test]
fn every_fault_has_a_row_and_every_test_is_in_it() {
    let table = table();
    let rows: Vec<_> = table.keys().copied().collect();
    assert_eq!(rows, numbers().collect::<Vec<_>>());
    let mut names = BTreeSet::new();
    for folder in ["src", "runtimes", "tests"] {
        functions(
            &Path::new(env!("CARGO_MANIFEST_DIR")).join(folder),
            &mut names,
        );
    }
    for name in &names {
        for number in faults_in(name) {
            assert!(table[&number].contains(name), "F{number} lacks {name}");
        }
    }
    for (number, tests) in &table {
        for name in tests {
            assert!(names.contains(name), "F{number}: there is no test {name}");
            assert!(faults_in(name).contains(number), "F{number}: {name}");
        }
    }
}
