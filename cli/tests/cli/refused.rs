//! What cannot be checked: a clear line, and the right status.

use std::process::Command;

use crate::support::{LAMEDUCK, check_shell, lameduck};

/// `$0` is the tool itself.
const FIXTURE: &str = "exec \"$0\" fixture none --listen $ADDR";

#[test]
fn a_server_that_does_not_exist() {
    let answer = lameduck(&["check", "--", "/nonexistent/server", "{addr}"]);
    assert_eq!(answer.status, 2, "{answer:?}");
    let line = "lameduck: cannot start \"/nonexistent/server\": No such file";
    assert!(answer.stderr.starts_with(line), "{answer:?}");
    assert_eq!(answer.stdout, "");
}

#[test]
fn a_server_that_ends_at_once_is_quoted() {
    let answer = check_shell(&[], "echo no configuration >&2; exit 3");
    assert_eq!(answer.status, 2, "{answer:?}");
    let line = "the server ended before it was asked to: exit status: 3; it printed:";
    assert!(answer.stderr.contains(line), "{answer:?}");
    assert!(
        answer.stderr.contains("\n  | no configuration"),
        "{answer:?}"
    );
}

#[test]
fn a_request_that_the_protocol_has_no_place_for() {
    for (protocol, request, problem) in [
        ("echo", "hello", "is not for echo"),
        ("lines", "one\ntwo", "is more than a line"),
    ] {
        let options = ["--protocol", protocol, "--request", request];
        let answer = check_shell(&options, FIXTURE);
        assert_eq!(answer.status, 2, "{answer:?}");
        assert!(answer.stderr.contains(problem), "{answer:?}");
    }
}

#[test]
fn a_server_that_never_listens() {
    let options = ["--ready-timeout", "300ms"];
    let answer = check_shell(&options, "echo starting; exec sleep 600");
    assert_eq!(answer.status, 2, "{answer:?}");
    assert!(answer.stderr.contains("is not ready"), "{answer:?}");
    assert!(answer.stderr.contains("\n  | starting"), "{answer:?}");
    assert!(answer.stderr.contains("--ready-timeout"), "{answer:?}");
}

#[test]
fn a_line_without_an_end_is_quoted_as_far_as_it_goes() {
    let options = ["--ready-timeout", "300ms"];
    let answer = check_shell(&options, "exec tr '\\0' x </dev/zero");
    assert_eq!(answer.status, 2, "{answer:?}");
    assert!(answer.stderr.contains("\n  | xxx"), "{answer:?}");
}

#[test]
fn a_server_that_ignores_the_signal_has_failed() {
    let options = ["--scenario", "idle", "--signal", "USR1", "--limit", "300ms"];
    let answer = check_shell(&options, &format!("trap '' USR1; {FIXTURE}"));
    assert_eq!(answer.status, 1, "{answer:?}");
    assert!(answer.stdout.contains("no end"), "{answer:?}");
    assert!(answer.stdout.contains("failed"), "{answer:?}");
    assert!(answer.stdout.contains("SIGUSR1"), "{answer:?}");
}

#[test]
fn a_server_that_does_not_speak_the_protocol() {
    let options = ["--protocol", "http", "--ready-timeout", "300ms"];
    let answer = check_shell(&options, FIXTURE);
    assert_eq!(answer.status, 2, "{answer:?}");
    assert!(answer.stderr.contains("is not ready"), "{answer:?}");
}

#[test]
fn what_a_server_speaks_instead_is_named() {
    const TLS: &str = "it answers http over TLS: say --protocol http and --tls, with";
    const FORGOT: &str = "it answers with status 400, and speaks TLS: say --tls, with";
    let http = format!("{FIXTURE} --protocol http");
    let http_tls = format!("{http} --tls");
    let echo_tls = format!("{FIXTURE} --tls");
    for (options, script, hint) in [
        ("http", FIXTURE, "it answers echo: say --protocol echo"),
        ("echo", &http, "it answers http: say --protocol http"),
        (
            "echo",
            &echo_tls,
            "it answers echo over TLS: say --tls, with",
        ),
        ("http", &http_tls, FORGOT),
        ("redis", &http_tls, TLS),
        (
            "http --tls --insecure",
            &http,
            "it answers http: say no --tls",
        ),
        (
            "http --tls --insecure",
            FIXTURE,
            "it answers echo: say --protocol echo and no --tls",
        ),
    ] {
        let options = format!("--ready-timeout 300ms --protocol {options}");
        let options: Vec<&str> = options.split(' ').collect();
        let answer = check_shell(&options, script);
        assert_eq!(answer.status, 2, "{answer:?}");
        assert!(answer.stderr.contains(hint), "{hint}: {answer:?}");
    }
}

