//! A runtime of one's own in a few lines: only the executor is new.
//!
//! `cargo run --example own_runtime`, connect to 127.0.0.1:48879, then Ctrl-C.

use std::{future::Future, io, time::Instant};

use futures::executor::{ThreadPool, block_on};
use futures::io::AsyncWriteExt;
use lameduck::rt::Socket;
use lameduck::runtimes::parts::{Connection, Listener, Signals, Sleep};
use lameduck::{Address, ListenOptions, Report, Runtime, Server, Session, Signal};

/// Tasks run on a few threads. `lameduck::rt::conformance` checks it.
#[derive(Clone, Debug)]
pub(crate) struct OwnPool(pub(crate) ThreadPool);

impl Runtime for OwnPool {
    type Listener = Listener;
    type Signals = Signals;
    type Sleep = Sleep;
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.0.spawn_ok(task);
    }
    fn now(&self) -> Instant {
        Instant::now()
    }
    fn sleep_until(&self, at: Instant) -> Sleep {
        Sleep::until(at)
    }
    fn bind(&self, address: &Address, options: &ListenOptions) -> io::Result<Listener> {
        Listener::bind(address, options)
    }
    fn adopt(&self, socket: Socket, options: &ListenOptions) -> io::Result<Listener> {
        Listener::adopt(socket, options)
    }
    fn signals(&self, signals: &[Signal]) -> io::Result<Signals> {
        Signals::catch(signals)
    }
}

async fn echo(mut session: Session<Connection>) -> io::Result<()> {
    let mut buffer = [0; 4096];
    while let Some(n) = session.read_or_drain(&mut buffer).await? {
        session.write_all(&buffer[..n]).await?;
    }
    Ok(())
}

fn main() -> Result<Report, Box<dyn std::error::Error>> {
    let server = Server::builder(OwnPool(ThreadPool::new()?))
        .listen("127.0.0.1:48879")
        .bind()?;
    println!("listening on 127.0.0.1:48879; Ctrl-C stops it");
    let report = block_on(server.serve(echo));
    println!("{report}");
    Ok(report)
}
