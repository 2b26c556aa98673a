//! `X-Twilio-Signature` of a WebSocket upgrade: an HMAC over the URL that the customer's TwiML names.
//!
//! An upgrade is a GET without a form, so the URL is all that is signed. It is compared with the configured public URL, never
//! with the `Host` header, and always as `wss`. The libraries of Twilio sign and accept a few spellings of the port; of these
//! the ones that TwiML can contain are accepted, in this order: the public URL as it is configured; without its port; with
//! `:443` if it has none. Neither time nor a nonce is signed: whoever saw an upgrade can repeat it, which a one-time token in
//! the stream's parameters stops.

use std::collections::BTreeMap;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::config::Secret;
use crate::fault::{Fault, Refusal, RefusalCode};

/// The header with the signature.
pub const SIGNATURE_HEADER: &str = "X-Twilio-Signature";
/// The header that names a shared key: `key=<id>,algorithm=HMAC_SHA256`.
pub const SETTINGS_HEADER: &str = "X-Twilio-Webhooks-Signature-Settings";

/// Checks the signature over `public_url` (`wss`, with the path as it came) in constant time.
///
/// `settings` is the value of [`SETTINGS_HEADER`], if there is one. Without it the key is the account's auth token and the
/// hash SHA-1. With `algorithm=HMAC_SHA256` the key is the shared key that the header names; the auth token is worth nothing
/// then.
///
/// # Errors
/// The signature does not fit, or there is no key to check it by. HTTP 403.
pub fn verify(
    public_url: &str,
    signature: &str,
    settings: Option<&str>,
    auth_token: Option<&Secret>,
    shared_keys: &BTreeMap<String, Secret>,
) -> Result<(), Refusal> {
    let key = match Settings::read(settings.unwrap_or_default())? {
        Settings::AuthToken => {
            let token = auth_token.ok_or_else(|| {
                refused(
                    Fault::Config,
                    "the trunk of the tenant's twilio calls has no api_bearer_token to check signatures by",
                )
            })?;
            // Twilio's choice; as a MAC, SHA-1 is not broken.
            let algorithm = hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY;
            hmac::Key::new(algorithm, token.expose().as_bytes())
        }
        Settings::SharedKey(id) => {
            let secret = shared_keys.get(id).ok_or_else(|| {
                refused(
                    Fault::Config,
                    "the request is signed with a key that is not in the tenant's shared_keys",
                )
            })?;
            hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes())
        }
    };
    let tag = STANDARD
        .decode(signature)
        .map_err(|_| refused(Fault::Caller, "X-Twilio-Signature is no base64"))?;
    let spellings = Spellings::of(public_url).ok_or_else(|| {
        refused(
            Fault::Config,
            "the public URL of the gateway is no wss URL: Twilio's signatures can't be checked",
        )
    })?;
    if spellings.any(|url| hmac::verify(&key, url.as_bytes(), &tag).is_ok()) {
        return Ok(());
    }
    Err(refused(
        Fault::Caller,
        "X-Twilio-Signature does not fit the public URL and the key",
    ))
}

/// What [`SETTINGS_HEADER`] says.
enum Settings<'a> {
    AuthToken,
    SharedKey(&'a str),
}

impl<'a> Settings<'a> {
    /// As Twilio's libraries read it: an empty header, or one without an algorithm, is none; what else is in it does not
    /// matter.
    fn read(header: &'a str) -> Result<Self, Refusal> {
        let value_of = |wanted: &str| {
            header
                .split(',')
                .filter_map(|setting| setting.split_once('='))
                .find(|(name, _)| name.trim() == wanted)
                .map(|(_, value)| value.trim())
                .filter(|value| !value.is_empty())
        };
        let (key, algorithm) = (value_of("key"), value_of("algorithm"));
        match (key, algorithm) {
            (_, None) => Ok(Self::AuthToken),
            (None, Some(name)) if name.eq_ignore_ascii_case("HMAC_SHA1") => Ok(Self::AuthToken),
            (Some(id), Some(name)) if name.eq_ignore_ascii_case("HMAC_SHA256") => {
                Ok(Self::SharedKey(id))
            }
            _ => Err(refused(
                Fault::Caller,
                "shared keys sign with HMAC_SHA256, and with nothing else",
            )),
        }
    }
}

fn refused(fault: Fault, message: &str) -> Refusal {
    Refusal::new(RefusalCode::Scope, fault, message)
}

/// The parts that the accepted spellings of a URL are made of.
struct Spellings<'a> {
    /// `wss://` and the host.
    origin: &'a str,
    /// The port with its colon; empty if there is none.
    port: &'a str,
    /// Everything behind.
    path: &'a str,
}

impl<'a> Spellings<'a> {
    fn of(url: &'a str) -> Option<Self> {
        const SCHEME: &str = "wss://";
        let behind = url.strip_prefix(SCHEME)?;
        let authority_len = behind.find(['/', '?', '#']).unwrap_or(behind.len());
        let authority = &behind[..authority_len];
        // The colons of an IPv6 address are within brackets.
        let host_len = match authority.rfind(':') {
            Some(colon) if !authority[colon..].contains(']') => colon,
            _ => authority_len,
        };
        if host_len == 0 {
            return None;
        }
        let (origin, rest) = url.split_at(SCHEME.len() + host_len);
        let (port, path) = rest.split_at(authority_len - host_len);
        Some(Self { origin, port, path })
    }

    /// Whether `accepts` says yes to one of them.
    fn any(&self, accepts: impl Fn(&str) -> bool) -> bool {
        let Self { origin, port, path } = self;
        let other_port = if port.is_empty() { ":443" } else { "" };
        let as_configured = accepts(&format!("{origin}{port}{path}"));
        let otherwise = accepts(&format!("{origin}{other_port}{path}"));
        as_configured || otherwise
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests;
