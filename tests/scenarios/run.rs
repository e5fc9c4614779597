//! A script on a simulated machine, against what is known beforehand.

use std::io;
use std::pin::pin;
use std::time::Duration;

use futures::channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use futures::future::{Either, select};
use futures::io::{AsyncReadExt, AsyncWriteExt};
use futures::stream::StreamExt;
use lameduck::report::Outcome;
use lameduck::rt::CloseGuarantee;
use lameduck::sim::{self, Client, Connection, Event, Sim, SimRuntime, verify};
use lameduck::{Report, Runtime, Session, Signal};

use crate::alphabet::{Act, Ask, CLIENTS, Faults, Setup, Step};

/// More than any stop needs that has an end.
const MAX_STEPS: usize = 200_000;
const GRACE: Duration = Duration::from_secs(2);
const MARGIN: Duration = Duration::from_millis(500);
const MUCH: usize = 5000;

/// Room for all requests that a script can have.
const PIPELINED: usize = 1000;

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
                let time = Duration::from_millis(request[1].into());
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

/// The next act; until it comes the client reads.
async fn next(
    client: &mut Client,
    acts: &mut UnboundedReceiver<Act>,
) -> io::Result<Option<Act>> {
    let reading = async {
        client.responses().await?;
        std::future::pending().await
    };
    match select(acts.next(), pin!(reading)).await {
        Either::Left((act, _)) => Ok(act),
        Either::Right((failed, _)) => failed,
    }
}

/// With buffers that are too small for it, nothing is asked before the last
/// answer is there: both sides would wait for the other to read.
async fn client(
    client: &mut Client,
    mut acts: UnboundedReceiver<Act>,
    pipelines: bool,
) -> io::Result<()> {
    let (mut is_half, mut is_over) = (false, false);
    while let Some(act) = next(client, &mut acts).await? {
        if !pipelines {
            client.responses().await?;
        }
        match act {
            Act::Ask(_, ask) if is_half => {
                is_half = false;
                // The first half was the one of an echo.
                let _ = ask;
                client
                    .request(&request(Ask::Echo)[1..], &response(Ask::Echo))
                    .await?;
            }
            // Nothing is owed to who comes after one that ends the handler.
            Act::Ask(_, ask) if is_over => client.write_all(&request(ask)).await?,
            Act::Ask(_, ask) => {
                is_over = matches!(ask, Ask::Panic | Ask::Fail | Ask::Hang);
                client.request(&request(ask), &response(ask)).await?;
            }
            Act::Half(_) if !is_half && !is_over => {
                is_half = true;
                client.write_all(&request(Ask::Echo)[..1]).await?;
            }
            Act::Read(_) => client.responses().await?,
            Act::HalfClose(_) => {
                client.half_close().await?;
                return Ok(());
            }
            Act::Leave(_) => client.close_now(),
            Act::Reset(_) => client.reset(),
            Act::Stall(_) => client.stall().await,
            _ => {}
        }
    }
    // Half a request, and then nothing, is something that a server waits for.
    if is_half {
        client.half_close().await?;
    }
    Ok(())
}

fn faults(sim: &mut Sim, faults: Faults) {
    const LATE: Duration = Duration::from_millis(30);
    sim.rule(move |event, choose| match event {
        Event::Accept if faults.accepts_fail && choose(8) == 7 => {
            // EMFILE, ENOBUFS, ECONNABORTED, EPROTO
            sim::Verdict::Fail([24, 105, 103, 71][choose(4) as usize])
        }
        Event::ToServer(_) | Event::ToClient(_) if faults.slow_segments && choose(8) == 7 => {
            sim::Verdict::Delay(Duration::from_millis(1 + u64::from(choose(40))))
        }
        Event::Timer if faults.late_ticks && choose(4) == 3 => sim::Verdict::Delay(LATE),
        Event::Wake if faults.odd_wakes && choose(8) == 7 => match choose(2) {
            0 => sim::Verdict::Twice,
            _ => sim::Verdict::Delay(Duration::from_micros(500)),
        },
        Event::Signal(_) if faults.odd_signals => match choose(3) {
            0 => sim::Verdict::Pass,
            1 => sim::Verdict::Twice,
            _ => sim::Verdict::Delay(Duration::from_millis(2)),
        },
        _ => sim::Verdict::Pass,
    });
}

/// What a script has in it that changes what is to be expected.
#[derive(Debug, Default)]
struct Expected {
    panics: u64,
    failures: u64,
    /// Something can hold the stop up until force comes.
    can_hang: bool,
    escalates: bool,
    /// What was to be done first.
    first_stop: Option<Act>,
}

