//! The result of `during`, as JSON.

use std::net::SocketAddr;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

use super::VERSION;
use crate::during::Outcome;
use crate::during::options::During;
use crate::during::tally::{Counts, LossKind, LossRecord, Phase};
use crate::trace::offset;

/// What `lameduck during` saw.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(title = "The result of lameduck during")]
pub(crate) struct DuringDocument {
    /// What this document is: always `lameduck-during`.
    #[schemars(extend("const" = "lameduck-during"))]
    pub(crate) format: String,
    /// The version of the format.
    #[schemars(extend("const" = 1))]
    pub(crate) version: u32,
    /// The version of the tool.
    pub(crate) tool: String,
    /// Nothing was lost, and the command succeeded.
    pub(crate) passed: bool,
    /// The command.
    pub(crate) command: Vec<String>,
    /// How the command ended.
    pub(crate) command_status: String,
    /// The command ended with exit status 0.
    pub(crate) command_succeeded: bool,
    /// Where the load went, in the words of the command line.
    pub(crate) address: String,
    /// Where the load went.
    pub(crate) resolved: SocketAddr,
    /// What was spoken.
    pub(crate) protocol: String,
    /// The connections were encrypted.
    pub(crate) tls: bool,
    /// Requests per second of all clients; null: as fast as the answers came.
    pub(crate) rate: Option<f64>,
    /// How many clients there were.
    pub(crate) connections: usize,
    /// What the clients sent.
    pub(crate) request: String,
    /// The HTTP statuses of a good answer, each a status or a range of them.
    pub(crate) expected: Vec<String>,
    /// Before, during and after the command.
    pub(crate) phases: Vec<PhaseDocument>,
    /// The losses, in the order in which they were seen. All times are seconds from
    /// the start of the command; those before it are negative.
    pub(crate) losses: Vec<LossDocument>,
    /// How many losses are not listed.
    pub(crate) losses_dropped: u64,
    /// What happened when.
    pub(crate) slices: SlicesDocument,
}

/// One phase.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct PhaseDocument {
    /// In which phase.
    #[schemars(extend("enum" = ["before", "during", "after"]))]
    pub(crate) phase: String,
    /// How long it was.
    pub(crate) seconds: f64,
    /// Requests with a whole and good answer.
    pub(crate) answered: u64,
    /// Of those, the ones that took longer than `--slow`.
    pub(crate) slow: u64,
    /// Requests that their client began late, since it was still busy: where that
    /// happens before the command, there are too few clients for the rate.
    pub(crate) late: u64,
    /// Requests that never had a good answer, for whatever reason.
    pub(crate) lost_in_all: u64,
    /// Of those: the answer was not a good one.
    pub(crate) failed: u64,
    /// Of those: the connection ended before the answer was whole.
    pub(crate) lost: u64,
    /// Of those: the connection was reset before the answer was whole.
    pub(crate) reset: u64,
    /// Of those: there was no connection.
    pub(crate) refused: u64,
    /// Of those: there was no whole answer in time.
    pub(crate) hung: u64,
    /// Requests that were sent once more.
    pub(crate) retried: u64,
    /// Connections that ended in an orderly way while nothing was under way.
    pub(crate) ended_idle: u64,
    /// Connections that were reset while nothing was under way.
    pub(crate) reset_idle: u64,
    /// The time that half of the answers took at most.
    pub(crate) median_seconds: Option<f64>,
    /// The time that 99 of 100 answers took at most.
    pub(crate) p99_seconds: Option<f64>,
    /// The time that the slowest answer took.
    pub(crate) slowest_seconds: Option<f64>,
}

/// One request that never had a good answer.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct LossDocument {
    /// Why there was no good answer.
    #[schemars(extend("enum" = ["failed", "lost", "reset", "refused", "hung"]))]
    pub(crate) kind: String,
    /// What happened, in words.
    pub(crate) problem: String,
    /// In which phase.
    #[schemars(extend("enum" = ["before", "during", "after"]))]
    pub(crate) phase: String,
    /// The number of the client.
    pub(crate) client: usize,
    /// The address of the client; null: there was no connection.
    pub(crate) from: Option<SocketAddr>,
    /// Which request of its connection it was, counted from 1; 0: there was none.
    pub(crate) exchange: u64,
    /// When the client began with it.
    pub(crate) sent_seconds: f64,
    /// When the loss was seen.
    pub(crate) seen_seconds: f64,
}

