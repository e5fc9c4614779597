//! The picture of a command under load: what came back, how long it took, and
//! which clients lost what, all over the same time.

use std::collections::BTreeMap;

use maud::{Markup, html};

use super::scale::{Layout, Scale};
use super::timeline::WIDTH;
use crate::results::during::{DuringDocument, LossDocument, SliceDocument, SlicesDocument};

const LEFT: f64 = 96.0;
const RIGHT: f64 = 985.0;
/// Where the first strip begins, below the names of the phases.
const TOP: f64 = 30.0;
const ANSWERS: f64 = 90.0;
const LATENCY: f64 = 70.0;
const GAP: f64 = 22.0;
const ROW: f64 = 15.0;
const FOOT: f64 = 30.0;

/// Clients that have a row of their own.
const ROWS: usize = 24;

/// Losses that are drawn on one row.
const MARKS: usize = 60;

/// Bars of one strip: more would be thinner than what can be told apart.
const BARS: usize = 220;

pub(super) fn draw(document: &DuringDocument) -> Markup {
    let slices = &grouped(&document.slices);
    let to = slices.first_seconds + slices.length_seconds * slices.slices.len() as f64;
    let ended: f64 = document
        .phases
        .iter()
        .skip(1)
        .map(|phase| phase.seconds)
        .sum();
    let span = (slices.first_seconds, to.max(ended));
    let scale = Scale::new(Layout::Linear, span, (LEFT, RIGHT));
    let clients = losers(document);
    let rows = clients.len().min(ROWS);
    let lanes = TOP + ANSWERS + GAP + LATENCY + GAP;
    let height = lanes + ROW * rows as f64 + FOOT;
    html! {
        figure.timeline.during {
            svg viewBox=(format!("0 0 {WIDTH} {height}")) role="group" aria-labelledby="run" {
                title id="run" { "Answers, losses and response times over the run" }
                (phases(document, &scale, height))
                (axis(&scale, height))
                (answers(slices, &scale))
                (latency(slices, &scale))
                @for (row, (client, losses)) in clients.iter().take(ROWS).enumerate() {
                    (lane(**client, losses, row, lanes, &scale))
                }
            }
            p.facts aria-live="polite" {
                @if clients.is_empty() { "No client lost anything." }
                @else { "Point at a row, or walk through the rows with the arrow keys." }
            }
            figcaption {
                "Each slice is " (super::time(Some(slices.length_seconds)))
                " long; time is counted from the start of the command."
                @if clients.len() > ROWS { " " (clients.len() - ROWS) " more clients lost something." }
            }
        }
    }
}

/// Makes so few slices that each is a bar.
fn grouped(slices: &SlicesDocument) -> SlicesDocument {
    let together = slices.slices.len().div_ceil(BARS).max(1);
    let merged = slices.slices.chunks(together).map(|group| SliceDocument {
        answered: group.iter().map(|slice| slice.answered).sum(),
        lost_in_all: group.iter().map(|slice| slice.lost_in_all).sum(),
        slowest_seconds: group.iter().map(|s| s.slowest_seconds).fold(0.0, f64::max),
    });
    SlicesDocument {
        first_seconds: slices.first_seconds,
        length_seconds: slices.length_seconds * together as f64,
        slices: merged.collect(),
    }
}

/// The clients that lost something, with what they lost.
fn losers(document: &DuringDocument) -> Vec<(&usize, Vec<&LossDocument>)> {
    let mut clients: BTreeMap<&usize, Vec<&LossDocument>> = BTreeMap::new();
    for loss in &document.losses {
        clients.entry(&loss.client).or_default().push(loss);
    }
    clients.into_iter().collect()
}

fn phases(document: &DuringDocument, scale: &Scale, height: f64) -> Markup {
    let during = document.phases.get(1).map_or(0.0, |phase| phase.seconds);
    let (from, to) = (scale.x(0.0), scale.x(during));
    let bottom = height - FOOT;
    html! {
        rect.during-band x=(place(from)) y="0" width=(place((to - from).max(1.0)))
            height=(place(bottom)) {}
        @for (name, from, to) in [
            ("before", LEFT, from), ("the command runs", from, to), ("after", to, RIGHT),
        ] {
            // A name that has no room would lie upon its neighbour.
            @if to - from > name.len() as f64 * 6.5 {
                text.phase x=(place((from + to) / 2.0)) y="14" text-anchor="middle" { (name) }
            }
        }
        @for x in [from, to] {
            line.border x1=(place(x)) x2=(place(x)) y1="0" y2=(place(bottom)) {}
        }
    }
}

fn axis(scale: &Scale, height: f64) -> Markup {
    html! {
        g.axis aria-hidden="true" {
            @for tick in scale.ticks() {
                @let x = place(scale.x(tick.seconds));
                line x1=(x) x2=(x) y1=(TOP) y2=(height - FOOT + 4.0) data-seconds=(tick.seconds) {}
                text x=(x) y=(height - FOOT + 19.0) text-anchor="middle" { (tick.label) }
            }
        }
    }
}

