//! What hyper needs of a runtime, over [`Runtime`].

use std::borrow::Borrow;
use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper::rt::{Executor, Sleep, Timer};
use log::error;
use pin_project_lite::pin_project;

use super::state::State;
use crate::cause::Cause;
use crate::gate::{AbortWait, Shutdown};
use crate::phase::Phase;
use crate::rt::Runtime;
use crate::sync::plain::{Arc, Mutex, lock};

pub(super) type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Spawns the streams of an HTTP/2 connection. Each keeps what its connection holds, and
/// with that a guard of the server.
#[derive(Clone)]
pub struct StreamExecutor(Arc<State>);

impl StreamExecutor {
    pub(super) fn new(state: Arc<State>) -> StreamExecutor {
        StreamExecutor(state)
    }
}

impl fmt::Debug for StreamExecutor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamExecutor").finish_non_exhaustive()
    }
}

impl<F> Executor<F> for StreamExecutor
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, work: F) {
        let origin = &self.0.origin;
        // Otherwise its connection is aborted as well.
        if origin.shutdown().phase() < Phase::Aborting {
            let aborting = AbortWait::new(OfStream(self.0.clone()));
            origin.spawn(Box::pin(Stream { work, aborting }));
        }
    }
}

/// The state of its connection, and by it the server's gate and a guard.
struct OfStream(Arc<State>);

impl Borrow<Shutdown> for OfStream {
    #[inline]
    fn borrow(&self) -> &Shutdown {
        self.0.origin.shutdown()
    }
}

pin_project! {
    /// The task of one stream.
    struct Stream<F> {
        #[pin]
        work: F,
        aborting: AbortWait<OfStream>,
    }
}

impl<F: Future<Output = ()>> Future for Stream<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        match catch_unwind(AssertUnwindSafe(|| this.work.poll(cx))) {
            Ok(Poll::Ready(())) => Poll::Ready(()),
            // The drop of its work resets the stream, and no other.
            Err(panic) => {
                let OfStream(state) = this.aborting.shared();
                let (id, peer) = (state.origin.id(), state.origin.peer_addr());
                error!("#{id} {peer}: the handler of a stream panicked");
                if state.note_panic(panic) {
                    // Its connection may last: the other streams are answered.
                    state.origin.shutdown().stop(Cause::Panic);
                }
                Poll::Ready(())
            }
            Ok(Poll::Pending) => this.aborting.poll(cx),
        }
    }
}

/// The timer of hyper.
pub(super) struct HyperTimer<R>(pub(super) R);

impl<R: Runtime> Timer for HyperTimer<R> {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until(self.0.now() + duration)
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        Box::pin(SyncSleep {
            sleep: Mutex::new(Box::pin(self.0.sleep_until(deadline))),
        })
    }

    fn now(&self) -> Instant {
        self.0.now()
    }
}

/// hyper wants its timers to be `Sync`, which those of a runtime need not be.
struct SyncSleep<S> {
    sleep: Mutex<Pin<Box<S>>>,
}

impl<S: Future<Output = ()>> Future for SyncSleep<S> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        lock(&self.sleep).as_mut().poll(cx)
    }
}

impl<S: Future<Output = ()> + Send> Sleep for SyncSleep<S> {}
