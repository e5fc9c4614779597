//! Where the built echo example is.

use std::path::PathBuf;
use std::process::Command;

/// The built example, with `runtime` compiled in.
///
/// `cargo test` builds it with the features of the tests; `cargo test --test`
/// does not, and leaves whatever was built before.
pub(crate) fn echo(runtime: &str) -> PathBuf {
    let test = std::env::current_exe().expect("own path");
    let target = test.parent().and_then(|deps| deps.parent());
    let echo = target.expect("target/debug/deps").join("examples/echo");
    let help = Command::new(&echo).arg("--help").output();
    let is_current = help.is_ok_and(|help| {
        let help = String::from_utf8_lossy(&help.stdout).into_owned();
        let runtimes = help.split_once("possible values: ");
        runtimes.is_some_and(|(_, list)| list.contains(runtime))
    });
    let build = format!("cargo build --example echo --features {runtime}");
    assert!(is_current, "build the example first: {build}");
    echo
}
