//! One connection of a client; everything that happens goes into its journal.

mod opening;

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use smol::Timer;
use smol::future::FutureExt;

use super::codec::{Codec, Event, Response};
use super::journal::{End, Journal};
use super::stream::Stream;
use super::target::{Request, Target};
use crate::limits;
use crate::setup::Protocol;

/// The connection has ended; the journal tells how.
#[derive(Debug)]
pub(crate) struct Disconnected;

const CHUNK: usize = 16 * 1024;

#[derive(Debug)]
pub(crate) struct Connection {
    stream: Stream,
    journal: Journal,
    target: Arc<Target>,
    codec: Codec,
    /// What was read to see whether there is anything.
    peeked: VecDeque<u8>,
    answers: VecDeque<Response>,
    /// Bytes of messages that have begun and are not whole.
    unsent: usize,
}

impl Connection {
    async fn open_socket(
        target: &Arc<Target>,
        journal: &Journal,
        buffer: Option<usize>,
    ) -> Result<Connection, Disconnected> {
        let stream = Stream::connect(target.address, buffer).await;
        let stream = stream.map_err(|error| {
            limits::note(&error);
            let refused = End::Refused(error.to_string());
            journal.lock().current.finish(refused);
            Disconnected
        })?;
        let mut client = journal.lock();
        client.current.closes_idle = target.closes_idle();
        client.current.is_single = !target.keeps;
        client.current.answer_time = target.answer_time;
        client.current.connect(stream.local());
        drop(client);
        Ok(Connection {
            stream,
            journal: journal.clone(),
            target: target.clone(),
            codec: Codec::new(target),
            peeked: VecDeque::new(),
            answers: VecDeque::new(),
            unsent: 0,
        })
    }

    /// Says whether the server has ended the connection by now; it is noted then.
    pub(crate) async fn has_end(&mut self) -> bool {
        matches!(
            smol::future::poll_once(self.peek()).await,
            Some(Ok(0) | Err(_))
        )
    }

    /// Sends a request and receives its answer.
    pub(crate) async fn exchange(
        &mut self,
        request: &Request,
    ) -> Result<Response, Disconnected> {
        self.send(request).await?;
        self.receive().await
    }

    /// Writes a request; from then on its answer is owed.
    pub(crate) async fn send(&mut self, request: &Request) -> Result<(), Disconnected> {
        let bytes = self.begin(request);
        self.write(&bytes).await
    }

    /// Notes that `request` comes next, and returns its bytes; it counts once a write
    /// has returned.
    pub(crate) fn begin(&mut self, request: &Request) -> Vec<u8> {
        let (key, bytes) = self.codec.encode(request);
        self.journal.lock().current.begin(key, &request.label);
        self.unsent += bytes.len();
        self.note_written(0);
        bytes
    }

    /// Notes that so much more of the messages that have begun is written.
    fn note_written(&mut self, length: usize) {
        self.unsent = self.unsent.saturating_sub(length);
        self.journal.lock().current.is_mid_message = self.unsent > 0;
    }

    /// Says whether a frame of our own may not be sent now, as it would come into the middle
    /// of another one.
    fn is_mid_frame(&self) -> bool {
        self.target.protocol == Protocol::Ws && self.unsent > 0
    }

