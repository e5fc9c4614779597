//! The verdicts: of the fixtures, and of this crate's own example.

use serde_json::Value;

use crate::example::echo;
use crate::support::{Folder, check_shell, lameduck, read};

/// A good server for each scenario, and each bad one; more rounds:
/// `lameduck self-test --rounds 50`.
#[test]
fn the_tool_convicts_the_bad_and_nobody_else() {
    let answer = lameduck(&["self-test"]);
    assert_eq!(answer.status, 0, "{answer:?}");
    assert!(answer.stdout.contains(" 0 of them wrong"), "{answer:?}");
}

#[test]
fn the_echo_example_loses_nothing_on_smol() {
    check_echo("smol");
}

#[test]
fn the_echo_example_loses_nothing_on_async_std() {
    check_echo("async-std");
}

fn check_echo(runtime: &str) {
    let echo = echo(runtime);
    let server = [
        &echo.to_string_lossy(),
        "--runtime",
        runtime,
        "--grace",
        // Beside busy compilers slow readers take long; stubborn ones take all of it.
        "12s",
    ];
    let answer = lameduck(
        &[
            &["check", "--json", "-", "--rounds", "1", "--"][..],
            &server,
            &["--listen", "{addr}"],
        ]
        .concat(),
    );
    assert_eq!(answer.status, 0, "{answer:?}");
    let document: Value = serde_json::from_str(&answer.stdout).unwrap();
    assert_eq!(document["passed"], true);
    assert_eq!(document["protocol"], "echo");
    let scenarios = document["scenarios"].as_array().unwrap();
    assert_eq!(scenarios.len(), 17, "{scenarios:#?}");
    for row in scenarios {
        assert_eq!(row["verdict"], "passed", "{row:#}");
        assert_eq!(row["messages_lost"], 0, "{row:#}");
        assert_eq!(row["rounds"], 1, "{row:#}");
    }
}

#[test]
fn a_loss_is_told_in_full() {
    let options = [
        "--scenario",
        "frozen",
        "--connections",
        "5",
        "--rounds",
        "1",
    ];
    let script = "exec \"$0\" fixture stop-first --listen $ADDR";
    let answer = check_shell(&options, script);
    assert_eq!(answer.status, 1, "{answer:?}");
    assert!(answer.stdout.contains("failed"), "{answer:?}");
    let told = answer.stdout.lines().find(|line| line.contains("client "));
    let told = told.expect("a loss");
    assert!(told.contains("before the signal"), "{told}");
    assert!(told.contains("no answer"), "{told}");
    let others = " more connections with a lost message";
    assert!(answer.stdout.contains(others), "{answer:?}");
    assert!(
        !answer.stdout.contains('\x1b'),
        "colour in a pipe: {answer:?}"
    );
    assert_eq!(answer.stderr, "", "progress in a pipe");
}

#[test]
fn the_result_goes_into_a_file_beside_the_table() {
    let folder = Folder::new("result");
    let file = folder.file("result.json");
    let name = file.to_string_lossy();
    let options = [
        "--scenario",
        "exit",
        "--rounds",
        "1",
        "--json",
        &name,
        "--markdown",
    ];
    let answer = check_shell(&options, "exec \"$0\" fixture none --listen $ADDR");
    assert_eq!(answer.status, 0, "{answer:?}");
    assert!(answer.stdout.starts_with("| scenario"), "{answer:?}");
    let document: Value = serde_json::from_str(&read(&file)).unwrap();
    assert_eq!(document["scenarios"][0]["scenario"], "exit");
}
