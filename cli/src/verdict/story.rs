//! The story of a connection, for people.

use std::time::{Duration, Instant};

use crate::client::{ConnectionJournal, End};

/// Tells what a client did on a connection, what it got, and when.
pub(crate) fn tell(
    id: usize,
    kind: &str,
    connection: &ConnectionJournal,
    signal: Instant,
) -> String {
    let mut text = format!("client {id} ({kind})");
    if let Some(local) = connection.local {
        text += &format!(" from {local}");
    }
    if let Some(at) = connection.connected {
        text += &format!(": connected {}", relative(at, signal));
    }
    if connection.answered > 0 {
        let word = if connection.answered == 1 {
            "answer"
        } else {
            "answers"
        };
        text += &format!(", {} {word}", connection.answered);
    }
    for message in connection.unanswered.iter().take(3) {
        let sent = match message.written {
            Some(at) => format!("sent {}", relative(at, signal)),
            None => "could not be sent".to_owned(),
        };
        text += &format!("; {} {sent}", message.label);
        text += &match message.received {
            0 => ", no answer".to_owned(),
            1 => ", 1 byte of its answer".to_owned(),
            n => format!(", {n} bytes of its answer"),
        };
        if let Some(problem) = &message.problem {
            text += &format!(", and {problem}");
        }
    }
    if let Some(announced) = connection.announced
        && let Some(frame) = announced.rule.frame()
    {
        text += &format!("; {frame} {}", relative(announced.at, signal));
    }
    let end = match &connection.end {
        End::Open => "no end",
        End::Fin => "an orderly end",
        End::Reset => "a reset",
        End::Left => "the client left",
        End::Refused(problem) | End::Garbled(problem) => problem,
    };
    text += &format!("; then {end}");
    if let Some(at) = connection.ended {
        text += &format!(" {}", relative(at, signal));
    }
    text
}

/// Returns a moment as its distance from the signal.
fn relative(at: Instant, signal: Instant) -> String {
    let milliseconds = |duration: Duration| duration.as_secs_f64() * 1000.0;
    match at.checked_duration_since(signal) {
        Some(after) => format!("{:.3} ms after the signal", milliseconds(after)),
        None => format!(
            "{:.3} ms before the signal",
            milliseconds(signal.duration_since(at))
        ),
    }
}
