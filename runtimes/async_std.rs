//! The adapter for [async-std](https://docs.rs/async-std).
//!
//! async-std is discontinued upstream (RUSTSEC-2025-0052), which points to
//! smol. This adapter is tested like the other one and stays; for something
//! new, take [smol](https://docs.rs/smol).

use std::future::Future;
use std::io;
use std::time::Instant;

pub use super::parts::{Connection, Listener, Signals, Sleep};
use crate::address::Address;
use crate::options::ListenOptions;
use crate::rt::{Runtime, Socket};
use crate::signal::Signal;

/// async-std's global executor.
///
/// ```no_run
/// use lameduck::{Server, runtimes::async_std::AsyncStd};
///
/// let server = Server::builder(AsyncStd)
///     .listen("127.0.0.1:48879".parse::<lameduck::Address>()?)
///     .bind()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct AsyncStd;

impl Runtime for AsyncStd {
    type Listener = Listener;
    type Signals = Signals;
    type Sleep = Sleep;

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        // A task of async-std goes on when its handle is dropped.
        drop(async_std::task::spawn(task));
    }

    fn now(&self) -> Instant {
        Instant::now()
    }

    fn sleep_until(&self, at: Instant) -> Sleep {
        Sleep::until(at)
    }

    fn bind(&self, address: &Address, options: &ListenOptions) -> io::Result<Listener> {
        Listener::bind(address, options)
    }

    fn adopt(&self, socket: Socket, options: &ListenOptions) -> io::Result<Listener> {
        Listener::adopt(socket, options)
    }

    fn signals(&self, signals: &[Signal]) -> io::Result<Signals> {
        Signals::catch(signals)
    }
}
