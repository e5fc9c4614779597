//! A TCP echo on tokio, stopped by tokio-graceful; a connection ends between two
//! reads once its guard says so.

use std::error::Error;
use std::io;

use lameduck_compare::{BUFFER, GRACE, PAUSE, address, terminated};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_graceful::{Shutdown, ShutdownGuard};

async fn echo(mut stream: TcpStream, guard: ShutdownGuard) -> io::Result<()> {
    let mut buffer = [0; BUFFER];
    loop {
        let n = tokio::select! {
            read = stream.read(&mut buffer) => read?,
            () = guard.cancelled() => break,
        };
        if n == 0 {
            break;
        }
        stream.write_all(&buffer[..n]).await?;
    }
    stream.shutdown().await
}

async fn serve(listener: TcpListener, guard: ShutdownGuard) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = guard.cancelled() => break,
        };
        match accepted {
            Ok((stream, _)) => {
                guard.spawn_task_fn(move |guard| echo(stream, guard));
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
