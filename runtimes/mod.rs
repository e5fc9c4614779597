//! The runtimes: adapters that implement the [traits](crate::rt) and decide
//! nothing.
//!
//! Each is behind the feature of its name. They can be enabled together: the
//! one that a server runs on is chosen in code.

#[cfg(feature = "parts")]
mod async_io;
#[cfg(feature = "parts")]
mod listening_socket;
#[cfg(all(feature = "parts", any(target_os = "linux", target_os = "android")))]
mod proc_net;
#[cfg(feature = "parts")]
mod signals;
#[cfg(all(feature = "parts", any(target_os = "linux", target_os = "android")))]
mod sock_diag;
#[cfg(feature = "parts")]
mod tcp_or_unix;
#[cfg(feature = "parts")]
mod unix_path;

#[cfg(feature = "async-std")]
#[cfg_attr(docsrs, doc(cfg(feature = "async-std")))]
pub mod async_std;
#[cfg(feature = "parts")]
#[cfg_attr(docsrs, doc(cfg(feature = "parts")))]
pub mod parts;
#[cfg(feature = "sim")]
#[cfg_attr(docsrs, doc(cfg(feature = "sim")))]
pub mod sim;
#[cfg(feature = "smol")]
#[cfg_attr(docsrs, doc(cfg(feature = "smol")))]
pub mod smol;
#[cfg(feature = "tokio")]
#[cfg_attr(docsrs, doc(cfg(feature = "tokio")))]
pub mod tokio;
