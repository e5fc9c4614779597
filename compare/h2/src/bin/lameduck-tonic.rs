//! The same service on lameduck.

use std::error::Error;
use std::process::ExitCode;

use lameduck::http::Http;
use lameduck::runtimes::tokio::Tokio;
use lameduck::{Report, Server};
use lameduck_compare_h2::{GRACE, address, echo};

async fn serve() -> Result<Report, Box<dyn Error>> {
    let (routes, _reporter) = echo::routes().await;
    let server = Server::builder(Tokio::current()?)
        .grace_period(GRACE)
        .listen(address()?)
        .bind()?;
    Ok(server.serve_http(Http::tower(routes.prepare())).await)
}

#[tokio::main]
async fn main() -> ExitCode {
    match serve().await {
        // Nothing is printed: a log that nobody reads would hold up the exit.
        Ok(report) => report.exit_code(),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
