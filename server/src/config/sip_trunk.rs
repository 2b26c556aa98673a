//! What only a SIP trunk has: fields and defaults of the published trunk object, and what we add to it.

use std::net::IpAddr;
use std::path::PathBuf;

use super::{AgentConfig, Secret};

/// A carrier or PBX that is reached by SIP (RFC 3261).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SipTrunkConfig {
    /// `transport = "udp" | "tcp" | "tls"`, default `"udp"`.
    pub transport: SipTransport,
    /// `internal_sip_ip`: where signalling binds; default unspecified.
    pub internal_sip_ip: Option<IpAddr>,
    /// `external_sip_ip`: what the far end is told; default the address that the far end is reached from.
    pub external_sip_ip: Option<IpAddr>,
    /// `source_pbx_port`: our port, default 5060 (5061 with TLS). Trunks may share one.
    pub source_pbx_port: u16,
    /// `gateway_ip`: the carrier's address or host name. Requests from its addresses are this trunk's.
    pub gateway_host: String,
    /// `sbc_ip`: where requests go instead, in order of preference; default `gateway_ip`.
    pub sbc_hosts: Vec<String>,
    /// `destination_sbc_port`; none: SRV (RFC 3263), then 5060 (5061 with TLS).
    pub destination_port: Option<u16>,
    /// `display_name` of the From header.
    pub display_name: Option<String>,
    /// `domain` of the From header and of request URIs; default `gateway_ip`.
    pub domain: Option<String>,
    /// `proxy`: outbound proxy URI, first in the route set (RFC 3261 section 8.1.2).
    pub proxy: Option<String>,
    /// `sip_username` and `sip_password`: the answer to challenges.
    pub credentials: Option<SipCredentials>,
    /// `require_registration`: REGISTER, and no calls while it has not succeeded.
    pub require_registration: bool,
    /// `register_expires_sec`, default 3600.
    pub register_expires_s: u32,
    /// `media_ip_cidrs`: where the far end's media may be; empty: anywhere.
    pub media_ip_cidrs: Vec<IpCidr>,
    /// `reject_incoming_calls`, default true.
    pub reject_incoming_calls: bool,
    /// `reject_sip_code`, default 603.
    pub reject_sip_code: u16,
    /// `reject_audio_file`: played as early media before the refusal.
    pub reject_audio_file: Option<PathBuf>,
    /// `ignore_early_media`: the caller hears nothing before the answer.
    pub ignore_early_media: bool,
    /// `terminate_on_hold`: a call that the far end holds is ended.
    pub terminate_on_hold: bool,
    /// `inbound_rule`, for numbers without a route.
    pub inbound_rule: InboundRule,
    /// `inbound_audio_url` of `PLAY_AND_HANGUP`: a WAV file.
    pub inbound_audio_file: Option<PathBuf>,
    /// `inbound_webhook_url` of `NOTIFY_AND_HANGUP`.
    pub inbound_webhook_url: Option<String>,
    /// The agent of `HANDLE_AI`.
    pub agent: Option<AgentConfig>,
    /// `dtmf = "auto" | "rfc4733" | "info" | "inband"`, default `"auto"`: the first that the far end takes.
    pub dtmf: DtmfMethod,
    /// `srtp = true`: media is SRTP with keys in the SDP (RFC 4568) or there is no call.
    pub srtp: bool,
    /// `tls_ca_file`: who signs the far end's certificate; default the system's authorities.
    pub tls_ca_file: Option<PathBuf>,
    /// `options_interval_s`: keepalive, default 30; 0: never, the trunk is always up.
    pub options_interval_s: u32,
    /// `session_expires_s` (RFC 4028), default 1800, at least 90.
    pub session_expires_s: u32,
    /// `circuit_breaker_failures`: consecutive 5xx or unreachable INVITEs that open it, default 5; 0: never.
    pub circuit_breaker_failures: u32,
    /// `circuit_breaker_open_s`: how long it refuses calls before it tries one, default 30.
    pub circuit_breaker_open_s: u32,
}

