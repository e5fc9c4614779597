//! A TCP echo on tokio, stopped by a `CancellationToken` and a `TaskTracker`.

use std::io;

use lameduck_compare::{BUFFER, PAUSE, address, terminated};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

async fn echo(mut stream: TcpStream, token: CancellationToken) -> io::Result<()> {
    let mut buffer = [0; BUFFER];
    loop {
        // Only the read is given up: what was read is always answered.
        let n = tokio::select! {
            read = stream.read(&mut buffer) => read?,
            () = token.cancelled() => break,
        };
        if n == 0 {
            break;
        }
        stream.write_all(&buffer[..n]).await?;
    }
    stream.shutdown().await
}

async fn serve(listener: TcpListener, tracker: TaskTracker, token: CancellationToken) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = token.cancelled() => break,
        };
        match accepted {
            Ok((stream, _)) => {
                tracker.spawn(echo(stream, token.clone()));
            }
            Err(error) => {
                eprintln!("accept: {error}");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

#[tokio::main]
async fn main() -> io::Result<()> {
    let terminated = terminated()?;
    let listener = TcpListener::bind(address()?).await?;
    let tracker = TaskTracker::new();
    let token = CancellationToken::new();
    tracker.spawn(serve(listener, tracker.clone(), token.clone()));
    terminated.await;
    token.cancel();
    tracker.close();
    tracker.wait().await;
    Ok(())
}
