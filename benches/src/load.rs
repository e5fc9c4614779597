//! Clients: one thread that waits for the events of many connections.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use mio::net::TcpStream;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

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
    /// What is left to be written, and to be read, of the message under way.
    to_write: usize,
    to_read: usize,
    begun: Instant,
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
        Clients::connect_by(address, count, AT_ONCE)
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
        let mut clients = Clients {
            poll: Poll::new()?,
            events: Events::with_capacity(1024),
            connections: Vec::with_capacity(count),
            scratch: vec![0; 1 << 16],
        };
        while clients.connections.len() < count {
            let first = clients.connections.len();
            for n in first..count.min(first + at_once) {
                let mut stream = TcpStream::connect(nth_address(address, n))?;
                clients
                    .poll
                    .registry()
                    .register(&mut stream, Token(n), BOTH)?;
                clients.connections.push(Client {
                    stream: Some(stream),
                    to_write: 1,
                    to_read: 1,
                    begun: Instant::now(),
                });
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
        let client = &mut self.connections[n];
        let Some(stream) = &mut client.stream else {
            return Ok(false);
        };
        while client.to_write > 0 {
            match stream.write(&self.scratch[..client.to_write]) {
                Ok(written) => client.to_write -= written,
                Err(error) if not_yet(&error) => break,
                Err(error) => return Err(error),
            }
        }
        let was_reading = client.to_read > 0;
        while client.to_read > 0 {
            match stream.read(&mut self.scratch) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(read) => client.to_read -= read,
                Err(error) if not_yet(&error) => break,
                Err(error) => return Err(error),
            }
        }
        Ok(was_reading && client.to_read == 0)
    }

    /// Exchanges `count` messages over all connections, each of which sends its
    /// next one when it has the answer to the last.
    ///
    /// # Errors
    /// Those of the network.
    pub fn exchange(
        &mut self,
        size: usize,
        count: usize,
        latencies: &mut Histogram<u64>,
    ) -> io::Result<Duration> {
        let begun = Instant::now();
        let mut unsent = count;
        let mut answered = 0;
        for n in 0..self.connections.len() {
            answered += self.begin(n, size, &mut unsent, latencies)?;
        }
        while answered < count {
            for n in self.wait()? {
                if self.go_on(n)? {
                    self.note(n, latencies);
                    answered += 1 + self.begin(n, size, &mut unsent, latencies)?;
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
        size: usize,
        unsent: &mut usize,
        latencies: &mut Histogram<u64>,
    ) -> io::Result<usize> {
        let mut answered = 0;
        while *unsent > 0 {
            *unsent -= 1;
            let client = &mut self.connections[n];
            (client.to_write, client.to_read) = (size, size);
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
        let Some(stream) = &mut self.connections[n].stream else {
            return false;
        };
        match stream.read(&mut self.scratch) {
            Err(error) if not_yet(&error) => false,
            // A reset is an end, too.
            Ok(_) | Err(_) => {
                self.connections[n].stream = None;
                true
            }
        }
    }
}

/// Connects, exchanges one message and closes, `count` times.
///
/// # Errors
/// Those of the network.
pub fn visit(address: SocketAddr, size: usize, count: usize) -> io::Result<Duration> {
    let begun = Instant::now();
    let mut clients = Clients {
        poll: Poll::new()?,
        events: Events::with_capacity(1024),
        connections: Vec::new(),
        scratch: vec![0; 1 << 16],
    };
    let (mut opened, mut done) = (0, 0);
    while done < count {
        while opened < count && opened - done < AT_ONCE {
            let slot = match opened < AT_ONCE {
                true => {
                    clients.connections.push(Client {
                        stream: None,
                        to_write: 0,
                        to_read: 0,
                        begun,
                    });
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
            (client.to_write, client.to_read) = (size, size);
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