/// The run in slices of equal length.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct SlicesDocument {
    /// When the first slice began.
    pub(crate) first_seconds: f64,
    /// How long each slice is.
    pub(crate) length_seconds: f64,
    /// The slices.
    pub(crate) slices: Vec<SliceDocument>,
}

/// One slice.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct SliceDocument {
    /// Answers that came in it.
    pub(crate) answered: u64,
    /// Losses that were seen in it.
    pub(crate) lost_in_all: u64,
    /// The longest that one of its answers took.
    pub(crate) slowest_seconds: f64,
}

impl DuringDocument {
    pub(crate) fn new(options: &During, outcome: &Outcome) -> DuringDocument {
        let tally = &outcome.tally;
        let began = outcome.command_begun();
        let losses = tally.losses.iter();
        let slices = tally.moments.slices.iter().map(|slice| SliceDocument {
            answered: slice.answered,
            lost_in_all: slice.lost(),
            slowest_seconds: slice.slowest.as_secs_f64(),
        });
        DuringDocument {
            format: "lameduck-during".to_owned(),
            version: VERSION,
            tool: env!("CARGO_PKG_VERSION").to_owned(),
            passed: tally.lost() == 0 && outcome.status.is_success(),
            command: options.command.clone(),
            command_status: outcome.status.to_string(),
            command_succeeded: outcome.status.is_success(),
            address: options.address.clone(),
            resolved: outcome.address,
            protocol: options.protocol.to_string(),
            tls: options.asking.tls,
            rate: outcome.pace.rate,
            connections: outcome.pace.clients,
            request: outcome.label.clone(),
            expected: outcome.expected.clone(),
            phases: Phase::ALL
                .map(|phase| {
                    PhaseDocument::new(phase, outcome.duration(phase), tally.counts(phase))
                })
                .to_vec(),
            losses: losses.map(|loss| LossDocument::new(loss, began)).collect(),
            losses_dropped: tally.lost() - tally.losses.len() as u64,
            slices: SlicesDocument {
                first_seconds: offset(tally.begun, began),
                length_seconds: tally.moments.length.as_secs_f64(),
                slices: slices.collect(),
            },
        }
    }

    /// All requests that never had a good answer.
    pub(crate) fn lost(&self) -> u64 {
        self.phases.iter().map(|phase| phase.lost_in_all).sum()
    }
}

impl PhaseDocument {
    fn new(phase: Phase, duration: Option<Duration>, counts: &Counts) -> PhaseDocument {
        let seconds = |duration: Option<Duration>| duration.map(|d| d.as_secs_f64());
        PhaseDocument {
            phase: phase.name().to_owned(),
            seconds: seconds(duration).unwrap_or_default(),
            answered: counts.answered,
            slow: counts.slow,
            late: counts.late,
            lost_in_all: counts.lost(),
            failed: counts.of(LossKind::Failed),
            lost: counts.of(LossKind::Lost),
            reset: counts.of(LossKind::Reset),
            refused: counts.of(LossKind::Refused),
            hung: counts.of(LossKind::Hung),
            retried: counts.retried,
            ended_idle: counts.ended_idle,
            reset_idle: counts.reset_idle,
            median_seconds: seconds(counts.latency_at(0.5)),
            p99_seconds: seconds(counts.latency_at(0.99)),
            slowest_seconds: seconds(counts.slowest()),
        }
    }

    /// The losses of each kind.
    pub(crate) fn by_kind(&self) -> [(&'static str, u64); 5] {
        [
            ("failed", self.failed),
            ("lost", self.lost),
            ("reset", self.reset),
            ("refused", self.refused),
            ("hung", self.hung),
        ]
    }
}

impl LossDocument {
    fn new(record: &LossRecord, began: std::time::Instant) -> LossDocument {
        LossDocument {
            kind: record.loss.kind.name().to_owned(),
            problem: record.loss.problem.clone(),
            phase: record.phase.name().to_owned(),
            client: record.client,
            from: record.from,
            exchange: record.exchange,
            sent_seconds: offset(record.begun, began),
            seen_seconds: offset(record.done, began),
        }
    }
}
