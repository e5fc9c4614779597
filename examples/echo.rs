//! An echo service that stops without losing anything.
//!
//! `cargo run --release --example echo`, then Ctrl-C.

use std::error::Error;
use std::io;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use futures::io::AsyncWriteExt;
use lameduck::handover::Restart;
use lameduck::runtimes::{async_std::AsyncStd, smol::Smol, tokio::Tokio};
use lameduck::{Address, Connection, Report, Runtime, Server, Session, Signal};
use log::info;

/// Answers each connection with what it sends, and stops on SIGINT or SIGTERM.
///
/// The first signal drains, a later one aborts. Exit status: 0 clean, 1 could
/// not run, 2 usage, 3 something was aborted or abandoned, 4 the hard deadline.
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
    /// With one worker for each processor
    Tokio,
    /// With one thread
    TokioCurrentThread,
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
    let mut builder = Server::builder(runtime)
        .grace_period(args.grace)
        // Also if nobody reads what is logged.
        .hard_deadline(Duration::from_secs(1), 4);
    for address in args.listen {
        builder = builder.listen(address);
    }
    if args.restart {
        builder = builder.restart(Restart::on(Signal::Hangup));
    }
    Ok(builder.bind()?.serve(echo).await)
}

/// Serves on tokio's workers. A handler that holds one, or that waits for
/// blocking work, cannot hold up the exit.
fn serve_on_tokio(args: Args) -> Result<Report, Box<dyn Error>> {
    let runtime = tokio::runtime::Runtime::new()?;
    let report = runtime.block_on(serve(Tokio::new(runtime.handle().clone()), args));
    runtime.shutdown_background();
    report
}

/// Serves on one thread of tokio, and polls the server on another one: a
/// handler that holds its thread does not hold up the stop.
fn serve_on_one_thread(args: Args) -> Result<Report, Box<dyn Error>> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_io().build()?;
    let tokio = Tokio::new(runtime.handle().clone());
    std::thread::spawn(move || runtime.block_on(std::future::pending::<()>()));
    futures::executor::block_on(serve(tokio, args))
}

fn main() -> Result<Report, Box<dyn Error>> {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("info")).init();
    let args = Args::parse();
    let report = match args.runtime {
        Choice::Smol => smol::block_on(serve(Smol, args)),
        Choice::AsyncStd => async_std::task::block_on(serve(AsyncStd, args)),
        Choice::Tokio => serve_on_tokio(args),
        Choice::TokioCurrentThread => serve_on_one_thread(args),
    }?;
    info!("{report}");
    Ok(report)
}
