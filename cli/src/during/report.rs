//! What `during` says: on a terminal, as Markdown, and in files.

use std::path::Path;
use std::time::{Duration, Instant};

use comfy_table::{CellAlignment, Table, presets};

use super::Outcome;
use super::options::During;
use super::tally::{LossKind, LossRecord, Phase};
use crate::check::{print, write};
use crate::results::during::DuringDocument;
use crate::results::{json, junit, page, summary};
use crate::setup::Failure;
use crate::table::time;
use crate::trace::offset;

/// Losses that are told on the terminal.
const TOLD: usize = 10;

/// Writes everything that was asked for.
pub(super) fn write_all(options: &During, outcome: &Outcome) -> Result<(), Failure> {
    let line = summary::during(outcome);
    let is_json_printed = options.output.json.as_deref() == Some(Path::new("-"));
    if !options.output.quiet && !is_json_printed {
        print(&table(outcome, options.output.markdown))?;
        print(&details(outcome))?;
        print(&format!("{line}\n"))?;
    }
    let document = DuringDocument::new(options, outcome);
    if let Some(path) = &options.output.json {
        write(path, &json(&document)?)?;
    }
    if let Some(path) = &options.output.junit {
        write(path, &junit::during(&document)?)?;
    }
    if let Some(path) = &options.output.html {
        write(path, &page::during(&document, &line))?;
    }
    Ok(())
}

const HEADER: [&str; 12] = [
    "phase", "time", "answered", "failed", "lost", "reset", "refused", "hung", "slow",
    "median", "99 %", "slowest",
];

fn table(outcome: &Outcome, is_markdown: bool) -> String {
    let mut table = Table::new();
    table.load_preset(match is_markdown {
        true => presets::ASCII_MARKDOWN,
        false => presets::NOTHING,
    });
    table.set_header(HEADER);
    for phase in Phase::ALL {
        let counts = outcome.tally.counts(phase);
        let mut cells = vec![
            phase.name().to_owned(),
            time(outcome.duration(phase)),
            counts.answered.to_string(),
        ];
        cells.extend(LossKind::ALL.map(|kind| counts.of(kind).to_string()));
        cells.push(counts.slow.to_string());
        cells.push(time(counts.latency_at(0.5)));
        cells.push(time(counts.latency_at(0.99)));
        cells.push(time(counts.slowest()));
        table.add_row(cells);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    format!("{}\n", table.trim_fmt())
}

/// The losses with their moments, and what else is worth knowing.
fn details(outcome: &Outcome) -> String {
    let mut text = String::new();
    let lost = outcome.tally.lost();
    let began = outcome.command_begun();
    if let (Some(first), Some(last)) = (
        outcome.tally.losses.iter().map(|loss| loss.done).min(),
        outcome.tally.losses.iter().map(|loss| loss.done).max(),
    ) {
        text += &format!(
            "\n{lost} lost, from {} to {}\n",
            moment(first, began),
            moment(last, began)
        );
    }
    for record in outcome.tally.losses.iter().take(TOLD) {
        text += &format!("  {}\n", tell(record, outcome));
    }
    let told = outcome.tally.losses.len().min(TOLD) as u64;
    if lost > told {
        text += &format!("  and {} more\n", lost - told);
    }
    // Later it can be the command that holds them up.
    if outcome.tally.counts(Phase::Before).is_behind() {
        text += &format!(
            "note: {} clients cannot keep the rate, already before the command: their waiting is \
             a part of each time; say more --connections, or a lower --rate\n",
            outcome.pace.clients
        );
    }
    for phase in Phase::ALL {
        let counts = outcome.tally.counts(phase);
        let name = phase.name();
        if counts.retried > 0 {
            text += &format!("note: {} requests were sent again {name}\n", counts.retried);
        }
        if counts.reset_idle > 0 {
            let resets = counts.reset_idle;
            text += &format!("note: {resets} idle connections were reset {name}\n");
        }
    }
    match outcome.status.is_success() {
        true => text + "\n",
        false => text + &format!("\nthe command failed: {}\n\n", outcome.status),
    }
}

/// The story of one loss.
fn tell(record: &LossRecord, outcome: &Outcome) -> String {
    let LossRecord {
        loss,
        client,
        exchange,
        ..
    } = record;
    let at = moment(record.done, outcome.command_begun());
    let on = match (exchange, record.from) {
        (0, _) => String::new(),
        (1, Some(from)) => format!(", the first request from {from}"),
        (n, Some(from)) => format!(", request {n} of the connection from {from}"),
        (n, None) => format!(", request {n} of its connection"),
    };
    let took = time(Some(record.done.saturating_duration_since(record.begun)));
    format!(
        "{at}: {}: client {client}{on}: {}, {took} after it was begun",
        loss.kind.name(),
        loss.problem
    )
}

/// A moment as people say it.
fn moment(at: Instant, began: Instant) -> String {
    let seconds = offset(at, began);
    match seconds < 0.0 {
        true => format!("{:.3} s before the command", -seconds),
        false => format!("{seconds:.3} s after the command began"),
    }
}

impl Outcome {
    /// The moment that all others are counted from.
    pub(crate) fn command_begun(&self) -> Instant {
        self.tally.command_begun.unwrap_or(self.tally.begun)
    }

    /// How long a phase was.
    pub(crate) fn duration(&self, phase: Phase) -> Option<Duration> {
        let begun = self.tally.command_begun?;
        let ended = self.tally.command_ended?;
        Some(match phase {
            Phase::Before => begun.saturating_duration_since(self.tally.begun),
            Phase::During => ended.saturating_duration_since(begun),
            Phase::After => self.ended.saturating_duration_since(ended),
        })
    }
}
