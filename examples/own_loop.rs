//! An echo service with an accept loop of its own: it takes the gate and the
//! three pure values, and leaves the server out.
//!
//! `cargo run --example own_loop`, then Ctrl-C.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::process::ExitCode;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use clap::Parser;
use futures::future::{Either, select};
use futures::io::AsyncWriteExt;
use lameduck::machine::closing::{self, Facts, LingeringClose};
use lameduck::machine::lifecycle::{self, Failed, Lifecycle, Outcome};
use lameduck::machine::sweep::{self, AcceptError, Sweep};
use lameduck::rt::SocketSharing;
use lameduck::runtimes::smol::{Connection, Listener, Smol};
use lameduck::{
    Address, Guard, ListenOptions, Phase, PhaseReached, Runtime, Shutdown, Signal, close,
};
use lameduck::{Listener as _, SignalSource as _};

/// Answers each connection with what it sends, and stops on SIGINT or SIGTERM.
#[derive(Parser)]
struct Args {
    /// Listen on IP:PORT, [IPV6]:PORT or unix:PATH
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:48879")]
    listen: Address,
    /// The longest time that a stop may take
    #[arg(long, value_parser = humantime::parse_duration, default_value = "25s")]
    grace: Duration,
}

/// Serves one connection; the guard is held until it is closed.
async fn serve(mut connection: Connection, mut guard: Guard) -> io::Result<()> {
    let (mut buffer, mut written) = ([0; 4096], 0);
    while let Some(n) = guard.read_or_drain(&mut connection, &mut buffer).await? {
        connection.write_all(&buffer[..n]).await?;
        written += n as u64;
    }
    let mut facts = Facts::default();
    facts.written = written;
    facts.is_draining = guard.is_draining();
    let closing = LingeringClose::new(closing::Config::default(), facts);
    close(&mut connection, &Smol, closing).await
}

/// The same, until the abort.
async fn serve_until_abort(connection: Connection, guard: Guard) {
    let aborting = guard.shutdown().reached(Phase::Aborting);
    let served = Box::pin(serve(connection, guard));
    if let Either::Left((Err(error), _)) = select(served, aborting).await {
        eprintln!("a connection failed: {error}");
    }
}

struct OwnLoop {
    origin: Instant,
    lifecycle: Lifecycle,
    sweep: Sweep,
    listener: Option<Listener>,
    shutdown: Shutdown,
    /// Held while connections can come.
    accept_guard: Option<Guard>,
    emptied: PhaseReached,
    signals: <Smol as Runtime>::Signals,
    timer: Option<(Duration, smol::Timer)>,
    outcome: Option<Outcome>,
}

impl OwnLoop {
    fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    /// Gives an input to the lifecycle, and does what it says.
    fn stop(&mut self, input: lifecycle::Input) {
        // An input that does not fit, such as a third signal, changes nothing.
        let _ = self.lifecycle.handle(self.now(), input);
        while let Some(output) = self.lifecycle.poll_output() {
            match output {
                lifecycle::Output::StopAccepting(_) => {
                    if let Some(listener) = &mut self.listener {
                        let guarantee = listener.stop_accepting(SocketSharing::Exclusive);
                        let _ = self.accept(sweep::Input::StopAccepting(guarantee));
                    }
                }
                lifecycle::Output::CloseListener(_) => _ = self.accept(sweep::Input::Close),
                lifecycle::Output::Enter(Phase::Aborting) => _ = self.shutdown.abort("abort"),
                lifecycle::Output::Enter(_) => _ = self.shutdown.stop("a signal"),
                lifecycle::Output::Complete(outcome) => self.outcome = Some(outcome),
                _ => {}
            }
        }
    }

