//! The result of `check`, as JSON.

use schemars::JsonSchema;
use serde::Serialize;

use super::VERSION;
use crate::setup::Setup;
use crate::trace::Trace;
use crate::verdict::{Row, Verdict};

/// What `lameduck check` found.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(title = "The result of lameduck check")]
pub(crate) struct CheckDocument {
    /// What this document is: always `lameduck-check`.
    #[schemars(extend("const" = "lameduck-check"))]
    pub(crate) format: String,
    /// The version of the format.
    #[schemars(extend("const" = 1))]
    pub(crate) version: u32,
    /// The version of the tool.
    pub(crate) tool: String,
    /// No scenario failed.
    pub(crate) passed: bool,
    /// The command that started the server; empty if it ran already.
    pub(crate) command: Vec<String>,
    /// What was spoken.
    pub(crate) protocol: String,
    /// The connections were encrypted.
    pub(crate) tls: bool,
    /// The signal, or the command, that stopped the server.
    pub(crate) signal: String,
    /// What was left to chance follows from it: `--seed`.
    pub(crate) seed: u64,
    /// The scenarios, in the order in which they ran.
    pub(crate) scenarios: Vec<ScenarioDocument>,
}

/// All rounds of one scenario.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct ScenarioDocument {
    /// The name of the scenario.
    pub(crate) scenario: String,
    /// What is said of it.
    pub(crate) verdict: Verdict,
    /// How often the server was stopped.
    pub(crate) rounds: usize,
    /// Requests that were answered.
    pub(crate) exchanges: u64,
    /// Messages that the server had and did not answer in full.
    pub(crate) messages_lost: usize,
    /// Connections on which that happened, or that were reset.
    pub(crate) connections_lost: usize,
    /// Connections that ended with a reset, whenever they began.
    pub(crate) resets: usize,
    /// Clients that saw no end.
    pub(crate) hung: usize,
    /// Stops that had to be ended by force.
    pub(crate) overdue: usize,
    /// The longest time from the signal to the end of the server; null: no stop came
    /// to its end.
    pub(crate) longest_stop_seconds: Option<f64>,
    /// The longest time from the signal to an end that a client saw.
    pub(crate) last_end_seconds: Option<f64>,
    /// The first losses, told in full.
    pub(crate) losses: Vec<String>,
    /// What convicts beyond the counts.
    pub(crate) findings: Vec<String>,
    /// What does not convict, and why a scenario was skipped.
    pub(crate) notes: Vec<String>,
    /// The first round that failed, counted from 1: `--round` does it again.
    pub(crate) first_failure: Option<usize>,
    /// What each client went through in the first round that failed, or else in the
    /// first round; only with `--events`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) trace: Option<Trace>,
}

impl CheckDocument {
    pub(crate) fn new(setup: &Setup, seed: u64, rows: &[Row]) -> CheckDocument {
        let stop = setup.launch.stop_command();
        CheckDocument {
            format: "lameduck-check".to_owned(),
            version: VERSION,
            tool: env!("CARGO_PKG_VERSION").to_owned(),
            passed: rows.iter().all(|row| row.verdict != Verdict::Failed)
                && rows.iter().any(|row| row.verdict == Verdict::Passed),
            command: setup.launch.words(),
            protocol: setup.protocol.to_string(),
            tls: setup.model.tls.is_some(),
            signal: stop.map_or_else(|| setup.signal.to_string(), str::to_owned),
            seed,
            scenarios: rows.iter().map(ScenarioDocument::new).collect(),
        }
    }

    /// Leaves out what is large.
    pub(crate) fn without_events(mut self) -> CheckDocument {
        self.scenarios
            .iter_mut()
            .for_each(|scenario| scenario.trace = None);
        self
    }
}

impl ScenarioDocument {
    pub(crate) fn new(row: &Row) -> ScenarioDocument {
        ScenarioDocument {
            scenario: row.scenario.to_owned(),
            verdict: row.verdict,
            rounds: row.rounds,
            exchanges: row.exchanges,
            messages_lost: row.messages_lost,
            connections_lost: row.connections_lost,
            resets: row.resets,
            hung: row.hung,
            overdue: row.overdue,
            longest_stop_seconds: row.longest_stop.map(|stop| stop.as_secs_f64()),
            last_end_seconds: row.last_end.map(|end| end.as_secs_f64()),
            losses: row.losses.told().cloned().collect(),
            findings: row.findings.clone(),
            notes: row.notes.clone(),
            first_failure: row.first_failure,
            trace: row.trace.clone(),
        }
    }

    /// Whether anything was lost, and not only found.
    pub(crate) fn has_loss(&self) -> bool {
        self.messages_lost + self.connections_lost + self.hung > 0
    }
}
