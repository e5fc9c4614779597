//! The pages, in a real browser.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::browser::Browser;
use crate::support::{Folder, LAMEDUCK, Process, check_shell, lameduck, read, wait_until};

/// A check of a fixture: its page, and its result with all events.
fn check(folder: &Folder, fault: &str, status: i32) -> (PathBuf, Value) {
    let (page, result) = (folder.file("page.html"), folder.file("result.json"));
    let options = [
        ["--scenario", "frozen"],
        ["--scenario", "exit"],
        ["--rounds", "1"],
        ["--connections", "5"],
        ["--html", page.to_str().unwrap()],
        ["--json", result.to_str().unwrap()],
    ];
    let options = [options.as_flattened(), &["--events", "--quiet"]].concat();
    let script = format!("exec \"$0\" fixture {fault} --listen $ADDR");
    let answer = check_shell(&options, &script);
    assert_eq!(answer.status, status, "{answer:?}");
    let result = serde_json::from_str(&read(&result)).unwrap();
    (page, result)
}

#[test]
fn a_page_of_losses_shows_them_where_the_data_says() {
    let Some(mut browser) = Browser::start("losses") else {
        return;
    };
    let folder = Folder::new("page-losses");
    let (page, result) = check(&folder, "stop-first", 1);
    browser.open(&page);
    assert_eq!(browser.problems(), Vec::<&Value>::new());
    let headline = browser.evaluate("document.querySelector('h1').innerText.trim()");
    assert_eq!(headline, "This server loses data when it is stopped");
    let clients = result["scenarios"][0]["trace"]["clients"]
        .as_array()
        .unwrap();
    let mut sent = Vec::new();
    for connection in clients
        .iter()
        .flat_map(|c| c["connections"].as_array().unwrap())
    {
        for loss in connection["lost"].as_array().unwrap() {
            sent.push(loss["sent_seconds"].as_f64().unwrap());
        }
    }
    assert_eq!(sent.len(), 10, "{result:#}");
    let drawn = places(&mut browser, "#frozen .loss circle", "closest('.loss')");
    assert_eq!(drawn.len(), sent.len());
    for (seconds, _) in &drawn {
        assert!(sent.contains(seconds), "{seconds} is in no result");
    }
    assert_in_order(&mut browser, "#frozen", drawn);
    let [signal, gone] = ["signal", "gone"].map(|line| {
        let line = format!("#frozen .{line} line");
        places(&mut browser, &line, "closest('line')")[0]
    });
    assert_eq!(signal.0, 0.0);
    assert_eq!(
        gone.0,
        result["scenarios"][0]["trace"]["stop_seconds"]
            .as_f64()
            .unwrap()
    );
    assert!(signal.1 < gone.1);
}

/// Elements as their moment and the middle of their place.
fn places(browser: &mut Browser, selector: &str, data: &str) -> Vec<(f64, f64)> {
    let expression = format!(
        "[...document.querySelectorAll('{selector}')].map((element) => {{
            const box = element.getBoundingClientRect();
            return [Number(element.{data}.dataset.seconds), box.left + box.width / 2];
        }})"
    );
    serde_json::from_value(browser.evaluate(&expression)).unwrap()
}

/// What is earlier is further left, also beside the marks of the axis.
fn assert_in_order(browser: &mut Browser, scope: &str, drawn: Vec<(f64, f64)>) {
    let ticks = places(browser, &format!("{scope} .axis line"), "closest('line')");
    assert!(ticks.len() > 2, "{ticks:?}");
    let mut all = [ticks, drawn].concat();
    all.sort_by(|a, b| a.0.total_cmp(&b.0));
    for pair in all.windows(2) {
        // Places are rounded to a tenth of a unit.
        assert!(pair[0].1 <= pair[1].1 + 0.2, "{pair:?} of {all:?}");
    }
}

#[test]
fn a_page_without_losses_says_so() {
    let Some(mut browser) = Browser::start("clean") else {
        return;
    };
    let folder = Folder::new("page-clean");
    let (page, _) = check(&folder, "none", 0);
    browser.open(&page);
    assert_eq!(browser.problems(), Vec::<&Value>::new());
    let headline = browser.evaluate("document.querySelector('h1').innerText.trim()");
    assert_eq!(headline, "Nothing was lost");
    let marks = browser.evaluate("document.querySelectorAll('.scenario .loss, .bad').length");
    assert_eq!(marks, 0);
    let open =
        browser.evaluate("[...document.querySelectorAll('details[open]')].map((d) => d.id)");
    assert_eq!(open, json!(["frozen"]));
    // A link of the table opens what it leads to.
    browser.evaluate("document.querySelector('th a[href=\"#exit\"]').click()");
    wait_until("the section is open", || {
        browser.evaluate("document.getElementById('exit').open") == json!(true)
    });
}

