//! Measures HTTP servers: each request, each idle connection, and the stop.

use std::error::Error;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use clap::Parser;
use indicatif::ProgressBar;
use lameduck_benches::args::Args;
use lameduck_benches::child::Running;
use lameduck_benches::http::{HTTP_KINDS, HttpKind, PemFiles, Transport, Version};
use lameduck_benches::load::{Clients, Ended};
use lameduck_benches::page::{self, Page, nanoseconds};
use lameduck_benches::stats::{Turns, median};
use lameduck_benches::turns::{self, Side};

const CONNECTIONS: [usize; 3] = [1, 64, 1_000];

/// The goal for a request, as a multiple of one of hyper alone.
const GOAL: f64 = 1.02;

/// The goal for an idle connection, in bytes above one of hyper alone.
const MEMORY_GOAL: f64 = 300.0;

/// So many connections wait for the stop.
const IDLE: usize = 5_000;

const GRACEFUL: &str = "hyper-util's graceful";

fn is_ours(kind: &HttpKind) -> bool {
    kind.title.starts_with("lameduck")
}

fn is_floor(kind: &HttpKind) -> bool {
    kind.title == kind.floor
}

/// The ways to speak to a server, by name.
fn transports(files: &PemFiles) -> [(&'static str, Transport); 3] {
    let plain = |version| Transport { version, tls: None };
    let tls = Transport {
        version: Version::Http1,
        tls: Some(files.clone()),
    };
    [
        ("HTTP/1.1", plain(Version::Http1)),
        ("HTTP/2", plain(Version::Http2)),
        ("HTTP/1.1 over TLS", tls),
    ]
}

/// The processor time of each request, beside hyper alone.
///
/// It starts the servers anew `starts` times: all costs of one process are off by some
/// hundredths, as its memory happens to lie.
fn requests(
    programs: &Path,
    how: &Transport,
    connections: usize,
    (slice, rounds, starts): (Duration, usize, usize),
    bar: &ProgressBar,
) -> io::Result<Vec<Turns>> {
    let message = how.version.message();
    let mut cost = vec![Vec::new(); HTTP_KINDS.len()];
    for start in 0..starts {
        let sides = HTTP_KINDS
            .iter()
            .map(|kind| Side::http(programs, *kind, how, connections));
        let mut sides = sides.collect::<io::Result<Vec<Side>>>()?;
        // So many requests fill a slice; what is found out here also warms up.
        let mut count = connections.max(64);
        let (wall, _) = sides[0].exchange(message, count)?;
        count = (slice.as_secs_f64() / wall.as_secs_f64() * count as f64) as usize;
        count = count.max(connections);
        for side in &mut sides {
            side.exchange(message, count)?;
        }
        for round in 0..rounds {
            for n in turns::order(start + round, sides.len()) {
                let (_, processor) = sides[n].exchange(message, count)?;
                cost[n].push(processor.as_nanos() as f64 / count as f64);
            }
            bar.inc(1);
        }
    }
    Ok(turns::against_http_floors(&cost))
}

fn request_page(args: &Args, programs: &Path, files: &PemFiles) -> io::Result<Page> {
    let length = match args.quick {
        true => (Duration::from_millis(15), 4, 2),
        false => (Duration::from_millis(40), 8, 8),
    };
    let header = ["", "CPU a request", "of hyper alone", "goal"];
    let mut page = Page::new("request", "A request for a line", &header);
    let plain = transports(files).into_iter().take(2);
    let cases = plain.flat_map(|how| CONNECTIONS.map(|connections| (how.clone(), connections)));
    let steps = 2 * CONNECTIONS.len() * length.1 * length.2;
    let bar = turns::progress("request", steps);
    for ((title, how), connections) in cases {
        let cost = requests(programs, &how, connections, length, &bar)?;
        page.rows
            .push(page::heading(&format!("{title}, {connections} conn."), 4));
        for (kind, turns) in HTTP_KINDS.iter().zip(cost) {
            let (ratio, (low, high)) = turns.ratio();
            page.rows.push(vec![
                kind.title.to_owned(),
                nanoseconds(turns.median()),
                match is_floor(kind) {
                    true => "1".to_owned(),
                    false => format!("{ratio:.3} ({low:.3} to {high:.3})"),
                },
                match is_ours(kind) {
                    true => page::goal(ratio <= GOAL, &format!("≤ {GOAL}")),
                    false => String::new(),
                },
            ]);
        }
    }
    bar.finish_and_clear();
    Ok(page)
}

fn connect(running: &Running, how: &Transport, count: usize) -> io::Result<Clients> {
    match &how.tls {
        None => Clients::connect_to(how.version.message(), running.address, count),
        Some(files) => Clients::connect_over_tls(&files.client()?, running.address, count),
    }
}

fn memory_page(args: &Args, programs: &Path, files: &PemFiles) -> io::Result<Page> {
    let (rounds, count) = if args.quick { (1, 1_000) } else { (3, IDLE) };
    let header = ["", "bytes a connection", "above hyper alone", "goal"];
    let title = format!("{count} idle connections, each after one request");
    let mut page = Page::new("http-memory", title, &header);
    let bar = turns::progress("memory", 3 * rounds * HTTP_KINDS.len());
    for (title, how) in transports(files) {
        let mut each = vec![Vec::new(); HTTP_KINDS.len()];
        for round in 0..rounds {
            for n in turns::order(round, HTTP_KINDS.len()) {
                let running = Running::http(programs, HTTP_KINDS[n], &how)?;
                // The first connection makes what all share, which does not count.
                drop(connect(&running, &how, 1)?);
                let before = running.resident()?;
                let clients = connect(&running, &how, count)?;
                let taken = running.resident()?.saturating_sub(before);
                each[n].push(taken as f64 / count as f64);
                drop(clients);
                bar.inc(1);
            }
        }
        page.rows.push(page::heading(title, 4));
        for (kind, turns) in HTTP_KINDS.iter().zip(turns::against_http_floors(&each)) {
            let above = turns.above();
            page.rows.push(vec![
                kind.title.to_owned(),
                format!("{:.0}", turns.median()),
                format!("{above:.0}"),
                match is_ours(kind) {
                    true => page::goal(above <= MEMORY_GOAL, &format!("≤ {MEMORY_GOAL}")),
                    false => String::new(),
                },
            ]);
        }
    }
    bar.finish_and_clear();
    Ok(page)
}

fn stop(programs: &Path, kind: HttpKind, how: &Transport, idle: usize) -> io::Result<Ended> {
    let running = Running::http(programs, kind, how)?;
    let clients = connect(&running, how, idle)?;
    let end = running.end()?;
    let begun = Instant::now();
    running.terminate()?;
    clients.until_ended(begun, &end)
}

fn stop_page(args: &Args, programs: &Path, files: &PemFiles) -> io::Result<Page> {
    let (rounds, idle) = if args.quick { (3, 1_000) } else { (7, IDLE) };
    let header = [
        "",
        "last end",
        "of a killed server",
        "of hyper-util's",
        "exit",
        "goal",
    ];
    let mut page = Page::new(
        "http-stop",
        format!("A stop, with {idle} idle connections"),
        &header,
    );
    let bar = turns::progress("stop", 3 * rounds * HTTP_KINDS.len());
    for (title, how) in transports(files) {
        let mut ends = vec![Vec::new(); HTTP_KINDS.len()];
        let mut exits = vec![Vec::new(); HTTP_KINDS.len()];
        for round in 0..rounds {
            for n in turns::order(round, HTTP_KINDS.len()) {
                let ended = stop(programs, HTTP_KINDS[n], &how, idle)?;
                ends[n].push(ended.last_connection.as_nanos() as f64);
                exits[n].push(ended.process.as_nanos() as f64);
                bar.inc(1);
            }
        }
        page.rows.push(page::heading(title, 6));
        let graceful = HTTP_KINDS.iter().position(|kind| kind.title == GRACEFUL);
        let graceful = graceful.map_or_else(Vec::new, |n| ends[n].clone());
        let ratios = turns::against_http_floors(&ends);
        for (n, kind) in HTTP_KINDS.iter().enumerate() {
            let beside = Turns {
                floor: graceful.clone(),
                subject: ends[n].clone(),
            };
            let (of_graceful, _) = beside.ratio();
            page.rows.push(vec![
                kind.title.to_owned(),
                nanoseconds(beside.median()),
                format!("{:.2}", ratios[n].ratio().0),
                format!("{of_graceful:.2}"),
                nanoseconds(median(&exits[n])),
                match is_ours(kind) {
                    true => page::goal(of_graceful <= 1.0, "end ≤ hyper-util's"),
                    false => String::new(),
                },
            ]);
        }
    }
    bar.finish_and_clear();
    Ok(page)
}

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    turns::descriptors(12_000)?;
    let programs = turns::programs(env!("CARGO_BIN_EXE_http"));
    let folder = std::env::temp_dir().join(format!("lameduck-http-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let files = PemFiles::create(&folder)?;
    type Measure = fn(&Args, &Path, &PemFiles) -> io::Result<Page>;
    let pages: [(&str, Measure); 3] = [
        ("http/request", request_page),
        ("http/memory", memory_page),
        ("http/stop", stop_page),
    ];
    for (name, measure) in pages {
        if args.wants(name) {
            measure(&args, &programs, &files)?.publish(&args)?;
        }
    }
    Ok(std::fs::remove_dir_all(&folder)?)
}
