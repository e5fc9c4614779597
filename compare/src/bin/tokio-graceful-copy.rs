//! A TCP echo on tokio, stopped by tokio-graceful; a connection is copied back
//! until its client ends it, which is what the crate's own TCP example does.

use std::error::Error;
use std::io;

use lameduck_compare::{GRACE, PAUSE, address, terminated};
use tokio::net::{TcpListener, TcpStream};
use tokio_graceful::{Shutdown, ShutdownGuard};

async fn echo(mut stream: TcpStream) -> io::Result<u64> {
    let (mut reader, mut writer) = stream.split();
    tokio::io::copy(&mut reader, &mut writer).await
}

async fn serve(listener: TcpListener, guard: ShutdownGuard) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = guard.cancelled() => break,
        };
        match accepted {
            Ok((stream, _)) => {
                guard.spawn_task(echo(stream));
            }
            Err(error) => {
                eprintln!("accept: {error}");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let shutdown = Shutdown::new(terminated()?);
    let listener = TcpListener::bind(address()?).await?;
    shutdown.spawn_task_fn(move |guard| serve(listener, guard));
    shutdown.shutdown_with_limit(GRACE).await?;
    Ok(())
}
