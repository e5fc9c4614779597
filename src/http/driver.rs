//! What the drivers of HTTP/1 and of HTTP/2 have in common: time, and the stop.

use std::task::{Context, Poll};
use std::time::Duration;

use super::hold::Hold;
use super::options::Options;
use super::state::State;
use crate::connection::ConnectionFacts;
use crate::gate::Guard;
use crate::nanos::Nanos;
use crate::phase::Phase;
use crate::report::Activity;
use crate::rt::Runtime;
use crate::server::timer::{Clock, Timer};
use crate::session::SessionHandle;
use crate::sync::plain::Arc;

/// What a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waiting {
    /// The service, a response that is written, or the rest of a request.
    Exchange,
    /// The rest of a head.
    Head,
    /// The next request.
    Request,
}

/// How a connection ends that is not ended by the stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Retirement {
    /// Not at all.
    No,
    /// It is old: its next response announces the close.
    Aged,
    /// As soon as it is idle.
    AtOnce,
}

/// How long an old connection of HTTP/1 is idle before it is ended: a client that is
/// about to send its next request is to be told by the response. Each request that
/// crosses the end is lost.
const AGED_IDLE: Duration = Duration::from_secs(1);

/// How long a connection of HTTP/1 is idle in a stop before it is ended, where its last
/// response has ended since and has not announced the close: its client may be about to
/// send its next request, or have sent it after hyper's last look, which comes before the
/// end of a response is written.
const UNTOLD_IDLE: Duration = Duration::from_millis(100);

/// Whether we have told the client of an HTTP/2 connection that it ends.
///
/// Clients such as those of gRPC's C core wait for our SETTINGS before their first
/// request, and give a request up that a GOAWAY overtakes. So the client of a new
/// connection is told once it has had the time to send it
/// ([F86](crate::docs::faults#f86)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Notice {
    /// No: it has not acknowledged our SETTINGS.
    AwaitsSettings,
    /// No: the end waits until it has acknowledged them.
    EndAwaitsSettings,
    /// No: it has acknowledged them, and may be about to send.
    AwaitsRequest,
    /// No. It can be told at any time.
    Possible,
    /// Yes, by a GOAWAY.
    Sent,
}

/// How long a client may take from our SETTINGS to its first request, and, once the server
/// drains, from the head of a request to the first of its data.
const FIRST: Duration = Duration::from_millis(100);

/// What a timer has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// A head has taken too long.
    Head,
    /// The connection has waited long enough: it is retired.
    Retired,
    /// The connection has lived long enough.
    Aged,
    /// The peer has not answered our SETTINGS, or the ping that follows a GOAWAY.
    Goaway,
    /// The last response, or the beginning, was long enough ago.
    Settled,
    /// The first data of streams have had their time.
    FirstData,
    /// What comes is held back, or is read on.
    Hold,
}

/// What the streams of HTTP/2 wait for in a stop.
#[derive(Default)]
struct OfStreams {
    /// Until when their first data are waited for, where they are.
    first_data_by: Option<Nanos>,
    /// What comes is held back by turns.
    hold: Option<Hold>,
}

/// What the drivers of all connections share.
pub(super) struct Common<R> {
    pub(super) options: Options,
    /// One for all: each connection would have the room for its own.
    pub(super) clock: Clock<R>,
}

pub(super) struct Driver<R: Runtime> {
    pub(super) handle: SessionHandle,
    common: Arc<Common<R>>,
    timer: Timer<R>,
    waiting: Waiting,
    /// Since when, where [`keeps_since`](Driver::keeps_since).
    since: Nanos,
    calls: u64,
    /// The last of all times where it is not.
    retire_at: Nanos,
    retirement: Retirement,
    notice: Notice,
    /// Since when it is so. A field of its own takes less room than one in the enum.
    notice_at: Nanos,
    /// Few connections have any of it.
    of_streams: Option<Box<OfStreams>>,
    /// The last response had begun before responses announced the close, and ended since.
    was_unannounced: bool,
}

