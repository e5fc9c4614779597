//! Listening sockets, whatever runtime waits for them.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
#[cfg(any(target_os = "linux", target_os = "android"))]
use rustix::io::retry_on_intr;
#[cfg(any(target_os = "linux", target_os = "android"))]
use socket2::SockFilter;
use socket2::{Domain, SockAddr, SockRef, Socket, Type};

use super::unix_path::{self, UnlinkOnDrop};
use crate::address::Address;
use crate::options::ListenOptions;
use crate::rt::{self, CloseGuarantee, SocketSharing};

fn tcp(address: SocketAddr, options: &ListenOptions) -> io::Result<ListeningSocket> {
    let socket = nonblocking(Domain::for_address(address))?;
    // A restart must not wait for the connections of the last run to time
    // out; a port that somebody listens on stays refused (socket(7)).
    socket.set_reuse_address(true)?;
    if let Some(only_v6) = options.v6only {
        socket.set_only_v6(only_v6)?;
    }
    if options.nodelay_or_default() {
        // Where accepted sockets inherit it, that is one call for all of them.
        socket.set_tcp_nodelay(true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(options.backlog_or_default())?;
    Ok(ListeningSocket::Tcp(socket.into()))
}

fn unix(path: &Path, options: &ListenOptions) -> io::Result<ListeningSocket> {
    let socket = nonblocking(Domain::UNIX)?;
    let path = unix_path::bind(&socket, path, options)?;
    socket.listen(options.backlog_or_default())?;
    Ok(ListeningSocket::Unix(socket.into(), Some(path)))
}

/// A name that is no path: for the system it begins with a zero byte.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn abstract_name(name: &[u8], options: &ListenOptions) -> io::Result<ListeningSocket> {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    let socket = nonblocking(Domain::UNIX)?;
    let name = [&[0], name].concat();
    socket.bind(&SockAddr::unix(OsStr::from_bytes(&name))?)?;
    socket.listen(options.backlog_or_default())?;
    Ok(ListeningSocket::Unix(socket.into(), None))
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn abstract_name(_: &[u8], _: &ListenOptions) -> io::Result<ListeningSocket> {
    let error = "only Linux has names of Unix sockets that are no paths";
    Err(io::Error::new(io::ErrorKind::Unsupported, error))
}

/// Takes a connection from the accept queue; an error of the kind `WouldBlock`
/// where it was asked just now, and is empty.
///
/// `accept(2)` makes a socket before it looks whether there is a connection for
/// it. poll(2) looks at the same queue for a tenth of that, and each burst of
/// connections ends with such a look, as each sweep does.
pub(in crate::runtimes) fn accept_queued<T: AsFd, C>(
    socket: &T,
    accept: impl FnOnce(&T) -> io::Result<C>,
) -> io::Result<C> {
    let mut polled = [PollFd::new(socket, PollFlags::IN)];
    match poll(&mut polled, Some(&Timespec::default())) {
        Ok(0) => Err(io::ErrorKind::WouldBlock.into()),
        // What else there is to say, `accept(2)` says.
        _ => accept(socket),
    }
}

/// Accepts a connection, which is nonblocking.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(in crate::runtimes) fn accept_tcp(
    listener: &TcpListener,
) -> io::Result<(TcpStream, SocketAddr)> {
    use rustix::net::{SocketFlags, acceptfrom_with};

    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let (stream, peer) = retry_on_intr(|| acceptfrom_with(listener, flags))?;
    let peer = peer.ok_or(io::ErrorKind::InvalidData)?.try_into()?;
    Ok((stream.into(), peer))
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(in crate::runtimes) fn accept_tcp(
    listener: &TcpListener,
) -> io::Result<(TcpStream, SocketAddr)> {
    let (stream, peer) = listener.accept()?;
    stream.set_nonblocking(true)?;
    Ok((stream, peer))
}

fn nonblocking(domain: Domain) -> io::Result<Socket> {
    let socket = Socket::new(domain, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// A listening socket, of the standard library or of a runtime, and all that a
/// [`Listener`](rt::Listener) has to do with it apart from waiting.
///
/// ```
/// use lameduck::rt::{CloseGuarantee, SocketSharing};
/// use lameduck::runtimes::parts::ListeningSocket;
/// use lameduck::{Address, ListenOptions};
///
/// let address = Address::from(([127, 0, 0, 1], 0));
/// let mut socket = ListeningSocket::bind(&address, &ListenOptions::new())?;
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
    /// Binds and listens; the socket is nonblocking (`O_NONBLOCK`). So an accept of io_uring
    /// ends at once where nobody waits, unless the socket is made blocking again.
    ///
    /// # Errors
    /// Those of the operating system, and `InvalidInput` for a Unix socket
    /// without a path.
    pub fn bind(address: &Address, options: &ListenOptions) -> io::Result<ListeningSocket> {
        match address {
            Address::Tcp(address) => tcp(*address, options),
            Address::Unix(Some(path)) => unix(path, options),
            Address::Unix(None) => Err(io::ErrorKind::InvalidInput.into()),
            Address::Abstract(name) => abstract_name(name, options),
        }
    }

    /// Takes over a socket that was bound elsewhere, and makes it nonblocking
    /// (`O_NONBLOCK`), which its other holders share.
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
                    // A successor is the owner once its predecessor has left.
                    (SocketSharing::Exclusive, Address::Unix(Some(local)))
                        if path.is_none() =>
                    {
                        *path = UnlinkOnDrop::new(local).ok();
                    }
                    (SocketSharing::Exclusive, _) => {}
                    _ => path.iter_mut().for_each(UnlinkOnDrop::leave),
                }
                // Before the sweep: nobody can connect any more, and those who
                // had connected wait in the queue. After an error it is tried
                // again at the close, which reports it.
                path.iter_mut().for_each(|path| _ = path.remove());
                guarantee
            }
        }
    }

    /// Returns for each of several sockets the number of handshakes under way:
    /// what [`Listener::handshakes`](rt::Listener::handshakes) asks for.
    pub fn handshakes(sockets: &[(&Self, &Address)]) -> Vec<Option<usize>> {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        {
            let listening = sockets.iter().map(|(socket, local)| match (socket, local) {
                (ListeningSocket::Tcp(socket), Address::Tcp(local)) => {
                    super::sock_diag::Listening::new(socket, *local)
                }
                _ => None,
            });
            super::sock_diag::handshakes(&listening.collect::<Vec<_>>())
        }
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        vec![None; sockets.len()]
    }

    /// Returns the most connections that the accept queue can hold: what
    /// [`Listener::queue_limit`](rt::Listener::queue_limit) asks for.
    pub fn queue_limit(&self) -> Option<u64> {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        return match self {
            ListeningSocket::Tcp(socket) => super::sock_diag::queue_limit(socket),
            ListeningSocket::Unix(socket, _) => super::sock_diag::queue_limit(socket),
        };
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        None
    }

    /// Returns what has to be set on each connection that it accepts.
    pub fn accepted(&self, options: &ListenOptions) -> Accepted {
        let ListeningSocket::Tcp(socket) = self else {
            return Accepted::default();
        };
        // Linux lets it be inherited; on a socket that others hold as well,
        // nothing is set.
        let is_inherited = cfg!(any(target_os = "linux", target_os = "android"))
            && SockRef::from(socket).tcp_nodelay().unwrap_or(false);
        Accepted {
            nodelay: options.nodelay_or_default() && !is_inherited,
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
            ListeningSocket::Unix(_, Some(mut path)) => {
                let removed = path.remove();
                path.leave();
                removed
            }
            ListeningSocket::Tcp(_) | ListeningSocket::Unix(_, None) => Ok(()),
        }
    }
}

