//! The AI agent of a `[[trunks]]` entry: all of kind "websocket", and what a SIP trunk with `inbound_rule = 3` has besides.

use std::time::Duration;

use super::document::quote;
use super::secret_file::{Environment, secret};
use super::section::Section;
use super::tls::ca_file;
use super::url::Url;
use super::{AgentConfig, AgentDialect, TenantConfig};

/// Every key that [`read`] takes.
pub(super) const AGENT_FIELDS: [&str; 10] = [
    URL,
    "agent_dialect",
    "agent_sample_rate_hz",
    "agent_connect_timeout_ms",
    "agent_ca_file",
    "agent_queue_ms_max",
    "auto_barge_in",
    "barge_in_patience_ms",
    "agent_bearer_token",
    "agent_bearer_token_file",
];
const URL: &str = "inbound_ai_websocket_url";

const URL_FORM: &str = "wss://HOST[:PORT][/PATH], the host in lower case, or ws:// to this machine";

/// How long a connection may take to be set up: less than a caller waits.
pub(super) const CONNECT_TIMEOUT_MS: std::ops::RangeInclusive<u64> = 100..=30_000;
/// A frame to ten minutes.
pub(super) const QUEUE_MS: std::ops::RangeInclusive<u64> = 20..=600_000;
/// Below it a cough interrupts, above it nobody waits.
const PATIENCE_MS: std::ops::RangeInclusive<u64> = 20..=5_000;

/// Reads the fields; none without a URL.
pub(super) fn read(section: &mut Section<'_>, environment: Environment<'_>) -> Option<AgentConfig> {
    section.require(URL);
    let url = section.parsed_url(URL, URL_FORM, |text| {
        let url = Url::parse(text, &["wss", "ws"])?;
        let allowed = url.scheme == "wss" || url.is_loopback();
        allowed.then(|| (text.to_owned(), url.scheme == "wss"))
    });
    let dialect = section.parsed_or_none(
        "agent_dialect",
        "\"twilio\", \"pcm16\"",
        |text| match text {
            "twilio" => Some(AgentDialect::Twilio),
            "pcm16" => Some(AgentDialect::Pcm16),
            _ => None,
        },
        ("twilio", AgentDialect::Twilio),
    );
    let (rates_hz, which): (&[u64], _) = match dialect {
        Some(AgentDialect::Twilio) => (&[8_000], "agent_dialect = \"twilio\""),
        // What no dialect has is wrong, whichever was meant.
        Some(AgentDialect::Pcm16) | None => (&[8_000, 16_000, 24_000], "agent_dialect = \"pcm16\""),
    };
    let dialect = dialect.unwrap_or(AgentDialect::Twilio);
    let sample_rate_hz = sample_rate_hz(
        section,
        "agent_sample_rate_hz",
        (rates_hz, which),
        dialect.default_sample_rate_hz(),
    );
    let connect_timeout_ms = section.integer_or(
        "agent_connect_timeout_ms",
        CONNECT_TIMEOUT_MS,
        AgentConfig::CONNECT_TIMEOUT_MS.into(),
    ) as u32;
    let is_plain = url.as_ref().is_some_and(|url| !url.value.1);
    let ca_file = if is_plain {
        section.refuse("agent_ca_file", "is for wss://");
        None
    } else {
        ca_file(section, "agent_ca_file")
    };
    let queue_ms_max = section.integer_or(
        "agent_queue_ms_max",
        QUEUE_MS,
        AgentConfig::QUEUE_MS_MAX.into(),
    ) as u32;
    let barge_in = read_barge_in(section);
    let bearer_token = secret(
        section,
        ("agent_bearer_token", "agent_bearer_token_file"),
        environment,
    );
    Some(AgentConfig {
        url: url?.value.0,
        dialect,
        sample_rate_hz,
        connect_timeout_ms,
        ca_file,
        queue_ms_max,
        barge_in,
        bearer_token,
    })
}

/// Every one of them is for something else here.
pub(super) fn refuse(section: &mut Section<'_>, message: &str) {
    for key in AGENT_FIELDS {
        section.refuse(key, message);
    }
}

/// The tenant must allow the agent's host.
pub(super) fn check_host(section: &Section<'_>, agent: &AgentConfig, tenant: &TenantConfig) {
    let Some(url) = Url::parse(&agent.url, &["wss", "ws"]) else {
        return;
    };
    if !tenant.allows_host(url.host) {
        let tenant = format!("[[tenants]] {}", quote(tenant.tenant_id.as_str()));
        section.wrong_key(URL, host_not_allowed(url.host, url.host, &tenant));
    }
}

/// What is told where a host is none of the tenant's, and what would allow it.
pub(super) fn host_not_allowed(host: &str, pattern: &str, tenant: &str) -> String {
    format!(
        "{} is none of the hosts that the gateway may dial for the tenant; allow it: outbound_hosts = [{}] in {tenant}",
        quote(host),
        quote(pattern)
    )
}

/// A rate that is one of few.
pub(super) fn sample_rate_hz(
    section: &mut Section<'_>,
    key: &'static str,
    (allowed, which): (&[u64], &str),
    default: u32,
) -> u32 {
    let rate_hz = section.integer_or(key, 1..=192_000, default.into());
    if !allowed.contains(&rate_hz) {
        let rates: Vec<String> = allowed.iter().map(u64::to_string).collect();
        section.wrong_key(
            key,
            format!(
                "{rate_hz} is not allowed; allowed with {which}: {}",
                rates.join(", ")
            ),
        );
    }
    rate_hz as u32
}

fn read_barge_in(section: &mut Section<'_>) -> Option<Duration> {
    if !section.flag_or("auto_barge_in", false) {
        section.refuse("barge_in_patience_ms", "is for auto_barge_in = true");
        return None;
    }
    let patience_ms = section.integer_or(
        "barge_in_patience_ms",
        PATIENCE_MS,
        AgentConfig::BARGE_IN_PATIENCE_MS.into(),
    );
    Some(Duration::from_millis(patience_ms))
}
