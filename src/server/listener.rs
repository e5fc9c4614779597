//! One listener of a running server: carries out a [`Sweep`].

use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

use log::{debug, info, warn};

use super::table::ConnectionTable;
use super::timer::{Clock, Timer};
use crate::address::Address;
use crate::machine::sweep::{AcceptError, Config, Input, Output, Sweep};
use crate::report::{ListenerReport, ServerError};
use crate::rt::{CloseGuarantee, ConnectionOf, Listener, Runtime, SocketSharing};
use crate::sync::plain::Arc;

/// What polling a listener came to.
pub(super) enum Accepted<C> {
    /// A connection and its peer.
    Connection(C, Address),
    /// The listener is closed.
    Closed(Result<(), ServerError>),
    /// There may be more, but other tasks should have their turn.
    Yield,
    /// Nothing to do for now.
    Nothing,
}

/// The origin of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// The server has bound it.
    Bound,
    /// It was given to the builder.
    Adopted,
    /// It was passed on by a supervisor or a predecessor.
    #[cfg(feature = "handover")]
    Inherited,
}

pub(super) struct ListenerTask<R: Runtime> {
    listener: Option<R::Listener>,
    origin: Origin,
    local_addr: Address,
    sweep: Sweep,
    timer: Timer<R>,
    last_error: Option<io::Error>,
    filter: Filter,
    may_filter: bool,
}

/// The filter for new handshakes.
enum Filter {
    /// It was never on.
    Never,
    /// It is on since a time of the listener's clock.
    Since(Duration),
    /// It was on for so long.
    For(Duration),
}

/// The limit of open connections, and the table that counts them.
#[derive(Clone, Copy)]
pub(super) struct Limit<'a> {
    pub(super) connections: Option<usize>,
    pub(super) table: &'a ConnectionTable,
}

impl<R: Runtime> ListenerTask<R> {
    pub(super) fn new(
        listener: R::Listener,
        origin: Origin,
        config: Config,
    ) -> ListenerTask<R> {
        ListenerTask {
            local_addr: listener.local_addr().clone(),
            listener: Some(listener),
            origin,
            sweep: Sweep::new(config),
            timer: Timer::new(),
            last_error: None,
            filter: Filter::Never,
            may_filter: true,
        }
    }

    /// Sets whether new handshakes may be filtered.
    pub(super) fn with_filter(mut self, may_filter: bool) -> ListenerTask<R> {
        self.may_filter = may_filter;
        self
    }

    pub(super) fn local_addr(&self) -> &Address {
        &self.local_addr
    }

    pub(super) fn origin(&self) -> Origin {
        self.origin
    }

    pub(super) fn is_closed(&self) -> bool {
        self.listener.is_none()
    }

    pub(super) fn is_accepting(&self) -> bool {
        self.sweep.is_accepting()
    }