/// Lets the kernel drop what would begin a handshake: segments with SYN and
/// without ACK. A client that sent one tries again later, and reaches the process
/// that listens then. A sandbox may refuse it: then the sweep has to be enough.
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

/// What has to be set on each connection that a listener accepts.
#[derive(Clone, Copy, Debug, Default)]
pub struct Accepted {
    nodelay: bool,
}

impl Accepted {
    /// Sets it on a connection. An error means that the connection is gone,
    /// which its first read will tell.
    pub fn set_on(self, stream: &TcpStream) {
        if self.nodelay {
            _ = stream.set_nodelay(true);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    /// Takes one connection, of which the client is kept; the others wait.
    fn f68_an_empty_queue_is_not_accepted_from<T: AsFd, C>(
        listener: &T,
        connect: impl Fn() -> C,
        accept: impl Fn(&T) -> io::Result<()>,
    ) {
        let empty = || {
            let accepted = accept_queued(listener, |_| -> io::Result<()> {
                panic!("accept(2) was called for an empty queue")
            });
            assert_eq!(accepted.unwrap_err().kind(), io::ErrorKind::WouldBlock);
        };
        empty();
        let _clients = [connect(), connect()];
        accept_queued(listener, &accept).unwrap();
        accept_queued(listener, &accept).unwrap();
        empty();
    }

    #[test]
    fn f68_an_empty_queue_is_not_accepted_from_over_tcp() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        f68_an_empty_queue_is_not_accepted_from(
            &listener,
            || TcpStream::connect(address).unwrap(),
            |listener| listener.accept().map(drop),
        );
    }

    #[test]
    fn f68_an_empty_queue_is_not_accepted_from_over_unix() {
        let name = format!("lameduck-look-{}.sock", std::process::id());
        let path = std::env::temp_dir().join(name);
        let listener = UnixListener::bind(&path).unwrap();
        f68_an_empty_queue_is_not_accepted_from(
            &listener,
            || UnixStream::connect(&path).unwrap(),
            |listener| listener.accept().map(drop),
        );
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_socket_that_does_not_listen_is_accepted_from_for_its_error() {
        let (unix, peer) = UnixStream::pair().unwrap();
        drop(peer);
        let error = io::Error::from_raw_os_error(22);
        let accepted = accept_queued(&unix, |_| Err::<(), _>(error));
        assert_eq!(accepted.unwrap_err().raw_os_error(), Some(22));
    }
}
