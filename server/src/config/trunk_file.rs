//! One `[[trunks]]` entry. Of the published trunk object each kind takes the fields that have an effect on it; the
//! others are refused by name, so that nobody waits for a setting that does nothing.

use std::net::IpAddr;

use super::agent_file;
use super::gateway::trunk_default;
use super::gateway_file::{ADDRESS, names, parse_address};
use super::secret_file::{Environment, is_named, secret};
use super::section::{Located, Section};
use super::sip_trunk_file::{self, SIP_FIELDS};
use super::tenant_file::{ID, KnownTrunk};
use super::{CodecName, EchoCodec, TenantConfig, TrunkConfig, TrunkKind};
use crate::id::{TenantId, TrunkId};

/// Ports below are for the system.
const RTP_PORT_MIN: u64 = 1024;

const KINDS: [&str; 4] = ["echo", "rtp", "sip", "websocket"];

const BEARER_TOKEN: (&str, &str) = ("api_bearer_token", "api_bearer_token_file");

/// The fields of the published trunk object that nothing in this version has a use for.
const FIELDS_WITHOUT_USE: [(&str, &str); 4] = [
    (
        "inbound_ai_quic_url",
        "has no effect: AI agents are reached by WebSocket, inbound_ai_websocket_url",
    ),
    (
        "auto_bargein_mode",
        "has no effect: what it takes is not published; here it is auto_barge_in = true",
    ),
    (
        "auto_bargein_aggressiveness",
        "has no effect: what it takes is not published; here it is barge_in_patience_ms",
    ),
    (
        "admin_token",
        "has no effect: the admin window's token is admin.token_file",
    ),
];

/// A trunk with the place of its ids, for the checks against tenants and other trunks.
pub(super) struct ReadTrunk<'a> {
    pub(super) config: TrunkConfig,
    pub(super) section: Section<'a>,
    trunk_id: Located<TrunkId>,
    tenant_id: Located<TenantId>,
}

impl ReadTrunk<'_> {
    /// For who refers to it.
    pub(super) fn known(&self) -> KnownTrunk<'_> {
        KnownTrunk::Whole {
            config: &self.config,
            names_token: is_named(&self.section, BEARER_TOKEN),
        }
    }

    /// Another trunk has this id already.
    pub(super) fn refuse_twice(&self) {
        self.section
            .wrong(&self.trunk_id, "is the id of two trunks");
    }

    /// The owner must exist, and allow what the trunk dials.
    pub(super) fn check_tenant<'t>(
        &self,
        tenant_of: impl Fn(&TenantId) -> Option<&'t TenantConfig>,
    ) {
        let Some(tenant) = tenant_of(&self.tenant_id.value) else {
            self.section.wrong(
                &self.tenant_id,
                format!("there is no tenant \"{}\"", self.tenant_id.value),
            );
            return;
        };
        let agent = match &self.config.kind {
            TrunkKind::WebSocket(agent) => Some(agent.as_ref()),
            TrunkKind::Sip(sip) => sip.agent.as_ref(),
            TrunkKind::Echo(_) | TrunkKind::Rtp { .. } => None,
        };
        if let Some(agent) = agent {
            agent_file::check_host(&self.section, agent, tenant);
        }
        let keys_signatures = (tenant.twilio.as_ref())
            .is_some_and(|twilio| twilio.trunk_id.as_ref() == Some(&self.trunk_id.value));
        if is_named(&self.section, BEARER_TOKEN) && !keys_signatures {
            let key = match self.section.has(BEARER_TOKEN.0) {
                true => BEARER_TOKEN.0,
                false => BEARER_TOKEN.1,
            };
            self.section.warn(
                key,
                "has no effect: the tenant's [tenants.twilio] is not about this trunk",
            );
        }
    }
}

/// Reads one entry.
///
/// # Errors
/// One with a mistake that leaves no trunk: its id alone, if it has one.
pub(super) fn read<'a>(
    mut section: Section<'a>,
    environment: Environment<'_>,
) -> Result<ReadTrunk<'a>, Option<TrunkId>> {
    let trunk_id = section.parsed("trunk_id", ID, |text| text.parse::<TrunkId>().ok());
    if trunk_id.is_none() {
        section.require("trunk_id");
    }
    let id = trunk_id.as_ref().map(|located| located.value.clone());
    read_rest(section, trunk_id, environment).ok_or(id)
}

