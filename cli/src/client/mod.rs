//! Clients that note what they sent, and when, and what came back.

pub(crate) mod codec;
mod connection;
pub(crate) mod journal;
pub(crate) mod owed;
mod stream;
pub(crate) mod target;
pub(crate) mod tls;

pub(crate) use codec::Response;
pub(crate) use connection::{Connection, Disconnected};
pub(crate) use journal::{ClientJournal, ConnectionJournal, End, Journal};
pub(crate) use target::{Request, Target};
