//! What the adapters have in common: sockets before they belong to a runtime.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{SocketAddr as UnixSocketAddr, UnixListener};
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};
#[cfg(any(target_os = "linux", target_os = "android"))]
use socket2::{SockFilter, SockRef};

use crate::address::Address;
use crate::traits::Guarantee;

/// Binds and listens on TCP.
pub(super) fn tcp(address: SocketAddr, backlog: i32) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    // A restart must not wait for the connections of the last run to time
    // out; a port that somebody listens on stays refused (socket(7)).
    socket.set_reuse_address(true)?;
    listen(&socket, &address.into(), backlog)?;
    Ok(socket.into())
}

fn listen(socket: &Socket, address: &SockAddr, backlog: i32) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    socket.bind(address)?;
    socket.listen(backlog)
}

/// Binds and listens on a Unix socket, whose path is then ours.
pub(super) fn unix(path: Option<&Path>, backlog: i32) -> io::Result<(UnixListener, OwnPath)> {
    let path = path.ok_or(io::ErrorKind::InvalidInput)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    let address = SockAddr::unix(path)?;
    listen(&socket, &address, backlog)?;
    let own = OwnPath::new(path)?;
    Ok((socket.into(), own))
}

/// A listening socket, as a runtime has it.
#[derive(Debug)]
pub(super) enum Listening<T, U> {
    Tcp(T),
    Unix(U, OwnPath),
}

impl<T: AsFd, U> Listening<T, U> {
    /// See [`Listener::quiesce`](crate::traits::Listener::quiesce).
    pub(super) fn quiesce(&mut self) -> Guarantee {
        match self {
            Listening::Tcp(socket) => drop_new_handshakes(socket),
            Listening::Unix(_, path) => {
                remove(path);
                Guarantee::Sweep
            }
        }
    }

    /// See [`Listener::close`](crate::traits::Listener::close).
    pub(super) fn close(self) -> io::Result<()> {
        match self {
            Listening::Tcp(_) => Ok(()),
            Listening::Unix(_, mut path) => path.remove(),
        }
    }
}

/// Lets the kernel drop what would begin a handshake: segments with SYN and
/// without ACK. Who sent one tries again later, and meets whoever listens
/// then. A sandbox may refuse it, and the sweep has to do.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn drop_new_handshakes(socket: &impl AsFd) -> Guarantee {
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
        Ok(()) => Guarantee::SynFilter,
        Err(error) => {
            log::debug!("no filter on the listening socket: {error}");
            Guarantee::Sweep
        }
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn drop_new_handshakes(_: &impl AsFd) -> Guarantee {
    Guarantee::Sweep
}

/// Removes the path before the sweep: nobody can connect any more, and who
/// had connected waits in the queue.
fn remove(path: &mut OwnPath) {
    if let Err(error) = path.remove() {
        log::warn!("removing {}: {error}", path.path.display());
    }
}

/// The address of the peer of a Unix socket.
pub(super) fn unix_peer(peer: &UnixSocketAddr) -> Address {
    Address::Unix(peer.as_pathname().map(Path::to_owned))
}

/// The path of a Unix socket that we bound. It is removed when the listener
/// closes or is dropped, but only while it is still the one that we made: a
/// successor may have put its own there (F10).
#[derive(Debug)]
pub(super) struct OwnPath {
    path: PathBuf,
    inode: (u64, u64),
    removed: bool,
}

impl OwnPath {
    fn new(path: &Path) -> io::Result<OwnPath> {
        Ok(OwnPath {
            path: path.to_owned(),
            inode: inode(path)?,
            removed: false,
        })
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

impl Drop for OwnPath {
    fn drop(&mut self) {
        remove(self);
    }
}

fn inode(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}
