//! Three routes on axum, stopped by `with_graceful_shutdown`.

use std::io;

use axum::Router;
use axum::body::Bytes;
use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::routing::get;
use lameduck_compare::{GRACE, LARGE, SMALL, address, terminated};
use tokio::net::TcpListener;
use tower_http::timeout::TimeoutLayer;

#[tokio::main]
async fn main() -> io::Result<()> {
    let terminated = terminated()?;
    let router = Router::new()
        .route("/", get(async || SMALL).post(async |body: Bytes| body))
        .route("/large", get(async || Bytes::from_static(&LARGE)))
        .layer(DefaultBodyLimit::disable())
        // The only limit of a stop that axum has: one for every request.
        .layer(TimeoutLayer::with_status_code(
            StatusCode::REQUEST_TIMEOUT,
            GRACE,
        ));
    let listener = TcpListener::bind(address()?).await?;
    axum::serve(listener, router)
        .with_graceful_shutdown(terminated)
        .await
}
