//! The facts of one client, in words: for pointers, keyboards and screen readers.

use crate::trace::{TracedClient, TracedConnection, TracedEnd, TracedKind, TracedLoss};

/// Everything that is worth knowing of a client, in a few sentences.
pub(super) fn client_facts(client: &TracedClient) -> String {
    let mut text = format!("Client {}, {}", client.client, client.kind);
    let told = client.connections.iter().rev();
    let is_bad = |c: &&TracedConnection| c.is_lost || c.is_hung || !c.lost.is_empty();
    let Some(connection) = told.clone().find(is_bad).or_else(|| told.clone().next()) else {
        return text;
    };
    match client.connections.len() {
        0 | 1 => {}
        many => text += &format!(", {many} connections; of the one that tells most"),
    }
    text += &format!(": {}.", connection_facts(connection));
    if client.has_loss() {
        text += match (connection.lost.is_empty(), connection.is_hung) {
            (false, _) => " Lost.",
            (true, true) => " It saw no end.",
            (true, false) => " The connection was lost.",
        };
    }
    text
}

fn connection_facts(connection: &TracedConnection) -> String {
    let mut parts = Vec::new();
    if let Some(at) = connection.connected_seconds {
        let from = connection.from.map(|from| format!(" from {from}"));
        parts.push(format!(
            "connected{} {}",
            from.unwrap_or_default(),
            moment(at)
        ));
    }
    let answered = connection
        .events
        .iter()
        .filter(|event| event.kind == TracedKind::Answered)
        .count();
    if answered > 0 {
        let at_least = match connection.events_dropped {
            0 => "",
            _ => "at least ",
        };
        let word = if answered == 1 { "answer" } else { "answers" };
        parts.push(format!("{at_least}{answered} {word}"));
    }
    parts.extend(connection.lost.iter().take(3).map(loss));
    if !connection.is_ignored {
        parts.push(end(connection));
    } else {
        parts.push("then it does nothing, and does not close".to_owned());
    }
    parts.join("; ")
}

/// A message that was lost.
pub(super) fn loss(loss: &TracedLoss) -> String {
    let sent = match loss.sent_seconds {
        Some(at) => format!("sent {}", moment(at)),
        None => "never sent in full".to_owned(),
    };
    let answer = match (&loss.problem, loss.received_bytes) {
        (Some(problem), _) => problem.clone(),
        (None, 0) => "no answer".to_owned(),
        (None, n) => format!("only {n} bytes of its answer"),
    };
    format!("{} {sent}, {answer}", loss.label)
}

/// How a connection ended.
pub(super) fn end(connection: &TracedConnection) -> String {
    let problem = connection.problem.as_deref();
    let end = match connection.end {
        TracedEnd::None => "no end".to_owned(),
        TracedEnd::Orderly => "an orderly end".to_owned(),
        TracedEnd::Reset => "a reset".to_owned(),
        TracedEnd::ClientLeft => "the client left".to_owned(),
        TracedEnd::Refused => format!("refused ({})", problem.unwrap_or("no connection")),
        TracedEnd::WrongAnswer => {
            format!("a wrong answer ({})", problem.unwrap_or("not the one owed"))
        }
    };
    match connection.ended_seconds {
        Some(at) => format!("{end} {}", moment(at)),
        None => end,
    }
}

/// A moment, seen from the signal.
fn moment(seconds: f64) -> String {
    let side = match seconds < 0.0 {
        true => "before",
        false => "after",
    };
    format!("{} {side} the signal", duration(seconds.abs()))
}

/// A length of time with the digits that it is worth.
pub(super) fn duration(seconds: f64) -> String {
    match seconds {
        _ if seconds < 0.01 => format!("{:.3} ms", seconds * 1000.0),
        _ if seconds < 1.0 => format!("{:.1} ms", seconds * 1000.0),
        _ => format!("{seconds:.2} s"),
    }
}
