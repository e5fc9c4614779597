//! What the servers share, so that each shows little but its own stop.

use std::future::Future;
use std::io;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

/// How long a stop may take, where a library has a setting for that.
pub const GRACE: Duration = Duration::from_secs(25);

/// The answer to `GET /`.
pub const SMALL: &str = "hello\n";

/// The answer to `GET /large`: more than a socket buffer takes at once.
pub static LARGE: [u8; 4 << 20] = [b'x'; 4 << 20];

/// What a connection of an echo server reads at once.
pub const BUFFER: usize = 4096;

/// The pause after a failed accept, so that a lack of descriptors is no busy loop.
pub const PAUSE: Duration = Duration::from_millis(100);

/// The address to listen on: the first argument.
pub fn address() -> io::Result<String> {
    std::env::args()
        .nth(1)
        .ok_or_else(|| io::Error::other("usage: SERVER ADDRESS:PORT"))
}

/// SIGTERM or SIGINT. Caught from the call on, not from the first poll, so that
/// a server that calls it before it listens is never killed by an early one.
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
