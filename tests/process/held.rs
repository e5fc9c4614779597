//! Handlers that hold their threads, and work that blocks.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::example::blocking;
use crate::support::Echo;

/// Longer than each bound here, and short enough for a test that fails.
const WORK: &str = "6000";

/// A process with so many clients who have all begun `what`.
fn begin(runtime: &str, what: &str, clients: usize, grace: &str) -> (Echo, Vec<TcpStream>) {
    let mut command = Command::new(blocking());
    command.args([
        "--runtime",
        runtime,
        "--listen",
        "127.0.0.1:0",
        "--grace",
        grace,
    ]);
    let server = Echo::spawn(&mut command);
    let mut working = Vec::new();
    for number in 0..clients {
        let mut client = server.connect();
        writeln!(client, "{what} {WORK}").unwrap();
        // Beyond the runtime's threads nobody is served: those wait.
        if number == 0 || what == "block" {
            client.read_exact(&mut [0; 6]).unwrap();
        }
        working.push(client);
    }
    (server, working)
}

fn assert_soon(since: Instant, log: &str) {
    let took = since.elapsed();
    assert!(took < Duration::from_secs(4), "{took:?}: {log}");
    println!("{took:?}");
}

pub(crate) fn l1_the_second_signal_ends_a_process_whose_threads_are_held(runtime: &str) {
    for handlers in [1, 2, 4] {
        let (server, working) = begin(runtime, "hold", handlers, "1h");
        server.signal(Signal::TERM);
        server.wait_for("stopping");
        // Sooner it would be the same stop (F45).
        thread::sleep(Duration::from_millis(150));
        let signalled = Instant::now();
        server.signal(Signal::TERM);
        let (status, log) = server.wait();
        assert_soon(signalled, &log);
        assert_eq!(status, 3, "{log}");
        drop(working);
    }
}

pub(crate) fn l1_the_budget_ends_a_process_whose_threads_are_held(runtime: &str) {
    let (server, working) = begin(runtime, "hold", 4, "500ms");
    let signalled = Instant::now();
    server.signal(Signal::TERM);
    let (status, log) = server.wait();
    assert_soon(signalled, &log);
    assert_eq!(status, 3, "{log}");
    drop(working);
}

pub(crate) fn l1_the_exit_does_not_wait_for_blocking_work(runtime: &str) {
    let (server, working) = begin(runtime, "block", 2, "500ms");
    let signalled = Instant::now();
    server.signal(Signal::TERM);
    let (status, log) = server.wait();
    assert_soon(signalled, &log);
    assert_eq!(status, 3, "{log}");
    assert!(log.contains("2 aborted"), "{log}");
    drop(working);
}
