//! One round: a server that was started for it, and its clients.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use rustix::process::Signal;
use smol::channel::Sender;
use smol::future::FutureExt;
use smol::{Task, Timer};

use crate::child::{Server, crash};
use crate::client::{Connection, End, Journal, Target};
use crate::latch::Latch;
use crate::procfs::{self, Queues};
use crate::setup::{Failure, Protocol, Setup};
use crate::verdict::RoundResult;

/// What clients get after the server is gone: all they can still see is there.
const AFTERWARDS: Duration = Duration::from_secs(5);

/// How long a client waits for its first answer, before the stop.
const PATIENCE: Duration = Duration::from_secs(5);

/// A client with its connection.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) id: usize,
    pub(crate) record: Journal,
    pub(crate) connection: Connection,
}

#[derive(Debug)]
struct Entry {
    id: usize,
    kind: &'static str,
    record: Journal,
    task: Option<Task<()>>,
}

#[derive(Debug)]
pub(crate) struct Round {
    pub(crate) setup: Setup,
    pub(crate) server: Server,
    pub(crate) target: Arc<Target>,
    pub(crate) stop: Latch,
    pub(crate) gone: Latch,
    pub(crate) notes: Vec<String>,
    stop_sender: Option<Sender<()>>,
    gone_sender: Option<Sender<()>>,
    signalled: Option<Instant>,
    entries: Vec<Entry>,
    next_id: usize,
}

impl Round {
    /// Starts the server and waits until it answers.
    pub(crate) async fn start(setup: &Setup) -> Result<Round, Failure> {
        let mut server = Server::spawn(setup)?;
        let target = crate::ready::wait(setup, &mut server).await?;
        let (stop_sender, stop) = Latch::new();
        let (gone_sender, gone) = Latch::new();
        Ok(Round {
            setup: setup.clone(),
            server,
            target: Arc::new(target),
            stop,
            gone,
            notes: Vec::new(),
            stop_sender: Some(stop_sender),
            gone_sender: Some(gone_sender),
            signalled: None,
            entries: Vec::new(),
            next_id: 0,
        })
    }

    pub(crate) fn protocol(&self) -> Protocol {
        self.setup.protocol
    }

