//! The TCP sockets of a machine as Linux tells them by `sock_diag(7)`: it is asked for
//! those alone that are open, where `/proc/net/tcp` prints each one in TIME-WAIT, too.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send,
    socket_with,
};

use crate::sockets::{Queues, Socket};

/// The kernel answers at once: this is only so that nothing can wait for ever.
const PATIENCE: Duration = Duration::from_secs(2);

/// As large as a part of an answer can be.
const PART: usize = 32 * 1024;

/// The parts of a message of netlink(7).
const HEAD: usize = 16;
const REQUEST_AND_DUMP: u16 = 0x1 | 0x300;
const ERROR: u16 = 2;
const DONE: u16 = 3;
const SOCK_DIAG_BY_FAMILY: u16 = 20;

/// The parts of a request and of an answer (`linux/inet_diag.h`).
const REQUEST: usize = 56;
const TCP: u8 = 6;
const ESTABLISHED: u8 = 1;

/// FIN_WAIT1 and 2, CLOSE_WAIT, LAST_ACK and CLOSING; neither those that are about to be
/// established nor those in TIME-WAIT.
const STATES: u32 = 1 << ESTABLISHED | 1 << 4 | 1 << 5 | 1 << 8 | 1 << 9 | 1 << 11;

/// Returns the open TCP sockets of a family.
///
/// # Errors
/// The system does not tell.
pub(crate) fn sockets(family: AddressFamily) -> io::Result<Vec<Socket>> {
    let socket = socket_with(
        AddressFamily::NETLINK,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        Some(netlink::SOCK_DIAG),
    )?;
    set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE))?;
    send(&socket, &request(family), SendFlags::empty())?;
    let mut sockets = Vec::new();
    let mut part = vec![0; PART];
    loop {
        let (length, _) = recv(&socket, part.as_mut_slice(), RecvFlags::empty())?;
        let mut rest = part.get(..length).unwrap_or_default();
        while let Some((kind, body, next)) = message(rest) {
            match kind {
                // A system without a part that this needs says so at the end.
                DONE if failed(body) => return Err(ErrorKind::Unsupported.into()),
                DONE => return Ok(sockets),
                ERROR => return Err(ErrorKind::Unsupported.into()),
                _ => sockets.extend(parse(body)),
            }
            rest = next;
        }
        if length == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
    }
}

fn request(family: AddressFamily) -> Vec<u8> {
    let mut bytes = Vec::new();
    let length = (HEAD + REQUEST) as u32;
    bytes.extend(length.to_ne_bytes());
    bytes.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    bytes.extend(REQUEST_AND_DUMP.to_ne_bytes());
    // Its number and its sender, neither of which matters here.
    bytes.extend([0; 8]);
    bytes.extend([family.as_raw() as u8, TCP, 0, 0]);
    bytes.extend(STATES.to_ne_bytes());
    // Of any address.
    bytes.resize(HEAD + REQUEST, 0);
    bytes
}

/// Says whether an answer ends with the number of an error.
fn failed(body: &[u8]) -> bool {
    let number = body.get(..4).and_then(|bytes| bytes.try_into().ok());
    number.is_some_and(|bytes| i32::from_ne_bytes(bytes) < 0)
}

/// Returns the kind of the first message, its body, and what follows it.
fn message(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let length = u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
    let kind = u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?);
    let body = bytes.get(HEAD..length)?;
    let next = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    Some((kind, body, next))
}

/// Reads a `struct inet_diag_msg`.
fn parse(body: &[u8]) -> Option<Socket> {
    let (family, state) = (*body.first()?, *body.get(1)?);
    let address = |port: usize, ip: usize| {
        let port = u16::from_be_bytes(body.get(port..port + 2)?.try_into().ok()?);
        let ip = match AddressFamily::from_raw(family.into()) {
            AddressFamily::INET => {
                let bytes: [u8; 4] = body.get(ip..ip + 4)?.try_into().ok()?;
                IpAddr::from(Ipv4Addr::from(bytes))
            }
            _ => {
                let bytes: [u8; 16] = body.get(ip..ip + 16)?.try_into().ok()?;
                IpAddr::from(Ipv6Addr::from(bytes))
            }
        };
        Some(SocketAddr::new(ip.to_canonical(), port))
    };
    let number = |at: usize| {
        let bytes = body.get(at..at + 4)?.try_into().ok()?;
        Some(u64::from(u32::from_ne_bytes(bytes)))
    };
    let queues = Queues {
        is_established: state == ESTABLISHED,
        unread: number(56)?,
        unacknowledged: number(60)?,
    };
    Some(((address(4, 8)?, address(6, 24)?), queues))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_read_one_by_one() {
        let one = |kind: u16, body: &[u8]| {
            let length = (HEAD + body.len()) as u32;
            let mut bytes = length.to_ne_bytes().to_vec();
            bytes.extend(kind.to_ne_bytes());
            bytes.resize(HEAD, 0);
            bytes.extend(body);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
            bytes
        };
        let error = (-2_i32).to_ne_bytes();
        let bytes = [one(SOCK_DIAG_BY_FAMILY, b"hello"), one(DONE, &error)].concat();
        let (kind, body, rest) = message(&bytes).unwrap();
        assert_eq!((kind, body), (SOCK_DIAG_BY_FAMILY, &b"hello"[..]));
        let (kind, body, rest) = message(rest).unwrap();
        assert_eq!((kind, failed(body)), (DONE, true));
        assert!(message(rest).is_none());
        assert!(!failed(&[0; 4]));
        for length in 0..HEAD {
            assert!(message(&bytes[..length]).is_none());
        }
    }
}
