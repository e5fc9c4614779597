//! One listener of a running server: acceptance, back-off, sweep.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use log::{debug, error, info, warn};
use rustix::io::Errno;

use crate::address::Address;
use crate::report::ListenerReport;
use crate::traits::{ConnectionOf, Guarantee, Holders, Listener, Runtime};

const FIRST_DELAY: Duration = Duration::from_millis(5);
const LONGEST_DELAY: Duration = Duration::from_secs(1);

/// What may have begun just as the filter came is seen after this time.
const FIRST_LOOK: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(16);

/// How long handshakes are waited for: a round trip around the world. Those of
/// peers that are gone would take a minute.
const HANDSHAKE: Duration = Duration::from_millis(300);

/// The same where the system does not say which are under way: several round
/// trips of a near network.
const QUIET: Duration = Duration::from_millis(20);

/// How many are accepted before others get their turn.
const BATCH: usize = 64;

/// What an accept error means (design: accept errors never end acceptance).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Severity {
    /// One connection is gone before it was accepted.
    Skip,
    /// The system is short of something: wait.
    BackOff,
    /// The listener is no use any more.
    Fatal,
}

/// The errors that `accept(2)` names.
fn severity(error: &io::Error) -> Severity {
    match Errno::from_io_error(error) {
        Some(
            Errno::CONNABORTED
            | Errno::CONNRESET
            | Errno::INTR
            | Errno::PROTO
            | Errno::PERM
            | Errno::NETDOWN
            | Errno::NETUNREACH
            | Errno::HOSTDOWN
            | Errno::HOSTUNREACH
            | Errno::NOPROTOOPT
            | Errno::TIMEDOUT,
        ) => Severity::Skip,
        Some(Errno::BADF | Errno::INVAL | Errno::NOTSOCK | Errno::FAULT | Errno::OPNOTSUPP) => {
            Severity::Fatal
        }
        // EMFILE, ENFILE, ENOBUFS, ENOMEM, ENOSPC of epoll; and what is not
        // known is better waited for than died of.
        _ => Severity::BackOff,
    }
}

/// What polling a listener came to.
pub(super) enum Accepted<C> {
    /// A connection and its peer.
    Connection(C, Address),
    /// The queue is empty, or all that a sweep may take has been taken.
    Quiet,
    /// The listener failed, and is closed.
    Failed,
    /// There may be more, but others should have their turn.
    Enough,
    /// Nothing to do for now.
    Waiting,
}

/// Where a listener came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// It was bound by us.
    Bound,
    /// It was given to the builder.
    Adopted,
    /// It was passed on by a supervisor or a predecessor.
    #[cfg(feature = "handover")]
    Inherited,
}

/// The wait for handshakes that were under way when none could begin any more.
struct UnderWay<R: Runtime> {
    /// When the last one came.
    since: Instant,
    pause: Duration,
    timer: Pin<Box<R::Sleep>>,
    /// There are none: what remains is to look at the queue once more.
    ended: bool,
}

impl<R: Runtime> UnderWay<R> {
    fn new(runtime: &R) -> UnderWay<R> {
        let since = runtime.now();
        UnderWay {
            since,
            pause: FIRST_LOOK,
            timer: Box::pin(runtime.sleep_until(since + FIRST_LOOK)),
            ended: false,
        }
    }

    fn poll(&mut self, runtime: &R, listener: &R::Listener, cx: &mut Context<'_>) -> Poll<()> {
        while self.timer.as_mut().poll(cx).is_ready() {
            let now = runtime.now();
            let waited = now.saturating_duration_since(self.since);
            let next = match listener.handshakes() {
                Some(0) => None,
                Some(_) => (waited < HANDSHAKE).then_some(now + self.pause),
                None => (waited < QUIET).then_some(self.since + QUIET),
            };
            self.pause = (self.pause * 2).min(LONGEST_PAUSE);
            match next {
                Some(at) => self.timer = Box::pin(runtime.sleep_until(at)),
                None => {
                    self.ended = true;
                    return Poll::Ready(());
                }
            }
        }
        Poll::Pending
    }
}

pub(super) struct Accepting<R: Runtime> {
    listener: Option<R::Listener>,
    origin: Origin,
    local: Address,
    /// The most that the accept queue holds.
    queue: u64,
    /// The most that a sweep takes.
    sweep_limit: u64,
    delay: Duration,
    backing_off: Option<Pin<Box<R::Sleep>>>,
    sweeping: bool,
    under_way: Option<UnderWay<R>>,
    /// All were swept who were in the queue when the sweep began.
    swept_out: bool,
    accepted: u64,
    swept: u64,
    guarantee: Guarantee,
    turn: usize,
}

impl<R: Runtime> Accepting<R> {
    pub(super) fn new(
        listener: R::Listener,
        origin: Origin,
        queue: u64,
        sweep_limit: u64,
    ) -> Accepting<R> {
        let local = listener.local().clone();
        Accepting {
            listener: Some(listener),
            origin,
            local,
            queue,
            sweep_limit,
            delay: FIRST_DELAY,
            backing_off: None,
            sweeping: false,
            under_way: None,
            swept_out: false,
            accepted: 0,
            swept: 0,
            guarantee: Guarantee::None,
            turn: 0,
        }
    }

    pub(super) fn local(&self) -> &Address {
        &self.local
    }

    pub(super) fn origin(&self) -> Origin {
        self.origin
    }

    pub(super) fn is_closed(&self) -> bool {
        self.listener.is_none()
    }

