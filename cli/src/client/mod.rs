//! Clients that keep account of what they sent, and when, and what came back.

mod connection;
pub(crate) mod http;
pub(crate) mod request;
pub(crate) mod timeline;

pub(crate) use connection::{Connection, Gone};
pub(crate) use request::{Request, Target};
pub(crate) use timeline::{Account, End, Record, Timeline};