#[test]
fn an_answer_that_is_not_expected_is_shown_and_no_protocol_is_guessed() {
    for (protocol, request, expected, told) in [
        (
            "lines",
            "hello",
            "+OK",
            "hello: it was answered with \"hello\", which --expect does not name",
        ),
        (
            "http",
            "GET /x",
            "404",
            "GET /x gives status 200, which --expect does not name",
        ),
    ] {
        let script = format!("{FIXTURE} --protocol {protocol}");
        let options = ["--protocol", protocol, "--request", request];
        let expect = ["--expect", expected, "--ready-timeout", "1s"];
        let answer = check_shell(&[options, expect].concat(), &script);
        assert_eq!(answer.status, 2, "{answer:?}");
        assert!(answer.stderr.contains(told), "{answer:?}");
        assert!(!answer.stderr.contains("say --protocol"), "{answer:?}");
    }
}

/// It drains on TERM, and has no handler for USR1.
#[test]
fn a_server_that_does_not_restart_on_the_signal_is_told_as_that_alone() {
    for (signal, told) in [
        (
            "USR1",
            "the server was ended by SIGUSR1: it does not restart on this signal",
        ),
        (
            "TERM",
            "the server ended on SIGTERM (exit status: 0): it does not restart on",
        ),
    ] {
        let options = ["--scenario", "restart", "--signal", "INT"];
        let answer = check_shell(
            &[&options[..], &["--restart-signal", signal]].concat(),
            FIXTURE,
        );
        assert_eq!(answer.status, 1, "{answer:?}");
        assert!(answer.stdout.contains(told), "{answer:?}");
        let nothing = "messages_lost=0 connections_lost=0";
        assert!(answer.stdout.contains(nothing), "{answer:?}");
    }
}

#[test]
fn counts_that_cannot_work() {
    for (count, reason) in [("0", "at least one"), ("100000000", "descriptors")] {
        let answer = check_shell(&["--connections", count], FIXTURE);
        assert_eq!(answer.status, 2, "{answer:?}");
        assert!(answer.stderr.contains(reason), "{answer:?}");
    }
}

#[test]
fn values_that_make_no_sense() {
    for (option, value, told) in [
        ("--limit", "0s", "a time from 1ms to 1day is needed"),
        (
            "--limit",
            "100000years",
            "a time from 1ms to 1day is needed",
        ),
        ("--freeze", "0s", "a time from 1ms"),
        ("--ready-timeout", "0s", "a time from 1ms"),
        ("--rounds", "0", "0 is not in 1..=1000000"),
        ("--exit-status", "300", "300 is not in 0..=255"),
        ("--exit-status", "0,-1", "-1 is not in 0..=255"),
        ("--attach", "-5", "-5 is not in 1.."),
        ("--signal", "FOO", "names are TERM, INT, QUIT, HUP,"),
        ("--restart-signal", "TERM", "say another --signal"),
    ] {
        let answer = check_shell(&[&format!("{option}={value}")], FIXTURE);
        assert_eq!(answer.status, 2, "{answer:?}");
        assert!(answer.stderr.contains(told), "{answer:?}");
    }
    for option in ["--slow", "--timeout", "--limit"] {
        let options = ["during", "--address", "127.0.0.1:1", option, "0s"];
        let answer = lameduck(&[&options[..], &["--", "true"]].concat());
        assert_eq!(answer.status, 2, "{answer:?}");
        assert!(answer.stderr.contains("a time from 1ms"), "{answer:?}");
    }
}

#[test]
fn options_that_the_protocol_has_no_place_for() {
    for (protocol, option, value) in [
        ("lines", "--large-path", "/large"),
        ("ws", "--large-path", "/large"),
        ("redis", "--path", "/x"),
        ("echo", "--header", "A: b"),
        ("ws", "--body", "x"),
        ("redis", "--ready", "/health"),
    ] {
        let request = match option {
            "--body" => &["--request", "x"][..],
            _ => &[],
        };
        let options = ["--protocol", protocol, option, value];
        let answer = check_shell(&[&options[..], request].concat(), FIXTURE);
        assert_eq!(answer.status, 2, "{answer:?}");
        let told = format!("{option} is for http, h2");
        assert!(answer.stderr.contains(&told), "{answer:?}");
        let told = format!("the protocol is {protocol}: leave it out");
        assert!(answer.stderr.contains(&told), "{answer:?}");
    }
    let options = "during --address 127.0.0.1:1 --protocol redis --retry -- true";
    let answer = lameduck(&options.split(' ').collect::<Vec<_>>());
    assert_eq!(answer.status, 2, "{answer:?}");
    assert!(answer.stderr.contains("--retry is for http"), "{answer:?}");
}

