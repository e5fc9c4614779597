//! `compare`: several servers side by side, in turns, so that what else happens
//! on the machine hits all of them alike.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::args::{Compare, Load};
use crate::chart;
use crate::check::{dice, print, try_outputs, write};
use crate::check_file::folder_of;
use crate::client::Target;
use crate::interrupt::{SERVER_STOPPED, interruptible};
use crate::options::Asking;
use crate::progress::Progress;
use crate::results::check::ScenarioDocument;
use crate::results::compare::{CompareDocument, ServerDocument};
use crate::results::{json, junit, page, summary};
use crate::scenario::Scenario;
use crate::setup::{Failure, Launch, Protocol, Setup};
use crate::table;
use crate::values;
use crate::verdict::{RoundResult, Row, Verdict};

/// The file: the servers, and defaults for all of them.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    rounds: Option<u64>,
    connections: Option<usize>,
    scenarios: Option<Vec<Scenario>>,
    limit: Option<String>,
    ready_timeout: Option<String>,
    seed: Option<u64>,
    #[serde(default)]
    server: Vec<Entry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    command: Vec<String>,
    protocol: Protocol,
    signal: Option<String>,
    path: Option<String>,
    large_path: Option<String>,
    /// What is asked, as the options of `check` of these names say it.
    request: Option<String>,
    body: Option<String>,
    #[serde(default)]
    header: Texts,
    #[serde(default)]
    expect: Texts,
    /// Without it the server is left out.
    requires: Option<String>,
}

/// One text or a list of them, as a check file takes both.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Texts {
    One(String),
    Several(Vec<String>),
}

impl Default for Texts {
    fn default() -> Texts {
        Texts::Several(Vec::new())
    }
}

impl Texts {
    fn into_vec(self) -> Vec<String> {
        match self {
            Texts::One(text) => vec![text],
            Texts::Several(texts) => texts,
        }
    }
}

/// A server, and what was found.
#[derive(Debug)]
pub(crate) struct Contestant {
    pub(crate) name: String,
    setup: Setup,
    pub(crate) rows: Vec<Row>,
    /// Something could not be run.
    has_failed: bool,
}

#[derive(Debug)]
struct Plan {
    load: Load,
    scenarios: Vec<Scenario>,
    contestants: Vec<Contestant>,
}

/// Always true when it could run: the comparison judges nobody.
pub(crate) async fn run(options: Compare) -> Result<bool, Failure> {
    let mut plan = plan(&options)?;
    let results = &options.results;
    try_outputs([&options.json, &results.html, &results.junit])?;
    let seed = plan.load.seed.unwrap_or_else(|| fastrand::u64(..));
    let rounds = plan
        .scenarios
        .iter()
        .map(|scenario| plan.load.rounds(*scenario));
    let length = rounds.sum::<usize>() * plan.contestants.len();
    let progress = Progress::of(length as u64, options.quiet);
    let outcome = interruptible(SERVER_STOPPED, plan.run(seed, &progress)).await;
    progress.finish();
    if let Err(failure) = outcome {
        // The rounds that are done may have taken hours.
        print(&table::comparison(&plan.contestants))?;
        return Err(failure);
    }
    report(&options, seed, &plan.contestants)
}

impl Plan {
    async fn run(&mut self, seed: u64, progress: &Progress) -> Result<(), Failure> {
        for scenario in self.scenarios.clone() {
            let rounds = self.load.rounds(scenario);
            self.contestants
                .iter_mut()
                .for_each(|c| c.rows.push(Row::new(scenario.name())));
            for round in 0..rounds {
                for contestant in &mut self.contestants {
                    progress.set_message(format!("{scenario}: {}", contestant.name));
                    contestant.take_turn(scenario, &mut dice(seed, round)).await;
                    progress.inc(1);
                }
            }
        }
        Ok(())
    }
}

