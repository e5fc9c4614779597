//! HTTP/2: with a client library, and with frames made by hand.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use bytes::Bytes;
use hyper::Request;
use lameduck::Runtime;

use crate::support::{
    Client, GET, LARGE, LONG, Running, builder, http, received_on, run, serving,
};

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
pub(crate) const DATA: u8 = 0;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const WINDOW_UPDATE: u8 = 8;
const ACK: u8 = 1;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
const END_STREAM_AND_HEADERS: u8 = 5;

pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len())
        .expect("it is short")
        .to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// The head of `GET path`, all of it from HPACK's static table, or as literals.
pub(crate) fn get(stream: u32, path: &str) -> Vec<u8> {
    // :method GET, :scheme http, :path and :authority as literals.
    let mut head = vec![0x82, 0x86, 0x04];
    head.push(u8::try_from(path.len()).expect("it is short"));
    head.extend(path.as_bytes());
    head.extend([0x01, 1, b'a']);
    frame(HEADERS, END_STREAM_AND_HEADERS, stream, &head)
}

/// A client that speaks HTTP/2 by hand.
pub(crate) struct Frames<S = TcpStream>(pub(crate) Client<S>);

impl Frames {
    pub(crate) fn connect(server: &Running) -> Frames {
        Frames::begin(server.connect())
    }
}

impl<S: Read + Write> Frames<S> {
    /// Sends the preface, and empty settings.
    pub(crate) fn begin(mut client: Client<S>) -> Frames<S> {
        client.send(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat());
        Frames(client)
    }

    /// Reads the next frame; `None` at the end.
    pub(crate) fn next(&mut self) -> Option<Frame> {
        let head = self.0.bytes(9).ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let length = usize::try_from(length).expect("it fits");
        Some(Frame {
            kind: head[3],
            flags: head[4],
            stream: u32::from_be_bytes([head[5], head[6], head[7], head[8]]),
            payload: self.0.bytes(length).expect("the rest of a frame"),
        })
    }

    /// Reads to the end, answers settings and, if so, pings.
    pub(crate) fn rest(&mut self, answers_pings: bool) -> Vec<Frame> {
        let mut frames = Vec::new();
        while let Some(next) = self.next() {
            self.answer(&next, answers_pings);
            frames.push(next);
        }
        frames
    }

    pub(crate) fn answer(&mut self, next: &Frame, answers_pings: bool) {
        let answers = next.kind == SETTINGS || (next.kind == PING && answers_pings);
        if answers && next.flags & ACK == 0 {
            let payload = match next.kind {
                PING => &next.payload[..],
                _ => &[],
            };
            self.0.send(&frame(next.kind, ACK, 0, payload));
        }
    }

    /// Reads until a response has begun.
    pub(crate) fn until_headers(&mut self) {
        loop {
            let next = self.next().expect("a response");
            self.answer(&next, true);
            if next.kind == HEADERS {
                return;
            }
        }
    }
}

/// Returns the last streams and the errors of the GOAWAYs.
pub(crate) fn goaways(frames: &[Frame]) -> Vec<(u32, u32)> {
    let number = |bytes: &[u8]| u32::from_be_bytes(bytes.try_into().expect("four bytes"));
    let goaways = frames.iter().filter(|frame| frame.kind == GOAWAY);
    goaways
        .map(|frame| (number(&frame.payload[..4]), number(&frame.payload[4..8])))
        .collect()
}

pub(crate) const NO_ERROR: u32 = 0;

pub(crate) fn streams_in_flight_are_answered_and_goaway_comes_twice<R: Runtime>(runtime: R) {
    let report = serving(builder(runtime), http(), |server| {
        let mut client = Frames::connect(server);
        client
            .0
            .send(&[get(1, "/drain"), get(3, "/drain"), get(5, "/")].concat());
        client.until_headers();
        server.shutdown.stop("now");
        let frames = client.rest(true);
        let responses = frames.iter().filter(|frame| frame.kind == HEADERS).count();
        assert_eq!(responses, 2, "stream 5 was answered before");
        assert_eq!(goaways(&frames), [(0x7fff_ffff, NO_ERROR), (5, NO_ERROR)]);
        assert!(frames.iter().all(|frame| frame.kind != RST_STREAM));
    });
    assert_eq!(
        (report.closed.drained, report.exit_status()),
        (1, 0),
        "{report}"
    );
}

