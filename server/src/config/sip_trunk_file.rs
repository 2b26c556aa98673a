//! What a `[[trunks]]` entry of kind "sip" has besides what all trunks with RTP sockets have.

use std::fs::File;
use std::io::Read;
use std::net::IpAddr;
use std::path::PathBuf;

use super::agent_file;
use super::secret_file::{Environment, password};
use super::section::{Located, Section};
use super::tls::ca_file;
use super::trunk_file::parse_reachable_ip;
use super::url::{HOST, URI_LEN_MAX, Url, host_and_port, parse_host};
use super::{
    AgentConfig, DtmfMethod, InboundRule, IpCidr, SipCredentials, SipTransport, SipTrunkConfig,
};

/// Every key that [`read`] takes.
pub(super) const SIP_FIELDS: [&str; 31] = [
    "transport",
    "internal_sip_ip",
    "external_sip_ip",
    "source_pbx_port",
    "gateway_ip",
    "sbc_ip",
    "destination_sbc_port",
    "display_name",
    "domain",
    "proxy",
    "require_registration",
    "sip_username",
    "sip_password",
    "sip_password_file",
    "register_expires_sec",
    "media_ip_cidrs",
    "reject_incoming_calls",
    "reject_sip_code",
    "reject_audio_file",
    "ignore_early_media",
    "terminate_on_hold",
    "inbound_rule",
    "inbound_audio_url",
    "inbound_webhook_url",
    "dtmf",
    "srtp",
    "tls_ca_file",
    "options_interval_s",
    "session_expires_s",
    "circuit_breaker_failures",
    "circuit_breaker_open_s",
];

/// The most entries of `sbc_ip`: each may cost a call 32 s of silence before the next is tried.
const SBC_HOSTS_MAX: usize = 8;
/// The most entries of `media_ip_cidrs`.
const MEDIA_IP_CIDRS_MAX: usize = 256;
/// The longest text that goes into a header, in bytes.
const HEADER_TEXT_LEN_MAX: usize = 128;
/// RFC 4028 section 5: below it a session timer costs more than it is good for.
const SESSION_EXPIRES_S_MIN: u64 = 90;
const DAY_S: u64 = 86_400;

const HEADER_TEXT: &str = "1 to 128 bytes without control characters";

/// Reads the fields; none if there is no trunk without what is missing.
pub(super) fn read(
    section: &mut Section<'_>,
    environment: Environment<'_>,
) -> Option<SipTrunkConfig> {
    let transport = read_transport(section);
    let gateway_host = section.parsed("gateway_ip", HOST, parse_host);
    if gateway_host.is_none() {
        section.require("gateway_ip");
    }
    let default = SipTrunkConfig::with_defaults(String::new());
    let sbc_hosts = read_hosts(section);
    let internal_sip_ip = section.parsed(
        "internal_sip_ip",
        "an IPv4 or IPv6 address of this machine",
        |text| text.parse::<IpAddr>().ok().filter(|ip| !ip.is_multicast()),
    );
    let external_sip_ip = section.parsed(
        "external_sip_ip",
        "an IPv4 or IPv6 address that the far end reaches",
        parse_reachable_ip,
    );
    let ports = 1..=u64::from(u16::MAX);
    let source_pbx_port = section.integer_or(
        "source_pbx_port",
        ports.clone(),
        transport.default_port().into(),
    ) as u16;
    let destination_port = section.integer("destination_sbc_port", ports);
    let identity = read_identity(section);
    let credentials = read_credentials(section, environment);
    let require_registration = section.flag_or("require_registration", false);
    if require_registration && !section.has("sip_username") {
        section.wrong_key(
            "require_registration",
            "needs sip_username and its password",
        );
    }
    let register_expires_s = section.integer_or(
        "register_expires_sec",
        10..=DAY_S,
        default.register_expires_s.into(),
    ) as u32;
    let media_ip_cidrs = read_cidrs(section);
    let inbound = read_inbound(section, &default, environment);
    let (srtp, tls_ca_file) = read_security(section, transport);
    Some(SipTrunkConfig {
        transport,
        internal_sip_ip: internal_sip_ip.map(|ip| ip.value),
        external_sip_ip: external_sip_ip.map(|ip| ip.value),
        source_pbx_port,
        sbc_hosts,
        destination_port: destination_port.map(|port| port.value as u16),
        display_name: identity.display_name,
        domain: identity.domain,
        proxy: identity.proxy,
        credentials,
        require_registration,
        register_expires_s,
        media_ip_cidrs,
        reject_incoming_calls: inbound.reject_incoming_calls,
        reject_sip_code: inbound.reject_sip_code,
        reject_audio_file: inbound.reject_audio_file,
        ignore_early_media: section.flag_or("ignore_early_media", false),
        terminate_on_hold: section.flag_or("terminate_on_hold", false),
        inbound_rule: inbound.rule,
        inbound_audio_file: inbound.audio_file,
        inbound_webhook_url: inbound.webhook_url,
        agent: inbound.agent,
        dtmf: read_dtmf(section),
        srtp,
        tls_ca_file,
        options_interval_s: section.integer_or(
            "options_interval_s",
            0..=3600,
            default.options_interval_s.into(),
        ) as u32,
        session_expires_s: section.integer_or(
            "session_expires_s",
            SESSION_EXPIRES_S_MIN..=DAY_S,
            default.session_expires_s.into(),
        ) as u32,
        circuit_breaker_failures: section.integer_or(
            "circuit_breaker_failures",
            0..=1000,
            default.circuit_breaker_failures.into(),
        ) as u32,
        circuit_breaker_open_s: section.integer_or(
            "circuit_breaker_open_s",
            1..=3600,
            default.circuit_breaker_open_s.into(),
        ) as u32,
        gateway_host: gateway_host?.value,
    })
}