#[test]
fn options_that_the_way_to_run_the_server_has_no_place_for() {
    let started = [
        "--start",
        "true",
        "--stop",
        "true",
        "--ready",
        "127.0.0.1:1",
    ];
    let attached = ["--attach", "1", "--address", "127.0.0.1:1"];
    for (way, option, value) in [
        (&started[..], "--signal", "QUIT"),
        (&started, "--restart-signal", "HUP"),
        (&started, "--exit-status", "143"),
        (&started, "--stdin", "open"),
        (&attached, "--host", "127.0.0.2"),
        (&attached, "--exit-status", "143"),
    ] {
        let answer = lameduck(&[&["check", option, value], way].concat());
        assert_eq!(answer.status, 2, "{answer:?}");
        let told = format!("'{option} ");
        assert!(answer.stderr.contains(&told), "{answer:?}");
        assert!(answer.stderr.contains("cannot be used with"), "{answer:?}");
    }
}

#[test]
fn an_address_that_others_can_reach() {
    let answer = check_shell(&["--host", "0.0.0.0"], FIXTURE);
    assert_eq!(answer.status, 2, "{answer:?}");
    assert!(answer.stderr.contains("--allow-remote"), "{answer:?}");
}

#[test]
fn a_socket_without_a_port_is_refused_with_what_helps() {
    let attach = ["check", "--attach", "1", "--address", "/run/app.sock"];
    let commands = ["check", "--start", "true", "--stop", "true", "--ready"];
    let url = [&commands[..], &["http+unix:///run/app.sock"]].concat();
    let path = [&commands[..], &["/run/app.sock"]].concat();
    let during = ["during", "--address", "unix:/run/app.sock", "--", "true"];
    for args in [&attach[..], &url, &path, &during] {
        let answer = lameduck(args);
        assert_eq!(answer.status, 2, "{answer:?}");
        let hint = "socat TCP-LISTEN:8080,bind=127.0.0.1,fork,reuseaddr \
                    UNIX-CONNECT:/run/app.sock";
        assert!(answer.stderr.contains(hint), "{answer:?}");
    }
}

#[test]
fn no_command_at_all() {
    let answer = lameduck(&["check"]);
    assert_eq!(answer.status, 2, "{answer:?}");
    assert!(answer.stderr.contains("<COMMAND>"), "{answer:?}");
}

#[test]
fn a_path_that_no_request_can_have() {
    for path in ["health", "", "/a b", "/\u{fc}", "/x\r\nfoo: bar"] {
        let options = ["--protocol", "http", "--path", path];
        let answer = check_shell(&options, FIXTURE);
        assert_eq!(answer.status, 2, "{answer:?}");
        assert!(answer.stderr.contains("is no path"), "{answer:?}");
    }
}

#[test]
fn a_result_that_cannot_be_written_is_known_before_the_run() {
    for option in ["--html", "--json", "--junit"] {
        let options = [option, "/nonexistent/result"];
        let answer = check_shell(&options, FIXTURE);
        assert_eq!(answer.status, 2, "{answer:?}");
        let line = "cannot write /nonexistent/result";
        assert!(answer.stderr.contains(line), "{answer:?}");
        assert_eq!(answer.stdout, "");
    }
}

#[test]
fn scenarios_that_do_not_fit_pass_nothing() {
    let answer = check_shell(&["--scenario", "streams"], FIXTURE);
    assert_eq!(answer.status, 2, "{answer:?}");
    assert!(answer.stdout.contains("verdict=skipped"), "{answer:?}");
    let line = "none of the scenarios could be run";
    assert!(answer.stderr.contains(line), "{answer:?}");
}

/// Nothing is known of clients that the tool could not connect: it acquits nobody then.
#[test]
fn a_limit_on_descriptors_that_the_tool_itself_meets_is_an_error() {
    let check = "ulimit -n 64; exec \"$0\" check --scenario idle --rounds 1 -- \
                 \"$0\" fixture none --listen {addr}";
    let output = Command::new("sh")
        .args(["-c", check, LAMEDUCK])
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let told = "the tool itself has run out of descriptors";
    assert!(stderr.contains(told), "{output:?}");
}
