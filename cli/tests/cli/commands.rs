//! Servers that commands start and stop.

use crate::support::{Answer, Folder, LAMEDUCK, free_address, lameduck, read, wait_until};

/// Checks a server that commands start and stop; the file holds its process.
fn check_commands(folder: &Folder, stop: &str, limit: &str) -> Answer {
    let address = free_address().to_string();
    let pid = folder.file("pid");
    let pid = pid.display();
    let start = format!(
        "setsid {LAMEDUCK} fixture none --protocol http --listen {address} \
         </dev/null >/dev/null 2>&1 & echo $! > {pid}"
    );
    let stop = stop.replace("{pid}", &format!("$(cat {pid})"));
    lameduck(&[
        "check",
        "--protocol",
        "http",
        "--scenario",
        "half-request",
        "--scenario",
        "frozen",
        "--rounds",
        "2",
        "--limit",
        limit,
        "--start",
        &start,
        "--stop",
        &stop,
        "--ready",
        &address,
    ])
}

/// Waits until the server of `check_commands` is gone.
fn wait_until_gone(folder: &Folder) {
    let process = format!("/proc/{}/exe", read(&folder.file("pid")).trim());
    wait_until("the server is gone", || {
        std::fs::read_link(&process).is_err()
    });
}

#[test]
fn commands_start_and_stop_a_server_that_is_no_child() {
    let folder = Folder::new("commands");
    let answer = check_commands(&folder, "kill -TERM {pid}", "20s");
    assert_eq!(answer.status, 0, "{answer:?}");
    assert!(answer.stdout.contains("half-request       2"), "{answer:?}");
    let reason = "the server's process is not known";
    assert!(answer.stdout.contains(reason), "{answer:?}");
}

#[test]
fn a_stop_command_that_fails_is_an_error_and_leaves_nothing_behind() {
    let folder = Folder::new("failing-stop");
    // The first time it does nothing; the second time it does its work.
    let tried = folder.file("tried");
    let stop = format!(
        "test -e {0} && kill -TERM {{pid}} || {{ touch {0}; echo no permission; exit 7; }}",
        tried.display()
    );
    let answer = check_commands(&folder, &stop, "20s");
    assert_eq!(answer.status, 2, "{answer:?}");
    let line = "the stop command failed: exit status: 7";
    assert!(answer.stderr.contains(line), "{answer:?}");
    assert!(answer.stderr.contains("no permission"), "{answer:?}");
}

#[test]
fn a_start_command_that_fails_is_an_error() {
    let address = free_address().to_string();
    let answer = lameduck(&[
        "check", "--start", "exit 3", "--stop", "true", "--ready", &address,
    ]);
    assert_eq!(answer.status, 2, "{answer:?}");
    let line = "the start command failed: exit status: 3";
    assert!(answer.stderr.contains(line), "{answer:?}");
}

#[test]
fn a_start_command_that_fails_leaves_no_server_behind() {
    let folder = Folder::new("failing-start");
    let (address, pid) = (free_address().to_string(), folder.file("pid"));
    let server = format!(
        "setsid {LAMEDUCK} fixture none --listen {address} </dev/null >/dev/null 2>&1 & \
         echo $! > {}",
        pid.display()
    );
    // It fails once the server runs.
    let start = format!(
        "{server}; until test -s {}; do :; done; exit 5",
        pid.display()
    );
    let answer = lameduck(&[
        "check", "--start", &start, "--stop", "true", "--ready", &address,
    ]);
    assert_eq!(answer.status, 2, "{answer:?}");
    let line = "the start command failed: exit status: 5";
    assert!(answer.stderr.contains(line), "{answer:?}");
    let left = format!("/proc/{}/cmdline", read(&pid).trim());
    // A process that has ended, and waits for its parent, has no command line.
    let is_left = std::fs::read(&left).is_ok_and(|words| !words.is_empty());
    assert!(!is_left, "{left}: it runs on");
}

/// Nobody but the tool can wait for a daemon that it has adopted.
#[test]
fn a_stop_command_can_wait_until_a_daemon_is_gone() {
    let folder = Folder::new("daemon");
    let pid = folder.file("pid");
    let address = free_address().to_string();
    let start = format!(
        "{LAMEDUCK} fixture none --listen {address} >/dev/null 2>&1 & echo $! >{}",
        pid.display()
    );
    let stop = format!(
        "kill $(cat {0}); while kill -0 $(cat {0}) 2>/dev/null; do :; done",
        pid.display()
    );
    let answer = lameduck(&[
        "check",
        "--start",
        &start,
        "--stop",
        &stop,
        "--ready",
        &address,
        "--scenario",
        "idle",
        "--rounds",
        "1",
        "--limit",
        "10s",
    ]);
    assert_eq!(answer.status, 0, "{answer:?}");
}

/// Runs a check with this stop command, and waits until the server is gone.
fn check_stop_command(name: &str, stop: &str, limit: &str) -> Answer {
    let folder = Folder::new(name);
    let answer = check_commands(&folder, stop, limit);
    wait_until_gone(&folder);
    answer
}

#[test]
fn a_stop_command_that_hangs_is_an_error_and_leaves_nothing_behind() {
    let answer = check_stop_command("hanging-stop", "sleep 600 && kill -TERM {pid}", "3s");
    assert_eq!(answer.status, 2, "{answer:?}");
    let line = "the stop command failed: it has no end";
    assert!(answer.stderr.contains(line), "{answer:?}");
}

#[test]
fn a_stop_command_that_does_nothing_convicts_and_leaves_nothing_behind() {
    let answer = check_stop_command("idle-stop", "true", "3s");
    assert_eq!(answer.status, 1, "{answer:?}");
    let line = "the server did not end within 3s of the stop command";
    assert!(answer.stdout.contains(line), "{answer:?}");
}

#[test]
fn a_stop_command_that_never_works_leaves_nothing_behind() {
    let answer = check_stop_command("useless-stop", "echo no permission; exit 7", "20s");
    assert_eq!(answer.status, 2, "{answer:?}");
    let line = "the stop command failed: exit status: 7";
    assert!(answer.stderr.contains(line), "{answer:?}");
}
