//! Measures a server with many listeners: its stop and a visit, against those of a
//! server with one listener.

use std::error::Error;
use std::future::Future;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::pin::Pin;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use clap::Parser;
use futures::io::AsyncWriteExt;
use lameduck::report::Outcome;
use lameduck::rt::CloseGuarantee;
use lameduck::runtimes::{async_std::AsyncStd, smol::Smol, tokio::Tokio};
use lameduck::{Address, Connection, Report, Runtime, Server, Session, Shutdown};
use lameduck_benches::args::Args;
use lameduck_benches::page::{self, Page, nanoseconds};
use lameduck_benches::stats::{Turns, median};
use lameduck_benches::turns;
use socket2::{SockFilter, SockRef};

const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// The number of listeners, where there are many.
const MANY: usize = 500;

/// The number of visits that are measured together.
const VISITS: usize = 200;

/// The goals for many listeners, as multiples of one listener.
const STOP_GOAL: f64 = 3.0;
const VISIT_GOAL: f64 = 1.2;

/// A server in a thread.
struct Running {
    addresses: Vec<SocketAddr>,
    shutdown: Shutdown,
    serving: JoinHandle<Report>,
}

impl Running {
    fn stop(self) -> io::Result<Report> {
        self.shutdown.stop("measured");
        let report = self.serving.join();
        report.map_err(|_| io::Error::other("the server panicked"))
    }

    /// Exchanges one message with each listener in turn.
    fn visit(&self, visits: usize) -> io::Result<Duration> {
        let begun = Instant::now();
        for visit in 0..visits {
            let address = self.addresses[visit * 7 % self.addresses.len()];
            let mut client = TcpStream::connect(address)?;
            client.write_all(b"hello")?;
            client.read_exact(&mut [0; 5])?;
        }
        Ok(begun.elapsed())
    }
}

async fn echo(mut session: Session<impl Connection>) -> io::Result<()> {
    let mut buffer = [0; 4096];
    while let Some(n) = session.read_or_drain(&mut buffer).await? {
        AsyncWriteExt::write_all(&mut session, &buffer[..n]).await?;
    }
    Ok(())
}

type Serving = Pin<Box<dyn Future<Output = Report> + Send>>;

fn start<R: Runtime>(
    runtime: R,
    listeners: usize,
    filter: bool,
    block_on: impl FnOnce(Serving) -> Report + Send + 'static,
) -> Result<Running, Box<dyn Error>> {
    let mut builder = Server::builder(runtime).signals([]).syn_filter(filter);
    for _ in 0..listeners {
        builder = builder.listen(ANY);
    }
    let server = builder.bind()?;
    let tcp = |address: &Address| match address {
        Address::Tcp(address) => Some(*address),
        _ => None,
    };
    Ok(Running {
        addresses: server.local_addrs().filter_map(tcp).collect(),
        shutdown: server.shutdown().clone(),
        serving: thread::spawn(move || block_on(Box::pin(server.serve(echo)))),
    })
}

/// One of the runtimes.
struct Kind {
    title: &'static str,
    start: fn(usize, bool) -> Result<Running, Box<dyn Error>>,
}

const KINDS: [Kind; 3] = [
    Kind {
        title: "lameduck, smol",
        start: |listeners, filter| start(Smol, listeners, filter, smol::block_on),
    },
    Kind {
        title: "lameduck, async-std",
        start: |listeners, filter| {
            start(AsyncStd, listeners, filter, async_std::task::block_on)
        },
    },
    Kind {
        title: "lameduck, tokio",
        start: |listeners, filter| {
            let runtime = tokio::runtime::Runtime::new()?;
            let tokio = Tokio::new(runtime.handle().clone());
            start(tokio, listeners, filter, move |serving| {
                runtime.block_on(serving)
            })
        },
    },
];

/// Returns the time of one stop; `None` where handshakes were to be filtered,
/// and this system does not allow it.
fn stop(kind: &Kind, listeners: usize, filter: bool) -> Result<Option<f64>, Box<dyn Error>> {
    let running = (kind.start)(listeners, filter)?;
    running.visit(listeners.min(20))?;
    let report = running.stop()?;
    if report.outcome != Outcome::Clean || report.listeners.len() != listeners {
        return Err(report.to_string().into());
    }
    let is_filtered = report.listeners[0].guarantee == CloseGuarantee::SynFiltered;
    let time = report.duration.as_nanos() as f64;
    Ok((is_filtered == filter).then_some(time))
}

