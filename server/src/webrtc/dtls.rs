//! The DTLS server of one peer: `dimpl` with our certificate, the peer's fingerprint checked before any key is told.
//!
//! Knows nothing of media and paths: datagrams in, datagrams and the SRTP master keys (RFC 5764) out.
//! No cookie exchange: datagrams are taken from ICE-authenticated addresses only.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::digest;
use dimpl::{Config, Dtls, DtlsCertificate, Output, ProtocolVersion};
use thiserror::Error;

use crate::config::DtlsVersions;
use crate::srtp::{DtlsSrtpKeys, Profile, SrtpKeys};

/// From the first ClientHello to the keys.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest datagram that is taken, in bytes; a longer one is no DTLS of a WebRTC peer.
pub const DATAGRAM_LEN_MAX: usize = 2048;
/// Bytes of the longest datagram that [`DtlsServer::poll_transmit`] gives out.
pub const MTU: usize = 1200;
/// First retransmission; doubles each time. One lost flight must recover in less than a second.
const FLIGHT_START_RTO: Duration = Duration::from_millis(150);
/// Retransmissions per flight. A peer's own repeats count too, so this is far above what the deadline allows; `dimpl`
/// remembers 32 of a flight.
const FLIGHT_RETRIES: usize = 24;
/// Datagrams that `dimpl` holds back to reassemble a flight.
const REASSEMBLY_DATAGRAMS_MAX: usize = 30;
/// `dimpl` panics if a peer's certificate does not fit the buffer: this holds twice what its reassembly can.
const HANDSHAKE_BUFFER_LEN: usize = 2 * REASSEMBLY_DATAGRAMS_MAX * DATAGRAM_LEN_MAX;
thread_local! {
    /// One for all handshakes of a thread: to clear so many bytes for each datagram took longer than to handle it.
    static HANDSHAKE_BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Datagrams that wait for [`DtlsServer::poll_transmit`]: two full flights.
const TRANSMITS_MAX: usize = 32;

/// The process's DTLS certificate and `dimpl`'s configuration: built once (validating the crypto costs more than a
/// millisecond), shared by every peer. `Debug` shows the fingerprint only.
pub struct DtlsIdentity {
    config: Arc<Config>,
    certificate: DtlsCertificate,
    fingerprint: String,
}

impl DtlsIdentity {
    /// A fresh self-signed ECDSA P-256 certificate (RFC 8827 section 6.5), from the system's randomness.
    ///
    /// # Errors
    /// When key generation or the provider's self-test fails: nothing a caller can cause.
    pub fn generate() -> Result<Self, DtlsIdentityError> {
        let certificate = dimpl::certificate::generate_self_signed_certificate()
            .map_err(|error| DtlsIdentityError(error.to_string()))?;
        let config = Config::builder()
            .mtu(MTU)
            .max_queue_rx(REASSEMBLY_DATAGRAMS_MAX)
            .require_client_certificate(true)
            .use_server_cookie(false)
            .flight_start_rto(FLIGHT_START_RTO)
            .flight_retries(FLIGHT_RETRIES)
            .handshake_timeout(HANDSHAKE_TIMEOUT)
            .build()
            .map_err(|error| DtlsIdentityError(error.to_string()))?;
        let fingerprint = format!("sha-256 {}", certificate.fingerprint_str());
        Ok(Self {
            config: Arc::new(config),
            certificate,
            fingerprint,
        })
    }

    /// The value of `a=fingerprint`: `sha-256 AB:CD:...`.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }
}

impl fmt::Debug for DtlsIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DtlsIdentity")
            .field("fingerprint", &self.fingerprint)
            .finish_non_exhaustive()
    }
}

/// No certificate could be made. Our fault.
#[derive(Debug, Error)]
#[error("the DTLS certificate can't be made: {0}")]
pub struct DtlsIdentityError(String);

/// The hash functions of `a=fingerprint` that we accept (RFC 8122; not MD5 and SHA-1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FingerprintHash {
    /// `sha-256`
    Sha256,
    /// `sha-384`
    Sha384,
    /// `sha-512`
    Sha512,
}

/// The hash of a certificate as an SDP tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fingerprint {
    hash: FingerprintHash,
    digest: Vec<u8>,
}

