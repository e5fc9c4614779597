//! An axum application that stops without losing a request.
//!
//! `cargo run --release --example axum`, then Ctrl-C. The routes are those of
//! the example `http`.
//!
//! What changes in a program that calls `axum::serve` with a graceful shutdown:
//!
//! ```text
//! -    let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
//! -    axum::serve(listener, app).with_graceful_shutdown(shutdown_signal()).await?;
//! +    let server = Server::builder(Tokio::current()?).listen("127.0.0.1:8080").bind()?;
//! +    let report = server.serve_http(Http::tower(app)).await;
//! ```
//!
//! and the future `shutdown_signal` goes: signals are the server's.

mod args;

use std::convert::Infallible;
use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::extract::{DefaultBodyLimit, Extension, RawQuery};
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use clap::Parser;
use futures::stream::{self, StreamExt};
use lameduck::http::{ConnectionInfo, HealthPaths, Http};
use lameduck::runtimes::tokio::Tokio;
use lameduck::tls::{Tls, TlsConfig};
use lameduck::{Report, Runtime, Server, SessionHandle};
use log::info;

use args::Args;

/// The longest body that is sent back.
const BODY_LIMIT: usize = 16 * 1024 * 1024;
const LARGE: usize = 4 * 1024 * 1024;
/// More than a balancer takes from its connect to its request.
const SETTLE: Duration = Duration::from_millis(100);
/// How long a WebSocket's client may take to answer a close. The task is axum's own: an
/// abort ends its reads and writes, but not what it waits for besides.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

fn app() -> Router {
    let large = Bytes::from(vec![b'x'; LARGE]);
    Router::new()
        .route("/", get(async || "hello\n").post(async |body: Bytes| body))
        .route("/large", get(async move || large.clone()))
        .route("/slow", get(slow))
        .route("/stream", get(events))
        .route("/ws", get(websocket))
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
}

async fn slow(RawQuery(query): RawQuery) -> Response {
    let ms = query.as_deref().and_then(|query| query.strip_prefix("ms="));
    let Some(ms) = ms.and_then(|ms| ms.parse().ok()) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    tokio::time::sleep(Duration::from_millis(ms)).await;
    "slow\n".into_response()
}

/// One event a second, until the server drains.
async fn events(Extension(connection): Extension<ConnectionInfo>) -> impl IntoResponse {
    let ticks = stream::unfold(0_u64, |tick| async move {
        if tick > 0 {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        Some((format!("data: {tick}\n\n"), tick + 1))
    });
    let events = connection.until_draining(ticks).map(Ok::<_, Infallible>);
    let headers = [
        (CONTENT_TYPE, "text/event-stream"),
        (CACHE_CONTROL, "no-store"),
    ];
    (headers, Body::from_stream(events))
}

async fn websocket(
    Extension(connection): Extension<ConnectionInfo>,
    upgrade: WebSocketUpgrade,
) -> Response {
    match connection.handle() {
        Ok(handle) => upgrade.on_upgrade(|socket| echo(socket, handle)),
        Err(_) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

/// Echoes messages, and says good bye when the server drains.
async fn echo(mut socket: WebSocket, mut handle: SessionHandle) {
    // Messages that had arrived come before the stop.
    while let Some(message) = handle.next_or_drain(socket.recv(), || true).await {
        let sent = match message {
            Some(Ok(message @ (Message::Text(_) | Message::Binary(_)))) => {
                socket.send(message).await
            }
            // Pings and closes are answered by the library.
            Some(Ok(_)) => Ok(()),
            Some(Err(_)) | None => return,
        };
        if sent.is_err() {
            return;
        }
    }
    let close = CloseFrame {
        code: close_code::AWAY,
        reason: "the server stops".into(),
    };
    if socket.send(Message::Close(Some(close))).await.is_ok() {
        // The client answers with a close of its own; one that is gone does not.
        let answer = async { while let Some(Ok(_)) = socket.recv().await {} };
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, answer).await;
    }
}

async fn serve<R: Runtime>(runtime: R, args: Args) -> Result<Report, Box<dyn Error>> {
    let mut builder = Server::builder(runtime)
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
    let http = Http::tower(app()).health(HealthPaths::default());
    Ok(builder.bind()?.serve_http(http).await)
}

async fn run(args: Args) -> Result<Report, Box<dyn Error>> {
    match (&args.tls_cert, &args.tls_key) {
        (Some(certificates), Some(key)) => {
            let config = TlsConfig::from_pem_files(certificates, key)?;
            serve(
                Tls::new(Tokio::current()?, config.with_http_protocols()),
                args,
            )
            .await
        }
        _ => serve(Tokio::current()?, args).await,
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("info")).init();
    match run(Args::parse()).await {
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
