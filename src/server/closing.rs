//! The orderly close: flush, half-close, linger (F16, F22, F23, F24).

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures::io::AsyncWriteExt;

use crate::rt::{Connection, Runtime};

/// How long a connection that we closed first waits for the peer's end.
///
/// To close with unread input, or to get input after the close, makes the
/// kernel send a reset, and a reset destroys output that the peer has not got
/// (RFC 2525 2.17, RFC 1122 4.2.2.13). So we end our side and read on, until
/// the peer ends its side, is quiet, or has had time enough.
///
/// Where the system tells what the peer has acknowledged, as Linux does, all
/// output is waited for as well: what the kernel still holds when the process
/// ends is lost with the network of a container (F24). A peer that takes it
/// slowly has all the time that the stop has; one that takes nothing is let go
/// after the cap.
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
    /// The longest time in all, counted anew while the peer takes output.
    /// Default: 5 s.
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

/// Which end of the peer's input says that it has all of our output, so that the
/// kernel need not be asked, which costs some microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trust {
    /// Any: the output was small, and this process goes on; or there was none
    /// just before our own, so that it is an answer.
    Any,
    /// One that comes after our own end: the output was small.
    Answer,
    /// None: who reads slowly may be done with speaking.
    None,
}

/// Ends the outgoing side, then discards input as `linger` says, and waits
/// until the peer has acknowledged all output. `one_of_many`: others end in the
/// same moment.
pub(super) async fn close<C: Connection>(
    connection: &mut C,
    runtime: &impl Runtime,
    linger: &Linger,
    trust: Trust,
    one_of_many: bool,
) -> io::Result<()> {
    connection.flush().await?;
    poll_fn(|cx| connection.poll_half_close(cx)).await?;
    if one_of_many {
        // First all peers get their end, and then it is looked whose has come
        // meanwhile.
        give_way().await;
    }
    // When it was last heard, or looked after.
    let mut since = runtime.now();
    let mut give_up = later(since, linger.cap);
    let mut left = u64::MAX;
    // Whether the end of its input has come, and only after our own.
    let (mut ended, mut answered) = (false, false);
    let (mut quiet, mut pause) = (linger.quiet, FIRST_LOOK);
    loop {
        let wait = if ended { pause } else { quiet };
        let until = later(since, wait).min(give_up);
        let mut timer = pin!(runtime.sleep_until(until));
        let input = poll_fn(|cx| {
            let mut heard = false;
            if !ended && poll_discard(connection, cx, &mut heard)?.is_ready() {
                return Poll::Ready(Ok(true));
            }
            answered |= !ended;
            if heard {
                since = runtime.now();
            }
            timer.as_mut().poll(cx).map(|()| Ok(ended))
        });
        let input: io::Result<bool> = input.await;
        ended = input?;
        let now = runtime.now();
        if ended && (trust == Trust::Any || answered && trust == Trust::Answer) {
            return Ok(());
        }
        if !ended && now < later(since, quiet).min(give_up) {
            continue;
        }
        since = now;
        match connection.unacknowledged() {
            None | Some(0) => return Ok(()),
            // The peer takes what it is sent: it is not stuck.
            Some(still) if still < left => {
                left = still;
                give_up = later(now, linger.cap);
            }
            Some(_) if now >= give_up => return Ok(()),
            Some(_) => {}
        }
        quiet = quiet.max(FIRST_LOOK);
        if ended {
            pause = (pause * 2).min(quiet);
        }
    }
}

/// Lets all other tasks have their turn that are ready.
fn give_way() -> impl Future<Output = ()> {
    let mut given = false;
    poll_fn(move |cx| {
        if std::mem::replace(&mut given, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
}

/// After the peer's end of input nothing tells of its acknowledgements: they
/// are looked for after this time, and then ever more rarely.
const FIRST_LOOK: Duration = Duration::from_millis(1);

/// Far enough for any linger, and within what every clock can hold (F34).
const LONGEST: Duration = Duration::from_secs(100_000_000);

fn later(now: Instant, by: Duration) -> Instant {
    now + by.min(LONGEST)
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

#[cfg(all(test, feature = "smol"))]
mod tests {
    use futures::executor::block_on;
    use futures::future::poll_immediate;
    use futures::io::{AsyncRead, AsyncWrite};

    use super::*;
    use crate::runtimes::smol::Smol;
    use crate::sync::plain::{Arc, AtomicU64, Ordering};

    /// What was done with a connection.
    #[derive(Default)]
    struct Counts {
        reads: AtomicU64,
        /// How often the kernel was asked for what is not acknowledged.
        asked: AtomicU64,
    }

    /// A connection whose input ends with so many reads.
    struct Counted {
        ends_at: u64,
        counts: Arc<Counts>,
    }

    impl AsyncRead for Counted {
        fn poll_read(
            self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            _: &mut [u8],
        ) -> Poll<io::Result<usize>> {
            if self.counts.reads.fetch_add(1, Ordering::Relaxed) + 1 >= self.ends_at {
                return Poll::Ready(Ok(0));
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        }
    }

    impl AsyncWrite for Counted {
        fn poll_write(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    impl Connection for Counted {
        fn poll_half_close(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn unacknowledged(&self) -> Option<u64> {
            self.counts.asked.fetch_add(1, Ordering::Relaxed);
            Some(0)
        }
    }

    fn counted(ends_at: u64) -> (Counted, Arc<Counts>) {
        let counts = Arc::new(Counts::default());
        let connection = Counted {
            ends_at,
            counts: counts.clone(),
        };
        (connection, counts)
    }

    #[test]
    fn f24_the_kernel_is_asked_only_where_the_peers_end_says_too_little() {
        for (trust, ends_at, asked) in [
            (Trust::Any, 1, 0),
            // This end may have come before ours.
            (Trust::Answer, 1, 1),
            (Trust::Answer, 2, 0),
            (Trust::None, 2, 1),
        ] {
            let (mut connection, counts) = counted(ends_at);
            let linger = Linger::default();
            block_on(close(&mut connection, &Smol, &linger, trust, false)).unwrap();
            let found = counts.asked.load(Ordering::Relaxed);
            assert_eq!(found, asked, "{trust:?}, {ends_at}");
        }
    }

    #[test]
    fn all_peers_get_their_end_before_one_is_looked_at() {
        for (one_of_many, reads) in [(false, 1), (true, 0)] {
            let (mut connection, counts) = counted(u64::MAX);
            let linger = Linger::default();
            let closing = close(&mut connection, &Smol, &linger, Trust::Any, one_of_many);
            assert!(block_on(poll_immediate(pin!(closing))).is_none());
            let found = counts.reads.load(Ordering::Relaxed);
            assert_eq!(found, reads, "{one_of_many}");
        }
    }
}
