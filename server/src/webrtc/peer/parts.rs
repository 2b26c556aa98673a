//! What a [`Peer`](super::Peer) is given, and what it tells.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::call::q850::Q850Cause;
use crate::config::{CodecName, DtlsVersions};
use crate::fault::{Fault, Refusal, RefusalCode};
use crate::rtp::StreamDirection;
use crate::rtp::{MediaPacket, RtpTimestamp, SequenceNumber, Ssrc};
use crate::srtp::Profile;
use crate::webrtc::dtls::{DtlsFailure, DtlsIdentity, DtlsVersion};
use crate::webrtc::ice_lite::{IceCredentials, PASSWORD_ENTROPY_LEN, UFRAG_ENTROPY_LEN};

/// What all peers of one shard share.
#[derive(Debug)]
pub struct PeerConfig {
    /// Our candidates: the addresses under which the shard's socket is reached, best first.
    pub local_addresses: Vec<SocketAddr>,
    /// The process's certificate.
    pub identity: Arc<DtlsIdentity>,
    /// What we answer, best first.
    pub codecs: Vec<CodecName>,
    /// Which DTLS versions we speak.
    pub dtls: DtlsVersions,
}

/// The randomness of one peer, filled by its owner from the system's source.
#[derive(Clone)]
pub struct PeerEntropy(pub [u8; PeerEntropy::LEN]);

impl PeerEntropy {
    /// Random bytes that one peer takes.
    pub const LEN: usize = UFRAG_ENTROPY_LEN + PASSWORD_ENTROPY_LEN + 8 + 4 + 2 + 4 + 8 + 8;

    /// Splits the bytes into what a peer draws.
    pub(super) fn draw(&self) -> Drawn {
        let mut rest = &self.0[..];
        let ufrag = take(&mut rest);
        let password = take(&mut rest);
        Drawn {
            credentials: IceCredentials::from_entropy(ufrag, password),
            // The first bit stays 0, because some parsers read a signed number (RFC 8829 section 5.2.1).
            session_id: u64::from_be_bytes(take(&mut rest)) >> 1,
            ssrc: Ssrc(u32::from_be_bytes(take(&mut rest))),
            // Below 2^15, so that an early loss can't make the far end guess a wrong roll-over counter (RFC 3711
            // section 3.3.1).
            first_sequence_number: SequenceNumber(u16::from_be_bytes(take(&mut rest)) >> 1),
            first_timestamp: RtpTimestamp(u32::from_be_bytes(take(&mut rest))),
            cname: format!("{:016x}", u64::from_be_bytes(take(&mut rest))),
            report_seed: u64::from_be_bytes(take(&mut rest)),
        }
    }
}

impl std::fmt::Debug for PeerEntropy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PeerEntropy")
    }
}

/// What a peer draws at random.
#[derive(Debug)]
pub(super) struct Drawn {
    pub(super) credentials: IceCredentials,
    pub(super) session_id: u64,
    pub(super) ssrc: Ssrc,
    pub(super) first_sequence_number: SequenceNumber,
    pub(super) first_timestamp: RtpTimestamp,
    pub(super) cname: String,
    pub(super) report_seed: u64,
}

/// The next `N` bytes; zeros past the end, which [`PeerEntropy::LEN`] rules out.
fn take<const N: usize>(rest: &mut &[u8]) -> [u8; N] {
    let (bytes, after) = rest.split_first_chunk().unwrap_or((&[0; N], &[]));
    *rest = after;
    *bytes
}

/// What a datagram was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received<'a> {
    /// Audio or a telephone-event: decrypted, of a negotiated payload type.
    Media(MediaPacket<'a>),
    /// STUN, DTLS or RTCP, dealt with inside.
    Control,
}

/// What a peer tells its owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeerEvent {
    /// The peer's certificate is the one of its SDP, keys are there, media may flow.
    Connected {
        /// The DTLS version.
        dtls_version: DtlsVersion,
        /// The SRTP profile.
        srtp_profile: Profile,
    },
    /// This address passed a check with MESSAGE-INTEGRITY: the shared socket may demultiplex by it.
    AddressBound(SocketAddr),
    /// This address is no path any more: the shared socket forgets it.
    AddressReleased(SocketAddr),
    /// We send there from now on.
    PathSelected(SocketAddr),
    /// An ICE restart is done: the shared socket forgets this ufrag of ours.
    UfragRetired(String),
    /// A new offer changed what we do.
    Direction(StreamDirection),
    /// The peer never got so far as to carry media. Nothing follows.
    Failed(Refusal),
    /// No authenticated check for 30 s (RFC 7675). Nothing follows.
    ConsentLost,
    /// The peer said close_notify. Nothing follows.
    ClosedByPeer,
}

/// The refusal of a handshake that failed: the far end's to mend.
pub(super) fn handshake_refusal(failure: &DtlsFailure) -> Refusal {
    let (code, cause) = match failure {
        DtlsFailure::Timeout => (RefusalCode::Timeout, Q850Cause::TIMER_EXPIRY),
        DtlsFailure::NoSrtpProfile => (RefusalCode::Malformed, Q850Cause::BEARER_NOT_IMPLEMENTED),
        DtlsFailure::Fingerprint | DtlsFailure::Protocol(_) => {
            (RefusalCode::Malformed, Q850Cause::CALL_REJECTED)
        }
    };
    Refusal::new(code, Fault::Caller, failure.to_string()).with_cause(cause)
}

/// The refusal of a peer that brought nothing, or only checks, before the deadline.
pub(super) fn connect_refusal(had_path: bool) -> Refusal {
    let message = if had_path {
        "ICE connected, but no DTLS handshake came"
    } else {
        "no ICE check arrived: the gateway's UDP port is not reachable from there, or not advertised"
    };
    Refusal::new(RefusalCode::Timeout, Fault::Caller, message).with_cause(Q850Cause::TIMER_EXPIRY)
}
