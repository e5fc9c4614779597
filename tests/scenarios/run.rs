//! A script on a simulated machine, against what is known beforehand.

use std::io;
use std::pin::pin;
use std::time::Duration;

use futures::channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use futures::future::{Either, select};
use futures::io::{AsyncReadExt, AsyncWriteExt};
use futures::stream::StreamExt;
use lameduck::report::{HookOutcome, Outcome};
use lameduck::rt::CloseGuarantee;
use lameduck::sim::{Client, Connection, Event, Sim, SimRuntime, Verdict, verify};
use lameduck::{Builder, Report, Runtime, Session, Signal};

use crate::alphabet::{Action, Ask, CLIENTS, Faults, Setup, Step};

/// More than any stop needs that has an end.
const MAX_STEPS: usize = 200_000;
const GRACE_PERIOD: Duration = ms(2000);
const ABORT_TIMEOUT: Duration = ms(500);
/// The size of an answer to [`Ask::Much`].
const MUCH: usize = 5000;

/// Room for all requests that a script can have.
const PIPELINED: usize = 1000;

/// The longest time that a quick hook takes: each has 200 ms for itself.
const QUICK: Duration = ms(100);

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Two bytes: what, and how much of it.
fn request(ask: Ask) -> [u8; 2] {
    match ask {
        Ask::Echo => [0, 7],
        Ask::Much => [1, 0],
        Ask::Slow(millis) => [2, millis],
        Ask::Panic => [3, 0],
        Ask::Fail => [4, 0],
        Ask::Hang => [5, 0],
    }
}

fn response(ask: Ask) -> Vec<u8> {
    match ask {
        Ask::Echo | Ask::Slow(_) => request(ask).to_vec(),
        Ask::Much => vec![1; MUCH],
        Ask::Panic | Ask::Fail | Ask::Hang => Vec::new(),
    }
}

async fn handler(runtime: SimRuntime, mut session: Session<Connection>) -> io::Result<()> {
    let mut request = [0; 2];
    while session.read_or_drain(&mut request[..1]).await?.is_some() {
        session.read_exact(&mut request[1..]).await?;
        match request[0] {
            0 => session.write_all(&request).await?,
            1 => session.write_all(&[1; MUCH]).await?,
            2 => {
                let time = ms(request[1].into());
                runtime.sleep_until(runtime.now() + time).await;
                session.write_all(&request).await?;
            }
            // As a panic, but without the message and the backtrace of each.
            3 => std::panic::resume_unwind(Box::new("it was asked to")),
            4 => return Err(io::Error::other("it was asked to")),
            _ => std::future::pending().await,
        }
    }
    Ok(())
}

/// Waits for the next action of a client, which reads until it comes.
async fn next(
    client: &mut Client,
    actions: &mut UnboundedReceiver<Action>,
) -> io::Result<Option<Action>> {
    let reading = async {
        client.responses().await?;
        std::future::pending().await
    };
    match select(actions.next(), pin!(reading)).await {
        Either::Left((action, _)) => Ok(action),
        Either::Right((failed, _)) => failed,
    }
}

/// Follows the actions of a client.
///
/// With buffers that are too small for it, nothing is asked before the last
/// answer is there: both sides would wait for the other one to read.
async fn client(
    client: &mut Client,
    mut actions: UnboundedReceiver<Action>,
    pipelines: bool,
) -> io::Result<()> {
    let (mut is_half, mut is_over) = (false, false);
    while let Some(action) = next(client, &mut actions).await? {
        if !pipelines {
            client.responses().await?;
        }
        match action {
            // The first half was that of an echo, whatever comes now.
            Action::Ask(..) if std::mem::take(&mut is_half) => {
                let rest = &request(Ask::Echo)[1..];
                client.request(rest, &response(Ask::Echo)).await?;
            }
            // Nothing is owed after a request that ends the handler.
            Action::Ask(_, ask) if is_over => client.write_all(&request(ask)).await?,
            Action::Ask(_, ask) => {
                is_over = matches!(ask, Ask::Panic | Ask::Fail | Ask::Hang);
                client.request(&request(ask), &response(ask)).await?;
            }
            Action::AskHalf(_) if !is_half && !is_over => {
                is_half = true;
                client.partial_request(&request(Ask::Echo)[..1]).await?;
            }
            Action::Read(_) => client.responses().await?,
            Action::HalfClose(_) => return client.half_close().await,
            Action::CloseNow(_) => client.close_now(),
            Action::Reset(_) => client.reset(),
            Action::Stall(_) => client.stall().await,
            _ => {}
        }
    }
    // A server waits for the rest of half a request.
    if is_half {
        client.half_close().await?;
    }
    Ok(())
}

