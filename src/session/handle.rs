//! The handle on a session that something else owns.

#[cfg(all(test, not(feature = "loom")))]
mod tests;

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use super::last::DrainsLast;
use super::pending;
use crate::address::Address;
use crate::connection::{Describe, Ended};
#[cfg(feature = "http")]
use crate::gate::PlainGuard;
use crate::gate::{Guard, GuardError, OthersEnded, PhaseReached, Shutdown};
use crate::idle::poll_budget;
use crate::report::Activity;
use crate::sync::plain::Arc;

/// A handle on a [`Session`](crate::Session), taken with
/// [`handle`](crate::Session::handle) before the session is given away.
///
/// It holds a guard: the server waits for its drop, as for that of the session.
///
/// A WebSocket, for example, owns its session. The handle keeps the idle point:
///
/// ```
/// use async_tungstenite::tungstenite::Message;
/// use async_tungstenite::tungstenite::protocol::{CloseFrame, frame::coding::CloseCode};
/// use futures::StreamExt;
/// use lameduck::{Connection, Session};
/// use std::error::Error;
///
/// /// Echoes messages, and says good bye when the server drains.
/// async fn echo(session: Session<impl Connection>) -> Result<(), Box<dyn Error + Send + Sync>> {
///     let mut handle = session.handle()?;
///     // A request or a message that has begun is waited for.
///     let session = session.with_websocket_frames();
///     let accepting = async_tungstenite::accept_async(session);
///     let Some(socket) = handle.next_or_drain(accepting, || true).await else {
///         return Ok(());
///     };
///     let mut socket = socket?;
///     // A message that had arrived comes first.
///     while let Some(message) = handle.next_or_drain(socket.next(), || true).await {
///         match message {
///             Some(Ok(message @ (Message::Text(_) | Message::Binary(_)))) => {
///                 socket.send(message).await?;
///             }
///             Some(message) => _ = message?,
///             None => return Ok(()),
///         }
///     }
///     let reason = "the server stops".into();
///     socket.close(Some(CloseFrame { code: CloseCode::Away, reason })).await?;
///     // The peer answers with a close of its own.
///     while let Some(Ok(_)) = socket.next().await {}
///     Ok(())
/// }
/// ```
pub struct SessionHandle {
    guard: Guard,
    connection: Arc<dyn Describe>,
}

impl SessionHandle {
    pub(crate) fn new(guard: Guard, connection: Arc<dyn Describe>) -> SessionHandle {
        SessionHandle { guard, connection }
    }

    /// Returns the number of the connection: see
    /// [`Session::id`](crate::Session::id).
    pub fn id(&self) -> u64 {
        self.connection.facts().id()
    }

    /// Returns the address of the peer.
    pub fn peer_addr(&self) -> Address {
        self.connection.facts().peer_addr()
    }

    /// Returns the index of the listener that accepted it, in the order in
    /// which listeners were given to the builder.
    pub fn listener_index(&self) -> usize {
        self.connection.facts().listener_index()
    }

    /// Returns the number of bytes that were read so far.
    pub fn bytes_read(&self) -> u64 {
        self.connection.facts().bytes_read()
    }

    /// Returns the number of bytes that were written so far.
    pub fn bytes_written(&self) -> u64 {
        self.connection.facts().bytes_written()
    }

    /// Returns the server's gate.
    #[inline]
    pub fn shutdown(&self) -> &Shutdown {
        self.guard.shutdown()
    }

    /// Takes a guard for a task of this connection; see
    /// [`Session::try_guard`](crate::Session::try_guard).
    ///
    /// # Errors
    /// [`GuardError::Closed`] once the server is stopped.
    pub fn try_guard(&self) -> Result<Guard, GuardError> {
        self.guard.try_clone()
    }

    /// Returns whether the server drains: the time to announce a close.
    pub fn is_draining(&self) -> bool {
        self.guard.is_draining()
    }

    /// Waits until the server drains; the future does not borrow the handle.
    pub fn draining(&self) -> PhaseReached {
        self.shutdown().draining()
    }

