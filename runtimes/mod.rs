//! The runtimes: adapters that implement the [traits](crate::traits) and
//! decide nothing.
//!
//! Each is behind the feature of its name. They can be enabled together: the
//! one that a server runs on is chosen in code.

#[cfg(any(feature = "smol", feature = "async-std"))]
mod bind;
#[cfg(any(feature = "smol", feature = "async-std"))]
mod connected;
#[cfg(all(
    any(feature = "smol", feature = "async-std"),
    any(target_os = "linux", target_os = "android")
))]
mod diag;
#[cfg(any(feature = "smol", feature = "async-std"))]
mod reactor;
#[cfg(any(feature = "smol", feature = "async-std"))]
mod signals;
#[cfg(any(feature = "smol", feature = "async-std"))]
mod stream;

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
pub use self::{connected::Connected, signals::Signals, stream::Stream};
