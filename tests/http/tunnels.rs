//! Streams that go both ways at once: calls, and those of HTTP/2 that are connections
//! of their own (RFC 9113, 8.5; RFC 8441).

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use lameduck::{Report, Runtime};

use crate::http2::{
    DATA, END_HEADERS, END_STREAM, Frame, Frames, GOAWAY, HEADERS, NO_ERROR, PING, RST_STREAM,
    WINDOW_UPDATE, frame, get, goaways,
};
use crate::support::{Client, LONG, Running, THINKS, builder, http, run, serving};
use crate::tls::{Strict, identity, tls};

/// A head of HPACK whose fields are literals without an index.
fn head(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut head = Vec::new();
    for (name, value) in fields {
        head.push(0);
        for text in [name, value] {
            head.push(u8::try_from(text.len()).expect("it is short"));
            head.extend(text.as_bytes());
        }
    }
    head
}

/// Opens a WebSocket on a stream, once the server has said that it may.
fn connect_websocket(client: &mut Frames, stream: u32) {
    let fields = [
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", "http"),
        (":path", "/"),
        (":authority", "a"),
    ];
    let head = frame(HEADERS, END_HEADERS, stream, &head(&fields));
    client.0.send(&head);
    client.until_headers();
}

/// The opcodes of RFC 6455, 5.2, with the bit of a last frame.
const BINARY: u8 = 0x82;
const CLOSE: u8 = 0x88;

/// A message or a close of a client: its mask is zero, and so changes nothing.
fn message(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).expect("it is short");
    [&[opcode, 0x80 | length, 0, 0, 0, 0], payload].concat()
}

/// The same of a server.
fn answer(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).expect("it is short");
    [&[opcode, length], payload].concat()
}

/// Reads data of a stream until it is as long as `expected`, which it is to be.
fn expect_data(client: &mut Frames, stream: u32, expected: &[u8]) {
    for other in read_data(client, stream, expected) {
        client.answer(&other, true);
    }
}

/// The same for a client that cannot answer yet. Returns what else has come.
fn read_data(client: &mut Frames, stream: u32, expected: &[u8]) -> Vec<Frame> {
    let (mut data, mut others) = (Vec::new(), Vec::new());
    while data.len() < expected.len() {
        let next = client.next().expect("the connection is open");
        assert_ne!(next.kind, RST_STREAM, "after {data:?}");
        if next.kind == DATA && next.stream == stream {
            data.extend(next.payload);
        } else {
            others.push(next);
        }
    }
    assert_eq!(data, expected);
    others
}

/// Answers the server's close, and reads to the end of the connection.
fn close(client: &mut Frames, stream: u32) {
    expect_data(client, stream, &answer(CLOSE, &[]));
    let close = message(CLOSE, &[]);
    client.0.send(&frame(DATA, END_STREAM, stream, &close));
    let rest = client.rest(true);
    assert!(goaways(&rest).iter().all(|goaway| goaway.1 == NO_ERROR));
    assert!(rest.iter().all(|frame| frame.kind != RST_STREAM));
}

fn expect_drained(report: &Report) {
    assert_eq!(report.exit_status(), 0, "{report}");
    assert_eq!(report.closed.drained, report.accepted, "{report}");
    assert!(report.duration < LONG / 2, "{report}");
}

pub(crate) fn f80_a_websocket_over_http2_is_told_of_the_stop<R: Runtime>(runtime: R) {
    let report = serving(builder(runtime), http(), |server| {
        let mut client = Frames::connect(server);
        connect_websocket(&mut client, 1);
        let one = frame(DATA, 0, 1, &message(BINARY, b"one"));
        client.0.send(&one);
        expect_data(&mut client, 1, &answer(BINARY, b"one"));
        server.shutdown.stop("now");
        close(&mut client, 1);
    });
    expect_drained(&report);
}