    /// Takes another handle on the same session.
    ///
    /// # Errors
    /// [`GuardError::Closed`] once the server is stopped.
    pub fn try_clone(&self) -> Result<SessionHandle, GuardError> {
        let connection = self.connection.clone();
        Ok(SessionHandle::new(self.guard.try_clone()?, connection))
    }

    /// Notes that the stop ends the connection.
    pub(super) fn set_drained(&self) {
        self.connection.set_drained();
    }

    /// Returns whether the peer is known to have ended its side.
    pub(super) fn has_input_ended(&self) -> bool {
        self.connection.has_input_ended()
    }

    /// Returns whether what comes is held back.
    pub(super) fn is_held_back(&self) -> bool {
        self.connection.is_held_back()
    }

    /// Returns whether a write waits for the peer to take something.
    pub(super) fn has_pending_write(&self) -> bool {
        self.connection.facts().is_write_pending()
    }

    /// Ready where the server aborts; otherwise the task is woken when it does.
    pub(super) fn poll_abort(&mut self, cx: &Context<'_>) -> Poll<()> {
        self.guard.poll_abort(cx)
    }

    /// Notes that the read that has just found nothing is in the middle of a
    /// message, of which the transport does not know.
    #[cfg(feature = "http")]
    pub(crate) fn set_mid_message(&self) {
        self.connection.facts().set_found_nothing(false);
    }

    /// Returns what another handle on the same session can be made of.
    #[cfg(feature = "http")]
    pub(crate) fn parts(&self) -> Result<(PlainGuard, Arc<dyn Describe>), GuardError> {
        Ok((self.guard.try_plain()?, self.connection.clone()))
    }

    #[cfg(feature = "http")]
    #[inline]
    pub(crate) fn connection(&self) -> &dyn Describe {
        &*self.connection
    }

    #[cfg(feature = "http")]
    #[inline]
    pub(crate) fn guard_mut(&mut self) -> &mut Guard {
        &mut self.guard
    }

    /// Names the connection in the report, should it not end in time: by its
    /// user, or by what it works at.
    ///
    /// ```
    /// use lameduck::{Connection, Session};
    /// use std::io;
    ///
    /// async fn serve(session: Session<impl Connection>) -> io::Result<()> {
    ///     session.handle()?.set_label("user 1201, an upload");
    ///     Ok(())
    /// }
    /// ```
    pub fn set_label(&self, label: impl Into<String>) {
        self.connection.set_label(label.into());
    }

    /// Lets the connection drain last: for a receiver of what other connections send, such
    /// as a subscriber of a broker, or a member of a chat.
    ///
    /// Its idle point, [`next_or_drain`](SessionHandle::next_or_drain), then ends once nobody
    /// is left who could have something for it: nobody is accepted any more, all connections
    /// that are still open drain last, and all of these are at their idle points. So what a
    /// publisher had sent before the stop is delivered, also of one that waited in the accept
    /// queue, be it for the [limit](crate::Builder::connection_limit) of connections
    /// ([F94](crate::docs::faults#f94)). In a restart that can take as long as others
    /// use their connections.
    ///
    /// Where another one is stuck, it ends at its idle point all the same once three quarters
    /// of the time between the drain and the abort are over
    /// ([F98](crate::docs::faults#f98)).
    ///
    /// What a connection has for another has to be in the queue of that one before it is
    /// at its own idle point. A task between the two, such as one that distributes messages,
    /// has to confirm what it was given.
    ///
    /// Where several tasks have a handle of the connection, it is for each of them. It is for
    /// sessions, and for what HTTP has upgraded; server-sent events need a
    /// [`settle`](crate::Builder::settle) time instead.
    ///
    /// ```
    /// use futures::StreamExt;
    /// use futures::channel::mpsc::UnboundedReceiver;
    /// use futures::future::{Either, select};
    /// use futures::io::{AsyncReadExt, AsyncWriteExt};
    /// use lameduck::{Connection, Session};
    /// use std::io;
    ///
    /// /// Sends a subscriber its messages; it says nothing itself.
    /// async fn subscriber(
    ///     session: Session<impl Connection>,
    ///     mut messages: UnboundedReceiver<Vec<u8>>,
    /// ) -> io::Result<()> {
    ///     let mut handle = session.handle()?;
    ///     handle.drain_last();
    ///     let (mut input, mut output) = session.split();
    ///     loop {
    ///         let mut byte = [0];
    ///         let next = select(messages.next(), input.read(&mut byte));
    ///         match handle.next_or_drain(next, || true).await {
    ///             Some(Either::Left((Some(message), _))) => output.write_all(&message).await?,
    ///             // It leaves, or the server stops.
    ///             _ => return Ok(()),
    ///         }
    ///     }
    /// }
    /// ```
    pub fn drain_last(&mut self) {
        if !self.connection.drains_last() {
            let (connection, shutdown) = (self.connection.clone(), self.shutdown().clone());
            self.connection = Arc::new(DrainsLast::new(connection, shutdown));
        }
    }

