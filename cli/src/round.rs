//! One round: a server that was started for it, and its clients.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, MutexGuard};
use std::time::{Duration, Instant};

use futures::future::join_all;
use smol::channel::Sender;
use smol::future::FutureExt;
use smol::{Task, Timer};

use crate::client::{ClientJournal, Connection, End, Journal, Target};
use crate::latch::Latch;
use crate::procfs::{self, Queues};
use crate::server::{self, Server};
use crate::setup::{Failure, Protocol, Setup};
use crate::verdict::{RoundResult, tell};

/// How long clients wait once the server is gone: all that they can still see is there.
const AFTERWARDS: Duration = Duration::from_secs(5);

/// How long it is waited for a server to act on a signal. One that is never at rest has
/// had the time by then.
const NOTICE: Duration = Duration::from_secs(1);

/// A client with its connection.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) id: usize,
    pub(crate) journal: Journal,
    pub(crate) connection: Connection,
}

#[derive(Debug)]
struct Entry {
    id: usize,
    kind: &'static str,
    journal: Journal,
    task: Option<Task<()>>,
}

#[derive(Debug)]
pub(crate) struct Round {
    pub(crate) setup: Setup,
    pub(crate) server: Server,
    pub(crate) target: Arc<Target>,
    /// The server was told to stop.
    pub(crate) stop: Latch,
    /// The server has acted on that.
    pub(crate) noticed: Latch,
    /// The server has ended.
    pub(crate) gone: Latch,
    pub(crate) notes: Vec<String>,
    stop_sender: Option<Sender<()>>,
    noticed_sender: Option<Sender<()>>,
    gone_sender: Option<Sender<()>>,
    signalled: Option<Instant>,
    /// The processes that hold the listening socket.
    listeners: Vec<i32>,
    entries: Vec<Entry>,
    /// Clients that have done their work before the stop.
    halted: Vec<Entry>,
    next_id: usize,
}

impl Round {
    /// Starts the server and waits until it answers.
    pub(crate) async fn start(setup: &Setup) -> Result<Round, Failure> {
        let mut server = Server::start(setup).await?;
        let target = crate::ready::wait(setup, &mut server).await?;
        let (stop_sender, stop) = Latch::new();
        let (noticed_sender, noticed) = Latch::new();
        let (gone_sender, gone) = Latch::new();
        let traits = setup.known_traits();
        // Now, as it takes its time on a busy machine.
        let family = server.processes().unwrap_or_default();
        let listeners = procfs::listeners(server.address, &family).unwrap_or_default();
        Ok(Round {
            setup: setup.clone(),
            server,
            target: Arc::new(target),
            stop,
            noticed,
            gone,
            notes: traits.map_or_else(Vec::new, |traits| traits.notes),
            stop_sender: Some(stop_sender),
            noticed_sender: Some(noticed_sender),
            gone_sender: Some(gone_sender),
            signalled: None,
            listeners,
            entries: Vec::new(),
            halted: Vec::new(),
            next_id: 0,
        })
    }

    /// Returns how long a client waits for its first answer, before the stop: a server
    /// that may take long to start may be slow with that, too.
    pub(crate) fn patience(&self) -> Duration {
        self.setup.ready_timeout / 2
    }

    pub(crate) fn protocol(&self) -> Protocol {
        self.setup.protocol
    }

