//! The command line.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args as Group, Parser, Subcommand};

use crate::client::Target;
use crate::during::options::During;
use crate::fixture::{Dialect, Fault};
use crate::limits;
use crate::options::{Asking, Run};
use crate::results::schema::Document;
use crate::scenario::Scenario;
use crate::setup::{Failure, Protocol, Setup};
use crate::values::{MOST_ROUNDS, time};

/// Starts a server, loads it, stops it, and says what its clients lost
#[derive(Debug, Parser)]
#[command(name = "lameduck", version)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Check how one server stops
    ///
    /// Exit status: 0 nothing was lost, 1 something was lost, 2 it could not run.
    Check(Box<Check>),
    /// Check several servers side by side
    ///
    /// Exit status: 0 all were compared, 2 one or more could not run.
    Compare(Compare),
    /// Keep a load on an address while a command runs: a deploy, a restart, a failover
    ///
    /// Exit status: 0 nothing was lost, 1 something was lost, 2 it could not run, or
    /// the command failed.
    During(Box<During>),
    /// Print the JSON Schema of a result
    Schema {
        /// Which result
        #[arg(value_enum)]
        document: Document,
    },
    /// Print the completions of a shell
    Completions {
        /// Which shell
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
    /// Print the manual page, or write the pages of all commands into a folder
    Man {
        /// Write lameduck.1, lameduck-check.1 and so on there
        #[arg(long, value_name = "FOLDER")]
        directory: Option<PathBuf>,
    },
    /// Check the checker: a good server must pass, and each bad one be convicted
    SelfTest(SelfTest),
    /// A tiny server for the self-test
    #[command(hide = true)]
    Fixture(Fixture),
    /// Runs a command in its place, with a signal blocked
    #[command(hide = true)]
    Blocked(Blocked),
}

#[derive(Debug, Group)]
pub(crate) struct Compare {
    /// The servers, as TOML
    pub(crate) file: PathBuf,
    /// What is done to them; repeatable [default: what the file says, or all]
    #[arg(long, value_name = "NAME")]
    pub(crate) scenario: Vec<Scenario>,
    #[command(flatten)]
    pub(crate) load: CompareLoad,
    /// Where the table goes [default: the standard output]
    #[arg(long, value_name = "FILE")]
    pub(crate) markdown: Option<PathBuf>,
    /// Draw a chart, too
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,
    /// Write everything as JSON, too
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) results: Results,
    /// No progress
    #[arg(long)]
    pub(crate) quiet: bool,
}

/// How much is done, where the file has defaults.
#[derive(Debug, Group)]
pub(crate) struct CompareLoad {
    /// Stops for each scenario and server
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=MOST_ROUNDS))]
    pub(crate) rounds: Option<u64>,
    /// Clients of each kind
    #[arg(long)]
    pub(crate) connections: Option<usize>,
    /// The longest stop that is accepted [default: 30s]
    #[arg(long, value_parser = time, value_name = "TIME")]
    pub(crate) limit: Option<Duration>,
    /// What is left to chance follows from it
    #[arg(long)]
    pub(crate) seed: Option<u64>,
}

#[derive(Debug, Group)]
pub(crate) struct SelfTest {
    /// How often
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=MOST_ROUNDS))]
    pub(crate) rounds: u64,
    /// Only this one; repeatable
    #[arg(long, value_name = "NAME")]
    pub(crate) scenario: Vec<Scenario>,
    /// Only this protocol; repeatable
    #[arg(long, value_enum, value_name = "NAME")]
    pub(crate) protocol: Vec<Protocol>,
    /// No progress, and no table
    #[arg(long)]
    pub(crate) quiet: bool,
}

#[derive(Debug, Group)]
pub(crate) struct Fixture {
    /// What is wrong with it
    #[arg(value_enum)]
    pub(crate) fault: Fault,
    #[arg(long, value_name = "IP:PORT")]
    pub(crate) listen: SocketAddr,
    #[arg(long, value_enum, default_value_t = Protocol::Echo)]
    pub(crate) protocol: Protocol,
    /// How it speaks HTTP/1
    #[arg(long, value_enum, default_value_t = Dialect::KeepAlive)]
    pub(crate) dialect: Dialect,
    /// Speak TLS, with a certificate of its own
    #[arg(long)]
    pub(crate) tls: bool,
    /// Greet each client: with a line, or a message of WebSocket (not over TLS)
    #[arg(long)]
    pub(crate) greets: bool,
    /// The longest stop
    #[arg(long, value_parser = time, default_value = "5s")]
    pub(crate) grace: Duration,
    /// Start the server as a child, and pass its stop signal on
    #[arg(long)]
    pub(crate) wrapped: bool,
    /// On SIGHUP, start a process that takes the place of this one
    #[arg(long)]
    pub(crate) hands_over: bool,
    /// Standard input is the listening socket
    #[arg(long)]
    pub(crate) inherits: bool,
}

#[derive(Debug, Group)]
pub(crate) struct Blocked {
    /// The number of the signal
    pub(crate) signal: i32,
    #[arg(last = true, required = true)]
    pub(crate) command: Vec<String>,
}

