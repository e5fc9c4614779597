//! Parts for an adapter of your own: what the adapters of this crate share.
//!
//! An adapter has to wait for sockets in its runtime's way; everything else is
//! here, so that one from outside is as strong as those of this crate:
//!
//! - [`ListeningSocket`] binds, adopts, filters, counts handshakes, duplicates,
//!   closes, and removes the path of a Unix socket that is ours
//!   ([`UnlinkOnDrop`]).
//! - [`TcpOrUnix`] makes one connection type of two.
//! - [`unacknowledged`] and [`round_trip`] ask the kernel.
//! - [`Signals`] and [`Sleep`] come although every thread of the runtime is held
//!   by a handler: they have a thread of their own, that of async-io.
//! - [`Listener`], [`Connection`] and [`AsyncSocket`] are sockets on that thread
//!   as well, for a runtime that has none of its own.
//!
//! `examples/own_runtime.rs` is an adapter in under 40 lines.

use std::os::fd::AsFd;
use std::time::Duration;

pub use super::async_io::{AsyncSocket, Connection, Listener, Sleep};
pub use super::listening_socket::{Accepted, ListeningSocket};
pub use super::signals::Signals;
pub use super::tcp_or_unix::TcpOrUnix;
pub use super::unix_path::UnlinkOnDrop;

/// Returns the number of bytes of a TCP connection that its peer has not
/// acknowledged, a FIN counting as one. `None`: the system does not say, or it
/// is no TCP connection.
///
/// On Linux it is asked by sock_diag(7), which needs no privilege.
pub fn unacknowledged(connection: &impl AsFd) -> Option<u64> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    return super::sock_diag::unacknowledged(connection);
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    return Option::from(connection).and(None);
}

/// Returns the number of bytes that wait to be read from a socket (FIONREAD in
/// ioctl_tty(2) and unix(7)). `None`: the system does not say.
///
/// ```
/// use lameduck::runtimes::parts::readable;
/// use std::io::Write;
/// use std::os::unix::net::UnixStream;
///
/// let (ours, mut peers) = UnixStream::pair()?;
/// peers.write_all(b"four")?;
/// assert_eq!(readable(&ours), Some(4));
/// # std::io::Result::Ok(())
/// ```
pub fn readable(connection: &impl AsFd) -> Option<u64> {
    rustix::io::ioctl_fionread(connection).ok()
}

/// Returns the round trip time of a TCP connection, as the kernel has smoothed
/// it ([F67](crate::docs::faults#f67)). `None`: the system does not say, or it
/// is no TCP connection.
///
/// ```
/// use lameduck::runtimes::parts::round_trip;
/// use std::net::{TcpListener, TcpStream};
/// use std::time::Duration;
///
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// let near = TcpStream::connect(listener.local_addr()?)?;
/// assert!(round_trip(&near).is_none_or(|time| time < Duration::from_secs(1)));
/// # std::io::Result::Ok(())
/// ```
pub fn round_trip(connection: &impl AsFd) -> Option<Duration> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    return super::sock_diag::round_trip(connection);
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    return Option::from(connection).and(None);
}
