//! The traits, on the simulated machine.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_io::{AsyncRead, AsyncWrite};

use crate::address::Address;
use crate::options::ListenOptions;
use crate::rt::{self, CloseGuarantee, SocketSharing};
use crate::signal::Signal;
use crate::sim::executor::look;
use crate::sim::pipe::Found;
use crate::sim::trace::{Entry, Side};
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
        look();
        let world = lock(&self.world);
        world.epoch + world.now
    }

    fn sleep_until(&self, at: Instant) -> Sleep {
        let epoch = lock(&self.world).epoch;
        Sleep::at(self.world.clone(), at.saturating_duration_since(epoch))
    }

    fn bind(&self, address: &Address, options: &ListenOptions) -> io::Result<Listener> {
        let Address::Tcp(address) = address else {
            let error = "a simulation has no Unix sockets";
            return Err(io::Error::new(io::ErrorKind::Unsupported, error));
        };
        let mut world = lock(&self.world);
        let id = world.listen(*address, options.backlog_or_default())?;
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
        look();
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

/// A simulated source of signals.
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
        look();
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
        look();
        let mut world = lock(&self.world);
        let accepted = world.accept(self.id, cx.waker()).map(|accepted| {
            accepted.map(|id| {
                let connection = Connection {
                    world: self.world.clone(),
                    id,
                    side: Side::Server,
                };
                (connection, world.conns[id].peer.into())
            })
        });
        drop(world);
        look();
        accepted.map_or(Poll::Pending, Poll::Ready)
    }

    fn stop_accepting(&mut self, _: SocketSharing) -> CloseGuarantee {
        look();
        lock(&self.world).stop_accepting(self.id)
    }

    fn handshakes(listeners: &[&Self]) -> Vec<Option<usize>> {
        look();
        let counts = listeners.iter().map(|listener| {
            let world = lock(&listener.world);
            let sees = world.settings.sees_handshakes;
            sees.then(|| world.handshakes(listener.id))
        });
        counts.collect()
    }

    fn close(self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        look();
        lock(&self.world).stop_listening(self.id);
    }
}

/// One end of a simulated connection.
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

/// What a look at the input finds.
enum Input {
    Read(usize),
    Nothing,
    /// The task has to yield, and is woken again.
    NotNow,
}

impl Connection {
    /// A look at the connection, where a poll of the server can be interrupted.
    fn look(&self) {
        if self.side == Side::Server {
            look();
        }
    }

    /// Returns whether the task has to yield, and wakes it.
    fn has_to_yield(&self, cx: &Context<'_>) -> bool {
        let has_to = lock(&self.world).has_to_yield(self.id, self.side);
        if has_to {
            cx.waker().wake_by_ref();
        }
        has_to
    }

    fn read_input(&mut self, cx: &Context<'_>, buffer: &mut [u8]) -> io::Result<Input> {
        if self.has_to_yield(cx) {
            return Ok(Input::NotNow);
        }
        self.look();
        let found = {
            let mut world = lock(&self.world);
            let pipe = world.conns[self.id].pipe(self.side.other());
            let found = pipe.read(buffer);
            match found {
                Found::Nothing => pipe.reader = Some(cx.waker().clone()),
                Found::Bytes(n) => world.log(Entry::Reads(self.id, self.side, n)),
                Found::End | Found::Reset => {}
            }
            found
        };
        self.look();
        match found {
            Found::Bytes(n) => Ok(Input::Read(n)),
            Found::End => Ok(Input::Read(0)),
            Found::Nothing => Ok(Input::Nothing),
            Found::Reset => Err(io::ErrorKind::ConnectionReset.into()),
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        match self.read_input(cx, buffer) {
            Ok(Input::Read(n)) => Poll::Ready(Ok(n)),
            Ok(Input::Nothing | Input::NotNow) => Poll::Pending,
            Err(error) => Poll::Ready(Err(error)),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.has_to_yield(cx) {
            return Poll::Pending;
        }
        self.look();
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
    fn poll_read_now(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<Option<usize>>> {
        match self.read_input(cx, buffer) {
            Ok(Input::Read(n)) => Poll::Ready(Ok(Some(n))),
            Ok(Input::Nothing) => Poll::Ready(Ok(None)),
            Ok(Input::NotNow) => Poll::Pending,
            Err(error) => Poll::Ready(Err(error)),
        }
    }

    fn poll_half_close(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.look();
        let mut world = lock(&self.world);
        if world.conns[self.id].pipe(self.side.other()).is_reset {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        }
        world.end(self.id, self.side);
        Poll::Ready(Ok(()))
    }

    fn unacknowledged(&self) -> Option<u64> {
        self.look();
        let mut world = lock(&self.world);
        Some(world.conns[self.id].pipe(self.side).unacknowledged())
    }

    fn readable(&self) -> Option<u64> {
        self.look();
        let mut world = lock(&self.world);
        Some(world.conns[self.id].pipe(self.side.other()).readable())
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.look();
        lock(&self.world).close(self.id, self.side);
    }
}
