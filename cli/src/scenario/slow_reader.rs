//! Much is under way to clients that read it only after the signal.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use smol::Timer;
use smol::future::FutureExt;

use crate::client::owed::Rule;
use crate::client::target::stream;
use crate::client::{Connection, Disconnected, End, Journal, Request, Target};
use crate::latch::Latch;
use crate::round::{Client, Round};
use crate::setup::{Failure, Protocol};
use crate::sockets::Sockets;
use crate::verdict::RoundResult;

/// The buffers of a client: the server is the one that has to keep the bytes.
const NARROW: usize = 64 * 1024;

/// How often it is looked whether a pipe is full.
const LOOK: Duration = Duration::from_millis(10);

/// A pipe is full when nothing moves for so long.
const QUIET: Duration = Duration::from_millis(150);

/// How long after the server has acted on the signal the clients begin to read.
const LATER: Duration = Duration::from_millis(200);

/// A client reads a piece, and pauses.
const PAUSE: Duration = Duration::from_millis(1);

/// So many pieces are what lies in the buffers: half a second of pauses, whether
/// the kernel keeps one megabyte for a connection or forty.
const PIECES: u64 = 512;

/// The least of a piece, and the most, in bytes.
const PIECE: (u64, u64) = (16 * 1024, 1024 * 1024);

/// The most that a client writes: more than the buffers of any system hold.
const MOST: u64 = 256 << 20;

/// Without `/proc`: smaller responses are thought to fit into the buffers.
const BUFFERS: u64 = 8 << 20;

/// How long it is waited for that.
const STALL_LIMIT: Duration = Duration::from_secs(10);

/// A response that says itself where it ends need not be read for longer.
const GLANCE: Duration = Duration::from_secs(1);

/// Why nothing can be said of the stop.
const IMPATIENT: &str = "it ends a connection whose client does not read, before any signal";

pub(crate) async fn run(round: &mut Round, count: usize) -> Result<RoundResult, Failure> {
    match round.target.large_request() {
        _ if !round.protocol().is_http() => echo(round, count).await,
        Some(request) => http(round, count, &request).await,
        None => Ok(RoundResult::skip(
            "a large response is needed: --large-path",
        )),
    }
}

/// Everything the server's kernel had must come back, in order.
///
/// What is still in the client's own buffer at the signal had not arrived, and
/// the server may end without it.
async fn echo(round: &mut Round, count: usize) -> Result<RoundResult, Failure> {
    let target = round.target.clone();
    let mut writers = Vec::new();
    for client in open(round, &target, count).await? {
        writers.push(smol::spawn(async move {
            let mut client = client;
            let next = |from| stream(from, 16 * 1024);
            let filled = client.connection.fill(next, QUIET, MOST).await;
            (client, filled)
        }));
    }
    let mut filled = Vec::new();
    for writer in writers {
        let (client, written) = writer.await;
        let Ok(written) = written else {
            return Ok(RoundResult::skip(IMPATIENT));
        };
        filled.push((client, written));
    }
    let sockets = round.sockets();
    if sockets.is_none() {
        round.note("how much had arrived is not known here: only the order is checked");
    }
    let is_tls = target.tls.is_some();
    for (mut client, written) in filled {
        // Over TLS the bytes on the wire are not those of the client.
        let arrived = sockets.as_ref().filter(|_| !is_tls).map_or(0, |sockets| {
            let local = client.connection.local();
            let own = local.and_then(|local| sockets.get(local, round.server.address));
            written.saturating_sub(own.map_or(written, |own| own.unacknowledged))
        });
        // Before the stop, or nothing is owed: a task of its own can come too late.
        owe(&mut client.connection, arrived);
        round.spawn(
            client.id,
            read_echo(client.connection, round.noticed.clone(), arrived),
        );
    }
    let from = round.stop_and_wait().await?;
    round.settle(from, round.setup.limit).await
}

/// Notes that the echo of what has arrived is owed.
fn owe(connection: &mut Connection, arrived: u64) {
    connection.begin(&Request {
        label: format!("a stream of which {arrived} bytes had arrived"),
        ..Request::default()
    });
    connection.mark_sent();
}

fn piece(buffered: u64) -> usize {
    (buffered / PIECES).clamp(PIECE.0, PIECE.1) as usize
}