#[test]
fn facts_are_shown_to_pointer_and_keyboard_and_named_for_a_screen_reader() {
    let Some(mut browser) = Browser::start("facts") else {
        return;
    };
    let folder = Folder::new("page-facts");
    let (page, _) = check(&folder, "stop-first", 1);
    browser.open(&page);
    let facts = "document.querySelector('#frozen .facts').textContent";
    let label = |n| format!("document.querySelectorAll('#frozen .lane[tabindex]')[{n}]");
    browser.evaluate(&format!("{}.focus()", label(0)));
    let first = browser.evaluate(&format!("{}.getAttribute('aria-label')", label(0)));
    assert_eq!(browser.evaluate(facts), first);
    assert!(
        first
            .as_str()
            .unwrap()
            .contains("before the signal, no answer")
    );
    browser.press("ArrowDown");
    let second = browser.evaluate(&format!("{}.getAttribute('aria-label')", label(1)));
    assert_ne!(first, second);
    assert_eq!(browser.evaluate(facts), second);
    let focused = browser.evaluate("document.activeElement.getAttribute('aria-label')");
    assert_eq!(focused, second);
    let middle = format!(
        "(() => {{ const lane = {}; lane.scrollIntoView({{block: 'center', behavior: 'instant'}});
            const box = lane.getBoundingClientRect();
            return [box.left + box.width / 2, box.top + box.height / 2]; }})()",
        label(4)
    );
    let fifth = browser.evaluate(&format!("{}.getAttribute('aria-label')", label(4)));
    wait_until("the facts of the row are shown", || {
        // The page may still be scrolling: the row is where it is now.
        let [x, y]: [f64; 2] = serde_json::from_value(browser.evaluate(&middle)).unwrap();
        browser.point(x, y);
        browser.evaluate(facts) == fifth
    });
    let tree = browser.call("Accessibility.getFullAXTree", json!({}));
    let names = tree["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|node| &node["name"]["value"]);
    let named = names.filter(|name| *name == &first || *name == &second || *name == &fifth);
    assert!(named.count() >= 3, "a screen reader does not see the rows");
}

#[test]
fn a_page_can_be_read_in_the_dark_on_a_phone_and_on_paper() {
    let Some(mut browser) = Browser::start("media") else {
        return;
    };
    let folder = Folder::new("page-media");
    let (page, _) = check(&folder, "stop-first", 1);
    browser.open(&page);
    let mut backgrounds = Vec::new();
    for scheme in ["light", "dark"] {
        let features = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        browser.call("Emulation.setEmulatedMedia", json!({"features": features}));
        backgrounds.push(browser.evaluate("getComputedStyle(document.body).backgroundColor"));
        let least = browser.evaluate(CONTRAST);
        assert!(
            least.as_f64().unwrap() >= 4.5,
            "{scheme}: the least contrast is {least}"
        );
    }
    assert_ne!(backgrounds[0], backgrounds[1]);
    let phone = json!({"width": 390, "height": 800, "deviceScaleFactor": 1, "mobile": false});
    browser.call("Emulation.setDeviceMetricsOverride", phone);
    let width = browser.evaluate("document.documentElement.scrollWidth");
    assert!(width.as_f64().unwrap() <= 390.0, "the page is {width} wide");
    let paper = browser.call("Page.printToPDF", json!({}));
    assert!(
        paper["data"].as_str().unwrap().starts_with("JVBERi"),
        "no PDF"
    );
    let closed = browser.evaluate("document.querySelectorAll('details:not([open])').length");
    assert_eq!(closed, 0, "paper lacks a section");
    let loaded = browser.evaluate("performance.getEntriesByType('resource').length");
    assert_eq!(loaded, 0, "the page needs something else");
}

/// The least contrast of any text with what is behind it, by WCAG's formula.
const CONTRAST: &str = r#"(() => {
  const parse = (colour) => colour.match(/[\d.]+/g).map(Number);
  const light = (colour) => {
    const part = (c) => { c /= 255; return c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4; };
    const [r, g, b] = parse(colour);
    return 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
  };
  const behind = (element) => {
    for (; element; element = element.parentElement) {
      const colour = getComputedStyle(element).backgroundColor;
      const parts = parse(colour);
      if (parts.length < 4 || parts[3] > 0.99) { return colour; }
    }
    return "rgb(255, 255, 255)";
  };
  let least = 21;
  for (const element of document.querySelectorAll("h1, h3, h4, p, td, th, dt, dd, li, a, .chip, svg text")) {
    if (!element.textContent.trim() || element.classList.contains("skip")) { continue; }
    const style = getComputedStyle(element);
    const [a, b] = [light(element instanceof SVGElement ? style.fill : style.color), light(behind(element))];
    least = Math.min(least, (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05));
  }
  return least;
})()"#;

