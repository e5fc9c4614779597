//! What it cannot do: one line that says what and what to do, and a status.

use std::net::TcpListener;
use std::process::{Command, Stdio};

use crate::support::echo;

/// Runs the example to its end; gives the status and what it printed.
fn run(runtime: &str, args: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(echo(runtime));
    command.args(["--runtime", runtime]).args(args);
    let output = command.stdin(Stdio::null()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!text.contains("panicked"), "{text}");
    (output.status.code(), text)
}

pub(crate) fn a_busy_port(runtime: &str) {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (status, text) = run(runtime, &["--listen", &address]);
    assert_eq!((status, text.lines().count()), (Some(1), 1), "{text}");
    assert!(
        text.contains(&address) && text.contains("choose another port"),
        "{text}"
    );
}

pub(crate) fn an_address_that_does_not_parse(runtime: &str) {
    let (status, text) = run(runtime, &["--listen", "nonsense"]);
    assert_eq!(status, Some(2), "{text}");
    assert!(
        text.contains("`nonsense` is no address: write IP:PORT"),
        "{text}"
    );
}

pub(crate) fn a_grace_that_does_not_parse(runtime: &str) {
    let (status, text) = run(runtime, &["--grace", "soon"]);
    assert_eq!(status, Some(2), "{text}");
    assert!(text.contains("soon") && text.contains("--grace"), "{text}");
}

pub(crate) fn a_unix_path_that_exists(runtime: &str) {
    let name = format!("lameduck-exists-{runtime}-{}", std::process::id());
    let path = std::env::temp_dir().join(name);
    std::fs::write(&path, "").unwrap();
    let address = format!("unix:{}", path.display());
    let (status, text) = run(runtime, &["--listen", &address]);
    std::fs::remove_file(&path).unwrap();
    assert_eq!((status, text.lines().count()), (Some(1), 1), "{text}");
    assert!(
        text.contains(&address) && text.contains("remove it"),
        "{text}"
    );
}

pub(crate) fn a_port_without_permission(runtime: &str) {
    if TcpListener::bind("127.0.0.1:1").is_ok() {
        println!("skipped: this user may bind to any port");
        return;
    }
    let (status, text) = run(runtime, &["--listen", "127.0.0.1:1"]);
    assert_eq!((status, text.lines().count()), (Some(1), 1), "{text}");
    assert!(text.contains("CAP_NET_BIND_SERVICE"), "{text}");
}