pub(crate) fn every_stream_that_had_arrived_is_answered<R: Runtime>(runtime: R) {
    // In the accept queue, with four streams each, and on served connections.
    let mut queued = Vec::new();
    let clients = std::sync::Mutex::new(&mut queued);
    let streams: Vec<_> = (0..4).map(|n| get(2 * n + 1, "/")).collect();
    let streams = streams.concat();
    let report = run(
        builder(runtime),
        // Clients answer one after the other, on a machine that may be busy.
        http().goaway_timeout(LONG),
        |server| {
            for _ in 0..30 {
                let mut client = Frames::connect(server);
                client.0.send(&streams);
                clients.lock().expect("one thread").push(client);
            }
            server.shutdown.stop("before anybody was accepted");
        },
        |_| {
            for client in clients.lock().expect("one thread").iter_mut() {
                let frames = client.rest(true);
                let responses = frames.iter().filter(|frame| frame.kind == HEADERS).count();
                assert_eq!(responses, 4);
                assert!(goaways(&frames).iter().all(|(_, error)| *error == NO_ERROR));
                assert_eq!(goaways(&frames).last(), Some(&(7, NO_ERROR)));
                assert!(frames.iter().all(|frame| frame.kind != RST_STREAM));
            }
        },
    );
    assert_eq!((report.accepted, report.exit_status()), (30, 0), "{report}");
}

pub(crate) fn a_silent_http2_connection_ends_at_once<R: Runtime>(runtime: R) {
    let report = serving(builder(runtime), http(), |server| {
        let mut client = Frames::connect(server);
        client.0.send(&get(1, "/"));
        client.until_headers();
        server.shutdown.stop("now");
        let frames = client.rest(true);
        assert_eq!(goaways(&frames).last(), Some(&(1, NO_ERROR)));
    });
    assert_eq!(
        (report.closed.drained, report.exit_status()),
        (1, 0),
        "{report}"
    );
}

pub(crate) fn f24_half_a_preface_is_awaited<R: Runtime>(runtime: R) {
    let report = serving(builder(runtime), http(), |server| {
        let mut client = Frames(server.connect());
        client.0.send(&PREFACE[..10]);
        let mut next = server.connect();
        assert_eq!(next.exchange(GET).status, 200);
        server.shutdown.stop("now");
        next.expect_end();
        let rest = [&PREFACE[10..], &frame(SETTINGS, 0, 0, &[]), &get(1, "/")].concat();
        client.0.send(&rest);
        let frames = client.rest(true);
        assert!(
            frames
                .iter()
                .any(|frame| frame.kind == HEADERS && frame.stream == 1)
        );
    });
    assert_eq!(report.exit_status(), 0, "{report}");
}

pub(crate) fn f102_a_peer_that_answers_no_ping_is_told_the_last_stream<R: Runtime>(runtime: R) {
    let http = http().goaway_timeout(Duration::from_millis(50));
    let report = serving(builder(runtime), http, |server| {
        let mut client = Frames::connect(server);
        client.0.send(&get(1, "/"));
        client.until_headers();
        server.shutdown.stop("now");
        let frames = client.rest(false);
        // Not by hyper, which waits for the answer.
        assert_eq!(goaways(&frames), [(0x7fff_ffff, NO_ERROR), (1, NO_ERROR)]);
    });
    assert_eq!(
        (report.closed.drained, report.exit_status()),
        (1, 0),
        "{report}"
    );
    assert!(report.duration < LONG / 2, "{report}");
}

pub(crate) fn a_stream_that_is_reset_in_the_stop_holds_up_nobody<R: Runtime>(runtime: R) {
    let http = http().goaway_timeout(Duration::from_millis(50));
    let report = serving(builder(runtime), http, |server| {
        let mut client = Frames::connect(server);
        client.0.send(&[get(1, "/forever"), get(3, "/")].concat());
        client.until_headers();
        server.shutdown.stop("now");
        while client.next().expect("the ping of the end").kind != PING {}
        const CANCEL: [u8; 4] = 8_u32.to_be_bytes();
        client.0.send(&frame(RST_STREAM, 0, 1, &CANCEL));
        let frames = client.rest(false);
        assert_eq!(goaways(&frames), [(3, NO_ERROR)]);
    });
    assert_eq!(
        (report.closed.drained, report.exit_status()),
        (1, 0),
        "{report}"
    );
    assert!(report.duration < LONG / 2, "{report}");
}

