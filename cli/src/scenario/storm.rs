//! A server under load, stopped at any moment.

use std::sync::Arc;
use std::time::Duration;

use smol::Timer;

use crate::client::{Connection, Disconnected, Journal, Target};
use crate::latch::Latch;
use crate::round::Round;
use crate::setup::Failure;
use crate::verdict::RoundResult;

/// After a refusal, so that refusals are not all that this machine does.
const PAUSE: Duration = Duration::from_millis(1);

/// Between two connections of a client that goes on for seconds: each leaves a port in
/// TIME-WAIT, and without ports no client can connect to any server.
const SPACING: Duration = Duration::from_millis(10);

pub(crate) async fn run(
    round: &mut Round,
    count: usize,
    rng: &mut fastrand::Rng,
) -> Result<RoundResult, Failure> {
    for n in 0..count {
        match n % 2 {
            0 => enter(round, "request-response", Way::Keep, None),
            _ => enter(round, "reconnecting", Way::Reconnect, None),
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
        enter(round, "flooding", Way::Flood, None);
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
    let from = round.stop()?;
    round.settle(from, round.setup.limit).await
}

/// Adds clients that go on until `halt`, and come back whatever becomes of their
/// connections.
pub(crate) fn enter_until(round: &mut Round, count: usize, halt: &Latch) {
    for n in 0..count {
        let (kind, way) = match n % 2 {
            0 => ("request-response", Way::Keep),
            _ => ("reconnecting", Way::Reconnect),
        };
        enter(round, kind, way, Some(halt));
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// One connection, as long as the server keeps it.
    Keep,
    /// A connection for each exchange, until the server takes no more.
    Reconnect,
    /// The same, until the server is gone.
    Flood,
}

fn enter(round: &mut Round, kind: &'static str, way: Way, halt: Option<&Latch>) {
    let (id, journal) = round.enter(kind);
    let client = LoadClient {
        id,
        journal,
        way,
        target: round.target.clone(),
        stop: round.stop.clone(),
        gone: round.gone.clone(),
        halt: halt.cloned(),
    };
    round.spawn(id, client.run());
}

#[derive(Debug)]
struct LoadClient {
    id: usize,
    journal: Journal,
    way: Way,
    target: Arc<Target>,
    stop: Latch,
    gone: Latch,
    /// Where there is one, it alone ends the client.
    halt: Option<Latch>,
}

impl LoadClient {
    async fn run(self) {
        let mut number = 0;
        loop {
            // Asked before: a client that was connected by the signal stays to the end.
            let is_late = self.stop.happened();
            let connected = self.connect().await;
            let went_well = match connected {
                Some(connection) => self.use_up(connection, &mut number).await.is_ok(),
                None => false,
            };
            if self.is_over(is_late, went_well) {
                return;
            }
            if !went_well {
                Timer::after(PAUSE).await;
            } else if self.halt.is_some() || self.way == Way::Flood {
                Timer::after(SPACING).await;
            }
            self.journal.reconnect();
        }
    }

    fn is_over(&self, is_late: bool, went_well: bool) -> bool {
        if let Some(halt) = &self.halt {
            return halt.happened();
        }
        self.gone.happened()
            || match self.way {
                Way::Keep => self.stop.happened(),
                Way::Reconnect => is_late && !went_well,
                Way::Flood => false,
            }
    }

    /// Returns none when nobody accepts. A handshake may last longer than the main process,
    /// whose workers complete it: what is without an end is dropped with the client.
    async fn connect(&self) -> Option<Connection> {
        Connection::open(&self.target, &self.journal).await.ok()
    }

    async fn use_up(
        &self,
        mut connection: Connection,
        number: &mut u64,
    ) -> Result<(), Disconnected> {
        loop {
            let request = self.target.request(self.id, *number);
            *number += 1;
            connection.exchange(&request).await?;
            if self.journal.lock().current.announced.is_some() {
                connection.until_end().await;
                return Ok(());
            }
            let is_halted = self.halt.as_ref().is_some_and(Latch::happened);
            if self.way != Way::Keep || is_halted {
                connection.leave();
                return Ok(());
            }
        }
    }
}
