//! Signals by `async-signal`, which works under every adapter here.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_core::Stream;

use crate::rt::SignalSource;
use crate::signal::Signal;

/// The signals of this process, on a thread of their own: they come although
/// every thread of a runtime is held by a handler. They go through a self-pipe
/// and are not blocked, so that children inherit no mask
/// ([F37](crate::docs::faults#f37)).
#[derive(Debug)]
pub struct Signals(async_signal::Signals);

impl Signals {
    /// Catches `signals` from now on: what
    /// [`Runtime::signals`](crate::rt::Runtime::signals) asks for.
    ///
    /// # Errors
    /// When one of them cannot be caught.
    pub fn catch(signals: &[Signal]) -> io::Result<Signals> {
        let wanted = signals.iter().map(|signal| match signal {
            Signal::Interrupt => async_signal::Signal::Int,
            Signal::Terminate => async_signal::Signal::Term,
            Signal::Quit => async_signal::Signal::Quit,
            Signal::Hangup => async_signal::Signal::Hup,
        });
        async_signal::Signals::new(wanted).map(Signals)
    }
}

impl SignalSource for Signals {
    fn poll_signal(&mut self, cx: &mut Context<'_>) -> Poll<Option<Signal>> {
        loop {
            let signal = match ready!(Pin::new(&mut self.0).poll_next(cx)) {
                Some(Ok(signal)) => signal,
                Some(Err(error)) => {
                    log::warn!("waiting for signals: {error}");
                    return Poll::Ready(None);
                }
                None => return Poll::Ready(None),
            };
            return Poll::Ready(Some(match signal {
                async_signal::Signal::Int => Signal::Interrupt,
                async_signal::Signal::Term => Signal::Terminate,
                async_signal::Signal::Quit => Signal::Quit,
                async_signal::Signal::Hup => Signal::Hangup,
                // None else was asked for.
                _ => continue,
            }));
        }
    }
}
