//! One listener of a running server: carries out a [`Sweep`].

use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

use log::{debug, info, warn};

use super::table::ConnectionTable;
use super::timer::Clock;
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
    /// The server has as many connections as it may have.
    AtLimit,
    /// The handshakes under way are to be counted.
    AskHandshakes,
    /// Nothing to do for now.
    Nothing,
}

/// The origin of a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// The server has bound it.
    Bound,
    /// It was given to the builder.
    Adopted,
    /// It was passed on by a supervisor or a predecessor, with this name.
    #[cfg(feature = "handover")]
    Inherited(String),
}

pub(super) struct ListenerTask<R: Runtime> {
    listener: Option<R::Listener>,
    origin: Origin,
    local_addr: Address,
    sweep: Sweep,
    /// The guarantee of a listener that was told to stop, until its sweep knows.
    stopping: Option<CloseGuarantee>,
    last_error: Option<io::Error>,
    filter: Filter,
    may_filter: bool,
    /// Whether only those are waited for whom the listener had taken before its close.
    is_closing: bool,
    /// The number of them that were given, and the most that are asked for: as many as the
    /// queue holds.
    taken: u64,
    most_taken: u64,
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

impl Limit<'_> {
    /// Returns whether a listener may take one more connection.
    fn lets_in(self, sweep: &Sweep) -> bool {
        let open = self.connections.map_or(0, |_| self.table.open_count());
        sweep.may_accept(open, self.connections)
    }
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
            most_taken: config.queue,
            sweep: Sweep::new(config),
            stopping: None,
            last_error: None,
            filter: Filter::Never,
            may_filter: true,
            is_closing: false,
            taken: 0,
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

    pub(super) fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Returns the name by which it is passed on.
    #[cfg(feature = "handover")]
    pub(super) fn name(&self) -> &str {
        match &self.origin {
            Origin::Inherited(name) => name,
            _ => "lameduck",
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.listener.is_none()
    }

    pub(super) fn is_accepting(&self) -> bool {
        self.sweep.is_accepting() && self.stopping.is_none()
    }

    pub(super) fn listener(&self) -> Option<&R::Listener> {
        self.listener.as_ref()
    }

    pub(super) fn deadline(&self) -> Option<Duration> {
        self.sweep.deadline()
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
                    Output::AskHandshakes => return Accepted::AskHandshakes,
                    Output::Close => self.is_closing = true,
                }
            }
            if self.is_closing && self.listener.is_some() {
                return match self.poll_taken(cx) {
                    Poll::Ready(Some((connection, peer))) => {
                        self.taken += 1;
                        Accepted::Connection(connection, peer)
                    }
                    Poll::Ready(None) => Accepted::Closed(self.close(clock.now())),
                    Poll::Pending => Accepted::Nothing,
                };
            }
            let Some(listener) = &mut self.listener else {
                return Accepted::Nothing;
            };
            if !self.sweep.may_accept(0, None) {
                return Accepted::Nothing;
            }
            if !limit.lets_in(&self.sweep) {
                return Accepted::AtLimit;
            }
            match listener.poll_accept(cx) {
                Poll::Ready(Ok((connection, peer))) => {
                    self.handle(clock.now(), Input::Accepted);
                    return Accepted::Connection(connection, peer);
                }
                Poll::Ready(Err(error)) => {
                    debug!("accepting on {}: {error}", self.local_addr);
                    let kind = AcceptError::of(&error);
                    self.last_error = Some(error);
                    self.handle(clock.now(), Input::AcceptFailed(kind));
                }
                Poll::Pending => {
                    self.handle(clock.now(), Input::QueueEmpty);
                    if !self.sweep.has_output() {
                        return Accepted::Nothing;
                    }
                }
            }
        }
    }

    /// Asks the listener for those whom it had taken before its close (F48).
    fn poll_taken(&mut self, cx: &mut Context<'_>) -> Poll<Option<(ConnectionOf<R>, Address)>> {
        match &mut self.listener {
            Some(listener) if self.taken < self.most_taken => listener.poll_taken(cx),
            _ => Poll::Ready(None),
        }
    }

    /// Counts one of those that [`close_now`](ListenerTask::close_now) gave.
    pub(super) fn count_taken(&mut self) {
        self.taken += 1;
    }

    pub(super) fn handle(&mut self, now: Duration, input: Input) {
        if let Err(error) = self.sweep.handle(now, input) {
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

    /// Stops accepting; [`begin_sweep`](ListenerTask::begin_sweep) comes next.
    pub(super) fn stop_accepting(&mut self, now: Duration, sharing: SocketSharing) {
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
                self.filter = Filter::Since(now);
            }
            self.stopping = Some(guarantee);
        }
    }

    pub(super) fn begin_sweep(&mut self, now: Duration) {
        if let Some(guarantee) = self.stopping.take() {
            self.handle(now, Input::StopAccepting(guarantee));
        }
    }

    /// Closes the listener at once; `None` where it is closed already.
    ///
    /// Those whom it had taken are put into `taken`. An accept that is under way is not
    /// waited for: who is in a hurry cuts off everybody.
    pub(super) fn close_now(
        &mut self,
        now: Duration,
        taken: &mut Vec<(ConnectionOf<R>, Address)>,
        cx: &mut Context<'_>,
    ) -> Option<Result<(), ServerError>> {
        self.listener.as_ref()?;
        self.begin_sweep(now);
        if self.sweep.guarantee().is_none() {
            self.handle(now, Input::Close);
        }
        while self.sweep.poll_output().is_some() {}
        for _ in 0..self.most_taken {
            let Poll::Ready(Some(one)) = self.poll_taken(cx) else {
                break;
            };
            taken.push(one);
        }
        Some(self.close_socket(now))
    }

    fn close(&mut self, now: Duration) -> Result<(), ServerError> {
        let closed = self.close_socket(now);
        // Without an abort, which says it all: clients that were in the queue
        // may have been reset (F46).
        if closed.is_ok() && self.sweep.guarantee() == Some(CloseGuarantee::Unswept) {
            let listener = self.local_addr.clone();
            return Err(ServerError::Unswept { listener });
        }
        closed
    }

    fn close_socket(&mut self, now: Duration) -> Result<(), ServerError> {
        // At once: a handshake that completes between the last look at the
        // queue and here is reset (F2). Everything else comes after.
        let closed = self.listener.take().map_or(Ok(()), Listener::close);
        if let Filter::Since(since) = self.filter {
            self.filter = Filter::For(now.saturating_sub(since));
        }
        info!("stopped listening on {}", self.local_addr);
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
            accepted: self.sweep.accepted() + self.taken,
            swept: self.sweep.swept() + self.taken,
            guarantee: self.sweep.guarantee().unwrap_or(CloseGuarantee::Unswept),
            filtered: match self.filter {
                Filter::For(time) => Some(time),
                _ => None,
            },
        }
    }
}

