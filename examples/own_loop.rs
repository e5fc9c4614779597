//! The gate alone, around an accept loop of one's own.
//!
//! `cargo run --example own_loop`, connect to 127.0.0.1:48879, then Ctrl-C.

use std::io;
use std::time::Duration;

use futures::future::{Either, FutureExt, select};
use futures::io::AsyncWriteExt;
use futures::stream::StreamExt;
use lameduck::{Guard, Shutdown};
use smol::net::{TcpListener, TcpStream};

async fn echo(mut stream: TcpStream, mut guard: Guard) -> io::Result<()> {
    let mut buffer = [0; 4096];
    while let Some(n) = guard.read_or_drain(&mut stream, &mut buffer).await? {
        stream.write_all(&buffer[..n]).await?;
    }
    stream.close().await // ends our side; a server would linger as well
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    smol::block_on(async {
        // Signals are caught before the first client can connect.
        let mut signals = async_signal::Signals::new([async_signal::Signal::Int])?;
        let shutdown = Shutdown::new();
        let asked = shutdown.clone();
        smol::spawn(async move {
            signals.next().await;
            asked.stop("Ctrl-C");
        })
        .detach();

        let listener = TcpListener::bind("127.0.0.1:48879").await?;
        println!("listening on {}", listener.local_addr()?);
        let accept_guard = shutdown.try_guard()?; // the loop itself is one who lives
        let serve = |stream| {
            // The guard is taken here, not inside of the task.
            accept_guard
                .try_clone()
                .map(|guard| smol::spawn(echo(stream, guard)).detach())
        };

        let mut draining = shutdown.draining();
        loop {
            let accept = std::pin::pin!(listener.accept());
            match select(accept, &mut draining).await {
                Either::Left((Ok((stream, _)), _)) => serve(stream)?,
                Either::Left((Err(error), _)) => {
                    // Such as no descriptor left: later there may be one.
                    eprintln!("accepting: {error}");
                    smol::Timer::after(Duration::from_millis(50)).await;
                }
                Either::Right(_) => break,
            }
        }
        // Who is in the queue was here before the stop: served as well.
        while let Some(Ok((stream, _))) = listener.accept().now_or_never() {
            serve(stream)?;
        }
        drop(listener);
        drop(accept_guard);
        shutdown.stopped().await;
        println!("stopped");
        Ok(())
    })
}
