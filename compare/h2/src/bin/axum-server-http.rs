//! Three routes of axum on axum-server, stopped by `Handle::graceful_shutdown`.

use std::io;

use axum::Router;
use axum::body::Bytes;
use axum::extract::DefaultBodyLimit;
use axum::routing::get;
use axum_server::Handle;
use lameduck_compare_h2::{GRACE, LARGE, address, terminated};

#[tokio::main]
async fn main() -> io::Result<()> {
    let terminated = terminated()?;
    let large = Bytes::from(vec![b'x'; LARGE]);
    let router = Router::new()
        .route("/", get(async || "hello\n").post(async |body: Bytes| body))
        .route("/large", get(async move || large.clone()))
        .layer(DefaultBodyLimit::disable());
    let handle = Handle::new();
    let shutdown = handle.clone();
    tokio::spawn(async move {
        terminated.await;
        shutdown.graceful_shutdown(Some(GRACE));
    });
    axum_server::bind(address()?)
        .handle(handle)
        .serve(router.into_make_service())
        .await
}
