//! `check`: the scenarios one after another, on one server.

use std::io::{IsTerminal, Write};
use std::path::Path;

use indicatif::{ProgressBar, ProgressStyle};

use crate::args::{Check, Load};
use crate::results::check::CheckDocument;
use crate::results::{json, junit, page, summary};
use crate::scenario::Scenario;
use crate::setup::{Failure, Setup};
use crate::table;
use crate::verdict::{Row, Verdict};

/// Whether nothing was lost.
pub(crate) async fn run(options: Check) -> Result<bool, Failure> {
    if options.list {
        return print(&list()).map(|()| true);
    }
    let setup = options.setup()?;
    let scenarios = match options.scenario.is_empty() {
        true => Scenario::ALL.to_vec(),
        false => options.scenario.clone(),
    };
    let seed = options.load.seed.unwrap_or_else(|| fastrand::u64(..));
    let progress = progress(&scenarios, &options.load, options.quiet);
    let mut rows = Vec::new();
    for scenario in scenarios {
        progress.set_message(scenario.name());
        let rounds = options.load.rounds(scenario);
        rows.push(rounds_of(scenario, rounds, &setup, seed, &progress).await?);
    }
    progress.finish_and_clear();
    report(&options, seed, &rows)?;
    Ok(rows.iter().all(|row| row.verdict != Verdict::Failed))
}

async fn rounds_of(
    scenario: Scenario,
    rounds: usize,
    setup: &Setup,
    seed: u64,
    progress: &ProgressBar,
) -> Result<Row, Failure> {
    let mut row = Row::new(scenario.name());
    for round in 0..rounds {
        if row.is_settled() {
            progress.inc((rounds - round) as u64);
            break;
        }
        row.add(scenario.run(setup, &mut dice(seed, round)).await?);
        progress.inc(1);
    }
    Ok(row)
}

/// The same for every server, so that all are stopped at the same moments.
pub(crate) fn dice(seed: u64, round: usize) -> fastrand::Rng {
    fastrand::Rng::with_seed(seed.wrapping_add(round as u64))
}

fn progress(scenarios: &[Scenario], load: &Load, is_quiet: bool) -> ProgressBar {
    let rounds: usize = scenarios
        .iter()
        .map(|scenario| load.rounds(*scenario))
        .sum();
    bar(rounds as u64, is_quiet)
}

/// A bar on a terminal, and nothing elsewhere.
pub(crate) fn bar(length: u64, is_quiet: bool) -> ProgressBar {
    if is_quiet || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(length);
    if let Ok(style) = ProgressStyle::with_template("{bar:24} {pos}/{len} {msg}") {
        bar.set_style(style);
    }
    bar
}

fn report(options: &Check, seed: u64, rows: &[Row]) -> Result<(), Failure> {
    let (protocol, signal) = (options.protocol.to_string(), options.signal.to_string());
    let document = CheckDocument::new(&options.command, protocol, signal, seed, rows);
    let line = summary::check(&document);
    let to_stdout = Some(Path::new("-"));
    if !options.quiet && options.json.as_deref() != to_stdout {
        let text = match options.markdown {
            true => table::markdown(rows),
            false => table::terminal(rows),
        };
        print(&text)?;
        print(&table::details(rows))?;
        print(&format!("{line}\n"))?;
    }
    if let Some(path) = &options.results.junit {
        write(path, &junit::check(&document)?)?;
    }
    if let Some(path) = &options.results.html {
        write(path, &page::check(&document, &line))?;
    }
    let Some(path) = &options.json else {
        return Ok(());
    };
    let document = match options.results.events {
        true => document,
        false => document.without_events(),
    };
    write(path, &json(&document)?)
}

/// Into a file, or to the standard output.
pub(crate) fn write(path: &Path, text: &str) -> Result<(), Failure> {
    if path == Path::new("-") {
        return print(text);
    }
    std::fs::write(path, text)
        .map_err(|error| Failure::Other(format!("cannot write {}: {error}", path.display())))
}

pub(crate) fn print(text: &str) -> Result<(), Failure> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => Ok(()),
        // Whoever reads has read enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(Failure::Other(format!("cannot print: {error}"))),
    }
}

/// Markdown, as `docs/check.md` holds it.
fn list() -> String {
    let sections = Scenario::ALL.map(|scenario| {
        let about = fill(scenario.about());
        format!("### {scenario}\n\n{about}\n")
    });
    sections.join("\n")
}

/// Breaks a paragraph into lines.
fn fill(text: &str) -> String {
    let mut filled = String::new();
    let mut width = 0;
    for word in text.split_whitespace() {
        if width + word.len() > 78 {
            filled.push('\n');
            width = 0;
        } else if width > 0 {
            filled.push(' ');
        }
        filled += word;
        width += word.len() + 1;
    }
    filled
}
