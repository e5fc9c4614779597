//! Stops network servers without losing anything, on any async runtime.
//!
//! # The promise
//! When a server that runs on lameduck is asked to stop:
//!
//! 1. **Nobody who was already in is turned away.** Connections that wait in
//!    the accept queue are accepted, and what they have sent is served. One that has
//!    said nothing is idle: it gets an orderly end.
//! 2. **Nothing that had arrived is left unread, and nothing read is left
//!    unanswered.** Readable bytes win over the stop.
//! 3. **No orderly close looks like a crash.** A peer sees its last byte, then
//!    the end, and no reset.
//! 4. **It stops at once when it can, and in time when it cannot**: on the very
//!    event that empties the server, and within one budget.
//! 5. **It says what happened**, in one [`Report`], from which the exit status
//!    follows.
//! 6. **It does not depend on the runtime.**
//!
//! The [specification](docs::spec) has every rule with its number, and the
//! [table of faults](docs::faults) each way that shutdowns are known to fail, with
//! what keeps it out.
//!
//! # What it costs
//! All connections share one word: an addition when one comes, and a
//! subtraction when it goes. A waiting read looks at that word and writes
//! nothing. In exchange a handler keeps one rule: where it may be stopped, it
//! waits in [`Session::read_or_drain`], and nowhere else.
//!
//! # Levels
//! **The server.** [`Server`] accepts, sweeps, drains, lingers, aborts and
//! reports; you write what to do with one [`Session`]:
//!
//! ```no_run
//! use lameduck::runtimes::smol::{Connection, Smol};
//! use lameduck::{Report, Server, Session};
//! use smol::io::{self, AsyncWriteExt};
//!
//! fn main() -> Result<Report, Box<dyn std::error::Error>> {
//!     let server = Server::builder(Smol).listen("127.0.0.1:48879").bind()?;
//!     Ok(smol::block_on(server.serve(echo)))
//! }
//!
//! async fn echo(mut session: Session<Connection>) -> io::Result<()> {
//!     let mut buffer = [0; 4096];
//!     // The one place where the stop may end this connection.
//!     while let Some(n) = session.read_or_drain(&mut buffer).await? {
//!         session.write_all(&buffer[..n]).await?;
//!     }
//!     Ok(())
//! }
//! ```
//!
//! **The gate and the values.** With an accept loop of your own, take
//! [`Shutdown`] and [`Guard`] to ask, observe, wait and count, and the pure
//! values of [`machine`] for the accept policy, the sweep and the lingering
//! close. See [`gate`], and `examples/own_loop.rs`. They need no runtime and no
//! feature.
//!
//! **The adapter.** For another runtime, implement the traits of [`rt`]: a
//! listener, a connection, a source of signals, and how to spawn and to sleep.
//! The adapters in [`runtimes`] are the models to follow, `runtimes::parts` has
//! what they share, and `rt::conformance` checks yours.
//!
//! # Features
//! | feature | default | what it adds |
//! | --- | --- | --- |
//! | `smol` | yes | the adapter for smol |
//! | `async-std` | no | the adapter for async-std, which is discontinued upstream (RUSTSEC-2025-0052): prefer smol for something new |
//! | `tokio` | no | the adapter for tokio, and tokio's I/O traits on a [`Session`] |
//! | `parts` | with an adapter | what adapters share, for one of your own: the module `runtimes::parts` |
//! | `conformance` | no | checks for an adapter of your own: the module `rt::conformance` |
//! | `handover` | no | sockets from a supervisor, and restart without a gap: the module `handover` |
//! | `http` | no | HTTP/1.1 and HTTP/2 through hyper: the module `http` |
//! | `tls` | no | TLS through rustls: the module `tls`; `tls-ring` and `tls-aws-lc-rs` bring a provider along |
//! | `sim` | no | a simulated world, to test how a service stops: the module `sim` |
//! | `loom` | no | nothing for a dependent: the crate's own tests are model-checked |
//!
//! Features are additive; none changes what another does. Without any, the
//! values, the gate, the traits and the server are there, for an adapter of your
//! own.
//!
//! # Platforms
//! Unix; tested on Linux.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod address;
mod cause;
mod connection;
pub mod docs;
mod frames;
pub mod gate;
#[cfg(feature = "handover")]
#[cfg_attr(docsrs, doc(cfg(feature = "handover")))]
pub mod handover;
#[cfg(feature = "http")]
#[cfg_attr(docsrs, doc(cfg(feature = "http")))]
pub mod http;
mod idle;
pub mod machine;
mod nanos;
mod options;
mod phase;
pub mod report;
pub mod rt;
// The adapters stand beside `src/` and not in it, so that they are seen at the
// top level of the repository: what supports a runtime is one folder.
#[path = "../runtimes/mod.rs"]
pub mod runtimes;
pub mod server;
mod session;
mod signal;
#[cfg(feature = "sim")]
#[cfg_attr(docsrs, doc(cfg(feature = "sim")))]
pub mod sim;
mod sync;
#[cfg(feature = "tls")]
#[cfg_attr(docsrs, doc(cfg(feature = "tls")))]
pub mod tls;
mod tls_records;
mod websocket;

pub use address::{Address, AddressError};
pub use cause::Cause;
pub use gate::{Guard, GuardError, PhaseReached, Shutdown};
pub use idle::{ReadOrDrain, WaitOrDrain};
pub use options::ListenOptions;
pub use phase::Phase;
pub use report::Report;
pub use rt::{Connection, Listener, Runtime, SignalSource};
pub use server::{BindError, Builder, HookContext, Readiness, Serve, Server, close};
pub use session::{BufferedSession, Session, SessionHandle, SessionRead, SessionWait};
pub use signal::Signal;

/// The README, whose code is a test.
#[cfg(all(doctest, feature = "smol"))]
#[doc = include_str!("../README.md")]
struct Readme;
