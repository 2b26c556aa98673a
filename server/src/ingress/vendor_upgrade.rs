//! Who may upgrade as a vendor's service, by the head alone: Twilio by its signature, a Vapi relay by its bearer token. Pure.
//!
//! They are no browsers: a refusal is a status before 101. 403 says that the credential does not hold, and Twilio logs it as
//! error 31920.

use super::http::RequestHead;
use super::route::Vendor;
use crate::auth::{bearer, twilio_signature};
use crate::config::{TenantConfig, TwilioConfig, VapiConfig};
use crate::fault::{Fault, Refusal, RefusalCode};

/// Does the tenant take callers of this vendor?
pub(super) fn is_configured(vendor: Vendor, tenant: &TenantConfig) -> bool {
    match vendor {
        Vendor::Browser => tenant.browser.is_some(),
        Vendor::Twilio => tenant.twilio.is_some(),
        // A tenant may also only call Vapi.
        Vendor::Vapi => (tenant.vapi.as_ref()).is_some_and(|vapi| vapi.bearer_token.is_some()),
        Vendor::LiveKit | Vendor::Daily | Vendor::Chime => false,
    }
}

/// Checks the credential of a head whose vendor carries it there.
///
/// # Errors
/// It is none of the tenant's. HTTP 403.
pub(super) fn verify(
    vendor: Vendor,
    head: &RequestHead,
    public_url: &str,
    tenant: &TenantConfig,
) -> Result<(), Refusal> {
    match (vendor, &tenant.twilio, &tenant.vapi) {
        (Vendor::Twilio, Some(twilio), _) => {
            let path = format!("/signal/twilio/{}", tenant.tenant_id);
            verify_twilio(head, public_url, &path, twilio)
        }
        (Vendor::Vapi, _, Some(vapi)) => verify_vapi(head, vapi),
        _ => Err(refused("this vendor has no credential in the head")),
    }
}

/// The path is the configured one to the letter: it is signed, and its own spelling decides nothing.
fn verify_twilio(
    head: &RequestHead,
    public_url: &str,
    path: &str,
    twilio: &TwilioConfig,
) -> Result<(), Refusal> {
    if head.target != path {
        return Err(refused(
            "the stream's URL ends with /signal/twilio/<tenant_id>: no slash behind it, and no query, in whose place Twilio \
             has <Parameter>",
        ));
    }
    let Some(signature) = head.twilio_signature.as_deref() else {
        return Err(refused("no X-Twilio-Signature header"));
    };
    twilio_signature::verify(
        &format!("{public_url}{path}"),
        signature,
        head.twilio_settings.as_deref(),
        twilio.auth_token.as_ref(),
        &twilio.shared_keys,
    )
}

fn verify_vapi(head: &RequestHead, vapi: &VapiConfig) -> Result<(), Refusal> {
    let Some(pinned) = &vapi.bearer_token else {
        return Err(refused("the tenant lets no relay in"));
    };
    let shown = head.authorization.as_ref().map(|value| value.expose());
    bearer::verify(shown, pinned)
}