#[cfg(test)]
#[cfg(feature = "smol")]
mod tests {
    use super::*;
    use crate::options::ListenOptions;
    use crate::runtimes::smol::Smol;

    fn task() -> ListenerTask<Smol> {
        let address = Address::from(([127, 0, 0, 1], 0));
        let listener = Smol.bind(&address, &ListenOptions::new()).unwrap();
        ListenerTask::new(listener, Origin::Bound, Config::default())
    }

    fn close_now(
        task: &mut ListenerTask<Smol>,
        now: Duration,
    ) -> Option<Result<(), ServerError>> {
        let cx = &mut Context::from_waker(std::task::Waker::noop());
        task.close_now(now, &mut Vec::new(), cx)
    }

    /// A successor learns that it holds the socket alone only when all
    /// listeners are closed.
    #[test]
    fn f10_a_listener_is_closed_once_it_was_told_to() {
        let mut task = task();
        let now = Duration::ZERO;
        assert!(!task.is_closed());
        assert!(close_now(&mut task, now).is_some_and(|closed| closed.is_ok()));
        assert!(task.is_closed());
        assert!(close_now(&mut task, now).is_none());
    }

    #[test]
    fn it_accepts_until_it_is_told_to_stop_and_not_only_until_its_sweep_begins() {
        let mut task = task();
        assert!(task.is_accepting());
        task.stop_accepting(Duration::ZERO, SocketSharing::Exclusive);
        assert!(task.sweep.is_accepting() && !task.is_accepting());
        task.begin_sweep(Duration::ZERO);
        assert!(!task.is_accepting());
    }

    #[test]
    fn f2_what_filters_new_handshakes_can_be_turned_off_and_says_for_how_long_it_was_on() {
        let begun = Duration::from_secs(5);
        let closed = |may_filter, sharing| {
            let mut task = task().with_filter(may_filter);
            task.stop_accepting(begun, sharing);
            let guarantee = task.stopping;
            assert!(close_now(&mut task, 3 * begun).is_some());
            (guarantee, task.report().filtered)
        };
        let (guarantee, filtered) = closed(true, SocketSharing::Exclusive);
        let is_filtered = guarantee == Some(CloseGuarantee::SynFiltered);
        assert_eq!(is_filtered, cfg!(target_os = "linux"));
        assert_eq!(filtered, is_filtered.then_some(2 * begun));
        for (may_filter, sharing) in [
            (false, SocketSharing::Exclusive),
            (true, SocketSharing::Shared),
            (true, SocketSharing::HandedOver),
        ] {
            let (guarantee, filtered) = closed(may_filter, sharing);
            assert_ne!(guarantee, Some(CloseGuarantee::SynFiltered));
            assert_eq!(filtered, None, "{sharing:?}");
        }
        // A socket is handed over with or without the filter.
        let handed_over = |may_filter| closed(may_filter, SocketSharing::HandedOver).0;
        assert_eq!(handed_over(false), handed_over(true));
    }

    #[test]
    fn the_limit_is_for_who_accepts_and_not_for_the_sweep() {
        let table = ConnectionTable::new(std::time::Instant::now());
        let full = Limit {
            connections: Some(0),
            table: &table,
        };
        let mut task = task();
        assert!(!full.lets_in(&task.sweep));
        task.stop_accepting(Duration::ZERO, SocketSharing::Exclusive);
        task.begin_sweep(Duration::ZERO);
        assert!(full.lets_in(&task.sweep));
    }

    #[test]
    fn f46_a_listener_that_could_not_be_swept_is_an_error_and_a_failed_one_another() {
        let mut unswept = task();
        unswept.handle(Duration::ZERO, Input::Close);
        let closed = unswept.close(Duration::ZERO);
        assert!(
            matches!(closed, Err(ServerError::Unswept { .. })),
            "{closed:?}"
        );
        let mut failed = task();
        failed.last_error = Some(rustix::io::Errno::INVAL.into());
        let closed = failed.close(Duration::ZERO);
        assert!(
            matches!(closed, Err(ServerError::Accept { .. })),
            "{closed:?}"
        );
    }

    #[test]
    #[cfg(feature = "handover")]
    fn f64_a_socket_keeps_the_name_with_which_it_was_passed_on() {
        let named = |origin| ListenerTask::<Smol> { origin, ..task() };
        let inherited = named(Origin::Inherited("web".to_owned()));
        assert_eq!(inherited.name(), "web");
        assert_eq!(named(Origin::Adopted).name(), "lameduck");
    }
}
