//! A second lingering close, written to be obvious: it keeps the times at which
//! things happened, and finds what is due from them.

use std::time::Duration;

use lameduck::machine::closing::{Config, Facts, Input, Output};

const MS: Duration = Duration::from_millis(1);

/// The last time: all that are later are the same.
const LATEST: Duration = Duration::from_nanos(u64::MAX);

fn plus(time: Duration, more: Duration) -> Duration {
    time.saturating_add(more).min(LATEST)
}

#[derive(Clone, Debug)]
pub(crate) struct Reference {
    pub(crate) config: Config,
    pub(crate) facts: Facts,
    pub(crate) now: Duration,
    /// When our side ended.
    half_closed_at: Option<Duration>,
    heard_at: Duration,
    /// When the next look counts from: the last input, or the last look.
    counts_from: Duration,
    had_no_input: bool,
    /// The pause before the next look, once the peer has ended its side.
    pause_since_end: Option<Duration>,
    idle: Duration,
    give_up_at: Duration,
    least: Option<u64>,
    asked: bool,
    pub(crate) closed: bool,
    pub(crate) cut_off: bool,
    /// Before the first input.
    said: Vec<Output>,
}

impl Reference {
    pub(crate) fn new(config: Config, facts: Facts) -> Reference {
        Reference {
            config,
            facts,
            now: Duration::ZERO,
            half_closed_at: None,
            heard_at: Duration::ZERO,
            counts_from: Duration::ZERO,
            had_no_input: false,
            pause_since_end: None,
            idle: config.idle,
            give_up_at: LATEST,
            least: None,
            asked: false,
            closed: false,
            cut_off: false,
            said: vec![Output::HalfClose],
        }
    }

    /// What is to be done. The half-close takes its time from here on.
    pub(crate) fn outputs(&mut self) -> Vec<Output> {
        let said = std::mem::take(&mut self.said);
        if said.contains(&Output::HalfClose) {
            self.counts_from = self.now;
            self.give_up_at = plus(self.now, self.config.total.max(MS));
        }
        said
    }

    /// Takes an input; returns whether it fits.
    pub(crate) fn step(&mut self, now: Duration, input: Input) -> bool {
        self.now = self.now.max(now).min(LATEST);
        if self.closed {
            return false;
        }
        let fits = self.note(input);
        if self.due_at().is_some_and(|at| self.now >= at) {
            self.ask();
        }
        fits
    }

    pub(crate) fn is_reading(&self) -> bool {
        self.half_closed_at.is_some() && self.pause_since_end.is_none() && !self.closed
    }

    pub(crate) fn deadline(&self) -> Option<Duration> {
        let ahead = |at| if at < LATEST { at } else { Duration::MAX };
        self.due_at().map(ahead)
    }

    fn due_at(&self) -> Option<Duration> {
        let is_told = !self.said.contains(&Output::HalfClose);
        if !is_told || self.asked || self.closed {
            return None;
        }
        let wait = match self.pause_since_end {
            None if self.half_closed_at.is_none() => self.idle.max(MS),
            None => self.idle,
            Some(pause) => pause,
        };
        Some(plus(self.counts_from, wait).min(self.give_up_at))
    }

    fn note(&mut self, input: Input) -> bool {
        match input {
            Input::Tick => {}
            Input::HalfClosed if self.half_closed_at.is_none() => {
                self.half_closed_at = Some(self.now);
                (self.heard_at, self.counts_from) = (self.now, self.now);
                self.give_up_at = plus(self.now, self.config.total);
                (self.asked, self.least) = (false, None);
                self.said.clear();
                if self.facts.is_draining {
                    self.said.push(Output::Yield);
                }
            }
            Input::Received if self.is_reading() => {
                (self.heard_at, self.counts_from) = (self.now, self.now);
            }
            Input::NoInput if self.is_reading() => self.had_no_input = true,
            Input::End if self.is_reading() => self.end(),
            Input::Progress {
                unacknowledged,
                round_trip,
            } if self.asked => self.progress(unacknowledged, round_trip),
            _ => return false,
        }
        true
    }

    /// The end of the peer's input says that it has a small output, unless
    /// it may have come before our own end, and the process is about to go.
    fn end(&mut self) {
        let Facts {
            written,
            was_idle,
            is_draining,
            ..
        } = self.facts;
        let is_answer = was_idle || !is_draining || self.had_no_input;
        if written < 14_600 && is_answer {
            return self.close();
        }
        self.pause_since_end = Some(Duration::ZERO);
        self.counts_from = self.now;
        self.ask();
    }

    fn ask(&mut self) {
        if !self.asked {
            self.asked = true;
            self.said.push(Output::AskProgress);
        }
    }

    fn progress(&mut self, left: Option<u64>, round_trip: Option<Duration>) {
        self.asked = false;
        let two = round_trip.unwrap_or_default().saturating_mul(2);
        self.idle = self.idle.max(self.config.ack_poll_min).max(MS).max(two);
        let is_over = self.now >= self.give_up_at;
        let left = left.unwrap_or_default();
        if left == 0 {
            let until = plus(self.heard_at, self.idle).min(self.give_up_at);
            if self.is_reading() && self.now < until {
                self.counts_from = self.heard_at;
                return;
            }
            if self.half_closed_at.is_none() && !is_over {
                self.counts_from = self.now;
                return;
            }
            self.cut_off = self.half_closed_at.is_none();
            return self.close();
        }
        match self.least {
            Some(least) if left < least => {
                self.give_up_at = plus(self.now, self.config.total);
            }
            Some(_) if is_over => {
                // A FIN alone is no output.
                self.cut_off = self.half_closed_at.is_none() || left >= 2;
                return self.close();
            }
            None if is_over => {
                let more = self.idle.min(self.config.total);
                self.give_up_at = plus(self.now, more);
            }
            _ => {}
        }
        self.least = Some(self.least.unwrap_or(left).min(left));
        self.counts_from = self.now;
        // The first look was at once; then 1, 2, 4 times the first pause.
        let first = self.config.ack_poll_min.max(MS);
        if let Some(pause) = &mut self.pause_since_end {
            *pause = match *pause {
                Duration::ZERO => first,
                pause => pause.saturating_mul(2).min(self.idle),
            };
        }
    }

    fn close(&mut self) {
        self.closed = true;
        self.said = vec![Output::Close];
    }
}
