//! Connections: what they say about bytes, and how they end.

use std::future::poll_fn;
use std::io::{IoSlice, Read};
use std::net::Shutdown;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::thread;
use std::time::{Duration, Instant};

use futures_io::{AsyncRead, AsyncWrite};
use rustix::net::sockopt::set_socket_linger;

use super::waking::{Woken, fill};
use super::{
    Check, Checked, LONG, during, ensure, in_task, pair, read_exact, rest, send, write_all,
};
use crate::rt::{Connection, Runtime};
use crate::sync::plain::mpsc;

pub(super) fn checks<R: Runtime>() -> Vec<Check<R>> {
    vec![
        (
            "poll_read_now has what arrived a moment ago",
            what_arrived_a_moment_ago,
        ),
        (
            "poll_read_now has what is there, also after many reads",
            what_is_there_after_many_reads,
        ),
        (
            "poll_read_now has the end that came a moment ago",
            the_end_that_came_a_moment_ago,
        ),
        ("poll_read_now registers the task", poll_read_now_registers),
        ("poll_read registers the task", poll_read_registers),
        (
            "what the buffer of a read has no room for comes with the next read",
            more_than_the_buffer_holds,
        ),
        ("a reset by the peer is an error", reset_is_no_end),
        (
            "poll_write takes what it says, and registers the task",
            large_output_arrives,
        ),
        (
            "after the half-close the peer sees the end, and reading works",
            reading_works_after_the_half_close,
        ),
        (
            "unacknowledged output is seen until it is acknowledged",
            unacknowledged_output_is_seen,
        ),
        ("the round trip over loopback is short", round_trip_is_short),
    ]
}

/// Polls for what the system has just now; `Pending` where it is not known yet.
fn poll_now<C: Connection>(
    connection: &mut C,
    cx: &mut Context<'_>,
) -> Poll<Result<Option<usize>, String>> {
    let read = ready!(connection.poll_read_now(cx, &mut [0; 16]));
    Poll::Ready(during("poll_read_now", read))
}

/// Reads where nothing is there, so that a runtime that remembers does so.
pub(super) fn read_in_vain<C: Connection>(connection: &mut C, cx: &mut Context<'_>) -> Checked {
    match Pin::new(connection).poll_read(cx, &mut [0; 16]) {
        Poll::Pending => Ok(()),
        Poll::Ready(read) => Err(format!("poll_read gave {read:?} where nothing was sent")),
    }
}

/// Reads in vain, lets something happen at the peer, and reads once more in the
/// same poll.
async fn seen_after<C: Connection>(
    connection: &mut C,
    mut happen: impl FnMut() -> Checked,
) -> Result<Option<usize>, String> {
    let mut has_happened = false;
    poll_fn(move |cx| {
        if !has_happened {
            read_in_vain(connection, cx)?;
            // Over loopback it has arrived when the call returns.
            happen()?;
            has_happened = true;
        }
        poll_now(connection, cx)
    })
    .await
}

const ROUNDS: usize = 100;

fn what_arrived_a_moment_ago<R: Runtime>(runtime: &R) -> Checked {
    for _ in 0..ROUNDS {
        let (mut connection, client) = pair(runtime)?;
        in_task(runtime, async move {
            send(&client, b"hello")?;
            read_exact(&mut connection, 5).await?;
            let seen = seen_after(&mut connection, || send(&client, b"x")).await?;
            ensure(seen == Some(1), || {
                format!("{seen:?}, and a byte was there")
            })
        })?;
    }
    Ok(())
}

fn what_is_there_after_many_reads<R: Runtime>(runtime: &R) -> Checked {
    let (mut connection, client) = pair(runtime)?;
    let (mut taken, mut is_sent) = (0, false);
    let all = poll_fn(move |cx| {
        while taken < 1_000 {
            if !is_sent {
                send(&client, b"x")?;
                is_sent = true;
            }
            let seen = ready!(poll_now(&mut connection, cx))?;
            ensure(seen == Some(1), || {
                format!("{seen:?} after {taken} reads, and a byte was there")
            })?;
            is_sent = false;
            taken += 1;
        }
        Poll::Ready(Ok(()))
    });
    in_task(runtime, all)
}

