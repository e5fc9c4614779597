//! Manual pages and completions.

use std::process::{Command, Stdio};

use crate::support::{Folder, lameduck, read};

#[test]
fn each_command_has_a_manual_page() {
    let folder = Folder::new("manual");
    let answer = lameduck(&["man", "--directory", folder.file("").to_str().unwrap()]);
    assert_eq!(answer.status, 0, "{answer:?}");
    for (page, text) in [
        ("lameduck.1", "lameduck\\-during(1)"),
        ("lameduck-check.1", "\\-\\-large\\-path"),
        ("lameduck-compare.1", "\\-\\-html"),
        ("lameduck-during.1", "\\-\\-rate"),
        ("lameduck-self-test.1", "\\-\\-rounds"),
    ] {
        assert!(read(&folder.file(page)).contains(text), "{page}");
    }
    let answer = lameduck(&["man"]);
    assert!(answer.stdout.contains(".TH lameduck 1"), "{answer:?}");
}

#[test]
fn each_shell_has_completions_and_bash_takes_its_own() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let answer = lameduck(&["completions", shell]);
        assert_eq!(answer.status, 0, "{answer:?}");
        assert!(answer.stdout.contains("self-test"), "{shell}: {answer:?}");
    }
    let folder = Folder::new("completions");
    let script = folder.file("lameduck.bash");
    std::fs::write(&script, lameduck(&["completions", "bash"]).stdout).unwrap();
    let test = format!(
        ". {}; COMP_WORDS=(lameduck du) COMP_CWORD=1; _lameduck lameduck du lameduck; \
         echo \"${{COMPREPLY[@]}}\"",
        script.display()
    );
    let mut bash = Command::new("bash");
    bash.args(["-c", &test]).stdin(Stdio::null());
    match bash.output() {
        Ok(output) => assert_eq!(String::from_utf8_lossy(&output.stdout), "during\n"),
        Err(error) => eprintln!("skipped: there is no bash: {error}"),
    }
}
