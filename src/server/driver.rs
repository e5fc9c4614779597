//! The driver: tells the machine what happens, and does what it says.
//! It decides nothing.

#[cfg_attr(feature = "handover", path = "driver/handover.rs")]
#[cfg_attr(not(feature = "handover"), path = "driver/alone.rs")]
mod handover;

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use log::{debug, info, trace, warn};

pub(super) use self::handover::Handover;
use super::accept::{Accepted, Accepting};
use super::task::{self, Common};
use super::{Hook, Server};
use crate::address::Address;
use crate::cause::Cause;
use crate::connection::{Record, Seat, Session};
use crate::gate::{Guard, Phase, Reached};
use crate::machine::{Fault, Input, Log, Machine, Outcome, Output, Stage};
use crate::report::Report;
use crate::sync::plain::Arc;
use crate::traits::{ConnectionOf, Runtime, SignalSource};

/// For a stop whose cause nobody has said.
const UNKNOWN: Cause = Cause::Request("a stop");

/// A running server; completes with the report. See [`Server::serve`].
#[must_use = "futures do nothing unless awaited"]
pub struct Serve<R: Runtime, H> {
    common: Arc<Common<R, H>>,
    machine: Machine,
    inputs: VecDeque<Input>,
    log: Option<Log>,
    /// The machine's time is counted from here.
    origin: Instant,
    asked_at: Option<Instant>,
    timer: Option<Pin<Box<R::Sleep>>>,
    signals: Option<R::Signals>,
    signals_seen: u32,
    listeners: Vec<Accepting<R>>,
    limit: usize,
    hooks: Vec<Hook>,
    running_hook: Option<usize>,
    on_ready: Option<Box<dyn Fn(bool) + Send + Sync>>,
    begun: bool,
    asked: Option<Reached>,
    escalated: Option<Reached>,
    alone: Reached,
    /// By it the gate stays open for the swept, and is not stopped before the
    /// hooks have run.
    door: Guard,
    errors: Vec<String>,
    outcome: Option<Outcome>,
    handover: Handover,
}

