//! Restart without a gap, and sockets from a supervisor.

use std::cell::RefCell;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use command_fds::{CommandFdExt, FdMapping};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use socket2::{Domain, Socket, Type};

use crate::example::activated;
use crate::passed::{pass, pipe, with_own_process_id};
use crate::support::{Echo, LONG, connect, echo, exchange, http, number, rest, stuff, wait};

/// A server and its successors, which share one log.
struct Chain {
    first: Child,
    /// The process that serves, and its listening address.
    serving: Pid,
    address: String,
    lines: mpsc::Receiver<String>,
    passed_over: RefCell<Vec<String>>,
    log: Option<JoinHandle<String>>,
    started: Vec<Pid>,
}

impl Chain {
    fn start(runtime: &str, listen: &str) -> Chain {
        Chain::spawn(Command::new(echo(runtime)).args([
            "--runtime",
            runtime,
            "--listen",
            listen,
        ]))
    }

    fn spawn(command: &mut Command) -> Chain {
        let command = command.arg("--restart").stderr(Stdio::piped());
        let mut first = command.spawn().expect("spawn");
        let stderr = BufReader::new(first.stderr.take().expect("piped"));
        let (told, lines) = mpsc::channel();
        let log = thread::spawn(move || {
            let mut log = String::new();
            for line in stderr.lines().map_while(Result::ok) {
                log.push_str(&line);
                log.push('\n');
                let _ = told.send(line);
            }
            log
        });
        let serving = Pid::from_child(&first);
        let mut chain = Chain {
            first,
            serving,
            address: String::new(),
            lines,
            passed_over: RefCell::default(),
            log: Some(log),
            started: vec![serving],
        };
        chain.address = chain.hear("listening on ");
        chain
    }

    /// Waits for a line, and gives what follows these words in it. Two processes
    /// write the log: what one wait has passed over can be for the next one.
    fn hear(&self, words: &str) -> String {
        let after = |line: &String| line.split_once(words).map(|(_, rest)| rest.to_owned());
        let mut passed = self.passed_over.borrow_mut();
        if let Some(place) = passed.iter().position(|line| after(line).is_some()) {
            return after(&passed.remove(place)).expect("it has the words");
        }
        loop {
            let line = self.lines.recv_timeout(LONG).expect(words);
            match after(&line) {
                Some(rest) => return rest,
                None => passed.push(line),
            }
        }
    }

    fn signal(&self, signal: Signal) {
        kill_process(self.serving, signal).expect("kill");
    }

    fn hear_successor(&mut self) -> Pid {
        let pid = self
            .hear("the successor is process ")
            .parse()
            .expect("a pid");
        let pid = Pid::from_raw(pid).expect("a pid");
        self.started.push(pid);
        pid
    }

    /// Begins a restart; the old process has begun to drain then.
    fn begin_restart(&mut self) {
        self.signal(Signal::HUP);
        self.serving = self.hear_successor();
        self.hear("stopping (");
    }

    /// One restart, until the successor serves and the other one is gone.
    fn restart(&mut self) {
        self.signal(Signal::HUP);
        self.serving = self.hear_successor();
        // In this order or in the other.
        let (mut listens, mut stopped) = (false, false);
        while !(listens && stopped) {
            let line = self.lines.recv_timeout(LONG).expect("a restart");
            listens |= line.contains("listening on ") && !line.contains("stopped");
            stopped |= line.contains("stopped clean");
        }
    }

    fn socket_address(&self) -> SocketAddr {
        self.address.parse().expect("an address")
    }

    /// Stops the process that serves; the log of all, once all of them are gone.
    fn stop(mut self) -> String {
        self.signal(Signal::TERM);
        self.log()
    }

    fn log(&mut self) -> String {
        assert!(wait(&mut self.first).success());
        self.log.take().expect("once").join().expect("log")
    }
}

impl Drop for Chain {
    fn drop(&mut self) {
        if self.log.is_some() {
            for pid in &self.started {
                let _ = kill_process(*pid, Signal::KILL);
            }
        }
        let _ = self.first.wait();
    }
}

