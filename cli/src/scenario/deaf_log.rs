//! The log goes to a pipe that nobody reads (F47).

use std::time::Duration;

use smol::Timer;

use crate::round::{Round, ignore};
use crate::setup::Failure;
use crate::verdict::RoundResult;

/// How many clients keep the server from stopping at once.
const CLIENTS: usize = 4;

/// Long enough for a server to write the line of a request.
const LOGGING: Duration = Duration::from_millis(50);

/// The stop must be over within its limit all the same; what a server that stands still
/// in its log owes to its clients is not asked here.
pub(crate) async fn run(round: &mut Round) -> Result<RoundResult, Failure> {
    let mut clients = round.served("connected", CLIENTS).await?;
    if let Err(reason) = round.server.stop_reading().await {
        return Ok(RoundResult::skip(reason));
    }
    for client in &mut clients {
        let request = round.target.request(client.id, 1);
        // A server that logs each request stands still now.
        let _ = client.connection.send(&request).await;
    }
    Timer::after(LOGGING).await;
    ignore(&clients);
    let from = round.stop()?;
    let result = round.settle(from, round.setup.limit).await;
    drop(clients);
    result
}
