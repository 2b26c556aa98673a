//! `[tenants.twilio]`: read, and checked against the trunk whose token keys the signatures.

use super::agent_file::{QUEUE_MS, host_not_allowed};
use super::document::quote;
use super::secret_file::{Environment, is_named, named_secrets, password};
use super::section::Section;
use super::tenant_file::{self, ID, Surroundings};
use super::tls::ca_file;
use super::url::Url;
use super::{HostPattern, RouteConfig, TwilioConfig, TwilioRest, is_twilio_sid};
use crate::id::{TenantId, TrunkId};

const SECRET: (&str, &str) = ("api_key_secret", "api_key_secret_file");
const API_URL_FORM: &str =
    "https://HOST[:PORT] in lower case, without a path, or http:// to this machine";

/// The table, read but for what its trunk says.
pub(super) struct ReadTwilio<'a> {
    config: Option<TwilioConfig>,
    section: Section<'a>,
    /// It names a trunk that is none of the tenant's, which is told already.
    wrong_trunk: bool,
}

/// Reads the table.
pub(super) fn read<'a>(
    mut section: Section<'a>,
    tenant_id: Option<&TenantId>,
    hosts: &[HostPattern],
    surroundings: &Surroundings<'_>,
) -> ReadTwilio<'a> {
    let trunk_id = section.parsed("trunk_id", ID, |text| text.parse::<TrunkId>().ok());
    let wrong_trunk = match &trunk_id {
        None => section.has("trunk_id"),
        Some(located) => {
            tenant_file::own_trunk(&section, located, tenant_id, surroundings.trunk_of).is_none()
        }
    };
    section.require("account_sid");
    let account_sid = section.parsed("account_sid", "AC and 32 hexadecimal digits", |text| {
        is_twilio_sid("AC", text).then(|| text.to_owned())
    });
    let shared_keys = named_secrets(&mut section, "shared_keys", surroundings.environment);
    let require_token = section.flag_or("require_token", false);
    let queue_ms_max =
        section.integer_or("queue_ms_max", QUEUE_MS, TwilioConfig::QUEUE_MS_MAX.into()) as u32;
    let rest = read_rest(&mut section, hosts, surroundings.environment);
    if !surroundings.has_public_url {
        section.warn(
            "account_sid",
            "signatures are made over the URL that Twilio dials: without server.public_url none is right",
        );
    }
    section.finish();
    let config = account_sid.map(|account_sid| TwilioConfig {
        trunk_id: trunk_id.map(|located| located.value),
        auth_token: None,
        account_sid: account_sid.value,
        shared_keys,
        require_token,
        queue_ms_max,
        rest,
    });
    ReadTwilio {
        config,
        section,
        wrong_trunk,
    }
}

impl ReadTwilio<'_> {
    /// Finds the auth token, by the tenant's routes where the table names no trunk.
    pub(super) fn finish(
        self,
        routes: &[RouteConfig],
        has_token_keys: bool,
        surroundings: &Surroundings<'_>,
    ) -> Option<TwilioConfig> {
        let mut config = self.config?;
        if config.trunk_id.is_none() {
            config.trunk_id = routes
                .iter()
                .find(|route| route.vendor == "twilio")
                .map(|route| route.trunk_id.clone());
        }
        let trunk = config.trunk_id.as_ref().and_then(surroundings.trunk_of);
        config.auth_token = trunk.and_then(|trunk| trunk.whole()?.api_bearer_token.clone());
        // What is wrong about a key that is named, or about its trunk, is told there.
        let trunk_may_have_one = match trunk {
            Some(trunk) => trunk.may_have_token(),
            None => config.trunk_id.is_some() || self.wrong_trunk,
        };
        let has_key = trunk_may_have_one || self.section.entry_count("shared_keys") > 0;
        if !has_key {
            let message = match &config.trunk_id {
                Some(trunk_id) => format!(
                    "no signature can be verified: the trunk \"{trunk_id}\" has no api_bearer_token_file (the account's auth \
                     token), and there are no shared_keys"
                ),
                None => "no signature can be verified: there is neither trunk_id nor a route of vendor \"twilio\" whose \
                         trunk has an api_bearer_token_file (the account's auth token), and there are no shared_keys"
                    .to_owned(),
            };
            self.section.wrong_key("trunk_id", message);
        }
        if config.require_token && !has_token_keys {
            self.section.wrong_key(
                "require_token",
                "nobody signs such tokens; allowed with [[tenants.browser.keys]] or server.token_key_file",
            );
        }
        Some(config)
    }
}

fn read_rest(
    section: &mut Section<'_>,
    hosts: &[HostPattern],
    environment: Environment<'_>,
) -> Option<TwilioRest> {
    let api_key_sid = section.parsed(
        "api_key_sid",
        "SK (or AC, with the auth token as secret) and 32 hexadecimal digits",
        |text| {
            let is_sid = ["SK", "AC"].iter().any(|kind| is_twilio_sid(kind, text));
            is_sid.then(|| text.to_owned())
        },
    );
    let api_key_secret = password(section, SECRET, environment);
    let (has_sid, has_secret) = (section.has("api_key_sid"), is_named(section, SECRET));
    if has_sid && !has_secret {
        section.wrong_key("api_key_sid", "needs api_key_secret_file or api_key_secret");
    }
    if has_secret && !has_sid {
        let key = if section.has(SECRET.0) {
            SECRET.0
        } else {
            SECRET.1
        };
        section.wrong_key(key, "needs api_key_sid");
    }
    if !has_sid && !has_secret {
        for key in ["api_url", "ca_file"] {
            section.refuse(key, "is for api_key_sid and its secret");
        }
        return None;
    }
    let api_url = api_url(section, TwilioConfig::API_URL, hosts, str::to_owned);
    let ca_file = ca_file(section, "ca_file");
    Some(TwilioRest {
        api_url,
        ca_file,
        api_key_sid: api_key_sid?.value,
        api_key_secret: api_key_secret?,
    })
}

/// `api_url` of an API that the gateway calls for the tenant, which allows its host: by what `pattern` makes of it, or more.
pub(super) fn api_url(
    section: &mut Section<'_>,
    default: &str,
    hosts: &[HostPattern],
    pattern: fn(&str) -> String,
) -> String {
    let parse = |text: &str| {
        let url = Url::parse(text, &["https", "http"])?;
        let allowed = url.scheme == "https" || url.is_loopback();
        (allowed && url.path.is_empty()).then(|| text.to_owned())
    };
    let written = section.parsed_url("api_url", API_URL_FORM, parse);
    let text = match written {
        Some(located) => located.value,
        None if section.has("api_url") => return default.to_owned(),
        None => {
            section.record_default("api_url", quote(default));
            default.to_owned()
        }
    };
    let host = Url::parse(&text, &["https", "http"]).map_or("", |url| url.host);
    if !hosts.iter().any(|pattern| pattern.allows(host)) {
        let tenant = "this tenant's [[tenants]]";
        section.wrong_key("api_url", host_not_allowed(host, &pattern(host), tenant));
    }
    text
}
