//! The checkers: what must hold after every stop, as seen from outside.
//!
//! They know nothing of the workload. Each takes the [`History`] of a
//! simulation and the server's report, and returns the first violation.

use std::fmt;
use std::time::Duration;

use crate::address::Address;
use crate::report::{ListenerReport, Outcome, Report};
use crate::rt::CloseGuarantee;

/// A broken promise.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Violation {
    /// The number of the clause or the fault: see [`docs`](crate::docs).
    pub clause: &'static str,
    /// What happened instead.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.clause, self.what)
    }
}

/// The text of the error: a `main` that returns it prints this.
impl fmt::Debug for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Violation {}

fn violation(clause: &'static str, what: String) -> Result<(), Violation> {
    Err(Violation { clause, what })
}

/// What one client saw.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ClientHistory {
    /// Its number in the trace.
    pub id: usize,
    /// Its address.
    pub peer: Address,
    /// The time when its handshake was over for the client.
    pub established: Option<Duration>,
    /// The time when it entered the accept queue.
    pub queued: Option<Duration>,
    /// The time when the server accepted it.
    pub accepted: Option<Duration>,
    /// The number of requests that the server owed an answer to at the stop:
    /// those of which a byte had arrived.
    pub owed: u64,
    /// The number of requests that were answered.
    pub answered: u64,
    /// The place of the first byte that was no part of an expected answer, or
    /// the beginning of the message that it was in.
    pub wrong_answer_at: Option<u64>,
    /// Whether it saw the orderly end of the server's side.
    pub ended: bool,
    /// Whether it saw a reset, and no orderly end before.
    pub reset: bool,
    /// Whether it went away, or stopped reading, before it saw the end: then
    /// nothing is owed to it.
    pub left: bool,
}

/// What was seen of a whole simulation.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct History {
    /// The time when the stop was asked for.
    pub stopped_at: Option<Duration>,
    /// The time when the server had stopped.
    pub ended_at: Option<Duration>,
    /// The time for which the server was [frozen](super::Sim::freeze) since the
    /// stop was asked for.
    pub frozen: Duration,
    /// All clients.
    pub clients: Vec<ClientHistory>,
}

impl History {
    /// Returns the clients to whom everything is owed: those that stayed, and
    /// were not cut off by an abort.
    fn served<'a>(&'a self, report: &'a Report) -> impl Iterator<Item = &'a ClientHistory> {
        let is_cut_off = |peer: &Address| {
            let all = report.aborted.iter().chain(&report.abandoned);
            all.map(|straggler| &straggler.peer)
                .any(|other| other == peer)
        };
        self.clients
            .iter()
            .filter(move |client| !client.left && !is_cut_off(&client.peer))
    }

    fn was_queued(&self, client: &ClientHistory) -> bool {
        let stopped_at = self.stopped_at.unwrap_or(Duration::MAX);
        client.queued.is_some_and(|queued| queued < stopped_at)
    }
}

/// Checks that no listener closed before its queue was seen empty
/// ([S8](crate::docs::spec#s8)). An abort may do so.
///
/// # Errors
/// The listener.
pub fn queues_swept(_: &History, report: &Report) -> Result<(), Violation> {
    match report
        .listeners
        .iter()
        .find(|l| l.guarantee == CloseGuarantee::Unswept)
    {
        Some(listener) => violation("S8", format!("{} was not swept", listener.local_addr)),
        None => Ok(()),
    }
}

/// Checks that every client that was in the accept queue at the stop was
/// accepted ([F1](crate::docs::faults#f1)), unless the report says
/// [`Unswept`](CloseGuarantee::Unswept) of a listener.
///
/// # Errors
/// A client that was in the accept queue and was never accepted.
pub fn accept_queue_served(history: &History, report: &Report) -> Result<(), Violation> {
    if queues_swept(history, report).is_err() {
        return Ok(());
    }
    for client in history.served(report) {
        if history.was_queued(client) && client.accepted.is_none() {
            let what = format!(
                "#{} was in the accept queue, and was not accepted",
                client.id
            );
            return violation("F1", what);
        }
    }
    Ok(())
}

