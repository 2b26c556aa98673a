//! TLS for the listeners, and moving a live TLS connection from the shard that accepted it to the shard that owns it.
//!
//! What travels is the file descriptor, rustls' connection state (with whatever ciphertext or plaintext it still holds)
//! and the bytes that were already read; nothing is sent to the peer, and it notices nothing. This is safe because
//! glommio reads TCP by readiness: there is no read in the kernel that could swallow bytes of a stream that is dropped.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
use std::sync::Arc;

use futures_rustls::TlsAcceptor;
use glommio::net::TcpStream;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::NoServerSessionStorage;
use rustls::{ServerConfig, ServerConnection};

/// A TLS connection on this executor.
pub type TlsStream = futures_rustls::server::TlsStream<TcpStream>;

/// Why a certificate and key are of no use. No variant holds key material.
#[derive(Debug, thiserror::Error)]
pub enum TlsConfigError {
    /// The certificate file is no PEM.
    #[error("the certificate file can't be read as PEM: {0}")]
    CertificatePem(#[source] pem::Error),
    /// The certificate file has no certificate.
    #[error("the certificate file holds no certificate")]
    NoCertificate,
    /// The key file has no private key, or is no PEM.
    #[error("the key file holds no private key in PEM")]
    NoPrivateKey,
    /// Key and certificate do not fit, or one of them is of a kind that is not supported.
    #[error("the certificate and its key can't be used: {0}")]
    Unusable(#[source] rustls::Error),
}

/// A connection between two executors.
pub struct LiveConnection {
    /// The TCP socket.
    pub fd: OwnedFd,
    /// The TLS session in the middle of its life.
    pub tls: ServerConnection,
    /// What was read from it already and belongs to the new owner.
    pub head: Vec<u8>,
    /// Who is connected.
    pub peer: SocketAddr,
}

/// The configuration of our listeners from a certificate chain and its private key, both in PEM.
///
/// TLS 1.2 and 1.3 by aws-lc-rs, ALPN `http/1.1`, no session tickets and no session cache: signalling sockets live
/// long, tickets cost 100 us per handshake, and a cache would be a lock that the shards share.
///
/// # Errors
/// What is wrong with which file.
pub fn server_config(cert_pem: &[u8], key_pem: &[u8]) -> Result<Arc<ServerConfig>, TlsConfigError> {
    let certificates: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(cert_pem)
        .collect::<Result<_, _>>()
        .map_err(TlsConfigError::CertificatePem)?;
    if certificates.is_empty() {
        return Err(TlsConfigError::NoCertificate);
    }
    // The parser's error could quote a line of the key file, so it goes no further.
    let key = PrivateKeyDer::from_pem_slice(key_pem).map_err(|_| TlsConfigError::NoPrivateKey)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(TlsConfigError::Unusable)?
        .with_no_client_auth()
        .with_single_cert(certificates, key)
        .map_err(TlsConfigError::Unusable)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(Arc::new(config))
}

/// The server's side of the handshake. The caller bounds its time.
///
/// # Errors
/// The peer's TLS, or its TCP connection, failed.
pub async fn accept(config: Arc<ServerConfig>, stream: TcpStream) -> io::Result<TlsStream> {
    TlsAcceptor::from(config).accept(stream).await
}

/// Takes a connection off this executor; `head` is what was read from it.
///
/// # Errors
/// Out of file descriptors; the connection is closed then.
pub fn detach(stream: TlsStream, head: Vec<u8>, peer: SocketAddr) -> io::Result<LiveConnection> {
    let (tcp, tls) = stream.into_inner();
    // glommio gives no descriptor away, so it is duplicated and the stream dropped.
    // SAFETY: `tcp` keeps the descriptor open while it is borrowed.
    let fd = unsafe { BorrowedFd::borrow_raw(tcp.as_raw_fd()) }.try_clone_to_owned()?;
    Ok(LiveConnection {
        fd,
        tls,
        head,
        peer,
    })
}

/// Puts a connection on this executor: the stream, what was read from it before, and who is connected. `config` is any
/// valid one; the connection goes on with its own.
///
/// # Errors
/// Ciphertext that waited in the connection can't be sent.
///
/// # Panics
/// Outside of an executor.
pub async fn attach(
    connection: LiveConnection,
    config: Arc<ServerConfig>,
) -> io::Result<(TlsStream, Vec<u8>, SocketAddr)> {
    let LiveConnection {
        fd,
        tls,
        head,
        peer,
    } = connection;
    // SAFETY: the descriptor is open and given away here.
    let tcp = unsafe { TcpStream::from_raw_fd(fd.into_raw_fd()) };
    // There is no public constructor around a connection, but an accept may replace the fresh one before it starts; as
    // the replacement is no longer handshaking, the accept only flushes and is done.
    let stream = TlsAcceptor::from(config)
        .accept_with(tcp, |fresh| *fresh = tls)
        .await?;
    Ok((stream, head, peer))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    fn pems() -> (String, String) {
        let key = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        (key.cert.pem(), key.signing_key.serialize_pem())
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said_without_its_content() {
        let (cert, key) = pems();
        let (_, other_key) = pems();
        let error = |cert: &str, key: &str| {
            server_config(cert.as_bytes(), key.as_bytes())
                .err()
                .map(|e| e.to_string())
        };
        assert_eq!(error(&cert, &key), None);
        assert_eq!(
            error("", &key).unwrap(),
            "the certificate file holds no certificate"
        );
        let torn = "-----BEGIN CERTIFICATE-----\nAAAA";
        assert!(
            error(torn, &key)
                .unwrap()
                .starts_with("the certificate file can't be read as PEM")
        );
        assert_eq!(
            error(&cert, "SECRET").unwrap(),
            "the key file holds no private key in PEM"
        );
        assert_eq!(
            error(&cert, &cert).unwrap(),
            "the key file holds no private key in PEM"
        );
        assert!(
            error(&cert, &other_key)
                .unwrap()
                .starts_with("the certificate and its key can't be used")
        );
    }

    #[test]
    fn connections_may_travel_between_threads() {
        fn travels<T: Send>() {}
        travels::<LiveConnection>();
    }
}
