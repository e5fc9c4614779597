//! What is checked and how: the server, its protocol and the limits.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clap::ValueEnum;
use serde::Deserialize;

use crate::client::Target;
use crate::greeting::Greeted;
use crate::signal::StopSignal;

/// What the server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Protocol {
    /// Every byte comes back
    Echo,
    /// A line comes back for each line
    Lines,
    /// RESP, the protocol of Redis
    Redis,
    /// HTTP/1
    Http,
    /// HTTP/2: with prior knowledge, or by ALPN with --tls
    H2,
    /// WebSocket: a message comes back for each message
    Ws,
}

impl Protocol {
    pub(crate) const ALL: [Protocol; 6] = [
        Protocol::Echo,
        Protocol::Lines,
        Protocol::Redis,
        Protocol::Http,
        Protocol::H2,
        Protocol::Ws,
    ];

    /// Returns the name that TLS has to agree on (RFC 9113 section 3.2).
    pub(crate) fn alpn(self) -> Option<&'static str> {
        match self {
            Protocol::H2 => Some("h2"),
            _ => None,
        }
    }

    pub(crate) fn is_http(self) -> bool {
        matches!(self, Protocol::Http | Protocol::H2)
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Protocol::Echo => "echo",
            Protocol::Lines => "lines",
            Protocol::Redis => "redis",
            Protocol::Http => "http",
            Protocol::H2 => "h2",
            Protocol::Ws => "ws",
        })
    }
}

/// How the server comes to run.
#[derive(Clone, Debug)]
pub(crate) enum Launch {
    /// As a child of this tool.
    Child {
        command: Vec<String>,
        /// Where the command runs; default: where this tool does.
        directory: Option<PathBuf>,
        /// It is given a standard input that stays open.
        stdin_open: bool,
    },
    /// By commands that start and stop it.
    Commands(StartStop),
    /// It runs already, and is not ours.
    Attached { pid: i32, address: SocketAddr },
}

impl Launch {
    /// Returns what starts the server, for people to read.
    pub(crate) fn words(&self) -> Vec<String> {
        match self {
            Launch::Child { command, .. } => command.clone(),
            Launch::Commands(commands) => commands
                .start
                .split_whitespace()
                .map(str::to_owned)
                .collect(),
            Launch::Attached { .. } => Vec::new(),
        }
    }

    /// Returns what stops the server, unless it is a signal.
    pub(crate) fn stop_command(&self) -> Option<&str> {
        match self {
            Launch::Commands(commands) => Some(&commands.stop),
            _ => None,
        }
    }
}

/// The commands that start and stop a server.
#[derive(Clone, Debug)]
pub(crate) struct StartStop {
    pub(crate) start: String,
    pub(crate) stop: String,
    pub(crate) address: SocketAddr,
}

/// What makes a server replace itself without a stop.
#[derive(Clone, Debug)]
pub(crate) enum Restart {
    Signal(StopSignal),
    Command(String),
}

/// What was found out about a server the first time that it ran.
#[derive(Clone, Debug, Default)]
pub(crate) struct Traits {
    pub(crate) posts: bool,
    pub(crate) keeps: bool,
    pub(crate) answer_time: Duration,
    pub(crate) usual: Vec<u16>,
    pub(crate) usual_grpc: Option<u16>,
    pub(crate) greeting: Greeted,
    pub(crate) notes: Vec<String>,
}

/// One server, and what is done to it.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) launch: Launch,
    pub(crate) host: IpAddr,
    /// Where a child listens whatever it is told.
    pub(crate) fixed: Option<SocketAddr>,
    pub(crate) protocol: Protocol,
    pub(crate) signal: StopSignal,
    /// What clients send: a model of each round's target.
    pub(crate) model: Target,
    /// The path that says whether the server is ready; a good answer is 2xx.
    pub(crate) ready_path: Option<String>,
    pub(crate) restart: Option<Restart>,
    /// How many clients; each scenario has its own default.
    pub(crate) connections: Option<usize>,
    /// The longest stop that is accepted.
    pub(crate) limit: Duration,
    /// The longest stop after the second signal.
    pub(crate) escalation: Duration,
    pub(crate) ready_timeout: Duration,
    /// How long the server is frozen while it drains.
    pub(crate) freeze: Duration,
    /// The exit statuses of a good stop.
    pub(crate) exit_statuses: Vec<i32>,
    /// The server is started with the stop signal blocked.
    pub(crate) blocks_signal: bool,
    /// The story of each client is told, also of those that lost nothing.
    pub(crate) is_verbose: bool,
    pub(crate) traits: Arc<Mutex<Option<Traits>>>,
}

impl Setup {
    pub(crate) fn new(command: Vec<String>, protocol: Protocol) -> Setup {
        let host = IpAddr::V4(Ipv4Addr::LOCALHOST);
        Setup {
            launch: Launch::Child {
                command,
                directory: None,
                stdin_open: false,
            },
            host,
            fixed: None,
            protocol,
            signal: StopSignal::TERM,
            model: Target::new(SocketAddr::new(host, 0), protocol),
            ready_path: None,
            restart: None,
            connections: None,
            limit: Duration::from_secs(30),
            escalation: Duration::from_secs(5),
            ready_timeout: Duration::from_secs(10),
            freeze: Duration::from_secs(2),
            exit_statuses: vec![0],
            blocks_signal: false,
            is_verbose: false,
            traits: Arc::default(),
        }
    }

    /// Returns where the server is to listen, or listens.
    pub(crate) fn address(&self) -> Result<SocketAddr, Failure> {
        match &self.launch {
            Launch::Child { .. } => match self.fixed {
                None => free_address(self.host),
                Some(address) => match TcpListener::bind(address) {
                    Ok(_) => Ok(address),
                    Err(error) => Err(Failure::Other(format!(
                        "{address} cannot be the server's: {error}"
                    ))),
                },
            },
            Launch::Commands(commands) => Ok(commands.address),
            Launch::Attached { address, .. } => Ok(*address),
        }
    }

    /// Returns what was found out about the server when it ran before.
    pub(crate) fn known_traits(&self) -> Option<Traits> {
        let traits = self.traits.lock().unwrap_or_else(PoisonError::into_inner);
        traits.clone()
    }

    pub(crate) fn learn(&self, found: Traits) {
        let mut traits = self.traits.lock().unwrap_or_else(PoisonError::into_inner);
        *traits = Some(found);
    }

    /// Returns how long a start command may take: images and builds take their time.
    pub(crate) fn command_limit(&self) -> Duration {
        self.ready_timeout.max(self.limit) + Duration::from_secs(60)
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
    Died {
        status: String,
        /// The processes that it has left running.
        left: Option<String>,
        output: Vec<String>,
    },
    /// The server does not accept, or does not answer.
    NotReady {
        problem: String,
        output: Vec<String>,
    },
    /// A command of the user that starts or stops the server has failed.
    Command {
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
            Failure::Died {
                status,
                left,
                output,
            } => {
                write!(f, "the server ended before it was asked to: {status}")?;
                if let Some(left) = left {
                    write!(
                        f,
                        ", and left {left} running: keep it in the foreground, or use --start \
                         and --stop"
                    )?;
                }
                output
            }
            Failure::NotReady { problem, output } => {
                write!(f, "the server is not ready: {problem}")?;
                output
            }
            Failure::Command { problem, output } => {
                f.write_str(problem)?;
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

/// Returns an address that nobody listens on.
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
