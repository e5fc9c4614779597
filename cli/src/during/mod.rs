//! `during`: keeps a load on an address while a command runs, and says what the
//! clients saw before, during and after it.

mod command;
mod link;
mod load;
mod moments;
pub(crate) mod options;
mod report;
pub(crate) mod tally;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use smol::Timer;
use smol::future::FutureExt;

pub(crate) use command::CommandEnd;
use command::Running;
use load::Load;
use options::{During, Pace};
use tally::{SharedTally, Tally};

use crate::check::try_outputs;
use crate::client::Target;
use crate::client::target::Statuses;
use crate::greeting;
use crate::latch::Latch;
use crate::options::{HTTP, must_fit};
use crate::progress::Progress;
use crate::setup::Failure;
use crate::values::unix_socket;

/// How often the line on the terminal is drawn again.
const REDRAW: Duration = Duration::from_millis(100);

/// What was done, and what the clients saw.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) address: SocketAddr,
    pub(crate) pace: Pace,
    pub(crate) label: String,
    pub(crate) expected: Vec<String>,
    pub(crate) status: CommandEnd,
    pub(crate) ended: Instant,
    pub(crate) tally: Tally,
}

/// Whether nothing was lost.
pub(crate) async fn run(options: During) -> Result<bool, Failure> {
    let pace = options.load.pace()?;
    let output = &options.output;
    try_outputs([&output.json, &output.html, &output.junit])?;
    let timeout = options.times.timeout;
    let target = proven(target(&options).await?, timeout).await?;
    let outcome = observe(&options, pace, target).await?;
    report::write_all(&options, &outcome)?;
    match (outcome.tally.lost(), outcome.status.is_success()) {
        (0, false) => Err(Failure::Other(format!(
            "nothing was lost, but the command failed: {}",
            outcome.status
        ))),
        (lost, _) => Ok(lost == 0),
    }
}

/// What the words of the command line mean.
async fn target(options: &During) -> Result<Target, Failure> {
    let failed = |text: String| Failure::Other(text);
    let text = &options.address;
    if let Some(problem) = unix_socket(text) {
        return Err(failed(format!("{text:?}: {problem}")));
    }
    let Some((host, _)) = text.rsplit_once(':') else {
        return Err(failed(format!("{text:?} is no address: HOST:PORT is")));
    };
    let resolved = smol::net::resolve(text.as_str()).await;
    let resolved =
        resolved.map_err(|error| failed(format!("{text:?} is no address: {error}")))?;
    let Some(address) = resolved.first().copied() else {
        return Err(failed(format!("{text:?} has no address")));
    };
    if !address.ip().is_loopback() && !options.allow_remote {
        return Err(failed(format!(
            "{address} is not on this machine: say --allow-remote if that is meant"
        )));
    }
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let mut asking = options.asking.clone();
    asking.server_name.get_or_insert_with(|| host.to_owned());
    let mut target = asking.target(address.ip(), options.protocol)?;
    must_fit("--retry", options.load.retry, &HTTP, options.protocol)?;
    target.address = address;
    let is_host = |(name, _): &(String, String)| name.eq_ignore_ascii_case("host");
    if !target.headers.iter().any(is_host) {
        // What the user calls it, and not the address that the name leads to.
        target.headers.push(("Host".to_owned(), text.clone()));
    }
    Ok(target)
}

/// Makes sure that the address answers, and learns what a good answer is.
async fn proven(target: Target, timeout: Duration) -> Result<Target, Failure> {
    let address = target.address;
    let mut target = Arc::new(target);
    Arc::make_mut(&mut target).greeting = greeting::learn(&target).await.count;
    let response = load::probe(&target, timeout).await.map_err(|loss| {
        Failure::Other(format!(
            "{address} gives no good answer before the command: {}",
            loss.problem
        ))
    })?;
    let mut target = Target::clone(&target);
    if target.expected.is_empty() {
        target.expected.extend(Statuses::only(response.status));
    }
    Ok(target)
}

/// Puts the load on, runs the command, and takes the load off again.
async fn observe(options: &During, pace: Pace, target: Target) -> Result<Outcome, Failure> {
    let begun = Instant::now();
    let target = Arc::new(target);
    let tally = SharedTally::new(Tally::new(begun, options.times.slow));
    let (stop_sender, stop) = Latch::new();
    let load = Arc::new(Load {
        target: target.clone(),
        pace,
        reuse: options.load.reuse,
        retry: options.load.retry,
        timeout: options.times.timeout,
        begun,
        tally: tally.clone(),
        stop,
    });
    let clients = (0..pace.clients).map(|id| smol::spawn(load::client(load.clone(), id)));
    let clients: Vec<_> = clients.collect();
    let line = Progress::endless(options.output.quiet);
    let work = async {
        line.set_message("before the command");
        Timer::after(options.times.before).await;
        line.set_message("the command runs");
        tally.lock().command_begun = Some(Instant::now());
        let running = Running::spawn(options)?;
        let status = running.ended(options.times.limit).await?;
        tally.lock().command_ended = Some(Instant::now());
        line.set_message("after the command");
        Timer::after(options.times.after).await;
        drop(stop_sender);
        line.set_message("waiting for the last answers");
        join_all(clients).await;
        Ok(status)
    };
    let status = work.or(redraw(&line, &tally)).await;
    line.finish();
    let tally = tally.lock().clone();
    Ok(Outcome {
        address: target.address,
        pace,
        label: target.request(0, 0).label,
        expected: target.expected.iter().map(Statuses::to_string).collect(),
        status: status?,
        ended: Instant::now(),
        tally,
    })
}

async fn redraw(line: &Progress, tally: &SharedTally) -> Result<CommandEnd, Failure> {
    loop {
        Timer::after(REDRAW).await;
        let (answered, lost) = {
            let tally = tally.lock();
            (tally.answered(), tally.lost())
        };
        line.show(&format!("{answered} answered, {lost} lost"));
    }
}
