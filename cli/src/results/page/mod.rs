//! Results as one page that needs nothing else: it works from a file, in the dark
//! and on paper, with a pointer, a keyboard or a screen reader.

mod advice;
mod check;
mod compare;
mod during;
mod during_chart;
mod facts;
mod scale;
mod timeline;

use maud::{DOCTYPE, Markup, PreEscaped, html};

pub(crate) use check::check;
pub(crate) use compare::compare;
pub(crate) use during::during;

use crate::verdict::Verdict;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// Nothing is loaded from anywhere.
const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:";

/// A duck, so that a browser asks for no icon.
const ICON: &str = "data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg' \
                    viewBox='0 0 16 16'><text y='13' font-size='13'>🦆</text></svg>";

/// What stands above everything else.
struct Head {
    /// What was run.
    command: &'static str,
    /// The result in a sentence.
    headline: String,
    verdict: Option<Verdict>,
    /// What was stopped, and how: names and values.
    facts: Vec<(&'static str, Markup)>,
}

fn page(head: &Head, body: &Markup, summary: &str) -> String {
    let Head {
        command, headline, ..
    } = head;
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="generator" content={ "lameduck " (env!("CARGO_PKG_VERSION")) };
                title { (headline) " · lameduck " (command) }
                link rel="icon" href=(ICON);
                style { (PreEscaped(STYLE)) }
            }
            body {
                a.skip href="#results" { "Skip to the results" }
                header {
                    p.eyebrow { "lameduck " (command) }
                    h1 {
                        @if let Some(verdict) = head.verdict { (icon(verdict)) " " }
                        (headline)
                    }
                    dl.facts-list {
                        @for (name, value) in &head.facts {
                            div { dt { (name) } dd { (value) } }
                        }
                    }
                }
                main id="results" { (body) }
                footer {
                    p { code { (summary) } }
                    p { "Made by lameduck " (env!("CARGO_PKG_VERSION")) "." }
                }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    };
    markup.into_string()
}

/// A verdict as a shape and a colour; beside it stands the word.
fn icon(verdict: Verdict) -> Markup {
    let (class, path) = match verdict {
        Verdict::Passed => ("passed", "M4 8.5l3 3l5-6"),
        Verdict::Failed => ("failed", "M5 5l6 6m0-6l-6 6"),
        Verdict::Skipped => ("skipped", "M4 8h8"),
    };
    html! {
        svg class={ "icon " (class) } viewBox="0 0 16 16" aria-hidden="true" {
            circle cx="8" cy="8" r="8" {}
            path d=(path) {}
        }
    }
}

fn chip(verdict: Verdict) -> Markup {
    let word = crate::table::verdict(verdict);
    html! { span class={ "chip " (word) } { (icon(verdict)) " " (word) } }
}

/// A figure above its name.
fn tile(value: impl std::fmt::Display, name: &str, is_bad: bool) -> Markup {
    html! {
        li class=(if is_bad { "tile bad" } else { "tile" }) {
            strong { (value) } span { (name) }
        }
    }
}

/// A list of lines, if there are any.
fn lines(title: &str, lines: &[String], class: &str) -> Markup {
    html! {
        @if !lines.is_empty() {
            h4 { (title) }
            ul class=(class) { @for line in lines { li { (line) } } }
        }
    }
}

/// Seconds for people.
fn time(seconds: Option<f64>) -> String {
    match seconds {
        None => "–".to_owned(),
        Some(seconds) if seconds < 1.0 => format!("{:.1} ms", seconds * 1000.0),
        Some(seconds) => format!("{seconds:.2} s"),
    }
}

/// The words of a command as a shell takes them.
fn command_line(words: &[String]) -> String {
    let quoted = words.iter().map(|word| {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:={},@+%".contains(c);
        match !word.is_empty() && word.chars().all(is_plain) {
            true => word.clone(),
            false => format!("'{}'", word.replace('\'', r"'\''")),
        }
    });
    quoted.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_as_it_could_be_typed() {
        let words = ["sh", "-c", "exec it's", "{addr}", ""].map(str::to_owned);
        assert_eq!(command_line(&words), r"sh -c 'exec it'\''s' {addr} ''");
    }
}
