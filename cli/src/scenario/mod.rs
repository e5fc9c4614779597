//! The ways in which stops go wrong, and how each is provoked.

mod descriptors;
mod exit;
mod frozen;
mod half_request;
mod idle;
mod slow_reader;
mod storm;
mod stubborn;
mod text;

use std::fmt;

use clap::ValueEnum;
use serde::Deserialize;

use crate::round::Round;
use crate::setup::{Failure, Setup};
use crate::verdict::RoundResult;

/// One way of loading and stopping a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Scenario {
    Frozen,
    Storm,
    SlowReader,
    HalfRequest,
    Idle,
    Silent,
    Stubborn,
    SecondSignal,
    Flood,
    Descriptors,
    Exit,
}

impl Scenario {
    pub(crate) const ALL: [Scenario; 11] = [
        Scenario::Frozen,
        Scenario::Storm,
        Scenario::SlowReader,
        Scenario::HalfRequest,
        Scenario::Idle,
        Scenario::Silent,
        Scenario::Stubborn,
        Scenario::SecondSignal,
        Scenario::Flood,
        Scenario::Descriptors,
        Scenario::Exit,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Scenario::Frozen => "frozen",
            Scenario::Storm => "storm",
            Scenario::SlowReader => "slow-reader",
            Scenario::HalfRequest => "half-request",
            Scenario::Idle => "idle",
            Scenario::Silent => "silent",
            Scenario::Stubborn => "stubborn",
            Scenario::SecondSignal => "second-signal",
            Scenario::Flood => "flood",
            Scenario::Descriptors => "descriptors",
            Scenario::Exit => "exit",
        }
    }

    /// How often it is done unless told otherwise: what is left to chance more often.
    pub(crate) fn rounds(self) -> usize {
        match self {
            Scenario::Storm => 10,
            // These may take the whole budget of a stop, each time.
            Scenario::Stubborn | Scenario::SecondSignal => 1,
            Scenario::Descriptors => 2,
            _ => 3,
        }
    }

    /// Clients of each kind, unless told otherwise.
    fn connections(self) -> usize {
        match self {
            Scenario::Frozen => 50,
            Scenario::Storm | Scenario::Flood => 64,
            Scenario::Idle | Scenario::Silent => 100,
            Scenario::HalfRequest => 16,
            _ => 4,
        }
    }

    /// One round: starts a server, loads it, stops it and looks.
    pub(crate) async fn run(
        self,
        setup: &Setup,
        rng: &mut fastrand::Rng,
    ) -> Result<RoundResult, Failure> {
        let count = setup.connections.unwrap_or(self.connections());
        let mut round = Round::start(setup).await?;
        match self {
            Scenario::Frozen => frozen::run(&mut round, count).await,
            Scenario::Storm => storm::run(&mut round, count, rng).await,
            Scenario::SlowReader => slow_reader::run(&mut round, count.min(16)).await,
            Scenario::HalfRequest => half_request::run(&mut round, count).await,
            Scenario::Idle => idle::idle(&mut round, count).await,
            Scenario::Silent => idle::silent(&mut round, count).await,
            Scenario::Stubborn => stubborn::run(&mut round, count.min(64)).await,
            Scenario::SecondSignal => stubborn::second_signal(&mut round, count.min(64)).await,
            Scenario::Flood => storm::flood(&mut round, count, rng).await,
            Scenario::Descriptors => descriptors::run(&mut round).await,
            Scenario::Exit => exit::run(&mut round).await,
        }
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
}
