//! The signal comes when half of a request is there.

use std::time::Duration;

use smol::Timer;
use smol::future::FutureExt;

use crate::client::request::{Target, echo};
use crate::client::{Connection, Disconnected, End, Request};
use crate::round::{Client, Round};
use crate::setup::{Failure, Protocol};
use crate::verdict::RoundResult;

/// Long enough for the server to have begun its stop, before the rest comes.
const LATER: Duration = Duration::from_millis(100);

/// The length of an echo message, of which half comes before the signal.
const LENGTH: usize = 2000;

pub(crate) async fn run(round: &mut Round, count: usize) -> Result<RoundResult, Failure> {
    let mut clients = round.served("half a request", count).await?;
    for client in &mut clients {
        let request = request(&round.target, client.id);
        let (first, _) = halves(&request);
        let _ = client.connection.send(&request, first).await;
    }
    for client in clients {
        let target = round.target.clone();
        let stop = round.stop.clone();
        round.spawn(client.id, async move {
            stop.wait().await;
            let Client {
                id, mut connection, ..
            } = client;
            let request = request(&target, id);
            // An error is in the record.
            let _ = match target.protocol {
                Protocol::Echo => finish_echo(&mut connection, &request).await,
                Protocol::Http => finish_http(&mut connection, &request).await,
            };
        });
    }
    let from = round.signal()?;
    Ok(round.settle(from, round.setup.limit).await)
}

fn request(target: &Target, client: usize) -> Request {
    match target.protocol {
        Protocol::Echo => echo(client, 1, LENGTH),
        Protocol::Http => target.request(client, client as u64),
    }
}

fn halves(request: &Request) -> (&[u8], &[u8]) {
    request.bytes.split_at(request.bytes.len() / 2)
}

/// To an echo server the first half is a message of its own. The rest races the
/// close, as it does in life: it may stay unanswered, and must not make a reset.
async fn finish_echo(
    connection: &mut Connection,
    request: &Request,
) -> Result<(), Disconnected> {
    let (first, rest) = halves(request);
    connection.write_late(rest).await?;
    connection.receive_echo(first).await?;
    connection.until_end().await;
    Ok(())
}

/// An HTTP server knows that the request is not whole: it owes a whole response.
async fn finish_http(
    connection: &mut Connection,
    request: &Request,
) -> Result<(), Disconnected> {
    let (_, rest) = halves(request);
    // An answer before the request is whole is no answer to it.
    let early = async { Some(connection.peek().await) };
    let later = async {
        Timer::after(LATER).await;
        None
    };
    match early.or(later).await {
        None => {}
        Some(Err(gone)) => return Err(gone),
        Some(Ok(0)) => return Err(connection.ended(End::Fin)),
        Some(Ok(_)) => {
            let problem = "something came before the request was whole";
            return Err(connection.ended(End::Garbled(problem.to_owned())));
        }
    }
    connection.write_late(rest).await?;
    connection.receive(request).await?;
    connection.until_end().await;
    Ok(())
}
