//! The sections of the two documents that define numbers, and the lists of
//! tests in them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// The number of a clause or a fault, such as S4 or F16.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Number {
    pub(crate) letter: char,
    pub(crate) value: u32,
}

impl Number {
    /// Returns the number that this word is, if it is one.
    pub(crate) fn parse(word: &str) -> Option<Number> {
        let letter = word
            .chars()
            .next()
            .filter(|letter| "SLF".contains(*letter))?;
        let digits = &word[1..];
        let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
        let short = (1..=3).contains(&digits.len()) && !digits.starts_with('0');
        let value = (plain && short).then(|| digits.parse().ok())??;
        Some(Number { letter, value })
    }

    /// Returns the numbers that the name of a test begins with: S5 and F46 for
    /// `s5_f46_an_unswept_listener_is_not_clean`.
    pub(crate) fn all_in_name(name: &str) -> impl Iterator<Item = Number> {
        name.split('_').map_while(|part| {
            let lower = part.starts_with(|letter: char| letter.is_ascii_lowercase());
            Number::parse(&part.to_uppercase()).filter(|_| lower)
        })
    }

    /// Returns the numbers that a text cites, each as a word of its own.
    pub(crate) fn all_in_text(text: &str) -> impl Iterator<Item = Number> {
        let words = text.split(|c: char| !c.is_alphanumeric() && c != '_');
        words.filter_map(Number::parse)
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.letter, self.value)
    }
}

/// The names of the tests of each number.
pub(crate) type Tests = BTreeMap<Number, BTreeSet<String>>;

/// A part of a document below a heading that is a number.
pub(crate) struct Section {
    pub(crate) number: Number,
    /// Its paragraphs, but for the list of tests.
    pub(crate) body: Vec<String>,
    /// The tests that it lists.
    pub(crate) tests: BTreeSet<String>,
}

impl Section {
    fn parse(number: Number, text: &str) -> Section {
        let paragraphs = text
            .split("\n\n")
            .map(str::trim)
            .filter(|text| !text.is_empty());
        let (lists, body): (Vec<&str>, Vec<&str>) =
            paragraphs.partition(|text| text.starts_with(LIST));
        let names = lists
            .iter()
            .flat_map(|list| list.split('`').skip(1).step_by(2));
        Section {
            number,
            body: body.into_iter().map(str::to_owned).collect(),
            tests: names.map(str::to_owned).collect(),
        }
    }

    /// Returns whether one of its paragraphs begins with this word.
    pub(crate) fn has(&self, word: &str) -> bool {
        self.body.iter().any(|text| text.starts_with(word))
    }
}

const LIST: &str = "Tests:";

/// Returns the sections of a document, in its order.
pub(crate) fn parse(document: &str) -> Vec<Section> {
    let headed = split(document).into_iter();
    headed
        .filter_map(|(heading, text)| Some(Section::parse(number_of(heading)?, text)))
        .collect()
}

/// Returns the document with the lists of these tests in place of its own.
pub(crate) fn with_tests(document: &str, tests: &Tests) -> String {
    let mut written = String::new();
    for (heading, text) in split(document) {
        written.push_str(heading);
        let Some(number) = number_of(heading) else {
            written.push_str(text);
            continue;
        };
        for paragraph in Section::parse(number, text).body {
            written.push_str("\n\n");
            written.push_str(&paragraph);
        }
        if let Some(names) = tests.get(&number) {
            let names: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
            written.push_str(&format!("\n\n{LIST}\n{}", names.join(",\n")));
        }
        written.push_str("\n\n");
    }
    written.truncate(written.trim_end().len());
    written.push('\n');
    written
}

fn number_of(heading: &str) -> Option<Number> {
    Number::parse(heading.strip_prefix("### ")?.trim())
}

/// Splits a document into its headings, each with the text below it. What
/// stands before the first heading has an empty one.
fn split(document: &str) -> Vec<(&str, &str)> {
    let mut parts = Vec::new();
    let (mut heading, mut from, mut at) = ("", 0, 0);
    for line in document.split_inclusive('\n') {
        if line.starts_with('#') {
            parts.push((heading, &document[from..at]));
            heading = line.trim_end();
            from = at + heading.len();
        }
        at += line.len();
    }
    parts.push((heading, &document[from..]));
    parts
}

#[test]
fn a_number_is_a_word_of_its_own() {
    let found = |text| {
        Number::all_in_text(text)
            .map(|n| n.to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(found("as F16, (S4) and `L2`: see #f9"), ["F16", "S4", "L2"]);
    assert!(found("F1600 S X4 F016 SF4 S4_x IPv4 F-1 S4x").is_empty());
}

#[test]
fn the_name_of_a_test_begins_with_its_numbers() {
    let found = |name| {
        Number::all_in_name(name)
            .map(|n| n.to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(found("l4_f44_a_waiter_sees_f1_too"), ["L4", "F44"]);
    assert!(found("a_second_f38_stop").is_empty());
    assert!(found("F38_stop").is_empty());
}

#[test]
fn a_document_is_written_as_it_was_read() {
    let document = "# Title\n\nText.\n\n## Part\n\n### F1\n\nWrong.\n\nKept out: so.\n\n\
                    Tests:\n`f1_a`,\n`f1_b`\n\n### F2\n\nOpen: later.\n";
    let sections = parse(document);
    assert_eq!(sections.len(), 2);
    assert_eq!(sections[0].body, ["Wrong.", "Kept out: so."]);
    assert!(sections[1].has("Open:") && sections[1].tests.is_empty());
    let tests: Tests = sections
        .into_iter()
        .filter(|section| !section.tests.is_empty())
        .map(|section| (section.number, section.tests))
        .collect();
    assert_eq!(with_tests(document, &tests), document);
}