    /// Writes the rest of a message; it counts once this has returned.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> Result<(), Disconnected> {
        let written = self.stream.write(bytes).await;
        written.map_err(|error| self.broken(&error))?;
        self.note_written(bytes.len());
        self.journal.lock().current.sent();
        Ok(())
    }

    /// Writes more of what already counts as written, or what is no message.
    pub(crate) async fn write_late(&mut self, bytes: &[u8]) -> Result<(), Disconnected> {
        let written = self.stream.write(bytes).await;
        written.map_err(|error| self.broken(&error))?;
        self.note_written(bytes.len());
        self.journal.lock().current.sent_more();
        self.flush().await
    }

    /// Notes that the rest of what has begun is on the wire.
    pub(crate) async fn complete(&mut self) -> Result<(), Disconnected> {
        self.note_written(self.unsent);
        self.flush().await
    }

    /// Waits for `moment` in the middle of a message. A Close frame of WebSocket that comes
    /// meanwhile is read: it says that the server need not take the rest.
    pub(crate) async fn wait_mid_message(
        &mut self,
        moment: impl Future<Output = ()>,
    ) -> Result<(), Disconnected> {
        let moment = async {
            moment.await;
            Ok(())
        };
        if !self.is_mid_frame() {
            return moment.await;
        }
        let watch = async {
            while self.journal.lock().current.announced.is_none() {
                self.read_events(CHUNK).await?;
            }
            std::future::pending().await
        };
        watch.or(moment).await
    }

    /// Returns what `bytes` are on the wire.
    pub(crate) fn seal(&mut self, bytes: &[u8]) -> Result<Vec<u8>, Disconnected> {
        self.stream.seal(bytes).map_err(|error| self.broken(&error))
    }

    /// Writes what `seal` or `begin_tls` returned, or a part of it.
    pub(crate) async fn write_wire(&mut self, wire: &[u8]) -> Result<(), Disconnected> {
        let written = self.stream.write_wire(wire).await;
        written.map_err(|error| self.broken(&error))
    }

    /// Notes that what was written counts as a message from now on.
    pub(crate) fn mark_sent(&self) {
        self.journal.lock().current.sent();
    }

    /// Notes that every message that was begun counts from now on.
    pub(crate) fn mark_all_sent(&self) {
        self.journal.lock().current.sent_all();
    }

    /// Waits for input, keeps it, and returns how much is kept: 0 at the orderly end, which
    /// it notes.
    pub(crate) async fn peek(&mut self) -> Result<usize, Disconnected> {
        if self.peeked.is_empty() {
            let mut byte = [0];
            match self.read_raw(&mut byte).await? {
                0 => {
                    self.ended(End::Fin);
                    return Ok(0);
                }
                _ => self.peeked.extend(byte),
            }
        }
        Ok(self.peeked.len())
    }

    /// Takes what comes for some time while nothing is asked, and returns how many lines or
    /// messages there were since the connection began.
    pub(crate) async fn listen(&mut self, time: Duration) -> Result<u64, Disconnected> {
        let listen = async {
            loop {
                self.read_events(CHUNK).await?;
            }
        };
        let over = async {
            Timer::after(time).await;
            Ok(())
        };
        listen.or(over).await?;
        Ok(self.codec.heard().unasked)
    }

    /// Returns the address of this side.
    pub(crate) fn local(&self) -> Option<SocketAddr> {
        self.stream.local()
    }

    /// Returns the next answer to a request.
    pub(crate) async fn receive(&mut self) -> Result<Response, Disconnected> {
        self.receive_slowly(CHUNK, Duration::ZERO).await
    }

    /// Reads at most `piece` at once, and pauses after each.
    pub(crate) async fn receive_slowly(
        &mut self,
        piece: usize,
        pause: Duration,
    ) -> Result<Response, Disconnected> {
        loop {
            if let Some(response) = self.answers.pop_front() {
                return Ok(response);
            }
            self.read_events(piece).await?;
            if !pause.is_zero() {
                Timer::after(pause).await;
            }
        }
    }

    /// Waits until no answer is to come any more.
    pub(crate) async fn receive_all(&mut self) -> Result<(), Disconnected> {
        while self.journal.lock().current.is_waiting() {
            self.receive().await?;
        }
        Ok(())
    }

    /// Grants an h2 server the room to send that was held back.
    pub(crate) async fn release_windows(&mut self) -> Result<(), Disconnected> {
        self.codec.hold_windows(false);
        self.flush().await
    }

    /// Writes what the codec has to say by itself, unless that would come into the middle of
    /// a frame.
    async fn flush(&mut self) -> Result<(), Disconnected> {
        if self.is_mid_frame() {
            return Ok(());
        }
        let output = self.codec.take_output();
        if output.is_empty() {
            return Ok(());
        }
        let written = self.stream.write(&output).await;
        written.map_err(|error| self.broken(&error))
    }

    /// Reads once, and notes what came.
    async fn read_events(&mut self, piece: usize) -> Result<(), Disconnected> {
        let mut buffer = vec![0; piece.max(1)];
        let n = self.read(&mut buffer).await?;
        if n == 0 {
            let last = self.codec.finish();
            let is_answer = last.is_some();
            last.into_iter().for_each(|event| self.take(event));
            let ended = self.ended(End::Fin);
            return match is_answer {
                true => Ok(()),
                false => Err(ended),
            };
        }
        let mut events = Vec::new();
        let fed = self
            .codec
            .feed(buffer.get(..n).unwrap_or_default(), &mut events);
        // Answers that came before the error count.
        events.into_iter().for_each(|event| self.take(event));
        if let Err(problem) = fed {
            return Err(self.ended(End::Garbled(problem)));
        }
        self.flush().await
    }

    /// Notes what the codec has understood.
    fn take(&mut self, event: Event) {
        let mut client = self.journal.lock();
        let journal = &mut client.current;
        match event {
            Event::Progress { key, received } => journal.progress(key, received),
            Event::Answered { key, response } => {
                match self.target.problem(&response) {
                    None => journal.answer(key, response.keep_alive),
                    Some(problem) => journal.fail(key, problem, response.length),
                }
                self.answers.push_back(response);
            }
            Event::Wrong {
                key,
                problem,
                received,
            } => {
                journal.fail(key, problem, received);
                self.answers.push_back(Response::default());
            }
            Event::Returned { key, rule } => {
                journal.give_back(key, rule);
                self.answers.push_back(Response::default());
            }
            Event::Announced(rule) => journal.announce(rule),
            Event::Opened => {}
        }
    }

    /// Reads once and returns how much came: 0 at the orderly end. A reset is noted.
    pub(crate) async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Disconnected> {
        if !self.peeked.is_empty() {
            let n = self.peeked.len().min(buffer.len());
            let peeked = self.peeked.drain(..n);
            buffer
                .iter_mut()
                .zip(peeked)
                .for_each(|(to, from)| *to = from);
            return Ok(n);
        }
        self.read_raw(buffer).await
    }

    async fn read_raw(&mut self, buffer: &mut [u8]) -> Result<usize, Disconnected> {
        let read = self.stream.read(buffer).await;
        read.map_err(|error| self.broken(&error))
    }

    /// Takes what has come while no answer is owed: what the protocol itself has to
    /// say, or the end.
    pub(crate) async fn absorb(&mut self) -> Result<(), Disconnected> {
        let absorbed = self.read_events(CHUNK).await;
        self.answers.clear();
        absorbed
    }

    /// Reads whatever comes until the end, which it notes.
    pub(crate) async fn until_end(&mut self) -> Disconnected {
        while self.read_events(CHUNK).await.is_ok() {
            self.answers.clear();
            if self.journal.lock().current.end != End::Open {
                break;
            }
        }
        Disconnected
    }

    /// Writes without an end, and reads nothing, until nothing moves for `quiet`.
    pub(crate) async fn fill(
        &mut self,
        next: impl FnMut(u64) -> Vec<u8>,
        quiet: Duration,
        most: u64,
    ) -> Result<u64, Disconnected> {
        let stuck = || async move {
            Timer::after(quiet).await;
        };
        self.fill_until(next, stuck, most).await
    }

    /// Writes without an end, and reads nothing, until nothing moves for as long as
    /// `stuck` takes.
    pub(crate) async fn fill_until<F: Future<Output = ()>>(
        &mut self,
        mut next: impl FnMut(u64) -> Vec<u8>,
        stuck: impl Fn() -> F,
        most: u64,
    ) -> Result<u64, Disconnected> {
        let mut written = 0;
        while written < most {
            let chunk = next(written);
            let wire = self.seal(&chunk)?;
            let mut rest = wire.as_slice();
            while !rest.is_empty() {
                let write = async { Some(self.stream.write_some(rest).await) };
                let late = async {
                    stuck().await;
                    None
                };
                match write.or(late).await {
                    Some(Ok(n)) => {
                        written += n as u64;
                        rest = rest.get(n..).unwrap_or_default();
                    }
                    Some(Err(error)) => return Err(self.broken(&error)),
                    None => return Ok(written),
                }
            }
        }
        Ok(written)
    }

    /// Ends the connection from this side.
    pub(crate) fn leave(self) {
        self.stream.close();
        self.journal.lock().current.finish(End::Left);
    }

    /// Notes how it ended.
    pub(crate) fn ended(&self, end: End) -> Disconnected {
        let current = &mut self.journal.lock().current;
        current.close_notify = self.stream.close_notify();
        current.finish(end);
        Disconnected
    }

    /// Notes progress with a message that no codec follows.
    pub(crate) fn progress(&self, received: u64) {
        let current = &mut self.journal.lock().current;
        if let Some(key) = current.unanswered.front().map(|message| message.key) {
            current.progress(key, received);
        }
    }

    /// Notes the answer to a message that no codec follows.
    pub(crate) fn answered(&self) {
        let current = &mut self.journal.lock().current;
        if let Some(key) = current.unanswered.front().map(|message| message.key) {
            current.answer(key, Default::default());
        }
    }

    /// Notes that the connection broke.
    fn broken(&self, error: &io::Error) -> Disconnected {
        self.ended(match error.kind() {
            ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::BrokenPipe
            | ErrorKind::NotConnected => End::Reset,
            _ => End::Garbled(error.to_string()),
        })
    }
}

#[cfg(test)]
mod tests {
    use smol::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[test]
    fn an_answer_with_nonsense_behind_it_is_counted() {
        let journal = Journal::new();
        smol::block_on(async {
            let listener = smol::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let target = Arc::new(Target::new(address, Protocol::Redis));
            let ask = async {
                let mut connection = Connection::open(&target, &journal).await.unwrap();
                connection.exchange(&target.request(0, 0)).await.err()
            };
            let answer = async {
                let (mut stream, _) = listener.accept().await.unwrap();
                stream.read(&mut [0; 1024]).await.unwrap();
                stream.write_all(b"+PONG\r\nnonsense\r\n").await.unwrap();
                stream
            };
            smol::future::zip(ask, answer).await.0.unwrap();
        });
        let current = &journal.lock().current;
        assert_eq!((current.answered, current.unanswered.len()), (1, 0));
        assert!(matches!(current.end, End::Garbled(_)), "{:?}", current.end);
    }
}
