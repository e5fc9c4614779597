//! What cannot be checked: a clear line, and the right status.

use crate::support::{check_shell, lameduck};

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

#[test]
fn counts_that_cannot_work() {
    for (count, reason) in [("0", "at least one"), ("100000000", "descriptors")] {
        let answer = check_shell(&["--connections", count], FIXTURE);
        assert_eq!(answer.status, 2, "{answer:?}");
        assert!(answer.stderr.contains(reason), "{answer:?}");
    }
}

#[test]
fn an_address_that_others_can_reach() {
    let answer = check_shell(&["--host", "0.0.0.0"], FIXTURE);
    assert_eq!(answer.status, 2, "{answer:?}");
    assert!(answer.stderr.contains("--allow-remote"), "{answer:?}");
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
