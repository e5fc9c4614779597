//! A load on an address while a command runs.

use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::Value;

use crate::support::{
    Answer, Folder, LAMEDUCK, Process, free_address, lameduck, read, wait_for_listener,
    wait_until,
};
use crate::web::{Reply, serve, serve_tls};

/// Short phases, so that a test is short.
const SHORT: [&str; 4] = ["--before", "150ms", "--after", "150ms"];

fn during(address: impl ToString, options: &[&str], command: &[&str]) -> Answer {
    let address = address.to_string();
    let address = ["during", "--address", &address];
    lameduck(&[&address, &SHORT[..], options, &["--"], command].concat())
}

/// What `--json -` says, beside the exit status.
fn document(answer: &Answer) -> Value {
    serde_json::from_str(&answer.stdout).unwrap_or_else(|error| panic!("{error}: {answer:?}"))
}

fn sum(document: &Value, count: &str) -> u64 {
    let phases = document["phases"].as_array().unwrap();
    phases.iter().map(|p| p[count].as_u64().unwrap()).sum()
}

#[test]
fn nothing_is_lost_where_nothing_happens() {
    for (protocol, reuse) in [
        ("http", "half"),
        ("h2", "half"),
        ("ws", "half"),
        ("redis", "always"),
        ("lines", "never"),
        ("echo", "half"),
    ] {
        let (_server, address) = Process::fixture("none", protocol);
        let options = ["--protocol", protocol, "--reuse", reuse, "--json", "-"];
        let answer = during(address, &options, &["true"]);
        assert_eq!(answer.status, 0, "{answer:?}");
        let document = document(&answer);
        assert_eq!(document["passed"], true);
        assert_eq!(document["losses"].as_array().unwrap().len(), 0);
        for phase in [0, 2] {
            let answered = document["phases"][phase]["answered"].as_u64().unwrap();
            assert!(answered > 0, "{document:#}");
        }
    }
}

#[test]
fn a_killed_server_costs_losses_and_each_has_its_moment() {
    for protocol in ["http", "h2", "ws", "echo"] {
        let (server, address) = Process::fixture("none", protocol);
        let kill = format!("kill -KILL {}; sleep 0.3", server.id());
        let options = ["--protocol", protocol, "--json", "-"];
        let answer = during(address, &options, &["sh", "-c", &kill]);
        assert_eq!(answer.status, 1, "{answer:?}");
        let document = document(&answer);
        assert_eq!(document["passed"], false);
        assert_eq!(document["command_succeeded"], true);
        assert!(sum(&document, "refused") > 0, "{document:#}");
        let losses = document["losses"].as_array().unwrap();
        assert_eq!(losses.len() as u64, sum(&document, "lost_in_all"));
        let seconds = document["phases"][1]["seconds"].as_f64().unwrap();
        for loss in losses {
            let seen = loss["seen_seconds"].as_f64().unwrap();
            assert!(seen >= 0.0, "a loss before the command: {loss:#}");
            let is_after = loss["phase"] == "after";
            let sent = loss["sent_seconds"].as_f64().unwrap();
            assert_eq!(is_after, sent > seconds, "{loss:#} of {seconds}");
        }
        let slices = document["slices"]["slices"].as_array().unwrap();
        let lost = slices.iter().map(|s| s["lost_in_all"].as_u64().unwrap());
        assert_eq!(lost.sum::<u64>(), sum(&document, "lost_in_all"));
    }
}

#[test]
fn the_table_tells_the_first_losses_and_counts_the_others() {
    let (server, address) = Process::fixture("none", "http");
    let kill = format!("kill -KILL {}; sleep 0.5", server.id());
    let answer = during(address, &[], &["sh", "-c", &kill]);
    assert_eq!(answer.status, 1, "{answer:?}");
    let told = answer
        .stdout
        .lines()
        .filter(|l| l.contains("after the command began: "));
    assert_eq!(told.count(), 10, "{answer:?}");
    assert!(answer.stdout.contains(" more\n"), "{answer:?}");
    let summary = answer.stdout.lines().last().unwrap();
    let start = "lameduck-result command=during verdict=failed answered=";
    assert!(summary.starts_with(start), "{summary}");
    assert!(
        !answer.stdout.contains('\x1b'),
        "colour in a pipe: {answer:?}"
    );
    assert_eq!(answer.stderr, "", "progress in a pipe");
}

