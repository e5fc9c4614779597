//! Thousands of stops, and the simplest one that fails.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use super::Sim;
use super::verify::{self, History, Violation};
use crate::report::Report;
use crate::signal::Signal;

/// The number of stops, unless `LAMEDUCK_CASES` says otherwise.
const CASES: u64 = 1000;

/// The number of runs that are spent on making a failure simpler.
const ATTEMPTS: usize = 2000;

/// More than any stop needs that has an end.
const MAX_STEPS: usize = 1_000_000;

/// The settings of a [`check`].
///
/// ```
/// use futures::io::AsyncWriteExt;
/// use lameduck::sim::Check;
///
/// Check::new().cases(50).run(|sim| {
///     sim.serve(|mut session| async move { session.write_all(b"hello").await });
///     sim.client(async |client| client.request(b"", b"hello").await);
/// });
/// ```
#[derive(Clone, Debug)]
pub struct Check {
    first_seed: u64,
    cases: u64,
    /// Whether the environment says it, which has the last word.
    is_given: bool,
}

impl Default for Check {
    fn default() -> Check {
        Check::new()
    }
}

impl Check {
    /// Creates a check of a thousand stops. `LAMEDUCK_CASES` in the environment
    /// changes the number; `LAMEDUCK_SEED` takes just the stop of that seed.
    pub fn new() -> Check {
        let number = |name| std::env::var(name).ok().and_then(|text| text.parse().ok());
        let (seed, cases) = (number("LAMEDUCK_SEED"), number("LAMEDUCK_CASES"));
        Check {
            first_seed: seed.unwrap_or(0),
            cases: seed.map_or(cases.unwrap_or(CASES), |_| 1),
            is_given: seed.is_some() || cases.is_some(),
        }
    }

    /// Sets the number of stops, unless the environment does. Default: 1000.
    pub fn cases(mut self, cases: u64) -> Check {
        if !self.is_given {
            self.cases = cases;
        }
        self
    }

    /// Sets the first seed, unless the environment does. Default: 0.
    pub fn from(mut self, seed: u64) -> Check {
        if !self.is_given {
            self.first_seed = seed;
        }
        self
    }

    /// Runs `scenario` with one seed after the other; see [`check`].
    ///
    /// # Panics
    /// When a stop breaks a promise.
    pub fn run(&self, scenario: impl Fn(&mut Sim)) {
        for seed in self.first_seed..self.first_seed.saturating_add(self.cases) {
            if let Err(failure) = attempt(Sim::new(seed), &scenario) {
                panic!("{}", describe(seed, failure, &scenario));
            }
        }
    }
}

/// Takes `scenario` through a thousand stops, and checks that nothing was lost.
///
/// `scenario` makes a server and its clients; what it takes from [`Sim::choose`]
/// differs from stop to stop. Where it does not ask for the stop itself, a
/// SIGTERM comes at a moment that differs from seed to seed, between two polls
/// or in the middle of one. Then the simulation runs to its end. The
/// [checkers](verify) judge, and then the scenario's own
/// [assertions](Sim::at_end).
///
/// # Panics
/// When a stop breaks a promise, or `scenario` panics itself: with the seed,
/// the version of this crate, and the trace of the simplest stop that fails.
/// `LAMEDUCK_SEED` then repeats just that seed; `LAMEDUCK_CASES` sets the number
/// of stops.
pub fn check(scenario: impl Fn(&mut Sim)) {
    Check::new().run(scenario);
}

struct Failure {
    problem: String,
    trace: String,
    choices: Vec<u32>,
}

fn attempt(mut sim: Sim, scenario: &impl Fn(&mut Sim)) -> Result<(), Failure> {
    let ran = catch_unwind(AssertUnwindSafe(|| {
        // Busy machines and others, runtimes that yield and others.
        let micros = [1, 1, 10, 100][sim.choose(4) as usize];
        sim.poll_cost(Duration::from_micros(micros));
        let yields = sim.choose(4) == 3;
        sim.forced_yields(yields);
        scenario(&mut sim);
        finish(&mut sim)
    }));
    let problem = match ran {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(problem)) => problem,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            format!("panicked: {}", text.unwrap_or("with something unknown"))
        }
    };
    Err(Failure {
        problem,
        trace: sim.trace(),
        choices: sim.into_choices(),
    })
}