impl Fingerprint {
    /// Reads the value of an `a=fingerprint` line: `sha-256 AB:CD:...`.
    ///
    /// # Errors
    /// [`FingerprintError::UnknownHash`] for a hash that we do not accept (the line may be skipped: others may follow),
    /// [`FingerprintError::Malformed`] for digits that do not fit.
    pub fn parse(text: &str) -> Result<Self, FingerprintError> {
        let (name, digits) = text
            .trim()
            .split_once(' ')
            .ok_or(FingerprintError::Malformed)?;
        let (hash, len) = match name.to_ascii_lowercase().as_str() {
            "sha-256" => (FingerprintHash::Sha256, 32),
            "sha-384" => (FingerprintHash::Sha384, 48),
            "sha-512" => (FingerprintHash::Sha512, 64),
            _ => return Err(FingerprintError::UnknownHash),
        };
        let byte = |pair: &str| match pair.len() {
            2 if pair.bytes().all(|b| b.is_ascii_hexdigit()) => u8::from_str_radix(pair, 16).ok(),
            _ => None,
        };
        let digest: Option<Vec<u8>> = digits.trim().split(':').take(65).map(byte).collect();
        match digest {
            Some(digest) if digest.len() == len => Ok(Self { hash, digest }),
            _ => Err(FingerprintError::Malformed),
        }
    }

    /// Is this the hash of `certificate` (DER)?
    pub fn matches(&self, certificate: &[u8]) -> bool {
        let algorithm = match self.hash {
            FingerprintHash::Sha256 => &digest::SHA256,
            FingerprintHash::Sha384 => &digest::SHA384,
            FingerprintHash::Sha512 => &digest::SHA512,
        };
        digest::digest(algorithm, certificate).as_ref() == self.digest
    }
}

/// Why a fingerprint can't be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum FingerprintError {
    /// A hash function that we do not accept.
    #[error("only sha-256, sha-384 and sha-512 are accepted")]
    UnknownHash,
    /// Wrong digits or a wrong number of them.
    #[error("not `HASH XX:XX:...`")]
    Malformed,
}

/// The version that a handshake ended with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DtlsVersion {
    /// RFC 6347.
    Dtls12,
    /// RFC 9147.
    Dtls13,
}

impl DtlsVersion {
    /// "1.2" or "1.3".
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dtls12 => "1.2",
            Self::Dtls13 => "1.3",
        }
    }
}

/// Why a handshake or a connection is over.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DtlsFailure {
    /// The peer's certificate is not the one that its SDP names.
    #[error("the peer's certificate does not match the fingerprint of its SDP")]
    Fingerprint,
    /// No keys after [`HANDSHAKE_TIMEOUT`].
    #[error("the DTLS handshake did not end in time")]
    Timeout,
    /// The peer speaks DTLS, but offers no SRTP profile of ours.
    #[error("the peer offers no SRTP protection profile that we have")]
    NoSrtpProfile,
    /// Anything else that ends a handshake, in `dimpl`'s words.
    #[error("the DTLS handshake failed: {0}")]
    Protocol(String),
}

/// What a DTLS server tells its owner.
#[derive(Debug)]
pub enum DtlsEvent {
    /// The peer is who its SDP says; these are the keys. At most once.
    Connected {
        /// The negotiated version.
        version: DtlsVersion,
        /// The SRTP master keys of both directions.
        keys: DtlsSrtpKeys,
    },
    /// It is over; nothing follows.
    Failed(DtlsFailure),
    /// The peer said close_notify.
    ClosedByPeer,
}

/// A datagram that is no DTLS record, or comes after the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("no DTLS record that this connection can take")]
pub struct DtlsInvalid;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Handshake,
    Connected,
    Over,
}

/// One connection in the server role.
///
/// After every `handle_*`, [`DtlsServer::close`] and construction: poll events until none, then transmits until none.
/// Retransmissions after the handshake are answered as long as the object lives.
pub struct DtlsServer {
    dtls: Dtls,
    expected: Vec<Fingerprint>,
    peer_verified: bool,
    handshake_done: bool,
    state: State,
    timeout_at: Option<Instant>,
    transmits: VecDeque<Vec<u8>>,
    events: VecDeque<DtlsEvent>,
    invalid_datagrams: u64,
}

