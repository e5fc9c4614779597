//! The addresses of listeners and of peers.

use std::convert::Infallible;
use std::fmt;
use std::net::{IpAddr, SocketAddr, SocketAddrV4, SocketAddrV6};
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
#[non_exhaustive]
pub enum Address {
    /// TCP over IPv4 or IPv6.
    Tcp(SocketAddr),
    /// A Unix socket; most peers have no path.
    Unix(Option<PathBuf>),
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Address {
        Address::Tcp(address)
    }
}

impl From<SocketAddrV4> for Address {
    fn from(address: SocketAddrV4) -> Address {
        Address::Tcp(address.into())
    }
}

impl From<SocketAddrV6> for Address {
    fn from(address: SocketAddrV6) -> Address {
        Address::Tcp(address.into())
    }
}

impl<I: Into<IpAddr>> From<(I, u16)> for Address {
    fn from(address: (I, u16)) -> Address {
        Address::Tcp(address.into())
    }
}

impl From<PathBuf> for Address {
    fn from(path: PathBuf) -> Address {
        Address::Unix(Some(path))
    }
}

impl From<&Path> for Address {
    fn from(path: &Path) -> Address {
        Address::Unix(Some(path.to_owned()))
    }
}

impl From<&UnixAddr> for Address {
    fn from(address: &UnixAddr) -> Address {
        Address::Unix(address.as_pathname().map(Path::to_owned))
    }
}

impl TryFrom<&str> for Address {
    type Error = AddressError;

    fn try_from(text: &str) -> Result<Address, AddressError> {
        text.parse()
    }
}

impl TryFrom<String> for Address {
    type Error = AddressError;

    fn try_from(text: String) -> Result<Address, AddressError> {
        text.parse()
    }
}

impl TryFrom<&String> for Address {
    type Error = AddressError;

    fn try_from(text: &String) -> Result<Address, AddressError> {
        text.parse()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(address) => address.fmt(f),
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
                Ok(address) => Ok(Address::Tcp(address)),
                Err(_) => Err(AddressError(text.to_owned())),
            },
        }
    }
}

/// The error of a text that is no address.
///
/// ```
/// let error = "localhost:80".parse::<lameduck::Address>().unwrap_err();
/// assert!(error.to_string().contains("write IP:PORT"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressError(String);

impl From<Infallible> for AddressError {
    fn from(never: Infallible) -> AddressError {
        match never {}
    }
}

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
    fn an_address_reads_back_what_it_writes() {
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
    fn the_error_quotes_the_text() {
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
