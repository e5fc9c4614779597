//! Connections on which nothing happens: how soon and how they end.

use crate::client::Connection;
use crate::round::{Client, Round};
use crate::setup::Failure;
use crate::verdict::RoundResult;

/// They had an answer, and wait.
pub(crate) async fn idle(round: &mut Round, count: usize) -> Result<RoundResult, Failure> {
    let clients = round.served("idle", count).await?;
    if clients.is_empty() {
        let reason = "it ends each connection after one answer: none is idle";
        return Ok(RoundResult::skip(reason));
    }
    for client in clients {
        round.spawn_until_end(client);
    }
    let from = round.stop()?;
    round.settle(from, round.setup.limit).await
}

/// Why silent clients cannot be looked at.
pub(crate) const DEFERRED: &str =
    "the system keeps silent connections from it (TCP_DEFER_ACCEPT)";

/// They never sent a byte.
pub(crate) async fn silent(round: &mut Round, count: usize) -> Result<RoundResult, Failure> {
    let mut opened = Vec::new();
    for _ in 0..count {
        let (id, journal) = round.enter("silent");
        match Connection::open_silent(&round.target.clone(), &journal).await {
            Ok(connection) => opened.push(Client {
                id,
                journal,
                connection,
            }),
            Err(_) => return Err(round.not_ready("it refuses a connection")),
        }
    }
    accepted(round).await;
    round.forget_deferred(&mut opened);
    if opened.is_empty() {
        return Ok(RoundResult::skip(DEFERRED));
    }
    for client in opened {
        round.spawn_until_end(client);
    }
    let from = round.stop()?;
    round.settle(from, round.setup.limit).await
}

/// Waits for an answer to a client that came last: the others were accepted before it.
pub(crate) async fn accepted(round: &mut Round) {
    let (id, journal) = round.enter("served");
    let target = round.target.clone();
    let request = target.request(id, 0);
    let exchange = async {
        let mut connection = Connection::open(&target, &journal).await.ok()?;
        let answered = connection.exchange(&request).await.is_ok();
        connection.leave();
        answered.then_some(())
    };
    let late = async {
        smol::Timer::after(PATIENCE).await;
        None
    };
    let answer = smol::future::FutureExt::or(exchange, late).await;
    round.forget(id);
    if answer.is_none() {
        round.note("it serves nobody else while clients that send nothing are connected");
    }
}

/// How long that client waits for its answer.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(2);
