//! The one budget of a stop, and its parts.

use std::fmt;
use std::time::Duration;

/// How long a stop may take. All parts are within `grace`, but for the force
/// margin, which follows it.
///
/// ```
/// use lameduck::machine::Config;
/// use std::time::Duration;
///
/// let config = Config { notice: Duration::from_secs(5), ..Config::default() };
/// assert!(config.check().is_ok());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Config {
    /// From the stop to force, at most. Default: 25 s, inside of the 30 s
    /// that Kubernetes gives by default.
    pub grace: Duration,
    /// Not ready, but still accepting, for load balancers that learn late.
    /// Default: none.
    pub notice: Duration,
    /// The longest sweep of the accept queues. Default: 1 s. An empty queue
    /// takes no time.
    pub sweep: Duration,
    /// From the quiesce, how long idle connections are still read, for bytes
    /// that are on their way. Default: none. It passes beside the sweep.
    pub settle: Duration,
    /// From force to the end, at most: what is not gone then is given up.
    /// Default: 500 ms.
    pub force_margin: Duration,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            grace: Duration::from_secs(25),
            notice: Duration::ZERO,
            sweep: Duration::from_secs(1),
            settle: Duration::ZERO,
            force_margin: Duration::from_millis(500),
        }
    }
}

impl Config {
    /// Refuses parts that exceed the whole (F31).
    ///
    /// # Errors
    /// [`ConfigError`] when notice and sweep, or notice and settle, are together
    /// longer than grace.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.notice.saturating_add(self.sweep.max(self.settle)) > self.grace {
            return Err(ConfigError(*self));
        }
        Ok(())
    }
}

/// The parts of a [`Config`] exceed its grace.
///
/// ```
/// use lameduck::machine::Config;
/// use std::time::Duration;
///
/// let config = Config { grace: Duration::from_secs(5), notice: Duration::from_secs(9), ..Config::default() };
/// let error = config.check().unwrap_err().to_string();
/// assert!(error.starts_with("notice 9s and sweep 1s or settle 0ns do not fit into grace 5s"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConfigError(Config);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Config {
            grace,
            notice,
            sweep,
            settle,
            ..
        } = self.0;
        write!(
            f,
            "notice {notice:?} and sweep {sweep:?} or settle {settle:?} do not fit into \
             grace {grace:?}: make them shorter, or grace longer"
        )
    }
}

impl std::error::Error for ConfigError {}
