//! What the rounds of a scenario add up to.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

use super::{Groups, Losses, RoundResult, push_new};
use crate::trace::Trace;

/// What is said of a scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verdict {
    /// Nothing can be said against it.
    Passed,
    /// Something was lost, or another thing convicts it.
    Failed,
    /// Nothing could be seen; a note says why.
    Skipped,
}

/// All rounds of a scenario.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) scenario: &'static str,
    pub(crate) verdict: Verdict,
    pub(crate) rounds: usize,
    pub(crate) exchanges: u64,
    pub(crate) messages_lost: usize,
    pub(crate) connections_lost: usize,
    pub(crate) resets: usize,
    pub(crate) hung: usize,
    /// Stops that had to be ended by force.
    pub(crate) overdue: usize,
    pub(crate) longest_stop: Option<Duration>,
    pub(crate) last_end: Option<Duration>,
    pub(crate) losses: Losses,
    pub(crate) findings: Vec<String>,
    /// The same for people, also of those for which `findings` has no room.
    pub(crate) groups: Groups,
    pub(crate) notes: Vec<String>,
    /// The first round that failed, counted from 1.
    pub(crate) first_failure: Option<usize>,
    pub(crate) stories: Vec<String>,
    /// Of the first round that failed, or else of the first one.
    pub(crate) trace: Option<Trace>,
    is_trace_of_failure: bool,
}

impl Row {
    /// Returns the row of a scenario that has had no round yet.
    pub(crate) fn new(scenario: &'static str) -> Row {
        Row {
            scenario,
            verdict: Verdict::Skipped,
            rounds: 0,
            exchanges: 0,
            messages_lost: 0,
            connections_lost: 0,
            resets: 0,
            hung: 0,
            overdue: 0,
            longest_stop: None,
            last_end: None,
            losses: Losses::default(),
            findings: Vec::new(),
            groups: Groups::default(),
            notes: Vec::new(),
            first_failure: None,
            stories: Vec::new(),
            trace: None,
            is_trace_of_failure: false,
        }
    }

    /// Adds what one round found.
    pub(crate) fn add(&mut self, mut round: RoundResult) {
        self.stories.append(&mut round.stories);
        for note in round.notes.iter().chain(&round.skipped) {
            push_new(&mut self.notes, note);
        }
        if round.skipped.is_some() {
            return;
        }
        self.verdict = match (self.verdict, round.is_lossless()) {
            (Verdict::Failed, _) | (_, false) => Verdict::Failed,
            _ => Verdict::Passed,
        };
        self.rounds += 1;
        let has_failed = !round.is_lossless();
        if has_failed {
            // Whoever counts rounds otherwise has said already which one it is.
            self.first_failure.get_or_insert(self.rounds);
        }
        if self.trace.is_none() || has_failed && !self.is_trace_of_failure {
            let failed = self.first_failure.filter(|_| has_failed);
            round.trace.round = failed.unwrap_or(self.rounds);
            self.trace = Some(round.trace);
            self.is_trace_of_failure = has_failed;
        }
        self.exchanges += round.exchanges;
        self.messages_lost += round.messages_lost;
        self.connections_lost += round.connections_lost;
        self.resets += round.resets;
        self.hung += round.hung;
        self.overdue += usize::from(round.stop.is_none());
        self.longest_stop = self.longest_stop.max(round.stop);
        self.last_end = self.last_end.max(round.last_end);
        self.losses.append(round.losses);
        for finding in round.findings {
            push_new(&mut self.findings, &finding.to_string());
            self.groups.add(finding);
        }
    }

    /// Says whether another round would only show the same: a stop that reaches the limit,
    /// or that nothing can be seen.
    pub(crate) fn is_settled(&self) -> bool {
        self.overdue > 0 || !self.notes.is_empty() && self.verdict == Verdict::Skipped
    }
}
