//! Measures how many stops a second can be simulated: those of an echo service
//! with ten connections, half of them idle and half in the middle of something.

use std::io::{self, IsTerminal};
use std::time::Instant;

use clap::Parser;
use futures::io::AsyncWriteExt;
use lameduck::Session;
use lameduck::sim::{Check, Connection, Sim};

/// Simulates stops of a service with ten connections, and measures the rate.
#[derive(Parser)]
struct Args {
    /// The number of stops
    #[arg(default_value_t = 20_000)]
    stops: u64,
}

async fn echo(mut session: Session<Connection>) -> io::Result<()> {
    let mut buffer = [0; 64];
    while let Some(n) = session.read_or_drain(&mut buffer).await? {
        session.write_all(&buffer[..n]).await?;
    }
    Ok(())
}

fn ten_clients(sim: &mut Sim) {
    sim.serve(echo);
    for _ in 0..5 {
        sim.client(async |client| client.exchange_bytes(b"then idle", b"then idle").await);
        sim.client(async |client| {
            client.exchange_bytes(b"one", b"one").await?;
            client.exchange_bytes(b"two", b"two").await
        });
    }
}

fn main() {
    let stops = Args::parse().stops;
    let begun = Instant::now();
    let chunk = 10_000.min(stops).max(1);
    for first in (0..stops).step_by(chunk as usize) {
        let cases = chunk.min(stops - first);
        Check::new().from(first).cases(cases).run(ten_clients);
        if io::stderr().is_terminal() {
            eprint!("\r{} of {stops}", first + cases);
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    let rate = stops as f64 / seconds;
    println!("\r{stops} stops in {seconds:.1} s: {rate:.0} a second, nothing lost");
}
