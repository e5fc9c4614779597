//! The ways in which stops go wrong, and how each is provoked.

mod close_notify;
mod deaf_log;
mod descriptors;
mod exit;
mod frozen;
mod half_request;
mod idle;
mod pipelined;
mod restart;
mod slow_reader;
mod slow_speaker;
mod storm;
mod streams;
mod stubborn;
mod text;
mod tls;
mod websocket;

use std::fmt;

use clap::ValueEnum;
use serde::Deserialize;
use smol::Timer;

use crate::limits;
use crate::round::Round;
use crate::setup::{Failure, Launch, Protocol, Setup};
use crate::stall;
use crate::verdict::RoundResult;

/// How often a round is tried in which the machine stands still.
const TRIES: usize = 3;

/// One way of loading and stopping a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Scenario {
    Frozen,
    Storm,
    Pipelined,
    Streams,
    SlowReader,
    SlowSpeaker,
    HalfRequest,
    HalfHead,
    Upgrade,
    Websocket,
    Idle,
    Silent,
    TlsSilent,
    TlsHalfRecord,
    CloseNotify,
    Stubborn,
    SecondSignal,
    SignalTwiceAtOnce,
    GroupSignal,
    BlockedSignal,
    DeafLog,
    FrozenInTheDrain,
    Flood,
    Descriptors,
    Restart,
    Exit,
}

