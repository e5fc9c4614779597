//! What only the kernel knows, by sock_diag(7): what a peer has acknowledged,
//! how far away it is, and which handshakes are under way.
//!
//! `SIOCOUTQ` and `TCP_INFO` tell the first two as well, but have no safe
//! wrapper. A
//! netlink request for one socket costs four system calls; one for all in a
//! state walks the kernel's table. Neither needs a privilege.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send,
    socket_with,
};
use socket2::SockRef;

use crate::sync::plain::{AtomicU8, Ordering};

// linux/netlink.h, linux/sock_diag.h, linux/inet_diag.h, linux/in.h
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_DUMP: u16 = 0x300;
const NLMSG_DONE: u16 = 3;
const IPPROTO_TCP: u8 = 6;
/// `struct nlmsghdr`.
const HEADER: usize = 16;
/// A header, and `struct inet_diag_req_v2`.
const REQUEST: usize = HEADER + 56;
/// Where the answer's `struct inet_diag_msg` has `idiag_retrans`, the local
/// address `idiag_src`, and `idiag_wqueue`.
const RETRANSMITS: usize = HEADER + 3;
const LOCAL: usize = HEADER + 8;
const WRITE_QUEUE: usize = HEADER + 60;
/// Where its attributes begin, after `struct inet_diag_msg`.
const ATTRIBUTES: usize = HEADER + 72;
/// `struct nlattr`: a length that counts this header, and a kind.
const ATTRIBUTE_HEADER: usize = 4;
/// The attribute that is `struct tcp_info`, and the bit that asks for it.
const INET_DIAG_INFO: u16 = 2;
const WANT_INFO: u8 = 1 << (INET_DIAG_INFO - 1);
/// Where `struct tcp_info` (linux/tcp.h) has `tcpi_rtt`, in microseconds.
const ROUND_TRIP: usize = 68;

/// In `idiag_states`, the state `TCP_SYN_RECV` (net/tcp_states.h).
const SYN_RECEIVED: u32 = 1 << 3;
const ANY: u32 = u32::MAX;

/// How often in vain it is asked, before it is believed that there never is an
/// answer: a kernel without it would look for a module each time.
const ATTEMPTS: u8 = 16;
const ANSWERS: u8 = u8::MAX;
static ASKED: AtomicU8 = AtomicU8::new(0);

/// Returns the number of bytes of a TCP connection that its peer has not
/// acknowledged, a FIN counting as one. `None`: the system does not say, or does
/// not know the connection.
pub(in crate::runtimes) fn unacknowledged(connection: &impl AsFd) -> Option<u64> {
    ask_about(connection, 0, |answer| {
        let queue = answer.get(WRITE_QUEUE..WRITE_QUEUE + 4)?;
        Some(u32::from_ne_bytes(queue.try_into().ok()?).into())
    })
}

/// Returns the smoothed round trip time of a TCP connection. `None`: the system
/// does not say, or has measured none.
pub(in crate::runtimes) fn round_trip(connection: &impl AsFd) -> Option<Duration> {
    ask_about(connection, WANT_INFO, |answer| {
        let info = attribute(answer, INET_DIAG_INFO)?;
        let microseconds = info.get(ROUND_TRIP..ROUND_TRIP + 4)?;
        let microseconds = u32::from_ne_bytes(microseconds.try_into().ok()?);
        (microseconds > 0).then_some(Duration::from_micros(microseconds.into()))
    })
}

