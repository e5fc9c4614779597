//! The planted bugs can still be planted; `tests/planted/run` looks whether they
//! are caught.

#![allow(
    clippy::unwrap_used,
    reason = "a test that unwraps fails, as it should"
)]

use std::path::Path;
use std::process::Command;

#[test]
fn each_planted_bug_can_be_planted() {
    let run = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/planted/run");
    let checked = match Command::new("python3").arg(run).arg("--check").output() {
        Ok(checked) => checked,
        Err(error) => return println!("skipped: no python3 here: {error}"),
    };
    let problems = String::from_utf8_lossy(&checked.stderr);
    if problems.contains("No module named 'tomllib'") {
        return println!("skipped: this python3 cannot read TOML");
    }
    assert!(checked.status.success(), "{problems}");
    let said = String::from_utf8_lossy(&checked.stdout);
    let count: usize = said.split(' ').next().unwrap().parse().unwrap();
    assert!(count >= 50, "only {count} are left");
}
