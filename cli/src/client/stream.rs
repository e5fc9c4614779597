//! The bytes of a connection, in the clear or encrypted.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

use smol::Async;
use smol::io::{AsyncReadExt, AsyncWriteExt};
use socket2::{Domain, Socket, Type};

use super::tls::Session;

const CHUNK: usize = 16 * 1024;

/// A connected socket, and the TLS on it if there is any.
#[derive(Debug)]
pub(super) struct Stream {
    socket: Async<TcpStream>,
    session: Option<Session>,
    /// What TLS has to say and the socket has not taken yet.
    unsent: Vec<u8>,
}

impl Stream {
    /// Connects; with a `buffer`, both buffers of this side have that size, so that
    /// the server has to wait for us.
    pub(super) async fn connect(
        address: SocketAddr,
        buffer: Option<usize>,
    ) -> io::Result<Stream> {
        let socket = match buffer {
            None => Async::<TcpStream>::connect(address).await?,
            Some(buffer) => connect_narrow(address, buffer).await?,
        };
        // Our writes are whole messages: nothing is to be held back.
        let _ = socket.get_ref().set_nodelay(true);
        Ok(Stream {
            socket,
            session: None,
            unsent: Vec::new(),
        })
    }

    pub(super) fn local(&self) -> Option<SocketAddr> {
        self.socket.get_ref().local_addr().ok()
    }

    /// Begins to speak TLS, and returns the ClientHello.
    pub(super) fn begin_tls(&mut self, mut session: Session) -> io::Result<Vec<u8>> {
        let hello = session.output()?;
        self.session = Some(session);
        Ok(hello)
    }

    /// Completes a handshake that has begun.
    pub(super) async fn finish_tls(&mut self) -> io::Result<()> {
        while self.session.as_ref().is_some_and(Session::is_handshaking) {
            if self.take_from_wire().await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        self.flush().await
    }

    /// Returns the protocol that TLS agreed on.
    pub(super) fn protocol(&self) -> Option<&[u8]> {
        self.session.as_ref()?.protocol()
    }

    /// Returns whether a close_notify came, where there is TLS.
    pub(super) fn close_notify(&self) -> Option<bool> {
        self.session.as_ref().map(Session::has_close_notify)
    }

    /// Returns what `bytes` look like on the wire.
    pub(super) fn seal(&mut self, bytes: &[u8]) -> io::Result<Vec<u8>> {
        match &mut self.session {
            None => Ok(bytes.to_vec()),
            Some(session) => {
                let mut wire = std::mem::take(&mut self.unsent);
                wire.extend(session.seal(bytes)?);
                Ok(wire)
            }
        }
    }

    /// Writes what `seal` returned.
    pub(super) async fn write_wire(&mut self, wire: &[u8]) -> io::Result<()> {
        self.socket.write_all(wire).await
    }

    /// Writes a part of what `seal` returned.
    pub(super) async fn write_some(&mut self, wire: &[u8]) -> io::Result<usize> {
        self.socket.write(wire).await
    }

    pub(super) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self.session {
            None => self.socket.write_all(bytes).await,
            Some(_) => {
                let wire = self.seal(bytes)?;
                self.socket.write_all(&wire).await
            }
        }
    }

    /// Reads; 0 at the orderly end.
    pub(super) async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let Some(session) = &mut self.session else {
                return self.socket.read(buffer).await;
            };
            if let Some(n) = session.read(buffer) {
                return Ok(n);
            }
            self.take_from_wire().await?;
            self.flush().await?;
        }
    }

    async fn take_from_wire(&mut self) -> io::Result<usize> {
        self.flush().await?;
        let mut chunk = vec![0; CHUNK];
        let n = self.socket.read(&mut chunk).await?;
        let Some(session) = &mut self.session else {
            return Ok(n);
        };
        let taken = session.take(chunk.get(..n).unwrap_or_default());
        self.unsent.extend(session.output()?);
        match taken {
            Ok(()) => Ok(n),
            Err(error) => {
                // The server is told why, as far as it still listens.
                let _ = self.flush().await;
                Err(error)
            }
        }
    }

    async fn flush(&mut self) -> io::Result<()> {
        while !self.unsent.is_empty() {
            let n = self.socket.write(&self.unsent).await?;
            self.unsent.drain(..n);
        }
        Ok(())
    }

    /// Ends the connection from this side, without waiting for anything.
    pub(super) fn close(mut self) {
        let mut socket = self.socket.get_ref();
        if let Some(session) = &mut self.session
            && let Ok(wire) = session.close()
        {
            let _ = socket.write_all(&wire);
        }
        // Unread input would make the close a reset.
        let mut rest = vec![0; CHUNK];
        while matches!(socket.read(&mut rest), Ok(1..)) {}
        let _ = socket.shutdown(Shutdown::Both);
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
