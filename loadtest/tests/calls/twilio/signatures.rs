//! Who may upgrade: signatures by Twilio's own library over the URL as it is configured, and everything else that signs nearly
//! so. Refused is before the upgrade, with 403.

use super::*;
use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use loadtest::gateway::Gateway;
use loadtest::stream_peer::StreamPeerError;
use serde_json::Value;

use crate::vendor_peers::run_script;

const PATH: &str = "/signal/twilio/acme";
const SHARED_KEY: &str = "shared-key-0123456789abcdef";

/// A signature of each URL by Twilio's own library.
fn signatures(auth_token: &str, urls: &[String]) -> Vec<String> {
    let input = json!({"auth_token": auth_token, "urls": urls});
    let told = run_script("twilio_signatures.mjs", &[], &input);
    println!("peer: twilio {}", told["version"]);
    let signatures = told["signatures"].as_array().unwrap();
    let text = |signature: &Value| signature.as_str().unwrap().to_owned();
    signatures.iter().map(text).collect()
}

/// `X-Twilio-Signature` by a shared key.
fn sha256(secret: &str, url: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    BASE64.encode(hmac::sign(&key, url.as_bytes()))
}

#[track_caller]
fn refused(gateway: &Gateway, what: &str, path: &str, headers: &[(&str, String)]) {
    match Twilio::dial(gateway, path, headers) {
        Err(StreamPeerError::Refused { status, body }) => {
            println!("{what}: {status} {body}");
            assert_eq!(status, 403, "{what}: {body}");
            let body: Value = serde_json::from_str(&body).unwrap();
            assert!(
                body["message"].is_string() && body["fault"].is_string(),
                "{what}: {body}"
            );
        }
        Err(other) => panic!("{what}: {other}"),
        Ok(_) => panic!("{what}: was let in"),
    }
}

#[test]
fn the_configured_url_alone_is_signed() {
    let carrier = far_end(AudioCodec::Pcmu);
    let gateway = StreamSetup::new(&carrier).start();
    let configured = twilio_url(&gateway);
    let port = gateway.signalling_addr().port();
    let without_port = format!("wss://localhost{PATH}");
    let good = signatures(AUTH_TOKEN, &[configured.clone(), without_port]);
    for signature in &good {
        // Header names are written in any case.
        for name in ["X-Twilio-Signature", "x-twilio-signature"] {
            let twilio = Twilio::dial(&gateway, PATH, &[(name, signature.clone())]).unwrap();
            twilio.peer.lose();
        }
    }
    let forbidden = [
        format!("https://localhost:{port}{PATH}"),
        format!("https://localhost{PATH}"),
        format!("ws://localhost:{port}{PATH}"),
        format!("wss://localhost:80{PATH}"),
        format!("wss://localhost:443{PATH}"),
        format!("{configured}/"),
        format!("wss://localhost:{port}/signal/twilio/other"),
        format!("wss://127.0.0.1:{port}{PATH}"),
        format!("{configured}?x=1"),
        String::new(),
    ];
    for (url, signature) in forbidden.iter().zip(signatures(AUTH_TOKEN, &forbidden)) {
        let headers = [("X-Twilio-Signature", signature)];
        refused(&gateway, &format!("signed {url:?}"), PATH, &headers);
    }
    let other = signatures("another-token", std::slice::from_ref(&configured));
    refused(
        &gateway,
        "another token",
        PATH,
        &[("X-Twilio-Signature", other[0].clone())],
    );
    refused(&gateway, "no signature", PATH, &[]);
    refused(
        &gateway,
        "no base64",
        PATH,
        &[("X-Twilio-Signature", "!".to_owned())],
    );
    let flipped = good[0].to_ascii_lowercase();
    refused(
        &gateway,
        "other letters",
        PATH,
        &[("X-Twilio-Signature", flipped)],
    );
    // Twilio knows no query strings on streams: who has one is not Twilio, whatever it signs.
    let query = signatures(AUTH_TOKEN, &[format!("{configured}?x=1")]);
    let query = [("X-Twilio-Signature", query[0].clone())];
    let answer = Twilio::dial(&gateway, &format!("{PATH}?x=1"), &query);
    assert!(
        matches!(answer, Err(StreamPeerError::Refused { .. })),
        "a query string was let in"
    );
    assert_eq!(gateway.events(), []);
    end(gateway);
}

#[test]
fn a_shared_key_signs_with_sha_256_and_nothing_else_does() {
    let carrier = far_end(AudioCodec::Pcmu);
    let mut setup = StreamSetup::new(&carrier);
    let key_file = setup.secret("shared-key", SHARED_KEY);
    setup.twilio_lines = format!("shared_keys = {{ k1 = \"file:{}\" }}\n", key_file.display());
    let gateway = setup.start();
    let url = twilio_url(&gateway);
    let settings = |id: &str, algorithm: &str| {
        let value = format!("key={id},algorithm={algorithm}");
        ("X-Twilio-Webhooks-Signature-Settings", value)
    };
    let signed = |signature: String| ("X-Twilio-Signature", signature);
    let by_key = signed(sha256(SHARED_KEY, &url));
    let good = [by_key.clone(), settings("k1", "HMAC_SHA256")];
    Twilio::dial(&gateway, PATH, &good).unwrap().peer.lose();
    // The account's token goes on beside it.
    let by_token = signed(signature(AUTH_TOKEN, &url));
    Twilio::dial(&gateway, PATH, std::slice::from_ref(&by_token))
        .unwrap()
        .peer
        .lose();

    let unknown = [by_key.clone(), settings("k2", "HMAC_SHA256")];
    refused(&gateway, "an unknown key", PATH, &unknown);
    let sha1 = signed(signature(SHARED_KEY, &url));
    refused(
        &gateway,
        "SHA-1 by a shared key",
        PATH,
        &[sha1.clone(), settings("k1", "HMAC_SHA1")],
    );
    refused(
        &gateway,
        "SHA-1 as SHA-256",
        PATH,
        &[sha1, settings("k1", "HMAC_SHA256")],
    );
    let by_account = signed(sha256(AUTH_TOKEN, &url));
    refused(
        &gateway,
        "SHA-256 by the account's token",
        PATH,
        &[by_account.clone(), settings("k1", "HMAC_SHA256")],
    );
    refused(&gateway, "SHA-256 without settings", PATH, &[by_account]);
    refused(&gateway, "a shared key without settings", PATH, &[by_key]);
    end(gateway);
}

#[test]
fn a_tenant_without_twilio_is_refused_before_the_upgrade() {
    let carrier = far_end(AudioCodec::Pcmu);
    let gateway = StreamSetup::new(&carrier).start();
    let headers = [(
        "X-Twilio-Signature",
        signature(AUTH_TOKEN, &twilio_url(&gateway)),
    )];
    let answer = Twilio::dial(&gateway, "/signal/twilio/nobody", &headers);
    match answer {
        Err(StreamPeerError::Refused { status, body }) => {
            assert!(matches!(status, 403 | 404), "{status}: {body}");
        }
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("a stranger was let in"),
    }
    end(gateway);
}
