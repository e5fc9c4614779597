//! Reads facts about other processes from `/proc`. On other systems than Linux each
//! function returns `None`, and the callers say what they could not see.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{ErrorKind, Read};
use std::time::Duration;

/// One line of `/proc/PID/stat`.
struct Stat {
    state: char,
    parent: i32,
    group: i32,
    flags: u64,
    ticks: u64,
    /// The same of its children that it has waited for.
    children_ticks: u64,
    /// When it was started, in ticks after the system was.
    started: u64,
}

impl Stat {
    fn has_ended(&self) -> bool {
        matches!(self.state, 'Z' | 'X')
    }
}

fn parse_stat(text: &str) -> Option<Stat> {
    // The name, in parentheses, can hold anything, also a parenthesis.
    let (_, rest) = text.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
    Some(Stat {
        state: fields.first()?.chars().next()?,
        parent: fields.get(1)?.parse().ok()?,
        group: fields.get(2)?.parse().ok()?,
        flags: number(6)?,
        ticks: number(11)? + number(12)?,
        children_ticks: number(13)? + number(14)?,
        started: number(19)?,
    })
}

/// Returns every process that is alive.
fn processes() -> Option<Vec<(i32, Stat)>> {
    let mut processes = alive_or_ended()?;
    processes.retain(|(_, stat)| !stat.has_ended());
    Some(processes)
}

/// Returns every process, also those that have ended and that nobody has waited for.
fn alive_or_ended() -> Option<Vec<(i32, Stat)>> {
    let mut processes = Vec::new();
    for entry in fs::read_dir("/proc").ok()?.flatten() {
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let stat = fs::read_to_string(entry.path().join("stat")).ok();
        if let Some(stat) = stat.as_deref().and_then(parse_stat) {
            processes.push((pid, stat));
        }
    }
    // No process at all means that there is no usable /proc.
    fs::metadata("/proc/self/stat").ok().map(|_| processes)
}

/// A process, and not another one that gets its number later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Born {
    pub(crate) pid: i32,
    /// When it was started, in ticks after the system was.
    started: u64,
}

impl Born {
    /// Says whether it can have been started at this moment or later.
    pub(crate) fn is_since(self, moment: Moment) -> bool {
        self.started + 1 >= moment.0
    }

    /// Says whether it is still there.
    pub(crate) fn is_there(self) -> bool {
        born(self.pid) == Some(self)
    }
}

/// Returns the process that has this number now.
pub(crate) fn born(pid: i32) -> Option<Born> {
    stat_of(pid).map(of_stat)
}

/// Returns the children of this process that are alive, or those that have ended.
pub(crate) fn children(have_ended: bool) -> Option<Vec<Born>> {
    let own = i32::try_from(std::process::id()).ok()?;
    let mut all = match listed_children() {
        Some(listed) => listed.into_iter().filter_map(stat_of).collect(),
        None => alive_or_ended()?,
    };
    all.retain(|(_, stat)| stat.parent == own && stat.has_ended() == have_ended);
    Some(all.into_iter().map(of_stat).collect())
}

/// Returns the children that the system lists (CONFIG_PROC_CHILDREN): they are known
/// without a look at every process.
fn listed_children() -> Option<Vec<i32>> {
    let mut listed = Vec::new();
    for task in fs::read_dir("/proc/self/task").ok()?.flatten() {
        match fs::read_to_string(task.path().join("children")) {
            Ok(text) => listed.extend(
                text.split_whitespace()
                    .filter_map(|pid| pid.parse::<i32>().ok()),
            ),
            // The system has no such list, or the thread has just ended, and its children
            // are another one's now.
            Err(_) => return None,
        }
    }
    Some(listed)
}

fn stat_of(pid: i32) -> Option<(i32, Stat)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some((pid, parse_stat(&stat)?))
}

/// Returns these processes and all that descend from them, as far as they are alive.
pub(crate) fn families(first: &[Born]) -> Vec<Born> {
    if first.is_empty() {
        return Vec::new();
    }
    let processes = processes().unwrap_or_default();
    let processes: Vec<(i32, Born)> = processes
        .into_iter()
        .map(|(pid, stat)| (stat.parent, of_stat((pid, stat))))
        .collect();
    let mut families: Vec<Born> = Vec::new();
    let mut found = first.to_vec();
    found.retain(|first| processes.iter().any(|(_, born)| born == first));
    while let Some(next) = found.pop() {
        if families.contains(&next) {
            continue;
        }
        families.push(next);
        let children = processes.iter().filter(|(parent, _)| *parent == next.pid);
        found.extend(children.map(|(_, born)| *born));
    }
    families
}

