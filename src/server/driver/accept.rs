//! Accepting: from the listeners to the tasks of the connections.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Context;

use log::{debug, error, warn};

use super::Serve;
use crate::address::Address;
use crate::rt::{ConnectionOf, Runtime};
use crate::server::hooks::BoxError;
use crate::server::listener::{Accepted, Limit};
use crate::server::task::{self, AcceptedConnection};
use crate::session::Session;

impl<R, H, F, E> Serve<R, H>
where
    R: Runtime,
    H: Fn(Session<ConnectionOf<R>>) -> F + Send + Sync + 'static,
    F: Future<Output = Result<(), E>> + Send + 'static,
    E: Into<BoxError>,
{
    /// Polls the listeners that were woken, and then those that wait at the
    /// connection limit, while it lets them in.
    pub(super) fn poll_listeners(&mut self, cx: &mut Context<'_>) -> bool {
        self.listeners.collect(&self.clock);
        let mut progress = self.admit_taken();
        while let Some(id) = self.listeners.next() {
            progress |= self.poll_listener(id);
        }
        while let Some(id) = self.next_at_limit(cx) {
            progress |= self.poll_listener(id);
        }
        progress |= self.listeners.poll_handshakes(&self.clock);
        // Last, when all have said how long they wait.
        progress |= self.listeners.poll_timer(&self.clock, cx);
        progress
    }

    /// Admits those whom listeners had taken that were closed at once.
    fn admit_taken(&mut self) -> bool {
        let mut progress = false;
        // Without a handler hooks run, and nobody is let in, nor counted.
        while self.handler.is_some() {
            let Some((id, connection, peer)) = self.listeners.next_taken() else {
                break;
            };
            self.admit(id, connection, peer);
            progress = true;
        }
        progress
    }

    fn next_at_limit(&mut self, cx: &mut Context<'_>) -> Option<usize> {
        let limit = Limit {
            connections: self.connection_limit,
            table: &self.shared.table,
        };
        self.listeners.next_at_limit(limit, cx)
    }

    fn poll_listener(&mut self, id: usize) -> bool {
        let mut progress = false;
        if self.listeners.get(id).is_accepting() && !self.handover.is_serving() {
            return false;
        }
        loop {
            let limit = Limit {
                connections: self.connection_limit,
                table: &self.shared.table,
            };
            match self.listeners.poll(id, &self.clock, limit) {
                Accepted::Connection(connection, peer) => self.admit(id, connection, peer),
                Accepted::Closed(closed) => {
                    let input = self.listener_closed(id, closed);
                    self.feed(input);
                }
                Accepted::Nothing | Accepted::AtLimit | Accepted::AskHandshakes => {
                    return progress;
                }
                // No progress, which would be followed at once: the
                // connections' tasks, too, want to run.
                Accepted::Yield => return false,
            }
            progress = true;
        }
    }

    /// The guard first, then the table, then the task (F8).
    fn admit(&mut self, id: usize, connection: ConnectionOf<R>, peer: Address) {
        let guard = match self.hold.try_guard() {
            Ok(guard) => guard,
            Err(error) => return warn!("{peer}: {error}"),
        };
        debug!(
            "{peer} connected to {}",
            self.listeners.get(id).local_addr()
        );
        let Some(handler) = self.handler.clone() else {
            // Hooks run once nothing is accepted any more.
            return;
        };
        let accepted = AcceptedConnection {
            connection,
            guard,
            peer,
            listener_index: id,
        };
        let task = task::connection_task(handler, accepted);
        let runtime = &self.shared.runtime;
        // Its contract forbids that; such a one is not to end all other connections.
        if catch_unwind(AssertUnwindSafe(|| runtime.spawn(task))).is_err() {
            error!("a connection is aborted: the runtime has panicked at its task");
        }
    }
}
