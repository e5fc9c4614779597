//! TLS without loss, through [rustls](https://docs.rs/rustls).
//!
//! [`Tls`] wraps a runtime: what its listeners accept speaks TLS, and everything
//! above stays as it is.
//!
//! ```no_run
//! use futures::io::AsyncWriteExt;
//! use lameduck::tls::{Tls, TlsConfig};
//! use lameduck::{Connection, Server, Session, runtimes::smol::Smol};
//! use std::io;
//!
//! async fn echo(mut session: Session<impl Connection>) -> io::Result<()> {
//!     let mut buffer = [0; 4096];
//!     while let Some(n) = session.read_or_drain(&mut buffer).await? {
//!         session.write_all(&buffer[..n]).await?;
//!     }
//!     Ok(())
//! }
//!
//! let config = TlsConfig::from_pem_files("server.crt", "server.key")?;
//! let server = Server::builder(Tls::new(Smol, config))
//!     .listen("127.0.0.1:4433")
//!     .listen_plain("127.0.0.1:7777")
//!     .bind()?;
//! let report = smol::block_on(server.serve(echo));
//! # drop(report);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What is kept at a stop
//! - The handshake runs in the connection's own task, with the first read or write. A
//!   client that has said nothing is idle, and ended at once: at an idle point of its
//!   handler, and where that writes first, such as a greeting, which then fails. It
//!   counts as drained, or as closed by the peer, and not as failed. A handshake that
//!   has begun is finished, and the first request is awaited for one more round
//!   trip: the client has waited for this server that long already.
//! - Half of a record is half of a message: its rest is awaited. rustls does not
//!   say that it holds one, so the heads of records are followed below it.
//! - The close is close_notify, then the end of the stream, and then the peer's
//!   input is discarded as it is, so that no reset destroys what was sent.
//! - After an abort, an error or a panic there is no close_notify: a response
//!   that was cut off must not look whole (RFC 8446, 6.1).
//! - A peer that ends without close_notify, as nearly all clients do, has ended,
//!   if that is where the connection is idle: the reads that end in `_or_drain` give
//!   `None`. What reads in [`SessionHandle::next_or_drain`](crate::SessionHandle::next_or_drain)
//!   gets `UnexpectedEof`; a handler that returns it has not failed, if it was idle
//!   there. In the middle of a message it is an error.

mod config;
mod connection;
mod info;
mod records;
mod runtime;

pub use self::config::{TlsConfig, TlsConfigError};
pub use self::connection::TlsConnection;
pub use self::info::TlsInfo;
pub use self::runtime::{Tls, TlsListener};
