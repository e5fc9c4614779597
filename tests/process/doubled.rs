//! Stops as wrappers, terminals and parents deliver them: twice, blocked, early,
//! or to a process whose log nobody reads.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use lameduck::runtimes::smol::Smol;
use lameduck::{Phase, Server};
use rustix::process::{Pid, Signal, kill_process};

#[cfg(target_os = "linux")]
use crate::signals::{AS_PID_1, has_namespaces, only_child};
use crate::support::{Echo, LONG, connect, echo, exchange, number, rest, wait};

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).expect("kill");
}

/// A client that has sent half of what it wants, and the rest after the stop.
fn is_answered_after(server: &Echo, stop: impl FnOnce()) {
    let mut clients: Vec<_> = (0..8).map(|_| server.connect()).collect();
    for client in &mut clients {
        exchange(client, b"served");
    }
    server.freeze();
    for client in &mut clients {
        client.write_all(b"before the stop").expect("send");
    }
    stop();
    server.signal(Signal::CONT);
    for client in clients {
        assert_eq!(rest(client), b"before the stop");
    }
}

/// `LAMEDUCK_STOPS` says how many stops of each kind, here and below.
pub(crate) fn f45_two_signals_at_once_are_one_stop(runtime: &str) {
    let at_once = Duration::ZERO;
    let twice = [
        (Signal::TERM, Signal::TERM, at_once),
        (Signal::TERM, Signal::INT, at_once),
        (Signal::INT, Signal::TERM, Duration::from_millis(20)),
    ];
    for (first, second, pause) in twice {
        for _ in 0..number("LAMEDUCK_STOPS", 1) {
            let server = Echo::start(runtime, &["--grace", "10s"]);
            is_answered_after(&server, || {
                server.signal(first);
                thread::sleep(pause);
                server.signal(second);
            });
            let (status, log) = server.wait();
            assert_eq!(status, 0, "{log}");
        }
    }
}

pub(crate) fn f45_a_stop_by_gnu_timeout_is_one_stop(runtime: &str) {
    let probe = Command::new("timeout").args(["1", "true"]).status();
    if !probe.is_ok_and(|status| status.success()) {
        return println!("skipped: timeout(1) is not installed");
    }
    for _ in 0..number("LAMEDUCK_STOPS", 1) {
        is_one_stop_by_gnu_timeout(runtime);
    }
}

fn is_one_stop_by_gnu_timeout(runtime: &str) {
    let mut command = Command::new("timeout");
    // It signals its child, and then its process group once more.
    command.args(["--signal", "TERM", "1"]).arg(echo(runtime));
    command.args(["--runtime", runtime, "--listen", "127.0.0.1:0"]);
    let server = Echo::spawn(command.process_group(0));
    let mut clients: Vec<_> = (0..8).map(|_| server.connect()).collect();
    for client in &mut clients {
        exchange(client, b"served");
    }
    let busy = clients.into_iter().map(|mut client| {
        thread::spawn(move || {
            // Until the end, which must be an orderly one.
            let mut answer = [0; 4];
            while client.write_all(b"ping").is_ok() {
                match std::io::Read::read_exact(&mut client, &mut answer) {
                    Ok(()) => assert_eq!(&answer, b"ping"),
                    Err(error) => return error.kind(),
                }
            }
            std::io::ErrorKind::BrokenPipe
        })
    });
    for client in busy.collect::<Vec<_>>() {
        let ended = client.join().expect("no wrong answer");
        assert_ne!(ended, std::io::ErrorKind::ConnectionReset);
    }
    let (status, log) = server.wait();
    // timeout(1) says that the time was over.
    assert_eq!(status, 124, "{log}");
    assert!(log.contains("stopped clean"), "{log}");
}

/// SIGHUP restarts this server, unless its terminal is gone.
pub(crate) fn a_terminal_that_is_closed_stops_a_server_and_does_not_restart_it(runtime: &str) {
    let probe = Command::new("script").arg("--version").output();
    if !probe.is_ok_and(|probe| probe.status.success()) {
        return println!("skipped: script(1) is not installed");
    }
    let server = format!(
        "exec {} --runtime {runtime} --listen 127.0.0.1:0 --restart 2>&3",
        echo(runtime).display()
    );
    let mut command = Command::new("sh");
    // The log goes past the terminal, which script(1) makes.
    let terminal = "exec 3>&2; exec script -qec \"$0\" /dev/null";
    command.args(["-c", terminal, &server]);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let server = Echo::spawn(&mut command);
    let mut client = server.connect();
    exchange(&mut client, b"served");
    server.signal(Signal::KILL);
    assert_eq!(rest(client), b"");
    server.wait_for("the terminal has hung up: no restart");
    server.wait_for("stopped clean");
}

