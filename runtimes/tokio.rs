//! The adapter for [tokio](https://docs.rs/tokio), multi-thread and
//! current_thread.
//!
//! Sockets wait in tokio's own reactor, and connections are tasks of tokio. Two
//! things are different from tokio's own:
//!
//! - Once the server drains, a read that tokio has nothing for asks the system
//!   as well: what tokio remembers may be older than what has arrived.
//! - Timers and signals have a thread of their own, that of
//!   [`parts::Sleep`]. tokio's come late while handlers
//!   hold its threads, and a stop has to be in time all the same.
//!
//! # Exit
//! When the server has ended, [`serve`](crate::Server::serve) returns, whatever
//! the handlers do. A runtime that is dropped, as `#[tokio::main]` does when
//! `main` returns, then waits for every thread that is held, and for every
//! `spawn_blocking` under way: for ever, if one never ends. To exit in time,
//! shut the runtime down in the background:
//!
//! ```
//! use lameduck::runtimes::tokio::{Connection, Tokio};
//! use lameduck::{Report, Server, Session};
//! use std::time::Duration;
//! use tokio::io::AsyncWriteExt;
//!
//! async fn echo(mut session: Session<Connection>) -> std::io::Result<()> {
//!     let mut buffer = [0; 4096];
//!     while let Some(n) = session.read_or_drain(&mut buffer).await? {
//!         session.write_all(&buffer[..n]).await?;
//!     }
//!     Ok(())
//! }
//!
//! async fn serve() -> Result<Report, Box<dyn std::error::Error>> {
//!     let server = Server::builder(Tokio::current()?).listen("127.0.0.1:0").bind()?;
//! #   server.shutdown().stop("done");
//!     // Work that nobody waits for, and that cannot be cancelled.
//!     tokio::task::spawn_blocking(|| std::thread::sleep(Duration::from_secs(3600)));
//!     Ok(server.serve(echo).await)
//! }
//!
//! fn main() -> Result<Report, Box<dyn std::error::Error>> {
//!     let runtime = tokio::runtime::Runtime::new()?;
//!     let report = runtime.block_on(serve());
//!     runtime.shutdown_background();
//!     report // its exit status says how the stop went
//! }
//! ```
//!
//! Under `#[tokio::main]` itself, leave with
//! [`std::process::exit`]`(report.exit_status().into())` as the last statement.
//!
//! # One thread
//! On a current_thread runtime a handler that holds its thread holds the server
//! as well when both are polled by it. Give the runtime a thread of its own, and
//! wait for the server elsewhere, as `examples/echo.rs` does: the server can be
//! polled by any executor.

mod listener;
mod socket;
mod yielding;

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use ::tokio::runtime::{Handle, TryCurrentError};

pub use self::listener::Listener;
pub use self::socket::Connection;
use self::yielding::Yielding;
use super::parts;
pub use super::parts::Signals;
use crate::address::Address;
use crate::options::ListenOptions;
use crate::rt::{Runtime, Socket};
use crate::signal::Signal;
use crate::sync::plain::Arc;

