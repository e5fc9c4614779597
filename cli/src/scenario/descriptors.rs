//! The server runs out of descriptors, gets them back, and is stopped.

use std::time::{Duration, Instant};

use smol::Timer;
use smol::future::FutureExt;

use crate::client::{Connection, Disconnected};
use crate::procfs;
use crate::round::Round;
use crate::setup::Failure;
use crate::verdict::RoundResult;

/// How many descriptors a server has left.
const LEFT: usize = 4;

/// A client without an answer for so long waits for a descriptor.
const WAITING: Duration = Duration::from_millis(200);

/// So many of them, and it is out.
const STARVED: usize = 3;

/// A server that takes so many has no such limit.
const MOST: usize = 200;

/// How long the starving server is watched, and the part of it that it may want
/// the processor.
const WINDOW: Duration = Duration::from_secs(1);
const SPINNING: f64 = 0.85;

pub(crate) async fn run(round: &mut Round) -> Result<RoundResult, Failure> {
    let clients = round.served("served before", 2).await?;
    let lowered = match lower(round) {
        Ok(lowered) => lowered,
        Err(reason) => return Ok(RoundResult::skip(reason)),
    };
    for client in clients {
        round.spawn_until_end(client);
    }
    let waiting = starve(round).await;
    let computed = match waiting {
        STARVED.. => watch(round).await,
        _ => None,
    };
    relieve(lowered);
    if waiting < STARVED {
        return Ok(RoundResult::skip("it does not run out of descriptors"));
    }
    let from = round.stop()?;
    let mut result = round.settle(from, round.setup.limit).await?;
    match computed {
        None => result
            .notes
            .push("its processor time is not known here".to_owned()),
        Some(share) if share > SPINNING => result.convict(format!(
            "it spins while it is out of descriptors: it takes {:.0} % of a processor",
            share * 100.0
        )),
        Some(_) => {}
    }
    Ok(result)
}

/// Opens connections until several get no answer; gives how many.
async fn starve(round: &mut Round) -> usize {
    let mut waiting = 0;
    for _ in 0..MOST {
        let (id, journal) = round.enter("short of descriptors");
        let target = round.target.clone();
        let request = target.request(id, 0);
        let opened = Connection::open_silent(&target, &journal).await;
        let Ok(mut connection) = opened else {
            round.forget(id);
            continue;
        };
        if connection.send_first(&request).await.is_err() {
            round.forget(id);
            continue;
        }
        let answer = async { Some(connection.receive_first().await) };
        let late = async {
            Timer::after(WAITING).await;
            None
        };
        let is_waiting = match answer.or(late).await {
            // It turns away a client that it cannot serve: no fault of the stop.
            Some(Err(Disconnected)) => {
                round.forget(id);
                continue;
            }
            Some(Ok(())) => false,
            None => true,
        };
        waiting += usize::from(is_waiting);
        round.spawn(id, async move {
            if !is_waiting || connection.receive_first().await.is_ok() {
                connection.until_end().await;
            }
        });
        if waiting == STARVED {
            break;
        }
    }
    waiting
}

/// The part of one processor that the group takes.
async fn watch(round: &Round) -> Option<f64> {
    let begun = Instant::now();
    let before = procfs::processor_time(&round.server.processes()?)?;
    Timer::after(WINDOW).await;
    let after = procfs::processor_time(&round.server.processes()?)?;
    let computed = after.saturating_sub(before);
    Some(computed.as_secs_f64() / begun.elapsed().as_secs_f64())
}

#[cfg(target_os = "linux")]
type Lowered = Vec<(rustix::process::Pid, rustix::process::Rlimit)>;

#[cfg(target_os = "linux")]
fn lower(round: &Round) -> Result<Lowered, String> {
    use rustix::process::{Pid, Resource, Rlimit, prlimit};

    let members = round.server.processes().unwrap_or_default();
    let mut lowered = Vec::new();
    for pid in members {
        let (Some(open), Some(pid)) = (procfs::descriptors(pid), Pid::from_raw(pid)) else {
            continue;
        };
        // The limit is on the number, and numbers are not given in order: a
        // server can have been started with a high one.
        let free = (0..).filter(|number| !open.contains(number));
        let maximum = maximum(pid);
        let limit = Rlimit {
            current: free.take(LEFT + 1).last(),
            maximum,
        };
        let failed = |error| format!("its descriptor limit cannot be lowered: {error}");
        lowered.push((
            pid,
            prlimit(Some(pid), Resource::Nofile, limit).map_err(failed)?,
        ));
    }
    match lowered.is_empty() {
        true => Err("its descriptors are not known here".to_owned()),
        false => Ok(lowered),
    }
}

/// The hard limit of a process, which stays as it is.
#[cfg(target_os = "linux")]
fn maximum(pid: rustix::process::Pid) -> Option<u64> {
    let path = format!("/proc/{}/limits", pid.as_raw_nonzero());
    let limits = std::fs::read_to_string(path).ok()?;
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"))?;
    line.split_whitespace().nth(4)?.parse().ok()
}

#[cfg(target_os = "linux")]
fn relieve(lowered: Lowered) {
    use rustix::process::{Resource, prlimit};

    for (pid, limit) in lowered {
        if let Err(error) = prlimit(Some(pid), Resource::Nofile, limit) {
            log::warn!("the descriptor limit stays lowered: {error}");
        }
    }
}

#[cfg(not(target_os = "linux"))]
type Lowered = ();

#[cfg(not(target_os = "linux"))]
fn lower(_: &Round) -> Result<Lowered, String> {
    Err("a descriptor limit of another process cannot be lowered here".to_owned())
}

#[cfg(not(target_os = "linux"))]
fn relieve((): Lowered) {}
