//! Servers that are run in other ways than as a plain child.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{Answer, Folder, LAMEDUCK, check_shell, lameduck, read, wait_until};

const LONG: Duration = Duration::from_secs(20);

/// An address that nobody listens on, as far as one can know.
fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

/// Checks a server that commands start and stop; the file holds its process.
fn check_commands(folder: &Folder, stop: &str, limit: &str) -> Answer {
    let address = free_address();
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
    let address = free_address();
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
    let (address, pid) = (free_address(), folder.file("pid"));
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

#[test]
fn a_process_that_listens_elsewhere_is_not_signalled() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let mut innocent = Command::new("sleep").arg("600").spawn().unwrap();
    let answer = lameduck(&[
        "check",
        "--attach",
        &innocent.id().to_string(),
        "--address",
        &address,
        "--scenario",
        "idle",
    ]);
    let status = innocent.try_wait();
    innocent.kill().unwrap();
    innocent.wait().unwrap();
    assert_eq!(answer.status, 2, "{answer:?}");
    assert!(answer.stderr.contains("but on nothing"), "{answer:?}");
    assert!(status.unwrap().is_none(), "it was ended");
}

/// Starts a server that speaks HTTP, and waits until it listens.
fn http_fixture(address: &str, options: &[&str]) -> Child {
    let server = Command::new(LAMEDUCK)
        .args(["fixture", "none", "--protocol", "http", "--listen", address])
        .args(options)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let begun = Instant::now();
    while std::net::TcpStream::connect(address).is_err() {
        assert!(begun.elapsed() < LONG, "it never listens");
        std::thread::sleep(Duration::from_millis(5));
    }
    server
}

#[test]
fn a_process_that_runs_already_is_followed_over_a_restart() {
    let address = free_address();
    let mut server = http_fixture(&address, &["--hands-over"]);
    let pid = server.id().to_string();
    let mut options = vec!["check", "--protocol", "http", "--attach", &pid];
    options.extend(["--address", &address, "--scenario", "restart"]);
    options.extend(["--restart-signal", "HUP"]);
    let answer = lameduck(&options);
    assert_eq!(server.wait().unwrap().code(), Some(0));
    assert_eq!(answer.status, 0, "{answer:?}");
    let note = "another process has taken its place";
    assert!(answer.stdout.contains(note), "{answer:?}");
    let connected = std::net::TcpStream::connect(&address);
    assert!(connected.is_err(), "its successor serves on");
}

