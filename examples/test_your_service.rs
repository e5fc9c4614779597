//! A service of lines that loses data when it is stopped in two ways, how the
//! simulation finds both, and the same service mended.
//!
//! In a test of your own, take the function `answers_are_never_lost` with
//! `#[test]` above it: see docs/simulation.md.

use std::io;
use std::panic::catch_unwind;

use futures::future::{Either, select};
use futures::io::{AsyncReadExt, AsyncWriteExt};
use lameduck::sim;
use lameduck::{Connection, Session};

/// Answers each line with its length. Wrong: it waits for the stop and for
/// input at once, and bytes that come between its two looks are lost.
async fn racy(mut session: Session<impl Connection>) -> io::Result<()> {
    let mut byte = [0];
    let mut length = 0u8;
    let mut draining = session.draining();
    loop {
        match select(session.read(&mut byte), &mut draining).await {
            Either::Right(_) | Either::Left((Ok(0), _)) => return Ok(()),
            Either::Left((read, _)) => read?,
        };
        length = answer(&mut session, byte[0], length).await?;
    }
}

/// Wrong: in the middle of a line, too, it waits where the stop may end it, and
/// half a line is lost.
async fn careless(mut session: Session<impl Connection>) -> io::Result<()> {
    let (mut byte, mut length) = ([0], 0u8);
    while session.read_or_drain(&mut byte).await?.is_some() {
        length = answer(&mut session, byte[0], length).await?;
    }
    Ok(())
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

/// Counts a byte; a newline is answered with the count, and ends the line.
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

/// The test: a thousand stops.
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
    println!("Bytes between two looks:");
    let found = catch_unwind(|| answers_are_never_lost(racy));
    assert!(found.is_err(), "it should have been found");

    println!("Half a line:");
    let found = catch_unwind(|| answers_are_never_lost(careless));
    assert!(found.is_err(), "it should have been found");

    answers_are_never_lost(mended);
    println!("The mended service loses nothing.");
}
