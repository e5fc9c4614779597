//! The picture of one round: a row for each client.

use maud::{Markup, html};

use super::facts::{self, client_facts};
use super::scale::{Layout, Scale};
use crate::trace::{Trace, TracedClient, TracedConnection, TracedEnd, TracedKind};

/// The width of all pictures; they grow and shrink with the page.
pub(super) const WIDTH: f64 = 1000.0;
const LEFT: f64 = 172.0;
const RIGHT: f64 = 975.0;
const TOP: f64 = 34.0;
const ROW: f64 = 17.0;
const FOOT: f64 = 30.0;

/// Rows of one picture: the clients that lost something come first.
const ROWS: usize = 32;

/// Exchanges that are drawn on one row.
const EXCHANGES: usize = 60;

/// Connections that are drawn on one row.
const CONNECTIONS: usize = 24;

/// A picture, and what to say of the clients that are not in it.
pub(super) fn draw(scenario: &str, trace: &Trace, signal: &str) -> Markup {
    let clients = chosen(trace);
    let scale = scale(trace, &clients);
    let height = TOP + ROW * clients.len() as f64 + FOOT;
    let title = format!("{scenario}-picture");
    html! {
        figure.timeline {
            svg viewBox=(format!("0 0 {WIDTH} {height}")) role="group" aria-labelledby=(title) {
                title id=(title) {
                    "Round " (trace.round) " of " (scenario) ": " (clients.len())
                    " clients, each in a row; time runs from left to right"
                }
                (axis(&scale, height))
                @for (row, client) in clients.iter().enumerate() {
                    (lane(client, row, &scale))
                }
                (instant(&scale, 0.0, signal, "signal", height))
                @if let Some(stop) = trace.stop_seconds {
                    (instant(&scale, stop, "server gone", "gone", height))
                }
            }
            p.facts aria-live="polite" {
                "Point at a row, or walk through the rows with the arrow keys."
            }
            figcaption {
                "Round " (trace.round) ". Time is logarithmic to both sides of the signal."
                (undrawn(trace, &clients))
            }
        }
    }
}

/// What is to be said of the clients that have no row.
fn undrawn(trace: &Trace, clients: &[&TracedClient]) -> String {
    let left_out = trace.clients.len() - clients.len();
    let bad = trace
        .clients
        .iter()
        .filter(|client| client.has_loss())
        .count();
    let drawn = clients.iter().filter(|client| client.has_loss()).count();
    match (left_out, bad - drawn) {
        (0, _) => String::new(),
        (n, 0) => format!(" {n} more clients are not drawn: they lost nothing."),
        (n, lost) => format!(" {n} more clients are not drawn: {lost} of them lost something."),
    }
}

/// Those that lost something, then the others; a few of each kind, and not the
/// first kind alone.
fn chosen(trace: &Trace) -> Vec<&TracedClient> {
    let (bad, good): (Vec<_>, Vec<_>) = trace.clients.iter().partition(|c| c.has_loss());
    // Some that went well beside those that did not: the difference tells most.
    let room = ROWS - good.len().min(ROWS / 4);
    let mut chosen = of_each_kind(&bad, room);
    chosen.extend(of_each_kind(&good, ROWS - chosen.len()));
    chosen
}

/// So many clients, taken from the kinds in turns, and in their own order.
fn of_each_kind<'a>(clients: &[&'a TracedClient], room: usize) -> Vec<&'a TracedClient> {
    let mut seen: Vec<(&str, usize)> = Vec::new();
    let mut ranked: Vec<(usize, usize, &TracedClient)> = Vec::new();
    for (place, client) in clients.iter().enumerate() {
        let kind = client.kind.as_str();
        let rank = match seen.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, count)) => {
                *count += 1;
                *count
            }
            None => {
                seen.push((kind, 0));
                0
            }
        };
        ranked.push((rank, place, client));
    }
    ranked.sort_by_key(|(rank, place, _)| (*rank, *place));
    ranked.truncate(room);
    ranked.sort_by_key(|(_, place, _)| *place);
    ranked.into_iter().map(|(_, _, client)| client).collect()
}

