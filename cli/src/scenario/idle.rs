//! Connections on which nothing happens: how soon and how they end.

use crate::client::{Connection, Journal};
use crate::round::Round;
use crate::setup::Failure;
use crate::verdict::RoundResult;

/// They had an answer, and wait.
pub(crate) async fn idle(round: &mut Round, count: usize) -> Result<RoundResult, Failure> {
    let clients = round.served("idle", count).await?;
    for client in clients {
        let mut connection = client.connection;
        round.spawn(client.id, async move {
            connection.until_end().await;
        });
    }
    let from = round.signal()?;
    Ok(round.settle(from, round.setup.limit).await)
}

/// They never sent a byte.
pub(crate) async fn silent(round: &mut Round, count: usize) -> Result<RoundResult, Failure> {
    let mut opened: Vec<(usize, Journal, Connection)> = Vec::new();
    for _ in 0..count {
        let (id, record) = round.enter("silent");
        match Connection::open(&round.target.clone(), &record).await {
            Ok(connection) => opened.push((id, record, connection)),
            Err(_) => return Err(round.not_ready("it refuses a connection")),
        }
    }
    // An answer to one who came last: the others were accepted before.
    let last = round.served("served", 1).await?;
    for client in last {
        round.forget(client.id);
        client.connection.leave();
    }
    for (id, _, mut connection) in opened {
        round.spawn(id, async move {
            connection.until_end().await;
        });
    }
    let from = round.signal()?;
    Ok(round.settle(from, round.setup.limit).await)
}