impl<R: Runtime> Driver<R> {
    pub(super) fn new(common: Arc<Common<R>>, handle: SessionHandle) -> Driver<R> {
        let (id, now) = (handle.id(), common.clock.now());
        let max_age = common.options.max_age;
        Driver {
            handle,
            common,
            timer: Timer::new(),
            waiting: Waiting::Request,
            since: Nanos::of(now),
            calls: 0,
            retire_at: max_age
                .map_or(Nanos::MAX, |age| Nanos::of(now).plus(Nanos::of(age.of(id)))),
            retirement: Retirement::No,
            notice: Notice::Possible,
            notice_at: Nanos::of(now),
            of_streams: None,
            was_unannounced: false,
        }
    }

    pub(super) fn facts(&self) -> &ConnectionFacts {
        self.handle.connection().facts()
    }

    pub(super) fn guard_mut(&mut self) -> &mut Guard {
        self.handle.guard_mut()
    }

    /// Returns whether the connection ends without the stop.
    pub(super) fn is_retired(&self) -> bool {
        self.retirement != Retirement::No
    }

    /// Retires the connection: it ends as soon as it is idle.
    pub(super) fn retire(&mut self) {
        (self.retirement, self.retire_at) = (Retirement::AtOnce, Nanos::MAX);
    }

    /// Retires the connection for its age: it ends once it has been idle for a time.
    fn age(&mut self) {
        (self.retirement, self.retire_at) = (Retirement::Aged, Nanos::MAX);
    }

    /// Returns whether the stop ends the connection where it is idle.
    pub(super) fn is_settled(&mut self) -> bool {
        self.guard_mut().is_settled()
    }

    /// Returns whether responses are to announce the close.
    pub(super) fn announces(&mut self) -> bool {
        // On a busy machine the next request can overtake the timer's wake.
        if self.retire_at != Nanos::MAX && self.now() >= self.retire_at.duration() {
            self.age();
        }
        self.is_retired() || self.has_phase_to_announce()
    }

    fn has_phase_to_announce(&self) -> bool {
        self.handle.shutdown().phase() >= self.announce_from()
    }

    /// Returns whether a restart spares a connection of HTTP/1 that is idle, since its
    /// client was not told of the close: it still receives the last response, or has just
    /// had the end of one that began before ([F84](crate::docs::faults#f84)). The task is
    /// then woken to look again.
    pub(super) fn is_spared(&mut self, cx: &Context<'_>) -> bool {
        self.handle.is_spared(cx, self.was_unannounced)
    }

    /// Returns the phase from which on responses announce the close.
    pub(super) fn announce_from(&self) -> Phase {
        self.options().announce.phase()
    }

    pub(super) fn options(&self) -> &Options {
        &self.common.options
    }

    #[inline]
    fn now(&self) -> Duration {
        self.common.clock.now()
    }

    /// Ready once connections announce their close; otherwise the task is woken then. That
    /// comes no later than the stop, and the wait for the stop takes its place.
    #[inline]
    pub(super) fn poll_announcing(&mut self, cx: &Context<'_>) -> Poll<()> {
        let phase = self.announce_from();
        self.guard_mut().poll_phase(phase, cx)
    }

    /// Returns ready where the stop came since the last look, which has not seen
    /// it; otherwise the task is woken by it. `seen`: the look has seen it.
    #[inline]
    pub(super) fn poll_stop(&mut self, cx: &Context<'_>, seen: bool) -> Poll<()> {
        match seen {
            true => Poll::Pending,
            false => self.guard_mut().poll_settled(cx),
        }
    }

    /// Notes that HTTP/2 begins, which our SETTINGS open.
    pub(super) fn opens(&mut self) {
        self.notice = Notice::AwaitsSettings;
    }

    /// Returns whether the first request of HTTP/2 may be on its way, so that it is too
    /// early for a GOAWAY. `ends`: the connection ends as soon as it is idle.
    pub(super) fn awaits_first(&mut self, state: &State, ends: bool) -> bool {
        use Notice::{AwaitsRequest, AwaitsSettings, EndAwaitsSettings, Possible, Sent};

        if matches!(self.notice, Possible | Sent) {
            return false;
        }
        let now = self.now();
        let next = match self.notice {
            _ if state.calls() > 0 => Possible,
            AwaitsSettings | EndAwaitsSettings if state.is_open() => AwaitsRequest,
            AwaitsSettings if ends => EndAwaitsSettings,
            AwaitsRequest if now >= self.notice_at.duration() + FIRST => Possible,
            same => same,
        };
        if next != self.notice {
            (self.notice, self.notice_at) = (next, Nanos::of(now));
        }
        next != Possible
    }

