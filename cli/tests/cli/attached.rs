//! Processes that run already.

use std::net::TcpListener;

use crate::support::{Process, lameduck};

#[test]
fn a_process_that_listens_elsewhere_is_not_signalled() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let mut innocent = Process::start("sleep", &["600"]);
    let answer = lameduck(&[
        "check",
        "--attach",
        &innocent.id().to_string(),
        "--address",
        &address,
        "--scenario",
        "idle",
    ]);
    assert_eq!(answer.status, 2, "{answer:?}");
    assert!(answer.stderr.contains("but on nothing"), "{answer:?}");
    let status = innocent.0.try_wait();
    assert!(status.unwrap().is_none(), "it was ended");
}

#[test]
fn a_process_that_runs_already_is_followed_over_a_restart() {
    let (mut server, address) = Process::fixture_with("none", "http", &["--hands-over"]);
    let address = address.to_string();
    let pid = server.id().to_string();
    let mut options = vec!["check", "--protocol", "http", "--attach", &pid];
    options.extend(["--address", &address, "--scenario", "restart"]);
    options.extend(["--restart-signal", "HUP"]);
    let answer = lameduck(&options);
    assert_eq!(server.0.wait().unwrap().code(), Some(0));
    assert_eq!(answer.status, 0, "{answer:?}");
    let note = "another process has taken its place";
    assert!(answer.stdout.contains(note), "{answer:?}");
    let connected = std::net::TcpStream::connect(&address);
    assert!(connected.is_err(), "its successor serves on");
}

#[test]
fn a_process_that_runs_already_can_be_checked_once() {
    let (mut server, address) = Process::fixture("none", "http");
    let address = address.to_string();
    let pid = server.id().to_string();
    let attach = [
        "check",
        "--protocol",
        "http",
        "--attach",
        &pid,
        "--address",
        &address,
    ];
    let answer = lameduck(&attach);
    assert_eq!(answer.status, 2, "{answer:?}");
    assert!(answer.stderr.contains("name one --scenario"), "{answer:?}");

    let answer = lameduck(&[&attach[..], &["--scenario", "frozen"]].concat());
    assert_eq!(answer.status, 0, "{answer:?}");
    assert_eq!(server.0.wait().unwrap().code(), Some(0));
}

#[test]
fn a_process_that_is_not_there_is_an_error() {
    let options = [
        "--attach",
        "4194300",
        "--address",
        "127.0.0.1:1",
        "--scenario",
        "idle",
    ];
    let answer = lameduck(&[&["check"][..], &options].concat());
    assert_eq!(answer.status, 2, "{answer:?}");
    assert!(answer.stderr.contains("there is no process"), "{answer:?}");
}
