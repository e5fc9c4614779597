//! The clients that people use, against the service of the example, over a stop.
//!
//! A client that is not installed is skipped, and the test says so.

use std::convert::Infallible;
use std::future::Future;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::pin::Pin;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;
use hyper::service::Service;
use hyper::{Request, Response};
use lameduck::http::{ConnectionInfo, Http};
use lameduck::runtimes::smol::Smol;
use lameduck::tls::{Tls, TlsConfig};
use lameduck::{Report, Runtime};

use crate::routes::{Body, Routes};
use crate::support::{Running, builder, serving};
use crate::tls::identity;

/// The example, with a page for browsers and a request that asks for the stop.
struct Site(Routes<Smol>);

impl Service<Request<Incoming>> for Site {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let text = match request.uri().path() {
            "/page" => PAGE,
            "/stop" => {
                if let Some(connection) = request.extensions().get::<ConnectionInfo>() {
                    connection.shutdown().stop("the page asks");
                }
                "stopping"
            }
            _ => return self.0.call(request),
        };
        let mut response = Response::new(Full::new(Bytes::from(text)).boxed_unsync());
        let html = hyper::header::HeaderValue::from_static("text/html");
        response.headers_mut().insert(CONTENT_TYPE, html);
        Box::pin(async { Ok(response) })
    }
}

/// Writes into the document what it sees of the stop. It has loaded, and is
/// written out, once the image is answered, which a [`Hold`] does in the end.
const PAGE: &str = r#"<!doctype html><title>page</title><body><pre id="log"></pre><script>
const hold = `http://127.0.0.1:${location.search.slice(1)}/`;
document.write(`<img src="${hold}image">`);
let ended = 0;
const end = () => { if (++ended == 3) fetch(hold + "done", { mode: "no-cors" }); };
const log = text => { document.getElementById("log").append(text + "\n"); };
const socket = new WebSocket(`ws://${location.host}/ws`);
const events = new EventSource("/stream");
let opened = 0;
const stop = async () => {
    if (++opened < 2) return;
    socket.send("late");
    const answer = fetch("/stop").then(response => response.text());
    log("stop: " + await answer.catch(error => error));
    end();
};
socket.onopen = () => socket.send("early");
socket.onmessage = message => {
    log("echo: " + message.data);
    if (message.data == "early") stop();
};
socket.onclose = event => { log(`closed: ${event.code} ${event.wasClean}`); end(); };
events.onmessage = stop;
events.onerror = () => { log("events ended"); events.close(); end(); };
</script>"#;

/// Answers a page's requests once one of them says that all is done.
struct Hold {
    done: Mutex<bool>,
    changed: Condvar,
}

impl Hold {
    /// Returns the port.
    fn start() -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback port");
        let port = listener.local_addr().expect("an address").port();
        let hold = Arc::new(Hold {
            done: Mutex::new(false),
            changed: Condvar::new(),
        });
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let hold = hold.clone();
                // A browser may open connections that it does not use.
                thread::spawn(move || hold.answer(stream));
            }
        });
        port
    }

    fn answer(&self, mut stream: TcpStream) -> io::Result<()> {
        let mut request = [0; 4096];
        let n = stream.read(&mut request)?;
        let mut done = self.done.lock().expect("no panic");
        *done |= request[..n].starts_with(b"GET /done");
        self.changed.notify_all();
        let waited = self.changed.wait_while(done, |done| !*done);
        drop(waited.expect("no panic"));
        stream.write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
    }
}

fn site() -> Http<Site> {
    Http::new(Site(Routes::new(Smol)))
}

/// Returns the command, where it is installed.
fn installed(program: &str) -> Option<Command> {
    let found = Command::new("sh")
        .args(["-c", &format!("command -v {program}")])
        .output();
    if found.is_ok_and(|found| found.status.success()) {
        return Some(Command::new(program));
    }
    println!("skipped: {program} is not installed");
    None
}

fn lame_duck<R: Runtime>(runtime: R) -> lameduck::Builder<R> {
    builder(runtime).lame_duck(Duration::from_secs(10))
}

