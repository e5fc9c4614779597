//! What is said of a server that does not get ready.

use std::net::TcpListener;

use crate::support::{check_shell, free_address};

#[test]
fn a_server_that_listens_elsewhere_is_told_where() {
    let elsewhere = free_address();
    let script = format!("exec \"$0\" fixture none --listen {elsewhere}");
    let answer = check_shell(&["--ready-timeout", "2s"], &script);
    assert_eq!(answer.status, 2, "{answer:?}");
    let told = format!("(for 2s), and it listens on {elsewhere}");
    assert!(answer.stderr.contains(&told), "{answer:?}");
    let cure = format!(": say --ready {elsewhere}, or have it listen on 127.0.0.1:");
    assert!(answer.stderr.contains(&cure), "{answer:?}");
}

#[test]
fn a_server_that_listens_for_the_other_family_is_told_with_its_host() {
    if TcpListener::bind("[::1]:0").is_err() {
        // There is no IPv6 here.
        return;
    }
    let script = "exec \"$0\" fixture none --listen [::1]:$PORT";
    let answer = check_shell(&["--ready-timeout", "2s"], script);
    assert_eq!(answer.status, 2, "{answer:?}");
    assert!(answer.stderr.contains(": say --host ::1; "), "{answer:?}");
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