#[test]
fn an_answer_with_another_status_than_the_first_has_failed() {
    let is_broken = Arc::new(AtomicBool::new(false));
    let broken = is_broken.clone();
    let folder = Folder::new("status");
    let mark = folder.file("mark");
    let seen = mark.clone();
    let address = serve(
        move |_| match broken.load(Ordering::Relaxed) || seen.exists() {
            true => Reply::Status(503),
            false => Reply::Status(201),
        },
    );
    let touch = format!("touch {}; sleep 0.2", mark.display());
    let options = ["--json", "-"];
    let answer = during(address, &options, &["sh", "-c", &touch]);
    assert_eq!(answer.status, 1, "{answer:?}");
    let document = document(&answer);
    assert_eq!(document["expected"], serde_json::json!(["201"]));
    assert!(sum(&document, "failed") > 0, "{document:#}");
    let problem = "it was answered with status 503";
    assert_eq!(document["losses"][0]["problem"], problem);
    let answer = during(address, &["--expect", "503"], &["true"]);
    assert_eq!(answer.status, 0, "{answer:?}");
    is_broken.store(true, Ordering::Relaxed);
    let answer = during(address, &[], &["true"]);
    assert_eq!(answer.status, 2, "{answer:?}");
    assert!(
        answer
            .stderr
            .contains("before the command: it was answered with status 503"),
        "{answer:?}"
    );
}

#[test]
fn a_greeting_is_no_answer() {
    let (address, script) = (free_address(), "exec \"$0\" fixture none --protocol lines");
    let script = format!("{script} --greets --listen {address}");
    let _server = Process::start("sh", &["-c", &script, LAMEDUCK]);
    wait_for_listener(address);
    let options = [
        "--protocol",
        "lines",
        "--request",
        "250 OK",
        "--expect",
        "250",
    ];
    let answer = during(
        address,
        &[&options[..], &["--json", "-"]].concat(),
        &["true"],
    );
    assert_eq!(answer.status, 0, "{answer:?}");
    assert!(sum(&document(&answer), "answered") > 0, "{answer:?}");
}

#[test]
fn a_request_without_an_answer_in_time_hangs() {
    let folder = Folder::new("silent");
    let mark = folder.file("mark");
    let seen = mark.clone();
    let address = serve(move |_| match seen.exists() {
        true => Reply::Silence,
        false => Reply::Status(200),
    });
    let touch = format!("touch {}; sleep 0.1", mark.display());
    let options = ["--timeout", "300ms", "--json", "-"];
    let answer = during(address, &options, &["sh", "-c", &touch]);
    assert_eq!(answer.status, 1, "{answer:?}");
    let document = document(&answer);
    assert_eq!(sum(&document, "hung"), sum(&document, "lost_in_all"));
    assert!(sum(&document, "hung") > 0, "{document:#}");
}

#[test]
fn a_request_on_a_kept_connection_that_ends_is_sent_again_only_if_that_is_asked() {
    // Each second request of a connection is dropped.
    let served = Arc::new(AtomicU64::new(0));
    let count = served.clone();
    let address = serve(move |number| match number {
        1 => {
            count.fetch_add(1, Ordering::Relaxed);
            Reply::Status(200)
        }
        _ => Reply::End,
    });
    let options = ["--reuse", "always", "--json", "-"];
    let answer = during(address, &options, &["true"]);
    assert_eq!(answer.status, 1, "{answer:?}");
    assert!(sum(&document(&answer), "lost") > 0, "{answer:?}");
    let answer = during(address, &[&options[..], &["--retry"]].concat(), &["true"]);
    assert_eq!(answer.status, 0, "{answer:?}");
    assert!(sum(&document(&answer), "retried") > 0, "{answer:?}");
    assert!(served.load(Ordering::Relaxed) > 0);
}

#[test]
fn tls_is_spoken_and_the_certificate_is_verified() {
    let (address, certificate) = serve_tls("shop.test");
    let folder = Folder::new("tls");
    let trusted = folder.file("ca.pem");
    std::fs::write(&trusted, certificate).unwrap();
    let trusted = trusted.to_str().unwrap();
    let good = ["--tls", "--ca", trusted, "--server-name", "shop.test"];
    for options in [&good[..], &["--tls", "--insecure"]] {
        let answer = during(address, options, &["true"]);
        assert_eq!(answer.status, 0, "{answer:?}");
    }
    let elsewhere = ["--tls", "--ca", trusted, "--server-name", "bank.test"];
    for options in [&elsewhere[..], &["--tls", "--ca", trusted]] {
        let answer = during(address, options, &["true"]);
        assert_eq!(answer.status, 2, "{answer:?}");
        assert!(
            answer.stderr.contains("certificate does not fit"),
            "{answer:?}"
        );
    }
}

#[test]
fn http2_and_websocket_are_spoken_over_tls_too() {
    for protocol in ["h2", "ws"] {
        let address = free_address();
        let listen = address.to_string();
        let words = [
            "fixture",
            "none",
            "--tls",
            "--protocol",
            protocol,
            "--listen",
            &listen,
        ];
        let _server = Process::start(LAMEDUCK, &words);
        wait_for_listener(address);
        let options = ["--protocol", protocol, "--tls", "--insecure", "--json", "-"];
        let answer = during(address, &options, &["true"]);
        assert_eq!(answer.status, 0, "{answer:?}");
        let document = document(&answer);
        assert_eq!(document["tls"], true);
        assert!(sum(&document, "answered") > 0, "{document:#}");
    }
}

