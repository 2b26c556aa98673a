//! What the fuzz targets share: the input as a script of steps, and the few fixtures that scripts are played on.
//!
//! A step is one byte of operation, two bytes of length and that many bytes. So one input is a whole conversation, and
//! a mutation of it is another conversation instead of another beginning.

pub mod dialect;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use codecs::SampleRate;
use server::bridge::{Codec, StreamFormat, TelephoneEventFormat};
use server::config::{
    Secret, SipCredentials, SipTransport, SipTrunkConfig, TrunkConfig, TrunkKind,
};
use server::rtp::PayloadType;
use server::trunk::sip::flow::Flow;
use server::webrtc::ice_lite::{IceCredentials, PASSWORD_ENTROPY_LEN, UFRAG_ENTROPY_LEN};
use server::webrtc::stun::{IntegrityKey, StunClass, StunWriter, TransactionId, attribute};

/// Steps that are played of one input, so that each stays fast.
const STEPS_MAX: usize = 64;
/// The longest argument of a step: more than any datagram that the gateway takes.
const ARGUMENT_LEN_MAX: u16 = 0x0fff;
/// What a step may wait before it acts: the protocols' own intervals and timeouts.
const WAITS_MS: [u64; 8] = [0, 1, 20, 100, 250, 2_000, 10_000, 31_000];

/// One instant for the whole process: only differences matter.
static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);

/// The input as steps, with the clock that they move on.
pub struct Script<'a> {
    rest: &'a [u8],
    steps_left: usize,
    now: Instant,
}

/// What happens next.
#[derive(Debug, Clone, Copy)]
pub struct Step<'a> {
    /// Which of the target's operations, 0 to 7.
    pub kind: u8,
    /// When.
    pub now: Instant,
    /// Who sends: one of four addresses.
    pub from: SocketAddr,
    /// A datagram, or whatever the operation needs.
    pub bytes: &'a [u8],
}

impl<'a> Script<'a> {
    /// Reads `input` from its beginning.
    pub fn new(input: &'a [u8]) -> Self {
        Self {
            rest: input,
            steps_left: STEPS_MAX,
            now: *EPOCH,
        }
    }

    /// The beginning of the script.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// Takes one byte of set-up in front of the steps; 0 when there is none.
    pub fn choice(&mut self) -> u8 {
        let (&byte, rest) = self.rest.split_first().unwrap_or((&0, &[]));
        self.rest = rest;
        byte
    }
}

impl<'a> Iterator for Script<'a> {
    type Item = Step<'a>;

    /// The operation's low three bits are the kind, the next two the sender, the upper three the wait before it.
    fn next(&mut self) -> Option<Step<'a>> {
        self.steps_left = self.steps_left.checked_sub(1)?;
        let (&[operation, high, low], rest) = self.rest.split_first_chunk()?;
        let len = usize::from(u16::from_be_bytes([high, low]) & ARGUMENT_LEN_MAX);
        let (bytes, rest) = rest.split_at(len.min(rest.len()));
        self.rest = rest;
        self.now += Duration::from_millis(WAITS_MS[usize::from(operation >> 5)]);
        Some(Step {
            kind: operation & 7,
            now: self.now,
            from: address(operation >> 3 & 3),
            bytes,
        })
    }
}

/// The sender with this number: IPv4, IPv6, and both again on other ports.
pub fn address(number: u8) -> SocketAddr {
    let ip = match number & 1 {
        0 => IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
        _ => IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
    };
    SocketAddr::new(ip, 4000 + u16::from(number & 2))
}

/// The gateway's side of ICE as a peer with entropy of zeros draws it.
pub fn local_credentials() -> IceCredentials {
    IceCredentials::from_entropy([0; UFRAG_ENTROPY_LEN], [0; PASSWORD_ENTROPY_LEN])
}

/// An authentic check of the peer with `remote_ufrag`: what a fuzzer can't invent, because it is signed.
pub fn ice_check(remote_ufrag: &str, use_candidate: bool, transaction: u8) -> Vec<u8> {
    let local = local_credentials();
    let mut out = [0; 1024];
    let transaction_id = TransactionId([transaction; 12]);
    let mut write = || {
        let mut writer = StunWriter::new(&mut out, StunClass::Request, transaction_id)?;
        let username = [local.ufrag.as_bytes(), b":", remote_ufrag.as_bytes()];
        writer.attribute(attribute::USERNAME, &username)?;
        writer.attribute(attribute::ICE_CONTROLLING, &[&[1; 8]])?;
        writer.attribute(attribute::PRIORITY, &[&[0, 0, 1, 255]])?;
        if use_candidate {
            writer.attribute(attribute::USE_CANDIDATE, &[])?;
        }
        writer.message_integrity(&IntegrityKey::new(&local.password))?;
        writer.fingerprint()?;
        Some(writer.len())
    };
    let len = write().expect("a check is shorter than its buffer");
    out[..len].to_vec()
}

/// The format with this number: every codec, with and without telephone-event, and one with a clock of its own.
pub fn format(number: u8) -> StreamFormat {
    let codec = match number & 3 {
        0 => Codec::Opus,
        1 => Codec::Pcmu,
        2 => Codec::Pcma,
        _ => Codec::L16(SampleRate::Hz16000),
    };
    let clock_rate_hz = match number >> 2 & 3 {
        0 => None,
        1 => Some(8000),
        _ => Some(codec.clock_rate_hz()),
    };
    StreamFormat {
        codec,
        payload_type: PayloadType(96 + (number & 3)),
        ptime_ms: [20, 10, 40, 60][usize::from(number >> 4 & 3)],
        telephone_event: clock_rate_hz.map(|clock_rate_hz| TelephoneEventFormat {
            payload_type: PayloadType(101),
            clock_rate_hz,
        }),
    }
}

/// The address of a SIP trunk's far end.
pub const SIP_FAR_END: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2)), 5060);
/// Ours, as it knows it.
pub const SIP_OURS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 5060);

/// A way to the far end.
pub fn sip_flow() -> Flow {
    Flow {
        transport: SipTransport::Udp,
        local: SIP_OURS,
        advertised: SIP_OURS,
        remote: SIP_FAR_END,
        connection: None,
        server_name: None,
    }
}

/// A SIP trunk without OPTIONS and registration, with a name and password where the far end may ask for them.
pub fn sip_trunk(has_password: bool, srtp: bool) -> Arc<TrunkConfig> {
    let credentials = has_password.then(|| SipCredentials {
        username: "line1".into(),
        password: Secret::new("s3cret"),
    });
    let sip = SipTrunkConfig {
        destination_port: Some(SIP_FAR_END.port()),
        credentials,
        reject_incoming_calls: false,
        srtp,
        options_interval_s: 0,
        circuit_breaker_failures: 3,
        ..SipTrunkConfig::with_defaults(SIP_FAR_END.ip().to_string())
    };
    Arc::new(TrunkConfig::with_defaults(
        "carrier".parse().expect("a trunk id"),
        "acme".parse().expect("a tenant id"),
        TrunkKind::Sip(Box::new(sip)),
    ))
}
