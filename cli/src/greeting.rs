//! The lines or messages that a server sends before any request: SMTP, POP3, IMAP and
//! NATS begin with a line that is no answer, and some servers of WebSocket with a message.

use std::sync::Arc;
use std::time::{Duration, Instant};

use smol::Timer;
use smol::future::{FutureExt, zip};

use crate::client::{Connection, Journal, Target};
use crate::setup::Protocol;

/// How long it is waited for what comes unasked, or behind an answer.
pub(crate) const GRACE: Duration = Duration::from_millis(300);

/// How many clients ask before the greeting: on a busy machine one can be too late with
/// it, and is answered by a server that would have refused it.
const EARLY_CLIENTS: u64 = 5;

/// How often they try in a row. A server that has just been started, and is not quite ready,
/// can fail one of them, and one that forbids it fails in each row.
const ROWS: usize = 3;

/// How often it is counted what comes unasked, where that takes long.
const TRIES: usize = 3;

/// It takes two times the grace on a machine that is not too busy.
const QUIET: Duration = GRACE.saturating_mul(3);

/// How long each of these may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// How a server greets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Greeted {
    /// How many lines or messages each client gets before it has asked anything.
    pub(crate) count: u64,
    /// A request may come before them. SMTP forbids it (RFC 5321 section 3.1).
    pub(crate) takes_early: bool,
}

impl Default for Greeted {
    fn default() -> Greeted {
        Greeted {
            count: 0,
            takes_early: true,
        }
    }
}

impl Greeted {
    /// Returns the note about it; none if it does not greet.
    pub(crate) fn note(self, protocol: Protocol) -> Option<String> {
        let word = match protocol {
            Protocol::Lines => "line",
            _ => "message",
        };
        let mut note = match self.count {
            0 => return None,
            1 => format!("it greets each client with one {word}, which is no answer"),
            n => format!("it greets each client with {n} {word}s, which are no answers"),
        };
        if !self.takes_early {
            note += "; it takes no request before that, so clients that it has not accepted yet \
                     send nothing";
        }
        Some(note)
    }
}

/// Finds out how a server greets that answers by now. `target` knows of no greeting yet.
pub(crate) async fn learn(target: &Arc<Target>) -> Greeted {
    if !matches!(target.protocol, Protocol::Lines | Protocol::Ws) {
        return Greeted::default();
    }
    let count = match counted(target).await {
        0 => return Greeted::default(),
        count => count,
    };
    // Over TLS and WebSocket a handshake comes first, and waits for nothing.
    let is_asked_first = target.protocol == Protocol::Lines && target.tls.is_none();
    let takes_early = !is_asked_first || all_early(target, count).await;
    Greeted { count, takes_early }
}

/// True if everybody who asks before the greeting is answered, in one row of several.
async fn all_early(target: &Arc<Target>, count: u64) -> bool {
    for _ in 0..ROWS {
        if is_row_answered(target, count).await {
            return true;
        }
    }
    false
}

async fn is_row_answered(target: &Arc<Target>, count: u64) -> bool {
    for _ in 0..EARLY_CLIENTS {
        if within(early(target, count)).await.is_none() {
            return false;
        }
    }
    true
}

/// Counts what every client gets unasked.
async fn counted(target: &Arc<Target>) -> u64 {
    for _ in 0..TRIES {
        let begun = Instant::now();
        let (one, other) = zip(within(count(target)), within(count(target))).await;
        // A message that only one of two clients gets is no greeting.
        let least = one.unwrap_or_default().min(other.unwrap_or_default());
        if least > 0 || begun.elapsed() < QUIET {
            return least;
        }
        // A machine that is so busy may have held up what greets.
    }
    0
}

async fn within<T>(work: impl Future<Output = Option<T>>) -> Option<T> {
    let late = async {
        Timer::after(PATIENCE).await;
        None
    };
    work.or(late).await
}

/// Counts what comes to a client that has asked nothing. A greeting that takes longer than
/// the grace comes before the first answer, which then looks longer than the second one.
async fn count(target: &Arc<Target>) -> Option<u64> {
    let journal = Journal::new();
    let mut connection = Connection::open(target, &journal).await.ok()?;
    let before = connection.listen(GRACE).await.ok()?;
    let first = answer(&mut connection, target, before, 0).await;
    let Some(first @ 2..) = first else {
        return Some(before);
    };
    let second = answer(&mut connection, target, before + first - 1, 1).await;
    connection.leave();
    Some(before + second.map_or(0, |second| first.saturating_sub(second)))
}

/// Asks once, and counts what comes then; `before` came unasked before that. None if the
/// server has ended the connection.
async fn answer(
    connection: &mut Connection,
    target: &Arc<Target>,
    before: u64,
    number: u64,
) -> Option<u64> {
    connection.exchange(&target.request(0, number)).await.ok()?;
    let unasked = connection.listen(GRACE).await.ok()?;
    Some(1 + unasked.saturating_sub(before))
}

/// Sends a request before the greeting can have come, and waits for the answer.
async fn early(target: &Arc<Target>, count: u64) -> Option<()> {
    let target = Arc::new(Target {
        greeting: count,
        ..Target::clone(target)
    });
    let journal = Journal::new();
    let mut connection = Connection::open_silent(&target, &journal).await.ok()?;
    connection.send_first(&target.request(0, 0)).await.ok()?;
    connection.receive_first().await.ok()?;
    connection.leave();
    let is_answered = journal.lock().current.answered > 0;
    is_answered.then_some(())
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, Write};
    use std::net::TcpListener;

    use super::*;

    /// Probes a server that drops the connections of these numbers, counted from 0. The
    /// result is true where a client may send before the server greets it.
    fn takes_early(drops: impl Fn(usize) -> bool + Send + 'static) -> bool {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        // It ends with the test.
        std::thread::spawn(move || {
            for (number, stream) in listener.incoming().flatten().enumerate() {
                if drops(number) {
                    continue;
                }
                let mut stream = std::io::BufReader::new(stream);
                let mut line = String::new();
                stream.get_mut().write_all(b"220 hello\n").unwrap();
                if stream.read_line(&mut line).is_ok() {
                    let _ = stream.get_mut().write_all(line.as_bytes());
                }
            }
        });
        let target = Arc::new(Target::new(address, Protocol::Lines));
        smol::block_on(all_early(&target, 1))
    }

    #[test]
    fn one_client_that_is_not_answered_does_not_decide() {
        assert!(takes_early(|_| false));
        assert!(takes_early(|number| number == 0));
        assert!(takes_early(|number| number == 3));
        assert!(!takes_early(|_| true));
        // Some were so slow that the greeting was there.
        assert!(!takes_early(|number| number % 4 == 3));
    }

    #[test]
    fn a_note_counts_what_greets() {
        let greeted = |count| Greeted {
            count,
            takes_early: true,
        };
        assert_eq!(greeted(0).note(Protocol::Lines), None);
        let one = greeted(1).note(Protocol::Lines).unwrap();
        assert!(one.contains("with one line, which is no answer"), "{one}");
        let two = greeted(2).note(Protocol::Ws).unwrap();
        assert!(two.contains("with 2 messages"), "{two}");
    }
}
