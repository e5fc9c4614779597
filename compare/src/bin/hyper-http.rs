//! Three routes on hyper, stopped by hyper-util's `GracefulShutdown`.

use std::io;
use std::pin::pin;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use lameduck_compare::{GRACE, LARGE, PAUSE, SMALL, address, terminated};
use tokio::net::TcpListener;

async fn answer(request: Request<Incoming>) -> hyper::Result<Response<Full<Bytes>>> {
    let mut response = Response::default();
    *response.body_mut() = match (request.method(), request.uri().path()) {
        (&Method::GET, "/") => Bytes::from_static(SMALL.as_bytes()).into(),
        (&Method::GET, "/large") => Bytes::from_static(&LARGE).into(),
        (&Method::POST, "/") => request.into_body().collect().await?.to_bytes().into(),
        _ => {
            *response.status_mut() = StatusCode::NOT_FOUND;
            Full::default()
        }
    };
    Ok(response)
}

#[tokio::main]
async fn main() -> io::Result<()> {
    let mut terminated = pin!(terminated()?);
    let listener = TcpListener::bind(address()?).await?;
    let mut server = http1::Builder::new();
    // Without a timer hyper's limit for the reading of a header is off.
    server.timer(TokioTimer::new());
    let graceful = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut terminated => break,
        };
        match accepted {
            Ok((stream, _)) => {
                let connection =
                    server.serve_connection(TokioIo::new(stream), service_fn(answer));
                // A client that goes away is no error of the server.
                tokio::spawn(graceful.watch(connection));
            }
            Err(error) => {
                eprintln!("accept: {error}");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    drop(listener);
    tokio::time::timeout(GRACE, graceful.shutdown()).await?;
    Ok(())
}
