//! What only the kernel knows, by sock_diag(7): what a peer has acknowledged,
//! how far away it is, which handshakes are under way, how long a queue can be.
//!
//! `SIOCOUTQ` and `TCP_INFO` tell some of it as well, but have no safe wrapper.
//! A netlink request for one socket costs four system calls; one for all in a
//! state walks the kernel's table. Neither needs a privilege.

mod listening;
mod message;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::netdevice::name_to_index;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send,
    socket_with,
};
use socket2::SockRef;

pub(in crate::runtimes) use self::listening::{Listening, handshakes, queue_limit};
use self::message::{INET_DIAG_INFO, Inet, Question, attribute};
use crate::sync::plain::{AtomicU8, Ordering};

/// Where `struct tcp_info` (linux/tcp.h) has `tcpi_rtt`, in microseconds.
const ROUND_TRIP: usize = 68;

/// Whether this system answers at all. A socket that is not found is no sign
/// that it does not ([F57](crate::docs::faults#f57)): it may belong to another
/// network namespace.
static ANSWERS: AtomicU8 = AtomicU8::new(UNKNOWN);
const UNKNOWN: u8 = 0;
const YES: u8 = 1;
const NO: u8 = 2;

/// Returns the number of bytes of a TCP connection that its peer has not
/// acknowledged, a FIN counting as one. `None`: the system does not say, or does
/// not know the connection.
pub(in crate::runtimes) fn unacknowledged(connection: &impl AsFd) -> Option<u64> {
    ask_about(connection, 0, |answer| {
        Some(Inet::parse(answer)?.write_queue.into())
    })
}

/// Returns the smoothed round trip time of a TCP connection. `None`: the system
/// does not say, or has measured none.
pub(in crate::runtimes) fn round_trip(connection: &impl AsFd) -> Option<Duration> {
    ask_about(connection, INET_DIAG_INFO, |answer| {
        let info = attribute(answer, message::ATTRIBUTES, INET_DIAG_INFO)?;
        let microseconds = info.get(ROUND_TRIP..ROUND_TRIP + 4)?;
        let microseconds = u32::from_ne_bytes(microseconds.try_into().ok()?);
        (microseconds > 0).then_some(Duration::from_micros(microseconds.into()))
    })
}

/// Asks for one connection, with one attribute beside the usual.
fn ask_about<T>(
    connection: &impl AsFd,
    attribute: u16,
    parse: impl FnOnce(&[u8]) -> Option<T>,
) -> Option<T> {
    // Relaxed, here and below: it guards nothing.
    if ANSWERS.load(Ordering::Relaxed) == NO {
        return None;
    }
    let socket = SockRef::from(connection);
    let local = socket.local_addr().ok()?.as_socket()?;
    let peer = socket.peer_addr().ok()?.as_socket()?;
    let question = Question::one(local, peer).with(attribute);
    let mut buffer = [0; 1024];
    let answer = ask_by_interface(connection, question, &mut buffer)?;
    parse(answer)
}

/// Asks for one socket: as one that belongs to no interface, unless its
/// addresses name one, and else as one of the interface that it is bound to.
fn ask_by_interface<'a>(
    socket: &impl AsFd,
    question: Question,
    buffer: &'a mut [u8],
) -> Option<&'a [u8]> {
    let mut found = ask(question, buffer);
    if matches!(found, Ok(None)) && question.interface() == 0 {
        if let Some(interface) = interface_of(socket) {
            found = ask(question.on(interface), buffer);
        }
    }
    match found {
        Ok(Some(length)) => {
            ANSWERS.store(YES, Ordering::Relaxed);
            buffer.get(..length)
        }
        Ok(None) => {
            test_whether_it_answers();
            None
        }
        Err(error) => {
            note_error(error);
            None
        }
    }
}

/// Returns the interface that a socket is bound to: by `SO_BINDTODEVICE`, or
/// since it was accepted in a VRF.
fn interface_of(socket: &impl AsFd) -> Option<u32> {
    let name = SockRef::from(socket).device().ok()??;
    let name = std::str::from_utf8(&name).ok()?;
    name_to_index(socket, name.trim_end_matches('\0')).ok()
}

/// Asks; the length of the answer, or `None` where no such socket is known.
fn ask(question: Question, buffer: &mut [u8]) -> Result<Option<usize>, Errno> {
    let netlink = open()?;
    send(&netlink, &question.encode(), SendFlags::empty())?;
    // It is there when the request returns: the kernel answers in place.
    let (length, _) = recv(&netlink, &mut *buffer, RecvFlags::DONTWAIT)?;
    let length = length.min(buffer.len());
    Ok(message::is_answer(&buffer[..length]).then_some(length))
}

fn open() -> Result<OwnedFd, Errno> {
    let (domain, kind) = (AddressFamily::NETLINK, SocketType::DGRAM);
    let protocol = Some(netlink::SOCK_DIAG);
    socket_with(domain, kind, SocketFlags::CLOEXEC, protocol)
}

/// A lack of descriptors or of memory passes; anything else is the system's
/// last word.
fn note_error(error: Errno) {
    let passes = [
        Errno::MFILE,
        Errno::NFILE,
        Errno::NOBUFS,
        Errno::NOMEM,
        Errno::INTR,
        Errno::AGAIN,
    ];
    if !passes.contains(&error) {
        turn_off(&error.to_string());
    }
}

