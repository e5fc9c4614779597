//! HTTP servers: the same line on each runtime, by hyper alone, with hyper-util's
//! graceful shutdown, and on lameduck.

use std::convert::Infallible;
use std::error::Error;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::io::{AsyncRead, AsyncWrite};
use futures_rustls::rustls::{self, RootCertStore};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::graceful::GracefulShutdown;
use lameduck::http::Http;
use lameduck::runtimes::{async_std::AsyncStd, smol::Smol, tokio::Tokio};
use lameduck::tls::{Tls, TlsConfig};
use lameduck::{Address, Runtime, Server};
use rcgen::CertifiedKey;
use smol_hyper::rt::FuturesIo;

use crate::message::Message;
use crate::servers::{ANY, Ended, PAUSE, drop_privilege, listening, terminated};

/// One of the HTTP servers that are measured.
#[derive(Clone, Copy, Debug)]
pub struct HttpKind {
    /// In tables.
    pub title: &'static str,
    /// The title of the one on the same runtime that nobody stops.
    pub floor: &'static str,
    pub main: fn(Transport) -> Ended,
}

const fn kind(
    title: &'static str,
    floor: &'static str,
    main: fn(Transport) -> Ended,
) -> HttpKind {
    HttpKind { title, floor, main }
}

/// All of them; the floors first.
pub const HTTP_KINDS: [HttpKind; 7] = [
    kind("hyper, smol", "hyper, smol", hyper_smol),
    kind("hyper, async-std", "hyper, async-std", hyper_async_std),
    kind("hyper, tokio", "hyper, tokio", hyper_tokio),
    kind("lameduck, smol", "hyper, smol", |how| {
        smol::block_on(lameduck(Smol, how))
    }),
    kind("lameduck, async-std", "hyper, async-std", |how| {
        async_std::task::block_on(lameduck(AsyncStd, how))
    }),
    kind("lameduck, tokio", "hyper, tokio", lameduck_tokio),
    kind("hyper-util's graceful", "hyper, tokio", graceful_tokio),
];

/// How a server is spoken to.
#[derive(Clone, Debug)]
pub struct Transport {
    pub version: Version,
    /// The certificate and the key of a server with TLS.
    pub tls: Option<PemFiles>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    Http1,
    /// With prior knowledge.
    Http2,
}

impl Version {
    pub fn message(self) -> Message {
        match self {
            Version::Http1 => Message::Http1,
            Version::Http2 => Message::Http2,
        }
    }
}

/// A certificate of `localhost` that signs itself, and its key.
#[derive(Clone, Debug)]
pub struct PemFiles {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl PemFiles {
    /// Makes them in a folder.
    ///
    /// # Errors
    /// Those of the files.
    pub fn create(folder: &Path) -> io::Result<PemFiles> {
        let CertifiedKey { cert, signing_key } =
            rcgen::generate_simple_self_signed(["localhost".to_owned()])
                .map_err(io::Error::other)?;
        let (certificate, key) = (folder.join("certificate.pem"), folder.join("key.pem"));
        std::fs::write(&certificate, cert.pem())?;
        std::fs::write(&key, signing_key.serialize_pem())?;
        // lameduck refuses a key that anyone may read.
        let owner = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(&key, owner)?;
        Ok(PemFiles { certificate, key })
    }

    fn server(&self) -> Result<Arc<rustls::ServerConfig>, Box<dyn Error>> {
        use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
        let certificate = CertificateDer::from_pem_file(&self.certificate)?;
        let key = PrivateKeyDer::from_pem_file(&self.key)?;
        let config = rustls::ServerConfig::builder().with_no_client_auth();
        Ok(Arc::new(config.with_single_cert(vec![certificate], key)?))
    }

    /// The configuration of clients who trust the certificate.
    ///
    /// # Errors
    /// When there is no such file, or no certificate in it.
    pub fn client(&self) -> io::Result<Arc<rustls::ClientConfig>> {
        use rustls::pki_types::{CertificateDer, pem::PemObject};
        let certificate =
            CertificateDer::from_pem_file(&self.certificate).map_err(io::Error::other)?;
        let mut roots = RootCertStore::empty();
        roots.add(certificate).map_err(io::Error::other)?;
        let config = rustls::ClientConfig::builder().with_root_certificates(roots);
        Ok(Arc::new(config.with_no_client_auth()))
    }
}

async fn hello(_: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::new(Full::new(Bytes::from_static(
        b"Hello, world!\n",
    ))))
}

/// Spawns the streams of HTTP/2.
#[derive(Clone, Copy)]
struct Executor(fn(std::pin::Pin<Box<dyn Future<Output = ()> + Send>>));

impl<F: Future<Output: Send> + Send + 'static> hyper::rt::Executor<F> for Executor {
    fn execute(&self, stream: F) {
        (self.0)(Box::pin(async { drop(stream.await) }));
    }
}

async fn hyper_on<IO>(io: IO, version: Version, executor: Executor) -> hyper::Result<()>
where
    IO: hyper::rt::Read + hyper::rt::Write + Unpin + 'static,
{
    match version {
        Version::Http1 => {
            let connection = hyper::server::conn::http1::Builder::new();
            connection.serve_connection(io, service_fn(hello)).await
        }
        Version::Http2 => {
            let connection = hyper::server::conn::http2::Builder::new(executor);
            connection.serve_connection(io, service_fn(hello)).await
        }
    }
}