fn refused(message: &str) -> Refusal {
    Refusal::new(RefusalCode::Scope, Fault::Caller, message)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;
    use crate::config::Secret;

    const PUBLIC_URL: &str = "wss://gw.example.com:7443";
    const AUTH_TOKEN: &str = "12345678901234567890123456789012";
    /// Over `wss://gw.example.com:7443/signal/twilio/acme`, made by Twilio's own library.
    const SIGNATURE: &str = "mzLLZgrg1HhI3/VJG2OVSpgAEgA=";
    const SHA256_SIGNATURE: &str = "PBqlY26jHrIpSHtaP+ZPz8VaYQiOcXZnJWV1nSZKCJQ=";

    fn tenant(twilio: Option<TwilioConfig>, vapi: Option<VapiConfig>) -> TenantConfig {
        TenantConfig {
            tenant_id: "acme".parse().unwrap(),
            max_calls: 1,
            setups_per_s: 1,
            browser: None,
            twilio,
            vapi,
            outbound_hosts: Vec::new(),
            routes: Vec::new(),
            inbound: Vec::new(),
        }
    }

    fn twilio() -> TenantConfig {
        let account_sid = "AC11112222333344445555666677778888".to_owned();
        let twilio = TwilioConfig::with_defaults(account_sid, Some(Secret::new(AUTH_TOKEN)));
        tenant(Some(twilio), None)
    }

    fn vapi() -> TenantConfig {
        let vapi = VapiConfig {
            bearer_token: Some(Secret::new("relay-token-0123456789")),
            ..VapiConfig::with_defaults()
        };
        tenant(None, Some(vapi))
    }

    fn signed(target: &str, signature: Option<&str>) -> RequestHead {
        RequestHead {
            method: "GET".to_owned(),
            target: target.to_owned(),
            twilio_signature: signature.map(str::to_owned),
            ..RequestHead::default()
        }
    }

    #[track_caller]
    fn assert_forbidden(vendor: Vendor, head: &RequestHead, tenant: &TenantConfig, hint: &str) {
        let refusal = verify(vendor, head, PUBLIC_URL, tenant).unwrap_err();
        assert_eq!(refusal.code.http_status(), 403, "{refusal}");
        assert!(refusal.message.contains(hint), "{refusal}");
    }

    #[test]
    fn twilio_signs_the_configured_url() {
        let head = signed("/signal/twilio/acme", Some(SIGNATURE));
        assert_eq!(verify(Vendor::Twilio, &head, PUBLIC_URL, &twilio()), Ok(()));
        assert!(verify(Vendor::Twilio, &head, "wss://other.example.com", &twilio()).is_err());
        let unsigned = signed("/signal/twilio/acme", None);
        assert_forbidden(
            Vendor::Twilio,
            &unsigned,
            &twilio(),
            "no X-Twilio-Signature",
        );
        let wrong = signed("/signal/twilio/acme", Some(&SIGNATURE.replace('m', "n")));
        assert_forbidden(Vendor::Twilio, &wrong, &twilio(), "does not fit");
    }

    /// Also with the signature that Twilio would make over them.
    #[test]
    fn no_other_spelling_of_the_path_is_taken() {
        for target in [
            "/signal/twilio/acme/",
            "/signal/twilio/acme?x=1",
            "/signal/twilio/acme?",
            "/signal/twilio/acme/more",
            "/signal/twilio/%61cme",
        ] {
            let head = signed(target, Some(SIGNATURE));
            assert_forbidden(Vendor::Twilio, &head, &twilio(), "no slash behind it");
        }
        let slash = "wss://gw.example.com";
        let head = signed("/signal/twilio/acme/", Some("RYCwRP1/65DG2wsCOM+a7oUP2Bw="));
        assert!(verify(Vendor::Twilio, &head, slash, &twilio()).is_err());
    }

    #[test]
    fn a_shared_key_signs_where_the_head_names_it() {
        let mut tenant = twilio();
        let account = tenant.twilio.as_mut().unwrap();
        account
            .shared_keys
            .insert("CK1".to_owned(), Secret::new(AUTH_TOKEN));
        account.auth_token = None;
        let mut head = signed("/signal/twilio/acme", Some(SHA256_SIGNATURE));
        assert!(verify(Vendor::Twilio, &head, PUBLIC_URL, &tenant).is_err());
        head.twilio_settings = Some("key=CK1,algorithm=HMAC_SHA256".to_owned());
        assert_eq!(verify(Vendor::Twilio, &head, PUBLIC_URL, &tenant), Ok(()));
        head.twilio_settings = Some("key=CK2,algorithm=HMAC_SHA256".to_owned());
        assert_forbidden(
            Vendor::Twilio,
            &head,
            &tenant,
            "not in the tenant's shared_keys",
        );
    }

    #[test]
    fn a_relay_shows_the_pinned_token() {
        let mut head = signed("/signal/vapi/acme", None);
        assert_forbidden(Vendor::Vapi, &head, &vapi(), "no Authorization");
        head.authorization = Some(Secret::new("Bearer relay-token-0123456789"));
        assert_eq!(verify(Vendor::Vapi, &head, PUBLIC_URL, &vapi()), Ok(()));
        head.authorization = Some(Secret::new("Bearer relay-token-9876543210"));
        assert_forbidden(Vendor::Vapi, &head, &vapi(), "not this tenant's");
        assert!(verify(Vendor::Vapi, &head, PUBLIC_URL, &twilio()).is_err());
    }

    #[test]
    fn what_a_tenant_does_not_have_is_not_configured() {
        assert!(is_configured(Vendor::Twilio, &twilio()));
        assert!(is_configured(Vendor::Vapi, &vapi()));
        for vendor in [Vendor::Browser, Vendor::Vapi, Vendor::LiveKit] {
            assert!(!is_configured(vendor, &twilio()), "{vendor:?}");
        }
        let calls_only = tenant(None, Some(VapiConfig::with_defaults()));
        assert!(!is_configured(Vendor::Vapi, &calls_only));
    }
}
