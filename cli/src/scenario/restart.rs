//! The server is told to replace itself under load: no client may notice.

use std::process::Stdio;
use std::time::{Duration, Instant};

use smol::Timer;

use crate::client::{ConnectionJournal, End};
use crate::latch::Latch;
use crate::round::Round;
use crate::scenario::storm;
use crate::server::{self, adopted, death_signal, is_served};
use crate::setup::{Failure, Restart};
use crate::verdict::{Finding, LossKind, RoundResult, tell};

/// How long clients go on once the restart has begun.
const AFTERWARDS: Duration = Duration::from_secs(3);

/// A server under load gives an answer in this time.
const ALIVE: Duration = Duration::from_millis(500);

/// How long a client waits for its last answer.
const PATIENCE: Duration = Duration::from_secs(5);

pub(crate) async fn run(round: &mut Round, count: usize) -> Result<RoundResult, Failure> {
    let (halt_sender, halt) = Latch::new();
    storm::enter_until(round, count, &halt);
    round.all_answered().await?;
    round.next_answer().await;
    let moment = Instant::now();
    restart(round)?;
    Timer::after(AFTERWARDS).await;
    if let Some(problem) = not_restarted(round) {
        drop(halt_sender);
        return Ok(only(problem, moment, round).await);
    }
    let answers = round.answers();
    Timer::after(ALIVE).await;
    let is_serving = round.answers() > answers;
    drop(halt_sender);
    let mut result = RoundResult::default();
    for (id, kind, client) in round.halt(PATIENCE).await {
        result.exchanges += client.answered + client.current.answered;
        for connection in client.past.iter().chain([&client.current]) {
            if let Some(problem) = noticed(connection, moment) {
                result.connections_lost += 1;
                result.resets += usize::from(connection.end == End::Reset);
                let loss = match &connection.end {
                    End::Refused(_) => LossKind::Refused,
                    _ if connection.unanswered.is_empty() => LossKind::Reset,
                    _ => LossKind::Lost,
                };
                let story = tell(id, kind, connection, moment);
                result.losses.add(loss, format!("{problem}: {story}"));
            }
        }
    }
    if is_serving {
        round.follow(&mut result).await?;
    } else {
        let mut problem = "it answers nobody three seconds after the restart".to_owned();
        if let Some(elsewhere) = round.server.elsewhere().first() {
            problem += &format!(", and listens on {elsewhere}");
        }
        result.convict(problem);
        if round.server.has_ended() {
            round.judge_status(&mut result, true);
            let ended = round.server.ended().await;
            result.stop = Some(ended.saturating_duration_since(moment));
            return Ok(result);
        }
    }
    let from = round.stop()?;
    let stopped = round.settle(from, round.setup.limit).await?;
    result.stop = stopped.stop;
    result.findings.extend(stopped.findings);
    result.notes.extend(stopped.notes);
    Ok(result)
}

/// Returns what is to be said of a server that has ended, with nothing in its place. What
/// its clients lost then says no more.
fn not_restarted(round: &mut Round) -> Option<String> {
    let server = &mut round.server;
    if !server.has_ended() || is_served(server.address) {
        return None;
    }
    let status = server.status();
    if status.and_then(server::crash).is_some() {
        return None;
    }
    let (what, signal, this) = match &round.setup.restart {
        Some(Restart::Signal(signal)) => (signal.to_string(), Some(signal.number()), "signal"),
        _ => ("the restart command".to_owned(), None, "command"),
    };
    let how = match status {
        Some(status) if signal.is_some() && death_signal(status) == signal => {
            format!("the server was ended by {what}")
        }
        Some(status) => format!("the server ended on {what} ({status})"),
        None => format!("the server ended on {what}"),
    };
    Some(format!(
        "{how}: it does not restart on this {this}, and nothing listens any more; say what \
         restarts it with --restart-signal or --restart-command"
    ))
}

/// Returns a round in which the server has ended, and `problem` is all that is told.
async fn only(problem: String, moment: Instant, round: &mut Round) -> RoundResult {
    let ended = round.server.ended().await;
    let clients = round.halt(PATIENCE).await.into_iter();
    RoundResult {
        exchanges: clients
            .map(|(_, _, c)| c.answered + c.current.answered)
            .sum(),
        stop: Some(ended.saturating_duration_since(moment)),
        findings: vec![Finding::of_server(problem)],
        ..RoundResult::default()
    }
}

fn restart(round: &Round) -> Result<(), Failure> {
    match &round.setup.restart {
        Some(Restart::Signal(signal)) => round.server.send(*signal),
        Some(Restart::Command(text)) => {
            let pid = round.server.main_process().unwrap_or_default();
            let text = text.replace("{pid}", &pid.to_string());
            let failed =
                |error| Failure::Other(format!("cannot run the restart command: {error}"));
            let mut command = std::process::Command::new("sh");
            command
                .args(["-c", &text])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .env("LAMEDUCK_ADDR", round.server.address.to_string());
            let status = adopted::spawn(&mut command).and_then(|mut child| child.wait());
            let status = status.map_err(failed)?;
            match status.success() {
                true => Ok(()),
                false => Err(Failure::Other(format!(
                    "the restart command failed: {status}"
                ))),
            }
        }
        None => Err(Failure::Other("nothing restarts it".to_owned())),
    }
}

/// Returns what a client noticed of a restart, if it noticed anything.
pub(crate) fn noticed(connection: &ConnectionJournal, moment: Instant) -> Option<String> {
    match &connection.end {
        End::Refused(_) if connection.begun >= moment => {
            return Some("it was refused".to_owned());
        }
        End::Left | End::Open | End::Refused(_) => return None,
        // It is not the restart's doing.
        _ if connection.ended.is_some_and(|ended| ended < moment) => return None,
        _ => {}
    }
    let is_reused = connection.closes_idle && connection.answered > 0;
    for message in &connection.unanswered {
        if connection.announced.is_some() && message.received == 0 {
            continue;
        }
        // A request that crosses the end of an idle connection may be repeated
        // (RFC 9112 section 9.3.1).
        let crossed = message.written.is_none_or(|written| written > moment);
        if is_reused && crossed && message.received == 0 && message.problem.is_none() {
            continue;
        }
        let problem = message.problem.clone();
        return Some(problem.unwrap_or_else(|| "its request was not answered".to_owned()));
    }
    let is_reset = connection.end == End::Reset && connection.unanswered.is_empty();
    is_reset.then(|| "its connection was reset".to_owned())
}
