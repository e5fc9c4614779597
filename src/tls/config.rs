//! Certificates, keys and protocols, which can be replaced while a server runs.

use std::error::Error;
use std::fmt;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::sync::plain::{Arc, Mutex, lock};

/// The configuration of TLS. Its clones share the certificates: to
/// [replace](TlsConfig::replace) them, keep one.
#[derive(Clone, Debug)]
pub struct TlsConfig {
    current: Arc<Mutex<Arc<ServerConfig>>>,
    handshake_timeout: Duration,
}

impl TlsConfig {
    /// Creates it from a configuration of rustls.
    ///
    /// Early data (0-RTT) is not accepted, whatever `max_early_data_size` says: it can
    /// be replayed by others (RFC 8446, 8), and clients send it again after the
    /// handshake.
    ///
    /// ```
    /// use std::sync::Arc;
    ///
    /// use lameduck::tls::TlsConfig;
    /// use rustls::RootCertStore;
    /// use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    /// use rustls::server::{ServerConfig, WebPkiClientVerifier};
    ///
    /// /// Lets those in who have a certificate of one of the authorities.
    /// fn for_known_clients(
    ///     chain: Vec<CertificateDer<'static>>,
    ///     key: PrivateKeyDer<'static>,
    ///     authorities: RootCertStore,
    /// ) -> Result<TlsConfig, Box<dyn std::error::Error>> {
    ///     let verifier = WebPkiClientVerifier::builder(Arc::new(authorities)).build()?;
    ///     let config = ServerConfig::builder()
    ///         .with_client_cert_verifier(verifier)
    ///         .with_single_cert(chain, key)?;
    ///     Ok(TlsConfig::new(config).with_http_protocols())
    /// }
    /// ```
    pub fn new(config: impl Into<Arc<ServerConfig>>) -> TlsConfig {
        TlsConfig {
            current: Arc::new(Mutex::new(without_early_data(config.into()))),
            handshake_timeout: Duration::from_secs(10),
        }
    }

    /// Reads a chain of certificates and its key from files in PEM.
    ///
    /// # Errors
    /// [`TlsConfigError`], which says which file it is about.
    ///
    /// ```
    /// use lameduck::tls::TlsConfig;
    ///
    /// let error = TlsConfig::from_pem_files("missing.crt", "missing.key").unwrap_err();
    /// assert!(error.to_string().starts_with("cannot read missing.crt"));
    /// ```
    pub fn from_pem_files(
        certificates: impl AsRef<Path>,
        key: impl AsRef<Path>,
    ) -> Result<TlsConfig, TlsConfigError> {
        let (chain_path, key_path) = (certificates.as_ref(), key.as_ref());
        let chain = read_certificates(chain_path)?;
        let key = read_key(key_path)?;
        let builder = ServerConfig::builder_with_provider(provider()?)
            .with_safe_default_protocol_versions()
            .map_err(TlsConfigError::Rustls)?;
        let config = builder.with_no_client_auth().with_single_cert(chain, key);
        config
            .map(TlsConfig::new)
            .map_err(|error| TlsConfigError::Pair {
                certificates: chain_path.to_owned(),
                key: key_path.to_owned(),
                source: error,
            })
    }

    /// Sets the protocols that are offered to clients that ask (ALPN), the best
    /// first.
    #[must_use]
    pub fn with_protocols<'a>(
        self,
        protocols: impl IntoIterator<Item = &'a [u8]>,
    ) -> TlsConfig {
        let protocols = protocols.into_iter().map(<[u8]>::to_vec).collect();
        let mut config = ServerConfig::clone(&self.current());
        config.alpn_protocols = protocols;
        self.set(Arc::new(config));
        self
    }

    /// Offers HTTP/2 and HTTP/1.1 to clients that ask.
    #[must_use]
    pub fn with_http_protocols(self) -> TlsConfig {
        self.with_protocols([&b"h2"[..], &b"http/1.1"[..]])
    }

    /// Sets the longest time that a handshake may take from its first byte on.
    /// Default: 10 s.
    #[must_use]
    pub fn with_handshake_timeout(mut self, timeout: Duration) -> TlsConfig {
        self.handshake_timeout = timeout;
        self
    }

    /// Replaces the configuration for the handshakes that begin from now on:
    /// certificates can be renewed without a restart.
    ///
    /// The protocols (ALPN) stay as they are, unless the new configuration names some. To
    /// offer none any more, call [`with_protocols`](TlsConfig::with_protocols) on a clone.
    ///
    /// ```no_run
    /// use lameduck::tls::TlsConfig;
    ///
    /// let config = TlsConfig::from_pem_files("server.crt", "server.key")?;
    /// let config = config.with_http_protocols();
    /// // Later:
    /// let renewed = TlsConfig::from_pem_files("server.crt", "server.key")?;
    /// config.replace(renewed.current());
    /// # Ok::<(), lameduck::tls::TlsConfigError>(())
    /// ```
    pub fn replace(&self, config: impl Into<Arc<ServerConfig>>) {
        let mut config = config.into();
        if config.alpn_protocols.is_empty() {
            let protocols = self.current().alpn_protocols.clone();
            if !protocols.is_empty() {
                Arc::make_mut(&mut config).alpn_protocols = protocols;
            }
        }
        self.set(config);
    }

    fn set(&self, config: Arc<ServerConfig>) {
        let config = without_early_data(config);
        let before = std::mem::replace(&mut *lock(&self.current), config);
        drop(before);
    }

    /// Returns the configuration for the handshakes that begin now.
    pub fn current(&self) -> Arc<ServerConfig> {
        lock(&self.current).clone()
    }

    pub(super) fn handshake_timeout(&self) -> Duration {
        self.handshake_timeout
    }
}

