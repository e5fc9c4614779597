//! Listeners: what they say about their queue, and what they leave to others.

use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::task::Poll;
use std::thread;
use std::time::{Duration, Instant};

use super::{Check, Checked, LONG, accept, bind, connect, during, ensure, in_task};
use crate::address::Address;
use crate::options::ListenOptions;
use crate::rt::{CloseGuarantee, ConnectionOf, Listener, Runtime, Socket, SocketSharing};
use crate::sync::plain::{AtomicU64, Ordering, mpsc};

pub(super) fn checks<R: Runtime>() -> Vec<Check<R>> {
    vec![
        (
            "once it has stopped accepting, poll_accept takes the whole queue",
            the_whole_queue_is_taken,
        ),
        (
            "once it has stopped accepting, poll_accept has who came a moment ago",
            a_client_of_a_moment_ago_is_taken,
        ),
        ("poll_accept registers the task", poll_accept_registers),
        (
            "stop_accepting keeps the queue, and the close ends the port",
            the_queue_is_kept_and_the_port_ends,
        ),
        (
            "a close without a sweep ends the port",
            the_port_ends_with_the_close,
        ),
        ("bind refuses a port that is taken", a_taken_port_is_refused),
        (
            "an adopted socket is left to its other holders",
            other_holders_are_left_alone,
        ),
        (
            "a Unix path of its own is removed",
            a_path_of_its_own_is_removed,
        ),
        (
            "a Unix path that another has taken over is left",
            a_path_of_others_is_left,
        ),
        (
            "a socket that is handed over is left to the successor",
            a_socket_handed_over_is_left,
        ),
        (
            "poll_taken gives whom the listener had taken before its close",
            whom_it_has_taken_is_given,
        ),
    ]
}

/// How many are queued: more than a runtime lets a task take in one poll.
const QUEUED: usize = 300;

fn the_whole_queue_is_taken<R: Runtime>(runtime: &R) -> Checked {
    let (mut listener, address) = bind(runtime)?;
    let clients: Result<Vec<_>, _> = (0..QUEUED).map(|_| connect(address)).collect();
    let clients = clients?;
    let taken = poll_fn(move |cx| {
        // A filter would need a privilege, and would be of no use here.
        listener.stop_accepting(SocketSharing::Shared);
        let mut taken = Vec::new();
        while let Poll::Ready(accepted) = listener.poll_accept(cx) {
            taken.push(during("poll_accept", accepted)?);
        }
        Poll::Ready(Ok(taken.len()))
    });
    let taken = in_task(runtime, taken)?;
    drop(clients);
    ensure(taken == QUEUED, || {
        format!("it said that the queue was empty after {taken} of {QUEUED}")
    })
}

fn a_client_of_a_moment_ago_is_taken<R: Runtime>(runtime: &R) -> Checked {
    for _ in 0..100 {
        let (mut listener, address) = bind(runtime)?;
        let found = poll_fn(move |cx| {
            if listener.poll_accept(cx).is_ready() {
                return Poll::Ready(Err("accepted where nobody had connected".into()));
            }
            listener.stop_accepting(SocketSharing::Shared);
            let client = connect(address)?;
            let found = listener.poll_accept(cx).is_ready();
            drop(client);
            Poll::Ready(Ok(found))
        });
        let found = in_task(runtime, found)?;
        ensure(found, || "it said that the queue was empty".into())?;
    }
    Ok(())
}

fn poll_accept_registers<R: Runtime>(runtime: &R) -> Checked {
    let (mut listener, address) = bind(runtime)?;
    let (waits, is_waiting) = mpsc::channel();
    let client = thread::spawn(move || {
        let _ = is_waiting.recv();
        // The task is to sleep by then; if it does not, nothing is missed.
        thread::sleep(Duration::from_millis(20));
        connect(address)
    });
    in_task(runtime, async move {
        let _ = waits.send(());
        accept(&mut listener).await.map(drop)
    })?;
    client.join().map_err(|_| "the client panicked")?.map(drop)
}

