//! Wake-ups: of each wait of a connection, and of the last task that waits.

use std::future::poll_fn;
use std::io::Read;
use std::pin::Pin;
use std::sync::Condvar;
use std::task::{Context, Poll, Wake, Waker};
use std::thread;

use super::connection::read_in_vain;
use super::{Check, Checked, LONG, during, ensure, in_task, pair, read_exact, send};
use crate::rt::{Connection, Runtime};
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
struct Woken {
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
    fn new() -> (Arc<Woken>, Waker) {
        let woken = Arc::new(Woken::default());
        (woken.clone(), woken.into())
    }

    /// Returns whether it was used since it was asked last.
    fn take(&self) -> bool {
        std::mem::take(&mut *lock(&self.is_woken))
    }

    /// Waits until it is used.
    fn ensure(&self, why: &str) -> Checked {
        let (is_woken, patience) = (lock(&self.is_woken), LONG / 4);
        let waited = self
            .changed
            .wait_timeout_while(is_woken, patience, |woken| !*woken);
        let is_woken = waited.is_ok_and(|(woken, _)| *woken);
        ensure(is_woken, || format!("not woken in {patience:?}: {why}"))
    }
}

/// Writes until the peer, who does not read, takes no more; returns how much it took.
async fn fill<C: Connection>(connection: &mut C, woken: &Arc<Woken>) -> Result<usize, String> {
    let (mut written, writer) = (0, Waker::from(woken.clone()));
    poll_fn(|cx| {
        let mut writes = Context::from_waker(&writer);
        while let Poll::Ready(n) =
            Pin::new(&mut *connection).poll_write(&mut writes, &[b'x'; 65536])
        {
            written += during("poll_write", n)?;
        }
        if woken.take() {
            // It was the turn of others.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Ok(written))
    })
    .await
}

/// A session can be split between two tasks.
fn both_directions_are_woken<R: Runtime>(runtime: &R) -> Checked {
    let (mut connection, mut client) = pair(runtime)?;
    let (writer, (reader, reads)) = (Arc::<Woken>::default(), Woken::new());
    let writes = writer.clone();
    let waiting = in_task(runtime, async move {
        let written = fill(&mut connection, &writes).await?;
        read_in_vain(&mut connection, &mut Context::from_waker(&reads))?;
        Ok((connection, written))
    });
    let (_connection, written) = waiting?;
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
