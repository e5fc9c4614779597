//! A mark in the environment of a server, by which all that it has started is found again:
//! also what has left its group and its session, as a daemon does. One that has lost its
//! mark is known as an orphan that this process has adopted. Linux only.

use std::process::Command;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Pid;

use super::adopted;
use crate::procfs::{self, Born, Carriers, Moment};

/// The name of the variable.
const NAME: &str = "LAMEDUCK_SERVER";

/// How many servers there are now.
static SERVERS: AtomicUsize = AtomicUsize::new(0);

/// How long a killed process may take to be gone, and a new program to start.
const LEAVING: Duration = Duration::from_secs(2);

/// How often it looks for them.
const POLL: Duration = Duration::from_millis(1);

/// The mark of one server.
#[derive(Debug)]
pub(super) struct Mark {
    value: String,
    made: Option<Moment>,
}

impl Mark {
    pub(super) fn new() -> Mark {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        // Relaxed: only that no two calls get the same number matters.
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        // SeqCst: whoever sees its processes must count it, too.
        SERVERS.fetch_add(1, Ordering::SeqCst);
        Mark {
            value: format!("{}-{number}", std::process::id()),
            made: Moment::now(),
        }
    }

    /// Sets the mark of what a command starts.
    pub(super) fn put(&self, command: &mut Command) {
        command.env(NAME, &self.value);
    }

    /// Returns the processes of the server, for people; none where there are none.
    pub(super) fn found(&self) -> Option<String> {
        procfs::names(&self.processes())
    }

    /// Kills every process of the server, and waits for their end.
    ///
    /// It looks again and again: a process can start another one after the look, and one
    /// that is just starting a program shows no mark.
    pub(super) fn kill(&self) {
        let begun = Instant::now();
        loop {
            let Carriers { known, unknown } = self.carriers();
            let orphans = self.orphans();
            for pid in &known {
                kill(*pid, || self.is_on(*pid));
            }
            for orphan in &orphans {
                kill(orphan.pid, || orphan.is_there());
            }
            let is_empty = known.is_empty() && unknown.is_empty() && orphans.is_empty();
            if is_empty || begun.elapsed() >= LEAVING {
                return;
            }
            std::thread::sleep(POLL);
        }
    }

    /// Returns the processes that carry the mark, and the orphans that have lost it.
    pub(super) fn processes(&self) -> Vec<i32> {
        let mut processes = self.carriers().known;
        processes.extend(self.orphans().into_iter().map(|orphan| orphan.pid));
        processes.sort_unstable();
        processes.dedup();
        processes
    }

    /// Returns the orphans that have lost their mark, and all that descends from them. Such
    /// an orphan does not tell whose it is: it is the server's where no other one runs.
    fn orphans(&self) -> Vec<Born> {
        let Some(made) = self.made else {
            return Vec::new();
        };
        let mut orphans = adopted::all();
        let is_unmarked = |orphan: &Born| !procfs::has_any(orphan.pid, NAME);
        orphans.retain(|orphan| orphan.is_since(made) && is_unmarked(orphan));
        // Asked last. SeqCst: the server of every orphan that was seen is counted by now.
        if SERVERS.load(Ordering::SeqCst) > 1 {
            return Vec::new();
        }
        orphans
    }

    fn carriers(&self) -> Carriers {
        procfs::carriers(NAME, &self.value, self.made)
    }

    fn is_on(&self, pid: i32) -> bool {
        procfs::has_variable(pid, NAME, &self.value)
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        SERVERS.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Kills a process that is still the one it was thought to be.
#[cfg(target_os = "linux")]
fn kill(pid: i32, is_still_it: impl Fn() -> bool) {
    use rustix::process::{PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

    // The descriptor names this process for ever, also when another one gets its number.
    if let Some(pid) = Pid::from_raw(pid)
        && let Ok(process) = pidfd_open(pid, PidfdFlags::empty())
        && is_still_it()
    {
        let _ = pidfd_send_signal(process, Signal::KILL);
    }
}

/// Elsewhere no process with a mark is ever found.
#[cfg(not(target_os = "linux"))]
fn kill(_: i32, _: impl Fn() -> bool) {}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::process::Stdio;

    use super::*;

    #[test]
    fn a_daemon_is_found_and_killed() {
        let (mark, other) = (Mark::new(), Mark::new());
        let mut command = Command::new("setsid");
        command.args(["--fork", "sleep", "600"]);
        mark.put(&mut command);
        assert!(command.status().unwrap().success());
        let begun = std::time::Instant::now();
        let is_there = || mark.found().is_some_and(|found| found.contains("sleep"));
        while !is_there() {
            assert!(begun.elapsed().as_secs() < 20, "it never starts");
        }
        other.kill();
        assert!(is_there());
        mark.kill();
        while mark.found().is_some() {
            assert!(begun.elapsed().as_secs() < 20, "it never ends");
        }
    }

    #[test]
    fn a_process_that_is_starting_a_program_is_killed_too() {
        // Each is most of its time between two programs, and none is left for ever if
        // this test fails.
        let next = "test $1 -lt 3000 && exec sh -c \"$0\" \"$0\" $(($1 + 1))";
        for _ in 0..100 {
            let mark = Mark::new();
            let mut command = Command::new("setsid");
            command.args(["--fork", "sh", "-c", next, next, "0"]);
            command.stdout(Stdio::null()).stderr(Stdio::null());
            mark.put(&mut command);
            for _ in 0..4 {
                assert!(command.status().unwrap().success());
            }
            mark.kill();
            // Of processes of others it may not be known, either.
            loop {
                let Carriers { known, unknown } = mark.carriers();
                assert!(known.is_empty(), "{known:?}");
                if unknown.is_empty() {
                    break;
                }
            }
        }
    }
}
