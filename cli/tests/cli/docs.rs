//! The page of the docs says what the tool says.

use crate::support::lameduck;

const PAGE: &str = include_str!("../../../docs/check.md");

#[test]
fn the_page_holds_the_list() {
    let answer = lameduck(&["check", "--list"]);
    assert_eq!(answer.status, 0, "{answer:?}");
    assert!(
        PAGE.contains(&answer.stdout),
        "docs/check.md differs from `lameduck check --list`"
    );
}

#[test]
fn each_option_is_explained() {
    for (command, least) in [("check", 15), ("compare", 9), ("self-test", 3)] {
        let answer = lameduck(&[command, "--help"]);
        assert_eq!(answer.status, 0, "{answer:?}");
        let options = answer.stdout.matches("\n      --").count();
        assert!(options >= least, "{answer:?}");
    }
}
