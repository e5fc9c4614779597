//! Checks of an adapter against the contracts of [`rt`](super): for a runtime of
//! your own.
//!
//! An adapter that answers from memory, or whose time stands still while a
//! handler holds a thread, looks right in every test that is not made for it,
//! and loses what had arrived once in a thousand stops. These checks are made
//! for it: each brings about the moment in which a wrong answer shows.
//!
//! ```
//! use lameduck::rt::conformance;
//! use lameduck::runtimes::smol::Smol;
//!
//! if let Err(failures) = conformance::check(Smol) {
//!     panic!("{failures}");
//! }
//! ```
//!
//! They use loopback, a Unix socket in the folder for temporary files, and the
//! signal SIGQUIT, which an adapter that does not catch it dies of. They take
//! some seconds, and block the calling thread, which must not be one of the
//! runtime's.

mod connection;
mod listener;
mod runtime;
mod server;
mod waking;

use std::error::Error;
use std::fmt;
use std::future::{Future, poll_fn};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use futures_io::AsyncWrite;
use log::{debug, info};

use super::{Connection, ConnectionOf, Listener, Runtime};
use crate::address::Address;
use crate::options::ListenOptions;
use crate::sync::plain::{Arc, mpsc};

/// Longer than any check takes; a check that is over it hangs.
const LONG: Duration = Duration::from_secs(20);

/// The reason of a failure.
type Checked = Result<(), String>;

/// A claim, and the function that puts it to the test.
type Check<R> = (&'static str, fn(&R) -> Checked);

/// Runs all checks on a runtime.
///
/// # Errors
/// [`Failures`], with every claim that does not hold.
pub fn check<R: Runtime>(runtime: R) -> Result<(), Failures> {
    check_matching(runtime, "")
}

/// Runs those checks on a runtime whose claim contains `part`.
///
/// Each is logged as it begins, at the level of information, and with its time as it ends,
/// for debugging.
///
/// ```
/// use lameduck::rt::conformance;
/// use lameduck::runtimes::smol::Smol;
///
/// conformance::check_matching(Smol, "a timer is never early")?;
/// # Ok::<(), conformance::Failures>(())
/// ```
///
/// # Errors
/// [`Failures`], with every claim that does not hold, or the one that no claim contains
/// `part`.
pub fn check_matching<R: Runtime>(runtime: R, part: &str) -> Result<(), Failures> {
    // The runtime first: nothing works without its tasks.
    let checks = runtime::checks::<R>()
        .into_iter()
        .chain(connection::checks())
        .chain(waking::checks())
        .chain(listener::checks())
        .chain(server::checks());
    let (mut failures, mut count) = (Vec::new(), 0);
    for (claim, check) in checks.filter(|(claim, _)| claim.contains(part)) {
        count += 1;
        info!("checking: {claim}");
        let begun = Instant::now();
        let checked = run(&runtime, check);
        debug!("{claim}: {checked:?} after {:?}", begun.elapsed());
        failures.extend(checked.err().map(|why| Failure { claim, why }));
    }
    if count == 0 {
        let claim = "a check is chosen by a part of its claim";
        let why = format!("no claim contains `{part}`");
        failures.push(Failure { claim, why });
    }
    if failures.is_empty() {
        Ok(())
    } else {
        Err(Failures { failures })
    }
}

/// Runs one check in a thread, so that one that hangs is a failure as well.
fn run<R: Runtime>(runtime: &R, check: fn(&R) -> Checked) -> Checked {
    let runtime = runtime.clone();
    let (done, is_done) = mpsc::channel();
    thread::spawn(move || {
        let checked = catch_unwind(AssertUnwindSafe(|| check(&runtime)));
        let _ = done.send(checked.unwrap_or_else(|_| Err("it panicked".into())));
    });
    let checked = is_done.recv_timeout(LONG * 2);
    checked.unwrap_or_else(|_| Err("it hangs".into()))
}

/// The claims of the contracts that do not hold for an adapter.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Failures {
    /// Each of them, at least one.
    pub failures: Vec<Failure>,
}

/// A claim that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Failure {
    /// The claim.
    pub claim: &'static str,
    /// What was seen instead.
    pub why: String,
}

impl fmt::Display for Failures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} contracts are broken:", self.failures.len())?;
        for Failure { claim, why } in &self.failures {
            write!(f, "\n- {claim}: {why}")?;
        }
        Ok(())
    }
}

