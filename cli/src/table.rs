//! Results for people: on a terminal, and as Markdown.

use std::io::IsTerminal;
use std::time::Duration;

use comfy_table::{Attribute, Cell, CellAlignment, Color, Table, presets};

use crate::compare::{Contestant, summary};
use crate::verdict::{Row, Verdict};

const HEADER: [&str; 8] = [
    "scenario", "rounds", "lost", "reset", "hung", "stop", "last end", "verdict",
];

pub(crate) fn terminal(rows: &[Row]) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_header(HEADER);
    let is_coloured = is_coloured();
    for row in rows {
        let mut cells: Vec<Cell> = cells(row).into_iter().map(Cell::new).collect();
        if let Some(verdict) = cells.last_mut().filter(|_| is_coloured) {
            let colour = match row.verdict {
                Verdict::Passed => Color::Green,
                Verdict::Failed => Color::Red,
                Verdict::Skipped => Color::Yellow,
            };
            *verdict = verdict.clone().fg(colour).add_attribute(Attribute::Bold);
        }
        table.add_row(cells);
    }
    align(&mut table);
    let text = table.trim_fmt();
    format!("{text}\n")
}

pub(crate) fn markdown(rows: &[Row]) -> String {
    let mut table = Table::new();
    table.load_preset(presets::ASCII_MARKDOWN);
    table.set_header(HEADER);
    for row in rows {
        table.add_row(cells(row));
    }
    align(&mut table);
    format!("{}\n", table.trim_fmt())
}

/// A server a row, a scenario a column; below it what each was convicted of.
pub(crate) fn comparison(contestants: &[Contestant]) -> String {
    let mut table = Table::new();
    table.load_preset(presets::ASCII_MARKDOWN);
    let scenarios = contestants
        .first()
        .map_or(&[][..], |contestant| &contestant.rows);
    let names = scenarios.iter().map(|row| row.scenario);
    table.set_header(std::iter::once("server").chain(names));
    for contestant in contestants {
        let cells = contestant.rows.iter().map(|row| plain(&summary(row)));
        table.add_row(std::iter::once(plain(&contestant.name)).chain(cells));
    }
    let mut text = format!("{}\n", table.trim_fmt());
    text += "\nEach cell: what was lost, and the longest stop.\n";
    for contestant in contestants {
        for row in &contestant.rows {
            let Some(why) = why(row) else { continue };
            text += &format!("\n- {}, {}: {why}", contestant.name, row.scenario);
        }
    }
    text + "\n"
}

/// What convicts, or why nothing was seen; in the first line of it.
fn why(row: &Row) -> Option<String> {
    let reason = match row.verdict {
        Verdict::Passed => None,
        Verdict::Failed => row.findings.first().or_else(|| row.losses.told().next()),
        Verdict::Skipped => row.notes.first(),
    };
    reason?.lines().next().map(str::to_owned)
}

/// No end of a cell within a cell.
fn plain(text: &str) -> String {
    text.replace('|', "\\|")
}

/// Losses in full, findings and notes.
pub(crate) fn details(rows: &[Row]) -> String {
    let mut text = String::new();
    for row in rows {
        let lines = row.groups.lines().chain(row.losses.lines());
        let notes = row.notes.iter().map(|note| format!("note: {note}"));
        let lines = lines.chain(notes);
        let lines: Vec<String> = lines.chain(row.stories.iter().cloned()).collect();
        if lines.is_empty() {
            continue;
        }
        text += &format!("\n{}\n", row.scenario);
        lines.iter().for_each(|line| text += &format!("  {line}\n"));
    }
    match text.is_empty() {
        true => text,
        false => text + "\n",
    }
}

fn align(table: &mut Table) {
    for column in table.column_iter_mut().skip(1).take(6) {
        column.set_cell_alignment(CellAlignment::Right);
    }
}

fn cells(row: &Row) -> Vec<String> {
    let verdict = verdict(row.verdict).to_owned();
    if row.rounds == 0 {
        let empty = std::iter::repeat_n("-".to_owned(), 6);
        let name = std::iter::once(row.scenario.to_owned());
        return name.chain(empty).chain([verdict]).collect();
    }
    vec![
        row.scenario.to_owned(),
        row.rounds.to_string(),
        lost(row),
        row.resets.to_string(),
        row.hung.to_string(),
        stop(row),
        time(row.last_end),
        verdict,
    ]
}

/// Messages, and the connections beyond them.
pub(crate) fn lost(row: &Row) -> String {
    match (row.messages_lost, row.connections_lost) {
        (0, 0) => "0".to_owned(),
        (0, connections) => format!("{connections} conn."),
        (messages, 0) => messages.to_string(),
        (messages, connections) => format!("{messages} on {connections} conn."),
    }
}

pub(crate) fn stop(row: &Row) -> String {
    match row.overdue {
        0 => time(row.longest_stop),
        _ => "no end".to_owned(),
    }
}

pub(crate) fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Passed => "passed",
        Verdict::Failed => "failed",
        Verdict::Skipped => "skipped",
    }
}

pub(crate) fn time(duration: Option<Duration>) -> String {
    match duration.map(|duration| duration.as_secs_f64()) {
        None => "-".to_owned(),
        Some(seconds) if seconds < 1.0 => format!("{:.1} ms", seconds * 1000.0),
        Some(seconds) => format!("{seconds:.2} s"),
    }
}

/// Only on a terminal, and not where it is not wanted (no-color.org).
fn is_coloured() -> bool {
    let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let is_dumb = std::env::var_os("TERM").is_some_and(|value| value == "dumb");
    std::io::stdout().is_terminal() && !unwanted && !is_dumb
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::{Finding, RoundResult};

    #[test]
    fn what_many_clients_saw_is_one_line() {
        let seen = |id| Finding::of_client(id, "idle", "it is not an echo");
        let mut row = Row::new("idle");
        row.add(RoundResult {
            findings: (0..40).map(seen).collect(),
            ..RoundResult::default()
        });
        let told = "\nidle\n  client 0 (idle): it is not an echo (and 39 more clients)\n\n";
        assert_eq!(details(&[row.clone()]), told);
        assert_eq!(row.findings.len(), 10, "programs get the lines themselves");
    }
}
