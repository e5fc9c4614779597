//! The page of `during`.

use maud::{Markup, html};

use super::{Head, advice, command_line, during_chart, page, tile, time};
use crate::results::during::{DuringDocument, LossDocument};
use crate::verdict::Verdict;

/// Losses in the table of the page; all kept ones are in the JSON.
const LISTED: usize = 200;

/// The page of a command under load.
pub(crate) fn during(document: &DuringDocument, summary: &str) -> String {
    let head = Head {
        command: "during",
        headline: headline(document),
        verdict: Some(match document.passed {
            true => Verdict::Passed,
            false => Verdict::Failed,
        }),
        facts: vec![
            (
                "command",
                html! { code { (command_line(&document.command)) } },
            ),
            ("it ended with", html! { (document.command_status) }),
            ("load", html! { (load(document)) }),
        ],
    };
    let body = html! {
        (tiles(document))
        section aria-labelledby="moments" {
            h2 id="moments" { "Moment by moment" }
            (during_chart::draw(document))
        }
        section aria-labelledby="phases" {
            h2 id="phases" { "Before, during and after" }
            (phases(document))
        }
        @if document.lost() > 0 {
            section aria-labelledby="losses" {
                h2 id="losses" { "What was lost" }
                (losses(document))
            }
            section aria-labelledby="meaning" {
                h2 id="meaning" { "What it means, and what helps" }
                (meaning(document))
            }
        }
    };
    page(&head, &body, summary)
}

fn headline(document: &DuringDocument) -> String {
    let lost = document.lost();
    let of = document.phases.iter().map(|p| p.answered).sum::<u64>() + lost;
    match (lost, document.command_succeeded) {
        (0, true) => format!("Nothing was lost of {of} requests"),
        (0, false) => "The command failed, and nothing was lost".to_owned(),
        (_, _) => format!("{lost} of {of} requests were lost"),
    }
}

fn load(document: &DuringDocument) -> String {
    let rate = match document.rate {
        Some(rate) => format!("{rate} requests per second, "),
        None => "one request after the other, ".to_owned(),
    };
    let tls = if document.tls { " over TLS" } else { "" };
    format!(
        "{} at {} ({}{tls}): {rate}{} clients",
        document.request, document.address, document.protocol, document.connections
    )
}

fn tiles(document: &DuringDocument) -> Markup {
    let sum = |of: &str| -> u64 {
        let kinds = document.phases.iter().flat_map(|phase| phase.by_kind());
        kinds.filter(|(kind, _)| *kind == of).map(|(_, n)| n).sum()
    };
    let answered: u64 = document.phases.iter().map(|phase| phase.answered).sum();
    let slow: u64 = document.phases.iter().map(|phase| phase.slow).sum();
    html! {
        ul.tiles {
            (tile(answered, "answered", false))
            @for kind in ["failed", "lost", "reset", "refused", "hung"] {
                @let count = sum(kind);
                (tile(count, kind, count > 0))
            }
            (tile(slow, "slow", false))
        }
    }
}

fn phases(document: &DuringDocument) -> Markup {
    let names = [
        "time", "answered", "failed", "lost", "reset", "refused", "hung", "slow", "median",
        "99 %", "slowest",
    ];
    html! {
        div.scroll tabindex="0" role="region" aria-label="Table of phases" {
            table {
                thead {
                    tr {
                        th scope="col" { "phase" }
                        @for name in names { th.number scope="col" { (name) } }
                    }
                }
                tbody {
                    @for phase in &document.phases {
                        tr {
                            th scope="row" { (phase.phase) }
                            td.number { (time(Some(phase.seconds))) }
                            td.number { (phase.answered) }
                            @for (_, count) in phase.by_kind() {
                                td class=(if count > 0 { "number bad" } else { "number" }) { (count) }
                            }
                            td.number { (phase.slow) }
                            td.number { (time(phase.median_seconds)) }
                            td.number { (time(phase.p99_seconds)) }
                            td.number { (time(phase.slowest_seconds)) }
                        }
                    }
                }
            }
        }
    }
}

fn losses(document: &DuringDocument) -> Markup {
    let listed = document.losses.len().min(LISTED);
    let more = document.lost() - listed as u64;
    html! {
        div.scroll.tall tabindex="0" role="region" aria-label="Table of losses" {
            table {
                thead {
                    tr {
                        th.number scope="col" { "moment" }
                        @for name in ["kind", "client", "what happened"] {
                            th scope="col" { (name) }
                        }
                    }
                }
                tbody { @for loss in document.losses.iter().take(LISTED) { (loss_row(loss)) } }
            }
        }
        @if more > 0 { p.hint { "and " (more) " more" } }
        p.hint { "Moments are counted from the start of the command." }
    }
}

fn loss_row(loss: &LossDocument) -> Markup {
    let place = match (loss.exchange, loss.from) {
        (0, _) | (_, None) => String::new(),
        (n, Some(from)) => format!(" (request {n} from {from})"),
    };
    html! {
        tr {
            td.number { (format!("{:+.3} s", loss.seen_seconds)) }
            td.bad { (loss.kind) }
            td.number { (loss.client) }
            td { (loss.problem) (place) }
        }
    }
}

fn meaning(document: &DuringDocument) -> Markup {
    let kinds = ["failed", "lost", "reset", "refused", "hung"];
    html! {
        div.meaning {
            @for kind in kinds {
                @if document.losses.iter().any(|loss| loss.kind == kind) {
                    div { h4 { (kind) } p { (advice::of_loss(kind)) } }
                }
            }
        }
    }
}
