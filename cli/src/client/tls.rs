//! TLS of the clients, without I/O of its own: a connection decides what goes onto
//! the wire and when, so that it can stop in the middle of a record.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme,
};

/// How TLS is spoken, and with whom.
#[derive(Clone, Debug)]
pub(crate) struct Tls {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

/// Whose certificates are trusted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Trust<'a> {
    /// What the system trusts.
    #[default]
    System,
    /// The certificates of a PEM file.
    File(&'a Path),
    /// Any certificate.
    Anybody,
}

impl Tls {
    /// Reads the certificates that are trusted.
    ///
    /// # Errors
    /// There is none, or `name` cannot stand in a certificate.
    pub(crate) fn new(
        trust: &Trust<'_>,
        name: &str,
        protocols: &[&str],
    ) -> Result<Tls, String> {
        let server_name = ServerName::try_from(name.to_owned());
        let server_name =
            server_name.map_err(|_| format!("{name:?} cannot be the name in a certificate"))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone());
        let builder = builder
            .with_safe_default_protocol_versions()
            .map_err(|error| format!("TLS: {error}"))?;
        let mut config = match trust {
            Trust::Anybody => builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(Unverified(provider)))
                .with_no_client_auth(),
            _ => builder
                .with_root_certificates(roots(trust)?)
                .with_no_client_auth(),
        };
        config.alpn_protocols = protocols
            .iter()
            .map(|name| name.as_bytes().to_vec())
            .collect();
        Ok(Tls {
            config: Arc::new(config),
            name: server_name,
        })
    }

    pub(crate) fn connect(&self) -> io::Result<Session> {
        let session = ClientConnection::new(self.config.clone(), self.name.clone());
        let session = session.map_err(io::Error::other)?;
        Ok(Session::new(session.into()))
    }
}

/// How the text about a certificate begins that the client does not take.
pub(crate) const UNTRUSTED: &str = "its certificate does not fit";

/// Returns why there is no handshake, for people.
pub(crate) fn refusal(error: &io::Error) -> String {
    let inner = error.get_ref();
    match inner.and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(reason)) => format!("{UNTRUSTED}: {reason}"),
        _ => format!("no TLS handshake: {error}"),
    }
}

fn roots(trust: &Trust<'_>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let certificates: Vec<CertificateDer<'static>> = match trust {
        Trust::File(path) => CertificateDer::pem_file_iter(path)
            .and_then(Iterator::collect)
            .map_err(|error| format!("{}: {error}", path.display()))?,
        _ => rustls_native_certs::load_native_certs().certs,
    };
    // One that cannot be read is no reason not to trust the others.
    let (added, _) = roots.add_parsable_certificates(certificates);
    match (added, trust) {
        (1.., _) => Ok(roots),
        (_, Trust::File(path)) => Err(format!("{} holds no certificate", path.display())),
        _ => Err("the system trusts no certificate: say --ca FILE or --insecure".to_owned()),
    }
}

/// The TLS of one connection, of either side.
#[derive(Debug)]
pub(crate) struct Session {
    tls: Box<rustls::Connection>,
    plain: VecDeque<u8>,
    is_over: bool,
    has_close_notify: bool,
}

impl Session {
    pub(crate) fn new(mut tls: rustls::Connection) -> Session {
        // What is sealed is taken at once.
        tls.set_buffer_limit(None);
        Session {
            tls: Box::new(tls),
            plain: VecDeque::new(),
            is_over: false,
            has_close_notify: false,
        }
    }

    pub(crate) fn is_handshaking(&self) -> bool {
        self.tls.is_handshaking()
    }

    /// Returns the protocol that the server chose.
    pub(crate) fn protocol(&self) -> Option<&[u8]> {
        self.tls.alpn_protocol()
    }

    /// Says whether the server's last word was a close_notify.
    pub(crate) fn has_close_notify(&self) -> bool {
        self.has_close_notify
    }

    /// Encrypts `bytes`, and returns what goes onto the wire.
    pub(crate) fn seal(&mut self, bytes: &[u8]) -> io::Result<Vec<u8>> {
        self.tls.writer().write_all(bytes)?;
        self.output()
    }

    /// Returns what TLS itself has to say.
    pub(crate) fn output(&mut self) -> io::Result<Vec<u8>> {
        let mut output = Vec::new();
        while self.tls.wants_write() {
            self.tls.write_tls(&mut output)?;
        }
        Ok(output)
    }

    pub(crate) fn close(&mut self) -> io::Result<Vec<u8>> {
        self.tls.send_close_notify();
        self.output()
    }

    /// Takes bytes from the wire; none: the end of the connection.
    pub(crate) fn take(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        loop {
            self.tls.read_tls(&mut bytes)?;
            let state = self.tls.process_new_packets();
            state.map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
            // Each time: rustls reads no more while it holds much.
            self.decrypt()?;
            if bytes.is_empty() {
                return Ok(());
            }
        }
    }

    fn decrypt(&mut self) -> io::Result<()> {
        let mut buffer = vec![0; 16 * 1024];
        loop {
            match self.tls.reader().read(&mut buffer) {
                Ok(0) => {
                    self.has_close_notify = true;
                    self.is_over = true;
                    return Ok(());
                }
                Ok(n) => self.plain.extend(buffer.iter().take(n)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                // The end of the connection without a close_notify.
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                    self.is_over = true;
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Returns plain bytes; 0 at the end, none when more has to come first.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> Option<usize> {
        // Reading from memory cannot fail.
        match self.plain.read(buffer).unwrap_or_default() {
            0 if self.is_over => Some(0),
            0 => None,
            n => Some(n),
        }
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