fn scale(trace: &Trace, clients: &[&TracedClient]) -> Scale {
    let connections = || clients.iter().flat_map(|client| drawn(client));
    let first = connections()
        .map(|c| c.begun_seconds)
        .fold(-0.002, f64::min);
    let ends = connections().filter_map(|c| c.ended_seconds);
    let events = connections().filter_map(|c| Some(c.events.last()?.seconds));
    let last = ends
        .chain(events)
        .chain(trace.stop_seconds)
        .fold(0.002, f64::max);
    Scale::new(Layout::AroundOrigin, (first, last * 1.6), (LEFT, RIGHT))
}

fn axis(scale: &Scale, height: f64) -> Markup {
    let bottom = height - FOOT + 4.0;
    html! {
        g.axis aria-hidden="true" {
            @for tick in scale.ticks() {
                @let x = place(scale.x(tick.seconds));
                line x1=(x) x2=(x) y1=(TOP - 4.0) y2=(bottom) data-seconds=(tick.seconds) {}
                text x=(x) y=(bottom + 16.0) text-anchor="middle" { (tick.label) }
            }
        }
    }
}

/// A moment that all rows have in common.
fn instant(scale: &Scale, seconds: f64, name: &str, class: &str, height: f64) -> Markup {
    let x = scale.x(seconds);
    let (anchor, shift) = match x > RIGHT - 90.0 {
        true => ("end", -5.0),
        false => ("start", 5.0),
    };
    // The two names are at different heights: the moments may be close.
    let y = if class == "signal" { 11.0 } else { 25.0 };
    let label = match seconds {
        // A command that stops the server can be long.
        0.0 => short(name),
        _ => format!("{name} {}", facts::duration(seconds)),
    };
    html! {
        g class={ "instant " (class) } {
            line x1=(place(x)) x2=(place(x)) y1=(y - 8.0) y2=(height - FOOT + 4.0)
                data-seconds=(seconds) {}
            text x=(place(x + shift)) y=(y) text-anchor=(anchor) { (label) }
        }
    }
}

/// The connections of a client that have room on its row.
fn drawn(client: &TracedClient) -> impl Iterator<Item = &TracedConnection> {
    let many = client.connections.len();
    client
        .connections
        .iter()
        .enumerate()
        .filter(move |(n, connection)| {
            n + CONNECTIONS >= many || connection.is_lost || !connection.lost.is_empty()
        })
        .map(|(_, connection)| connection)
}

fn lane(client: &TracedClient, row: usize, scale: &Scale) -> Markup {
    let y = TOP + ROW * row as f64;
    let middle = y + ROW / 2.0;
    let facts = client_facts(client);
    // One row takes part in the tab order; arrow keys lead to the others.
    let index = if row == 0 { "0" } else { "-1" };
    let class = match client.has_loss() {
        true => "lane has-loss",
        false => "lane",
    };
    html! {
        g class=(class) tabindex=(index) role="img" aria-label=(facts) data-client=(client.client) {
            title { (facts) }
            rect.hit x="0" y=(y) width=(WIDTH) height=(ROW) {}
            text.name x=(LEFT - 10.0) y=(middle + 3.5) text-anchor="end" {
                (short(&client.kind)) " " (client.client)
            }
            @for connection in drawn(client) {
                (connection_marks(connection, middle, scale))
            }
        }
    }
}

