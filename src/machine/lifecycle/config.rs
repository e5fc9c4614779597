//! The one budget of a stop, and its parts.

use std::fmt;
use std::time::Duration;

use crate::signal::Signal;

/// The budget of a stop. All parts are inside of `grace_period`
/// ([F31](crate::docs::faults#f31)).
///
/// ```
/// use lameduck::machine::lifecycle::Config;
/// use std::time::Duration;
///
/// let mut config = Config::default();
/// config.lame_duck = Duration::from_secs(5);
/// assert!(config.check().is_ok());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Config {
    /// The time from the stop to its end, at most. Default: 25 s, inside of the
    /// 30 s that Kubernetes gives by default.
    pub grace_period: Duration,
    /// The time to keep accepting after readiness turned false, until load
    /// balancers have noticed ([F13](crate::docs::faults#f13)). Default: none.
    pub lame_duck: Duration,
    /// The time that idle connections are still read for once draining began,
    /// for requests on their way ([F17](crate::docs::faults#f17)). Default: none.
    pub settle: Duration,
    /// The time that what was aborted has to go, before it counts as
    /// abandoned. Default: 500 ms.
    pub abort_timeout: Duration,
    /// The time that is kept for the hooks at the end of the grace period, also
    /// when connections have spent the rest ([F54](crate::docs::faults#f54)).
    /// Default: 5 s. Without hooks it is not kept.
    pub hook_reserve: Duration,
    /// The grace period of a stop after a successor took over; `None`, as by
    /// default, has no end ([F51](crate::docs::faults#f51)).
    pub restart_grace_period: Option<Duration>,
    /// The time to settle after a successor took over, where it is longer than
    /// `settle`, and about the time for which a connection has to be unused then
    /// ([F84](crate::docs::faults#f84)). Default: none.
    pub restart_settle: Duration,
    /// The time in which the same signal again is the same stop
    /// ([F45](crate::docs::faults#f45)). Default: 100 ms.
    pub same_signal_window: Duration,
    /// The time in which another signal is the same stop
    /// ([F45](crate::docs::faults#f45)). Default: 1 s.
    pub other_signal_window: Duration,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            grace_period: Duration::from_secs(25),
            lame_duck: Duration::ZERO,
            settle: Duration::ZERO,
            abort_timeout: Duration::from_millis(500),
            hook_reserve: Duration::from_secs(5),
            restart_grace_period: None,
            restart_settle: Duration::ZERO,
            same_signal_window: Duration::from_millis(100),
            other_signal_window: Duration::from_secs(1),
        }
    }
}

impl Config {
    /// Checks that the parts fit into the grace period.
    ///
    /// # Errors
    /// [`ConfigError`] when lame duck, settle, abort timeout and hook reserve
    /// together are longer than the grace period; or the same without lame duck,
    /// which a restart does not have, longer than that of a restart.
    pub fn check(&self) -> Result<(), ConfigError> {
        let end = self.abort_timeout.saturating_add(self.hook_reserve);
        let restart = end.saturating_add(self.settle_time(true));
        let stop = end
            .saturating_add(self.settle_time(false))
            .saturating_add(self.lame_duck);
        if stop > self.grace_period || self.restart_grace_period.is_some_and(|at| restart > at)
        {
            return Err(ConfigError(Box::new(*self)));
        }
        Ok(())
    }

    /// Returns the time for which idle connections are read on. In a restart
    /// nobody waits for its end.
    pub(super) fn settle_time(&self, in_restart: bool) -> Duration {
        if in_restart {
            self.settle.max(self.restart_settle)
        } else {
            self.settle
        }
    }

    /// Returns the time in which one more signal is the same stop.
    pub(super) fn window(&self, is_the_same: bool) -> Duration {
        if is_the_same {
            self.same_signal_window
        } else {
            self.other_signal_window
        }
    }
}

/// The error of a [`Config`] whose parts do not fit into its grace period.
///
/// ```
/// use lameduck::machine::lifecycle::Config;
/// use std::time::Duration;
///
/// let mut config = Config::default();
/// config.lame_duck = Duration::from_secs(29);
/// let error = config.check().unwrap_err().to_string();
/// assert!(error.starts_with("lame duck 29s, settle 0ns, abort timeout 500ms and hook reserve 5s do not fit into the grace period 25s"));
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ConfigError(Box<Config>);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Config {
            grace_period,
            lame_duck,
            settle,
            abort_timeout,
            hook_reserve,
            restart_grace_period,
            restart_settle,
            ..
        } = *self.0;
        write!(
            f,
            "lame duck {lame_duck:?}, settle {settle:?}, abort timeout {abort_timeout:?} and hook \
             reserve {hook_reserve:?} do not fit into the grace period {grace_period:?}"
        )?;
        if let Some(restart) = restart_grace_period {
            write!(f, ", or into that of a restart, {restart:?}")?;
            if restart_settle > settle {
                write!(f, ", with its settle, {restart_settle:?}")?;
            }
        }
        f.write_str(": make them shorter, or the grace period longer")
    }
}

/// The text of the error: a `main` that returns it prints this.
impl fmt::Debug for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for ConfigError {}

/// When each signal came first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct SignalsSeen {
    at: [Option<Duration>; 4],
}

impl SignalsSeen {
    /// Notes the signal; returns whether it is one request more, and not the
    /// same one that was delivered twice ([F45](crate::docs::faults#f45)).
    pub(crate) fn is_another_request(
        &mut self,
        config: &Config,
        now: Duration,
        signal: Signal,
    ) -> bool {
        let first = self.at.iter().flatten().min().copied();
        let same = &mut self.at[signal as usize];
        let since = same.or(first);
        let is_the_same = same.is_some();
        same.get_or_insert(now);
        since.is_some_and(|since| now.saturating_sub(since) > config.window(is_the_same))
    }
}