type Acceptor = futures_rustls::TlsAcceptor;

async fn hyper_over<S>(stream: S, version: Version, tls: Option<Acceptor>, executor: Executor)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    // What goes wrong ends this connection, as everywhere.
    match tls {
        None => drop(hyper_on(FuturesIo::new(stream), version, executor).await),
        Some(tls) => {
            if let Ok(stream) = tls.accept(stream).await {
                drop(hyper_on(FuturesIo::new(stream), version, executor).await);
            }
        }
    }
}

fn acceptor(how: &Transport) -> Result<Option<Acceptor>, Box<dyn Error>> {
    let config = how.tls.as_ref().map(PemFiles::server).transpose()?;
    Ok(config.map(Acceptor::from))
}

fn hyper_smol(how: Transport) -> Ended {
    let (tls, executor) = (acceptor(&how)?, Executor(|f| smol::spawn(f).detach()));
    smol::block_on(async {
        let listener = smol::net::TcpListener::bind(ANY).await?;
        listening(listener.local_addr()?.port());
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let served = hyper_over(stream, how.version, tls.clone(), executor);
                    smol::spawn(served).detach();
                }
                Err(_) => drop(smol::Timer::after(PAUSE).await),
            }
        }
    })
}

fn hyper_async_std(how: Transport) -> Ended {
    let executor = Executor(|f| drop(async_std::task::spawn(f)));
    let tls = acceptor(&how)?;
    async_std::task::block_on(async {
        let listener = async_std::net::TcpListener::bind(ANY).await?;
        listening(listener.local_addr()?.port());
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let served = hyper_over(stream, how.version, tls.clone(), executor);
                    drop(async_std::task::spawn(served));
                }
                Err(_) => async_std::task::sleep(PAUSE).await,
            }
        }
    })
}

#[tokio::main]
async fn hyper_tokio(how: Transport) -> Ended {
    let executor = Executor(|f| drop(tokio::spawn(f)));
    let config = how.tls.as_ref().map(PemFiles::server).transpose()?;
    let tls = config.map(tokio_rustls::TlsAcceptor::from);
    let listener = tokio::net::TcpListener::bind(ANY).await?;
    listening(listener.local_addr()?.port());
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(_) => {
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        match tls.clone() {
            None => {
                let served = hyper_on(TokioIo::new(stream), how.version, executor);
                drop(tokio::spawn(served));
            }
            Some(tls) => drop(tokio::spawn(async move {
                if let Ok(stream) = tls.accept(stream).await {
                    drop(hyper_on(TokioIo::new(stream), how.version, executor).await);
                }
            })),
        }
    }
}

async fn lameduck<R: Runtime>(runtime: R, how: Transport) -> Ended {
    drop_privilege()?;
    match &how.tls {
        None => serve(runtime).await,
        Some(files) => {
            let config = TlsConfig::from_pem_files(&files.certificate, &files.key)?;
            serve(Tls::new(runtime, config.with_http_protocols())).await
        }
    }
}

async fn serve<R: Runtime>(runtime: R) -> Ended {
    let server = Server::builder(runtime).listen(ANY).bind()?;
    for address in server.local_addrs() {
        if let Address::Tcp(address) = address {
            listening(address.port());
        }
    }
    drop(server.serve_http(Http::new(service_fn(hello))).await);
    Ok(())
}

#[tokio::main]
async fn lameduck_tokio(how: Transport) -> Ended {
    lameduck(Tokio::current()?, how).await
}

/// hyper-util's `GracefulShutdown`, as its example has it.
#[tokio::main]
async fn graceful_tokio(how: Transport) -> Ended {
    let config = how.tls.as_ref().map(PemFiles::server).transpose()?;
    let tls = config.map(tokio_rustls::TlsAcceptor::from);
    let terminated = terminated()?;
    let mut terminated = pin!(terminated);
    let listener = tokio::net::TcpListener::bind(ANY).await?;
    listening(listener.local_addr()?.port());
    let graceful = Arc::new(GracefulShutdown::new());
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut terminated => break,
        };
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        match tls.clone() {
            None => watched(TokioIo::new(stream), how.version, &graceful),
            Some(tls) => {
                let (graceful, version) = (graceful.clone(), how.version);
                drop(tokio::spawn(async move {
                    if let Ok(stream) = tls.accept(stream).await {
                        watched(TokioIo::new(stream), version, &graceful);
                    }
                }));
            }
        }
    }
    drop(listener);
    let Ok(graceful) = Arc::try_unwrap(graceful) else {
        return Err("a handshake is under way".into());
    };
    tokio::time::timeout(Duration::from_secs(25), graceful.shutdown()).await?;
    Ok(())
}

fn watched<IO>(io: IO, version: Version, graceful: &GracefulShutdown)
where
    IO: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    match version {
        Version::Http1 => {
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(io, service_fn(hello));
            drop(tokio::spawn(graceful.watch(connection)));
        }
        Version::Http2 => {
            let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                .serve_connection(io, service_fn(hello));
            drop(tokio::spawn(graceful.watch(connection)));
        }
    }
}