impl Scenario {
    pub(crate) const ALL: [Scenario; 26] = [
        Scenario::Frozen,
        Scenario::Storm,
        Scenario::Pipelined,
        Scenario::Streams,
        Scenario::SlowReader,
        Scenario::SlowSpeaker,
        Scenario::HalfRequest,
        Scenario::HalfHead,
        Scenario::Upgrade,
        Scenario::Websocket,
        Scenario::Idle,
        Scenario::Silent,
        Scenario::TlsSilent,
        Scenario::TlsHalfRecord,
        Scenario::CloseNotify,
        Scenario::Stubborn,
        Scenario::SecondSignal,
        Scenario::SignalTwiceAtOnce,
        Scenario::GroupSignal,
        Scenario::BlockedSignal,
        Scenario::DeafLog,
        Scenario::FrozenInTheDrain,
        Scenario::Flood,
        Scenario::Descriptors,
        Scenario::Restart,
        Scenario::Exit,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Scenario::Frozen => "frozen",
            Scenario::Storm => "storm",
            Scenario::Pipelined => "pipelined",
            Scenario::Streams => "streams",
            Scenario::SlowReader => "slow-reader",
            Scenario::SlowSpeaker => "slow-speaker",
            Scenario::HalfRequest => "half-request",
            Scenario::HalfHead => "half-head",
            Scenario::Upgrade => "upgrade",
            Scenario::Websocket => "websocket",
            Scenario::Idle => "idle",
            Scenario::Silent => "silent",
            Scenario::TlsSilent => "tls-silent",
            Scenario::TlsHalfRecord => "tls-half-record",
            Scenario::CloseNotify => "close-notify",
            Scenario::Stubborn => "stubborn",
            Scenario::SecondSignal => "second-signal",
            Scenario::SignalTwiceAtOnce => "signal-twice-at-once",
            Scenario::GroupSignal => "group-signal",
            Scenario::BlockedSignal => "blocked-signal",
            Scenario::DeafLog => "deaf-log",
            Scenario::FrozenInTheDrain => "frozen-in-the-drain",
            Scenario::Flood => "flood",
            Scenario::Descriptors => "descriptors",
            Scenario::Restart => "restart",
            Scenario::Exit => "exit",
        }
    }

    /// Returns how often it is done unless told otherwise: what is left to chance more
    /// often.
    pub(crate) fn rounds(self) -> usize {
        match self {
            Scenario::Storm => 10,
            // These may take the whole budget of a stop, each time.
            Scenario::Stubborn
            | Scenario::SecondSignal
            | Scenario::DeafLog
            | Scenario::BlockedSignal
            | Scenario::Restart => 1,
            Scenario::Descriptors | Scenario::FrozenInTheDrain | Scenario::SlowSpeaker => 2,
            _ => 3,
        }
    }

    /// Returns the number of clients of each kind, unless told otherwise.
    fn connections(self) -> usize {
        match self {
            Scenario::Frozen => 50,
            Scenario::Storm | Scenario::Flood => 64,
            Scenario::Idle | Scenario::Silent | Scenario::TlsSilent => 100,
            Scenario::HalfRequest
            | Scenario::HalfHead
            | Scenario::SlowSpeaker
            | Scenario::SignalTwiceAtOnce
            | Scenario::GroupSignal
            | Scenario::FrozenInTheDrain
            | Scenario::Pipelined
            | Scenario::Streams
            | Scenario::Upgrade
            | Scenario::Websocket
            | Scenario::TlsHalfRecord
            | Scenario::CloseNotify
            | Scenario::Restart => 16,
            _ => 4,
        }
    }

    /// Says whether the scenario means something in a protocol.
    pub(crate) fn fits(self, protocol: Protocol, is_tls: bool) -> bool {
        match self {
            Scenario::Streams => protocol == Protocol::H2,
            Scenario::Upgrade | Scenario::Websocket => protocol == Protocol::Ws,
            Scenario::TlsSilent | Scenario::TlsHalfRecord | Scenario::CloseNotify => is_tls,
            Scenario::HalfHead => protocol == Protocol::Http,
            Scenario::Pipelined => !matches!(protocol, Protocol::Echo | Protocol::H2),
            Scenario::SlowReader => {
                matches!(protocol, Protocol::Echo | Protocol::Http | Protocol::H2)
            }
            _ => true,
        }
    }

    /// Says whether it is done where no scenario is named.
    pub(crate) fn is_usual(self, setup: &Setup) -> bool {
        let is_restart = self == Scenario::Restart;
        self.fits(setup.protocol, setup.model.tls.is_some())
            && (!is_restart || setup.restart.is_some())
    }

    /// Returns why it cannot be done to a server that is run in this way.
    fn obstacle(self, setup: &Setup) -> Option<String> {
        let protocol = setup.protocol;
        if !self.fits(protocol, setup.model.tls.is_some()) {
            if self.fits(protocol, true) {
                return Some("it is about TLS, and needs --tls".to_owned());
            }
            let tls = match setup.model.tls {
                Some(_) => " over TLS",
                None => "",
            };
            return Some(format!("it does not fit {protocol}{tls}"));
        }
        let is_child = matches!(setup.launch, Launch::Child { .. });
        let has_process = !matches!(setup.launch, Launch::Commands(_));
        match self {
            Scenario::Restart if setup.restart.is_none() => Some(
                "what restarts it is not known: --restart-signal or --restart-command"
                    .to_owned(),
            ),
            Scenario::BlockedSignal | Scenario::DeafLog | Scenario::GroupSignal
                if !is_child =>
            {
                Some("the server is no child of this tool".to_owned())
            }
            Scenario::Frozen
            | Scenario::FrozenInTheDrain
            | Scenario::Descriptors
            | Scenario::SecondSignal
            | Scenario::SignalTwiceAtOnce
                if !has_process =>
            {
                Some("the server's process is not known".to_owned())
            }
            _ => None,
        }
    }

    /// Runs one round, once more where the machine stood still in it: what that round has
    /// seen says nothing about the server.
    pub(crate) async fn run(
        self,
        setup: &Setup,
        rng: &mut fastrand::Rng,
    ) -> Result<RoundResult, Failure> {
        let can_repeat = !matches!(setup.launch, Launch::Attached { .. });
        let mut tries = 0;
        loop {
            tries += 1;
            let before = stall::total();
            let result = self.run_once(setup, &mut rng.clone()).await;
            let result = result.and_then(all_connected);
            if !matches!(&result, Ok(round) if round.is_lossless()) {
                Timer::after(stall::NOTICE).await;
            }
            let stood_still = stall::total().saturating_sub(before);
            if stood_still.is_zero() {
                return result;
            }
            let text = format!("the machine stood still for {stood_still:.1?} in this round");
            if tries == TRIES || !can_repeat {
                return result.map(|mut round| {
                    round.notes.push(text);
                    round
                });
            }
            log::warn!("{self}: {text}: it is repeated");
        }
    }

    /// Does one round: starts a server, loads it, stops it and looks.
    async fn run_once(
        self,
        setup: &Setup,
        rng: &mut fastrand::Rng,
    ) -> Result<RoundResult, Failure> {
        if let Some(obstacle) = self.obstacle(setup) {
            return Ok(RoundResult::skip(obstacle));
        }
        let count = setup.connections.unwrap_or(self.connections());
        let mut setup = setup.clone();
        setup.blocks_signal = self == Scenario::BlockedSignal;
        let round = &mut Round::start(&setup).await?;
        match self {
            Scenario::Frozen => frozen::run(round, count).await,
            Scenario::Storm => storm::run(round, count, rng).await,
            Scenario::Pipelined => pipelined::run(round, count).await,
            Scenario::Streams => streams::run(round, count).await,
            Scenario::SlowReader => slow_reader::run(round, count.min(16)).await,
            Scenario::SlowSpeaker => slow_speaker::run(round, count).await,
            Scenario::HalfRequest => half_request::run(round, count).await,
            Scenario::HalfHead => half_request::half_head(round, count).await,
            Scenario::Upgrade => websocket::upgrade(round, count).await,
            Scenario::Websocket => websocket::run(round, count).await,
            Scenario::Idle => idle::idle(round, count).await,
            Scenario::Silent => idle::silent(round, count).await,
            Scenario::TlsSilent => tls::silent(round, count).await,
            Scenario::TlsHalfRecord => tls::half_record(round, count).await,
            Scenario::CloseNotify => close_notify::run(round, count).await,
            Scenario::Stubborn => stubborn::run(round, count.min(64)).await,
            Scenario::SecondSignal => stubborn::second_signal(round, count.min(64)).await,
            Scenario::SignalTwiceAtOnce => half_request::signal_twice(round, count).await,
            Scenario::GroupSignal => half_request::group_signal(round, count).await,
            Scenario::BlockedSignal => exit::blocked_signal(round).await,
            Scenario::DeafLog => deaf_log::run(round).await,
            Scenario::FrozenInTheDrain => half_request::frozen_in_the_drain(round, count).await,
            Scenario::Flood => storm::flood(round, count, rng).await,
            Scenario::Descriptors => descriptors::run(round).await,
            Scenario::Restart => restart::run(round, count).await,
            Scenario::Exit => exit::run(round).await,
        }
    }
}

