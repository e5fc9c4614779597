//! Several requests at once on each connection, all of which had arrived by the signal.

use crate::client::{Connection, Disconnected};
use crate::round::Round;
use crate::setup::Failure;
use crate::verdict::RoundResult;

/// Requests that one client sends in one write.
const DEPTH: u64 = 5;

/// They are written while the server stands still, where it can be frozen: else right
/// before the signal.
pub(crate) async fn run(round: &mut Round, count: usize) -> Result<RoundResult, Failure> {
    let mut clients = round.served("pipelining", count).await?;
    if clients.is_empty() {
        // All the requests but the first are then behind an announced close.
        clients = round.opened("pipelining", count).await?;
    }
    let can_freeze = round.server.processes().is_some();
    if can_freeze {
        round.server.freeze().await?;
    }
    for client in &mut clients {
        let target = round.target.clone();
        let mut bytes = Vec::new();
        for number in 0..DEPTH {
            // GET alone: other methods are not to be pipelined (RFC 9112 section 9.3.2).
            let request = target.request(client.id, number * 2);
            bytes.extend(client.connection.begin(&request));
        }
        let _ = write_all(&mut client.connection, &bytes).await;
    }
    round.arrived().await;
    for client in clients.iter_mut().filter(|_| can_freeze) {
        // The journal notes now what came before the stop.
        client.connection.has_end().await;
    }
    for client in clients {
        let stop = round.stop.clone();
        let mut connection = client.connection;
        round.spawn(client.id, async move {
            stop.wait().await;
            if connection.receive_all().await.is_ok() {
                connection.until_end().await;
            }
        });
    }
    let from = match can_freeze {
        true => round.stop_and_thaw()?,
        false => round.stop()?,
    };
    round.settle(from, round.setup.limit).await
}

/// Writes several requests, which then all count as written.
async fn write_all(connection: &mut Connection, bytes: &[u8]) -> Result<(), Disconnected> {
    connection.write(bytes).await?;
    connection.mark_all_sent();
    Ok(())
}
