//! The close of a connection over TLS whose peer takes no output.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::pin::pin;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use futures::future::{Either, select};
use futures::io::{AsyncReadExt, AsyncWriteExt};
use lameduck::{Address, Runtime, Session};

use crate::support::{LONG, builder};
use crate::tls::{identity, tls};

/// The records that TLS still holds cannot be flushed, and the server runs on:
/// nothing but the times of the close end it.
pub(crate) fn s19_a_peer_that_takes_no_output_is_closed_after_the_total_time<R: Runtime>(
    runtime: R,
) {
    let identity = identity();
    let (idle, total) = (Duration::from_millis(50), Duration::from_millis(200));
    let server = builder(tls(runtime.clone(), &identity)).lingering_close(idle, total);
    let server = server.bind().unwrap();
    let Some(Address::Tcp(address)) = server.local_addrs().next().cloned() else {
        panic!("it listens on TCP");
    };
    let (say, said) = mpsc::channel();
    let handler = move |mut session: Session<_>| {
        let (runtime, say) = (runtime.clone(), say.clone());
        async move {
            session.read_exact(&mut [0]).await?;
            loop {
                let mut patience = pin!(runtime.sleep_until(runtime.now() + idle * 4));
                let mut write = pin!(session.write(&[b'x'; 16 * 1024]));
                match select(write.as_mut(), patience.as_mut()).await {
                    Either::Left((written, _)) => _ = written?,
                    Either::Right(_) => break,
                }
            }
            say.send(()).unwrap();
            std::io::Result::Ok(())
        }
    };
    let shutdown = server.shutdown();
    let serving = thread::spawn(move || smol::block_on(server.serve(handler)));
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    let mut client = identity.client();
    while client.is_handshaking() || client.wants_write() {
        client.complete_io(&mut stream).unwrap();
    }
    client.writer().write_all(b"?").unwrap();
    client.complete_io(&mut stream).unwrap();
    said.recv_timeout(LONG).expect("the handler ends");
    let begun = Instant::now();
    while shutdown.guard_count() > 0 {
        assert!(begun.elapsed() < LONG, "the close does not end");
        thread::yield_now();
    }
    shutdown.stop("the test is over");
    assert_eq!(serving.join().unwrap().closed.finished, 1);
    // It was there all the time.
    assert!(stream.read(&mut [0]).unwrap() > 0);
}