#[test]
fn a_process_that_runs_already_can_be_checked_once() {
    let address = free_address();
    let mut server = http_fixture(&address, &[]);
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
    assert_eq!(server.wait().unwrap().code(), Some(0));
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

#[test]
fn any_signal_can_be_the_one_that_stops() {
    let signals = [("WINCH", "WINCH"), ("28", "WINCH"), ("RTMIN+3", "37")];
    for (given, trapped) in signals {
        let script = format!(
            "\"$0\" fixture none --listen $ADDR & child=$!; trap 'kill -TERM $child' {trapped}; \
             while kill -0 $child 2>/dev/null; do wait $child; done"
        );
        let options = ["--scenario", "idle", "--rounds", "1", "--signal", given];
        let answer = check_shell(&options, &script);
        assert_eq!(answer.status, 0, "{given}: {answer:?}");
    }
    let answer = check_shell(&["--signal", "KILL"], "true");
    assert_eq!(answer.status, 2, "{answer:?}");
}

#[test]
fn a_wrapper_that_keeps_the_signal_is_named() {
    let script = "\"$0\" fixture none --listen $ADDR & wait";
    let options = [
        "--scenario",
        "idle",
        "--rounds",
        "1",
        "--connections",
        "2",
        "--limit",
        "2s",
    ];
    let answer = check_shell(&options, script);
    assert_eq!(answer.status, 1, "{answer:?}");
    let note = "a wrapper has to exec the server or pass the signal on";
    assert!(answer.stdout.contains(note), "{answer:?}");
}

/// The worker has closed its listener, and waits for clients that never leave.
/// The other one was started first, and has nothing to do with any client.
#[test]
fn of_several_processes_the_one_is_named_that_has_the_clients() {
    let script = "sleep 600 & \"$0\" fixture none --protocol http --listen $ADDR & wait";
    let options = [
        "--protocol",
        "http",
        "--scenario",
        "half-request",
        "--rounds",
        "1",
        "--limit",
        "5s",
    ];
    let answer = check_shell(&options, script);
    let note = "SIGTERM ended the process that was started while lameduck (";
    assert!(answer.stdout.contains(note), "{answer:?}");
    assert!(!answer.stdout.contains("sleep ("), "{answer:?}");
}

#[test]
fn a_master_that_passes_the_signal_on_is_not_taken_for_a_wrapper_that_keeps_it() {
    for ends in ["", "; exit 0"] {
        let script = format!(
            "\"$0\" fixture none --grace 60s --listen $ADDR & child=$!; \
             trap 'kill -TERM $child{ends}' TERM; \
             while kill -0 $child 2>/dev/null; do wait $child; done"
        );
        let options = ["--scenario", "stubborn", "--limit", "2s"];
        let answer = check_shell(&options, &script);
        assert!(answer.stdout.contains("stubborn       1 "), "{answer:?}");
        let blame = "pass the signal on";
        assert!(!answer.stdout.contains(blame), "{answer:?}");
    }
}

#[test]
fn a_server_that_ends_with_its_standard_input_needs_one() {
    let script = "\"$0\" fixture none --listen $ADDR & child=$!; \
                  trap 'kill -TERM $child; wait $child; exit' TERM; \
                  cat >/dev/null & wait $!; kill -KILL $child";
    // A shell gives a background command another standard input.
    let script = script.replace("cat >/dev/null &", "cat <&3 >/dev/null &");
    let script = format!("exec 3<&0; {script}");
    let options = ["--scenario", "idle", "--rounds", "1"];
    let answer = check_shell(&options, &script);
    assert_ne!(answer.status, 0, "{answer:?}");
    let answer = check_shell(&[&options[..], &["--stdin", "open"]].concat(), &script);
    assert_eq!(answer.status, 0, "{answer:?}");
}

#[test]
fn the_good_exit_statuses_can_be_named() {
    let script = "exec \"$0\" fixture status --listen $ADDR";
    let options = ["--scenario", "exit", "--rounds", "1"];
    assert_eq!(check_shell(&options, script).status, 1);
    let named = [&options[..], &["--exit-status", "0,1"]].concat();
    let answer = check_shell(&named, script);
    assert_eq!(answer.status, 0, "{answer:?}");
}

#[test]
fn a_server_that_goes_into_the_background_is_an_error_and_is_ended() {
    let options = ["--ready-timeout", "5s", "--scenario", "idle"];
    // The second one leaves its group and its session as well, as daemons do. The third one
    // has lost the tool's mark, as one that gives itself a title has.
    let ways = ["", "setsid", "env -u LAMEDUCK_SERVER setsid"];
    for (number, way) in ways.into_iter().enumerate() {
        let folder = Folder::new(&format!("background-{number}"));
        let file = folder.file("address");
        let script = format!(
            "{way} \"$0\" fixture none --listen $ADDR >/dev/null 2>&1 & \
             echo $ADDR >{}; until printf '' >/dev/tcp/$HOST/$PORT; do :; done 2>/dev/null",
            file.display()
        );
        let server = ["--", "bash", "-c", &script, LAMEDUCK];
        let answer = lameduck(&[&["check"], &options[..], &server].concat());
        assert_eq!(answer.status, 2, "{answer:?}");
        let hint = "running: keep it in the foreground, or use --start and --stop";
        assert!(answer.stderr.contains(hint), "{answer:?}");
        assert!(answer.stderr.contains("left lameduck ("), "{answer:?}");
        let address = read(&file);
        wait_until("nobody listens any more", || {
            std::net::TcpStream::connect(address.trim()).is_err()
        });
    }
}

/// The tool ends it all the same.
#[test]
fn what_a_server_leaves_running_outside_of_its_group_is_noted() {
    for way in ["setsid", "env -u LAMEDUCK_SERVER setsid"] {
        let script = format!(
            "{way} sleep 600 >/dev/null 2>&1 & exec \"$0\" fixture none --listen $ADDR"
        );
        let options = ["--scenario", "exit", "--rounds", "1"];
        let answer = check_shell(&options, &script);
        assert_eq!(answer.status, 0, "{answer:?}");
        let note = "note: what it started outside of its group is still running: sleep (";
        let (_, left) = answer.stdout.split_once(note).expect(note);
        let (pid, _) = left.split_once(')').unwrap();
        wait_until("it is killed", || {
            !std::path::Path::new(&format!("/proc/{pid}")).exists()
        });
    }
}

/// Nobody but the tool can wait for a daemon that it has adopted.
#[test]
fn a_stop_command_can_wait_until_a_daemon_is_gone() {
    let folder = Folder::new("daemon");
    let pid = folder.file("pid");
    let address = free_address();
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

#[test]
fn a_server_that_listens_elsewhere_is_told_where() {
    let elsewhere = free_address();
    let script = format!("exec \"$0\" fixture none --listen {elsewhere}");
    let answer = check_shell(&["--ready-timeout", "2s"], &script);
    assert_eq!(answer.status, 2, "{answer:?}");
    let told = format!("(for 2s), and it listens on {elsewhere}");
    assert!(answer.stderr.contains(&told), "{answer:?}");
}

#[test]
fn a_server_that_listens_where_it_should_is_not_said_to_listen_elsewhere() {
    // It is refused first, and answers later, but not with an end.
    let script = "sleep 0.3; exec \"$0\" fixture none --protocol http --listen $ADDR";
    let options = ["--protocol", "redis", "--ready-timeout", "2s"];
    let answer = check_shell(&options, script);
    assert_eq!(answer.status, 2, "{answer:?}");
    let told = "it accepts connections and does not answer (for 2s)";
    assert!(answer.stderr.contains(told), "{answer:?}");
    assert!(!answer.stderr.contains("and it listens on"), "{answer:?}");
}

#[test]
fn an_answer_without_an_end_is_told_as_one() {
    let script = "exec \"$0\" fixture never-ends --protocol http --listen $ADDR";
    let options = ["--protocol", "http", "--ready-timeout", "1s"];
    let answer = check_shell(&options, script);
    assert_eq!(answer.status, 2, "{answer:?}");
    let told = "its answer to GET / has begun and does not end: choose another one with --path (for 1s)";
    assert!(answer.stderr.contains(told), "{answer:?}");
    assert!(!answer.stderr.contains("and it listens on"), "{answer:?}");
}

/// Its sockets stand in another table of the system than those of its clients.
#[test]
fn a_server_that_listens_for_both_families_is_judged() {
    for listen in ["[::]", "[::ffff:127.0.0.1]"] {
        if TcpListener::bind(format!("{listen}:0")).is_err() {
            // There is no IPv6 here.
            continue;
        }
        let script = format!("exec \"$0\" fixture keeps-silent --listen '{listen}':$PORT");
        let options = ["--scenario", "silent", "--rounds", "1", "--limit", "1s"];
        let options = [&options[..], &["--connections", "5"]].concat();
        let answer = check_shell(&options, &script);
        assert_eq!(answer.status, 1, "{listen}: {answer:?}");
        assert!(!answer.stdout.contains("TCP_DEFER_ACCEPT"), "{answer:?}");
        assert!(answer.stdout.contains("hung=5 "), "{answer:?}");
        let tls = ["--protocol", "http", "--tls", "--insecure"];
        let tls = [&tls[..], &options, &["--scenario", "tls-silent"]].concat();
        let answer = check_shell(&tls, &format!("{script} --protocol http --tls"));
        assert_eq!(answer.status, 1, "{listen}: {answer:?}");
        assert!(answer.stdout.contains("failed=2 "), "{answer:?}");
    }
}

#[test]
fn a_server_without_tls_is_not_said_to_be_missing() {
    let options = ["--protocol", "http", "--tls", "--ready-timeout", "2s"];
    let script = "exec \"$0\" fixture none --protocol http --listen $ADDR";
    let answer = check_shell(&options, script);
    assert_eq!(answer.status, 2, "{answer:?}");
    let told = "it accepts connections and does not answer over TLS";
    assert!(answer.stderr.contains(told), "{answer:?}");
}

#[test]
fn a_stop_command_that_hangs_is_an_error_and_leaves_nothing_behind() {
    let folder = Folder::new("hanging-stop");
    let answer = check_commands(&folder, "sleep 600 && kill -TERM {pid}", "3s");
    assert_eq!(answer.status, 2, "{answer:?}");
    let line = "the stop command failed: it has no end";
    assert!(answer.stderr.contains(line), "{answer:?}");
    let process = format!("/proc/{}/exe", read(&folder.file("pid")).trim());
    wait_until("the server is gone", || {
        std::fs::read_link(&process).is_err()
    });
}

#[test]
fn a_stop_command_that_does_nothing_convicts_and_leaves_nothing_behind() {
    let folder = Folder::new("idle-stop");
    let answer = check_commands(&folder, "true", "3s");
    assert_eq!(answer.status, 1, "{answer:?}");
    let line = "the server did not end within 3s of the stop command";
    assert!(answer.stdout.contains(line), "{answer:?}");
    let process = format!("/proc/{}/exe", read(&folder.file("pid")).trim());
    wait_until("the server is gone", || {
        std::fs::read_link(&process).is_err()
    });
}

#[test]
fn a_stop_command_that_never_works_leaves_nothing_behind() {
    let folder = Folder::new("useless-stop");
    let answer = check_commands(&folder, "echo no permission; exit 7", "20s");
    assert_eq!(answer.status, 2, "{answer:?}");
    let line = "the stop command failed: exit status: 7";
    assert!(answer.stderr.contains(line), "{answer:?}");
    let process = format!("/proc/{}/exe", read(&folder.file("pid")).trim());
    wait_until("the server is gone", || {
        std::fs::read_link(&process).is_err()
    });
}

#[test]
fn an_address_that_is_in_use_is_an_error() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let answer = check_shell(&["--ready", &address], "true");
    assert_eq!(answer.status, 2, "{answer:?}");
    assert!(
        answer.stderr.contains("cannot be the server's"),
        "{answer:?}"
    );
}

#[test]
fn a_server_that_prints_without_an_end_is_an_error() {
    let answer = check_shell(&["--ready-timeout", "300ms"], "exec yes");
    assert_eq!(answer.status, 2, "{answer:?}");
    assert!(answer.stderr.contains("is not ready"), "{answer:?}");
}
