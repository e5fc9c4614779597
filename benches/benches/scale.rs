//! How the memory of idle connections, and their stop, grow to a hundred thousand.

use std::error::Error;
use std::io;
use std::path::Path;
use std::time::Instant;

use clap::Parser;
use lameduck_benches::args::Args;
use lameduck_benches::child::Running;
use lameduck_benches::load::Clients;
use lameduck_benches::page::{self, Page, nanoseconds};
use lameduck_benches::servers::{KINDS, Kind};
use lameduck_benches::stats::median;
use lameduck_benches::{plot, turns};

const IDLE: [usize; 4] = [1_000, 4_000, 16_000, 100_000];

/// The figures of one server.
struct Taken {
    /// In bytes for each connection.
    memory: f64,
    /// From the signal, in nanoseconds.
    last_end: f64,
    exit: f64,
}

fn measure(programs: &Path, kind: Kind, idle: usize) -> io::Result<Taken> {
    let running = Running::start(programs, kind)?;
    // The first connection makes what all share, which does not count.
    drop(Clients::connect(running.address, 1)?);
    let before = running.resident()?;
    let clients = Clients::connect(running.address, idle)?;
    let memory = running.resident()?.saturating_sub(before) as f64 / idle as f64;
    let end = running.end()?;
    let begun = Instant::now();
    running.terminate()?;
    let ended = clients.until_ended(begun, &end)?;
    Ok(Taken {
        memory,
        last_end: ended.last_connection.as_nanos() as f64,
        exit: ended.process.as_nanos() as f64,
    })
}

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    let wanted = IDLE
        .into_iter()
        .filter(|idle| !args.quick || *idle < 16_000);
    let wanted = wanted.filter(|idle| args.wants(&format!("scale/{idle}")));
    let mut wanted: Vec<usize> = wanted.collect();
    wanted.retain(|idle| match turns::descriptors(*idle as u64 + 2_000) {
        Ok(()) => true,
        Err(error) => {
            eprintln!("{idle} connections are left out: {error}");
            false
        }
    });
    if wanted.is_empty() {
        return Ok(());
    }
    let programs = turns::programs(env!("CARGO_BIN_EXE_counted"));
    let rounds = if args.quick { 1 } else { 3 };
    let header = [
        "",
        "memory of each",
        "last end",
        "a connection",
        "exit",
        "of a killed server",
    ];
    let mut page = Page::new("scale", "Idle connections, and their stop", &header);
    let mut lines: Vec<plot::Line> = KINDS
        .iter()
        .map(|kind| (kind.title.to_owned(), Vec::new()))
        .collect();
    let bar = turns::progress("scale", wanted.len() * rounds * KINDS.len());
    for idle in wanted {
        let mut taken: Vec<Vec<Taken>> = KINDS.iter().map(|_| Vec::new()).collect();
        for round in 0..rounds {
            for n in turns::order(round, KINDS.len()) {
                taken[n].push(measure(&programs, KINDS[n], idle)?);
                bar.inc(1);
            }
        }
        let title = format!("{idle} idle connections");
        page.rows.push(page::heading(&title, header.len()));
        let each = |of: fn(&Taken) -> f64| -> Vec<Vec<f64>> {
            let values = |taken: &Vec<Taken>| taken.iter().map(of).collect();
            taken.iter().map(values).collect()
        };
        let memory = each(|taken| taken.memory);
        let ends = each(|taken| taken.last_end);
        let exits = each(|taken| taken.exit);
        let against = turns::against_floors(&exits);
        for (n, kind) in KINDS.iter().enumerate() {
            lines[n].1.push((idle as f64, median(&exits[n]) / 1e6));
            page.rows.push(vec![
                kind.title.to_owned(),
                format!("{:.0} B", median(&memory[n])),
                nanoseconds(median(&ends[n])),
                nanoseconds(median(&ends[n]) / idle as f64),
                nanoseconds(median(&exits[n])),
                format!("{:.2}", against[n].ratio().0),
            ]);
        }
    }
    bar.finish_and_clear();
    if lines.iter().all(|(_, points)| points.len() > 1) {
        let title = "From SIGTERM to the process' end";
        page.picture = Some(plot::lines(title, "idle connections", "ms", &lines)?);
    }
    Ok(page.publish(&args)?)
}
