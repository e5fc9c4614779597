//! Wake-ups: of each wait of a connection, and of the last task that waits.

use std::io::Read;
use std::pin::Pin;
use std::sync::Condvar;
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use futures_io::AsyncWrite;

use super::connection::read_in_vain;
use super::{Check, Checked, LONG, during, ensure, in_task, pair, read_exact, send};
use crate::rt::{ConnectionOf, Runtime};
use crate::sync::plain::{Arc, Mutex, lock, mpsc};

pub(super) fn checks<R: Runtime>() -> Vec<Check<R>> {
    vec![
        (
            "a read and a write that wait at once are both woken",
            both_directions_are_woken,
        ),
        (
            "a wait wakes the task that polled it last",
            the_last_task_is_woken,
        ),
        (
            "a byte that comes as the task is registered wakes it",
            a_byte_at_the_same_time_wakes,
        ),
    ]
}

/// A waker that can be asked whether it was used.
#[derive(Default)]
pub(super) struct Woken {
    is_woken: Mutex<bool>,
    changed: Condvar,
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        *lock(&self.is_woken) = true;
        self.changed.notify_all();
    }
}

impl Woken {
    pub(super) fn new() -> (Arc<Woken>, Waker) {
        let woken = Arc::new(Woken::default());
        (woken.clone(), woken.into())
    }

    /// Forgets that it was used.
    fn take(&self) {
        *lock(&self.is_woken) = false;
    }

    /// Waits until it is used; returns whether it was.
    fn wait(&self, patience: Duration) -> bool {
        let waited = self
            .changed
            .wait_timeout_while(lock(&self.is_woken), patience, |woken| !*woken);
        waited.is_ok_and(|(woken, _)| *woken)
    }

    fn ensure(&self, why: &str) -> Checked {
        let patience = LONG / 4;
        ensure(self.wait(patience), || {
            format!("not woken in {patience:?}: {why}")
        })
    }
}

/// Writes until the peer, who does not read, takes no more; returns how much it took.
///
/// A write that is pending says nothing by itself: it may be the turn of others, or a write
/// of the adapter's own may be under way. So it is looked at again when it is woken, until
/// nothing moves for a while.
pub(super) fn fill<R: Runtime>(
    runtime: &R,
    mut connection: ConnectionOf<R>,
    woken: &Arc<Woken>,
) -> Result<(ConnectionOf<R>, usize), String> {
    let (mut written, mut moved_at) = (0, Instant::now());
    while moved_at.elapsed() < QUIET {
        let writer = Waker::from(woken.clone());
        let look = async move {
            let (mut written, mut writes) = (0, Context::from_waker(&writer));
            while let Poll::Ready(n) =
                Pin::new(&mut connection).poll_write(&mut writes, &[b'x'; 65536])
            {
                written += during("poll_write", n)?;
            }
            Ok((connection, written))
        };
        let more;
        (connection, more) = in_task(runtime, look)?;
        if more > 0 {
            (written, moved_at) = (written + more, Instant::now());
        }
        woken.wait(QUIET / 5);
        woken.take();
    }
    Ok((connection, written))
}

/// How long nothing moves where the peer takes no more.
const QUIET: Duration = Duration::from_millis(250);

/// A session can be split between two tasks.
fn both_directions_are_woken<R: Runtime>(runtime: &R) -> Checked {
    let (connection, mut client) = pair(runtime)?;
    let ((writer, _), (reader, reads)) = (Woken::new(), Woken::new());
    let (mut connection, written) = fill(runtime, connection, &writer)?;
    let _connection = in_task(runtime, async move {
        read_in_vain(&mut connection, &mut Context::from_waker(&reads))?;
        Ok(connection)
    })?;
    let mut buffer = vec![0; written];
    during("the client's read", client.read_exact(&mut buffer))?;
    writer.ensure("a write, beside a read, once there was room")?;
    send(&client, b"x")?;
    reader.ensure("a read, beside a write, once a byte was there")
}

/// A session can be moved to another task.
fn the_last_task_is_woken<R: Runtime>(runtime: &R) -> Checked {
    let (mut connection, client) = pair(runtime)?;
    let ((_, first), (woken, last)) = (Woken::new(), Woken::new());
    let waiting = in_task(runtime, async move {
        for waker in [&first, &last] {
            read_in_vain(&mut connection, &mut Context::from_waker(waker))?;
        }
        Ok(connection)
    });
    let _connection = waiting?;
    send(&client, b"x")?;
    woken.ensure("a read that another task had polled before")
}

const BYTES: usize = 2_000;

/// Each byte is sent as the task begins to wait for it.
fn a_byte_at_the_same_time_wakes<R: Runtime>(runtime: &R) -> Checked {
    let (mut connection, client) = pair(runtime)?;
    let (waits, is_waiting) = mpsc::channel();
    let sender = thread::spawn(move || {
        is_waiting.iter().try_for_each(|()| send(&client, b"x"))?;
        Ok::<_, String>(client)
    });
    let read = in_task(runtime, async move {
        for _ in 0..BYTES {
            let _ = waits.send(());
            read_exact(&mut connection, 1).await?;
        }
        Ok(())
    });
    read.map_err(|why| format!("a byte was there: {why}"))?;
    let client = sender.join().map_err(|_| "the sender panicked")?;
    client.map(drop)
}