fn read_rest<'a>(
    mut section: Section<'a>,
    trunk_id: Option<Located<TrunkId>>,
    environment: Environment<'_>,
) -> Option<ReadTrunk<'a>> {
    let tenant_id = section.parsed("tenant_id", ID, |text| text.parse::<TenantId>().ok());
    if tenant_id.is_none() {
        section.require("tenant_id");
    }
    let mut number =
        |key, allowed, default: u32| section.integer_or(key, allowed, default.into()) as u32;
    let channel_limit = number("channel_limit", 1..=1_000_000, trunk_default::CHANNEL_LIMIT);
    let no_media_timeout_s = number(
        "no_media_timeout_s",
        0..=86_400,
        trunk_default::NO_MEDIA_TIMEOUT_S,
    );
    let reorder_wait_ms = number("reorder_wait_ms", 0..=200, trunk_default::REORDER_WAIT_MS);

    let Some(kind_name) = section.required_text("kind") else {
        // Perhaps it stands there, misspelt.
        section.finish();
        return None;
    };
    let (kind, media) = match kind_name.value.as_str() {
        "echo" => (read_echo(&mut section), RtpFields::default()),
        "rtp" => read_rtp(&mut section),
        "sip" => read_sip(&mut section, environment),
        "websocket" => (
            read_websocket(&mut section, environment),
            RtpFields::default(),
        ),
        _ => {
            section.wrong(
                &kind_name,
                format!("is no kind of trunk; allowed: {}", names(&KINDS)),
            );
            return None;
        }
    };
    let api_bearer_token = secret(&mut section, BEARER_TOKEN, environment);
    for (key, message) in FIELDS_WITHOUT_USE {
        section.refuse(key, message);
    }
    section.finish();

    let (trunk_id, tenant_id, kind) = (trunk_id?, tenant_id?, kind?);
    let config = TrunkConfig {
        trunk_id: trunk_id.value.clone(),
        tenant_id: tenant_id.value.clone(),
        kind,
        channel_limit,
        rtp_start_port: media.rtp_ports.0,
        rtp_end_port: media.rtp_ports.1,
        internal_rtp_ip: media.internal_rtp_ip,
        external_rtp_ip: media.external_rtp_ip,
        codec_preferences: media.codec_preferences,
        no_media_timeout_s,
        reorder_wait_ms,
        api_bearer_token,
    };
    Some(ReadTrunk {
        config,
        section,
        trunk_id,
        tenant_id,
    })
}

/// What a trunk with RTP sockets has besides its kind.
struct RtpFields {
    rtp_ports: (u16, u16),
    internal_rtp_ip: Option<IpAddr>,
    external_rtp_ip: Option<IpAddr>,
    codec_preferences: Vec<CodecName>,
}

impl Default for RtpFields {
    fn default() -> Self {
        Self {
            rtp_ports: trunk_default::RTP_PORTS,
            internal_rtp_ip: None,
            external_rtp_ip: None,
            codec_preferences: trunk_default::CODEC_PREFERENCES.to_vec(),
        }
    }
}

fn read_echo(section: &mut Section<'_>) -> Option<TrunkKind> {
    let codec = |text: &str| match text {
        "PCMU" => Some(EchoCodec::Pcmu),
        "opus" => Some(EchoCodec::Opus),
        "same" => Some(EchoCodec::Same),
        _ => None,
    };
    let codec = section.parsed_or(
        "codec",
        "\"PCMU\", \"opus\", \"same\"",
        codec,
        ("PCMU", EchoCodec::Pcmu),
    );
    refuse_socket_fields(
        section,
        "has no effect on an echo trunk: it has no RTP sockets of its own",
    );
    refuse_rtp_fields(section);
    refuse_sip_fields(section);
    refuse_agent_fields(section);
    Some(TrunkKind::Echo(codec))
}

fn read_websocket(section: &mut Section<'_>, environment: Environment<'_>) -> Option<TrunkKind> {
    let agent = agent_file::read(section, environment);
    refuse_socket_fields(
        section,
        "has no effect on a websocket trunk: its audio is what agent_dialect says",
    );
    section.refuse("codec", "belongs to kind \"echo\"");
    refuse_rtp_fields(section);
    refuse_sip_fields(section);
    agent.map(|agent| TrunkKind::WebSocket(Box::new(agent)))
}