fn the_end_that_came_a_moment_ago<R: Runtime>(runtime: &R) -> Checked {
    for _ in 0..ROUNDS {
        let (mut connection, client) = pair(runtime)?;
        in_task(runtime, async move {
            let end = || during("shutdown", client.shutdown(Shutdown::Write));
            let seen = seen_after(&mut connection, end).await?;
            ensure(seen == Some(0), || {
                format!("{seen:?}, and the end was there")
            })
        })
        .map_err(|why| format!("the peer has ended: {why}"))?;
    }
    Ok(())
}

/// Lets a client send once its connection is waited for.
fn sent_later(client: std::net::TcpStream) -> mpsc::Sender<()> {
    let (waits, is_waiting) = mpsc::channel();
    thread::spawn(move || {
        if is_waiting.recv().is_ok() {
            // The task is to sleep by then; if it does not, nothing is missed.
            thread::sleep(Duration::from_millis(20));
            let _ = send(&client, b"x");
            // Open until the task is done.
            let _ = is_waiting.recv();
        }
    });
    waits
}

fn poll_read_now_registers<R: Runtime>(runtime: &R) -> Checked {
    let (mut connection, client) = pair(runtime)?;
    let waits = sent_later(client);
    let mut is_told = false;
    let woken = poll_fn(move |cx| {
        let seen = ready!(poll_now(&mut connection, cx))?;
        if seen.is_some() {
            return Poll::Ready(ensure(seen == Some(1), || format!("{seen:?}")));
        }
        if !std::mem::replace(&mut is_told, true) {
            let _ = waits.send(());
        }
        Poll::Pending
    });
    in_task(runtime, woken).map_err(|why| format!("poll_read_now, and then a byte came: {why}"))
}

fn poll_read_registers<R: Runtime>(runtime: &R) -> Checked {
    let (mut connection, client) = pair(runtime)?;
    let waits = sent_later(client);
    in_task(runtime, async move {
        let _ = waits.send(());
        read_exact(&mut connection, 1).await
    })
    .map_err(|why| format!("poll_read, and then a byte came: {why}"))
}

fn large_output_arrives<R: Runtime>(runtime: &R) -> Checked {
    const SIZE: usize = 4 << 20;
    let (mut connection, client) = pair(runtime)?;
    let output: Vec<u8> = (0..SIZE).map(|n| (n % 251) as u8).collect();
    let reader = thread::spawn(move || {
        thread::sleep(Duration::from_millis(20));
        rest(&client)
    });
    let expected = output.clone();
    in_task(runtime, async move {
        let (first, others) = output.split_at(SIZE / 2);
        let (head, tail) = first.split_at(10);
        let slices = [IoSlice::new(head), IoSlice::new(tail)];
        let written = poll_fn(|cx| Pin::new(&mut connection).poll_write_vectored(cx, &slices));
        let n = during("poll_write_vectored", written.await)?;
        write_all(&mut connection, &first[n..]).await?;
        write_all(&mut connection, others).await
    })?;
    let read = reader.join().map_err(|_| "the reader panicked")??;
    ensure(read == expected, || {
        format!("{} bytes of {SIZE} arrived, or others", read.len())
    })
}

fn more_than_the_buffer_holds<R: Runtime>(runtime: &R) -> Checked {
    const SIZE: usize = 1_000;
    let (mut connection, client) = pair(runtime)?;
    let sent: Vec<u8> = (0..SIZE).map(|n| (n % 251) as u8).collect();
    send(&client, &sent)?;
    during("shutdown", client.shutdown(Shutdown::Write))?;
    let read = in_task(runtime, async move {
        let (mut read, mut is_look) = (Vec::new(), false);
        loop {
            let mut buffer = [0; 16];
            // By turns, since both have to know what the other has left.
            is_look = !is_look;
            let n = poll_fn(|cx| {
                if !is_look {
                    let polled = Pin::new(&mut connection).poll_read(cx, &mut buffer);
                    return polled.map(|n| during("poll_read", n));
                }
                let looked = ready!(connection.poll_read_now(cx, &mut buffer));
                match during("poll_read_now", looked)? {
                    None => Poll::Pending,
                    Some(n) => Poll::Ready(Ok(n)),
                }
            });
            match n.await? {
                0 => return Ok(read),
                n => read.extend_from_slice(&buffer[..n]),
            }
        }
    })
    .map_err(|why| format!("the peer has sent {SIZE} bytes and its end: {why}"))?;
    ensure(read == sent, || {
        format!(
            "{} bytes of {SIZE} came, or others: what a buffer has no room for is kept for \
             the next read",
            read.len()
        )
    })
}