/// As clients of gRPC's C core do, which give a request up that a GOAWAY overtakes.
pub(crate) fn f86_a_client_that_waits_for_our_settings_is_served<R: Runtime>(runtime: R) {
    let mut queued = None;
    let queue = std::sync::Mutex::new(&mut queued);
    let report = run(
        builder(runtime),
        http().goaway_timeout(LONG),
        |server| {
            **queue.lock().expect("one thread") = Some(Frames::connect(server));
            server.shutdown.stop("before anybody was accepted");
        },
        |_| {
            let mut queue = queue.lock().expect("one thread");
            let client = queue.as_mut().expect("it is connected");
            let stream = client.0.stream.try_clone().expect("a socket");
            let patience = stream.read_timeout().expect("a socket");
            let mut frames = vec![client.next().expect("settings")];
            let moment = Some(Duration::from_millis(50));
            stream.set_read_timeout(moment).expect("a socket");
            frames.extend(std::iter::from_fn(|| client.next()));
            assert_eq!(goaways(&frames), [], "before the first request");
            stream.set_read_timeout(patience).expect("a socket");
            client.0.send(&frame(SETTINGS, ACK, 0, &[]));
            client.0.send(&get(1, "/"));
            let frames = client.rest(true);
            let responses = frames.iter().filter(|frame| frame.kind == HEADERS);
            assert_eq!(responses.count(), 1);
            assert_eq!(goaways(&frames).last(), Some(&(1, NO_ERROR)));
        },
    );
    assert_eq!(
        (report.closed.drained, report.exit_status()),
        (1, 0),
        "{report}"
    );
}

/// Neither a client that is silent after our settings, nor one that does not answer them.
pub(crate) fn f86_a_client_without_a_first_request_holds_up_nobody<R: Runtime>(runtime: R) {
    for (answers, limit) in [(true, LONG), (false, Duration::from_millis(50))] {
        let http = http().goaway_timeout(limit);
        let report = serving(builder(runtime.clone()), http, |server| {
            let mut client = Frames::connect(server);
            let first = client.next().expect("settings");
            assert_eq!(first.kind, SETTINGS);
            server.shutdown.stop("now");
            if answers {
                client.answer(&first, true);
                let frames = client.rest(true);
                assert_eq!(goaways(&frames).last(), Some(&(0, NO_ERROR)));
            } else {
                let frames = client.rest(false);
                assert_eq!(goaways(&frames), [(0, NO_ERROR)], "it was served nothing");
            }
        });
        assert_eq!(
            (report.closed.drained, report.exit_status()),
            (1, 0),
            "{report}"
        );
        assert!(report.duration < LONG / 2, "{report}");
    }
}

/// The preface and the settings are no request, and a half one is not awaited for ever.
pub(crate) fn f81_an_http2_connection_without_a_request_holds_up_nobody<R: Runtime>(
    runtime: R,
) {
    let limit = Duration::from_millis(50);
    let http = http().header_timeout(limit);
    let report = serving(builder(runtime), http, |server| {
        let mut silent = Frames::connect(server);
        let mut closed = Vec::new();
        let ping = frame(PING, 0, 0, &[7; 8]);
        let head = get(1, "/");
        let continued = frame(HEADERS, END_STREAM, 1, &head[9..12]);
        for half in [&ping[..3], &ping[..12], &head[..5], &head[..12], &continued] {
            let mut client = Frames::connect(server);
            client.0.send(half);
            closed.push(client);
        }
        for client in &mut closed {
            client.rest(true);
        }
        // It is served all the same.
        std::thread::sleep(limit * 2);
        silent.0.send(&head);
        silent.until_headers();
        server.shutdown.stop("now");
        silent.rest(true);
    });
    assert_eq!((report.accepted, report.exit_status()), (6, 0), "{report}");
    assert!(report.duration < LONG / 2, "{report}");
}

