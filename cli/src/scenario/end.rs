//! What is left when the server is gone.

use std::net::TcpListener;

use crate::bench::Bench;
use crate::setup::Failure;
use crate::verdict::Round;

pub(crate) async fn run(bench: &mut Bench) -> Result<Round, Failure> {
    let from = bench.signal()?;
    let mut round = bench.settle(from, bench.setup.limit).await;
    if round.stop.is_none() {
        return Ok(round);
    }
    match bench.server.reap() {
        Some(status) if status.success() => {}
        Some(status) => round
            .findings
            .push(format!("it ended with {status}, and not with 0")),
        None => round.findings.push("its exit status is unknown".to_owned()),
    }
    // The finding says more than the note.
    round.notes.retain(|note| !note.starts_with("exit status"));
    if let Some(orphans) = bench.server.orphans().await {
        let text = format!("processes of its group are still running: {orphans}");
        round.findings.push(text);
    }
    if let Err(error) = TcpListener::bind(bench.server.address) {
        let address = bench.server.address;
        let text = format!("{address} is not free again: {error}");
        round.findings.push(text);
    }
    Ok(round)
}