/// How long a client goes on with its connection: longer than an idle one is read in a
/// restart.
const STAY: Duration = Duration::from_secs(3);

/// What the clients of a storm share.
struct Storm {
    address: SocketAddr,
    over: AtomicBool,
}

impl Storm {
    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// Connects, speaks and leaves, again and again; the number of exchanges. No
    /// restart ends a connection that was about to speak (F84).
    fn come_and_go(&self) -> u64 {
        let mut exchanges = 0;
        while !self.is_over() {
            exchange(&mut connect(self.address), b"stay");
            exchanges += 1;
        }
        exchanges
    }

    /// Speaks on one connection for a time, and then on another. No restart ends a
    /// connection that is in use (F84).
    fn stay(&self) -> u64 {
        let mut exchanges = 0;
        while !self.is_over() {
            let mut stream = connect(self.address);
            let leaves_at = Instant::now() + STAY;
            while !self.is_over() && Instant::now() < leaves_at {
                exchange(&mut stream, b"stay");
                exchanges += 1;
            }
        }
        exchanges
    }
}

pub(crate) fn f42_f84_restarts_under_a_storm_lose_nothing(runtime: &str) {
    let restarts = number("LAMEDUCK_RESTARTS", 2);
    let mut chain = Chain::start(runtime, "127.0.0.1:0");
    let storm = Arc::new(Storm {
        address: chain.socket_address(),
        over: AtomicBool::new(false),
    });
    let client = |id| {
        let storm = storm.clone();
        thread::spawn(move || match id % 2 {
            0 => storm.come_and_go(),
            _ => storm.stay(),
        })
    };
    let clients: Vec<_> = (0..number("LAMEDUCK_CLIENTS", 8)).map(client).collect();
    for _ in 0..restarts {
        chain.restart();
    }
    storm.over.store(true, Ordering::Relaxed);
    let mut exchanges = 0;
    for client in clients {
        // None was refused, none was reset: else it has panicked.
        exchanges += client.join().expect("a loss");
    }
    println!("{restarts} restarts, {exchanges} exchanges: none refused, reset or lost");
    let log = chain.stop();
    assert_eq!(
        log.matches("close guarantee: handed over").count(),
        restarts,
        "{log}"
    );
    assert_eq!(log.matches("stopped clean").count(), restarts + 1, "{log}");
    assert!(!log.contains("cancelled"), "{log}");
}

/// Their messages are on the way when the old process begins to drain.
pub(crate) fn f84_clients_that_are_about_to_speak_are_answered_in_a_restart(runtime: &str) {
    let mut chain = Chain::start(runtime, "127.0.0.1:0");
    let mut silent = connect(chain.socket_address());
    let mut answered = connect(chain.socket_address());
    exchange(&mut answered, b"first");
    chain.begin_restart();
    exchange(&mut silent, b"from one that has just connected");
    exchange(&mut answered, b"from one that was just answered");
    let log = chain.stop();
    assert_eq!(log.matches("stopped clean").count(), 2, "{log}");
}

/// A client that takes a long answer slowly, and asks again at once when it has it: the
/// others have rested by then.
struct SlowReader(TcpStream);

impl SlowReader {
    /// Connects, and asks for an answer of this length by a message.
    fn ask(chain: &Chain, message: &[u8]) -> SlowReader {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        // Most of the answer waits in the system of the server.
        socket.set_recv_buffer_size(4096).expect("a small buffer");
        let address = chain.socket_address();
        socket.connect(&address.into()).expect("connect");
        let mut stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(LONG)).expect("timeout");
        stream.write_all(message).expect("send");
        SlowReader(stream)
    }

    fn read(&mut self, length: usize) {
        for _ in 0..STEPS {
            thread::sleep(STAY / STEPS);
            let mut part = vec![0; length / STEPS as usize];
            self.0.read_exact(&mut part).expect("a part");
        }
    }
}

const STEPS: u32 = 40;

