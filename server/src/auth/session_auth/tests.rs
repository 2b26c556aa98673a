//! Every fault of a SessionAuth token, each minted here, and its code.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::EncodingKey;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::config::{KeyAlgorithm, PublicKey};

const NOW: u64 = 1_900_000_000;
const ORIGIN: &str = "https://app.example.com";

/// One tenant with a key of each algorithm, and the gateway's key.
struct House {
    keys: Vec<TenantKey>,
    rsa: EncodingKey,
    ecdsa: EncodingKey,
    ed25519: EncodingKey,
    ed25519_public_pem: String,
    gateway: GatewayKey,
    gateway_pem: String,
}

static HOUSE: LazyLock<House> = LazyLock::new(|| {
    let rsa = rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048)
        .unwrap();
    let ecdsa = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let ed25519 = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let gateway_pem = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519)
        .unwrap()
        .serialize_pem();
    let tenant_key = |kid: &str, algorithm, pair: &rcgen::KeyPair| TenantKey {
        kid: kid.to_owned(),
        public_key: PublicKey::from_pem(algorithm, pair.public_key_pem().as_bytes()).unwrap(),
    };
    House {
        keys: vec![
            tenant_key("rsa", KeyAlgorithm::Rs256, &rsa),
            tenant_key("ec", KeyAlgorithm::Es256, &ecdsa),
            tenant_key("ed", KeyAlgorithm::EdDsa, &ed25519),
        ],
        rsa: EncodingKey::from_rsa_pem(rsa.serialize_pem().as_bytes()).unwrap(),
        ecdsa: EncodingKey::from_ec_pem(ecdsa.serialize_pem().as_bytes()).unwrap(),
        ed25519: EncodingKey::from_ed_pem(ed25519.serialize_pem().as_bytes()).unwrap(),
        ed25519_public_pem: ed25519.public_key_pem(),
        gateway: GatewayKey::from_pem(gateway_pem.as_bytes()).unwrap(),
        gateway_pem,
    }
});

fn good_claims() -> Value {
    json!({
        "iss": "https://app.example.com/auth", "sub": "alice", "aud": "clutchcall-gateway", "tenant_id": "acme",
        "scope": "call.dial call.barge", "origin": ORIGIN, "iat": NOW, "exp": NOW + 300, "jti": "0001",
    })
}

fn mint(algorithm: Algorithm, kid: &str, claims: &Value, key: &EncodingKey) -> String {
    let header = Header {
        kid: Some(kid.to_owned()),
        ..Header::new(algorithm)
    };
    encode(&header, claims, key).unwrap()
}

fn mint_ed(claims: &Value) -> String {
    mint(Algorithm::EdDSA, "ed", claims, &HOUSE.ed25519)
}

fn verify_at(token: &str, now_unix_s: u64) -> Result<SessionGrant, Refusal> {
    verify(
        token,
        now_unix_s,
        &"acme".parse().unwrap(),
        Some(ORIGIN),
        &HOUSE.keys,
        Some(&HOUSE.gateway),
    )
}

fn refused(token: &str) -> Refusal {
    verify_at(token, NOW).unwrap_err()
}

#[track_caller]
fn assert_refused(token: &str, code: RefusalCode, about: &str) {
    let refusal = refused(token);
    assert_eq!(refusal.code, code, "{refusal}");
    assert_eq!(refusal.fault, Fault::Caller);
    assert!(
        refusal.message.contains(about),
        "{:?} does not say {about:?}",
        refusal.message
    );
}

/// The good claims with one of them replaced, or (by null) taken away.
fn claims_with(name: &str, value: Value) -> Value {
    let mut claims = good_claims();
    let map = claims.as_object_mut().unwrap();
    if value.is_null() {
        map.remove(name);
    } else {
        map.insert(name.to_owned(), value);
    }
    claims
}

#[test]
fn every_algorithm_opens_a_session() {
    for (algorithm, kid, key) in [
        (Algorithm::RS256, "rsa", &HOUSE.rsa),
        (Algorithm::ES256, "ec", &HOUSE.ecdsa),
        (Algorithm::EdDSA, "ed", &HOUSE.ed25519),
    ] {
        let grant = verify_at(&mint(algorithm, kid, &good_claims(), key), NOW).unwrap();
        assert_eq!(grant.subject, "alice");
        assert_eq!(grant.token_id, "28:https://app.example.com/auth:0001");
        assert_eq!(grant.expires_unix_s, NOW + 300);
        assert!(grant.allows("call.dial") && grant.allows("call.barge") && !grant.allows("call"));
    }
}

