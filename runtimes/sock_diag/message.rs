//! The messages of sock_diag(7): questions encoded, answers taken apart.

use std::net::{IpAddr, SocketAddr};

use rustix::net::AddressFamily;

// linux/netlink.h, linux/sock_diag.h, linux/inet_diag.h, linux/unix_diag.h,
// linux/in.h
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_DUMP: u16 = 0x300;
const NLMSG_DONE: u16 = 3;
const IPPROTO_TCP: u8 = 6;
/// `struct nlmsghdr`.
const HEADER: usize = 16;
/// A header, and `struct inet_diag_req_v2`.
const INET_REQUEST: usize = HEADER + 56;
/// A header, and `struct unix_diag_req`.
const UNIX_REQUEST: usize = HEADER + 24;
/// Where attributes begin, after `struct inet_diag_msg`.
pub(super) const ATTRIBUTES: usize = HEADER + 72;
/// Where attributes begin, after `struct unix_diag_msg`.
pub(super) const UNIX_ATTRIBUTES: usize = HEADER + 16;
/// `struct nlattr`: a length that counts this header, and a kind.
const ATTRIBUTE_HEADER: usize = 4;
/// The attribute that is `struct tcp_info`.
pub(super) const INET_DIAG_INFO: u16 = 2;
/// The attribute that is `struct unix_diag_rqlen`, and the bit that asks for it.
pub(super) const UNIX_DIAG_RQLEN: u16 = 4;
const UDIAG_SHOW_RQLEN: u32 = 0x10;

/// Bits of `idiag_states` (net/tcp_states.h).
pub(super) const SYN_RECEIVED: u32 = 1 << STATE_SYN_RECEIVED;
pub(super) const LISTEN: u32 = 1 << STATE_LISTEN;
const ANY: u32 = u32::MAX;
const ANY_COOKIE: [u8; 8] = [u8::MAX; 8];
/// Values of `idiag_state`.
pub(super) const STATE_SYN_RECEIVED: u8 = 3;
pub(super) const STATE_LISTEN: u8 = 10;

/// A question about TCP sockets.
#[derive(Clone, Copy, Debug)]
pub(super) struct Question {
    flags: u16,
    states: u32,
    attribute: u16,
    local: SocketAddr,
    peer: SocketAddr,
    interface: u32,
}

impl Question {
    /// Asks for the one socket between these two.
    pub(super) fn one(local: SocketAddr, peer: SocketAddr) -> Question {
        Question {
            flags: NLM_F_REQUEST,
            states: ANY,
            attribute: 0,
            local,
            peer,
            interface: scope(local).max(scope(peer)),
        }
    }

    /// Asks for all sockets of the family of `local` in some states.
    pub(super) fn all(states: u32, local: SocketAddr) -> Question {
        let anywhere = SocketAddr::new(local.ip(), 0);
        Question {
            flags: NLM_F_REQUEST | NLM_F_DUMP,
            states,
            interface: 0,
            ..Question::one(anywhere, anywhere)
        }
    }

    /// Asks for an attribute as well.
    pub(super) fn with(self, attribute: u16) -> Question {
        Question { attribute, ..self }
    }

    /// Asks for a socket that is bound to an interface.
    pub(super) fn on(self, interface: u32) -> Question {
        Question { interface, ..self }
    }

    pub(super) fn interface(self) -> u32 {
        self.interface
    }

    /// netlink has the machine's byte order, addresses and ports have the
    /// network's.
    pub(super) fn encode(self) -> [u8; INET_REQUEST] {
        let family = match self.local {
            SocketAddr::V4(_) => AddressFamily::INET,
            SocketAddr::V6(_) => AddressFamily::INET6,
        };
        let want = match self.attribute {
            0 => 0,
            attribute => 1 << (attribute - 1),
        };
        Encoder::new(self.flags)
            .put(&[family.as_raw() as u8, IPPROTO_TCP, want, 0])
            .put(&self.states.to_ne_bytes())
            .put(&self.local.port().to_be_bytes())
            .put(&self.peer.port().to_be_bytes())
            .put(&octets(self.local.ip()))
            .put(&octets(self.peer.ip()))
            .put(&self.interface.to_ne_bytes())
            .put(&ANY_COOKIE)
            .bytes
    }
}

