//! Everything arrives while the server stands still; then it is told to stop.

use std::time::{Duration, Instant};

use smol::Timer;
use smol::future::FutureExt;

use crate::client::Connection;
use crate::round::{Client, Round};
use crate::setup::Failure;
use crate::verdict::RoundResult;

/// Longer than the second after which many servers look around: their timers have run
/// out when they run on, as they would have at an unlucky moment.
const FROZEN: Duration = Duration::from_millis(1100);

pub(crate) async fn run(round: &mut Round, count: usize) -> Result<RoundResult, Failure> {
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
