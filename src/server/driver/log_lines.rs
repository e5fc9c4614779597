//! What an operator reads of a stop.

use log::{info, warn};

use crate::cause::Cause;
use crate::machine::lifecycle::Input;
use crate::phase::Phase;

/// Where all lines about a stop come from, for filters.
const DRIVER: &str = "lameduck::server::driver";

/// Says which phase of a stop begins, and how much is still there.
pub(super) fn entered(phase: Phase, cause: Option<&Cause>, open: usize, guards: usize) {
    let left = format!("connections {open}, guard count {guards}");
    match cause {
        _ if phase == Phase::Aborting => warn!(target: DRIVER, "stopping: {phase}, {left}"),
        Some(cause) => info!(target: DRIVER, "stopping ({cause}): {phase}, {left}"),
        None => {}
    }
}

/// Says what a request means that came in a stop, and why the abort begins.
pub(super) fn handled(input: Input, before: Phase, after: Phase) {
    let aborts = before < Phase::Aborting && after == Phase::Aborting;
    match input {
        Input::Signal(signal) if aborts => {
            warn!(target: DRIVER, "{signal} is another request: it aborts")
        }
        Input::Signal(signal) if (Phase::LameDuck..Phase::Aborting).contains(&before) => {
            info!(target: DRIVER, "{signal} belongs to the stop that is under way; a later one aborts");
        }
        Input::Tick if aborts => {
            warn!(target: DRIVER, "the time for the connections is over: aborting")
        }
        _ => {}
    }
}
