//! Clients: one thread that waits for the events of many connections.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_rustls::rustls::pki_types::ServerName;
use futures_rustls::rustls::{self, ClientConfig, ClientConnection};
use hdrhistogram::Histogram;
use mio::net::TcpStream;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

use crate::message::{Dialogue, Message};

/// So many connections are under way at once: within any accept queue.
const AT_ONCE: usize = 64;

/// Nothing takes that long: a server that hangs is an error.
const PATIENCE: Duration = Duration::from_secs(60);

/// The process' end, beside the connections.
const PROCESS: Token = Token(usize::MAX - 1);

const BOTH: Interest = Interest::READABLE.add(Interest::WRITABLE);

/// Connections to one server.
#[derive(Debug)]
pub struct Clients {
    poll: Poll,
    events: Events,
    connections: Vec<Client>,
    scratch: Vec<u8>,
}

#[derive(Debug)]
struct Client {
    stream: Option<TcpStream>,
    dialogue: Dialogue,
    begun: Instant,
}

impl Client {
    fn new(stream: Option<TcpStream>) -> Client {
        Client {
            stream,
            dialogue: Dialogue::default(),
            begun: Instant::now(),
        }
    }
}

/// When clients and server came to their end after a signal.
#[derive(Clone, Copy, Debug)]
pub struct Ended {
    pub last_connection: Duration,
    pub process: Duration,
}

/// Spreads connections over addresses of this host, so that no port is scarce.
fn nth_address(mut address: SocketAddr, n: usize) -> SocketAddr {
    let host = (n % 200) as u8;
    address.set_ip([127, 0, 0, 1 + host].into());
    address
}

impl Clients {
    /// Connects so many, and lets each exchange one byte: it has been accepted,
    /// and has its buffer.
    ///
    /// # Errors
    /// Those of the network.
    pub fn connect(address: SocketAddr, count: usize) -> io::Result<Clients> {
        Clients::connect_with(Message::Echo(1), address, count, AT_ONCE)
    }

    /// The same, with another message.
    ///
    /// # Errors
    /// Those of the network.
    pub fn connect_to(
        message: Message,
        address: SocketAddr,
        count: usize,
    ) -> io::Result<Clients> {
        Clients::connect_with(message, address, count, AT_ONCE)
    }

    /// The same, with so many connections under way at once.
    ///
    /// # Errors
    /// Those of the network.
    pub fn connect_by(
        address: SocketAddr,
        count: usize,
        at_once: usize,
    ) -> io::Result<Clients> {
        Clients::connect_with(Message::Echo(1), address, count, at_once)
    }

    fn connect_with(
        message: Message,
        address: SocketAddr,
        count: usize,
        at_once: usize,
    ) -> io::Result<Clients> {
        let mut clients = Clients::none(count)?;
        while clients.connections.len() < count {
            let first = clients.connections.len();
            for n in first..count.min(first + at_once) {
                let mut stream = TcpStream::connect(nth_address(address, n))?;
                clients
                    .poll
                    .registry()
                    .register(&mut stream, Token(n), BOTH)?;
                let mut client = Client::new(Some(stream));
                client.dialogue.begin(message);
                clients.connections.push(client);
            }
            let mut waiting = clients.connections.len() - first;
            while waiting > 0 {
                for n in clients.wait()? {
                    waiting -= usize::from(clients.go_on(n)?);
                }
            }
        }
        Ok(clients)
    }

    /// Connects over TLS, and lets each exchange one message of HTTP/1.1.
    ///
    /// What the server says in TLS from then on is not looked at.
    ///
    /// # Errors
    /// Those of the network and of TLS.
    pub fn connect_over_tls(
        config: &Arc<ClientConfig>,
        address: SocketAddr,
        count: usize,
    ) -> io::Result<Clients> {
        let mut clients = Clients::none(count)?;
        let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
        for n in 0..count {
            let mut stream = std::net::TcpStream::connect(nth_address(address, n))?;
            stream.set_read_timeout(Some(PATIENCE))?;
            let session = ClientConnection::new(config.clone(), name.clone());
            let mut session = session.map_err(io::Error::other)?;
            let mut tls = rustls::Stream::new(&mut session, &mut stream);
            let mut dialogue = Dialogue::default();
            dialogue.begin(Message::Http1);
            tls.write_all(dialogue.unwritten())?;
            while dialogue.awaits() {
                match tls.read(&mut clients.scratch)? {
                    0 => return Err(ErrorKind::UnexpectedEof.into()),
                    read => dialogue.read(&clients.scratch[..read])?,
                }
            }
            stream.set_nonblocking(true)?;
            let mut stream = TcpStream::from_std(stream);
            let registry = clients.poll.registry();
            registry.register(&mut stream, Token(n), Interest::READABLE)?;
            clients.connections.push(Client::new(Some(stream)));
        }
        Ok(clients)
    }

    fn none(count: usize) -> io::Result<Clients> {
        Ok(Clients {
            poll: Poll::new()?,
            events: Events::with_capacity(1024),
            connections: Vec::with_capacity(count),
            scratch: vec![0; 1 << 16],
        })
    }