fn tls_runtime() -> Tls<Smol> {
    Tls::new(
        Smol,
        TlsConfig::new(identity().server()).with_http_protocols(),
    )
}

struct Output {
    success: bool,
    text: String,
}

/// Reads all that the child writes; after `stop_after` lines the server stops.
fn over_a_stop(server: &Running, mut child: Child, stop_after: usize) -> Output {
    let stdout = child.stdout.take().expect("it is piped");
    let mut text = String::new();
    for (n, line) in BufReader::new(stdout).lines().enumerate() {
        text += &line.expect("it writes text");
        text.push('\n');
        if n == stop_after {
            server.shutdown.stop("now");
        }
    }
    let mut errors = String::new();
    if let Some(mut stderr) = child.stderr.take() {
        stderr.read_to_string(&mut errors).expect("it writes text");
    }
    Output {
        success: child.wait().expect("it was started").success(),
        text: text + &errors,
    }
}

fn spawn(command: &mut Command) -> Child {
    let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
        .stdin(Stdio::null())
        .spawn()
        .expect("it is installed")
}

/// 300 requests of curl, one of which begins a lame duck: each is answered.
fn curl(protocol: &str, over_tls: bool) {
    let Some(mut curl) = installed("curl") else {
        return;
    };
    let ask = |server: &Running| {
        let scheme = if over_tls { "https" } else { "http" };
        let url = |path: &str| format!("{scheme}://{}{path}", server.address);
        let urls = [url("/?[1-100]"), url("/stop"), url("/?[1-199]")];
        let arguments = ["-kfsS", "--noproxy", "*", "-m", "20", protocol];
        let child = spawn(curl.args(arguments).args(urls));
        let output = over_a_stop(server, child, usize::MAX);
        assert!(output.success, "{}", output.text);
        let hello = "hello\n";
        let (before, after) = (hello.repeat(100), hello.repeat(199));
        assert_eq!(output.text, format!("{before}stopping{after}"));
        server.shutdown.abort("curl has ended");
    };
    let report = if over_tls {
        serving(lame_duck(tls_runtime()), site(), ask)
    } else {
        serving(lame_duck(Smol), site(), ask)
    };
    assert!(
        report.accepted > 1,
        "it was told to connect again: {report}"
    );
}

#[test]
fn curl_over_http1() {
    curl("--http1.1", false);
}

#[test]
fn curl_over_tls_with_http1() {
    curl("--http1.1", true);
}

#[test]
fn curl_over_tls_with_http2() {
    curl("--http2", true);
}

/// A large download that the stop finds in its middle.
#[test]
fn curl_downloads_over_a_stop() {
    let Some(mut curl) = installed("curl") else {
        return;
    };
    let report = serving(builder(tls_runtime()), site(), |server| {
        let url = format!("https://{}/large", server.address);
        let limit = ["--limit-rate", "8M", "--noproxy", "*"];
        let mut child = spawn(curl.args(["-kfsS", "-m", "20", &url]).args(limit));
        let mut stdout = child.stdout.take().expect("it is piped");
        stdout.read_exact(&mut [0; 1024]).expect("a part of it");
        server.shutdown.stop("now");
        let mut rest = Vec::new();
        stdout.read_to_end(&mut rest).expect("the rest of it");
        assert!(child.wait().expect("it was started").success());
        assert_eq!(1024 + rest.len(), 4 * 1024 * 1024);
    });
    assert_eq!(report.exit_status(), 0, "{report}");
}

#[test]
fn openssl_sees_close_notify() {
    let Some(mut openssl) = installed("openssl") else {
        return;
    };
    for version in ["-tls1_2", "-tls1_3"] {
        let report = serving(builder(tls_runtime()), site(), |server| {
            let address = server.address.to_string();
            let arguments = [
                "s_client", "-connect", &address, version, "-msg", "-ign_eof",
            ];
            let command = openssl.args(arguments).stdin(Stdio::piped());
            let command = command.stdout(Stdio::piped()).stderr(Stdio::null());
            let mut child = command.spawn().expect("it is installed");
            let mut stdin = child.stdin.take().expect("it is piped");
            stdin.write_all(crate::support::GET).expect("it reads");
            let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
            let mut next = || lines.next().map(|line| line.expect("it writes text"));
            while next().expect("an answer") != "hello" {}
            server.shutdown.stop("now");
            let mut saw_close_notify = false;
            while let Some(line) = next() {
                saw_close_notify |= line.starts_with("<<<") && line.contains("close_notify");
            }
            assert!(saw_close_notify, "{version}");
            drop(stdin);
            child.wait().expect("it was started");
        });
        assert_eq!(report.exit_status(), 0, "{report}");
        openssl = Command::new("openssl");
    }
}

