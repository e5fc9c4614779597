//! The end of a connection of which nobody knows where a message ends.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Poll, ready};
use std::time::Duration;

use super::handle::SessionHandle;
use crate::idle::poll_budget;
use crate::rt::Runtime;
use crate::server::timer::{Clock, Timer};

impl SessionHandle {
    /// Awaits `work`, or that the server drains and nothing moves any more: for a proxy
    /// of bytes, which does not know where a message ends.
    ///
    /// `Some(output)`: the work has ended. `None`: the server drains, and for the time
    /// `quiet` the session has neither read nor written a byte
    /// ([F88](crate::docs::faults#f88)). What moves goes on, until the grace period ends
    /// it: nobody knows where it could be cut ([F97](crate::docs::faults#f97)). Choose a time that is longer than the other side takes to answer, or than a
    /// sender pauses within a message: it is what the stop of an idle connection takes.
    ///
    /// A client that has ended its side awaits its answer, or has left: once a read of the
    /// session has given the end of input, the work is awaited, however quiet it is
    /// ([F99](crate::docs::faults#f99)). So it has to end when both sides have. If it does
    /// not, it is aborted when the grace period ends; in another task than the handler's
    /// the wait gives `None` then.
    ///
    /// The session is what `work` copies from and to. A client that has not taken what it
    /// was sent is not quiet, also where it takes nothing at all: it is waited for until the
    /// abort ([F103](crate::docs::faults#f103)). What a peer has sent and `work` could
    /// not pass on for as long, because the other side takes nothing, is lost.
    ///
    /// A library that serves the whole connection can be at work for longer than `quiet`, as
    /// at a query. Count what it has under way, and wait again while there is any. One that
    /// has moved the session into a task of its own is not ended by the drop of `work`: tell
    /// it to end, or the stop waits for that task until the abort.
    ///
    /// ```
    /// use lameduck::{Phase, Runtime, SessionHandle};
    /// use std::pin::pin;
    /// use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    /// use std::time::Duration;
    ///
    /// /// Awaits a library, whose callbacks count the requests that are under way.
    /// async fn serve<T>(
    ///     mut handle: SessionHandle,
    ///     runtime: impl Runtime,
    ///     library: impl Future<Output = T>,
    ///     under_way: &AtomicUsize,
    /// ) -> Option<T> {
    ///     let mut library = pin!(library);
    ///     loop {
    ///         let quiet = Duration::from_secs(1);
    ///         let ended = handle.run_until_quiet(&runtime, quiet, library.as_mut()).await;
    ///         let is_aborting = handle.shutdown().phase() >= Phase::Aborting;
    ///         if ended.is_some() || is_aborting || under_way.load(Relaxed) == 0 {
    ///             return ended;
    ///         }
    ///     }
    /// }
    /// ```
    ///
    /// # Cancel safety
    /// That of `work`.
    ///
    /// A proxy:
    ///
    /// ```
    /// use futures::io::{AsyncRead, AsyncReadExt, AsyncWrite, copy};
    /// use futures::{AsyncWriteExt, try_join};
    /// use lameduck::{Connection, Runtime, Session};
    /// use std::{io, time::Duration};
    ///
    /// /// Each side ends when the other has.
    /// async fn proxy<C: Connection>(
    ///     session: Session<C>,
    ///     upstream: impl AsyncRead + AsyncWrite,
    ///     runtime: impl Runtime,
    /// ) -> io::Result<()> {
    ///     let mut handle = session.handle()?;
    ///     let (from_client, mut to_client) = session.split();
    ///     let (from_upstream, mut to_upstream) = upstream.split();
    ///     let there = async {
    ///         copy(from_client, &mut to_upstream).await?;
    ///         to_upstream.close().await
    ///     };
    ///     let back = async {
    ///         copy(from_upstream, &mut to_client).await?;
    ///         to_client.close().await
    ///     };
    ///     let both = async { try_join!(there, back) };
    ///     let quiet = Duration::from_secs(1);
    ///     handle.run_until_quiet(&runtime, quiet, both).await.transpose()?;
    ///     Ok(())
    /// }
    /// ```
    pub async fn run_until_quiet<R: Runtime, F: Future>(
        &mut self,
        runtime: &R,
        quiet: Duration,
        work: F,
    ) -> Option<F::Output> {
        let mut work = pin!(work);
        let mut draining = self.draining();
        let clock = Clock::new(runtime.clone());
        let mut timer = Timer::new();
        // Since when nothing has moved, and how much had by then.
        let mut still: Option<(Duration, u64)> = None;
        poll_fn(|cx| {
            loop {
                let is_draining = self.is_draining();
                if let Poll::Ready(output) = work.as_mut().poll(cx) {
                    return Poll::Ready(Some(output));
                }
                if !is_draining {
                    // What had arrived comes first: then it is polled once more.
                    ready!(Pin::new(&mut draining).poll(cx));
                    continue;
                }
                if self.has_input_ended() {
                    // The abort drops a handler; another task is to end, too.
                    return self.poll_abort(cx).map(|()| None);
                }
                let (now, moved) = (clock.now(), self.bytes_read() + self.bytes_written());
                let since = match still {
                    Some((since, before)) if before == moved && !self.is_held_back() => since,
                    _ => now,
                };
                still = Some((since, moved));
                let ends_at = since.saturating_add(quiet);
                // After a freeze the other side may have sent what was not looked at yet.
                if now > ends_at.saturating_add(quiet) {
                    still = Some((now, moved));
                } else if now >= ends_at && self.has_pending_write() {
                    // The client has not taken what it was sent: it may read slowly.
                    still = Some((now, moved));
                } else if now >= ends_at {
                    ready!(poll_budget(cx));
                    self.set_drained();
                    return Poll::Ready(None);
                } else {
                    ready!(timer.poll(&clock, Some(ends_at), cx));
                }
            }
        })
        .await
    }
}
