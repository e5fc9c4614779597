//! What the servers share, so that each shows little but its own stop.

pub mod echo;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

/// How long a stop may take, where a library has a setting for that.
pub const GRACE: Duration = Duration::from_secs(25);

/// The length of a large answer: more than a socket buffer takes at once.
pub const LARGE: usize = 4 << 20;

/// The address to listen on, or to ask: the first argument.
pub fn address() -> io::Result<SocketAddr> {
    let address = std::env::args().nth(1).and_then(|text| text.parse().ok());
    address.ok_or_else(|| io::Error::other("usage: PROGRAM IP:PORT"))
}

/// SIGTERM or SIGINT, caught from the call on.
pub fn terminated() -> io::Result<impl Future<Output = ()> + Send + 'static> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
