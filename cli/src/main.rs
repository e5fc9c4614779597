//! `lameduck check`: starts any server, loads it, stops it, and says what its
//! clients lost. It sees the server only from outside.

mod args;
mod blocked;
mod chart;
mod check;
mod check_file;
mod client;
mod compare;
mod during;
mod fixture;
mod greeting;
mod h2;
mod latch;
mod limits;
mod manual;
mod options;
mod output;
mod procfs;
mod progress;
mod ready;
mod results;
mod round;
mod scenario;
mod self_test;
mod server;
mod setup;
mod signal;
#[cfg(target_os = "linux")]
mod sock_diag;
mod table;
mod trace;
mod verdict;

use std::process::ExitCode;

use async_signal::{Signal, Signals};
use smol::future::FutureExt;
use smol::stream::StreamExt;

use crate::args::Command;
use crate::setup::Failure;

/// Something was lost.
const LOST: u8 = 1;

/// It could not run, or not to its end.
const FAILED: u8 = 2;

fn main() -> ExitCode {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("warn")).init();
    let args = match check_file::parse() {
        Ok(args) => args,
        Err(failure) => return fail(&failure),
    };
    if let Command::Fixture(options) = args.command {
        // A server like any other: its signals are its own.
        fixture::unblock(options.fault);
        return match smol::block_on(fixture::run(options)) {
            Ok(status) => ExitCode::from(status),
            Err(failure) => fail(&failure),
        };
    }
    if let Command::Blocked(options) = &args.command {
        return match blocked::run(options.signal, &options.command) {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => fail(&failure),
        };
    }
    limits::raise();
    let farewell = match args.command {
        Command::During(_) => "interrupted; its command was told to stop, if it was running",
        _ => "interrupted; the server was stopped, and nothing of it is left",
    };
    match smol::block_on(interruptible(run(args.command), farewell)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(LOST),
        Err(failure) => fail(&failure),
    }
}

fn fail(failure: &Failure) -> ExitCode {
    eprintln!("lameduck: {failure}");
    ExitCode::from(FAILED)
}

/// Whether nothing was lost.
async fn run(command: Command) -> Result<bool, Failure> {
    match command {
        Command::Check(options) => check::run(*options).await,
        Command::Compare(options) => compare::run(options).await,
        Command::During(options) => during::run(*options).await,
        Command::Completions { shell } => manual::completions(shell).map(|()| true),
        Command::Man { directory } => manual::man(directory.as_deref()).map(|()| true),
        Command::Schema { document } => {
            check::print(&results::schema::schema(document)?).map(|()| true)
        }
        Command::SelfTest(options) => self_test::run(options).await,
        Command::Fixture(_) | Command::Blocked(_) => {
            Err(Failure::Other("it runs alone".to_owned()))
        }
    }
}

/// On a signal the work is dropped, and every server with it.
async fn interruptible(
    work: impl Future<Output = Result<bool, Failure>>,
    farewell: &str,
) -> Result<bool, Failure> {
    let signals = Signals::new([Signal::Int, Signal::Term, Signal::Hup]);
    let mut signals =
        signals.map_err(|error| Failure::Other(format!("cannot catch signals: {error}")))?;
    let interrupted = async {
        match signals.next().await {
            Some(Ok(_)) => Err(Failure::Other(farewell.to_owned())),
            _ => std::future::pending().await,
        }
    };
    work.or(interrupted).await
}
