//! The signal comes when half of a request is there.

use std::time::Duration;

use smol::Timer;
use smol::future::FutureExt;

use crate::bench::{Bench, Guest};
use crate::client::request::{Target, echo};
use crate::client::{Connection, End, Gone, Request};
use crate::setup::{Failure, Protocol};
use crate::verdict::Round;

/// Long enough for the server to have begun its stop, before the rest comes.
const LATER: Duration = Duration::from_millis(100);

/// The length of an echo message, of which half comes before the signal.
const LENGTH: usize = 2000;

pub(crate) async fn run(bench: &mut Bench, count: usize) -> Result<Round, Failure> {
    let mut guests = bench.served("half a request", count).await?;
    for guest in &mut guests {
        let request = request(&bench.target, guest.id);
        let (first, _) = halves(&request);
        let _ = guest.connection.send(&request, first).await;
    }
    for guest in guests {
        let target = bench.target.clone();
        let stop = bench.stop.clone();
        bench.spawn(guest.id, async move {
            stop.wait().await;
            let Guest {
                id, mut connection, ..
            } = guest;
            let request = request(&target, id);
            // An error is in the record.
            let _ = match target.protocol {
                Protocol::Echo => finish_echo(&mut connection, &request).await,
                Protocol::Http => finish_http(&mut connection, &request).await,
            };
        });
    }
    let from = bench.signal()?;
    Ok(bench.settle(from, bench.setup.limit).await)
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
async fn finish_echo(connection: &mut Connection, request: &Request) -> Result<(), Gone> {
    let (first, rest) = halves(request);
    connection.write_late(rest).await?;
    connection.receive_echo(first).await?;
    connection.until_end().await;
    Ok(())
}

/// An HTTP server knows that the request is not whole: it owes a whole response.
async fn finish_http(connection: &mut Connection, request: &Request) -> Result<(), Gone> {
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