    /// Notes that a GOAWAY was sent.
    pub(super) fn told(&mut self) {
        (self.notice, self.notice_at) = (Notice::Sent, Nanos::of(self.now()));
    }

    /// Waits for the first data of the streams that have had none, once the server drains:
    /// they may follow the head of the request ([F95](crate::docs::faults#f95)).
    pub(super) fn await_first_data(&mut self, state: &State) {
        let of_streams = self.of_streams.as_ref();
        let awaits = of_streams.is_some_and(|streams| streams.first_data_by.is_some());
        if !awaits && state.await_first() {
            let by = Nanos::of(self.now() + FIRST);
            self.of_streams.get_or_insert_default().first_data_by = Some(by);
        }
    }

    /// Returns whether what comes is held back now: where connections end that are never
    /// idle, that gives each stream a moment in which it is ([F97](crate::docs::faults#f97)).
    pub(super) fn holds_back(&mut self, state: &State) -> bool {
        if !self.guard_mut().ends_busy() || !state.has_idle_point() {
            if let Some(of_streams) = &mut self.of_streams {
                of_streams.hold = None;
            }
            return false;
        }
        let now = Nanos::of(self.now());
        let of_streams = self.of_streams.get_or_insert_default();
        let hold = of_streams.hold.get_or_insert_with(|| Hold::begin(now));
        hold.advance(now);
        hold.holds_back()
    }

    /// Notes that a head has begun.
    pub(super) fn head_begins(&mut self) {
        (self.waiting, self.since) = (Waiting::Head, Nanos::of(self.now()));
    }

    /// Looks what the connection waits for, and since when.
    pub(super) fn observe(&mut self, state: &State) {
        let waiting = if state.is_answering() || state.is_exchanging() {
            Waiting::Exchange
        } else if state.is_in_head() || state.awaits_first_head() {
            Waiting::Head
        } else {
            Waiting::Request
        };
        if waiting != self.waiting || state.calls() != self.calls {
            if self.waiting == Waiting::Exchange || state.calls() != self.calls {
                // One that announces it is the last of its connection.
                self.was_unannounced = self.has_phase_to_announce();
            }
            (self.waiting, self.calls) = (waiting, state.calls());
            if self.keeps_since() {
                self.since = Nanos::of(self.now());
            }
        }
        let is_idle = waiting == Waiting::Request && self.facts().found_nothing();
        self.facts().set_activity(match is_idle {
            true => Activity::Idle,
            false => Activity::Busy,
        });
    }

    /// Returns whether it matters since when the connection waits: the clock is not read
    /// for each request to no purpose.
    fn keeps_since(&self) -> bool {
        let Options {
            keep_alive_timeout,
            settle,
            max_age,
            ..
        } = self.options();
        let is_limited = keep_alive_timeout.is_some() || !settle.is_zero() || max_age.is_some();
        match self.waiting {
            Waiting::Exchange => false,
            Waiting::Head => true,
            Waiting::Request => {
                let awaits_answer = [Notice::EndAwaitsSettings, Notice::Sent];
                is_limited || self.was_unannounced || awaits_answer.contains(&self.notice)
            }
        }
    }

    /// Returns whether the connection is idle, as far as the last poll of hyper
    /// tells, and its last response was long enough ago.
    pub(super) fn is_idle(&self, state: &State) -> bool {
        state.in_flight() == 0
            && !state.awaits_first_head()
            && self.facts().found_nothing()
            && self.settles_at().is_none_or(|at| self.now() >= at)
    }

    /// The moment until which it has to be idle before it is ended: so long the last
    /// response is still on its way to a peer that was not told of the close.
    fn settles_at(&self) -> Option<Duration> {
        let mut idle = match self.calls {
            0 => Duration::ZERO,
            _ => self.options().settle,
        };
        if self.was_unannounced && self.notice != Notice::Sent {
            idle = idle.max(UNTOLD_IDLE);
        }
        if self.retirement == Retirement::Aged && !self.handle.is_draining() {
            let limit = self.options().keep_alive_timeout.unwrap_or(AGED_IDLE);
            idle = idle.max(limit.min(AGED_IDLE));
        }
        (!idle.is_zero()).then(|| self.since.duration().saturating_add(idle))
    }

