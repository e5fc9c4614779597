//! How far long work has come: a bar on a terminal, and elsewhere a line now and then,
//! so that the log of a pipeline shows that it goes on.

use std::cell::Cell;
use std::fmt::Display;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// The time between two lines.
const PAUSE: Duration = Duration::from_secs(30);

pub(crate) struct Progress {
    bar: ProgressBar,
    lines: Option<Lines>,
}

/// What is printed where there is no terminal.
struct Lines {
    begun: Instant,
    last: Cell<Instant>,
}

impl Progress {
    /// Begins work of so many steps.
    pub(crate) fn of(steps: u64, is_quiet: bool) -> Progress {
        let bar = ProgressBar::new(steps);
        Progress::new(bar, "{bar:24} {pos}/{len} {msg}", is_quiet)
    }

    /// Begins work that ends when something else does.
    pub(crate) fn endless(is_quiet: bool) -> Progress {
        let template = "{spinner} {elapsed} {msg}: {prefix}";
        Progress::new(ProgressBar::new_spinner(), template, is_quiet)
    }

    fn new(bar: ProgressBar, template: &str, is_quiet: bool) -> Progress {
        let now = Instant::now();
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        let has_lines = !is_quiet && !std::io::stderr().is_terminal();
        if is_quiet || has_lines {
            // It still counts.
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        let lines = has_lines.then_some(Lines {
            begun: now,
            last: Cell::new(now),
        });
        Progress { bar, lines }
    }

    pub(crate) fn set_message(&self, text: impl Into<String>) {
        self.bar.set_message(text.into());
    }

    /// So many steps are done.
    pub(crate) fn inc(&self, steps: u64) {
        self.bar.inc(steps);
        self.say(|| {
            let (done, all) = (self.bar.position(), self.bar.length().unwrap_or(0));
            format!("{done} of {all} done")
        });
    }

    /// Shows how it stands.
    pub(crate) fn show(&self, text: &str) {
        self.bar.set_prefix(text.to_owned());
        self.bar.tick();
        self.say(|| format!("{}: {text}", self.bar.message()));
    }

    /// Prints beside it.
    pub(crate) fn print(&self, text: &str) {
        self.bar.suspend(|| eprintln!("{text}"));
    }

    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }

    /// Prints a line, if the last one was long ago.
    fn say<T: Display>(&self, text: impl FnOnce() -> T) {
        let Some(lines) = &self.lines else { return };
        if let Some(line) = lines.due(Instant::now(), text) {
            eprintln!("{line}");
        }
    }
}

impl Lines {
    fn due<T: Display>(&self, now: Instant, text: impl FnOnce() -> T) -> Option<String> {
        if now.duration_since(self.last.get()) < PAUSE {
            return None;
        }
        self.last.set(now);
        let seconds = now.duration_since(self.begun).as_secs();
        let time = humantime::format_duration(Duration::from_secs(seconds));
        Some(format!("lameduck: after {time}: {}", text()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_comes_now_and_then() {
        let begun = Instant::now();
        let lines = Lines {
            begun,
            last: Cell::new(begun),
        };
        let at = |seconds| lines.due(begun + Duration::from_secs(seconds), || "1 of 2 done");
        assert_eq!(at(29), None);
        let line = "lameduck: after 31s: 1 of 2 done";
        assert_eq!(at(31).as_deref(), Some(line));
        assert_eq!(at(60), None);
        let line = "lameduck: after 1m 1s: 1 of 2 done";
        assert_eq!(at(61).as_deref(), Some(line));
    }
}
