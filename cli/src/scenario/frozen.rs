//! Everything arrives while the server stands still; then it is told to stop.

use std::time::Duration;

use smol::Timer;
use smol::future::FutureExt;

use crate::client::Connection;
use crate::round::{Client, Round};
use crate::setup::Failure;
use crate::verdict::RoundResult;

/// A handshake is the kernel's work: the server's standing still is no ignore.
const HANDSHAKE: Duration = Duration::from_millis(500);

pub(crate) async fn run(round: &mut Round, count: usize) -> Result<RoundResult, Failure> {
    let mut clients = round.served("served", count).await?;
    round.server.freeze().await?;
    for client in &mut clients {
        let request = round.target.request(client.id, 1);
        // An error is in the record, and will be judged.
        let _ = client.connection.send(&request, &request.bytes).await;
    }
    clients.extend(waiting(round, count).await);
    round.arrived().await;
    for client in clients {
        let target = round.target.clone();
        let stop = round.stop.clone();
        round.spawn(client.id, async move {
            let Client {
                id, mut connection, ..
            } = client;
            stop.wait().await;
            if connection.receive(&target.request(id, 1)).await.is_ok() {
                connection.until_end().await;
            }
        });
    }
    let from = round.signal_and_thaw()?;
    Ok(round.settle(from, round.setup.limit).await)
}

/// Clients in the accept queue, whose requests are written.
async fn waiting(round: &mut Round, count: usize) -> Vec<Client> {
    let mut clients = Vec::new();
    // One after another: a queue that is full then shows in the handshake, and
    // never in a connection that only the client believes in.
    for _ in 0..count {
        let (id, record) = round.enter("in the accept queue");
        let target = round.target.clone();
        let open = async { Connection::open(&target, &record).await.ok() };
        let late = async {
            Timer::after(HANDSHAKE).await;
            None
        };
        let Some(mut connection) = open.or(late).await else {
            round.forget(id);
            let held = clients.len();
            round.note(format!("its accept queue holds only {held} connections"));
            break;
        };
        let request = target.request(id, 1);
        let _ = connection.send(&request, &request.bytes).await;
        clients.push(Client {
            id,
            record,
            connection,
        });
    }
    clients
}
