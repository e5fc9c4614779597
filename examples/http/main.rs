//! An HTTP server that stops without losing a request, on any runtime.
//!
//! `cargo run --release --example http`, then Ctrl-C.
//!
//! | request | answer |
//! | --- | --- |
//! | `GET /` | a line |
//! | `POST /` | the body |
//! | `GET /large` | 4 MiB |
//! | `GET /slow?ms=N` | a line after N ms |
//! | `GET /stream` | server-sent events, which end when the server drains |
//! | `GET /ws` | a WebSocket that echoes messages |
//! | `GET /readyz` | 200 while the server is ready, else 503 |

mod args;
mod routes;
mod websocket;

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use lameduck::handover::Restart;
use lameduck::http::{HealthPaths, Http};
use lameduck::runtimes::{async_std::AsyncStd, smol::Smol, tokio::Tokio};
use lameduck::tls::{Tls, TlsConfig};
use lameduck::{Report, Runtime, Server, Signal};
use log::info;

use args::{Args, Choice};
use routes::Routes;

/// More than a balancer takes from its connect to its request.
const SETTLE: Duration = Duration::from_millis(100);

async fn serve<R: Runtime>(runtime: R, args: Args) -> Result<Report, Box<dyn Error>> {
    let mut builder = Server::builder(runtime.clone())
        .grace_period(args.grace)
        .lame_duck(args.lame_duck)
        // With a balancer in front: a connection that it has just opened is read
        // on for its first request.
        .settle(args.lame_duck.min(SETTLE))
        // Also if nobody reads what is logged.
        .hard_deadline(Duration::from_secs(1), 4)
        // Sockets that a supervisor holds outlive a restart.
        .socket_activation();
    for address in args.listen {
        builder = builder.listen(address);
    }
    if args.restart {
        builder = builder.restart(Restart::on(Signal::Hangup));
    }
    let http = Http::new(Routes::new(runtime)).health(HealthPaths::default());
    Ok(builder.bind()?.serve_http(http).await)
}

/// Serves on `runtime`, with TLS where there are certificates.
async fn run_on<R: Runtime>(runtime: R, args: Args) -> Result<Report, Box<dyn Error>> {
    match (&args.tls_cert, &args.tls_key) {
        (Some(certificates), Some(key)) => {
            let config = TlsConfig::from_pem_files(certificates, key)?;
            serve(Tls::new(runtime, config.with_http_protocols()), args).await
        }
        _ => serve(runtime, args).await,
    }
}

fn run(args: Args) -> Result<Report, Box<dyn Error>> {
    match args.runtime {
        Choice::Smol => smol::block_on(run_on(Smol, args)),
        Choice::AsyncStd => async_std::task::block_on(run_on(AsyncStd, args)),
        Choice::Tokio => {
            let runtime = tokio::runtime::Runtime::new()?;
            let tokio = Tokio::new(runtime.handle().clone());
            let report = runtime.block_on(run_on(tokio, args));
            // A handler that holds a worker does not hold up the exit.
            runtime.shutdown_background();
            report
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