/// Checks that all requests of which a byte had arrived before the stop were
/// answered ([F17](crate::docs::faults#f17), [F27](crate::docs::faults#f27)).
///
/// # Errors
/// A client that did not get all of its answers.
pub fn requests_answered(history: &History, report: &Report) -> Result<(), Violation> {
    let is_swept = queues_swept(history, report).is_ok();
    for client in history.served(report) {
        let is_owed = history.was_queued(client) && (is_swept || client.accepted.is_some());
        if client.answered < client.owed && is_owed {
            let (id, answered, owed) = (client.id, client.answered, client.owed);
            let what = format!("#{id} was owed {owed} answers and got {answered}");
            return violation("F17", what);
        }
    }
    Ok(())
}

/// Checks that clients got the answers that they expected, and nothing else.
///
/// # Errors
/// A client that got something else.
pub fn answers_expected(history: &History, _: &Report) -> Result<(), Violation> {
    for client in &history.clients {
        if let Some(offset) = client.wrong_answer_at {
            let what = format!("#{} got a wrong answer, at byte {offset}", client.id);
            return violation("answers", what);
        }
    }
    Ok(())
}

/// Checks that no orderly close was a reset ([F16](crate::docs::faults#f16)).
///
/// A client that connects while the listener closes may be reset, unless the
/// report says [`SynFiltered`](CloseGuarantee::SynFiltered)
/// ([F2](crate::docs::faults#f2)).
///
/// # Errors
/// A client that saw a reset.
pub fn no_client_reset(history: &History, report: &Report) -> Result<(), Violation> {
    let is_filtered = |l: &ListenerReport| l.guarantee == CloseGuarantee::SynFiltered;
    let filtered = report.listeners.iter().all(is_filtered);
    for client in history.served(report) {
        let is_in = client.accepted.is_some() || filtered && client.established.is_some();
        if client.reset && is_in {
            return violation("F16", format!("#{} was reset", client.id));
        }
    }
    Ok(())
}

/// Checks that every client sees an end ([L2](crate::docs::spec#l2)).
///
/// # Errors
/// A client that still waits although the server is gone.
pub fn every_client_ended(history: &History, report: &Report) -> Result<(), Violation> {
    for client in history.served(report) {
        if client.established.is_some() && !client.ended && !client.reset {
            return violation("L2", format!("#{} saw no end", client.id));
        }
    }
    Ok(())
}

/// Checks that each accepted connection has exactly one outcome
/// ([S4](crate::docs::spec#s4)), and that a clean stop was clean
/// ([S5](crate::docs::spec#s5)).
///
/// # Errors
/// What does not agree.
pub fn report_consistent(history: &History, report: &Report) -> Result<(), Violation> {
    if !report.is_consistent() {
        return violation("S4", format!("the sums do not agree: {report}"));
    }
    let accepted = history
        .clients
        .iter()
        .filter(|client| client.accepted.is_some())
        .count();
    if report.accepted != accepted as u64 {
        let reported = report.accepted;
        let what = format!("{accepted} were accepted, and {reported} are in the report");
        return violation("S4", what);
    }
    let is_clean = report.aborted.is_empty()
        && report.abandoned.is_empty()
        && report.untracked_guards == 0
        && report.errors.is_empty()
        && queues_swept(history, report).is_ok();
    if report.outcome == Outcome::Clean && !is_clean {
        return violation("S5", format!("it is not clean: {report}"));
    }
    Ok(())
}

/// Checks that the stop ended within `budget`, the time apart in which the
/// server was frozen ([L1](crate::docs::spec#l1)).
///
/// # Errors
/// A stop that took longer, or had no end.
pub fn within_budget(history: &History, budget: Duration) -> Result<(), Violation> {
    let Some(stopped_at) = history.stopped_at else {
        return Ok(());
    };
    let Some(ended_at) = history.ended_at else {
        return violation("L1", "the stop has no end".to_owned());
    };
    let took = ended_at.saturating_sub(stopped_at);
    let took = took.saturating_sub(history.frozen);
    if took > budget {
        let what = format!("the stop took {took:?}, and its budget is {budget:?}");
        return violation("L1", what);
    }
    Ok(())
}

/// Checks all of the above but the time and, since an abort may leave a queue
/// unswept, [`queues_swept`].
///
/// # Errors
/// The first violation.
pub fn all(history: &History, report: &Report) -> Result<(), Violation> {
    report_consistent(history, report)?;
    accept_queue_served(history, report)?;
    answers_expected(history, report)?;
    requests_answered(history, report)?;
    no_client_reset(history, report)?;
    every_client_ended(history, report)
}
