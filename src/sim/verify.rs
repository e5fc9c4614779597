//! The checkers: what must hold of every stop, seen from outside.
//!
//! They know nothing of the workload. Each takes the [`History`] of a
//! simulation and the server's report, and gives the first violation.

use std::fmt;
use std::time::Duration;

use crate::address::Address;
use crate::report::Outcome;
use crate::report::Report;
use crate::rt::CloseGuarantee;

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The clause or the fault, as the project numbers them.
    pub clause: &'static str,
    /// What happened instead.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.clause, self.what)
    }
}

impl std::error::Error for Violation {}

fn violation(clause: &'static str, what: String) -> Result<(), Violation> {
    Err(Violation { clause, what })
}

/// What one client went through.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ClientHistory {
    /// Its number in the trace.
    pub id: usize,
    /// Its address.
    pub peer: Address,
    /// When its handshake was done for the client itself.
    pub established: Option<Duration>,
    /// When the server's kernel put it into the accept queue.
    pub queued: Option<Duration>,
    /// When the server accepted it.
    pub accepted: Option<Duration>,
    /// Answers that it was owed at the stop: all bytes of their requests had
    /// arrived. So many bytes of answers had to come.
    pub owed: u64,
    /// Bytes that it received.
    pub received: u64,
    /// The first byte that was not what it should be.
    pub garbled: Option<u64>,
    /// It saw the server's orderly end.
    pub ended: bool,
    /// It saw a reset, and no orderly end before.
    pub reset: bool,
    /// It went away, or did not read, before it saw the end: then nothing is
    /// owed to it.
    pub left: bool,
}

/// What was seen of a whole simulation.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct History {
    /// When the first signal came, or the stop was noted otherwise.
    pub stopped_at: Option<Duration>,
    /// When the server's future completed.
    pub ended_at: Option<Duration>,
    /// Every client.
    pub clients: Vec<ClientHistory>,
}

impl History {
    /// Those who were in before the stop, and to whom all was owed that the
    /// server did not take away by force.
    fn served<'a>(&'a self, report: &'a Report) -> impl Iterator<Item = &'a ClientHistory> {
        let cut = |peer: &Address| {
            let all = report.aborted.iter().chain(&report.abandoned);
            all.map(|straggler| &straggler.peer)
                .any(|other| other == peer)
        };
        self.clients
            .iter()
            .filter(move |client| !client.left && !cut(&client.peer))
    }

    fn was_in(&self, client: &ClientHistory) -> bool {
        let stopped_at = self.stopped_at.unwrap_or(Duration::MAX);
        client.queued.is_some_and(|queued| queued < stopped_at)
    }
}

/// No listener closes before its queue was seen empty (S8). Not for a stop that
/// was escalated, which may do so.
///
/// # Errors
/// The listener.
pub fn every_queue_is_swept(_: &History, report: &Report) -> Result<(), Violation> {
    match report
        .listeners
        .iter()
        .find(|l| l.guarantee == CloseGuarantee::Unswept)
    {
        Some(listener) => violation("S8", format!("{} was not swept", listener.local_addr)),
        None => Ok(()),
    }
}

/// Nobody is turned away who was already in (F1), unless the stop was escalated
/// so early that the report says [`None`](CloseGuarantee::Unswept) of a listener.
///
/// # Errors
/// Who was in the accept queue at the stop and was never accepted.
pub fn accept_queue_served(history: &History, report: &Report) -> Result<(), Violation> {
    if every_queue_is_swept(history, report).is_err() {
        return Ok(());
    }
    for client in history.served(report) {
        if history.was_in(client) && client.accepted.is_none() {
            let what = format!("#{} was in the accept queue and never accepted", client.id);
            return violation("F1", what);
        }
    }
    Ok(())
}

