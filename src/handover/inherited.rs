//! What this process was started with.

mod environment;

use std::io;
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

use listenfd::ListenFd;
#[cfg(target_os = "linux")]
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
use socket2::SockRef;

use self::environment::{Environment, Recipient};
use super::CHANNEL;
use crate::address::Address;
use crate::rt::Socket;

/// The inherited descriptors, in their order.
#[derive(Debug, Default)]
pub(crate) struct Inherited {
    sockets: Vec<Inheritance>,
    channel: Option<UnixStream>,
    /// The process that they were passed to, which is not this one.
    recipient: Option<u32>,
}

/// One of them.
#[derive(Debug)]
struct Inheritance {
    name: String,
    /// The address of a socket that listens for streams.
    listens_on: Option<Listening>,
    /// `None` once it was taken.
    descriptor: Option<Descriptor>,
}

#[derive(Clone, Debug)]
struct Listening {
    address: Address,
    only_v6: bool,
}

#[derive(Debug)]
enum Descriptor {
    Listener(Socket),
    /// A socket of another kind.
    Socket(OwnedFd),
    /// No socket, such as a FIFO.
    Other(RawFd),
}

/// A descriptor that the process was started with and that no listener of the
/// server is made of; see
/// [`Server::take_passed_fds`](crate::Server::take_passed_fds).
///
/// It is closed on exec. One that is a socket is closed when it is dropped, too.
#[derive(Debug)]
pub struct PassedFd {
    name: String,
    descriptor: Descriptor,
}

impl PassedFd {
    /// Returns its name among `LISTEN_FDNAMES`: with systemd, what
    /// `FileDescriptorName=` says, or the name of the unit.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the socket that it is, to be made a
    /// [`UdpSocket`](std::net::UdpSocket) or what else it is.
    ///
    /// # Errors
    /// The descriptor itself, where it is no socket: it is taken with
    /// [`into_raw_fd`](IntoRawFd::into_raw_fd).
    pub fn into_socket(self) -> Result<OwnedFd, PassedFd> {
        match self.descriptor {
            Descriptor::Listener(Socket::Tcp(socket)) => Ok(socket.into()),
            Descriptor::Listener(Socket::Unix(socket)) => Ok(socket.into()),
            Descriptor::Socket(socket) => Ok(socket),
            Descriptor::Other(_) => Err(self),
        }
    }

    /// Returns another descriptor of the same thing, to be passed on. It is closed on exec.
    pub(crate) fn duplicate(&self) -> io::Result<OwnedFd> {
        match &self.descriptor {
            Descriptor::Listener(Socket::Tcp(socket)) => socket.try_clone().map(OwnedFd::from),
            Descriptor::Listener(Socket::Unix(socket)) => socket.try_clone().map(OwnedFd::from),
            Descriptor::Socket(socket) => socket.try_clone(),
            Descriptor::Other(number) => duplicate(*number),
        }
    }

    /// Closes a listening socket that nobody wants: its clients would wait for
    /// ever.
    pub(crate) fn close(self) {
        if let Descriptor::Listener(socket) = &self.descriptor {
            let address = socket.local_addr();
            let address = address.map_or_else(|_| self.name.clone(), |a| a.to_string());
            log::warn!("{address} was passed on, and is not asked for: closing it");
        }
    }
}

/// Duplicates a descriptor that is known by its number alone: dup(2) of a number would be
/// unsafe code.
#[cfg(target_os = "linux")]
fn duplicate(number: RawFd) -> io::Result<OwnedFd> {
    let own = pidfd_open(getpid(), PidfdFlags::empty())?;
    Ok(pidfd_getfd(own, number, PidfdGetfdFlags::empty())?)
}

#[cfg(not(target_os = "linux"))]
fn duplicate(_: RawFd) -> io::Result<OwnedFd> {
    Err(io::ErrorKind::Unsupported.into())
}

impl AsRawFd for PassedFd {
    fn as_raw_fd(&self) -> RawFd {
        match &self.descriptor {
            Descriptor::Listener(Socket::Tcp(socket)) => socket.as_raw_fd(),
            Descriptor::Listener(Socket::Unix(socket)) => socket.as_raw_fd(),
            Descriptor::Socket(socket) => socket.as_raw_fd(),
            Descriptor::Other(number) => *number,
        }
    }
}

impl IntoRawFd for PassedFd {
    fn into_raw_fd(self) -> RawFd {
        match self.into_socket() {
            Ok(socket) => socket.into_raw_fd(),
            Err(other) => other.as_raw_fd(),
        }
    }
}

