//! WebSocket: a handshake under way, messages under way, and how it says goodbye.

use std::time::Duration;

use smol::Timer;

use crate::client::owed::Rule;
use crate::client::{Connection, Disconnected, End, Journal};
use crate::latch::Latch;
use crate::round::{Client, Round};
use crate::setup::Failure;
use crate::verdict::RoundResult;

/// How long after the server has acted on the signal the rest comes.
const LATER: Duration = Duration::from_millis(100);

/// Half of an upgrade request comes before the signal, the rest after it: the server
/// owes a whole answer to it, as to any request.
pub(crate) async fn upgrade(round: &mut Round, count: usize) -> Result<RoundResult, Failure> {
    for _ in 0..count {
        let (id, journal) = round.enter("upgrading");
        let connection = Connection::open_silent(&round.target.clone(), &journal).await;
        let Ok(mut connection) = connection else {
            return Err(round.not_ready("it refuses a connection"));
        };
        let noticed = round.noticed.clone();
        let rest = begin(&mut connection).await.unwrap_or_default();
        round.spawn(id, async move {
            let _ = finish(connection, rest, noticed).await;
        });
    }
    round.is_at_rest().await;
    let from = round.stop_and_wait().await?;
    round.settle(from, round.setup.limit).await
}

/// Returns what is still to be written.
async fn begin(connection: &mut Connection) -> Result<Vec<u8>, Disconnected> {
    if let Some(hello) = connection.begin_tls()? {
        connection.write_wire(&hello).await?;
        connection.finish_tls().await?;
    }
    let greeting = connection.greeting();
    connection.begin_handshake("WebSocket handshake");
    let (first, rest) = greeting.split_at(greeting.len() / 2);
    connection.write(first).await?;
    Ok(rest.to_vec())
}

async fn finish(
    mut connection: Connection,
    rest: Vec<u8>,
    noticed: Latch,
) -> Result<(), Disconnected> {
    noticed.wait().await;
    Timer::after(LATER).await;
    connection.write_late(&rest).await?;
    connection.open_late().await?;
    connection.until_end().await;
    Ok(())
}

/// Some are idle, and some have a message of which half has arrived: each must have its
/// answer, then a Close frame, then the end. A Close frame may come before the rest.
pub(crate) async fn run(round: &mut Round, count: usize) -> Result<RoundResult, Failure> {
    let clients = round.served("connected", count).await?;
    let journals: Vec<Journal> = clients.iter().map(|c| c.journal.clone()).collect();
    for (number, client) in clients.into_iter().enumerate() {
        match number % 2 {
            0 => round.spawn_until_end(client),
            _ => half_message(round, client).await,
        }
    }
    round.is_at_rest().await;
    let from = round.stop_and_wait().await?;
    let mut result = round.settle(from, round.setup.limit).await?;
    let without = journals.iter().filter(|journal| {
        let current = &journal.lock().current;
        let announced = current.announced.map(|announced| announced.rule);
        current.end == End::Fin && announced != Some(Rule::WebSocketClose)
    });
    let (without, all) = (without.count(), journals.len());
    if without > 0 {
        result.convict(format!(
            "{without} of {all} connections ended without a Close frame, which clients report \
             as an abnormal closure, 1006 (RFC 6455 section 7.1.5)"
        ));
    }
    Ok(result)
}

async fn half_message(round: &mut Round, client: Client) {
    let mut connection = client.connection;
    let bytes = connection.begin(&round.target.request(client.id, 1));
    let (first, rest) = bytes.split_at(bytes.len() / 2);
    let _ = connection.write(first).await;
    let (rest, noticed) = (rest.to_vec(), round.noticed.clone());
    round.spawn(client.id, async move {
        let rest = async {
            let moment = async {
                noticed.wait().await;
                Timer::after(LATER).await;
            };
            connection.wait_mid_message(moment).await?;
            connection.write_late(&rest).await?;
            connection.receive_all().await?;
            connection.until_end().await;
            Ok::<_, Disconnected>(())
        };
        let _ = rest.await;
    });
}
