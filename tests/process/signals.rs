//! What a signal does to the process and to its clients.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use crate::support::{Echo, LONG, echo, exchange, number, raise_descriptor_limit, rest, stuff};

pub(crate) fn both_signals_drain_and_exit_with_0(runtime: &str) {
    for (signal, name) in [(Signal::INT, "SIGINT"), (Signal::TERM, "SIGTERM")] {
        let server = Echo::start(runtime, &[]);
        let mut client = server.connect();
        exchange(&mut client, b"hello");
        let address = server.address;
        server.signal(signal);
        assert_eq!(rest(&client), b"");
        let peer = client.local_addr().unwrap();
        drop(client);
        let (status, log) = server.wait();
        assert_eq!(status, 0, "{log}");
        for line in [
            format!("{peer} connected"),
            format!("received {name}"),
            format!("stopping ({name}): draining, connections 1, guard count 1"),
            format!("stopped listening on {address}"),
            format!("disconnecting {peer}"),
            "stopped clean".to_owned(),
            "1 accepted: 0 finished, 1 drained".to_owned(),
        ] {
            assert!(log.contains(&line), "no `{line}` in:\n{log}");
        }
    }
}

/// The process is frozen, so that all of it arrives before the signal. Half of
/// the clients are served, half are queued; `LAMEDUCK_FROZEN` says how many.
pub(crate) fn f17_what_was_sent_before_the_signal_is_answered(runtime: &str) {
    raise_descriptor_limit();
    let count = number("LAMEDUCK_FROZEN", 50);
    let server = Echo::start(runtime, &[]);
    let mut served: Vec<_> = (0..count).map(|_| server.connect()).collect();
    for client in &mut served {
        exchange(client, b"served");
    }
    server.freeze();
    let mut queued: Vec<_> = (0..count).map(|_| server.connect()).collect();
    for client in served.iter_mut().chain(&mut queued) {
        client.write_all(b"before the signal").unwrap();
    }
    server.signal(Signal::TERM);
    server.signal(Signal::CONT);
    for client in served.into_iter().chain(queued) {
        assert_eq!(rest(client), b"before the signal");
    }
    let (status, log) = server.wait();
    assert_eq!(status, 0, "{log}");
    assert!(log.contains(&format!("{} accepted", 2 * count)), "{log}");
}

pub(crate) fn f33_a_thousand_idle_connections_end_at_once(runtime: &str) {
    raise_descriptor_limit();
    let server = Echo::start(runtime, &[]);
    let mut clients: Vec<_> = (0..1000).map(|_| server.connect()).collect();
    for client in &mut clients {
        exchange(client, b"once");
    }
    let signalled = Instant::now();
    server.signal(Signal::TERM);
    for client in clients {
        assert_eq!(rest(client), b"");
    }
    let (status, log) = server.wait();
    assert_eq!(status, 0, "{log}");
    assert!(log.contains("1000 drained"), "{log}");
    // It takes milliseconds; the bound is for machines that do more at once.
    assert!(signalled.elapsed() < LONG / 4);
}

pub(crate) fn f28_a_stubborn_client_is_aborted_and_named(runtime: &str) {
    let server = Echo::start(runtime, &["--grace", "500ms"]);
    let mut stubborn = server.connect();
    stuff(&mut stubborn);
    let signalled = Instant::now();
    server.signal(Signal::TERM);
    let (status, log) = server.wait();
    assert_eq!(status, 3, "{log}");
    // The abort timeout is a part of the grace period.
    assert!(signalled.elapsed() >= Duration::from_millis(300));
    let peer = stubborn.local_addr().unwrap();
    assert!(log.contains(&format!("{peer}: busy")), "{log}");
}

pub(crate) fn f38_a_second_signal_aborts(runtime: &str) {
    let server = Echo::start(runtime, &["--grace", "1h"]);
    let mut stubborn = server.connect();
    stuff(&mut stubborn);
    server.signal(Signal::TERM);
    // Within a second it would be the same stop (F45).
    server.wait_for("received SIGTERM");
    server.signal(Signal::INT);
    server.wait_for("SIGINT belongs to the stop that is under way");
    thread::sleep(Duration::from_millis(1100));
    server.signal(Signal::INT);
    let (status, log) = server.wait();
    assert_eq!(status, 3, "{log}");
    assert!(
        log.contains("SIGINT is another request: it aborts"),
        "{log}"
    );
    assert!(log.contains("1 aborted"), "{log}");
    // A connection is cut off: that is a warning.
    let mut warnings = log.lines().filter(|line| line.contains("WARN"));
    assert!(
        warnings.any(|line| line.contains("stopping: aborting")),
        "{log}"
    );
}

/// Whether a command of one's own pid namespace works here.
pub(crate) fn has_namespaces() -> bool {
    let mut unshare = Command::new("unshare");
    let probe = unshare
        .args(["--pid", "--fork", "true"])
        .stderr(Stdio::null());
    probe.status().is_ok_and(|status| status.success())
}

/// Starts what follows it as the first process of a pid namespace.
pub(crate) const AS_PID_1: [&str; 5] = ["unshare", "--pid", "--fork", "--kill-child", "--"];

