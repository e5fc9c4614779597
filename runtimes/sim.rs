//! The traits, on the simulated machine.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_io::{AsyncRead, AsyncWrite};

use crate::address::Address;
use crate::rt::{self, CloseGuarantee, SocketSharing};
use crate::signal::Signal;
use crate::sim::pipe::Found;
use crate::sim::trace::Side;
use crate::sim::world::World;
use crate::sync::plain::{Arc, Mutex, lock};

pub(crate) type Shared = Arc<Mutex<World>>;

/// The runtime of a [`Sim`](crate::sim::Sim), for a server's builder.
#[derive(Clone)]
pub struct SimRuntime {
    pub(crate) world: Shared,
}

impl fmt::Debug for SimRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimRuntime").finish_non_exhaustive()
    }
}

impl rt::Runtime for SimRuntime {
    type Listener = Listener;
    type Signals = Signals;
    type Sleep = Sleep;

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        lock(&self.world).spawned.push(Box::pin(task));
    }

    fn now(&self) -> Instant {
        let world = lock(&self.world);
        world.epoch + world.now
    }

    fn sleep_until(&self, at: Instant) -> Sleep {
        let epoch = lock(&self.world).epoch;
        Sleep::at(self.world.clone(), at.saturating_duration_since(epoch))
    }

    fn bind(&self, address: &Address, backlog: i32) -> io::Result<Listener> {
        let Address::Tcp(address) = address else {
            let error = "a simulation has no Unix sockets";
            return Err(io::Error::new(io::ErrorKind::Unsupported, error));
        };
        let mut world = lock(&self.world);
        let id = world.listen(*address, backlog)?;
        let local = world.listeners[id].local.into();
        drop(world);
        Ok(Listener {
            world: self.world.clone(),
            id,
            local,
        })
    }

    fn signals(&self, signals: &[Signal]) -> io::Result<Signals> {
        let id = lock(&self.world).catch(signals.to_vec());
        Ok(Signals {
            world: self.world.clone(),
            id,
        })
    }
}

/// A simulated timer.
pub struct Sleep {
    world: Shared,
    at: Duration,
    timer: Option<u64>,
}

impl fmt::Debug for Sleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sleep")
            .field("at", &self.at)
            .finish_non_exhaustive()
    }
}

impl Sleep {
    pub(crate) fn at(world: Shared, at: Duration) -> Sleep {
        Sleep {
            world,
            at,
            timer: None,
        }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        let mut world = lock(&this.world);
        match this.timer {
            Some(id) if world.poll_timer(id, cx.waker()) => Poll::Ready(()),
            Some(_) => Poll::Pending,
            None => {
                this.timer = Some(world.set_timer(this.at, cx.waker()));
                Poll::Pending
            }
        }
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(id) = self.timer {
            lock(&self.world).cancel_timer(id);
        }
    }
}

/// SimRuntime signals.
pub struct Signals {
    world: Shared,
    id: usize,
}

impl fmt::Debug for Signals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signals").finish_non_exhaustive()
    }
}

impl rt::SignalSource for Signals {
    fn poll_signal(&mut self, cx: &mut Context<'_>) -> Poll<Option<Signal>> {
        match lock(&self.world).poll_signal(self.id, cx.waker()) {
            Some(signal) => Poll::Ready(Some(signal)),
            None => Poll::Pending,
        }
    }
}

/// A simulated listener.
pub struct Listener {
    world: Shared,
    id: usize,
    local: Address,
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener")
            .field("local", &self.local)
            .finish_non_exhaustive()
    }
}

impl rt::Listener for Listener {
    type Connection = Connection;

    fn local_addr(&self) -> &Address {
        &self.local
    }

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<(Connection, Address)>> {
        let mut world = lock(&self.world);
        let Some(accepted) = world.accept(self.id, cx.waker()) else {
            return Poll::Pending;
        };
        let accepted = accepted.map(|id| {
            let connection = Connection {
                world: self.world.clone(),
                id,
                side: Side::Server,
            };
            (connection, world.conns[id].peer.into())
        });
        Poll::Ready(accepted)
    }

    fn stop_accepting(&mut self, _: SocketSharing) -> CloseGuarantee {
        lock(&self.world).stop_accepting(self.id)
    }

    fn handshakes(&self) -> Option<usize> {
        let world = lock(&self.world);
        let sees = world.settings.sees_handshakes;
        sees.then(|| world.handshakes(self.id))
    }

    fn close(self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        lock(&self.world).stop_listening(self.id);
    }
}

/// One end of a simulated connection; the server has one, and each client.
pub struct Connection {
    pub(crate) world: Shared,
    pub(crate) id: usize,
    pub(crate) side: Side,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut connection = f.debug_struct("Connection");
        connection.field("id", &self.id).field("side", &self.side);
        connection.finish_non_exhaustive()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut world = lock(&self.world);
        let pipe = world.conns[self.id].pipe(self.side.other());
        match pipe.read(buffer) {
            Found::Bytes(n) => {
                world.tell(crate::sim::trace::Entry::Reads(self.id, self.side, n));
                Poll::Ready(Ok(n))
            }
            Found::End => Poll::Ready(Ok(0)),
            Found::Reset => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            Found::Nothing => {
                pipe.reader = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut world = lock(&self.world);
        let conn = &mut world.conns[self.id];
        if conn.pipe(self.side.other()).is_reset {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let pipe = conn.pipe(self.side);
        if pipe.ended || pipe.is_cut {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        match world.send(self.id, self.side, bytes) {
            0 => {
                world.conns[self.id].pipe(self.side).writer = Some(cx.waker().clone());
                Poll::Pending
            }
            n => Poll::Ready(Ok(n)),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        rt::Connection::poll_half_close(&mut *self, cx)
    }
}

impl rt::Connection for Connection {
    fn poll_half_close(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut world = lock(&self.world);
        if world.conns[self.id].pipe(self.side.other()).is_reset {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        }
        world.end(self.id, self.side);
        Poll::Ready(Ok(()))
    }

    fn unacknowledged(&self) -> Option<u64> {
        let mut world = lock(&self.world);
        Some(world.conns[self.id].pipe(self.side).unacknowledged())
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        lock(&self.world).close(self.id, self.side);
    }
}
