//! The errors of binding a server.

use std::fmt;
use std::io;

use crate::address::{Address, AddressError};
use crate::machine::lifecycle::ConfigError;

/// The error of a server that could not be bound. Its text is one line that
/// says what to do.
#[non_exhaustive]
pub enum BindError {
    /// The parts of the budget do not fit into it.
    Config(ConfigError),
    /// A text is no address.
    Address(AddressError),
    /// There is no address to listen on. A program without sockets, such as a worker of a
    /// queue, needs no server: see the example of [`Shutdown`](crate::Shutdown).
    NoAddress,
    /// The connection limit is 0.
    ZeroConnectionLimit,
    /// The signals cannot be caught.
    Signals(io::Error),
    /// The thread of the hard deadline cannot be started.
    HardDeadline(io::Error),
    /// A socket that was passed on is of no use.
    Adopt(io::Error),
    /// An address cannot be listened on.
    Listen(Address, io::Error),
    /// An option does not fit the address, or contradicts another one.
    Options(Address, String),
    /// An address is in use by a socket that is known.
    InUse {
        /// The address.
        address: Address,
        /// The error of the system.
        error: io::Error,
        /// Who has it, and what to do.
        hint: String,
    },
    /// No listening socket of this name was passed on.
    NotPassed {
        /// The name.
        name: String,
        /// What was passed on.
        passed: String,
    },
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BindError::Config(error) => error.fmt(f),
            BindError::Address(error) => error.fmt(f),
            BindError::NoAddress => f.write_str(
                "no address to listen on: give at least one, or use a Shutdown without a server",
            ),
            BindError::ZeroConnectionLimit => {
                f.write_str("a connection limit of 0 lets nobody in: give at least 1")
            }
            BindError::Signals(error) => write!(f, "cannot catch the signals: {error}"),
            BindError::HardDeadline(error) => {
                write!(f, "cannot start the thread of the hard deadline: {error}")
            }
            BindError::Adopt(error) => {
                write!(f, "cannot use what was passed on: {error}")
            }
            BindError::Options(address, misfit) => {
                write!(f, "cannot listen on {address}: {misfit}")
            }
            BindError::InUse {
                address,
                error,
                hint,
            } => write!(f, "cannot listen on {address}: {error}; {hint}"),
            BindError::NotPassed { name, passed } => write!(
                f,
                "no listening socket was passed on as `{name}` (LISTEN_FDNAMES): passed on were \
                 {passed}"
            ),
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
        (Address::Tcp(_), io::ErrorKind::AddrInUse) => {
            Some("another process has this port: stop that one, or choose another port")
        }
        (Address::Tcp(_), io::ErrorKind::PermissionDenied) => {
            Some("choose a port from 1024 on, or give the process CAP_NET_BIND_SERVICE")
        }
        (Address::Tcp(_), io::ErrorKind::AddrNotAvailable) => {
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

/// The text of the error: a `main` that returns it prints this.
impl fmt::Debug for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

// The text of an error contains that of its cause, so that one line says all.
// Therefore it has no source: a chain of causes would say everything twice.
impl std::error::Error for BindError {}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    #[test]
    fn the_error_names_the_address_and_says_what_helps() {
        use io::ErrorKind::*;
        let inet = Address::Tcp(([127, 0, 0, 1], 80).into());
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
    fn a_main_that_returns_an_error_prints_its_text() {
        fn check(error: impl std::error::Error) {
            assert_eq!(format!("{error:?}"), error.to_string());
            assert!(error.to_string().contains(' '), "{error}");
        }
        check(BindError::NoAddress);
        check("localhost:80".parse::<Address>().unwrap_err());
        let config = crate::machine::lifecycle::Config {
            grace_period: std::time::Duration::ZERO,
            ..Default::default()
        };
        check(config.check().unwrap_err());
        check(crate::GuardError::Full);
        #[cfg(feature = "tls")]
        check(crate::tls::TlsConfig::from_pem_files("no.crt", "no.key").unwrap_err());
        #[cfg(feature = "tokio")]
        check(crate::runtimes::tokio::Tokio::current().unwrap_err());
        #[cfg(feature = "conformance")]
        check(crate::rt::conformance::Failures {
            failures: Vec::new(),
        });
        #[cfg(feature = "sim")]
        check(crate::sim::verify::Violation {
            clause: "S1",
            what: "it goes back".to_owned(),
        });
    }

    #[test]
    fn a_chain_of_causes_says_nothing_twice() {
        let system = || io::Error::other("so it is");
        for error in [
            BindError::Signals(system()),
            BindError::Adopt(system()),
            BindError::Listen(Address::Unix(None), system()),
        ] {
            assert!(error.to_string().contains("so it is"), "{error}");
            assert!(error.source().is_none(), "{error}");
        }
    }
}
