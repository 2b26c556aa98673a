//! Signatures that Twilio's own libraries (Python 9.13.0 and Node 6.2.0, which agree) made.

use std::collections::BTreeMap;

use super::verify;
use crate::config::Secret;
use crate::fault::{Fault, Refusal};

const AUTH_TOKEN: &str = "12345678901234567890123456789012";
const WITH_PORT: &str = "wss://gw.example.com:7443/signal/twilio/acme";
const WITHOUT_PORT: &str = "wss://gw.example.com/signal/twilio/acme";

/// What each URL's signature is.
const SIGNED: [(&str, &str); 8] = [
    (WITH_PORT, "mzLLZgrg1HhI3/VJG2OVSpgAEgA="),
    (WITHOUT_PORT, "4+NiToCPbrz/k/ASxGz592e+XbY="),
    (
        "wss://gw.example.com/signal/twilio/acme/",
        "RYCwRP1/65DG2wsCOM+a7oUP2Bw=",
    ),
    (
        "https://gw.example.com:7443/signal/twilio/acme",
        "27hEvA7Rx9dEuw8xHPodesViUF0=",
    ),
    (
        "https://gw.example.com/signal/twilio/acme",
        "VTHnl6sN0sMGVacU4Qwo6sNDTt4=",
    ),
    (
        "wss://gw.example.com:7443/signal/twilio/acme?x=1",
        "BIPtjqCfj/Y1ywhP9E6QJnzJPnU=",
    ),
    (
        "wss://gw.example.com:443/signal/twilio/acme",
        "AyWm1tz43OWBtNUEFwjvJY4Sw1o=",
    ),
    (
        "wss://gw.example.com:80/signal/twilio/acme",
        "QAUCJE00IHekaiCU5XNgHdyUzbI=",
    ),
];
/// Of [`WITH_PORT`], with SHA-256 and the same key.
const SHA256_SIGNATURE: &str = "PBqlY26jHrIpSHtaP+ZPz8VaYQiOcXZnJWV1nSZKCJQ=";

fn check(public_url: &str, signature: &str) -> Result<(), Refusal> {
    let token = Secret::new(AUTH_TOKEN);
    verify(public_url, signature, None, Some(&token), &BTreeMap::new())
}

fn check_shared(signature: &str, settings: &str) -> Result<(), Refusal> {
    let token = Secret::new(AUTH_TOKEN);
    let shared_keys = BTreeMap::from([("SK1".to_owned(), Secret::new(AUTH_TOKEN))]);
    verify(
        WITH_PORT,
        signature,
        Some(settings),
        Some(&token),
        &shared_keys,
    )
}

#[test]
fn only_the_spellings_of_the_public_url_verify() {
    let accepted_for: [(&str, &[usize]); 3] = [
        (WITH_PORT, &[0, 1]),
        (WITHOUT_PORT, &[1, 6]),
        ("wss://gw.example.com:443/signal/twilio/acme", &[1, 6]),
    ];
    for (public_url, accepted) in accepted_for {
        for (index, (signed, signature)) in SIGNED.iter().enumerate() {
            let result = check(public_url, signature);
            assert_eq!(
                result.is_ok(),
                accepted.contains(&index),
                "{signed} for {public_url}"
            );
            if let Err(refusal) = result {
                assert_eq!(refusal.code.http_status(), 403);
                assert_eq!(refusal.fault, Fault::Caller);
            }
        }
    }
}

#[test]
fn a_signature_over_a_form_is_none_over_a_url() {
    // POST https://gw.example.com/voice with CallSid, From and To.
    let signature = "y+BWGQEZZl/73AjA1Mb7EtTkxm8=";
    assert!(check("wss://gw.example.com/voice", signature).is_err());
}

#[test]
fn other_keys_and_broken_signatures_do_not_verify() {
    let signature = SIGNED[0].1;
    let other = Secret::new("12345678901234567890123456789013");
    let none = BTreeMap::new();
    assert!(verify(WITH_PORT, signature, None, Some(&other), &none).is_err());
    for broken in [
        "",
        "mzLL",
        "mzLLZgrg1HhI3/VJG2OVSpgAEgB=",
        "*",
        "mzLLZgrg1HhI3/VJG2OVSpgAEgA",
    ] {
        assert!(check(WITH_PORT, broken).is_err(), "{broken}");
    }
}

#[test]
fn shared_keys_sign_with_sha_256_alone() {
    let settings = "key=SK1,algorithm=HMAC_SHA256";
    assert_eq!(check_shared(SHA256_SIGNATURE, settings), Ok(()));
    assert_eq!(
        check_shared(
            SHA256_SIGNATURE,
            " key = SK1 , algorithm = hmac_sha256 , version=2"
        ),
        Ok(())
    );
    // The header is not signed: neither way may it make the other kind of signature good.
    assert!(check_shared(SIGNED[0].1, settings).is_err());
    assert!(check(WITH_PORT, SHA256_SIGNATURE).is_err());
    for settings in [
        "key=SK1",
        "algorithm=HMAC_SHA256",
        "key=SK1,algorithm=HMAC_SHA1",
        "key=SK1,algorithm=MD5",
        "",
    ] {
        assert!(
            check_shared(SHA256_SIGNATURE, settings).is_err(),
            "{settings}"
        );
    }
    let unknown = check_shared(SHA256_SIGNATURE, "key=SK2,algorithm=HMAC_SHA256").unwrap_err();
    assert_eq!(unknown.fault, Fault::Config);
}

#[test]
fn an_empty_settings_header_means_the_auth_token() {
    for settings in ["", "algorithm=HMAC_SHA1", "key=SK1"] {
        assert_eq!(check_shared(SIGNED[0].1, settings), Ok(()), "{settings:?}");
    }
}

#[test]
fn what_the_operator_forgot_is_no_fault_of_the_caller() {
    let none = BTreeMap::new();
    let without_token = verify(WITH_PORT, SIGNED[0].1, None, None, &none).unwrap_err();
    assert_eq!(without_token.fault, Fault::Config);
    for public_url in [
        "https://gw.example.com/x",
        "wss://",
        "wss:///x",
        "wss://:443/x",
        "",
    ] {
        let refusal = check(public_url, SIGNED[0].1).unwrap_err();
        assert_eq!(refusal.fault, Fault::Config, "{public_url}");
    }
}

#[test]
fn brackets_are_no_port() {
    let spellings = ["wss://[2001:db8::1]/s", "wss://[2001:db8::1]:443/s"];
    let found = |url: &str| {
        let mut seen = Vec::new();
        let all = super::Spellings::of(url).unwrap();
        let seen_by = std::cell::RefCell::new(&mut seen);
        let _none = all.any(|spelling| {
            seen_by.borrow_mut().push(spelling.to_owned());
            false
        });
        seen
    };
    assert_eq!(found(spellings[0]), spellings);
    assert_eq!(found(spellings[1]), [spellings[1], spellings[0]]);
}