impl DtlsServer {
    /// A server that waits for a ClientHello and accepts a client whose certificate has one of the `expected`
    /// fingerprints.
    pub fn new(
        now: Instant,
        identity: &DtlsIdentity,
        versions: DtlsVersions,
        expected: Vec<Fingerprint>,
    ) -> Self {
        let config = identity.config.clone();
        let certificate = identity.certificate.clone();
        let dtls = match versions {
            DtlsVersions::Auto => Dtls::new_auto(config, certificate, now),
            DtlsVersions::Only12 => Dtls::new_12(config, certificate, now),
            DtlsVersions::Only13 => Dtls::new_13(config, certificate, now),
        };
        let mut server = Self {
            dtls,
            expected,
            peer_verified: false,
            handshake_done: false,
            state: State::Handshake,
            timeout_at: None,
            transmits: VecDeque::new(),
            events: VecDeque::new(),
            invalid_datagrams: 0,
        };
        server.handle_timeout(now);
        server
    }

    /// Takes one datagram from an authenticated address. `false`: it came after the handshake and led to nothing, neither
    /// an answer nor an event; forged records end so, because their tags do not hold.
    ///
    /// # Errors
    /// [`DtlsInvalid`] for what is no DTLS record (counted, harmless) or comes after the end.
    pub fn handle_datagram(&mut self, now: Instant, datagram: &[u8]) -> Result<bool, DtlsInvalid> {
        if self.state == State::Over || !looks_like_dtls(datagram) {
            self.invalid_datagrams += 1;
            return Err(DtlsInvalid);
        }
        let was_connected = self.state == State::Connected;
        let before = (self.transmits.len(), self.events.len());
        // `dimpl` takes the time of a datagram from the last `handle_timeout`.
        let result = self
            .dtls
            .handle_timeout(now)
            .and_then(|()| self.dtls.handle_packet(datagram));
        self.drain();
        if let Err(error) = result {
            // Once the keys are out, DTLS has nothing more to do than to answer repetitions: a datagram with a forged
            // source must not end the call.
            if self.state == State::Connected {
                self.invalid_datagrams += 1;
            } else {
                self.fail(failure_of(&error));
            }
            return Err(DtlsInvalid);
        }
        Ok(!was_connected || before != (self.transmits.len(), self.events.len()))
    }

