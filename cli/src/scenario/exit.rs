//! What is left when the server is gone.

use std::net::TcpListener;

use crate::round::Round;
use crate::setup::Failure;
use crate::verdict::RoundResult;

pub(crate) async fn run(round: &mut Round) -> Result<RoundResult, Failure> {
    let from = round.signal()?;
    let mut result = round.settle(from, round.setup.limit).await;
    if result.stop.is_none() {
        return Ok(result);
    }
    match round.server.reap() {
        Some(status) if status.success() => {}
        Some(status) => result
            .findings
            .push(format!("it ended with {status}, and not with 0")),
        None => result
            .findings
            .push("its exit status is unknown".to_owned()),
    }
    // The finding says more than the note.
    result.notes.retain(|note| !note.starts_with("exit status"));
    if let Some(orphans) = round.server.orphans().await {
        let text = format!("processes of its group are still running: {orphans}");
        result.findings.push(text);
    }
    if let Err(error) = TcpListener::bind(round.server.address) {
        let address = round.server.address;
        let text = format!("{address} is not free again: {error}");
        result.findings.push(text);
    }
    Ok(result)
}
