//! Servers in turns: several at once, of which one works at a time.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hdrhistogram::Histogram;
use indicatif::{ProgressBar, ProgressStyle};

use crate::child::Running;
use crate::http::{HTTP_KINDS, HttpKind, Transport};
use crate::load::Clients;
use crate::message::Message;
use crate::servers::{KINDS, Kind};
use crate::stats::Turns;

/// Where the servers' programs are, given the path of one of them.
pub fn programs(one: &str) -> PathBuf {
    Path::new(one)
        .parent()
        .map(Path::to_path_buf)
        .unwrap_or_default()
}

/// Allows as many descriptors as there may be, to this process and to servers; more
/// than that where this process may.
///
/// # Errors
/// When fewer than `wanted` are allowed.
pub fn descriptors(wanted: u64) -> io::Result<()> {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (_, mut most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if most < wanted && setrlimit(Resource::RLIMIT_NOFILE, wanted, wanted).is_ok() {
        most = wanted;
    }
    setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
    match most >= wanted {
        true => Ok(()),
        false => Err(io::Error::other(format!(
            "{wanted} descriptors are needed, and {most} allowed: see `ulimit -Hn`"
        ))),
    }
}

/// How far a long row has come; only on a terminal.
pub fn progress(name: &str, steps: usize) -> ProgressBar {
    let bar = ProgressBar::new(steps as u64).with_prefix(name.to_owned());
    let style = ProgressStyle::with_template("{prefix} {wide_bar} {pos}/{len} {eta}");
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// Which of `count` comes when: each round begins with another one.
pub fn order(round: usize, count: usize) -> impl Iterator<Item = usize> {
    (0..count).map(move |n| (round + n) % count)
}

/// Each kind's values, one a round, beside those of its floor.
pub fn against_floors(values: &[Vec<f64>]) -> Vec<Turns> {
    against(values, KINDS.map(|kind| (kind.title, kind.floor)))
}

/// The same, of HTTP servers.
pub fn against_http_floors(values: &[Vec<f64>]) -> Vec<Turns> {
    against(values, HTTP_KINDS.map(|kind| (kind.title, kind.floor)))
}

fn against<const N: usize>(values: &[Vec<f64>], kinds: [(&str, &str); N]) -> Vec<Turns> {
    let floor = |name| kinds.iter().position(|(title, _)| *title == name);
    let values_of = kinds.iter().zip(values);
    values_of
        .map(|((_, name), of_it)| Turns {
            floor: floor(*name).map_or_else(Vec::new, |floor| values[floor].clone()),
            subject: of_it.clone(),
        })
        .collect()
}

/// A server and its clients.
#[derive(Debug)]
pub struct Side {
    pub running: Running,
    pub clients: Clients,
    pub latencies: Histogram<u64>,
}

impl Side {
    /// Starts a server, and connects.
    ///
    /// # Errors
    /// Those of the process and of the network.
    pub fn start(programs: &Path, kind: Kind, connections: usize) -> io::Result<Side> {
        let running = Running::start(programs, kind)?;
        let clients = Clients::connect(running.address, connections)?;
        Ok(Side {
            running,
            clients,
            latencies: latencies(),
        })
    }

    /// Starts an HTTP server, and connects.
    ///
    /// # Errors
    /// Those of the process and of the network.
    pub fn http(
        programs: &Path,
        kind: HttpKind,
        how: &Transport,
        connections: usize,
    ) -> io::Result<Side> {
        let running = Running::http(programs, kind, how)?;
        let message = how.version.message();
        let clients = Clients::connect_to(message, running.address, connections)?;
        Ok(Side {
            running,
            clients,
            latencies: latencies(),
        })
    }

    /// Exchanges messages; how much time passed, and how much the server took.
    ///
    /// # Errors
    /// Those of the process and of the network.
    pub fn exchange(
        &mut self,
        message: Message,
        count: usize,
    ) -> io::Result<(Duration, Duration)> {
        let before = self.running.processor_time()?;
        let wall = self.clients.exchange(message, count, &mut self.latencies)?;
        Ok((wall, self.running.processor_time()? - before))
    }
}

/// Up to a minute, to three digits.
pub fn latencies() -> Histogram<u64> {
    Histogram::new_with_max(60_000_000_000, 3).expect("that is possible")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_round_has_all_and_begins_with_another() {
        assert_eq!(order(0, 3).collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(order(4, 3).collect::<Vec<_>>(), [1, 2, 0]);
    }

    #[test]
    fn each_floor_is_there_and_its_own() {
        for kind in &KINDS {
            let floor = KINDS.iter().find(|floor| floor.title == kind.floor);
            assert_eq!(floor.map(|floor| floor.floor), Some(kind.floor));
        }
    }
}
