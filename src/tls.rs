//! TLS through rustls.

mod info;

pub use self::info::TlsInfo;