fn reset_is_no_end<R: Runtime>(runtime: &R) -> Checked {
    for is_look in [false, true] {
        let (mut connection, client) = pair(runtime)?;
        send(&client, b"hello")?;
        let mut client = Some(client);
        let read = in_task(runtime, async move {
            read_exact(&mut connection, 5).await?;
            if let Some(client) = client.take() {
                // Its close is a reset.
                let linger = set_socket_linger(&client, Some(Duration::ZERO));
                during("linger", linger)?;
            }
            let read = poll_fn(|cx| {
                if !is_look {
                    return Pin::new(&mut connection).poll_read(cx, &mut [0; 16]);
                }
                match ready!(connection.poll_read_now(cx, &mut [0; 16])) {
                    Ok(None) => Poll::Pending,
                    read => Poll::Ready(read.map(|n| n.unwrap_or(0))),
                }
            });
            Ok(read.await)
        });
        let read = read.map_err(|why| format!("the peer has reset: {why}"))?;
        ensure(read.is_err(), || {
            let name = if is_look {
                "poll_read_now"
            } else {
                "poll_read"
            };
            format!("the peer has reset the connection, and {name} gave {read:?}")
        })?;
    }
    Ok(())
}

fn reading_works_after_the_half_close<R: Runtime>(runtime: &R) -> Checked {
    let (connection, client) = pair(runtime)?;
    // The last write cannot have ended when the connection is half-closed: nobody reads.
    let (mut connection, written) = fill(runtime, connection, &Woken::new().0)?;
    let (reads, may_read) = mpsc::channel();
    let peer = thread::spawn(move || {
        let _ = may_read.recv_timeout(LONG);
        let read = rest(&client).map_err(|why| format!("the peer has read no end: {why}"))?;
        ensure(read.len() == written, || {
            let read = read.len();
            format!("the peer has read {read} bytes of {written} before the end")
        })?;
        send(&client, b"answer")?;
        during("shutdown", client.shutdown(Shutdown::Write))
    });
    let ours = in_task(runtime, async move {
        let flushed = poll_fn(|cx| {
            let flushed = Pin::new(&mut connection).poll_flush(cx);
            if flushed.is_pending() {
                let _ = reads.send(());
            }
            flushed
        });
        during("poll_flush", flushed.await)?;
        let half_closed = poll_fn(|cx| {
            let half_closed = connection.poll_half_close(cx);
            let _ = reads.send(());
            half_closed
        });
        during("poll_half_close", half_closed.await)?;
        read_exact(&mut connection, 6).await?;
        let end = poll_fn(|cx| match ready!(poll_now(&mut connection, cx))? {
            None => Poll::Pending,
            Some(n) => Poll::Ready(Ok::<_, String>(n)),
        });
        let n = end.await?;
        ensure(n == 0, || format!("{n} bytes in place of the end"))
    });
    match (peer.join().map_err(|_| "the peer panicked")?, ours) {
        // What the peer has seen is the reason, and what we see follows from it.
        (Err(peer), Err(ours)) => Err(format!("{peer}; the adapter's side: {ours}")),
        (peer, ours) => peer.and(ours),
    }
}

fn unacknowledged_output_is_seen<R: Runtime>(runtime: &R) -> Checked {
    let (connection, mut client) = pair(runtime)?;
    if connection.unacknowledged().is_none() {
        // Not known here: the server waits for the peer's end alone.
        return Ok(());
    }
    let (connection, written) = fill(runtime, connection, &Woken::new().0)?;
    let left = connection.unacknowledged();
    ensure(left.is_some_and(|left| left > 0), || {
        format!("{left:?} of {written} bytes that nobody has read")
    })?;
    let mut buffer = vec![0; written];
    during("the client's read", client.read_exact(&mut buffer))?;
    let begun = Instant::now();
    while connection.unacknowledged() != Some(0) {
        ensure(begun.elapsed() < LONG, || {
            let left = connection.unacknowledged();
            format!("{left:?} of {written} bytes that were read")
        })?;
        thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

fn round_trip_is_short<R: Runtime>(runtime: &R) -> Checked {
    let (connection, _client) = pair(runtime)?;
    let time = connection.round_trip();
    ensure(time.is_none_or(|time| time < LONG), || {
        format!("{time:?} over loopback")
    })
}
