//! Why a server could not be bound.

use std::fmt;
use std::io;

use crate::address::Address;
use crate::machine::ConfigError;

/// Why a server could not be bound. Its text is one line that says what to do.
#[derive(Debug)]
#[non_exhaustive]
pub enum BindError {
    /// The parts of the budget exceed it.
    Config(ConfigError),
    /// There is no address to listen on.
    NoAddress,
    /// The connection limit is 0.
    NoRoom,
    /// The signals cannot be caught.
    Signals(io::Error),
    /// A socket that was passed on is of no use.
    Adopt(io::Error),
    /// An address cannot be listened on.
    Listen(Address, io::Error),
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BindError::Config(error) => error.fmt(f),
            BindError::NoAddress => f.write_str("no address to listen on: give at least one"),
            BindError::NoRoom => {
                f.write_str("a connection limit of 0 lets nobody in: give at least 1")
            }
            BindError::Signals(error) => write!(f, "cannot catch the signals: {error}"),
            BindError::Adopt(error) => {
                write!(f, "cannot use a socket that was passed on: {error}")
            }
            BindError::Listen(address, error) => {
                write!(f, "cannot listen on {address}: {error}")?;
                match advice(address, error.kind()) {
                    Some(advice) => write!(f, "; {advice}"),
                    None => Ok(()),
                }
            }
        }
    }
}

fn advice(address: &Address, kind: io::ErrorKind) -> Option<&'static str> {
    match (address, kind) {
        (Address::Inet(_), io::ErrorKind::AddrInUse) => {
            Some("another process has this port: stop that one, or choose another port")
        }
        (Address::Inet(_), io::ErrorKind::PermissionDenied) => {
            Some("choose a port from 1024 on, or give the process CAP_NET_BIND_SERVICE")
        }
        (Address::Inet(_), io::ErrorKind::AddrNotAvailable) => {
            Some("no interface of this machine has this address: choose another one")
        }
        (Address::Unix(_), io::ErrorKind::AddrInUse | io::ErrorKind::AlreadyExists) => {
            Some("the path exists: stop the server that has it, or remove it")
        }
        (Address::Unix(_), io::ErrorKind::PermissionDenied) => {
            Some("choose a directory that this user may write to")
        }
        (Address::Unix(_), io::ErrorKind::NotFound) => Some("make its directory first"),
        _ => None,
    }
}

impl std::error::Error for BindError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            BindError::Config(error) => Some(error),
            BindError::NoAddress | BindError::NoRoom => None,
            BindError::Signals(error)
            | BindError::Adopt(error)
            | BindError::Listen(_, error) => Some(error),
        }
    }
}