fn the_queue_is_kept_and_the_port_ends<R: Runtime>(runtime: &R) -> Checked {
    let (mut listener, address) = bind(runtime)?;
    let clients: Result<Vec<_>, _> = (0..10).map(|_| connect(address)).collect();
    let clients = clients?;
    let guarantee = listener.stop_accepting(SocketSharing::Exclusive);
    let fits = [CloseGuarantee::SynFiltered, CloseGuarantee::Swept].contains(&guarantee);
    ensure(fits, || format!("the guarantee is {guarantee}"))?;
    let listener = in_task(runtime, async move {
        for _ in &clients {
            accept(&mut listener).await?;
        }
        Ok(listener)
    })?;
    close_while_it_waits(runtime, listener)?;
    port_has_ended(address)
}

/// Without a sweep, as at an abort.
fn the_port_ends_with_the_close<R: Runtime>(runtime: &R) -> Checked {
    let (listener, address) = bind(runtime)?;
    close_while_it_waits(runtime, listener)?;
    port_has_ended(address)
}

/// Closes a listener that waits for clients, as it does at the end of a sweep: an accept can
/// be under way then.
fn close_while_it_waits<R: Runtime>(runtime: &R, mut listener: R::Listener) -> Checked {
    let listener = in_task(runtime, async move {
        let waits = poll_fn(|cx| Poll::Ready(listener.poll_accept(cx).is_pending()));
        ensure(waits.await, || {
            "poll_accept gave something where nobody had connected".into()
        })?;
        Ok(listener)
    })?;
    // An accept is to be under way by then; if it is not, nothing is blamed.
    thread::sleep(Duration::from_millis(20));
    in_task(runtime, async move { during("close", listener.close()) })
}

fn port_has_ended(address: SocketAddr) -> Checked {
    // A socket that is left, and filters new handshakes, would let us wait for minutes.
    match TcpStream::connect_timeout(&address, LONG / 4) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(()),
        other => Err(format!(
            "a client of the closed port got {other:?}: has an accept that is under way kept \
             the socket?"
        )),
    }
}

fn a_taken_port_is_refused<R: Runtime>(runtime: &R) -> Checked {
    let taken = during("bind", TcpListener::bind("127.0.0.1:0"))?;
    let address = during("address", taken.local_addr())?;
    match runtime.bind(&address.into(), &ListenOptions::new()) {
        Err(error) if error.kind() == ErrorKind::AddrInUse => Ok(()),
        Err(error) => Err(format!("the error is: {error}")),
        Ok(_) => Err("two sockets share a port".into()),
    }
}

/// What an adapter need not implement.
fn optional<T>(what: &str, result: io::Result<T>) -> Result<Option<T>, String> {
    match result {
        Err(error) if error.kind() == ErrorKind::Unsupported => Ok(None),
        result => during(what, result).map(Some),
    }
}

fn other_holders_are_left_alone<R: Runtime>(runtime: &R) -> Checked {
    let held = during("bind", TcpListener::bind("127.0.0.1:0"))?;
    let address = during("address", held.local_addr())?;
    let socket: Socket = during("clone", held.try_clone())?.into();
    let Some(mut listener) = optional("adopt", runtime.adopt(socket, &ListenOptions::new()))?
    else {
        return Ok(());
    };
    let guarantee = listener.stop_accepting(SocketSharing::Shared);
    ensure(guarantee == CloseGuarantee::Swept, || {
        format!("the guarantee is {guarantee}")
    })?;
    during("close", listener.close())?;
    let client = connect(address)?;
    during("blocking", held.set_nonblocking(false))?;
    during("the other holder's accept", held.accept())?;
    drop(client);
    Ok(())
}

/// A path that nobody else has.
fn path() -> PathBuf {
    // Relaxed: it has to be a different number, and guards nothing.
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = format!("lameduck-conformance-{}-{number}.sock", std::process::id());
    std::env::temp_dir().join(name)
}

fn a_path_of_its_own_is_removed<R: Runtime>(runtime: &R) -> Checked {
    let path = path();
    let address = Address::Unix(Some(path.clone()));
    let Some(mut listener) = optional("bind", runtime.bind(&address, &ListenOptions::new()))?
    else {
        return Ok(());
    };
    let client = during("connect", UnixStream::connect(&path))?;
    listener.stop_accepting(SocketSharing::Exclusive);
    in_task(runtime, async move {
        accept(&mut listener).await?;
        during("close", listener.close())
    })?;
    drop(client);
    ensure(!path.exists(), || format!("{} is left", path.display()))
}

