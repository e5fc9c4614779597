//! What can be set, and what follows the phase.

use std::net::Shutdown;
use std::time::Duration;

use hyper::Request;
use lameduck::http::{Announce, Health, Http};
use lameduck::{Phase, Runtime};

use crate::support::{GET, LONG, QUEUED, Running, builder, http, serving};

const READY: &[u8] = b"GET /readyz HTTP/1.1\r\nhost: a\r\n\r\n";
const LIVE: &[u8] = b"GET /livez HTTP/1.1\r\nhost: a\r\n\r\n";

pub(crate) fn health_follows_the_phase<R: Runtime>(runtime: R) {
    let builder = builder(runtime).lame_duck(LONG / 2);
    let report = serving(builder, http().announce(Announce::Draining), |server| {
        let mut client = server.connect();
        assert_eq!(client.exchange(READY).status, 200);
        assert_eq!(client.exchange(LIVE).status, 200);
        server.shutdown.stop("now");
        assert_eq!(server.shutdown.phase(), Phase::LameDuck);
        assert_eq!(client.exchange(READY).status, 503);
        assert_eq!(client.exchange(LIVE).status, 200);
        let mut late = server.connect();
        assert_eq!(late.exchange(READY).status, 503);
        server.shutdown.abort("the lame duck has been seen");
    });
    assert_eq!(report.accepted, 2, "{report}");
}

#[test]
fn health_has_a_service_of_its_own() {
    use hyper::service::Service;

    let shutdown = lameduck::Shutdown::new();
    let guard = shutdown.try_guard().unwrap();
    let health = Health::new(shutdown.clone());
    let ask = |path: &str| {
        let request = Request::get(path).body(()).unwrap();
        let response = smol::block_on(health.call(request)).unwrap();
        (response.status().as_u16(), response.into_body())
    };
    assert_eq!(ask("/readyz"), (200, "running\n".to_owned()));
    shutdown.stop("now");
    assert_eq!(ask("/readyz"), (503, "draining\n".to_owned()));
    assert_eq!(ask("/livez"), (200, "draining\n".to_owned()));
    assert_eq!(ask("/").0, 404);
    drop(guard);
}

/// One goes before the stop, and one in it.
pub(crate) fn a_client_that_has_gone_ends_its_request_where_that_is_wanted<R: Runtime>(
    runtime: R,
) {
    let forever = b"GET /forever HTTP/1.1\r\nhost: a\r\n\r\n";
    let report = serving(builder(runtime), http().half_close(false), |server| {
        for gone_before_the_stop in [true, false] {
            let mut client = server.connect();
            client.send(forever);
            let mut next = server.connect();
            assert_eq!(next.exchange(GET).status, 200);
            if !gone_before_the_stop {
                server.shutdown.stop("now");
            }
            client.stream.shutdown(Shutdown::Write).expect("it is open");
            client.expect_end();
        }
    });
    assert_eq!(report.exit_status(), 0, "{report}");
    assert!(report.duration < LONG / 2, "{report}");
}

pub(crate) fn f13_a_lame_duck_announces_the_close_and_serves<R: Runtime>(runtime: R) {
    let builder = builder(runtime).lame_duck(LONG / 2);
    let report = serving(builder, http(), |server| {
        let (mut busy, mut idle) = (server.connect(), server.connect());
        assert!(!busy.exchange(GET).closes && !idle.exchange(GET).closes);
        server.shutdown.stop("now");
        // Two in one: the first response is not the last.
        busy.send(&[GET, GET].concat());
        assert!(!busy.answer().closes);
        assert!(busy.answer().closes);
        busy.expect_end();
        let mut late = server.connect();
        assert!(late.exchange(GET).closes);
        late.expect_end();
        // An idle one is left alone until the drain.
        assert!(idle.exchange(GET).closes);
        server.shutdown.abort("the lame duck has been seen");
    });
    assert_eq!(report.closed.total(), 3, "{report}");
}