pub(crate) fn f84_a_client_that_still_receives_is_answered_in_a_restart(runtime: &str) {
    let mut chain = Chain::start(runtime, "127.0.0.1:0");
    let message = [b'x'; 2500 * STEPS as usize];
    let mut slow = SlowReader::ask(&chain, &message);
    chain.begin_restart();
    slow.read(message.len());
    exchange(&mut slow.0, b"at once");
    drop(slow);
    let log = chain.stop();
    assert_eq!(log.matches("stopped clean").count(), 2, "{log}");
}

/// The answer was written before the restart: it did not announce the end.
pub(crate) fn f84_an_http_client_that_still_receives(runtime: &str) {
    let mut command = Command::new(http(runtime));
    let mut chain =
        Chain::spawn(command.args(["--runtime", runtime, "--listen", "127.0.0.1:0"]));
    let body = vec![b'x'; 2500 * STEPS as usize];
    let head = format!(
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let mut slow = SlowReader::ask(&chain, &[head.as_bytes(), &body].concat());
    read_until(&mut slow.0, b"\r\n\r\n");
    chain.begin_restart();
    slow.read(body.len());
    slow.0
        .write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        .expect("send");
    let answer = String::from_utf8(rest(slow.0)).expect("text");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("connection: close"), "{answer}");
    let log = chain.stop();
    assert_eq!(log.matches("stopped clean").count(), 2, "{log}");
}

/// The events end by the restart, when all that rest have gone; their answer had begun
/// before, and did not announce the end.
pub(crate) fn f84_an_http_client_whose_events_have_ended(runtime: &str) {
    let mut command = Command::new(http(runtime));
    let mut chain =
        Chain::spawn(command.args(["--runtime", runtime, "--listen", "127.0.0.1:0"]));
    let mut client = connect(chain.socket_address());
    client
        .write_all(b"GET /stream HTTP/1.1\r\nhost: a\r\n\r\n")
        .expect("send");
    read_until(&mut client, b"data: 0\n\n");
    chain.begin_restart();
    read_until(&mut client, b"\r\n0\r\n\r\n");
    client
        .write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        .expect("send");
    let answer = String::from_utf8(rest(client)).expect("text");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("connection: close"), "{answer}");
    let log = chain.stop();
    assert_eq!(log.matches("stopped clean").count(), 2, "{log}");
}

fn read_until(client: &mut impl Read, end: &[u8]) {
    let mut read = Vec::new();
    while !read.ends_with(end) {
        let mut byte = [0];
        client.read_exact(&mut byte).expect("more");
        read.push(byte[0]);
    }
}

/// A folder with a program `server` that can be replaced.
fn replaceable(runtime: &str, name: &str) -> (PathBuf, PathBuf) {
    let name = format!("lameduck-{name}-{runtime}-{}", std::process::id());
    let folder = std::env::temp_dir().join(name);
    fs::create_dir_all(&folder).expect("a folder");
    let program = folder.join("server");
    symlink(echo(runtime), &program).expect("a link");
    (folder, program)
}

fn replace(program: &PathBuf, script: &str) {
    fs::remove_file(program).expect("remove");
    fs::write(program, script).expect("write");
    fs::set_permissions(program, fs::Permissions::from_mode(0o755)).expect("mode");
}

fn start_replaceable(runtime: &str, program: &PathBuf) -> Chain {
    let mut command = Command::new(program);
    Chain::spawn(command.args(["--runtime", runtime, "--listen", "127.0.0.1:0"]))
}

pub(crate) fn f42_a_successor_that_fails_leaves_the_old_one_serving(runtime: &str) {
    let (folder, program) = replaceable(runtime, "fails");
    let mut chain = start_replaceable(runtime, &program);
    let mut client = connect(chain.socket_address());
    exchange(&mut client, b"before");

    replace(&program, "#!/bin/sh\nexit 7\n");
    chain.signal(Signal::HUP);
    chain.hear_successor();
    let why = chain.hear("the restart failed, serving on: ");
    assert!(why.contains("exit status: 7"), "{why}");
    exchange(&mut client, b"after one that ends");

    fs::remove_file(&program).expect("remove");
    chain.signal(Signal::HUP);
    let why = chain.hear("the restart failed, serving on: ");
    assert!(why.contains("cannot be started"), "{why}");
    exchange(&mut client, b"after one that is not there");

    // In the end one that works.
    symlink(echo(runtime), &program).expect("a link");
    let address = chain.socket_address();
    let before = thread::spawn(move || rest(client));
    chain.restart();
    assert_eq!(before.join().expect("an orderly end"), b"");
    exchange(&mut connect(address), b"from the successor");
    chain.stop();
    fs::remove_dir_all(folder).expect("clean up");
}

