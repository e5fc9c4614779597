//! The runtimes: adapters that implement the [traits](crate::rt) and decide
//! nothing.
//!
//! Each is behind the feature of its name. They can be enabled together: the
//! one that a server runs on is chosen in code.

/// What smol and async-std share: both wait by async-io.
#[cfg(any(feature = "smol", feature = "async-std"))]
mod async_io;
#[cfg(any(feature = "smol", feature = "async-std"))]
mod listening_socket;
#[cfg(any(feature = "smol", feature = "async-std"))]
mod signals;
#[cfg(all(
    any(feature = "smol", feature = "async-std"),
    any(target_os = "linux", target_os = "android")
))]
mod sock_diag;

#[cfg(feature = "async-std")]
#[cfg_attr(docsrs, doc(cfg(feature = "async-std")))]
pub mod async_std;
#[cfg(feature = "sim")]
#[cfg_attr(docsrs, doc(cfg(feature = "sim")))]
pub mod sim;
#[cfg(feature = "smol")]
#[cfg_attr(docsrs, doc(cfg(feature = "smol")))]
pub mod smol;

#[cfg(any(feature = "smol", feature = "async-std"))]
pub use self::async_io::{AsyncSocket, TcpOrUnix};
#[cfg(any(feature = "smol", feature = "async-std"))]
pub use self::signals::Signals;
