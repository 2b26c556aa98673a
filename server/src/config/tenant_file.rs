//! One `[[tenants]]` entry: limits, `[tenants.browser]` with its keys, routes. `[tenants.twilio]`, `[tenants.vapi]` and
//! `[[tenants.inbound]]` are next door.

use super::document::{KEY_FILE_LEN_MAX, read_bounded};
use super::gateway_file::names;
use super::secret_file::Environment;
use super::section::{Located, Section};
use super::url::is_origin;
use super::{
    BrowserConfig, HostPattern, KeyAlgorithm, PublicKey, RouteConfig, TenantConfig, TenantKey,
    TrunkConfig, TrunkKind,
};
use super::{inbound_file, twilio_file, vapi_file};
use crate::id::{TenantId, TrunkId};

/// The most keys of one tenant.
const KEYS_MAX: usize = 64;
/// The most routes of one tenant.
const ROUTES_MAX: usize = 1024;
/// The longest `kid`, in bytes.
const KID_LEN_MAX: usize = 128;
/// The most entries of `outbound_hosts`.
const OUTBOUND_HOSTS_MAX: usize = 256;
/// The longest `to`, in bytes.
const TO_LEN_MAX: usize = 256;
/// Begins every `kid` of the gateway's own key.
const GATEWAY_KID_PREFIX: &str = "gw-";

/// Vendors whose adapter is built in.
const VENDORS: [&str; 3] = ["browser", "twilio", "vapi"];
/// Vendors whose tables are known, but whose adapter is not built in.
const VENDORS_TO_COME: [&str; 3] = ["livekit", "daily", "chime"];

pub(super) const ID: &str = "1 to 64 characters of A-Z a-z 0-9 _ -";

/// Finds a trunk of the file.
pub(super) type TrunkOf<'a> = &'a dyn Fn(&TrunkId) -> Option<KnownTrunk<'a>>;

/// A trunk that the file has.
#[derive(Clone, Copy)]
pub(super) enum KnownTrunk<'a> {
    /// As it was read.
    Whole {
        config: &'a TrunkConfig,
        /// It names an `api_bearer_token`, which may be unreadable.
        names_token: bool,
    },
    /// Something is wrong with it, which is told already: nothing more can be said of who refers to it.
    Broken,
}

impl<'a> KnownTrunk<'a> {
    pub(super) fn whole(self) -> Option<&'a TrunkConfig> {
        match self {
            Self::Whole { config, .. } => Some(config),
            Self::Broken => None,
        }
    }

    /// It has a token, or would have one without a mistake that is told already.
    pub(super) fn may_have_token(self) -> bool {
        match self {
            Self::Whole { names_token, .. } => names_token,
            Self::Broken => true,
        }
    }
}

/// What the rest of the file says that a tenant depends on.
pub(super) struct Surroundings<'a> {
    pub(super) trunk_of: TrunkOf<'a>,
    /// `server.token_key_file` is there.
    pub(super) gateway_issues_tokens: bool,
    /// `server.public_url` is there.
    pub(super) has_public_url: bool,
    pub(super) environment: Environment<'a>,
}

/// Which of its vendors a tenant has, for routes.
#[derive(Clone, Copy)]
pub(super) struct TenantVendors {
    pub(super) browser: bool,
    pub(super) twilio: bool,
    pub(super) vapi: bool,
    /// Calls to Vapi can be made.
    pub(super) vapi_calls: bool,
}