impl Contestant {
    async fn take_turn(&mut self, scenario: Scenario, rng: &mut fastrand::Rng) {
        let Some(row) = self.rows.last_mut() else {
            return;
        };
        if row.is_settled() {
            return;
        }
        match scenario.run(&self.setup, rng).await {
            Ok(round) => row.add(round),
            Err(failure) => {
                eprintln!("lameduck: {}, {scenario}: {failure}", self.name);
                // In one line, as all that is said in a table.
                let failure = failure.to_string();
                let lines: Vec<_> = failure.lines().map(str::trim).collect();
                let reason = format!("it could not run: {}", lines.join(" "));
                row.add(RoundResult::skip(reason));
                self.has_failed = true;
            }
        }
    }
}

fn plan(options: &Compare) -> Result<Plan, Failure> {
    let path = &options.file;
    let failed =
        |error: &dyn std::fmt::Display| Failure::Other(format!("{}: {error}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| failed(&error))?;
    let document: Document = toml::from_str(&text).map_err(|error| failed(&error))?;
    // The servers run there, so that a relative path means the same everywhere.
    let folder = folder_of(path).canonicalize();
    let folder = folder.map_err(|error| failed(&error))?;
    let load = load(&options.load, &document).map_err(|error| failed(&error))?;
    load.check()?;
    let ready_timeout = time(document.ready_timeout.as_deref(), Duration::from_secs(10));
    let ready_timeout = ready_timeout.map_err(|error| failed(&error))?;
    let mut contestants = Vec::new();
    for entry in document.server {
        if let Some(missing) = missing(&entry, &folder) {
            eprintln!(
                "lameduck: {} is left out: there is no {missing}",
                entry.name
            );
            continue;
        }
        contestants
            .push(contestant(entry, &folder, &load, ready_timeout).map_err(|e| failed(&e))?);
    }
    if contestants.is_empty() {
        return Err(failed(&"there is no server to compare"));
    }
    let scenarios = match (&options.scenario[..], document.scenarios) {
        ([], Some(scenarios)) => scenarios,
        ([], None) => usual(&contestants),
        (chosen, _) => chosen.to_vec(),
    };
    Ok(Plan {
        load,
        scenarios,
        contestants,
    })
}

/// Returns the scenarios that fit one of the servers at least.
fn usual(contestants: &[Contestant]) -> Vec<Scenario> {
    let fits = |scenario: &Scenario| {
        let mut setups = contestants.iter().map(|contestant| &contestant.setup);
        setups.any(|setup| scenario.is_usual(setup))
    };
    Scenario::ALL.into_iter().filter(fits).collect()
}

/// What is said on the command line wins over the file.
fn load(given: &crate::args::CompareLoad, document: &Document) -> Result<Load, String> {
    let rounds = given.rounds.or(document.rounds);
    if rounds.is_some_and(|rounds| !(1..=values::MOST_ROUNDS).contains(&rounds)) {
        return Err(format!(
            "rounds: it is a number from 1 to {}",
            values::MOST_ROUNDS
        ));
    }
    Ok(Load {
        rounds,
        connections: given.connections.or(document.connections),
        limit: match given.limit {
            Some(limit) => limit,
            None => time(document.limit.as_deref(), Duration::from_secs(30))?,
        },
        seed: given.seed.or(document.seed),
        round: None,
        repeat_until_failure: false,
        verbose: false,
    })
}

fn time(text: Option<&str>, otherwise: Duration) -> Result<Duration, String> {
    match text {
        None => Ok(otherwise),
        Some(text) => values::time(text).map_err(|error| format!("{text:?}: {error}")),
    }
}

fn contestant(
    entry: Entry,
    folder: &Path,
    load: &Load,
    ready_timeout: Duration,
) -> Result<Contestant, String> {
    let name = entry.name.clone();
    let failed = |error: &dyn std::fmt::Display| format!("{name}: {error}");
    let signal = entry.signal.as_deref().unwrap_or("TERM").parse();
    let signal = signal.map_err(|error: String| failed(&error))?;
    let model = model(&entry, folder).map_err(|error| failed(&error))?;
    Ok(Contestant {
        setup: Setup {
            launch: Launch::Child {
                command: entry.command,
                directory: Some(folder.to_owned()),
                stdin_open: false,
            },
            signal,
            model,
            connections: load.connections,
            limit: load.limit,
            ready_timeout,
            ..Setup::new(Vec::new(), entry.protocol)
        },
        name,
        rows: Vec::new(),
        has_failed: false,
    })
}

/// What clients send to the server.
fn model(entry: &Entry, folder: &Path) -> Result<Target, Failure> {
    let body = entry
        .body
        .as_deref()
        .map(|body| match body.strip_prefix('@') {
            Some(path) => format!("@{}", folder.join(path).display()),
            None => body.to_owned(),
        });
    // One text can hold several, as on the command line.
    let expected = entry.expect.clone().into_vec();
    let expected = expected.iter().flat_map(|text| text.split(','));
    let expect = expected.map(str::to_owned).collect();
    let asking = Asking {
        path: entry.path.clone().unwrap_or_else(|| "/".to_owned()),
        request: entry.request.clone(),
        body,
        header: entry.header.clone().into_vec(),
        expect,
        ..Asking::default()
    };
    Ok(Target {
        large: asking.large(entry.large_path.as_deref(), entry.protocol)?,
        ..asking.target(IpAddr::from([127, 0, 0, 1]), entry.protocol)?
    })
}

/// What the server needs and this machine lacks.
fn missing(entry: &Entry, folder: &Path) -> Option<String> {
    let needed = entry.requires.as_deref()?;
    let is_there = match needed.contains('/') {
        true => folder.join(needed).exists(),
        false => {
            let path = std::env::var_os("PATH").unwrap_or_default();
            let mut folders = std::env::split_paths(&path);
            folders.any(|folder: PathBuf| folder.join(needed).is_file())
        }
    };
    (!is_there).then(|| needed.to_owned())
}

fn report(options: &Compare, seed: u64, contestants: &[Contestant]) -> Result<bool, Failure> {
    let markdown = table::comparison(contestants) + &format!("\nseed {seed}\n");
    match &options.markdown {
        Some(path) => write(path, &markdown)?,
        None => print(&markdown)?,
    }
    if let Some(path) = &options.svg {
        write(path, &chart::draw(contestants))?;
    }
    let document = CompareDocument::new(seed, contestants.iter().map(server).collect());
    let line = summary::compare(&document);
    if options.markdown.is_some() && !options.quiet {
        print(&format!("{line}\n"))?;
    }
    if let Some(path) = &options.results.junit {
        write(path, &junit::compare(&document)?)?;
    }
    if let Some(path) = &options.results.html {
        write(path, &page::compare(&document, &line))?;
    }
    if let Some(path) = &options.json {
        let document = match options.results.events {
            true => document,
            false => document.without_events(),
        };
        write(path, &json(&document)?)?;
    }
    match contestants.iter().any(|contestant| contestant.has_failed) {
        false => Ok(true),
        true => Err(Failure::Other("not everything could be run".to_owned())),
    }
}

fn server(contestant: &Contestant) -> ServerDocument {
    let setup = &contestant.setup;
    ServerDocument {
        name: contestant.name.clone(),
        command: setup.launch.words(),
        protocol: setup.protocol.to_string(),
        signal: setup.signal.to_string(),
        scenarios: contestant.rows.iter().map(ScenarioDocument::new).collect(),
    }
}

/// In a few words: what one server lost in one scenario.
pub(crate) fn summary(row: &Row) -> String {
    let mut parts = Vec::new();
    if row.rounds == 0 {
        return "-".to_owned();
    }
    if row.messages_lost + row.connections_lost > 0 {
        parts.push(match (row.messages_lost, row.connections_lost) {
            (0, connections) => format!("{connections} conn. lost"),
            (messages, 0) => format!("{messages} lost"),
            (messages, connections) => format!("{messages} lost on {connections} conn."),
        });
    }
    if row.hung > 0 {
        parts.push(format!("{} hung", row.hung));
    }
    if row.overdue > 0 {
        parts.push("no end".to_owned());
    }
    if parts.is_empty() && row.verdict == Verdict::Failed {
        parts.push(
            row.findings
                .first()
                .cloned()
                .unwrap_or_else(|| "failed".to_owned()),
        );
    }
    if parts.is_empty() {
        parts.push("0".to_owned());
    }
    parts.push(table::stop(row));
    parts.dedup();
    parts.join(", ")
}