pub(crate) fn a_silent_http2_connection_waits_as_long_as_any<R: Runtime>(runtime: R) {
    let http = http().keep_alive_timeout(Duration::from_millis(50));
    let report = serving(builder(runtime), http, |server| {
        let mut silent = Frames::connect(server);
        let frames = silent.rest(true);
        assert_eq!(goaways(&frames).last(), Some(&(0, NO_ERROR)));
    });
    assert_eq!((report.accepted, report.exit_status()), (1, 0), "{report}");
}

/// Longer than the time for the answer to a ping, which ends nothing here (F79).
const SLOWLY: Duration = Duration::from_millis(300);

pub(crate) fn f79_a_response_is_whole_for_a_peer_that_takes_its_time<R: Runtime>(runtime: R) {
    for answers_pings in [true, false] {
        let http = http().goaway_timeout(SLOWLY / 6);
        let report = serving(builder(runtime.clone()), http, |server| {
            let mut client = Frames::connect(server);
            client.0.send(&get(1, "/large"));
            client.until_headers();
            server.shutdown.stop("now");
            std::thread::sleep(SLOWLY);
            // Room for all of it, on the connection and on the stream.
            let room = u32::try_from(LARGE).expect("it fits").to_be_bytes();
            for stream in [0, 1] {
                client.0.send(&frame(WINDOW_UPDATE, 0, stream, &room));
            }
            let frames = client.rest(answers_pings);
            let data = frames.iter().filter(|frame| frame.kind == DATA);
            let length: usize = data.map(|frame| frame.payload.len()).sum();
            assert_eq!(length, LARGE);
            assert!(frames.iter().all(|frame| frame.kind != RST_STREAM));
        });
        assert_eq!(report.exit_status(), 0, "{report}");
        assert!(report.duration < LONG / 2, "{report}");
    }
}

pub(crate) fn f79_a_stream_is_read_to_its_end_after_its_response<R: Runtime>(runtime: R) {
    let mut pair = None;
    let http = http().goaway_timeout(SLOWLY / 6);
    let report = serving(builder(runtime), http, |server| {
        let mut client = Frames::connect(server);
        // As `get`, but it is POST, and the body follows.
        let mut head = get(1, "/later");
        (head[4], head[9]) = (END_HEADERS, 0x83);
        client.0.send(&head);
        client.until_headers();
        server.shutdown.stop("now");
        std::thread::sleep(SLOWLY);
        client.0.send(&frame(DATA, 0, 1, b"half"));
        std::thread::sleep(SLOWLY);
        client.0.send(&frame(DATA, END_STREAM, 1, b"rest"));
        let frames = client.rest(true);
        assert_eq!(goaways(&frames).last(), Some(&(1, NO_ERROR)));
        pair = Some(server.pair(&client.0.stream));
    });
    let received = pair.as_ref().and_then(received_on);
    assert_eq!(received, Some(Ok(8)), "{report}");
    assert_eq!(report.exit_status(), 0, "{report}");
}

/// In the future of a response, and in the call of the service.
pub(crate) fn a_panic_resets_its_stream_only_and_is_counted<R: Runtime>(runtime: R) {
    for path in ["/panic", "/panic/call"] {
        panic_in_a_stream(runtime.clone(), path);
    }
}

fn panic_in_a_stream<R: Runtime>(runtime: R, path: &str) {
    let report = serving(builder(runtime), http(), |server| {
        let mut client = Frames::connect(server);
        client.0.send(&[get(1, "/drain"), get(3, path)].concat());
        loop {
            let next = client.next().expect("the reset of the stream");
            client.answer(&next, true);
            if next.kind == RST_STREAM {
                assert_eq!(next.stream, 3);
                break;
            }
        }
        assert!(server.shutdown.stop("now"), "the panic has stopped it");
        let frames = client.rest(true);
        let is_answer = |frame: &&Frame| frame.kind == HEADERS;
        let answered: Vec<_> = frames.iter().filter(is_answer).collect();
        assert_eq!(answered.len(), 1, "{path}");
        assert_eq!(answered[0].stream, 1, "{path}");
        assert_eq!(goaways(&frames).last(), Some(&(3, NO_ERROR)), "{path}");
    });
    assert_eq!(
        (report.closed.panicked, report.closed.total()),
        (1, 1),
        "{report}"
    );
}

