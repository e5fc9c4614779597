//! A web server that does what a test tells it to.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// What it does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    Status(u16),
    /// It ends the connection without an answer.
    End,
    /// It never answers.
    Silence,
}

/// Starts a server; `reply` is told which request of its connection it is, from 1.
pub(crate) fn serve(reply: impl Fn(u64) -> Reply + Send + Sync + 'static) -> SocketAddr {
    listen(move |stream| {
        let reading = stream.try_clone().unwrap();
        answer(reading, &stream, &reply);
        let _ = stream.shutdown(Shutdown::Both);
    })
}

/// Starts a server that speaks TLS; gives the certificate that it is to be trusted by.
pub(crate) fn serve_tls(name: &str) -> (SocketAddr, String) {
    let own = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(own.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key)
        .unwrap();
    let config = Arc::new(config);
    let address = listen(move |stream| {
        let connection = ServerConnection::new(config.clone()).unwrap();
        let mut encrypted = StreamOwned::new(connection, stream);
        let mut buffer = [0; 4096];
        // One request a read is what the tool sends.
        while let Ok(1..) = encrypted.read(&mut buffer) {
            if encrypted.write_all(OK).is_err() {
                return;
            }
        }
    });
    (address, own.cert.pem())
}

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn listen(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let serve = Arc::new(serve);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, serve) = (stream.unwrap(), serve.clone());
            std::thread::spawn(move || serve(stream));
        }
    });
    address
}

fn answer(reading: impl Read, mut writing: impl Write, reply: &impl Fn(u64) -> Reply) {
    let mut lines = BufReader::new(reading).lines();
    let mut number = 0;
    while let Some(Ok(line)) = lines.next() {
        if !line.is_empty() {
            continue;
        }
        number += 1;
        match reply(number) {
            Reply::Status(status) => {
                let text = format!("HTTP/1.1 {status} X\r\nContent-Length: 2\r\n\r\nok");
                if writing.write_all(text.as_bytes()).is_err() {
                    return;
                }
            }
            Reply::End => return,
            Reply::Silence => {}
        }
    }
}