fn add_faults(sim: &mut Sim, faults: Faults) {
    sim.sees_handshakes(!faults.hidden_handshakes);
    sim.forced_yields(faults.forced_yields);
    sim.rule(move |event, choose| match event {
        Event::Accept if faults.accepts_fail && choose(8) == 7 => {
            // EMFILE, ENOBUFS, ECONNABORTED, EPROTO
            Verdict::Fail([24, 105, 103, 71][choose(4) as usize])
        }
        Event::Handshake(_) if faults.late_handshakes && choose(4) == 3 => {
            Verdict::Delay(ms(1 + u64::from(choose(400))))
        }
        Event::ToServer(_) | Event::ToClient(_) if faults.slow_segments && choose(8) == 7 => {
            Verdict::Delay(ms(1 + u64::from(choose(40))))
        }
        Event::Timer if faults.late_timers && choose(4) == 3 => Verdict::Delay(ms(30)),
        Event::Wake if faults.odd_wakes && choose(8) == 7 => match choose(2) {
            0 => Verdict::Twice,
            _ => Verdict::Delay(Duration::from_micros(500)),
        },
        Event::Signal(_) if faults.odd_signals => match choose(3) {
            0 => Verdict::Pass,
            1 => Verdict::Twice,
            _ => Verdict::Delay(ms(2)),
        },
        _ => Verdict::Pass,
    });
}

/// What a script has in it that changes what is to be expected.
#[derive(Debug, Default)]
struct Expected {
    panics: u64,
    /// Whether something can hold the stop up until the abort comes.
    can_hang: bool,
    /// Whether somebody may have asked for the abort.
    may_abort: bool,
    hook: Duration,
    /// Whether a hook that hangs can be cut off so late that its time was that
    /// of the next one.
    late_timers: bool,
    freezes: u32,
    /// Whether the server was frozen for longer than its budget more than once.
    /// The time is made up for once: a second one can take all that is left.
    is_out_of_time: bool,
}

impl Expected {
    fn of(setup: &Setup, steps: &[Step]) -> Expected {
        let mut expected = Expected {
            hook: setup.hook,
            late_timers: setup.faults.late_timers,
            ..Expected::default()
        };
        let is_slow = setup.latency > ms(1) || setup.faults.slow_segments;
        let is_busy = setup.poll_cost > Duration::from_micros(10);
        let drips = setup.socket_buffer < PIPELINED && (is_slow || is_busy);
        let is_long = |step: &&Step| matches!(step.action, Action::Freeze(1000..));
        expected.is_out_of_time = steps.iter().filter(is_long).count() > 1;
        // One after the other has the descriptor of the one before, each after
        // the idle time of a close, and after the pauses of accepts that fail.
        let connects = steps.iter().filter(|step| step.action == Action::Connect);
        let turns = connects.count() / setup.descriptor_limit;
        expected.can_hang |= turns > if setup.faults.accepts_fail { 1 } else { 5 };
        // One after the other, each with a timer that comes late.
        let slow = steps.iter().map(|step| match step.action {
            Action::Ask(_, Ask::Slow(millis)) => ms(u64::from(millis) + 30),
            _ => Duration::ZERO,
        });
        expected.can_hang |= slow.sum::<Duration>() > GRACE_PERIOD / 2;
        for step in steps {
            match step.action {
                Action::Ask(_, Ask::Panic) => expected.panics += 1,
                // Byte by byte it can take longer than the grace period.
                Action::Ask(_, Ask::Much) => expected.can_hang |= drips,
                // A peer that does not read, or that waits for an answer which
                // never comes, is waited for; so is the rest of a request.
                Action::Ask(_, Ask::Hang) | Action::Stall(_) | Action::AskHalf(_) => {
                    expected.can_hang = true;
                }
                Action::Abort => expected.may_abort = true,
                Action::Freeze(_) => expected.freezes += 1,
                _ => {}
            }
        }
        expected
    }

