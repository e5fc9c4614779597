//! One script on real sockets and on the simulated machine: the same phases,
//! the same outcomes.

use std::io;
use std::net::Shutdown;
use std::time::Duration;

use futures::channel::oneshot;
use futures::io::{AsyncReadExt, AsyncWriteExt};
use lameduck::machine::lifecycle::Output;
use lameduck::report::{CloseCounts, Outcome};
use lameduck::sim::Sim;
use lameduck::{Builder, Cause, Connection, Phase, Report, Runtime, Session};

use crate::support::{Running, builder, start};

/// What has to be the same.
#[derive(Debug, PartialEq, Eq)]
struct Facts {
    phases: Vec<Phase>,
    outcome: Outcome,
    cause: Cause,
    accepted: u64,
    closed: CloseCounts,
    status: u8,
}

impl Facts {
    fn of(report: Report) -> Facts {
        let log = report.recording.as_ref().expect("it was recorded");
        assert_eq!(log.left_out(), 0);
        let said = log.replay().flat_map(|step| step.outputs);
        let phases = said.filter_map(|output| match output {
            Output::Enter(phase) => Some(phase),
            _ => None,
        });
        Facts {
            phases: phases.collect(),
            outcome: report.outcome,
            cause: report.cause.clone(),
            accepted: report.accepted,
            closed: report.closed,
            status: report.exit_status(),
        }
    }
}

/// Frames of two bytes, which come back; some have a meaning.
async fn frames(mut session: Session<impl Connection>) -> io::Result<()> {
    let mut frame = [0; 2];
    while session.read_or_drain(&mut frame[..1]).await?.is_some() {
        session.read_exact(&mut frame[1..]).await?;
        match &frame {
            // As a panic, but without its message.
            b"!p" => std::panic::resume_unwind(Box::new("it was asked to")),
            b"!f" => return Err(io::Error::other("it was asked to")),
            b"!h" => std::future::pending().await,
            _ => session.write_all(&frame).await?,
        }
    }
    Ok(())
}

fn recorded<R: Runtime>(builder: Builder<R>) -> Builder<R> {
    builder.record(100).grace_period(Duration::from_millis(300))
}

fn real(runtime: impl Runtime) -> Running {
    start(recorded(builder(runtime)).bind().unwrap(), frames)
}

fn simulated() -> Sim {
    let mut sim = Sim::new(1);
    let builder = recorded(sim.builder().signals([]));
    sim.serve_with(builder, frames);
    sim
}

const STEPS: usize = 100_000;

/// One is idle, one in the middle of a frame, one has made the handler panic,
/// one fails, one has ended its side; then comes the stop.
pub(crate) fn a_drain_is_the_same_as_in_the_simulation(runtime: impl Runtime) {
    assert_eq!(drain_for_real(runtime), drain_in_the_simulation());
}

fn drain_for_real(runtime: impl Runtime) -> Facts {
    let server = real(runtime);
    let (mut idle, mut busy) = (server.connect(), server.connect());
    idle.exchange(b"ab");
    busy.exchange(b"ab");
    busy.send(b"c");
    for last in [b"!p", b"!f"] {
        let mut client = server.connect();
        client.send(last);
        assert_eq!(client.rest(), b"");
    }
    let mut ended = server.connect();
    ended.exchange(b"ab");
    ended.0.shutdown(Shutdown::Write).unwrap();
    assert_eq!(ended.rest(), b"");
    drop(ended);

    server.shutdown.stop("parity");
    assert_eq!(idle.rest(), b"");
    drop(idle);
    busy.send(b"d");
    assert_eq!(busy.rest(), b"cd");
    drop(busy);
    Facts::of(server.report())
}

fn drain_in_the_simulation() -> Facts {
    let mut sim = simulated();
    let (go_on, gone_on) = oneshot::channel();
    sim.client(async |client| client.exchange(b"ab", b"ab").await);
    sim.client(async |client| {
        client.exchange(b"ab", b"ab").await?;
        client.write_all(b"c").await?;
        let _ = gone_on.await;
        client.exchange(b"d", b"cd").await
    });
    for last in [b"!p", b"!f"] {
        sim.client(async move |client| client.request(last, b"").await);
    }
    sim.client(async |client| {
        client.exchange(b"ab", b"ab").await?;
        client.half_close().await
    });
    sim.run_until_idle(STEPS);
    sim.stop("parity");
    sim.run_until_idle(STEPS);
    let _ = go_on.send(());
    Facts::of(sim.run(STEPS).expect("it ends"))
}

/// One hangs in its handler, and is cut off when the grace is over.
pub(crate) fn an_abort_is_the_same_as_in_the_simulation(runtime: impl Runtime) {
    let server = real(runtime);
    let (mut hanging, mut idle) = (server.connect(), server.connect());
    hanging.exchange(b"ab");
    hanging.send(b"!h");
    idle.exchange(b"ab");
    server.shutdown.stop("parity");
    assert_eq!(idle.rest(), b"");
    drop(idle);
    let for_real = Facts::of(server.report());

    let mut sim = simulated();
    sim.client(async |client| {
        client.exchange(b"ab", b"ab").await?;
        client.write_all(b"!h").await
    });
    sim.client(async |client| client.exchange(b"ab", b"ab").await);
    sim.run_until_idle(STEPS);
    sim.stop("parity");
    let simulated = Facts::of(sim.run(STEPS).expect("it ends"));
    assert_eq!(for_real, simulated);
    assert_eq!(for_real.phases.last(), Some(&Phase::Aborting));
}