impl Inherited {
    /// Takes them out of the environment: a second call finds none.
    pub(crate) fn from_env() -> io::Result<Inherited> {
        let environment =
            match Environment::read(std::process::id(), |name| std::env::var_os(name)) {
                Ok(None) => return Ok(Inherited::default()),
                Ok(Some(environment)) => environment,
                Err(text) => return Err(io::Error::new(io::ErrorKind::InvalidInput, text)),
            };
        if let Recipient::Other(process) = environment.recipient {
            return Ok(Inherited {
                recipient: Some(process),
                ..Inherited::default()
            });
        }
        if let Err(text) = environment.check_descriptors() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        // Those that are no sockets, too; without LISTEN_PID there are none.
        let closed_on_exec = sd_notify::listen_fds()?;
        drop(closed_on_exec);
        let mut passed = ListenFd::from_env();
        let mut inherited = Inherited::default();
        for id in 0..passed.len() {
            let name = environment.name(id);
            if name == CHANNEL {
                let channel = passed.take_unix_listener(id)?.map(OwnedFd::from);
                inherited.channel = channel.map(UnixStream::from);
            } else if let Some(descriptor) = take(&mut passed, id)? {
                inherited.sockets.push(Inheritance {
                    listens_on: listens_on(&descriptor)?,
                    name: name.to_owned(),
                    descriptor: Some(descriptor),
                });
            }
        }
        Ok(inherited)
    }

    /// Takes the socket that listens on an address, or else one that covers it
    /// ([F63](crate::docs::faults#f63)).
    pub(crate) fn take(&mut self, asked: &Address) -> Option<(String, Socket)> {
        let exact = self.position(|listening| serves(&listening.address, asked));
        let found = exact.or_else(|| self.position(|listening| listening.covers(asked)))?;
        let inheritance = &mut self.sockets[found];
        if exact.is_none() {
            if let Some(Listening { address, .. }) = &inheritance.listens_on {
                let why = match &self.channel {
                    Some(_) => "only a stop and a start, in place of a restart, can narrow it",
                    None => "it takes connections on all addresses that it covers",
                };
                log::warn!("{asked} is served by {address}, which was passed on: {why}");
            }
        }
        Some((inheritance.name.clone(), inheritance.take_listener()?))
    }

    /// Returns the address of a socket that was taken, and that covers this
    /// one.
    pub(crate) fn taken_for(&self, asked: &Address) -> Option<&Address> {
        let mut taken = self.sockets.iter().filter(|one| one.descriptor.is_none());
        let found = taken.find_map(|one| {
            one.listens_on.as_ref().filter(|listening| {
                serves(&listening.address, asked) || listening.covers(asked)
            })
        });
        found.map(|listening| &listening.address)
    }

    /// Takes all listening sockets of a name.
    pub(crate) fn take_named(&mut self, name: &str) -> Vec<(String, Socket)> {
        self.take_where(|one| one.name == name)
    }

    /// Takes all listening sockets that were not yet taken.
    pub(crate) fn take_all(&mut self) -> Vec<(String, Socket)> {
        self.take_where(|_| true)
    }

    fn take_where(
        &mut self,
        is_wanted: impl Fn(&Inheritance) -> bool,
    ) -> Vec<(String, Socket)> {
        let wanted = self.sockets.iter_mut().filter(|one| is_wanted(one));
        let taken = wanted.filter_map(|one| Some((one.name.clone(), one.take_listener()?)));
        taken.collect()
    }

    /// Returns what an operator should know when an address cannot be bound.
    pub(crate) fn hint(&self, asked: &Address) -> Option<String> {
        if let Some(process) = self.recipient {
            let own = std::process::id();
            return Some(format!(
                "sockets were passed to process {process} (LISTEN_PID), and this is process \
                 {own}: start the server itself in its place, in a shell with exec"
            ));
        }
        if self.sockets.is_empty() {
            return None;
        }
        let mut listening = self
            .sockets
            .iter()
            .filter_map(|one| one.listens_on.as_ref());
        let overlap = listening.find(|listening| {
            let asked = Listening {
                address: asked.clone(),
                only_v6: false,
            };
            asked.covers(&listening.address)
        });
        match (overlap, &self.channel) {
            (Some(listening), Some(_)) => Some(format!(
                "the predecessor listens on {}, a part of it: only a stop and a start, in place \
                 of a restart, can widen it",
                listening.address
            )),
            _ => Some(format!(
                "passed on were {}: ask for one of these",
                self.describe()
            )),
        }
    }