fn connection_marks(connection: &TracedConnection, y: f64, scale: &Scale) -> Markup {
    let begun = scale.x(connection.begun_seconds);
    let connected = connection.connected_seconds.map(|at| scale.x(at));
    let end_seconds = connection.ended_seconds.unwrap_or(scale.to());
    // A client that only stands in the way is there until the end.
    let end = match connection.is_ignored {
        true => scale.x(scale.to()),
        false => scale.x(end_seconds),
    };
    let exchanges = Exchanges::of(connection);
    html! {
        @if let Some(connected) = connected {
            path.handshake d=(stroke(begun, connected, y)) {}
            path.open d=(stroke(connected, end, y)) {}
            circle.connected cx=(place(connected)) cy=(y) r="2.2" {}
        } @else {
            path.handshake d=(stroke(begun, end, y)) {}
        }
        @if !exchanges.answered.is_empty() {
            path.answered d=(exchanges.path(scale, y)) {}
        }
        @for sent in &exchanges.unanswered {
            path.unanswered d=(stroke(scale.x(*sent), end, y)) {}
        }
        @for loss in &connection.lost {
            @let sent = loss.sent_seconds.unwrap_or(connection.begun_seconds);
            g.loss data-seconds=(sent) data-end=(end_seconds) {
                title { (facts::loss(loss)) }
                path d=(stroke(scale.x(sent), end, y)) {}
                circle cx=(place(scale.x(sent))) cy=(y) r="3" {}
            }
        }
        @if !connection.is_ignored {
            (end_mark(connection, end, y))
        }
    }
}

fn end_mark(connection: &TracedConnection, x: f64, y: f64) -> Markup {
    let cross = format!("M{} {}l8 8m0 -8l-8 8", place(x - 4.0), place(y - 4.0));
    let title = facts::end(connection);
    html! {
        @match connection.end {
            TracedEnd::Orderly => {
                path.end.orderly d=(format!("M{} {}v10", place(x), place(y - 5.0))) {
                    title { (title) }
                }
            }
            TracedEnd::Reset => path.end.reset d=(cross) { title { (title) } },
            TracedEnd::WrongAnswer => path.end.wrong d=(cross) { title { (title) } },
            TracedEnd::Refused => {
                circle.end.refused cx=(place(x)) cy=(y) r="3.2" { title { (title) } }
            }
            TracedEnd::ClientLeft => {
                circle.end.left cx=(place(x)) cy=(y) r="1.6" { title { (title) } }
            }
            TracedEnd::None => {
                path.end.hung d=(format!("M{} {}l6 5l-6 5", place(x - 6.0), place(y - 5.0))) {
                    title { (title) }
                }
            }
        }
    }
}

/// Requests and their answers.
struct Exchanges {
    answered: Vec<(f64, f64)>,
    /// Sent, without an answer, and no loss.
    unanswered: Vec<f64>,
}

impl Exchanges {
    fn of(connection: &TracedConnection) -> Exchanges {
        let mut waiting = std::collections::VecDeque::new();
        let mut answered = Vec::new();
        for event in &connection.events {
            match event.kind {
                TracedKind::Sent => waiting.push_back(event.seconds),
                // An answer whose request is no longer listed has no length.
                TracedKind::Answered => {
                    let sent = waiting.pop_front().unwrap_or(event.seconds);
                    answered.push((sent, event.seconds));
                }
                _ => {}
            }
        }
        let surplus = answered.len().saturating_sub(EXCHANGES);
        answered.drain(..surplus);
        let is_lost = |sent: &f64| {
            let mut lost = connection.lost.iter().filter_map(|loss| loss.sent_seconds);
            lost.any(|lost| lost == *sent)
        };
        Exchanges {
            answered,
            unanswered: waiting.into_iter().filter(|sent| !is_lost(sent)).collect(),
        }
    }

    /// All answered exchanges as one shape: a page with thousands of them stays small.
    fn path(&self, scale: &Scale, y: f64) -> String {
        let mut path = String::new();
        for (sent, answered) in &self.answered {
            let from = scale.x(*sent);
            // Also the shortest one is to be seen.
            let width = (scale.x(*answered) - from).max(1.2);
            let (from, top) = (place(from), place(y - 4.0));
            let width = place(width);
            path += &format!("M{from} {top}h{width}v8h-{width}z");
        }
        path
    }
}

fn stroke(from: f64, to: f64, y: f64) -> String {
    format!(
        "M{} {}H{}",
        place(from),
        place(y),
        place(to.max(from + 0.5))
    )
}