    /// Awaits `work`, or the stop: the idle point of a connection that something
    /// else owns.
    ///
    /// `Some(output)`: the work has ended. `None`: the server drains, and the
    /// work waits for input, of which there is none. What had arrived wins over
    /// the stop: `work` is polled, then the stop is looked at, then `work` is
    /// polled again. The wait ends only if the work is still pending, if it has
    /// read the session in that very poll, in the task of this call, and found
    /// nothing, if the transport is not in the middle of a message
    /// ([`Connection::is_mid_message`](crate::Connection::is_mid_message)), and
    /// if `is_idle` agrees.
    ///
    /// Work that waits for something else alone, such as a queue, has not read: the stop waits
    /// for it. Let it read the session as well, as in the chat below, or wait in
    /// [`Session::wait_or_drain`](super::Session::wait_or_drain).
    ///
    /// `is_idle` is for what the work knows and the transport does not, such as
    /// half a message in the buffer of a codec. Where every wait is between two
    /// messages, it is `|| true`. Work that gives each message out is like that; work that
    /// answers by itself, such as a `forward` of answers, or a library that serves the whole
    /// connection, is not: it waits for its own answers, too, and `|| true` loses these.
    /// Count the requests that it has under way, and ask for none. Output that waits for room
    /// needs no such care: while a write to a session is pending in that poll, the wait goes
    /// on ([F103](crate::docs::faults#f103)). Work that reads ahead while it writes to
    /// something else, as `tokio::io::copy` and `copy_bidirectional` do to an upstream, holds
    /// bytes where the transport has none: it needs an `is_idle` that knows of them.
    /// `futures::io::copy` waits
    /// either to read or to write, and holds nothing while it reads. `is_idle` is asked
    /// before and after the work is polled: what another task queues for the work until it lets
    /// `is_idle` agree is handed out. It is asked only then: a task that lets it agree has to
    /// wake the work, as a message for it does, such as one that says that none will follow.
    /// The work is borrowed while it is asked, so what both look at is kept beside them: in an
    /// atomic, as a reference to a `Cell` is not [`Send`], which a handler has to be.
    ///
    /// A handler that is aborted is dropped, with its wait. In another task the wait gives
    /// `None` then, whatever `is_idle` says.
    ///
    /// Over TLS, a peer that ends without close_notify, as nearly all clients do, is an
    /// error of the work (`UnexpectedEof`): only its user can tell an end from a
    /// message that was cut off. If `is_idle` agrees then, and the handler returns this
    /// error, the connection counts as closed by its peer, and not as failed. So does an
    /// error that hides its source, such as a codec's.
    ///
    /// # Cancel safety
    /// That of `work`.
    ///
    /// A chat server, with both directions in one task:
    ///
    /// ```
    /// use futures::channel::mpsc::UnboundedReceiver;
    /// use futures::future::{Either, select};
    /// use futures::io::{AsyncReadExt, AsyncWriteExt};
    /// use futures::StreamExt;
    /// use lameduck::{Connection, Session};
    /// use std::io;
    /// use std::pin::{Pin, pin};
    ///
    /// /// Sends what others say, and gives each piece of input to `say`.
    /// async fn chat(
    ///     session: Session<impl Connection>,
    ///     mut inbox: UnboundedReceiver<Vec<u8>>,
    ///     mut say: impl FnMut(&[u8]),
    /// ) -> io::Result<()> {
    ///     let mut handle = session.handle()?;
    ///     // What others say at the stop comes as well.
    ///     handle.drain_last();
    ///     let (mut input, mut output) = session.split();
    ///     let mut buffer = [0; 1024];
    ///     loop {
    ///         // What others have said by now comes first.
    ///         let work = select(inbox.next(), input.read(&mut buffer));
    ///         match handle.next_or_drain(work, || true).await {
    ///             Some(Either::Left((Some(message), _))) => output.write_all(&message).await?,
    ///             Some(Either::Right((n, _))) => match n? {
    ///                 0 => return Ok(()),
    ///                 n => say(&buffer[..n]),
    ///             },
    ///             Some(Either::Left((None, _))) | None => return Ok(()),
    ///         }
    ///     }
    /// }
    /// ```
    ///
    /// A proxy of bytes does not know where a message ends: see
    /// [`run_until_quiet`](SessionHandle::run_until_quiet).
    ///
    /// What holds parts of frames or of lines, and does not say so: see
    /// [`with_frames`](super::Session::with_frames) and
    /// [`with_delimiter`](super::Session::with_delimiter).
    ///
    /// A codec of tokio-util. It is idle where its read buffer is empty and no byte was
    /// read since its last message: an empty buffer alone does not say so, as a decoder may
    /// keep the head of a message to itself. This is noted after each look, as the codec is
    /// borrowed meanwhile.
    ///
    /// ```
    /// use futures::{SinkExt, StreamExt};
    /// use lameduck::{Connection, Session};
    /// use std::future::poll_fn;
    /// use std::io;
    /// use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
    /// use tokio_util::codec::{Framed, LengthDelimitedCodec};
    ///
    /// async fn echo<C: Connection>(session: Session<C>) -> io::Result<()> {
    ///     let mut handle = session.handle()?;
    ///     let mut framed = Framed::new(session, LengthDelimitedCodec::new());
    ///     let is_idle = AtomicBool::new(true);
    ///     let mut whole = 0; // so many bytes were whole messages
    ///     loop {
    ///         let message = poll_fn(|cx| {
    ///             let message = framed.poll_next_unpin(cx);
    ///             let read = framed.get_ref().bytes_read();
    ///             if message.is_ready() && framed.read_buffer().is_empty() {
    ///                 whole = read;
    ///             }
    ///             is_idle.store(framed.read_buffer().is_empty() && read == whole, Relaxed);
    ///             message
    ///         });
    ///         match handle.next_or_drain(message, || is_idle.load(Relaxed)).await {
    ///             Some(Some(message)) => framed.send(message?.freeze()).await?,
    ///             Some(None) | None => return Ok(()),
    ///         }
    ///     }
    /// }
    /// ```
    pub async fn next_or_drain<F: Future>(
        &mut self,
        work: F,
        mut is_idle: impl FnMut() -> bool,
    ) -> Option<F::Output> {
        let mut work = pin!(work);
        let SessionHandle { guard, connection } = self;
        let mut waiting = Waiting {
            connection: &**connection,
            resting: None,
        };
        poll_fn(|cx| waiting.poll(guard, cx, |cx| work.as_mut().poll(cx), &mut is_idle)).await
    }
}

