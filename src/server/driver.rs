//! The driver: feeds the lifecycle and the sweeps with what happens, and
//! carries out what they say.

mod accept;
#[cfg_attr(feature = "handover", path = "driver/handover.rs")]
#[cfg_attr(not(feature = "handover"), path = "driver/no_handover.rs")]
mod handover;
mod log_lines;

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use log::{error, info, trace, warn};

pub(super) use self::handover::Handover;
use super::early_signals::EarlySignals;
use super::hooks::{BoxError, Hook};
use super::listener::ListenerTask;
use super::listeners::Listeners;
use super::readiness::ReadinessCallback;
use super::task::{ServerShared, WithHandler};
use super::timer::{Clock, Timer};
use super::{Readiness, Server};
use crate::cause::Cause;
use crate::gate::{Hold, InRestart, PhaseReached};
use crate::machine::lifecycle::{
    Failed, Input, Lifecycle, Outcome, Output, Recording, SignalsSeen,
};
use crate::phase::Phase;
use crate::report::{Chain, Report, ServerError};
use crate::rt::{ConnectionOf, Runtime, SignalSource};
use crate::session::Session;
use crate::signal::Signal;
use crate::sync::plain::Arc;

/// A running server; completes with the report. See [`Server::serve`].
#[must_use = "futures do nothing unless awaited"]
pub struct Serve<R: Runtime, H> {
    shared: Arc<ServerShared<R>>,
    /// Dropped before the hooks, which may wait for what it owns: a worker ends when the
    /// senders of its channel do, some of which are the handler's.
    handler: Option<Arc<WithHandler<R, H>>>,
    lifecycle: Lifecycle,
    inputs: VecDeque<Input>,
    recording: Option<Recording>,
    clock: Clock<R>,
    timer: Timer<R>,
    signals: Option<R::Signals>,
    /// Signals that came before the server served.
    early_signals: VecDeque<Signal>,
    /// Those of them that wait for a predecessor.
    waiting_signals: SignalsSeen,
    listeners: Listeners<R>,
    connection_limit: Option<usize>,
    hooks: Vec<Hook>,
    running_hook: Option<usize>,
    on_readiness_change: Option<ReadinessCallback>,
    serving: bool,
    stop_requested: Option<PhaseReached>,
    /// Whether a stop can still be asked for, since a successor serves.
    is_in_restart: bool,
    stopped_at: Option<Instant>,
    abort_requested: Option<PhaseReached>,
    drained: PhaseReached,
    /// By it the gate stays open for connections that are swept, and does not
    /// end before the hooks have run.
    hold: Hold,
    errors: Vec<ServerError>,
    outcome: Option<Outcome>,
    handover: Handover,
}

impl<R: Runtime, H> Serve<R, H> {
    pub(super) fn new(server: Server<R>, handler: H) -> Serve<R, H> {
        let Server {
            shared,
            config,
            recording,
            signals,
            listeners,
            connection_limit,
            hooks,
            on_readiness_change,
            hold,
            handover,
            #[cfg(feature = "handover")]
            passed,
        } = server;
        #[cfg(feature = "handover")]
        passed
            .into_iter()
            .for_each(crate::handover::PassedFd::close);
        let shared = Arc::new(shared);
        let shutdown = &shared.shutdown;
        let (signals, early) = signals.map_or((None, Vec::new()), EarlySignals::take);
        Serve {
            clock: Clock::new(shared.runtime.clone()),
            lifecycle: Lifecycle::new(config, listeners.len(), hooks.len()),
            stop_requested: Some(shutdown.reached(Phase::LameDuck)),
            is_in_restart: false,
            abort_requested: Some(shutdown.reached(Phase::Aborting)),
            drained: hold.drained(),
            handler: Some(Arc::new(WithHandler::new(shared.clone(), handler))),
            inputs: VecDeque::new(),
            recording,
            timer: Timer::new(),
            signals,
            early_signals: early.into(),
            waiting_signals: SignalsSeen::default(),
            listeners: Listeners::new(listeners),
            connection_limit,
            hooks,
            running_hook: None,
            on_readiness_change,
            serving: false,
            stopped_at: None,
            hold,
            errors: Vec::new(),
            outcome: None,
            handover,
            shared,
        }
    }