/// A successor that is to listen on more, or on less.
pub(crate) fn f65_a_restart_that_overlaps_is_explained(runtime: &str) {
    let (folder, program) = replaceable(runtime, "overlaps");
    let mut chain = start_replaceable(runtime, &program);
    let port = chain.socket_address().port();
    let mut client = connect(chain.socket_address());
    exchange(&mut client, b"before");
    let example = echo(runtime);
    let listens = |address: &str| {
        let example = example.display();
        format!(
            "#!/bin/sh\nexec {example} --runtime {runtime} --restart --listen {address}:{port}\n"
        )
    };
    replace(&program, &listens("0.0.0.0"));
    chain.signal(Signal::HUP);
    chain.hear_successor();
    let why = chain.hear(&format!("the predecessor listens on 127.0.0.1:{port}, "));
    assert!(why.contains("only a stop and a start"), "{why}");
    chain.hear("the restart failed, serving on: ");
    exchange(&mut client, b"after one that is wider");
    drop(client);
    chain.stop();
    fs::remove_dir_all(folder).expect("clean up");
}

pub(crate) fn f42_a_server_that_stops_starts_no_successor(runtime: &str) {
    let server = Echo::start(runtime, &["--grace", "1h", "--restart"]);
    let mut stubborn = server.connect();
    stuff(&mut stubborn);
    server.signal(Signal::TERM);
    server.wait_for("draining");
    server.signal(Signal::HUP);
    server.wait_for("no restart: the server stops");
    drop(stubborn);
    let (_, log) = server.wait();
    assert!(!log.contains("restarting"), "{log}");
}

pub(crate) fn f42_a_stop_during_the_restart_ends_both(runtime: &str) {
    let (folder, program) = replaceable(runtime, "hangs");
    let mut chain = start_replaceable(runtime, &program);
    let mut client = connect(chain.socket_address());
    exchange(&mut client, b"before");
    replace(&program, "#!/bin/sh\nexec sleep 1000\n");
    chain.signal(Signal::HUP);
    chain.hear_successor();
    chain.signal(Signal::HUP);
    chain.hear("another restart is under way");
    exchange(&mut client, b"while it hangs");
    chain.signal(Signal::TERM);
    assert_eq!(rest(client), b"");
    // The log ends when the last one that writes to it is gone.
    let log = chain.log();
    assert!(
        log.contains("cancelled") && log.contains("stopped clean"),
        "{log}"
    );
    assert!(!log.contains("Handoff"), "{log}");
    fs::remove_dir_all(folder).expect("clean up");
}

pub(crate) fn f42_the_successor_serves_when_its_predecessor_dies(runtime: &str) {
    // A predecessor that dies between the start and its word.
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = listener.local_addr().expect("address");
    let mut client = connect(address);
    client.write_all(b"queued").expect("send");
    let (channel, theirs) = UnixStream::pair().expect("pair");
    let mut command = passed(runtime, address, vec![listener.into(), theirs.into()]);
    command.env("LISTEN_FDNAMES", "lameduck:lameduck-predecessor");
    let reader = thread::spawn(move || {
        let mut ready = [0; 8];
        (&channel).read_exact(&mut ready).expect("ready");
        assert_eq!(&ready, b"ready +\n");
        drop(channel);
    });
    let mut chain = Chain::spawn(&mut command);
    drop(command);
    reader.join().expect("ready");
    let mut answer = [0; 6];
    client.read_exact(&mut answer).expect("an answer");
    assert_eq!(&answer, b"queued");
    drop(client);
    chain.signal(Signal::TERM);
    chain.log();
}

