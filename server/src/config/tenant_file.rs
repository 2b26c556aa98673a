//! One `[[tenants]]` entry: limits, `[tenants.browser]` with its keys, routes. `[[tenants.inbound]]` is next door.

use super::document::{KEY_FILE_LEN_MAX, read_bounded};
use super::gateway_file::{is_origin, names};
use super::inbound_file;
use super::section::{Located, Section};
use super::{
    BrowserConfig, KeyAlgorithm, PublicKey, RouteConfig, TenantConfig, TenantKey, TrunkConfig,
};
use crate::id::{TenantId, TrunkId};

/// The most keys of one tenant.
const KEYS_MAX: usize = 64;
/// The most routes of one tenant.
const ROUTES_MAX: usize = 1024;
/// The longest `kid`, in bytes.
const KID_LEN_MAX: usize = 128;
/// The longest `to`, in bytes.
const TO_LEN_MAX: usize = 256;
/// Begins every `kid` of the gateway's own key.
const GATEWAY_KID_PREFIX: &str = "gw-";

/// Vendors whose adapter is built in.
const VENDORS: [&str; 1] = ["browser"];
/// Vendors whose tables are known, but whose adapter is not built in.
const VENDORS_TO_COME: [&str; 5] = ["livekit", "daily", "chime", "twilio", "vapi"];

pub(super) const ID: &str = "1 to 64 characters of A-Z a-z 0-9 _ -";

/// Finds a trunk of the file.
pub(super) type TrunkOf<'a> = &'a dyn Fn(&TrunkId) -> Option<&'a TrunkConfig>;

/// Reads one entry. `trunk_of` finds a trunk, `is_known` the tenants that came before.
pub(super) fn read(
    mut section: Section<'_>,
    trunk_of: TrunkOf<'_>,
    gateway_issues_tokens: bool,
    is_known: impl Fn(&TenantId) -> bool,
) -> Option<(TenantId, TenantConfig)> {
    let tenant_id = section.parsed("tenant_id", ID, |text| text.parse::<TenantId>().ok());
    if tenant_id.is_none() {
        section.require("tenant_id");
    }
    let max_calls = section.integer_or("max_calls", 1..=1_000_000, 100) as u32;
    let setups_per_s = section.integer_or("setups_per_s", 1..=100_000, 20) as u32;
    let browser = section
        .section("browser")
        .map(|browser| read_browser(browser, gateway_issues_tokens));
    for vendor in VENDORS_TO_COME {
        section.refuse(vendor, &not_built_in(vendor));
    }
    let routes = section.sections("routes", ROUTES_MAX);
    if routes.is_empty() {
        section.warn("routes", "no route: calls that name no trunk are refused");
    }
    let tenant = tenant_id.as_ref().map(|located| &located.value);
    let routes: Vec<RouteConfig> = routes
        .into_iter()
        .filter_map(|route| read_route(route, tenant, trunk_of, browser.is_some()))
        .collect();
    let inbound = inbound_file::read(&mut section, tenant, trunk_of, browser.is_some());
    if let Some(located) = tenant_id
        .as_ref()
        .filter(|located| is_known(&located.value))
    {
        section.wrong(located, "is the id of two tenants");
    }
    section.finish();
    let tenant_id = tenant_id?.value;
    Some((
        tenant_id.clone(),
        TenantConfig {
            tenant_id,
            max_calls,
            setups_per_s,
            browser,
            twilio: None,
            vapi: None,
            outbound_hosts: Vec::new(),
            routes,
            inbound,
        },
    ))
}

fn read_browser(mut section: Section<'_>, gateway_issues_tokens: bool) -> BrowserConfig {
    let origins = section.parsed_list_or(
        "origins",
        "http(s)://HOST[:PORT] in lower case, without a path and without the scheme's own port",
        |text| {
            let own_port = [("https://", ":443"), ("http://", ":80")]
                .iter()
                .any(|(s, p)| text.starts_with(s) && text.ends_with(p));
            (is_origin(text, &["https", "http"]) && !own_port).then(|| text.to_owned())
        },
        &[],
    );
    if origins.is_empty() {
        section.warn(
            "origins",
            "no origin: every page is refused, only programs without an Origin header get in",
        );
    }
    let mut keys: Vec<TenantKey> = Vec::new();
    for key in section.sections("keys", KEYS_MAX) {
        let Some(key) = read_key(key, &keys) else {
            continue;
        };
        keys.push(key);
    }
    if keys.is_empty() && !gateway_issues_tokens {
        section.warn(
            "keys",
            "no key, and no server.token_key_file: no token opens a session",
        );
    }
    section.finish();
    BrowserConfig { origins, keys }
}

