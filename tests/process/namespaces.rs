//! Systems that say less than usual: other network namespaces, SYN cookies, no
//! descriptors.

use std::io::Write;
use std::net::{Ipv4Addr, TcpListener};
use std::process::Command;
use std::thread;
use std::time::Duration;

use command_fds::{CommandFdExt, FdMapping};
use rustix::process::Signal;

use crate::support::{Echo, echo, exchange, rest, stuff};

/// A command in a network namespace of its own; `None` where that is not
/// allowed.
fn in_own_network(script: &str) -> Option<Command> {
    let unshare = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "--net", "sh", "-c", script, "sh"]);
        command
    };
    let mut probe = unshare("test -w /proc/sys/net/ipv4/tcp_syncookies");
    if probe.status().is_ok_and(|status| status.success()) {
        Some(unshare(script))
    } else {
        println!("skipped: this user may not make a network namespace");
        None
    }
}

fn guarantee(runtime: &str, cookies: u8) -> Option<String> {
    let script = format!("echo {cookies} >/proc/sys/net/ipv4/tcp_syncookies && exec \"$@\"");
    let mut command = in_own_network(&script)?;
    command
        .arg(echo(runtime))
        .args(["--runtime", runtime, "--listen", "0.0.0.0:0"]);
    let server = Echo::spawn(&mut command);
    server.signal(Signal::TERM);
    let (status, log) = server.wait();
    assert_eq!(status, 0, "{log}");
    let (_, guarantee) = log.split_once("close guarantee: ").expect(&log);
    Some(guarantee.lines().next().unwrap_or_default().to_owned())
}

pub(crate) fn f56_syn_cookies_leave_no_stronger_guarantee_than_swept(runtime: &str) {
    let Some(with_cookies) = guarantee(runtime, 2) else {
        return;
    };
    assert!(with_cookies.starts_with("swept"), "{with_cookies}");
    // Without them the same system allows the stronger one.
    println!(
        "without cookies: {}",
        guarantee(runtime, 0).expect("as before")
    );
}

pub(crate) fn f57_a_socket_of_another_network_is_swept_and_not_trusted(runtime: &str) {
    let Some(mut command) = in_own_network("exec \"$@\"") else {
        return;
    };
    // It stays in the network that it was made in.
    let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = socket.local_addr().unwrap().to_string();
    command
        .arg(echo(runtime))
        .args(["--restart", "--runtime", runtime]);
    command.args(["--listen", &address]).env("LISTEN_FDS", "1");
    let mapping = FdMapping {
        parent_fd: socket.into(),
        child_fd: 3,
    };
    command.fd_mappings(vec![mapping]).unwrap();
    let server = Echo::spawn(&mut command);
    let mut client = server.connect();
    exchange(&mut client, b"through the other network");
    let mut waiting = server.connect();
    waiting.write_all(b"and its queue").unwrap();
    server.signal(Signal::TERM);
    assert_eq!(rest(client), b"");
    assert_eq!(rest(waiting), b"and its queue");
    let (status, log) = server.wait();
    assert_eq!(status, 0, "{log}");
    assert!(log.contains("close guarantee: swept"), "{log}");
    assert!(!log.contains("does not tell about sockets"), "{log}");
}

/// Those who hold the descriptors are busy for longer than any sweep of its own
/// time would last.
pub(crate) fn f46_a_queue_waits_for_descriptors_as_long_as_the_budget(runtime: &str) {
    let mut command = Command::new("sh");
    command
        .args(["-c", "ulimit -n 40 && exec \"$@\"", "sh"])
        .arg(echo(runtime));
    command.args(["--runtime", runtime, "--listen", "127.0.0.1:0"]);
    let server = Echo::spawn(&mut command);
    // Each is in the middle of an answer, which nobody reads.
    let mut holders: Vec<_> = (0..40).map(|_| server.connect()).collect();
    thread::scope(|scope| {
        for holder in &mut holders {
            scope.spawn(|| stuff(holder));
        }
    });
    let mut waiting: Vec<_> = (0..15).map(|_| server.connect()).collect();
    for client in &mut waiting {
        client.write_all(b"hello").unwrap();
    }
    server.signal(Signal::TERM);
    thread::sleep(Duration::from_millis(1500));
    drop(holders);
    for client in waiting {
        assert_eq!(rest(client), b"hello");
    }
    let (status, log) = server.wait();
    assert_eq!(status, 0, "{log}");
    assert!(!log.contains("unswept"), "{log}");
}

/// And where they stay busy, nobody calls that clean.
pub(crate) fn f46_a_queue_that_was_not_swept_is_reported(runtime: &str) {
    let mut command = Command::new("sh");
    command
        .args(["-c", "ulimit -n 40 && exec \"$@\"", "sh"])
        .arg(echo(runtime));
    command.args(["--runtime", runtime, "--listen", "127.0.0.1:0"]);
    let server = Echo::spawn(command.args(["--grace", "1s"]));
    let mut holders: Vec<_> = (0..40).map(|_| server.connect()).collect();
    thread::scope(|scope| {
        for holder in &mut holders {
            scope.spawn(|| stuff(holder));
        }
    });
    let waiting: Vec<_> = (0..15).map(|_| server.connect()).collect();
    server.signal(Signal::TERM);
    let (status, log) = server.wait();
    assert_eq!(status, 3, "{log}");
    assert!(log.contains("close guarantee: unswept"), "{log}");
    drop((holders, waiting));
}
