//! The orderly close of a connection: carries out a [`LingeringClose`].

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use super::timer::{Clock, Timer};
use crate::machine::closing::{Input, LingeringClose, Output};
use crate::rt::{Connection, Runtime};

/// Closes a connection in order, as `closing` says: for programs with an accept
/// loop of their own. A [`Server`](crate::Server) does it by itself.
///
/// # Errors
/// Those of the connection, which then is of no use any more.
///
/// # Cancel safety
/// Dropped before it completes, the close is where it was: the connection can
/// only be dropped.
///
/// ```
/// use lameduck::machine::closing::{Config, Facts, LingeringClose};
/// use lameduck::runtimes::smol::Smol;
/// use lameduck::{Connection, close};
///
/// async fn finish(mut connection: impl Connection) -> std::io::Result<()> {
///     let closing = LingeringClose::new(Config::default(), Facts::default());
///     close(&mut connection, &Smol, closing).await
/// }
/// ```
pub async fn close<C: Connection, R: Runtime>(
    connection: &mut C,
    runtime: &R,
    closing: LingeringClose,
) -> io::Result<()> {
    close_rest(connection, false, runtime.clone(), closing).await
}

/// Closes a connection whose outgoing side may have ended before.
///
/// No `async fn`: it would have a place for each argument twice, in the task of each
/// connection.
pub(super) fn close_rest<C: Connection, R: Runtime>(
    connection: &mut C,
    is_half_closed: bool,
    runtime: R,
    mut closing: LingeringClose,
) -> impl Future<Output = io::Result<()>> {
    connection.set_discarding();
    let clock = Clock::new(runtime);
    let mut timer = Timer::new();
    let mut is_ending = false;
    async move {
        loop {
            let input = match closing.poll_output() {
                Some(Output::HalfClose) if is_half_closed => Input::HalfClosed,
                Some(Output::HalfClose) => {
                    is_ending = true;
                    continue;
                }
                Some(Output::Yield) => {
                    yield_now().await;
                    continue;
                }
                Some(Output::AskProgress) => Input::Progress {
                    unacknowledged: connection.unacknowledged(),
                    round_trip: connection.round_trip(),
                },
                Some(Output::Close) => return Ok(()),
                None => {
                    let next = |cx: &mut Context<'_>| {
                        if is_ending && poll_end(connection, cx)?.is_ready() {
                            return Poll::Ready(Ok(Some(Input::HalfClosed)));
                        }
                        poll_input(connection, &clock, &mut timer, &mut closing, cx)
                    };
                    match poll_fn(next).await? {
                        Some(input) => input,
                        None => continue,
                    }
                }
            };
            is_ending &= input != Input::HalfClosed;
            handle(&mut closing, &clock, input);
        }
    }
}

/// Flushes, and ends our side.
fn poll_end<C: Connection>(connection: &mut C, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
    ready!(Pin::new(&mut *connection).poll_flush(cx))?;
    connection.poll_half_close(cx)
}

/// Polls for the peer's end, or for the deadline; `None` where there is an
/// output first.
fn poll_input<C: Connection, R: Runtime>(
    connection: &mut C,
    clock: &Clock<R>,
    timer: &mut Timer<R>,
    closing: &mut LingeringClose,
    cx: &mut Context<'_>,
) -> Poll<io::Result<Option<Input>>> {
    if closing.is_reading() {
        let mut has_received = false;
        let discarded = poll_discard(connection, cx, &mut has_received);
        if has_received {
            handle(closing, clock, Input::Received);
        }
        match discarded {
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Ready(Ok(Discarded::End)) => return Poll::Ready(Ok(Some(Input::End))),
            Poll::Ready(Ok(Discarded::All)) => handle(closing, clock, Input::NoInput),
            Poll::Pending => {}
        }
    }
    if closing.has_output() {
        return Poll::Ready(Ok(None));
    }
    let timer = timer.poll(clock, closing.deadline(), cx);
    timer.map(|()| Ok(Some(Input::Tick)))
}

fn handle<R: Runtime>(closing: &mut LingeringClose, clock: &Clock<R>, input: Input) {
    if let Err(error) = closing.handle(clock.now(), input) {
        debug_assert!(false, "{error}");
    }
}

enum Discarded {
    /// All that was there; the peer has not ended its side.
    All,
    /// The peer has ended its side.
    End,
}

/// Reads and discards what the system has just now.
fn poll_discard<C: Connection>(
    connection: &mut C,
    cx: &mut Context<'_>,
    has_received: &mut bool,
) -> Poll<io::Result<Discarded>> {
    let mut buffer = [0; 4096];
    // A peer that writes faster than this reads must not hold the thread.
    for _ in 0..16 {
        match connection.poll_read_now(cx, &mut buffer) {
            Poll::Ready(Ok(Some(0))) => return Poll::Ready(Ok(Discarded::End)),
            Poll::Ready(Ok(Some(_))) => *has_received = true,
            Poll::Ready(Ok(None)) => return Poll::Ready(Ok(Discarded::All)),
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Pending => return Poll::Pending,
        }
    }
    cx.waker().wake_by_ref();
    Poll::Pending
}

/// Lets all other tasks run that are ready.
fn yield_now() -> impl Future<Output = ()> {
    let mut has_yielded = false;
    poll_fn(move |cx| {
        if std::mem::replace(&mut has_yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
}