#[cfg(feature = "http")]
impl SessionHandle {
    /// Returns whether a restart spares the connection, which is idle, since it `is_used`,
    /// or its peer still receives. The task is then woken to look again.
    pub(crate) fn is_spared(&mut self, cx: &Context<'_>, is_used: bool) -> bool {
        self.guard.spares_those_in_use()
            && (is_used || self.connection.unused().is_receiving())
            && self
                .connection
                .poll_unused(&mut self.guard, cx)
                .is_pending()
    }
}

#[cfg(feature = "http")]
impl<C: crate::rt::Connection> super::Session<C> {
    /// Reads as `poll_read` does, in the task of the handler: the abort drops
    /// what waits there, and the wait is not registered for it, which would take
    /// memory for as long as the connection lives
    /// ([F69](crate::docs::faults#f69)).
    pub(crate) fn poll_read_in_task(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<std::io::Result<usize>> {
        if self.inner().guard.is_settled() {
            ready!(self.poll_accepted(cx));
        }
        let connection = &mut self.inner_mut().connection;
        let n = match std::pin::Pin::new(connection).poll_read(cx, buffer) {
            Poll::Ready(read) => read?,
            Poll::Pending => std::task::ready!(self.poll_parked(cx, buffer))?,
        };
        self.note_read(n);
        Poll::Ready(Ok(n))
    }

    /// Ends the waits at an idle point for good: its place with the gate is free for others.
    pub(crate) fn end_idle_waits(&mut self) {
        self.inner_mut().guard.end_wait();
    }

    /// Returns whether a read waits for the abort, too.
    #[cfg(all(test, feature = "sim", not(feature = "loom")))]
    pub(crate) fn awaits_abort(&self) -> bool {
        let rare = self.inner().rare.as_ref();
        rare.is_some_and(|rare| rare.aborts.read.is_some())
    }
}

/// A wait at an idle point. Its drop ends the wait, also where it is cancelled.
struct Waiting<'a> {
    connection: &'a dyn Describe,
    /// For a connection that drains last.
    resting: Option<OthersEnded>,
}

