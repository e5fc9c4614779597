//! The servers: the same echo on each runtime, stopped by each library, and on
//! each runtime one that nobody stops, as the floor.
//!
//! Each reads into 4096 bytes on its own and answers what it read. Each says on
//! its standard output which port it has.

use std::error::Error;
use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsFd;
use std::time::Duration;

use futures::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use futures::stream::StreamExt;
use lameduck::runtimes::{async_std::AsyncStd, smol::Smol, tokio::Tokio};
use lameduck::{Address, Connection, Report, Runtime, Server, Session};
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
use swansong::Swansong;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::signal::unix::{SignalKind, signal};
use tokio_graceful::ShutdownGuard;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What a server's `main` returns.
pub type Ended = Result<(), Box<dyn Error>>;

/// One of the programs that are measured.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// In tables.
    pub title: &'static str,
    /// The program.
    pub program: &'static str,
    /// The title of the one on the same runtime that nobody stops.
    pub floor: &'static str,
    /// May filter the packets of its listener, which takes a privilege.
    pub privileged: bool,
    pub main: fn() -> Ended,
}

const fn kind(
    title: &'static str,
    program: &'static str,
    floor: &'static str,
    main: fn() -> Ended,
) -> Kind {
    Kind {
        title,
        program,
        floor,
        privileged: false,
        main,
    }
}

/// All of them; the floors first.
pub const KINDS: [Kind; 9] = [
    kind("bare smol", "bare-smol", "bare smol", bare_smol),
    kind(
        "bare async-std",
        "bare-async-std",
        "bare async-std",
        bare_async_std,
    ),
    kind("bare tokio", "bare-tokio", "bare tokio", bare_tokio),
    kind(
        "lameduck, smol",
        "lameduck-smol",
        "bare smol",
        lameduck_smol,
    ),
    kind(
        "lameduck, async-std",
        "lameduck-async-std",
        "bare async-std",
        lameduck_async_std,
    ),
    kind(
        "lameduck, tokio",
        "lameduck-tokio",
        "bare tokio",
        lameduck_tokio,
    ),
    kind(
        "swansong, smol",
        "swansong-smol",
        "bare smol",
        swansong_smol,
    ),
    kind(
        "TaskTracker, tokio",
        "tracker-tokio",
        "bare tokio",
        tracker_tokio,
    ),
    kind(
        "tokio-graceful",
        "graceful-tokio",
        "bare tokio",
        graceful_tokio,
    ),
];

pub(crate) const ANY: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// What a connection reads at once.
const BUFFER: usize = 4096;

/// After a failed accept.
pub(crate) const PAUSE: Duration = Duration::from_millis(100);

/// Says the port to the process that started this server.
pub(crate) fn listening(port: u16) {
    println!("{port}");
}

/// Lets each write be sent at once, as lameduck does: a delayed acknowledgement would
/// be all that is measured. Accepted connections inherit it.
fn send_at_once(listener: &impl AsFd) -> io::Result<()> {
    socket2::SockRef::from(listener).set_tcp_nodelay(true)
}

/// Gives up the privilege that a server rarely has, unless it is to be measured.
pub(crate) fn drop_privilege() -> io::Result<()> {
    if std::env::args().nth(1).as_deref() == Some("privileged") {
        return Ok(());
    }
    let mut sets = capabilities(None)?;
    sets.effective.remove(CapabilitySet::NET_ADMIN);
    sets.permitted.remove(CapabilitySet::NET_ADMIN);
    Ok(set_capabilities(None, sets)?)
}

async fn echo(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
    let mut buffer = [0; BUFFER];
    loop {
        let n = stream.read(&mut buffer).await?;
        if n == 0 {
            return Ok(());
        }
        stream.write_all(&buffer[..n]).await?;
    }
}

/// smol, and nobody stops it.
///
/// # Errors
/// When it cannot listen.
pub fn bare_smol() -> Ended {
    smol::block_on(async {
        let listener = smol::net::TcpListener::bind(ANY).await?;
        send_at_once(&listener)?;
        listening(listener.local_addr()?.port());
        loop {
            match listener.accept().await {
                Ok((stream, _)) => smol::spawn(echo(stream)).detach(),
                Err(_) => drop(smol::Timer::after(PAUSE).await),
            }
        }
    })
}

/// async-std, and nobody stops it.
///
/// # Errors
/// When it cannot listen.
pub fn bare_async_std() -> Ended {
    async_std::task::block_on(async {
        let listener = async_std::net::TcpListener::bind(ANY).await?;
        send_at_once(&listener)?;
        listening(listener.local_addr()?.port());
        loop {
            match listener.accept().await {
                Ok((stream, _)) => drop(async_std::task::spawn(echo(stream))),
                Err(_) => async_std::task::sleep(PAUSE).await,
            }
        }
    })
}

