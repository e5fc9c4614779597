//! What this process was started with.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use listenfd::ListenFd;
use socket2::SockRef;

use super::CHANNEL;
use crate::address::Address;
use crate::rt::Socket;

/// The inherited sockets that were not yet taken, in their order.
#[derive(Debug, Default)]
pub(crate) struct Inherited {
    sockets: Vec<Option<(Address, Socket)>>,
    channel: Option<UnixStream>,
}

impl Inherited {
    /// Takes them out of the environment: whoever comes second finds none.
    pub(crate) fn from_env() -> io::Result<Inherited> {
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let names: Vec<_> = names.split(':').collect();
        let mut passed = ListenFd::from_env();
        let mut inherited = Inherited::default();
        for id in 0..passed.len() {
            if names.get(id) == Some(&CHANNEL) {
                let channel = passed.take_unix_listener(id)?.map(OwnedFd::from);
                inherited.channel = channel.map(UnixStream::from);
            } else if let Some(socket) = take(&mut passed, id)? {
                inherited.sockets.push(Some((socket.local_addr()?, socket)));
            }
        }
        Ok(inherited)
    }

    /// The socket that listens there, if there is one.
    pub(crate) fn take(&mut self, address: &Address) -> Option<Socket> {
        let mut sockets = self.sockets.iter_mut();
        let found = sockets.find(|socket| match socket {
            Some((local, _)) => serves(local, address),
            None => false,
        });
        found.and_then(Option::take).map(|(_, socket)| socket)
    }

    /// All that were not yet taken.
    pub(crate) fn take_all(&mut self) -> Vec<Socket> {
        let left = self.sockets.iter_mut().filter_map(Option::take);
        left.map(|(_, socket)| socket).collect()
    }

    /// Closes what nobody took. The channel to the predecessor, and which of
    /// the sockets were taken, if there is one.
    pub(crate) fn close_rest(self) -> Option<(UnixStream, Vec<bool>)> {
        let taken = self.sockets.iter().map(Option::is_none).collect();
        for (local, _) in self.sockets.iter().flatten() {
            log::warn!("{local} was inherited, and is not asked for: closing it");
        }
        self.channel.map(|channel| (channel, taken))
    }
}

fn take(passed: &mut ListenFd, id: usize) -> io::Result<Option<Socket>> {
    let socket = match passed.take_tcp_listener(id) {
        Ok(socket) => socket.map(Socket::Tcp),
        Err(_) => passed.take_unix_listener(id)?.map(Socket::Unix),
    };
    match &socket {
        Some(socket) if !SockRef::from(socket).is_listener()? => {
            let error = format!("what was passed at place {id} does not listen");
            Err(io::Error::new(io::ErrorKind::InvalidInput, error))
        }
        _ => Ok(socket),
    }
}

/// Whether a socket there is what somebody asks for; port 0 is any port.
fn serves(local: &Address, asked: &Address) -> bool {
    match (local, asked) {
        (Address::Tcp(local), Address::Tcp(asked)) if asked.port() == 0 => {
            local.ip() == asked.ip()
        }
        _ => local == asked,
    }
}