fn read_transport(section: &mut Section<'_>) -> SipTransport {
    let transport = |text: &str| match text {
        "udp" => Some(SipTransport::Udp),
        "tcp" => Some(SipTransport::Tcp),
        "tls" => Some(SipTransport::Tls),
        _ => None,
    };
    let default = ("udp", SipTransport::Udp);
    section.parsed_or("transport", "\"udp\", \"tcp\", \"tls\"", transport, default)
}

fn read_dtmf(section: &mut Section<'_>) -> DtmfMethod {
    let method = |text: &str| match text {
        "auto" => Some(DtmfMethod::Auto),
        "rfc4733" => Some(DtmfMethod::Rfc4733),
        "info" => Some(DtmfMethod::Info),
        "inband" => Some(DtmfMethod::InBand),
        _ => None,
    };
    let allowed = "\"auto\", \"rfc4733\", \"info\", \"inband\"";
    section.parsed_or("dtmf", allowed, method, ("auto", DtmfMethod::Auto))
}

fn read_hosts(section: &mut Section<'_>) -> Vec<String> {
    let hosts = section
        .parsed_one_or_list("sbc_ip", HOST, parse_host)
        .unwrap_or_default();
    section.require_entries("sbc_ip", "host");
    refuse_too_many(section, "sbc_ip", hosts.len(), SBC_HOSTS_MAX);
    hosts
}

fn read_cidrs(section: &mut Section<'_>) -> Vec<IpCidr> {
    let allowed = "addresses and ranges as \"192.0.2.0/24\" or \"2001:db8::/32\"";
    let cidrs = section.parsed_list_or("media_ip_cidrs", allowed, IpCidr::parse, &[]);
    refuse_too_many(section, "media_ip_cidrs", cidrs.len(), MEDIA_IP_CIDRS_MAX);
    cidrs
}

fn refuse_too_many(section: &Section<'_>, key: &'static str, count: usize, count_max: usize) {
    if count > count_max {
        let message = format!("{count} entries are too many; allowed: at most {count_max}");
        section.wrong_key(key, message);
    }
}

/// What the far end sees us as.
struct Identity {
    display_name: Option<String>,
    domain: Option<String>,
    proxy: Option<String>,
}

fn read_identity(section: &mut Section<'_>) -> Identity {
    let display_name = section.parsed("display_name", HEADER_TEXT, parse_header_text);
    let domain = section.parsed("domain", HOST, parse_host);
    let proxy = section.parsed(
        "proxy",
        "sip:HOST[:PORT] or sips:HOST[:PORT], with URI parameters as ;transport=tcp",
        |text| is_sip_uri(text).then(|| text.to_owned()),
    );
    Identity {
        display_name: display_name.map(|name| name.value),
        domain: domain.map(|domain| domain.value),
        proxy: proxy.map(|proxy| proxy.value),
    }
}

fn read_credentials(
    section: &mut Section<'_>,
    environment: Environment<'_>,
) -> Option<SipCredentials> {
    let username = section.parsed("sip_username", HEADER_TEXT, parse_header_text);
    let (key, file_key) = ("sip_password", "sip_password_file");
    let password = password(section, (key, file_key), environment);
    let has_password = section.has(key) || section.has(file_key);
    if section.has("sip_username") && !has_password {
        section.wrong_key("sip_username", "needs sip_password_file or sip_password");
    }
    if has_password && !section.has("sip_username") {
        let key = if section.has(key) { key } else { file_key };
        section.wrong_key(key, "needs sip_username");
    }
    Some(SipCredentials {
        username: username?.value,
        password: password?,
    })
}

/// What becomes of incoming calls.
struct Inbound {
    reject_incoming_calls: bool,
    reject_sip_code: u16,
    reject_audio_file: Option<PathBuf>,
    rule: InboundRule,
    audio_file: Option<PathBuf>,
    webhook_url: Option<String>,
    agent: Option<AgentConfig>,
}