/// All requests that had arrived before the stop are answered (F17).
///
/// # Errors
/// Who did not get the whole of an answer.
pub fn nothing_is_lost(history: &History, report: &Report) -> Result<(), Violation> {
    let swept = every_queue_is_swept(history, report).is_ok();
    for client in history.served(report) {
        let sure = history.was_in(client) && (swept || client.accepted.is_some());
        if client.received < client.owed && sure {
            let ClientHistory {
                id, received, owed, ..
            } = client;
            let what = format!("#{id} is owed {owed} B and got {received} B");
            return violation("F17", what);
        }
    }
    Ok(())
}

/// Answers are those that the requests call for.
///
/// # Errors
/// Who got something else.
pub fn nothing_is_garbled(history: &History, _: &Report) -> Result<(), Violation> {
    for client in &history.clients {
        if let Some(offset) = client.garbled {
            let what = format!("#{}: a wrong answer, around byte {offset}", client.id);
            return violation("answers", what);
        }
    }
    Ok(())
}

/// An orderly close is no reset (F16).
///
/// Who connects while the listener closes may be reset, unless the report
/// says [`SynFilter`](CloseGuarantee::SynFiltered) (F2).
///
/// # Errors
/// Who saw a reset.
pub fn nobody_is_reset(history: &History, report: &Report) -> Result<(), Violation> {
    let is_filtered =
        |l: &crate::report::ListenerReport| l.guarantee == CloseGuarantee::SynFiltered;
    let filtered = report.listeners.iter().all(is_filtered);
    for client in history.served(report) {
        let sure = client.accepted.is_some() || filtered && client.established.is_some();
        if client.reset && sure {
            return violation("F16", format!("#{} was reset", client.id));
        }
    }
    Ok(())
}

/// Every client sees an end.
///
/// # Errors
/// Who still waits although the server is gone.
pub fn everybody_sees_an_end(history: &History, report: &Report) -> Result<(), Violation> {
    for client in history.served(report) {
        if client.established.is_some() && !client.ended && !client.reset {
            return violation("L2", format!("#{} never sees an end", client.id));
        }
    }
    Ok(())
}

/// Each accepted connection has exactly one outcome (S4), and a clean stop is
/// one (S5).
///
/// # Errors
/// What does not add up.
pub fn the_report_adds_up(history: &History, report: &Report) -> Result<(), Violation> {
    if !report.is_consistent() {
        return violation("S4", format!("it does not add up: {report}"));
    }
    let accepted = history
        .clients
        .iter()
        .filter(|c| c.accepted.is_some())
        .count();
    if report.accepted != accepted as u64 {
        let what = format!(
            "{} of {accepted} accepted are in the report",
            report.accepted
        );
        return violation("S4", what);
    }
    let is_clean = report.aborted.is_empty()
        && report.abandoned.is_empty()
        && report.untracked_guards == 0
        && report.errors.is_empty();
    if report.outcome == Outcome::Clean && !is_clean {
        return violation("S5", format!("it is not clean: {report}"));
    }
    Ok(())
}

/// The stop ends within `budget`: the grace and the force margin (L1).
///
/// # Errors
/// A stop that took longer, or had no end.
pub fn it_ends_in_time(history: &History, budget: Duration) -> Result<(), Violation> {
    let Some(stopped_at) = history.stopped_at else {
        return Ok(());
    };
    match history.ended_at {
        None => violation("L1", "the stop has no end".to_owned()),
        Some(at) if at.saturating_sub(stopped_at) > budget => {
            let took = at.saturating_sub(stopped_at);
            violation(
                "L1",
                format!("it took {took:?}, and the budget is {budget:?}"),
            )
        }
        Some(_) => Ok(()),
    }
}

/// All of the above but the time.
///
/// # Errors
/// The first violation.
pub fn all(history: &History, report: &Report) -> Result<(), Violation> {
    the_report_adds_up(history, report)?;
    accept_queue_served(history, report)?;
    nothing_is_garbled(history, report)?;
    nothing_is_lost(history, report)?;
    nobody_is_reset(history, report)?;
    everybody_sees_an_end(history, report)
}
