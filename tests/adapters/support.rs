//! What the tests share: a server in a thread, and clients that block.

use std::future::Future;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use futures::io::AsyncWriteExt;
use lameduck::report::Outcome;
use lameduck::rt::ConnectionOf;
use lameduck::runtimes::tokio::Tokio;
use lameduck::{Address, Builder, Connection, Report, Runtime, Server, Session, Shutdown};

/// Longer than anything here takes; what is over it hangs.
pub(crate) const LONG: Duration = Duration::from_secs(20);

/// Starts a runtime of tokio with two workers. It stays: a test may leave a
/// handler behind that never ends.
pub(crate) fn tokio_multi_thread() -> Tokio {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(2).enable_io().build();
    let runtime = runtime.expect("a runtime");
    let tokio = Tokio::new(runtime.handle().clone());
    std::mem::forget(runtime);
    tokio
}

/// Starts a runtime of tokio that has one thread.
pub(crate) fn tokio_current_thread() -> Tokio {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_io().build().expect("a runtime");
    let tokio = Tokio::new(runtime.handle().clone());
    thread::spawn(move || runtime.block_on(std::future::pending::<()>()));
    tokio
}

/// Held for writing by a test that takes threads away from an executor that
/// other tests share.
static SHARED_EXECUTORS: RwLock<()> = RwLock::new(());

pub(crate) fn beside_others() -> RwLockReadGuard<'static, ()> {
    SHARED_EXECUTORS
        .read()
        .unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn while_alone() -> RwLockWriteGuard<'static, ()> {
    SHARED_EXECUTORS
        .write()
        .unwrap_or_else(PoisonError::into_inner)
}

/// A server that runs in a thread of its own.
pub(crate) struct Running {
    pub(crate) addresses: Vec<Address>,
    pub(crate) shutdown: Shutdown,
    ended: mpsc::Receiver<Report>,
    thread: JoinHandle<()>,
}

/// A builder for a loopback port, which only code stops.
pub(crate) fn builder<R: Runtime>(runtime: R) -> Builder<R> {
    let loopback: SocketAddr = ([127, 0, 0, 1], 0).into();
    Server::builder(runtime).listen(loopback).signals([])
}

/// The message to which [`echo`] answers, and then nothing ends it but the abort.
const STAY: &[u8] = b"stay";

pub(crate) async fn echo(mut session: Session<impl Connection>) -> io::Result<()> {
    let mut buffer = [0; 4096];
    while let Some(n) = session.read_or_drain(&mut buffer).await? {
        session.write_all(&buffer[..n]).await?;
        if &buffer[..n] == STAY {
            std::future::pending::<()>().await;
        }
    }
    Ok(())
}

/// The address of a listener on TCP.
pub(crate) fn tcp(address: &Address) -> SocketAddr {
    match address {
        Address::Tcp(address) => *address,
        other => panic!("{other} is not TCP"),
    }
}

/// Where a server that is not started yet listens first.
pub(crate) fn first_address<R: Runtime>(server: &Server<R>) -> SocketAddr {
    tcp(server.local_addrs().next().expect("a listener"))
}

/// Serves in the background.
pub(crate) fn start<R, H, F>(server: Server<R>, handler: H) -> Running
where
    R: Runtime,
    H: Fn(Session<ConnectionOf<R>>) -> F + Send + Sync + 'static,
    F: Future<Output = io::Result<()>> + Send + 'static,
{
    let addresses = server.local_addrs().cloned().collect();
    let shutdown = server.shutdown();
    let (report, ended) = mpsc::channel();
    let thread = thread::spawn(move || {
        let _ = report.send(futures::executor::block_on(server.serve(handler)));
    });
    Running {
        addresses,
        shutdown,
        ended,
        thread,
    }
}

impl Running {
    pub(crate) fn address(&self) -> SocketAddr {
        tcp(&self.addresses[0])
    }

    pub(crate) fn connect(&self) -> Client {
        Client::connect(self.address())
    }

    /// Stops, and returns the report.
    pub(crate) fn stop(self) -> Report {
        self.shutdown.stop("the test is over");
        self.report()
    }

    /// The report of a server that stops by itself.
    pub(crate) fn report(self) -> Report {
        let report = self.ended.recv_timeout(LONG).expect("the stop hangs");
        self.thread.join().expect("the server panicked");
        assert!(report.is_consistent(), "S4: {report}");
        let clean = report.outcome == Outcome::Clean;
        let cut_off = report.aborted.len() + report.abandoned.len() + report.errors.len();
        assert!(!clean || cut_off == 0, "S5: {report}");
        report
    }
}

/// A client that waits for what it asks, but not for ever.
pub(crate) struct Client(pub(crate) TcpStream);

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Client {
        let stream = TcpStream::connect(address).expect("connect");
        stream.set_read_timeout(Some(LONG)).expect("timeout");
        stream.set_write_timeout(Some(LONG)).expect("timeout");
        Client(stream)
    }

    pub(crate) fn address(&self) -> Address {
        self.0.local_addr().expect("address").into()
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).expect("send");
    }

    /// Reads as many bytes as `expected` has, and compares.
    #[track_caller]
    pub(crate) fn expect(&mut self, expected: &[u8]) {
        let mut got = vec![0; expected.len()];
        self.0.read_exact(&mut got).expect("an answer");
        assert_eq!(got, expected);
    }

    /// Says something, and waits for its echo: it is served from then on.
    #[track_caller]
    pub(crate) fn exchange(&mut self, bytes: &[u8]) {
        self.send(bytes);
        self.expect(bytes);
    }

    /// Everything until the orderly end; a reset fails the test.
    #[track_caller]
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        self.0.read_to_end(&mut rest).expect("an orderly end");
        rest
    }

    /// Keeps the server's echo busy from here on, however slow the machine is.
    pub(crate) fn stay(&mut self) {
        self.exchange(STAY);
    }
}

/// Waits for what another thread brings about.
#[track_caller]
pub(crate) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < LONG, "never: {what}");
        thread::yield_now();
    }
}

/// How much of something, which the environment can say.
pub(crate) fn number(variable: &str, default: usize) -> usize {
    let value = std::env::var(variable).ok();
    value.map_or(default, |value| value.parse().expect("a number"))
}