fn of_stat((pid, stat): (i32, Stat)) -> Born {
    let started = stat.started;
    Born { pid, started }
}

/// Returns the numbers of all processes that are alive.
pub(crate) fn all() -> Option<Vec<i32>> {
    Some(processes()?.into_iter().map(|(pid, _)| pid).collect())
}

/// A moment on the clock of the system, in its ticks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment(u64);

impl Moment {
    /// Returns the time since the system started (`proc_uptime(5)`).
    pub(crate) fn now() -> Option<Moment> {
        let uptime = fs::read_to_string("/proc/uptime").ok()?;
        let seconds: f64 = uptime.split_whitespace().next()?.parse().ok()?;
        let ticks = rustix::param::clock_ticks_per_second();
        Some(Moment((seconds * ticks as f64) as u64))
    }
}

/// The processes that carry a variable, and those of which it cannot be told now.
#[derive(Debug, Default)]
pub(crate) struct Carriers {
    pub(crate) known: Vec<i32>,
    /// They are between two programs, or between the last one and their end.
    pub(crate) unknown: Vec<i32>,
}

/// Returns who was started with this variable, which nobody had before `since`.
pub(crate) fn carriers(name: &str, value: &str, since: Option<Moment>) -> Carriers {
    // In include/linux/sched.h: a thread of the kernel, which runs no program.
    const PF_KTHREAD: u64 = 0x0020_0000;
    let mut carriers = Carriers::default();
    let mut buffer = vec![0; ENVIRONMENT];
    for (pid, stat) in processes().unwrap_or_default() {
        // A process that is older and shows no environment was started without one.
        let is_candidate = stat.flags & PF_KTHREAD == 0
            && since.is_some_and(|since| stat.started + 1 >= since.0);
        match environment(pid, &mut buffer) {
            Some(environment) if holds(environment, name, value) => carriers.known.push(pid),
            Some([]) if is_candidate => carriers.unknown.push(pid),
            _ => {}
        }
    }
    carriers
}

/// Says whether a process was started with this variable.
pub(crate) fn has_variable(pid: i32, name: &str, value: &str) -> bool {
    let mut buffer = vec![0; ENVIRONMENT];
    let environment = environment(pid, &mut buffer);
    environment.is_some_and(|environment| holds(environment, name, value))
}

/// Says whether a process was started with a variable of this name.
pub(crate) fn has_any(pid: i32, name: &str) -> bool {
    let start = format!("{name}=");
    let mut buffer = vec![0; ENVIRONMENT];
    environment(pid, &mut buffer).is_some_and(|environment| {
        let mut variables = environment.split(|byte| *byte == 0);
        variables.any(|variable| variable.starts_with(start.as_bytes()))
    })
}

/// Room for most environments.
const ENVIRONMENT: usize = 64 << 10;

/// Returns the environment with which a process was started; none where it is another
/// user's, and not ours to see, and an empty one where there is none at the moment.
///
/// It is read by one call: between two, the process can start another program, and what
/// was read would be a part (`environ_read` in fs/proc/base.c of Linux).
fn environment(pid: i32, buffer: &mut Vec<u8>) -> Option<&[u8]> {
    loop {
        let read = fs::File::open(format!("/proc/{pid}/environ"))
            .and_then(|mut file| file.read(buffer));
        match read {
            Ok(length) if length < buffer.len() => return Some(&buffer[..length]),
            Ok(length) => buffer.resize(2 * length, 0),
            Err(error) if error.kind() == ErrorKind::PermissionDenied => return None,
            Err(_) => return Some(&[]),
        }
    }
}

fn holds(environment: &[u8], name: &str, value: &str) -> bool {
    let wanted = format!("{name}={value}");
    let mut variables = environment.split(|byte| *byte == 0);
    variables.any(|variable| variable == wanted.as_bytes())
}

/// Returns the processes of a group that are alive.
pub(crate) fn members(group: i32) -> Option<Vec<i32>> {
    let members = processes()?.into_iter();
    let members = members.filter(|(_, stat)| stat.group == group);
    Some(members.map(|(pid, _)| pid).collect())
}

