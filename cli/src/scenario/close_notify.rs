//! Over TLS, an orderly end is a close_notify and then the end (RFC 8446 section 6.1).

use crate::client::{End, Journal};
use crate::round::Round;
use crate::setup::Failure;
use crate::verdict::RoundResult;

pub(crate) async fn run(round: &mut Round, count: usize) -> Result<RoundResult, Failure> {
    let mut clients = round.served("idle", count).await?;
    if clients.is_empty() {
        clients = round.opened("connected", count).await?;
    }
    let journals: Vec<Journal> = clients.iter().map(|c| c.journal.clone()).collect();
    for client in clients {
        round.spawn_until_end(client);
    }
    let from = round.stop()?;
    let mut result = round.settle(from, round.setup.limit).await?;
    let without = journals.iter().filter(|journal| {
        let current = &journal.lock().current;
        current.end == End::Fin && current.close_notify == Some(false)
    });
    let (without, all) = (without.count(), journals.len());
    if without > 0 {
        result.convict(format!(
            "{without} of {all} connections ended without a close_notify, so their clients \
             cannot tell the end from an attack (RFC 8446 section 6.1)"
        ));
    }
    Ok(result)
}
