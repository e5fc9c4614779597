//! A server under load, stopped at any moment.

use std::sync::Arc;
use std::time::Duration;

use smol::Timer;
use smol::future::FutureExt;

use crate::client::{Connection, Disconnected, Journal, Target};
use crate::latch::Latch;
use crate::round::Round;
use crate::setup::Failure;
use crate::verdict::RoundResult;

/// After a refusal, so that refusals are not all that this machine does.
const PAUSE: Duration = Duration::from_millis(1);

pub(crate) async fn run(
    round: &mut Round,
    count: usize,
    rng: &mut fastrand::Rng,
) -> Result<RoundResult, Failure> {
    for n in 0..count {
        match n % 2 {
            0 => enter(round, "request-response", Way::Keep),
            _ => enter(round, "connecting anew", Way::Anew),
        }
    }
    load_and_stop(round, rng).await
}

/// The clients come back again and again, also while the server drains.
pub(crate) async fn flood(
    round: &mut Round,
    count: usize,
    rng: &mut fastrand::Rng,
) -> Result<RoundResult, Failure> {
    for _ in 0..count {
        enter(round, "flooding", Way::Flood);
    }
    load_and_stop(round, rng).await
}

async fn load_and_stop(
    round: &mut Round,
    rng: &mut fastrand::Rng,
) -> Result<RoundResult, Failure> {
    round.all_answered().await?;
    // The moment is what varies from round to round.
    Timer::after(Duration::from_micros(rng.u64(1_000..60_000))).await;
    round.next_answer().await;
    let from = round.signal()?;
    Ok(round.settle(from, round.setup.limit).await)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// One connection, as long as the server keeps it.
    Keep,
    /// A connection for each exchange, until the server takes no more.
    Anew,
    /// The same, until the server is gone.
    Flood,
}

fn enter(round: &mut Round, kind: &'static str, way: Way) {
    let (id, record) = round.enter(kind);
    let client = LoadClient {
        id,
        record,
        way,
        target: round.target.clone(),
        stop: round.stop.clone(),
        gone: round.gone.clone(),
    };
    round.spawn(id, client.run());
}

#[derive(Debug)]
struct LoadClient {
    id: usize,
    record: Journal,
    way: Way,
    target: Arc<Target>,
    stop: Latch,
    gone: Latch,
}

impl LoadClient {
    async fn run(self) {
        let mut number = 0;
        loop {
            // Asked before: who was in by the signal stays to the end.
            let is_late = self.stop.happened();
            let connected = self.connect().await;
            let went_well = match connected {
                Some(connection) => self.use_up(connection, &mut number).await.is_ok(),
                None => false,
            };
            if self.gone.happened() || self.is_over(is_late, went_well) {
                return;
            }
            if !went_well {
                Timer::after(PAUSE).await;
            }
            self.record.reconnect();
        }
    }

    fn is_over(&self, is_late: bool, went_well: bool) -> bool {
        match self.way {
            Way::Keep => self.stop.happened(),
            Way::Anew => is_late && !went_well,
            Way::Flood => false,
        }
    }

    /// None when nobody accepts; a handshake ends with the server at the latest.
    async fn connect(&self) -> Option<Connection> {
        let open = async { Connection::open(&self.target, &self.record).await.ok() };
        let gone = async {
            self.gone.wait().await;
            None
        };
        open.or(gone).await
    }

    async fn use_up(
        &self,
        mut connection: Connection,
        number: &mut u64,
    ) -> Result<(), Disconnected> {
        loop {
            let request = self.target.request(self.id, *number);
            *number += 1;
            let response = connection.exchange(&request).await?;
            if response.is_some_and(|response| response.close) {
                connection.until_end().await;
                return Ok(());
            }
            if self.way != Way::Keep {
                connection.leave();
                return Ok(());
            }
        }
    }
}
