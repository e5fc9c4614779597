//! Several servers side by side.

use serde_json::Value;

use crate::support::{Folder, LAMEDUCK, lameduck, read};

#[test]
fn two_servers_in_one_table_one_chart_and_one_document() {
    let folder = Folder::new("compare");
    let list = format!(
        r#"
rounds = 1
connections = 4
scenarios = ["frozen", "exit"]

[[server]]
name = "good | <best>"
protocol = "echo"
command = ["{LAMEDUCK}", "fixture", "none", "--listen", "{{addr}}"]

[[server]]
name = "bad"
protocol = "http"
command = ["{LAMEDUCK}", "fixture", "stop-first", "--protocol", "http", "--listen", "{{addr}}"]

[[server]]
name = "absent"
protocol = "echo"
command = ["absent"]
requires = "no-such-program-anywhere"
"#
    );
    let [servers, table, chart, json] =
        ["servers.toml", "table.md", "chart.svg", "result.json"].map(|name| folder.file(name));
    std::fs::write(&servers, list).unwrap();
    let [servers, markdown, svg, document] =
        [&servers, &table, &chart, &json].map(|path| path.to_str().unwrap());
    let answer = lameduck(&[
        "compare",
        servers,
        "--markdown",
        markdown,
        "--svg",
        svg,
        "--json",
        document,
    ]);
    assert_eq!(answer.status, 0, "{answer:?}");
    assert!(answer.stderr.contains("absent is left out"), "{answer:?}");

    let table = read(&table);
    assert!(table.contains("good \\| <best>"), "{table}");
    assert!(table.contains("- bad, frozen: client "), "{table}");
    let chart = read(&chart);
    assert!(chart.contains("good | &lt;best&gt;"), "{chart}");
    let document: Value = serde_json::from_str(&read(&json)).unwrap();
    let verdict = |server: usize| {
        let server = &document["servers"][server];
        (
            server["name"].clone(),
            server["scenarios"][0]["verdict"].clone(),
        )
    };
    assert_eq!(verdict(0), ("good | <best>".into(), "passed".into()));
    assert_eq!(verdict(1), ("bad".into(), "failed".into()));
}

#[test]
fn a_file_with_a_mistake_names_it() {
    let folder = Folder::new("mistake");
    let servers = folder.file("servers.toml");
    let servers_name = servers.to_str().unwrap();
    for (text, reason) in [
        ("colour = 1", "unknown field `colour`"),
        ("scenarios = [\"frozzen\"]", "frozzen"),
        ("rounds = 0", "rounds: it is a number from 1 to"),
        ("limit = \"0s\"", "a time from 1ms"),
        ("", "there is no server to compare"),
    ] {
        std::fs::write(&servers, text).unwrap();
        let answer = lameduck(&["compare", servers_name]);
        assert_eq!(answer.status, 2, "{answer:?}");
        assert!(answer.stderr.contains(reason), "{answer:?}");
        assert!(answer.stderr.contains("servers.toml"), "{answer:?}");
    }
}

#[test]
fn a_compared_server_is_asked_with_a_body_that_lies_beside_the_list() {
    let folder = Folder::new("compared-request");
    let [servers, body] = ["servers.toml", "body"].map(|name| folder.file(name));
    let list = format!(
        r#"
rounds = 1
connections = 2
scenarios = ["half-request"]
[[server]]
name = "asked"
protocol = "h2"
command = ["{LAMEDUCK}", "fixture", "none", "--protocol", "h2", "--listen", "{{addr}}"]
request = "POST /"
body = "@body"
header = "Content-Type: application/grpc"
expect = "200,3xx"
large_path = "POST /large"
"#
    );
    std::fs::write(&servers, list).unwrap();
    let servers = servers.to_str().unwrap();
    let answer = lameduck(&["compare", servers]);
    assert_eq!(answer.status, 2, "{answer:?}");
    assert!(answer.stderr.contains("/body: "), "{answer:?}");
    std::fs::write(&body, "a message").unwrap();
    let answer = lameduck(&["compare", servers]);
    assert_eq!(answer.status, 0, "{answer:?}");
    assert!(answer.stdout.contains("| asked"), "{answer:?}");
}