/// The first part of a message comes before the stop, and the rest well after it.
pub(crate) fn f80_messages_that_have_begun_are_echoed_before_the_close<R: Runtime>(runtime: R) {
    let (one, two) = (message(BINARY, b"one"), message(BINARY, b"two"));
    let padded = {
        let padding = [0; 7];
        let payload = [&[7], &one[..], &two[..2], &padding].concat();
        frame(DATA, 8, 3, &payload)
    };
    let whole = frame(DATA, 0, 3, &two);
    let first = frame(DATA, 0, 3, &one);
    // What comes before the stop, and after it.
    let scripts = [
        (
            [first.clone(), frame(DATA, 0, 3, &two[..3])].concat(),
            frame(DATA, 0, 3, &two[3..]),
        ),
        (
            [first.clone(), frame(DATA, 0, 3, &two[..6])].concat(),
            frame(DATA, 0, 3, &two[6..]),
        ),
        // The frame of HTTP/2 has not come as a whole.
        ([&first[..], &whole[..4]].concat(), whole[4..].to_vec()),
        ([&first[..], &whole[..9]].concat(), whole[9..].to_vec()),
        ([&first[..], &whole[..13]].concat(), whole[13..].to_vec()),
        (padded, frame(DATA, 0, 3, &two[2..])),
    ];
    for (before, after) in scripts {
        let report = serving(builder(runtime.clone()), http(), |server| {
            let mut client = Frames::connect(server);
            // Another stream is read to its end before.
            client.0.send(&get(1, "/"));
            client.until_headers();
            connect_websocket(&mut client, 3);
            client.0.send(&before);
            server.shutdown.stop("now");
            let others = read_data(&mut client, 3, &answer(BINARY, b"one"));
            // Time in which it would be told to close, if it was taken to be idle.
            std::thread::sleep(Duration::from_millis(50));
            client.0.send(&after);
            for other in others {
                client.answer(&other, true);
            }
            expect_data(&mut client, 3, &answer(BINARY, b"two"));
            close(&mut client, 3);
        });
        expect_drained(&report);
    }
}

pub(crate) fn f80_a_tunnel_within_http2_gives_what_had_arrived<R: Runtime>(runtime: R) {
    let head = head(&[(":method", "CONNECT"), (":authority", "a:1")]);
    let mut queued = None;
    let open = |client: &mut Frames| client.0.send(&frame(HEADERS, END_HEADERS, 1, &head));
    let queued_client = std::cell::RefCell::new(&mut queued);
    let report = run(
        builder(runtime),
        http(),
        |server| {
            let mut client = Frames::connect(server);
            open(&mut client);
            client.0.send(&frame(DATA, 0, 1, b"bytes"));
            **queued_client.borrow_mut() = Some(client);
            server.shutdown.stop("before anybody was accepted");
        },
        |_| {
            let mut client = queued_client.borrow_mut().take().expect("it is there");
            expect_data(&mut client, 1, b"bytesbye");
            client.0.send(&frame(DATA, END_STREAM, 1, &[]));
            let rest = client.rest(true);
            assert!(rest.iter().all(|frame| frame.kind != RST_STREAM));
        },
    );
    expect_drained(&report);
}

pub(crate) fn f99_a_tunnel_that_its_client_has_ended_has_its_answer<R: Runtime>(runtime: R) {
    let head = head(&[(":method", "CONNECT"), (":authority", THINKS)]);
    let report = serving(builder(runtime), http(), |server| {
        let mut client = Frames::connect(server);
        client.0.send(&frame(HEADERS, END_HEADERS, 1, &head));
        client.until_headers();
        client.0.send(&frame(DATA, END_STREAM, 1, b"question"));
        server.shutdown.stop("now");
        expect_data(&mut client, 1, b"question");
        client.rest(true);
    });
    expect_drained(&report);
}

/// Begins a call on stream 1 whose pieces come back.
fn begin_empty_call(client: &mut Frames) {
    // As `get`, but it is POST, and the body follows.
    let mut head = get(1, "/both");
    (head[4], head[9]) = (END_HEADERS, 0x83);
    client.0.send(&head);
    client.until_headers();
}

/// Begins such a call, and sends the first piece.
fn begin_call(client: &mut Frames) {
    begin_empty_call(client);
    client.0.send(&frame(DATA, 0, 1, b"one"));
    expect_data(client, 1, b"one");
}

