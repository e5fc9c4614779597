//! What the adapters have in common: sockets before they belong to a runtime.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

#[cfg(any(target_os = "linux", target_os = "android"))]
use socket2::SockFilter;
use socket2::{Domain, SockAddr, SockRef, Socket, Type};

use crate::address::Address;
use crate::rt::{self, CloseGuarantee, SocketSharing};

/// Binds and listens.
pub(in crate::runtimes) fn open(
    address: &Address,
    backlog: i32,
) -> io::Result<ListeningSocket> {
    match address {
        Address::Tcp(address) => tcp(*address, backlog),
        Address::Unix(path) => unix(path.as_deref(), backlog),
    }
}

fn tcp(address: SocketAddr, backlog: i32) -> io::Result<ListeningSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    // A restart must not wait for the connections of the last run to time
    // out; a port that somebody listens on stays refused (socket(7)).
    socket.set_reuse_address(true)?;
    listen(&socket, &address.into(), backlog)?;
    Ok(ListeningSocket::Tcp(socket.into()))
}

fn unix(path: Option<&Path>, backlog: i32) -> io::Result<ListeningSocket> {
    let path = path.ok_or(io::ErrorKind::InvalidInput)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    listen(&socket, &SockAddr::unix(path)?, backlog)?;
    Ok(ListeningSocket::Unix(
        socket.into(),
        Some(UnlinkOnDrop::new(path)?),
    ))
}

fn listen(socket: &Socket, address: &SockAddr, backlog: i32) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    socket.bind(address)?;
    socket.listen(backlog)
}

/// Takes over what somebody else has bound.
pub(in crate::runtimes) fn adopt(socket: rt::Socket) -> io::Result<ListeningSocket> {
    SockRef::from(&socket).set_nonblocking(true)?;
    Ok(match socket {
        rt::Socket::Tcp(socket) => ListeningSocket::Tcp(socket),
        rt::Socket::Unix(socket) => ListeningSocket::Unix(socket, None),
    })
}

/// A listening socket, as a runtime has it.
#[derive(Debug)]
pub(in crate::runtimes) enum ListeningSocket<T = TcpListener, U = UnixListener> {
    Tcp(T),
    /// With its path, while that is ours to remove.
    Unix(U, Option<UnlinkOnDrop>),
}

impl ListeningSocket {
    pub(in crate::runtimes) fn local_addr(&self) -> io::Result<Address> {
        Ok(match self {
            ListeningSocket::Tcp(socket) => socket.local_addr()?.into(),
            ListeningSocket::Unix(socket, _) => (&socket.local_addr()?).into(),
        })
    }
}

impl<T: AsFd, U: AsFd> ListeningSocket<T, U> {
    /// See [`Listener::stop_accepting`](crate::rt::Listener::stop_accepting).
    pub(in crate::runtimes) fn stop_accepting(
        &mut self,
        sharing: SocketSharing,
        local: &Address,
    ) -> CloseGuarantee {
        let guarantee = match sharing {
            SocketSharing::Exclusive | SocketSharing::Shared => CloseGuarantee::Swept,
            SocketSharing::HandedOver => CloseGuarantee::HandedOver,
        };
        match self {
            ListeningSocket::Tcp(socket) if sharing == SocketSharing::Exclusive => {
                drop_new_handshakes(socket)
            }
            ListeningSocket::Tcp(_) => guarantee,
            ListeningSocket::Unix(_, path) => {
                match (sharing, local) {
                    // An heir, once alone, is the owner.
                    (SocketSharing::Exclusive, Address::Unix(Some(local)))
                        if path.is_none() =>
                    {
                        *path = UnlinkOnDrop::new(local).ok();
                    }
                    (SocketSharing::Exclusive, _) => {}
                    _ => path.iter_mut().for_each(UnlinkOnDrop::leave),
                }
                path.iter_mut().for_each(remove);
                guarantee
            }
        }
    }

