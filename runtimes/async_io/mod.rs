//! Sockets and timers over async-io, by which both smol and async-std wait.

mod listener;
mod socket;

pub use self::listener::{Connection, Listener, Sleep};
pub use self::socket::AsyncSocket;
