//! The small costs: a guard, a read that waits, a stop that wakes.
//!
//! criterion takes the samples. In each of them the floor and the subject run
//! one after the other, so that both see the same machine; the ratios are of
//! such pairs.

use std::collections::HashMap;
use std::error::Error;
use std::time::Duration;

use clap::Parser;
use criterion::{Criterion, SamplingMode};
use lameduck_benches::args::Args;
use lameduck_benches::operations::{self, Subject};
use lameduck_benches::page::{self, Page, nanoseconds};
use lameduck_benches::plot;
use lameduck_benches::stats::{Turns, median};

/// What lameduck wants to reach.
#[derive(Clone, Copy)]
enum Goal {
    /// So many floors at most.
    Floors(f64),
    /// So many nanoseconds beyond the floor at most.
    Above(f64),
}

impl Goal {
    fn judge(self, turns: &Turns) -> String {
        let (met, goal) = match self {
            Goal::Floors(most) => (turns.ratio().0 <= most, format!("≤ {most} floors")),
            Goal::Above(most) => (turns.above() <= most, format!("≤ {most} ns above")),
        };
        page::goal(met, &goal)
    }
}

/// Subjects that are measured against the first of them.
struct Row {
    name: &'static str,
    title: &'static str,
    subjects: Vec<Subject>,
    /// How many things are done in one operation.
    per_run: f64,
    goal: Goal,
}

fn guards() -> Vec<Row> {
    let row = |name, title, threads| Row {
        name,
        title,
        subjects: operations::guards(threads),
        per_run: 1.0,
        goal: Goal::Floors(1.3),
    };
    vec![
        row("guard/1", "create and drop, one thread", 1),
        row("guard/2", "create and drop, two threads", 2),
    ]
}

fn parked() -> Vec<Row> {
    let row = |name, title, threads| Row {
        name,
        title,
        subjects: operations::parked(threads),
        per_run: 1.0,
        goal: Goal::Above(2.0),
    };
    vec![
        row("parked/1", "polled again, one thread", 1),
        row("parked/2", "polled again, two threads", 2),
    ]
}

fn reads() -> Vec<Row> {
    vec![Row {
        name: "read",
        title: "created, pending once, ready",
        subjects: operations::reads(),
        per_run: 1.0,
        goal: Goal::Above(10.0),
    }]
}

fn wakes() -> Vec<Row> {
    let row = |name, title, waiters: usize| Row {
        name,
        title,
        subjects: operations::wakes(waiters),
        per_run: waiters as f64,
        goal: Goal::Above(10.0),
    };
    vec![
        row("wake/1000", "a waiter, of 1,000", 1_000),
        row("wake/100000", "a waiter, of 100,000", 100_000),
        row("wake/1000000", "a waiter, of 1,000,000", 1_000_000),
    ]
}

/// Measures floor and subject in turns; nanoseconds for each thing done.
fn measure(
    criterion: &mut Criterion,
    row: &mut Row,
    quick: bool,
) -> Vec<(&'static str, Turns)> {
    let (floor, subjects) = row.subjects.split_at_mut(1);
    let floor = &mut floor[0];
    let mut results = Vec::new();
    for subject in subjects {
        // By the length of the sample: those of the warm-up differ.
        let mut samples: HashMap<u64, Turns> = HashMap::new();
        let mut group = criterion.benchmark_group(row.name);
        group.sampling_mode(SamplingMode::Flat);
        if row.per_run > 1_000.0 {
            // To let that many wait takes longer than what is measured.
            group.sample_size(if quick { 10 } else { 30 });
        }
        group.bench_function(subject.name, |bencher| {
            bencher.iter_custom(|count| {
                let turns = samples.entry(count).or_default();
                let each = |time: Duration| time.as_nanos() as f64 / count as f64 / row.per_run;
                // Each goes first every other time.
                let floor_first = turns.floor.len().is_multiple_of(2);
                let early = floor_first.then(|| (floor.run)(count));
                let time = (subject.run)(count);
                turns
                    .floor
                    .push(each(early.unwrap_or_else(|| (floor.run)(count))));
                turns.subject.push(each(time));
                time
            });
        });
        group.finish();
        let longest_series = samples.into_values().max_by_key(|turns| turns.floor.len());
        // Nothing, when a filter leaves it out.
        results.extend(longest_series.map(|turns| (subject.name, turns)));
    }
    results
}

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    let (samples, time) = match args.quick {
        true => (40, Duration::from_millis(400)),
        false => (200, Duration::from_secs(2)),
    };
    let mut criterion = Criterion::default()
        .without_plots()
        .nresamples(2_000)
        .sample_size(samples)
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(time);
    if let Some(filter) = &args.filter {
        criterion = criterion.with_filter(filter.as_str());
    }
    if let Some(name) = &args.save_baseline {
        criterion = criterion.save_baseline(name.clone());
    }
    if let Some(name) = &args.baseline {
        criterion = criterion.retain_baseline(name.clone(), true);
    }

    type Rows = fn() -> Vec<Row>;
    let tables: [(&'static str, &'static str, Rows); 4] = [
        ("guard", "A guard", guards),
        ("parked", "A read that waits, and its stop", parked),
        ("read", "A whole read that a stop can end", reads),
        ("wake", "A stop that wakes those who wait", wakes),
    ];
    for (name, title, rows) in tables {
        let header = ["", "median", "floors", "above the floor", "goal"];
        let mut page = Page::new(name, title, &header);
        let mut bars = Vec::new();
        for mut row in rows() {
            let results = measure(&mut criterion, &mut row, args.quick);
            if results.is_empty() {
                continue;
            }
            let floors = results
                .iter()
                .flat_map(|(_, turns)| turns.floor.iter().copied());
            let floor = median(&floors.collect::<Vec<f64>>());
            let floor_name = row.subjects[0].name;
            page.rows.push(page::heading(row.title, 5));
            page.rows
                .push(cells([floor_name, &nanoseconds(floor), "1", "", ""]));
            let mut group = vec![(floor_name.to_owned(), floor)];
            for (subject, turns) in results {
                group.push((subject.to_owned(), turns.median()));
                let goal = match subject.starts_with("lameduck") {
                    true => row.goal.judge(&turns),
                    false => String::new(),
                };
                let (ratio, (low, high)) = turns.ratio();
                page.rows.push(vec![
                    subject.to_owned(),
                    nanoseconds(turns.median()),
                    format!("{ratio:.2} ({low:.2} to {high:.2})"),
                    nanoseconds(turns.above()),
                    goal,
                ]);
            }
            bars.push((row.title.to_owned(), group));
        }
        if !page.rows.is_empty() {
            page.picture = Some(plot::bars("ns", &bars)?);
            page.publish(&args)?;
        }
    }
    Ok(())
}

fn cells(cells: [&str; 5]) -> Vec<String> {
    cells.map(str::to_owned).to_vec()
}
