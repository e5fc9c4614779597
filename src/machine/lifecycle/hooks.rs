//! The hooks of a stop: which one runs, and for how long it may.

use std::time::Duration;

use super::messages::Failed;
use super::table::Event;

/// Hooks run one after another, once no connection is left (F41).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Hooks {
    hooks: Vec<Hook>,
    /// The time that is reserved for all of them: each has an equal share.
    reserve: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Hook {
    Waiting,
    Running {
        until: Duration,
        /// Whether a freeze was made up for.
        is_prolonged: bool,
    },
    Done,
    Failed,
}

impl Hooks {
    pub(super) fn new(count: usize, reserve: Duration) -> Hooks {
        Hooks {
            hooks: vec![Hook::Waiting; count],
            reserve: if count == 0 { Duration::ZERO } else { reserve },
        }
    }

    pub(super) fn reserve(&self) -> Duration {
        self.reserve
    }

    /// Returns what the hooks call for, once it is their turn.
    pub(super) fn event(&self, now: Duration) -> Option<Event> {
        let is_over = |hook: &&Hook| matches!(hook, Hook::Done | Hook::Failed);
        match self.hooks.iter().find(|hook| !is_over(hook)) {
            None => Some(Event::AllDone),
            Some(Hook::Running { until, .. }) => (now >= *until).then_some(Event::HookTimeOver),
            Some(_) => Some(Event::HookDue),
        }
    }

    /// Returns the time at which the one that runs is cancelled.
    pub(super) fn deadline(&self) -> Option<Duration> {
        self.hooks.iter().find_map(|hook| match hook {
            Hook::Running { until, .. } => Some(*until),
            _ => None,
        })
    }

    /// Lets the next one run, in a stop that is over at `end_at`; returns it, with its time.
    pub(super) fn run(&mut self, now: Duration, end_at: Duration) -> Option<(usize, Duration)> {
        let id = self.position(|hook| hook == Hook::Waiting)?;
        let until = self.latest_end(id, now, end_at);
        self.hooks[id] = Hook::Running {
            until,
            is_prolonged: false,
        };
        Some((id, until.saturating_sub(now)))
    }

    /// Notes the end of the one that runs; returns false where this one does not.
    pub(super) fn done(&mut self, id: usize, result: Result<(), Failed>) -> bool {
        let Some(hook @ Hook::Running { .. }) = self.hooks.get_mut(id) else {
            return false;
        };
        *hook = if result.is_ok() {
            Hook::Done
        } else {
            Hook::Failed
        };
        true
    }

    /// A stop that has to be over earlier leaves less to the hook that runs, too.
    pub(super) fn limit(&mut self, now: Duration, end_at: Duration) {
        if let Some(id) = self.running() {
            let limit = self.latest_end(id, now, end_at);
            if let Hook::Running { until, .. } = &mut self.hooks[id] {
                *until = limit.min(*until);
            }
        }
    }

    /// Gives the one that runs time until `to`, once, where its end is late; returns the
    /// time that the stop needs then.
    pub(super) fn prolong(
        &mut self,
        to: Duration,
        is_late: impl Fn(Duration) -> bool,
    ) -> Option<Duration> {
        let id = self.running()?;
        let behind = self.reserved_behind(id);
        match &mut self.hooks[id] {
            Hook::Running {
                until,
                is_prolonged,
            } if !*is_prolonged && is_late(*until) => {
                (*until, *is_prolonged) = (to, true);
                Some(to.saturating_add(behind))
            }
            _ => None,
        }
    }

    /// Cancels the one that runs, and returns it.
    pub(super) fn cancel(&mut self) -> Option<usize> {
        let id = self.running()?;
        self.hooks[id] = Hook::Failed;
        Some(id)
    }

    pub(super) fn has_failed(&self) -> bool {
        self.hooks.contains(&Hook::Failed)
    }

    /// Each may use what those behind it do not have reserved (F54).
    fn latest_end(&self, id: usize, now: Duration, end_at: Duration) -> Duration {
        match end_at {
            Duration::MAX => end_at,
            at => at.saturating_sub(self.reserved_behind(id)).max(now),
        }
    }

    fn reserved_behind(&self, id: usize) -> Duration {
        let count = |hooks: usize| u32::try_from(hooks).unwrap_or(u32::MAX);
        let share = self.reserve / count(self.hooks.len());
        share.saturating_mul(count(self.hooks.len() - 1 - id))
    }

    fn running(&self) -> Option<usize> {
        self.position(|hook| matches!(hook, Hook::Running { .. }))
    }

    fn position(&self, is_wanted: impl Fn(Hook) -> bool) -> Option<usize> {
        self.hooks.iter().position(|hook| is_wanted(*hook))
    }
}
