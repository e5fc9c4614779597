//! Stop a server without losing a byte.
//!
//! # The promise
//! When a server that runs on lameduck is asked to stop:
//!
//! 1. **Nobody is turned away who was already in.** Connections that wait in
//!    the accept queue are accepted and served.
//! 2. **Nothing that had arrived is left unread, and nothing read is left
//!    unanswered.** Readable bytes win over the stop.
//! 3. **No orderly close looks like a crash.** A peer sees its last byte, then
//!    the end, and no reset.
//! 4. **It ends at once when it can, and in time when it cannot**: on the
//!    event that empties the server, and within one budget whatever happens.
//! 5. **It says what happened**, in one [`Report`], from which the exit status
//!    follows.
//! 6. **It is the same on every runtime.**
//!
//! # What it costs
//! One word is shared by all connections: a compare-and-swap when one comes
//! and another when it goes. A read that waits looks at that word and writes
//! nothing. In exchange a handler has one rule to keep: where it may be
//! stopped, it waits in [`Session::read_or_drain`], and nowhere else.
//!
//! # Three levels
//! **The gate.** With an accept loop of your own, take [`Shutdown`] and
//! [`Guard`] alone: ask, observe, wait, and count the living. See [`gate`],
//! and `examples/own_loop.rs`. It needs no runtime and no feature.
//!
//! **The server.** [`Server`] accepts, sweeps, drains, lingers, forces and
//! reports; you write what to do with one [`Session`]:
//!
#![cfg_attr(feature = "smol", doc = "```no_run")]
#![cfg_attr(not(feature = "smol"), doc = "```ignore")]
//! use futures::io::AsyncWriteExt;
//! use lameduck::{Address, Server, runtimes::smol::Smol};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let server = Server::builder(Smol)
//!     .listen("127.0.0.1:48879".parse::<Address>()?)
//!     .bind()?;
//! let report = smol::block_on(server.serve(|mut session| async move {
//!     let mut buffer = [0; 4096];
//!     while let Some(n) = session.read_or_drain(&mut buffer).await? {
//!         session.write_all(&buffer[..n]).await?;
//!     }
//!     Ok(())
//! }));
//! println!("{report}");
//! # Ok(()) }
//! ```
//!
//! How a stop goes on, stage by stage, is planned by the [`machine`]: a value
//! with no I/O and no clock, whose table and diagram stand there.
//!
//! **The adapter.** For another runtime, implement the [`traits`]: a listener,
//! a connection, a source of signals, and how to spawn and to sleep. The two
//! that exist, in [`runtimes`], are the models to follow.
//!
//! # Features
//! | feature | default | what it adds |
//! | --- | --- | --- |
//! | `smol` | yes | the adapter for smol |
//! | `async-std` | no | the adapter for async-std, which is discontinued upstream (RUSTSEC-2025-0052): prefer smol for something new |
//! | `handover` | no | sockets from a supervisor, and restart without a gap: the module `handover` |
//! | `sim` | no | a simulated machine, to test how a service stops: the module `runtimes::sim` |
//! | `loom` | no | nothing for a dependent: the crate's own tests are model-checked |
//!
//! Features add up; none changes what another does. Without any, the machine,
//! the gate, the traits and the server are there, for an adapter of your own.
//!
//! # Platforms
//! Unix; tested on Linux.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod address;
mod cause;
mod connection;
pub mod gate;
#[cfg(feature = "handover")]
#[cfg_attr(docsrs, doc(cfg(feature = "handover")))]
pub mod handover;
pub mod machine;
pub mod report;
#[path = "../runtimes/mod.rs"]
pub mod runtimes;
pub mod server;
mod sync;
pub mod traits;

pub use address::{Address, AddressError};
pub use cause::{Cause, Signal};
pub use connection::{Session, SessionRead};
pub use gate::{Guard, Phase, Reached, ReadOrDrain, Refused, Shutdown};
pub use report::Report;
pub use server::{BindError, Builder, Linger, Serve, Server};
pub use traits::{Connection, Listener, Runtime, SignalSource};

/// The README's code is a test.
#[cfg(all(doctest, feature = "smol"))]
#[doc = include_str!("../README.md")]
struct Readme;
