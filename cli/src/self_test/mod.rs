//! The proof of the tool itself: a good server passes every scenario, and one
//! that is bad in the way that a scenario looks for is convicted of just that.

mod cases;
mod convictions;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::time::{Duration, Instant};

use futures::stream::{self, StreamExt};

use crate::args::SelfTest;
use crate::check::{dice, print};
use crate::client::Target;
use crate::client::target::OwnRequest;
use crate::client::tls::{Tls, Trust};
use crate::fixture::Fault;
use crate::progress::Progress;
use crate::scenario::Scenario;
use crate::setup::{Failure, Restart, Setup};
use crate::signal::StopSignal;
use crate::verdict::RoundResult;

use cases::{Case, value};
use convictions::Sign;

/// Only a server that never ends may ever reach a limit.
const LONG_LIMIT: Duration = Duration::from_secs(20);
const BAD_LIMIT: Duration = Duration::from_millis(700);
/// Without the flood, the sweep that has no bound would end before.
const FLOOD_LIMIT: Duration = Duration::from_secs(3);

/// Most of them wait most of the time.
const AT_A_TIME: usize = 12;

/// How often a case is tried that says nothing: the machine can have been too busy.
const TRIES: usize = 5;

/// What a good server takes when its clients are stubborn.
const GRACE: Duration = Duration::from_millis(500);

/// The grace period of a server that is frozen, which may come late on a busy machine.
const FROZEN_GRACE: Duration = Duration::from_secs(1);

/// Longer than that, so that a server finds its time spent on the thaw.
const FREEZE: Duration = Duration::from_millis(1500);

/// Longer than anything here waits.
const LONG: Duration = Duration::from_secs(60);

/// Returns whether each verdict was right.
pub(crate) async fn run(options: SelfTest) -> Result<bool, Failure> {
    let mut cases = cases::all();
    if !options.scenario.is_empty() {
        cases.retain(|case| options.scenario.contains(&case.scenario));
    }
    if !options.protocol.is_empty() {
        cases.retain(|case| options.protocol.contains(&case.protocol));
    }
    let progress = Progress::of(cases.len() as u64 * options.rounds, options.quiet);
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
            progress.print(&problem);
            wrong += 1;
        }
        progress.inc(1);
    }
    progress.finish();
    if !options.quiet {
        let verdicts = cases.len() as u64 * options.rounds;
        let seconds = begun.elapsed().as_secs_f64();
        print(&format!(
            "{verdicts} verdicts in {seconds:.1} s, {wrong} of them wrong\n"
        ))?;
    }
    Ok(wrong == 0)
}

impl Case {
    async fn run(&self, rng: &mut fastrand::Rng) -> Result<(), String> {
        let name = self.name();
        let mut tries = 0..TRIES;
        loop {
            tries.next();
            let round = self.scenario.run(&self.setup()?, rng).await;
            let round = match (round, self.sign) {
                (Err(failure), Some(Sign::Refused(text)))
                    if failure.to_string().contains(text) =>
                {
                    return Ok(());
                }
                (round, _) => round.map_err(|failure| format!("{name}: {failure}"))?,
            };
            if self.is_right(&round) {
                return Ok(());
            }
            if round.skipped.is_none() || tries.is_empty() {
                return Err(format!("{name}: the verdict is wrong: {round:#?}"));
            }
        }
    }

    fn setup(&self) -> Result<Setup, String> {
        let limit = match self.sign {
            Some(Sign::Overdue) if self.scenario == Scenario::Flood => FLOOD_LIMIT,
            Some(Sign::Overdue) => BAD_LIMIT,
            _ => LONG_LIMIT,
        };
        Ok(Setup {
            limit,
            escalation: limit,
            model: self.model()?,
            ready_timeout: LONG,
            freeze: FREEZE,
            restart: Some(Restart::Signal(StopSignal::HUP)),
            ..Setup::new(self.command()?, self.protocol)
        })
    }

    fn model(&self) -> Result<Target, String> {
        let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
        let own = self.request.and_then(|text| text.split_once(' '));
        let tls = || {
            Tls::new(
                &Trust::Anybody,
                "localhost",
                self.protocol.alpn().as_slice(),
            )
        };
        Ok(Target {
            large: Some(OwnRequest::get("/large")),
            own: own.map(|(method, path)| OwnRequest {
                method: method.to_owned(),
                path: path.to_owned(),
                body: Vec::new(),
            }),
            tls: self.is_tls.then(tls).transpose()?,
            ..Target::new(address, self.protocol)
        })
    }

    fn command(&self) -> Result<Vec<String>, String> {
        let program = std::env::current_exe()
            .map_err(|error| format!("the own program is not known: {error}"))?;
        // Only a scenario that is about the time should wait for it.
        let grace = match (self.scenario, self.fault) {
            (Scenario::Stubborn | Scenario::DeafLog, Fault::None) => GRACE,
            (Scenario::FrozenInTheDrain, _) => FROZEN_GRACE,
            _ => LONG,
        };
        let mut words = vec![
            program.to_string_lossy().into_owned(),
            "fixture".to_owned(),
            value(self.fault),
            "--listen".to_owned(),
            "{addr}".to_owned(),
            "--protocol".to_owned(),
            self.protocol.to_string(),
            "--dialect".to_owned(),
            value(self.dialect),
            "--grace".to_owned(),
            humantime::format_duration(grace).to_string(),
        ];
        if self.is_tls {
            words.push("--tls".to_owned());
        }
        if self.greets {
            words.push("--greets".to_owned());
        }
        if self.hands_over {
            words.push("--hands-over".to_owned());
        }
        if self.scenario == Scenario::GroupSignal || self.fault == Fault::MasterFirst {
            words.push("--wrapped".to_owned());
        }
        Ok(words)
    }

    fn is_right(&self, round: &RoundResult) -> bool {
        let is_convicted = !round.is_lossless() && round.skipped.is_none();
        let Some(sign) = self.sign else {
            let has_note = |text: &str| round.notes.iter().any(|note| note.contains(text));
            return round.is_lossless()
                && round.skipped.is_none()
                && self.note.is_none_or(has_note);
        };
        is_convicted
            && match sign {
                Sign::Lost => round.messages_lost > 0,
                Sign::AllLost(count) => round.messages_lost == count,
                Sign::Reset => round.connections_lost > 0 && round.resets > 0,
                Sign::LostOrReset | Sign::Noticed => round.connections_lost > 0,
                Sign::Overdue => round.stop.is_none(),
                Sign::Found(text) => {
                    round.findings.iter().any(|f| f.to_string().contains(text))
                }
                Sign::Refused(_) => false,
            }
    }
}