/// Asks for one connection, with the extensions of `want`.
fn ask_about<T>(
    connection: &impl AsFd,
    want: u8,
    parse: impl FnOnce(&[u8]) -> Option<T>,
) -> Option<T> {
    // Relaxed, here and below: it guards nothing, and may miscount.
    let asked = ASKED.load(Ordering::Relaxed);
    if (ATTEMPTS..ANSWERS).contains(&asked) {
        return None;
    }
    let socket = SockRef::from(connection);
    let local = socket.local_addr().ok()?.as_socket()?;
    let peer = socket.peer_addr().ok()?.as_socket()?;
    let mut buffer = [0; 1024];
    let answer = match ask(local, peer, want, &mut buffer) {
        Ok(answer) => answer,
        // A lack of these passes.
        Err(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => return None,
        Err(_) => None,
    };
    match answer {
        Some(_) if asked != ANSWERS => ASKED.store(ANSWERS, Ordering::Relaxed),
        None if asked != ANSWERS => ASKED.store(asked + 1, Ordering::Relaxed),
        _ => {}
    }
    parse(answer?)
}

fn ask(
    local: SocketAddr,
    peer: SocketAddr,
    want: u8,
    buffer: &mut [u8],
) -> Result<Option<&[u8]>, Errno> {
    let netlink = open()?;
    let request = request(NLM_F_REQUEST, ANY, want, local, peer);
    send(&netlink, &request, SendFlags::empty())?;
    // It is there when the request returns: the kernel answers in place.
    let (length, _) = recv(&netlink, &mut *buffer, RecvFlags::DONTWAIT)?;
    let answer = &buffer[..length];
    Ok((kind(answer) == Some(SOCK_DIAG_BY_FAMILY)).then_some(answer))
}

/// Returns the payload of an attribute of the answer for one connection.
fn attribute(answer: &[u8], wanted: u16) -> Option<&[u8]> {
    let mut rest = answer.get(ATTRIBUTES..)?;
    loop {
        let length = u16::from_ne_bytes(rest.get(..2)?.try_into().ok()?).into();
        let kind = u16::from_ne_bytes(rest.get(2..4)?.try_into().ok()?);
        let payload = rest.get(ATTRIBUTE_HEADER..length)?;
        if kind == wanted {
            return Some(payload);
        }
        // Attributes are aligned to four bytes.
        rest = rest.get(length.next_multiple_of(4)..)?;
    }
}

/// How many handshakes with a listener are under way: a SYN was answered, and
/// the answer's acknowledgement is awaited. Who has not sent it when the answer
/// is sent again, after a second, is taken for gone. `None`: not known.
pub(in crate::runtimes) fn handshakes(local: SocketAddr) -> Option<usize> {
    let anyone = SocketAddr::new(local.ip(), 0);
    let netlink = open().ok()?;
    let request = request(NLM_F_REQUEST | NLM_F_DUMP, SYN_RECEIVED, 0, local, anyone);
    send(&netlink, &request, SendFlags::empty()).ok()?;
    let mut under_way = 0;
    let mut answers = [0; 16 * 1024];
    loop {
        // Each part is made by the call that fetches it.
        let (length, _) = recv(&netlink, &mut answers, RecvFlags::DONTWAIT).ok()?;
        let mut rest = answers.get(..length).filter(|part| !part.is_empty())?;
        while !rest.is_empty() {
            let length = u32::from_ne_bytes(rest.get(..4)?.try_into().ok()?);
            let message = rest.get(..length as usize)?;
            match kind(message)? {
                NLMSG_DONE => return Some(under_way),
                SOCK_DIAG_BY_FAMILY if message.len() >= HEADER => {
                    under_way += usize::from(is_awaited(message, local.ip())?);
                }
                _ => return None,
            }
            // Messages are aligned to four bytes.
            rest = rest.get(message.len().next_multiple_of(4)..).unwrap_or(&[]);
        }
    }
}

/// Whether the one of `message` is with the listener at `local`, and lives.
fn is_awaited(message: &[u8], local: IpAddr) -> Option<bool> {
    let address = message.get(LOCAL..LOCAL + 16)?;
    let is_ours = local.is_unspecified() || address == octets(local);
    Some(is_ours && message.get(RETRANSMITS)? == &0)
}

fn open() -> Result<OwnedFd, Errno> {
    let (domain, kind) = (AddressFamily::NETLINK, SocketType::DGRAM);
    let protocol = Some(netlink::SOCK_DIAG);
    socket_with(domain, kind, SocketFlags::CLOEXEC, protocol)
}

/// For the one socket between these two, or those of all peers in `states`;
/// netlink has the machine's byte order, addresses and ports have the
/// network's.
fn request(
    flags: u16,
    states: u32,
    want: u8,
    local: SocketAddr,
    peer: SocketAddr,
) -> [u8; REQUEST] {
    let family = match local {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let mut request = [0; REQUEST];
    let mut rest = &mut request[..];
    let mut put = |bytes: &[u8]| {
        let (next, others) = std::mem::take(&mut rest).split_at_mut(bytes.len());
        next.copy_from_slice(bytes);
        rest = others;
    };
    put(&(REQUEST as u32).to_ne_bytes());
    put(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    put(&flags.to_ne_bytes());
    put(&[0; 8]); // no sequence, to the kernel
    put(&[family.as_raw() as u8, IPPROTO_TCP, want, 0]);
    put(&states.to_ne_bytes());
    put(&local.port().to_be_bytes());
    put(&peer.port().to_be_bytes());
    put(&octets(local.ip()));
    put(&octets(peer.ip()));
    put(&[0; 4]); // any interface
    put(&[u8::MAX; 8]); // no cookie
    request
}

fn octets(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V6(ip) => ip.octets(),
        IpAddr::V4(ip) => {
            let mut octets = [0; 16];
            octets[..4].copy_from_slice(&ip.octets());
            octets
        }
    }
}

fn kind(message: &[u8]) -> Option<u16> {
    Some(u16::from_ne_bytes(message.get(4..6)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
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

    /// A client that never sees the answer to its SYN.
    fn deaf_client(listener: SocketAddr) -> Option<socket2::Socket> {
        let domain = socket2::Domain::for_address(listener);
        let client = socket2::Socket::new(domain, socket2::Type::STREAM, None).unwrap();
        let drop_all = socket2::SockFilter::new(0x06, 0, 0, 0);
        client.attach_filter(&[drop_all]).ok()?;
        client.set_nonblocking(true).unwrap();
        client.connect(&listener.into()).unwrap_err();
        Some(client)
    }

    fn f2_a_handshake_under_way_is_seen(listen: &str) {
        let listener = TcpListener::bind((listen, 0)).unwrap();
        let other = TcpListener::bind((listen, 0)).unwrap();
        let local = listener.local_addr().unwrap();
        if handshakes(local).is_none() {
            return println!("skipped: this system does not answer sock_diag requests");
        }
        assert_eq!(handshakes(local), Some(0));
        let done = TcpStream::connect(local).unwrap();
        assert_eq!(handshakes(local), Some(0), "that one is in the queue");
        let Some(client) = deaf_client(local) else {
            return println!("skipped: a socket filter needs a capability here");
        };
        assert_eq!(handshakes(local), Some(1));
        assert_eq!(handshakes(other.local_addr().unwrap()), Some(0));
        drop((client, done));
    }

    #[test]
    fn f2_a_handshake_under_way_is_seen_over_ipv4() {
        f2_a_handshake_under_way_is_seen("127.0.0.1");
    }

    #[test]
    fn f2_a_handshake_under_way_is_seen_over_ipv6() {
        match TcpListener::bind("[::1]:0") {
            Ok(_) => f2_a_handshake_under_way_is_seen("::1"),
            Err(_) => println!("skipped: this machine has no IPv6"),
        }
    }

    #[test]
    fn f2_many_handshakes_come_in_more_than_one_part() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let local = listener.local_addr().unwrap();
        let clients: Vec<_> = (0..100).map_while(|_| deaf_client(local)).collect();
        match handshakes(local) {
            None => println!("skipped: this system does not answer sock_diag requests"),
            Some(seen) => assert_eq!(seen, clients.len()),
        }
    }
}
