//! Requests whose bytes come slowly, before the signal and after it.

use std::time::Duration;

use smol::Timer;

use crate::client::{Connection, Disconnected, Request};
use crate::round::Round;
use crate::setup::{Failure, Protocol};
use crate::verdict::RoundResult;

/// The pause between two pieces: more than the round trip of most networks.
const PAUSE: Duration = Duration::from_millis(150);

/// The pieces of a request, of which some come before the signal.
const PIECES: usize = 10;
const BEFORE: usize = 3;

pub(crate) async fn run(round: &mut Round, count: usize) -> Result<RoundResult, Failure> {
    let half = count.div_ceil(2);
    let mut clients = round.served("speaking slowly", half).await?;
    clients.extend(round.opened("speaking slowly", half).await?);
    let mut sending = Vec::new();
    for client in clients {
        let target = round.target.clone();
        let mut connection = client.connection;
        let request = target.request(client.id, client.id as u64);
        let is_echo = target.protocol == Protocol::Echo;
        let bytes = match is_echo {
            true => request.bytes.clone(),
            false => connection.begin(&request),
        };
        let size = bytes.len().div_ceil(PIECES);
        let pieces: Vec<Vec<u8>> = bytes.chunks(size).map(<[u8]>::to_vec).collect();
        sending.push((client.id, connection, pieces, is_echo));
    }
    for piece in 0..BEFORE {
        for (_, connection, pieces, is_echo) in &mut sending {
            let bytes = pieces.get(piece).cloned().unwrap_or_default();
            // An error is in the journal.
            let _ = match is_echo {
                true => connection.send(&message(bytes)).await,
                false => connection.write(&bytes).await,
            };
        }
        Timer::after(PAUSE).await;
    }
    for (id, connection, mut pieces, is_echo) in sending {
        let later = pieces.split_off(BEFORE.min(pieces.len()));
        round.spawn(id, async move {
            let _ = speak(connection, later, is_echo).await;
        });
    }
    let from = round.stop()?;
    round.settle(from, round.setup.limit).await
}

fn message(bytes: Vec<u8>) -> Request {
    Request {
        label: "a piece".to_owned(),
        bytes,
        ..Request::default()
    }
}

async fn speak(
    mut connection: Connection,
    pieces: Vec<Vec<u8>>,
    is_echo: bool,
) -> Result<(), Disconnected> {
    for piece in pieces {
        let pause = async {
            Timer::after(PAUSE).await;
        };
        connection.wait_mid_message(pause).await?;
        if is_echo {
            // Each piece is a message; the server may end between two of them.
            connection.receive_all().await?;
            if connection.has_end().await {
                connection.until_end().await;
                return Ok(());
            }
            connection.send(&message(piece)).await?;
        } else {
            connection.write_late(&piece).await?;
        }
    }
    connection.receive_all().await?;
    connection.until_end().await;
    Ok(())
}
