//! `check`: the scenarios one after another, on one server.

use std::io::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::args::{Check, Load};
use crate::client::owed::Rule;
use crate::interrupt::{SERVER_STOPPED, interruptible};
use crate::progress::Progress;
use crate::results::check::CheckDocument;
use crate::results::{json, junit, page, summary};
use crate::scenario::Scenario;
use crate::setup::{Failure, Launch, Setup};
use crate::table;
use crate::verdict::{Row, Verdict};

/// Whether nothing was lost.
pub(crate) async fn run(options: Check) -> Result<bool, Failure> {
    if options.list {
        return print(&list()).map(|()| true);
    }
    let setup = options.setup()?;
    let results = &options.results;
    try_outputs([&options.json, &results.html, &results.junit])?;
    let scenarios = scenarios(&options, &setup)?;
    let seed = options.load.seed.unwrap_or_else(|| fastrand::u64(..));
    let mut rows: Vec<Row> = scenarios.iter().map(|s| Row::new(s.name())).collect();
    let progress = progress(&scenarios, &options.load, options.quiet);
    let turns = turns(
        &scenarios,
        &options.load,
        &setup,
        seed,
        &mut rows,
        &progress,
    );
    let outcome = interruptible(SERVER_STOPPED, turns).await;
    progress.finish();
    if let Err(failure) = outcome {
        // The rounds that are done may have taken hours.
        rows.retain(|row| row.rounds > 0);
        if !options.quiet && !rows.is_empty() {
            print_rows(options.markdown, seed, &rows)?;
        }
        return Err(failure);
    }
    report(&options, &setup, seed, &rows)?;
    if rows.iter().all(|row| row.verdict == Verdict::Skipped) {
        let text = "none of the scenarios could be run: nothing is known of the server";
        return Err(Failure::Other(text.to_owned()));
    }
    Ok(rows.iter().all(|row| row.verdict != Verdict::Failed))
}

/// Once, or until a round fails.
async fn turns(
    scenarios: &[Scenario],
    load: &Load,
    setup: &Setup,
    seed: u64,
    rows: &mut [Row],
    progress: &Progress,
) -> Result<(), Failure> {
    for turn in 0.. {
        for (scenario, row) in scenarios.iter().zip(&mut *rows) {
            progress.set_message(scenario.name());
            let rounds = rounds(*scenario, load, turn);
            rounds_of(*scenario, rounds, setup, seed, row, progress).await?;
        }
        let is_over = rows.iter().all(Row::is_settled);
        let has_failed = rows.iter().any(|row| row.verdict == Verdict::Failed);
        if !load.repeat_until_failure || is_over || has_failed {
            break;
        }
    }
    Ok(())
}

/// Returns the scenarios that are asked for, or all that fit.
fn scenarios(options: &Check, setup: &Setup) -> Result<Vec<Scenario>, Failure> {
    let is_attached = matches!(setup.launch, Launch::Attached { .. });
    if is_attached && (options.scenario.len() != 1 || options.load.repeat_until_failure) {
        let text = "with --attach the server is there once: name one --scenario";
        return Err(Failure::Other(text.to_owned()));
    }
    match options.scenario.is_empty() {
        true => {
            let all = Scenario::ALL.into_iter();
            Ok(all.filter(|scenario| scenario.is_usual(setup)).collect())
        }
        false => Ok(options.scenario.clone()),
    }
}

/// Returns the rounds of one turn, counted from 0 over all turns.
fn rounds(scenario: Scenario, load: &Load, turn: usize) -> Range<usize> {
    match load.round {
        Some(round) => {
            let round = usize::try_from(round).unwrap_or(usize::MAX);
            round - 1..round
        }
        None => {
            let rounds = load.rounds(scenario);
            turn * rounds..(turn + 1) * rounds
        }
    }
}

async fn rounds_of(
    scenario: Scenario,
    rounds: Range<usize>,
    setup: &Setup,
    seed: u64,
    row: &mut Row,
    progress: &Progress,
) -> Result<(), Failure> {
    let is_attached = matches!(setup.launch, Launch::Attached { .. });
    for round in rounds.clone() {
        if row.is_settled() || is_attached && round > rounds.start {
            progress.inc((rounds.end - round) as u64);
            break;
        }
        let result = scenario.run(setup, &mut dice(seed, round)).await?;
        let has_failed = result.skipped.is_none() && !result.is_lossless();
        if has_failed && row.first_failure.is_none() {
            row.first_failure = Some(round + 1);
        }
        row.add(result);
        progress.inc(1);
    }
    Ok(())
}

/// The same for every server, so that all are stopped at the same moments.
pub(crate) fn dice(seed: u64, round: usize) -> fastrand::Rng {
    fastrand::Rng::with_seed(seed.wrapping_add(round as u64))
}

fn progress(scenarios: &[Scenario], load: &Load, is_quiet: bool) -> Progress {
    let rounds: usize = scenarios
        .iter()
        .map(|scenario| load.rounds(*scenario))
        .sum();
    Progress::of(rounds as u64, is_quiet)
}

fn report(options: &Check, setup: &Setup, seed: u64, rows: &[Row]) -> Result<(), Failure> {
    let document = CheckDocument::new(setup, seed, rows);
    let line = summary::check(&document);
    let to_stdout = Some(Path::new("-"));
    if !options.quiet && options.json.as_deref() != to_stdout {
        print_rows(options.markdown, seed, rows)?;
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

/// Prints the table, the losses, and how to see them once more.
fn print_rows(is_markdown: bool, seed: u64, rows: &[Row]) -> Result<(), Failure> {
    let mut text = match is_markdown {
        true => table::markdown(rows),
        false => table::terminal(rows),
    };
    text += &table::details(rows);
    for row in rows {
        if let Some(round) = row.first_failure {
            let scenario = row.scenario;
            text += &format!(
                "once more: --scenario {scenario} --seed {seed} --round {round} --verbose\n"
            );
        }
    }
    print(&text)
}

/// Tries whether the results can be written, before they take minutes.
pub(crate) fn try_outputs(paths: [&Option<PathBuf>; 3]) -> Result<(), Failure> {
    let paths = paths.into_iter().flatten();
    for path in paths.filter(|path| path.as_path() != Path::new("-")) {
        let is_new = !path.exists();
        let file = std::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(path);
        file.map_err(|error| unwritable(path, &error))?;
        if is_new {
            // An early end leaves no empty result.
            std::fs::remove_file(path).map_err(|error| unwritable(path, &error))?;
        }
    }
    Ok(())
}

fn unwritable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::Other(format!("cannot write {}: {error}", path.display()))
}

/// Into a file, or to the standard output.
pub(crate) fn write(path: &Path, text: &str) -> Result<(), Failure> {
    if path == Path::new("-") {
        return print(text);
    }
    std::fs::write(path, text).map_err(|error| unwritable(path, &error))
}

pub(crate) fn print(text: &str) -> Result<(), Failure> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => Ok(()),
        // The reader has had enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(Failure::Other(format!("cannot print: {error}"))),
    }
}

/// Returns the scenarios and the rules as Markdown, as `docs/check.md` holds them.
fn list() -> String {
    let mut text = String::new();
    for scenario in Scenario::ALL {
        text += &format!("### {scenario}\n\n{}\n\n", fill(scenario.about()));
    }
    text += "### Rules\n\n";
    text += &fill(
        "A request that had been written before the stop and has no answer is lost, unless the \
         server had the right not to answer it:",
    );
    text += "\n\n";
    for rule in Rule::ALL {
        text += &fill(&format!("- {};", rule.quote())).replace('\n', "\n  ");
        text += "\n";
    }
    text
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
