//! What listeners are asked for beside their address, and the addresses that
//! they share.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use lameduck::report::{Outcome, ServerError};
use lameduck::rt::CloseGuarantee;
use lameduck::{Address, BindError, ListenOptions, Listener, Runtime, Server};
use socket2::{Domain, SockRef, Socket, Type};

use crate::listening::socket_path;
use crate::support::{Client, LONG, builder, echo, eventually, start};

/// A server on both families of one port; `None` without IPv6. Others may take
/// the port that was free a moment ago.
fn on_both_families<R: Runtime>(
    runtime: &R,
    listen: impl Fn(SocketAddr, SocketAddr) -> Result<Server<R>, BindError>,
) -> Option<(Server<R>, u16)> {
    let _ = runtime;
    if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
        println!("skipped: this machine has no IPv6");
        return None;
    }
    for _ in 0..20 {
        let free = TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)).unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let v4 = (Ipv4Addr::UNSPECIFIED, port).into();
        let v6 = (Ipv6Addr::UNSPECIFIED, port).into();
        match listen(v4, v6) {
            Ok(server) => return Some((server, port)),
            Err(error) => println!("once more: {error}"),
        }
    }
    panic!("both families of a port are refused");
}

pub(crate) fn f62_both_families_listen_on_one_port(runtime: impl Runtime) {
    let in_order = |v4, v6| {
        let server = Server::builder(runtime.clone()).signals([]);
        server.listen(v4).listen(v6).bind()
    };
    let reversed = |v4, v6| in_order(v6, v4);
    for listen in [&in_order as &dyn Fn(_, _) -> _, &reversed] {
        let Some((server, port)) = on_both_families(&runtime, listen) else {
            return;
        };
        let server = start(server, echo);
        let mut clients = [
            Client::connect((Ipv4Addr::LOCALHOST, port).into()),
            Client::connect((Ipv6Addr::LOCALHOST, port).into()),
        ];
        for client in &mut clients {
            client.exchange(b"each at its own");
        }
        drop(clients);
        let report = server.stop();
        assert_eq!(report.outcome, Outcome::Clean);
        let accepted: Vec<_> = report.listeners.iter().map(|l| l.accepted).collect();
        assert_eq!(accepted, [1, 1], "{report}");
    }
}

pub(crate) fn f62_an_overlap_of_its_own_is_named(runtime: impl Runtime) {
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let one: SocketAddr = (Ipv4Addr::LOCALHOST, port).into();
    let all: SocketAddr = (Ipv4Addr::UNSPECIFIED, port).into();
    for (first, second) in [(one, all), (all, one), (one, one)] {
        let server = Server::builder(runtime.clone())
            .listen(first)
            .listen(second);
        let error = server.bind().unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, BindError::InUse { .. }), "{text}");
        assert!(
            text.contains(&format!("itself listens on {first}")),
            "{text}"
        );
        assert!(!text.contains("another process"), "{text}");
    }
}

pub(crate) fn f62_options_that_contradict_are_refused(runtime: impl Runtime) {
    let new = ListenOptions::new;
    let path = socket_path();
    let listen = |address: &str, options| {
        let server = Server::builder(runtime.clone());
        server.listen_with(address, options).bind().unwrap_err()
    };
    for error in [
        listen("127.0.0.1:0", new().mode(0o600)),
        listen("[::1]:0", new().group(0)),
        listen("unix:@name", new().owner(0)),
        listen("127.0.0.1:0", new().v6only(true)),
        listen(&format!("unix:{}", path.display()), new().nodelay(true)),
        listen("127.0.0.1:0", new().backlog(-2)),
    ] {
        let text = error.to_string();
        assert!(matches!(error, BindError::Options(..)), "{text}");
        assert!(!text.contains('\n'), "{text}");
    }
    assert!(!path.exists(), "nothing was bound");
    let server = Server::builder(runtime.clone()).listen("0.0.0.0:9");
    let server = server.listen_with("[::]:9", new().v6only(false));
    let text = server.bind().unwrap_err().to_string();
    assert!(text.contains("leave out one of the two"), "{text}");
    let text = builder(runtime).backlog(-2).bind().unwrap_err().to_string();
    assert!(text.contains("a backlog is"), "{text}");
}

/// A path of a socket whose process is gone.
fn abandoned() -> PathBuf {
    let path = socket_path();
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    path
}

fn over_unix(path: &Path) {
    let mut client = UnixStream::connect(path).unwrap();
    client.set_read_timeout(Some(LONG)).unwrap();
    client.write_all(b"over Unix").unwrap();
    let mut answer = [0; 9];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"over Unix");
}

