//! The methods of the state that HTTP/2 alone needs. Its streams end in other tasks.

use std::num::NonZeroU32;
use std::task::{Context, Waker};

use super::{Panic, State};
use crate::http::streams::GOAWAY_LENGTH;
use crate::sync::plain::{Ordering, lock};

impl State {
    /// Keeps the panic of a stream for the end of the connection. The reset of
    /// the stream, which follows, wakes the driver. Returns whether it stops the server.
    pub(crate) fn note_panic(&self, panic: Panic) -> bool {
        if let Some(streams) = self.streams() {
            let mut streams = lock(streams);
            let first = &mut streams.tasks_mut().panic;
            if first.is_none() {
                *first = Some(panic);
            }
            self.has_panicked.store(true, Ordering::Relaxed);
        }
        self.origin.stops_on_panic()
    }

    #[inline]
    pub(crate) fn has_panicked(&self) -> bool {
        self.has_panicked.load(Ordering::Relaxed)
    }

    pub(crate) fn take_panic(&self) -> Option<Panic> {
        let streams = self.streams().filter(|_| self.has_panicked())?;
        lock(streams).tasks_mut().panic.take()
    }

    /// Wakes the driver when the last request in flight has ended.
    pub(crate) fn watch_in_flight(&self, cx: &Context<'_>) {
        if let Some(streams) = self.streams() {
            let driver = cx.waker().clone();
            let before = lock(streams).tasks_mut().driver.replace(driver);
            drop(before);
            self.origin.facts().watch_requests();
        }
    }

    /// Wakes the driver that waits for the end of the last request.
    #[cold]
    pub(super) fn wake_driver(&self) {
        if let Some(streams) = self.streams() {
            let driver = lock(streams).tasks_mut().driver.take();
            if let Some(driver) = driver {
                driver.wake();
            }
        }
    }

    /// Returns whether the client has had what opens the connection: with HTTP/2, our
    /// SETTINGS.
    pub(crate) fn is_open(&self) -> bool {
        self.streams()
            .is_none_or(|streams| lock(streams).is_acknowledged())
    }

    /// Holds back the input of HTTP/2, or reads it on.
    pub(crate) fn hold_back(&self, holds_back: bool) {
        if let Some(streams) = self.streams() {
            lock(streams).hold_back(holds_back);
        }
    }

    /// Returns whether the input of HTTP/2 is held back.
    pub(crate) fn is_held_back(&self) -> bool {
        self.streams()
            .is_some_and(|streams| lock(streams).is_held_back())
    }

    /// Returns whether the stop may end a stream at an idle point that its peer goes on with.
    pub(crate) fn has_idle_point(&self) -> bool {
        self.streams()
            .is_some_and(|streams| lock(streams).has_idle_point())
    }

    /// Ends the input of HTTP/2: hyper is given nothing more, and the peer is told which
    /// stream was the last, once hyper asks for more.
    pub(crate) fn end_input(&self) {
        if let Some(streams) = self.streams() {
            lock(streams).end_input();
        }
        self.set_announces(true);
    }

    /// Returns, once, the frame that tells the peer so.
    #[cold]
    pub(crate) fn take_goaway(&self) -> Option<[u8; GOAWAY_LENGTH]> {
        lock(self.streams()?).take_goaway()
    }

    /// Begins a look of the driver that has seen the stop.
    pub(crate) fn begin_look(&self) {
        if let Some(streams) = self.streams() {
            lock(streams).begin_look();
        }
    }

    /// Ends a look of the driver that has found no more.
    pub(crate) fn end_look(&self) {
        if let Some(streams) = self.streams() {
            let readers = lock(streams).end_look();
            readers.into_iter().for_each(Waker::wake);
        }
    }

    /// Returns whether so many answers are all that a call of gRPC awaits, one each.
    pub(crate) fn is_answered(&self, stream: NonZeroU32, answers: u64) -> bool {
        self.streams()
            .is_some_and(|streams| lock(streams).is_answered(stream.get(), answers))
    }

    /// Returns whether the peer has ended its side of a stream that we have not ended.
    pub(crate) fn has_peer_ended(&self, stream: NonZeroU32) -> bool {
        self.streams()
            .is_some_and(|streams| lock(streams).has_peer_ended(stream.get()))
    }

    /// Begins to wait for the first data of streams, of which some have had none.
    pub(crate) fn await_first(&self) -> bool {
        self.streams()
            .is_some_and(|streams| lock(streams).await_first())
    }

    /// Ends that wait.
    pub(crate) fn end_first(&self) {
        if let Some(streams) = self.streams() {
            lock(streams).end_first();
        }
    }

    /// Returns whether the reader of a stream has all that had arrived for it, and
    /// no part of a message.
    pub(crate) fn is_between_in(&self, stream: NonZeroU32, cx: &Context<'_>) -> bool {
        let streams = self.streams();
        streams.is_none_or(|streams| lock(streams).is_between(stream.get(), cx))
    }
}
