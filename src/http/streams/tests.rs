//! Frames made by hand, in pieces of any size.

use super::frames::{ACK, CONTINUATION, DATA, END_STREAM, PREFACE};
use super::*;

const PING: u8 = 6;

#[test]
fn a_stream_takes_little_room() {
    // As much as the smallest piece of glibc's malloc has.
    assert!(size_of::<Stream>() <= 24);
}

fn frame(kind: u8, flags: u8, stream: u8, payload: usize) -> Vec<u8> {
    let length = u8::try_from(payload).unwrap();
    let head = [0, 0, length, kind, flags, 0x80, 0, 0, stream];
    [&head[..], &vec![0x11; payload]].concat()
}

/// Says after each frame whether a stream is open, whatever the pieces are.
#[track_caller]
fn check(script: &[(bool, Vec<u8>, bool)]) {
    for piece in 1..20 {
        let mut streams = Streams::new();
        for part in [7; PREFACE as usize].chunks(piece) {
            streams.push_read(part);
        }
        for (is_read, bytes, is_open) in script {
            for part in bytes.chunks(piece) {
                match is_read {
                    true => streams.push_read(part),
                    false => streams.push_written(part),
                }
            }
            assert_eq!(streams.is_any_open(), *is_open, "{:?}", streams.open);
        }
    }
}

#[test]
fn f79_a_stream_is_open_until_its_last_frame_is_written() {
    check(&[
        (true, frame(4, END_STREAM, 0, 12), false),
        (true, frame(HEADERS, END_STREAM | 4, 1, 30), true),
        (false, frame(HEADERS, 4, 1, 10), true),
        (false, frame(DATA, 0, 1, 200), true),
        (true, frame(PING, END_STREAM, 0, 8), true),
        (false, frame(DATA, END_STREAM, 1, 0), false),
    ]);
}

#[test]
fn f79_a_stream_is_open_while_its_request_comes() {
    check(&[
        (true, frame(HEADERS, 4, 1, 30), true),
        (true, frame(HEADERS, END_STREAM | 4, 3, 30), true),
        (false, frame(HEADERS, END_STREAM | 4, 1, 10), true),
        (false, frame(HEADERS, END_STREAM | 4, 3, 10), true),
        (true, frame(DATA, 0, 1, 100), true),
        // The trailers.
        (true, frame(HEADERS, END_STREAM | 4, 1, 10), false),
    ]);
}

#[test]
fn f79_a_reset_ends_a_stream_from_either_side() {
    for by_peer in [true, false] {
        check(&[
            (true, frame(HEADERS, 4, 1, 30), true),
            (by_peer, frame(RST_STREAM, 0, 1, 4), false),
            // What was under way opens it no more.
            (true, frame(HEADERS, END_STREAM | 4, 1, 10), false),
        ]);
    }
}

#[test]
fn a_goaway_names_the_last_stream_between_two_frames_and_once() {
    let mut streams = Streams::new();
    streams.push_read(&[7; PREFACE as usize]);
    for id in [1, 3] {
        streams.push_read(&frame(HEADERS, END_STREAM | 4, id, 30));
    }
    let ping = frame(PING, ACK, 0, 8);
    streams.push_written(&ping[..10]);
    assert_eq!(
        (streams.limit(None), streams.take_goaway()),
        (usize::MAX, None)
    );
    streams.end_input();
    assert_eq!((streams.limit(None), streams.take_goaway()), (0, None));
    streams.push_written(&ping[10..]);
    let goaway = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0];
    assert_eq!(streams.take_goaway(), Some(goaway));
    assert_eq!((streams.limit(None), streams.take_goaway()), (0, None));
}

