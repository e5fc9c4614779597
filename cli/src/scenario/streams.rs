//! HTTP/2: streams under way, a GOAWAY, and connections that never said anything.

use std::time::Duration;

use smol::Timer;

use crate::client::owed::Rule;
use crate::client::{Connection, Disconnected, End, Journal};
use crate::latch::Latch;
use crate::round::{Client, Round};
use crate::setup::Failure;
use crate::verdict::RoundResult;

/// Streams of one connection.
const STREAMS: u64 = 8;

/// How long after the server has acted on the signal the rest comes.
const LATER: Duration = Duration::from_millis(100);

pub(crate) async fn run(round: &mut Round, count: usize) -> Result<RoundResult, Failure> {
    let clients = round.served("streams", count).await?;
    let journals: Vec<Journal> = clients.iter().map(|c| c.journal.clone()).collect();
    for client in clients {
        half_streams(round, client).await;
    }
    // A connection without a preface is as silent as one of HTTP/1.
    let mut silent = Vec::new();
    for _ in 0..count.div_ceil(4) {
        let (id, journal) = round.enter("without a preface");
        let connection = Connection::open_silent(&round.target.clone(), &journal).await;
        if let Ok(connection) = connection {
            silent.push(Client {
                id,
                journal,
                connection,
            });
        }
    }
    round.forget_deferred(&mut silent);
    for client in silent {
        round.spawn_until_end(client);
    }
    round.is_at_rest().await;
    let from = round.stop_and_wait().await?;
    let mut result = round.settle(from, round.setup.limit).await?;
    let without = journals.iter().filter(|journal| {
        let current = &journal.lock().current;
        let announced = current.announced.map(|announced| announced.rule);
        current.end == End::Fin && announced != Some(Rule::GoAway)
    });
    let (without, all) = (without.count(), journals.len());
    if without > 0 {
        // It should send one, and it need not (RFC 9113 section 6.8).
        result.notes.push(format!(
            "{without} of {all} connections ended without a GOAWAY, so a client cannot know \
             which requests it may send again (RFC 9113 section 6.8)"
        ));
    }
    Ok(result)
}

/// Several whole requests and half of one more are written before the signal.
async fn half_streams(round: &mut Round, client: Client) {
    let mut connection = client.connection;
    let target = round.target.clone();
    for number in 0..STREAMS {
        let _ = connection.send(&target.request(client.id, number)).await;
    }
    let last = connection.begin(&target.request(client.id, 1));
    let (first, rest) = last.split_at(last.len() / 2);
    let _ = connection.write(first).await;
    let (rest, noticed) = (rest.to_vec(), round.noticed.clone());
    round.spawn(client.id, async move {
        let _ = finish(connection, rest, noticed).await;
    });
}

async fn finish(
    mut connection: Connection,
    rest: Vec<u8>,
    noticed: Latch,
) -> Result<(), Disconnected> {
    noticed.wait().await;
    Timer::after(LATER).await;
    connection.write_late(&rest).await?;
    connection.receive_all().await?;
    connection.until_end().await;
    Ok(())
}
