//! ICE and DTLS over a tokio socket: one loop that feeds two sans-I/O machines.

use std::time::{Duration, Instant};

use dimpl::{Dtls, KeyingMaterial, Output, ProtocolVersion};
use is::stun::{StunMessage, StunPacket};
use is::{Candidate, IceAgent, IceAgentEvent, Protocol};
use sha2::{Digest, Sha256};
use std::net::SocketAddr;
use tokio::net::UdpSocket;

use super::{CONNECT_TIMEOUT, Client, ConnectError, Connected, RemoteAnswer};
use crate::load::media::{Protection, SrtpMaster, SrtpProfile};

/// Checks follow each other so fast; 50 ms is the RFC's for paths that may be thin.
const CHECK_INTERVAL: Duration = Duration::from_millis(5);
/// `dimpl` has no word for "acknowledged"; a flight that is not is repeated within this time.
const REPEATED_WITHIN: Duration = Duration::from_secs(5);
/// Datagrams and `dimpl`'s outputs: a certificate is the largest.
const BUFFER_BYTES: usize = 8_192;
/// The first byte of a DTLS record (RFC 7983).
const DTLS_BYTES: std::ops::RangeInclusive<u8> = 20..=63;
/// The first byte of STUN.
const STUN_BYTES: std::ops::RangeInclusive<u8> = 0..=3;

pub(super) async fn connect(
    client: &Client,
    answer: &RemoteAnswer,
) -> Result<Connected, ConnectError> {
    let began = Instant::now();
    let mut handshake = Handshake::new(client, answer)?;
    let deadline = began + CONNECT_TIMEOUT;
    let mut datagram = vec![0; BUFFER_BYTES];
    loop {
        let wake_at = handshake.advance(Instant::now()).await?.min(deadline);
        if handshake.is_complete()
            && let Some(protection) = handshake.protection.take()
        {
            let (remote, nominated_at) = handshake.path.ok_or(ConnectError::IceTimeout)?;
            return Ok(Connected {
                remote,
                protection,
                ice: nominated_at - began,
                dtls: nominated_at.elapsed(),
            });
        }
        tokio::select! {
            received = client.socket.recv_from(&mut datagram) => {
                // Errors are ICMP's answers to earlier datagrams: the timers decide.
                if let Ok((len, source)) = received {
                    handshake.receive(source, datagram.get(..len).unwrap_or_default())?;
                }
            }
            () = tokio::time::sleep_until(wake_at.into()) => {
                if Instant::now() >= deadline {
                    return Err(if handshake.path.is_some() {
                        ConnectError::DtlsTimeout
                    } else {
                        ConnectError::IceTimeout
                    });
                }
            }
        }
    }
}

struct Handshake<'a> {
    socket: &'a UdpSocket,
    local: SocketAddr,
    agent: IceAgent,
    dtls: Dtls,
    fingerprint: &'a str,
    /// The nominated address, and since when.
    path: Option<(SocketAddr, Instant)>,
    verified: bool,
    protection: Option<Protection>,
    /// DTLS has nothing to repeat for a while: the gateway has what we said.
    is_quiet: bool,
    buffer: Vec<u8>,
}

impl<'a> Handshake<'a> {
    fn new(client: &'a Client, answer: &'a RemoteAnswer) -> Result<Self, ConnectError> {
        let now = Instant::now();
        let mut agent = IceAgent::new(client.credentials.clone());
        agent.set_controlling(true);
        agent.set_timing_advance(CHECK_INTERVAL);
        let host = Candidate::host(client.local, "udp")
            .map_err(|error| ConnectError::Socket(error.to_string()))?;
        agent.add_local_candidate(host);
        agent.set_remote_credentials(answer.credentials.clone());
        for candidate in &answer.candidates {
            agent.add_remote_candidate(candidate.clone());
        }
        agent.handle_timeout(now);
        let identity = &client.identity;
        let mut dtls = Dtls::new_auto(identity.config.clone(), identity.certificate.clone(), now);
        dtls.set_active(true);
        Ok(Self {
            socket: &client.socket,
            local: client.local,
            agent,
            dtls,
            fingerprint: &answer.fingerprint,
            path: None,
            verified: false,
            protection: None,
            is_quiet: false,
            buffer: vec![0; BUFFER_BYTES],
        })
    }