fn end_call(client: &mut Frames) {
    client.0.send(&frame(DATA, END_STREAM, 1, &[]));
    let rest = client.rest(true);
    let data = rest.iter().filter(|frame| frame.kind == DATA);
    assert!(data.clone().all(|frame| frame.payload.is_empty()));
    // After the whole response, the rest of the request is refused (RFC 9113, 8.1).
    let mut resets = rest.iter().filter(|frame| frame.kind == RST_STREAM);
    assert!(resets.all(|reset| reset.payload == NO_ERROR.to_be_bytes()));
}

/// How often it is tried what the server has read when it sees the stop.
const TRIES: usize = 20;

/// The client of a call may be about to send its first message when it learns of the stop.
pub(crate) fn f95_the_first_message_of_a_call_may_follow_its_head<R: Runtime>(runtime: R) {
    for _ in 0..TRIES {
        let report = serving(builder(runtime.clone()), http(), |server| {
            let mut client = Frames::connect(server);
            begin_empty_call(&mut client);
            let stopped_at = Instant::now();
            server.shutdown.stop("now");
            while client.next().expect("it is told").kind != GOAWAY {}
            client.0.send(&frame(DATA, 0, 1, b"one"));
            // On a machine that is too busy it is as late as one that never comes.
            if stopped_at.elapsed() < Duration::from_millis(50) {
                expect_data(&mut client, 1, b"one");
                end_call(&mut client);
            }
        });
        assert_eq!(report.exit_status(), 0, "{report}");
    }
}

pub(crate) fn f95_a_call_without_a_message_holds_up_nobody<R: Runtime>(runtime: R) {
    let report = serving(builder(runtime), http(), |server| {
        let mut client = Frames::connect(server);
        begin_empty_call(&mut client);
        server.shutdown.stop("now");
        let is_end = |frame: &Frame| frame.kind == DATA && frame.flags & END_STREAM != 0;
        while !is_end(&client.next().expect("the server ends the call")) {}
        end_call(&mut client);
    });
    expect_drained(&report);
}

pub(crate) fn f80_what_had_arrived_of_a_call_is_answered_before_its_end<R: Runtime>(
    runtime: R,
) {
    for _ in 0..TRIES {
        let report = serving(builder(runtime.clone()), http(), |server| {
            let mut client = Frames::connect(server);
            begin_call(&mut client);
            let pieces = [frame(DATA, 0, 1, b"two"), frame(DATA, 0, 1, b"three")];
            client.0.send(&pieces.concat());
            server.shutdown.stop("now");
            expect_data(&mut client, 1, b"twothree");
            end_call(&mut client);
        });
        expect_drained(&report);
    }
}

pub(crate) fn f80_a_call_is_not_ended_in_the_middle_of_a_frame<R: Runtime>(runtime: R) {
    let two = frame(DATA, 0, 1, b"two");
    // Of its head, and of its payload.
    for cut in [4, 11] {
        let report = serving(builder(runtime.clone()), http(), |server| {
            let mut client = Frames::connect(server);
            begin_call(&mut client);
            client.0.send(&two[..cut]);
            server.shutdown.stop("now");
            std::thread::sleep(Duration::from_millis(50));
            client.0.send(&two[cut..]);
            expect_data(&mut client, 1, b"two");
            end_call(&mut client);
        });
        expect_drained(&report);
    }
}

/// Each of them takes some time to answer, so most wait at the stop.
pub(crate) fn f91_messages_that_wait_for_their_turn_are_answered<R: Runtime>(runtime: R) {
    for path in ["/work", "/work-within"] {
        let report = serving(builder(runtime.clone()), http(), |server| {
            let mut client = Frames::connect(server);
            let whole = get(1, path);
            client.0.send(&frame(
                HEADERS,
                END_HEADERS,
                1,
                &[&[0x83], &whole[10..]].concat(),
            ));
            let pieces = (0..TRIES).map(|_| frame(DATA, 0, 1, b"piece"));
            client.0.send(&pieces.collect::<Vec<_>>().concat());
            expect_data(&mut client, 1, b"piece");
            server.shutdown.stop("now");
            expect_data(&mut client, 1, &b"piece".repeat(TRIES - 1));
            end_call(&mut client);
        });
        expect_drained(&report);
        // The same over HTTP/1.1.
        let report = serving(builder(runtime.clone()), http(), |server| {
            let mut client = server.connect();
            let chunk = "5\r\npiece\r\n";
            client.send(
                format!(
                    "POST {path} HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"
                )
                .as_bytes(),
            );
            client.send(chunk.repeat(TRIES).as_bytes());
            client.until(chunk.as_bytes());
            server.shutdown.stop("now");
            let rest = chunk.repeat(TRIES - 1) + "0\r\n\r\n";
            assert_eq!(client.until(b"0\r\n\r\n"), rest, "{path}");
        });
        assert_eq!(report.exit_status(), 0, "{report}");
    }
}

