//! The phases of a stop: one enum for the whole crate.

use std::fmt;

/// The phases of a server's life, in the order of time: a phase never goes
/// back.
///
/// ```
/// use lameduck::Phase;
///
/// assert!(Phase::Running < Phase::Draining);
/// assert_eq!(Phase::ALL.last(), Some(&Phase::Stopped));
/// assert_eq!(Phase::LameDuck.to_string(), "lame duck");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(
    clippy::exhaustive_enums,
    reason = "callers match on each phase of a stop"
)]
pub enum Phase {
    /// It serves; no stop was asked for.
    Running,
    /// It is not ready any more, and still accepts and serves, until load
    /// balancers have noticed.
    LameDuck,
    /// It accepts nothing new. Connections finish what they have; idle ones
    /// are ended.
    Draining,
    /// The grace period is spent, or somebody asked for it: what is left is cut
    /// off.
    Aborting,
    /// The stop is over.
    Stopped,
}

impl Phase {
    /// All phases, in order.
    pub const ALL: [Phase; 5] = [
        Phase::Running,
        Phase::LameDuck,
        Phase::Draining,
        Phase::Aborting,
        Phase::Stopped,
    ];
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Phase::Running => "running",
            Phase::LameDuck => "lame duck",
            Phase::Draining => "draining",
            Phase::Aborting => "aborting",
            Phase::Stopped => "stopped",
        })
    }
}