/// Byte by byte, as if none of them had arrived when half of the time was over.
#[test]
fn f97_the_input_is_held_back_where_a_frame_ends_with_a_message() {
    let cx = Context::from_waker(futures::task::noop_waker_ref());
    let mut streams = Streams::new();
    streams.push_read(&[7; PREFACE as usize]);
    streams.push_read(&frame(HEADERS, 4, 1, 30));
    assert_eq!(streams.call(), Some(1));
    streams.follow(1, DataOf::Grpc);
    streams.hold_back(true);
    assert!(streams.is_held_back() && !streams.has_idle_point());
    assert!(!streams.is_between(1, &cx) && streams.has_idle_point());
    assert_eq!(
        streams.limit(None),
        usize::MAX,
        "what has arrived is not known"
    );
    assert_eq!(streams.limit(Some(99)), 99);
    // A message in two frames, behind the head of a request that goes on in a second one.
    let data = |payload: &[u8]| {
        let mut frame = frame(DATA, 0, 1, payload.len());
        frame.truncate(HEAD);
        [&frame[..], payload].concat()
    };
    let parts = [
        frame(HEADERS, 0, 3, 3),
        frame(CONTINUATION, 4, 3, 2),
        data(&[0, 0, 0, 0, 2]),
        data(&[8, 9]),
    ];
    let mut ends = Vec::new();
    for (part, bytes) in parts.iter().enumerate() {
        for (at, byte) in bytes.iter().enumerate() {
            let limit = streams.limit(Some(0));
            assert!((1..=bytes.len() - at).contains(&limit), "{part}, {at}");
            streams.push_read(&[*byte]);
        }
        ends.push(streams.limit(Some(0)));
    }
    assert_eq!(ends, [HEAD, HEAD, HEAD, 0]);
    streams.hold_back(false);
    assert_eq!(streams.limit(Some(0)), usize::MAX);
    streams.push_read(&frame(DATA, END_STREAM, 1, 0));
    assert!(!streams.has_idle_point(), "its client goes on no more");
}

#[test]
fn f80_the_service_is_called_in_the_order_of_the_streams_that_are_left() {
    let mut streams = Streams::new();
    streams.push_read(&[7; PREFACE as usize]);
    for id in [1, 3, 5] {
        streams.push_read(&frame(HEADERS, 4, id, 30));
    }
    assert_eq!(streams.call(), Some(1));
    streams.push_written(&frame(RST_STREAM, 0, 3, 4));
    assert_eq!(streams.call(), Some(5));
    assert_eq!(streams.call(), None);
}

#[test]
fn f80_a_tunnel_whose_reader_has_all_of_it_is_between_messages() {
    let cx = Context::from_waker(futures::task::noop_waker_ref());
    let mut streams = Streams::new();
    streams.push_read(&[7; PREFACE as usize]);
    streams.push_read(&frame(HEADERS, 4, 1, 30));
    assert_eq!(streams.call(), Some(1));
    streams.follow(1, DataOf::Websocket);
    assert!(!streams.is_between(1, &cx), "nobody has looked");
    assert_eq!(streams.end_look().len(), 1, "its reader waits for it");
    assert!(!streams.is_between(1, &cx), "its first message may follow");
    assert!(streams.await_first() && !streams.await_first(), "once");
    streams.end_first();
    assert!(streams.is_between(1, &cx));
    // A message of four bytes, the last of which is missing, and then comes.
    let payload = [0x82, 4, 1, 2, 3];
    for (bytes, is_between) in [(&payload[..], false), (&[4][..], true)] {
        streams.begin_look();
        let mut frame = frame(DATA, 0, 1, bytes.len());
        frame.truncate(HEAD);
        frame.extend(bytes);
        let (last, before) = frame.split_last().unwrap();
        for byte in before {
            streams.push_read(&[*byte]);
            drop(streams.end_look());
            for _ in 0..2 {
                assert!(!streams.is_between(1, &cx));
            }
            assert_eq!(streams.tasks_mut().readers.len(), 1, "it is one task");
        }
        streams.push_read(&[*last]);
        assert_eq!(streams.is_between(1, &cx), is_between);
    }
    assert!(!streams.has_peer_ended(1));
    streams.push_read(&frame(DATA, END_STREAM, 1, 0));
    assert!(streams.has_peer_ended(1), "it awaits what we send");
    streams.push_read(&frame(RST_STREAM, 0, 1, 4));
    assert!(!streams.has_peer_ended(1), "it awaits nothing");
    assert!(streams.is_between(1, &cx), "its reader is told of the end");
}