    fn start_serving(&mut self) {
        if !self.serving && self.may_serve() && self.shared.shutdown.is_ready() {
            self.serving = true;
            self.listeners.wake_all();
            for listener in self.listeners.iter() {
                info!("listening on {}", listener.local_addr());
            }
            self.tell_readiness(Readiness::Ready);
        }
    }

    fn poll_signals(&mut self, cx: &mut Context<'_>) -> bool {
        if !self.handover.is_waiting() {
            if let Some(signal) = self.early_signals.pop_front() {
                self.signal(signal);
                return true;
            }
        }
        let Some(signals) = &mut self.signals else {
            return false;
        };
        match signals.poll_signal(cx) {
            Poll::Pending => false,
            Poll::Ready(None) => {
                self.signals = None;
                warn!("the signal source has ended: only the program can stop the server now");
                false
            }
            Poll::Ready(Some(signal)) => {
                info!("received {signal}");
                self.signal(signal);
                true
            }
        }
    }

    fn signal(&mut self, signal: Signal) {
        if self.is_restart(signal) {
            return;
        }
        if !self.handover.is_waiting() {
            return self.feed(Input::Signal(signal));
        }
        let (config, now) = (*self.lifecycle.config(), self.clock.now());
        if self
            .waiting_signals
            .is_another_request(&config, now, signal)
        {
            // Somebody is in a hurry: nobody is served here that could be lost.
            self.feed(Input::Abort);
        } else {
            info!("{signal} waits for the predecessor's word");
            self.early_signals.push_back(signal);
        }
    }

    /// Polls for what was asked for through a handle on the gate.
    fn poll_gate(&mut self, cx: &mut Context<'_>) -> bool {
        let mut progress = false;
        if !self.handover.is_waiting() && is_ready(&mut self.stop_requested, cx) {
            self.feed(Input::Stop);
            progress = true;
        }
        if self.is_in_restart && self.poll_stop_in_restart(cx) {
            self.is_in_restart = false;
            self.feed(Input::Stop);
            progress = true;
        }
        if is_ready(&mut self.abort_requested, cx) {
            self.feed(Input::Abort);
            progress = true;
        }
        progress
    }

    fn poll_stop_in_restart(&self, cx: &mut Context<'_>) -> bool {
        let shutdown = &self.shared.shutdown;
        let asked = shutdown.poll_stop_in_restart(InRestart::Driver, cx);
        asked.is_ready()
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>) -> bool {
        let deadline = self.lifecycle.deadline();
        let is_due = self.timer.poll(&self.clock, deadline, cx).is_ready();
        if is_due {
            self.feed(Input::Tick);
        }
        is_due
    }

    /// Ends those that drain last, once nobody is accepted any more (F94).
    fn poll_last(&self, cx: &Context<'_>) -> bool {
        if self.lifecycle.phase() != Phase::Draining || !self.listeners.all_closed() {
            return false;
        }
        let table = &self.shared.table;
        let ended = self
            .shared
            .shutdown
            .poll_end_last(cx, || table.open_count());
        ended.is_ready()
    }

    fn poll_emptied(&mut self, cx: &mut Context<'_>) -> bool {
        let is_awaited = self.lifecycle.awaits_emptied();
        if !is_awaited || Pin::new(&mut self.drained).poll(cx).is_pending() {
            return false;
        }
        // An abort that came after the last look at the gate may be what
        // emptied it: then the abort comes first (S5).
        self.poll_gate(cx);
        self.feed(Input::Emptied);
        true
    }

    fn poll_hook(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(id) = self.running_hook else {
            return false;
        };
        let runtime = &self.shared.runtime;
        let Poll::Ready(result) = self.hooks[id].poll(|| runtime.now(), cx) else {
            return false;
        };
        self.running_hook = None;
        let result = self.keep_error(result);
        self.feed(Input::HookDone(id, result));
        true
    }

    fn keep_error(&mut self, result: Result<(), ServerError>) -> Result<(), Failed> {
        result.map_err(|error| {
            self.errors.push(error);
            Failed
        })
    }

