//! Results as JUnit XML, which the pages of most CI systems show.

use std::time::Duration;

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use super::check::{CheckDocument, ScenarioDocument};
use super::compare::CompareDocument;
use super::during::{DuringDocument, PhaseDocument};
use crate::setup::Failure;
use crate::verdict::Verdict;

/// A suite, with a case for each scenario.
pub(crate) fn check(document: &CheckDocument) -> Result<String, Failure> {
    let mut suite = TestSuite::new(format!("lameduck check: {}", document.command.join(" ")));
    suite.add_property(("protocol", document.protocol.as_str()));
    suite.add_property(("signal", document.signal.as_str()));
    suite.add_property(("seed", document.seed.to_string().as_str()));
    suite.add_test_cases(document.scenarios.iter().map(scenario));
    text("lameduck check", [suite])
}

/// A suite for each server, with a case for each scenario.
pub(crate) fn compare(document: &CompareDocument) -> Result<String, Failure> {
    let suites = document.servers.iter().map(|server| {
        let mut suite = TestSuite::new(format!("lameduck compare: {}", server.name));
        suite.add_property(("protocol", server.protocol.as_str()));
        suite.add_property(("signal", server.signal.as_str()));
        suite.add_property(("seed", document.seed.to_string().as_str()));
        suite.add_test_cases(server.scenarios.iter().map(scenario));
        suite
    });
    text("lameduck compare", suites)
}

/// A suite, with a case for each phase, and one for the command itself.
pub(crate) fn during(document: &DuringDocument) -> Result<String, Failure> {
    let command = document.command.join(" ");
    let mut suite = TestSuite::new(format!("lameduck during: {command}"));
    suite.add_property(("address", document.address.as_str()));
    suite.add_property(("protocol", document.protocol.as_str()));
    let status = match document.command_succeeded {
        true => TestCaseStatus::success(),
        false => failure(&document.command_status, &[]),
    };
    suite.add_test_case(case(
        "lameduck.during",
        "the command succeeds",
        status,
        None,
    ));
    for phase in &document.phases {
        suite.add_test_case(phase_case(phase, document));
    }
    text("lameduck during", [suite])
}

fn text(name: &str, suites: impl IntoIterator<Item = TestSuite>) -> Result<String, Failure> {
    let mut report = Report::new(name);
    report.add_test_suites(suites);
    let text = report.to_string();
    text.map_err(|error| Failure::Other(format!("cannot write JUnit: {error}")))
}

fn scenario(scenario: &ScenarioDocument) -> TestCase {
    let lines: Vec<String> = [&scenario.findings, &scenario.losses, &scenario.notes]
        .into_iter()
        .flatten()
        .cloned()
        .collect();
    let status = match scenario.verdict {
        Verdict::Passed => TestCaseStatus::success(),
        Verdict::Failed => failure(&what_failed(scenario), &lines),
        Verdict::Skipped => {
            let mut status = TestCaseStatus::skipped();
            status.set_message(scenario.notes.join("; "));
            status
        }
    };
    let time = scenario.longest_stop_seconds;
    case("lameduck.check", &scenario.scenario, status, time)
}

/// In a few words: what a scenario is convicted of.
pub(crate) fn what_failed(scenario: &ScenarioDocument) -> String {
    let counts = [
        (scenario.messages_lost, "message", "messages", "lost"),
        (
            scenario.connections_lost,
            "connection",
            "connections",
            "lost",
        ),
        (scenario.hung, "client", "clients", "hung"),
        (scenario.overdue, "stop", "stops", "without an end"),
    ];
    let counted = counts.iter().filter(|(count, ..)| *count > 0);
    let mut parts: Vec<String> = counted
        .map(|(count, one, many, what)| match count {
            1 => format!("1 {one} {what}"),
            _ => format!("{count} {many} {what}"),
        })
        .collect();
    if parts.is_empty() {
        parts.extend(scenario.findings.first().cloned());
    }
    parts.join(", ")
}

fn phase_case(phase: &PhaseDocument, document: &DuringDocument) -> TestCase {
    let name = format!("nothing is lost {} the command", phase.phase);
    let status = match phase.lost_in_all {
        0 => TestCaseStatus::success(),
        _ => {
            let counted = phase.by_kind().into_iter().filter(|(_, count)| *count > 0);
            let parts: Vec<String> = counted.map(|(kind, n)| format!("{n} {kind}")).collect();
            let of_phase = document
                .losses
                .iter()
                .filter(|loss| loss.phase == phase.phase);
            let lines: Vec<String> = of_phase
                .map(|loss| {
                    format!(
                        "{:.3} s: {}: client {}: {}",
                        loss.seen_seconds, loss.kind, loss.client, loss.problem
                    )
                })
                .collect();
            failure(&parts.join(", "), &lines)
        }
    };
    case("lameduck.during", &name, status, Some(phase.seconds))
}

fn failure(message: &str, lines: &[String]) -> TestCaseStatus {
    let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
    status.set_message(message);
    if !lines.is_empty() {
        status.set_description(lines.join("\n"));
    }
    status
}

fn case(class: &str, name: &str, status: TestCaseStatus, seconds: Option<f64>) -> TestCase {
    let mut case = TestCase::new(name, status);
    case.set_classname(class);
    if let Some(time) = seconds.and_then(|s| Duration::try_from_secs_f64(s).ok()) {
        case.set_time(time);
    }
    case
}
