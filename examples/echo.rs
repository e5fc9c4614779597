//! An echo service that stops without losing a byte.
//!
//! `cargo run --release --example echo`, then Ctrl-C.

#![cfg_attr(not(any(feature = "smol", feature = "async-std")), allow(dead_code))]

use std::error::Error;
use std::io;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use futures::io::AsyncWriteExt;
use lameduck::{Address, Connection, Report, Runtime, Server, Session};
use log::info;

/// Answers each connection with what it sends, and stops on SIGINT or SIGTERM.
///
/// The first signal drains, the second one forces. Exit status: 0 clean,
/// 1 could not run, 2 usage, 3 something was forced or abandoned.
#[derive(Parser)]
struct Args {
    /// Where to listen: IP:PORT, [IPV6]:PORT or unix:PATH; repeatable
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:48879")]
    listen: Vec<Address>,
    /// The longest time that a stop may take
    #[arg(long, value_parser = humantime::parse_duration, default_value = "25s")]
    grace: Duration,
    /// Take the sockets that are passed on (LISTEN_FDS), and restart without a
    /// gap on SIGHUP
    #[cfg(feature = "handover")]
    #[arg(long)]
    restart: bool,
    /// The runtime to serve on; default: the one that is compiled in
    #[arg(long)]
    runtime: Option<Choice>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Choice {
    #[cfg(feature = "smol")]
    Smol,
    #[cfg(feature = "async-std")]
    AsyncStd,
}

async fn echo(mut session: Session<impl Connection>) -> io::Result<()> {
    info!("{} connected", session.peer_addr());
    let mut buffer = [0; 4096];
    while let Some(n) = session.read_or_drain(&mut buffer).await? {
        session.write_all(&buffer[..n]).await?;
    }
    info!("disconnecting {}", session.peer_addr());
    Ok(())
}

async fn serve<R: Runtime>(runtime: R, args: Args) -> Result<Report, Box<dyn Error>> {
    let mut builder = Server::builder(runtime).grace_period(args.grace);
    for address in args.listen {
        builder = builder.listen(address);
    }
    #[cfg(feature = "handover")]
    if args.restart {
        let restart = lameduck::handover::Restart::on(lameduck::Signal::Hangup);
        builder = builder.restart(restart);
    }
    Ok(builder.bind()?.serve(echo).await)
}

fn run(args: Args) -> Result<Report, Box<dyn Error>> {
    let choice = args.runtime.or(Choice::value_variants().first().copied());
    match choice.ok_or("no runtime is compiled in: build with --features smol")? {
        #[cfg(feature = "smol")]
        Choice::Smol => smol::block_on(serve(lameduck::runtimes::smol::Smol, args)),
        #[cfg(feature = "async-std")]
        Choice::AsyncStd => {
            async_std::task::block_on(serve(lameduck::runtimes::async_std::AsyncStd, args))
        }
    }
}

fn main() -> ExitCode {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("info")).init();
    match run(Args::parse()) {
        Ok(report) => {
            info!("{report}");
            report.exit_code()
        }
        Err(error) => {
            log::error!("{error}");
            ExitCode::FAILURE
        }
    }
}
