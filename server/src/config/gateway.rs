//! The typed form of `gateway.toml`: server, admin, webrtc, tenants and trunks.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use codecs::opus::Limits as OpusLimits;

use super::{
    AgentConfig, HostPattern, InboundRoute, PublicKey, SipTrunkConfig, TwilioConfig, VapiConfig,
};
use crate::id::{TenantId, TrunkId};

/// All of `gateway.toml`. Shared read-only with every shard.
#[derive(Debug, Clone)]
pub struct GatewayConfig {
    /// `[server]`
    pub server: ServerConfig,
    /// `[admin]`
    pub admin: AdminConfig,
    /// `[webrtc]`
    pub webrtc: WebRtcConfig,
    /// `[[tenants]]`
    pub tenants: BTreeMap<TenantId, Arc<TenantConfig>>,
    /// `[[trunks]]`
    pub trunks: BTreeMap<TrunkId, Arc<TrunkConfig>>,
}

/// `[server]`
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// Signalling addresses, default `[::]:7443`.
    pub listen: Vec<SocketAddr>,
    /// PEM chain of the TLS certificate.
    pub cert_file: PathBuf,
    /// PEM private key of the certificate.
    pub key_file: PathBuf,
    /// PEM PKCS#8 Ed25519 key that signs `clutchcall-gateway token`; none: the gateway is no issuer.
    pub token_key_file: Option<PathBuf>,
    /// What callers dial, without a path.
    pub public_url: String,
    /// Serves the softphone page at `/`.
    pub demo_page: bool,
    /// How long running calls may go on after SIGTERM.
    pub drain_timeout_s: u32,
    /// How long a call outlives its signalling socket.
    pub signal_grace_ms: u32,
}

/// `[admin]`
#[derive(Debug, Clone)]
pub struct AdminConfig {
    /// Where the admin window listens, default `127.0.0.1:7444`.
    pub listen: SocketAddr,
    /// The bearer token; none in the file means that every request is refused.
    pub token: Option<Secret>,
}

/// `[webrtc]`
#[derive(Debug, Clone, Default)]
pub struct WebRtcConfig {
    /// Addresses for our candidates; empty: those of the interfaces that are up (loopback only when alone).
    pub advertised_ips: Vec<IpAddr>,
    /// STUN and TURN servers for the page's `RTCPeerConnection`.
    pub ice_servers: Vec<IceServerConfig>,
    /// `dtls = "auto" | "1.2" | "1.3"`.
    pub dtls: DtlsVersions,
    /// Codecs that we answer, best first; default `["opus", "PCMU", "PCMA"]`.
    pub codecs: Vec<CodecName>,
    /// What our Opus encoders may spend: `opus_bitrate_min_bps`, `opus_bitrate_max_bps`, `opus_complexity_max`,
    /// `opus_voice_activity_gate`. A reload reaches running calls.
    pub opus: OpusLimits,
}

/// One entry of `ice_servers`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IceServerConfig {
    /// How it is reached (RFC 7064, 7065).
    pub urls: Vec<String>,
    /// What makes credentials for it; none for STUN, which needs no credentials.
    pub turn: Option<TurnSecret>,
}

/// What is shared with a TURN server ([`crate::auth::turn_rest`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TurnSecret {
    /// `static-auth-secret` of coturn.
    pub secret: Secret,
    /// How long the credentials of one session are good, default 86400.
    pub credential_lifetime_s: u32,
}

/// Which DTLS versions a WebRTC leg accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DtlsVersions {
    /// 1.3 where the peer can, else 1.2.
    #[default]
    Auto,
    /// Only 1.2.
    Only12,
    /// Only 1.3.
    Only13,
}

/// A codec as configuration and SDP name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CodecName {
    /// RFC 7587, 48 kHz clock.
    Opus,
    /// G.711 mu-law, 8 kHz.
    Pcmu,
    /// G.711 A-law, 8 kHz.
    Pcma,
    /// RFC 3551 L16, 16 kHz mono.
    L16,
}

/// One `[[tenants]]` entry.
#[derive(Debug, Clone)]
pub struct TenantConfig {
    /// The name in the path.
    pub tenant_id: TenantId,
    /// Calls at once, default 100.
    pub max_calls: u32,
    /// New calls per second, default 20.
    pub setups_per_s: u32,
    /// `[tenants.browser]`; none: the vendor is not configured.
    pub browser: Option<BrowserConfig>,
    /// `[tenants.twilio]`; none: the vendor is not configured.
    pub twilio: Option<TwilioConfig>,
    /// `[tenants.vapi]`; none: the vendor is not configured.
    pub vapi: Option<VapiConfig>,
    /// `outbound_hosts`: whom the gateway may dial for the tenant by HTTP and WebSocket; empty: nobody.
    pub outbound_hosts: Vec<HostPattern>,
    /// `[[tenants.routes]]`, in the file's order.
    pub routes: Vec<RouteConfig>,
    /// `[[tenants.inbound]]`, in the file's order: the first that fits takes the call.
    pub inbound: Vec<InboundRoute>,
}

impl TenantConfig {
    /// May the gateway dial this host of a URL for the tenant? Without its port; an IPv6 address with or without brackets.
    pub fn allows_host(&self, host: &str) -> bool {
        self.outbound_hosts
            .iter()
            .any(|pattern| pattern.allows(host))
    }
}

