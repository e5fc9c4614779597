//! Any of the servers, which counts its allocations: `counted PROGRAM` answers
//! each line of its standard input with how many there were.

use std::alloc::System;
use std::io::stdin;

use lameduck_benches::servers::{Ended, KINDS};
use stats_alloc::StatsAlloc;

#[global_allocator]
static ALLOCATOR: StatsAlloc<System> = StatsAlloc::system();

fn main() -> Ended {
    let program = std::env::args().nth(1);
    let kind = KINDS
        .iter()
        .find(|kind| Some(kind.program) == program.as_deref());
    let kind = kind.ok_or("usage: counted PROGRAM")?;
    std::thread::spawn(|| {
        let mut line = String::with_capacity(64);
        while stdin().read_line(&mut line).is_ok_and(|length| length > 0) {
            let stats = ALLOCATOR.stats();
            println!("{}", stats.allocations + stats.reallocations);
            line.clear();
        }
    });
    (kind.main)()
}