    /// Retransmits what is due, and ends a handshake that took too long.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.state == State::Over {
            return;
        }
        let result = self.dtls.handle_timeout(now);
        self.drain();
        if let Err(error) = result {
            self.fail(failure_of(&error));
        }
    }

    /// When [`DtlsServer::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.state == State::Over {
            None
        } else {
            self.timeout_at
        }
    }

    /// The next datagram to send: copies it into `out` ([`MTU`] bytes suffice) and returns its length.
    pub fn poll_transmit(&mut self, out: &mut [u8]) -> Option<usize> {
        let datagram = self.transmits.pop_front()?;
        let out = out.get_mut(..datagram.len())?;
        out.copy_from_slice(&datagram);
        Some(datagram.len())
    }

    /// What happened, oldest first.
    pub fn poll_event(&mut self) -> Option<DtlsEvent> {
        self.events.pop_front()
    }

    /// Says close_notify if the handshake had ended; the connection is over. Poll the transmits once more.
    pub fn close(&mut self) {
        if self.state == State::Over {
            return;
        }
        // An error means that the connection is over already: what we want.
        let _ = self.dtls.close();
        self.drain();
        self.state = State::Over;
    }

    /// Datagrams that were refused so far.
    pub fn invalid_datagrams(&self) -> u64 {
        self.invalid_datagrams
    }

    /// Takes everything that `dimpl` has to say into our own bounded queues.
    fn drain(&mut self) {
        // While a certificate may come the buffer must hold it; afterwards only records of our own size come out.
        if self.state == State::Handshake {
            HANDSHAKE_BUFFER.with_borrow_mut(|buffer| {
                if buffer.is_empty() {
                    buffer.resize(HANDSHAKE_BUFFER_LEN, 0);
                }
                self.drain_through(buffer);
            });
        } else {
            self.drain_through(&mut [0; DATAGRAM_LEN_MAX]);
        }
        if self.handshake_done && self.state == State::Handshake {
            self.fail(DtlsFailure::NoSrtpProfile);
        }
    }

    fn drain_through(&mut self, buffer: &mut [u8]) {
        loop {
            match self.dtls.poll_output(buffer) {
                Output::Packet(packet) if self.transmits.len() < TRANSMITS_MAX => {
                    self.transmits.push_back(packet.to_vec());
                }
                Output::PeerCert(der) => {
                    self.peer_verified = self.expected.iter().any(|expected| expected.matches(der));
                    if !self.peer_verified {
                        self.fail(DtlsFailure::Fingerprint);
                        return;
                    }
                }
                Output::Connected => self.handshake_done = true,
                Output::KeyingMaterial(material, profile) => {
                    if let Err(failure) = self.take_keys(&material, profile) {
                        self.fail(failure);
                        return;
                    }
                }
                Output::Timeout(at) => {
                    self.timeout_at = Some(at);
                    break;
                }
                Output::CloseNotify => self.events.push_back(DtlsEvent::ClosedByPeer),
                // Data channels are not negotiated: application data goes nowhere.
                Output::ApplicationData(_) => {}
                Output::BufferTooSmall { .. } => {
                    let reason = String::from("a record is longer than a datagram");
                    self.fail(DtlsFailure::Protocol(reason));
                    return;
                }
                // A datagram too many is as good as lost. `Output` is open for additions; what we do not know we did
                // not ask for.
                _ => {}
            }
        }
    }

    /// Keys count only for a peer whose certificate was verified.
    fn take_keys(
        &mut self,
        material: &dimpl::KeyingMaterial,
        profile: dimpl::SrtpProfile,
    ) -> Result<(), DtlsFailure> {
        if !self.peer_verified {
            return Err(DtlsFailure::Fingerprint);
        }
        if self.state != State::Handshake {
            return Ok(());
        }
        let profile = match profile {
            dimpl::SrtpProfile::AES128_CM_SHA1_80 => Profile::Aes128CmHmacSha1_80,
            dimpl::SrtpProfile::AEAD_AES_128_GCM => Profile::AeadAes128Gcm,
            dimpl::SrtpProfile::AEAD_AES_256_GCM => Profile::AeadAes256Gcm,
            _ => return Err(DtlsFailure::NoSrtpProfile),
        };
        let keys = SrtpKeys::from_keying_material(profile, material)
            .map_err(|error| DtlsFailure::Protocol(error.to_string()))?;
        let version = match self.dtls.protocol_version() {
            Some(ProtocolVersion::DTLS1_3) => DtlsVersion::Dtls13,
            _ => DtlsVersion::Dtls12,
        };
        self.events
            .push_back(DtlsEvent::Connected { version, keys });
        self.state = State::Connected;
        Ok(())
    }

    fn fail(&mut self, failure: DtlsFailure) {
        if self.state != State::Over {
            self.state = State::Over;
            self.transmits.clear();
            self.events.push_back(DtlsEvent::Failed(failure));
        }
    }
}

impl fmt::Debug for DtlsServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DtlsServer")
            .field("state", &self.state)
            .field("invalid_datagrams", &self.invalid_datagrams)
            .finish_non_exhaustive()
    }
}

fn failure_of(error: &dimpl::Error) -> DtlsFailure {
    match error {
        dimpl::Error::Timeout(_) => DtlsFailure::Timeout,
        other => DtlsFailure::Protocol(other.to_string()),
    }
}

/// A cheap look at the record header: `dimpl` drops garbage silently, and we want it counted.
fn looks_like_dtls(datagram: &[u8]) -> bool {
    match datagram {
        // DTLSPlaintext and DTLS 1.2 ciphertext: type, version 0xfeff or 0xfefd, epoch, sequence, length.
        [20..=26, 0xfe, 0xff | 0xfd, ..] => {
            let length = datagram
                .get(11..13)
                .map(|l| usize::from(l[0]) << 8 | usize::from(l[1]));
            length.is_some_and(|length| 13 + length <= datagram.len())
                && datagram.len() <= DATAGRAM_LEN_MAX
        }
        // The unified header of DTLS 1.3 ciphertext: 0b001CSLEE.
        [0x20..=0x3f, ..] => (4..=DATAGRAM_LEN_MAX).contains(&datagram.len()),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
