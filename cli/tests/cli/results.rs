//! Results for machines: JSON with a schema, JUnit, and a line of a log.

use serde_json::{Value, json};

use crate::support::{Folder, LAMEDUCK, Process, check_shell, lameduck, read};

const GOOD: &str = "exec \"$0\" fixture none --listen $ADDR";
const BAD: &str = "exec \"$0\" fixture stop-first --listen $ADDR";

/// Few rounds of two scenarios.
const FEW: [&str; 8] = [
    "--scenario",
    "frozen",
    "--scenario",
    "exit",
    "--rounds",
    "1",
    "--connections",
    "4",
];

/// The schemas of the docs, and whose they are.
const SCHEMAS: [(&str, &str); 3] = [
    ("check", include_str!("../../../docs/schema/check-1.json")),
    (
        "compare",
        include_str!("../../../docs/schema/compare-1.json"),
    ),
    ("during", include_str!("../../../docs/schema/during-1.json")),
];

fn assert_valid(command: &str, document: &Value) {
    let (_, schema) = SCHEMAS.iter().find(|(name, _)| *name == command).unwrap();
    let schema = serde_json::from_str(schema).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let errors: Vec<String> = validator
        .iter_errors(document)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{errors:#?}\n{document:#}");
    assert_eq!(document["format"], format!("lameduck-{command}"));
    assert_eq!(document["version"], 1);
}

#[test]
fn the_schemas_of_the_docs_are_those_of_the_tool() {
    for (command, schema) in SCHEMAS {
        let answer = lameduck(&["schema", command]);
        assert_eq!(answer.status, 0, "{answer:?}");
        assert_eq!(
            answer.stdout, schema,
            "docs/schema/{command}-1.json differs from `lameduck schema {command}`"
        );
    }
}

#[test]
fn a_schema_refuses_what_is_no_result() {
    let (_, schema) = SCHEMAS[0];
    let schema = serde_json::from_str(schema).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    assert!(!validator.is_valid(&json!({})));
    assert!(!validator.is_valid(&json!({"format": "lameduck-check", "version": 1})));
}

#[test]
fn the_json_of_a_check_follows_its_schema_with_and_without_events() {
    for script in [GOOD, BAD] {
        for events in [&[][..], &["--events"]] {
            let options = [&FEW[..], events, &["--json", "-"]].concat();
            let answer = check_shell(&options, script);
            let document: Value = serde_json::from_str(&answer.stdout).unwrap();
            assert_valid("check", &document);
            let trace = &document["scenarios"][0]["trace"];
            assert_eq!(trace.is_null(), events.is_empty(), "{trace:#}");
            let first_failure = &document["scenarios"][0]["first_failure"];
            assert_eq!(first_failure.is_null(), script == GOOD, "{document:#}");
        }
    }
}

#[test]
fn events_tell_what_a_lost_message_went_through() {
    let options = [&FEW[..], &["--json", "-", "--events"]].concat();
    let answer = check_shell(&options, BAD);
    let document: Value = serde_json::from_str(&answer.stdout).unwrap();
    let clients = &document["scenarios"][0]["trace"]["clients"];
    assert_eq!(clients.as_array().unwrap().len(), 8, "{document:#}");
    let connection = &clients[0]["connections"][0];
    let kinds = connection["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| &e["kind"]);
    let kinds: Vec<&Value> = kinds.collect();
    let expected = ["connected", "sent", "answered", "sent"];
    assert_eq!(kinds, expected, "{connection:#}");
    assert_eq!(connection["end"], "orderly");
    assert_eq!(connection["lost"].as_array().unwrap().len(), 1);
    let times = connection["events"].as_array().unwrap().iter();
    let times: Vec<f64> = times.map(|e| e["seconds"].as_f64().unwrap()).collect();
    assert!(times.is_sorted(), "{times:?}");
}

#[test]
fn the_json_of_a_comparison_and_of_a_command_follow_their_schemas() {
    let folder = Folder::new("schemas");
    let [servers, result] = ["servers.toml", "result.json"].map(|name| folder.file(name));
    let list = format!(
        "rounds = 1\nconnections = 4\nscenarios = [\"frozen\"]\n[[server]]\nname = \"bad\"\n\
         protocol = \"echo\"\ncommand = [\"{LAMEDUCK}\", \"fixture\", \"stop-first\", \
         \"--listen\", \"{{addr}}\"]\n"
    );
    std::fs::write(&servers, list).unwrap();
    let paths = [&servers, &result].map(|path| path.to_str().unwrap());
    let answer = lameduck(&["compare", paths[0], "--json", paths[1], "--events"]);
    assert_eq!(answer.status, 0, "{answer:?}");
    assert_valid("compare", &serde_json::from_str(&read(&result)).unwrap());

    let (server, address) = Process::fixture("none", "http");
    let address = address.to_string();
    let kill = format!("kill -KILL {}", server.id());
    for (command, status) in [("true", 0), (kill.as_str(), 1)] {
        let options = [
            "during",
            "--address",
            &address,
            "--before",
            "100ms",
            "--after",
            "100ms",
        ];
        let command = ["--json", "-", "--", "sh", "-c", command];
        let answer = lameduck(&[&options[..], &command].concat());
        assert_eq!(answer.status, status, "{answer:?}");
        assert_valid("during", &serde_json::from_str(&answer.stdout).unwrap());
    }
}

#[test]
fn junit_has_a_case_for_each_scenario_with_its_failure() {
    let folder = Folder::new("junit");
    let [file, json] = ["result.xml", "result.json"].map(|name| folder.file(name));
    let [path, json_path] = [&file, &json].map(|path| path.to_str().unwrap());
    let files = ["--junit", path, "--json", json_path];
    let options = [&FEW[..], &["--scenario", "slow-reader"], &files].concat();
    let options = [&options[..], &["--protocol", "http"]].concat();
    let script = "exec \"$0\" fixture stop-first --protocol http --listen $ADDR # & < >";
    let answer = check_shell(&options, script);
    assert_eq!(answer.status, 1, "{answer:?}");
    let text = read(&file);
    let report = quick_junit::Report::deserialize_from_str(&text).unwrap();
    assert_eq!(report.test_suites.len(), 1);
    let suite = &report.test_suites[0];
    assert!(suite.name.as_str().contains("# & < >"), "{text}");
    let names: Vec<&str> = suite
        .test_cases
        .iter()
        .map(|case| case.name.as_str())
        .collect();
    assert_eq!(names, ["frozen", "exit", "slow-reader"]);
    assert_eq!((report.tests, report.failures), (3, 1), "{text}");
    let document: Value = serde_json::from_str(&read(&json)).unwrap();
    let lost = &document["scenarios"][0]["messages_lost"];
    let message =
        format!("<failure message=\"{lost} messages lost, {lost} connections lost\">");
    assert!(text.contains(&(message + "client ")), "{text}");
    let skipped = "<skipped message=\"a large response is needed: --large-path\"";
    assert!(text.contains(skipped), "{text}");
}

#[test]
fn the_last_line_of_a_check_can_be_searched_for() {
    for (script, verdict, failed) in [(GOOD, "passed", 0), (BAD, "failed", 1)] {
        let answer = check_shell(&[&FEW[..], &["--seed", "7"]].concat(), script);
        let line = answer.stdout.lines().last().unwrap();
        let lost = 8 * failed;
        assert_eq!(
            line,
            format!(
                "lameduck-result command=check verdict={verdict} passed={} failed={failed} \
                 skipped=0 messages_lost={lost} connections_lost={lost} hung=0 overdue=0 seed=7",
                2 - failed
            )
        );
    }
}
