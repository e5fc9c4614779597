//! What hyper needs of a runtime, over [`Runtime`].

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
use crate::gate::Guard;
use crate::rt::Runtime;
use crate::sync::plain::{Arc, Mutex, lock};

pub(super) type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Spawns the streams of an HTTP/2 connection; each holds a guard.
#[derive(Clone)]
pub struct StreamExecutor {
    state: Arc<State>,
    stop_on_panic: bool,
}

impl StreamExecutor {
    pub(super) fn new(state: Arc<State>, stop_on_panic: bool) -> StreamExecutor {
        StreamExecutor {
            state,
            stop_on_panic,
        }
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
        // Refused only once the server was stopped, with the connection.
        let info = &self.state.info;
        if let Ok(guard) = info.try_guard() {
            info.spawn(Box::pin(Stream {
                work,
                state: self.state.clone(),
                stop_on_panic: self.stop_on_panic,
                guard,
            }));
        }
    }
}

pin_project! {
    /// The task of one stream.
    struct Stream<F> {
        #[pin]
        work: F,
        state: Arc<State>,
        stop_on_panic: bool,
        // It waits for the abort, and for nothing else.
        guard: Guard,
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
                let info = &this.state.info;
                let (id, peer) = (info.id(), info.peer_addr());
                error!("#{id} {peer}: the handler of a stream panicked");
                this.state.note_panic(panic);
                if *this.stop_on_panic {
                    // Its connection may last: the other streams are answered.
                    info.shutdown().stop(Cause::Panic);
                }
                Poll::Ready(())
            }
            Ok(Poll::Pending) => match this.guard.is_registered_for(cx) {
                true if !this.guard.is_aborting() => Poll::Pending,
                _ => this.guard.poll_abort(cx),
            },
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