/// The server learns of the panic though its client stays.
pub(crate) fn a_panic_in_a_stream_stops_a_server_that_wants_it<R: Runtime>(runtime: R) {
    let builder = builder(runtime).stop_on_panic(true);
    let report = serving(builder, http(), |server| {
        let mut client = Frames::connect(server);
        // The other stream ends at the stop.
        client
            .0
            .send(&[get(1, "/drain"), get(3, "/panic")].concat());
        let frames = client.rest(true);
        let answered = |frame: &&Frame| frame.kind == HEADERS && frame.stream == 1;
        assert_eq!(frames.iter().filter(answered).count(), 1);
        futures::executor::block_on(server.shutdown.draining());
    });
    assert_eq!(report.closed.panicked, 1, "{report}");
}

pub(crate) fn a_straggler_says_how_many_requests_are_in_flight<R: Runtime>(runtime: R) {
    let report = serving(builder(runtime), http(), |server| {
        let mut client = Frames::connect(server);
        client
            .0
            .send(&[get(1, "/endless"), get(3, "/endless")].concat());
        client.until_headers();
        client.until_headers();
        server.shutdown.abort("now");
    });
    let [straggler] = &report.aborted[..] else {
        panic!("one was aborted: {report}");
    };
    assert_eq!(straggler.requests, 2, "{report}");
    let text = straggler.to_string();
    assert!(text.contains(": 2 requests in flight, busy, "), "{text}");
}

/// A client library sees an orderly end, with requests that follow each other
/// until it is told.
#[test]
fn a_client_library_loses_no_request_over_a_stop() {
    let tokio = tokio::runtime::Runtime::new().unwrap();
    let server_runtime = lameduck::runtimes::smol::Smol;
    let report = serving(builder(server_runtime), http(), |server| {
        tokio.block_on(async {
            let stream = tokio::net::TcpStream::connect(server.address)
                .await
                .unwrap();
            let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
            let connection = tokio::spawn(connection);
            let mut answered = 0;
            loop {
                let ready = client.clone().ready().await;
                let Ok(ready) = ready else { break };
                client = ready;
                let request = Request::get("http://a/").body(()).unwrap();
                // Refused by the library once it was told.
                let Ok((response, _)) = client.send_request(request, true) else {
                    break;
                };
                match response.await {
                    Ok(response) => {
                        let mut body = response.into_body();
                        let mut all = Vec::new();
                        while let Some(bytes) = body.data().await {
                            let bytes: Bytes = bytes.unwrap();
                            let _ = body.flow_control().release_capacity(bytes.len());
                            all.extend(bytes);
                        }
                        assert_eq!(all, b"hello");
                        answered += 1;
                    }
                    // Beyond the last stream of the second GOAWAY: refused, and
                    // safe to be sent again.
                    Err(error) => {
                        assert!(error.is_go_away() && error.is_remote(), "{error}");
                        assert_eq!(error.reason(), Some(h2::Reason::NO_ERROR));
                        break;
                    }
                }
                if answered == 20 {
                    server.shutdown.stop("now");
                }
            }
            assert!(answered >= 20);
            drop(client);
            connection.await.unwrap().unwrap();
        });
    });
    assert_eq!(
        (report.closed.drained, report.exit_status()),
        (1, 0),
        "{report}"
    );
}

/// What a client does wrong ends its own connection.
#[test]
fn a_flood_of_resets_ends_its_connection_only() {
    let server_runtime = lameduck::runtimes::smol::Smol;
    let report = serving(builder(server_runtime), http(), |server| {
        let mut client = Frames::connect(server);
        let cancel = 8_u32.to_be_bytes();
        let flood = |n: u32| {
            [
                get(2 * n + 1, "/forever"),
                frame(RST_STREAM, 0, 2 * n + 1, &cancel),
            ]
        };
        let flood: Vec<_> = (0..2000).flat_map(flood).collect();
        let _ = client.0.stream.write_all(&flood.concat());
        let mut rest = Vec::new();
        let _ = client.0.stream.read_to_end(&mut rest);
        assert_eq!(server.connect().exchange(GET).status, 200);
    });
    assert_eq!(report.accepted, 2, "{report}");
}
