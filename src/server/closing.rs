//! The orderly close: flush, half-close, linger (F16, F22, F23).

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures::io::AsyncWriteExt;

use crate::traits::{Connection, Runtime};

/// How long a connection that we closed first waits for the peer's end.
///
/// To close with unread input, or to get input after the close, makes the
/// kernel send a reset, and a reset destroys output that the peer has not got
/// (RFC 2525 2.17, RFC 1122 4.2.2.13). So we end our side and read on, until
/// the peer ends its side, is quiet, or has had time enough.
///
/// ```
/// use lameduck::Linger;
/// use std::time::Duration;
///
/// let patient = Linger { quiet: Duration::from_secs(1), ..Linger::default() };
/// assert!(patient.quiet < patient.cap);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Linger {
    /// The longest time without a byte from the peer. Default: 100 ms.
    pub quiet: Duration,
    /// The longest time in all. Default: 5 s.
    pub cap: Duration,
}

impl Default for Linger {
    fn default() -> Linger {
        Linger {
            quiet: Duration::from_millis(100),
            cap: Duration::from_secs(5),
        }
    }
}

/// Ends the outgoing side, then discards input as `linger` says.
pub(super) async fn close<C: Connection>(
    connection: &mut C,
    runtime: &impl Runtime,
    linger: Linger,
) -> io::Result<()> {
    connection.flush().await?;
    poll_fn(|cx| connection.poll_half_close(cx)).await?;
    let cap = later(runtime.now(), linger.cap);
    let mut quiet = later(runtime.now(), linger.quiet).min(cap);
    loop {
        let mut heard = false;
        let mut timer = pin!(runtime.sleep_until(quiet));
        let ended = poll_fn(|cx| match poll_discard(connection, cx, &mut heard) {
            Poll::Pending => timer.as_mut().poll(cx).map(|()| Ok(false)),
            Poll::Ready(end) => Poll::Ready(end.map(|()| true)),
        });
        let now = match ended.await? {
            true => return Ok(()),
            false => runtime.now(),
        };
        if !heard || now >= cap {
            return Ok(());
        }
        quiet = later(now, linger.quiet).min(cap);
    }
}

fn later(now: Instant, by: Duration) -> Instant {
    // Far enough for any linger, and within what every clock can hold (F34).
    now + by.min(Duration::from_secs(365 * 24 * 60 * 60))
}

/// Reads and forgets; ready at the end of input.
fn poll_discard<C: Connection>(
    connection: &mut C,
    cx: &mut Context<'_>,
    heard: &mut bool,
) -> Poll<io::Result<()>> {
    let mut discarded = [0; 4096];
    // A peer that writes faster than this reads must not hold the thread.
    for _ in 0..16 {
        match Pin::new(&mut *connection).poll_read(cx, &mut discarded) {
            Poll::Ready(Ok(0)) => return Poll::Ready(Ok(())),
            Poll::Ready(Ok(_)) => *heard = true,
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Pending => return Poll::Pending,
        }
    }
    cx.waker().wake_by_ref();
    Poll::Pending
}
