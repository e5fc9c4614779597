//! Hundreds of listeners: a visit and a stop cost what they do with one.
//!
//! `LAMEDUCK_LISTENERS` says how many; the figures are printed:
//! `cargo test --release --test adapters -- f68 --nocapture --test-threads 1`.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use lameduck::report::Outcome;
use lameduck::rt::{CloseGuarantee, SocketSharing};
use lameduck::{Address, ListenOptions, Listener, Runtime, Server, Signal};

use crate::support::{Client, Running, echo, number, start, tcp};

/// A runtime that counts what is asked of its listeners.
#[derive(Clone)]
struct Counting<R> {
    inner: R,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    accepts: AtomicUsize,
    looks: AtomicUsize,
}

struct CountingListener<L> {
    inner: L,
    counts: Arc<Counts>,
}

impl<R: Runtime> Runtime for Counting<R> {
    type Listener = CountingListener<R::Listener>;
    type Signals = R::Signals;
    type Sleep = R::Sleep;

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.inner.spawn(task);
    }

    fn now(&self) -> Instant {
        self.inner.now()
    }

    fn sleep_until(&self, at: Instant) -> R::Sleep {
        self.inner.sleep_until(at)
    }

    fn bind(&self, address: &Address, options: &ListenOptions) -> io::Result<Self::Listener> {
        Ok(CountingListener {
            inner: self.inner.bind(address, options)?,
            counts: self.counts.clone(),
        })
    }

    fn signals(&self, signals: &[Signal]) -> io::Result<R::Signals> {
        self.inner.signals(signals)
    }
}

impl<L: Listener> Listener for CountingListener<L> {
    type Connection = L::Connection;

    fn local_addr(&self) -> &Address {
        self.inner.local_addr()
    }

    fn poll_accept(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<(L::Connection, Address)>> {
        self.counts.accepts.fetch_add(1, Ordering::Relaxed);
        self.inner.poll_accept(cx)
    }

    fn stop_accepting(&mut self, sharing: SocketSharing) -> CloseGuarantee {
        self.inner.stop_accepting(sharing)
    }

    fn handshakes(listeners: &[&Self]) -> Vec<Option<usize>> {
        if let Some(first) = listeners.first() {
            first.counts.looks.fetch_add(1, Ordering::Relaxed);
        }
        let inner = listeners.iter().map(|listener| &listener.inner);
        L::handshakes(&inner.collect::<Vec<_>>())
    }

    fn close(self) -> io::Result<()> {
        self.inner.close()
    }
}

fn server(runtime: impl Runtime, listeners: usize) -> Running {
    let loopback: SocketAddr = ([127, 0, 0, 1], 0).into();
    let mut builder = Server::builder(runtime).signals([]);
    for _ in 0..listeners {
        builder = builder.listen(loopback);
    }
    start(builder.bind().unwrap(), echo)
}

/// The time of some visits, each at another listener.
fn visits(server: &Running) -> Duration {
    let begun = Instant::now();
    for visit in 0..100 {
        let address = &server.addresses[visit * 7 % server.addresses.len()];
        let mut client = Client::connect(tcp(address));
        client.exchange(b"hello");
    }
    begun.elapsed()
}

fn shortest(mut measure: impl FnMut() -> Duration) -> Duration {
    (0..5).map(|_| measure()).min().expect("five times")
}

fn listeners() -> usize {
    let all = number("LAMEDUCK_LISTENERS", 500);
    // Each needs a descriptor, and others run beside this.
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let most = limit.current.unwrap_or(u64::MAX).min(1 << 20) / 4;
    all.min(most.max(10) as usize)
}

pub(crate) fn f68_a_visit_costs_the_same_with_many_listeners(runtime: impl Runtime) {
    let (one, many) = (server(runtime.clone(), 1), server(runtime, listeners()));
    let (of_one, of_many) = (shortest(|| visits(&one)), shortest(|| visits(&many)));
    println!(
        "100 visits: 1 listener {of_one:?}, {} listeners {of_many:?}",
        many.addresses.len()
    );
    // How many are asked is counted above; time depends on who else computes.
    let bound = of_one * 10 + Duration::from_millis(500);
    assert!(of_many < bound, "{of_many:?} after {of_one:?}");
    assert_eq!(one.stop().outcome, Outcome::Clean);
    assert_eq!(many.stop().outcome, Outcome::Clean);
}

pub(crate) fn f68_a_stop_is_linear_in_the_number_of_listeners(runtime: impl Runtime) {
    let stop = |count| {
        let server = server(runtime.clone(), count);
        Client::connect(server.address()).exchange(b"it serves");
        let report = server.stop();
        assert_eq!(report.outcome, Outcome::Clean, "{report}");
        assert_eq!(report.listeners.len(), count);
        report.duration
    };
    let many = listeners();
    let (of_one, of_many) = (shortest(|| stop(1)), shortest(|| stop(many)));
    println!("a stop: 1 listener {of_one:?}, {many} listeners {of_many:?}");
    let bound = of_one * 20 + Duration::from_millis(1000);
    assert!(of_many < bound, "{of_many:?} after {of_one:?}");
}

pub(crate) fn f68_only_those_that_woke_are_asked(runtime: impl Runtime) {
    let counts = Arc::new(Counts::default());
    let counting = Counting {
        inner: runtime,
        counts: counts.clone(),
    };
    let server = server(counting, listeners());
    // All of them have been asked once when the first one is served.
    Client::connect(server.address()).exchange(b"it serves");
    let before = counts.accepts.load(Ordering::Relaxed);
    visits(&server);
    let asked = counts.accepts.load(Ordering::Relaxed) - before;
    // Twice for each: the connection, and that there are no more. A reactor may
    // wake once or twice for nothing.
    assert!(asked < 100 * 10, "{asked} times for 100 visits");
    let stopped = server.stop();
    assert_eq!(stopped.outcome, Outcome::Clean);
    let looks = counts.looks.load(Ordering::Relaxed);
    assert!(looks <= 10, "{looks} looks at the system's table");
}

pub(crate) fn f68_those_at_the_connection_limit_take_turns(runtime: impl Runtime) {
    let mut builder = Server::builder(runtime).signals([]).connection_limit(1);
    for _ in 0..3 {
        builder = builder.listen("127.0.0.1:0");
    }
    let server = start(builder.bind().unwrap(), echo);
    let addresses: Vec<_> = server.addresses.iter().map(tcp).collect();
    let mut inside = Client::connect(addresses[0]);
    inside.exchange(b"in");
    // Two wait at each of them.
    let mut waiting: Vec<_> = (0..6).map(|n| Client::connect(addresses[n % 3])).collect();
    for client in &mut waiting {
        client.send(b"hello");
    }
    drop(inside);
    for _ in 0..6 {
        // Whoever is served leaves, and lets the next one in.
        let served = served_one(&mut waiting);
        drop(waiting.swap_remove(served));
    }
    let report = server.stop();
    let accepted: Vec<_> = report.listeners.iter().map(|l| l.accepted).collect();
    assert_eq!(accepted, [3, 2, 2]);
}

fn served_one(waiting: &mut [Client]) -> usize {
    let begun = Instant::now();
    loop {
        for (index, client) in waiting.iter_mut().enumerate() {
            client.0.set_nonblocking(true).expect("nonblocking");
            let mut answer = [0; 5];
            let read = std::io::Read::read(&mut client.0, &mut answer);
            client.0.set_nonblocking(false).expect("blocking");
            if read.is_ok_and(|n| n == 5) {
                return index;
            }
        }
        assert!(begun.elapsed() < crate::support::LONG, "nobody is served");
        std::thread::yield_now();
    }
}
