//! HTTP/1: the table of the states in which a stop can find a connection.

use std::convert::Infallible;
use std::io::Write;
use std::net;
use std::time::{Duration, Instant};

use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, StatusCode};
use lameduck::Runtime;
use lameduck::http::{ConnectionInfo, Http, on_upgrade};
use lameduck::report::{Activity, Straggler};

use crate::support::{
    Client, GET, LARGE, LONG, builder, http, next_at_end, received_on, run, serving, status,
};

/// A state of a connection at the stop.
struct State {
    name: &'static str,
    /// What the client has sent before the stop.
    before: &'static [u8],
    /// What it has sent before the stop, once the server has read that.
    later: &'static [u8],
    /// How many responses it has read before the stop.
    answered: usize,
    /// The client has ended its side before the stop.
    half_closed: bool,
    /// What the client sends after the stop.
    after: &'static [u8],
    /// The bodies that are owed after the stop.
    owed: &'static [&'static [u8]],
}

const STATE: State = State {
    name: "",
    before: b"",
    later: b"",
    answered: 0,
    half_closed: false,
    after: b"",
    owed: &[],
};

const STATES: &[State] = &[
    State {
        name: "half of the first head",
        before: b"GET / HT",
        after: b"TP/1.1\r\nhost: a\r\n\r\n",
        owed: &[b"hello"],
        ..STATE
    },
    State {
        name: "half of the first head, whose rest comes with another request",
        before: b"GET / HT",
        after: b"TP/1.1\r\nhost: a\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n",
        owed: &[b"hello", b"hello"],
        ..STATE
    },
    State {
        name: "a part of what may become the preface of HTTP/2",
        before: b"P",
        after: b"OST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhi",
        owed: &[b"hi"],
        ..STATE
    },
    State {
        name: "nothing after a response",
        before: b"GET / HTTP/1.1\r\nhost: a\r\n\r\n",
        answered: 1,
        ..STATE
    },
    State {
        name: "half of the second head, in the segment of the first",
        before: b"GET / HTTP/1.1\r\nhost: a\r\n\r\nGET / HT",
        answered: 1,
        after: b"TP/1.1\r\nhost: a\r\n\r\n",
        owed: &[b"hello"],
        ..STATE
    },
    State {
        name: "five pipelined requests and half of a sixth, all answered but it",
        before: b"GET / HTTP/1.1\r\nhost: a\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n\
            GET / HTTP/1.1\r\nhost: a\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n\
            GET / HTTP/1.1\r\nhost: a\r\n\r\nGET / HT",
        answered: 5,
        after: b"TP/1.1\r\nhost: a\r\n\r\n",
        owed: &[b"hello"],
        ..STATE
    },
    State {
        name: "requests and half of one behind one in flight (F75)",
        before: b"GET /drain HTTP/1.1\r\nhost: a\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n\
            POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhiGET / HT",
        after: b"TP/1.1\r\nhost: a\r\n\r\n",
        owed: &[b"drained", b"hello", b"hi", b"hello"],
        ..STATE
    },
    State {
        name: "a request behind one in flight whose chunks are not read (F89)",
        before: b"POST /drain HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n\
            5\r\nhello\r\n0\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n",
        owed: &[b"drained", b"hello"],
        ..STATE
    },
    State {
        name: "a request in segments of its own behind such a one (F89)",
        before: b"POST /drain HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n\
            5\r\nhello\r\n0\r\n\r\n",
        later: b"GET / HTTP/1.1\r\nhost: a\r\n\r\n",
        owed: &[b"drained", b"hello"],
        ..STATE
    },
    State {
        name: "a request behind one that sends back its body after the stop (F89)",
        before: b"POST /echo-late HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\n\
            content-length: 5\r\n\r\nhello",
        later: b"GET / HTTP/1.1\r\nhost: a\r\n\r\n",
        owed: &[b"hello", b"hello"],
        ..STATE
    },
    State {
        name: "one in flight and nothing behind it",
        before: b"GET /drain HTTP/1.1\r\nhost: a\r\n\r\n",
        owed: &[b"drained"],
        ..STATE
    },
    State {
        name: "half of a body of known length",
        before: b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nha",
        after: b"lf",
        owed: &[b"half"],
        ..STATE
    },
    State {
        name: "half of a body in chunks",
        before: b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n2\r\nha\r\n2",
        after: b"\r\nlf\r\n0\r\n\r\n",
        owed: &[b"half"],
        ..STATE
    },
    State {
        name: "a body that waits for 100 (Continue)",
        before:
            b"POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n",
        after: b"hi",
        owed: &[b"hi"],
        ..STATE
    },
    State {
        name: "a client that has ended its side behind its request",
        before: b"GET /drain HTTP/1.1\r\nhost: a\r\n\r\n",
        half_closed: true,
        owed: &[b"drained"],
        ..STATE
    },
    State {
        name: "a client that has ended its side behind two requests",
        before: b"GET /drain HTTP/1.1\r\nhost: a\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n",
        half_closed: true,
        owed: &[b"drained", b"hello"],
        ..STATE
    },
    State {
        name: "HTTP/1.0 in flight",
        before: b"GET /drain HTTP/1.0\r\n\r\n",
        owed: &[b"drained"],
        ..STATE
    },
    State {
        name: "HTTP/1.0 that is kept alive, in flight",
        before: b"GET /drain HTTP/1.0\r\nconnection: keep-alive\r\n\r\n",
        owed: &[b"drained"],
        ..STATE
    },
    State {
        name: "HTTP/1.0 that is kept alive, idle",
        before: b"GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n",
        answered: 1,
        ..STATE
    },
    State {
        name: "an empty line behind a request",
        before: b"GET / HTTP/1.1\r\nhost: a\r\n\r\n\r\n",
        answered: 1,
        ..STATE
    },
    State {
        name: "a client that asks for the close itself",
        before: b"GET /drain HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
        owed: &[b"drained"],
        ..STATE
    },
];