/// Answers upwards, losses on the same scale above them.
fn answers(slices: &SlicesDocument, scale: &Scale) -> Markup {
    let all = slices.slices.iter().map(|s| s.answered + s.lost_in_all);
    let most = all.max().unwrap_or(0).max(1);
    let bottom = TOP + ANSWERS;
    let tall = |count: u64| count as f64 / most as f64 * (ANSWERS - 4.0);
    let mut good = String::new();
    let mut bad = String::new();
    for (index, slice) in slices.slices.iter().enumerate() {
        let (from, width) = bar(slices, scale, index);
        let answered = tall(slice.answered);
        if slice.answered > 0 {
            good += &block(from, bottom - answered, width, answered);
        }
        if slice.lost_in_all > 0 {
            // One loss among thousands is still to be seen.
            let lost = tall(slice.lost_in_all).max(4.0);
            let top = (bottom - answered - lost).max(TOP);
            bad += &block(from, top, width.max(1.5), lost);
        }
    }
    html! {
        (strip_name("answers", TOP, &per_second(most, slices.length_seconds)))
        line.base x1=(LEFT) x2=(RIGHT) y1=(bottom) y2=(bottom) {}
        @if !good.is_empty() { path.good d=(good) {} }
        @if !bad.is_empty() { path.bad d=(bad) {} }
    }
}

/// The slowest answer of each slice.
fn latency(slices: &SlicesDocument, scale: &Scale) -> Markup {
    let all = || slices.slices.iter();
    let slowest = all().map(|s| s.slowest_seconds).fold(0.001, f64::max);
    let top = TOP + ANSWERS + GAP;
    let bottom = top + LATENCY;
    let mut path = String::new();
    for (index, slice) in all().enumerate().filter(|(_, s)| s.answered > 0) {
        let (from, width) = bar(slices, scale, index);
        let height = (slice.slowest_seconds / slowest * (LATENCY - 4.0)).max(1.0);
        path += &block(from, bottom - height, width, height);
    }
    html! {
        (strip_name("slowest", top, &super::time(Some(slowest))))
        line.base x1=(LEFT) x2=(RIGHT) y1=(bottom) y2=(bottom) {}
        @if !path.is_empty() { path.latency d=(path) {} }
    }
}

fn lane(
    client: usize,
    losses: &[&LossDocument],
    row: usize,
    top: f64,
    scale: &Scale,
) -> Markup {
    let y = top + ROW * row as f64 + ROW / 2.0;
    let facts = facts(client, losses);
    let index = if row == 0 { "0" } else { "-1" };
    html! {
        g class="lane has-loss" tabindex=(index) role="img" aria-label=(facts) data-client=(client) {
            title { (facts) }
            rect.hit x="0" y=(place(y - ROW / 2.0)) width=(WIDTH) height=(ROW) {}
            text.name x=(LEFT - 10.0) y=(place(y + 3.5)) text-anchor="end" { "client " (client) }
            path.open d=(format!("M{LEFT} {}H{RIGHT}", place(y))) {}
            @for loss in losses.iter().take(MARKS) {
                @let (from, to) = (scale.x(loss.sent_seconds), scale.x(loss.seen_seconds));
                g.loss data-seconds=(loss.seen_seconds) {
                    title { (one(loss)) }
                    path d=(format!("M{} {}H{}", place(from), place(y), place(to))) {}
                    circle cx=(place(to)) cy=(place(y)) r="3" {}
                }
            }
        }
    }
}

fn facts(client: usize, losses: &[&LossDocument]) -> String {
    let told: Vec<String> = losses.iter().take(3).map(|loss| one(loss)).collect();
    let more = match losses.len() {
        0..=3 => String::new(),
        n => format!("; and {} more", n - 3),
    };
    format!(
        "Client {client} lost {}: {}{more}.",
        losses.len(),
        told.join("; ")
    )
}

fn one(loss: &LossDocument) -> String {
    let LossDocument { kind, problem, .. } = loss;
    format!("{kind} at {:+.3} s: {problem}", loss.seen_seconds)
}

fn strip_name(name: &str, top: f64, most: &str) -> Markup {
    html! {
        text.name x=(LEFT - 10.0) y=(top + 12.0) text-anchor="end" { (name) }
        text.most x=(LEFT - 10.0) y=(top + 26.0) text-anchor="end" { (most) }
    }
}

fn per_second(most: u64, length: f64) -> String {
    format!("≤ {:.0}/s", most as f64 / length)
}

fn bar(slices: &SlicesDocument, scale: &Scale, index: usize) -> (f64, f64) {
    let from = slices.first_seconds + slices.length_seconds * index as f64;
    let (from, to) = (scale.x(from), scale.x(from + slices.length_seconds));
    (from, to - from)
}

fn block(x: f64, y: f64, width: f64, height: f64) -> String {
    let (x, y, width, height) = (place(x), place(y), place(width), place(height));
    format!("M{x} {y}h{width}v{height}h-{width}z")
}

/// A hundredth of a pixel is exact enough.
fn place(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}
