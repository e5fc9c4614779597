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

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    #[test]
    fn what_cannot_be_listened_on_is_named_with_what_helps() {
        use io::ErrorKind::*;
        let inet = Address::Inet(([127, 0, 0, 1], 80).into());
        let unix = Address::Unix(Some("/run/echo.sock".into()));
        for (address, kind, helps) in [
            (&inet, AddrInUse, "another port"),
            (&inet, PermissionDenied, "CAP_NET_BIND_SERVICE"),
            (&inet, AddrNotAvailable, "another one"),
            (&unix, AddrInUse, "remove it"),
            (&unix, AlreadyExists, "remove it"),
            (&unix, PermissionDenied, "write to"),
            (&unix, NotFound, "make its directory"),
        ] {
            let text = BindError::Listen(address.clone(), kind.into()).to_string();
            assert!(
                text.starts_with(&format!("cannot listen on {address}: ")),
                "{text}"
            );
            assert!(text.contains("; ") && text.contains(helps), "{text}");
        }
        // Nothing is known that would help.
        let text = BindError::Listen(unix, Unsupported.into()).to_string();
        assert!(!text.contains(';'), "{text}");
    }

    #[test]
    fn what_the_system_said_is_the_source() {
        let said = || io::Error::other("so it is");
        let address = Address::Unix(None);
        for error in [
            BindError::Signals(said()),
            BindError::Adopt(said()),
            BindError::Listen(address, said()),
        ] {
            let source = error.source().expect("the system said it");
            assert_eq!(source.to_string(), "so it is", "{error}");
        }
        assert!(BindError::NoAddress.source().is_none());
        assert!(BindError::NoRoom.source().is_none());
    }
}