fn read_rtp(section: &mut Section<'_>) -> (Option<TrunkKind>, RtpFields) {
    let remote = section.parsed("remote", ADDRESS, |text| {
        parse_address(text)
            .filter(|address| !address.ip().is_unspecified() && !address.ip().is_multicast())
    });
    if remote.is_none() {
        section.require("remote");
    }
    let rtcp_mux = section.flag_or("rtcp_mux", false);
    let fields = read_rtp_fields(section);
    section.refuse(
        "external_rtp_ip",
        "has no effect on kind \"rtp\": without signalling nothing tells the far end our address",
    );
    refuse_sip_fields(section);
    refuse_agent_fields(section);
    let kind = remote.map(|remote| TrunkKind::Rtp {
        remote: remote.value,
        rtcp_mux,
    });
    (kind, fields)
}

fn read_sip(
    section: &mut Section<'_>,
    environment: Environment<'_>,
) -> (Option<TrunkKind>, RtpFields) {
    let sip = sip_trunk_file::read(section, environment);
    let mut fields = read_rtp_fields(section);
    fields.external_rtp_ip = section
        .parsed(
            "external_rtp_ip",
            "an IPv4 or IPv6 address that the far end reaches",
            parse_reachable_ip,
        )
        .map(|located| located.value);
    refuse_rtp_fields(section);
    (sip.map(|sip| TrunkKind::Sip(Box::new(sip))), fields)
}

/// An address that others can send to.
pub(super) fn parse_reachable_ip(text: &str) -> Option<IpAddr> {
    text.parse()
        .ok()
        .filter(|ip: &IpAddr| !ip.is_unspecified() && !ip.is_multicast())
}

fn read_rtp_fields(section: &mut Section<'_>) -> RtpFields {
    let codec_preferences = section.parsed_list_or(
        "codec_preferences",
        "\"PCMU\", \"PCMA\", \"OPUS\", \"L16\"",
        CodecName::from_name,
        &["PCMU", "PCMA", "OPUS"],
    );
    section.require_entries("codec_preferences", "codec");
    let is_twice = |index: usize| codec_preferences[..index].contains(&codec_preferences[index]);
    if (1..codec_preferences.len()).any(is_twice) {
        section.wrong_key("codec_preferences", "names a codec twice");
    }
    let internal_rtp_ip = section
        .parsed(
            "internal_rtp_ip",
            "an IPv4 or IPv6 address of this machine",
            |text| text.parse::<IpAddr>().ok(),
        )
        .map(|located| located.value);
    let rtp_ports = read_rtp_ports(section);
    section.refuse(
        "codec",
        "belongs to kind \"echo\"; here it is codec_preferences",
    );
    RtpFields {
        rtp_ports,
        internal_rtp_ip,
        external_rtp_ip: None,
        codec_preferences,
    }
}

fn read_rtp_ports(section: &mut Section<'_>) -> (u16, u16) {
    let allowed = RTP_PORT_MIN..=u64::from(u16::MAX);
    // Both casts fit: `integer_or` keeps them within u16.
    let start = section.integer_or(
        "rtp_start_port",
        allowed.clone(),
        u64::from(trunk_default::RTP_PORTS.0),
    ) as u16;
    let end = section.integer_or(
        "rtp_end_port",
        allowed,
        u64::from(trunk_default::RTP_PORTS.1),
    ) as u16;
    if !start.is_multiple_of(2) {
        section.wrong_key(
            "rtp_start_port",
            "is odd; allowed: an even port, since RTCP takes the odd one above",
        );
    }
    if end <= start {
        section.wrong_key(
            "rtp_end_port",
            format!(
                "leaves no port pair; allowed: {} or more",
                u32::from(start) + 1
            ),
        );
    }
    (start, end)
}

fn refuse_rtp_fields(section: &mut Section<'_>) {
    for key in ["remote", "rtcp_mux"] {
        section.refuse(key, "belongs to kind \"rtp\"");
    }
}

/// What only trunks with RTP sockets have.
fn refuse_socket_fields(section: &mut Section<'_>, message: &str) {
    for key in [
        "rtp_start_port",
        "rtp_end_port",
        "internal_rtp_ip",
        "external_rtp_ip",
        "codec_preferences",
    ] {
        section.refuse(key, message);
    }
}

fn refuse_agent_fields(section: &mut Section<'_>) {
    agent_file::refuse(
        section,
        "belongs to kind \"websocket\", or to kind \"sip\" with inbound_rule = 3",
    );
}

fn refuse_sip_fields(section: &mut Section<'_>) {
    for key in SIP_FIELDS {
        section.refuse(key, "belongs to kind \"sip\"");
    }
}
