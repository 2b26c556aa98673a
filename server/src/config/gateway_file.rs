//! `gateway.toml`, top level: `[server]`, `[admin]`, `[webrtc]`, and the checks across tenants and trunks.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::signature::Ed25519KeyPair;
use codecs::opus;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject;

use super::document::{Document, KEY_FILE_LEN_MAX, quote, read_bounded};
use super::report::Report;
use super::secret_file::{Environment, secret, warn_if_readable_by_all};
use super::section::{Located, Section};
use super::sip_neighbours::SipNeighbours;
use super::tenant_file::{KnownTrunk, Surroundings};
use super::tls::{TlsFileError, check_tls_files};
use super::trunk_file::ReadTrunk;
use super::url::is_origin;
use super::{
    AdminConfig, CodecName, ConfigError, DtlsVersions, GatewayConfig, ServerConfig, WebRtcConfig,
    ice_server_file, tenant_file, trunk_file,
};
use crate::id::TrunkId;

/// The most tenants in one file.
const TENANTS_MAX: usize = 10_000;
/// The most trunks in one file.
const TRUNKS_MAX: usize = 10_000;

/// The highest bitrate that is of use for one channel, in bits per second.
const OPUS_BITRATE_HIGHEST_BPS: u32 = 256_000;
/// Default of `opus_bitrate_min_bps`.
const OPUS_BITRATE_MIN_BPS: u32 = 8_000;
/// Default of `opus_bitrate_max_bps`.
const OPUS_BITRATE_MAX_BPS: u32 = 48_000;

/// Reads and checks the whole file.
pub(super) fn read(
    path: &Path,
    environment: Environment<'_>,
) -> Result<(GatewayConfig, Report), ConfigError> {
    read_document(Document::open(path)?, environment)
}

/// Checks a whole document.
pub(super) fn read_document(
    document: Document,
    environment: Environment<'_>,
) -> Result<(GatewayConfig, Report), ConfigError> {
    let config = {
        let table = document.parse()?;
        let mut root = Section::root(&document, &table);
        let server_section = root.section_or_default("server");
        let has_public_url = server_section.has("public_url");
        let server = server(server_section);
        let admin = admin(root.section_or_default("admin"), environment);
        let webrtc = webrtc(root.section_or_default("webrtc"), environment);
        let (trunks, broken) = trunks(&mut root, environment);
        let tenants = tenants(
            &mut root,
            &Surroundings {
                trunk_of: &|trunk_id| match trunks.get(trunk_id) {
                    Some(trunk) => Some(trunk.known()),
                    None => broken.contains(trunk_id).then_some(KnownTrunk::Broken),
                },
                gateway_issues_tokens: server
                    .as_ref()
                    .is_some_and(|server| server.token_key_file.is_some()),
                has_public_url,
                environment,
            },
        );
        for trunk in trunks.values() {
            trunk.check_tenant(|tenant_id| tenants.get(tenant_id).map(Arc::as_ref));
        }
        root.finish();
        let trunks = trunks
            .into_iter()
            .map(|(id, trunk)| (id, Arc::new(trunk.config)))
            .collect();
        server.map(|server| GatewayConfig {
            server,
            admin,
            webrtc,
            tenants,
            trunks,
        })
    };
    let report = document.finish()?;
    match config {
        Some(config) => Ok((config, report)),
        // `server` is missing only with a problem that `finish` has just told.
        None => Err(ConfigError::Invalid(Vec::new())),
    }
}