pub(crate) fn f42_a_successor_that_is_cancelled_serves_nobody(runtime: &str) {
    // A predecessor that is asked to stop just when the successor is ready.
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = listener.local_addr().expect("address");
    let mut client = connect(address);
    client.write_all(b"queued").expect("send");
    let (mut channel, theirs) = UnixStream::pair().expect("pair");
    let ours = listener.try_clone().expect("dup");
    let mut command = passed(runtime, address, vec![ours.into(), theirs.into()]);
    command.env("LISTEN_FDNAMES", "lameduck:lameduck-predecessor");
    let predecessor = thread::spawn(move || {
        channel.read_exact(&mut [0; 8]).expect("ready");
        channel.write_all(b"s").expect("it is to stay");
    });
    let mut chain = Chain::spawn(&mut command);
    drop(command);
    predecessor.join().expect("ready");
    let log = chain.log();
    assert!(log.contains("the predecessor serves on"), "{log}");
    for line in log.lines().filter(|line| line.contains("listening on")) {
        assert!(line.contains("stopped listening on"), "{log}");
    }
    // Those that wait are still the predecessor's.
    listener.set_nonblocking(true).expect("nonblocking");
    let (mut queued, _) = listener.accept().expect("nobody took it");
    queued.set_nonblocking(false).expect("blocking");
    let mut word = [0; 6];
    queued.read_exact(&mut word).expect("a word");
    assert_eq!(&word, b"queued");
}

/// The echo service, with these descriptors passed on to it.
fn passed(runtime: &str, address: SocketAddr, descriptors: Vec<OwnedFd>) -> Command {
    let mut command = Command::new(echo(runtime));
    let (listen, count) = (address.to_string(), descriptors.len().to_string());
    command.args(["--runtime", runtime, "--listen", &listen]);
    command.env("LISTEN_FDS", count);
    let mappings = descriptors
        .into_iter()
        .zip(3..)
        .map(|(parent_fd, child_fd)| FdMapping {
            parent_fd,
            child_fd,
        });
    command
        .fd_mappings(mappings.collect())
        .expect("no collision");
    command
}

pub(crate) fn f10_a_path_is_left_to_the_successor(runtime: &str) {
    let name = format!("lameduck-{runtime}-{}.sock", std::process::id());
    let path = std::env::temp_dir().join(name);
    let mut chain = Chain::start(runtime, &format!("unix:{}", path.display()));
    let mut client = UnixStream::connect(&path).expect("connect");
    exchange(&mut client, b"before");
    let before = thread::spawn(move || rest(client));
    chain.restart();
    assert_eq!(before.join().expect("an orderly end"), b"");
    assert!(path.exists(), "the successor's path is gone");
    exchange(&mut UnixStream::connect(&path).expect("connect"), b"after");
    chain.stop();
    assert!(!path.exists(), "the path stays behind");
}

pub(crate) fn f4_a_supervisors_socket_outlives_the_server(runtime: &str) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = listener.local_addr().expect("address");
    for round in 0..2 {
        let ours = listener.try_clone().expect("dup");
        let chain = Chain::spawn(&mut passed(runtime, address, vec![ours.into()]));
        let mut client = connect(address);
        exchange(&mut client, b"served");
        let before = thread::spawn(move || rest(client));
        let log = chain.stop();
        assert_eq!(before.join().expect("an orderly end"), b"");
        assert!(log.contains("close guarantee: swept"), "{round}: {log}");
        // Nobody serves, and nobody is turned away.
        let mut queued = connect(address);
        queued.write_all(b"queued").expect("send");
        let chain = Chain::spawn(&mut passed(
            runtime,
            address,
            vec![listener.try_clone().expect("dup").into()],
        ));
        let mut answer = [0; 6];
        queued.read_exact(&mut answer).expect("an answer");
        assert_eq!(&answer, b"queued");
        drop(queued);
        chain.stop();
    }
}

