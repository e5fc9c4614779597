//! `during`: keeps a load on an address while a command runs, and says what the
//! clients saw before, during and after it.

mod command;
mod link;
mod load;
mod moments;
pub(crate) mod options;
mod report;
mod stream;
pub(crate) mod tally;

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use indicatif::{ProgressBar, ProgressStyle};
use smol::Timer;
use smol::future::FutureExt;

use command::Running;
use link::Target;
use load::Load;
use options::{During, Pace};
use stream::{Dialer, TlsSettings};
use tally::{SharedTally, Tally};

use crate::latch::Latch;
use crate::setup::Failure;

/// How often the line on the terminal is drawn anew.
const REDRAW: Duration = Duration::from_millis(100);

/// What was done, and what the clients saw.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) address: SocketAddr,
    pub(crate) pace: Pace,
    pub(crate) label: String,
    pub(crate) expected: Vec<u16>,
    pub(crate) status: ExitStatus,
    pub(crate) ended: Instant,
    pub(crate) tally: Tally,
}

/// Whether nothing was lost.
pub(crate) async fn run(options: During) -> Result<bool, Failure> {
    let pace = options.load.pace()?;
    let mut target = target(&options).await?;
    let timeout = options.times.timeout;
    expect_answer(&mut target, timeout).await?;
    let outcome = observe(&options, pace, target).await?;
    report::write_all(&options, &outcome)?;
    match (outcome.tally.lost(), outcome.status.success()) {
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
    let tls = match options.tls.tls {
        true => Some(TlsSettings::new(&options.tls, host)?),
        false => None,
    };
    Ok(Target {
        dialer: Dialer::new(address, tls),
        speech: options.protocol,
        authority: text.clone(),
        path: options.path.clone(),
        fields: fields(&options.header)?,
        expected: options.expect.clone(),
    })
}

/// The header fields, as they are sent.
fn fields(headers: &[String]) -> Result<String, Failure> {
    let mut fields = String::new();
    for header in headers {
        let is_plain = !header.contains(|c: char| c.is_control());
        match header.split_once(':').filter(|_| is_plain) {
            Some((name, value)) if !name.trim().is_empty() => {
                fields += &format!("{}: {}\r\n", name.trim(), value.trim());
            }
            _ => {
                let text = format!("{header:?} is no header: \"Name: value\" is");
                return Err(Failure::Other(text));
            }
        }
    }
    Ok(fields)
}

/// Makes sure that the address answers, and learns what a good answer is.
async fn expect_answer(target: &mut Target, timeout: Duration) -> Result<(), Failure> {
    let address = target.dialer.address;
    let answer = load::probe(target, timeout).await.map_err(|loss| {
        Failure::Other(format!(
            "{address} gives no good answer before the command: {}",
            loss.problem
        ))
    })?;
    match answer.status {
        Some(status @ 500..) if target.expected.is_empty() => Err(Failure::Other(format!(
            "{address} answers with status {status} before the command"
        ))),
        Some(status) if target.expected.is_empty() => {
            target.expected.push(status);
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Puts the load on, runs the command, and takes the load off again.
async fn observe(options: &During, pace: Pace, target: Target) -> Result<Outcome, Failure> {
    let begun = Instant::now();
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
    let line = line(options.output.quiet);
    let work = async {
        line.set_message("before the command");
        Timer::after(options.times.before).await;
        line.set_message("the command runs");
        tally.lock().command_begun = Some(Instant::now());
        let mut running = Running::spawn(options)?;
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
    line.finish_and_clear();
    let tally = tally.lock().clone();
    Ok(Outcome {
        address: target.dialer.address,
        pace,
        label: target.label(),
        expected: target.expected,
        status: status?,
        ended: Instant::now(),
        tally,
    })
}

/// A line on a terminal, and nothing elsewhere.
fn line(is_quiet: bool) -> ProgressBar {
    if is_quiet || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let line = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed} {msg}: {prefix}") {
        line.set_style(style);
    }
    line
}

async fn redraw(line: &ProgressBar, tally: &SharedTally) -> Result<ExitStatus, Failure> {
    loop {
        Timer::after(REDRAW).await;
        let (answered, lost) = {
            let tally = tally.lock();
            (tally.answered(), tally.lost())
        };
        line.set_prefix(format!("{answered} answered, {lost} lost"));
        line.tick();
    }
}
