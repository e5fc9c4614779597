//! Descriptors that a supervisor passes on, and variables that lie about them.

use std::fs::File;
use std::io::Read;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Instant;

use command_fds::{CommandFdExt, FdMapping};
use rustix::process::Signal;

use crate::example::{activated, echo};
use crate::support::{Echo, LONG, exchange, rest};

/// Passes descriptors on as systemd does, but for `LISTEN_PID`, which nobody
/// knows before the child lives.
pub(crate) fn pass(command: &mut Command, passed: Vec<OwnedFd>, names: &str) {
    command.env("LISTEN_FDS", passed.len().to_string());
    command.env("LISTEN_FDNAMES", names);
    let mappings = passed
        .into_iter()
        .zip(3..)
        .map(|(parent_fd, child_fd)| FdMapping {
            parent_fd,
            child_fd,
        });
    command.fd_mappings(mappings.collect()).unwrap();
}

/// A command that is run once its `LISTEN_PID` is its own.
pub(crate) fn with_own_process_id(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("sh");
    command
        .args(["-c", "LISTEN_PID=$$ exec \"$@\"", "sh"])
        .arg(program);
    command
}

/// Runs it to its end; gives the status and what it printed.
fn run(command: &mut Command) -> (Option<i32>, String) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!text.contains("panicked"), "{text}");
    (output.status.code(), text)
}

fn listen(runtime: &str, addresses: &[String]) -> Command {
    let mut command = Command::new(echo(runtime));
    command.args(["--restart", "--runtime", runtime]);
    for address in addresses {
        command.args(["--listen", address]);
    }
    command
}

/// A pipe, and the process that reads it until nobody holds our end.
pub(crate) fn pipe() -> (OwnedFd, Child) {
    let mut reader = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
    (reader.stdin.take().unwrap().into(), reader)
}

fn on_all_addresses() -> Option<(TcpListener, u16)> {
    match TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)) {
        Ok(socket) => {
            let port = socket.local_addr().unwrap().port();
            Some((socket, port))
        }
        Err(error) => {
            println!("skipped: this machine has no IPv6: {error}");
            None
        }
    }
}

/// systemd's `ListenStream=80` is `[::]:80`.
pub(crate) fn f63_a_socket_that_covers_the_address_is_taken(runtime: &str) {
    for asked in ["0.0.0.0", "127.0.0.1", "[::]"] {
        let Some((socket, port)) = on_all_addresses() else {
            return;
        };
        let mut command = listen(runtime, &[format!("{asked}:{port}")]);
        pass(&mut command, vec![socket.into()], "web.socket");
        let server = Echo::spawn(&mut command);
        assert_eq!(server.address.port(), port);
        let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        exchange(&mut crate::support::connect(loopback), b"it is served");
        server.signal(Signal::TERM);
        let (status, log) = server.wait();
        assert_eq!(status, 0, "{log}");
        let is_named = log.contains(&format!("{asked}:{port} is served by [::]:{port}"));
        assert_eq!(is_named, asked != "[::]", "{log}");
    }
}

/// Both families are asked for, and one socket serves both.
pub(crate) fn f63_one_socket_serves_both_families(runtime: &str) {
    let Some((socket, port)) = on_all_addresses() else {
        return;
    };
    let addresses = [format!("0.0.0.0:{port}"), format!("[::]:{port}")];
    let mut command = listen(runtime, &addresses);
    pass(&mut command, vec![socket.into()], "web.socket");
    let server = Echo::spawn(&mut command);
    for loopback in [
        SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
        SocketAddr::from((Ipv6Addr::LOCALHOST, port)),
    ] {
        exchange(&mut crate::support::connect(loopback), b"it is served");
    }
    server.signal(Signal::TERM);
    assert_eq!(server.wait().0, 0);
}

pub(crate) fn f63_the_error_names_what_was_passed(runtime: &str) {
    let passed = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = passed.local_addr().unwrap().port();
    let mut command = listen(runtime, &[format!("0.0.0.0:{port}")]);
    pass(&mut command, vec![passed.into()], "web.socket");
    let (status, text) = run(&mut command);
    assert_eq!(status, Some(1), "{text}");
    let words = format!("passed on were web.socket (127.0.0.1:{port})");
    assert!(text.contains(&words), "{text}");
    assert!(!text.contains("another process"), "{text}");
}

pub(crate) fn f63_sockets_for_another_process_are_explained(runtime: &str) {
    let passed = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = passed.local_addr().unwrap().to_string();
    let mut command = listen(runtime, &[address]);
    pass(&mut command, vec![passed.into()], "web.socket");
    let (status, text) = run(command.env("LISTEN_PID", "1"));
    assert_eq!(status, Some(1), "{text}");
    assert!(text.contains("passed to process 1 (LISTEN_PID)"), "{text}");
    assert!(text.contains("exec"), "{text}");
}