    /// Lists what was passed on.
    pub(crate) fn describe(&self) -> String {
        let all = self.sockets.iter().map(|one| match &one.listens_on {
            Some(listening) => format!("{} ({})", one.name, listening.address),
            None => format!("{} (which does not listen)", one.name),
        });
        let all: Vec<_> = all.collect();
        if all.is_empty() {
            "no sockets".to_owned()
        } else {
            all.join(", ")
        }
    }

    /// Returns the channel to the predecessor, with which of its sockets were
    /// taken, if there is one; and what is left.
    pub(crate) fn into_rest(self) -> (Option<(UnixStream, Vec<bool>)>, Vec<PassedFd>) {
        let taken = self.sockets.iter().map(|one| one.descriptor.is_none());
        let taken = taken.collect();
        let left = self.sockets.into_iter().filter_map(|one| {
            Some(PassedFd {
                name: one.name,
                descriptor: one.descriptor?,
            })
        });
        let left = left.collect();
        (self.channel.map(|channel| (channel, taken)), left)
    }

    fn position(&self, is_wanted: impl Fn(&Listening) -> bool) -> Option<usize> {
        self.sockets.iter().position(|one| {
            one.descriptor.is_some() && one.listens_on.as_ref().is_some_and(&is_wanted)
        })
    }
}

impl Inheritance {
    fn take_listener(&mut self) -> Option<Socket> {
        match self.descriptor.take() {
            Some(Descriptor::Listener(socket)) => Some(socket),
            other => {
                self.descriptor = other;
                None
            }
        }
    }
}

impl Listening {
    fn covers(&self, asked: &Address) -> bool {
        self.address.covers(self.only_v6, asked)
    }
}

/// Whether a socket there is what is asked for; port 0 is any port.
fn serves(local: &Address, asked: &Address) -> bool {
    match (local, asked) {
        (Address::Tcp(local), Address::Tcp(asked)) if asked.port() == 0 => {
            local.ip() == asked.ip()
        }
        _ => local == asked,
    }
}

fn listens_on(descriptor: &Descriptor) -> io::Result<Option<Listening>> {
    let Descriptor::Listener(socket) = descriptor else {
        return Ok(None);
    };
    Ok(Some(Listening {
        address: socket.local_addr()?,
        // An error is that of a socket which is not of IPv6.
        only_v6: SockRef::from(socket).only_v6().unwrap_or(true),
    }))
}

/// Kinds of sockets that can be taken as such: family and type (linux/socket.h,
/// linux/net.h).
const OTHER_SOCKETS: &[(i32, i32)] = &[
    (AF_UNIX, SOCK_SEQPACKET),
    (AF_VSOCK, SOCK_STREAM),
    (AF_VSOCK, SOCK_SEQPACKET),
    (AF_NETLINK, SOCK_RAW),
    (AF_NETLINK, SOCK_DGRAM),
    (AF_INET, SOCK_RAW),
];
const AF_UNIX: i32 = 1;
const AF_INET: i32 = 2;
const AF_NETLINK: i32 = 16;
const AF_VSOCK: i32 = 40;
const SOCK_STREAM: i32 = 1;
const SOCK_DGRAM: i32 = 2;
const SOCK_RAW: i32 = 3;
const SOCK_SEQPACKET: i32 = 5;

fn take(passed: &mut ListenFd, id: usize) -> io::Result<Option<Descriptor>> {
    let listener = match passed.take_tcp_listener(id) {
        Ok(socket) => socket.map(Socket::Tcp),
        Err(_) => match passed.take_unix_listener(id) {
            Ok(socket) => socket.map(Socket::Unix),
            Err(_) => return take_other(passed, id),
        },
    };
    let Some(socket) = listener else {
        return Ok(None);
    };
    Ok(Some(if SockRef::from(&socket).is_listener()? {
        Descriptor::Listener(socket)
    } else {
        Descriptor::Socket(match socket {
            Socket::Tcp(socket) => socket.into(),
            Socket::Unix(socket) => socket.into(),
        })
    }))
}

fn take_other(passed: &mut ListenFd, id: usize) -> io::Result<Option<Descriptor>> {
    if let Ok(Some(socket)) = passed.take_udp_socket(id) {
        return Ok(Some(Descriptor::Socket(socket.into())));
    }
    if let Ok(Some(socket)) = passed.take_unix_datagram(id) {
        return Ok(Some(Descriptor::Socket(socket.into())));
    }
    for (family, kind) in OTHER_SOCKETS {
        if let Ok(Some(socket)) = passed.take_custom(id, *family, *kind, "socket") {
            return Ok(Some(Descriptor::Socket(socket)));
        }
    }
    let Some(number) = passed.take_raw_fd(id)? else {
        return Ok(None);
    };
    Ok(Some(Descriptor::Other(number)))
}
