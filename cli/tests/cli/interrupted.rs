//! A check that is interrupted leaves nothing behind.

use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use crate::support::{Folder, LAMEDUCK, read};

const LONG: Duration = Duration::from_secs(20);

#[test]
fn ctrl_c_stops_the_server_and_says_so() {
    interrupt(Signal::INT, "none");
}

#[test]
fn sigterm_too() {
    interrupt(Signal::TERM, "none");
}

#[test]
fn also_a_server_that_waits_for_ever() {
    interrupt(Signal::INT, "no-deadline");
}

#[test]
fn what_was_seen_by_then_is_printed() {
    let folder = Folder::new("seen-by-then");
    let starts = folder.file("starts");
    let server = counted(&starts);
    let check = ["check", "--repeat-until-failure", "--scenario", "exit"];
    let mut tool = Command::new(LAMEDUCK);
    tool.args(check).args(["--", "sh", "-c", &server, LAMEDUCK]);
    let text = interrupted_at_the_third(&starts, tool);
    assert!(
        text.lines()
            .any(|line| line.trim_start().starts_with("exit ")),
        "{text}"
    );

    let starts = folder.file("starts-of-two");
    let server = counted(&starts);
    let file = folder.file("servers.toml");
    let command = format!("[\"sh\", \"-c\", '''{server}''', \"{LAMEDUCK}\"]");
    let text =
        format!("[[server]]\nname = \"good\"\ncommand = {command}\nprotocol = \"echo\"\n");
    std::fs::write(&file, text).unwrap();
    let mut tool = Command::new(LAMEDUCK);
    tool.args(["compare", "--rounds", "1000", "--scenario", "exit"])
        .arg(&file);
    let text = interrupted_at_the_third(&starts, tool);
    assert!(
        text.lines().any(|line| line.starts_with("| good")),
        "{text}"
    );
}

/// What is too late then says nothing about the server.
#[test]
fn a_round_in_which_nothing_ran_is_repeated() {
    let folder = Folder::new("stood-still");
    let starts = folder.file("starts");
    let server = counted(&starts);
    let tool = Command::new(LAMEDUCK)
        .args(["check", "--scenario", "exit", "--rounds", "1", "--"])
        .args(["sh", "-c", &server, LAMEDUCK])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_for_starts(&starts, 1);
    let pid = Pid::from_child(&tool);
    kill_process(pid, Signal::STOP).unwrap();
    // As long as the tool takes for a stall, and longer.
    std::thread::sleep(Duration::from_secs(3));
    kill_process(pid, Signal::CONT).unwrap();
    let output = tool.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("the machine stood still for "), "{said}");
    assert!(said.contains("it is repeated"), "{said}");
    // The server was started once more.
    let count = read(&starts).len();
    assert!(count >= 2, "{count} starts");
}

/// Returns the script of a good server that adds a byte to a file with each start.
fn counted(starts: &Path) -> String {
    format!(
        "echo >> {}; exec \"$0\" fixture none --listen $ADDR",
        starts.display()
    )
}

fn wait_for_starts(starts: &Path, count: usize) {
    let begun = Instant::now();
    while !(starts.exists() && read(starts).len() >= count) {
        assert!(begun.elapsed() < LONG, "there are no {count} servers");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Returns what the tool printed that was interrupted when it had started its third
/// server.
fn interrupted_at_the_third(starts: &Path, mut tool: Command) -> String {
    let tool = tool
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_for_starts(starts, 3);
    kill_process(Pid::from_child(&tool), Signal::INT).unwrap();
    let output = tool.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("interrupted"), "{said}");
    String::from_utf8(output.stdout).unwrap()
}

/// The server has a child in its group, and a file for a socket.
fn interrupt(signal: Signal, fault: &str) {
    let folder = Folder::new(&format!("{fault}-{}", signal.as_raw()));
    let numbers = folder.file("numbers");
    let script = format!(
        "sleep 600 & echo $! $$ end > {}; exec \"$0\" fixture {fault} --listen $ADDR --grace 600s",
        numbers.display()
    );
    let mut tool = Command::new(LAMEDUCK)
        .args(["check", "--limit", "600s", "--scenario", "stubborn", "--"])
        .args(["sh", "-c", &script, LAMEDUCK])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let pids = wait_for_numbers(&numbers);
    for pid in &pids {
        test_kill_process(*pid).expect("it runs");
    }
    kill_process(Pid::from_child(&tool), signal).unwrap();
    let mut said = String::new();
    tool.stderr
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    assert_eq!(tool.wait().unwrap().code(), Some(2), "{said}");
    assert!(
        said.contains("interrupted; the server was stopped"),
        "{said}"
    );
    for pid in pids {
        wait_for_end(pid);
    }
}

fn wait_for_numbers(file: &Path) -> Vec<Pid> {
    let begun = Instant::now();
    loop {
        if file.exists()
            && let Some(numbers) = read(file).trim().strip_suffix(" end")
        {
            let numbers = numbers.split(' ').map(|number| number.parse().unwrap());
            return numbers.map(|n| Pid::from_raw(n).unwrap()).collect();
        }
        assert!(begun.elapsed() < LONG, "the server never starts");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The orphan is waited for by whoever adopts it: that takes a moment, and in a
/// container without an init it stays a zombie.
fn wait_for_end(pid: Pid) {
    let begun = Instant::now();
    while test_kill_process(pid).is_ok() && !is_zombie(pid) {
        assert!(begun.elapsed() < LONG, "{pid:?} is left behind");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn is_zombie(pid: Pid) -> bool {
    let status = format!("/proc/{}/stat", pid.as_raw_nonzero());
    std::fs::read_to_string(status).is_ok_and(|stat| stat.contains(") Z "))
}
