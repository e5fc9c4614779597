//! What an operator reads of a stop.

use std::fmt;
use std::time::Duration;

use log::{Level, info, log, warn};

use crate::cause::Cause;
use crate::machine::lifecycle::Input;
use crate::phase::Phase;

/// Where all lines about a stop come from, for filters.
const DRIVER: &str = "lameduck::server::driver";

/// Says which phase of a stop begins, and how much is still there.
pub(super) fn entered(phase: Phase, cause: Option<&Cause>, open: usize, guards: usize) {
    let left = format!("{phase}, connections {open}, guard count {guards}");
    match (phase, cause) {
        (Phase::Aborting, _) => warn!(target: DRIVER, "stopping: {left}"),
        (_, Some(cause)) => info!(target: DRIVER, "stopping ({cause}): {left}"),
        (_, None) => {}
    }
}

/// Says what a request means that came in a stop, and why the abort begins.
/// `end`: what is kept of the grace period.
pub(super) fn handled(input: Input, before: Phase, after: Phase, end: End) {
    if let Some((level, line)) = line_of(input, before, after, end) {
        log!(target: DRIVER, level, "{line}");
    }
}

/// The parts of the grace period for what comes after the connections.
#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    pub(super) abort: Duration,
    /// `None`: there are none.
    pub(super) hooks: Option<Duration>,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} are for the abort", self.abort)?;
        match self.hooks {
            Some(hooks) => write!(f, ", and {hooks:?} for the hooks"),
            None => Ok(()),
        }
    }
}

fn line_of(input: Input, before: Phase, after: Phase, end: End) -> Option<(Level, String)> {
    let is_under_way = matches!(before, Phase::LameDuck | Phase::Draining);
    let aborts = is_under_way && after == Phase::Aborting;
    match input {
        Input::Signal(signal) if aborts => Some((
            Level::Warn,
            format!("{signal} is another request: it aborts"),
        )),
        Input::Signal(signal) if is_under_way => {
            let line =
                format!("{signal} belongs to the stop that is under way; a later one aborts");
            Some((Level::Info, line))
        }
        Input::Tick if aborts => {
            let line = format!("the time for the connections is over, {end}: aborting");
            Some((Level::Warn, line))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signal::Signal;

    #[test]
    fn f45_an_operator_reads_what_became_of_a_signal() {
        use Phase::{Aborting, Draining, LameDuck, Running, Stopped};

        let signal = Input::Signal(Signal::Terminate);
        for (input, before, after, begins) in [
            (signal, Running, Draining, None),
            (signal, Running, LameDuck, None),
            (signal, LameDuck, LameDuck, Some("SIGTERM belongs to")),
            (signal, Draining, Draining, Some("SIGTERM belongs to")),
            (signal, LameDuck, Aborting, Some("SIGTERM is another")),
            (signal, Draining, Aborting, Some("SIGTERM is another")),
            (signal, Aborting, Aborting, None),
            (signal, Stopped, Stopped, None),
            (Input::Tick, LameDuck, Draining, None),
            (Input::Tick, Draining, Draining, None),
            (
                Input::Tick,
                LameDuck,
                Aborting,
                Some(
                    "the time for the connections is over, 500ms are for the abort, and 5s \
                     for the hooks: aborting",
                ),
            ),
            (Input::Tick, Draining, Aborting, Some("the time")),
            (Input::Tick, Aborting, Aborting, None),
            (Input::Abort, Draining, Aborting, None),
        ] {
            let end = End {
                abort: Duration::from_millis(500),
                hooks: Some(Duration::from_secs(5)),
            };
            let line = line_of(input, before, after, end);
            let what = format!("{input:?} from {before} to {after}");
            match (line, begins) {
                (None, None) => {}
                (Some((level, line)), Some(begins)) => {
                    assert!(line.starts_with(begins), "{what}: {line}");
                    assert_eq!(level == Level::Warn, after == Aborting, "{what}");
                }
                (line, _) => panic!("{what}: {line:?}"),
            }
        }
    }
}