    /// The connections that something happened on.
    fn wait(&mut self) -> io::Result<Vec<usize>> {
        loop {
            match self.poll.poll(&mut self.events, Some(PATIENCE)) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
                Ok(()) if self.events.is_empty() => return Err(ErrorKind::TimedOut.into()),
                Ok(()) => return Ok(self.events.iter().map(|event| event.token().0).collect()),
            }
        }
    }

    /// Writes and reads what can be; true when this completed a message.
    fn go_on(&mut self, n: usize) -> io::Result<bool> {
        let Client {
            stream, dialogue, ..
        } = &mut self.connections[n];
        let Some(stream) = stream else {
            return Ok(false);
        };
        while !dialogue.unwritten().is_empty() {
            match stream.write(dialogue.unwritten()) {
                Ok(written) => dialogue.wrote(written),
                Err(error) if not_yet(&error) => break,
                Err(error) => return Err(error),
            }
        }
        let was_reading = dialogue.awaits();
        while dialogue.awaits() {
            match stream.read(&mut self.scratch) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(read) => dialogue.read(&self.scratch[..read])?,
                Err(error) if not_yet(&error) => break,
                Err(error) => return Err(error),
            }
        }
        Ok(was_reading && !dialogue.awaits())
    }

    /// Exchanges `count` messages over all connections, each of which sends its
    /// next one when it has the answer to the last.
    ///
    /// # Errors
    /// Those of the network.
    pub fn exchange(
        &mut self,
        message: Message,
        count: usize,
        latencies: &mut Histogram<u64>,
    ) -> io::Result<Duration> {
        let begun = Instant::now();
        let mut unsent = count;
        let mut answered = 0;
        for n in 0..self.connections.len() {
            answered += self.begin(n, message, &mut unsent, latencies)?;
        }
        while answered < count {
            for n in self.wait()? {
                if self.go_on(n)? {
                    self.note(n, latencies);
                    answered += 1 + self.begin(n, message, &mut unsent, latencies)?;
                }
            }
        }
        Ok(begun.elapsed())
    }

    /// Sends the next message, if there is one, and says how many were answered
    /// on the spot.
    fn begin(
        &mut self,
        n: usize,
        message: Message,
        unsent: &mut usize,
        latencies: &mut Histogram<u64>,
    ) -> io::Result<usize> {
        let mut answered = 0;
        while *unsent > 0 {
            *unsent -= 1;
            let client = &mut self.connections[n];
            client.dialogue.begin(message);
            client.begun = Instant::now();
            if !self.go_on(n)? {
                break;
            }
            self.note(n, latencies);
            answered += 1;
        }
        Ok(answered)
    }

    fn note(&self, n: usize, latencies: &mut Histogram<u64>) {
        let latency = self.connections[n].begun.elapsed().as_nanos();
        latencies.saturating_record(u64::try_from(latency).unwrap_or(u64::MAX));
    }

    /// Waits until all connections and the process have ended, each of which is
    /// closed on this side as soon as it has on the other.
    ///
    /// # Errors
    /// Those of waiting.
    pub fn until_ended(mut self, begun: Instant, process: &OwnedFd) -> io::Result<Ended> {
        let fd = process.as_raw_fd();
        let registry = self.poll.registry();
        registry.register(&mut SourceFd(&fd), PROCESS, Interest::READABLE)?;
        let mut ended = Ended {
            last_connection: Duration::ZERO,
            process: Duration::ZERO,
        };
        let mut open = self.connections.len();
        let mut is_running = true;
        while open > 0 || is_running {
            for n in self.wait()? {
                if n == PROCESS.0 {
                    is_running = false;
                    ended.process = begun.elapsed();
                } else if self.has_ended(n) {
                    open -= 1;
                    ended.last_connection = begun.elapsed();
                }
            }
        }
        Ok(ended)
    }

    fn has_ended(&mut self, n: usize) -> bool {
        let Client {
            stream, dialogue, ..
        } = &mut self.connections[n];
        let Some(stream) = stream else {
            return false;
        };
        loop {
            match stream.read(&mut self.scratch) {
                Err(error) if not_yet(&error) => return false,
                // What a protocol says before its end.
                Ok(read @ 1..) => {
                    let answer = dialogue.read_at_end(&self.scratch[..read]);
                    if !answer.is_empty() && stream.write_all(&answer).is_err() {
                        break;
                    }
                }
                // A reset is an end, too.
                Ok(0) | Err(_) => break,
            }
        }
        self.connections[n].stream = None;
        true
    }
}

/// Connects, exchanges one message and closes, `count` times.
///
/// # Errors
/// Those of the network.
pub fn visit(address: SocketAddr, size: usize, count: usize) -> io::Result<Duration> {
    let begun = Instant::now();
    let mut clients = Clients::none(AT_ONCE)?;
    let (mut opened, mut done) = (0, 0);
    while done < count {
        while opened < count && opened - done < AT_ONCE {
            let slot = match opened < AT_ONCE {
                true => {
                    clients.connections.push(Client::new(None));
                    opened
                }
                false => {
                    let free = clients.connections.iter().position(|c| c.stream.is_none());
                    free.ok_or_else(|| io::Error::other("no slot is free"))?
                }
            };
            let mut stream = TcpStream::connect(nth_address(address, opened))?;
            clients
                .poll
                .registry()
                .register(&mut stream, Token(slot), BOTH)?;
            let client = &mut clients.connections[slot];
            client.stream = Some(stream);
            client.dialogue.begin(Message::Echo(size));
            opened += 1;
        }
        for n in clients.wait()? {
            if clients.go_on(n)? {
                clients.connections[n].stream = None;
                done += 1;
            }
        }
    }
    Ok(begun.elapsed())
}

/// Neither an error nor done: connecting still, or full, or empty.
fn not_yet(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::WouldBlock | ErrorKind::NotConnected | ErrorKind::Interrupted
    )
}