fn half_close(client: &Client<net::TcpStream>) {
    client
        .stream
        .shutdown(net::Shutdown::Write)
        .expect("it is open");
}

/// Reads what is owed, and then the end.
fn expect_owed(client: &mut Client<net::TcpStream>, state: &State) {
    for (i, body) in state.owed.iter().enumerate() {
        let answer = client.answer();
        assert_eq!(
            (answer.status, &*answer.body),
            (200, *body),
            "{}",
            state.name
        );
        // Only the last response announces the close (F75).
        let is_last = i + 1 == state.owed.len();
        assert_eq!(answer.closes, is_last, "{}: response {i}", state.name);
    }
    client.expect_end();
}

/// A request whose upgrade is refused, as this server does not know it.
const REFUSED: &[u8] =
    b"GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n";

pub(crate) fn f89_every_state_at_the_stop_is_answered<R: Runtime>(runtime: R) {
    STATES
        .iter()
        .for_each(|state| answered_at_the_stop(&runtime, state, b""));
}

pub(crate) fn f85_every_state_behind_a_refused_upgrade_is_answered<R: Runtime>(runtime: R) {
    STATES
        .iter()
        .for_each(|state| answered_at_the_stop(&runtime, state, REFUSED));
    let in_flight = State {
        name: "half of a request behind one in flight whose upgrade is refused",
        before:
            b"GET /drain HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n\
            GET / HTTP/1.1\r\nhost: a\r\n\r\nGET / HT",
        after: b"TP/1.1\r\nhost: a\r\n\r\n",
        owed: &[b"drained", b"hello", b"hello"],
        ..STATE
    };
    answered_at_the_stop(&runtime, &in_flight, b"");
}

fn answered_at_the_stop<R: Runtime>(runtime: &R, state: &State, first: &[u8]) {
    let report = serving(builder(runtime.clone()), http(), |server| {
        let mut client = server.connect();
        if !first.is_empty() {
            assert_eq!(client.exchange(first).body, b"hello");
        }
        client.send(state.before);
        if state.half_closed {
            half_close(&client);
        }
        for _ in 0..state.answered {
            assert!(!client.answer().closes, "{}", state.name);
        }
        // A connection that has no response yet is in its state once the
        // next one is served, which came after it.
        let mut next = server.connect();
        assert_eq!(next.exchange(GET).body, b"hello");
        client.send(state.later);
        server.shutdown.stop("now");
        client.send_after(state.after);
        expect_owed(&mut client, state);
        next.expect_end();
    });
    assert_eq!(report.exit_status(), 0, "{}: {report}", state.name);
    assert_eq!(report.closed.failed, 0, "{}: {report}", state.name);
}

