//! Clients that neither read nor close, and a signal that is repeated.

use std::time::{Duration, Instant};

use smol::Timer;
use smol::future::FutureExt;

use crate::client::{Connection, Journal};
use crate::round::{Client, Round, ignore};
use crate::setup::Failure;
use crate::verdict::RoundResult;

const NARROW: usize = 16 * 1024;

/// A pipe is full when nothing moves for so long.
const QUIET: Duration = Duration::from_millis(150);

/// The most that a client writes, and how long it tries.
const MOST: u64 = 64 << 20;
const PATIENCE: Duration = Duration::from_secs(3);

/// Two signals of a kind merge while the first one is not yet delivered (F36).
const BETWEEN: Duration = Duration::from_millis(300);

/// The server must end within the limit all the same.
pub(crate) async fn run(round: &mut Round, count: usize) -> Result<RoundResult, Failure> {
    let clients = stubborn(round, count).await?;
    let from = round.signal()?;
    let result = round.settle(from, round.setup.limit).await;
    drop(clients);
    Ok(result)
}

/// The second signal must end it soon.
pub(crate) async fn second_signal(
    round: &mut Round,
    count: usize,
) -> Result<RoundResult, Failure> {
    let clients = stubborn(round, count).await?;
    round.signal()?;
    refused(round).await;
    if round.server.ended_within(BETWEEN).await.is_some() {
        round.note("it ended on the first signal, before the second one came");
        let from = Instant::now();
        return Ok(round.settle(from, round.setup.escalation).await);
    }
    let from = Instant::now();
    round.signal()?;
    let result = round.settle(from, round.setup.escalation).await;
    drop(clients);
    Ok(result)
}

/// Half of them leave the server stuck in a write, half just never close.
async fn stubborn(round: &mut Round, count: usize) -> Result<Vec<Client>, Failure> {
    let mut clients = round.served("never closing", count).await?;
    let mut fillers = Vec::new();
    for _ in 0..count {
        let (id, record) = round.enter("never reading");
        let target = round.target.clone();
        let Ok(connection) = Connection::open_narrow(&target, &record, NARROW).await else {
            return Err(round.not_ready("it refuses a connection"));
        };
        let request = match &target.large_path {
            Some(path) => target.get(path),
            None => target.request(id, 0),
        };
        fillers.push(smol::spawn(fill(id, record, connection, request.bytes)));
    }
    for filler in fillers {
        clients.push(filler.await);
    }
    ignore(&clients);
    Ok(clients)
}

async fn fill(
    id: usize,
    record: Journal,
    mut connection: Connection,
    bytes: Vec<u8>,
) -> Client {
    let many = bytes.repeat(1 + 16 * 1024 / bytes.len().max(1));
    let filled = connection.fill(|_| many.clone(), QUIET, MOST);
    let late = async {
        Timer::after(PATIENCE).await;
        Err(crate::client::Disconnected)
    };
    // Whether it is full or not: from here on this client does nothing.
    let _ = filled.or(late).await;
    Client {
        id,
        record,
        connection,
    }
}

/// The listener's end is the first that is seen of a stop; not every server shows it.
async fn refused(round: &Round) {
    let begun = Instant::now();
    while begun.elapsed() < BETWEEN {
        let record = Journal::new();
        let open = async { Connection::open(&round.target, &record).await.is_err() };
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
