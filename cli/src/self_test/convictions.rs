//! Which faults of a fixture show in which scenario, and as what.

use crate::fixture::{Dialect, Fault};
use crate::scenario::Scenario;
use crate::setup::Protocol;

use Protocol::{Echo, H2, Http, Lines, Redis, Ws};

/// What a bad server must be convicted of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sign {
    Lost,
    /// Not one of so many messages is answered.
    AllLost(usize),
    Reset,
    /// One or the other: which of them is a matter of microseconds.
    LostOrReset,
    /// A connection is lost, whatever became of its messages.
    Noticed,
    Overdue,
    Found(&'static str),
    /// It cannot even be checked, for this reason.
    Refused(&'static str),
}

/// Faults that show in each of these protocols.
pub(super) const BAD: [(Scenario, Fault, Sign, &[Protocol]); 34] = [
    (
        Scenario::Frozen,
        Fault::NoSweep,
        Sign::Reset,
        &Protocol::ALL,
    ),
    (
        Scenario::Frozen,
        Fault::StopFirst,
        Sign::Lost,
        &Protocol::ALL,
    ),
    (Scenario::HalfRequest, Fault::Refuses, Sign::Lost, &[Http]),
    (
        Scenario::Storm,
        Fault::Abrupt,
        Sign::LostOrReset,
        &Protocol::ALL,
    ),
    (
        Scenario::Pipelined,
        Fault::DropsPipelined,
        Sign::Lost,
        &[Http],
    ),
    (
        Scenario::Pipelined,
        Fault::StopFirst,
        Sign::Lost,
        &[Lines, Redis, Http, Ws],
    ),
    (Scenario::Streams, Fault::DropsHalf, Sign::Lost, &[H2]),
    (Scenario::Streams, Fault::KeepsSilent, Sign::Overdue, &[H2]),
    (
        Scenario::SlowReader,
        Fault::Resets,
        Sign::Reset,
        &[Echo, Http, H2],
    ),
    (
        Scenario::SlowReader,
        Fault::CutsShort,
        Sign::Lost,
        &[Echo, Http, H2],
    ),
    (
        Scenario::SlowSpeaker,
        Fault::ShortPatience,
        Sign::Lost,
        &[Lines, Redis, Http, H2, Ws],
    ),
    (
        Scenario::HalfRequest,
        Fault::Resets,
        Sign::Reset,
        &Protocol::ALL,
    ),
    (
        Scenario::HalfRequest,
        Fault::DropsHalf,
        Sign::Lost,
        &[Lines, Redis, Http, H2, Ws],
    ),
    (Scenario::HalfHead, Fault::DropsHalf, Sign::Lost, &[Http]),
    (Scenario::Upgrade, Fault::DropsHalf, Sign::Lost, &[Ws]),
    (Scenario::Upgrade, Fault::Refuses, Sign::Lost, &[Ws]),
    (Scenario::Websocket, Fault::DropsHalf, Sign::Lost, &[Ws]),
    (
        Scenario::Websocket,
        Fault::NoFarewell,
        Sign::Found("without a Close frame"),
        &[Ws],
    ),
    (
        Scenario::Idle,
        Fault::KeepsIdle,
        Sign::Overdue,
        &Protocol::ALL,
    ),
    (
        Scenario::Idle,
        Fault::ResetsClosed,
        Sign::Reset,
        &[Echo, Lines],
    ),
    (
        Scenario::Silent,
        Fault::KeepsSilent,
        Sign::Overdue,
        &Protocol::ALL,
    ),
    (
        Scenario::Stubborn,
        Fault::NoDeadline,
        Sign::Overdue,
        &Protocol::ALL,
    ),
    (
        Scenario::SecondSignal,
        Fault::IgnoresSecondSignal,
        Sign::Overdue,
        &Protocol::ALL,
    ),
    (
        Scenario::SignalTwiceAtOnce,
        Fault::AbortsOnRepeat,
        Sign::LostOrReset,
        &[Lines, Redis, Http, H2, Ws],
    ),
    (
        Scenario::BlockedSignal,
        Fault::KeepsMask,
        Sign::Overdue,
        &[Echo, Http],
    ),
    (
        Scenario::DeafLog,
        Fault::LogsBlocking,
        Sign::Overdue,
        &[Echo, Http],
    ),
    (
        Scenario::FrozenInTheDrain,
        Fault::DeadlineFirst,
        Sign::LostOrReset,
        &[Lines, Redis, Http, H2, Ws],
    ),
    (
        Scenario::Flood,
        Fault::EndlessSweep,
        Sign::Overdue,
        &[Echo, Http],
    ),
    (
        Scenario::Descriptors,
        Fault::Spins,
        Sign::Found("it spins"),
        &[Echo, Http],
    ),
    (
        Scenario::Descriptors,
        Fault::AcceptEnds,
        Sign::Lost,
        &[Echo, Http, Lines, Redis],
    ),
    (
        Scenario::Restart,
        Fault::RestartGap,
        Sign::Noticed,
        &[Echo, Http, H2],
    ),
    (
        Scenario::GroupSignal,
        Fault::AbortsOnRepeat,
        Sign::LostOrReset,
        &[Lines, Http],
    ),
    (
        Scenario::Exit,
        Fault::Status,
        Sign::Found("and not with 0"),
        &[Echo, Http],
    ),
    (
        Scenario::Exit,
        Fault::Orphan,
        Sign::Found("still running"),
        &[Echo, Http],
    ),
];

/// The same over TLS.
pub(super) const BAD_OVER_TLS: [(Scenario, Fault, Sign, Protocol); 7] = [
    (Scenario::Frozen, Fault::NoSweep, Sign::Reset, Http),
    (Scenario::HalfRequest, Fault::DropsHalf, Sign::Lost, Http),
    (Scenario::TlsSilent, Fault::KeepsSilent, Sign::Overdue, Http),
    (
        Scenario::TlsHalfRecord,
        Fault::DropsHalfRecord,
        Sign::Lost,
        Http,
    ),
    (
        Scenario::TlsHalfRecord,
        Fault::DropsHalfRecord,
        Sign::Lost,
        H2,
    ),
    (
        Scenario::CloseNotify,
        Fault::NoCloseNotify,
        Sign::Found("close_notify"),
        Http,
    ),
    (
        Scenario::CloseNotify,
        Fault::NoCloseNotify,
        Sign::Found("close_notify"),
        Echo,
    ),
];

/// For each rule of HTTP a fixture that keeps it, which has to pass, and one that uses
/// it as an excuse.
pub(super) const BAD_IN_DIALECTS: [(Dialect, Scenario, Fault, Sign); 14] = [
    (
        Dialect::Http10,
        Scenario::Frozen,
        Fault::NoSweep,
        Sign::Reset,
    ),
    (
        Dialect::Http10,
        Scenario::HalfRequest,
        Fault::DropsHalf,
        Sign::Lost,
    ),
    (
        Dialect::CloseEach,
        Scenario::Frozen,
        Fault::StopFirst,
        Sign::Lost,
    ),
    (
        Dialect::SilentClose,
        Scenario::Frozen,
        Fault::StopFirst,
        Sign::Lost,
    ),
    (
        Dialect::CountLimit,
        Scenario::Frozen,
        Fault::StopFirst,
        Sign::Lost,
    ),
    (
        Dialect::TimeLimit,
        Scenario::Frozen,
        Fault::StopFirst,
        Sign::Lost,
    ),
    (
        Dialect::EarlyHints,
        Scenario::HalfRequest,
        Fault::Truncates,
        Sign::Lost,
    ),
    (
        Dialect::Chunked,
        Scenario::HalfRequest,
        Fault::Truncates,
        Sign::Lost,
    ),
    (
        Dialect::KeepAlive,
        Scenario::HalfRequest,
        Fault::Truncates,
        Sign::Lost,
    ),
    (
        Dialect::UntilClose,
        Scenario::HalfRequest,
        Fault::Resets,
        Sign::Reset,
    ),
    (
        Dialect::UntilClose,
        Scenario::SlowReader,
        Fault::CutsShort,
        Sign::Lost,
    ),
    (
        Dialect::Redirects,
        Scenario::HalfRequest,
        Fault::Refuses,
        Sign::Lost,
    ),
    (
        Dialect::Chunked,
        Scenario::Storm,
        Fault::Abrupt,
        Sign::LostOrReset,
    ),
    (
        Dialect::CloseEach,
        Scenario::Storm,
        Fault::Abrupt,
        Sign::LostOrReset,
    ),
];