pub(crate) fn every_state_in_the_accept_queue_is_answered<R: Runtime>(runtime: R) {
    for state in STATES {
        let clients = std::sync::Mutex::new(Vec::new());
        let report = run(
            builder(runtime.clone()),
            http(),
            |server| {
                for _ in 0..3 {
                    let mut client = server.connect();
                    client.send(&[state.before, state.later].concat());
                    if state.half_closed {
                        half_close(&client);
                    }
                    clients.lock().expect("one thread").push(client);
                }
                server.shutdown.stop("before anybody was accepted");
            },
            |_| {
                for mut client in clients.lock().expect("one thread").drain(..) {
                    client.send_after(state.after);
                    for _ in 0..state.answered + state.owed.len() {
                        match client.try_answer() {
                            Ok(answer) => assert_eq!(answer.status, 200, "{}", state.name),
                            Err(error) => panic!("{}: {error}", state.name),
                        }
                    }
                    client.expect_end();
                }
            },
        );
        assert_eq!(report.accepted, 3, "{}: {report}", state.name);
        assert_eq!(report.exit_status(), 0, "{}: {report}", state.name);
    }
}

pub(crate) fn every_state_without_a_stop_is_answered_as_ever<R: Runtime>(runtime: R) {
    let report = serving(builder(runtime), http(), |server| {
        let mut client = server.connect();
        for _ in 0..3 {
            let answer = client.exchange(GET);
            assert!(!answer.closes && answer.body == b"hello");
        }
        client.send(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nh");
        client.send(b"i");
        assert_eq!(client.answer().body, b"hi");
        let peer = client.stream.local_addr().expect("it is connected");
        let asked = client.exchange(b"GET /peer HTTP/1.1\r\nhost: a\r\n\r\n");
        assert_eq!(asked.body, peer.to_string().as_bytes());
        let asked = client.exchange(b"GET /local HTTP/1.1\r\nhost: a\r\n\r\n");
        assert_eq!(asked.body, server.address.to_string().as_bytes());
        for (bad, status) in [
            (&b"complete garbage\r\n\r\n"[..], 400),
            (
                &[&b"GET / HTTP/1.1\r\nx: "[..], &[b'x'; 1_000_000]].concat(),
                431,
            ),
        ] {
            let mut client = server.connect();
            // The server may end it before all of it was sent.
            let _ = client.stream.write_all(bad);
            assert_eq!(client.answer().status, status);
        }
    });
    assert_eq!(
        (report.closed.failed, report.exit_status()),
        (0, 0),
        "{report}"
    );
}

pub(crate) fn f20_connections_that_say_nothing_end_at_once<R: Runtime>(runtime: R) {
    let report = serving(builder(runtime), http(), |server| {
        let mut silent: Vec<_> = (0..20).map(|_| server.connect()).collect();
        let mut last = server.connect();
        assert_eq!(last.exchange(GET).status, 200);
        server.shutdown.stop("now");
        silent.iter_mut().for_each(Client::expect_end);
        last.expect_end();
    });
    assert_eq!(report.closed.drained, 21, "{report}");
    assert!(report.duration.as_secs() < 10, "{report}");
}

pub(crate) fn f16_an_early_answer_is_not_destroyed_by_the_rest_of_the_body<R: Runtime>(
    runtime: R,
) {
    let report = serving(builder(runtime), http(), |server| {
        let mut client = server.connect();
        client.send(b"POST /early HTTP/1.1\r\nhost: a\r\ncontent-length: 100000\r\n\r\nabc");
        let mut next = server.connect();
        assert_eq!(next.exchange(GET).status, 200);
        server.shutdown.stop("now");
        // The server may have ended its side: it still reads.
        let _ = client.stream.write_all(&[b'x'; 50_000]);
        let answer = client.answer();
        assert_eq!(answer.body, b"early");
        half_close(&client);
        client.expect_end();
    });
    assert_eq!(report.exit_status(), 0, "{report}");
}

/// The response is given before the body has come, and the connection ends with it: by
/// the client's wish, or by the server's (F79).
pub(crate) fn f79_a_request_is_read_to_its_end_after_its_response<R: Runtime>(runtime: R) {
    const HEADS: [&str; 3] = [
        "HTTP/1.1\r\nhost: a\r\nconnection: close\r\n",
        "HTTP/1.0\r\n",
        "HTTP/1.1\r\nhost: a\r\n",
    ];
    let mut pairs = Vec::new();
    let report = serving(builder(runtime), http(), |server| {
        let mut clients = Vec::new();
        for head in HEADS {
            let mut client = server.connect();
            let request = format!("POST /later {head}content-length: 1000\r\n\r\nabc");
            assert_eq!(client.exchange(request.as_bytes()).status, 202);
            clients.push(client);
        }
        let mut idle = server.connect();
        assert_eq!(idle.exchange(GET).status, 200);
        server.shutdown.stop("now");
        idle.expect_end();
        for mut client in clients {
            client.send(&[b'x'; 997]);
            client.expect_end();
            pairs.push(server.pair(&client.stream));
        }
    });
    let received: Vec<_> = pairs.iter().map(received_on).collect();
    assert_eq!(received, [Some(Ok(1000)); 3], "{report}");
    assert_eq!(report.exit_status(), 0, "{report}");
}

/// Nobody stops: the reader has the end of its request before the next one comes, and
/// the connection goes on.
pub(crate) fn f79_a_request_has_its_end_whatever_follows_on_it<R: Runtime>(runtime: R) {
    let report = serving(builder(runtime), http(), |server| {
        let mut client = server.connect();
        let pair = server.pair(&client.stream);
        client.send(b"POST /later HTTP/1.1\r\nhost: a\r\ncontent-length: 1000\r\n\r\nabc");
        let answer = client.answer();
        assert_eq!((answer.status, answer.closes), (202, false));
        client.send(&[b'x'; 997]);
        let begun = Instant::now();
        let received = loop {
            match received_on(&pair) {
                None if begun.elapsed() < LONG => std::thread::sleep(Duration::from_millis(1)),
                received => break received,
            }
        };
        assert_eq!(received, Some(Ok(1000)));
        let next = client.exchange(GET);
        assert_eq!((next.status, next.closes), (200, false));
        server.shutdown.stop("now");
        client.expect_end();
    });
    assert_eq!(report.closed.drained, 1, "{report}");
}

/// The same in the accept queue of the stop. What follows on the body is not known yet,
/// and no response announces the close.
pub(crate) fn f79_a_request_in_the_accept_queue_is_read_to_its_end<R: Runtime>(runtime: R) {
    let client = std::cell::RefCell::new(None);
    let mut pair = None;
    let report = run(
        builder(runtime),
        http(),
        |server| {
            let mut first = server.connect();
            first.send(b"POST /later HTTP/1.1\r\nhost: a\r\ncontent-length: 1000\r\n\r\nabc");
            *client.borrow_mut() = Some(first);
            server.shutdown.stop("before anybody was accepted");
        },
        |server| {
            let mut client = client.borrow_mut().take().expect("it has connected");
            let answer = client.answer();
            assert_eq!((answer.status, answer.closes), (202, false));
            client.send(&[b'x'; 997]);
            client.expect_end();
            pair = Some(server.pair(&client.stream));
        },
    );
    let received = pair.as_ref().and_then(received_on);
    assert_eq!(received, Some(Ok(1000)), "{report}");
    assert_eq!(report.exit_status(), 0, "{report}");
}

/// The same where each response announces the close, whoever stops.
pub(crate) fn f79_a_request_is_read_to_its_end_where_no_connection_is_kept<R: Runtime>(
    runtime: R,
) {
    let mut pair = None;
    let report = serving(builder(runtime), http().keep_alive(false), |server| {
        let mut client = server.connect();
        client.send(b"POST /later HTTP/1.1\r\nhost: a\r\ncontent-length: 1000\r\n\r\nabc");
        let answer = client.answer();
        assert_eq!((answer.status, answer.closes), (202, true));
        let mut idle = server.connect();
        idle.send(b"GET / HT");
        server.shutdown.stop("now");
        idle.send(b"TP/1.1\r\nhost: a\r\n\r\n");
        assert!(idle.answer().closes);
        idle.expect_end();
        client.send(&[b'x'; 997]);
        client.expect_end();
        pair = Some(server.pair(&client.stream));
    });
    assert_eq!(
        pair.as_ref().and_then(received_on),
        Some(Ok(1000)),
        "{report}"
    );
    assert_eq!(report.exit_status(), 0, "{report}");
}

/// The response is given while the body comes, so that what is behind it has not been
/// seen. All of it is in the accept queue of the stop.
pub(crate) fn f75_requests_behind_a_body_are_answered_after_its_early_response<R: Runtime>(
    runtime: R,
) {
    let body = vec![b'x'; 60_000];
    let head = format!(
        "POST /later HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let bytes = [head.as_bytes(), &body, GET, GET].concat();
    let client = std::cell::RefCell::new(None);
    let mut pair = None;
    let report = run(
        builder(runtime),
        http(),
        |server| {
            let mut first = server.connect();
            first.send(&bytes);
            *client.borrow_mut() = Some(first);
            server.shutdown.stop("before anybody was accepted");
        },
        |server| {
            let mut client = client.borrow_mut().take().expect("it has connected");
            let closes = [202, 200, 200].map(|status| {
                let answer = client.answer();
                assert_eq!(answer.status, status);
                answer.closes
            });
            assert_eq!(closes, [false, false, true]);
            client.expect_end();
            pair = Some(server.pair(&client.stream));
        },
    );
    assert_eq!(
        pair.as_ref().and_then(received_on),
        Some(Ok(body.len())),
        "{report}"
    );
    assert_eq!(report.exit_status(), 0, "{report}");
}

/// hyper may be asked to keep responses to itself while requests wait.
pub(crate) fn f75_responses_before_half_a_request_are_sent_whatever_hyper_is_told<
    R: Runtime,
>(
    runtime: R,
) {
    let http = http().http1(|http1| _ = http1.pipeline_flush(true).half_close(true));
    let report = serving(builder(runtime), http, |server| {
        let mut client = server.connect();
        client.send(&[GET, GET, &GET[..5]].concat());
        let mut next = server.connect();
        assert_eq!(next.exchange(GET).status, 200);
        server.shutdown.stop("now");
        next.expect_end();
        client.send(&GET[5..]);
        let closes = [(); 3].map(|()| client.answer().closes);
        assert_eq!(closes, [false, false, true]);
        client.expect_end();
    });
    assert_eq!(report.exit_status(), 0, "{report}");
}

/// It comes after hyper's last look for input, which comes before the end of the response
/// is written. The client was not told of the close: the head of the response had left.
pub(crate) fn f100_the_request_at_the_end_of_a_response_is_answered<R: Runtime>(runtime: R) {
    let report = serving(builder(runtime), http(), |server| {
        let mut client = server.connect();
        next_at_end(server.pair(&client.stream), &client.stream);
        client.send(b"GET /next HTTP/1.1\r\nhost: a\r\n\r\n");
        client.until(b"one\r\n");
        // The connection is older than what the client has for its next request.
        std::thread::sleep(Duration::from_millis(200));
        server.shutdown.stop("now");
        client.until(b"end\r\n0\r\n\r\n");
        let answer = client.answer();
        assert_eq!((answer.status, answer.closes), (200, true));
        client.expect_end();
    });
    assert_eq!(report.exit_status(), 0, "{report}");
}

/// All that had arrived by half of the time is answered, and the last answer says so.
pub(crate) fn f97_a_client_that_pipelines_without_a_pause_is_told_of_the_close<R: Runtime>(
    runtime: R,
) {
    const WINDOW: usize = 10;
    for request in [&b"GET /slow HTTP/1.1\r\nhost: a\r\n\r\n"[..], CHUNKED] {
        let builder = builder(runtime.clone()).grace_period(Duration::from_secs(6));
        let report = serving(builder, http(), |server| {
            let mut client = server.connect();
            client.send(&request.repeat(WINDOW));
            let (mut sent, mut answered) = (WINDOW, 0);
            loop {
                let answer = client.answer();
                assert_eq!((answer.status, &answer.body[..]), (200, &b"slow"[..]));
                answered += 1;
                if answer.closes {
                    break;
                }
                if answered == 10 {
                    server.shutdown.stop("now");
                }
                client.send(request);
                sent += 1;
            }
            assert!(answered > WINDOW + 10, "{answered} of {sent}");
            client.expect_end();
        });
        assert_eq!(report.exit_status(), 0, "{report}");
    }
}

const CHUNKED: &[u8] =
    b"PUT /slow HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n";

pub(crate) fn f23_a_large_answer_reaches_a_slow_reader<R: Runtime>(runtime: R) {
    large_answer(&runtime, b"", LARGE_GET);
}

/// hyper gives such a connection away without the output that it has left.
pub(crate) fn f85_a_large_answer_after_a_refused_upgrade_is_whole<R: Runtime>(runtime: R) {
    large_answer(&runtime, REFUSED, LARGE_GET);
    let last = b"GET /large HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    large_answer(&runtime, REFUSED, last);
}

const LARGE_GET: &[u8] = b"GET /large HTTP/1.1\r\nhost: a\r\n\r\n";

/// Asks for it after `first`, and reads it after the stop.
fn large_answer<R: Runtime>(runtime: &R, first: &[u8], request: &[u8]) {
    let report = serving(builder(runtime.clone()), http(), |server| {
        let mut client = server.connect();
        if !first.is_empty() {
            assert_eq!(client.exchange(first).body, b"hello");
        }
        client.send(request);
        let mut next = server.connect();
        assert_eq!(next.exchange(GET).status, 200);
        server.shutdown.stop("now");
        next.expect_end();
        assert_eq!(client.answer().body.len(), LARGE);
        client.expect_end();
    });
    assert_eq!(report.exit_status(), 0, "{report}");
}

pub(crate) fn f21_an_upgraded_connection_is_waited_for<R: Runtime>(runtime: R) {
    for (path, upgraded_before) in [("/upgrade", true), ("/upgrade?drain", false)] {
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n"
        );
        let report = serving(builder(runtime.clone()), http(), |server| {
            let mut client = server.connect();
            client.send(request.as_bytes());
            if upgraded_before {
                assert_eq!(client.answer().status, 101);
                client.send(b"one");
                assert_eq!(client.bytes(3).expect("an echo"), b"one");
                client.send(b"two");
            }
            let mut next = server.connect();
            assert_eq!(next.exchange(GET).status, 200);
            server.shutdown.stop("now");
            if upgraded_before {
                assert_eq!(client.bytes(3).expect("an echo"), b"two");
            } else {
                let answer = client.answer();
                assert_eq!((answer.status, answer.closes), (101, false));
            }
            assert_eq!(client.bytes(3).expect("a good bye"), b"bye");
            client.expect_end();
            next.expect_end();
        });
        assert_eq!((report.accepted, report.closed.drained), (2, 2), "{report}");
    }
}

pub(crate) fn f106_a_refused_upgrade_holds_up_nobody<R: Runtime>(runtime: R) {
    let report = serving(builder(runtime), http(), |server| {
        for ends in [true, false] {
            let mut client = server.connect();
            client.send(
                b"GET /upgrade?refused HTTP/1.1\r\nhost: a\r\n\
                  connection: upgrade\r\nupgrade: echo\r\n\r\n",
            );
            assert_eq!(client.answer().status, 403);
            if ends {
                continue;
            }
            server.shutdown.stop("now");
            client.expect_end();
        }
    });
    assert_eq!((report.accepted, report.exit_status()), (2, 0), "{report}");
}

/// Another task has the request, which holds its connection.
pub(crate) fn f106_no_upgrade_is_left_for_a_connection_that_has_ended<R: Runtime>(runtime: R) {
    let (requests, received) = std::sync::mpsc::channel();
    let requests = std::sync::Mutex::new(requests);
    let service = service_fn(move |request: Request<Incoming>| {
        let requests = requests.lock().expect("one thread").clone();
        requests.send(request).expect("the test goes on");
        async { Ok::<_, Infallible>(status(StatusCode::NOT_FOUND)) }
    });
    let report = serving(builder(runtime), Http::new(service), |server| {
        let mut client = server.connect();
        client.send(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
        assert_eq!(client.answer().status, 404);
        client.expect_end();
        let mut request = received.recv().expect("a request");
        let connection = request.extensions().get::<ConnectionInfo>().cloned();
        let work = |_, _| async move {
            let _connection = connection;
            std::io::Result::Ok(())
        };
        on_upgrade(&mut request, work).expect_err("it has ended");
    });
    assert_eq!((report.accepted, report.exit_status()), (1, 0), "{report}");
}

/// The system may not have said yet that there is room for the response.
pub(crate) fn f21_an_upgrade_in_the_accept_queue_is_answered_before_its_protocol<R: Runtime>(
    runtime: R,
) {
    let mut queued = Vec::new();
    let clients = std::sync::Mutex::new(&mut queued);
    let report = run(
        builder(runtime),
        http(),
        |server| {
            for _ in 0..20 {
                let mut client = server.connect();
                client.send(
                    b"GET /upgrade HTTP/1.1\r\nhost: a\r\n\
                      connection: upgrade\r\nupgrade: echo\r\n\r\n",
                );
                clients.lock().expect("one thread").push(client);
            }
            server.shutdown.stop("before anybody was accepted");
        },
        |_| {
            for client in clients.lock().expect("one thread").iter_mut() {
                assert_eq!(client.answer().status, 101);
                assert_eq!(client.bytes(3).expect("the good-bye"), b"bye");
                client.expect_end();
            }
        },
    );
    assert_eq!((report.accepted, report.exit_status()), (20, 0), "{report}");
}

pub(crate) fn a_panic_ends_its_connection_only<R: Runtime>(runtime: R) {
    let report = serving(builder(runtime), http(), |server| {
        let mut other = server.connect();
        assert_eq!(other.exchange(GET).status, 200);
        let mut client = server.connect();
        client.send(b"GET /panic HTTP/1.1\r\nhost: a\r\n\r\n");
        assert!(client.try_answer().is_err());
        assert_eq!(other.exchange(GET).status, 200);
    });
    assert_eq!(report.closed.panicked, 1, "{report}");
}

pub(crate) fn events_end_at_the_stop_for_whoever_polls_on<R: Runtime>(runtime: R) {
    let report = serving(builder(runtime), http(), |server| {
        let mut client = server.connect();
        client.send(b"GET /events HTTP/1.1\r\nhost: a\r\n\r\n");
        client.until(b"one\r\n");
        server.shutdown.stop("now");
        assert_eq!(client.until(b"0\r\n\r\n"), "0\r\n\r\n");
        client.expect_end();
    });
    assert_eq!(report.closed.panicked, 0, "{report}");
}

pub(crate) fn a_peer_that_does_not_take_its_response_is_no_idle_one<R: Runtime>(runtime: R) {
    let report = serving(builder(runtime), http(), |server| {
        let mut client = server.connect();
        client.send(b"GET /large HTTP/1.1\r\nhost: a\r\n\r\n");
        client.until(b"\r\n\r\n");
        let mut next = server.connect();
        assert_eq!(next.exchange(GET).status, 200);
        server.shutdown.abort("now");
        next.expect_end();
    });
    let has_response = |cut_off: &&Straggler| cut_off.written > 1_000;
    let cut_off = report.aborted.iter().find(has_response);
    let activity = cut_off.map(|cut_off| cut_off.activity);
    assert_eq!(activity, Some(Activity::Busy), "{report}");
}

pub(crate) fn an_abort_cuts_off_what_is_in_flight<R: Runtime>(runtime: R) {
    let report = serving(builder(runtime), http(), |server| {
        let mut client = server.connect();
        client.send(b"GET /forever HTTP/1.1\r\nhost: a\r\n\r\n");
        let mut next = server.connect();
        assert_eq!(next.exchange(GET).status, 200);
        server.shutdown.abort("now");
        assert!(client.try_answer().is_err());
    });
    assert_eq!(report.exit_status(), 3, "{report}");
    assert!(
        !report.aborted.is_empty() && report.abandoned.is_empty(),
        "{report}"
    );
}

impl Client<net::TcpStream> {
    /// Sends what the client still has to say: not for one that has ended.
    fn send_after(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.send(bytes);
        }
    }
}