/// Returns the head of a call on stream 1.
fn grpc_call(path: &str, content: &[u8]) -> Vec<u8> {
    let whole = get(1, path);
    // POST, and the name of the content type, from HPACK's static table.
    let length = u8::try_from(content.len()).expect("it is short");
    let head = [&[0x83], &whole[10..], &[0x0f, 0x10, length], content].concat();
    frame(HEADERS, END_HEADERS, 1, &head)
}

/// Room for whatever is sent back.
fn give_room<S: Read + Write>(client: &mut Frames<S>, streams: &[u32]) {
    let room = (1_u32 << 30).to_be_bytes();
    for stream in streams {
        client.0.send(&frame(WINDOW_UPDATE, 0, *stream, &room));
    }
}

/// So many are under way at any time.
const WINDOW: u32 = 3;

/// Sends a piece for each that comes back, and stops the server meanwhile. Returns how many
/// had been sent by then, and all data of the stream, which ends it.
fn never_pause<S: Read + Write>(
    server: &Running,
    client: &mut Frames<S>,
    mut send: impl FnMut(&mut Frames<S>, u32),
    is_piece: impl Fn(&Frame) -> bool,
) -> (u32, Vec<u8>) {
    let (mut sent, mut owed, mut data) = (0, None, Vec::new());
    while sent < WINDOW {
        send(client, sent);
        sent += 1;
    }
    loop {
        let next = client.next().expect("the connection is open");
        client.answer(&next, true);
        if next.stream != 1 || next.kind != DATA {
            assert!(
                !matches!(next.kind, RST_STREAM | HEADERS),
                "after {sent} pieces"
            );
            continue;
        }
        data.extend(&next.payload);
        if !is_piece(&next) {
            return (owed.expect("the server was stopped"), data);
        }
        send(client, sent);
        sent += 1;
        if sent > 10 && owed.is_none() {
            owed = Some(sent);
            server.shutdown.stop("now");
        }
    }
}

/// What had arrived is answered in order, and then the call ends, as the pieces never do. The
/// upload on another stream goes on meanwhile, and is whole.
pub(crate) fn f97_a_call_that_never_pauses_is_ended_between_two_pieces<R: Runtime>(runtime: R) {
    let piece = |n: u32| format!("{n:08}").into_bytes();
    let is_piece = |frame: &Frame| frame.flags & END_STREAM == 0;
    // At each piece there is work that takes longer than the input is held back at first.
    for path in ["/both", "/work-within"] {
        let builder = builder(runtime.clone()).grace_period(Duration::from_secs(3));
        let report = serving(builder, http(), |server| {
            let mut client = Frames::connect(server);
            let whole = get(1, path);
            let head = [&[0x83], &whole[10..]].concat();
            client.0.send(&frame(HEADERS, END_HEADERS, 1, &head));
            client.until_headers();
            let mut upload = get(3, "/");
            (upload[4], upload[9]) = (END_HEADERS, 0x83);
            client.0.send(&upload);
            give_room(&mut client, &[0, 1]);
            let mut uploaded = 0;
            let send = |client: &mut Frames, n| {
                client.0.send(&frame(DATA, 0, 1, &piece(n)));
                client.0.send(&frame(DATA, 0, 3, b"x"));
                uploaded += 1;
            };
            let (owed, data) = never_pause(server, &mut client, send, is_piece);
            let answered = u32::try_from(data.len() / 8).expect("it is short");
            assert!(answered >= owed, "{answered} of {owed}");
            let pieces: Vec<_> = (0..answered).flat_map(piece).collect();
            assert_eq!(data, pieces, "{path}");
            client.0.send(&frame(DATA, END_STREAM, 3, b""));
            let frames = client.rest(true);
            let echoed = frames.iter().filter(|frame| frame.stream == 3);
            let echoed: usize = echoed
                .filter(|frame| frame.kind == DATA)
                .map(|frame| frame.payload.len())
                .sum();
            assert_eq!(echoed, uploaded, "{path}");
            let mut resets = frames.iter().filter(|frame| frame.kind == RST_STREAM);
            assert!(resets.all(|reset| reset.payload == NO_ERROR.to_be_bytes()));
        });
        assert_eq!(report.exit_status(), 0, "{report}");
        assert!(report.duration < Duration::from_millis(2500), "{report}");
    }
}

