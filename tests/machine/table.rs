//! The transition table: sound by itself, wholly in use, and the same as the
//! diagram in the documentation.

use std::collections::HashSet;
use std::path::Path;

use lameduck::machine::{Event, Input, Output, Stage, TABLE, diagram};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use crate::run::Run;
use crate::scenario::STAGES;
use crate::strategies::{setup, steps};

#[test]
fn no_two_rows_answer_the_same_event() {
    let mut seen = HashSet::new();
    for row in TABLE {
        assert!(seen.insert((row.from, row.on)), "{row:?} stands twice");
    }
}

#[test]
fn every_row_leads_forward() {
    for row in TABLE {
        assert!(row.to > row.from, "{row:?}");
    }
}

#[test]
fn every_stage_is_reached_and_every_one_but_the_last_left() {
    let mut reached = HashSet::from([Stage::Running]);
    for from in STAGES {
        // Rows lead forward: when this one's turn comes, it was reached or
        // never will be.
        if reached.contains(&from) {
            let rows = TABLE.iter().filter(|row| row.from == from);
            reached.extend(rows.map(|row| row.to));
        }
    }
    for stage in STAGES {
        assert!(reached.contains(&stage), "{stage} is not reached");
        let left = TABLE.iter().any(|row| row.from == stage);
        assert_eq!(left, stage != Stage::Stopped, "{stage}");
    }
}

#[test]
fn every_row_is_taken_and_nothing_else() {
    let mut runner = TestRunner::deterministic();
    let mut taken = HashSet::new();
    for _ in 0..3000 {
        let script = (setup(), steps()).new_tree(&mut runner);
        let (setup, steps) = script.expect("a script").current();
        let mut run = Run::new(setup);
        for step in steps {
            let before = run.machine.stage();
            let escalated = run.seen(step).1 == Input::Escalate;
            let escalated = run.take(step).is_ok() && escalated;
            taken.extend(rows_taken(&run, before, escalated));
        }
    }
    for row in TABLE {
        let taken = taken.contains(&(row.from, row.on, row.to));
        assert!(taken, "no run takes {row:?}");
    }
    assert_eq!(
        taken.len(),
        TABLE.len(),
        "{taken:?} are not all in the table"
    );
}

/// The rows that the last step must have taken, from what was said and what
/// the checker knows.
fn rows_taken(run: &Run, before: Stage, escalated: bool) -> Vec<(Stage, Event, Stage)> {
    let mut from = before;
    let mut rows = Vec::new();
    for output in run.fresh() {
        let to = match output {
            Output::Notify(stage) => *stage,
            Output::Complete(_) => Stage::Stopped,
            _ => continue,
        };
        let on = match (from, to) {
            (Stage::Running, Stage::Notice) => Event::StopWithNotice,
            (Stage::Running, _) => Event::Stop,
            (_, Stage::Quiesce) => Event::NoticeOver,
            (_, Stage::Finish) if run.checker.all_closed() => Event::ListenersClosed,
            (_, Stage::Finish) => Event::SweepOver,
            (_, Stage::Force) if escalated => Event::Escalated,
            (_, Stage::Force) => Event::GraceOver,
            _ if run.checker.all_done() => Event::AllDone,
            _ => Event::MarginOver,
        };
        rows.push((from, on, to));
        from = to;
    }
    rows
}

#[test]
fn the_diagram_in_the_documentation_is_the_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/machine/diagram.md");
    if std::env::var_os("LAMEDUCK_BLESS").is_some() {
        std::fs::write(&path, diagram()).expect("the diagram can be written");
    }
    let file = std::fs::read_to_string(&path).expect("the diagram can be read");
    assert!(
        file == diagram(),
        "src/machine/diagram.md is not what the table gives:\n{}\n\
         refresh it: LAMEDUCK_BLESS=1 cargo test --test machine diagram",
        diagram()
    );
}

#[test]
fn what_means_nothing_is_named() {
    let named = ["running", "notice", "quiesce", "finish", "force", "stopped"];
    assert_eq!(STAGES.map(|stage| stage.to_string()), named);
    let ignored = lameduck::machine::Ignored {
        stage: Stage::Force,
        input: Input::Emptied,
    };
    assert_eq!(ignored.to_string(), "Emptied means nothing in force");
}