/// tokio, and nobody stops it.
///
/// # Errors
/// When it cannot listen.
#[tokio::main]
pub async fn bare_tokio() -> Ended {
    async fn echo(mut stream: tokio::net::TcpStream) -> io::Result<()> {
        let mut buffer = [0; BUFFER];
        loop {
            let n = stream.read(&mut buffer).await?;
            if n == 0 {
                return Ok(());
            }
            stream.write_all(&buffer[..n]).await?;
        }
    }
    let listener = tokio::net::TcpListener::bind(ANY).await?;
    send_at_once(&listener)?;
    listening(listener.local_addr()?.port());
    loop {
        match listener.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(echo(stream))),
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

async fn lameduck<R: Runtime>(runtime: R) -> Result<Report, Box<dyn Error>> {
    drop_privilege()?;
    let server = Server::builder(runtime).listen(ANY).bind()?;
    for address in server.local_addrs() {
        if let Address::Tcp(address) = address {
            listening(address.port());
        }
    }
    Ok(server.serve(echo_until_drained).await)
}

async fn echo_until_drained(mut session: Session<impl Connection>) -> io::Result<()> {
    let mut buffer = [0; BUFFER];
    while let Some(n) = session.read_or_drain(&mut buffer).await? {
        // A session has tokio's traits as well.
        AsyncWriteExt::write_all(&mut session, &buffer[..n]).await?;
    }
    Ok(())
}

/// lameduck on smol.
///
/// # Errors
/// When it cannot listen.
pub fn lameduck_smol() -> Ended {
    smol::block_on(lameduck(Smol)).map(drop)
}

/// lameduck on async-std.
///
/// # Errors
/// When it cannot listen.
pub fn lameduck_async_std() -> Ended {
    async_std::task::block_on(lameduck(AsyncStd)).map(drop)
}

/// lameduck on tokio.
///
/// # Errors
/// When it cannot listen.
#[tokio::main]
pub async fn lameduck_tokio() -> Ended {
    lameduck(Tokio::current()?).await.map(drop)
}

/// swansong on smol.
///
/// # Errors
/// When it cannot listen.
pub fn swansong_smol() -> Ended {
    async fn echo(mut stream: smol::net::TcpStream, swansong: Swansong) -> io::Result<()> {
        let mut buffer = [0; BUFFER];
        while let Some(read) = swansong.interrupt(stream.read(&mut buffer)).await {
            let n = read?;
            if n == 0 {
                break;
            }
            stream.write_all(&buffer[..n]).await?;
        }
        stream.close().await
    }
    async fn serve(listener: smol::net::TcpListener, swansong: Swansong) {
        let mut incoming = swansong.interrupt(listener.incoming());
        while let Some(accepted) = incoming.next().await {
            match accepted {
                Ok(stream) => {
                    let connection = echo(stream, swansong.clone());
                    smol::spawn(swansong.guarded(connection)).detach();
                }
                Err(_) => drop(smol::Timer::after(PAUSE).await),
            }
        }
    }
    smol::block_on(async {
        use async_signal::{Signal, Signals};
        let mut signals = Signals::new([Signal::Term, Signal::Int])?;
        let listener = smol::net::TcpListener::bind(ANY).await?;
        send_at_once(&listener)?;
        listening(listener.local_addr()?.port());
        let swansong = Swansong::new();
        smol::spawn(swansong.guarded(serve(listener, swansong.clone()))).detach();
        signals.next().await;
        swansong.shut_down().await;
        Ok(())
    })
}

/// SIGTERM or SIGINT, caught from the call on.
pub(crate) fn terminated() -> io::Result<impl Future<Output = ()> + Send + 'static> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// `TaskTracker` and `CancellationToken` on tokio.
///
/// # Errors
/// When it cannot listen.
#[tokio::main]
pub async fn tracker_tokio() -> Ended {
    async fn echo(
        mut stream: tokio::net::TcpStream,
        token: CancellationToken,
    ) -> io::Result<()> {
        let mut buffer = [0; BUFFER];
        loop {
            let n = tokio::select! {
                read = stream.read(&mut buffer) => read?,
                () = token.cancelled() => break,
            };
            if n == 0 {
                break;
            }
            stream.write_all(&buffer[..n]).await?;
        }
        stream.shutdown().await
    }
    async fn serve(
        listener: tokio::net::TcpListener,
        tracker: TaskTracker,
        token: CancellationToken,
    ) {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = token.cancelled() => break,
            };
            match accepted {
                Ok((stream, _)) => drop(tracker.spawn(echo(stream, token.clone()))),
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }
    let terminated = terminated()?;
    let listener = tokio::net::TcpListener::bind(ANY).await?;
    send_at_once(&listener)?;
    listening(listener.local_addr()?.port());
    let (tracker, token) = (TaskTracker::new(), CancellationToken::new());
    tracker.spawn(serve(listener, tracker.clone(), token.clone()));
    terminated.await;
    token.cancel();
    tracker.close();
    tracker.wait().await;
    Ok(())
}

/// tokio-graceful.
///
/// # Errors
/// When it cannot listen.
#[tokio::main]
pub async fn graceful_tokio() -> Ended {
    async fn echo(mut stream: tokio::net::TcpStream, guard: ShutdownGuard) -> io::Result<()> {
        let mut buffer = [0; BUFFER];
        loop {
            let n = tokio::select! {
                read = stream.read(&mut buffer) => read?,
                () = guard.cancelled() => break,
            };
            if n == 0 {
                break;
            }
            stream.write_all(&buffer[..n]).await?;
        }
        stream.shutdown().await
    }
    async fn serve(listener: tokio::net::TcpListener, guard: ShutdownGuard) {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = guard.cancelled() => break,
            };
            match accepted {
                Ok((stream, _)) => drop(guard.spawn_task_fn(move |guard| echo(stream, guard))),
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }
    let shutdown = tokio_graceful::Shutdown::new(terminated()?);
    let listener = tokio::net::TcpListener::bind(ANY).await?;
    send_at_once(&listener)?;
    listening(listener.local_addr()?.port());
    shutdown.spawn_task_fn(move |guard| serve(listener, guard));
    shutdown
        .shutdown_with_limit(Duration::from_secs(25))
        .await?;
    Ok(())
}