/// All that had arrived is read, although over TLS it may be less than was known then.
pub(crate) fn f97_a_call_over_tls_that_never_pauses_is_ended<R: Runtime>(runtime: R) {
    let identity = identity();
    let builder = builder(tls(runtime, &identity)).grace_period(Duration::from_secs(3));
    let report = serving(builder, http(), |server| {
        let strict = Strict::connect(server, &identity);
        let mut client = Frames::begin(Client::new(strict));
        let whole = get(1, "/work-within");
        let head = [&[0x83], &whole[10..]].concat();
        client.0.send(&frame(HEADERS, END_HEADERS, 1, &head));
        client.until_headers();
        let send = |client: &mut Frames<_>, _| client.0.send(&frame(DATA, 0, 1, b"piece"));
        let is_piece = |frame: &Frame| frame.flags & END_STREAM == 0;
        let (owed, data) = never_pause(server, &mut client, send, is_piece);
        let answered = u32::try_from(data.len() / 5).expect("it is short");
        assert!(answered >= owed, "{answered} of {owed}");
        client.rest(true);
    });
    assert_eq!(report.exit_status(), 0, "{report}");
    assert!(report.duration < Duration::from_millis(2500), "{report}");
}

pub(crate) fn f97_a_websocket_over_http2_that_never_pauses_is_told_of_the_end<R: Runtime>(
    runtime: R,
) {
    let builder = builder(runtime).grace_period(Duration::from_secs(3));
    let report = serving(builder, http(), |server| {
        let mut client = Frames::connect(server);
        connect_websocket(&mut client, 1);
        give_room(&mut client, &[0, 1]);
        let text = |n: u32| format!("{n:08}").into_bytes();
        let send = |client: &mut Frames, n| {
            client
                .0
                .send(&frame(DATA, 0, 1, &message(BINARY, &text(n))));
        };
        // One frame has one message, or a part of one, or the close.
        let is_piece = |frame: &Frame| !frame.payload.starts_with(&[CLOSE]);
        let (owed, data) = never_pause(server, &mut client, send, is_piece);
        let mut expected = Vec::new();
        let mut answered = 0;
        while expected.len() + 2 < data.len() {
            expected.extend(answer(BINARY, &text(answered)));
            answered += 1;
        }
        expected.extend(answer(CLOSE, &[]));
        assert_eq!(data, expected);
        assert!(answered >= owed, "{answered} of {owed}");
        let close = message(CLOSE, &[]);
        client.0.send(&frame(DATA, END_STREAM, 1, &close));
        let rest = client.rest(true);
        assert!(rest.iter().all(|frame| frame.kind != RST_STREAM));
    });
    assert_eq!(report.exit_status(), 0, "{report}");
    assert!(report.duration < Duration::from_millis(2500), "{report}");
}

/// It streams to a client that has said all: no message can be at work.
pub(crate) fn f96_a_call_that_streams_to_its_client_ends_at_once<R: Runtime>(runtime: R) {
    let report = serving(builder(runtime), http(), |server| {
        let mut client = Frames::connect(server);
        client.0.send(&grpc_call("/ticks", b"application/grpc"));
        client
            .0
            .send(&frame(DATA, END_STREAM, 1, b"\0\0\0\0\x03one"));
        expect_data(&mut client, 1, b"ticktick");
        server.shutdown.stop("now");
        let frames = client.rest(true);
        assert!(frames.iter().all(|frame| frame.kind != RST_STREAM));
    });
    expect_drained(&report);
}

