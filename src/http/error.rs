//! The errors of an HTTP connection.

use std::error;
use std::fmt;
use std::io;

use log::debug;

use crate::gate::GuardError;
use crate::server::BoxError;

/// The error of an HTTP connection.
///
/// What the peer did wrong is none: it was answered as far as HTTP has an
/// answer, and is logged for debugging.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The transport failed.
    Io(io::Error),
    /// hyper has given up the connection; its source says why.
    Hyper(hyper::Error),
    /// What ran after an upgrade failed.
    Upgraded(BoxError),
    /// The server was stopped.
    Guard(GuardError),
}

impl Error {
    pub(super) fn io(error: io::Error) -> Error {
        Error::Io(error)
    }

    pub(super) fn upgraded(error: BoxError) -> Error {
        Error::Upgraded(error)
    }

    pub(super) fn guard(error: GuardError) -> Error {
        Error::Guard(error)
    }

    /// Judges the end of a connection of hyper.
    pub(super) fn of_hyper(result: hyper::Result<()>, id: u64) -> Result<(), Error> {
        match result {
            Ok(()) => Ok(()),
            Err(error) if error.is_parse() || error.is_incomplete_message() => {
                debug!("#{id}: {error}");
                Ok(())
            }
            Err(error) => Err(Error::Hyper(error)),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Error::Io(_) => "the connection failed",
            Error::Hyper(_) => "HTTP failed",
            Error::Upgraded(_) => "the upgraded connection failed",
            Error::Guard(_) => "no stream can be served any more",
        })
    }
}

impl error::Error for Error {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        Some(match self {
            Error::Io(error) => error,
            Error::Hyper(error) => error,
            Error::Upgraded(error) => &**error,
            Error::Guard(error) => error,
        })
    }
}