pub(crate) fn an_old_connection_is_drained<R: Runtime>(runtime: R) {
    // Without jitter the one that came first is old first.
    let http = http().max_age(Duration::from_millis(50), 0.0);
    let report = serving(builder(runtime), http, |server| {
        let mut idle = server.connect();
        assert_eq!(idle.exchange(GET).status, 200);
        idle.expect_end();
        // Half a head is awaited, its response announces the close.
        let mut busy = server.connect();
        assert!(!busy.exchange(&[GET, b"GET / HT"].concat()).closes);
        idle = server.connect();
        idle.expect_end();
        assert!(busy.exchange(b"TP/1.1\r\nhost: a\r\n\r\n").closes);
        busy.expect_end();
    });
    assert_eq!(report.accepted, 3, "{report}");
}

/// A client that sends its next request at once is told before the end.
pub(crate) fn f82_an_old_connection_announces_its_end<R: Runtime>(runtime: R) {
    let http = http().max_age(Duration::from_millis(20), 0.5);
    let report = serving(builder(runtime), http, |server| {
        for _ in 0..TIMES {
            let mut client = server.connect();
            while !client.exchange(GET).closes {}
            client.expect_end();
        }
    });
    let finished = (report.accepted, report.exit_status());
    assert_eq!(finished, (TIMES, 0), "{report}");
}

const TIMES: u64 = 20;

pub(crate) fn a_connection_that_waits_too_long_is_closed<R: Runtime>(runtime: R) {
    let http = http().keep_alive_timeout(Duration::from_millis(50));
    let report = serving(builder(runtime), http, |server| {
        let mut silent = server.connect();
        silent.expect_end();
        let mut idle = server.connect();
        assert_eq!(idle.exchange(GET).status, 200);
        idle.expect_end();
    });
    assert_eq!((report.accepted, report.exit_status()), (2, 0), "{report}");
}

pub(crate) fn a_head_that_takes_too_long_is_closed<R: Runtime>(runtime: R) {
    let http = http().header_timeout(Duration::from_millis(50));
    let report = serving(builder(runtime), http, |server| {
        for before in [&b"PRI * HT"[..], b"GET / HT"] {
            let mut slow = server.connect();
            slow.send(before);
            slow.expect_end();
        }
        let mut second = server.connect();
        assert_eq!(second.exchange(&[GET, b"GET / HT"].concat()).status, 200);
        second.expect_end();
    });
    assert_eq!((report.accepted, report.exit_status()), (3, 0), "{report}");
}

pub(crate) fn f34_the_longest_times_of_http_do_not_overflow<R: Runtime>(runtime: R) {
    let longest = Duration::MAX;
    let all = http().header_timeout(longest).keep_alive_timeout(longest);
    let all = all.max_age(longest, 0.0).settle(longest);
    let all = all.goaway_timeout(longest);
    let report = serving(builder(runtime), all, |server| {
        let mut client = server.connect();
        let (begin, rest) = GET.split_at(10);
        for _ in 0..2 {
            client.send(begin);
            // Another one is answered after it was read.
            assert_eq!(server.connect().exchange(GET).status, 200);
            assert_eq!(client.exchange(rest).status, 200);
        }
    });
    assert_eq!(report.closed.panicked, 0, "{report}");
}

pub(crate) fn f20_empty_lines_are_no_request<R: Runtime>(runtime: R) {
    for lines in ["\r\n", "\n", "\r", "\r\n\r\n"] {
        let report = serving(builder(runtime.clone()), http(), |server| {
            let mut client = server.connect();
            client.send(lines.as_bytes());
            // Another one is answered after they were read.
            let mut other = server.connect();
            assert_eq!(other.exchange(GET).status, 200);
            server.shutdown.stop("now");
            client.expect_end();
            other.expect_end();
        });
        assert_eq!(report.exit_status(), 0, "{lines:?}: {report}");
        assert!(report.duration < LONG / 2, "{lines:?}: {report}");
    }
}

