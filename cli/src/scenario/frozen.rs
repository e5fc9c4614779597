//! Everything arrives while the server stands still; then it is told to stop.

use std::time::Duration;

use smol::Timer;
use smol::future::FutureExt;

use crate::bench::{Bench, Guest};
use crate::client::Connection;
use crate::setup::Failure;
use crate::verdict::Round;

/// A handshake is the kernel's work: the server's standing still is no excuse.
const HANDSHAKE: Duration = Duration::from_millis(500);

pub(crate) async fn run(bench: &mut Bench, count: usize) -> Result<Round, Failure> {
    let mut guests = bench.served("served", count).await?;
    bench.server.freeze().await?;
    for guest in &mut guests {
        let request = bench.target.request(guest.id, 1);
        // An error is in the record, and will be judged.
        let _ = guest.connection.send(&request, &request.bytes).await;
    }
    guests.extend(waiting(bench, count).await);
    bench.arrived().await;
    for guest in guests {
        let target = bench.target.clone();
        let stop = bench.stop.clone();
        bench.spawn(guest.id, async move {
            let Guest {
                id, mut connection, ..
            } = guest;
            stop.wait().await;
            if connection.receive(&target.request(id, 1)).await.is_ok() {
                connection.until_end().await;
            }
        });
    }
    let from = bench.signal_and_thaw()?;
    Ok(bench.settle(from, bench.setup.limit).await)
}

/// Clients in the accept queue, whose requests are written.
async fn waiting(bench: &mut Bench, count: usize) -> Vec<Guest> {
    let mut guests = Vec::new();
    // One after another: a queue that is full then shows in the handshake, and
    // never in a connection that only the client believes in.
    for _ in 0..count {
        let (id, record) = bench.enter("in the accept queue");
        let target = bench.target.clone();
        let open = async { Connection::open(&target, &record).await.ok() };
        let late = async {
            Timer::after(HANDSHAKE).await;
            None
        };
        let Some(mut connection) = open.or(late).await else {
            bench.forget(id);
            let held = guests.len();
            bench.note(format!("its accept queue holds only {held} connections"));
            break;
        };
        let request = target.request(id, 1);
        let _ = connection.send(&request, &request.bytes).await;
        guests.push(Guest {
            id,
            record,
            connection,
        });
    }
    guests
}
