//! What is checked and how: the server, its protocol and the limits.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use clap::ValueEnum;
use serde::Deserialize;

use crate::signal::StopSignal;

/// What the server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Protocol {
    /// Every byte comes back
    Echo,
    /// HTTP/1.1 with keep-alive
    Http,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Protocol::Echo => "echo",
            Protocol::Http => "http",
        })
    }
}

/// One server, and what is done to it.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) command: Vec<String>,
    /// Where the command runs; default: where this tool does.
    pub(crate) directory: Option<PathBuf>,
    pub(crate) host: IpAddr,
    pub(crate) protocol: Protocol,
    pub(crate) signal: StopSignal,
    pub(crate) path: String,
    pub(crate) large_path: Option<String>,
    /// How many clients; each scenario has its own default.
    pub(crate) connections: Option<usize>,
    /// The longest stop that is accepted.
    pub(crate) limit: Duration,
    /// The longest stop after the second signal.
    pub(crate) escalation: Duration,
    pub(crate) ready_timeout: Duration,
}

impl Setup {
    pub(crate) fn new(command: Vec<String>, protocol: Protocol) -> Setup {
        Setup {
            command,
            directory: None,
            host: IpAddr::V4(Ipv4Addr::LOCALHOST),
            protocol,
            signal: StopSignal::TERM,
            path: "/".to_owned(),
            large_path: None,
            connections: None,
            limit: Duration::from_secs(30),
            escalation: Duration::from_secs(5),
            ready_timeout: Duration::from_secs(10),
        }
    }
}

/// Why a check could not run.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The command could not be started.
    Spawn {
        program: String,
        error: std::io::Error,
    },
    /// The server ended before it was asked to.
    Died { status: String, output: Vec<String> },
    /// The server does not accept, or does not answer.
    NotReady {
        problem: String,
        output: Vec<String>,
    },
    /// Anything else, with its context.
    Other(String),
}

impl From<String> for Failure {
    fn from(text: String) -> Failure {
        Failure::Other(text)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let output = match self {
            Failure::Spawn { program, error } => {
                return write!(f, "cannot start {program:?}: {error}");
            }
            Failure::Other(text) => return f.write_str(text),
            Failure::Died { status, output } => {
                write!(f, "the server ended before it was asked to: {status}")?;
                output
            }
            Failure::NotReady { problem, output } => {
                write!(f, "the server is not ready: {problem}")?;
                output
            }
        };
        if output.is_empty() {
            return f.write_str("; it printed nothing");
        }
        f.write_str("; it printed:")?;
        output.iter().try_for_each(|line| write!(f, "\n  | {line}"))
    }
}

/// Below the ports that systems give to outgoing connections, so that no client
/// here or elsewhere gets the port before the server does.
const PORTS: std::ops::Range<u16> = 12_000..32_000;

/// An address that nobody listens on.
pub(crate) fn free_address(host: IpAddr) -> Result<SocketAddr, Failure> {
    // Not from the seed: two checks at a time must not choose alike.
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let mut error = String::new();
    for _ in 0..200 {
        // Relaxed: only that no two calls get the same number matters.
        let _ = NEXT.compare_exchange(
            0,
            fastrand::u16(PORTS),
            Ordering::Relaxed,
            Ordering::Relaxed,
        );
        let step = NEXT.fetch_add(1, Ordering::Relaxed) % (PORTS.end - PORTS.start);
        let address = SocketAddr::new(host, PORTS.start + step);
        match TcpListener::bind(address) {
            Ok(_) => return Ok(address),
            Err(reason) => error = reason.to_string(),
        }
    }
    Err(Failure::Other(format!("no free port on {host}: {error}")))
}
