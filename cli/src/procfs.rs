//! Reads facts about other processes from `/proc`. On other systems than Linux each
//! function returns `None`, and the callers say what they could not see.

mod environment;
mod processor;

use std::collections::BTreeSet;
use std::fs;

pub(crate) use environment::{Carriers, carriers, has_any, has_variable};
pub(crate) use processor::{
    others_resting, processor_ran, processor_time, processor_wait, resting,
};

/// One line of `/proc/PID/stat`.
struct Stat {
    state: char,
    parent: i32,
    group: i32,
    flags: u64,
    /// The processor time that it has had, in ticks.
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

/// Reads `/proc/PID/stat` (`proc_pid_stat(5)`).
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

/// Reads the line of one process.
fn stat_of(pid: i32) -> Option<(i32, Stat)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some((pid, parse_stat(&stat)?))
}

/// Returns these processes and all that descend from them, as far as they are alive.
pub(crate) fn families(first: &[Born]) -> Vec<Born> {
    if first.is_empty() {
        return Vec::new();
    }
    let alive = processes().unwrap_or_default();
    with_descendants(alive, |born| first.contains(&born))
}

/// Returns a process and all that descend from it, as far as they are alive.
pub(crate) fn family(pid: i32) -> Option<Vec<i32>> {
    let family = with_descendants(processes()?, |born| born.pid == pid);
    Some(family.into_iter().map(|born| born.pid).collect())
}

/// Returns those of these processes that are wanted, and all that descend from them.
fn with_descendants(alive: Vec<(i32, Stat)>, is_wanted: impl Fn(Born) -> bool) -> Vec<Born> {
    let alive: Vec<(i32, Born)> = alive
        .into_iter()
        .map(|(pid, stat)| (stat.parent, of_stat((pid, stat))))
        .collect();
    let born = alive.iter().map(|(_, born)| *born);
    let mut found: Vec<Born> = born.filter(|born| is_wanted(*born)).collect();
    let mut families = Vec::new();
    while let Some(next) = found.pop() {
        if families.contains(&next) {
            continue;
        }
        families.push(next);
        let children = alive.iter().filter(|(parent, _)| *parent == next.pid);
        found.extend(children.map(|(_, born)| *born));
    }
    families
}

/// Returns the process of which a line was read.
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

/// Returns the processes of a group that are alive.
pub(crate) fn members(group: i32) -> Option<Vec<i32>> {
    let members = processes()?.into_iter();
    let members = members.filter(|(_, stat)| stat.group == group);
    Some(members.map(|(pid, _)| pid).collect())
}

/// Returns the first of some processes whose parent is none of them.
pub(crate) fn first_of(among: &[i32]) -> Option<i32> {
    let processes = processes()?.into_iter();
    let mut first =
        processes.filter(|(pid, stat)| among.contains(pid) && !among.contains(&stat.parent));
    first.next().map(|(pid, _)| pid)
}

/// The way in which a process reacts to a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Disposition {
    Default,
    Ignored,
    Caught,
}

/// Returns what a process does about a signal, if that is known.
pub(crate) fn disposition(pid: i32, signal: i32) -> Option<Disposition> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    parse_disposition(&status, signal)
}

/// Reads the masks of `/proc/PID/status`, whose lowest bit is that of signal 1.
fn parse_disposition(status: &str, signal: i32) -> Option<Disposition> {
    let bit = u32::try_from(signal).ok()?.checked_sub(1)?;
    let is_in = |name| {
        let mask = u64::from_str_radix(status_field(status, name)?, 16).ok()?;
        Some(mask.checked_shr(bit)? & 1 == 1)
    };
    Some(match (is_in("SigIgn")?, is_in("SigCgt")?) {
        (true, _) => Disposition::Ignored,
        (_, true) => Disposition::Caught,
        _ => Disposition::Default,
    })
}

/// Returns a field of `/proc/PID/status` or `/proc/PID/task/TID/status`.
fn status_field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = status.lines();
    let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    Some(value.trim())
}

/// Returns what a process calls itself.
pub(crate) fn name(pid: i32) -> Option<String> {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    Some(name.trim().to_owned())
}

/// Returns the names and numbers of processes that are still there, for people; none where
/// there are none.
pub(crate) fn names(processes: &[i32]) -> Option<String> {
    let names = processes
        .iter()
        .filter_map(|pid| Some(format!("{} ({pid})", name(*pid)?)));
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

    #[test]
    fn what_a_process_does_about_a_signal_is_known_by_its_masks() {
        let status = "SigBlk:\t0000000000000000\nSigIgn:\t8000000000000001\n\
                      SigCgt:\t0000000000004002\n";
        let of = |signal| parse_disposition(status, signal);
        assert_eq!(of(1), Some(Disposition::Ignored));
        assert_eq!(of(64), Some(Disposition::Ignored));
        assert_eq!(of(2), Some(Disposition::Caught));
        assert_eq!(of(15), Some(Disposition::Caught));
        assert_eq!(of(10), Some(Disposition::Default));
        assert_eq!((of(0), of(65)), (None, None));
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
}