/// Reads one entry. `is_known` finds the tenants that came before.
pub(super) fn read(
    mut section: Section<'_>,
    surroundings: &Surroundings<'_>,
    is_known: impl Fn(&TenantId) -> bool,
) -> Option<(TenantId, TenantConfig)> {
    let tenant_id = section.parsed("tenant_id", ID, |text| text.parse::<TenantId>().ok());
    if tenant_id.is_none() {
        section.require("tenant_id");
    }
    let max_calls = section.integer_or("max_calls", 1..=1_000_000, 100) as u32;
    let setups_per_s = section.integer_or("setups_per_s", 1..=100_000, 20) as u32;
    let outbound_hosts = read_outbound_hosts(&mut section);
    let browser = section
        .section("browser")
        .map(|browser| read_browser(browser, surroundings.gateway_issues_tokens));
    let tenant = tenant_id.as_ref().map(|located| &located.value);
    let twilio = section
        .section("twilio")
        .map(|twilio| twilio_file::read(twilio, tenant, &outbound_hosts, surroundings));
    let vapi = section.section("vapi");
    let vapi_calls = vapi.as_ref().is_some_and(vapi_file::makes_calls);
    let vapi = vapi.map(|vapi| vapi_file::read(vapi, &outbound_hosts, surroundings.environment));
    let vendors = TenantVendors {
        browser: section.has("browser"),
        twilio: section.has("twilio"),
        vapi: section.has("vapi"),
        vapi_calls,
    };
    for vendor in VENDORS_TO_COME {
        section.refuse(vendor, &not_built_in(vendor));
    }
    let routes = section.sections("routes", ROUTES_MAX);
    if routes.is_empty() {
        section.warn("routes", "no route: calls that name no trunk are refused");
    }
    let trunk_of = surroundings.trunk_of;
    let routes: Vec<RouteConfig> = routes
        .into_iter()
        .filter_map(|route| read_route(route, tenant, trunk_of, vendors))
        .collect();
    let has_token_keys = surroundings.gateway_issues_tokens
        || (browser.as_ref()).is_some_and(|browser| !browser.keys.is_empty());
    let twilio = twilio.and_then(|twilio| twilio.finish(&routes, has_token_keys, surroundings));
    let inbound = inbound_file::read(&mut section, tenant, trunk_of, vendors);
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
            twilio,
            vapi,
            outbound_hosts,
            routes,
            inbound,
        },
    ))
}

fn read_outbound_hosts(section: &mut Section<'_>) -> Vec<HostPattern> {
    let allowed = "a host name, \"*.\" and a domain of two labels or more, or an address, without scheme and port";
    let hosts = section.parsed_list_or("outbound_hosts", allowed, HostPattern::parse, &[]);
    if hosts.len() > OUTBOUND_HOSTS_MAX {
        let count = hosts.len();
        section.wrong_key(
            "outbound_hosts",
            format!("{count} entries are too many; allowed: at most {OUTBOUND_HOSTS_MAX}"),
        );
    }
    hosts
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
    vendors: TenantVendors,
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
        } else if !vendors.has(&vendor.value) {
            let message = format!("the tenant has no [tenants.{}] table", vendor.value);
            section.wrong(vendor, message);
        }
    }
    let trunk_id = section.parsed("trunk_id", ID, |text| text.parse::<TrunkId>().ok());
    let trunk = match &trunk_id {
        None => {
            section.require("trunk_id");
            None
        }
        Some(located) => own_trunk(&section, located, tenant_id, trunk_of),
    };
    let to = section.parsed("to", "1 to 256 bytes without control characters", |text| {
        let usable = (1..=TO_LEN_MAX).contains(&text.len()) && !text.chars().any(char::is_control);
        usable.then(|| text.to_owned())
    });
    let is_sip = trunk.is_some_and(|trunk| matches!(trunk.kind, TrunkKind::Sip(_)));
    let is_vapi = vendor.as_ref().is_some_and(|vendor| vendor.value == "vapi");
    if is_sip && is_vapi && !section.has("to") {
        section.wrong_key(
            "to",
            "is missing: a Vapi relay names no number that the SIP trunk could call",
        );
    }
    section.finish();
    Some(RouteConfig {
        vendor: vendor?.value,
        trunk_id: trunk_id?.value,
        to: to.map(|located| located.value),
    })
}

/// The trunk that an entry names, if it is the tenant's; else the problem is told, if it is not already.
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
    let trunk = trunk.whole()?;
    if tenant_id.is_some_and(|tenant_id| *tenant_id != trunk.tenant_id) {
        section.wrong(
            located,
            format!("the trunk \"{}\" belongs to another tenant", located.value),
        );
        return None;
    }
    Some(trunk)
}

impl TenantVendors {
    fn has(self, vendor: &str) -> bool {
        match vendor {
            "browser" => self.browser,
            "twilio" => self.twilio,
            "vapi" => self.vapi,
            _ => false,
        }
    }
}

fn not_built_in(vendor: &str) -> String {
    format!(
        "the {vendor} adapter is not in this version; it comes with a later one. Allowed: {}",
        names(&VENDORS)
    )
}
