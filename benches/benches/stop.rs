//! How long a stop takes, against the number of idle connections.

use std::error::Error;
use std::io;
use std::path::Path;
use std::time::Instant;

use clap::Parser;
use lameduck_benches::args::Args;
use lameduck_benches::child::Running;
use lameduck_benches::load::{Clients, Ended};
use lameduck_benches::page::{self, Page, nanoseconds};
use lameduck_benches::servers::{KINDS, Kind};
use lameduck_benches::stats::{Turns, median};
use lameduck_benches::{plot, turns};

const IDLE: [usize; 5] = [10, 100, 1_000, 5_000, 10_000];

/// Where lameduck has goals.
const JUDGED: usize = 5_000;

/// What lameduck wants its exit to take, in those of a killed server.
const GOAL: f64 = 1.5;

/// Others that can be stopped.
fn is_peer(kind: &Kind) -> bool {
    !kind.program.starts_with("lameduck") && kind.title != kind.floor
}

fn stop(programs: &Path, kind: Kind, idle: usize) -> io::Result<Ended> {
    let running = Running::start(programs, kind)?;
    let clients = Clients::connect(running.address, idle)?;
    let end = running.end()?;
    let begun = Instant::now();
    running.terminate()?;
    clients.until_ended(begun, &end)
}

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    turns::descriptors(12_000)?;
    let programs = turns::programs(env!("CARGO_BIN_EXE_counted"));
    // As root the listener can also filter handshakes, and waits for those that
    // are under way.
    let filtering = KINDS
        .iter()
        .filter(|kind| kind.program.starts_with("lameduck"));
    let filtering = filtering.map(|kind| Kind {
        privileged: true,
        ..*kind
    });
    let kinds: Vec<Kind> = KINDS.into_iter().chain(filtering).collect();
    let floors = |kind: &Kind| kinds.iter().position(|floor| floor.title == kind.floor);
    let title = |kind: &Kind| match kind.privileged {
        true => format!("{}, SynFiltered", kind.title),
        false => kind.title.to_owned(),
    };

    // Peers are within some hundredths of each other: who is first takes more
    // rounds to tell.
    let rounds = |idle| match (args.quick, idle) {
        (true, _) => 3,
        (false, JUDGED) => 31,
        (false, _) => 11,
    };
    let wanted = IDLE
        .into_iter()
        .filter(|idle| args.wants(&format!("stop/{idle}")));
    let wanted: Vec<usize> = wanted.collect();
    let header = ["", "last end", "floors", "exit", "floors", "goal"];
    let mut page = Page::new("stop", "A stop, with idle connections", &header);
    let mut lines: Vec<plot::Line> =
        kinds.iter().map(|kind| (title(kind), Vec::new())).collect();
    let bar = turns::progress(
        "stop",
        wanted.iter().map(|idle| rounds(*idle)).sum::<usize>() * kinds.len(),
    );
    for idle in wanted {
        let mut ends = vec![Vec::new(); kinds.len()];
        let mut exits = vec![Vec::new(); kinds.len()];
        for round in 0..rounds(idle) {
            for n in turns::order(round, kinds.len()) {
                let ended = stop(&programs, kinds[n], idle)?;
                ends[n].push(ended.last_connection.as_nanos() as f64);
                exits[n].push(ended.process.as_nanos() as f64);
                bar.inc(1);
            }
        }
        page.rows
            .push(page::heading(&format!("{idle} idle connections"), 6));
        let peers = kinds.iter().zip(&ends).filter(|(kind, _)| is_peer(kind));
        let first_peer = peers.map(|(_, ends)| median(ends)).fold(f64::MAX, f64::min);
        for (n, kind) in kinds.iter().enumerate() {
            let against = |values: &[Vec<f64>]| Turns {
                floor: floors(kind).map_or_else(Vec::new, |floor| values[floor].clone()),
                subject: values[n].clone(),
            };
            let (end, exit) = (against(&ends).ratio().0, against(&exits).ratio().0);
            lines[n].1.push((idle as f64, median(&exits[n]) / 1e6));
            let ours = kind.program.starts_with("lameduck") && !kind.privileged;
            page.rows.push(vec![
                title(kind),
                nanoseconds(median(&ends[n])),
                format!("{end:.2}"),
                nanoseconds(median(&exits[n])),
                format!("{exit:.2}"),
                match ours && idle == JUDGED {
                    true => [
                        page::goal(median(&ends[n]) <= first_peer, "end ≤ peers'"),
                        page::goal(exit <= GOAL, &format!("exit ≤ {GOAL}")),
                    ]
                    .join("; "),
                    false => String::new(),
                },
            ]);
        }
    }
    bar.finish_and_clear();
    if page.rows.is_empty() {
        return Ok(());
    }
    if lines.iter().all(|(_, points)| points.len() > 1) {
        let title = "From SIGTERM to the process' end";
        page.picture = Some(plot::lines(title, "idle connections", "ms", &lines)?);
    }
    Ok(page.publish(&args)?)
}