fn a_path_of_others_is_left<R: Runtime>(runtime: &R) -> Checked {
    let path = path();
    let address = Address::Unix(Some(path.clone()));
    let Some(mut listener) = optional("bind", runtime.bind(&address, &ListenOptions::new()))?
    else {
        return Ok(());
    };
    // As a successor does it.
    during("remove", std::fs::remove_file(&path))?;
    let successor = during("bind", UnixListener::bind(&path))?;
    listener.stop_accepting(SocketSharing::Exclusive);
    during("close", listener.close())?;
    let is_left = path.exists();
    drop(successor);
    let _ = std::fs::remove_file(&path);
    ensure(is_left, || "it removed the path of a successor".into())
}

fn a_socket_handed_over_is_left<R: Runtime>(runtime: &R) -> Checked {
    let path = path();
    let address = Address::Unix(Some(path.clone()));
    let Some(mut listener) = optional("bind", runtime.bind(&address, &ListenOptions::new()))?
    else {
        return Ok(());
    };
    let Some(shared) = optional("share", listener.share())? else {
        return during("close", listener.close());
    };
    let client = during("connect", UnixStream::connect(&path))?;
    let guarantee = listener.stop_accepting(SocketSharing::HandedOver);
    ensure(guarantee == CloseGuarantee::HandedOver, || {
        format!("the guarantee is {guarantee}")
    })?;
    let taken = closed_after_those_taken(runtime, listener)?;
    let is_left = path.exists();
    let _ = std::fs::remove_file(&path);
    ensure(is_left, || "it removed the path of its successor".into())?;
    let successor = UnixListener::from(shared);
    during("nonblocking", successor.set_nonblocking(true))?;
    if taken.is_empty() {
        during("the successor's accept", successor.accept())?;
    }
    drop(client);
    Ok(())
}

/// Closes a listener as the server does where the queue is not swept; returns those whom it
/// had taken.
fn closed_after_those_taken<R: Runtime>(
    runtime: &R,
    mut listener: R::Listener,
) -> Result<Vec<ConnectionOf<R>>, String> {
    in_task(runtime, async move {
        let mut taken = Vec::new();
        while let Some((connection, _)) = poll_fn(|cx| listener.poll_taken(cx)).await {
            taken.push(connection);
        }
        during("close", listener.close())?;
        Ok(taken)
    })
    .map_err(|why| format!("poll_taken, and the close: {why}"))
}

/// A listener whose accepts are under way takes some of them, and a successor the others.
fn whom_it_has_taken_is_given<R: Runtime>(runtime: &R) -> Checked {
    const CLIENTS: usize = 4;
    for _ in 0..20 {
        let (mut listener, address) = bind(runtime)?;
        let Some(shared) = optional("share", listener.share())? else {
            return Ok(());
        };
        let mut clients = vec![connect(address)?];
        // The first one is asked for: from here on the next accept can be under way.
        let mut listener = in_task(runtime, async move {
            accept(&mut listener).await?;
            Ok(listener)
        })?;
        for _ in 0..CLIENTS {
            clients.push(connect(address)?);
        }
        listener.stop_accepting(SocketSharing::HandedOver);
        let taken = closed_after_those_taken(runtime, listener)?;
        // One that comes now is for the successor alone.
        clients.push(connect(address)?);
        let successor = TcpListener::from(shared);
        during("nonblocking", successor.set_nonblocking(true))?;
        let expected = CLIENTS + 1 - taken.len();
        let begun = Instant::now();
        let mut left = Vec::new();
        while left.len() < expected && begun.elapsed() < LONG / 10 {
            match successor.accept() {
                Ok(accepted) => left.push(accepted),
                Err(error) if error.kind() == ErrorKind::WouldBlock => thread::yield_now(),
                Err(error) => return Err(format!("the successor's accept: {error}")),
            }
        }
        let given = taken.len();
        ensure(left.len() == expected, || {
            format!(
                "of {} clients poll_taken gave {given}, and a successor found {} in the queue: \
                 the others were accepted, and dropped",
                CLIENTS + 1,
                left.len()
            )
        })?;
    }
    Ok(())
}
