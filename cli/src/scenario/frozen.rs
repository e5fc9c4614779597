//! Everything arrives while the server stands still; then it is told to stop.

use std::time::{Duration, Instant};

use smol::Timer;
use smol::future::FutureExt;

use crate::client::Connection;
use crate::client::owed::UNANNOUNCED;
use crate::round::{Client, Round};
use crate::setup::{Failure, Launch};
use crate::verdict::RoundResult;

/// Longer than the second after which many servers look around: their timers have run
/// out when they run on, as they would have at an unlucky moment.
const FROZEN: Duration = Duration::from_millis(1100);

/// How often it is tried on a machine that is too busy for that.
const ATTEMPTS: usize = 5;

pub(crate) async fn run(round: &mut Round, count: usize) -> Result<RoundResult, Failure> {
    let can_start_again = matches!(round.setup.launch, Launch::Child { .. });
    let mut attempts = if can_start_again { ATTEMPTS } else { 1 };
    loop {
        let (served, waiting) = freeze(round, count).await?;
        attempts -= 1;
        // A queue that holds nobody was not seen: each holds one, while it is swept by
        // nobody.
        let has_clients = !served.is_empty() || !waiting.is_empty();
        if has_clients && (attempts == 0 || !have_idled(&served)) {
            return stop(round, served, waiting).await;
        }
        if attempts == 0 {
            return Ok(RoundResult {
                skipped: Some("nobody could connect: the machine is too busy".to_owned()),
                ..RoundResult::default()
            });
        }
        round.server.kill();
        *round = Round::start(&round.setup.clone()).await?;
    }
}

/// Says whether connections have been idle for so long that the server need not answer on
/// them: nothing would be learnt of them.
fn have_idled(served: &[Client]) -> bool {
    let mut journals = served.iter().map(|client| client.journal.lock());
    journals.any(|journal| {
        let since = journal.current.idle_since;
        since.is_some_and(|since| since.elapsed() >= UNANNOUNCED)
    })
}

/// Halts the server, and sends it requests on connections that had an answer, and on those
/// that wait in its accept queue.
async fn freeze(
    round: &mut Round,
    count: usize,
) -> Result<(Vec<Client>, Vec<Client>), Failure> {
    let mut served = round.served("served", count).await?;
    round.server.freeze().await?;
    let frozen = Instant::now();
    for client in &mut served {
        let request = round.target.request(client.id, 1);
        // An error is in the journal, and will be judged.
        let _ = client.connection.send(&request).await;
    }
    let waiting = waiting(round, count).await;
    round.arrived().await;
    Timer::at(frozen + FROZEN).await;
    for client in &mut served {
        // The journal notes now what came before the stop.
        client.connection.has_end().await;
    }
    Ok((served, waiting))
}

async fn stop(
    round: &mut Round,
    served: Vec<Client>,
    waiting: Vec<Client>,
) -> Result<RoundResult, Failure> {
    for (client, is_first) in served
        .into_iter()
        .map(|client| (client, false))
        .chain(waiting.into_iter().map(|client| (client, true)))
    {
        let stop = round.stop.clone();
        let mut connection = client.connection;
        round.spawn(client.id, async move {
            stop.wait().await;
            let answered = match is_first {
                true => connection.receive_first().await,
                false => connection.receive().await.map(drop),
            };
            if answered.is_ok() {
                connection.until_end().await;
            }
        });
    }
    let from = round.stop_and_thaw()?;
    round.settle(from, round.setup.limit).await
}

/// Returns clients in the accept queue, whose requests are written.
async fn waiting(round: &mut Round, count: usize) -> Vec<Client> {
    // A handshake is the kernel's work: the server's standing still is no excuse.
    let handshake = round.patience() / 10;
    let mut clients = Vec::new();
    // One after another: a queue that is full then shows in the handshake, and
    // never in a connection that only the client believes in.
    for _ in 0..count {
        let (id, journal) = round.enter("in the accept queue");
        let target = round.target.clone();
        let open = async { Connection::open_silent(&target, &journal).await.ok() };
        let late = async {
            Timer::after(handshake).await;
            None
        };
        let Some(mut connection) = open.or(late).await else {
            round.forget(id);
            let held = clients.len();
            round.note(format!("its accept queue holds only {held} connections"));
            break;
        };
        let _ = connection.send_first(&target.request(id, 1)).await;
        clients.push(Client {
            id,
            journal,
            connection,
        });
    }
    clients
}