/// Stops the server at some moment, runs to the end, and judges.
fn finish(sim: &mut Sim) -> Result<(), String> {
    let one_signal = !sim.is_stop_requested;
    if one_signal {
        run_until_stop(sim);
        if sim.choose(2) == 0 {
            sim.signal(Signal::Terminate);
        } else {
            sim.signal_in_poll(Signal::Terminate);
        }
    }
    let Some(report) = sim.run(MAX_STEPS) else {
        return Err("L1: the stop has no end".to_owned());
    };
    let history = sim.history();
    // The server's own tasks take time, too.
    let budget = sim.budget.saturating_add(Duration::from_millis(50));
    judge(&history, &report, budget, one_signal).map_err(|violation| violation.to_string())?;
    let assertions = std::mem::take(&mut sim.at_end);
    assertions
        .into_iter()
        .try_for_each(|assertion| assertion(&history, &report))
}

/// Runs until the moment of the stop: after a number of steps, or at a time,
/// which finds the gaps in which nothing happens. It is as often early as late:
/// the scale is chosen first.
fn run_until_stop(sim: &mut Sim) {
    let is_by_time = sim.choose(2) == 1;
    let scale = sim.choose(11);
    let number = sim.choose(1 << scale);
    if is_by_time {
        // Up to two milliseconds, in which a service has answered a lot.
        let time = Duration::from_micros(u64::from(number) * 2);
        sim.advance(time, MAX_STEPS);
    } else {
        for _ in 0..number {
            if !sim.step() {
                break;
            }
        }
    }
}

/// Only a stop without an abort has to sweep every queue.
fn judge(
    history: &History,
    report: &Report,
    budget: Duration,
    one_signal: bool,
) -> Result<(), Violation> {
    verify::within_budget(history, budget)?;
    if one_signal {
        verify::queues_swept(history, report)?;
    }
    verify::all(history, report)
}

fn describe(seed: u64, failure: Failure, scenario: &impl Fn(&mut Sim)) -> String {
    let first = failure.problem.clone();
    let (simplest, attempts) = shrink(failure, scenario);
    let Failure { problem, trace, .. } = simplest;
    let version = env!("CARGO_PKG_VERSION");
    let mut text = format!(
        "seed {seed} of lameduck {version}: {problem}\n\
         To see just this one: LAMEDUCK_SEED={seed}\n\
         The simplest that was found, in {attempts} attempts:\n\n{trace}"
    );
    if problem != first {
        text += &format!("\nBefore it was made simpler: {first}\n");
    }
    text
}

/// Makes the list of choices shorter and its numbers smaller, as long as the
/// run still fails.
fn shrink(mut best: Failure, scenario: &impl Fn(&mut Sim)) -> (Failure, usize) {
    let mut attempts = 0;
    let is_better = |best: &mut Failure, choices: Vec<u32>, attempts: &mut usize| {
        if *attempts == ATTEMPTS || choices == best.choices {
            return false;
        }
        *attempts += 1;
        match attempt(Sim::with_choices(choices.iter().copied()), scenario) {
            // Simpler in the order of length first, then of numbers.
            Err(failure) if measure(&failure.choices) < measure(&best.choices) => {
                *best = failure;
                true
            }
            _ => false,
        }
    };
    loop {
        let before = measure(&best.choices);
        let mut size = best.choices.len().next_power_of_two();
        while size > 0 {
            let mut from = 0;
            while from < best.choices.len() {
                let to = (from + size).min(best.choices.len());
                let mut without = best.choices.clone();
                without.drain(from..to);
                let mut zeroed = best.choices.clone();
                zeroed[from..to].fill(0);
                if !is_better(&mut best, without, &mut attempts)
                    && !is_better(&mut best, zeroed, &mut attempts)
                {
                    from += size;
                }
            }
            size /= 2;
        }
        for at in 0..best.choices.len() {
            while let Some(half) = best.choices.get(at).map(|choice| choice / 2) {
                let mut smaller = best.choices.clone();
                smaller[at] = half;
                if !is_better(&mut best, smaller, &mut attempts) {
                    break;
                }
            }
        }
        if measure(&best.choices) == before || attempts == ATTEMPTS {
            return (best, attempts);
        }
    }
}

fn measure(choices: &[u32]) -> (usize, u64) {
    (
        choices.len(),
        choices.iter().map(|choice| u64::from(*choice)).sum(),
    )
}
