//! An echo service that stops without losing anything.
//!
//! `cargo run --release --example echo`, then Ctrl-C.

use std::error::Error;
use std::io;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use futures::io::AsyncWriteExt;
use lameduck::handover::Restart;
use lameduck::runtimes::{async_std::AsyncStd, smol::Smol};
use lameduck::{Address, Connection, Report, Runtime, Server, Session, Signal};
use log::info;

/// Answers each connection with what it sends, and stops on SIGINT or SIGTERM.
///
/// The first signal drains, a later one aborts. Exit status: 0 clean, 1 could
/// not run, 2 usage, 3 something was aborted or abandoned.
#[derive(Parser)]
struct Args {
    /// Listen on IP:PORT, [IPV6]:PORT or unix:PATH; repeatable
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:48879")]
    listen: Vec<Address>,
    /// The longest time that a stop may take
    #[arg(long, value_parser = humantime::parse_duration, default_value = "25s")]
    grace: Duration,
    /// Take the sockets that are passed on (LISTEN_FDS), and restart without a
    /// gap on SIGHUP
    #[arg(long)]
    restart: bool,
    /// The runtime to serve on
    #[arg(long, value_enum, default_value = "smol")]
    runtime: Choice,
}

#[derive(Clone, Copy, ValueEnum)]
enum Choice {
    Smol,
    AsyncStd,
}

async fn echo(mut session: Session<impl Connection>) -> io::Result<()> {
    info!("{} connected", session.peer_addr());
    let mut buffer = [0; 4096];
    // The one place where the stop may end this connection.
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
    if args.restart {
        builder = builder.restart(Restart::on(Signal::Hangup));
    }
    Ok(builder.bind()?.serve(echo).await)
}

fn main() -> Result<Report, Box<dyn Error>> {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("info")).init();
    let args = Args::parse();
    let report = match args.runtime {
        Choice::Smol => smol::block_on(serve(Smol, args)),
        Choice::AsyncStd => async_std::task::block_on(serve(AsyncStd, args)),
    }?;
    info!("{report}");
    Ok(report)
}