pub(crate) fn f49_a_stop_before_the_predecessors_word_still_sweeps(runtime: &str) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = listener.local_addr().expect("address");
    let mut clients: Vec<_> = (0..20).map(|_| connect(address)).collect();
    for client in &mut clients {
        client.write_all(b"queued").expect("send");
    }
    let (mut channel, theirs) = UnixStream::pair().expect("pair");
    let mut command = passed(runtime, address, vec![listener.into(), theirs.into()]);
    command.env("LISTEN_FDNAMES", "lameduck:lameduck-predecessor");
    let mut child = command
        .arg("--restart")
        .stderr(Stdio::piped())
        .spawn()
        .expect("spawn");
    // With it go our descriptors of the socket.
    drop(command);
    channel.read_exact(&mut [0; 8]).expect("ready");
    // The stop reaches the successor first, as one for the process group can.
    kill_process(Pid::from_child(&child), Signal::TERM).expect("kill");
    let mut log = BufReader::new(child.stderr.take().expect("piped")).lines();
    let mut said = String::new();
    while !said.contains("waits for the predecessor's word") {
        said = log.next().expect("the signal is seen").expect("a line");
    }
    channel.write_all(b"g").expect("it is to serve");
    drop(channel);
    for client in clients {
        assert_eq!(rest(client), b"queued");
    }
    let rest: Vec<_> = log.map_while(Result::ok).collect();
    assert!(wait(&mut child).success(), "{rest:?}");
}

/// The whole process group is told to stop at a moment of the restart that
/// differs from stop to stop, with clients in the queue. `LAMEDUCK_STOPS` says
/// how many.
pub(crate) fn f49_a_group_that_is_told_to_stop_in_a_restart_loses_nobody(runtime: &str) {
    let stops = number("LAMEDUCK_STOPS", 4);
    for stop in 0..stops {
        let mut command = Command::new(echo(runtime));
        command.args(["--runtime", runtime, "--listen", "127.0.0.1:0"]);
        let mut chain = Chain::spawn(command.process_group(0));
        let (address, over) = (chain.socket_address(), AtomicBool::new(false));
        let clients = thread::scope(|scope| {
            let connecting = scope.spawn(|| {
                let mut clients = Vec::new();
                while !over.load(Ordering::Relaxed) && clients.len() < 200 {
                    let mut client = connect(address);
                    client.write_all(b"before the stop").expect("send");
                    clients.push(client);
                    thread::sleep(Duration::from_millis(1));
                }
                clients
            });
            chain.signal(Signal::HUP);
            // A restart takes some 20 ms; a busy machine makes it longer.
            thread::sleep(Duration::from_millis(60) * stop as u32 / stops as u32);
            over.store(true, Ordering::Relaxed);
            connecting.join().expect("nobody is refused")
        });
        kill_process_group(chain.serving, Signal::TERM).expect("kill");
        // The predecessor drains as soon as the successor serves. The client
        // that has just connected then, and not sent, is idle: one at most.
        let mut ended_idle = 0;
        for client in clients {
            match rest(client).as_slice() {
                b"" => ended_idle += 1,
                answer => assert_eq!(answer, b"before the stop", "stop {stop}"),
            }
        }
        assert!(ended_idle <= 1, "stop {stop}: {ended_idle} are lost");
        chain.log();
    }
}

pub(crate) fn f53_a_restart_leaves_its_supervisors_variables_behind(runtime: &str) {
    let mut command = Command::new(echo(runtime));
    command.args(["--runtime", runtime, "--listen", "127.0.0.1:0"]);
    // As a supervisor leaves them; none of them is right for a successor.
    command
        .env("LISTEN_FDS_FIRST_FD", "7")
        .env("LISTEN_PIDFDID", "12345")
        .env("LISTEN_PID", "1")
        .env("WATCHDOG_PID", "1");
    let mut chain = Chain::spawn(&mut command);
    for _ in 0..2 {
        chain.restart();
        exchange(&mut connect(chain.socket_address()), b"hello");
    }
    chain.stop();
}