    /// Duplicates the descriptor of the socket.
    #[cfg(feature = "handover")]
    pub(super) fn share(&self) -> io::Result<std::os::fd::OwnedFd> {
        match &self.listener {
            Some(listener) => listener.share(),
            None => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Takes at most one connection.
    pub(super) fn poll(
        &mut self,
        clock: &Clock<R>,
        limit: Limit<'_>,
        cx: &mut Context<'_>,
    ) -> Accepted<ConnectionOf<R>> {
        loop {
            while let Some(output) = self.sweep.poll_output() {
                match output {
                    Output::Yield => return Accepted::Yield,
                    Output::BackOff { pause, is_first } => self.log_pause(pause, is_first),
                    Output::AskHandshakes => {
                        let count = self.listener.as_ref().and_then(Listener::handshakes);
                        self.handle(clock, Input::Handshakes(count));
                    }
                    Output::Close => return Accepted::Closed(self.close(clock)),
                }
            }
            if self.timer.poll(clock, self.sweep.deadline(), cx).is_ready() {
                self.handle(clock, Input::Tick);
                continue;
            }
            match self.poll_accept(clock, limit, cx) {
                Poll::Ready(Some((connection, peer))) => {
                    return Accepted::Connection(connection, peer);
                }
                Poll::Ready(None) => {}
                Poll::Pending if self.sweep.has_output() => {}
                Poll::Pending => return Accepted::Nothing,
            }
        }
    }

    /// Polls the accept queue; ready with nothing where the sweep has something
    /// to say about it.
    fn poll_accept(
        &mut self,
        clock: &Clock<R>,
        limit: Limit<'_>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<(ConnectionOf<R>, Address)>> {
        let connections = match limit.connections {
            Some(most) if !self.sweep.is_sweeping() => limit.table.count_below(most, cx),
            _ => 0,
        };
        let Some(listener) = &mut self.listener else {
            return Poll::Pending;
        };
        if !self.sweep.may_accept(connections, limit.connections) {
            return Poll::Pending;
        }
        let (input, accepted) = match listener.poll_accept(cx) {
            Poll::Ready(Ok(accepted)) => (Input::Accepted, Some(accepted)),
            Poll::Ready(Err(error)) => {
                debug!("accepting on {}: {error}", self.local_addr);
                let kind = AcceptError::of(&error);
                self.last_error = Some(error);
                (Input::AcceptFailed(kind), None)
            }
            Poll::Pending => (Input::QueueEmpty, None),
        };
        self.handle(clock, input);
        if input == Input::QueueEmpty {
            Poll::Pending
        } else {
            Poll::Ready(accepted)
        }
    }

    fn handle(&mut self, clock: &Clock<R>, input: Input) {
        if let Err(error) = self.sweep.handle(clock.now(), input) {
            debug_assert!(false, "{error}");
        }
    }

    /// Warns once in a row of errors: a log that repeats itself is part of F7.
    fn log_pause(&self, pause: Duration, is_first: bool) {
        if let (Some(error), true) = (&self.last_error, is_first) {
            warn!(
                "accepting on {}: {error}; trying again in {pause:?}, then more rarely",
                self.local_addr
            );
        }
    }

    /// Begins the sweep.
    pub(super) fn stop_accepting(&mut self, clock: &Clock<R>, sharing: SocketSharing) {
        let sharing = match (sharing, &self.local_addr) {
            // Of a TCP socket that may be shared, nothing is changed.
            (SocketSharing::Exclusive, Address::Tcp(_)) if !self.may_filter => {
                SocketSharing::Shared
            }
            _ => sharing,
        };
        if let Some(listener) = &mut self.listener {
            let guarantee = listener.stop_accepting(sharing);
            if guarantee == CloseGuarantee::SynFiltered {
                self.filter = Filter::Since(clock.now());
            }
            self.handle(clock, Input::StopAccepting(guarantee));
        }
    }

    /// Closes the listener at once; `None` where it is closed already.
    pub(super) fn close_now(&mut self, clock: &Clock<R>) -> Option<Result<(), ServerError>> {
        if self.listener.is_none() {
            return None;
        }
        if self.sweep.guarantee().is_none() {
            self.handle(clock, Input::Close);
        }
        while self.sweep.poll_output().is_some() {}
        Some(self.close(clock))
    }

    fn close(&mut self, clock: &Clock<R>) -> Result<(), ServerError> {
        // At once: a handshake that completes between the last look at the
        // queue and here is reset (F2). Everything else comes after.
        let closed = self.listener.take().map_or(Ok(()), Listener::close);
        if let Filter::Since(since) = self.filter {
            self.filter = Filter::For(clock.now().saturating_sub(since));
        }
        info!("stopped listening on {}", self.local_addr);
        self.timer = Timer::new();
        let listener = self.local_addr.clone();
        if self.has_failed() {
            let error = self.last_error.take();
            let source = Arc::new(error.unwrap_or_else(|| io::ErrorKind::Other.into()));
            return Err(ServerError::Accept { listener, source });
        }
        closed.map_err(|error| ServerError::Close {
            listener,
            source: Arc::new(error),
        })
    }

    fn has_failed(&self) -> bool {
        let kind = self.last_error.as_ref().map(AcceptError::of);
        kind == Some(AcceptError::Listener)
    }

    pub(super) fn report(&self) -> ListenerReport {
        ListenerReport {
            local_addr: self.local_addr.clone(),
            accepted: self.sweep.accepted(),
            swept: self.sweep.swept(),
            guarantee: self.sweep.guarantee().unwrap_or(CloseGuarantee::Unswept),
            filtered: match self.filter {
                Filter::For(time) => Some(time),
                _ => None,
            },
        }
    }
}

#[cfg(all(test, feature = "smol"))]
mod tests {
    use super::*;
    use crate::runtimes::smol::Smol;

    /// A successor learns that it holds the socket alone only when all
    /// listeners are closed.
    #[test]
    fn f10_a_listener_is_closed_once_it_was_told_to() {
        let address = Address::from(([127, 0, 0, 1], 0));
        let listener = Smol.bind(&address, 1).unwrap();
        let clock = Clock::new(Smol);
        let mut task = ListenerTask::<Smol>::new(listener, Origin::Bound, Config::default());
        assert!(!task.is_closed());
        assert!(task.close_now(&clock).is_some_and(|closed| closed.is_ok()));
        assert!(task.is_closed());
        assert!(task.close_now(&clock).is_none());
    }
}
