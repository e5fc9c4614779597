//! What `settle` is worth: how many messages that were on their way when the
//! stop came are answered.
//!
//! `cargo run --release --example settle`, which takes half a minute. Each of
//! 100 clients speaks about ten times a second, over a way that takes a
//! message some time. One is lost when it was sent before the stop and is
//! never answered.

use std::error::Error;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use futures::io::AsyncWriteExt;
use lameduck::{Address, Connection, Server, Session, runtimes::smol::Smol};

const STOPS: u32 = 5;
const CLIENTS: u64 = 100;

#[derive(Default)]
struct Count {
    sent: AtomicU64,
    lost: AtomicU64,
    stopped_at: Mutex<Option<Instant>>,
}

async fn echo(mut session: Session<impl Connection>) -> std::io::Result<()> {
    let mut buffer = [0; 64];
    while let Some(n) = session.read_or_drain(&mut buffer).await? {
        session.write_all(&buffer[..n]).await?;
    }
    Ok(())
}

/// Speaks until it is not answered any more.
fn speak(id: u64, address: SocketAddr, way: Duration, count: &Count) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(address)?;
    // Spread evenly over the time, and no two alike.
    thread::sleep(Duration::from_millis(id * 100 / CLIENTS));
    loop {
        thread::sleep(Duration::from_millis(95 + id % 10));
        let sent_at = Instant::now();
        thread::sleep(way);
        let mut answer = [0; 5];
        let spoken = stream.write_all(b"hello");
        let answered = spoken.and_then(|()| stream.read_exact(&mut answer));
        let stopped_at = count.stopped_at.lock().map_or(None, |at| *at);
        if stopped_at.is_none_or(|at| sent_at < at) {
            count.sent.fetch_add(1, Ordering::Relaxed);
            count
                .lost
                .fetch_add(answered.is_err().into(), Ordering::Relaxed);
        }
        answered?;
    }
}

fn stop_once(
    way: Duration,
    settle: Duration,
    count: &Arc<Count>,
) -> Result<(), Box<dyn Error>> {
    let loopback: SocketAddr = ([127, 0, 0, 1], 0).into();
    let server = Server::builder(Smol)
        .listen(loopback)
        .settle(settle)
        .bind()?;
    let Some(Address::Tcp(address)) = server.local_addrs().next().cloned() else {
        return Err("not on TCP".into());
    };
    let shutdown = server.shutdown();
    let serving = thread::spawn(|| smol::block_on(server.serve(echo)));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|id| (id, count.clone()))
        .map(|(id, count)| thread::spawn(move || speak(id, address, way, &count)))
        .collect();
    thread::sleep(Duration::from_millis(350));
    if let Ok(mut stopped_at) = count.stopped_at.lock() {
        *stopped_at = Some(Instant::now());
        shutdown.stop("enough");
    }
    let _ = serving.join().map_err(|_| "the server panicked")?;
    for client in clients {
        // It ends with the connection.
        let _ = client.join();
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    println!("messages lost in {STOPS} stops, of those sent before");
    for way in [0, 1, 5, 20, 50].map(Duration::from_millis) {
        for settle in [0, 1, 5, 20, 50].map(Duration::from_millis) {
            let (mut sent, mut lost) = (0, 0);
            for _ in 0..STOPS {
                let count = Arc::new(Count::default());
                stop_once(way, settle, &count)?;
                sent += count.sent.load(Ordering::Relaxed);
                lost += count.lost.load(Ordering::Relaxed);
            }
            println!("one way {way:?}, settle {settle:?}: {lost} of {sent}");
        }
    }
    Ok(())
}
