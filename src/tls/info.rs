//! What a handshake has agreed on.

use rustls::{CipherSuite, ProtocolVersion, ServerConnection};

/// What was agreed on by TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsInfo {
    /// The version of the protocol.
    pub version: Option<ProtocolVersion>,
    /// The cipher suite.
    pub cipher_suite: Option<CipherSuite>,
    /// The name of the server that the client asked for (SNI).
    pub server_name: Option<String>,
    /// The protocol of the application (ALPN).
    pub protocol: Option<Vec<u8>>,
    /// The certificates of the client in DER, its own first; empty without.
    pub client_certificates: Vec<Vec<u8>>,
}

impl TlsInfo {
    pub(super) fn of(connection: &ServerConnection) -> TlsInfo {
        let certificates = connection.peer_certificates().unwrap_or_default();
        TlsInfo {
            version: connection.protocol_version(),
            cipher_suite: connection
                .negotiated_cipher_suite()
                .map(|suite| suite.suite()),
            server_name: connection.server_name().map(str::to_owned),
            protocol: connection.alpn_protocol().map(<[u8]>::to_vec),
            client_certificates: certificates.iter().map(|der| der.to_vec()).collect(),
        }
    }
}
