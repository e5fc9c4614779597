//! What clients send.

use std::net::SocketAddr;

use crate::setup::Protocol;

/// The server as its clients know it.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    pub(crate) protocol: Protocol,
    pub(crate) path: String,
    pub(crate) large_path: Option<String>,
    /// The server takes POST, too.
    pub(crate) posts: bool,
}

/// Bytes to send, and what is to come back.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) label: String,
    pub(crate) bytes: Vec<u8>,
}

impl Target {
    /// The next request of a client; never twice the same.
    pub(crate) fn request(&self, client: usize, number: u64) -> Request {
        match self.protocol {
            Protocol::Echo => echo(client, number, 64),
            Protocol::Http if self.posts && number % 2 == 1 => self.post(client, number),
            Protocol::Http => self.get(&self.path),
        }
    }

    pub(crate) fn get(&self, path: &str) -> Request {
        let text = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", self.address);
        Request {
            label: format!("GET {path}"),
            bytes: text.into_bytes(),
        }
    }

    pub(crate) fn post(&self, client: usize, number: u64) -> Request {
        let path = &self.path;
        let body = echo(client, number, 64).bytes;
        let mut bytes = format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: text/plain\r\n\
             Content-Length: {}\r\n\r\n",
            self.address,
            body.len()
        )
        .into_bytes();
        bytes.extend_from_slice(&body);
        Request {
            label: format!("POST {path}"),
            bytes,
        }
    }
}

/// A message that no other client sends.
pub(crate) fn echo(client: usize, number: u64, length: usize) -> Request {
    let mut bytes = format!("client {client} message {number} ").into_bytes();
    bytes.resize(length.max(bytes.len() + 1), b'.');
    if let Some(last) = bytes.last_mut() {
        *last = b'\n';
    }
    Request {
        label: format!("message {number}"),
        bytes,
    }
}

/// The byte at a place of an endless stream, so that a gap or a repetition shows.
pub(crate) fn pattern(offset: u64) -> u8 {
    // 251 is prime: no power of two repeats it.
    (offset % 251) as u8
}
