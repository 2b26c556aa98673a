//! A light WebRTC client up to its SRTP keys: an offer, ICE as the controlling side (`is`), DTLS as the client (`dimpl`).
//!
//! Only set-up: what comes after it is the media threads' work, which get socket, keys and ICE credentials. No trickling, no
//! TURN, one candidate, one audio stream; all clients of a process share one certificate, as making one is no part of a call.

mod handshake;
mod sdp;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use dimpl::{Config, DtlsCertificate};
use is::IceCreds;
use thiserror::Error;

pub use sdp::RemoteAnswer;

use crate::load::media::Protection;
use crate::media::AudioCodec;

/// From the first check to the keys, at most.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The first repetition of a DTLS flight, as browsers do it; 1 s is the RFC's for networks that nobody knows.
const FLIGHT_RTO: Duration = Duration::from_millis(150);

/// What all clients of a process share.
pub struct Identity {
    certificate: DtlsCertificate,
    fingerprint: String,
    config: Arc<Config>,
}

/// Why there is no connection. The remote side is the gateway.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ConnectError {
    /// A socket of this machine.
    #[error("media socket: {0}")]
    Socket(String),
    /// What the gateway answered can't be used.
    #[error("the gateway's SDP answer: {0}")]
    Answer(String),
    /// It did not come to a nominated pair in time.
    #[error("no ICE connection within {} s", CONNECT_TIMEOUT.as_secs())]
    IceTimeout,
    /// It did not come to keys in time.
    #[error("no DTLS connection within {} s", CONNECT_TIMEOUT.as_secs())]
    DtlsTimeout,
    /// DTLS failed.
    #[error("DTLS: {0}")]
    Dtls(String),
    /// The certificate is not that of the answer.
    #[error("the gateway's certificate is not the one of its SDP answer")]
    Fingerprint,
}

/// A connected client.
pub struct Connected {
    /// Where media goes.
    pub remote: SocketAddr,
    /// Its keys (RFC 5764 section 4.2).
    pub protection: Protection,
    /// From the answer to a nominated pair.
    pub ice: Duration,
    /// From there to the keys.
    pub dtls: Duration,
}

/// A client that has made its offer.
pub struct Client {
    identity: Arc<Identity>,
    socket: tokio::net::UdpSocket,
    local: SocketAddr,
    credentials: IceCreds,
    codec: AudioCodec,
}

impl Identity {
    /// A new certificate. Takes some ms, once.
    ///
    /// # Errors
    /// [`ConnectError::Dtls`] when cryptography fails.
    pub fn new() -> Result<Arc<Self>, ConnectError> {
        let failed = |error: &dyn std::fmt::Display| ConnectError::Dtls(error.to_string());
        let certificate = dimpl::certificate::generate_self_signed_certificate()
            .map_err(|error| failed(&error))?;
        let config = Config::builder()
            .flight_start_rto(FLIGHT_RTO)
            .build()
            .map_err(|error| failed(&error))?;
        Ok(Arc::new(Self {
            fingerprint: certificate.fingerprint_str(),
            certificate,
            config: Arc::new(config),
        }))
    }
}

impl Client {
    /// Binds a socket at `ip`.
    ///
    /// # Errors
    /// [`ConnectError::Socket`].
    pub async fn bind(
        identity: Arc<Identity>,
        ip: std::net::IpAddr,
        codec: AudioCodec,
    ) -> Result<Self, ConnectError> {
        let failed = |error: std::io::Error| ConnectError::Socket(error.to_string());
        let socket = tokio::net::UdpSocket::bind((ip, 0)).await.map_err(failed)?;
        let local = socket.local_addr().map_err(failed)?;
        Ok(Self {
            identity,
            socket,
            local,
            credentials: IceCreds::new(),
            codec,
        })
    }

    /// The offer, with the one candidate.
    pub fn offer(&self) -> String {
        sdp::offer(
            self.codec,
            self.local,
            &self.credentials,
            &self.identity.fingerprint,
        )
    }

    /// ICE and DTLS with who wrote `answer`.
    ///
    /// # Errors
    /// [`ConnectError`] says how far it came.
    pub async fn connect(&self, answer: &RemoteAnswer) -> Result<Connected, ConnectError> {
        handshake::connect(self, answer).await
    }

    /// Our ICE credentials, for checks of consent.
    pub fn credentials(&self) -> &IceCreds {
        &self.credentials
    }

    /// The socket, for the media threads.
    ///
    /// # Errors
    /// [`ConnectError::Socket`].
    pub fn into_socket(self) -> Result<std::net::UdpSocket, ConnectError> {
        self.socket
            .into_std()
            .map_err(|error| ConnectError::Socket(error.to_string()))
    }
}
