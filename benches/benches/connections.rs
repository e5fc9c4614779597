//! What a connection costs a server: to come and go, to stay, and in
//! allocations.

use std::error::Error;
use std::io;
use std::path::Path;
use std::time::Duration;

use clap::Parser;
use lameduck_benches::args::Args;
use lameduck_benches::child::Running;
use lameduck_benches::load::{self, Clients};
use lameduck_benches::message::Message;
use lameduck_benches::page::{self, Page, nanoseconds};
use lameduck_benches::servers::{KINDS, Kind};
use lameduck_benches::stats::{Turns, median};
use lameduck_benches::turns;

/// What lameduck wants to reach, in bytes beyond the bare loop.
const MEMORY_GOAL: f64 = 200.0;

fn title(kind: &Kind) -> String {
    kind.title.to_owned()
}

fn is_ours(kind: &Kind) -> bool {
    kind.program.starts_with("lameduck")
}

fn ratio(kind: &Kind, turns: &Turns) -> String {
    let (ratio, (low, high)) = turns.ratio();
    match kind.title == kind.floor {
        true => "1".to_owned(),
        false => format!("{ratio:.2} ({low:.2} to {high:.2})"),
    }
}

/// Accept, one exchange, close.
fn visits(args: &Args, programs: &Path) -> io::Result<Page> {
    let (rounds, count) = if args.quick { (8, 300) } else { (40, 1_000) };
    let running = KINDS.iter().map(|kind| Running::start(programs, *kind));
    let running = running.collect::<io::Result<Vec<Running>>>()?;
    for server in &running {
        load::visit(server.address, 64, count)?;
    }
    let bar = turns::progress("visit", rounds);
    let mut cost = vec![Vec::new(); running.len()];
    let mut rate = vec![Vec::new(); running.len()];
    for round in 0..rounds {
        for n in turns::order(round, running.len()) {
            let before = running[n].processor_time()?;
            let wall = load::visit(running[n].address, 64, count)?;
            let taken = running[n].processor_time()? - before;
            cost[n].push(taken.as_nanos() as f64 / count as f64);
            rate[n].push(count as f64 / wall.as_secs_f64());
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    let header = ["", "CPU a connection", "floors", "connections/s"];
    let mut page = Page::new(
        "visit",
        "A connection: accepted, one exchange, closed",
        &header,
    );
    for (n, (kind, cost)) in KINDS.iter().zip(turns::against_floors(&cost)).enumerate() {
        page.rows.push(vec![
            title(kind),
            nanoseconds(cost.median()),
            ratio(kind, &cost),
            format!("{:.0}", median(&rate[n])),
        ]);
    }
    Ok(page)
}

/// What so many idle connections take, beyond none.
fn memory(args: &Args, programs: &Path) -> io::Result<Page> {
    let (rounds, count) = if args.quick { (1, 2_000) } else { (3, 10_000) };
    let bar = turns::progress("memory", rounds * KINDS.len());
    let mut each = vec![Vec::new(); KINDS.len()];
    for round in 0..rounds {
        for n in turns::order(round, KINDS.len()) {
            let running = Running::start(programs, KINDS[n])?;
            // What is made once is not to be counted.
            drop(Clients::connect(running.address, 1)?);
            let before = running.resident()?;
            let clients = Clients::connect(running.address, count)?;
            let taken = running.resident()?.saturating_sub(before);
            each[n].push(taken as f64 / count as f64);
            drop(clients);
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    let header = ["", "bytes a connection", "above the floor", "goal"];
    let mut page = Page::new("memory", format!("{count} idle connections"), &header);
    for (kind, turns) in KINDS.iter().zip(turns::against_floors(&each)) {
        let above = turns.above();
        page.rows.push(vec![
            title(kind),
            format!("{:.0}", turns.median()),
            format!("{above:.0}"),
            match is_ours(kind) {
                true => page::goal(above <= MEMORY_GOAL, &format!("≤ {MEMORY_GOAL}")),
                false => String::new(),
            },
        ]);
    }
    Ok(page)
}

/// The allocations of a server that has closed what its clients have left.
fn settled(running: &mut Running) -> io::Result<u64> {
    let mut before = running.allocations()?;
    loop {
        std::thread::sleep(Duration::from_millis(100));
        let now = running.allocations()?;
        if now == before {
            return Ok(now);
        }
        before = now;
    }
}

/// Counted by the server itself; one thing after the other, since how much a
/// runtime allocates at once depends on how much happens at once.
fn allocations(programs: &Path) -> io::Result<Page> {
    const COUNT: usize = 2_000;
    let mut counts = Vec::new();
    for kind in &KINDS {
        let mut running = Running::counted(programs, *kind)?;
        let mut ignored = turns::latencies();
        // The first ones make room for those that follow.
        drop(Clients::connect_by(running.address, 2 * COUNT, 1)?);
        let before = settled(&mut running)?;
        let connected = Clients::connect_by(running.address, COUNT, 1)?;
        let after = running.allocations()?;
        drop(connected);
        let mut client = Clients::connect(running.address, 1)?;
        client.exchange(Message::Echo(64), COUNT, &mut ignored)?;
        let idle = running.allocations()?;
        client.exchange(Message::Echo(64), COUNT, &mut ignored)?;
        let exchanged = running.allocations()?;
        let each = |from: u64, to: u64| (to - from) as f64 / COUNT as f64;
        counts.push((each(before, after), each(idle, exchanged)));
    }
    let header = [
        "",
        "a connection, one message",
        "above the floor",
        "a message",
        "above the floor",
        "goal",
    ];
    let mut page = Page::new("allocations", "Allocations", &header);
    for (kind, (connection, message)) in KINDS.iter().zip(&counts) {
        let floor = KINDS.iter().position(|floor| floor.title == kind.floor);
        let (floor, floor_message) = floor.map_or((0.0, 0.0), |floor| counts[floor]);
        let (above, above_message) = (connection - floor, message - floor_message);
        // Tables grow now and then.
        let met = above < 2.01 && above_message < 0.005;
        page.rows.push(vec![
            title(kind),
            format!("{connection:.2}"),
            format!("{above:.2}"),
            format!("{message:.3}"),
            format!("{above_message:.3}"),
            match is_ours(kind) {
                true => page::goal(met, "≤ 2 and 0 above"),
                false => String::new(),
            },
        ]);
    }
    Ok(page)
}

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    turns::descriptors(12_000)?;
    let programs = turns::programs(env!("CARGO_BIN_EXE_counted"));
    if args.wants("visit") {
        visits(&args, &programs)?.publish(&args)?;
    }
    if args.wants("memory") {
        memory(&args, &programs)?.publish(&args)?;
    }
    if args.wants("allocations") {
        allocations(&programs)?.publish(&args)?;
    }
    Ok(())
}
