//! A second sweep, written to be obvious: it counts errors and looks, and finds
//! each pause again from the count.

use std::time::Duration;

use lameduck::machine::sweep::{AcceptError, Config, Input, Output};
use lameduck::rt::CloseGuarantee;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    /// No handshake is waited for.
    None,
    /// It comes with the first look at an empty queue.
    WhenEmpty,
    At(Duration),
    Asked,
}

#[derive(Clone, Debug)]
pub(crate) struct Reference {
    pub(crate) config: Config,
    pub(crate) now: Duration,
    /// What the close will promise, once the sweep has begun.
    promise: Option<CloseGuarantee>,
    pub(crate) guarantee: Option<CloseGuarantee>,
    look: Look,
    looks: u32,
    /// The beginning of the sweep, or its last connection.
    since: Duration,
    paused_until: Option<Duration>,
    errors_in_row: u32,
    in_batch: u64,
    pub(crate) accepted: u64,
    pub(crate) swept: u64,
    said: Vec<Output>,
}

/// The pause after so many before it.
fn pause(first: Duration, longest: Duration, before: u32) -> Duration {
    let least = Duration::from_millis(1);
    match before {
        0 => first.max(least),
        _ => {
            let pause = first.max(least).saturating_mul(2u32.saturating_pow(before));
            pause.min(longest).max(least)
        }
    }
}

impl Reference {
    pub(crate) fn new(config: Config) -> Reference {
        Reference {
            config,
            now: Duration::ZERO,
            promise: None,
            guarantee: None,
            look: Look::None,
            looks: 0,
            since: Duration::ZERO,
            paused_until: None,
            errors_in_row: 0,
            in_batch: 0,
            accepted: 0,
            swept: 0,
            said: Vec::new(),
        }
    }

    /// Takes an input; returns whether it fits, and what it says.
    pub(crate) fn step(&mut self, now: Duration, input: Input) -> (bool, Vec<Output>) {
        self.now = self.now.max(now);
        if self.guarantee.is_some() {
            return (false, Vec::new());
        }
        if self.paused_until.is_some_and(|until| self.now >= until) {
            self.paused_until = None;
        }
        if let Look::At(at) = self.look {
            if self.now >= at {
                self.look = Look::Asked;
                self.said.push(Output::AskHandshakes);
            }
        }
        let fits = self.note(input);
        (fits, std::mem::take(&mut self.said))
    }

    pub(crate) fn is_sweeping(&self) -> bool {
        self.promise.is_some() && self.guarantee.is_none()
    }

    pub(crate) fn may_accept(&self, has_room: bool) -> bool {
        let has_room = has_room || self.is_sweeping();
        self.guarantee.is_none() && self.paused_until.is_none() && has_room
    }

    pub(crate) fn deadline(&self) -> Option<Duration> {
        let look = match self.look {
            Look::At(at) => Some(at),
            _ => None,
        };
        let both = [look, self.paused_until];
        let first = both.into_iter().flatten().min();
        first.filter(|_| self.guarantee.is_none())
    }

    fn note(&mut self, input: Input) -> bool {
        match input {
            Input::Tick => {}
            Input::Accepted => self.accepted(),
            Input::QueueEmpty => {
                self.in_batch = 0;
                match (self.look, self.promise) {
                    (Look::None, Some(promise)) => self.close(promise),
                    (Look::WhenEmpty, _) => {
                        self.look = Look::Asked;
                        self.said.push(Output::AskHandshakes);
                    }
                    _ => {}
                }
            }
            Input::AcceptFailed(AcceptError::Connection) => self.count(),
            Input::AcceptFailed(AcceptError::Resources) => self.lack_of_resources(),
            Input::AcceptFailed(_) | Input::Close => self.close(CloseGuarantee::Unswept),
            Input::StopAccepting(promise) if self.promise.is_none() => self.stop(promise),
            Input::Handshakes(count) if self.look == Look::Asked => self.handshakes(count),
            _ => return false,
        }
        true
    }

    fn accepted(&mut self) {
        self.accepted += 1;
        (self.paused_until, self.errors_in_row) = (None, 0);
        if let Some(promise) = self.promise {
            self.swept += 1;
            self.since = self.now;
            if self.swept >= self.config.queue {
                let filtered = promise == CloseGuarantee::SynFiltered;
                return self.close(if filtered {
                    CloseGuarantee::Swept
                } else {
                    promise
                });
            }
            if self.config.limit.is_some_and(|limit| self.swept >= limit) {
                return self.close(CloseGuarantee::Unswept);
            }
        }
        self.count();
    }

    fn count(&mut self) {
        self.in_batch += 1;
        if self.in_batch >= u64::from(self.config.batch) {
            self.in_batch = 0;
            self.said.push(Output::Yield);
        }
    }

    fn lack_of_resources(&mut self) {
        let Config {
            back_off_min,
            back_off_max,
            sweep_back_off_max,
            ..
        } = self.config;
        let longest = match self.promise {
            Some(_) => sweep_back_off_max,
            None => back_off_max,
        };
        let pause = pause(back_off_min, longest, self.errors_in_row);
        let is_first = self.errors_in_row == 0;
        self.errors_in_row += 1;
        self.in_batch = 0;
        self.paused_until = Some(self.now.saturating_add(pause));
        self.said.push(Output::BackOff { pause, is_first });
    }

    fn stop(&mut self, promise: CloseGuarantee) {
        (self.paused_until, self.errors_in_row) = (None, 0);
        self.promise = Some(promise);
        self.since = self.now;
        if promise == CloseGuarantee::HandedOver {
            self.close(promise);
        } else if self.config.limit == Some(0) {
            self.close(CloseGuarantee::Unswept);
        } else if promise == CloseGuarantee::SynFiltered {
            self.look = Look::WhenEmpty;
        }
    }

    fn look_again(&mut self) {
        let Config {
            handshake_poll_min,
            handshake_poll_max,
            ..
        } = self.config;
        let pause = pause(handshake_poll_min, handshake_poll_max, self.looks);
        self.looks += 1;
        self.look = Look::At(self.now.saturating_add(pause));
    }

    fn handshakes(&mut self, count: Option<usize>) {
        let waited = self.now - self.since;
        match count {
            Some(0) => self.look = Look::None,
            Some(_) if waited < self.config.handshake_timeout => self.look_again(),
            None if waited < self.config.blind_wait => {
                self.looks += 1;
                self.look = Look::At(self.since.saturating_add(self.config.blind_wait));
            }
            _ => {
                self.look = Look::None;
                self.promise = Some(CloseGuarantee::Swept);
            }
        }
    }

    fn close(&mut self, guarantee: CloseGuarantee) {
        self.guarantee = Some(guarantee);
        self.said = vec![Output::Close];
    }
}