#[test]
fn the_page_of_a_command_shows_each_loss_at_its_moment() {
    let Some(mut browser) = Browser::start("during") else {
        return;
    };
    let folder = Folder::new("page-during");
    let [page, result] = ["page.html", "result.json"].map(|name| folder.file(name));
    let (server, address) = Process::fixture("none", "http");
    let address = address.to_string();
    let kill = format!("sleep 0.2; kill -KILL {}; sleep 0.2", server.id());
    let options = [
        "during",
        "--address",
        &address,
        "--before",
        "300ms",
        "--after",
        "200ms",
    ];
    let files = [
        "--html",
        page.to_str().unwrap(),
        "--json",
        result.to_str().unwrap(),
    ];
    let answer = lameduck(&[&options[..], &files, &["--", "sh", "-c", &kill]].concat());
    assert_eq!(answer.status, 1, "{answer:?}");
    let result: Value = serde_json::from_str(&read(&result)).unwrap();
    browser.open(&page);
    assert_eq!(browser.problems(), Vec::<&Value>::new());
    let losses = result["losses"].as_array().unwrap();
    let seen = losses
        .iter()
        .map(|loss| loss["seen_seconds"].as_f64().unwrap());
    let mut seen: Vec<f64> = seen.collect();
    let drawn = places(&mut browser, ".during .loss circle", "closest('.loss')");
    let mut moments: Vec<f64> = drawn.iter().map(|(seconds, _)| *seconds).collect();
    seen.sort_by(f64::total_cmp);
    moments.sort_by(f64::total_cmp);
    assert_eq!(moments, seen);
    assert_in_order(&mut browser, ".during", drawn);
    let lost = result["phases"].as_array().unwrap().iter();
    let lost: u64 = lost
        .map(|phase| phase["lost_in_all"].as_u64().unwrap())
        .sum();
    let headline = browser.evaluate("document.querySelector('h1').innerText.trim()");
    assert!(
        headline
            .as_str()
            .unwrap()
            .starts_with(&format!("{lost} of ")),
        "{headline}"
    );
    assert!(
        headline.as_str().unwrap().ends_with(" requests were lost"),
        "{headline}"
    );
}

#[test]
fn the_page_of_a_comparison_links_each_failure_to_its_picture() {
    let Some(mut browser) = Browser::start("compare") else {
        return;
    };
    let folder = Folder::new("page-compare");
    let [servers, page, result] =
        ["servers.toml", "page.html", "result.json"].map(|name| folder.file(name));
    let list = format!(
        r#"
rounds = 1
connections = 4
scenarios = ["frozen", "exit"]
[[server]]
name = "good"
protocol = "echo"
command = ["{LAMEDUCK}", "fixture", "none", "--listen", "{{addr}}"]
[[server]]
name = "<script>bad()</script>"
protocol = "http"
command = ["{LAMEDUCK}", "fixture", "stop-first", "--protocol", "http", "--listen", "{{addr}}"]
"#
    );
    std::fs::write(&servers, list).unwrap();
    let paths = [&servers, &page, &result].map(|path: &PathBuf| path.to_str().unwrap());
    let [servers, html, json] = paths;
    let answer = lameduck(&["compare", servers, "--html", html, "--json", json]);
    assert_eq!(answer.status, 0, "{answer:?}");
    browser.open(Path::new(&page));
    assert_eq!(browser.problems(), Vec::<&Value>::new());
    let headline = browser.evaluate("document.querySelector('h1').innerText.trim()");
    assert_eq!(headline, "1 of 2 servers lost nothing");
    let targets = browser.evaluate(
        "[...document.querySelectorAll('.matrix td.failed a')].map((link) =>
            document.querySelector(link.getAttribute('href')).querySelectorAll('.loss').length)",
    );
    let result: Value =
        serde_json::from_str(&std::fs::read_to_string(&result).unwrap()).unwrap();
    let lost = &result["servers"][1]["scenarios"][0]["messages_lost"];
    assert!(
        lost.as_u64() >= Some(4),
        "those in the queue at least: {lost}"
    );
    // Each loss is there, however many of them the machine left the time for.
    assert_eq!(targets, json!([lost]));
}