async fn read_echo(mut connection: Connection, noticed: Latch, arrived: u64) {
    noticed.wait().await;
    Timer::after(LATER).await;
    let mut buffer = vec![0; piece(arrived)];
    let mut offset = 0;
    let end = loop {
        let n = match connection.read(&mut buffer).await {
            Ok(0) => break End::Fin,
            Ok(n) => n as u64,
            Err(Disconnected) => return,
        };
        let is_echo = buffer.get(..n as usize) == Some(&stream(offset, n as usize));
        if !is_echo {
            break End::Garbled(format!("it is no echo any more after {offset} bytes"));
        }
        offset += n;
        connection.progress(offset);
        // How the connection ends, and whether it does, is another matter.
        if offset >= arrived {
            connection.answered();
        }
        Timer::after(PAUSE).await;
    };
    if offset >= arrived {
        connection.answered();
    }
    connection.ended(end);
}

/// The response to one request must come whole.
async fn http(
    round: &mut Round,
    count: usize,
    request: &Request,
) -> Result<RoundResult, Failure> {
    let target = Arc::new(Target {
        holds_windows: true,
        whole: learn(round, request).await,
        ..Target::clone(&round.target)
    });
    let clients = begin(round, &target, count, request).await?;
    if clients.is_empty() {
        return Ok(RoundResult::skip("no response to the large request begins"));
    }
    let (handed, sockets) = stalled(round, &clients).await;
    let piece = piece(handed.unwrap_or(0));
    let clients = match alive(round, &target, clients, sockets).await {
        Ok(clients) => clients,
        Err(reason) => return Ok(RoundResult::skip(reason)),
    };
    let (sender, lengths) = smol::channel::unbounded();
    for client in clients {
        let (noticed, sender, target) = (round.noticed.clone(), sender.clone(), target.clone());
        let mut connection = client.connection;
        round.spawn(client.id, async move {
            noticed.wait().await;
            Timer::after(LATER).await;
            if connection.release_windows().await.is_ok()
                && let Ok(response) = connection.receive_slowly(piece, PAUSE).await
            {
                if target.is_whole(&response) == Some(true) {
                    let _ = sender.send(response.length).await;
                }
                connection.until_end().await;
            }
        });
    }
    drop(sender);
    let from = round.stop_and_wait().await?;
    let mut result = round.settle(from, round.setup.limit).await?;
    let length = std::iter::from_fn(|| lengths.try_recv().ok()).max();
    let in_buffers = match round.protocol() {
        // The room for an answer is bounded by the protocol, and was held back.
        Protocol::H2 => handed.unwrap_or(BUFFERS).min(H2_WINDOW),
        _ => handed.unwrap_or(BUFFERS),
    };
    if let Some(length) = length.filter(|length| *length <= in_buffers) {
        let text = fits(length);
        result.notes.push(text.clone());
        if result.is_lossless() {
            result.skipped = Some(text);
        }
    }
    Ok(result)
}

fn fits(length: u64) -> String {
    format!("a response of {length} bytes fits into the socket buffers")
}

/// Learns while nothing is wrong how long the body of a response is that ends with its
/// connection: nothing else tells a part of it from all of it.
async fn learn(round: &mut Round, request: &Request) -> Option<u64> {
    let mut lengths = Vec::new();
    for _ in 0..2 {
        let fetched = fetch(&round.target.clone(), request, round.patience()).await;
        if !fetched.ends_with_connection {
            return None;
        }
        lengths.push(fetched.length);
    }
    let problem = match lengths[..] {
        [Some(first), Some(second)] if first == second => return Some(first),
        [Some(_), Some(_)] => "differs in length from one to the next",
        _ => "has no end while nothing is wrong",
    };
    round.note(format!(
        "its large response ends with the connection, and {problem}: a truncation cannot be seen"
    ));
    None
}

/// What came of a response that is read at once.
struct Fetched {
    ends_with_connection: bool,
    /// The length of its body then, if it ended.
    length: Option<u64>,
}

async fn fetch(target: &Arc<Target>, request: &Request, patience: Duration) -> Fetched {
    let journal = Journal::new();
    let announced = || journal.lock().current.announced.map(|said| said.rule);
    let exchange = async {
        let mut connection = Connection::open(target, &journal).await.ok()?;
        let response = connection.exchange(request).await.ok()?;
        connection.leave();
        Some(response)
    };
    let late = async {
        Timer::after(GLANCE.min(patience)).await;
        let has_begun = journal
            .lock()
            .current
            .unanswered
            .iter()
            .any(|m| m.received > 0);
        if !has_begun || announced() == Some(Rule::UntilClose) {
            Timer::after(patience.saturating_sub(GLANCE)).await;
        }
        None
    };
    let response = exchange.or(late).await;
    Fetched {
        ends_with_connection: announced() == Some(Rule::UntilClose),
        length: response.and_then(|response| response.until_end),
    }
}