/// A tokio runtime, by its handle. I/O has to be enabled on it.
///
/// ```
/// use lameduck::{Server, runtimes::tokio::Tokio};
///
/// #[tokio::main]
/// async fn main() -> Result<(), Box<dyn std::error::Error>> {
///     let server = Server::builder(Tokio::current()?).listen("127.0.0.1:0").bind()?;
///     # drop(server);
///     Ok(())
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Tokio {
    /// Each connection has copies of it, so that it is as small as can be.
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    handle: Handle,
    clock: Clock,
    yielding: Arc<Yielding>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Clock {
    /// A timer on a thread of its own.
    Thread,
    /// tokio's, which a test can pause.
    Runtime,
}

impl Tokio {
    /// Returns the runtime that the caller runs in.
    ///
    /// # Errors
    /// [`NoRuntime`] outside of one.
    ///
    /// ```
    /// use lameduck::runtimes::tokio::Tokio;
    ///
    /// let error = Tokio::current().unwrap_err();
    /// assert!(error.to_string().contains("Tokio::new"));
    /// ```
    pub fn current() -> Result<Tokio, NoRuntime> {
        Handle::try_current().map(Tokio::new).map_err(NoRuntime)
    }

    /// Returns the runtime of `handle`. The server can be bound and served
    /// anywhere; connections are served by that runtime.
    ///
    /// ```
    /// use lameduck::{Server, runtimes::tokio::Tokio};
    ///
    /// let runtime = tokio::runtime::Runtime::new()?;
    /// let tokio = Tokio::new(runtime.handle().clone());
    /// let server = Server::builder(tokio).listen("127.0.0.1:0").bind()?;
    /// # drop(server);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn new(handle: Handle) -> Tokio {
        Tokio::with(handle, Clock::Thread)
    }

    fn with(handle: Handle, clock: Clock) -> Tokio {
        let yielding = Arc::default();
        Tokio {
            inner: Arc::new(Inner {
                handle,
                clock,
                yielding,
            }),
        }
    }

    /// Returns the handle of the runtime.
    pub fn handle(&self) -> &Handle {
        &self.inner.handle
    }

    /// Takes the time from tokio, for tests that pause its clock. Time has to
    /// be enabled on the runtime.
    ///
    /// It is not for production: tokio's timers come late while handlers hold
    /// its threads, and with them the end of the grace period.
    ///
    /// ```
    /// use lameduck::{Report, Server, runtimes::tokio::Tokio};
    /// use std::time::Duration;
    ///
    /// #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// async fn main() -> Result<(), Box<dyn std::error::Error>> {
    ///     let day = Duration::from_secs(24 * 60 * 60);
    ///     let server = Server::builder(Tokio::current()?.with_runtime_clock())
    ///         .listen("127.0.0.1:0")
    ///         .grace_period(day * 2)
    ///         .lame_duck(day)
    ///         .bind()?;
    ///     server.shutdown().stop("done");
    ///     let report = server.serve(|_| async { std::io::Result::Ok(()) }).await;
    ///     assert!(report.duration >= day); // and no second has passed
    ///     Ok(())
    /// }
    /// ```
    pub fn with_runtime_clock(self) -> Tokio {
        Tokio::with(self.handle().clone(), Clock::Runtime)
    }
}

impl From<Handle> for Tokio {
    fn from(handle: Handle) -> Tokio {
        Tokio::new(handle)
    }
}

/// The error of [`Tokio::current`] outside of a runtime.
pub struct NoRuntime(TryCurrentError);

impl fmt::Display for NoRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "no tokio runtime here: call Tokio::current inside of block_on or of \
             #[tokio::main], or give a runtime's handle to Tokio::new",
        )
    }
}

/// The text of the error: a `main` that returns it prints this.
impl fmt::Debug for NoRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Error for NoRuntime {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.0)
    }
}

impl Runtime for Tokio {
    type Listener = Listener;
    type Signals = Signals;
    type Sleep = Sleep;

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        // A task of tokio goes on when its handle is dropped.
        drop(self.handle().spawn(task));
    }

    fn now(&self) -> Instant {
        match self.inner.clock {
            Clock::Thread => Instant::now(),
            Clock::Runtime => {
                let _context = self.handle().enter();
                ::tokio::time::Instant::now().into_std()
            }
        }
    }

    fn sleep_until(&self, at: Instant) -> Sleep {
        Sleep(match self.inner.clock {
            Clock::Thread => Timer::Thread(parts::Sleep::until(at)),
            Clock::Runtime => {
                let _context = self.handle().enter();
                Timer::Runtime(Box::pin(::tokio::time::sleep_until(at.into())))
            }
        })
    }

    fn yield_now(&self, cx: &mut Context<'_>) {
        self.inner.yielding.yield_now(self.handle(), cx);
    }

    fn bind(&self, address: &Address, options: &ListenOptions) -> io::Result<Listener> {
        Listener::bind(self.handle(), address, options)
    }

    fn adopt(&self, socket: Socket, options: &ListenOptions) -> io::Result<Listener> {
        Listener::adopt(self.handle(), socket, options)
    }

    fn signals(&self, signals: &[Signal]) -> io::Result<Signals> {
        Signals::catch(signals)
    }
}

/// A timer; see [`Runtime::sleep_until`].
#[derive(Debug)]
pub struct Sleep(Timer);

#[derive(Debug)]
enum Timer {
    Thread(parts::Sleep),
    Runtime(Pin<Box<::tokio::time::Sleep>>),
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.0 {
            Timer::Thread(sleep) => Pin::new(sleep).poll(cx),
            Timer::Runtime(sleep) => sleep.as_mut().poll(cx),
        }
    }
}
