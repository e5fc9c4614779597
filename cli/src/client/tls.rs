//! TLS of the clients, without I/O of its own: a connection decides what goes onto
//! the wire and when, so that it can stop in the middle of a record.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore,
    SignatureScheme,
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
        Some(rustls::Error::InvalidCertificate(reason)) => {
            let (problem, hint) = mistrust(reason);
            format!("{UNTRUSTED}: {problem} ({hint}--insecure takes any)")
        }
        _ => format!("no TLS handshake: {error}"),
    }
}

/// Returns what is wrong with a certificate, and what helps.
fn mistrust(reason: &CertificateError) -> (String, &'static str) {
    const CA: &str = "--ca FILE says whom to trust, ";
    const DAY: u64 = 24 * 60 * 60;
    let between = |one: UnixTime, other: UnixTime| {
        let seconds = one.as_secs().abs_diff(other.as_secs());
        match seconds / DAY {
            0 => humantime::format_duration(Duration::from_secs(seconds)).to_string(),
            1 => "a day".to_owned(),
            days => format!("{days} days"),
        }
    };
    match reason {
        CertificateError::UnknownIssuer => {
            ("nobody who is trusted has signed it".to_owned(), CA)
        }
        CertificateError::Expired => ("it has expired".to_owned(), ""),
        CertificateError::ExpiredContext { time, not_after } => {
            (format!("it expired {} ago", between(*time, *not_after)), "")
        }
        CertificateError::NotValidYet => ("it is not valid yet".to_owned(), ""),
        CertificateError::NotValidYetContext { time, not_before } => {
            let left = between(*time, *not_before);
            (format!("it is not valid yet, and will be in {left}"), "")
        }
        CertificateError::NotValidForNameContext {
            expected,
            presented,
        } => misnamed(&expected.to_str(), presented),
        CertificateError::BadEncoding => ("it cannot be read".to_owned(), ""),
        CertificateError::BadSignature => (
            "its signature is not that of the authority which it names".to_owned(),
            CA,
        ),
        CertificateError::InvalidPurposeContext { .. } => (
            "it is not one for servers (extendedKeyUsage)".to_owned(),
            "",
        ),
        reason => unusual(&format!("{reason:?}"), CA),
    }
}

fn misnamed(expected: &str, presented: &[String]) -> (String, &'static str) {
    let names: Vec<String> = presented.iter().map(|name| bare(name)).collect();
    match names.join(", ").as_str() {
        "" => (
            format!("it has no name, also not {expected}"),
            "make one with a subjectAltName, ",
        ),
        names => (
            format!("it is for {names}, and not for {expected}"),
            "--server-name NAME says which one is meant, ",
        ),
    }
}

/// What else is wrong: that is an error of a library which is not used here by its name.
fn unusual(error: &str, hint: &'static str) -> (String, &'static str) {
    if error.contains("CaUsedAsEndEntity") {
        let text = "it is the certificate of an authority, and the server uses it as its own";
        return (text.to_owned(), "make one with basicConstraints CA:FALSE, ");
    }
    if error.contains("UnsupportedCertVersion") {
        let text = "it is of an old version of X.509";
        return (text.to_owned(), "make one of version 3, ");
    }
    (plain(error), hint)
}

/// Returns the name of an error in words, of `Other(OtherError(EmptyName))` for one.
fn plain(error: &str) -> String {
    let name = error.split(" {").next().unwrap_or(error);
    let name = name.rsplit('(').next().unwrap_or(name);
    let mut words = String::new();
    for letter in name.trim_end_matches(')').chars() {
        if letter.is_uppercase() && !words.is_empty() {
            words.push(' ');
        }
        words.extend(letter.to_lowercase());
    }
    words
}

/// Returns a name as people write it, of `DnsName("localhost")`.
fn bare(name: &str) -> String {
    let inner = name.split_once('(');
    let inner = inner.and_then(|(_, inner)| inner.strip_suffix(')'));
    inner.unwrap_or(name).trim_matches('"').to_owned()
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

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, date_time_ymd};
    use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
    use rustls::{ServerConfig, ServerConnection};

    use super::*;

    /// Returns why a client that trusts only this certificate refuses it.
    fn refused(name: &str, change: impl FnOnce(&mut CertificateParams)) -> Option<String> {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        change(&mut params);
        let made = params.self_signed(&key).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        let server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.der().clone()], PrivateKeyDer::from(key))
            .unwrap();
        let file = format!("lameduck-{}-{name}.pem", std::process::id());
        let file = std::env::temp_dir().join(file);
        std::fs::write(&file, made.pem()).unwrap();
        let client = Tls::new(&Trust::File(&file), name, &[]);
        std::fs::remove_file(&file).unwrap();
        let mut client = client.unwrap().connect().unwrap();
        let mut server = Session::new(ServerConnection::new(Arc::new(server)).unwrap().into());
        server.take(&client.output().unwrap()).unwrap();
        let taken = client.take(&server.output().unwrap());
        taken.err().map(|error| refusal(&error))
    }

    #[test]
    fn an_error_that_is_not_known_is_told_in_words() {
        for (error, words) in [
            (
                "Other(OtherError(PathLenConstraintViolated))",
                "path len constraint violated",
            ),
            ("UnhandledCriticalExtension", "unhandled critical extension"),
            ("Odd { of: Some(1) }", "odd"),
        ] {
            assert_eq!(plain(error), words);
        }
    }

    #[test]
    fn a_certificate_is_refused_in_plain_words() {
        let is_ca = |params: &mut CertificateParams| {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        };
        let is_old = |params: &mut CertificateParams| {
            params.not_after = date_time_ymd(2000, 1, 1);
        };
        let is_new = |params: &mut CertificateParams| {
            params.not_before = date_time_ymd(4000, 1, 1);
        };
        assert_eq!(refused("localhost", |_| {}), None);
        let authority = "an authority, and the server uses it as its own (make one with \
                         basicConstraints CA:FALSE, --insecure takes any)";
        for (refusal, text) in [
            (refused("localhost", is_ca), authority),
            (
                refused("localhost", is_old),
                "days ago (--insecure takes any)",
            ),
            (refused("localhost", is_new), "it is not valid yet"),
            (
                refused("example.org", |_| {}),
                "it is for localhost, and not for example.org (--server-name NAME",
            ),
        ] {
            let refusal = refusal.unwrap();
            assert!(refusal.starts_with(UNTRUSTED), "{refusal}");
            assert!(refusal.contains(text), "{refusal}");
        }
    }
}