#[derive(Debug, Group)]
pub(crate) struct Check {
    /// What the server speaks
    #[arg(long, value_enum, default_value_t = Protocol::Echo)]
    pub(crate) protocol: Protocol,
    #[command(flatten)]
    pub(crate) run: Run,
    #[command(flatten)]
    pub(crate) asking: Asking,
    /// A path with a response of several megabytes, for slow readers; with a method,
    /// as in "POST /report", it is sent the body of --request
    #[arg(long, value_name = "PATH")]
    pub(crate) large_path: Option<String>,
    /// What is done to it; repeatable [default: all that fit]
    #[arg(long, alias = "scenarios", value_name = "NAME")]
    pub(crate) scenario: Vec<Scenario>,
    #[command(flatten)]
    pub(crate) load: Load,
    /// How long the server may take until it answers
    #[arg(long, value_parser = time, default_value = "10s", value_name = "TIME")]
    pub(crate) ready_timeout: Duration,
    /// Where the server is to listen
    #[arg(
        long,
        default_value = "127.0.0.1",
        value_name = "IP",
        conflicts_with_all = ["start", "attach"]
    )]
    pub(crate) host: IpAddr,
    /// Allow a --host that others can reach
    #[arg(long)]
    pub(crate) allow_remote: bool,
    /// Write the result to a file as JSON; - is the standard output
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "-")]
    pub(crate) json: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) results: Results,
    /// Print the table as Markdown
    #[arg(long)]
    pub(crate) markdown: bool,
    /// No progress and no table: only the exit status, and why it could not run
    #[arg(long)]
    pub(crate) quiet: bool,
    /// Say what each scenario finds, why it happens, and what cures it
    #[arg(long)]
    pub(crate) list: bool,
    /// Take what is not said here from this file [default: without a COMMAND the
    /// nearest lameduck.toml, in this folder or above it]
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// The folder in which the command runs [default: this one; for a command of
    /// a file the file's folder]
    #[arg(long, value_name = "FOLDER")]
    pub(crate) directory: Option<PathBuf>,
    /// The command that starts the server, with {addr}, {host} and {port};
    /// they are in the environment, too, as LAMEDUCK_ADDR, ADDR and so on
    #[arg(last = true, value_name = "COMMAND")]
    pub(crate) command: Vec<String>,
}

/// Where else results go.
#[derive(Debug, Group)]
pub(crate) struct Results {
    /// Write the result to a file as a page for a browser
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    /// Write the result to a file as JUnit XML
    #[arg(long, value_name = "FILE")]
    pub(crate) junit: Option<PathBuf>,
    /// Tell in the JSON what each client saw, and when
    #[arg(long, requires = "json")]
    pub(crate) events: bool,
}

/// How much is done.
#[derive(Clone, Debug, Group)]
pub(crate) struct Load {
    /// Stops for each scenario [default: 1 to 10, by scenario]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=MOST_ROUNDS))]
    pub(crate) rounds: Option<u64>,
    /// Clients of each kind [default: 4 to 100, by scenario]
    #[arg(long)]
    pub(crate) connections: Option<usize>,
    /// The longest stop that is accepted
    #[arg(long, value_parser = time, default_value = "30s", value_name = "TIME")]
    pub(crate) limit: Duration,
    /// What is left to chance follows from it [default: another each time]
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// Do only this round, counted from 1: with --seed, the same as it was
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..), conflicts_with = "repeat_until_failure")]
    pub(crate) round: Option<u64>,
    /// Go on until a round fails, and say how to do that round again
    #[arg(long)]
    pub(crate) repeat_until_failure: bool,
    /// Tell the story of every client, also of those that lost nothing
    #[arg(long)]
    pub(crate) verbose: bool,
}

impl Load {
    pub(crate) fn check(&self) -> Result<(), Failure> {
        match self.connections {
            Some(connections) => limits::check(connections).map_err(Failure::Other),
            None => Ok(()),
        }
    }

    pub(crate) fn rounds(&self, scenario: Scenario) -> usize {
        match self.rounds {
            Some(rounds) => usize::try_from(rounds).unwrap_or(usize::MAX),
            None => scenario.rounds(),
        }
    }
}

impl Check {
    pub(crate) fn setup(&self) -> Result<Setup, Failure> {
        self.load.check()?;
        let is_elsewhere = self.run.start.is_some() || self.run.attach.is_some();
        if self.command.is_empty() && !is_elsewhere {
            return Err(Failure::Other(
                "what is to be checked? Say `lameduck check -- <COMMAND>`, or keep a \
                 lameduck.toml with a table [check]"
                    .to_owned(),
            ));
        }
        if !self.host.is_loopback() && !self.allow_remote {
            let host = self.host;
            return Err(Failure::Other(format!(
                "{host} can be reached from elsewhere: say --allow-remote if that is meant"
            )));
        }
        let ready = self.run.ready(self.protocol)?;
        Ok(Setup {
            launch: self
                .run
                .launch(&self.command, self.directory.as_deref(), &ready)?,
            ready_path: ready.path,
            fixed: ready.address,
            host: self.host,
            signal: self.run.signal,
            model: Target {
                large: self
                    .asking
                    .large(self.large_path.as_deref(), self.protocol)?,
                ..self.asking.target(self.host, self.protocol)?
            },
            restart: self.run.restart()?,
            connections: self.load.connections,
            limit: self.load.limit,
            ready_timeout: self.ready_timeout,
            freeze: self.run.freeze,
            exit_statuses: self.run.exit_status.clone(),
            is_verbose: self.load.verbose,
            ..Setup::new(self.command.clone(), self.protocol)
        })
    }
}
