//! The library's examples, which the tool checks.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use crate::support::LAMEDUCK;

/// Runtimes that one build of the example holds.
const FEATURES: &str = "smol,async-std";

/// Returns the path of the example, and builds it first: one that is there may be
/// older than the library, or lack `runtime`.
pub(crate) fn echo(runtime: &str) -> PathBuf {
    example("echo", runtime)
}

/// The same of the example that speaks HTTP.
pub(crate) fn http(runtime: &str) -> PathBuf {
    example("http", runtime)
}

fn example(name: &str, runtime: &str) -> PathBuf {
    // Two tests must not build at the same time: one could run the other's half.
    static BUILT: Mutex<Vec<String>> = Mutex::new(Vec::new());
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    let profile = Path::new(LAMEDUCK).parent().expect("target/PROFILE");
    let example = profile.join("examples").join(name);
    if !built.iter().any(|known| known == name) {
        build(profile, name);
        built.push(name.to_owned());
    }
    let path = example.display();
    assert!(holds(&example, runtime), "{path} lacks {runtime}");
    example
}

fn holds(example: &Path, runtime: &str) -> bool {
    let Ok(help) = Command::new(example).arg("--help").output() else {
        return false;
    };
    // The list is in brackets, or has lines of its own under a heading.
    let help = String::from_utf8_lossy(&help.stdout).to_ascii_lowercase();
    let runtimes = help.split_once("possible values:");
    runtimes.is_some_and(|(_, list)| list.contains(runtime))
}

fn build(profile: &Path, example: &str) {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(workspace);
    cargo.args(["build", "--quiet", "--package", "lameduck"]);
    cargo.args(["--example", example, "--features", FEATURES]);
    cargo
        .arg("--target-dir")
        .arg(profile.parent().expect("target"));
    if profile.ends_with("release") {
        cargo.arg("--release");
    }
    let status = cargo.status().expect("cargo runs");
    assert!(status.success(), "the example cannot be built: {status}");
}
