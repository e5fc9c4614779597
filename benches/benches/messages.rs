//! What a message costs a server, and how long its client waits for it.

use std::error::Error;
use std::io;
use std::time::Duration;

use clap::Parser;
use indicatif::ProgressBar;
use lameduck_benches::args::Args;
use lameduck_benches::message::Message;
use lameduck_benches::page::{Page, nanoseconds};
use lameduck_benches::servers::KINDS;
use lameduck_benches::stats::{Turns, median};
use lameduck_benches::turns::{self, Side};
use lameduck_benches::{page, plot};

const CONNECTIONS: [usize; 3] = [1, 64, 1_000];
const SIZES: [(usize, &str); 3] = [(64, "64 B"), (4_096, "4 KiB"), (65_536, "64 KiB")];

/// What lameduck wants to reach: one part in a hundred beyond the bare loop.
const GOAL: f64 = 1.01;

/// How long, and how often, each server works.
struct Length {
    slice: Duration,
    rounds: usize,
}

/// What came of one number of connections and one size.
struct Case {
    title: String,
    /// Processor time for each message, and its floor's.
    cost: Vec<Turns>,
    throughput: Vec<f64>,
    sides: Vec<Side>,
}

fn measure(
    connections: usize,
    (size, size_title): (usize, &str),
    length: &Length,
    bar: &ProgressBar,
) -> io::Result<Case> {
    let programs = turns::programs(env!("CARGO_BIN_EXE_counted"));
    let sides = KINDS
        .iter()
        .map(|kind| Side::start(&programs, *kind, connections));
    let mut sides = sides.collect::<io::Result<Vec<Side>>>()?;

    // So many messages fill a slice; what is found out here also warms up.
    let mut count = connections.max(64);
    let (wall, _) = sides[0].exchange(Message::Echo(size), count)?;
    count = (length.slice.as_secs_f64() / wall.as_secs_f64() * count as f64) as usize;
    count = count.max(connections);
    for side in &mut sides {
        side.exchange(Message::Echo(size), count)?;
        side.latencies = turns::latencies();
    }

    let mut cost = vec![Vec::new(); sides.len()];
    let mut throughput = vec![Vec::new(); sides.len()];
    for round in 0..length.rounds {
        for n in turns::order(round, sides.len()) {
            let (wall, processor) = sides[n].exchange(Message::Echo(size), count)?;
            cost[n].push(processor.as_nanos() as f64 / count as f64);
            throughput[n].push(count as f64 / wall.as_secs_f64());
        }
        bar.inc(1);
    }
    let connections = match connections {
        1 => "one connection".to_owned(),
        many => format!("{many} connections"),
    };
    Ok(Case {
        title: format!("{connections}, {size_title}"),
        cost: turns::against_floors(&cost),
        throughput: throughput.iter().map(|values| median(values)).collect(),
        sides,
    })
}

fn rows(case: &Case) -> Vec<Vec<String>> {
    let mut rows = vec![page::heading(&case.title, 8)];
    for (n, kind) in KINDS.iter().enumerate() {
        let (ratio, (low, high)) = case.cost[n].ratio();
        let latency = |quantile| case.sides[n].latencies.value_at_quantile(quantile) as f64;
        rows.push(vec![
            kind.title.to_owned(),
            nanoseconds(case.cost[n].median()),
            match kind.title == kind.floor {
                true => "1".to_owned(),
                false => format!("{ratio:.3} ({low:.3} to {high:.3})"),
            },
            match kind.program.starts_with("lameduck") {
                true => page::goal(ratio <= GOAL, &format!("≤ {GOAL}")),
                false => String::new(),
            },
            format!("{:.0}", case.throughput[n]),
            nanoseconds(latency(0.5)),
            nanoseconds(latency(0.99)),
            nanoseconds(latency(0.999)),
        ]);
    }
    rows
}

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    turns::descriptors(2_000)?;
    let length = match args.quick {
        true => Length {
            slice: Duration::from_millis(15),
            rounds: 8,
        },
        false => Length {
            slice: Duration::from_millis(40),
            rounds: 40,
        },
    };
    let header = [
        "",
        "CPU a message",
        "floors",
        "goal",
        "messages/s",
        "p50",
        "p99",
        "p99.9",
    ];
    let mut page = Page::new("message", "A message, echoed", &header);
    let mut bars = Vec::new();
    let cases = CONNECTIONS
        .into_iter()
        .flat_map(|n| SIZES.map(|size| (n, size)));
    let cases: Vec<_> = cases
        .filter(|(n, size)| args.wants(&format!("message/{n}/{}", size.0)))
        .collect();
    let bar = turns::progress("message", cases.len() * length.rounds);
    for (connections, size) in cases {
        let case = measure(connections, size, &length, &bar)?;
        page.rows.extend(rows(&case));
        if size.0 == SIZES[0].0 {
            let costs = KINDS.iter().zip(&case.cost);
            let costs = costs.map(|(kind, cost)| (kind.title.to_owned(), cost.median() / 1e3));
            bars.push((case.title, costs.collect()));
        }
    }
    bar.finish_and_clear();
    if page.rows.is_empty() {
        return Ok(());
    }
    if !bars.is_empty() {
        page.picture = Some(plot::bars("µs", &bars)?);
    }
    Ok(page.publish(&args)?)
}