/// Asks for a socket that is there for certain, unless that is known already: a
/// kernel without sock_diag would look for a module each time.
fn test_whether_it_answers() {
    if ANSWERS.load(Ordering::Relaxed) != UNKNOWN {
        return;
    }
    let Ok(own) = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)) else {
        return;
    };
    let Ok(local) = own.local_addr() else { return };
    let nobody = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    match ask(Question::one(local, nobody), &mut [0; 1024]) {
        Ok(Some(_)) => ANSWERS.store(YES, Ordering::Relaxed),
        Ok(None) => turn_off("it does not find a socket that is there"),
        Err(error) => note_error(error),
    }
}

fn turn_off(why: &str) {
    if ANSWERS.swap(NO, Ordering::Relaxed) != NO {
        log::warn!(
            "this system does not tell about sockets by sock_diag(7): {why}; a close does not \
             wait for acknowledgements, and handshakes are waited for by time"
        );
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;
    use std::time::Instant;

    use super::*;

    /// Waits for the acknowledgement, which is not ours to send.
    fn eventually(expected: Option<u64>, socket: &TcpStream) {
        let begun = Instant::now();
        while unacknowledged(socket) != expected {
            assert!(
                begun.elapsed() < Duration::from_secs(20),
                "never {expected:?}"
            );
            std::thread::yield_now();
        }
    }

    fn f24_output_is_seen_until_it_is_acknowledged(listen: &str, connect: &str) {
        let listener = TcpListener::bind((listen, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let client = TcpStream::connect((connect, port)).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        if unacknowledged(&server).is_none() {
            return println!("skipped: this system does not answer sock_diag requests");
        }
        server.write_all(b"hello").unwrap();
        eventually(Some(0), &server);
        server.set_nonblocking(true).unwrap();
        let mut written = 5;
        while let Ok(n) = server.write(&[0; 65536]) {
            written += n;
        }
        assert!(unacknowledged(&server).is_some_and(|left| left > 65536));
        let mut rest = Vec::new();
        let reader = std::thread::spawn(move || (&client).read_to_end(&mut rest).map(|_| rest));
        server.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(reader.join().unwrap().unwrap().len(), written);
    }

    #[test]
    fn f24_output_is_seen_until_it_is_acknowledged_over_ipv4() {
        f24_output_is_seen_until_it_is_acknowledged("127.0.0.1", "127.0.0.1");
    }

    #[test]
    fn f24_output_is_seen_until_it_is_acknowledged_over_ipv6() {
        if TcpListener::bind("[::1]:0").is_err() {
            return println!("skipped: this machine has no IPv6");
        }
        f24_output_is_seen_until_it_is_acknowledged("::1", "::1");
        // A listener for both kinds, and a client of the older one.
        f24_output_is_seen_until_it_is_acknowledged("::", "127.0.0.1");
    }

    fn f67_the_round_trip_is_known(listen: &str) {
        let listener = TcpListener::bind((listen, 0)).unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        // Its acknowledgement is one more measurement.
        server.write_all(b"hello").unwrap();
        client.read_exact(&mut [0; 5]).unwrap();
        if unacknowledged(&server).is_none() {
            return println!("skipped: this system does not answer sock_diag requests");
        }
        // Both ends measure the same way: over loopback it is short.
        for end in [&server, &client] {
            let time = round_trip(end).expect("a round trip was measured");
            assert!(time < Duration::from_secs(1), "{time:?}");
        }
    }

    #[test]
    fn f67_the_round_trip_is_known_over_ipv4() {
        f67_the_round_trip_is_known("127.0.0.1");
    }

    #[test]
    fn f67_the_round_trip_is_known_over_ipv6() {
        match TcpListener::bind("[::1]:0") {
            Ok(_) => f67_the_round_trip_is_known("::1"),
            Err(_) => println!("skipped: this machine has no IPv6"),
        }
    }

    #[test]
    fn f67_a_listener_and_a_unix_socket_have_no_round_trip() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        assert_eq!(round_trip(&listener), None);
        let (unix, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        assert_eq!((round_trip(&unix), unacknowledged(&unix)), (None, None));
    }

    #[test]
    fn f57_a_socket_that_is_not_found_is_no_verdict_on_the_system() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        if unacknowledged(&client).is_none() {
            return println!("skipped: this system does not answer sock_diag requests");
        }
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 1));
        for _ in 0..100 {
            let question = Question::one(nowhere, nowhere);
            assert!(ask_by_interface(&client, question, &mut [0; 1024]).is_none());
        }
        eventually(Some(0), &client);
    }

    #[test]
    fn f57_sockets_that_are_bound_to_an_interface_are_found() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        if SockRef::from(&listener).bind_device(Some(b"lo")).is_err() {
            return println!("skipped: this user may not bind to an interface");
        }
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        // It is bound as its listener is.
        let (server, _) = listener.accept().unwrap();
        if unacknowledged(&client).is_none() {
            return println!("skipped: this system does not answer sock_diag requests");
        }
        eventually(Some(0), &server);
        assert_eq!(queue_limit(&listener), Some(129));
    }

    #[test]
    fn f57_a_peer_with_a_link_local_address_is_found() {
        let index = name_to_index(TcpListener::bind("127.0.0.1:0").unwrap(), "lo").unwrap();
        let address = format!("[fe80::1%{index}]:0").parse::<std::net::SocketAddrV6>();
        let listener = match TcpListener::bind(address.unwrap()) {
            Ok(listener) => listener,
            Err(error) => return println!("skipped: no link-local address: {error}"),
        };
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        eventually(Some(0), &client);
        eventually(Some(0), &server);
    }
}
