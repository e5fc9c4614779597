//! Does a service lose data when it is stopped? A line-based one that does, how
//! that is found, and the same one mended.
//!
//! As a test of your own it is the function `answers_are_never_lost`, with
//! `#[test]` above it: see docs/simulation.md.

use std::io;
use std::panic::catch_unwind;

use futures::future::{Either, select};
use futures::io::{AsyncReadExt, AsyncWriteExt};
use lameduck::sim;
use lameduck::{Connection, Session};

/// Answers each line with its length. Wrong: it waits for the stop and for
/// input at once, and takes the stop when it has both.
async fn wrong(mut session: Session<impl Connection>) -> io::Result<()> {
    let mut byte = [0];
    let mut length = 0u8;
    let mut draining = session.draining();
    loop {
        match select(&mut draining, session.read(&mut byte)).await {
            Either::Left(_) | Either::Right((Ok(0), _)) => return Ok(()),
            Either::Right((read, _)) => read?,
        };
        length = answer(&mut session, byte[0], length).await?;
    }
}

/// Mended: between two lines it waits where the stop may end it, and where what
/// has arrived comes first; inside of a line it is not idle.
async fn mended(mut session: Session<impl Connection>) -> io::Result<()> {
    let mut byte = [0];
    while session.read_or_drain(&mut byte).await?.is_some() {
        let mut length = answer(&mut session, byte[0], 0).await?;
        while byte[0] != b'\n' {
            session.read_exact(&mut byte).await?;
            length = answer(&mut session, byte[0], length).await?;
        }
    }
    Ok(())
}

/// Counts a byte; a newline is answered with the count, and ends it.
async fn answer(
    session: &mut Session<impl Connection>,
    byte: u8,
    length: u8,
) -> io::Result<u8> {
    if byte != b'\n' {
        return Ok(length.wrapping_add(1));
    }
    session.write_all(&[length]).await?;
    Ok(0)
}

/// The test, in a thousand stops.
fn answers_are_never_lost<F>(handler: fn(Session<sim::Connection>) -> F)
where
    F: Future<Output = io::Result<()>> + Send + 'static,
{
    sim::check(|sim| {
        sim.serve(handler);
        for _ in 0..=sim.choose(3) {
            sim.client(async |client| {
                client.exchange(b"four\n", &[4]).await?;
                client.exchange(b"seven77\n", &[7]).await
            });
        }
    });
}

fn main() {
    println!("The wrong one:");
    let caught = catch_unwind(|| answers_are_never_lost(wrong));
    assert!(caught.is_err(), "it should have been caught");

    answers_are_never_lost(mended);
    println!("The mended one loses nothing.");
}
