//! Connections on which nothing happens: how soon and how they end.

use crate::bench::Bench;
use crate::client::{Connection, Record};
use crate::setup::Failure;
use crate::verdict::Round;

/// They had an answer, and wait.
pub(crate) async fn idle(bench: &mut Bench, count: usize) -> Result<Round, Failure> {
    let guests = bench.served("idle", count).await?;
    for guest in guests {
        let mut connection = guest.connection;
        bench.spawn(guest.id, async move {
            connection.until_end().await;
        });
    }
    let from = bench.signal()?;
    Ok(bench.settle(from, bench.setup.limit).await)
}

/// They never sent a byte.
pub(crate) async fn silent(bench: &mut Bench, count: usize) -> Result<Round, Failure> {
    let mut opened: Vec<(usize, Record, Connection)> = Vec::new();
    for _ in 0..count {
        let (id, record) = bench.enter("silent");
        match Connection::open(&bench.target.clone(), &record).await {
            Ok(connection) => opened.push((id, record, connection)),
            Err(_) => return Err(bench.not_ready("it refuses a connection")),
        }
    }
    // An answer to one who came last: the others were accepted before.
    let last = bench.served("served", 1).await?;
    for guest in last {
        bench.forget(guest.id);
        guest.connection.leave();
    }
    for (id, _, mut connection) in opened {
        bench.spawn(id, async move {
            connection.until_end().await;
        });
    }
    let from = bench.signal()?;
    Ok(bench.settle(from, bench.setup.limit).await)
}
