//! Listeners: kinds, limits, and what cannot be listened on.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use lameduck::report::Outcome;
use lameduck::{Address, BindError, Runtime, Server};

use crate::support::{Client, LONG, builder, echo, eventually, start};

/// A path that no other test has.
pub(crate) fn socket_path() -> PathBuf {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!("lameduck-{}-{number}.sock", std::process::id()))
}

pub(crate) fn several_listeners_of_all_kinds_drain_together(runtime: impl Runtime) {
    let path = socket_path();
    let mut server = builder(runtime).listen(Address::Unix(Some(path.clone())));
    let v6: SocketAddr = "[::1]:0".parse().unwrap();
    let has_v6 = TcpListener::bind(v6).is_ok();
    if has_v6 {
        server = server.listen(v6);
    } else {
        println!("skipped: IPv6, since this machine has no ::1");
    }
    let server = start(server.bind().unwrap(), echo);
    let mut clients = vec![server.connect()];
    if let Some(Address::Tcp(address)) = server.addresses.get(2) {
        clients.push(Client::connect(*address));
    }
    for client in &mut clients {
        client.exchange(b"over TCP");
    }
    let mut unix = UnixStream::connect(&path).unwrap();
    unix.set_read_timeout(Some(LONG)).unwrap();
    unix.write_all(b"over Unix").unwrap();
    let mut answer = [0; 9];
    unix.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"over Unix");

    server.shutdown.stop("now");
    for client in &mut clients {
        assert_eq!(client.rest(), b"");
    }
    assert_eq!(unix.read(&mut answer).unwrap(), 0);
    let accepted = clients.len() as u64 + 1;
    drop((clients, unix));
    let report = server.report();
    assert_eq!(report.outcome, Outcome::Clean);
    assert_eq!(report.closed.drained, accepted);
    assert_eq!(
        report.listeners.iter().map(|l| l.accepted).sum::<u64>(),
        accepted
    );
    assert!(!path.exists());
}

pub(crate) fn f10_a_unix_path_is_removed_by_its_owner_only(runtime: impl Runtime) {
    let path = socket_path();
    let address = Address::Unix(Some(path.clone()));
    let old = Server::builder(runtime).listen(address).signals([]);
    let old = start(old.bind().unwrap(), echo);
    // A successor takes the path over, as by rename(2).
    fs::remove_file(&path).unwrap();
    let successor = UnixListener::bind(&path).unwrap();
    assert_eq!(old.stop().outcome, Outcome::Clean);
    assert!(path.exists(), "the path is the successor's");
    UnixStream::connect(&path).expect("the successor listens");
    drop(successor);
    fs::remove_file(&path).unwrap();
}

pub(crate) fn the_connection_limit_is_waited_at(runtime: impl Runtime) {
    let server = start(builder(runtime).connection_limit(2).bind().unwrap(), echo);
    let (mut first, mut second) = (server.connect(), server.connect());
    first.exchange(b"in");
    second.exchange(b"in");
    let mut third = server.connect();
    third.send(b"outside");
    third
        .0
        .set_read_timeout(Some(Duration::from_millis(200)))
        .unwrap();
    assert!(third.0.read(&mut [0]).is_err(), "served beyond the limit");
    third.0.set_read_timeout(Some(LONG)).unwrap();
    drop(first);
    third.expect(b"outside");
    drop((second, third));
    assert_eq!(server.stop().accepted, 3);
}

pub(crate) fn the_stop_interrupts_the_wait_at_the_limit(runtime: impl Runtime) {
    let server = start(builder(runtime).connection_limit(1).bind().unwrap(), echo);
    let mut inside = server.connect();
    inside.exchange(b"in");
    let mut waiting = server.connect();
    waiting.send(b"established before the stop");
    server.shutdown.stop("now");
    assert_eq!(waiting.rest(), b"established before the stop");
    assert_eq!(inside.rest(), b"");
    drop((inside, waiting));
    let report = server.report();
    assert_eq!((report.accepted, report.listeners[0].swept), (2, 1));
    assert_eq!(report.outcome, Outcome::Clean);
}

pub(crate) fn a_busy_port_is_refused(runtime: impl Runtime) {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let error = Server::builder(runtime).listen(address).bind().unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, BindError::Listen(..)), "{text}");
    assert!(
        text.contains(&address.to_string()) && text.contains("another port"),
        "{text}"
    );
    assert!(!text.contains('\n'));
}

pub(crate) fn a_server_without_an_address_or_room_is_refused(runtime: impl Runtime) {
    let error = Server::builder(runtime.clone()).bind().unwrap_err();
    assert!(matches!(error, BindError::NoAddress), "{error}");
    let error = builder(runtime).connection_limit(0).bind().unwrap_err();
    assert!(matches!(error, BindError::ZeroConnectionLimit), "{error}");
}

pub(crate) fn a_path_that_exists_is_refused(runtime: impl Runtime) {
    let path = socket_path();
    fs::write(&path, "precious").unwrap();
    let address = Address::Unix(Some(path.clone()));
    let error = Server::builder(runtime).listen(address).bind().unwrap_err();
    assert!(error.to_string().contains("the path exists"), "{error}");
    assert_eq!(fs::read(&path).unwrap(), b"precious");
    fs::remove_file(&path).unwrap();
}

pub(crate) fn f31_parts_beyond_the_budget_are_refused(runtime: impl Runtime) {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let second = Duration::from_secs(1);
    // The address could not be bound either: the budget is looked at first.
    let server = Server::builder(runtime).listen(taken.local_addr().unwrap());
    let error = server
        .grace_period(second)
        .lame_duck(second * 2)
        .bind()
        .unwrap_err();
    assert!(matches!(error, BindError::Config(_)), "{error}");
    eventually("the port is still the other's", || {
        taken.local_addr().is_ok()
    });
}