fn server(mut section: Section<'_>) -> Option<ServerConfig> {
    let listen = section.parsed_list_or("listen", ADDRESS, parse_address, &["[::]:7443"]);
    section.require_entries("listen", "address");
    let cert_file = section.required_text("cert_file");
    let key_file = section.required_text("key_file");
    let token_key_file = section.text("token_key_file");
    let port = listen.first().map_or(7443, SocketAddr::port);
    let default_url = format!("wss://localhost:{port}");
    let public_url = section.parsed_or(
        "public_url",
        "wss://HOST[:PORT] without a path",
        |text| is_origin(text, &["wss"]).then(|| text.to_owned()),
        (&default_url, default_url.clone()),
    );
    let demo_page = section.flag_or("demo_page", false);
    if demo_page {
        section.warn("demo_page", "the softphone page is served to everyone at /");
    }
    let drain_timeout_s = section.integer_or("drain_timeout_s", 0..=86_400, 30) as u32;
    let signal_grace_ms = section.integer_or("signal_grace_ms", 0..=120_000, 15_000) as u32;

    let resolve = |located: &Located<String>| section.document().resolve(&located.value);
    let token_key_path = token_key_file.as_ref().map(resolve);
    if let (Some(located), Some(path)) = (&token_key_file, &token_key_path) {
        warn_if_readable_by_all(&section, "token_key_file", path);
        if let Err(message) = check_token_key(path) {
            section.wrong(located, message);
        }
    }
    let paths = cert_file
        .as_ref()
        .zip(key_file.as_ref())
        .map(|(cert, key)| (resolve(cert), resolve(key)));
    if let (Some((cert_path, key_path)), Some(cert), Some(key)) = (&paths, &cert_file, &key_file) {
        warn_if_readable_by_all(&section, "key_file", key_path);
        match check_tls_files(cert_path, key_path) {
            Ok(()) => {}
            Err(TlsFileError::Certificate(message)) => section.wrong(cert, message),
            Err(TlsFileError::Key(message)) => section.wrong(key, message),
        }
    }
    section.finish();
    let (cert_file, key_file) = paths?;
    Some(ServerConfig {
        listen,
        cert_file,
        key_file,
        token_key_file: token_key_path,
        public_url,
        demo_page,
        drain_timeout_s,
        signal_grace_ms,
    })
}

fn admin(mut section: Section<'_>, environment: Environment<'_>) -> AdminConfig {
    let listen = section.parsed_or(
        "listen",
        ADDRESS,
        parse_address,
        ("127.0.0.1:7444", ADMIN_LISTEN),
    );
    let token = secret(&mut section, ("token", "token_file"), environment);
    if token.is_none() {
        section.warn(
            "token_file",
            "no token: every request to the admin window is refused",
        );
    }
    section.finish();
    AdminConfig { listen, token }
}

const ADMIN_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 7444);

fn webrtc(mut section: Section<'_>, environment: Environment<'_>) -> WebRtcConfig {
    let usable = |text: &str| {
        let ip: IpAddr = text.parse().ok()?;
        (!ip.is_unspecified() && !ip.is_multicast()).then_some(ip)
    };
    let advertised_ips = section.parsed_list_or(
        "advertised_ips",
        "IPv4 or IPv6 addresses that callers reach",
        usable,
        &[],
    );
    let ice_servers = ice_server_file::read(&mut section, environment);
    let dtls = |text: &str| match text {
        "auto" => Some(DtlsVersions::Auto),
        "1.2" => Some(DtlsVersions::Only12),
        "1.3" => Some(DtlsVersions::Only13),
        _ => None,
    };
    let dtls = section.parsed_or(
        "dtls",
        "\"auto\", \"1.2\", \"1.3\"",
        dtls,
        ("auto", DtlsVersions::Auto),
    );
    let codec = |text: &str| CodecName::from_name(text).filter(|codec| *codec != CodecName::L16);
    let codecs = section.parsed_list_or(
        "codecs",
        "\"opus\", \"PCMU\", \"PCMA\"",
        codec,
        &["opus", "PCMU", "PCMA"],
    );
    section.require_entries("codecs", "codec");
    if (1..codecs.len()).any(|index| codecs[..index].contains(&codecs[index])) {
        section.wrong_key("codecs", "names a codec twice");
    }
    let opus = opus(&mut section);
    section.finish();
    WebRtcConfig {
        advertised_ips,
        ice_servers,
        dtls,
        codecs,
        opus,
    }
}

