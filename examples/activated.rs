//! An echo service whose sockets systemd binds, beside a descriptor of another
//! kind. With SIGHUP it restarts, and its successor has all of them.
//!
//! With `ListenStream=48879` and `ListenDatagram=48880` in a socket unit, or for
//! a try: `systemd-socket-activate --fdname echo -l 48879 target/debug/examples/activated`.

use std::error::Error;
use std::io;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;

use futures::io::AsyncWriteExt;
use lameduck::handover::{PassedFd, Restart};
use lameduck::runtimes::smol::{Connection, Smol};
use lameduck::{Report, Server, Session, Signal};

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
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("info")).init();
    let name = std::env::args().nth(1).unwrap_or("echo".to_owned());
    let builder = Server::builder(Smol).listen_fd_name(name);
    let mut server = builder.restart(Restart::on(Signal::Hangup)).bind()?;
    for passed in server.take_passed_fds() {
        eprintln!("passed on: {}", describe(passed));
    }
    let report = smol::block_on(server.serve(echo));
    eprintln!("{report}");
    Ok(report)
}
