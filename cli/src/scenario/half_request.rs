//! The signal comes when half of a request is there.

use std::time::{Duration, Instant};

use smol::Timer;

use crate::client::target::{Target, echo};
use crate::client::{Connection, Disconnected, Request};
use crate::latch::Latch;
use crate::round::{Client, Round};
use crate::setup::{Failure, Launch, Protocol};
use crate::verdict::RoundResult;

/// How long after the server has acted on the signal the rest comes.
const LATER: Duration = Duration::from_millis(100);

/// The length of an echo message, of which half comes before the signal.
const LENGTH: usize = 2000;

/// Two signals of one stop come so closely (F45), and only after the first one was acted
/// on: till then the kernel makes one of them (F36).
const AT_ONCE: Duration = Duration::from_millis(20);

/// A signal that comes later than this can be a second stop.
const SAME_STOP: Duration = Duration::from_millis(100);

/// A server is frozen so soon after the signal, and has not ended by itself before that.
const SOON: Duration = Duration::from_millis(500);

/// How often it is tried on a machine that is too busy for that.
const ATTEMPTS: usize = 20;

/// How often it is tried where the server may never be seen at rest: some never are.
const UNSEEN: usize = 10;

/// What is under way when the signal comes, client by client.
#[derive(Debug)]
struct Half {
    connection: Connection,
    id: usize,
    rest: Vec<u8>,
}

/// Half of the clients had an answer before, and half begin with this request.
pub(crate) async fn run(round: &mut Round, count: usize) -> Result<RoundResult, Failure> {
    let halves = begin(round, count, "half a request", cut).await?;
    finish(round, halves, LATER);
    let from = round.stop_and_wait().await?;
    round.settle(from, round.setup.limit).await
}

/// The head is cut in its first line, on connections that had an answer before.
pub(crate) async fn half_head(round: &mut Round, count: usize) -> Result<RoundResult, Failure> {
    let clients = round.served("half a head", count).await?;
    if clients.is_empty() {
        let reason = "it ends each connection after one answer";
        return Ok(RoundResult::skip(reason));
    }
    let halves = send(round, clients, |_, bytes| bytes.len().min(5)).await;
    finish(round, halves, LATER);
    let from = round.stop_and_wait().await?;
    round.settle(from, round.setup.limit).await
}

/// One stop, delivered twice: the second signal must not make it an abort (F45).
pub(crate) async fn signal_twice(
    round: &mut Round,
    count: usize,
) -> Result<RoundResult, Failure> {
    let attempts = attempts(round, ATTEMPTS);
    let mut attempt = 1;
    let (halves, from) = loop {
        let halves = begin(round, count, "half a request", cut).await?;
        let stolen = Stolen::begin(round);
        let from = round.stop()?;
        match repeat(round, from, stolen).await? {
            Repeated::AtOnce => break (halves, from),
            // A second is long, but not on every machine.
            Repeated::Unseen if attempt < attempts.min(UNSEEN) => {}
            Repeated::Unseen => {
                round.note(
                    "it was not seen to act on the signals: it may have taken them for two \
                     stops, or for one signal",
                );
                break (halves, from);
            }
            Repeated::Late if attempt == attempts => {
                let limit = humantime::format_duration(SAME_STOP);
                let cause = stolen.cause(round);
                return Ok(RoundResult::skip(format!(
                    "it did not come to act on both signals within {limit}, so that it may take \
                     them for two stops: {cause}"
                )));
            }
            Repeated::Late => {}
        }
        attempt += 1;
        start_again(round).await?;
    };
    finish(round, halves, LATER);
    round.wait_until_noticed().await;
    round.settle(from, round.setup.limit).await
}

/// Returns how often a round can be tried: once, where the server cannot be started again.
fn attempts(round: &Round, most: usize) -> usize {
    match round.setup.launch {
        Launch::Child { .. } => most,
        _ => 1,
    }
}

/// Tries the round again, with a new server.
async fn start_again(round: &mut Round) -> Result<(), Failure> {
    round.server.kill();
    *round = Round::start(&round.setup.clone()).await?;
    Ok(())
}

/// The time that others have had the processors for which the server and this process
/// were waiting.
#[derive(Clone, Copy)]
struct Stolen {
    begun: Instant,
    /// The time for which the server had waited for a processor by then.
    before: Option<Duration>,
    /// The processor time that the server had taken by then.
    ran: Duration,
}

impl Stolen {
    fn begin(round: &Round) -> Stolen {
        Stolen {
            begun: Instant::now(),
            before: round.processor_wait(),
            ran: round.processor_ran(),
        }
    }

    /// Says whether the server may have come too late because of others to act within
    /// `limit`.
    fn exceeds(self, limit: Duration, round: &Round) -> bool {
        let stolen = round.processor_wait().zip(self.before);
        stolen.is_some_and(|(now, begun)| now.saturating_sub(begun) >= limit)
    }

    /// Says why the server was late, where it was.
    fn cause(self, round: &Round) -> &'static str {
        let ran = round.processor_ran().saturating_sub(self.ran);
        cause(ran, self.begun.elapsed())
    }
}

/// Says why a server was late that took so much processor time of a period. Others that are
/// to blame leave it little.
fn cause(ran: Duration, period: Duration) -> &'static str {
    match ran >= period / 2 {
        true => "the server itself keeps a processor busy",
        false => "the machine is too busy",
    }
}

/// What was seen of a signal that was sent twice.
enum Repeated {
    /// Both were acted on within the time of one stop.
    AtOnce,
    /// They were acted on, but not so soon, or others had the processors for so long
    /// that this is not known.
    Late,
    /// The server had the processor and was never seen at rest, by which it is known
    /// that it has acted.
    Unseen,
}

