//! The planted bugs can still be planted; `tests/planted/run` looks whether they
//! are caught.

#![allow(
    clippy::unwrap_used,
    reason = "a test that unwraps fails, as it should"
)]

use std::fs;
use std::path::Path;
use std::process::Command;

#[test]
fn each_planted_bug_applies_and_names_its_check() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut count = 0;
    for entry in fs::read_dir(root.join("tests/planted")).unwrap() {
        let patch = entry.unwrap().path();
        if patch
            .extension()
            .is_none_or(|extension| extension != "patch")
        {
            continue;
        }
        count += 1;
        let name = patch.display();
        let text = fs::read_to_string(&patch).unwrap();
        let mut lines = text.lines();
        assert!(lines.next().unwrap().starts_with("# "), "{name}");
        let check = lines.next().unwrap();
        let checks = ["# check: cargo test ", "# check: benches/counts"];
        assert!(checks.iter().any(|by| check.starts_with(by)), "{name}");
        assert!(lines.next().unwrap().starts_with("# fails: "), "{name}");
        let mut apply = Command::new("git");
        apply
            .args(["apply", "--check"])
            .arg(&patch)
            .current_dir(root);
        match apply.output() {
            Ok(done) => {
                let said = String::from_utf8_lossy(&done.stderr);
                assert!(done.status.success(), "{name}: {said}");
            }
            Err(error) => return println!("skipped: no git here: {error}"),
        }
    }
    assert!(count >= 30, "only {count} are left");
}
