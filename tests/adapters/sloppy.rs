//! Planted mistakes: adapters that lose wake-ups, signals or time.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use futures::io::{AsyncRead, AsyncWrite};
use lameduck::rt::{CloseGuarantee, SocketSharing};
use lameduck::{Address, Connection, ListenOptions, Listener, Runtime, Signal, SignalSource};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mistake {
    /// A read and a write share the place of their waker.
    OneWaker,
    /// A read keeps the waker of the task that polled it first.
    FirstWaker,
    /// After one signal there is no other.
    OneSignal,
    /// Every sleep is too long.
    LateTimer,
    /// The time goes back every other time.
    TimeGoesBack,
    /// The task begins in the thread that spawns it.
    SpawnsInline,
}

/// An adapter around an adapter, with a mistake.
#[derive(Clone)]
pub(crate) struct Sloppy<R>(pub(crate) R, pub(crate) Mistake);

impl<R: Runtime> Runtime for Sloppy<R> {
    type Listener = SloppyListener<R::Listener>;
    type Signals = SloppySignals<R::Signals>;
    type Sleep = R::Sleep;

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        if self.1 != Mistake::SpawnsInline {
            return self.0.spawn(task);
        }
        let mut task = Box::pin(task);
        let begun = task.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        if begun.is_pending() {
            self.0.spawn(task);
        }
    }

    fn now(&self) -> Instant {
        static ASKED: AtomicUsize = AtomicUsize::new(0);
        let goes_back = self.1 == Mistake::TimeGoesBack;
        let asked = ASKED.fetch_add(usize::from(goes_back), Ordering::Relaxed);
        self.0.now() - Duration::from_millis(if asked % 2 == 1 { 5 } else { 0 })
    }

    fn sleep_until(&self, at: Instant) -> R::Sleep {
        match self.1 {
            Mistake::LateTimer => self.0.sleep_until(at + Duration::from_millis(50)),
            _ => self.0.sleep_until(at),
        }
    }

    fn bind(&self, address: &Address, options: &ListenOptions) -> io::Result<Self::Listener> {
        Ok(SloppyListener(self.0.bind(address, options)?, self.1))
    }

    fn signals(&self, signals: &[Signal]) -> io::Result<Self::Signals> {
        let signals = self.0.signals(signals)?;
        Ok(SloppySignals(Some(signals), self.1))
    }
}

pub(crate) struct SloppySignals<S>(Option<S>, Mistake);

impl<S: SignalSource> SignalSource for SloppySignals<S> {
    fn poll_signal(&mut self, cx: &mut Context<'_>) -> Poll<Option<Signal>> {
        let Some(signals) = &mut self.0 else {
            return Poll::Pending;
        };
        let signal = signals.poll_signal(cx);
        if signal.is_ready() && self.1 == Mistake::OneSignal {
            // Still caught, and heard by nobody.
            std::mem::forget(self.0.take());
        }
        signal
    }
}

pub(crate) struct SloppyListener<L>(L, Mistake);

impl<L: Listener> Listener for SloppyListener<L> {
    type Connection = SloppyConnection<L::Connection>;

    fn local_addr(&self) -> &Address {
        self.0.local_addr()
    }

    fn poll_accept(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<(Self::Connection, Address)>> {
        let mistake = self.1;
        let accepted = self.0.poll_accept(cx);
        accepted.map_ok(|(inner, peer)| {
            let place = Arc::default();
            (
                SloppyConnection {
                    inner,
                    mistake,
                    place,
                },
                peer,
            )
        })
    }

    fn stop_accepting(&mut self, sharing: SocketSharing) -> CloseGuarantee {
        self.0.stop_accepting(sharing)
    }

    fn close(self) -> io::Result<()> {
        self.0.close()
    }
}

/// The place of one waker, which is woken in its stead.
#[derive(Default)]
struct Place(Mutex<Option<Waker>>);

impl Wake for Place {
    fn wake(self: Arc<Self>) {
        if let Some(waker) = &*self.0.lock().unwrap() {
            waker.wake_by_ref();
        }
    }
}

pub(crate) struct SloppyConnection<C> {
    inner: C,
    mistake: Mistake,
    place: Arc<Place>,
}

impl<C> SloppyConnection<C> {
    /// Returns the waker that a wait registers.
    fn waker(&self, cx: &Context<'_>, is_read: bool) -> Waker {
        let mut place = self.place.0.lock().unwrap();
        match self.mistake {
            Mistake::OneWaker => *place = Some(cx.waker().clone()),
            Mistake::FirstWaker if is_read => _ = place.get_or_insert(cx.waker().clone()),
            _ => return cx.waker().clone(),
        }
        drop(place);
        self.place.clone().into()
    }
}

impl<C: Connection> AsyncRead for SloppyConnection<C> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let waker = self.waker(cx, true);
        Pin::new(&mut self.inner).poll_read(&mut Context::from_waker(&waker), buffer)
    }
}

impl<C: Connection> AsyncWrite for SloppyConnection<C> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        let waker = self.waker(cx, false);
        Pin::new(&mut self.inner).poll_write(&mut Context::from_waker(&waker), buffer)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_close(cx)
    }
}

impl<C: Connection> Connection for SloppyConnection<C> {
    fn poll_read_now(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<Option<usize>>> {
        let waker = self.waker(cx, true);
        self.inner
            .poll_read_now(&mut Context::from_waker(&waker), buffer)
    }

    fn poll_half_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner.poll_half_close(cx)
    }
}
