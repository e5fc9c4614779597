//! What clients ask, what a good answer is, and how a round is done again.

use crate::support::{check_shell, lameduck};

const HTTP: &str = "exec \"$0\" fixture none --protocol http --listen $ADDR";

/// One round of one scenario against an HTTP fixture.
fn options<'a>(more: &[&'a str]) -> Vec<&'a str> {
    let base = [
        "--protocol",
        "http",
        "--scenario",
        "frozen",
        "--rounds",
        "1",
    ];
    [&base[..], &["--connections", "4"], more].concat()
}

#[test]
fn a_request_of_the_users_own() {
    let own = options(&[
        "--request",
        "PUT /orders",
        "--body",
        "{}",
        "--header",
        "Content-Type: application/json",
        "--expect",
        "2xx",
        "--verbose",
    ]);
    let answer = check_shell(&own, HTTP);
    assert_eq!(answer.status, 0, "{answer:?}");
}

#[test]
fn a_status_that_is_not_expected_is_no_readiness() {
    let own = options(&["--expect", "404", "--ready-timeout", "300ms"]);
    let answer = check_shell(&own, HTTP);
    assert_eq!(answer.status, 2, "{answer:?}");
    assert!(
        answer.stderr.contains("GET / gives status 200"),
        "{answer:?}"
    );
}

#[test]
fn a_redirect_or_an_error_throughout_is_told() {
    let server = format!("{HTTP} --dialect redirects");
    let answer = check_shell(&options(&[]), &server);
    assert_eq!(answer.status, 0, "{answer:?}");
    let note = "note: it answers with status 302 while nothing is wrong, too: --path can name";
    assert!(answer.stdout.contains(note), "{answer:?}");

    let answer = check_shell(&options(&["--expect", "302"]), &server);
    assert_eq!(answer.status, 0, "{answer:?}");
    assert!(!answer.stdout.contains("302"), "{answer:?}");
}

/// What comes first is the greeting, and the line itself comes back after it.
#[test]
fn a_greeting_is_not_judged_as_an_answer() {
    let server = "exec \"$0\" fixture none --protocol lines --greets --listen $ADDR";
    let asked = [
        "--protocol",
        "lines",
        "--request",
        "250 OK",
        "--expect",
        "250",
    ];
    let check = [
        "--scenario",
        "pipelined",
        "--rounds",
        "1",
        "--ready-timeout",
        "5s",
    ];
    let answer = check_shell(&[&asked[..], &check].concat(), server);
    assert_eq!(answer.status, 0, "{answer:?}");
    let note = "it greets each client with one line, which is no answer";
    assert!(answer.stdout.contains(note), "{answer:?}");
}

#[test]
fn requests_that_cannot_be_sent_are_errors() {
    for (more, reason) in [
        (["--request", "nonsense"], "no method and path"),
        (["--header", "nonsense"], "has no colon"),
        (["--expect", "nonsense"], "is no status"),
    ] {
        let answer = check_shell(&options(&more), HTTP);
        assert_eq!(answer.status, 2, "{answer:?}");
        assert!(answer.stderr.contains(reason), "{answer:?}");
    }
}

#[test]
fn a_server_that_closes_after_each_answer_is_not_refused() {
    for dialect in ["http10", "close-each", "until-close"] {
        let script = format!("{HTTP} --dialect {dialect}");
        let answer = check_shell(&options(&[]), &script);
        assert_eq!(answer.status, 0, "{dialect}: {answer:?}");
        assert!(answer.stdout.contains("none can be reused"), "{answer:?}");
    }
}

#[test]
fn a_rule_that_excuses_a_server_is_quoted() {
    let script = format!("{HTTP} --dialect close-each");
    let options = [
        "--protocol",
        "http",
        "--scenario",
        "pipelined",
        "--rounds",
        "1",
    ];
    let answer = check_shell(&options, &script);
    assert_eq!(answer.status, 0, "{answer:?}");
    assert!(answer.stdout.contains("RFC 9112 section 9.6"), "{answer:?}");
}

#[test]
fn a_refusal_because_of_the_stop_is_a_loss() {
    let script = HTTP.replace("none", "refuses");
    let base = [
        "--protocol",
        "http",
        "--scenario",
        "half-request",
        "--rounds",
        "1",
    ];
    let answer = check_shell(&base, &script);
    assert_eq!(answer.status, 1, "{answer:?}");
    let told = "answered with status 503";
    assert!(answer.stdout.contains(told), "{answer:?}");
    let expected = [&base[..], &["--expect", "200,503"]].concat();
    let answer = check_shell(&expected, &script);
    assert_eq!(answer.status, 0, "{answer:?}");
}

/// What it says before it is ready is not what it usually says.
#[test]
fn a_refusal_while_it_starts_does_not_excuse_one_because_of_the_stop() {
    let script = HTTP.replace("none", "refuses-at-both-ends");
    let options = [
        "--protocol",
        "http",
        "--scenario",
        "half-request",
        "--rounds",
        "2",
    ];
    let answer = check_shell(&options, &script);
    assert_eq!(answer.status, 1, "{answer:?}");
    let told = "answered with status 503";
    assert!(answer.stdout.contains(told), "{answer:?}");
    assert!(
        !answer.stdout.contains("while nothing is wrong"),
        "{answer:?}"
    );
}

#[test]
fn a_certificate_that_nobody_vouches_for_is_an_error() {
    let script = format!("{HTTP} --tls");
    let answer = check_shell(&options(&["--tls", "--ready-timeout", "2s"]), &script);
    assert_eq!(answer.status, 2, "{answer:?}");
    let line = "the server is not ready: its certificate does not fit:";
    assert!(answer.stderr.contains(line), "{answer:?}");
    assert!(answer.stderr.contains("--ca FILE"), "{answer:?}");
    let answer = check_shell(&options(&["--tls", "--insecure"]), &script);
    assert_eq!(answer.status, 0, "{answer:?}");
}

#[test]
fn a_failed_round_says_how_to_do_it_again() {
    let script = "exec \"$0\" fixture stop-first --listen $ADDR";
    let base = ["--scenario", "frozen", "--connections", "2", "--seed", "7"];
    let answer = check_shell(&[&base[..], &["--repeat-until-failure"]].concat(), script);
    assert_eq!(answer.status, 1, "{answer:?}");
    let again = "once more: --scenario frozen --seed 7 --round 1 --verbose";
    assert!(answer.stdout.contains(again), "{answer:?}");
    let answer = check_shell(
        &[&base[..], &["--round", "1", "--verbose"]].concat(),
        script,
    );
    assert_eq!(answer.status, 1, "{answer:?}");
    let stories = answer.stdout.matches("connected ").count();
    assert!(stories >= 4, "{answer:?}");
}

#[test]
fn a_scenario_that_does_not_fit_says_so() {
    let answer = check_shell(
        &["--scenario", "websocket"],
        "exec \"$0\" fixture none --listen $ADDR",
    );
    assert_eq!(answer.status, 2, "{answer:?}");
    assert!(answer.stdout.contains("it does not fit echo"), "{answer:?}");
    let answer = lameduck(&["check", "--scenario", "nothing", "--", "true"]);
    assert_eq!(answer.status, 2, "{answer:?}");
}