fn read_inbound(
    section: &mut Section<'_>,
    default: &SipTrunkConfig,
    environment: Environment<'_>,
) -> Inbound {
    let reject_incoming_calls =
        section.flag_or("reject_incoming_calls", default.reject_incoming_calls);
    let reject_sip_code =
        section.integer_or("reject_sip_code", 400..=699, default.reject_sip_code.into()) as u16;
    let reject_audio_file = section
        .text("reject_audio_file")
        .and_then(|located| wav_file(section, &located, &located.value));
    let rule = match section.integer_or("inbound_rule", 0..=3, 0) {
        1 => InboundRule::PlayAndHangUp,
        2 => InboundRule::NotifyAndHangUp,
        3 => InboundRule::HandleAi,
        _ => InboundRule::Reject,
    };
    if reject_incoming_calls && rule != InboundRule::Reject {
        section.warn(
            "inbound_rule",
            "has no effect while reject_incoming_calls is true, its default",
        );
    }
    let agent = if rule == InboundRule::HandleAi {
        agent_file::read(section, environment)
    } else {
        agent_file::refuse(section, "is for inbound_rule = 3 or kind \"websocket\"");
        None
    };
    Inbound {
        reject_incoming_calls,
        reject_sip_code,
        reject_audio_file,
        rule,
        audio_file: read_inbound_audio(section, rule),
        webhook_url: read_inbound_webhook(section, rule),
        agent,
    }
}

fn read_inbound_audio(section: &mut Section<'_>, rule: InboundRule) -> Option<PathBuf> {
    if rule != InboundRule::PlayAndHangUp {
        section.refuse("inbound_audio_url", "is for inbound_rule = 1");
        return None;
    }
    let located = section.required_text("inbound_audio_url")?;
    let path = match located.value.split_once("://") {
        Some(("file", path)) if path.starts_with('/') => path,
        Some(_) => {
            section.wrong(
                &located,
                "is fetched from nowhere; allowed: a path, or file:///PATH",
            );
            return None;
        }
        None => &located.value,
    };
    wav_file(section, &located, path)
}

fn read_inbound_webhook(section: &mut Section<'_>, rule: InboundRule) -> Option<String> {
    if rule != InboundRule::NotifyAndHangUp {
        section.refuse("inbound_webhook_url", "is for inbound_rule = 2");
        return None;
    }
    section.require("inbound_webhook_url");
    let url = section.parsed_url(
        "inbound_webhook_url",
        "http(s)://HOST[:PORT][/PATH], the host in lower case",
        |text| Url::parse(text, &["https", "http"]).map(|_| text.to_owned()),
    )?;
    Some(url.value)
}

/// The path of a file that begins like a WAV file (RIFF, WAVE); what is in it is seen when it is played.
fn wav_file(section: &Section<'_>, at: &Located<String>, path: &str) -> Option<PathBuf> {
    let path = section.document().resolve(path);
    let mut head = [0; 12];
    let read = File::open(&path).and_then(|mut file| file.read_exact(&mut head));
    match read {
        Ok(()) if head.starts_with(b"RIFF") && head.ends_with(b"WAVE") => Some(path),
        Err(error) if error.kind() != std::io::ErrorKind::UnexpectedEof => {
            section.wrong(at, format!("{}: {error}", path.display()));
            None
        }
        _ => {
            section.wrong(at, format!("{} is no WAV file", path.display()));
            None
        }
    }
}

fn read_security(section: &mut Section<'_>, transport: SipTransport) -> (bool, Option<PathBuf>) {
    let srtp = section.flag_or("srtp", false);
    if srtp && transport != SipTransport::Tls {
        section.warn(
            "srtp",
            "without transport = \"tls\" the keys travel in the clear (RFC 4568 section 7)",
        );
    }
    if transport != SipTransport::Tls {
        section.refuse("tls_ca_file", "is for transport = \"tls\"");
        return (srtp, None);
    }
    (srtp, ca_file(section, "tls_ca_file"))
}

fn parse_header_text(text: &str) -> Option<String> {
    let usable =
        (1..=HEADER_TEXT_LEN_MAX).contains(&text.len()) && !text.chars().any(char::is_control);
    usable.then(|| text.to_owned())
}

/// `sip:host[:port][;parameters]`, as far as a route needs it: no user, no headers.
fn is_sip_uri(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once(':') else {
        return false;
    };
    let (host_port, parameters) = rest.split_once(';').unwrap_or((rest, ""));
    let (host, port) = host_and_port(host_port);
    // An IPv6 address keeps its brackets in a URI.
    let bare_ipv6 = host.contains(':') && !host.starts_with('[');
    ["sip", "sips"].contains(&scheme)
        && text.len() <= URI_LEN_MAX
        && !bare_ipv6
        && parse_host(host).is_some()
        && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port != 0))
        && parameters
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !b"<>\"?,@".contains(&byte))
}
