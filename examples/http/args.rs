//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use lameduck::Address;

/// Serves HTTP/1.1 and HTTP/2, and stops on SIGINT or SIGTERM.
///
/// The first signal drains, the second one aborts. Exit status: 0 clean, 1 could
/// not run, 2 usage, 3 something was aborted or abandoned, 4 the hard deadline.
#[derive(Parser)]
pub(crate) struct Args {
    /// Where to listen: IP:PORT, [IPV6]:PORT or unix:PATH; repeatable
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    pub(crate) listen: Vec<Address>,
    /// The longest time that a stop may take
    #[arg(long, value_parser = humantime::parse_duration, default_value = "25s")]
    pub(crate) grace: Duration,
    /// How long to accept on once readiness has turned false
    #[arg(long, value_parser = humantime::parse_duration, default_value = "0s")]
    pub(crate) lame_duck: Duration,
    /// Restart without a gap on SIGHUP
    #[arg(long)]
    pub(crate) restart: bool,
    /// The certificates, in PEM: then all addresses speak TLS
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// The key of the certificates, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,
    /// The runtime to serve on
    #[arg(long, default_value = "smol")]
    pub(crate) runtime: Choice,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Choice {
    Smol,
    AsyncStd,
    Tokio,
}