impl Waiting<'_> {
    fn poll<T>(
        &mut self,
        guard: &mut Guard,
        cx: &mut Context<'_>,
        mut work: impl FnMut(&mut Context<'_>) -> Poll<T>,
        is_idle: &mut impl FnMut() -> bool,
    ) -> Poll<Option<T>> {
        let connection = self.connection;
        let ends_busy = guard.is_settled() && guard.ends_busy();
        let mut look = |is_draining: bool, cx: &mut Context<'_>| {
            // Asked before the work as well: what another task has queued until it
            // became idle is found by the work then.
            let was_idle = !is_draining || is_idle();
            let begun = connection.begin_look(is_draining, cx);
            let (mut polled, mut has_output) = (Poll::Pending, false);
            let mut is_refused = false;
            if ends_busy {
                connection.set_may_refuse(Some(cx.waker()));
                (polled, has_output) = pending::look(|| work(cx));
                connection.set_may_refuse(None);
                is_refused = connection.has_found_nothing(begun) && is_idle();
            }
            if polled.is_pending() && !is_refused {
                // Where input was refused, it is in the middle of a message.
                (polled, has_output) = pending::look(|| work(cx));
            }
            let is_idle = &mut || !has_output && is_idle();
            match polled {
                Poll::Ready(output) => {
                    if connection.facts().has_ended(Ended::BareEnd) && is_idle() {
                        connection.facts().set_ended(Ended::BareEndAtIdle);
                    }
                    Poll::Ready(Some(output))
                }
                Poll::Pending if connection.has_found_nothing(begun) && is_idle() => {
                    connection.set_activity(Activity::Idle);
                    if !was_idle {
                        cx.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                    Poll::Ready(None)
                }
                Poll::Pending => {
                    connection.set_activity(Activity::Busy);
                    Poll::Pending
                }
            }
        };
        let polled = guard.poll_or_drain(
            cx,
            &mut look,
            |look, cx| match look(false, cx) {
                // Nothing is there, and the gate is open.
                Poll::Ready(None) => Poll::Pending,
                polled => polled,
            },
            |look, cx| match look(true, cx) {
                // What the work asked before it may be pending for this alone.
                Poll::Ready(None) => poll_budget(cx).map(|()| None),
                polled => polled,
            },
        );
        if let Poll::Ready(None) = polled {
            if connection.drains_last() {
                let others = || guard.shutdown().others_ended();
                let resting = self.resting.get_or_insert_with(others);
                ready!(Pin::new(resting).poll(cx));
            }
            if guard.spares_those_in_use() {
                ready!(connection.poll_unused(guard, cx));
            }
            connection.set_drained();
            return polled;
        }
        self.resting = None;
        if polled.is_pending() && guard.is_settled() {
            // The abort drops a handler, and with it this wait; another task is to end, too.
            return guard.poll_abort(cx).map(|()| None);
        }
        polled
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.connection.set_activity(Activity::Busy);
    }
}

impl fmt::Debug for SessionHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let facts = self.connection.facts();
        let mut handle = f.debug_struct("SessionHandle");
        handle.field("id", &facts.id());
        handle.field("peer", &facts.peer_addr());
        handle.field("activity", &facts.activity());
        handle.finish_non_exhaustive()
    }
}
