//! The page of `check`.

use maud::{Markup, html};

use super::advice::{self, Known};
use super::{Head, chip, command_line, lines, page, tile, time, timeline};
use crate::results::check::{CheckDocument, ScenarioDocument};
use crate::verdict::Verdict;

/// The page of a check.
pub(crate) fn check(document: &CheckDocument, summary: &str) -> String {
    let known = advice::recognise(&document.command);
    let head = Head {
        command: "check",
        headline: headline(document),
        verdict: Some(match document.passed {
            true => Verdict::Passed,
            false => Verdict::Failed,
        }),
        facts: vec![
            (
                "server",
                html! { code { (command_line(&document.command)) } },
            ),
            ("protocol", html! { (document.protocol) }),
            ("stopped with", html! { (document.signal) }),
            ("seed", html! { code { (document.seed) } }),
        ],
    };
    let body = html! {
        (tiles(&document.scenarios))
        section aria-labelledby="table" {
            h2 id="table" { "Scenarios" }
            (table(&document.scenarios))
        }
        @if let Some(known) = known { (stopping(known, document.passed)) }
        section aria-labelledby="pictures" {
            h2 id="pictures" { "What the clients saw" }
            (timeline::legend())
            // Where nothing failed, the first picture stands for all.
            @for (n, scenario) in document.scenarios.iter().enumerate() {
                @let is_open = scenario.verdict == Verdict::Failed || document.passed && n == 0;
                (section(scenario, &scenario.scenario, &document.signal, is_open))
            }
        }
    };
    page(&head, &body, summary)
}

fn headline(document: &CheckDocument) -> String {
    let failed = |scenario: &&ScenarioDocument| scenario.verdict == Verdict::Failed;
    let failed: Vec<_> = document.scenarios.iter().filter(failed).collect();
    let ran = document
        .scenarios
        .iter()
        .any(|s| s.verdict == Verdict::Passed);
    match (
        failed.len(),
        failed.iter().any(|scenario| scenario.has_loss()),
    ) {
        (0, _) if ran => "Nothing was lost".to_owned(),
        (0, _) => "Nothing could be seen".to_owned(),
        (_, true) => "This server loses data when it is stopped".to_owned(),
        (_, false) => "This server does not stop as it should".to_owned(),
    }
}

fn tiles(scenarios: &[ScenarioDocument]) -> Markup {
    let sum =
        |count: fn(&ScenarioDocument) -> usize| scenarios.iter().map(count).sum::<usize>();
    let of = |verdict| scenarios.iter().filter(|s| s.verdict == verdict).count();
    let messages = sum(|scenario| scenario.messages_lost);
    let connections = sum(|scenario| scenario.connections_lost);
    let hung = sum(|scenario| scenario.hung);
    let overdue = sum(|scenario| scenario.overdue);
    let failed = of(Verdict::Failed);
    let longest = scenarios.iter().filter_map(|s| s.longest_stop_seconds);
    html! {
        ul.tiles {
            (tile(of(Verdict::Passed), "scenarios passed", false))
            (tile(failed, "failed", failed > 0))
            (tile(messages, "messages lost", messages > 0))
            (tile(connections, "connections lost", connections > 0))
            (tile(hung, "clients hung", hung > 0))
            @if overdue > 0 {
                (tile(overdue, "stops without an end", true))
            } @else {
                (tile(time(longest.reduce(f64::max)), "longest stop", false))
            }
        }
    }
}

fn table(scenarios: &[ScenarioDocument]) -> Markup {
    html! {
        div.scroll tabindex="0" role="region" aria-label="Table of scenarios" {
            table {
                thead {
                    tr {
                        th scope="col" { "scenario" }
                        @for name in ["rounds", "lost", "reset", "hung", "stop", "last end"] {
                            th.number scope="col" { (name) }
                        }
                        th scope="col" { "verdict" }
                    }
                }
                tbody { @for scenario in scenarios { (table_row(scenario)) } }
            }
        }
    }
}

fn table_row(scenario: &ScenarioDocument) -> Markup {
    let number = |count: usize, is_bad: bool| {
        let class = if is_bad && count > 0 {
            "number bad"
        } else {
            "number"
        };
        html! { td class=(class) { (count) } }
    };
    let name = &scenario.scenario;
    html! {
        tr {
            th scope="row" { a href={ "#" (name) } { (name) } }
            @if scenario.rounds == 0 {
                @for _ in 0..6 { td.number { "–" } }
            } @else {
                (number(scenario.rounds, false))
                (lost(scenario))
                // A reset of what came after the signal is no loss.
                (number(scenario.resets, scenario.connections_lost > 0))
                (number(scenario.hung, true))
                @if scenario.overdue > 0 {
                    td.number.bad { "no end" }
                } @else {
                    td.number { (time(scenario.longest_stop_seconds)) }
                }
                td.number { (time(scenario.last_end_seconds)) }
            }
            td { (chip(scenario.verdict)) }
        }
    }
}

fn lost(scenario: &ScenarioDocument) -> Markup {
    let (messages, connections) = (scenario.messages_lost, scenario.connections_lost);
    html! {
        @match (messages, connections) {
            (0, 0) => td.number { "0" },
            (0, _) => td.number.bad { (connections) " conn." },
            (_, 0) => td.number.bad { (messages) },
            (_, _) => td.number.bad { (messages) " on " (connections) " conn." },
        }
    }
}

/// How a well-known server is stopped well.
pub(super) fn stopping(known: &Known, passed: bool) -> Markup {
    html! {
        section.advice aria-labelledby="kind" {
            h2 id="kind" {
                @if passed { "Stopping " (known.name) } @else { "What helps with " (known.name) }
            }
            p { (known.advice) }
        }
    }
}

/// A scenario: its picture, what was found, and what that means.
pub(super) fn section(
    scenario: &ScenarioDocument,
    id: &str,
    signal: &str,
    is_open: bool,
) -> Markup {
    html! {
        details.scenario id=(id) open[is_open] {
            summary {
                h3 { (scenario.scenario) }
                (chip(scenario.verdict))
                span.short { (short(scenario)) }
            }
            @if let Some(explanation) = advice::explain(&scenario.scenario) {
                p { (explanation.what) }
            }
            @if let Some(trace) = scenario.trace.as_ref().filter(|t| !t.clients.is_empty()) {
                (timeline::draw(id, trace, signal))
            }
            (lines("Found", &scenario.findings, "findings"))
            (lines("Lost", &scenario.losses, "losses"))
            (lines("Notes", &scenario.notes, "notes"))
            @if let Some(explanation) = advice::explain(&scenario.scenario) {
                div.meaning {
                    div { h4 { "Why it happens" } p { (explanation.why) } }
                    div { h4 { "What cures it" } p { (explanation.cure) } }
                }
            }
        }
    }
}

/// What stands beside the name.
fn short(scenario: &ScenarioDocument) -> String {
    match scenario.verdict {
        Verdict::Failed => crate::results::junit::what_failed(scenario),
        Verdict::Skipped => scenario.notes.first().cloned().unwrap_or_default(),
        Verdict::Passed => format!("stopped in {}", time(scenario.longest_stop_seconds)),
    }
}