/// Returns a process and all that descend from it, as far as they are alive.
pub(crate) fn family(pid: i32) -> Option<Vec<i32>> {
    let processes = processes()?;
    let mut family: Vec<i32> = Vec::new();
    let mut found: Vec<i32> = processes
        .iter()
        .filter_map(|(id, _)| (*id == pid).then_some(*id))
        .collect();
    while let Some(next) = found.pop() {
        family.push(next);
        let children = processes.iter().filter(|(_, stat)| stat.parent == next);
        found.extend(children.map(|(id, _)| *id));
    }
    Some(family)
}

/// Returns the first of some processes whose parent is none of them.
pub(crate) fn first_of(among: &[i32]) -> Option<i32> {
    let processes = processes()?.into_iter();
    let mut first =
        processes.filter(|(pid, stat)| among.contains(pid) && !among.contains(&stat.parent));
    first.next().map(|(pid, _)| pid)
}

/// Returns what a process calls itself.
pub(crate) fn name(pid: i32) -> Option<String> {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    Some(name.trim().to_owned())
}

/// Returns the names and numbers of processes, for people; none where there are none.
pub(crate) fn names(processes: &[i32]) -> Option<String> {
    let names = processes.iter().map(|pid| {
        let name = name(*pid).unwrap_or_default();
        format!("{name} ({pid})")
    });
    let names: Vec<String> = names.collect();
    (!names.is_empty()).then(|| names.join(", "))
}

/// Says whether every thread of every one of these processes stands still.
pub(crate) fn are_stopped(processes: &[i32]) -> Option<bool> {
    let mut threads = 0;
    for pid in processes {
        let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else {
            // It has ended in the meantime.
            continue;
        };
        for task in tasks.flatten() {
            let Ok(stat) = fs::read_to_string(task.path().join("stat")) else {
                continue;
            };
            if !matches!(parse_stat(&stat)?.state, 'T' | 't' | 'Z' | 'X') {
                return Some(false);
            }
            threads += 1;
        }
    }
    fs::metadata("/proc/self/stat").ok().map(|_| threads > 0)
}

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
    let field = |name: &str| {
        let mut lines = status.lines();
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
    };
    let state = field("State")?.trim_start().chars().next()?;
    let count = |name| field(name)?.trim().parse::<u64>().ok();
    // A system that does not count still tells the state.
    let switches = count("voluntary_ctxt_switches").unwrap_or(0)
        + count("nonvoluntary_ctxt_switches").unwrap_or(0);
    (!matches!(state, 'R' | 'D')).then_some(switches)
}

/// Returns the processor time that processes have taken so far, and have waited for
/// where others had the processor: what they want is then known on a busy machine, too.
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

/// Both are in nanoseconds (Documentation/scheduler/sched-stats.rst of Linux).
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

fn computed(pid: i32) -> Option<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(of_ticks(parse_stat(&stat)?.ticks))
}

fn of_ticks(ticks: u64) -> Duration {
    let hertz = rustix::param::clock_ticks_per_second().max(1);
    Duration::from_millis(ticks * 1000 / hertz)
}

/// Returns the descriptors that a process has open.
pub(crate) fn descriptors(pid: i32) -> Option<BTreeSet<u64>> {
    let open = fs::read_dir(format!("/proc/{pid}/fd")).ok()?.flatten();
    let number = |entry: fs::DirEntry| entry.file_name().to_str()?.parse().ok();
    Some(open.filter_map(number).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_spaces_and_parentheses() {
        let line = "7 (a) b (c) S 1 42 42 0 -1 64 0 0 0 0 30 12 5 2 20 0 1 0 991 5000";
        let stat = parse_stat(line).unwrap();
        let found = (stat.state, stat.parent, stat.group, stat.flags);
        assert_eq!(found, ('S', 1, 42, 64));
        assert_eq!(
            (stat.ticks, stat.children_ticks, stat.started),
            (42, 7, 991)
        );
    }

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

    /// It is so whether the system lists the children of a process or not.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_child_is_known_alive_and_ended() {
        let mut command = std::process::Command::new("cat");
        let mut child = command.stdin(std::process::Stdio::piped()).spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let born = born(pid).unwrap();
        assert!(children(false).unwrap().contains(&born));
        assert!(!children(true).unwrap().contains(&born));
        if let Some(listed) = listed_children() {
            assert!(listed.contains(&pid), "{listed:?}");
        }
        // It ends with its input.
        drop(child.stdin.take());
        let begun = std::time::Instant::now();
        while !children(true).unwrap().contains(&born) {
            assert!(begun.elapsed().as_secs() < 20, "it never ends");
        }
        child.wait().unwrap();
        assert!(!children(true).unwrap().contains(&born));
        assert!(!born.is_there());
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
