//! Where the built examples are.

use std::path::PathBuf;
use std::process::Command;

/// Returns the built echo example.
pub(crate) fn echo(runtime: &str) -> PathBuf {
    built("echo", runtime)
}

/// Returns the built HTTP example.
pub(crate) fn http(runtime: &str) -> PathBuf {
    built("http", runtime)
}

/// Returns the built example whose handlers block.
pub(crate) fn blocking() -> PathBuf {
    built("blocking", "tokio-current-thread")
}

/// Returns the built example that is started by a supervisor.
pub(crate) fn activated() -> PathBuf {
    let example = path("activated");
    assert!(
        example.exists(),
        "build the example first: cargo build --example activated"
    );
    example
}

/// Returns an example that knows `runtime`.
///
/// `cargo test` builds it; `cargo test --test` does not, and leaves whatever
/// was built before.
fn built(name: &str, runtime: &str) -> PathBuf {
    let example = path(name);
    let help = Command::new(&example).arg("--help").output();
    let is_current = help.is_ok_and(|help| {
        let help = String::from_utf8_lossy(&help.stdout).into_owned();
        help.split_whitespace()
            .any(|word| word.trim_matches(|c: char| !c.is_alphanumeric()) == runtime)
    });
    assert!(
        is_current,
        "build the example first: cargo build --example {name}"
    );
    example
}

fn path(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("own path");
    let target = test.parent().and_then(|deps| deps.parent());
    target
        .expect("target/debug/deps")
        .join("examples")
        .join(name)
}
