//! The file `lameduck.toml`.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::{Folder, LAMEDUCK, Process, lameduck, read};

/// Runs the tool in a folder.
fn within(folder: &Path, args: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(LAMEDUCK);
    command.args(args).current_dir(folder).stdin(Stdio::null());
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let status = output.status.code().unwrap();
    (status, text(output.stdout), text(output.stderr))
}

#[test]
fn a_check_without_words_runs_what_the_nearest_file_says() {
    let folder = Folder::new("file");
    let below = folder.file("src/deep");
    std::fs::create_dir_all(&below).unwrap();
    std::os::unix::fs::symlink(LAMEDUCK, folder.file("server")).unwrap();
    let text = "[check]\ncommand = [\"./server\", \"fixture\", \"none\", \"--listen\", \
                \"{addr}\"]\nscenarios = [\"frozen\", \"exit\"]\nrounds = 2\nconnections = 3\n\
                junit = \"result.xml\"\nmarkdown = true\nquiet = false\n";
    std::fs::write(folder.file("lameduck.toml"), text).unwrap();
    let (status, stdout, stderr) = within(&below, &["check"]);
    assert_eq!(status, 0, "{stdout}{stderr}");
    let rows: Vec<&str> = stdout
        .lines()
        .filter(|line| line.contains("passed  |"))
        .collect();
    assert_eq!(rows.len(), 2, "{stdout}");
    // Paths of the file are those of its folder.
    assert!(read(&folder.file("result.xml")).contains("frozen"));
    // The command line wins.
    let (status, stdout, _) = within(&below, &["check", "--scenario", "exit", "--rounds", "1"]);
    assert_eq!(status, 0, "{stdout}");
    assert!(!stdout.contains("frozen"), "{stdout}");
}

#[test]
fn the_file_of_a_body_is_one_of_the_folder_of_the_check_file() {
    let folder = Folder::new("body");
    let below = folder.file("deep");
    std::fs::create_dir_all(&below).unwrap();
    let command = [
        "fixture",
        "none",
        "--protocol",
        "http",
        "--listen",
        "{addr}",
    ];
    let text = format!(
        "[check]\ncommand = {:?}\nprotocol = \"http\"\nscenario = \"exit\"\nrounds = 1\n\
         request = \"POST /orders\"\nbody = \"@order.json\"\n",
        [&[LAMEDUCK][..], &command].concat()
    );
    std::fs::write(folder.file("lameduck.toml"), text).unwrap();
    let (status, _, stderr) = within(&below, &["check"]);
    assert_eq!(status, 2, "{stderr}");
    std::fs::write(folder.file("order.json"), "{}").unwrap();
    let (status, stdout, stderr) = within(&below, &["check"]);
    assert_eq!(status, 0, "{stdout}{stderr}");
}

#[test]
fn a_command_of_its_own_needs_no_file_and_a_named_one_is_taken_all_the_same() {
    let folder = Folder::new("named");
    let text = "[check]\nscenario = \"exit\"\nrounds = 1\n";
    std::fs::write(folder.file("lameduck.toml"), "colour = 1").unwrap();
    std::fs::write(folder.file("other.toml"), text).unwrap();
    let server = ["--", LAMEDUCK, "fixture", "none", "--listen", "{addr}"];
    let few = ["check", "--scenario", "exit", "--rounds", "1"];
    let (status, ..) = within(&folder.file(""), &[&few[..], &server].concat());
    assert_eq!(status, 0);
    let named = ["check", "--config", "other.toml"];
    let (status, stdout, _) = within(&folder.file(""), &[&named[..], &server].concat());
    assert_eq!(status, 0);
    assert!(stdout.contains("passed=1 failed=0 skipped=0"), "{stdout}");
}

#[test]
fn a_file_can_hold_the_load_of_a_deploy() {
    let folder = Folder::new("deploy");
    let (_server, address) = Process::fixture("none", "http");
    let text = format!(
        "[during]\naddress = \"{address}\"\nrate = 50.5\nbefore = \"100ms\"\nafter = \
         \"100ms\"\ncommand = [\"touch\", \"deployed\"]\nheader = [\"A: 1\", \"B: 2\"]\n"
    );
    std::fs::write(folder.file("lameduck.toml"), text).unwrap();
    let (status, stdout, stderr) = within(&folder.file(""), &["during"]);
    assert_eq!(status, 0, "{stdout}{stderr}");
    assert!(folder.file("deployed").exists());
    let (status, ..) = within(&folder.file(""), &["during", "--", "touch", "again"]);
    assert_eq!(status, 0);
    assert!(folder.file("again").exists());
}

#[test]
fn a_mistake_in_the_file_is_named_with_the_file() {
    let folder = Folder::new("file-mistake");
    let path = folder.file("mine.toml");
    for (text, reason) in [
        ("[chek]", "unknown table [chek]"),
        ("[during]", "there is no table [check]"),
        (
            "[check]\ncolour = 1",
            "unknown key `colour`; there are command, protocol",
        ),
        ("[check]\ncolour = 1", " scenarios, "),
        ("[check]\nquiet = 1", "`quiet` is true or false"),
        (
            "[check]\ncommand = \"./server\"",
            "`command` is an array of words",
        ),
        (
            "[check]\nrounds = {}",
            "`rounds` is a text, a number, or an array",
        ),
        ("[check", "line 1"),
    ] {
        std::fs::write(&path, text).unwrap();
        let answer = lameduck(&["check", "--config", path.to_str().unwrap()]);
        assert_eq!(answer.status, 2, "{answer:?}");
        assert!(answer.stderr.contains(reason), "{reason}: {answer:?}");
        assert!(answer.stderr.contains("mine.toml"), "{answer:?}");
    }
    std::fs::write(&path, "[check]\nrounds = 0\ncommand = [\"true\"]").unwrap();
    let answer = lameduck(&["check", "--config", path.to_str().unwrap()]);
    assert_eq!(answer.status, 2, "{answer:?}");
    assert!(answer.stderr.contains("--rounds"), "{answer:?}");
}

#[test]
fn a_list_needs_no_file() {
    let folder = Folder::new("list");
    std::fs::write(folder.file("lameduck.toml"), "colour = 1").unwrap();
    let (status, stdout, _) = within(&folder.file(""), &["check", "--list"]);
    assert_eq!(status, 0);
    assert!(stdout.starts_with("### frozen"), "{stdout}");
}
