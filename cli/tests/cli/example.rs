//! The library's echo example, which the tool checks.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use crate::support::LAMEDUCK;

/// Runtimes that one build of the example holds.
const FEATURES: &str = "smol,async-std";

/// Returns the path of the example, and builds it when it is missing or was
/// built without `runtime`.
pub(crate) fn echo(runtime: &str) -> PathBuf {
    // Two tests must not build at the same time: one could run the other's half.
    static BUILDING: Mutex<()> = Mutex::new(());
    let _building = BUILDING.lock().unwrap();
    let profile = Path::new(LAMEDUCK).parent().expect("target/PROFILE");
    let echo = profile.join("examples/echo");
    if !holds(&echo, runtime) {
        build(profile);
    }
    assert!(holds(&echo, runtime), "{} lacks {runtime}", echo.display());
    echo
}

fn holds(echo: &Path, runtime: &str) -> bool {
    let Ok(help) = Command::new(echo).arg("--help").output() else {
        return false;
    };
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    let runtimes = help.split_once("possible values: ");
    runtimes.is_some_and(|(_, list)| list.contains(runtime))
}

fn build(profile: &Path) {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(workspace);
    cargo.args(["build", "--quiet", "--package", "lameduck"]);
    cargo.args(["--example", "echo", "--features", FEATURES]);
    cargo
        .arg("--target-dir")
        .arg(profile.parent().expect("target"));
    if profile.ends_with("release") {
        cargo.arg("--release");
    }
    let status = cargo.status().expect("cargo runs");
    assert!(status.success(), "the example cannot be built: {status}");
}