    /// Returns how long it may wait for what it waits for, and what is due then.
    #[inline]
    fn limit(&self) -> Option<(Duration, Due)> {
        match self.waiting {
            Waiting::Exchange => None,
            Waiting::Head => self
                .options()
                .header_timeout
                .map(|limit| (limit, Due::Head)),
            Waiting::Request => {
                let limit = self.options().keep_alive_timeout;
                let limit = limit.filter(|_| !self.is_retired());
                limit.map(|limit| (limit, Due::Retired))
            }
        }
    }

    /// Returns whether there may be a time to wait for. Most connections have none while
    /// the server is open, and ask for each request.
    #[inline]
    fn awaits_time(&mut self) -> bool {
        self.is_retired()
            || self.is_settled()
            || matches!(self.notice, Notice::EndAwaitsSettings | Notice::Sent)
            || self.retire_at != Nanos::MAX
            || self.of_streams.is_some()
            || self.limit().is_some()
    }

    fn next_due(&mut self) -> Option<(Duration, Due)> {
        let ends_idle = self.is_retired() || self.is_settled();
        let limit = self.limit();
        let retires =
            (self.retire_at != Nanos::MAX).then(|| (self.retire_at.duration(), Due::Aged));
        let waits =
            limit.map(|(limit, due)| (self.since.duration().saturating_add(limit), due));
        let is_idle = self.waiting == Waiting::Request;
        let notice = match self.notice {
            // A peer that has its hands full with a response answers no ping.
            Notice::EndAwaitsSettings | Notice::Sent if is_idle => {
                let limit = self.options().goaway_timeout;
                Some((
                    self.notice_at
                        .max(self.since)
                        .duration()
                        .saturating_add(limit),
                    Due::Goaway,
                ))
            }
            Notice::AwaitsRequest if ends_idle => {
                Some((self.notice_at.duration() + FIRST, Due::Settled))
            }
            _ => None,
        };
        let settles = self.settles_at().filter(|_| ends_idle && is_idle);
        let settles = settles.map(|at| (at, Due::Settled));
        let of_streams = self.of_streams.as_deref();
        let first_data = of_streams.and_then(|streams| streams.first_data_by);
        let first_data = first_data.map(|at| (at.duration(), Due::FirstData));
        let hold = of_streams.and_then(|streams| streams.hold.as_ref());
        let turn = hold.map(|hold| (hold.until(), Due::Hold));
        let all = [retires, waits, notice, settles, first_data, turn];
        let now = all.iter().any(Option::is_some).then(|| self.now())?;
        let is_open = |due: &(Duration, Due)| due.1 != Due::Settled || due.0 > now;
        all.into_iter()
            .flatten()
            .filter(is_open)
            .min_by_key(|due| due.0)
    }

    /// Waits for the next moment at which something is due.
    #[inline]
    pub(super) fn poll_due(&mut self, cx: &mut Context<'_>) -> Poll<Due> {
        match self.awaits_time() {
            true => self.poll_next_due(cx),
            // A timer that is set stays: it costs less when it comes too early than when
            // it is set for each request.
            false => Poll::Pending,
        }
    }

    fn poll_next_due(&mut self, cx: &mut Context<'_>) -> Poll<Due> {
        loop {
            let Some((at, due)) = self.next_due() else {
                return Poll::Pending;
            };
            if self.now() >= at {
                match due {
                    Due::Retired => self.retire(),
                    Due::Aged => self.age(),
                    Due::FirstData => {
                        if let Some(of_streams) = &mut self.of_streams {
                            of_streams.first_data_by = None;
                        }
                    }
                    Due::Head | Due::Goaway | Due::Settled | Due::Hold => {}
                }
                return Poll::Ready(due);
            }
            if self
                .timer
                .poll(&self.common.clock, Some(at), cx)
                .is_pending()
            {
                return Poll::Pending;
            }
        }
    }
}
