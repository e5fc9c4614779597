//! Sockets and timers over async-io, by which both smol and async-std wait.

mod listener;
mod socket;
mod tcp_or_unix;

pub use self::listener::{Connection, Listener, Sleep};
pub use self::socket::AsyncSocket;
pub use self::tcp_or_unix::TcpOrUnix;
