//! The guide describes every setting of the builder, and no other.

use std::collections::BTreeSet;

use crate::files;

#[test]
fn the_guide_lists_every_setting() {
    let builder = files::read("src/server/builder.rs");
    let methods = builder
        .lines()
        .filter_map(|line| line.trim().strip_prefix("pub fn "));
    let methods = methods.filter_map(|rest| rest.split(['(', '<']).next());
    let settings: BTreeSet<_> = methods.filter(|name| *name != "bind").collect();

    let guide = files::read("docs/guide.md");
    let (_, from) = guide.split_once("\n## Settings\n").unwrap();
    let section = from.split("\n## ").next().unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
    let listed: BTreeSet<_> = rows.filter_map(|row| row.split('`').next()).collect();

    let missing: Vec<_> = settings.difference(&listed).collect();
    assert!(missing.is_empty(), "docs/guide.md lists no {missing:?}");
    let unknown: Vec<_> = listed.difference(&settings).collect();
    assert!(
        unknown.is_empty(),
        "docs/guide.md lists {unknown:?}, which no builder has"
    );
    assert!(settings.len() > 10, "only {settings:?} were found");
}