    /// Gives an input to the lifecycle, and carries out what it says. That can
    /// be an input again.
    fn feed(&mut self, input: Input) {
        self.inputs.push_back(input);
        while let Some(input) = self.inputs.pop_front() {
            let now = self.clock.now();
            if let Some(recording) = &mut self.recording {
                recording.push(now, input);
            }
            let before = self.lifecycle.phase();
            if let Err(unexpected) = self.lifecycle.handle(now, input) {
                trace!("{unexpected}");
            }
            let phase = self.lifecycle.phase();
            log_lines::handled(input, before, phase, self.end());
            if before == Phase::Running && phase != Phase::Running {
                self.stop_has_begun(input);
            }
            while let Some(output) = self.lifecycle.poll_output() {
                trace!("{output:?}");
                self.execute(output);
            }
        }
    }

    /// Tells the gate the cause, where the gate did not ask for the stop.
    fn stop_has_begun(&mut self, input: Input) {
        self.stopped_at = Some(self.shared.runtime.now());
        self.stop_requested = None;
        let cause = match input {
            Input::Signal(signal) => Cause::Signal(signal),
            Input::HandedOver => Cause::Successor,
            Input::ListenerClosed(..) => Cause::Listener,
            // The gate was asked, and has the cause already.
            _ => Cause::from("a request"),
        };
        self.is_in_restart = input == Input::HandedOver;
        let is_first = self.shared.shutdown.stop(cause);
        if self.is_in_restart && !is_first {
            // The program has asked at the same time, and for less time.
            self.inputs.push_back(Input::Stop);
        }
        self.handover.cancel();
    }

    fn execute(&mut self, output: Output) {
        match output {
            Output::NotReady => {
                // A server that was never ready, or whose successor is, has
                // nothing to tell.
                if self.serving && !self.handover.is_handed_over() {
                    self.tell_readiness(Readiness::NotReady);
                }
            }
            Output::Enter(phase) => self.enter(phase),
            Output::EndUnused => self.shared.shutdown.end_unused(),
            Output::EndIdle => self.shared.shutdown.end_idle(),
            Output::EndBusy => self.shared.shutdown.end_busy(),
            Output::EndLast => self.shared.shutdown.end_last(),
            Output::StopAccepting(id) => {
                let origin = self.listeners.get(id).origin();
                let sharing = self.handover.sharing(id, origin);
                self.listeners.stop_accepting(id, self.clock.now(), sharing);
            }
            Output::CloseListener(id) => {
                if let Some(closed) = self.listeners.close_now(id, &self.clock) {
                    let input = self.listener_closed(id, closed);
                    self.inputs.push_back(input);
                }
            }
            Output::RunHook(id, limit) => {
                self.drop_handler();
                let shared = &self.shared;
                self.hooks[id].run(&shared.runtime, limit, &shared.shutdown);
                self.running_hook = Some(id);
            }
            Output::CancelHook(id) => {
                self.running_hook = None;
                let now = self.shared.runtime.now();
                self.errors.extend(self.hooks[id].cancel(now));
            }
            Output::Complete(outcome) => self.outcome = Some(outcome),
        }
    }

    /// Returns what is kept of the grace period for the end.
    fn end(&self) -> log_lines::End {
        let config = self.lifecycle.config();
        log_lines::End {
            abort: config.abort_timeout,
            hooks: (!self.hooks.is_empty()).then_some(config.hook_reserve),
        }
    }

    fn drop_handler(&mut self) {
        let handler = self.handler.take();
        if catch_unwind(AssertUnwindSafe(|| drop(handler))).is_err() {
            error!("what the handler owns panicked as it was dropped");
        }
    }

    fn enter(&mut self, phase: Phase) {
        let shutdown = &self.shared.shutdown;
        // Counted before the phase is entered, which ends idle connections.
        let (open, guards) = (self.shared.table.open_count(), shutdown.guard_count());
        if self.lifecycle.is_settling() && phase == Phase::Draining {
            shutdown.settle();
        } else {
            shutdown.advance(phase);
        }
        log_lines::entered(phase, shutdown.cause().as_ref(), open, guards);
    }

    fn listener_closed(&mut self, id: usize, closed: Result<(), ServerError>) -> Input {
        if let Err(error) = &closed {
            warn!("{}", Chain(error));
        }
        let result = self.keep_error(closed);
        if self.listeners.all_closed() {
            let origins = self.listeners.iter().map(ListenerTask::origin);
            self.handover.notify_sole_owner(origins);
        }
        Input::ListenerClosed(id, result)
    }

