//! `[tenants.twilio]`: whose Media Streams a tenant takes, and how a call of theirs is ended.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::Secret;
use crate::id::TrunkId;

/// Twilio dials us, and signs its upgrade.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TwilioConfig {
    /// `trunk_id`: whose `api_bearer_token` is the account's auth token; default the trunk of the first route of vendor "twilio".
    pub trunk_id: Option<TrunkId>,
    /// That trunk's `api_bearer_token`: keys the signatures in SHA-1. None: only those by a shared key are taken.
    pub auth_token: Option<Secret>,
    /// `account_sid`: calls of other accounts are refused.
    pub account_sid: String,
    /// `shared_keys`: by id, for signatures in SHA-256.
    pub shared_keys: BTreeMap<String, Secret>,
    /// `require_token`: `customParameters.token` is a SessionAuth token of the tenant, good for one call. Default false; without
    /// it, who has seen a signed upgrade can repeat it.
    pub require_token: bool,
    /// `queue_ms_max`: how much audio that came ahead of time is kept, default 1000.
    pub queue_ms_max: u32,
    /// How a call is ended at Twilio; none: only by closing its stream.
    pub rest: Option<TwilioRest>,
}

/// `api_key_sid` and `api_key_secret` with `api_url` and `ca_file`: Twilio's REST API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TwilioRest {
    /// `api_url`, default `https://api.twilio.com`: without a slash at its end.
    pub api_url: String,
    /// `ca_file`: who signs its certificate, besides the system's authorities.
    pub ca_file: Option<PathBuf>,
    /// `api_key_sid`
    pub api_key_sid: String,
    /// `api_key_secret` or `api_key_secret_file`
    pub api_key_secret: Secret,
}

/// Whether this is a SID of Twilio's: `kind`, which is two letters, and 32 hexadecimal digits.
pub fn is_twilio_sid(kind: &str, text: &str) -> bool {
    text.strip_prefix(kind).is_some_and(|digits| {
        digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
    })
}

impl TwilioConfig {
    /// Default of `queue_ms_max`.
    pub const QUEUE_MS_MAX: u32 = 1_000;
    /// Default of `api_url`.
    pub const API_URL: &str = "https://api.twilio.com";

    /// Every default, for streams of an account that signs with `auth_token`.
    pub fn with_defaults(account_sid: String, auth_token: Option<Secret>) -> Self {
        Self {
            trunk_id: None,
            auth_token,
            account_sid,
            shared_keys: BTreeMap::new(),
            require_token: false,
            queue_ms_max: Self::QUEUE_MS_MAX,
            rest: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_sid_gets_into_a_path() {
        assert!(is_twilio_sid("CA", "CA00000000000000000000000000000001"));
        for wrong in [
            "",
            "CA",
            "CA0000000000000000000000000000000/",
            "XX00000000000000000000000000000001",
            "CA000000000000000000000000000000012",
            "../CA000000000000000000000000000001",
        ] {
            assert!(!is_twilio_sid("CA", wrong), "{wrong}");
        }
    }
}