/// Returns what the kernel takes for the closes of so many listeners, and for
/// their filters before that; `None` where it does not allow a filter.
fn kernel_alone(listeners: usize, filter: bool) -> io::Result<Option<f64>> {
    const RETURN: u16 = 0x06;
    let bind = |_| TcpListener::bind(ANY);
    let listeners: Vec<_> = (0..listeners).map(bind).collect::<io::Result<_>>()?;
    let begun = Instant::now();
    if filter {
        // As long as the filter of a stop.
        let all = [(); 5].map(|()| SockFilter::new(RETURN, 0, 0, u32::MAX));
        for listener in &listeners {
            if SockRef::from(listener).attach_filter(&all).is_err() {
                return Ok(None);
            }
        }
    }
    drop(listeners);
    Ok(Some(begun.elapsed().as_nanos() as f64))
}

fn row(title: String, one: &[f64], many: &[f64], kernel: f64, goal: f64) -> Vec<String> {
    let turns = Turns {
        floor: one.to_vec(),
        subject: many.to_vec(),
    };
    let (ratio, (low, high)) = turns.ratio();
    vec![
        title,
        nanoseconds(median(one)),
        nanoseconds(median(many)),
        format!("{ratio:.2} ({low:.2} to {high:.2})"),
        format!("{:.2}", median(many) / kernel),
        page::goal(ratio <= goal, &format!("≤ {goal}")),
    ]
}

fn stops(rounds: usize, rows: &mut Vec<Vec<String>>) -> Result<(), Box<dyn Error>> {
    rows.push(page::heading("a stop", 6));
    for filter in [false, true] {
        let title = |title: &str| match filter {
            true => format!("{title}, SynFiltered"),
            false => title.to_owned(),
        };
        let (mut one, mut many) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            one.extend(kernel_alone(1, filter)?);
            many.extend(kernel_alone(MANY, filter)?);
        }
        if many.len() < rounds {
            println!("skipped: this user may not filter handshakes");
            return Ok(());
        }
        let kernel = median(&many);
        let mut alone = row(title("the kernel alone"), &one, &many, kernel, STOP_GOAL);
        alone[5].clear();
        rows.push(alone);
        for kind in &KINDS {
            let (mut one, mut many) = (Vec::new(), Vec::new());
            for _ in 0..rounds {
                one.extend(stop(kind, 1, filter)?);
                many.extend(stop(kind, MANY, filter)?);
            }
            if many.len() == rounds {
                rows.push(row(title(kind.title), &one, &many, kernel, STOP_GOAL));
            }
        }
    }
    Ok(())
}

fn visits(rounds: usize, rows: &mut Vec<Vec<String>>) -> Result<(), Box<dyn Error>> {
    rows.push(page::heading("a visit", 6));
    for kind in &KINDS {
        let servers = [(kind.start)(1, true)?, (kind.start)(MANY, true)?];
        let mut times = [Vec::new(), Vec::new()];
        for round in 0..=rounds {
            for n in turns::order(round, 2) {
                let time = servers[n].visit(VISITS)?.as_nanos() as f64;
                // The first round warms up.
                if round > 0 {
                    times[n].push(time / VISITS as f64);
                }
            }
        }
        let [one, many] = &times;
        let mut visit = row(kind.title.into(), one, many, 1.0, VISIT_GOAL);
        visit[4].clear();
        rows.push(visit);
        for server in servers {
            drop(server.stop()?);
        }
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    if !args.wants("listeners") {
        return Ok(());
    }
    turns::descriptors(2_000)?;
    let rounds = if args.quick { 9 } else { 41 };
    let many = format!("{MANY} listeners");
    let header = [
        "",
        "1 listener",
        &many,
        "of one",
        "of the kernel alone",
        "goal",
    ];
    let mut page = Page::new("listeners", "Many listeners", &header);
    stops(rounds, &mut page.rows)?;
    visits(rounds, &mut page.rows)?;
    Ok(page.publish(&args)?)
}