async fn repeat(round: &mut Round, from: Instant, stolen: Stolen) -> Result<Repeated, Failure> {
    let mut is_seen = round.is_at_rest().await;
    Timer::at(from + AT_ONCE).await;
    if !round.server.has_ended() {
        round.stop()?;
        is_seen &= round.is_at_rest().await;
    }
    Ok(match is_seen {
        true if from.elapsed() < SAME_STOP => Repeated::AtOnce,
        true => Repeated::Late,
        false if stolen.exceeds(SAME_STOP - AT_ONCE, round) => Repeated::Late,
        false => Repeated::Unseen,
    })
}

/// Every process of the server gets the signal, as by Ctrl-C on a terminal.
pub(crate) async fn group_signal(
    round: &mut Round,
    count: usize,
) -> Result<RoundResult, Failure> {
    let halves = begin(round, count, "half a request", cut).await?;
    finish(round, halves, LATER);
    let from = round.stop_group()?;
    round.wait_until_noticed().await;
    round.settle(from, round.setup.limit).await
}

/// The server is frozen while it drains, and the rest comes before it runs on (F61).
pub(crate) async fn frozen_in_the_drain(
    round: &mut Round,
    count: usize,
) -> Result<RoundResult, Failure> {
    let attempts = attempts(round, UNSEEN);
    let mut attempt = 1;
    let (halves, from, is_frozen) = loop {
        let halves = begin(round, count, "half a request", cut).await?;
        let stolen = Stolen::begin(round);
        let from = round.stop_and_wait().await?;
        let has_ended = round.server.ended_within(LATER).await.is_some();
        let is_frozen = !has_ended && round.server.freeze_unless_ended().await?;
        // Later, its grace period may have ended before: the machine is too busy.
        if from.elapsed() < SOON {
            break (halves, from, is_frozen);
        }
        if attempt == attempts {
            if !stolen.exceeds(SOON - LATER, round) {
                break (halves, from, is_frozen);
            }
            let limit = humantime::format_duration(SOON);
            let cause = stolen.cause(round);
            return Ok(RoundResult::skip(format!(
                "it could not be frozen within {limit} of the signal, so that its grace period \
                 may have ended before: {cause}"
            )));
        }
        attempt += 1;
        start_again(round).await?;
    };
    let until = Instant::now() + round.setup.freeze;
    finish(round, halves, Duration::ZERO);
    if is_frozen {
        Timer::at(until).await;
        round.server.thaw()?;
    }
    let limit = round.setup.limit + round.setup.freeze;
    round.settle(from, limit).await
}

async fn begin(
    round: &mut Round,
    count: usize,
    kind: &'static str,
    cut: fn(&Request, &[u8]) -> usize,
) -> Result<Vec<Half>, Failure> {
    let half = count.div_ceil(2);
    let mut clients = round.served(kind, half).await?;
    clients.extend(round.opened("half a first request", half).await?);
    Ok(send(round, clients, cut).await)
}

/// Sends the first part of a request on each connection, and waits until the server has
/// taken it.
async fn send(
    round: &Round,
    clients: Vec<Client>,
    cut: impl Fn(&Request, &[u8]) -> usize,
) -> Vec<Half> {
    let mut halves = Vec::new();
    for client in clients {
        let mut connection = client.connection;
        let whole = request(&round.target, client.id);
        let bytes = match round.protocol() {
            // To an echo server the first half is a message of its own.
            Protocol::Echo => {
                let (first, _) = whole.bytes.split_at(LENGTH / 2);
                let first = Request {
                    bytes: first.to_vec(),
                    ..whole.clone()
                };
                connection.begin(&first);
                whole.bytes.clone()
            }
            _ => connection.begin(&whole),
        };
        let (first, rest) = bytes.split_at(cut(&whole, &bytes));
        // An error is in the journal.
        let _ = connection.write(first).await;
        halves.push(Half {
            connection,
            id: client.id,
            rest: rest.to_vec(),
        });
    }
    round.is_at_rest().await;
    halves
}

/// Returns where a request is cut: in the middle of its body, if it has one.
fn cut(request: &Request, bytes: &[u8]) -> usize {
    match request.body.len() {
        0 => bytes.len() / 2,
        length => bytes.len() - length / 2,
    }
}

fn request(target: &Target, client: usize) -> Request {
    match target.protocol {
        Protocol::Echo => echo(client, 1, LENGTH),
        // Every second one is a POST, where the server takes those.
        _ => target.request(client, client as u64),
    }
}

fn finish(round: &mut Round, halves: Vec<Half>, later: Duration) {
    for half in halves {
        let noticed = round.noticed.clone();
        // An error is in the journal.
        round.spawn(half.id, async move {
            let _ = rest(half, noticed, later).await;
        });
    }
}

/// Sends the rest once the stop has begun. It races the close, as it does in life:
/// the rest of an echo may stay unanswered, and must not make a reset.
async fn rest(half: Half, noticed: Latch, later: Duration) -> Result<(), Disconnected> {
    let mut connection = half.connection;
    let moment = async {
        noticed.wait().await;
        Timer::after(later).await;
    };
    connection.wait_mid_message(moment).await?;
    connection.write_late(&half.rest).await?;
    connection.receive_all().await?;
    connection.until_end().await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_computes_is_not_the_machine() {
        let of_a_second = |ms| cause(Duration::from_millis(ms), Duration::from_secs(1));
        for ms in [0, 100, 400] {
            assert_eq!(of_a_second(ms), "the machine is too busy");
        }
        // More than a second is the time of several threads.
        for ms in [600, 1000, 1900] {
            assert_eq!(of_a_second(ms), "the server itself keeps a processor busy");
        }
    }
}