/// A tenth of a pixel is exact enough.
fn place(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

fn short(kind: &str) -> String {
    match kind.char_indices().nth(21) {
        Some((end, _)) => format!("{}…", kind.get(..end).unwrap_or_default().trim_end()),
        None => kind.to_owned(),
    }
}

/// What the marks mean.
pub(super) fn legend() -> Markup {
    let mark = |marks: Markup, text: &str| {
        html! {
            li {
                svg viewBox="0 0 34 14" aria-hidden="true" { g.lane { (marks) } }
                (text)
            }
        }
    };
    html! {
        ul.legend {
            (mark(html! {
                path.open d="M4 7H32" {} circle.connected cx="4" cy="7" r="2.2" {}
            }, "connection"))
            (mark(html! {
                path.open d="M2 7H32" {} path.answered d="M8 3h16v8h-16z" {}
            }, "request, until its answer is whole"))
            (mark(html! {
                g.loss { path d="M6 7H28" {} circle cx="6" cy="7" r="3" {} }
            }, "lost: sent before the signal, never answered"))
            (mark(html! { path.unanswered d="M4 7H30" {} }, "sent after the signal, not answered"))
            (mark(html! { path.open d="M2 7H17" {} path.end.orderly d="M17 2v10" {} }, "orderly end"))
            (mark(html! { path.open d="M2 7H17" {} path.end.reset d="M13 3l8 8m0 -8l-8 8" {} }, "reset"))
            (mark(html! { circle.end.refused cx="17" cy="7" r="3.2" {} }, "refused"))
            (mark(html! { path.open d="M2 7H24" {} path.end.hung d="M20 2l6 5l-6 5" {} }, "no end"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::{TracedEvent, TracedLoss};

    fn client(number: usize, lost: bool) -> TracedClient {
        let event = |seconds, kind| TracedEvent {
            seconds,
            kind,
            label: None,
        };
        TracedClient {
            client: number,
            kind: "<served>".to_owned(),
            connections: vec![TracedConnection {
                from: None,
                begun_seconds: -0.2,
                connected_seconds: Some(-0.1),
                events: vec![
                    event(-0.09, TracedKind::Sent),
                    event(-0.08, TracedKind::Answered),
                    event(-0.01, TracedKind::Sent),
                ],
                events_dropped: 0,
                end: TracedEnd::Orderly,
                ended_seconds: Some(0.01),
                problem: None,
                lost: match lost {
                    true => vec![TracedLoss {
                        label: "GET /".to_owned(),
                        sent_seconds: Some(-0.01),
                        received_bytes: 0,
                        problem: None,
                    }],
                    false => Vec::new(),
                },
                is_lost: lost,
                is_hung: false,
                is_ignored: false,
                is_wrong: false,
            }],
        }
    }

    #[test]
    fn clients_that_lost_something_are_always_drawn() {
        let clients = (0..200).map(|n| client(n, n >= 190)).collect();
        let trace = Trace {
            round: 1,
            stop_seconds: Some(0.02),
            clients,
        };
        let chosen = chosen(&trace);
        assert_eq!(chosen.len(), ROWS);
        assert_eq!(chosen.iter().filter(|c| c.has_loss()).count(), 10);
        let picture = draw("frozen", &trace, "SIGTERM").into_string();
        assert_eq!(picture.matches("class=\"loss\"").count(), 10);
        assert!(picture.contains("168 more clients are not drawn: they lost nothing."));
        assert!(!picture.contains("<served>"), "a kind breaks the page");
    }

    #[test]
    fn a_request_without_an_answer_is_lost_or_unanswered_and_never_both() {
        let lost = client(0, true);
        let exchanges = Exchanges::of(&lost.connections[0]);
        assert_eq!(
            (exchanges.answered.len(), exchanges.unanswered.len()),
            (1, 0)
        );
        let unanswered = client(0, false);
        let exchanges = Exchanges::of(&unanswered.connections[0]);
        assert_eq!(
            (exchanges.answered.len(), exchanges.unanswered.len()),
            (1, 1)
        );
    }
}
