//! The service on tonic's own server, stopped by `serve_with_shutdown`.

use std::error::Error;

use lameduck_compare_h2::{address, echo, terminated};
use tonic::transport::Server;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let terminated = terminated()?;
    let (routes, _reporter) = echo::routes().await;
    Server::builder()
        .add_routes(routes)
        .serve_with_shutdown(address()?, terminated)
        .await?;
    Ok(())
}
