//! `lameduck check`: starts any server, loads it, stops it, and says what its
//! clients lost. It sees the server only from outside.

mod args;
mod bench;
mod check;
mod child;
mod client;
mod limits;
mod output;
mod proc;
mod ready;
mod scenario;
mod setup;
mod signal;
mod table;
mod verdict;

use std::process::ExitCode;

use async_signal::{Signal, Signals};
use clap::Parser;
use smol::future::FutureExt;
use smol::stream::StreamExt;

use crate::args::{Args, Command};
use crate::setup::Failure;

/// Something was lost.
const LOST: u8 = 1;

/// It could not run, or not to its end.
const FAILED: u8 = 2;

fn main() -> ExitCode {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("warn")).init();
    let args = Args::parse();
    limits::raise();
    let result = smol::block_on(interruptible(run(args.command)));
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(LOST),
        Err(failure) => {
            eprintln!("lameduck: {failure}");
            ExitCode::from(FAILED)
        }
    }
}

/// Whether nothing was lost.
async fn run(command: Command) -> Result<bool, Failure> {
    match command {
        Command::Check(options) => check::run(*options).await,
    }
}

/// On a signal the work is dropped, and every server with it.
async fn interruptible(
    work: impl Future<Output = Result<bool, Failure>>,
) -> Result<bool, Failure> {
    let signals = Signals::new([Signal::Int, Signal::Term, Signal::Hup]);
    let mut signals =
        signals.map_err(|error| Failure::Other(format!("cannot catch signals: {error}")))?;
    let interrupted = async {
        match signals.next().await {
            Some(Ok(_)) => Err(Failure::Other(
                "interrupted; the server was stopped, and nothing of it is left".to_owned(),
            )),
            _ => std::future::pending().await,
        }
    };
    work.or(interrupted).await
}