    /// Another descriptor of the same socket.
    #[cfg(feature = "handover")]
    pub(super) fn share(&self) -> io::Result<std::os::fd::OwnedFd> {
        match &self.listener {
            Some(listener) => listener.share(),
            None => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    pub(super) fn is_sweeping(&self) -> bool {
        self.sweeping
    }

    /// Takes at most one connection; errors are kept in `errors`.
    pub(super) fn poll(
        &mut self,
        runtime: &R,
        errors: &mut Vec<String>,
        cx: &mut Context<'_>,
    ) -> Accepted<ConnectionOf<R>> {
        loop {
            let Some(listener) = &mut self.listener else {
                return Accepted::Waiting;
            };
            if let Some(delay) = &mut self.backing_off {
                if delay.as_mut().poll(cx).is_pending() {
                    return Accepted::Waiting;
                }
                self.backing_off = None;
            }
            // The queue is the successor's.
            let handed_over = self.guarantee == Guarantee::Handoff;
            if self.sweeping && (handed_over || self.swept >= self.sweep_limit) {
                self.swept_out = handed_over || self.swept >= self.queue;
                return Accepted::Quiet;
            }
            self.turn += 1;
            if self.turn > BATCH {
                self.turn = 0;
                return Accepted::Enough;
            }
            match listener.poll_accept(cx) {
                Poll::Ready(Ok((connection, peer))) => {
                    self.delay = FIRST_DELAY;
                    self.accepted += 1;
                    self.swept += u64::from(self.sweeping);
                    if let Some(under_way) = &mut self.under_way {
                        under_way.since = runtime.now();
                    }
                    return Accepted::Connection(connection, peer);
                }
                Poll::Ready(Err(error)) => match severity(&error) {
                    Severity::Skip => debug!("accepting on {}: {error}", self.local),
                    Severity::BackOff => self.back_off(runtime, &error),
                    Severity::Fatal => {
                        error!("accepting on {}: {error}", self.local);
                        errors.push(format!("accepting on {}: {error}", self.local));
                        self.listener = None;
                        return Accepted::Failed;
                    }
                },
                Poll::Pending => {
                    self.turn = 0;
                    match (&mut self.under_way, self.sweeping) {
                        (None, false) => return Accepted::Waiting,
                        (Some(under_way), true) if !under_way.ended => {
                            if under_way.poll(runtime, listener, cx).is_pending() {
                                return Accepted::Waiting;
                            }
                        }
                        _ => {
                            self.swept_out = true;
                            return Accepted::Quiet;
                        }
                    }
                }
            }
        }
    }

    fn back_off(&mut self, runtime: &R, error: &io::Error) {
        // Once a row of failures: a log that repeats itself is part of F7.
        if self.delay == FIRST_DELAY {
            warn!("accepting on {}: {error}; trying again", self.local);
        }
        let until = runtime.now() + self.delay;
        self.backing_off = Some(Box::pin(runtime.sleep_until(until)));
        self.delay = (self.delay * 2).min(LONGEST_DELAY);
    }

    /// Begins the sweep, at once also while backing off.
    pub(super) fn quiesce(&mut self, runtime: &R, holders: Holders) {
        if let Some(listener) = &mut self.listener {
            self.guarantee = listener.quiesce(holders);
            if self.guarantee == Guarantee::SynFilter {
                self.under_way = Some(UnderWay::new(runtime));
            }
            self.sweeping = true;
            self.backing_off = None;
            self.delay = FIRST_DELAY;
        }
    }

    /// Closes the listener; false when that failed.
    pub(super) fn close(&mut self, errors: &mut Vec<String>) -> bool {
        let Some(listener) = self.listener.take() else {
            return true;
        };
        // At once: who completes a handshake between the last look at the
        // queue and here is reset (F2). Everything else comes after.
        let closed = listener.close();
        info!("stopping listening on {}", self.local);
        self.backing_off = None;
        if !self.swept_out {
            self.guarantee = Guarantee::None;
        }
        self.under_way = None;
        match closed {
            Ok(()) => true,
            Err(error) => {
                warn!("closing {}: {error}", self.local);
                errors.push(format!("closing {}: {error}", self.local));
                false
            }
        }
    }

    pub(super) fn report(&self) -> ListenerReport {
        ListenerReport {
            local: self.local.clone(),
            accepted: self.accepted,
            swept: self.swept,
            guarantee: self.guarantee,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f7_a_lack_of_descriptors_is_waited_for() {
        for errno in [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM] {
            assert_eq!(severity(&errno.into()), Severity::BackOff, "{errno}");
        }
        for errno in [Errno::CONNABORTED, Errno::INTR, Errno::PROTO] {
            assert_eq!(severity(&errno.into()), Severity::Skip, "{errno}");
        }
        assert_eq!(severity(&Errno::BADF.into()), Severity::Fatal);
        assert_eq!(severity(&io::Error::other("?")), Severity::BackOff);
    }

    /// A successor is told that it is alone only when all of them are closed.
    #[cfg(feature = "smol")]
    #[test]
    fn a_listener_is_closed_once_it_was_told_to() {
        use crate::runtimes::smol::Smol;

        let address = "127.0.0.1:0".parse().unwrap();
        let listener = Smol.bind(&address, 1).unwrap();
        let mut accepting = Accepting::<Smol>::new(listener, Origin::Bound, 2, 2);
        assert!(!accepting.is_closed());
        assert!(accepting.close(&mut Vec::new()));
        assert!(accepting.is_closed());
    }
}