    pub(crate) fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }

    /// Adds a client, whose work is not yet decided.
    pub(crate) fn enter(&mut self, kind: &'static str) -> (usize, Journal) {
        let id = self.next_id;
        self.next_id += 1;
        let journal = Journal::new();
        self.entries.push(Entry {
            id,
            kind,
            journal: journal.clone(),
            task: None,
        });
        (id, journal)
    }

    /// Sets a client to work.
    pub(crate) fn spawn(&mut self, id: usize, work: impl Future<Output = ()> + Send + 'static) {
        if let Some(entry) = self.entries.iter_mut().find(|entry| entry.id == id) {
            entry.task = Some(smol::spawn(work));
        }
    }

    /// Lets a client wait for the end of its connection.
    pub(crate) fn spawn_until_end(&mut self, client: Client) {
        let mut connection = client.connection;
        self.spawn(client.id, async move {
            connection.until_end().await;
        });
    }

    /// Takes a client out of the judgement.
    pub(crate) fn forget(&mut self, id: usize) {
        self.entries.retain(|entry| entry.id != id);
    }

    /// Returns clients that each had one answer, and whose connections are still open.
    ///
    /// # Errors
    /// None of them gets an answer.
    pub(crate) async fn served(
        &mut self,
        kind: &'static str,
        count: usize,
    ) -> Result<Vec<Client>, Failure> {
        if !self.target.keeps {
            self.note("it ends each connection after one answer: none can be reused");
            return Ok(Vec::new());
        }
        let clients = self.open_all(kind, count, true).await;
        if clients.is_empty() {
            return Err(self.not_ready("none of its clients gets an answer"));
        }
        self.note_missing(clients.len(), count);
        Ok(clients)
    }

    /// Returns clients that are connected, and have sent no request.
    ///
    /// # Errors
    /// None of them gets that far.
    pub(crate) async fn opened(
        &mut self,
        kind: &'static str,
        count: usize,
    ) -> Result<Vec<Client>, Failure> {
        let clients = self.open_all(kind, count, false).await;
        if clients.is_empty() {
            return Err(self.not_ready("it refuses each connection"));
        }
        self.note_missing(clients.len(), count);
        Ok(clients)
    }

    fn note_missing(&mut self, served: usize, count: usize) {
        if served < count {
            self.note(format!(
                "it serves only {served} of {count} clients at a time"
            ));
        }
    }

    async fn open_all(
        &mut self,
        kind: &'static str,
        count: usize,
        is_served: bool,
    ) -> Vec<Client> {
        let entered: Vec<_> = (0..count).map(|_| self.enter(kind)).collect();
        let ids: Vec<usize> = entered.iter().map(|(id, _)| *id).collect();
        let target = self.target.clone();
        let patience = self.patience();
        let clients = join_all(entered.into_iter().map(|(id, journal)| {
            let target = target.clone();
            async move {
                let serve = async {
                    let mut connection = Connection::open(&target, &journal).await.ok()?;
                    if is_served {
                        connection.exchange(&target.request(id, 0)).await.ok()?;
                    }
                    Some(connection)
                };
                let late = async {
                    Timer::after(patience).await;
                    None
                };
                let connection = serve.or(late).await;
                connection.map(|connection| Client {
                    id,
                    journal,
                    connection,
                })
            }
        }));
        let mut clients: Vec<Client> = clients.await.into_iter().flatten().collect();
        // A limit by count: this connection has carried its last request.
        clients.retain(|client| client.journal.lock().current.announced.is_none());
        for id in ids {
            if !clients.iter().any(|client| client.id == id) {
                self.forget(id);
            }
        }
        clients
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

    /// Tells the server to stop, and returns the moment before.
    pub(crate) fn stop(&mut self) -> Result<Instant, Failure> {
        self.stop_by(|server| server.stop())
    }

    /// Tells every process of the server to stop.
    pub(crate) fn stop_group(&mut self) -> Result<Instant, Failure> {
        self.stop_by(|server| server.stop_group())
    }

    /// Tells the server to stop, and lets clients go on that wait until it has acted on
    /// that. Returns the moment before the signal.
    pub(crate) async fn stop_and_wait(&mut self) -> Result<Instant, Failure> {
        let from = self.stop()?;
        self.wait_until_noticed().await;
        Ok(from)
    }

    /// Lets clients go on that wait until the server has acted on the signal, once it has.
    pub(crate) async fn wait_until_noticed(&mut self) {
        self.is_at_rest().await;
        self.noticed_sender = None;
    }

    /// Waits until the server has done all that it can for now, and says whether that was
    /// seen.
    pub(crate) async fn is_at_rest(&self) -> bool {
        self.server.rests_within(NOTICE).await
    }

    fn stop_by(
        &mut self,
        stop: impl FnOnce(&mut Server) -> Result<(), Failure>,
    ) -> Result<Instant, Failure> {
        if self.server.has_ended() {
            return Err(self.server.died());
        }
        // Before the signal: what was written in between had not arrived for sure.
        let now = Instant::now();
        stop(&mut self.server)?;
        self.stop_sender = None;
        Ok(*self.signalled.get_or_insert(now))
    }

    /// Tells a frozen server to stop, and lets it run.
    pub(crate) fn stop_and_thaw(&mut self) -> Result<Instant, Failure> {
        let signalled = self.stop()?;
        self.server.thaw()?;
        Ok(signalled)
    }

    /// Waits for the end of all clients, takes them out of the round, and returns what
    /// they noted.
    pub(crate) async fn halt(
        &mut self,
        patience: Duration,
    ) -> Vec<(usize, &'static str, MutexGuard<'_, ClientJournal>)> {
        self.finish_clients(patience).await;
        self.halted = std::mem::take(&mut self.entries);
        let halted = self.halted.iter();
        halted.map(|e| (e.id, e.kind, e.journal.lock())).collect()
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

    /// Waits until every client had an answer.
    pub(crate) async fn all_answered(&mut self) -> Result<(), Failure> {
        let deadline = Instant::now() + self.patience();
        loop {
            let is_answered = |entry: &&Entry| {
                let journal = entry.journal.lock();
                journal.answered + journal.current.answered > 0
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
                self.note_missing(answered, all);
                return match answered {
                    0 => Err(self.not_ready("none of its clients gets an answer")),
                    _ => Ok(()),
                };
            }
            Timer::after(Duration::from_millis(1)).await;
        }
    }

    /// Waits for the next answer to any client: a client that has one is just about
    /// to ask again. On a busy machine all of them could be late.
    pub(crate) async fn next_answer(&self) {
        let (before, deadline) = (self.answers(), Instant::now() + self.patience());
        while self.answers() == before && Instant::now() < deadline {
            Timer::after(Duration::from_micros(200)).await;
        }
    }

    /// Returns the number of answers that all clients had.
    pub(crate) fn answers(&self) -> u64 {
        let journals = self.entries.iter().map(|entry| entry.journal.lock());
        journals.map(|j| j.answered + j.current.answered).sum()
    }

    /// Takes clients out of the judgement whose connections the server's kernel has not
    /// established: with TCP_DEFER_ACCEPT it waits for their first byte, and a server
    /// cannot end what it has never been given.
    pub(crate) fn forget_deferred(&mut self, clients: &mut Vec<Client>) {
        let Some(queues) = self.queues() else {
            return;
        };
        let server = self.server.address;
        let is_there = |client: &Client| {
            let local = client.connection.local();
            local.is_none_or(|local| queues.contains_key(&(server, local)))
        };
        let (known, deferred): (Vec<_>, Vec<_>) = clients.drain(..).partition(is_there);
        *clients = known;
        if deferred.is_empty() {
            return;
        }
        let count = deferred.len();
        self.note(format!(
            "{count} silent connections were never given to the server (TCP_DEFER_ACCEPT): their \
             clients see no end, and nothing is judged of them"
        ));
        deferred.iter().for_each(|client| self.forget(client.id));
    }

    /// Returns both queues of each connection, ours and the server's.
    pub(crate) fn queues(&self) -> Option<HashMap<(SocketAddr, SocketAddr), Queues>> {
        procfs::queues(self.target.address.ip())
    }

    /// Waits for the end of the server and of the clients, and judges.
    ///
    /// # Errors
    /// The stop command failed.
    pub(crate) async fn settle(
        &mut self,
        from: Instant,
        limit: Duration,
    ) -> Result<RoundResult, Failure> {
        let mut result = RoundResult::default();
        let left = limit.saturating_sub(from.elapsed());
        let ended = self.server.ended_within(left).await;
        if let Some(failure) = self.server.stop_failure() {
            return Err(failure);
        }
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
                let signal = self.server.stop_name();
                result
                    .findings
                    .push(format!("the server did not end within {limit} of {signal}"));
            }
        }
        self.judge_clients(&mut result, from);
        result.trace.close(result.stop);
        self.note_wrapper(ended.is_some());
        if ended.is_none() {
            self.server.kill();
        }
        self.judge_status(&mut result, ended.is_some());
        for note in self.notes.drain(..) {
            if !result.notes.contains(&note) {
                result.notes.push(note);
            }
        }
        Ok(result)
    }

    fn judge_clients(&self, result: &mut RoundResult, from: Instant) {
        let signalled = self.signalled.unwrap_or(from);
        for entry in &self.entries {
            let client = entry.journal.lock();
            result.judge(entry.id, entry.kind, &client, signalled);
            if self.setup.is_verbose {
                let told = client.past.iter().chain(&client.recent);
                let told = told.chain([&client.current]);
                let told = told.map(|c| tell(entry.id, entry.kind, c, signalled));
                result.stories.extend(told);
            }
        }
    }

    fn judge_status(&mut self, result: &mut RoundResult, has_ended: bool) {
        let Some(status) = self.server.status().filter(|_| has_ended) else {
            return;
        };
        if server::crash(status).is_some() {
            result
                .findings
                .push(format!("the server crashed: {status}"));
        } else if !status.success() {
            self.notes.push(status.to_string());
        }
    }

    /// Says so if the process that got the signal is not the one that serves.
    fn note_wrapper(&mut self, has_ended: bool) {
        let Some(main) = self.server.main_process() else {
            return;
        };
        let family = self.server.processes().unwrap_or_default();
        let is_serving = |pid: &&i32| **pid != main && family.contains(pid);
        let Some(serving) = self.listeners.iter().find(is_serving).copied() else {
            return;
        };
        if self.listeners.contains(&main) {
            return;
        }
        let name = |pid: i32| procfs::name(pid).unwrap_or_default();
        let signal = self.server.stop_name();
        let server = name(serving);
        self.notes.push(match has_ended {
            true => format!(
                "{signal} ended the process that was started, and {server} ({serving}), which \
                 serves, is still running: a wrapper has to exec the server or pass the signal on"
            ),
            false => format!(
                "{signal} was sent to {} ({main}), and {server} ({serving}) is what serves: a \
                 wrapper has to exec the server or pass the signal on",
                name(main)
            ),
        });
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
        // What is late is dropped, and so cancelled: its journal stays open.
        all.or(late).await;
    }
}

/// Has the end of these clients say nothing: they are there to be in the way.
pub(crate) fn ignore(clients: &[Client]) {
    for client in clients {
        let current = &mut client.journal.lock().current;
        current.is_ignored = true;
        current.finish(End::Left);
    }
}