    pub(crate) fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }

    /// A new client; what it does is not yet decided.
    pub(crate) fn enter(&mut self, kind: &'static str) -> (usize, Journal) {
        let id = self.next_id;
        self.next_id += 1;
        let record = Journal::new();
        self.entries.push(Entry {
            id,
            kind,
            record: record.clone(),
            task: None,
        });
        (id, record)
    }

    /// Sets a client to work.
    pub(crate) fn spawn(&mut self, id: usize, work: impl Future<Output = ()> + Send + 'static) {
        if let Some(entry) = self.entries.iter_mut().find(|entry| entry.id == id) {
            entry.task = Some(smol::spawn(work));
        }
    }

    /// Takes a client out of the judgement.
    pub(crate) fn forget(&mut self, id: usize) {
        self.entries.retain(|entry| entry.id != id);
    }

    /// Clients that each had one answer.
    pub(crate) async fn served(
        &mut self,
        kind: &'static str,
        count: usize,
    ) -> Result<Vec<Client>, Failure> {
        let entered: Vec<_> = (0..count).map(|_| self.enter(kind)).collect();
        let target = self.target.clone();
        let clients = join_all(entered.into_iter().map(|(id, record)| {
            let target = target.clone();
            async move {
                let serve = async {
                    let mut connection = Connection::open(&target, &record).await.ok()?;
                    connection.exchange(&target.request(id, 0)).await.ok()?;
                    Some(connection)
                };
                let late = async {
                    Timer::after(PATIENCE).await;
                    None
                };
                let connection = serve.or(late).await;
                connection.map(|connection| Client {
                    id,
                    record,
                    connection,
                })
            }
        }));
        let clients: Vec<Client> = clients.await.into_iter().flatten().collect();
        let is_served = |id: usize| clients.iter().any(|client| client.id == id);
        self.entries
            .retain(|entry| entry.kind != kind || is_served(entry.id));
        if clients.is_empty() {
            return Err(self.not_ready("none of its clients gets an answer"));
        }
        if clients.len() < count {
            let served = clients.len();
            self.note(format!(
                "it serves only {served} of {count} clients at a time"
            ));
        }
        Ok(clients)
    }

    pub(crate) fn not_ready(&mut self, problem: &str) -> Failure {
        if self.server.has_ended() {
            return self.server.died();
        }
        Failure::NotReady {
            problem: problem.to_owned(),
            output: self.server.output(),
        }
    }

    /// Sends the stop signal.
    pub(crate) fn signal(&mut self) -> Result<Instant, Failure> {
        if self.server.has_ended() {
            return Err(self.server.died());
        }
        let failed = |error| Failure::Other(format!("cannot send the signal: {error}"));
        // Before the kill: what was written in between had not arrived for sure.
        let now = Instant::now();
        self.server
            .signal(self.setup.signal.raw())
            .map_err(failed)?;
        self.stop_sender = None;
        Ok(*self.signalled.get_or_insert(now))
    }

    /// Sends the stop signal to a frozen server, and lets it run.
    pub(crate) fn signal_and_thaw(&mut self) -> Result<Instant, Failure> {
        let signalled = self.signal()?;
        let failed = |error| Failure::Other(format!("cannot continue it: {error}"));
        self.server.signal_group(Signal::CONT).map_err(failed)?;
        Ok(signalled)
    }

    /// Waits until what these clients wrote has reached the server's kernel.
    pub(crate) async fn arrived(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(2);
        while Instant::now() < deadline {
            let Some(queues) = procfs::queues(self.target.address.ip()) else {
                return;
            };
            let server = self.target.address;
            let is_under_way = |(addresses, queues): (&(SocketAddr, SocketAddr), &Queues)| {
                addresses.1 == server && queues.unacknowledged > 0
            };
            if !queues.iter().any(is_under_way) {
                return;
            }
            Timer::after(Duration::from_millis(1)).await;
        }
        self.note("not everything arrived while the server stood still");
    }

    /// Waits until every client of a kind had an answer.
    pub(crate) async fn all_answered(&mut self) -> Result<(), Failure> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let is_answered = |entry: &&Entry| {
                let account = entry.record.lock();
                account.answered + account.current.answered > 0
            };
            let answered = self.entries.iter().filter(is_answered).count();
            if answered == self.entries.len() {
                return Ok(());
            }
            if self.server.has_ended() {
                return Err(self.server.died());
            }
            if Instant::now() >= deadline {
                let all = self.entries.len();
                self.note(format!(
                    "it serves only {answered} of {all} clients at a time"
                ));
                return match answered {
                    0 => Err(self.not_ready("none of its clients gets an answer")),
                    _ => Ok(()),
                };
            }
            Timer::after(Duration::from_millis(1)).await;
        }
    }

    /// Waits for the next answer to anybody: a client that has one is just about
    /// to ask again. On a busy machine all of them could be late.
    pub(crate) async fn next_answer(&self) {
        let answers = || {
            let accounts = self.entries.iter().map(|entry| entry.record.lock());
            accounts
                .map(|a| a.answered + a.current.answered)
                .sum::<u64>()
        };
        let (before, deadline) = (answers(), Instant::now() + PATIENCE);
        while answers() == before && Instant::now() < deadline {
            Timer::after(Duration::from_micros(200)).await;
        }
    }

    /// Both queues of each connection, ours and the server's.
    pub(crate) fn queues(&self) -> Option<HashMap<(SocketAddr, SocketAddr), Queues>> {
        procfs::queues(self.target.address.ip())
    }

    /// Waits for the end of the server and of the clients, and judges.
    pub(crate) async fn settle(&mut self, from: Instant, limit: Duration) -> RoundResult {
        let mut result = RoundResult::default();
        let left = limit.saturating_sub(from.elapsed());
        let ended = self.server.ended_within(left).await;
        self.gone_sender = None;
        let patience = match ended {
            Some(_) => AFTERWARDS,
            None => Duration::ZERO,
        };
        self.finish_clients(patience).await;
        match ended {
            Some(at) => result.stop = Some(at.saturating_duration_since(from)),
            None => {
                let limit = humantime::format_duration(limit);
                let signal = self.server.stop_signal();
                result
                    .findings
                    .push(format!("the server did not end within {limit} of {signal}"));
            }
        }
        let signalled = self.signalled.unwrap_or(from);
        for entry in &self.entries {
            result.judge(entry.id, entry.kind, &entry.record.lock(), signalled);
        }
        result.trace.close(result.stop);
        if ended.is_none() {
            self.server.kill();
        }
        match self.server.reap() {
            Some(status) if ended.is_some() && crash(status).is_some() => {
                result
                    .findings
                    .push(format!("the server crashed: {status}"));
            }
            Some(status) if ended.is_some() && !status.success() => {
                self.notes.push(status.to_string());
            }
            _ => {}
        }
        result.notes.append(&mut self.notes);
        result
    }

    async fn finish_clients(&mut self, patience: Duration) {
        let tasks: Vec<_> = self
            .entries
            .iter_mut()
            .filter_map(|e| e.task.take())
            .collect();
        let all = async {
            join_all(tasks).await;
        };
        let late = async {
            Timer::after(patience).await;
        };
        // What is late is dropped, and so cancelled: its record stays open.
        all.or(late).await;
    }
}

/// Clients whose end says nothing: they are there to be in the way.
pub(crate) fn ignore(clients: &[Client]) {
    for client in clients {
        let current = &mut client.record.lock().current;
        current.is_ignored = true;
        current.finish(End::Left);
    }
}