/// Many connections and streams: none of them fails over the begin of a lame
/// duck, nor over a stop in which they end by themselves.
fn h2load(arguments: &[&str], over_tls: bool) -> Option<Report> {
    let mut h2load = installed("h2load")?;
    let load = |server: &Running| {
        let scheme = if over_tls { "https" } else { "http" };
        let url = format!("{scheme}://{}/", server.address);
        let command = h2load.args(arguments).arg(&url);
        let output = over_a_stop(server, spawn(command), usize::MAX);
        assert!(output.success, "{}", output.text);
        let expected = "2000 succeeded, 0 failed, 0 errored, 0 timeout";
        assert!(output.text.contains(expected), "{}", output.text);
    };
    Some(if over_tls {
        serving(builder(tls_runtime()), site(), load)
    } else {
        serving(builder(Smol), site(), load)
    })
}

#[test]
fn h2load_over_http1_and_http2() {
    for (arguments, over_tls) in [
        (&["-n2000", "-c20", "--h1"][..], false),
        (&["-n2000", "-c20", "-m10"], false),
        (&["-n2000", "-c20", "-m10"], true),
    ] {
        if let Some(report) = h2load(arguments, over_tls) {
            assert_eq!(
                (report.closed.failed, report.exit_status()),
                (0, 0),
                "{report}"
            );
        }
    }
}

/// wrk reads on connections that end with each response, in a lame duck.
#[test]
fn wrk_over_a_lame_duck() {
    let Some(mut wrk) = installed("wrk") else {
        return;
    };
    let report = serving(lame_duck(Smol), site(), |server| {
        let url = format!("http://{}/", server.address);
        // Its first line comes when it begins.
        let child = spawn(wrk.args(["-t1", "-c10", "-d2s", "--timeout", "60s", &url]));
        let output = over_a_stop(server, child, 0);
        assert!(output.success, "{}", output.text);
        assert!(!output.text.contains("Non-2xx"), "{}", output.text);
        assert!(!output.text.contains("Socket errors"), "{}", output.text);
        server.shutdown.abort("wrk has ended");
    });
    assert!(report.accepted > 10, "each response closed: {report}");
}

/// A browser with a kept-alive connection, a WebSocket and an EventSource.
#[test]
fn chromium_sees_an_orderly_end() {
    if installed("chromium").is_none() {
        return;
    }
    // A browser on a machine that is busy may not come to its end.
    let mut chromium = Command::new("timeout");
    chromium.args(["--kill-after=5", "30", "chromium"]);
    let folder = std::env::temp_dir().join(format!("lameduck-chromium-{}", std::process::id()));
    let mut has_ended = false;
    let report = serving(builder(Smol), site(), |server| {
        let url = format!("http://{}/page?{}", server.address, Hold::start());
        let profile = format!("--user-data-dir={}", folder.display());
        let flags = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--no-proxy-server",
        ];
        let dump = ["--dump-dom", &profile, &url];
        let child = spawn(chromium.args(flags).args(dump));
        let output = over_a_stop(server, child, usize::MAX);
        has_ended = output.success;
        if !has_ended {
            println!("skipped: chromium did not come to its end: {}", output.text);
            return;
        }
        for line in [
            "echo: early",
            "stop: stopping",
            "echo: late",
            "closed: 1001 true",
            "events ended",
        ] {
            assert!(output.text.contains(line), "no `{line}` in {}", output.text);
        }
    });
    let _ = std::fs::remove_dir_all(&folder);
    if !has_ended {
        return;
    }
    assert_eq!(
        (report.closed.failed, report.exit_status()),
        (0, 0),
        "{report}"
    );
}