pub(crate) fn f55_a_signal_that_the_parent_had_blocked_stops(runtime: &str) {
    let mut probe = Command::new("env");
    let probe = probe
        .args(["--block-signal=TERM", "true"])
        .stderr(Stdio::null());
    if !probe.status().is_ok_and(|status| status.success()) {
        return println!("skipped: env(1) has no --block-signal");
    }
    let mut command = Command::new("env");
    command.arg("--block-signal=TERM").arg(echo(runtime));
    command.args(["--runtime", runtime, "--listen", "127.0.0.1:0"]);
    let server = Echo::spawn(&mut command);
    server.signal(Signal::TERM);
    let (status, log) = server.wait();
    assert_eq!(status, 0, "{log}");
}

/// The child of the tests below: this test program, with one of its tests.
struct Itself {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

impl Itself {
    fn start(test: &str) -> Itself {
        Itself::start_by(&[], test)
    }

    /// The same, by a command that starts what follows it.
    fn start_by(starter: &[&str], test: &str) -> Itself {
        let own = std::env::current_exe().expect("own path");
        let mut command = match starter {
            [] => Command::new(own),
            [program, arguments @ ..] => {
                let mut command = Command::new(program);
                command.args(arguments).arg(own);
                command
            }
        };
        command.args(["--exact", test, "--ignored", "--nocapture"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("spawn");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        Itself { child, lines }
    }

    /// Waits for a line, and returns what follows these words in it.
    fn hear(&mut self, words: &str) -> String {
        loop {
            let line = self.lines.next().expect(words).expect("a line");
            if let Some((_, rest)) = line.split_once(words) {
                return rest.to_owned();
            }
        }
    }
}

impl Drop for Itself {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
#[ignore = "a child of f59_a_stop_before_serve_is_seen_at_once"]
fn starts_slowly() {
    let bound = Server::builder(Smol)
        .listen("127.0.0.1:0")
        .bind()
        .expect("bind");
    println!(
        "bound to {}",
        bound.local_addrs().next().expect("a listener")
    );
    // Starting up takes until the stop, of which it learns by the gate.
    let shutdown = bound.shutdown();
    smol::block_on(shutdown.reached(Phase::LameDuck));
    println!("it stops: {}", shutdown.cause().expect("a cause"));
    let report = smol::block_on(bound.serve(crate::doubled::greet));
    println!(
        "served {}, status {}",
        report.accepted,
        report.exit_status()
    );
}

async fn greet(
    mut session: lameduck::Session<impl lameduck::Connection>,
) -> std::io::Result<()> {
    futures::io::AsyncWriteExt::write_all(&mut session, b"welcome").await
}

#[test]
fn f59_a_stop_before_serve_is_seen_at_once() {
    let mut child = Itself::start("doubled::starts_slowly");
    let address: SocketAddr = child.hear("bound to ").parse().expect("an address");
    let queued = connect(address);
    signal(&child.child, Signal::TERM);
    assert_eq!(child.hear("it stops: "), "SIGTERM");
    assert_eq!(rest(&queued), b"welcome");
    drop(queued);
    assert_eq!(child.hear("served "), "1, status 0");
}

#[test]
#[ignore = "a child of f59_a_second_stop_before_serve_is_an_abort"]
fn starts_too_slowly() {
    let bound = Server::builder(Smol)
        .listen("127.0.0.1:0")
        .bind()
        .expect("bind");
    let shutdown = bound.shutdown();
    println!("bound");
    smol::block_on(shutdown.reached(Phase::LameDuck));
    println!("it stops");
    smol::block_on(shutdown.reached(Phase::Aborting));
    println!("it aborts");
    let report = smol::block_on(bound.serve(crate::doubled::greet));
    println!("status {}", report.exit_status());
}

#[test]
fn f59_a_second_stop_before_serve_is_an_abort() {
    let mut child = Itself::start("doubled::starts_too_slowly");
    child.hear("bound");
    signal(&child.child, Signal::TERM);
    child.hear("it stops");
    // No longer the same one, delivered twice (F45).
    thread::sleep(Duration::from_millis(150));
    signal(&child.child, Signal::TERM);
    child.hear("it aborts");
    child.hear("status ");
}

#[test]
#[ignore = "a child of f60_after_the_end_a_signal_ends_the_process"]
fn serves_and_then_hangs() {
    let bound = Server::builder(Smol)
        .listen("127.0.0.1:0")
        .bind()
        .expect("bind");
    println!("bound");
    let report = smol::block_on(bound.serve(crate::doubled::greet));
    println!("over, status {}", report.exit_status());
    loop {
        thread::park();
    }
}

#[test]
fn f60_after_the_end_a_signal_ends_the_process() {
    let mut child = Itself::start("doubled::serves_and_then_hangs");
    child.hear("bound");
    signal(&child.child, Signal::TERM);
    assert_eq!(child.hear("over, status "), "0");
    signal(&child.child, Signal::TERM);
    let status = wait(&mut child.child);
    assert_eq!(status.signal(), Some(Signal::TERM.as_raw()), "{status}");
}

/// As with `nohup`, or in a script's `&`.
#[cfg(target_os = "linux")]
#[test]
fn f60_after_the_end_a_signal_that_the_parent_ignored_is_ignored() {
    let starter = ["sh", "-c", "trap '' INT; exec \"$@\"", "sh"];
    let mut child = Itself::start_by(&starter, "doubled::serves_and_then_hangs");
    child.hear("bound");
    signal(&child.child, Signal::INT);
    assert_eq!(child.hear("over, status "), "0");
    signal(&child.child, Signal::INT);
    // Of two signals at once the second might be the one that ends it.
    thread::sleep(Duration::from_millis(200));
    signal(&child.child, Signal::TERM);
    let status = wait(&mut child.child);
    assert_eq!(status.signal(), Some(Signal::TERM.as_raw()), "{status}");
}

/// In a container. It must not end otherwise either: a signal whose default action the
/// kernel does not let happen cannot be raised.
#[cfg(target_os = "linux")]
#[test]
fn f60_after_the_end_process_1_ignores_signals() {
    if !has_namespaces() {
        return println!("skipped: a pid namespace needs CAP_SYS_ADMIN and unshare(1)");
    }
    let mut child = Itself::start_by(&AS_PID_1, "doubled::serves_and_then_hangs");
    child.hear("bound");
    let process = only_child(Pid::from_child(&child.child));
    let kill = |signal| kill_process(process, signal).expect("it lives");
    kill(Signal::TERM);
    assert_eq!(child.hear("over, status "), "0");
    for _ in 0..3 {
        kill(Signal::TERM);
        thread::sleep(Duration::from_millis(100));
    }
    let ended = child.child.try_wait().expect("it is ours");
    assert_eq!(ended, None);
    kill(Signal::KILL);
}

/// A server that is held up by its log: the pipe is full, and nobody reads.
struct Deaf {
    child: Child,
    path: std::path::PathBuf,
    _clients: Vec<std::os::unix::net::UnixStream>,
}

impl Deaf {
    fn start(runtime: &str, test: &str, grace: &str) -> Deaf {
        let name = format!("lameduck-{test}-{runtime}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let mut command = Command::new(echo(runtime));
        command.args(["--runtime", runtime, "--grace", grace, "--listen"]);
        command
            .arg(format!("unix:{}", path.display()))
            .stderr(Stdio::piped());
        let child = command.spawn().expect("spawn");
        let log = child.stderr.as_ref().expect("piped");
        #[cfg(target_os = "linux")]
        let room = rustix::pipe::fcntl_getpipe_size(log).expect("its size") as u64;
        #[cfg(not(target_os = "linux"))]
        let room = 16 << 10;
        // Two lines a connection, until the pipe of the log is full: what is left of
        // each of its pages is shorter than a line.
        let begun = Instant::now();
        let mut clients = Vec::new();
        while rustix::io::ioctl_fionread(log).expect("its length") < room / 16 * 15 {
            assert!(begun.elapsed() < LONG, "it does not log");
            match std::os::unix::net::UnixStream::connect(&path) {
                Ok(client) if clients.len() < 900 => clients.push(client),
                _ => thread::yield_now(),
            }
        }
        Deaf {
            child,
            path,
            _clients: clients,
        }
    }

    /// Expects that the hard deadline ends it.
    fn expect_deadline(mut self) {
        let signalled = Instant::now();
        let status = wait(&mut self.child);
        // Two seconds or less; LONG is for busy machines.
        assert!(signalled.elapsed() < LONG, "{status}");
        assert_eq!(status.code(), Some(4), "not ended by the deadline");
    }
}

impl Drop for Deaf {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

pub(crate) fn f47_a_log_that_nobody_reads_does_not_hold_the_process(runtime: &str) {
    let deaf = Deaf::start(runtime, "deaf", "1s");
    signal(&deaf.child, Signal::TERM);
    deaf.expect_deadline();
}

/// The deadline listens for itself: the server does not.
pub(crate) fn f47_a_second_signal_is_heard_where_the_log_holds_the_server(runtime: &str) {
    let deaf = Deaf::start(runtime, "deaf-twice", "1h");
    signal(&deaf.child, Signal::TERM);
    // Sooner, it would be the same stop (F45).
    thread::sleep(Duration::from_millis(200));
    signal(&deaf.child, Signal::TERM);
    deaf.expect_deadline();
}