/// Returns clients to which a response has begun.
async fn begin(
    round: &mut Round,
    target: &Arc<Target>,
    count: usize,
    request: &Request,
) -> Result<Vec<Client>, Failure> {
    let opened = open(round, target, count).await?;
    let patience = round.patience();
    let begun = join_all(opened.into_iter().map(|mut client| async move {
        let begun = async {
            client.connection.send(request).await?;
            client.connection.peek().await.map(Some)
        };
        let late = async {
            Timer::after(patience).await;
            Ok::<_, Disconnected>(None)
        };
        let has_begun = matches!(begun.or(late).await, Ok(Some(1..)));
        (client, has_begun)
    }));
    let mut clients = Vec::new();
    for (client, has_begun) in begun.await {
        match has_begun {
            true => clients.push(client),
            false => round.forget(client.id),
        }
    }
    let begun = clients.len();
    if (1..count).contains(&begun) {
        round.note(format!(
            "it serves only {begun} of {count} clients at a time"
        ));
    }
    Ok(clients)
}

/// Returns the clients whose connections live on.
///
/// # Errors
/// The server has ended one before any signal, in the middle of its response or because
/// that fits into the buffers: why there is nothing to be seen.
async fn alive(
    round: &mut Round,
    target: &Target,
    clients: Vec<Client>,
    sockets: Option<Sockets>,
) -> Result<Vec<Client>, String> {
    let (server, patience) = (round.server.address, round.patience());
    let is_alive = |client: &Client| {
        let (Some(sockets), Some(local)) = (&sockets, client.connection.local()) else {
            return true;
        };
        let ours = sockets.get(local, server);
        // Servers elsewhere, behind a proxy of the system, are not in the table.
        let theirs = sockets.get(server, local).or(ours);
        let both = [ours, theirs].into_iter();
        both.flatten().filter(|end| end.is_established).count() == 2
    };
    let (alive, ended): (Vec<_>, Vec<_>) = clients.into_iter().partition(is_alive);
    let mut length = 0;
    for mut client in ended {
        let rest = async { client.connection.receive().await.ok() };
        let late = async {
            Timer::after(patience).await;
            None
        };
        let response = rest.or(late).await;
        let response = response.filter(|response| target.is_whole(response) != Some(false));
        length = response.ok_or(IMPATIENT)?.length;
        round.forget(client.id);
    }
    match alive.is_empty() {
        true => Err(fits(length)),
        false => Ok(alive),
    }
}

/// What an h2 server may send before its client grants more (RFC 9113 section 6.9.2).
const H2_WINDOW: u64 = 65_535;

async fn open(
    round: &mut Round,
    target: &Arc<Target>,
    count: usize,
) -> Result<Vec<Client>, Failure> {
    let patience = round.patience();
    let mut clients = Vec::new();
    for _ in 0..count {
        let (id, journal) = round.enter("slow reader");
        let open = async { Connection::open_narrow(target, &journal, NARROW).await.ok() };
        let late = async {
            Timer::after(patience).await;
            None
        };
        match open.or(late).await {
            Some(connection) => clients.push(Client {
                id,
                journal,
                connection,
            }),
            None => return Err(round.not_ready("it refuses a connection")),
        }
    }
    Ok(clients)
}

/// Waits until the server can write no more; returns the least that it had written, and
/// the sockets then.
async fn stalled(round: &Round, clients: &[Client]) -> (Option<u64>, Option<Sockets>) {
    let server = round.server.address;
    let mut last = Vec::new();
    let mut sockets = None;
    let begun = Instant::now();
    let mut since = begun;
    // A response without an end never stalls where the buffers have none either.
    while begun.elapsed() < STALL_LIMIT {
        let looked = Instant::now();
        let Some(seen) = round.sockets() else {
            return (None, None);
        };
        // The look itself must not be what keeps the machine busy.
        let pause = looked.elapsed().max(LOOK);
        let handed = |client: &Client| {
            let local = client.connection.local()?;
            let theirs = seen.get(server, local)?;
            let ours = seen.get(local, server)?;
            Some(theirs.unacknowledged + ours.unread)
        };
        let now: Vec<u64> = clients.iter().filter_map(handed).collect();
        sockets = Some(seen);
        if now != last {
            last = now;
            since = Instant::now();
        } else if since.elapsed() >= QUIET {
            break;
        }
        Timer::after(pause).await;
    }
    (last.into_iter().min(), sockets)
}