/// The text of the error: a `main` that returns it prints this.
impl fmt::Debug for Failures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Error for Failures {}

/// Fails with a reason, unless something holds.
fn ensure(holds: bool, why: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { Err(why()) }
}

/// Says what was being done when an error came.
fn during<T, E: fmt::Display>(what: &str, result: Result<T, E>) -> Result<T, String> {
    result.map_err(|error| format!("{what}: {error}"))
}

/// Runs a future as a task of the runtime.
fn in_task<R, T>(
    runtime: &R,
    work: impl Future<Output = Result<T, String>> + Send + 'static,
) -> Result<T, String>
where
    R: Runtime,
    T: Send + 'static,
{
    let (done, is_done) = mpsc::channel();
    runtime.spawn(async move {
        let _ = done.send(work.await);
    });
    is_done.recv_timeout(LONG).unwrap_or_else(|why| match why {
        mpsc::RecvTimeoutError::Timeout => {
            Err(format!("nobody has woken the task in {LONG:?}"))
        }
        mpsc::RecvTimeoutError::Disconnected => {
            Err("the task was dropped before its end, or has panicked".into())
        }
    })
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Polls a future in this thread, outside of the runtime; `None` when it takes
/// too long.
fn block_on<F: Future>(future: F, patience: Duration) -> Option<F::Output> {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut cx = Context::from_waker(&waker);
    let mut future = pin!(future);
    let begun = Instant::now();
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return Some(output);
        }
        thread::park_timeout(patience.checked_sub(begun.elapsed())?);
    }
}

/// Binds to a port of the loopback interface.
fn bind<R: Runtime>(runtime: &R) -> Result<(R::Listener, SocketAddr), String> {
    let any = Address::from(([127, 0, 0, 1], 0));
    let listener = during("bind", runtime.bind(&any, &ListenOptions::new()))?;
    match listener.local_addr() {
        Address::Tcp(address) if address.port() != 0 => {
            let address = *address;
            Ok((listener, address))
        }
        other => Err(format!("bound to {any}, the listener says {other}")),
    }
}

fn connect(address: SocketAddr) -> Result<TcpStream, String> {
    let client = during("connect", TcpStream::connect(address))?;
    during("timeout", client.set_read_timeout(Some(LONG)))?;
    during("timeout", client.set_write_timeout(Some(LONG)))?;
    Ok(client)
}

/// Accepts in a task of the runtime.
async fn accept<L: Listener>(listener: &mut L) -> Result<L::Connection, String> {
    let accepted = poll_fn(|cx| listener.poll_accept(cx)).await;
    during("accept", accepted).map(|(connection, _)| connection)
}

/// Gives a pair of connected sockets: ours is accepted by the runtime.
fn pair<R: Runtime>(runtime: &R) -> Result<(ConnectionOf<R>, TcpStream), String> {
    let (mut listener, address) = bind(runtime)?;
    let client = connect(address)?;
    let connection = in_task(runtime, async move { accept(&mut listener).await })?;
    Ok((connection, client))
}

fn send(mut client: &TcpStream, bytes: &[u8]) -> Checked {
    during("the client's write", client.write_all(bytes))
}

/// Reads until the orderly end.
fn rest(mut client: &TcpStream) -> Result<Vec<u8>, String> {
    let mut rest = Vec::new();
    during("the client's read", client.read_to_end(&mut rest))?;
    Ok(rest)
}

/// Reads so many bytes in a task of the runtime.
async fn read_exact(connection: &mut impl Connection, mut left: usize) -> Checked {
    let mut buffer = [0; 4096];
    while left > 0 {
        let part = left.min(buffer.len());
        let read = poll_fn(|cx| Pin::new(&mut *connection).poll_read(cx, &mut buffer[..part]));
        match during("poll_read", read.await)? {
            0 => return Err(format!("the end, and {left} bytes are missing")),
            n => left -= n,
        }
    }
    Ok(())
}

/// Writes all bytes, and flushes.
async fn write_all(connection: &mut (impl AsyncWrite + Unpin), mut bytes: &[u8]) -> Checked {
    while !bytes.is_empty() {
        let written = poll_fn(|cx| Pin::new(&mut *connection).poll_write(cx, bytes)).await;
        bytes = &bytes[during("poll_write", written)?..];
    }
    let flushed = poll_fn(|cx| Pin::new(&mut *connection).poll_flush(cx));
    during("poll_flush", flushed.await)
}
