//! One line that a log can be searched for: `lameduck-result`, then words of the
//! form `name=value`.

use super::check::{CheckDocument, ScenarioDocument};
use super::compare::CompareDocument;
use crate::during::tally::{LossKind, Phase};
use crate::during::{CommandEnd, Outcome};
use crate::verdict::Verdict;

pub(crate) fn check(document: &CheckDocument) -> String {
    let scenarios: Vec<&ScenarioDocument> = document.scenarios.iter().collect();
    let is_skipped = scenarios.iter().all(|s| s.verdict == Verdict::Skipped);
    let verdict = match is_skipped {
        true => "skipped",
        false => word(document.passed),
    };
    let counts = counts(&scenarios);
    let seed = document.seed;
    format!("lameduck-result command=check verdict={verdict} {counts} seed={seed}")
}

pub(crate) fn compare(document: &CompareDocument) -> String {
    let servers = document.servers.len();
    let scenarios = document.servers.iter().flat_map(|s| &s.scenarios);
    let counts = counts(&scenarios.collect::<Vec<_>>());
    let seed = document.seed;
    format!("lameduck-result command=compare servers={servers} {counts} seed={seed}")
}

pub(crate) fn during(outcome: &Outcome) -> String {
    let tally = &outcome.tally;
    let lost = tally.lost();
    let verdict = word(lost == 0 && outcome.status.is_success());
    let mut line = format!(
        "lameduck-result command=during verdict={verdict} answered={} lost_in_all={lost}",
        tally.answered()
    );
    for kind in LossKind::ALL {
        let count: u64 = Phase::ALL
            .map(|phase| tally.counts(phase).of(kind))
            .iter()
            .sum();
        line += &format!(" {}={count}", kind.name());
    }
    let slow: u64 = Phase::ALL
        .map(|phase| tally.counts(phase).slow)
        .iter()
        .sum();
    let status = match outcome.status {
        CommandEnd::Status(status) => match status.code() {
            Some(code) => code.to_string(),
            None => "signal".to_owned(),
        },
        CommandEnd::Late(_) => "none".to_owned(),
    };
    line + &format!(" slow={slow} exit_status={status}")
}

fn counts(scenarios: &[&ScenarioDocument]) -> String {
    let of = |verdict| scenarios.iter().filter(|s| s.verdict == verdict).count();
    let sum = |count: fn(&ScenarioDocument) -> usize| -> usize {
        scenarios.iter().map(|scenario| count(scenario)).sum()
    };
    format!(
        "passed={} failed={} skipped={} messages_lost={} connections_lost={} hung={} overdue={}",
        of(Verdict::Passed),
        of(Verdict::Failed),
        of(Verdict::Skipped),
        sum(|scenario| scenario.messages_lost),
        sum(|scenario| scenario.connections_lost),
        sum(|scenario| scenario.hung),
        sum(|scenario| scenario.overdue),
    )
}

fn word(passed: bool) -> &'static str {
    match passed {
        true => "passed",
        false => "failed",
    }
}