/// With systemd's own tool, where it is installed.
pub(crate) fn f63_systemds_own_tool_can_start_it(runtime: &str) {
    let tool = "systemd-socket-activate";
    if Command::new(tool).arg("--version").output().is_err() {
        return println!("skipped: {tool} is not installed");
    }
    let Some((free, port)) = on_all_addresses() else {
        return;
    };
    drop(free);
    let mut command = Command::new(tool);
    command.args(["-l", &port.to_string()]).arg(echo(runtime));
    command.args(["--restart", "--runtime", runtime]);
    command.args(["--listen", &format!("127.0.0.1:{port}")]);
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    // It starts the program at the first connection.
    let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let begun = Instant::now();
    let mut client = loop {
        match TcpStream::connect(loopback) {
            Ok(client) => break client,
            Err(error) => assert!(begun.elapsed() < LONG, "never: {error}"),
        }
        thread::yield_now();
    };
    client.set_read_timeout(Some(LONG)).unwrap();
    exchange(&mut client, b"it is served");
    // The tool has become the server.
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, Signal::TERM).unwrap();
    assert_eq!(rest(client), b"");
    let status = crate::support::wait(&mut child);
    let mut log = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut log)
        .unwrap();
    assert_eq!(status.code(), Some(0), "{log}");
}

pub(crate) fn f64_other_kinds_of_descriptors_refuse_nothing(runtime: &str) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let (pipe, mut other_end) = pipe();
    let file = File::open("/dev/null").unwrap();
    let (stream, _peer) = std::os::unix::net::UnixStream::pair().unwrap();
    let passed = vec![
        udp.into(),
        pipe,
        listener.into(),
        file.into(),
        stream.into(),
    ];
    let mut command = listen(runtime, &[address]);
    pass(&mut command, passed, "udp:fifo:web:store:stream");
    let server = Echo::spawn(&mut command);
    exchange(&mut server.connect(), b"it is served");
    server.signal(Signal::TERM);
    let (status, log) = server.wait();
    drop(command);
    assert!(crate::support::wait(&mut other_end).success());
    assert_eq!(status, 0, "{log}");
}

pub(crate) fn f64_sockets_are_asked_for_by_name() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let other = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let udp_address = udp.local_addr().unwrap();
    let (pipe, mut other_end) = pipe();
    let passed: Vec<OwnedFd> = vec![udp.into(), other.into(), pipe, listener.into()];
    let mut command = with_own_process_id(activated());
    pass(&mut command, passed, "dns:admin:fifo:echo");
    let server = Echo::spawn(command.arg("echo"));
    exchange(&mut server.connect(), b"it is served");
    server.signal(Signal::TERM);
    let (status, log) = server.wait();
    drop(command);
    assert!(crate::support::wait(&mut other_end).success());
    assert_eq!(status, 0, "{log}");
    let words = format!("passed on: dns is a socket at {udp_address}");
    assert!(log.contains(&words), "{log}");
    assert!(log.contains("passed on: admin is a socket"), "{log}");
    assert!(log.contains("passed on: fifo is descriptor 5"), "{log}");
}

pub(crate) fn f64_a_name_that_was_not_passed_is_refused() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let mut command = Command::new(activated());
    pass(&mut command, vec![listener.into()], "web");
    let (status, text) = run(command.arg("mail"));
    assert_eq!((status, text.lines().count()), (Some(1), 1), "{text}");
    assert!(text.contains("`mail`"), "{text}");
    assert!(text.contains(&format!("web ({address})")), "{text}");
}

pub(crate) fn f64_variables_that_lie_are_explained(runtime: &str) {
    for (name, value) in [
        ("LISTEN_FDS", "three"),
        ("LISTEN_FDS", "-1"),
        ("LISTEN_FDS", "4294967295"),
        ("LISTEN_FDS", "2147483647"),
        ("LISTEN_FDS", "1000000"),
        ("LISTEN_FDS", "99999999999999999999"),
        ("LISTEN_PID", "me"),
        ("LISTEN_FDS_FIRST_FD", "2147483647"),
        ("LISTEN_FDS_FIRST_FD", "0"),
    ] {
        let mut command = listen(runtime, &["127.0.0.1:0".to_owned()]);
        command.env("LISTEN_FDS", "1").env(name, value);
        let (status, text) = run(&mut command);
        assert_eq!(
            (status, text.lines().count()),
            (Some(1), 1),
            "{name}={value}: {text}"
        );
        assert!(text.contains("LISTEN_"), "{name}={value}: {text}");
    }
    // Names that are none, and too few or too many of them, harm nobody.
    for names in ["", ":::", "a:b:c:d", "\u{1b}[31m", "%s%n"] {
        let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = socket.local_addr().unwrap().to_string();
        let mut command = listen(runtime, &[address]);
        pass(&mut command, vec![socket.into()], names);
        let server = Echo::spawn(&mut command);
        exchange(&mut server.connect(), b"it is served");
        server.signal(Signal::TERM);
        assert_eq!(server.wait().0, 0);
    }
}

/// A Unix socket that was passed on is asked for by its path, or its name.
pub(crate) fn f66_an_abstract_name_that_was_passed_is_taken(runtime: &str) {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixStream};

    let name = format!("lameduck-passed-{runtime}-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let socket = UnixListener::bind_addr(&address).unwrap();
    let tcp = "127.0.0.1:0".to_owned();
    let mut command = listen(runtime, &[tcp, format!("unix:@{name}")]);
    pass(&mut command, vec![socket.into()], "web.socket");
    let server = Echo::spawn(&mut command);
    let mut client = UnixStream::connect_addr(&address).unwrap();
    client.set_read_timeout(Some(LONG)).unwrap();
    exchange(&mut client, b"no file");
    server.signal(Signal::TERM);
    assert_eq!(rest(client), b"");
    assert_eq!(server.wait().0, 0);
}