pub(crate) fn events_end_with_the_drain<R: Runtime>(runtime: R) {
    let report = serving(builder(runtime), http(), |server: &Running| {
        let mut client = server.connect();
        client.send(b"GET /events HTTP/1.1\r\nhost: a\r\n\r\n");
        let mut head = Vec::new();
        while !head.ends_with(b"one\r\n") {
            head.extend(client.bytes(1).expect("an event"));
        }
        server.shutdown.stop("now");
        assert_eq!(client.bytes(5).expect("the last chunk"), b"0\r\n\r\n");
        client.expect_end();
    });
    assert_eq!(
        (report.closed.aborted, report.exit_status()),
        (0, 0),
        "{report}"
    );
}

/// The request was one message, so that no message can be at work.
pub(crate) fn f101_events_for_a_request_of_one_message_end_with_the_drain<R: Runtime>(
    runtime: R,
) {
    let report = serving(builder(runtime), http(), |server: &Running| {
        let contents = ["application/json", "application/grpc-web-text+proto"];
        let mut clients = contents.map(|content| {
            let mut client = server.connect();
            let head = format!("POST /ticks HTTP/1.1\r\nhost: a\r\ncontent-type: {content}");
            client.send(format!("{head}\r\ncontent-length: 2\r\n\r\n{{}}").as_bytes());
            client.until(b"tick\r\n");
            client
        });
        server.shutdown.stop("now");
        for client in &mut clients {
            client.until(b"0\r\n\r\n");
            client.expect_end();
        }
    });
    assert_eq!(report.exit_status(), 0, "{report}");
    assert!(report.duration < LONG / 4, "{report}");
}

pub(crate) fn events_end_with_the_time_to_settle<R: Runtime>(runtime: R) {
    let builder = builder(runtime).settle(Duration::from_secs(1));
    let report = serving(builder, http(), |server: &Running| {
        let mut client = server.connect();
        client.send(b"GET /late HTTP/1.1\r\nhost: a\r\n\r\n");
        client.until(b"one\r\n");
        server.shutdown.stop("now");
        assert_eq!(client.until(b"0\r\n\r\n"), "4\r\nlate\r\n0\r\n\r\n");
        client.expect_end();
    });
    assert_eq!(report.exit_status(), 0, "{report}");
}

pub(crate) fn events_that_are_ready_are_sent_before_the_drain_ends_them<R: Runtime>(
    runtime: R,
) {
    let report = serving(builder(runtime), http(), |server: &Running| {
        let mut client = server.connect();
        client.send(b"GET /queue HTTP/1.1\r\nhost: a\r\n\r\n");
        let mut next = server.connect();
        assert_eq!(next.exchange(GET).status, 200);
        server.shutdown.stop("now");
        next.expect_end();
        assert_eq!(client.answer().body.len(), QUEUED * QUEUED);
        client.expect_end();
    });
    assert_eq!(report.exit_status(), 0, "{report}");
}

#[test]
fn a_service_of_tower_is_served() {
    use tower_service::Service;

    #[derive(Clone)]
    struct Hello;

    impl Service<hyper::Request<hyper::body::Incoming>> for Hello {
        type Response = hyper::Response<crate::support::Body>;
        type Error = std::convert::Infallible;
        type Future = std::future::Ready<Result<Self::Response, Self::Error>>;

        fn poll_ready(
            &mut self,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Result<(), Self::Error>> {
            std::task::Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: hyper::Request<hyper::body::Incoming>) -> Self::Future {
            let body = http_body_util::Full::new(bytes::Bytes::from("tower"));
            let body = http_body_util::BodyExt::boxed_unsync(body);
            std::future::ready(Ok(hyper::Response::new(body)))
        }
    }

    let builder = builder(lameduck::runtimes::smol::Smol);
    let report = serving(builder, Http::tower(Hello), |server| {
        assert_eq!(server.connect().exchange(GET).body, b"tower");
    });
    assert_eq!(report.exit_status(), 0, "{report}");
}