/// The same for any request that is one message by its type.
pub(crate) fn f101_a_stream_that_answers_one_message_ends_at_once<R: Runtime>(runtime: R) {
    let report = serving(builder(runtime), http(), |server| {
        let mut client = Frames::connect(server);
        client.0.send(&grpc_call("/ticks", b"application/json"));
        client.0.send(&frame(DATA, END_STREAM, 1, b"{}"));
        expect_data(&mut client, 1, b"ticktick");
        server.shutdown.stop("now");
        let frames = client.rest(true);
        assert!(frames.iter().all(|frame| frame.kind != RST_STREAM));
    });
    expect_drained(&report);
}

/// Half of a message is a whole frame. The first half comes with the head of the call,
/// which the service has not seen then, or after an answer.
pub(crate) fn f87_half_a_message_of_grpc_is_awaited<R: Runtime>(runtime: R) {
    // A flag, a length, and the message.
    let (one, two) = (b"\0\0\0\0\x03one", b"\0\0\0\0\x03two");
    let contents = [
        &b"application/grpc"[..],
        b"application/grpc+proto",
        b"application/connect+json",
    ];
    for (content, cut) in contents.into_iter().cycle().zip([1, 4, 5, 7]) {
        for with_head in [true, false] {
            let report = serving(builder(runtime.clone()), http(), |server| {
                let mut client = Frames::connect(server);
                let half = [&one[..], &two[..cut]].concat();
                if with_head {
                    let call = [grpc_call("/both", content), frame(DATA, 0, 1, &half)];
                    client.0.send(&call.concat());
                    client.until_headers();
                    expect_data(&mut client, 1, &half);
                } else {
                    client.0.send(&grpc_call("/both", content));
                    client.until_headers();
                    client.0.send(&frame(DATA, 0, 1, one));
                    expect_data(&mut client, 1, one);
                    client.0.send(&frame(DATA, 0, 1, &two[..cut]));
                    expect_data(&mut client, 1, &two[..cut]);
                }
                server.shutdown.stop("now");
                std::thread::sleep(Duration::from_millis(50));
                client.0.send(&frame(DATA, 0, 1, &two[cut..]));
                expect_data(&mut client, 1, &two[cut..]);
                end_call(&mut client);
            });
            expect_drained(&report);
        }
    }
}

/// A frame that belongs to another stream than half of it may have belonged to.
pub(crate) fn f80_a_tunnel_ends_although_half_a_frame_was_of_another_stream<R: Runtime>(
    runtime: R,
) {
    let report = serving(builder(runtime), http(), |server| {
        let mut client = Frames::connect(server);
        connect_websocket(&mut client, 1);
        let one = frame(DATA, 0, 1, &message(BINARY, b"one"));
        let ping = frame(PING, 0, 0, &[7; 8]);
        client.0.send(&[&one[..], &ping[..5]].concat());
        let others = read_data(&mut client, 1, &answer(BINARY, b"one"));
        server.shutdown.stop("now");
        std::thread::sleep(Duration::from_millis(50));
        client.0.send(&ping[5..]);
        for other in others {
            client.answer(&other, true);
        }
        close(&mut client, 1);
    });
    expect_drained(&report);
}

/// The same over HTTP/1.1, whose request and response are read and written in turns.
pub(crate) fn f17_what_had_arrived_of_a_request_is_answered_before_its_end<R: Runtime>(
    runtime: R,
) {
    let chunk = |n: usize| format!("4\r\n{n:04}\r\n");
    for _ in 0..TRIES {
        let report = serving(builder(runtime.clone()), http(), |server| {
            let mut client = server.connect();
            let head = "POST /both HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
            client.send(format!("{head}{}", chunk(0)).as_bytes());
            client.until(chunk(0).as_bytes());
            let rest: String = (1..=TRIES).map(chunk).collect();
            client.send(rest.as_bytes());
            server.shutdown.stop("now");
            assert_eq!(client.until(b"0\r\n\r\n"), format!("{rest}0\r\n\r\n"));
            client.send(b"0\r\n\r\n");
            client.expect_end();
        });
        assert_eq!(report.exit_status(), 0, "{report}");
        assert!(report.duration < LONG / 2, "{report}");
    }
}
