//! Clients that read only after the stop, and what is no loss of it.

use crate::support::{Answer, check_shell};

/// One stop of a fixture whose clients do not read.
fn slow_reader(fixture: &str, more: &[&str]) -> Answer {
    let script = format!("exec \"$0\" fixture {fixture} --listen $ADDR");
    let options = ["--scenario", "slow-reader", "--rounds", "1"];
    check_shell(&[&options[..], more].concat(), &script)
}

const HTTP: [&str; 4] = ["--protocol", "http", "--large-path", "/large"];

#[test]
fn an_echo_that_is_whole_is_not_lost_where_its_connection_has_no_end() {
    let options = ["--connections", "1", "--limit", "6s"];
    let answer = slow_reader("keeps-idle --grace 60s", &options);
    assert_eq!(answer.status, 1, "{answer:?}");
    let counts = "messages_lost=0 connections_lost=0 hung=1 ";
    assert!(answer.stdout.contains(counts), "{answer:?}");
}

#[test]
fn an_echo_that_is_cut_short_is_lost() {
    for _ in 0..3 {
        let answer = slow_reader("cuts-short", &["--connections", "1"]);
        assert_eq!(answer.status, 1, "{answer:?}");
        assert!(answer.stdout.contains("messages_lost=1 "), "{answer:?}");
    }
}

#[test]
fn a_body_that_ends_with_its_connection_is_compared_with_one_before_the_stop() {
    let fixture = "cuts-short --protocol http --dialect until-close";
    let answer = slow_reader(fixture, &HTTP);
    assert_eq!(answer.status, 1, "{answer:?}");
    let told = "of 12582912 bytes; then an orderly end";
    assert!(answer.stdout.contains(told), "{answer:?}");
}

#[test]
fn a_server_that_does_not_wait_for_its_readers_is_not_judged_by_its_stop() {
    let reason = "it ends a connection whose client does not read, before any signal";
    let http = "short-of-breath --protocol http";
    let until_close = "short-of-breath --protocol http --dialect until-close";
    for (fixture, options) in [
        ("short-of-breath", &[][..]),
        (http, &HTTP[..]),
        (until_close, &HTTP[..]),
    ] {
        let answer = slow_reader(fixture, options);
        assert_eq!(answer.status, 2, "{fixture}: {answer:?}");
        assert!(answer.stdout.contains(reason), "{fixture}: {answer:?}");
    }
}
