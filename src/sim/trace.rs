//! What happened, told line by line.

use std::fmt;
use std::time::Duration;

use super::rule::{Event, Verdict};
use crate::signal::Signal;

/// One end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Side {
    /// Who connected.
    Client,
    /// Who accepted.
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

#[derive(Clone, Copy, Debug)]
pub(crate) enum Entry {
    Connects(usize),
    GuardError(usize),
    Established(usize),
    Queued(usize),
    Accepted(usize),
    Sends(usize, Side, usize),
    Arrives(usize, Side, usize),
    Reads(usize, Side, usize),
    Ends(usize, Side),
    EndArrives(usize, Side),
    Closes(usize, Side),
    Resets(usize, Side),
    ResetArrives(usize, Side),
    Listens(usize),
    Quiesces(usize),
    StopsListening(usize),
    Signal(Signal),
    Fault(Event, Verdict),
    Reports,
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Entry::Connects(id) => write!(f, "#{id}: the client connects"),
            Entry::GuardError(id) => write!(f, "#{id}: refused"),
            Entry::Established(id) => write!(f, "#{id}: established for the client"),
            Entry::Queued(id) => write!(f, "#{id}: in the accept queue"),
            Entry::Accepted(id) => write!(f, "#{id}: accepted"),
            Entry::Sends(id, side, n) => write!(f, "#{id}: the {side} sends {n} B"),
            Entry::Arrives(id, from, n) => write!(f, "#{id}: {n} B of the {from} arrive"),
            Entry::Reads(id, side, n) => write!(f, "#{id}: the {side} reads {n} B"),
            Entry::Ends(id, side) => write!(f, "#{id}: the {side} ends its side"),
            Entry::EndArrives(id, from) => write!(f, "#{id}: the end of the {from} arrives"),
            Entry::Closes(id, side) => write!(f, "#{id}: the {side} closes"),
            Entry::Resets(id, side) => write!(f, "#{id}: the {side} resets"),
            Entry::ResetArrives(id, from) => write!(f, "#{id}: a reset of the {from} arrives"),
            Entry::Listens(id) => write!(f, "listener {id}: listens"),
            Entry::Quiesces(id) => write!(f, "listener {id}: quiesces"),
            Entry::StopsListening(id) => write!(f, "listener {id}: closes"),
            Entry::Signal(signal) => write!(f, "{signal}"),
            Entry::Fault(event, verdict) => write!(f, "fault: {event:?}: {verdict:?}"),
            Entry::Reports => f.write_str("the server has ended"),
        }
    }
}

/// The last so many lines.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    entries: Vec<(Duration, Entry)>,
    left_out: usize,
}

/// Enough for any run that a person would read.
const MOST: usize = 2000;

impl Trace {
    pub(crate) fn push(&mut self, now: Duration, entry: Entry) {
        match self.entries.len() < MOST {
            true => self.entries.push((now, entry)),
            false => self.left_out += 1,
        }
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, entry) in &self.entries {
            writeln!(f, "{:>12.3} ms  {entry}", at.as_secs_f64() * 1000.0)?;
        }
        match self.left_out {
            0 => Ok(()),
            more => writeln!(f, "{:>12}     and {more} lines more", ""),
        }
    }
}
