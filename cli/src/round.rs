//! One round: a server that was started for it, and its clients.

mod clients;
mod judgement;

use std::sync::Arc;
use std::time::{Duration, Instant};

use smol::Task;
use smol::channel::Sender;

use crate::client::{Connection, End, Journal, Target};
use crate::latch::Latch;
use crate::procfs;
use crate::server::Server;
use crate::setup::{Failure, Protocol, Setup};
use crate::sockets;

pub(crate) use judgement::ended_with;

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
        server.look_outside();
        let family = server.processes().unwrap_or_default();
        let listeners = sockets::listeners(server.address, &family).unwrap_or_default();
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

    /// Returns how long the server and this process have waited so far for a processor
    /// that others had, if that is known.
    pub(crate) fn processor_wait(&self) -> Option<Duration> {
        let mut processes = self.server.processes()?;
        processes.push(std::process::id().try_into().ok()?);
        procfs::processor_wait(&processes)
    }

    /// Returns the processor time that the server has taken so far, as far as that is known.
    pub(crate) fn processor_ran(&self) -> Duration {
        let mut processes = self.server.processes().unwrap_or_default();
        let main = self.server.main_process();
        // It may have ended, and still say what it took.
        processes.extend(main.filter(|main| !processes.contains(main)));
        procfs::processor_ran(&processes)
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
}

/// Has the end of these clients say nothing: they are there to be in the way.
pub(crate) fn ignore(clients: &[Client]) {
    for client in clients {
        let current = &mut client.journal.lock().current;
        current.is_ignored = true;
        current.finish(End::Left);
    }
}