impl Expected {
    fn of(setup: &Setup, steps: &[Step]) -> Expected {
        let mut expected = Expected {
            escalates: setup.faults.odd_signals,
            ..Expected::default()
        };
        let slow = setup.latency > Duration::from_millis(1) || setup.faults.slow_segments;
        let drips =
            setup.buffers < PIPELINED && (slow || setup.turn > Duration::from_micros(10));
        let mut stops = 0;
        for step in steps {
            match step.act {
                Act::Ask(_, Ask::Panic) => expected.panics += 1,
                Act::Ask(_, Ask::Fail) => expected.failures += 1,
                // Byte by byte it can take longer than the grace.
                Act::Ask(_, Ask::Much) => expected.can_hang |= drips,
                // Who does not read, or is never answered, is waited for.
                Act::Ask(_, Ask::Hang) | Act::Stall(_) | Act::Half(_) => {
                    expected.can_hang = true;
                }
                Act::Signal | Act::Stop => {
                    stops += 1;
                    expected.first_stop.get_or_insert(step.act);
                }
                Act::Escalate => {
                    expected.escalates = true;
                    expected.first_stop.get_or_insert(step.act);
                }
                _ => {}
            }
        }
        expected.escalates |= stops > 1;
        expected
    }

    fn check(&self, report: &Report) -> Result<(), String> {
        let is_forced = matches!(report.outcome, Outcome::Aborted | Outcome::Abandoned);
        if is_forced && !self.can_hang && !self.escalates {
            return Err(format!("S10: forced without a reason: {report}"));
        }
        let unswept = report
            .listeners
            .iter()
            .any(|l| l.guarantee == CloseGuarantee::Unswept);
        if unswept && !self.escalates && !is_forced {
            return Err(format!("S8: not swept: {report}"));
        }
        // Every handler here yields, and so can be cut off.
        if report.outcome == Outcome::Abandoned {
            return Err(format!("L1: something is abandoned: {report}"));
        }
        if report.outcome == Outcome::Failed {
            return Err(format!("S5: nothing can fail here: {report}"));
        }
        if report.closed.panicked > self.panics {
            return Err(format!(
                "{} panics, of {}",
                report.closed.panicked, self.panics
            ));
        }
        Ok(())
    }
}

/// Runs a script to its end; what it was is told with what went wrong.
pub(crate) fn run(setup: Setup, steps: &[Step]) -> Result<Report, String> {
    let mut sim = Sim::new(setup.seed);
    run_in(&mut sim, setup, steps)
        .map_err(|problem| format!("{problem}\n{setup:#?}\n{steps:#?}\n{}", sim.trace()))
}

fn run_in(sim: &mut Sim, setup: Setup, steps: &[Step]) -> Result<Report, String> {
    sim.poll_cost(setup.turn);
    sim.latency(setup.latency);
    sim.socket_buffer(setup.buffers);
    sim.guarantee(setup.guarantee);
    faults(sim, setup.faults);
    let runtime = sim.runtime();
    let (hook, at) = (setup.hook, runtime.clone());
    let builder = sim
        .builder()
        .backlog(setup.backlog)
        .connection_limit(setup.limit)
        .lame_duck(setup.notice)
        .settle(setup.settle)
        .grace_period(GRACE)
        .abort_timeout(MARGIN)
        .after_drain("hook", move |_| async move {
            at.sleep_until(at.now() + hook).await;
            io::Result::Ok(())
        });
    sim.serve_with(builder, move |session| handler(runtime.clone(), session));
    let mut clients: Vec<UnboundedSender<Act>> = Vec::new();
    for step in steps {
        for _ in 0..step.after {
            if !sim.step() {
                break;
            }
        }
        take(sim, &mut clients, step.act, setup.buffers > PIPELINED);
    }
    drop(clients);
    if !steps
        .iter()
        .any(|step| matches!(step.act, Act::Signal | Act::Stop | Act::Escalate))
    {
        sim.signal(Signal::Terminate);
    }
    let report = sim.run(MAX_STEPS).ok_or("L1: the stop has no end")?;
    let history = sim.history();
    let late = match setup.faults.late_ticks || setup.faults.odd_wakes {
        true => Duration::from_millis(500),
        false => Duration::from_millis(100),
    };
    verify::it_ends_in_time(&history, GRACE + MARGIN + late)
        .and_then(|()| verify::all(&history, &report))
        .map_err(|violation| violation.to_string())?;
    Expected::of(&setup, steps).check(&report)?;
    Ok(report)
}

fn take(sim: &mut Sim, clients: &mut Vec<UnboundedSender<Act>>, act: Act, pipelines: bool) {
    match act {
        Act::Connect => {
            if clients.len() < usize::from(CLIENTS) {
                let (sender, receiver) = unbounded();
                clients.push(sender);
                sim.client(async move |connected| client(connected, receiver, pipelines).await);
            }
        }
        Act::Signal => sim.signal(Signal::Terminate),
        Act::Stop => sim.stop("the program asks"),
        Act::Escalate => sim.abort("the program is in a hurry"),
        Act::Ask(id, _)
        | Act::Half(id)
        | Act::Read(id)
        | Act::HalfClose(id)
        | Act::Leave(id)
        | Act::Reset(id)
        | Act::Stall(id) => {
            // Who is not there, or not any more, misses it.
            if let Some(client) = clients.get(usize::from(id)) {
                let _ = client.unbounded_send(act);
            }
        }
    }
}
