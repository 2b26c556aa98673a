//! Twilio and Vapi relays before 101: whose signature or token does not hold is answered with 403, and nothing is upgraded.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use loadtest::gateway::{Gateway, GatewaySetup};
use loadtest::load::twilio::signature;

use crate::wire::{Door, vendor_upgrade_head};

const AUTH_TOKEN: &str = "12345678901234567890123456789012";
const RELAY_TOKEN: &str = "relay-token-0123456789";

const TENANTS: &str = r#"
[[tenants]]
tenant_id = "acme"
[tenants.twilio]
account_sid = "AC00000000000000000000000000000001"
[tenants.vapi]
bearer_token = "env:RELAY_TOKEN"
[[tenants.routes]]
vendor = "twilio"
trunk_id = "echo"
[[tenants.routes]]
vendor = "vapi"
trunk_id = "echo"

[[tenants]]
tenant_id = "bare"

[[trunks]]
trunk_id = "echo"
tenant_id = "acme"
kind = "echo"
api_bearer_token = "env:AUTH_TOKEN"
"#;

fn start() -> (Gateway, Door) {
    let mut setup = GatewaySetup::new(TENANTS);
    setup.environment = [("AUTH_TOKEN", AUTH_TOKEN), ("RELAY_TOKEN", RELAY_TOKEN)]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec();
    let gateway = Gateway::start(&setup).unwrap();
    let door = Door::of(&gateway);
    (gateway, door)
}

fn refused(gateway: &Gateway, reason: &str) -> f64 {
    let label = format!("reason=\"{reason}\"");
    gateway
        .metrics()
        .unwrap()
        .matching("clutchcall_connections_refused_total", &label)
}

#[test]
fn only_a_right_signature_and_a_right_token_are_upgraded() {
    let (gateway, door) = start();
    let public_url = format!("wss://localhost:{}", door.address.port());
    let signed = |target: &str, url: &str| {
        let signature = signature(AUTH_TOKEN, url);
        vendor_upgrade_head(target, &format!("X-Twilio-Signature: {signature}\r\n"))
    };
    let path = "/signal/twilio/acme";
    let url = format!("{public_url}{path}");
    let with_slash = format!("{url}/");
    let with_query = format!("{url}?x=1");
    let with_https = url.replacen("wss://", "https://", 1);
    let relay = |authorization: &str| {
        let lines = format!("Authorization: {authorization}\r\n");
        vendor_upgrade_head("/signal/vapi/acme", &lines)
    };
    let forbidden = [
        ("no signature", vendor_upgrade_head(path, "")),
        ("https", signed(path, &with_https)),
        ("another slash", signed(path, &with_slash)),
        (
            "a slash that is signed",
            signed("/signal/twilio/acme/", &with_slash),
        ),
        ("a query", signed("/signal/twilio/acme?x=1", &with_query)),
        (
            "a query that is not signed",
            signed("/signal/twilio/acme?x=1", &url),
        ),
        ("no token", vendor_upgrade_head("/signal/vapi/acme", "")),
        ("another token", relay("Bearer relay-token-9876543210")),
        ("another scheme", relay("Basic cmVsYXk6eA==")),
    ];
    let forbidden_count = forbidden.len();
    for (what, head) in forbidden {
        let answer = door.exchange(head.as_bytes());
        assert_eq!(answer.status, 403, "{what}: {answer:?}");
        let told = answer.json();
        assert_eq!(
            (told["code"].as_str(), told["fault"].as_str()),
            (Some("scope"), Some("caller")),
            "{what}: {told}"
        );
    }
    assert_eq!(refused(&gateway, "auth"), forbidden_count as f64);
    for path in [
        "/signal/twilio/bare",
        "/signal/vapi/bare",
        "/signal/twilio/none",
    ] {
        let answer = door.exchange(vendor_upgrade_head(path, "").as_bytes());
        assert_eq!(
            (answer.status, answer.json()["code"].as_str()),
            (404, Some("not_found"))
        );
    }

    // Neither is a subprotocol selected, whatever is offered.
    let offer = "Sec-WebSocket-Protocol: clutchcall.v1\r\n";
    let without_port = format!("wss://localhost{path}");
    for head in [
        signed(path, &url),
        signed(path, &without_port),
        relay(&format!("Bearer {RELAY_TOKEN}")),
        relay(&format!("bearer {RELAY_TOKEN}\r\n{}", offer.trim_end())),
    ] {
        let mut wire = door.connect();
        wire.send(head.as_bytes());
        let answer = wire.upgraded().to_ascii_lowercase();
        assert!(!answer.contains("sec-websocket-protocol"), "{answer}");
    }
    assert_eq!(refused(&gateway, "auth"), forbidden_count as f64);
    gateway.assert_drained();
    assert!(!gateway.log().contains("panicked"), "{}", gateway.log());
    assert!(!gateway.log().contains(RELAY_TOKEN), "{}", gateway.log());
    assert!(gateway.stop().unwrap().success());
}