    /// Returns the longest time that the stop may take, freezes apart.
    fn budget(&self, faults: Faults) -> Duration {
        let late = if faults.late_timers || faults.odd_wakes {
            ms(500)
        } else {
            ms(100)
        };
        // After a freeze there is time for a turn, for the abort, and for hooks.
        GRACE_PERIOD + late + self.freezes * (2 * ABORT_TIMEOUT + GRACE_PERIOD / 5)
    }

    fn check(&self, report: &Report) -> Result<(), String> {
        let is_aborted = matches!(report.outcome, Outcome::Aborted | Outcome::Abandoned);
        if self.is_out_of_time {
            return Ok(());
        }
        if is_aborted && !self.can_hang && !self.may_abort {
            return Err(format!("S10: aborted without a reason: {report}"));
        }
        let is_unswept =
            |l: &lameduck::report::ListenerReport| l.guarantee == CloseGuarantee::Unswept;
        if report.listeners.iter().any(is_unswept) && !self.may_abort && !is_aborted {
            return Err(format!("S8: not swept: {report}"));
        }
        // Every handler here yields, and so can be cut off.
        if report.outcome == Outcome::Abandoned {
            return Err(format!("L1: something is abandoned: {report}"));
        }
        if report.closed.panicked > self.panics {
            let panics = self.panics;
            return Err(format!("F25: more than {panics} panics: {report}"));
        }
        self.check_hooks(report)
    }

    fn check_hooks(&self, report: &Report) -> Result<(), String> {
        let outcomes: Vec<HookOutcome> = report.hooks.iter().map(|hook| hook.outcome).collect();
        let [first, last] = outcomes[..] else {
            return Err(format!("L7: a hook did not start: {report}"));
        };
        let is_first_right = match first {
            HookOutcome::Done => self.hook < Duration::MAX,
            HookOutcome::TimedOut => self.hook > QUICK,
            _ => false,
        };
        let is_squeezed = self.late_timers && first == HookOutcome::TimedOut;
        if !is_first_right || last != HookOutcome::Done && !is_squeezed {
            return Err(format!("F54: a hook had not its time: {report}"));
        }
        let has_failed = first != HookOutcome::Done;
        if report.outcome == Outcome::Clean && has_failed
            || report.outcome == Outcome::Failed && !has_failed
        {
            return Err(format!("S5: the hooks say something else: {report}"));
        }
        Ok(())
    }
}

/// The times in which a second signal is the same stop, less what a signal can
/// be late.
const SAME_SIGNAL: Duration = ms(80);
const OTHER_SIGNAL: Duration = ms(980);

/// The signals that were sent, and when.
#[derive(Default)]
struct Signals(Vec<(Duration, Signal)>);

impl Signals {
    /// Returns whether one of them may count as a request to abort (F45).
    fn may_abort(&self, is_frozen: bool) -> bool {
        let Signals(signals) = self;
        let has_two = is_frozen && signals.len() > 1;
        has_two
            || signals.iter().enumerate().any(|(at, (now, signal))| {
                let before = &signals[..at];
                let same = before.iter().find(|(_, other)| other == signal);
                match (same, before.first()) {
                    (Some((first, _)), _) => *now - *first > SAME_SIGNAL,
                    (None, Some((first, _))) => *now - *first > OTHER_SIGNAL,
                    (None, None) => false,
                }
            })
    }
}

/// Runs a script to its end; an error says what the script was, and tells what
/// happened.
pub(crate) fn run(setup: Setup, steps: &[Step]) -> Result<Report, String> {
    let mut sim = Sim::new(setup.seed);
    run_in(&mut sim, setup, steps)
        .map_err(|problem| format!("{problem}\n{setup:#?}\n{steps:#?}\n{}", sim.trace()))
}