/// The only child of a process; procfs(5) lists it with the thread that has it.
pub(crate) fn only_child(pid: Pid) -> Pid {
    let pid = pid.as_raw_nonzero();
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let child = children.unwrap().trim().parse().unwrap();
    Pid::from_raw(child).unwrap()
}

pub(crate) fn f35_pid_1_stops_on_sigterm(runtime: &str) {
    if !has_namespaces() {
        return println!("skipped: a pid namespace needs CAP_SYS_ADMIN and unshare(1)");
    }
    let mut command = Command::new(AS_PID_1[0]);
    command.args(&AS_PID_1[1..]).arg(echo(runtime));
    command.args(["--runtime", runtime, "--listen", "127.0.0.1:0"]);
    let server = Echo::spawn(&mut command);
    let mut client = server.connect();
    exchange(&mut client, b"hello, process 1");
    // To a process 1 the kernel delivers only what it has a handler for.
    rustix::process::kill_process(only_child(server.pid()), Signal::TERM).unwrap();
    assert_eq!(rest(&client), b"");
    drop(client);
    assert_eq!(server.wait().0, 0);
}

pub(crate) fn f36_a_stop_whose_signals_merged_is_aborted_by_time(runtime: &str) {
    let server = Echo::start(runtime, &["--grace", "700ms"]);
    let mut stubborn = server.connect();
    stuff(&mut stubborn);
    // While it stands still, two signals of a kind become one.
    server.freeze();
    server.signal(Signal::TERM);
    server.signal(Signal::TERM);
    server.signal(Signal::CONT);
    let (status, log) = server.wait();
    assert_eq!(status, 3, "{log}");
    assert_eq!(log.matches("received SIGTERM").count(), 1, "{log}");
}

pub(crate) fn f7_without_descriptors_it_waits_and_stops(runtime: &str) {
    let mut command = Command::new("sh");
    let script = "ulimit -n 40 && exec \"$@\"";
    command.args(["-c", script, "sh"]).arg(echo(runtime));
    command.args(["--runtime", runtime, "--listen", "127.0.0.1:0"]);
    let server = Echo::spawn(&mut command);
    let mut clients: Vec<_> = (0..60).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.write_all(b"hello").unwrap();
    }
    // The first ones are served; there is no descriptor for the last ones.
    for client in &mut clients[..10] {
        let mut answer = [0; 5];
        std::io::Read::read_exact(client, &mut answer).unwrap();
    }
    let before = cpu_ticks(&server);
    thread::sleep(Duration::from_millis(300));
    let spent = cpu_ticks(&server) - before;
    assert!(spent < 15, "it spins: {spent} ticks of 10 ms in 300 ms");
    server.signal(Signal::TERM);
    let readers: Vec<_> = clients
        .into_iter()
        .map(|client| thread::spawn(move || rest(client)))
        .collect();
    let answered = readers.into_iter().map(|reader| reader.join().unwrap());
    let answered = answered.filter(|answer| answer == b"hello").count();
    assert_eq!(
        answered, 50,
        "those in the queue are served as others leave"
    );
    let (status, log) = server.wait();
    assert_eq!(status, 0, "{log}");
    assert!(log.matches("trying again").count() < 10, "{log}");
    // Once, although it was tried again and again.
    let (before, _) = log.split_once("received SIGTERM").unwrap();
    assert_eq!(before.matches("trying again").count(), 1, "{log}");
}

/// User and system time of a process, as `proc(5)` has it.
fn cpu_ticks(server: &Echo) -> u64 {
    let pid = server.pid().as_raw_nonzero();
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    let mut fields = fields.split(' ').skip(11);
    let mut next = || fields.next().unwrap().parse::<u64>().unwrap();
    next() + next()
}

pub(crate) fn f37_children_would_inherit_no_blocked_signal(runtime: &str) {
    let server = Echo::start(runtime, &[]);
    let pid = server.pid().as_raw_nonzero();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let blocked = status.lines().find_map(|l| l.strip_prefix("SigBlk:"));
    assert_eq!(blocked.map(str::trim), Some("0000000000000000"));
    server.signal(Signal::TERM);
    assert_eq!(server.wait().0, 0);
}

pub(crate) fn a_closed_stderr_does_not_matter(runtime: &str) {
    let name = format!("lameduck-stderr-{runtime}-{}", std::process::id());
    let path = std::env::temp_dir().join(name);
    let mut command = Command::new("sh");
    command
        .args(["-c", "exec \"$@\" 2>&- >&-", "sh"])
        .arg(echo(runtime));
    command.args(["--runtime", runtime, "--listen"]);
    let address = format!("unix:{}", path.display());
    let mut child = command.arg(address).stdin(Stdio::null()).spawn().unwrap();
    let begun = Instant::now();
    let mut client = loop {
        match UnixStream::connect(&path) {
            Ok(client) => break client,
            Err(error) => assert!(begun.elapsed() < LONG, "{error}"),
        }
        thread::yield_now();
    };
    exchange(&mut client, b"does anybody listen?");
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, Signal::TERM).unwrap();
    assert_eq!(rest(&client), b"");
    drop(client);
    assert_eq!(crate::support::wait(&mut child).code(), Some(0));
    assert!(!path.exists());
}
