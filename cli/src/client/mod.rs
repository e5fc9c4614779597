//! Clients that keep account of what they sent, and when, and what came back.

mod connection;
pub(crate) mod http;
pub(crate) mod journal;
pub(crate) mod request;

pub(crate) use connection::{Connection, Disconnected};
pub(crate) use journal::{ClientJournal, ConnectionJournal, End, Journal};
pub(crate) use request::{Request, Target};