fn run_in(sim: &mut Sim, setup: Setup, steps: &[Step]) -> Result<Report, String> {
    serve(sim, setup);
    let mut script = Script {
        pipelines: setup.socket_buffer > PIPELINED,
        clients: Vec::new(),
        signals: Signals::default(),
        is_stopped: false,
    };
    for step in steps {
        for _ in 0..step.after {
            if !sim.step() {
                break;
            }
        }
        script.perform(sim, step.action);
    }
    script.clients.clear();
    if !script.is_stopped {
        sim.signal(Signal::Terminate);
    }
    let mut expected = Expected::of(&setup, steps);
    // In a freeze nobody sees how soon the second signal came.
    let is_unseen = expected.freezes > 0 && setup.faults.odd_signals;
    expected.may_abort |= is_unseen || script.signals.may_abort(expected.freezes > 0);
    let report = sim.run(MAX_STEPS).ok_or("L1: the stop has no end")?;
    let history = sim.history();
    verify::within_budget(&history, expected.budget(setup.faults))
        .and_then(|()| verify::all(&history, &report))
        .map_err(|violation| violation.to_string())?;
    expected.check(&report)?;
    Ok(report)
}

fn serve(sim: &mut Sim, setup: Setup) {
    sim.poll_cost(setup.poll_cost);
    sim.latency(setup.latency);
    sim.socket_buffer(setup.socket_buffer);
    sim.guarantee(setup.guarantee);
    sim.descriptor_limit(setup.descriptor_limit);
    add_faults(sim, setup.faults);
    let runtime = sim.runtime();
    let builder = sim
        .builder()
        .backlog(setup.backlog)
        .connection_limit(setup.connection_limit)
        .lame_duck(setup.lame_duck)
        .settle(setup.settle)
        .grace_period(GRACE_PERIOD)
        .abort_timeout(ABORT_TIMEOUT);
    let builder = add_hooks(builder, runtime.clone(), setup.hook);
    sim.serve_with(builder, move |session| handler(runtime.clone(), session));
}

/// Adds a hook that takes so long, and one that is done at once.
fn add_hooks(
    builder: Builder<SimRuntime>,
    runtime: SimRuntime,
    time: Duration,
) -> Builder<SimRuntime> {
    builder
        .after_drain("first", move |_| async move {
            match time {
                Duration::MAX => std::future::pending().await,
                time => runtime.sleep_until(runtime.now() + time).await,
            }
            io::Result::Ok(())
        })
        .after_drain("last", |_| async { io::Result::Ok(()) })
}

/// A script that is being followed.
struct Script {
    pipelines: bool,
    clients: Vec<UnboundedSender<Action>>,
    signals: Signals,
    is_stopped: bool,
}

impl Script {
    fn perform(&mut self, sim: &mut Sim, action: Action) {
        match action {
            Action::Connect => self.connect(sim),
            Action::Signal(signal) => {
                self.note_signal(sim, signal);
                sim.signal(signal);
            }
            Action::SignalInPoll(signal) => {
                sim.signal_in_poll(signal);
                self.note_signal(sim, signal);
            }
            Action::Stop => {
                self.is_stopped = true;
                sim.stop("the program asks");
            }
            Action::Abort => {
                self.is_stopped = true;
                sim.abort("the program is in a hurry");
            }
            Action::Freeze(millis) => sim.freeze(ms(millis.into())),
            on_client => {
                let client = on_client.client().map(usize::from);
                // A client that is not there misses it.
                if let Some(client) = client.and_then(|client| self.clients.get(client)) {
                    let _ = client.unbounded_send(on_client);
                }
            }
        }
    }

    fn note_signal(&mut self, sim: &Sim, signal: Signal) {
        self.is_stopped = true;
        self.signals.0.push((sim.now(), signal));
    }

    fn connect(&mut self, sim: &mut Sim) {
        if self.clients.len() < usize::from(CLIENTS) {
            let (sender, receiver) = unbounded();
            self.clients.push(sender);
            let pipelines = self.pipelines;
            sim.client(async move |connected| client(connected, receiver, pipelines).await);
        }
    }
}
