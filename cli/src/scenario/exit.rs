//! What is left when the server is gone.

use std::net::TcpListener;
use std::process::ExitStatus;

use crate::round::{Round, ended_with};
use crate::server::death_signal;
use crate::setup::Failure;
use crate::verdict::RoundResult;

pub(crate) async fn run(round: &mut Round) -> Result<RoundResult, Failure> {
    let from = round.stop()?;
    let mut result = round.settle(from, round.setup.limit).await?;
    if result.stop.is_none() {
        return Ok(result);
    }
    if round.server.main_process().is_some() {
        judge_status(round, &mut result);
    }
    if let Some(orphans) = round.server.orphans().await {
        let text = format!("processes of its group are still running: {orphans}");
        result.convict(text);
    }
    // They may have been started to live on.
    if let Some(detached) = round.server.detached().await {
        let text = format!("what it started outside of its group is still running: {detached}");
        result.notes.push(text);
    }
    if let Err(error) = TcpListener::bind(round.server.address) {
        let address = round.server.address;
        let text = format!("{address} is not free again: {error}");
        result.convict(text);
    }
    Ok(result)
}

/// A server that dies of the very signal that stopped it has done its work, if nothing
/// was lost: many restore the signal's default and send it to themselves.
fn judge_status(round: &mut Round, result: &mut RoundResult) {
    let Some(status) = round.server.status() else {
        result.notes.push("its exit status is not known".to_owned());
        return;
    };
    // A finding says more than the note.
    let ended = ended_with(status);
    result.notes.retain(|note| *note != ended);
    if is_good(status, &round.setup.exit_statuses) {
        return;
    }
    let wanted: Vec<String> = round
        .setup
        .exit_statuses
        .iter()
        .map(i32::to_string)
        .collect();
    let wanted = wanted.join(" or ");
    match death_signal(status) {
        Some(number) if number == round.setup.signal.number() => {
            result.notes.push(format!(
                "{ended}, by the very signal that stopped it, and not with \
                 {wanted}: say --exit-status if that is meant"
            ));
        }
        _ => result.convict(format!("{ended}, and not with {wanted}")),
    }
}

fn is_good(status: ExitStatus, wanted: &[i32]) -> bool {
    let by_signal = death_signal(status).map(|number| 128 + number);
    let code = status.code().or(by_signal);
    code.is_some_and(|code| wanted.contains(&code))
}

/// The server was started with the signal blocked, and must stop all the same (F55).
pub(crate) async fn blocked_signal(round: &mut Round) -> Result<RoundResult, Failure> {
    let from = round.stop()?;
    round
        .settle(from, round.setup.limit.min(BLOCKED_LIMIT))
        .await
}

/// A server that has not seen its signal by then will not see it.
const BLOCKED_LIMIT: std::time::Duration = std::time::Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    #[test]
    fn a_death_by_signal_counts_as_128_and_its_number() {
        let killed = ExitStatus::from_raw(15);
        let exited = ExitStatus::from_raw(143 << 8);
        for status in [killed, exited] {
            assert_eq!(death_signal(status), Some(15));
            assert!(is_good(status, &[0, 143]));
            assert!(!is_good(status, &[0]));
        }
        assert_eq!(death_signal(ExitStatus::from_raw(1 << 8)), None);
    }
}