fn opus(section: &mut Section<'_>) -> opus::Limits {
    let allowed = opus::BITRATE_MIN_BPS.into()..=OPUS_BITRATE_HIGHEST_BPS.into();
    let mut bps =
        |key, default: u32| section.integer_or(key, allowed.clone(), default.into()) as u32;
    let bitrate_min_bps = bps("opus_bitrate_min_bps", OPUS_BITRATE_MIN_BPS);
    let bitrate_max_bps = bps("opus_bitrate_max_bps", OPUS_BITRATE_MAX_BPS);
    if bitrate_min_bps > bitrate_max_bps {
        section.wrong_key(
            "opus_bitrate_min_bps",
            format!("is above opus_bitrate_max_bps, which is {bitrate_max_bps}"),
        );
    }
    if !section.has("opus_complexity_max") {
        section.record_default("opus_complexity_max", quote("0 up to 16 kHz, 5 above"));
    }
    let complexity_max = section.integer("opus_complexity_max", 0..=10);
    let voice_activity_gate = section.flag_or("opus_voice_activity_gate", true);
    opus::Limits {
        bitrate_min_bps,
        bitrate_max_bps,
        complexity_max: complexity_max.map(|complexity| complexity.value as u8),
        voice_activity_gate,
    }
}

/// The trunks, and the ids of those that have mistakes.
fn trunks<'a>(
    root: &mut Section<'a>,
    environment: Environment<'_>,
) -> (BTreeMap<TrunkId, ReadTrunk<'a>>, BTreeSet<TrunkId>) {
    let (mut trunks, mut broken) = (BTreeMap::new(), BTreeSet::new());
    let mut sip = SipNeighbours::default();
    for section in root.sections("trunks", TRUNKS_MAX) {
        let trunk = match trunk_file::read(section, environment) {
            Ok(trunk) => trunk,
            Err(trunk_id) => {
                broken.extend(trunk_id);
                continue;
            }
        };
        if trunks.contains_key(&trunk.config.trunk_id) {
            trunk.refuse_twice();
            continue;
        }
        sip.add(&trunk);
        trunks.insert(trunk.config.trunk_id.clone(), trunk);
    }
    (trunks, broken)
}

fn tenants(
    root: &mut Section<'_>,
    surroundings: &Surroundings<'_>,
) -> BTreeMap<crate::id::TenantId, Arc<super::TenantConfig>> {
    let mut tenants = BTreeMap::new();
    for section in root.sections("tenants", TENANTS_MAX) {
        let Some((tenant_id, tenant)) = tenant_file::read(section, surroundings, |tenant_id| {
            tenants.contains_key(tenant_id)
        }) else {
            continue;
        };
        tenants.insert(tenant_id, Arc::new(tenant));
    }
    if tenants.is_empty() {
        root.warn("tenants", "no tenant: every call is refused");
    }
    tenants
}

fn check_token_key(path: &Path) -> Result<(), String> {
    let pem = read_bounded(path, KEY_FILE_LEN_MAX)
        .map_err(|error| format!("{}: {error}", path.display()))?;
    let valid = PrivatePkcs8KeyDer::from_pem_slice(&pem)
        .is_ok_and(|pkcs8| Ed25519KeyPair::from_pkcs8(pkcs8.secret_pkcs8_der()).is_ok());
    if valid {
        return Ok(());
    }
    Err(format!(
        "{} holds no Ed25519 private key; allowed: PEM \"PRIVATE KEY\" (PKCS#8)",
        path.display()
    ))
}

pub(super) const ADDRESS: &str = "an address with port, as 0.0.0.0:7443 or [::]:7443";

pub(super) fn parse_address(text: &str) -> Option<SocketAddr> {
    text.parse()
        .ok()
        .filter(|address: &SocketAddr| address.port() != 0)
}

impl CodecName {
    /// The codec of this name, in any case: files say `opus`, the published trunk object `OPUS`.
    pub fn from_name(name: &str) -> Option<Self> {
        [
            ("opus", Self::Opus),
            ("PCMU", Self::Pcmu),
            ("PCMA", Self::Pcma),
            ("L16", Self::L16),
        ]
        .into_iter()
        .find(|(known, _)| known.eq_ignore_ascii_case(name))
        .map(|(_, codec)| codec)
    }
}

/// How a list of names reads in a message.
pub(super) fn names(names: &[&str]) -> String {
    names
        .iter()
        .map(|name| quote(name))
        .collect::<Vec<_>>()
        .join(", ")
}