impl SipTrunkConfig {
    /// The published defaults, towards `gateway_host` over UDP.
    pub fn with_defaults(gateway_host: String) -> Self {
        Self {
            transport: SipTransport::Udp,
            internal_sip_ip: None,
            external_sip_ip: None,
            source_pbx_port: SipTransport::Udp.default_port(),
            gateway_host,
            sbc_hosts: Vec::new(),
            destination_port: None,
            display_name: None,
            domain: None,
            proxy: None,
            credentials: None,
            require_registration: false,
            register_expires_s: 3600,
            media_ip_cidrs: Vec::new(),
            reject_incoming_calls: true,
            reject_sip_code: 603,
            reject_audio_file: None,
            ignore_early_media: false,
            terminate_on_hold: false,
            inbound_rule: InboundRule::Reject,
            inbound_audio_file: None,
            inbound_webhook_url: None,
            agent: None,
            dtmf: DtmfMethod::Auto,
            srtp: false,
            tls_ca_file: None,
            options_interval_s: 30,
            session_expires_s: 1800,
            circuit_breaker_failures: 5,
            circuit_breaker_open_s: 30,
        }
    }
}

/// How SIP messages travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SipTransport {
    /// UDP, the default.
    Udp,
    /// TCP.
    Tcp,
    /// TLS over TCP.
    Tls,
}

impl SipTransport {
    /// RFC 3261 section 19.1.2.
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Udp | Self::Tcp => 5060,
            Self::Tls => 5061,
        }
    }
}

/// Name and password for digest challenges (RFC 8760).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SipCredentials {
    /// `sip_username`
    pub username: String,
    /// `sip_password` or `sip_password_file`
    pub password: Secret,
}

/// What becomes of an incoming call that no route wants (published numbers 0..=3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum InboundRule {
    /// 0: `reject_sip_code`.
    #[default]
    Reject,
    /// 1: answered, `inbound_audio_url` played, ended.
    PlayAndHangUp,
    /// 2: `inbound_webhook_url` is told, the call refused.
    NotifyAndHangUp,
    /// 3: the trunk's AI agent takes it.
    HandleAi,
}

/// How digits go to the far end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DtmfMethod {
    /// RFC 4733 if it was negotiated, else tones where the codec carries them, else INFO.
    #[default]
    Auto,
    /// RFC 4733.
    Rfc4733,
    /// SIP INFO, `application/dtmf-relay`.
    Info,
    /// Tones in the audio.
    InBand,
}

/// A range of addresses, like `192.0.2.0/24`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IpCidr {
    address: IpAddr,
    prefix_len: u8,
}

impl IpCidr {
    /// Reads `address/length`; an address alone is a range of one.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, prefix_len) = text.split_once('/').unwrap_or((text, ""));
        let address = address.parse::<IpAddr>().ok()?;
        let prefix_len_max = if address.is_ipv4() { 32 } else { 128 };
        let prefix_len = match prefix_len {
            "" if !text.contains('/') => prefix_len_max,
            digits => digits.parse().ok().filter(|len| *len <= prefix_len_max)?,
        };
        Some(Self {
            address,
            prefix_len,
        })
    }

    /// Is `address` in it? IPv4 written as IPv6 is IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(ours), IpAddr::V4(theirs)) => {
                let shift = 32 - u32::from(self.prefix_len);
                let prefix = |address: u32| address.checked_shr(shift).unwrap_or(0);
                prefix(ours.to_bits()) == prefix(theirs.to_bits())
            }
            (IpAddr::V6(ours), IpAddr::V6(theirs)) => {
                let shift = 128 - u32::from(self.prefix_len);
                let prefix = |address: u128| address.checked_shr(shift).unwrap_or(0);
                prefix(ours.to_bits()) == prefix(theirs.to_bits())
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_addresses() {
        let contains = |range: &str, address: &str| {
            let range = IpCidr::parse(range)?;
            Some(range.contains(address.parse().ok()?))
        };
        assert_eq!(contains("192.0.2.0/24", "192.0.2.255"), Some(true));
        assert_eq!(contains("192.0.2.0/24", "::ffff:192.0.2.1"), Some(true));
        assert_eq!(contains("192.0.2.0/24", "192.0.3.1"), Some(false));
        assert_eq!(contains("192.0.2.7", "192.0.2.7"), Some(true));
        assert_eq!(contains("0.0.0.0/0", "203.0.113.9"), Some(true));
        assert_eq!(contains("0.0.0.0/0", "::1"), Some(false));
        assert_eq!(contains("2001:db8::/32", "2001:db8:1::1"), Some(true));
        for wrong in ["192.0.2.0/33", "192.0.2.0/", "host", "::/129", ""] {
            assert_eq!(IpCidr::parse(wrong), None, "{wrong}");
        }
    }
}
