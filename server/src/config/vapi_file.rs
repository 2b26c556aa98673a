//! `[tenants.vapi]`.

use std::net::IpAddr;

use super::agent_file::{CONNECT_TIMEOUT_MS, QUEUE_MS, sample_rate_hz};
use super::secret_file::{Environment, is_named, secret};
use super::section::Section;
use super::tls::ca_file;
use super::twilio_file::api_url;
use super::url::Url;
use super::{HostPattern, VapiAudioFormat, VapiConfig};

const BEARER_TOKEN: (&str, &str) = ("bearer_token", "bearer_token_file");
const API_KEY: (&str, &str) = ("api_key", "api_key_file");
/// An assistant's id is a UUID today.
const ASSISTANT_ID_LEN_MAX: usize = 128;

/// Does the table mean to make calls, with whatever is wrong about them?
pub(super) fn makes_calls(section: &Section<'_>) -> bool {
    is_named(section, API_KEY)
}

/// Reads the table.
pub(super) fn read(
    mut section: Section<'_>,
    hosts: &[HostPattern],
    environment: Environment<'_>,
) -> VapiConfig {
    let bearer_token = secret(&mut section, BEARER_TOKEN, environment);
    let api_key = secret(&mut section, API_KEY, environment);
    let calls = makes_calls(&section);
    if !calls && !is_named(&section, BEARER_TOKEN) {
        section.wrong_key(
            "bearer_token_file",
            "nobody is let in and nobody is called; allowed: bearer_token_file for relays that dial /signal/vapi, \
             api_key_file for calls to Vapi, or both",
        );
    }
    let default = VapiConfig::with_defaults();
    let mut config = VapiConfig {
        bearer_token,
        api_key,
        ..default
    };
    if calls {
        read_calls(&mut section, &mut config, hosts);
    } else {
        for key in ["api_url", "assistant_id", "connect_timeout_ms", "ca_file"] {
            section.refuse(
                key,
                "is for calls to Vapi, which need api_key_file or api_key",
            );
        }
    }
    let audio_format = section.parsed_or_none(
        "audio_format",
        "\"linear16\", \"mulaw\"",
        |text| match text {
            "linear16" => Some(VapiAudioFormat::Linear16),
            "mulaw" => Some(VapiAudioFormat::Mulaw),
            _ => None,
        },
        ("linear16", VapiAudioFormat::Linear16),
    );
    let (rates_hz, which): (&[u64], _) = match audio_format {
        Some(VapiAudioFormat::Mulaw) => (&[8_000], "audio_format = \"mulaw\""),
        // What no format has is wrong, whichever was meant.
        Some(VapiAudioFormat::Linear16) | None => {
            (&[8_000, 16_000, 24_000], "audio_format = \"linear16\"")
        }
    };
    config.audio_format = audio_format.unwrap_or_default();
    let default_hz = config.audio_format.default_sample_rate_hz();
    config.sample_rate_hz = sample_rate_hz(
        &mut section,
        "sample_rate_hz",
        (rates_hz, which),
        default_hz,
    );
    config.queue_ms_max =
        section.integer_or("queue_ms_max", QUEUE_MS, VapiConfig::QUEUE_MS_MAX.into()) as u32;
    section.finish();
    config
}

/// Every host beside this one, itself included; of an address itself alone.
fn siblings(host: &str) -> String {
    match domain_of_siblings(host) {
        Some(domain) => format!("*.{domain}"),
        None => host.to_owned(),
    }
}

fn domain_of_siblings(host: &str) -> Option<&str> {
    let (_, domain) = host.split_once('.')?;
    let is_domain = host.parse::<IpAddr>().is_err() && domain.contains('.');
    is_domain.then_some(domain)
}

/// Vapi answers with a socket at a host of its own choice, beside its API's.
fn warn_of_hosts(section: &Section<'_>, api_url: &str, hosts: &[HostPattern]) {
    let host = Url::parse(api_url, &["https", "http"]).map_or("", |url| url.host);
    let Some(domain) = domain_of_siblings(host) else {
        return;
    };
    let above =
        |pattern: &HostPattern| matches!(pattern, HostPattern::Below(_)) && pattern.allows(host);
    if hosts.iter().any(|pattern| pattern.allows(host)) && !hosts.iter().any(above) {
        section.warn(
            "api_key_file",
            format!(
                "the sockets of calls are at other hosts than the API, and none of them is allowed: outbound_hosts = \
                 [\"*.{domain}\"] allows them"
            ),
        );
    }
}

/// What calls to Vapi need.
fn read_calls(section: &mut Section<'_>, config: &mut VapiConfig, hosts: &[HostPattern]) {
    config.api_url = api_url(section, VapiConfig::API_URL, hosts, siblings);
    warn_of_hosts(section, &config.api_url, hosts);
    section.require("assistant_id");
    let allowed = format!("1 to {ASSISTANT_ID_LEN_MAX} visible ASCII characters");
    config.assistant_id = section
        .parsed("assistant_id", &allowed, |text| {
            let usable = (1..=ASSISTANT_ID_LEN_MAX).contains(&text.len())
                && text.bytes().all(|byte| byte.is_ascii_graphic());
            usable.then(|| text.to_owned())
        })
        .map(|located| located.value);
    config.connect_timeout_ms = section.integer_or(
        "connect_timeout_ms",
        CONNECT_TIMEOUT_MS,
        VapiConfig::CONNECT_TIMEOUT_MS.into(),
    ) as u32;
    config.ca_file = ca_file(section, "ca_file");
}
