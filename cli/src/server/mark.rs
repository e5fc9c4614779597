//! A mark in the environment of a server, by which all that it has started is found again:
//! also what has left its group and its session, as a daemon does. Linux only.

use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Pid;

use crate::procfs::{self, Carriers, Moment};

/// The name of the variable.
const NAME: &str = "LAMEDUCK_SERVER";

/// How long a killed process may take to be gone, and a new program to start.
const LEAVING: Duration = Duration::from_secs(2);

/// How often it looks for them.
const POLL: Duration = Duration::from_millis(1);

/// The mark of one server.
#[derive(Clone, Debug)]
pub(super) struct Mark {
    value: String,
    made: Option<Moment>,
}

impl Mark {
    pub(super) fn new() -> Mark {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        // Relaxed: only that no two calls get the same number matters.
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Mark {
            value: format!("{}-{number}", std::process::id()),
            made: Moment::now(),
        }
    }

    /// Sets the mark of what a command starts.
    pub(super) fn put(&self, command: &mut Command) {
        command.env(NAME, &self.value);
    }

    /// Returns the processes that carry the mark, for people; none where there are none.
    pub(super) fn found(&self) -> Option<String> {
        procfs::names(&self.processes())
    }

    /// Kills every process that carries the mark, and waits for their end.
    ///
    /// It looks again and again: a process can start another one after the look, and one
    /// that is just starting a program shows no mark.
    pub(super) fn kill(&self) {
        let begun = Instant::now();
        loop {
            let Carriers { known, unknown } = self.carriers();
            for pid in &known {
                kill(*pid, || self.is_on(*pid));
            }
            if known.is_empty() && unknown.is_empty() || begun.elapsed() >= LEAVING {
                return;
            }
            std::thread::sleep(POLL);
        }
    }

    /// Returns the processes that carry the mark.
    pub(super) fn processes(&self) -> Vec<i32> {
        self.carriers().known
    }

    fn carriers(&self) -> Carriers {
        procfs::carriers(NAME, &self.value, self.made)
    }

    fn is_on(&self, pid: i32) -> bool {
        procfs::has_variable(pid, NAME, &self.value)
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
