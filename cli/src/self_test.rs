//! The proof of the tool itself: a good server passes every scenario, and one
//! that is bad in the way that a scenario looks for is convicted of just that.

use std::pin::pin;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use futures::stream::{self, StreamExt};

use crate::args::SelfTest;
use crate::check::{bar, dice, print};
use crate::fixture::Fault;
use crate::scenario::Scenario;
use crate::setup::{Failure, Protocol, Setup};
use crate::verdict::RoundResult;

/// What a bad server must be convicted of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sign {
    Lost,
    Reset,
    /// One or the other: which is a matter of microseconds.
    LostOrReset,
    Overdue,
    Found(&'static str),
}

struct Case {
    scenario: Scenario,
    protocol: Protocol,
    fault: Fault,
    sign: Option<Sign>,
}

/// Only who never ends may ever reach a limit.
const LONG_LIMIT: Duration = Duration::from_secs(20);
const BAD_LIMIT: Duration = Duration::from_millis(700);
/// Without the flood, the sweep that has no bound would end before.
const FLOOD_LIMIT: Duration = Duration::from_secs(3);

/// Most of them wait most of the time.
const AT_A_TIME: usize = 3;

/// What a good server takes when its clients are stubborn.
const GRACE: Duration = Duration::from_millis(500);

/// Longer than anything here waits.
const LONG: Duration = Duration::from_secs(60);

const BAD: [(Scenario, Fault, Sign); 14] = [
    (Scenario::Frozen, Fault::NoSweep, Sign::Reset),
    (Scenario::Frozen, Fault::StopFirst, Sign::Lost),
    (Scenario::Storm, Fault::Abrupt, Sign::LostOrReset),
    (Scenario::SlowReader, Fault::Resets, Sign::Reset),
    (Scenario::HalfRequest, Fault::Resets, Sign::Reset),
    (Scenario::HalfRequest, Fault::DropsHalf, Sign::Lost),
    (Scenario::Idle, Fault::KeepsIdle, Sign::Overdue),
    (Scenario::Silent, Fault::KeepsSilent, Sign::Overdue),
    (Scenario::Stubborn, Fault::NoDeadline, Sign::Overdue),
    (
        Scenario::SecondSignal,
        Fault::IgnoresSecondSignal,
        Sign::Overdue,
    ),
    (Scenario::Flood, Fault::EndlessSweep, Sign::Overdue),
    (Scenario::Descriptors, Fault::Spins, Sign::Found("it spins")),
    (Scenario::Descriptors, Fault::AcceptEnds, Sign::Lost),
    (Scenario::Exit, Fault::Status, Sign::Found("and not with 0")),
];

/// Whether each verdict was right.
pub(crate) async fn run(options: SelfTest) -> Result<bool, Failure> {
    let mut cases = cases();
    if !options.scenario.is_empty() {
        cases.retain(|case| options.scenario.contains(&case.scenario));
    }
    let bar = bar(cases.len() as u64 * options.rounds, options.quiet);
    let begun = Instant::now();
    let work =
        (0..options.rounds).flat_map(|round| cases.iter().map(move |case| (round, case)));
    let verdicts = stream::iter(work).map(|(round, case)| async move {
        let dice = &mut dice(0, usize::try_from(round).unwrap_or_default());
        let verdict = case.run(dice).await;
        verdict.map_err(|problem| format!("round {}: {problem}", round + 1))
    });
    let mut verdicts = pin!(verdicts.buffer_unordered(AT_A_TIME));
    let mut wrong = 0;
    while let Some(verdict) = verdicts.next().await {
        if let Err(problem) = verdict {
            bar.suspend(|| eprintln!("{problem}"));
            wrong += 1;
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    if !options.quiet {
        let verdicts = cases.len() as u64 * options.rounds;
        let seconds = begun.elapsed().as_secs_f64();
        print(&format!(
            "{verdicts} verdicts in {seconds:.1} s, {wrong} of them wrong\n"
        ))?;
    }
    Ok(wrong == 0)
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for protocol in [Protocol::Echo, Protocol::Http] {
        for scenario in Scenario::ALL {
            cases.push(Case {
                scenario,
                protocol,
                fault: Fault::None,
                sign: None,
            });
        }
        let orphan = (Scenario::Exit, Fault::Orphan, Sign::Found("still running"));
        for (scenario, fault, sign) in BAD.into_iter().chain([orphan]) {
            // Half an echo message is a message: there is nothing to drop.
            if (protocol, fault) == (Protocol::Echo, Fault::DropsHalf) {
                continue;
            }
            cases.push(Case {
                scenario,
                protocol,
                fault,
                sign: Some(sign),
            });
        }
    }
    cases
}

impl Case {
    async fn run(&self, rng: &mut fastrand::Rng) -> Result<(), String> {
        let name = self.name();
        let round = self.scenario.run(&self.setup()?, rng).await;
        let round = round.map_err(|failure| format!("{name}: {failure}"))?;
        match self.is_right(&round) {
            true => Ok(()),
            false => Err(format!("{name}: the verdict is wrong: {round:#?}")),
        }
    }

    fn name(&self) -> String {
        let Case {
            scenario, protocol, ..
        } = self;
        format!("{scenario}, {protocol}, fault: {}", self.fault_name())
    }

    fn fault_name(&self) -> String {
        let value = self.fault.to_possible_value();
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    }

    fn setup(&self) -> Result<Setup, String> {
        let program = std::env::current_exe()
            .map_err(|error| format!("the own program is not known: {error}"))?;
        // Only the scenario that is about the time should wait for it.
        let grace = match (self.scenario, self.fault) {
            (Scenario::Stubborn, Fault::None) => GRACE,
            _ => LONG,
        };
        let words = [
            &program.to_string_lossy(),
            "fixture",
            &self.fault_name(),
            "--listen",
            "{addr}",
            "--protocol",
            &self.protocol.to_string(),
            "--grace",
            &humantime::format_duration(grace).to_string(),
        ];
        let limit = match self.sign {
            Some(Sign::Overdue) if self.scenario == Scenario::Flood => FLOOD_LIMIT,
            Some(Sign::Overdue) => BAD_LIMIT,
            _ => LONG_LIMIT,
        };
        Ok(Setup {
            limit,
            escalation: limit,
            large_path: Some("/large".to_owned()),
            ready_timeout: LONG,
            ..Setup::new(words.map(str::to_owned).to_vec(), self.protocol)
        })
    }

    fn is_right(&self, round: &RoundResult) -> bool {
        let is_convicted = !round.is_lossless() && round.skipped.is_none();
        match self.sign {
            None => round.is_lossless() && round.skipped.is_none(),
            Some(Sign::Lost) => is_convicted && round.messages_lost > 0,
            Some(Sign::Reset) => is_convicted && round.connections_lost > 0 && round.resets > 0,
            Some(Sign::LostOrReset) => is_convicted && round.connections_lost > 0,
            Some(Sign::Overdue) => is_convicted && round.stop.is_none(),
            Some(Sign::Found(text)) => {
                is_convicted && round.findings.iter().any(|finding| finding.contains(text))
            }
        }
    }
}
