//! Where a server listens, and who its peers are.

use std::fmt;
use std::net::SocketAddr;
use std::os::unix::net::SocketAddr as UnixAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The address of a listener or of a peer.
///
/// ```
/// use lameduck::Address;
///
/// let tcp: Address = "[::1]:48879".parse()?;
/// let unix: Address = "unix:/run/echo.sock".parse()?;
/// assert_eq!(tcp.to_string(), "[::1]:48879");
/// assert_eq!(unix.to_string(), "unix:/run/echo.sock");
/// # Ok::<(), lameduck::AddressError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// TCP over IPv4 or IPv6.
    Inet(SocketAddr),
    /// A Unix socket; peers mostly have no path.
    Unix(Option<PathBuf>),
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Address {
        Address::Inet(address)
    }
}

impl From<&UnixAddr> for Address {
    fn from(address: &UnixAddr) -> Address {
        Address::Unix(address.as_pathname().map(Path::to_owned))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Inet(address) => address.fmt(f),
            Address::Unix(Some(path)) => write!(f, "unix:{}", path.display()),
            Address::Unix(None) => f.write_str("unix:(unnamed)"),
        }
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Address, AddressError> {
        match text.strip_prefix("unix:") {
            Some("") => Err(AddressError(text.to_owned())),
            Some(path) => Ok(Address::Unix(Some(path.into()))),
            None => match text.parse() {
                Ok(address) => Ok(Address::Inet(address)),
                Err(_) => Err(AddressError(text.to_owned())),
            },
        }
    }
}

/// A text that is no address.
///
/// ```
/// let error = "localhost:80".parse::<lameduck::Address>().unwrap_err();
/// assert!(error.to_string().contains("write IP:PORT"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressError(String);

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "`{}` is no address: write IP:PORT, [IPV6]:PORT or unix:PATH",
            self.0
        )
    }
}

impl std::error::Error for AddressError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_can_be_read() {
        for text in [
            "127.0.0.1:0",
            "[::]:65535",
            "unix:/tmp/a b",
            "unix:relative",
        ] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_address_is_named() {
        for text in [
            "",
            "localhost:80",
            "127.0.0.1",
            "1.2.3.4:65536",
            "unix:",
            "::1:80x",
        ] {
            let error = text.parse::<Address>().unwrap_err().to_string();
            assert!(error.contains(&format!("`{text}`")), "{error}");
        }
    }
}
