//! The words of `lameduck during`, and what they add up to.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args as Group, ValueEnum};

use crate::limits;
use crate::options::Asking;
use crate::setup::{Failure, Protocol};
use crate::values::{time, time_or_zero};

/// Requests per second, where neither `--rate` nor `--connections` is given.
const RATE: f64 = 100.0;

/// Clients, unless told otherwise.
const CLIENTS: usize = 16;

/// Which clients keep their connection from one request to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Reuse {
    /// Every second client keeps its connection, the others have a new one each time
    Half,
    /// All clients keep their connections
    Always,
    /// All clients have a new connection for each request
    Never,
}

/// Keeps a load on an address while a command runs, and says what clients lost
#[derive(Debug, Group)]
pub(crate) struct During {
    /// The address that the load goes to
    #[arg(long, value_name = "HOST:PORT", required = true)]
    pub(crate) address: String,
    /// What is spoken there
    #[arg(long, value_enum, default_value_t = Protocol::Http)]
    pub(crate) protocol: Protocol,
    #[command(flatten)]
    pub(crate) asking: Asking,
    #[command(flatten)]
    pub(crate) load: LoadOptions,
    #[command(flatten)]
    pub(crate) times: Times,
    /// Allow an address that is not on this machine
    #[arg(long)]
    pub(crate) allow_remote: bool,
    #[command(flatten)]
    pub(crate) output: Output,
    /// Take what is not said here from this file [default: without an address or a
    /// COMMAND the nearest lameduck.toml, in this folder or above it]
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// The folder in which the command runs [default: this one; for a command of
    /// a file the file's folder]
    #[arg(long, value_name = "FOLDER")]
    pub(crate) directory: Option<PathBuf>,
    /// The command: a deploy, a rolling restart, a failover
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub(crate) command: Vec<String>,
}

/// How much is sent.
#[derive(Debug, Group)]
pub(crate) struct LoadOptions {
    /// Requests per second, of all clients together [default: 100]
    #[arg(long, value_name = "NUMBER")]
    pub(crate) rate: Option<f64>,
    /// Clients [default: 16]; without --rate each sends the next request as soon
    /// as it has the last answer
    #[arg(long, value_name = "NUMBER")]
    pub(crate) connections: Option<usize>,
    /// Which clients keep their connection
    #[arg(long, value_enum, default_value_t = Reuse::Half)]
    pub(crate) reuse: Reuse,
    /// Send a request once more where HTTP allows it: when a kept connection ends
    /// before a byte of the answer
    #[arg(long)]
    pub(crate) retry: bool,
}

/// How long everything takes.
#[derive(Debug, Group)]
pub(crate) struct Times {
    /// How long the load runs before the command
    #[arg(long, value_parser = time_or_zero, default_value = "2s", value_name = "TIME")]
    pub(crate) before: Duration,
    /// How long the load runs after the command
    #[arg(long, value_parser = time_or_zero, default_value = "3s", value_name = "TIME")]
    pub(crate) after: Duration,
    /// An answer that takes longer is slow; a slow answer is no loss
    #[arg(long, value_parser = time, default_value = "1s", value_name = "TIME")]
    pub(crate) slow: Duration,
    /// A request without its whole answer after this time is lost
    #[arg(long, value_parser = time, default_value = "10s", value_name = "TIME")]
    pub(crate) timeout: Duration,
    /// The longest that the command may take
    #[arg(long, value_parser = time, default_value = "10m", value_name = "TIME")]
    pub(crate) limit: Duration,
}

/// Where the result goes.
#[derive(Debug, Group)]
pub(crate) struct Output {
    /// Write the result to a file as JSON; - is the standard output
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "-")]
    pub(crate) json: Option<PathBuf>,
    /// Write the result to a file as a page for a browser
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    /// Write the result to a file as JUnit XML
    #[arg(long, value_name = "FILE")]
    pub(crate) junit: Option<PathBuf>,
    /// Print the table as Markdown
    #[arg(long)]
    pub(crate) markdown: bool,
    /// No progress and no table: only the exit status, and why it could not run
    #[arg(long)]
    pub(crate) quiet: bool,
}

/// How often clients send, and how many clients there are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Pace {
    /// Requests per second of all clients; none: as fast as the answers come.
    pub(crate) rate: Option<f64>,
    pub(crate) clients: usize,
}

impl LoadOptions {
    pub(crate) fn pace(&self) -> Result<Pace, Failure> {
        let clients = self.connections.unwrap_or(CLIENTS);
        limits::check(clients).map_err(Failure::Other)?;
        let rate = match (self.rate, self.connections) {
            (None, None) => Some(RATE),
            (rate, _) => rate,
        };
        // Also refuses what is not a number.
        if rate.is_some_and(|rate| !(0.001..=1e6).contains(&rate)) {
            let text = "--rate is a number of requests per second, from 0.001 to 1000000";
            return Err(Failure::Other(text.to_owned()));
        }
        Ok(Pace { rate, clients })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(rate: Option<f64>, connections: Option<usize>) -> Option<Pace> {
        let options = LoadOptions {
            rate,
            connections,
            reuse: Reuse::Half,
            retry: false,
        };
        options.pace().ok()
    }

    #[test]
    fn connections_without_a_rate_send_as_fast_as_answers_come() {
        let rate_of = |rate, connections| pace(rate, connections).map(|pace| pace.rate);
        assert_eq!(rate_of(None, None), Some(Some(RATE)));
        assert_eq!(rate_of(None, Some(4)), Some(None));
        assert_eq!(rate_of(Some(7.5), Some(4)), Some(Some(7.5)));
    }

    #[test]
    fn a_rate_that_cannot_work_is_refused() {
        for rate in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert_eq!(pace(Some(rate), None), None);
        }
        assert_eq!(pace(None, Some(0)), None);
    }
}
