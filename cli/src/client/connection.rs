//! One connection of a client; everything that happens goes into its record.

use std::io::{self, ErrorKind};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use smol::future::FutureExt;
use smol::io::{AsyncReadExt, AsyncWriteExt};
use smol::{Async, Timer};
use socket2::{Domain, Socket, Type};

use super::http::{Parser, Response};
use super::journal::{End, Journal, Message};
use super::request::{Request, Target};
use crate::setup::Protocol;

/// The connection has ended; the record tells how.
#[derive(Debug)]
pub(crate) struct Disconnected;

#[derive(Debug)]
pub(crate) struct Connection {
    stream: Async<TcpStream>,
    record: Journal,
    protocol: Protocol,
}

impl Connection {
    pub(crate) async fn open(
        target: &Target,
        record: &Journal,
    ) -> Result<Connection, Disconnected> {
        let connected = Async::<TcpStream>::connect(target.address).await;
        Connection::opened(connected, target, record)
    }

    /// With small buffers on this side, so that the server has to wait for us.
    pub(crate) async fn open_narrow(
        target: &Target,
        record: &Journal,
        buffer: usize,
    ) -> Result<Connection, Disconnected> {
        let connected = connect_narrow(target.address, buffer).await;
        Connection::opened(connected, target, record)
    }

    fn opened(
        connected: io::Result<Async<TcpStream>>,
        target: &Target,
        record: &Journal,
    ) -> Result<Connection, Disconnected> {
        let stream = connected.inspect_err(|error| {
            let refused = End::Refused(error.to_string());
            record.lock().current.finish(refused);
        });
        let stream = stream.map_err(|_| Disconnected)?;
        let mut account = record.lock();
        account.current.connect(stream.get_ref().local_addr().ok());
        drop(account);
        // Our writes are whole messages: nothing is to be held back.
        let _ = stream.get_ref().set_nodelay(true);
        Ok(Connection {
            stream,
            record: record.clone(),
            protocol: target.protocol,
        })
    }

    /// Sends a request and receives its answer.
    pub(crate) async fn exchange(
        &mut self,
        request: &Request,
    ) -> Result<Option<Response>, Disconnected> {
        self.send(request, &request.bytes).await?;
        self.receive(request).await
    }

    /// Writes `bytes`; from then on an answer to `request` is owed.
    pub(crate) async fn send(
        &mut self,
        request: &Request,
        bytes: &[u8],
    ) -> Result<(), Disconnected> {
        self.begin(request);
        self.write(bytes).await
    }

    /// Notes that `request` comes next; it counts once a write has returned.
    pub(crate) fn begin(&mut self, request: &Request) {
        self.record.lock().current.unanswered.push_back(Message {
            label: request.label.clone(),
            written: None,
            received: 0,
        });
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) -> Result<(), Disconnected> {
        match self.stream.write_all(bytes).await {
            Ok(()) => {
                self.record.lock().current.sent();
                Ok(())
            }
            Err(error) => Err(self.broken(&error)),
        }
    }

    /// More of what already counts as written.
    pub(crate) async fn write_late(&mut self, bytes: &[u8]) -> Result<(), Disconnected> {
        let written = self.stream.write_all(bytes).await;
        written.map_err(|error| self.broken(&error))?;
        self.record.lock().current.sent_more();
        Ok(())
    }

    /// Waits for input and leaves it there; 0 at the orderly end.
    pub(crate) async fn peek(&self) -> Result<usize, Disconnected> {
        let peeked = self.stream.peek(&mut [0]).await;
        peeked.map_err(|error| self.broken(&error))
    }

    pub(crate) fn local(&self) -> Option<SocketAddr> {
        self.stream.get_ref().local_addr().ok()
    }

    /// The answer to the oldest request.
    pub(crate) async fn receive(
        &mut self,
        request: &Request,
    ) -> Result<Option<Response>, Disconnected> {
        match self.protocol {
            Protocol::Echo => self.receive_echo(&request.bytes).await.map(|()| None),
            Protocol::Http => self
                .receive_response(usize::MAX, Duration::ZERO)
                .await
                .map(Some),
        }
    }