    /// See [`Listener::handshakes`](crate::rt::Listener::handshakes).
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub(in crate::runtimes) fn handshakes(&self, local: &Address) -> Option<usize> {
        match local {
            Address::Tcp(local) => crate::runtimes::sock_diag::handshakes(*local),
            Address::Unix(_) => None,
        }
    }

    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    pub(in crate::runtimes) fn handshakes(&self, _: &Address) -> Option<usize> {
        None
    }

    /// See [`Listener::share`](crate::rt::Listener::share).
    pub(in crate::runtimes) fn share(&self) -> io::Result<OwnedFd> {
        match self {
            ListeningSocket::Tcp(socket) => socket.as_fd().try_clone_to_owned(),
            ListeningSocket::Unix(socket, _) => socket.as_fd().try_clone_to_owned(),
        }
    }

    /// See [`Listener::close`](crate::rt::Listener::close).
    pub(in crate::runtimes) fn close(self) -> io::Result<()> {
        match self {
            ListeningSocket::Unix(_, Some(mut path)) => path.remove(),
            ListeningSocket::Tcp(_) | ListeningSocket::Unix(_, None) => Ok(()),
        }
    }
}

/// Lets the kernel drop what would begin a handshake: segments with SYN and
/// without ACK. Who sent one tries again later, and meets whoever listens
/// then. A sandbox may refuse it, and the sweep has to do.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn drop_new_handshakes(socket: &impl AsFd) -> CloseGuarantee {
    // Classic BPF (linux/filter.h) over the TCP header, whose byte 13 has the
    // flags (RFC 9293 3.1).
    const LOAD_BYTE: u16 = 0x30;
    const AND: u16 = 0x54;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    const SYN: u32 = 0x02;
    const SYN_OR_ACK: u32 = 0x12;
    let filter = [
        SockFilter::new(LOAD_BYTE, 0, 0, 13),
        SockFilter::new(AND, 0, 0, SYN_OR_ACK),
        SockFilter::new(JUMP_IF_EQUAL, 0, 1, SYN),
        SockFilter::new(RETURN, 0, 0, 0),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
    ];
    match SockRef::from(socket).attach_filter(&filter) {
        Ok(()) => CloseGuarantee::SynFiltered,
        Err(error) => {
            log::debug!("no filter on the listening socket: {error}");
            CloseGuarantee::Swept
        }
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn drop_new_handshakes(_: &impl AsFd) -> CloseGuarantee {
    CloseGuarantee::Swept
}

/// Removes the path before the sweep: nobody can connect any more, and who
/// had connected waits in the queue.
fn remove(path: &mut UnlinkOnDrop) {
    if let Err(error) = path.remove() {
        log::warn!("removing {}: {error}", path.path.display());
    }
}

/// The path of a Unix socket that we bound. It is removed when the listener
/// closes or is dropped, but only while it is still the one that we made: a
/// successor may have put its own there (F10).
#[derive(Debug)]
pub(in crate::runtimes) struct UnlinkOnDrop {
    path: PathBuf,
    inode: (u64, u64),
    removed: bool,
}

impl UnlinkOnDrop {
    fn new(path: &Path) -> io::Result<UnlinkOnDrop> {
        Ok(UnlinkOnDrop {
            path: path.to_owned(),
            inode: inode(path)?,
            removed: false,
        })
    }

    /// Leaves the path to others.
    fn leave(&mut self) {
        self.removed = true;
    }

    /// Removes the path: from now on nobody can connect. Once.
    fn remove(&mut self) -> io::Result<()> {
        if std::mem::replace(&mut self.removed, true) {
            return Ok(());
        }
        match inode(&self.path) {
            Ok(inode) if inode == self.inode => fs::remove_file(&self.path),
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }
}

impl Drop for UnlinkOnDrop {
    fn drop(&mut self) {
        remove(self);
    }
}

fn inode(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}