    /// Gives an input to the sweep, and does what it says; returns whether that
    /// was anything.
    fn accept(&mut self, input: sweep::Input) -> bool {
        let _ = self.sweep.handle(self.now(), input);
        let has_output = self.sweep.has_output();
        while let Some(output) = self.sweep.poll_output() {
            match output {
                sweep::Output::AskHandshakes => {
                    let listener = self.listener.iter().collect::<Vec<_>>();
                    let counts = Listener::handshakes(&listener);
                    let count = counts.into_iter().next().flatten();
                    let _ = self
                        .sweep
                        .handle(self.now(), sweep::Input::Handshakes(count));
                }
                sweep::Output::Close => {
                    let closed = self.listener.take().map_or(Ok(()), |l| l.close());
                    self.accept_guard = None;
                    let result = closed.map_err(|_| Failed);
                    self.stop(lifecycle::Input::ListenerClosed(0, result));
                }
                _ => {}
            }
        }
        has_output
    }

    /// Polls everything that can happen, until nothing does.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Outcome> {
        loop {
            if let Some(outcome) = self.outcome {
                return Poll::Ready(outcome);
            }
            if let Poll::Ready(Some(signal)) = self.signals.poll_signal(cx) {
                self.stop(lifecycle::Input::Signal(signal));
            } else if self.poll_accept(cx).is_ready() {
                // There may be more.
            } else if self.lifecycle.awaits_emptied()
                && Pin::new(&mut self.emptied).poll(cx).is_ready()
            {
                self.stop(lifecycle::Input::Emptied);
            } else if self.poll_timer(cx).is_ready() {
                self.accept(sweep::Input::Tick);
                self.stop(lifecycle::Input::Tick);
            } else {
                return Poll::Pending;
            }
        }
    }

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(listener) = self.listener.as_mut() else {
            return Poll::Pending;
        };
        if !self.sweep.may_accept(0, None) {
            return Poll::Pending;
        }
        match listener.poll_accept(cx) {
            Poll::Ready(Ok((connection, _))) => {
                // The guard is taken here, before anything is spawned.
                if let Some(Ok(guard)) = self.accept_guard.as_ref().map(Guard::try_clone) {
                    smol::spawn(serve_until_abort(connection, guard)).detach();
                }
                self.accept(sweep::Input::Accepted);
                Poll::Ready(())
            }
            Poll::Ready(Err(error)) => {
                self.accept(sweep::Input::AcceptFailed(AcceptError::of(&error)));
                Poll::Ready(())
            }
            Poll::Pending => {
                // What it asked for may call for one more look at the queue.
                if self.accept(sweep::Input::QueueEmpty) {
                    Poll::Ready(())
                } else {
                    Poll::Pending
                }
            }
        }
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let deadlines = [self.lifecycle.deadline(), self.sweep.deadline()];
        let Some(at) = deadlines.into_iter().flatten().min() else {
            return Poll::Pending;
        };
        let timer = match self.timer.take() {
            Some((set, timer)) if set == at => timer,
            _ => smol::Timer::at(self.origin + at.min(Duration::from_secs(1_000_000_000))),
        };
        let (_, timer) = self.timer.insert((at, timer));
        Pin::new(timer).poll(cx).map(|_| self.timer = None)
    }
}

fn main() -> Result<ExitCode, Box<dyn std::error::Error>> {
    let args = Args::parse();
    let mut config = lifecycle::Config::default();
    config.grace_period = args.grace;
    config.abort_timeout = config.abort_timeout.min(args.grace / 4);
    config.hook_reserve = Duration::ZERO;
    config.check()?;
    let listener = Smol.bind(&args.listen, &ListenOptions::new())?;
    eprintln!("listening on {}", listener.local_addr());
    let shutdown = Shutdown::new();
    let mut own_loop = OwnLoop {
        origin: Instant::now(),
        lifecycle: Lifecycle::new(config, 1, 0),
        sweep: Sweep::new(sweep::Config::default()),
        listener: Some(listener),
        accept_guard: Some(shutdown.try_guard()?),
        emptied: shutdown.stopped(),
        shutdown,
        signals: Smol.signals(&[Signal::Interrupt, Signal::Terminate])?,
        timer: None,
        outcome: None,
    };
    let outcome = smol::block_on(poll_fn(|cx| own_loop.poll(cx)));
    eprintln!("stopped: {outcome:?}");
    Ok(match outcome {
        Outcome::Clean => ExitCode::SUCCESS,
        Outcome::Failed => ExitCode::FAILURE,
        _ => ExitCode::from(3),
    })
}
