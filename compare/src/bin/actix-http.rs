//! Three routes on actix-web, stopped by its own handling of signals.

use std::io;

use actix_web::web::{self, Bytes, PayloadConfig};
use actix_web::{App, HttpServer};
use lameduck_compare::{GRACE, LARGE, SMALL, address};

#[actix_web::main]
async fn main() -> io::Result<()> {
    let app = || {
        App::new()
            .app_data(PayloadConfig::new(usize::MAX))
            .route("/", web::get().to(async || SMALL))
            .route("/", web::post().to(async |body: Bytes| body))
            .route("/large", web::get().to(async || Bytes::from_static(&LARGE)))
    };
    // SIGTERM is its graceful stop, SIGINT and SIGQUIT are the quick ones.
    HttpServer::new(app)
        .shutdown_timeout(GRACE.as_secs())
        .bind(address()?)?
        .run()
        .await
}
