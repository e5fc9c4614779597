//! The processor time that the threads of other processes have used, and wait for.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use super::{parse_stat, status_field};

/// Returns how often each thread of these processes has given up the processor; none if
/// one of them runs or wants to. Twice the same answer says that all of them were at
/// rest in between: whatever they had been told, they have acted on.
pub(crate) fn resting(processes: &[i32]) -> Option<BTreeMap<i32, u64>> {
    resting_but(processes, None)
}

/// Returns the same of all threads of this process but the one that asks.
pub(crate) fn others_resting() -> Option<BTreeMap<i32, u64>> {
    let own = fs::read_link("/proc/thread-self").ok()?;
    let own = own.file_name()?.to_str()?.parse().ok()?;
    resting_but(&[std::process::id().try_into().ok()?], Some(own))
}

fn resting_but(processes: &[i32], own: Option<i32>) -> Option<BTreeMap<i32, u64>> {
    let mut threads = BTreeMap::new();
    for pid in processes {
        let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else {
            // It has ended in the meantime.
            continue;
        };
        for task in tasks.flatten() {
            let thread = task.file_name().to_str()?.parse().ok()?;
            if own == Some(thread) {
                continue;
            }
            let Ok(status) = fs::read_to_string(task.path().join("status")) else {
                continue;
            };
            threads.insert(thread, parse_resting(&status)?);
        }
    }
    Some(threads)
}

/// Reads `/proc/PID/task/TID/status`.
fn parse_resting(status: &str) -> Option<u64> {
    let state = status_field(status, "State")?.chars().next()?;
    let count = |name| status_field(status, name)?.parse::<u64>().ok();
    // A system that does not count still tells the state.
    let switches = count("voluntary_ctxt_switches").unwrap_or(0)
        + count("nonvoluntary_ctxt_switches").unwrap_or(0);
    (!matches!(state, 'R' | 'D')).then_some(switches)
}

/// Returns the processor time that processes have used so far, and the time in which they
/// waited for a processor that others used. Their sum grows on a busy machine, too.
pub(crate) fn processor_time(processes: &[i32]) -> Option<Duration> {
    let mut wanted = Duration::ZERO;
    for pid in processes {
        wanted += match scheduled(*pid) {
            Some(Scheduled { ran, waited }) => ran + waited,
            None => computed(*pid)?,
        };
    }
    Some(wanted)
}

/// Returns how long processes have waited so far for a processor that others had, all of
/// their threads together. A process that has ended counts for nothing.
pub(crate) fn processor_wait(processes: &[i32]) -> Option<Duration> {
    fs::metadata("/proc/self/schedstat").ok()?;
    let scheduled = processes.iter().filter_map(|pid| scheduled(*pid));
    Some(scheduled.map(|scheduled| scheduled.waited).sum())
}

/// Returns the processor time that processes have taken so far, with their children that
/// have ended. One that has ended itself counts until it is waited for.
pub(crate) fn processor_ran(processes: &[i32]) -> Duration {
    let ticks = |pid: &i32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let stat = parse_stat(&stat)?;
        Some(stat.ticks + stat.children_ticks)
    };
    of_ticks(processes.iter().filter_map(ticks).sum())
}

/// The times that the scheduler has counted for all threads of a process.
struct Scheduled {
    ran: Duration,
    waited: Duration,
}

/// Reads both, which are in nanoseconds (Documentation/scheduler/sched-stats.rst of Linux).
fn scheduled(pid: i32) -> Option<Scheduled> {
    let (mut ran, mut waited) = (0, 0);
    for task in fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten() {
        let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
        let mut fields = text.split_whitespace();
        ran += fields.next()?.parse::<u64>().ok()?;
        waited += fields.next()?.parse::<u64>().ok()?;
    }
    Some(Scheduled {
        ran: Duration::from_nanos(ran),
        waited: Duration::from_nanos(waited),
    })
}

/// Returns the processor time that a process has had, where the scheduler counts nothing.
fn computed(pid: i32) -> Option<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(of_ticks(parse_stat(&stat)?.ticks))
}

/// Returns how long so many ticks are.
fn of_ticks(ticks: u64) -> Duration {
    let hertz = rustix::param::clock_ticks_per_second().max(1);
    Duration::from_millis(ticks * 1000 / hertz)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn the_wait_for_a_processor_that_others_have_is_counted() {
        use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

        let own = [i32::try_from(std::process::id()).unwrap()];
        let allowed = sched_getaffinity(None).unwrap();
        let first = (0..CpuSet::MAX_CPU)
            .find(|cpu| allowed.is_set(*cpu))
            .unwrap();
        let mut one = CpuSet::new();
        one.set(first);
        let before = processor_wait(&own);
        // One thread counts, and the other one has the same processor.
        let counted = std::thread::scope(|scope| {
            let compute = || {
                sched_setaffinity(None, &one).unwrap();
                let begun = std::time::Instant::now();
                while begun.elapsed() < Duration::from_millis(200) {
                    std::hint::spin_loop();
                }
                processor_wait(&own)
            };
            let threads = [scope.spawn(compute), scope.spawn(compute)];
            threads.map(|thread| thread.join().unwrap())
        });
        let Some(before) = before else {
            println!("skipped: this system does not count the wait for a processor");
            return;
        };
        let most = counted.into_iter().flatten().max().unwrap();
        let waited = most.saturating_sub(before);
        assert!(waited > Duration::from_millis(50), "{waited:?}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_time_that_a_process_computes_is_counted() {
        let own = [i32::try_from(std::process::id()).unwrap()];
        let begun = (std::time::Instant::now(), processor_ran(&own));
        while processor_ran(&own) - begun.1 < Duration::from_millis(50) {
            let waited = begun.0.elapsed();
            assert!(waited < Duration::from_secs(20), "it is not counted");
        }
    }

    #[test]
    fn a_thread_that_wants_the_processor_is_not_at_rest() {
        let status = |state| {
            format!(
                "Name:\tState: R\nState:\t{state}\nvoluntary_ctxt_switches:\t7\n\
                 nonvoluntary_ctxt_switches:\t2\n"
            )
        };
        assert_eq!(parse_resting(&status("S (sleeping)")), Some(9));
        assert_eq!(parse_resting(&status("R (running)")), None);
        assert_eq!(parse_resting(&status("D (disk sleep)")), None);
    }
}