impl<R, H, F> Serve<R, H>
where
    R: Runtime,
    H: Fn(Session<ConnectionOf<R>>) -> F + Send + Sync + 'static,
    F: Future<Output = io::Result<()>> + Send + 'static,
{
    pub(super) fn new(server: Server<R>, handler: H) -> Serve<R, H> {
        let Server {
            common,
            config,
            log,
            signals,
            listeners,
            limit,
            hooks,
            on_ready,
            door,
            handover,
        } = server;
        let shutdown = &common.shutdown;
        Serve {
            origin: common.runtime.now(),
            machine: Machine::new(config, listeners.len(), hooks.len()),
            asked: Some(shutdown.reached(Phase::Notice)),
            escalated: Some(shutdown.reached(Phase::Forcing)),
            alone: door.alone(),
            common: Arc::new(common.with_handler(handler)),
            inputs: VecDeque::new(),
            log,
            asked_at: None,
            timer: None,
            signals,
            signals_seen: 0,
            listeners,
            limit,
            hooks,
            running_hook: None,
            on_ready,
            begun: false,
            door,
            errors: Vec::new(),
            outcome: None,
            handover,
        }
    }

    fn begin(&mut self) {
        if !self.begun && self.may_begin() && self.common.shutdown.is_ready() {
            self.begun = true;
            for listener in &self.listeners {
                info!("listening on {}", listener.local());
            }
            self.set_ready(true);
        }
    }

    /// Polls each source once; true when one of them had news.
    fn turn(&mut self, cx: &mut Context<'_>) -> bool {
        let before = [
            self.poll_signals(cx),
            self.poll_handover(cx),
            self.poll_gate(cx),
            self.poll_timer(cx),
        ];
        let mut accepted = false;
        for id in 0..self.listeners.len() {
            accepted |= self.poll_listener(id, cx);
        }
        let after = [accepted, self.poll_emptied(cx), self.poll_hook(cx)];
        before.into_iter().chain(after).any(|news| news)
    }

    fn poll_signals(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(signals) = &mut self.signals else {
            return false;
        };
        match signals.poll_signal(cx) {
            Poll::Pending => return false,
            Poll::Ready(None) => {
                self.signals = None;
                warn!("no signals will be seen any more; the stop can be asked for in code");
                return false;
            }
            Poll::Ready(Some(signal)) => {
                info!("received {signal}");
                if self.is_restart(signal) {
                    return true;
                }
                self.signals_seen += 1;
                match self.signals_seen {
                    1 => self.common.shutdown.stop(signal),
                    _ => self.common.shutdown.escalate(signal),
                };
            }
        }
        true
    }

    /// What was asked of the gate, by a signal or through a handle.
    fn poll_gate(&mut self, cx: &mut Context<'_>) -> bool {
        let mut news = false;
        if is_ready(&mut self.asked, cx) {
            let cause = self.common.shutdown.cause().unwrap_or(UNKNOWN);
            self.asked_at = Some(self.common.runtime.now());
            self.handover.call_off();
            self.feed(Input::Stop { cause });
            news = true;
        }
        if is_ready(&mut self.escalated, cx) {
            self.feed(Input::Escalate);
            news = true;
        }
        news
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(timer) = &mut self.timer else {
            return false;
        };
        if timer.as_mut().poll(cx).is_pending() {
            return false;
        }
        self.timer = None;
        self.feed(Input::Tick);
        // A timer that came early has not moved the machine, which then has
        // no reason to ask for another.
        if let (None, Some(at)) = (&self.timer, self.machine.deadline()) {
            self.arm(at);
        }
        true
    }

    fn poll_listener(&mut self, id: usize, cx: &mut Context<'_>) -> bool {
        let mut news = false;
        let sweeping = self.listeners[id].is_sweeping();
        if !sweeping && !self.handover.is_our_turn() {
            return false;
        }
        while self.may_accept(id, cx) {
            let runtime = &self.common.runtime;
            match self.listeners[id].poll(runtime, &mut self.errors, cx) {
                Accepted::Connection(connection, peer) => self.admit(id, connection, peer),
                Accepted::Quiet => self.feed(Input::ListenerQuiet(id)),
                Accepted::Failed => self.feed(Input::ListenerClosed(id, Err(Fault))),
                Accepted::Waiting => break,
                Accepted::Enough => {
                    // Not news, which would be followed at once: the
                    // connections too want their turn.
                    cx.waker().wake_by_ref();
                    return false;
                }
            }
            news = true;
        }
        news
    }

    /// The limit does not hold back a sweep: who is in the queue was in before
    /// the stop, and a queue is bounded.
    fn may_accept(&self, id: usize, cx: &mut Context<'_>) -> bool {
        let unlimited = self.limit == usize::MAX || self.listeners[id].is_sweeping();
        unlimited || self.common.ledger.has_room(self.limit, cx)
    }

    /// The guard first, then the book, then the task (F8).
    fn admit(&mut self, listener: usize, connection: ConnectionOf<R>, peer: Address) {
        let guard = match self.door.enter() {
            Ok(guard) => guard,
            Err(refused) => return warn!("{peer}: {refused}"),
        };
        debug!("{peer} connected to {}", self.listeners[listener].local());
        let now = self.common.runtime.now();
        let record = Arc::new(Record::new(peer, listener, now));
        let seat = Seat::new(connection, guard);
        let task = task::attend(self.common.clone(), seat, record);
        self.common.runtime.spawn(task);
    }

    fn poll_emptied(&mut self, cx: &mut Context<'_>) -> bool {
        let awaited = self.machine.awaits_emptied();
        if !awaited || Pin::new(&mut self.alone).poll(cx).is_pending() {
            return false;
        }
        // Who is gone may be gone by force that came later in this turn than
        // the look at the gate: then that is what comes first (S5).
        self.poll_gate(cx);
        self.feed(Input::Emptied);
        true
    }

    fn poll_hook(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(id) = self.running_hook else {
            return false;
        };
        let Hook { name, work } = &mut self.hooks[id];
        let Some(running) = work else { return false };
        let polled = catch_unwind(AssertUnwindSafe(|| running.as_mut().poll(cx)));
        let failure = match polled {
            Ok(Poll::Pending) => return false,
            Ok(Poll::Ready(Ok(()))) => None,
            Ok(Poll::Ready(Err(error))) => Some(format!("hook {name}: {error}")),
            Err(_) => Some(format!("hook {name}: panicked")),
        };
        *work = None;
        self.running_hook = None;
        let result = match failure {
            None => Ok(()),
            Some(error) => {
                warn!("{error}");
                self.errors.push(error);
                Err(Fault)
            }
        };
        self.feed(Input::HookDone(id, result));
        true
    }

    /// The loop of the machine's contract. What is done can be an input again.
    fn feed(&mut self, input: Input) {
        self.inputs.push_back(input);
        while let Some(input) = self.inputs.pop_front() {
            let now = self.common.runtime.now();
            let now = now.saturating_duration_since(self.origin);
            if let Some(log) = &mut self.log {
                log.push(now, input);
            }
            if let Err(ignored) = self.machine.handle(now, input) {
                trace!("{ignored}");
            }
            while let Some(output) = self.machine.poll_output() {
                self.carry_out(output);
            }
        }
    }

    fn carry_out(&mut self, output: Output) {
        trace!("{output:?}");
        let shutdown = &self.common.shutdown;
        match output {
            Output::SetReady(ready) => {
                shutdown.advance(Phase::Notice);
                // Who was never ready, or has a successor that is, has no news.
                if self.begun && !self.handover.is_handed_over() {
                    self.set_ready(ready);
                }
            }
            Output::Notify(stage) => self.notify(stage),
            Output::Quiesce(id) => {
                let origin = self.listeners[id].origin();
                let holders = self.handover.holders(id, origin);
                self.listeners[id].quiesce(&self.common.runtime, holders);
            }
            Output::CloseListener(id) => {
                let closed = self.listeners[id].close(&mut self.errors);
                let result = if closed { Ok(()) } else { Err(Fault) };
                self.inputs.push_back(Input::ListenerClosed(id, result));
                if self.listeners.iter().all(Accepting::is_closed) {
                    let origins = self.listeners.iter().map(Accepting::origin);
                    self.handover.leave(origins);
                }
            }
            Output::Settle => _ = shutdown.advance(Phase::Settling),
            Output::Drain => _ = shutdown.advance(Phase::Draining),
            Output::Abort => _ = shutdown.advance(Phase::Forcing),
            Output::RunHook(id) => {
                debug!("running hook {}", self.hooks[id].name);
                self.running_hook = Some(id);
            }
            Output::ArmTimer(at) => self.arm(at),
            Output::Complete(outcome) => self.outcome = Some(outcome),
        }
    }

    fn set_ready(&self, ready: bool) {
        if let Some(on_ready) = &self.on_ready {
            if catch_unwind(AssertUnwindSafe(|| on_ready(ready))).is_err() {
                warn!("the readiness callback panicked");
            }
        }
    }

    fn notify(&self, stage: Stage) {
        let living = self.common.shutdown.living().saturating_sub(1);
        match (stage, self.machine.cause()) {
            (Stage::Notice | Stage::Quiesce, Some(cause)) => {
                info!("stopping ({cause}): {stage}, {living} living");
            }
            (Stage::Force, _) => warn!("stopping: {stage}, {living} living"),
            _ => info!("stopping: {stage}, {living} living"),
        }
    }

    fn arm(&mut self, at: Duration) {
        // Longer than anybody waits, and within what every clock can hold
        // (F34); should it ever end, the timer is armed anew.
        let at = at.min(Duration::from_secs(3_000_000_000));
        let sleep = self.common.runtime.sleep_until(self.origin + at);
        self.timer = Some(Box::pin(sleep));
    }

    fn report(&mut self, outcome: Outcome) -> Report {
        let now = self.common.runtime.now();
        let balance = self.common.ledger.balance(now);
        for hook in self.hooks.iter().filter(|hook| hook.work.is_some()) {
            let error = format!("hook {}: no time was left for it to end", hook.name);
            self.errors.push(error);
        }
        let living = self.common.shutdown.living().saturating_sub(1);
        let report = Report {
            outcome,
            cause: self.machine.cause().unwrap_or(UNKNOWN),
            took: now.saturating_duration_since(self.asked_at.unwrap_or(now)),
            accepted: balance.accepted,
            closed: balance.closed,
            aborted: balance.aborted,
            other_guards: living.saturating_sub(balance.living.len()),
            abandoned: balance.living,
            listeners: self.listeners.iter().map(Accepting::report).collect(),
            errors: std::mem::take(&mut self.errors),
            log: self.log.take(),
        };
        debug_assert!(report.adds_up(), "S4: {report}");
        report
    }
}