    /// Our last flight has arrived: nobody answers the gateway's repetitions later. In DTLS 1.3 the client speaks last, and is
    /// acknowledged (RFC 9147 section 7); in 1.2 the server's Finished comes after ours.
    fn is_complete(&self) -> bool {
        let speaks_last = self.dtls.protocol_version() == Some(ProtocolVersion::DTLS1_3);
        self.protection.is_some() && (self.is_quiet || !speaks_last)
    }

    /// Sends what is to be sent; when it wants to be called again.
    async fn advance(&mut self, now: Instant) -> Result<Instant, ConnectError> {
        self.agent.handle_timeout(now);
        while let Some(transmit) = self.agent.poll_transmit() {
            // A lost check is sent again.
            let _ = self
                .socket
                .send_to(&transmit.contents, transmit.destination)
                .await;
        }
        while let Some(event) = self.agent.poll_event() {
            if let IceAgentEvent::NominatedSend { destination, .. } = event
                && self.path.is_none()
            {
                self.path = Some((destination, now));
            }
        }
        let far = now + CONNECT_TIMEOUT;
        let ice_at = self.agent.poll_timeout().unwrap_or(far);
        let Some((remote, _)) = self.path else {
            return Ok(ice_at);
        };
        self.dtls
            .handle_timeout(now)
            .map_err(|error| ConnectError::Dtls(error.to_string()))?;
        loop {
            match self.dtls.poll_output(&mut self.buffer) {
                Output::Packet(datagram) => {
                    let _ = self.socket.send_to(datagram, remote).await;
                }
                Output::Timeout(at) => {
                    self.is_quiet = at - now > REPEATED_WITHIN;
                    return Ok(at.min(ice_at));
                }
                Output::PeerCert(certificate) => {
                    self.verified = fingerprint(certificate) == self.fingerprint;
                    if !self.verified {
                        return Err(ConnectError::Fingerprint);
                    }
                }
                Output::KeyingMaterial(material, profile) => {
                    if !self.verified {
                        return Err(ConnectError::Fingerprint);
                    }
                    self.protection = Some(split(&material, profile)?);
                }
                Output::BufferTooSmall { needed } => self.buffer.resize(needed, 0),
                _ => {}
            }
        }
    }

    fn receive(&mut self, source: SocketAddr, datagram: &[u8]) -> Result<(), ConnectError> {
        match datagram.first() {
            Some(first) if STUN_BYTES.contains(first) => {
                let Ok(message) = StunMessage::parse(datagram) else {
                    return Ok(());
                };
                let packet = StunPacket {
                    proto: Protocol::Udp,
                    source,
                    destination: self.local,
                    message,
                };
                self.agent.handle_packet(Instant::now(), packet);
                Ok(())
            }
            Some(first) if DTLS_BYTES.contains(first) => self
                .dtls
                .handle_packet(datagram)
                .map_err(|error| ConnectError::Dtls(error.to_string())),
            // Media may come before the keys are ours; it is lost, as at a browser.
            _ => Ok(()),
        }
    }
}

fn fingerprint(certificate: &[u8]) -> String {
    let digest = Sha256::digest(certificate);
    let bytes: Vec<String> = digest.iter().map(|byte| format!("{byte:02X}")).collect();
    bytes.join(":")
}

/// RFC 5764 section 4.2: client key, server key, client salt, server salt. We are the client.
fn split(
    material: &KeyingMaterial,
    profile: dimpl::SrtpProfile,
) -> Result<Protection, ConnectError> {
    let profile = match profile {
        dimpl::SrtpProfile::AES128_CM_SHA1_80 => SrtpProfile::Aes128CmHmacSha1_80,
        dimpl::SrtpProfile::AEAD_AES_128_GCM => SrtpProfile::AeadAes128Gcm,
        dimpl::SrtpProfile::AEAD_AES_256_GCM => SrtpProfile::AeadAes256Gcm,
        other => return Err(ConnectError::Dtls(format!("unknown SRTP profile {other}"))),
    };
    let mut rest: &[u8] = material;
    let mut take = |len: usize| {
        let (part, behind) = rest
            .split_at_checked(len)
            .ok_or_else(|| ConnectError::Dtls("too little keying material".to_owned()))?;
        rest = behind;
        Ok::<_, ConnectError>(part.to_vec())
    };
    let (local_key, remote_key) = (take(profile.key_len())?, take(profile.key_len())?);
    let (local_salt, remote_salt) = (take(profile.salt_len())?, take(profile.salt_len())?);
    Ok(Protection::Srtp {
        profile,
        local: SrtpMaster {
            key: local_key,
            salt: local_salt,
        },
        remote: SrtpMaster {
            key: remote_key,
            salt: remote_salt,
        },
    })
}