#[test]
fn bad_input_is_one_clear_line() {
    let (_server, address) = Process::fixture("none", "http");
    let address = address.to_string();
    let folder = Folder::new("during-input");
    let empty = folder.file("empty.pem");
    std::fs::write(&empty, "").unwrap();
    let empty = empty.to_str().unwrap();
    let cases: [(&str, &[&str], &str); 9] = [
        ("nowhere", &[], "\"nowhere\" is no address: HOST:PORT is"),
        (
            "127.0.0.1:1",
            &[],
            "gives no good answer before the command",
        ),
        ("192.0.2.1:80", &[], "say --allow-remote"),
        (
            &address,
            &["--protocol", "echo", "--timeout", "200ms"],
            "no whole answer within 200ms",
        ),
        (&address, &["--rate", "0"], "--rate is a number"),
        (&address, &["--connections", "0"], "at least one"),
        (&address, &["--header", "no colon"], "has no colon"),
        (
            &address,
            &["--tls", "--ca", "/nonexistent"],
            "/nonexistent: ",
        ),
        (&address, &["--tls", "--ca", empty], "holds no certificate"),
    ];
    for (address, options, reason) in cases {
        let answer = during(address, options, &["true"]);
        assert_eq!(answer.status, 2, "{answer:?}");
        assert!(answer.stderr.contains(reason), "{reason}: {answer:?}");
        assert_eq!(answer.stderr.lines().count(), 1, "{answer:?}");
        assert_eq!(answer.stdout, "", "{answer:?}");
    }
}

#[test]
fn a_command_that_fails_is_said_and_a_loss_weighs_more() {
    let (server, address) = Process::fixture("none", "http");
    let answer = during(address, &[], &["sh", "-c", "exit 7"]);
    assert_eq!(answer.status, 2, "{answer:?}");
    let line = "nothing was lost, but the command failed: exit status: 7";
    assert!(answer.stderr.contains(line), "{answer:?}");
    let answer = during(address, &[], &["/nonexistent/deploy"]);
    assert_eq!(answer.status, 2, "{answer:?}");
    let line = "lameduck: cannot start \"/nonexistent/deploy\": No such file";
    assert!(answer.stderr.starts_with(line), "{answer:?}");
    let kill = format!("kill -KILL {}; sleep 0.2; exit 7", server.id());
    let answer = during(address, &[], &["sh", "-c", &kill]);
    assert_eq!(answer.status, 1, "{answer:?}");
    assert!(answer.stdout.contains("the command failed: exit status: 7"));
}

#[test]
fn what_the_command_prints_is_not_mixed_into_the_result() {
    let (_server, address) = Process::fixture("none", "http");
    let print = ["sh", "-c", "echo rolled out; echo careful >&2"];
    let answer = during(address, &["--json", "-"], &print);
    assert_eq!(answer.status, 0, "{answer:?}");
    assert_eq!(document(&answer)["passed"], true);
    assert_eq!(answer.stderr, "rolled out\ncareful\n");
}

#[test]
fn a_command_without_an_end_is_stopped_at_the_limit() {
    let (_server, address) = Process::fixture("none", "http");
    let folder = Folder::new("limit");
    let number = folder.file("number");
    let script = format!("echo $$ > {}; exec sleep 600", number.display());
    let answer = during(address, &["--limit", "300ms"], &["sh", "-c", &script]);
    assert_eq!(answer.status, 2, "{answer:?}");
    let late = "did not end within 300ms";
    assert!(answer.stderr.contains(late), "{answer:?}");
    // The results of the clients are printed in spite of that.
    assert!(answer.stdout.contains(late), "{answer:?}");
    assert!(answer.stdout.contains("exit_status=none"), "{answer:?}");
    assert!(
        test_kill_process(pid(&number)).is_err(),
        "it is left behind"
    );
}

#[test]
fn ctrl_c_tells_the_command_to_stop() {
    let (_server, address) = Process::fixture("none", "http");
    let folder = Folder::new("during-interrupt");
    let number = folder.file("number");
    let script = format!("echo $$ > {}; exec sleep 600", number.display());
    let mut tool = Command::new(LAMEDUCK)
        .args([
            "during",
            "--before",
            "1ms",
            "--address",
            &address.to_string(),
        ])
        .args(["--", "sh", "-c", &script])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_until("the command runs", || {
        std::fs::read_to_string(&number).is_ok_and(|text| text.ends_with('\n'))
    });
    kill_process(Pid::from_child(&tool), Signal::INT).unwrap();
    let mut said = String::new();
    let mut stderr = tool.stderr.take().unwrap();
    stderr.read_to_string(&mut said).unwrap();
    assert_eq!(tool.wait().unwrap().code(), Some(2), "{said}");
    assert_eq!(
        said,
        "lameduck: interrupted; its command was told to stop, if it was running\n"
    );
    assert!(
        test_kill_process(pid(&number)).is_err(),
        "it is left behind"
    );
}

fn pid(file: &Path) -> Pid {
    Pid::from_raw(read(file).trim().parse().unwrap()).unwrap()
}