fn read_key(mut section: Section<'_>, others: &[TenantKey]) -> Option<TenantKey> {
    let kid = section.required_text("kid");
    let alg = section.parsed("alg", &names(&KeyAlgorithm::NAMES), KeyAlgorithm::from_name);
    if alg.is_none() {
        section.require("alg");
    }
    let file = section.required_text("public_key_file");
    if let Some(kid) = &kid {
        if kid.value.is_empty() || kid.value.len() > KID_LEN_MAX {
            section.wrong(kid, format!("allowed: 1 to {KID_LEN_MAX} bytes"));
        } else if kid.value.starts_with(GATEWAY_KID_PREFIX) {
            section.wrong(
                kid,
                "begins with \"gw-\", which is kept for the gateway's own key",
            );
        } else if others.iter().any(|other| other.kid == kid.value) {
            section.wrong(kid, "is the kid of two keys of this tenant");
        }
    }
    let public_key = file.zip(alg).and_then(|(file, alg)| {
        let path = section.document().resolve(&file.value);
        let key = read_bounded(&path, KEY_FILE_LEN_MAX)
            .map_err(|error| error.to_string())
            .and_then(|pem| {
                PublicKey::from_pem(alg.value, &pem).map_err(|error| error.to_string())
            });
        key.map_err(|message| section.wrong(&file, format!("{}: {message}", path.display())))
            .ok()
    });
    section.finish();
    Some(TenantKey {
        kid: kid?.value,
        public_key: public_key?,
    })
}

fn read_route(
    mut section: Section<'_>,
    tenant_id: Option<&TenantId>,
    trunk_of: TrunkOf<'_>,
    has_browser: bool,
) -> Option<RouteConfig> {
    let vendor = section.required_text("vendor");
    if let Some(vendor) = &vendor {
        if VENDORS_TO_COME.contains(&vendor.value.as_str()) {
            section.wrong(vendor, not_built_in(&vendor.value));
        } else if !VENDORS.contains(&vendor.value.as_str()) {
            section.wrong(
                vendor,
                format!("is no vendor; allowed: {}", names(&VENDORS)),
            );
        } else if !has_browser {
            section.wrong(vendor, "the tenant has no [tenants.browser] table");
        }
    }
    let trunk_id = section.parsed("trunk_id", ID, |text| text.parse::<TrunkId>().ok());
    match &trunk_id {
        None => section.require("trunk_id"),
        Some(located) => {
            own_trunk(&section, located, tenant_id, trunk_of);
        }
    }
    let to = section.parsed("to", "1 to 256 bytes without control characters", |text| {
        let usable = (1..=TO_LEN_MAX).contains(&text.len()) && !text.chars().any(char::is_control);
        usable.then(|| text.to_owned())
    });
    section.finish();
    Some(RouteConfig {
        vendor: vendor?.value,
        trunk_id: trunk_id?.value,
        to: to.map(|located| located.value),
    })
}

/// The trunk that an entry names, if it is the tenant's; else the problem is told.
pub(super) fn own_trunk<'a>(
    section: &Section<'_>,
    located: &Located<TrunkId>,
    tenant_id: Option<&TenantId>,
    trunk_of: TrunkOf<'a>,
) -> Option<&'a TrunkConfig> {
    let Some(trunk) = trunk_of(&located.value) else {
        section.wrong(located, format!("there is no trunk \"{}\"", located.value));
        return None;
    };
    if tenant_id.is_some_and(|tenant_id| *tenant_id != trunk.tenant_id) {
        section.wrong(
            located,
            format!("the trunk \"{}\" belongs to another tenant", located.value),
        );
        return None;
    }
    Some(trunk)
}

fn not_built_in(vendor: &str) -> String {
    format!(
        "the {vendor} adapter is not in this version; it comes with a later one. Allowed: {}",
        names(&VENDORS)
    )
}
