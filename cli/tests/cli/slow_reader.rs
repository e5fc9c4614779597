//! Clients that read only after the stop, and what is no loss of it.

use crate::support::{Answer, check_shell};

/// One stop of a fixture whose clients do not read.
fn slow_reader(fixture: &str, more: &[&str]) -> Answer {
    let script = format!("exec \"$0\" fixture {fixture} --listen $ADDR");
    let options = ["--scenario", "slow-reader", "--rounds", "1"];
    check_shell(&[&options[..], more].concat(), &script)
}

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