pub(crate) fn f66_a_path_that_was_left_behind_is_replaced(runtime: impl Runtime) {
    let path = abandoned();
    let server = Server::builder(runtime).listen(path.as_path()).signals([]);
    let server = start(server.bind().unwrap(), echo);
    over_unix(&path);
    assert_eq!(server.stop().outcome, Outcome::Clean);
    assert!(!path.exists());
}

pub(crate) fn f66_a_path_that_somebody_listens_at_is_refused(runtime: impl Runtime) {
    let path = socket_path();
    let other = UnixListener::bind(&path).unwrap();
    // With its queue full, it answers neither yes nor no.
    SockRef::from(&other).listen(0).unwrap();
    let filler = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
    filler.set_nonblocking(true).unwrap();
    filler
        .connect(&socket2::SockAddr::unix(&path).unwrap())
        .unwrap();
    let inode = fs::metadata(&path).unwrap().ino();
    for _ in 0..2 {
        let server = Server::builder(runtime.clone()).listen(path.as_path());
        let text = server.bind().unwrap_err().to_string();
        assert!(text.contains("the path exists"), "{text}");
    }
    assert_eq!(fs::metadata(&path).unwrap().ino(), inode);
    drop(filler);
    fs::remove_file(&path).unwrap();
}

pub(crate) fn f66_a_path_has_the_mode_and_group_that_were_asked_for(runtime: impl Runtime) {
    let path = socket_path();
    let (user, group) = (rustix::process::getuid(), rustix::process::getgid());
    let options = ListenOptions::new().mode(0o640);
    let options = options.owner(user.as_raw()).group(group.as_raw());
    let server = Server::builder(runtime.clone()).signals([]);
    let server = server.listen_with(path.as_path(), options);
    let server = start(server.bind().unwrap(), echo);
    let metadata = fs::metadata(&path).unwrap();
    assert_eq!(metadata.permissions().mode() & 0o777, 0o640);
    assert_eq!(
        (metadata.uid(), metadata.gid()),
        (user.as_raw(), group.as_raw())
    );
    over_unix(&path);
    assert_eq!(server.stop().outcome, Outcome::Clean);
    if user.is_root() {
        return println!("skipped: root may give away what it likes");
    }
    let options = ListenOptions::new().owner(0);
    let server = Server::builder(runtime).listen_with(path.as_path(), options);
    let text = server.bind().unwrap_err().to_string();
    assert!(text.contains("giving it its owner"), "{text}");
    assert!(!path.exists(), "nothing stays bound");
}

pub(crate) fn f66_a_name_that_is_no_path_makes_no_file(runtime: impl Runtime) {
    let number = socket_path();
    let name = number.file_name().unwrap().to_str().unwrap().to_owned();
    let address = format!("unix:@{name}");
    let server = Server::builder(runtime.clone()).listen(address.as_str());
    let server = match server.signals([]).bind() {
        Ok(server) => server,
        Err(error) if !cfg!(target_os = "linux") => return println!("skipped: {error}"),
        Err(error) => panic!("{error}"),
    };
    assert_eq!(server.local_addrs().next().unwrap().to_string(), address);
    let again = Server::builder(runtime).listen(address.as_str()).bind();
    let text = again.unwrap_err().to_string();
    assert!(text.contains("itself") || text.contains("in use"), "{text}");
    let server = start(server, echo);
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
    let raw = format!("\0{name}");
    socket
        .connect(&socket2::SockAddr::unix(raw).unwrap())
        .unwrap();
    let mut client = UnixStream::from(std::os::fd::OwnedFd::from(socket));
    client.write_all(b"no file").unwrap();
    let mut answer = [0; 7];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"no file");
    drop(client);
    assert!(!Path::new(&format!("@{name}")).exists());
    assert_eq!(server.stop().outcome, Outcome::Clean);
}

/// The path cannot be removed: it is in a directory that is not writable, or
/// its place is taken by something else that cannot be looked at.
pub(crate) fn f66_a_path_that_cannot_be_removed_is_an_error_of_the_stop(runtime: impl Runtime) {
    let directory = socket_path().with_extension("d");
    fs::create_dir(&directory).unwrap();
    let path = directory.join("echo.sock");
    let server = Server::builder(runtime).listen(path.as_path()).signals([]);
    let server = start(server.bind().unwrap(), echo);
    over_unix(&path);
    // Whoever may write anywhere is stopped by a path that is no path any more.
    let aside = directory.with_extension("aside");
    fs::rename(&directory, &aside).unwrap();
    fs::write(&directory, "not a directory").unwrap();
    let report = server.stop();
    assert_eq!((report.outcome, report.exit_status()), (Outcome::Failed, 1));
    assert!(
        matches!(&report.errors[..], [ServerError::Close { .. }]),
        "{report}"
    );
    fs::remove_file(&directory).unwrap();
    fs::remove_dir_all(&aside).unwrap();
}

