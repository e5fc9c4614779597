//! A whole server, stopped in the moment in which memory is older than the
//! system.

use super::{Check, Checked, LONG, block_on, connect, during, ensure, rest, send, write_all};
use crate::address::Address;
use crate::machine::lifecycle::Outcome;
use crate::report::Report;
use crate::rt::{ConnectionOf, Runtime};
use crate::server::Server;
use crate::session::Session;
use crate::sync::plain::{Arc, Mutex, lock, mpsc};

pub(super) fn checks<R: Runtime>() -> Vec<Check<R>> {
    vec![
        (
            "what arrived while a handler computes is answered when that handler stops the server",
            a_handler_that_computes_stops_the_server,
        ),
        (
            "a long queue is served when the server stops",
            a_long_queue_is_served,
        ),
    ]
}

const CLIENTS: usize = 50;
const MESSAGE: &[u8] = b"before the stop";

/// A handler that computes, as its client asked for: it says that it has begun,
/// and goes on when it is told.
type Computing = (mpsc::Sender<()>, mpsc::Receiver<()>);

async fn serve<C: crate::rt::Connection>(
    mut session: Session<C>,
    computing: Arc<Mutex<Option<Computing>>>,
) -> Checked {
    let mut buffer = [0; 64];
    while let Some(n) = during("read", session.read_or_drain(&mut buffer).await)? {
        if &buffer[..n] == b"compute" {
            let (begun, go_on) = lock(&computing).take().ok_or("asked twice")?;
            let _ = begun.send(());
            let _ = go_on.recv_timeout(LONG);
            session.shutdown().stop("a handler asks");
            return Ok(());
        }
        write_all(&mut session, &buffer[..n]).await?;
    }
    Ok(())
}

fn bind<R: Runtime>(runtime: &R) -> Result<(Server<R>, std::net::SocketAddr), String> {
    let builder = Server::builder(runtime.clone()).signals([]);
    let builder = builder
        .listen(Address::from(([127, 0, 0, 1], 0)))
        .backlog(4096);
    let server = during("bind", builder.bind())?;
    let address = match server.local_addrs().next() {
        Some(Address::Tcp(address)) => *address,
        other => return Err(format!("the server listens on {other:?}")),
    };
    Ok((server, address))
}

fn a_handler_that_computes_stops_the_server<R: Runtime>(runtime: &R) -> Checked {
    for _ in 0..5 {
        let (server, address) = bind(runtime)?;
        let (begun, has_begun) = mpsc::channel();
        let (go_on, told) = mpsc::channel();
        let computing = Arc::new(Mutex::new(Some((begun, told))));
        let handler = move |session: Session<ConnectionOf<R>>| {
            let served = serve(session, computing.clone());
            async move { served.await.map_err(std::io::Error::other) }
        };
        let driver = std::thread::spawn(move || block_on(server.serve(handler), LONG));
        let computes = connect(address)?;
        let served: Result<Vec<_>, _> = (0..CLIENTS).map(|_| connect(address)).collect();
        let mut clients = served?;
        for mut client in &clients {
            send(client, b"here")?;
            let mut answer = [0; 4];
            during(
                "answer",
                std::io::Read::read_exact(&mut client, &mut answer),
            )?;
        }
        send(&computes, b"compute")?;
        has_begun
            .recv_timeout(LONG)
            .map_err(|_| "no handler computes")?;
        for _ in 0..CLIENTS {
            clients.push(connect(address)?);
        }
        for client in &clients {
            send(client, MESSAGE)?;
        }
        let _ = go_on.send(());
        let mut lost = 0;
        for client in &clients {
            lost += usize::from(rest(client).as_deref() != Ok(MESSAGE));
        }
        drop((computes, clients));
        ensure(lost == 0, || {
            format!("{lost} of {} got no answer", CLIENTS * 2)
        })?;
        ended_well(driver.join().map_err(|_| "the server panicked")?)?;
    }
    Ok(())
}

/// Looks whether the stop was clean, and in time.
fn ended_well(report: Option<Report>) -> Checked {
    let report = report.ok_or("the stop hangs")?;
    let is_well = report.outcome == Outcome::Clean && report.duration < LONG / 2;
    ensure(is_well, || report.to_string())
}

fn a_long_queue_is_served<R: Runtime>(runtime: &R) -> Checked {
    // More than a runtime lets a task take in one poll.
    const QUEUED: usize = 400;
    let (server, address) = bind(runtime)?;
    let clients: Result<Vec<_>, _> = (0..QUEUED).map(|_| connect(address)).collect();
    let clients = clients?;
    for client in &clients {
        send(client, MESSAGE)?;
    }
    server.shutdown().stop("before the first accept");
    let handler = |session: Session<ConnectionOf<R>>| async move {
        let served = serve(session, Arc::default()).await;
        served.map_err(std::io::Error::other)
    };
    // The server, too, is a task of the runtime.
    let (done, report) = mpsc::channel();
    runtime.spawn(async move {
        let _ = done.send(server.serve(handler).await);
    });
    let mut lost = 0;
    for client in &clients {
        lost += usize::from(rest(client).as_deref() != Ok(MESSAGE));
    }
    drop(clients);
    ensure(lost == 0, || format!("{lost} of {QUEUED} got no answer"))?;
    ended_well(report.recv_timeout(LONG).ok())
}
