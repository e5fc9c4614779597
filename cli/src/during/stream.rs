//! A connection's bytes, in the clear or encrypted.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_rustls::TlsConnector;
use futures_rustls::client::TlsStream;
use futures_rustls::pki_types::ServerName;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use smol::Async;
use smol::io::{AsyncRead, AsyncWrite};

use super::options::Tls;
use crate::setup::Failure;

/// Opens connections to one address.
#[derive(Clone)]
pub(super) struct Dialer {
    pub(super) address: SocketAddr,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl Dialer {
    pub(super) fn new(address: SocketAddr, tls: Option<TlsSettings>) -> Dialer {
        let tls = tls.map(|tls| (TlsConnector::from(tls.config), tls.name));
        Dialer { address, tls }
    }

    pub(super) async fn open(&self) -> io::Result<Stream> {
        let stream = Async::<TcpStream>::connect(self.address).await?;
        // Each write is a whole request: nothing is to be held back.
        stream.get_ref().set_nodelay(true)?;
        match &self.tls {
            None => Ok(Stream::Plain(stream)),
            Some((connector, name)) => {
                let encrypted = connector.connect(name.clone(), stream).await;
                let encrypted = encrypted.map_err(|error| {
                    io::Error::new(error.kind(), format!("TLS handshake: {error}"))
                })?;
                Ok(Stream::Tls(Box::new(encrypted)))
            }
        }
    }
}

/// How TLS is spoken, with whom.
#[derive(Clone)]
pub(super) struct TlsSettings {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl TlsSettings {
    /// Reads the certificates that are trusted.
    pub(super) fn new(options: &Tls, host: &str) -> Result<TlsSettings, Failure> {
        let failed = |text: String| Failure::Other(text);
        let name = options.server_name.as_deref().unwrap_or(host);
        let server_name = ServerName::try_from(name.to_owned());
        let server_name = server_name
            .map_err(|_| failed(format!("{name:?} cannot be the name in a certificate")))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone());
        let builder = builder
            .with_safe_default_protocol_versions()
            .map_err(|error| failed(format!("TLS: {error}")))?;
        let config = match options.insecure {
            true => builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(Unverified(provider)))
                .with_no_client_auth(),
            false => builder
                .with_root_certificates(roots(options)?)
                .with_no_client_auth(),
        };
        Ok(TlsSettings {
            config: Arc::new(config),
            name: server_name,
        })
    }
}

fn roots(options: &Tls) -> Result<RootCertStore, Failure> {
    let mut roots = RootCertStore::empty();
    let certificates: Vec<CertificateDer<'static>> = match &options.ca {
        Some(path) => {
            let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
            CertificateDer::pem_file_iter(path)
                .and_then(Iterator::collect)
                .map_err(|error| failed(&error))?
        }
        None => rustls_native_certs::load_native_certs().certs,
    };
    // One that cannot be read is no reason not to trust the others.
    let (added, _) = roots.add_parsable_certificates(certificates);
    match (added, &options.ca) {
        (1.., _) => Ok(roots),
        (_, Some(path)) => Err(Failure::Other(format!(
            "{} holds no certificate",
            path.display()
        ))),
        (_, None) => Err(Failure::Other(
            "the system trusts no certificate: say --ca FILE or --insecure".to_owned(),
        )),
    }
}

/// Takes every certificate, and still checks that the server holds its key.
#[derive(Debug)]
struct Unverified(Arc<CryptoProvider>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// A connection.
#[derive(Debug)]
pub(super) enum Stream {
    Plain(Async<TcpStream>),
    Tls(Box<TlsStream<Async<TcpStream>>>),
}

impl Stream {
    fn socket(&self) -> &TcpStream {
        match self {
            Stream::Plain(stream) => stream.get_ref(),
            Stream::Tls(stream) => stream.get_ref().0.get_ref(),
        }
    }

    pub(super) fn local_addr(&self) -> Option<SocketAddr> {
        self.socket().local_addr().ok()
    }

    /// Ends the connection from this side.
    pub(super) fn close(self) {
        let _ = self.socket().shutdown(Shutdown::Both);
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Stream::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Stream::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(context),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_close(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_close(context),
            Stream::Tls(stream) => Pin::new(stream).poll_close(context),
        }
    }
}
