//! An echo service whose sockets systemd binds, beside a descriptor of another
//! kind.
//!
//! With `ListenStream=48879` and `ListenDatagram=48880` in a socket unit, or for
//! a try: `systemd-socket-activate --fdname echo -l 48879 target/debug/examples/activated`.

use std::error::Error;
use std::io;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;

use futures::io::AsyncWriteExt;
use lameduck::handover::PassedFd;
use lameduck::runtimes::smol::{Connection, Smol};
use lameduck::{Report, Server, Session};

async fn echo(mut session: Session<Connection>) -> io::Result<()> {
    let mut buffer = [0; 4096];
    while let Some(n) = session.read_or_drain(&mut buffer).await? {
        session.write_all(&buffer[..n]).await?;
    }
    Ok(())
}

/// What is no listener of the server is the program's own.
fn describe(passed: PassedFd) -> String {
    let (name, number) = (passed.name().to_owned(), passed.as_raw_fd());
    match passed.into_socket().map(UdpSocket::from) {
        Ok(socket) => match socket.local_addr() {
            Ok(address) => format!("{name} is a socket at {address}"),
            Err(error) => format!("{name} is a socket: {error}"),
        },
        Err(_) => format!("{name} is descriptor {number}"),
    }
}

fn main() -> Result<Report, Box<dyn Error>> {
    let name = std::env::args().nth(1).unwrap_or("echo".to_owned());
    let mut server = Server::builder(Smol).listen_fd_name(name).bind()?;
    for passed in server.take_passed_fds() {
        eprintln!("passed on: {}", describe(passed));
    }
    for address in server.local_addrs() {
        eprintln!("listening on {address}");
    }
    let report = smol::block_on(server.serve(echo));
    eprintln!("{report}");
    Ok(report)
}
