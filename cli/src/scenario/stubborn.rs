//! Clients that neither read nor close, and a signal that is repeated.

use std::sync::Arc;
use std::time::{Duration, Instant};

use smol::Timer;
use smol::future::FutureExt;

use crate::client::{Connection, Disconnected, Journal, Target};
use crate::round::{Client, Round, ignore};
use crate::server::rest_within;
use crate::setup::{Failure, Protocol};
use crate::verdict::RoundResult;

const NARROW: usize = 16 * 1024;

/// A pipe is full when nothing moves for so long, and the server rests, or never does.
const QUIET: Duration = Duration::from_millis(150);
const RESTLESS: Duration = Duration::from_secs(2);

/// The most that a client writes, and how long it tries on a busy machine.
const MOST: u64 = 64 << 20;
const PATIENCE: Duration = Duration::from_secs(10);

/// Streams that a client opens at most where each needs a number of its own.
const STREAMS: u64 = 100;

/// Two signals of a kind merge while the first one is not yet delivered (F36).
const BETWEEN: Duration = Duration::from_millis(500);

/// The server must end within the limit all the same.
pub(crate) async fn run(round: &mut Round, count: usize) -> Result<RoundResult, Failure> {
    let clients = stubborn(round, count).await?;
    let from = round.stop()?;
    let result = round.settle(from, round.setup.limit).await;
    drop(clients);
    result
}

/// The second signal must end it soon.
pub(crate) async fn second_signal(
    round: &mut Round,
    count: usize,
) -> Result<RoundResult, Failure> {
    let clients = stubborn(round, count).await?;
    round.stop_and_wait().await?;
    refused(round).await;
    if round.server.ended_within(BETWEEN).await.is_some() {
        round.note("it ended on the first signal, before the second one came");
        let from = Instant::now();
        return round.settle(from, round.setup.escalation).await;
    }
    let from = Instant::now();
    round.stop()?;
    let result = round.settle(from, round.setup.escalation).await;
    drop(clients);
    result
}

/// Half of them leave the server stuck in a write, half just never close.
async fn stubborn(round: &mut Round, count: usize) -> Result<Vec<Client>, Failure> {
    let mut clients = round.served("never closing", count).await?;
    let target = Arc::new(Target {
        holds_windows: true,
        ..Target::clone(&round.target)
    });
    let mut fillers = Vec::new();
    for _ in 0..count {
        let (id, journal) = round.enter("never reading");
        let connection = async {
            Connection::open_narrow(&target, &journal, NARROW)
                .await
                .ok()
        };
        let late = async {
            Timer::after(PATIENCE).await;
            None
        };
        let Some(connection) = connection.or(late).await else {
            round.forget(id);
            round.note("it serves nobody else while clients that never read are connected");
            break;
        };
        let (target, processes) = (target.clone(), round.server.processes());
        fillers.push(smol::spawn(fill(
            id, journal, connection, target, processes,
        )));
    }
    for filler in fillers {
        clients.push(filler.await);
    }
    ignore(&clients);
    Ok(clients)
}

async fn fill(
    id: usize,
    journal: Journal,
    mut connection: Connection,
    target: Arc<Target>,
    processes: Option<Vec<i32>>,
) -> Client {
    let usual = || target.request(id, 0);
    let request = target.large_request().unwrap_or_else(usual);
    let bytes = connection.begin(&request);
    let (many, most) = match target.protocol {
        Protocol::H2 => {
            let rest = (1..STREAMS).flat_map(|_| connection.begin(&request));
            let all: Vec<u8> = bytes.into_iter().chain(rest).collect();
            let length = all.len() as u64;
            (all, length)
        }
        _ => (bytes.repeat(1 + 16 * 1024 / bytes.len().max(1)), MOST),
    };
    let stuck = || {
        let processes = processes.clone();
        async move {
            Timer::after(QUIET).await;
            rest_within(|| processes.clone(), RESTLESS).await;
        }
    };
    let filled = connection.fill_until(|_| many.clone(), stuck, most);
    let late = async {
        Timer::after(PATIENCE).await;
        Err(Disconnected)
    };
    // Whether it is full or not: from here on this client does nothing.
    let _ = filled.or(late).await;
    Client {
        id,
        journal,
        connection,
    }
}

/// Waits for the end of the listener, the first that is seen of a stop; not every
/// server shows it.
async fn refused(round: &Round) {
    let begun = Instant::now();
    while begun.elapsed() < BETWEEN {
        let journal = Journal::new();
        let open = async {
            Connection::open_silent(&round.target, &journal)
                .await
                .is_err()
        };
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