    pub(crate) async fn receive_echo(&mut self, expected: &[u8]) -> Result<(), Disconnected> {
        let mut answer = vec![0; expected.len()];
        let mut filled = 0;
        while filled < expected.len() {
            let n = self
                .read(answer.get_mut(filled..).unwrap_or_default())
                .await?;
            if n == 0 {
                return Err(self.ended(End::Fin));
            }
            if answer.get(filled..filled + n) != expected.get(filled..filled + n) {
                return Err(self.ended(End::Garbled("it is not an echo".to_owned())));
            }
            filled += n;
            self.progress(filled as u64);
        }
        self.answered();
        Ok(())
    }

    /// Reads at most `piece` at once, and pauses after each: slowly, if that is asked.
    pub(crate) async fn receive_response(
        &mut self,
        piece: usize,
        pause: Duration,
    ) -> Result<Response, Disconnected> {
        let mut parser = Parser::new();
        let mut buffer = vec![0; piece.clamp(1, 16 * 1024)];
        loop {
            let n = self.read(&mut buffer).await?;
            if n == 0 {
                let whole = parser.end().inspect(|_| self.answered());
                let gone = self.ended(End::Fin);
                return whole.ok_or(gone);
            }
            match parser.feed(buffer.get(..n).unwrap_or_default()) {
                Ok(Some(response)) => {
                    self.answered();
                    return Ok(response);
                }
                Ok(None) => self.progress(parser.received()),
                Err(problem) => return Err(self.ended(End::Garbled(problem))),
            }
            if !pause.is_zero() {
                Timer::after(pause).await;
            }
        }
    }

    /// Reads; 0 at the orderly end. A reset is noted.
    pub(crate) async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Disconnected> {
        let read = self.stream.read(buffer).await;
        read.map_err(|error| self.broken(&error))
    }

    /// Reads whatever comes until the end, which it notes.
    pub(crate) async fn until_end(&mut self) -> Disconnected {
        let mut buffer = [0; 4096];
        loop {
            match self.read(&mut buffer).await {
                Ok(0) => return self.ended(End::Fin),
                Ok(_) => {}
                Err(gone) => return gone,
            }
        }
    }

    /// Writes without an end, and reads nothing, until nothing moves for `quiet`.
    pub(crate) async fn fill(
        &mut self,
        mut next: impl FnMut(u64) -> Vec<u8>,
        quiet: Duration,
        most: u64,
    ) -> Result<u64, Disconnected> {
        let mut written = 0;
        while written < most {
            let chunk = next(written);
            let mut rest = chunk.as_slice();
            while !rest.is_empty() {
                let write = async { Some(self.stream.write(rest).await) };
                let late = async {
                    Timer::after(quiet).await;
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

    /// The client closes; there is nothing unread that would make it a reset.
    pub(crate) fn leave(self) {
        let _ = self.stream.get_ref().shutdown(Shutdown::Both);
        self.record.lock().current.finish(End::Left);
    }

    /// Notes how it ended.
    pub(crate) fn ended(&self, end: End) -> Disconnected {
        self.record.lock().current.finish(end);
        Disconnected
    }

    pub(crate) fn answered(&self) {
        self.record.lock().current.answer();
    }

    pub(crate) fn progress(&self, received: u64) {
        let received = usize::try_from(received).unwrap_or(usize::MAX);
        self.record.lock().current.progress(received);
    }

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

async fn connect_narrow(address: SocketAddr, buffer: usize) -> io::Result<Async<TcpStream>> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    // Before the handshake: the window that is announced depends on it.
    socket.set_recv_buffer_size(buffer)?;
    socket.set_send_buffer_size(buffer)?;
    socket.set_nonblocking(true)?;
    match socket.connect(&address.into()) {
        Ok(()) => {}
        Err(error)
            if error.raw_os_error() == Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => {}
        Err(error) => return Err(error),
    }
    let stream = Async::new(TcpStream::from(socket))?;
    stream.writable().await?;
    match stream.get_ref().take_error()? {
        Some(error) => Err(error),
        None => Ok(stream),
    }
}
