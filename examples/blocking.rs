//! Work that blocks, and a stop that is in time all the same.
//!
//! `cargo run --example blocking -- --runtime tokio`, send `block 60000` or
//! `hold 60000`, then Ctrl-C twice: the process ends at once.

use std::error::Error;
use std::io;
use std::thread::sleep;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use futures::io::{AsyncReadExt, AsyncWriteExt};
use lameduck::runtimes::{async_std::AsyncStd, smol::Smol, tokio::Tokio};
use lameduck::{Address, Connection, Report, Runtime, Server, Session};

/// Blocks as long as its clients ask for: `block MS` in a thread for blocking
/// work, as it should be, and `hold MS` in the handler itself, which takes a
/// thread from all others.
#[derive(Parser)]
struct Args {
    /// Listen on IP:PORT
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:48879")]
    listen: Address,
    /// The longest time that a stop may take
    #[arg(long, value_parser = humantime::parse_duration, default_value = "25s")]
    grace: Duration,
    /// The runtime to serve on
    #[arg(long, value_enum, default_value = "tokio")]
    runtime: Choice,
    /// The number of tokio's workers
    #[arg(long, default_value_t = 2)]
    workers: usize,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Choice {
    Smol,
    AsyncStd,
    /// With some workers
    Tokio,
    /// With one thread, while the server is polled by another one
    TokioCurrentThread,
}

async fn block(mut session: Session<impl Connection>, choice: Choice) -> io::Result<()> {
    let mut line = Vec::new();
    let mut byte = [0];
    while session.read_or_drain(&mut byte).await?.is_some() {
        // Inside of a line it may not be stopped.
        while byte != *b"\n" {
            line.push(byte[0]);
            session.read_exact(&mut byte).await?;
        }
        let text = String::from_utf8_lossy(&line).into_owned();
        let time = text
            .split_once(' ')
            .and_then(|(_, ms)| ms.trim().parse().ok());
        let time = Duration::from_millis(time.unwrap_or(0));
        session.write_all(b"begun\n").await?;
        let work = move || sleep(time);
        match choice {
            _ if text.starts_with("hold") => work(),
            Choice::Smol => smol::unblock(work).await,
            Choice::AsyncStd => async_std::task::spawn_blocking(work).await,
            Choice::Tokio | Choice::TokioCurrentThread => {
                tokio::task::spawn_blocking(work).await?;
            }
        }
        session.write_all(b"done\n").await?;
        line.clear();
    }
    Ok(())
}

async fn serve<R: Runtime>(runtime: R, args: Args) -> Result<Report, Box<dyn Error>> {
    let builder = Server::builder(runtime).grace_period(args.grace);
    let server = builder.listen(args.listen).bind()?;
    let choice = args.runtime;
    Ok(server.serve(move |session| block(session, choice)).await)
}

fn serve_on_tokio(args: Args) -> Result<Report, Box<dyn Error>> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(args.workers).enable_io().build()?;
    let report = runtime.block_on(serve(Tokio::new(runtime.handle().clone()), args));
    // To drop it would wait for each thread that is held.
    runtime.shutdown_background();
    report
}

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
    log::info!("{report}");
    Ok(report)
}