    fn tell_readiness(&self, readiness: Readiness) {
        if let Some(callback) = &self.on_readiness_change {
            let guard = self.hold.try_guard().ok();
            callback.call(&self.shared.runtime, readiness, guard);
        }
    }

    fn report(&mut self, outcome: Outcome) -> Report {
        let now = self.shared.runtime.now();
        let snapshot = self.shared.table.snapshot(now);
        let guards = self.shared.shutdown.guard_count();
        let report = Report {
            outcome: outcome.with_cut_off(snapshot.aborted.len()),
            cause: self.shared.shutdown.cause().unwrap_or("a request".into()),
            duration: now.saturating_duration_since(self.stopped_at.unwrap_or(now)),
            accepted: snapshot.accepted,
            closed: snapshot.closed,
            aborted: snapshot.aborted,
            untracked_guards: guards.saturating_sub(snapshot.open.len()),
            abandoned: snapshot.open,
            listeners: self.listeners.iter().map(ListenerTask::report).collect(),
            hooks: self.hooks.iter().filter_map(Hook::report).collect(),
            errors: std::mem::take(&mut self.errors),
            recording: self.recording.take(),
        };
        debug_assert!(report.is_consistent(), "S4: {report}");
        report
    }
}

impl<R, H, F, E> Serve<R, H>
where
    R: Runtime,
    H: Fn(Session<ConnectionOf<R>>) -> F + Send + Sync + 'static,
    F: Future<Output = Result<(), E>> + Send + 'static,
    E: Into<BoxError>,
{
    /// Polls each source once; returns whether one of them made progress.
    fn poll_sources(&mut self, cx: &mut Context<'_>) -> bool {
        let mut progress = self.poll_signals(cx);
        progress |= self.poll_handover(cx);
        progress |= self.poll_gate(cx);
        progress |= self.poll_timer(cx);
        progress |= self.poll_listeners(cx);
        progress |= self.poll_last(cx);
        progress |= self.poll_emptied(cx);
        progress |= self.poll_hook(cx);
        progress
    }
}

/// Polls a future that is wanted once.
fn is_ready(future: &mut Option<PhaseReached>, cx: &mut Context<'_>) -> bool {
    let ready = future
        .as_mut()
        .is_some_and(|f| Pin::new(f).poll(cx).is_ready());
    if ready {
        *future = None;
    }
    ready
}

impl<R, H, F, E> Future for Serve<R, H>
where
    R: Runtime,
    H: Fn(Session<ConnectionOf<R>>) -> F + Send + Sync + 'static,
    F: Future<Output = Result<(), E>> + Send + 'static,
    E: Into<BoxError>,
{
    type Output = Report;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Report> {
        let this = &mut *self;
        this.listeners.begin_poll(cx);
        this.start_serving();
        while this.poll_sources(cx) {
            this.start_serving();
            if let Some(outcome) = this.outcome {
                let report = this.report(outcome);
                // From here on signals act by themselves again (F60).
                this.signals = None;
                this.shared.shutdown.advance(Phase::Stopped);
                return Poll::Ready(report);
            }
        }
        if this.listeners.has_yielded() {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

// Nothing in it is self-referential: what must be pinned is boxed.
impl<R: Runtime, H> Unpin for Serve<R, H> {}

impl<R: Runtime, H> Drop for Serve<R, H> {
    fn drop(&mut self) {
        if self.serving && self.outcome.is_none() {
            let open = self.shared.table.open_count();
            warn!(
                "the server was dropped before its end: its queue is not swept, nobody waits \
                 for its open connections ({open}), and no hook runs; to stop it, ask \
                 Shutdown::stop and await its end"
            );
        }
        // Nobody is left who could end the stop: connections end by themselves.
        // After a stop this is refused, and does nothing.
        self.shared.shutdown.stop("the server was dropped");
        self.shared.shutdown.advance(Phase::Draining);
    }
}

impl<R: Runtime, H> fmt::Debug for Serve<R, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut serve = f.debug_struct("Serve");
        serve.field("lifecycle", &self.lifecycle);
        serve.field("shutdown", &self.shared.shutdown);
        serve.finish_non_exhaustive()
    }
}
