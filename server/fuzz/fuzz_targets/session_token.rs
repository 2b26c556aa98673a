//! Any text as a token; and a header, a line break and claims, which are signed here with a key that counts.
//!
//! What is not signed is never accepted; what is accepted is bounded, and only for its tenant.
#![no_main]

use std::sync::LazyLock;

use aws_lc_rs::signature::Ed25519KeyPair;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use libfuzzer_sys::fuzz_target;
use server::auth::session_auth::{JTI_LEN_MAX, LEEWAY_S, LIFETIME_S_MAX, NAME_LEN_MAX, SCOPES_MAX};
use server::auth::{GatewayKey, SessionGrant, verify};
use server::config::{KeyAlgorithm, PublicKey, TenantKey};
use server::fault::Refusal;

const NOW_UNIX_S: u64 = 1_900_000_000;
/// The example key pair of RFC 8410 section 10: known to everyone, good for nothing but tests.
const PRIVATE_KEY: &str = "MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC";
const PUBLIC_KEY: &str = "MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=";

struct Keys {
    signing: Ed25519KeyPair,
    tenant: [TenantKey; 1],
    gateway: GatewayKey,
}

static KEYS: LazyLock<Keys> = LazyLock::new(|| {
    let der = STANDARD.decode(PRIVATE_KEY).expect("base64");
    let public = format!("-----BEGIN PUBLIC KEY-----\n{PUBLIC_KEY}\n-----END PUBLIC KEY-----\n");
    let private =
        format!("-----BEGIN PRIVATE KEY-----\n{PRIVATE_KEY}\n-----END PRIVATE KEY-----\n");
    let tenant_key = TenantKey {
        kid: "k1".to_owned(),
        public_key: PublicKey::from_pem(KeyAlgorithm::EdDsa, public.as_bytes()).expect("a key"),
    };
    Keys {
        signing: Ed25519KeyPair::from_pkcs8(&der).expect("a key pair"),
        tenant: [tenant_key],
        gateway: GatewayKey::from_pem(private.as_bytes()).expect("a key pair"),
    }
});

fuzz_target!(|input: &str| {
    let Some((header, claims)) = input.split_once('\n') else {
        assert!(verify_for("acme", input).is_err());
        return;
    };
    let header = header.replace("$gateway", KEYS.gateway.kid());
    let signed = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(&header),
        URL_SAFE_NO_PAD.encode(claims)
    );
    let signature = URL_SAFE_NO_PAD.encode(KEYS.signing.sign(signed.as_bytes()));
    let Ok(grant) = verify_for("acme", &format!("{signed}.{signature}")) else {
        return;
    };
    assert!(header.contains("EdDSA") && claims.contains("acme"));
    assert!((1..=NAME_LEN_MAX).contains(&grant.subject.len()));
    assert!((1..=NAME_LEN_MAX).contains(&grant.issuer.len()));
    assert!(grant.scopes.len() <= SCOPES_MAX);
    assert!(grant.token_id.len() <= NAME_LEN_MAX + JTI_LEN_MAX + 8);
    assert!(grant.expires_unix_s + LEEWAY_S > NOW_UNIX_S);
    assert!(grant.expires_unix_s <= NOW_UNIX_S + LEEWAY_S + LIFETIME_S_MAX);
    assert!(verify_for("other", &format!("{signed}.{signature}")).is_err());
    assert!(verify_for("acme", &format!("{signed}.")).is_err());
});

fn verify_for(tenant_id: &str, token: &str) -> Result<SessionGrant, Refusal> {
    verify(
        token,
        NOW_UNIX_S,
        &tenant_id.parse().expect("an id"),
        Some("https://app.example.com"),
        &KEYS.tenant,
        Some(&KEYS.gateway),
    )
}