pub(crate) fn f58_a_restart_signal_during_a_restart_is_carried_out(runtime: &str) {
    let (folder, program) = replaceable(runtime, "again");
    let mut chain = start_replaceable(runtime, &program);
    let go = folder.join("go");
    // Each successor waits for a file before it begins.
    let script = format!(
        "#!/bin/sh\nuntil [ -e {} ]; do :; done\nexec {} \"$@\"\n",
        go.display(),
        echo(runtime).display()
    );
    replace(&program, &script);
    chain.signal(Signal::HUP);
    chain.hear_successor();
    chain.signal(Signal::HUP);
    chain.hear("another restart is under way");
    fs::write(&go, "").expect("write");
    let mut stopped = 0;
    while stopped < 2 {
        let line = chain.lines.recv_timeout(LONG).expect("two restarts");
        stopped += usize::from(line.contains("stopped clean"));
        if let Some((_, pid)) = line.split_once("the successor is process ") {
            let pid = Pid::from_raw(pid.parse().expect("a pid")).expect("a pid");
            chain.started.push(pid);
            chain.serving = pid;
        }
    }
    exchange(
        &mut connect(chain.socket_address()),
        b"from the last of them",
    );
    chain.stop();
    fs::remove_dir_all(folder).expect("clean up");
}

/// Whether a descriptor of which the number is known can be duplicated here.
fn duplicates_numbers() -> bool {
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
        let own = pidfd_open(getpid(), PidfdFlags::empty());
        own.and_then(|own| pidfd_getfd(own, 2, PidfdGetfdFlags::empty()))
            .is_ok()
    }
    #[cfg(not(target_os = "linux"))]
    false
}

/// Not the listeners of the server alone: also what else the supervisor has passed on, to
/// the next one and to the one after that.
pub(crate) fn f64_a_restart_passes_on_what_the_program_has_taken() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let admin = TcpListener::bind("127.0.0.1:0").expect("bind");
    let udp = UdpSocket::bind("127.0.0.1:0").expect("bind");
    let udp_address = udp.local_addr().expect("address");
    let (pipe, mut other_end) = pipe();
    let passed = vec![udp.into(), pipe, listener.into(), admin.into()];
    let mut command = with_own_process_id(activated());
    pass(&mut command, passed, "dns:fifo:echo:admin");
    let mut chain = Chain::spawn(command.arg("echo"));
    drop(command);
    let passes_numbers = duplicates_numbers();
    if !passes_numbers {
        println!("skipped for the FIFO: pidfd_getfd(2) is not there, or forbidden");
    }
    for restarts in 0..3 {
        if restarts > 0 {
            chain.begin_restart();
        }
        chain.hear(&format!("passed on: dns is a socket at {udp_address}"));
        chain.hear("passed on: admin is a socket");
        if passes_numbers || restarts == 0 {
            chain.hear("passed on: fifo is descriptor");
        }
        exchange(&mut connect(chain.socket_address()), b"it is served");
    }
    chain.stop();
    assert!(wait(&mut other_end).success());
}

pub(crate) fn f50_process_1_refuses_to_restart_and_serves_on(runtime: &str) {
    let mut probe = Command::new("unshare");
    let probe = probe
        .args(["--pid", "--fork", "true"])
        .stderr(Stdio::null());
    if !probe.status().is_ok_and(|status| status.success()) {
        return println!("skipped: a pid namespace needs CAP_SYS_ADMIN and unshare(1)");
    }
    let mut command = Command::new("unshare");
    command
        .args(["--pid", "--fork", "--kill-child", "--"])
        .arg(echo(runtime));
    command.args(["--runtime", runtime, "--listen", "127.0.0.1:0"]);
    let mut chain = Chain::spawn(&mut command);
    let pid = crate::signals::only_child(chain.serving);
    let mut client = connect(chain.socket_address());
    exchange(&mut client, b"before");
    kill_process(pid, Signal::HUP).expect("kill");
    chain.hear("no restart: this server is process 1");
    exchange(&mut client, b"it serves on");
    drop(client);
    kill_process(pid, Signal::TERM).expect("kill");
    chain.log();
}
