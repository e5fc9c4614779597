//! TLS that has begun and is not complete: no byte, half a handshake, half a record.

use std::time::Duration;

use smol::Timer;

use crate::client::{Connection, Disconnected};
use crate::latch::Latch;
use crate::round::{Client, Round};
use crate::scenario::idle::{DEFERRED, accepted};
use crate::setup::Failure;
use crate::verdict::RoundResult;

/// How long after the server has acted on the signal the rest comes.
const LATER: Duration = Duration::from_millis(100);

/// A part of the clients sends nothing at all, a part half of a ClientHello, and a part
/// has shaken hands and asks nothing.
pub(crate) async fn silent(round: &mut Round, count: usize) -> Result<RoundResult, Failure> {
    let mut waiting = Vec::new();
    for number in 0..count.div_ceil(3) * 2 {
        let kind = match number % 2 {
            0 => "silent, without a ClientHello",
            _ => "silent after half a ClientHello",
        };
        let (id, journal) = round.enter(kind);
        let connection = Connection::open_silent(&round.target.clone(), &journal).await;
        let Ok(mut connection) = connection else {
            return Err(round.not_ready("it refuses a connection"));
        };
        if number % 2 == 1 {
            let _ = half_hello(&mut connection).await;
        }
        waiting.push(Client {
            id,
            journal,
            connection,
        });
    }
    waiting.extend(
        round
            .opened("silent after the handshake", count.div_ceil(3))
            .await?,
    );
    accepted(round).await;
    round.forget_deferred(&mut waiting);
    if waiting.is_empty() {
        return Ok(RoundResult::skip(DEFERRED));
    }
    for client in waiting {
        round.spawn_until_end(client);
    }
    let from = round.stop()?;
    round.settle(from, round.setup.limit).await
}

async fn half_hello(connection: &mut Connection) -> Result<(), Disconnected> {
    let hello = connection.begin_tls()?.unwrap_or_default();
    let (first, _) = hello.split_at(hello.len() / 2);
    connection.write_wire(first).await
}

/// Half of a record with a request in it comes before the signal, the rest after it.
pub(crate) async fn half_record(
    round: &mut Round,
    count: usize,
) -> Result<RoundResult, Failure> {
    let half = count.div_ceil(2);
    let mut clients = round.served("half a record", half).await?;
    clients.extend(round.opened("half a first record", half).await?);
    for client in clients {
        let mut connection = client.connection;
        let request = round.target.request(client.id, client.id as u64);
        let bytes = connection.begin(&request);
        let rest = first_half(&mut connection, &bytes)
            .await
            .unwrap_or_default();
        let noticed = round.noticed.clone();
        round.spawn(client.id, async move {
            let _ = second_half(connection, rest, noticed).await;
        });
    }
    round.is_at_rest().await;
    let from = round.stop_and_wait().await?;
    round.settle(from, round.setup.limit).await
}

/// Returns what is still to be written.
async fn first_half(
    connection: &mut Connection,
    bytes: &[u8],
) -> Result<Vec<u8>, Disconnected> {
    let wire = connection.seal(bytes)?;
    let (first, rest) = wire.split_at(wire.len() / 2);
    connection.write_wire(first).await?;
    connection.mark_sent();
    Ok(rest.to_vec())
}

async fn second_half(
    mut connection: Connection,
    rest: Vec<u8>,
    noticed: Latch,
) -> Result<(), Disconnected> {
    let moment = async {
        noticed.wait().await;
        Timer::after(LATER).await;
    };
    connection.wait_mid_message(moment).await?;
    connection.write_wire(&rest).await?;
    connection.complete().await?;
    connection.receive_all().await?;
    connection.until_end().await;
    Ok(())
}
