//! Clients that neither read nor close, and a signal that is repeated.

use std::time::{Duration, Instant};

use smol::Timer;
use smol::future::FutureExt;

use crate::bench::{Bench, Guest, excuse};
use crate::client::{Connection, Record};
use crate::setup::Failure;
use crate::verdict::Round;

const NARROW: usize = 16 * 1024;

/// A pipe is full when nothing moves for so long.
const QUIET: Duration = Duration::from_millis(150);

/// The most that a client writes, and how long it tries.
const MOST: u64 = 64 << 20;
const PATIENCE: Duration = Duration::from_secs(3);

/// Two signals of a kind merge while the first one is not yet delivered (F36).
const BETWEEN: Duration = Duration::from_millis(300);

/// The server must end within the limit all the same.
pub(crate) async fn run(bench: &mut Bench, count: usize) -> Result<Round, Failure> {
    let guests = stubborn(bench, count).await?;
    let from = bench.signal()?;
    let round = bench.settle(from, bench.setup.limit).await;
    drop(guests);
    Ok(round)
}

/// The second signal must end it soon.
pub(crate) async fn second_signal(bench: &mut Bench, count: usize) -> Result<Round, Failure> {
    let guests = stubborn(bench, count).await?;
    bench.signal()?;
    refused(bench).await;
    if bench.server.ended_within(BETWEEN).await.is_some() {
        bench.note("it ended on the first signal, before the second one came");
        let from = Instant::now();
        return Ok(bench.settle(from, bench.setup.escalation).await);
    }
    let from = Instant::now();
    bench.signal()?;
    let round = bench.settle(from, bench.setup.escalation).await;
    drop(guests);
    Ok(round)
}

/// Half of them leave the server stuck in a write, half just never close.
async fn stubborn(bench: &mut Bench, count: usize) -> Result<Vec<Guest>, Failure> {
    let mut guests = bench.served("never closing", count).await?;
    let mut fillers = Vec::new();
    for _ in 0..count {
        let (id, record) = bench.enter("never reading");
        let target = bench.target.clone();
        let Ok(connection) = Connection::open_narrow(&target, &record, NARROW).await else {
            return Err(bench.not_ready("it refuses a connection"));
        };
        let request = match &target.large_path {
            Some(path) => target.get(path),
            None => target.request(id, 0),
        };
        fillers.push(smol::spawn(fill(id, record, connection, request.bytes)));
    }
    for filler in fillers {
        guests.push(filler.await);
    }
    excuse(&guests);
    Ok(guests)
}

async fn fill(id: usize, record: Record, mut connection: Connection, bytes: Vec<u8>) -> Guest {
    let many = bytes.repeat(1 + 16 * 1024 / bytes.len().max(1));
    let filled = connection.fill(|_| many.clone(), QUIET, MOST);
    let late = async {
        Timer::after(PATIENCE).await;
        Err(crate::client::Gone)
    };
    // Whether it is full or not: from here on this client does nothing.
    let _ = filled.or(late).await;
    Guest {
        id,
        record,
        connection,
    }
}

/// The listener's end is the first that is seen of a stop; not every server shows it.
async fn refused(bench: &Bench) {
    let begun = Instant::now();
    while begun.elapsed() < BETWEEN {
        let record = Record::new();
        let open = async { Connection::open(&bench.target, &record).await.is_err() };
        let late = async {
            Timer::after(BETWEEN).await;
            true
        };
        if open.or(late).await {
            return;
        }
        Timer::after(Duration::from_millis(10)).await;
    }
}