#[test]
fn a_missing_scope_is_refused_at_the_dial() {
    let grant = verify_at(&mint_ed(&claims_with("scope", json!("call.barge"))), NOW).unwrap();
    assert_eq!(
        grant.require(SCOPE_DIAL).unwrap_err().code,
        RefusalCode::Scope
    );
    assert_eq!(grant.require("call.barge"), Ok(()));
    let none = verify_at(&mint_ed(&claims_with("scope", json!(""))), NOW).unwrap();
    assert!(none.scopes.is_empty());
}

#[test]
fn none_and_hmac_with_the_public_key_are_refused() {
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    for alg in ["none", "None", "NONE", ""] {
        let head = part(json!({"alg": alg, "kid": "ed", "typ": "JWT"}));
        let unsigned = format!("{head}.{}.", part(good_claims()));
        assert_refused(&unsigned, RefusalCode::TokenInvalid, "header");
    }
    let public_key = EncodingKey::from_secret(HOUSE.ed25519_public_pem.as_bytes());
    for kid in ["rsa", "ec", "ed"] {
        let token = mint(Algorithm::HS256, kid, &good_claims(), &public_key);
        assert_refused(&token, RefusalCode::TokenInvalid, "alg");
    }
}

#[test]
fn a_key_verifies_its_own_algorithm_only() {
    for algorithm in [Algorithm::RS384, Algorithm::RS512, Algorithm::PS256] {
        assert_refused(
            &mint(algorithm, "rsa", &good_claims(), &HOUSE.rsa),
            RefusalCode::TokenInvalid,
            "alg",
        );
    }
    assert_refused(
        &mint(Algorithm::RS256, "ed", &good_claims(), &HOUSE.rsa),
        RefusalCode::TokenInvalid,
        "alg",
    );
    assert_refused(
        &mint(Algorithm::EdDSA, "ec", &good_claims(), &HOUSE.ed25519),
        RefusalCode::TokenInvalid,
        "alg",
    );
}

#[test]
fn kid_is_required_and_known() {
    let without = encode(
        &Header::new(Algorithm::EdDSA),
        &good_claims(),
        &HOUSE.ed25519,
    )
    .unwrap();
    assert_refused(&without, RefusalCode::TokenInvalid, "kid");
    let unknown = mint(Algorithm::EdDSA, "other", &good_claims(), &HOUSE.ed25519);
    assert_refused(&unknown, RefusalCode::TokenInvalid, "kid");
    let critical = Header {
        kid: Some("ed".to_owned()),
        crit: Some(vec!["exp".to_owned()]),
        ..Header::new(Algorithm::EdDSA)
    };
    let critical = encode(&critical, &good_claims(), &HOUSE.ed25519).unwrap();
    assert_refused(&critical, RefusalCode::TokenInvalid, "critical");
}

#[test]
fn every_claim_is_required_and_typed() {
    for name in [
        "iss",
        "sub",
        "aud",
        "tenant_id",
        "scope",
        "iat",
        "exp",
        "jti",
    ] {
        assert_refused(
            &mint_ed(&claims_with(name, Value::Null)),
            RefusalCode::TokenInvalid,
            name,
        );
    }
    for (name, value) in [
        ("iss", json!(1)),
        ("sub", json!(["alice"])),
        ("aud", json!(7)),
        ("tenant_id", json!({})),
        ("scope", json!(["call.dial"])),
        ("origin", json!(true)),
        ("iat", json!("1900000000")),
        ("iat", json!(-1)),
        ("exp", json!(NOW as f64 + 0.5)),
        ("nbf", json!("soon")),
        ("jti", json!(1)),
    ] {
        assert_refused(
            &mint_ed(&claims_with(name, value)),
            RefusalCode::TokenInvalid,
            "claims can't be used",
        );
    }
    assert_refused(
        &mint_ed(&json!([])),
        RefusalCode::TokenInvalid,
        "claims can't be used",
    );
}

