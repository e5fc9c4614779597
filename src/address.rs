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
/// let without_a_file: Address = "unix:@echo".parse()?;
/// assert_eq!(tcp.to_string(), "[::1]:48879");
/// assert_eq!(unix.to_string(), "unix:/run/echo.sock");
/// assert_eq!(without_a_file, Address::Abstract(b"echo".to_vec()));
/// # Ok::<(), lameduck::AddressError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Address {
    /// TCP over IPv4 or IPv6. A listener on `[::]` takes the connections of
    /// IPv4 as well, whose peers have addresses such as `[::ffff:192.0.2.1]`,
    /// unless the system is set otherwise or
    /// [`v6only`](crate::ListenOptions::v6only) says so.
    Tcp(SocketAddr),
    /// A Unix socket; most peers have no path.
    Unix(Option<PathBuf>),
    /// A Unix socket with a name that is no path: Linux's abstract namespace
    /// (unix(7)). In a text the name stands behind an `@`; a path that begins
    /// with one is written as `unix:./@name`.
    Abstract(Vec<u8>),
}

impl Address {
    /// Returns whether a listener here takes the connections to another address
    /// as well: one on all addresses of a family, or of both.
    pub(crate) fn covers(&self, only_v6: bool, other: &Address) -> bool {
        let (Address::Tcp(own), Address::Tcp(other)) = (self, other) else {
            return false;
        };
        own.ip().is_unspecified()
            && own.port() == other.port()
            && (own.is_ipv4() == other.is_ipv4() || own.is_ipv6() && !only_v6)
    }
}

/// The address of a peer, as each connection keeps it: an [`Address`] of IPv4 in half of
/// its room.
#[derive(Debug)]
pub(crate) enum PeerAddress {
    V4(SocketAddrV4),
    /// IPv4 at a listener of IPv6.
    Mapped(SocketAddrV4),
    Other(Box<Address>),
}

impl From<Address> for PeerAddress {
    fn from(address: Address) -> PeerAddress {
        match &address {
            Address::Tcp(SocketAddr::V4(v4)) => return PeerAddress::V4(*v4),
            Address::Tcp(SocketAddr::V6(v6)) if v6.flowinfo() == 0 && v6.scope_id() == 0 => {
                if let Some(ip) = v6.ip().to_ipv4_mapped() {
                    return PeerAddress::Mapped(SocketAddrV4::new(ip, v6.port()));
                }
            }
            _ => {}
        }
        PeerAddress::Other(Box::new(address))
    }
}

impl From<&PeerAddress> for Address {
    fn from(peer: &PeerAddress) -> Address {
        match peer {
            PeerAddress::V4(v4) => (*v4).into(),
            PeerAddress::Mapped(v4) => (v4.ip().to_ipv6_mapped(), v4.port()).into(),
            PeerAddress::Other(address) => (**address).clone(),
        }
    }
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
        #[cfg(any(target_os = "linux", target_os = "android"))]
        {
            #[cfg(target_os = "android")]
            use std::os::android::net::SocketAddrExt;
            #[cfg(target_os = "linux")]
            use std::os::linux::net::SocketAddrExt;
            if let Some(name) = address.as_abstract_name() {
                return Address::Abstract(name.to_vec());
            }
        }
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
            Address::Abstract(name) => {
                // As ss(8) shows them: a name may hold any bytes.
                write!(f, "unix:@")?;
                name.utf8_chunks().try_for_each(|chunk| {
                    f.write_str(chunk.valid())?;
                    let mut bytes = chunk.invalid().iter();
                    bytes.try_for_each(|byte| write!(f, "\\x{byte:02x}"))
                })
            }
        }
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Address, AddressError> {
        match text.strip_prefix("unix:") {
            Some("" | "@") => Err(AddressError(text.to_owned())),
            Some(path) if path.starts_with('@') => {
                Ok(Address::Abstract(path.as_bytes()[1..].to_vec()))
            }
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
#[derive(Clone, PartialEq, Eq)]
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
            "`{}` is no address: write IP:PORT, [IPV6]:PORT, unix:PATH or unix:@NAME",
            self.0
        )
    }
}

/// The text of the error: a `main` that returns it prints this.
impl fmt::Debug for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
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
            "unix:@a name",
            "unix:./@path",
        ] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn f63_an_address_for_all_covers_those_of_its_families() {
        let address = |text: &str| text.parse::<Address>().unwrap();
        for (listener, only_v6, other, covers) in [
            ("0.0.0.0:80", false, "127.0.0.1:80", true),
            ("0.0.0.0:80", false, "127.0.0.1:81", false),
            ("0.0.0.0:80", false, "[::1]:80", false),
            ("127.0.0.1:80", false, "0.0.0.0:80", false),
            ("[::]:80", false, "0.0.0.0:80", true),
            ("[::]:80", false, "127.0.0.1:80", true),
            ("[::]:80", true, "127.0.0.1:80", false),
            ("[::]:80", true, "[::1]:80", true),
            ("[::]:80", false, "unix:/80", false),
        ] {
            let found = address(listener).covers(only_v6, &address(other));
            assert_eq!(found, covers, "{listener} {other}");
        }
    }

    #[test]
    fn a_peer_keeps_its_address_in_little_room() {
        assert_eq!(size_of::<PeerAddress>(), 16);
        let scoped = SocketAddrV6::new("fe80::1".parse().unwrap(), 80, 0, 3);
        let flow = SocketAddrV6::new("::ffff:192.0.2.1".parse().unwrap(), 80, 7, 0);
        let mut addresses = vec![Address::from(scoped), Address::from(flow)];
        for text in [
            "192.0.2.1:65535",
            "[::ffff:192.0.2.1]:80",
            "[::192.0.2.1]:80",
            "[2001:db8::1]:1",
            "unix:/tmp/a",
            "unix:@a",
        ] {
            addresses.push(text.parse().unwrap());
        }
        for address in addresses {
            assert_eq!(Address::from(&PeerAddress::from(address.clone())), address);
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
            "unix:@",
            "::1:80x",
        ] {
            let error = text.parse::<Address>().unwrap_err().to_string();
            assert!(error.contains(&format!("`{text}`")), "{error}");
        }
    }
}