/// `[tenants.browser]`
#[derive(Debug, Clone)]
pub struct BrowserConfig {
    /// Allowed `Origin` values; empty: requests with any Origin are refused, those without are not.
    pub origins: Vec<String>,
    /// Keys that sign this tenant's SessionAuth tokens, by `kid`.
    pub keys: Vec<TenantKey>,
}

/// `[[tenants.browser.keys]]`
#[derive(Debug, Clone)]
pub struct TenantKey {
    /// The header's `kid`; never begins `gw-`.
    pub kid: String,
    /// The key with the only algorithm that it verifies, read at load.
    pub public_key: PublicKey,
}

/// `[[tenants.routes]]`
#[derive(Debug, Clone)]
pub struct RouteConfig {
    /// The vendor in the path.
    pub vendor: String,
    /// A trunk of this tenant.
    pub trunk_id: TrunkId,
    /// Where to, if the dialect names nobody.
    pub to: Option<String>,
}

/// One `[[trunks]]` entry; fields and defaults of the published trunk object.
#[derive(Debug, Clone)]
pub struct TrunkConfig {
    /// Unique in the gateway.
    pub trunk_id: TrunkId,
    /// The owner.
    pub tenant_id: TenantId,
    /// What answers.
    pub kind: TrunkKind,
    /// Calls at once, default 50.
    pub channel_limit: u32,
    /// First RTP port, even, default 16384.
    pub rtp_start_port: u16,
    /// Last RTP port, default 32767.
    pub rtp_end_port: u16,
    /// Address that media sockets bind, default unspecified.
    pub internal_rtp_ip: Option<IpAddr>,
    /// Address that we tell the far end, default the bound one.
    pub external_rtp_ip: Option<IpAddr>,
    /// Offer order, default `[PCMU, PCMA, OPUS]`.
    pub codec_preferences: Vec<CodecName>,
    /// Ends a call when a leg brings neither RTP nor RTCP for so long, default 60; 0: never.
    pub no_media_timeout_s: u32,
    /// How long a transcoding bridge waits for a missing packet, default 20.
    pub reorder_wait_ms: u32,
    /// `api_bearer_token` or `api_bearer_token_file`: the vendor account's secret, as Twilio's auth token; see
    /// [`TwilioConfig::trunk_id`].
    pub api_bearer_token: Option<Secret>,
}

/// The published defaults of the trunk object.
pub(super) mod trunk_default {
    use super::CodecName;

    pub(crate) const CHANNEL_LIMIT: u32 = 50;
    /// The last port is odd, so that the last pair is complete.
    pub(crate) const RTP_PORTS: (u16, u16) = (16_384, 32_767);
    pub(crate) const CODEC_PREFERENCES: [CodecName; 3] =
        [CodecName::Pcmu, CodecName::Pcma, CodecName::Opus];
    pub(crate) const NO_MEDIA_TIMEOUT_S: u32 = 60;
    pub(crate) const REORDER_WAIT_MS: u32 = 20;
}

impl TrunkConfig {
    /// The published defaults, for a trunk of this kind.
    pub fn with_defaults(trunk_id: TrunkId, tenant_id: TenantId, kind: TrunkKind) -> Self {
        Self {
            trunk_id,
            tenant_id,
            kind,
            channel_limit: trunk_default::CHANNEL_LIMIT,
            rtp_start_port: trunk_default::RTP_PORTS.0,
            rtp_end_port: trunk_default::RTP_PORTS.1,
            internal_rtp_ip: None,
            external_rtp_ip: None,
            codec_preferences: trunk_default::CODEC_PREFERENCES.to_vec(),
            no_media_timeout_s: trunk_default::NO_MEDIA_TIMEOUT_S,
            reorder_wait_ms: trunk_default::REORDER_WAIT_MS,
            api_bearer_token: None,
        }
    }

    /// The AI agent that the trunk is, or that takes its incoming calls (`inbound_rule = 3`).
    pub fn agent(&self) -> Option<&AgentConfig> {
        match &self.kind {
            TrunkKind::WebSocket(agent) => Some(agent),
            TrunkKind::Sip(sip) => sip.agent.as_ref(),
            TrunkKind::Echo(_) | TrunkKind::Rtp { .. } => None,
        }
    }
}

/// What a trunk is, with what only that kind has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TrunkKind {
    /// Answers and plays the caller back.
    Echo(EchoCodec),
    /// A fixed RTP peer without signalling: a paging horn, a media server, a test. RTCP BYE hangs up.
    Rtp {
        /// Where it listens; RTCP on the next port unless it is muxed.
        remote: SocketAddr,
        /// `rtcp_mux = true`: RTCP on the RTP port (RFC 5761).
        rtcp_mux: bool,
    },
    /// A carrier or PBX.
    Sip(Box<SipTrunkConfig>),
    /// An AI agent's WebSocket, which we dial.
    WebSocket(Box<AgentConfig>),
}

/// `codec` of an echo trunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EchoCodec {
    /// Everything is transcoded to PCMU and back.
    #[default]
    Pcmu,
    /// Decoded and encoded again as Opus.
    Opus,
    /// Reflected as it came.
    Same,
}

/// A secret from a file or the environment. Its `Debug` shows nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<str>);

impl Secret {
    /// Takes a secret's text.
    pub fn new(text: &str) -> Self {
        Self(Arc::from(text))
    }

    /// The secret itself: for comparing and signing, never for printing.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}