/// Polls a future that is wanted once.
fn is_ready(future: &mut Option<Reached>, cx: &mut Context<'_>) -> bool {
    let ready = future
        .as_mut()
        .is_some_and(|f| Pin::new(f).poll(cx).is_ready());
    if ready {
        *future = None;
    }
    ready
}

impl<R, H, F> Future for Serve<R, H>
where
    R: Runtime,
    H: Fn(Session<ConnectionOf<R>>) -> F + Send + Sync + 'static,
    F: Future<Output = io::Result<()>> + Send + 'static,
{
    type Output = Report;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Report> {
        let this = &mut *self;
        this.begin();
        while this.turn(cx) {
            this.begin();
            if let Some(outcome) = this.outcome {
                let report = this.report(outcome);
                this.common.shutdown.advance(Phase::Stopped);
                return Poll::Ready(report);
            }
        }
        Poll::Pending
    }
}

// Nothing in it is self-referential: what must be pinned is boxed.
impl<R: Runtime, H> Unpin for Serve<R, H> {}

impl<R: Runtime, H> Drop for Serve<R, H> {
    fn drop(&mut self) {
        // Nobody is left who could end the stop: let the living end by
        // themselves. After a stop this is refused, and does nothing.
        self.common.shutdown.stop("the server was dropped");
        self.common.shutdown.advance(Phase::Draining);
    }
}

impl<R: Runtime, H> fmt::Debug for Serve<R, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut serve = f.debug_struct("Serve");
        serve.field("machine", &self.machine);
        serve.field("shutdown", &self.common.shutdown);
        serve.finish_non_exhaustive()
    }
}