#[test]
fn a_claim_given_twice_is_refused() {
    let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let head = part(r#"{"alg":"EdDSA","kid":"ed"}"#);
    let twice = good_claims()
        .to_string()
        .replacen('{', r#"{"tenant_id":"other","#, 1);
    let message = format!("{head}.{}", part(&twice));
    let signature =
        jsonwebtoken::crypto::sign(message.as_bytes(), &HOUSE.ed25519, Algorithm::EdDSA).unwrap();
    assert_refused(
        &format!("{message}.{signature}"),
        RefusalCode::TokenInvalid,
        "duplicate field",
    );
}

#[test]
fn names_and_sizes_are_bounded() {
    for (name, len_max) in [
        ("iss", NAME_LEN_MAX),
        ("sub", NAME_LEN_MAX),
        ("jti", JTI_LEN_MAX),
    ] {
        assert!(
            verify_at(
                &mint_ed(&claims_with(name, json!("x".repeat(len_max)))),
                NOW
            )
            .is_ok()
        );
        assert_refused(
            &mint_ed(&claims_with(name, json!("x".repeat(len_max + 1)))),
            RefusalCode::TokenInvalid,
            name,
        );
        assert_refused(
            &mint_ed(&claims_with(name, json!(""))),
            RefusalCode::TokenInvalid,
            name,
        );
    }
    let scopes = "a ".repeat(SCOPES_MAX + 1);
    assert_refused(
        &mint_ed(&claims_with("scope", json!(scopes))),
        RefusalCode::TokenInvalid,
        "scopes",
    );
    let long = mint_ed(&claims_with("padding", json!("x".repeat(TOKEN_LEN_MAX))));
    assert_refused(&long, RefusalCode::TokenInvalid, "longer");
}

#[test]
fn times_are_checked_with_five_seconds_of_leeway() {
    let at = |iat: u64, exp: u64| {
        let mut claims = good_claims();
        claims["iat"] = json!(iat);
        claims["exp"] = json!(exp);
        verify_at(&mint_ed(&claims), NOW).map_err(|refusal| refusal.code)
    };
    assert!(at(NOW + 5, NOW + 60).is_ok());
    assert_eq!(at(NOW + 6, NOW + 60), Err(RefusalCode::TokenInvalid));
    assert!(at(NOW, NOW + 300).is_ok());
    assert_eq!(at(NOW, NOW + 301), Err(RefusalCode::TokenInvalid));
    assert_eq!(at(NOW, NOW), Err(RefusalCode::TokenInvalid));
    assert_eq!(at(NOW, NOW - 1), Err(RefusalCode::TokenInvalid));
    assert!(at(NOW - 100, NOW - 4).is_ok());
    assert_eq!(at(NOW - 100, NOW - 5), Err(RefusalCode::TokenExpired));
    assert_eq!(at(NOW - 300, NOW - 60), Err(RefusalCode::TokenExpired));
    assert_eq!(at(0, u64::MAX), Err(RefusalCode::TokenInvalid));
    assert_eq!(at(u64::MAX, u64::MAX), Err(RefusalCode::TokenInvalid));

    let not_before = |nbf: u64| verify_at(&mint_ed(&claims_with("nbf", json!(nbf))), NOW);
    assert!(not_before(NOW + 5).is_ok());
    assert_eq!(
        not_before(NOW + 6).unwrap_err().code,
        RefusalCode::TokenInvalid
    );
}

#[test]
fn audience_tenant_and_origin_must_be_ours() {
    assert_refused(
        &mint_ed(&claims_with("aud", json!("clutchcall-api"))),
        RefusalCode::TokenInvalid,
        "aud",
    );
    assert_refused(
        &mint_ed(&claims_with("aud", json!([]))),
        RefusalCode::TokenInvalid,
        "aud",
    );
    assert!(
        verify_at(
            &mint_ed(&claims_with("aud", json!(["other", "clutchcall-gateway"]))),
            NOW
        )
        .is_ok()
    );
    assert_refused(
        &mint_ed(&claims_with("tenant_id", json!("umbrella"))),
        RefusalCode::WrongTenant,
        "tenant",
    );
    assert_refused(
        &mint_ed(&claims_with("origin", json!("https://evil.test"))),
        RefusalCode::Scope,
        "origin",
    );
    assert!(verify_at(&mint_ed(&claims_with("origin", Value::Null)), NOW).is_ok());

    let without_header = verify(
        &mint_ed(&good_claims()),
        NOW,
        &"acme".parse().unwrap(),
        None,
        &HOUSE.keys,
        None,
    )
    .unwrap_err();
    assert_eq!(without_header.code, RefusalCode::Scope);
}

#[test]
fn a_changed_token_is_refused() {
    let token = mint_ed(&good_claims());
    let (message, signature) = token.rsplit_once('.').unwrap();
    let mut bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
    bytes[10] ^= 1;
    let bad_signature = format!("{message}.{}", URL_SAFE_NO_PAD.encode(&bytes));
    assert_refused(&bad_signature, RefusalCode::TokenInvalid, "signature");
    let (head, _) = message.split_once('.').unwrap();
    let other_claims = URL_SAFE_NO_PAD.encode(claims_with("sub", json!("mallory")).to_string());
    assert_refused(
        &format!("{head}.{other_claims}.{signature}"),
        RefusalCode::TokenInvalid,
        "signature",
    );
    assert_refused(
        &format!("{message}."),
        RefusalCode::TokenInvalid,
        "signature",
    );
    for garbage in [
        "",
        ".",
        "..",
        "a.b",
        "a.b.c.d",
        "\u{1F600}.\u{1F600}.\u{1F600}",
    ] {
        assert_refused(garbage, RefusalCode::TokenInvalid, "header");
    }
}

#[test]
fn the_gateways_own_tokens_open_sessions() {
    let request = TokenRequest {
        tenant_id: "acme".parse().unwrap(),
        subject: "operator".to_owned(),
        scope: SCOPE_DIAL.to_owned(),
        origin: None,
        ttl_s: 300,
    };
    let token = sign(&HOUSE.gateway, &request, NOW, [0xab; 16]).unwrap();
    let grant = verify_at(&token, NOW).unwrap();
    assert_eq!(grant.subject, "operator");
    assert_eq!(grant.issuer, GATEWAY_ISSUER);
    assert!(grant.allows(SCOPE_DIAL));
    assert_eq!(
        grant.token_id,
        format!("18:clutchcall-gateway:{}", "ab".repeat(16))
    );

    let other_tenant = verify(
        &token,
        NOW,
        &"umbrella".parse().unwrap(),
        None,
        &HOUSE.keys,
        Some(&HOUSE.gateway),
    )
    .unwrap_err();
    assert_eq!(other_tenant.code, RefusalCode::WrongTenant);
    let no_key = verify(
        &token,
        NOW,
        &"acme".parse().unwrap(),
        None,
        &HOUSE.keys,
        None,
    )
    .unwrap_err();
    assert_eq!(no_key.code, RefusalCode::TokenInvalid);

    for ttl_s in [0, 301] {
        let request = TokenRequest {
            ttl_s,
            ..request.clone()
        };
        assert_eq!(
            sign(&HOUSE.gateway, &request, NOW, [0; 16]),
            Err(SignError::Lifetime)
        );
    }
    let long = TokenRequest {
        subject: "x".repeat(NAME_LEN_MAX + 1),
        ..request
    };
    assert_eq!(
        sign(&HOUSE.gateway, &long, NOW, [0; 16]),
        Err(SignError::TooLong)
    );
}

#[test]
fn no_issuer_can_claim_the_name_of_the_other() {
    let as_gateway = mint_ed(&claims_with("iss", json!(GATEWAY_ISSUER)));
    assert_refused(&as_gateway, RefusalCode::TokenInvalid, "iss");

    let gateway_signing = EncodingKey::from_ed_pem(HOUSE.gateway_pem.as_bytes()).unwrap();
    let as_tenant = mint(
        Algorithm::EdDSA,
        HOUSE.gateway.kid(),
        &good_claims(),
        &gateway_signing,
    );
    assert_refused(&as_tenant, RefusalCode::TokenInvalid, "iss");

    let stolen_kid = mint(
        Algorithm::EdDSA,
        HOUSE.gateway.kid(),
        &claims_with("iss", json!(GATEWAY_ISSUER)),
        &HOUSE.ed25519,
    );
    assert_refused(&stolen_kid, RefusalCode::TokenInvalid, "signature");
    let unknown_gateway = mint(
        Algorithm::EdDSA,
        "gw-00000000",
        &good_claims(),
        &gateway_signing,
    );
    assert_refused(&unknown_gateway, RefusalCode::TokenInvalid, "kid");
}

proptest! {
    #[test]
    fn arbitrary_text_is_refused_and_never_panics(text in "\\PC{0,200}") {
        prop_assert!(verify_at(&text, NOW).is_err());
    }

    #[test]
    fn arbitrary_parts_are_refused(head in any::<Vec<u8>>(), claims in any::<Vec<u8>>(), sig in any::<Vec<u8>>()) {
        let part = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let token = format!("{}.{}.{}", part(&head), part(&claims), part(&sig));
        prop_assert!(verify_at(&token, NOW).is_err());
    }
}
