//! Servers that are run in other ways than as a plain child.

use std::net::TcpListener;

use crate::support::{Folder, LAMEDUCK, check_shell, lameduck, read, wait_until};

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

#[test]
fn a_shell_whose_trap_waits_for_the_server_is_told_so() {
    let script = "trap 'kill -TERM $child' TERM; \"$0\" fixture none --listen $ADDR; exit";
    let options = ["--scenario", "idle", "--rounds", "1", "--connections", "2"];
    let answer = check_shell(&[&options[..], &["--limit", "2s"]].concat(), script);
    assert_eq!(answer.status, 1, "{answer:?}");
    let note = "the first one catches the signal and has not passed it on";
    assert!(answer.stdout.contains(note), "{answer:?}");
}

#[test]
fn a_process_that_ignores_the_signal_is_named() {
    let script = "trap '' TERM; \"$0\" fixture none --listen $ADDR & wait";
    let options = ["--scenario", "idle", "--rounds", "1", "--connections", "2"];
    let answer = check_shell(&[&options[..], &["--limit", "2s"]].concat(), script);
    assert_eq!(answer.status, 1, "{answer:?}");
    let note = ") ignores SIGTERM: --signal has to name what stops it";
    assert!(answer.stdout.contains(note), "{answer:?}");
}

/// All of its clients have had an end by then, if no answer.
#[test]
fn what_outlives_a_server_is_not_said_to_owe_answers_to_clients_that_are_gone() {
    let script = "\"$0\" fixture drops-half --protocol lines --listen $ADDR & child=$!; \
                  sleep 600 & trap 'kill -TERM $child; wait $child; exit 0' TERM; wait $child";
    let options = ["--protocol", "lines", "--rounds", "1"];
    let options = [&options[..], &["--scenario", "half-request"]].concat();
    let answer = check_shell(&options, script);
    assert!(answer.stdout.contains("failed=1 "), "{answer:?}");
    let blame = "ended the process that was started while";
    assert!(!answer.stdout.contains(blame), "{answer:?}");
}

#[test]
fn how_a_server_ended_is_told_in_a_sentence() {
    let script = "exec \"$0\" fixture status --listen $ADDR";
    let options = ["--scenario", "idle", "--rounds", "1"];
    let answer = check_shell(&options, script);
    let note = "note: it ended with exit status: 1";
    assert!(answer.stdout.contains(note), "{answer:?}");
}

/// It was told to restart, and not to stop: that it still runs convicts nobody.
#[test]
fn a_restart_that_changes_the_port_is_told_with_the_new_one() {
    let script = "\"$0\" fixture none --listen $ADDR & child=$!; \
                  trap 'kill -KILL $child; \"$0\" fixture none --listen $HOST:0 & child=$!' HUP; \
                  trap 'kill -TERM $child; wait $child; exit 0' TERM; \
                  while :; do wait $child; done";
    let options = ["--scenario", "restart", "--rounds", "1"];
    let answer = check_shell(
        &[&options[..], &["--restart-signal", "HUP"]].concat(),
        script,
    );
    assert_eq!(answer.status, 1, "{answer:?}");
    let problem =
        "it answers nobody three seconds after the restart, and listens on 127.0.0.1:";
    assert!(answer.stdout.contains(problem), "{answer:?}");
    let refused = "more connections that were refused";
    assert!(answer.stdout.contains(refused), "{answer:?}");
    assert!(answer.stdout.contains("overdue=0 "), "{answer:?}");
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

/// A freeze that does not reach it is an error, and a limit that does not is no test of it.
#[test]
fn a_server_in_a_session_of_its_own_is_frozen_and_limited_too() {
    let cases = [("frozen", "none", 0), ("descriptors", "accept-ends", 1)];
    for (scenario, fault, status) in cases {
        let script = format!(
            "setsid \"$0\" fixture {fault} --protocol lines --listen $ADDR & \
             child=$!; trap 'kill -TERM $child' TERM; \
             while kill -0 $child 2>/dev/null; do wait $child; done"
        );
        let options = [
            "--protocol",
            "lines",
            "--rounds",
            "1",
            "--scenario",
            scenario,
        ];
        let answer = check_shell(&options, &script);
        assert_eq!(answer.status, status, "{scenario}: {answer:?}");
    }
}

#[test]
fn a_wrapper_whose_server_has_a_session_of_its_own_is_named() {
    let script = "setsid --wait \"$0\" fixture none --listen $ADDR";
    let options = ["--scenario", "idle", "--rounds", "1", "--connections", "2"];
    let answer = check_shell(&options, script);
    assert_eq!(answer.status, 1, "{answer:?}");
    let note = "a wrapper has to exec the server or pass the signal on";
    assert!(answer.stdout.contains(note), "{answer:?}");
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