/// Nobody would read it.
fn without_early_data(mut config: Arc<ServerConfig>) -> Arc<ServerConfig> {
    if config.max_early_data_size > 0 {
        Arc::make_mut(&mut config).max_early_data_size = 0;
    }
    config
}

/// The provider of the process, or the one that a feature brings along.
fn provider() -> Result<Arc<CryptoProvider>, TlsConfigError> {
    if let Some(provider) = CryptoProvider::get_default() {
        return Ok(provider.clone());
    }
    #[cfg(feature = "tls-aws-lc-rs")]
    return Ok(Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
    #[cfg(all(feature = "tls-ring", not(feature = "tls-aws-lc-rs")))]
    return Ok(Arc::new(rustls::crypto::ring::default_provider()));
    #[cfg(not(any(feature = "tls-ring", feature = "tls-aws-lc-rs")))]
    return Err(TlsConfigError::NoProvider);
}

fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsConfigError> {
    let certificates = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| TlsConfigError::of_pem(path, error))?;
    if certificates.is_empty() {
        return Err(TlsConfigError::of_pem(path, pem::Error::NoItemsFound));
    }
    Ok(certificates)
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsConfigError> {
    let metadata = std::fs::metadata(path);
    let metadata =
        metadata.map_err(|error| TlsConfigError::of_pem(path, pem::Error::Io(error)))?;
    if metadata.permissions().mode() & 0o007 != 0 {
        return Err(TlsConfigError::ExposedKey(path.to_owned()));
    }
    PrivateKeyDer::from_pem_file(path).map_err(|error| TlsConfigError::of_pem(path, error))
}

/// The error of a configuration of TLS.
#[non_exhaustive]
pub enum TlsConfigError {
    /// A file could not be read.
    Read {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// A file is no PEM with what is needed.
    Pem {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: pem::Error,
    },
    /// Anyone may read the key.
    ExposedKey(PathBuf),
    /// The certificate and the key do not fit together, or cannot be used.
    Pair {
        /// The file of the certificates.
        certificates: PathBuf,
        /// The file of the key.
        key: PathBuf,
        /// What is wrong with them.
        source: rustls::Error,
    },
    /// There is no provider of cryptography.
    NoProvider,
    /// rustls has no configuration for the provider.
    Rustls(rustls::Error),
}

impl TlsConfigError {
    fn of_pem(path: &Path, error: pem::Error) -> TlsConfigError {
        let path = path.to_owned();
        match error {
            pem::Error::Io(source) => TlsConfigError::Read { path, source },
            source => TlsConfigError::Pem { path, source },
        }
    }
}

impl fmt::Display for TlsConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TlsConfigError::Read { path, source } => {
                write!(f, "cannot read {}: {source}", path.display())
            }
            TlsConfigError::Pem { path, source } => {
                write!(f, "{} is no usable PEM file: {source}", path.display())
            }
            TlsConfigError::ExposedKey(path) => {
                let path = path.display();
                write!(f, "anyone may read the key {path}: run `chmod o= {path}`")
            }
            TlsConfigError::Pair {
                certificates,
                key,
                source,
            } => {
                let (certificates, key) = (certificates.display(), key.display());
                write!(f, "cannot use {certificates} with {key}: {source}")
            }
            TlsConfigError::NoProvider => f.write_str(
                "no provider of cryptography: enable the feature `tls-ring` or \
                 `tls-aws-lc-rs`, or install one with `CryptoProvider::install_default`",
            ),
            TlsConfigError::Rustls(source) => write!(f, "cannot configure TLS: {source}"),
        }
    }
}

/// The text of the error: a `main` that returns it prints this.
impl fmt::Debug for TlsConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

// The text of an error contains that of its cause, as that of a `BindError` does.
// Therefore it has no source: a chain of causes would say everything twice.
impl Error for TlsConfigError {}
