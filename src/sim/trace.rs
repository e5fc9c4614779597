//! The trace: what happened, line by line.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use super::rule::{Event, Verdict};
use crate::signal::Signal;

/// One end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Side {
    /// The side that connected.
    Client,
    /// The side that accepted.
    Server,
}

impl Side {
    pub(crate) fn other(self) -> Side {
        match self {
            Side::Client => Side::Server,
            Side::Server => Side::Client,
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Side::Client => "client",
            Side::Server => "server",
        })
    }
}

/// One line of the trace.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Entry {
    Connects(usize),
    Refused(usize),
    Established(usize),
    Queued(usize),
    Accepted(usize),
    Sends(usize, Side, usize),
    Arrives(usize, Side, usize),
    Reads(usize, Side, usize),
    /// A read or a write was told to come back later.
    NotNow(usize),
    Ends(usize, Side),
    EndArrives(usize, Side),
    Closes(usize, Side),
    Resets(usize, Side),
    ResetArrives(usize, Side),
    Listens(usize),
    StopsAccepting(usize),
    StopsListening(usize),
    Signal(Signal),
    StopRequested,
    AbortRequested,
    Fault(Event, Verdict),
    /// A task of the server is interrupted in the middle of a poll.
    Interrupted,
    Resumed,
    Frozen(Duration),
    Stopped,
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Entry::Connects(id) => write!(f, "#{id}: the client connects"),
            Entry::Refused(id) => write!(f, "#{id}: the connection is refused"),
            Entry::Established(id) => write!(f, "#{id}: the client is connected"),
            Entry::Queued(id) => write!(f, "#{id}: enters the accept queue"),
            Entry::Accepted(id) => write!(f, "#{id}: the server accepts it"),
            Entry::Sends(id, side, n) => write!(f, "#{id}: the {side} sends {n} B"),
            Entry::Arrives(id, from, n) => write!(f, "#{id}: {n} B from the {from} arrive"),
            Entry::Reads(id, side, n) => write!(f, "#{id}: the {side} reads {n} B"),
            Entry::NotNow(id) => write!(f, "#{id}: the server has to yield"),
            Entry::Ends(id, side) => write!(f, "#{id}: the {side} ends its side"),
            Entry::EndArrives(id, from) => write!(f, "#{id}: the end of the {from} arrives"),
            Entry::Closes(id, side) => write!(f, "#{id}: the {side} closes"),
            Entry::Resets(id, side) => write!(f, "#{id}: the {side} resets"),
            Entry::ResetArrives(id, from) => write!(f, "#{id}: a reset of the {from} arrives"),
            Entry::Listens(id) => write!(f, "listener {id}: listens"),
            Entry::StopsAccepting(id) => write!(f, "listener {id}: stops accepting"),
            Entry::StopsListening(id) => write!(f, "listener {id}: closes"),
            Entry::Signal(signal) => write!(f, "{signal}"),
            Entry::StopRequested => f.write_str("the program asks for the stop"),
            Entry::AbortRequested => f.write_str("the program asks for the abort"),
            Entry::Fault(event, verdict) => write!(f, "fault: {event:?}: {verdict:?}"),
            Entry::Interrupted => f.write_str("in the middle of a poll:"),
            Entry::Resumed => f.write_str("the poll goes on"),
            Entry::Frozen(by) => write!(f, "the server is frozen for {by:?}"),
            Entry::Stopped => f.write_str("the server has stopped"),
        }
    }
}

/// The last lines of what happened.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    entries: VecDeque<(Duration, Entry)>,
    dropped: usize,
}

/// The number of lines that are kept: enough for any run that a person would
/// read. The last ones have the failure.
const KEPT: usize = 2000;

impl Trace {
    pub(crate) fn push(&mut self, now: Duration, entry: Entry) {
        if self.entries.len() == KEPT {
            self.entries.pop_front();
            self.dropped += 1;
        }
        self.entries.push_back((now, entry));
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.dropped > 0 {
            writeln!(
                f,
                "{:>12}     {} earlier lines were dropped",
                "", self.dropped
            )?;
        }
        for (at, entry) in &self.entries {
            writeln!(f, "{:>12.3} ms  {entry}", at.as_secs_f64() * 1000.0)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_trace_keeps_its_last_lines_and_says_how_many_it_dropped() {
        let mut trace = Trace::default();
        for id in 0..KEPT + 3 {
            trace.push(Duration::ZERO, Entry::Connects(id));
        }
        let text = trace.to_string();
        let last = format!("#{}: the client connects", KEPT + 2);
        assert!(
            text.trim_end().ends_with(&last),
            "the end of the run is missing"
        );
        let first = text.lines().next().unwrap();
        assert!(first.ends_with(" 3 earlier lines were dropped"), "{first}");
        assert!(!text.contains("#2: "), "the oldest lines are dropped");
    }
}
