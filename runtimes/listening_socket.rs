//! Listening sockets, whatever runtime waits for them.

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

/// A listening socket, of the standard library or of a runtime, and all that a
/// [`Listener`](rt::Listener) has to do with it apart from waiting.
///
/// ```
/// use lameduck::Address;
/// use lameduck::rt::{CloseGuarantee, SocketSharing};
/// use lameduck::runtimes::parts::ListeningSocket;
///
/// let mut socket = ListeningSocket::bind(&Address::from(([127, 0, 0, 1], 0)), 128)?;
/// let local = socket.local_addr()?;
/// // The socket is another process's as well: nothing is set on it.
/// let guarantee = socket.stop_accepting(SocketSharing::Shared, &local);
/// assert_eq!(guarantee, CloseGuarantee::Swept);
/// socket.close()?;
/// # std::io::Result::Ok(())
/// ```
#[derive(Debug)]
pub enum ListeningSocket<T = TcpListener, U = UnixListener> {
    /// A TCP socket.
    Tcp(T),
    /// A Unix socket, with its path while that is ours to remove.
    Unix(U, Option<UnlinkOnDrop>),
}

impl ListeningSocket {
    /// Binds and listens; the socket is nonblocking.
    ///
    /// # Errors
    /// Those of the operating system, and `InvalidInput` for a Unix socket
    /// without a path.
    pub fn bind(address: &Address, backlog: i32) -> io::Result<ListeningSocket> {
        match address {
            Address::Tcp(address) => tcp(*address, backlog),
            Address::Unix(path) => unix(path.as_deref(), backlog),
        }
    }

    /// Takes over a socket that was bound elsewhere, and makes it nonblocking.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn adopt(socket: rt::Socket) -> io::Result<ListeningSocket> {
        SockRef::from(&socket).set_nonblocking(true)?;
        Ok(match socket {
            rt::Socket::Tcp(socket) => ListeningSocket::Tcp(socket),
            rt::Socket::Unix(socket) => ListeningSocket::Unix(socket, None),
        })
    }

    /// Returns the address that it is bound to.
    ///
    /// # Errors
    /// Those of `getsockname(2)`.
    pub fn local_addr(&self) -> io::Result<Address> {
        Ok(match self {
            ListeningSocket::Tcp(socket) => socket.local_addr()?.into(),
            ListeningSocket::Unix(socket, _) => (&socket.local_addr()?).into(),
        })
    }
}

impl<T, U> ListeningSocket<T, U> {
    /// Hands the socket to a runtime.
    ///
    /// # Errors
    /// Those of the function that was called.
    pub fn try_map<V, W>(
        self,
        tcp: impl FnOnce(T) -> io::Result<V>,
        unix: impl FnOnce(U) -> io::Result<W>,
    ) -> io::Result<ListeningSocket<V, W>> {
        Ok(match self {
            ListeningSocket::Tcp(socket) => ListeningSocket::Tcp(tcp(socket)?),
            ListeningSocket::Unix(socket, path) => ListeningSocket::Unix(unix(socket)?, path),
        })
    }
}

impl<T: AsFd, U: AsFd> ListeningSocket<T, U> {
    /// Stops accepting, as [`Listener`](rt::Listener::stop_accepting) asks for
    /// each kind of sharing: with a filter for new handshakes on a TCP socket
    /// of ours alone where the system allows it, and without the path of a
    /// Unix socket.
    pub fn stop_accepting(
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

    /// Returns the number of handshakes under way: what
    /// [`Listener::handshakes`](rt::Listener::handshakes) asks for.
    pub fn handshakes(&self, local: &Address) -> Option<usize> {
        match (self, local) {
            #[cfg(any(target_os = "linux", target_os = "android"))]
            (ListeningSocket::Tcp(socket), Address::Tcp(local)) => {
                use crate::runtimes::{proc_net, sock_diag};
                match proc_net::handshakes(socket, *local) {
                    Some(0) => Some(0),
                    _ => sock_diag::handshakes(*local),
                }
            }
            _ => None,
        }
    }

    /// Duplicates the descriptor: what [`Listener::share`](rt::Listener::share)
    /// asks for.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn share(&self) -> io::Result<OwnedFd> {
        match self {
            ListeningSocket::Tcp(socket) => socket.as_fd().try_clone_to_owned(),
            ListeningSocket::Unix(socket, _) => socket.as_fd().try_clone_to_owned(),
        }
    }

    /// Closes the descriptor, and removes the path of a Unix socket that is
    /// ours: what [`Listener::close`](rt::Listener::close) asks for.
    ///
    /// # Errors
    /// When the path cannot be removed.
    pub fn close(self) -> io::Result<()> {
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
/// successor may have put its own there ([F10](crate::docs::faults#f10)).
#[derive(Debug)]
pub struct UnlinkOnDrop {
    path: PathBuf,
    inode: (u64, u64),
    removed: bool,
}

impl UnlinkOnDrop {
    /// Remembers which socket the path leads to now.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn new(path: &Path) -> io::Result<UnlinkOnDrop> {
        Ok(UnlinkOnDrop {
            path: path.to_owned(),
            inode: inode(path)?,
            removed: false,
        })
    }

    /// Leaves the path to others.
    pub fn leave(&mut self) {
        self.removed = true;
    }

    /// Removes the path, once: from now on nobody can connect.
    ///
    /// # Errors
    /// Those of the operating system. A path that is gone is none.
    pub fn remove(&mut self) -> io::Result<()> {
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
