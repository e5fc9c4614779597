//! The clients of a round before the stop: they connect, are answered, and write.

use std::time::{Duration, Instant};

use futures::future::join_all;
use smol::Timer;
use smol::future::FutureExt;

use super::{Client, Entry, Round};
use crate::client::Connection;
use crate::setup::Failure;
use crate::sockets::{self, Sockets};

impl Round {
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

    /// Waits until what these clients wrote has reached the server's kernel.
    pub(crate) async fn arrived(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(2);
        while Instant::now() < deadline {
            let Some(sockets) = self.sockets() else {
                return;
            };
            if !sockets.has_bytes_under_way_to(self.target.address) {
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
        self.catch_up().await;
    }

    /// Lets the clients read all answers that have come: on a busy machine all of them
    /// could have one that waits for this process, and no request would be under way.
    async fn catch_up(&self) {
        // Meanwhile a fast server answers again: a few looks are enough.
        for _ in 0..8 {
            let before = self.answers();
            // All sockets are looked at, and then those run that have something.
            Timer::after(Duration::ZERO).await;
            smol::spawn(async {}).await;
            if self.answers() == before {
                return;
            }
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
        let Some(sockets) = self.sockets() else {
            return;
        };
        let server = self.server.address;
        let is_there = |client: &Client| {
            let local = client.connection.local();
            local.is_none_or(|local| sockets.get(server, local).is_some())
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

    /// Returns the sockets of each connection, ours and the server's.
    pub(crate) fn sockets(&self) -> Option<Sockets> {
        sockets::sockets(self.target.address)
    }
}