/// Acquits nobody of whose clients some could not connect for a fault of the tool's own.
fn all_connected(mut round: RoundResult) -> Result<RoundResult, Failure> {
    match limits::exhausted() {
        Some(problem) if round.is_lossless() => Err(Failure::Other(problem)),
        Some(problem) => {
            round.notes.push(problem);
            Ok(round)
        }
        None => Ok(round),
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for Scenario {
    type Err = String;

    fn from_str(text: &str) -> Result<Scenario, String> {
        let found = Scenario::ALL.into_iter().find(|s| s.name() == text);
        found.ok_or_else(|| {
            let names = Scenario::ALL.map(Scenario::name).join(", ");
            format!("no such scenario; there are {names}")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_leads_to_its_scenario() {
        for scenario in Scenario::ALL {
            assert_eq!(scenario.name().parse(), Ok(scenario));
        }
    }

    #[test]
    fn what_is_about_tls_says_that_it_needs_tls() {
        let obstacle = |scenario: Scenario, protocol| {
            let setup = Setup::new(Vec::new(), protocol);
            scenario.obstacle(&setup).unwrap_or_default()
        };
        for protocol in Protocol::ALL {
            let reason = obstacle(Scenario::CloseNotify, protocol);
            assert!(reason.contains("--tls"), "{reason}");
        }
        let reason = obstacle(Scenario::Websocket, Protocol::Http);
        assert_eq!(reason, "it does not fit http");
    }

    #[test]
    fn each_scenario_fits_a_protocol() {
        for scenario in Scenario::ALL {
            let fits = |protocol: &Protocol| scenario.fits(*protocol, true);
            assert!(Protocol::ALL.iter().any(fits), "{scenario}");
        }
    }
}
