//! Sockets and timers over async-io, by which both smol and async-std wait.

mod listener;
mod sleep;
mod socket;

pub use self::listener::{Connection, Listener};
pub use self::sleep::Sleep;
pub use self::socket::AsyncSocket;