pub(crate) fn f76_small_writes_are_sent_at_once<R>(runtime: R)
where
    R: Runtime<Listener: Listener<Connection: AsFd>>,
{
    let bound = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let options = |nodelay| ListenOptions::new().nodelay(nodelay);
    let server = || Server::builder(runtime.clone()).signals([]);
    for (server, expected) in [
        (server().listen("127.0.0.1:0"), true),
        (server().listen_on(bound()), true),
        (server().listen_with("127.0.0.1:0", options(false)), false),
        (server().listen("127.0.0.1:0").nodelay(false), false),
        (server().listen_on(bound()).nodelay(false), false),
        (
            server()
                .listen_with("127.0.0.1:0", options(true))
                .nodelay(false),
            true,
        ),
    ] {
        let seen = Arc::new(Mutex::new(None));
        let sees = seen.clone();
        let server = start(server.bind().unwrap(), move |session| {
            let nodelay = SockRef::from(session.connection()).tcp_nodelay();
            *sees.lock().unwrap() = nodelay.ok();
            echo(session)
        });
        server.connect().exchange(b"hello");
        assert_eq!(server.stop().outcome, Outcome::Clean);
        assert_eq!(*seen.lock().unwrap(), Some(expected));
    }
}

pub(crate) fn f52_a_queue_longer_than_the_backlog_is_swept_to_its_end(runtime: impl Runtime) {
    // One that others have made longer, and the longest that the system allows.
    let longer = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let server = || Server::builder(runtime.clone()).signals([]);
    for server in [
        server().listen_on(longer).backlog(5),
        server().listen("127.0.0.1:0").backlog(-1),
        server().listen("127.0.0.1:0").backlog(i32::MAX),
    ] {
        let server = server.bind().unwrap();
        let address = crate::support::first_address(&server);
        let mut clients: Vec<_> = (0..100).map(|_| Client::connect(address)).collect();
        server.shutdown().stop("before the first accept");
        let server = start(server, echo);
        for client in &mut clients {
            assert_eq!(client.rest(), b"");
        }
        let report = server.report();
        assert_eq!(report.listeners[0].swept, 100);
        assert_eq!(report.outcome, Outcome::Clean);
        assert_ne!(report.listeners[0].guarantee, CloseGuarantee::Unswept);
    }
}

pub(crate) fn f52_the_queue_of_a_unix_socket_is_swept_to_its_end(runtime: impl Runtime) {
    let path = socket_path();
    let longer = UnixListener::bind(&path).unwrap();
    let server = Server::builder(runtime).listen_on(longer).backlog(5);
    let server = server.signals([]).bind().unwrap();
    let connect = |_| UnixStream::connect(&path).unwrap();
    let mut clients: Vec<_> = (0..100).map(connect).collect();
    server.shutdown().stop("before the first accept");
    let server = start(server, echo);
    for client in &mut clients {
        client.set_read_timeout(Some(LONG)).unwrap();
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
    }
    let report = server.report();
    assert_eq!(report.listeners[0].swept, 100);
    assert_eq!(report.outcome, Outcome::Clean);
    fs::remove_file(&path).unwrap();
}

pub(crate) fn f77_the_index_of_a_listener_is_that_of_its_address(runtime: impl Runtime) {
    let other = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let server = builder(runtime).listen_on(other).listen("127.0.0.1:0");
    let server = server.bind().unwrap();
    let local_addrs: Vec<_> = server.local_addrs().cloned().collect();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let sees = seen.clone();
    let server = start(server, move |session| {
        sees.lock().unwrap().push(session.listener_index());
        echo(session)
    });
    for address in &local_addrs {
        let Address::Tcp(address) = address else {
            unreachable!("all of them are over TCP");
        };
        Client::connect(*address).exchange(b"hello");
    }
    eventually("all are served", || seen.lock().unwrap().len() == 3);
    let report = server.stop();
    let reported: Vec<_> = report
        .listeners
        .iter()
        .map(|l| l.local_addr.clone())
        .collect();
    assert_eq!(reported, local_addrs);
    assert_eq!(*seen.lock().unwrap(), [0, 1, 2]);
}
