//! The orderly close of a connection: carries out a [`LingeringClose`].

use std::error::Error;
use std::fmt;
use std::future::Future;
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
/// [`TimedOut`](io::ErrorKind::TimedOut) where the peer has taken no output for the total
/// time of the close, and has not all of it ([S5](crate::docs::spec#s5)).
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
pub(super) fn close_rest<C: Connection, R: Runtime>(
    connection: &mut C,
    is_half_closed: bool,
    runtime: R,
    closing: LingeringClose,
) -> CloseRest<'_, C, R> {
    connection.set_discarding();
    CloseRest {
        connection,
        closing,
        clock: Clock::new(runtime),
        timer: Timer::new(),
        is_half_closed,
        is_ending: false,
    }
}

/// The future of a close. No `async` block, which would be larger by a quarter, in the
/// task of each connection.
pub(super) struct CloseRest<'a, C, R: Runtime> {
    connection: &'a mut C,
    closing: LingeringClose,
    clock: Clock<R>,
    timer: Timer<R>,
    /// The handler has ended our side.
    is_half_closed: bool,
    /// Our side is to end, and has not yet.
    is_ending: bool,
}

// Nothing in it is pinned.
impl<C, R: Runtime> Unpin for CloseRest<'_, C, R> {}

impl<C: Connection, R: Runtime> Future for CloseRest<'_, C, R> {
    type Output = io::Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let rest = &mut *self;
        loop {
            let input = match rest.closing.poll_output() {
                Some(Output::HalfClose) if rest.is_half_closed => Input::HalfClosed,
                Some(Output::HalfClose) => {
                    rest.is_ending = true;
                    continue;
                }
                Some(Output::Yield) => {
                    rest.clock.yield_now(cx);
                    return Poll::Pending;
                }
                Some(Output::AskProgress) => Input::Progress {
                    unacknowledged: rest.connection.unacknowledged(),
                    round_trip: rest.connection.round_trip(),
                },
                Some(Output::Close) if rest.closing.is_cut_off() => {
                    return Poll::Ready(Err(CutOff.into()));
                }
                Some(Output::Close) => return Poll::Ready(Ok(())),
                None => match ready!(rest.poll_input(cx)?) {
                    Some(input) => input,
                    None => continue,
                },
            };
            rest.is_ending &= input != Input::HalfClosed;
            rest.handle(input);
        }
    }
}

impl<C: Connection, R: Runtime> CloseRest<'_, C, R> {
    /// Polls for what happens next; `None` where there is an output first.
    fn poll_input(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Input>>> {
        if self.is_ending && self.poll_end(cx)?.is_ready() {
            return Poll::Ready(Ok(Some(Input::HalfClosed)));
        }
        if self.closing.is_reading() {
            let mut has_received = false;
            let discarded = poll_discard(self.connection, cx, &mut has_received);
            if has_received {
                self.handle(Input::Received);
            }
            match discarded {
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Ready(Ok(Discarded::End)) => return Poll::Ready(Ok(Some(Input::End))),
                Poll::Ready(Ok(Discarded::All)) => self.handle(Input::NoInput),
                Poll::Pending => {}
            }
        }
        if self.closing.has_output() {
            return Poll::Ready(Ok(None));
        }
        let deadline = self.closing.deadline();
        let ticked = self.timer.poll(&self.clock, deadline, cx);
        ticked.map(|()| Ok(Some(Input::Tick)))
    }

    /// Flushes, and ends our side.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut *self.connection).poll_flush(cx))?;
        self.connection.poll_half_close(cx)
    }

    fn handle(&mut self, input: Input) {
        if let Err(error) = self.closing.handle(self.clock.now(), input) {
            debug_assert!(false, "{error}");
        }
    }
}

/// The error of a close that was given up: the peer has not taken all output.
#[derive(Debug)]
pub(super) struct CutOff;

impl CutOff {
    pub(super) fn is(error: &io::Error) -> bool {
        error.get_ref().is_some_and(|error| error.is::<CutOff>())
    }
}

impl fmt::Display for CutOff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the peer takes no output, and has not all of it")
    }
}

impl Error for CutOff {}

impl From<CutOff> for io::Error {
    fn from(cut_off: CutOff) -> io::Error {
        io::Error::new(io::ErrorKind::TimedOut, cut_off)
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

#[cfg(all(test, feature = "smol"))]
mod tests {
    use std::task::Waker;

    use futures_io::{AsyncRead, AsyncWrite};

    use super::*;
    use crate::machine::closing::{Config, Facts};
    use crate::runtimes::smol::Smol;

    /// A connection that gives what it was told, and notes what is done with it.
    #[derive(Debug, Default, PartialEq, Eq)]
    struct Scripted {
        /// The last one comes first; then there is nothing.
        reads: Vec<usize>,
        done: Vec<&'static str>,
    }

    impl AsyncRead for Scripted {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &mut [u8],
        ) -> Poll<io::Result<usize>> {
            self.done.push("read");
            self.reads
                .pop()
                .map_or(Poll::Pending, |n| Poll::Ready(Ok(n)))
        }
    }

    impl AsyncWrite for Scripted {
        fn poll_write(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &[u8],
        ) -> Poll<io::Result<usize>> {
            unreachable!("a close writes nothing")
        }

        fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.done.push("flush");
            Poll::Ready(Ok(()))
        }

        fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            unreachable!("it ends one side only")
        }
    }

    impl Connection for Scripted {
        fn poll_half_close(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.done.push("half-close");
            Poll::Ready(Ok(()))
        }
    }

    fn once<F: Future>(future: F) -> Poll<F::Output> {
        std::pin::pin!(future).poll(&mut Context::from_waker(Waker::noop()))
    }

    fn lingering() -> LingeringClose {
        LingeringClose::new(Config::default(), Facts::default())
    }

    #[test]
    fn f16_a_close_ends_our_side_and_reads_to_the_peers_end() {
        let mut connection = Scripted {
            reads: vec![0, 1, 4096],
            ..Scripted::default()
        };
        let closed = once(close(&mut connection, &Smol, lingering()));
        assert!(matches!(closed, Poll::Ready(Ok(()))), "{closed:?}");
        let done = ["flush", "half-close", "read", "read", "read"];
        assert_eq!(connection.done, done);
    }

    #[test]
    fn f16_a_peer_that_does_not_end_is_waited_for() {
        let mut connection = Scripted::default();
        assert!(once(close(&mut connection, &Smol, lingering())).is_pending());
        assert_eq!(connection.done, ["flush", "half-close", "read"]);
    }

    #[test]
    fn a_side_that_the_handler_has_ended_is_not_ended_again() {
        let mut connection = Scripted {
            reads: vec![0],
            ..Scripted::default()
        };
        let closed = once(close_rest(&mut connection, true, Smol, lingering()));
        assert!(matches!(closed, Poll::Ready(Ok(()))), "{closed:?}");
        assert_eq!(connection.done, ["read"]);
    }
}
