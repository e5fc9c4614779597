//! Clauses, faults and tests cite each other by number.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use crate::files;
use crate::sections::{self, Number, Section, Tests};

const SPEC: &str = "docs/spec.md";
const FAULTS: &str = "docs/faults.md";

/// The clauses whose code is being written. It must become empty: take a
/// clause off this list with its first test.
const PENDING: &[&str] = &[];

/// The faults that were merged into others. Their numbers are not used again.
const MERGED: &[&str] = &["F12", "F18", "F19"];

fn numbers(names: &[&str]) -> BTreeSet<Number> {
    names
        .iter()
        .map(|name| Number::parse(name).unwrap())
        .collect()
}

fn defined() -> Vec<Section> {
    let mut all = sections::parse(&files::read(SPEC));
    all.extend(sections::parse(&files::read(FAULTS)));
    all
}

/// Finds every test that carries numbers, by the names of all functions.
fn tests() -> Tests {
    let mut tests = Tests::new();
    for path in files::below(&["src", "runtimes", "tests"], &["rs"]) {
        let text = files::read(path);
        let names = text.split("fn ").skip(1);
        let names = names.filter_map(|rest| rest.split(['(', '<']).next());
        for name in names.map(str::trim) {
            for number in Number::all_in_name(name) {
                tests.entry(number).or_default().insert(name.to_owned());
            }
        }
    }
    tests
}

fn tests_of(tests: &Tests, number: Number) -> BTreeSet<String> {
    tests.get(&number).cloned().unwrap_or_default()
}

#[test]
fn every_number_is_defined_once_and_none_is_left_out() {
    let merged = numbers(MERGED);
    let mut last = BTreeMap::new();
    for Section { number, .. } in defined() {
        assert!(
            !merged.contains(&number),
            "{number} was merged into another"
        );
        let before = last.insert(number.letter, number.value).unwrap_or(0);
        let expected = (before + 1..).find(|value| {
            let next = Number {
                value: *value,
                ..number
            };
            !merged.contains(&next)
        });
        assert_eq!(Some(number.value), expected, "{number} is not in its place");
    }
    let letters: Vec<_> = last.into_keys().collect();
    assert_eq!(letters, ['F', 'L', 'S']);
}

#[test]
fn each_section_lists_the_tests_that_carry_its_number() {
    let tests = tests();
    if std::env::var_os("LAMEDUCK_BLESS").is_some() {
        for name in [SPEC, FAULTS] {
            // Replaced at once, since the other tests are reading it.
            let (path, written) = (files::at(name), files::at(format!("{name}.new")));
            fs::write(&written, sections::with_tests(&files::read(name), &tests)).unwrap();
            fs::rename(written, path).unwrap();
        }
    }
    let mut wrong = Vec::new();
    for Section {
        number,
        tests: listed,
        ..
    } in defined()
    {
        let found = tests_of(&tests, number);
        let unknown = listed.difference(&found);
        wrong
            .extend(unknown.map(|name| format!("{number} lists {name}, which does not exist")));
        let missing = found.difference(&listed);
        wrong.extend(missing.map(|name| format!("{number} does not list {name}")));
    }
    let cure = "write the lists again: LAMEDUCK_BLESS=1 cargo test --test spec";
    assert!(wrong.is_empty(), "{}\n{cure}", wrong.join("\n"));
}

#[test]
fn every_clause_has_a_test_unless_it_is_pending() {
    let (tests, pending) = (tests(), numbers(PENDING));
    let sections = sections::parse(&files::read(SPEC));
    let clauses: BTreeSet<_> = sections.iter().map(|section| section.number).collect();
    assert!(
        pending.is_subset(&clauses),
        "what is pending is not in {SPEC}"
    );
    for clause in clauses {
        let tested = !tests_of(&tests, clause).is_empty();
        match pending.contains(&clause) {
            false => assert!(tested, "{clause} has no test"),
            true => assert!(
                !tested,
                "{clause} has a test: take it off PENDING in {}",
                file!()
            ),
        }
    }
}

/// A fault that is kept out in part is both.
#[test]
fn a_fault_is_kept_out_exactly_if_it_has_a_test_and_else_open() {
    let tests = tests();
    for section in sections::parse(&files::read(FAULTS)) {
        let number = section.number;
        match tests_of(&tests, number).is_empty() {
            false => assert!(
                section.has("Kept out: "),
                "{number} has a test: write in {FAULTS} what keeps it out"
            ),
            true => assert!(
                section.has("Open: ") && !section.has("Kept out: "),
                "{number} has no test, so it is open: write in {FAULTS} what is planned"
            ),
        }
    }
}

#[test]
fn every_number_that_is_cited_is_defined() {
    let known: BTreeSet<_> = defined().iter().map(|section| section.number).collect();
    let folders = [
        "src",
        "runtimes",
        "tests",
        "fuzz",
        "examples",
        "cli",
        "benches",
        "compare",
        "docs",
        "README.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
    ];
    let merged = numbers(MERGED);
    let (mut cited, mut wrong) = (0, BTreeSet::new());
    for path in files::below(&folders, &["rs", "md", "toml", "patch"]) {
        // This folder names numbers that are none, and those that were merged.
        if path.starts_with("tests/spec") {
            continue;
        }
        let merged_too = path.as_os_str() == FAULTS;
        let text = files::read(&path);
        let names = text.split(|c: char| !c.is_alphanumeric() && c != '_');
        let names = names.filter(|name| name.contains('_'));
        for number in Number::all_in_text(&text).chain(names.flat_map(Number::all_in_name)) {
            let is_merged = merged_too && merged.contains(&number);
            if !is_merged && !known.contains(&number) {
                wrong.insert(format!(
                    "{} cites {number}, which is not defined",
                    path.display()
                ));
            }
            cited += 1;
        }
    }
    let wrong: Vec<_> = wrong.into_iter().collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(
        cited > 500,
        "only {cited} citations were found: is the search still right?"
    );
}

#[test]
fn what_the_spec_says_is_not_there_yet_is_open() {
    let spec = files::read(SPEC);
    let (_, planned) = spec.split_once("## Not there yet").unwrap();
    let faults = sections::parse(&files::read(FAULTS));
    for number in Number::all_in_text(planned) {
        let fault = faults.iter().find(|section| section.number == number);
        let open = fault.is_some_and(|section| section.has("Open: "));
        assert!(
            open,
            "{number} is not open any more: take it out of `Not there yet`"
        );
    }
}