/// Encodes the question how long the queue of the Unix socket is.
pub(super) fn unix_queue(inode: u32) -> [u8; UNIX_REQUEST] {
    Encoder::new(NLM_F_REQUEST)
        .put(&[AddressFamily::UNIX.as_raw() as u8, 0, 0, 0])
        .put(&ANY.to_ne_bytes())
        .put(&inode.to_ne_bytes())
        .put(&UDIAG_SHOW_RQLEN.to_ne_bytes())
        .put(&ANY_COOKIE)
        .bytes
}

/// Puts the fields of a request one behind the other.
struct Encoder<const N: usize> {
    bytes: [u8; N],
    length: usize,
}

impl<const N: usize> Encoder<N> {
    /// Begins with `struct nlmsghdr`.
    fn new(flags: u16) -> Encoder<N> {
        let encoder = Encoder {
            bytes: [0; N],
            length: 0,
        };
        encoder
            .put(&(N as u32).to_ne_bytes())
            .put(&SOCK_DIAG_BY_FAMILY.to_ne_bytes())
            .put(&flags.to_ne_bytes())
            .put(&[0; 8]) // no sequence, to the kernel
    }

    fn put(mut self, field: &[u8]) -> Encoder<N> {
        let end = self.length + field.len();
        self.bytes[self.length..end].copy_from_slice(field);
        self.length = end;
        self
    }
}

fn scope(address: SocketAddr) -> u32 {
    match address {
        SocketAddr::V4(_) => 0,
        SocketAddr::V6(address) => address.scope_id(),
    }
}

pub(super) fn octets(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V6(ip) => ip.octets(),
        IpAddr::V4(ip) => {
            let mut octets = [0; 16];
            octets[..4].copy_from_slice(&ip.octets());
            octets
        }
    }
}

/// What `struct inet_diag_msg` says of a TCP socket.
#[derive(Clone, Copy, Debug)]
pub(super) struct Inet {
    pub(super) state: u8,
    /// How often the answer to a SYN was sent again.
    pub(super) retransmits: u8,
    pub(super) port: u16,
    pub(super) local: [u8; 16],
    pub(super) cookie: u64,
    /// Unacknowledged bytes, or the backlog of a socket that listens.
    pub(super) write_queue: u32,
}

impl Inet {
    pub(super) fn parse(message: &[u8]) -> Option<Inet> {
        let message = message.get(HEADER..ATTRIBUTES)?;
        let u32_at = |at: usize| {
            let bytes = message.get(at..at + 4)?;
            Some(u32::from_ne_bytes(bytes.try_into().ok()?))
        };
        Some(Inet {
            state: message[1],
            retransmits: message[3],
            port: u16::from_be_bytes([message[4], message[5]]),
            local: message.get(8..24)?.try_into().ok()?,
            // Two halves, the lower one first.
            cookie: u64::from(u32_at(44)?) | u64::from(u32_at(48)?) << 32,
            write_queue: u32_at(60)?,
        })
    }
}

/// Returns whether a message is about a socket, rather than an error.
pub(super) fn is_answer(message: &[u8]) -> bool {
    kind(message) == Some(SOCK_DIAG_BY_FAMILY)
}

fn kind(message: &[u8]) -> Option<u16> {
    Some(u16::from_ne_bytes(message.get(4..6)?.try_into().ok()?))
}

/// Calls `each` for the sockets of one part of a dump; whether it was the last
/// part. `None`: it is no part of a dump.
pub(super) fn read_part(part: &[u8], mut each: impl FnMut(Inet)) -> Option<bool> {
    let mut rest = Some(part).filter(|part| !part.is_empty())?;
    while !rest.is_empty() {
        let length = u32::from_ne_bytes(rest.get(..4)?.try_into().ok()?) as usize;
        let message = rest.get(..length).filter(|_| length >= HEADER)?;
        match kind(message)? {
            NLMSG_DONE => return Some(true),
            SOCK_DIAG_BY_FAMILY => each(Inet::parse(message)?),
            _ => return None,
        }
        // Messages are aligned to four bytes.
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or(&[]);
    }
    Some(false)
}

/// Returns the payload of an attribute of the answer for one socket.
pub(super) fn attribute(answer: &[u8], begin: usize, wanted: u16) -> Option<&[u8]> {
    let mut rest = answer.get(begin..)?;
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
