//! The page of `compare`.

use maud::{Markup, html};

use super::check::{section, stopping};
use super::{Head, advice, command_line, icon, page, time, timeline};
use crate::results::check::ScenarioDocument;
use crate::results::compare::{CompareDocument, ServerDocument};
use crate::results::junit::what_failed;
use crate::verdict::Verdict;

/// The page of a comparison.
pub(crate) fn compare(document: &CompareDocument, summary: &str) -> String {
    let servers = &document.servers;
    let is_clean = |server: &&ServerDocument| {
        let mut verdicts = server.scenarios.iter().map(|s| s.verdict);
        verdicts.all(|verdict| verdict != Verdict::Failed)
    };
    let clean = servers.iter().filter(is_clean).count();
    let head = Head {
        command: "compare",
        headline: format!("{clean} of {} servers lost nothing", servers.len()),
        verdict: None,
        facts: vec![("seed", html! { code { (document.seed) } })],
    };
    let body = html! {
        section aria-labelledby="table" {
            h2 id="table" { "Side by side" }
            (matrix(servers))
            p.hint { "Each cell: what was lost, and the longest stop." }
        }
        section aria-labelledby="pictures" {
            h2 id="pictures" { "What the clients saw" }
            (timeline::legend())
            @for server in servers { (server_section(server)) }
        }
    };
    page(&head, &body, summary)
}

fn matrix(servers: &[ServerDocument]) -> Markup {
    let scenarios = servers.first().map_or(&[][..], |server| &server.scenarios);
    html! {
        div.scroll tabindex="0" role="region" aria-label="Table of servers" {
            table.matrix {
                thead {
                    tr {
                        th scope="col" { "server" }
                        @for scenario in scenarios { th scope="col" { (scenario.scenario) } }
                    }
                }
                tbody {
                    @for server in servers {
                        tr {
                            th scope="row" { (server.name) }
                            @for scenario in &server.scenarios { (cell(server, scenario)) }
                        }
                    }
                }
            }
        }
    }
}

fn cell(server: &ServerDocument, scenario: &ScenarioDocument) -> Markup {
    // That a stop has no end stands among what failed.
    let stop = match scenario.overdue {
        0 => format!(", {}", time(scenario.longest_stop_seconds)),
        _ => String::new(),
    };
    html! {
        td class=(crate::table::verdict(scenario.verdict)) {
            @match scenario.verdict {
                Verdict::Skipped => "–",
                Verdict::Passed => { (icon(Verdict::Passed)) " 0" (stop) }
                Verdict::Failed => {
                    a href={ "#" (anchor(server, scenario)) } {
                        (icon(Verdict::Failed)) " " (what_failed(scenario))
                    }
                    (stop)
                }
            }
        }
    }
}

/// The scenarios that a server failed: the others are in the table.
fn server_section(server: &ServerDocument) -> Markup {
    let failed = |scenario: &&ScenarioDocument| scenario.verdict == Verdict::Failed;
    let failed: Vec<_> = server.scenarios.iter().filter(failed).collect();
    html! {
        section.server {
            h2 { (server.name) }
            p.hint {
                code { (command_line(&server.command)) } ", " (server.protocol) ", " (server.signal)
            }
            @if failed.is_empty() { p { "Nothing was lost." } }
            @if let Some(known) = advice::recognise(&server.command).filter(|_| !failed.is_empty()) {
                (stopping(known, false))
            }
            @for scenario in failed {
                (section(scenario, &anchor(server, scenario), &server.signal, true))
            }
        }
    }
}

/// A name that is good for a link.
fn anchor(server: &ServerDocument, scenario: &ScenarioDocument) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    let name: String = server.name.chars().map(plain).collect();
    format!("{name}-{}", scenario.scenario)
}
