//! Every fault of a SessionAuth token is refused with its code, by subprotocol and by `auth{token}`; good ones of every
//! algorithm open a session; none shows in a log or an answer.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use std::time::{Duration, Instant};

use jsonwebtoken::Algorithm;
use loadtest::gateway::{Gateway, GatewaySetup};
use loadtest::signalling::{
    ClientMessage, Connect, ServerMessage, Signalling, SignallingError, TokenVia,
};
use loadtest::webrtc_client::WebRtcCall;
use serde_json::json;
use server::call::EventType;

use crate::forge::{TenantKeys, assembled, claims, claims_with, hs256, now_unix_s};
use crate::wire::{Door, upgrade_head};

const WAIT: Duration = Duration::from_secs(15);

fn start(keys: &TenantKeys) -> Gateway {
    let mut setup = GatewaySetup::new(&format!(
        "[[tenants]]\ntenant_id = \"acme\"\n{browser}[[tenants.routes]]\nvendor = \"browser\"\ntrunk_id = \"echo\"\n\
         [[tenants]]\ntenant_id = \"globex\"\n{browser}\n\
         [[trunks]]\ntrunk_id = \"echo\"\ntenant_id = \"acme\"\nkind = \"echo\"\n",
        browser = keys.browser_toml()
    ));
    // The most that an operator would switch on; a secret in it would be found.
    setup.environment = vec![("RUST_LOG".to_owned(), "debug".to_owned())];
    Gateway::start(&setup).unwrap()
}

fn connect(gateway: &Gateway, tenant: &str, token: &str, via: TokenVia) -> Connect {
    Connect {
        url: format!("{}/signal/browser/{tenant}", gateway.url()),
        trust: gateway.trust(),
        token: token.to_owned(),
        token_via: via,
        origin: None,
        timeout: WAIT,
    }
}

/// Opens a socket and waits for `session`, or for how it was closed.
fn open(connect: &Connect) -> Result<Signalling, SignallingError> {
    let signalling = Signalling::connect(connect)?;
    signalling.wait_for_message("session", Instant::now() + WAIT, |message| {
        matches!(message, ServerMessage::Session { .. }).then_some(())
    })?;
    Ok(signalling)
}

#[track_caller]
fn assert_closed(case: &str, outcome: Result<Signalling, SignallingError>, code_expected: u16) {
    match outcome {
        Err(SignallingError::Closed { code, reason }) => {
            assert_eq!(code, code_expected, "{case}: {reason}");
            assert!(!reason.is_empty(), "{case}: the reason is missing");
            println!("{case}: closed with {code}, {reason}");
        }
        Err(other) => panic!("{case}: {other} instead of {code_expected}"),
        Ok(_) => panic!("{case}: a session opened"),
    }
}

fn stop_cleanly(gateway: Gateway) {
    gateway.assert_drained();
    assert!(gateway.stop().unwrap().success());
}

#[test]
fn every_fault_is_refused_with_its_code() {
    let keys = TenantKeys::generate();
    let strangers = TenantKeys::generate();
    let gateway = start(&keys);
    let key = keys.ed25519();
    let now = now_unix_s();
    let good = || claims("acme");
    let with = |name: &str, value| claims_with("acme", name, value);
    let changed_signature = |token: String| {
        // The last character but one: the last holds bits that are not part of the signature.
        let place = token.len() - 2;
        let other = if &token[place..=place] == "A" {
            "B"
        } else {
            "A"
        };
        format!("{}{other}{}", &token[..place], &token[place + 1..])
    };
    let rsa = &keys.keys()[0];
    assert_eq!(rsa.algorithm, Algorithm::RS256);
    // A token of the gateway's own key is of no use to a tenant that changes it.
    let gateways_own = gateway.token("acme").unwrap();
    let cases: Vec<(&str, String, u16)> = vec![
        ("no token at all", "x".to_owned(), 4401),
        ("three dots", "a.b.c".to_owned(), 4401),
        (
            "alg none",
            assembled(&json!({"alg": "none", "kid": key.kid}), &good(), b""),
            4401,
        ),
        (
            "alg nOnE",
            assembled(&json!({"alg": "nOnE", "kid": key.kid}), &good(), b""),
            4401,
        ),
        (
            "HS256 with the RSA public key",
            hs256(rsa.kid, &rsa.public_pem, &good()),
            4401,
        ),
        (
            "HS256 with the Ed25519 public key",
            hs256(key.kid, &key.public_pem, &good()),
            4401,
        ),
        (
            "RS256 under the kid of the P-256 key",
            rsa.sign_as(Some("p256"), &good()),
            4401,
        ),
        (
            "the alg of another key",
            assembled(&json!({"alg": "RS256", "kid": key.kid}), &good(), &[0; 256]),
            4401,
        ),
        ("a stranger's key", strangers.ed25519().sign(&good()), 4401),
        (
            "a changed signature",
            changed_signature(key.sign(&good())),
            4401,
        ),
        (
            "the gateway's token, changed",
            changed_signature(gateways_own),
            4401,
        ),
        ("an unknown kid", key.sign_as(Some("k9"), &good()), 4401),
        (
            "a kid as of the gateway",
            key.sign_as(Some("gw-1"), &good()),
            4401,
        ),
        ("no kid", key.sign_as(None, &good()), 4401),
        (
            "a critical extension",
            assembled(
                &json!({"alg": "EdDSA", "kid": key.kid, "crit": ["b64"]}),
                &good(),
                &[0; 64],
            ),
            4401,
        ),
        (
            "the gateway as issuer",
            key.sign(&with("iss", json!("clutchcall-gateway"))),
            4401,
        ),
        (
            "another audience",
            key.sign(&with("aud", json!("elsewhere"))),
            4401,
        ),
        ("no audience", key.sign(&with("aud", json!(null))), 4401),
        ("no jti", key.sign(&with("jti", json!(null))), 4401),
        ("an empty jti", key.sign(&with("jti", json!(""))), 4401),
        ("no exp", key.sign(&with("exp", json!(null))), 4401),
        ("no iat", key.sign(&with("iat", json!(null))), 4401),
        (
            "no tenant_id",
            key.sign(&with("tenant_id", json!(null))),
            4401,
        ),
        (
            "exp as text",
            key.sign(&with("exp", json!("tomorrow"))),
            4401,
        ),
        (
            "a life of 301 s",
            key.sign(&with("exp", json!(now + 301))),
            4401,
        ),
        (
            "iat after exp",
            key.sign(&with("exp", json!(now - 1))),
            4401,
        ),
        (
            "iat in the future",
            key.sign(&{
                let mut claims = with("iat", json!(now + 60));
                claims["exp"] = json!(now + 120);
                claims
            }),
            4401,
        ),
        (
            "not valid yet",
            key.sign(&with("nbf", json!(now + 60))),
            4401,
        ),
        (
            "expired",
            key.sign(&{
                let mut claims = with("iat", json!(now - 70));
                claims["exp"] = json!(now - 10);
                claims
            }),
            4402,
        ),
        (
            "another origin",
            key.sign(&with("origin", json!("https://app.example.com"))),
            4403,
        ),
        ("another tenant", key.sign(&claims("globex")), 4407),
        ("an unknown tenant", key.sign(&claims("initech")), 4407),
    ];
    let refused = cases.len();
    for (case, token, code) in &cases {
        for via in [TokenVia::Subprotocol, TokenVia::FirstMessage] {
            let outcome = open(&connect(&gateway, "acme", token, via));
            assert_closed(&format!("{case} by {via:?}"), outcome, *code);
        }
    }
    let metrics = gateway.metrics().unwrap();
    let counted = metrics.matching("clutchcall_connections_refused_total", "reason=\"auth\"");
    assert_eq!(counted as usize, 2 * refused);

    let unknown = open(&connect(
        &gateway,
        "initech",
        &key.sign(&claims("initech")),
        TokenVia::Subprotocol,
    ));
    assert_closed("an unknown tenant in the path", unknown, 4404);

    // The first one opens a session; the second finds the token used, whichever way it comes.
    let once = key.sign(&good());
    drop(open(&connect(&gateway, "acme", &once, TokenVia::Subprotocol)).unwrap());
    for via in [TokenVia::Subprotocol, TokenVia::FirstMessage] {
        assert_closed(
            "a token used before",
            open(&connect(&gateway, "acme", &once, via)),
            4406,
        );
    }
    assert!(
        gateway.events().is_empty(),
        "a refusal before authentication makes no call"
    );
    stop_cleanly(gateway);
}

#[test]
fn what_comes_instead_of_a_token_or_an_offer_is_refused() {
    let keys = TenantKeys::generate();
    let gateway = start(&keys);
    let without_token =
        || Signalling::connect(&connect(&gateway, "acme", "", TokenVia::Subprotocol)).unwrap();
    let with_token = || {
        open(&connect(
            &gateway,
            "acme",
            &keys.token("acme"),
            TokenVia::Subprotocol,
        ))
        .unwrap()
    };
    let ended = |signalling: Signalling| match signalling.wait_for_end(Instant::now() + WAIT) {
        Ok(end) => Err(end),
        Err(late) => panic!("{late}"),
    };

    let silent = (without_token(), Instant::now());
    let no_offer = (with_token(), Instant::now());
    for (case, text, code) in [
        ("no JSON", "hello", 4400),
        ("JSON of no message", r#"{"type":"greet"}"#, 4400),
        (
            "an offer before the token",
            r#"{"type":"offer","sdp":"v=0"}"#,
            4401,
        ),
    ] {
        let signalling = without_token();
        signalling.send_text(text.to_owned());
        assert_closed(case, ended(signalling), code);
    }
    let twice = with_token();
    twice.send(&ClientMessage::Auth {
        token: keys.token("acme"),
    });
    assert_closed("a second token", ended(twice), 4400);

    // Two tokens in the head can't be answered with the dialect: HTTP says it.
    let door = Door::of(&gateway);
    let two = format!("a.b.c, bearer.{}", keys.token("acme"));
    let answer = door.exchange(upgrade_head("acme", Some(&two), "").as_bytes());
    assert_eq!(
        (answer.status, answer.json()["code"].as_str()),
        (400, Some("malformed")),
        "{answer:?}"
    );

    for ((signalling, since), case, wait_s) in [
        (silent, "no token in 5 s", 5),
        (no_offer, "no offer in 10 s", 10),
    ] {
        assert_closed(case, ended(signalling), 4408);
        let waited = since.elapsed();
        assert!(
            waited >= Duration::from_millis(wait_s * 1000 - 100)
                && waited < Duration::from_secs(wait_s + 4),
            "{waited:?}"
        );
    }
    stop_cleanly(gateway);
}

#[test]
fn keys_of_every_algorithm_open_a_session_and_no_secret_is_shown() {
    let keys = TenantKeys::generate();
    let gateway = start(&keys);
    let mut tokens = vec![gateway.token("acme").unwrap()];
    tokens.extend(
        keys.keys()
            .iter()
            .flat_map(|key| [key.sign(&claims("acme")), key.sign(&claims("acme"))]),
    );
    let mut shown = String::new();
    for (token, via) in tokens.iter().zip(
        [TokenVia::Subprotocol, TokenVia::FirstMessage]
            .into_iter()
            .cycle(),
    ) {
        let session = open(&connect(&gateway, "acme", token, via)).unwrap();
        shown += &format!("{:?}", session.received());
    }
    let list = keys.ed25519().sign(&claims_with(
        "acme",
        "aud",
        json!(["elsewhere", "clutchcall-gateway"]),
    ));
    drop(open(&connect(&gateway, "acme", &list, TokenVia::Subprotocol)).unwrap());
    tokens.push(list);

    // The tenant's list of origins holds as well as the token's own.
    let origins = |origin: &str, claim: serde_json::Value| {
        let token = keys.ed25519().sign(&claims_with("acme", "origin", claim));
        let mut connect = connect(&gateway, "acme", &token, TokenVia::Subprotocol);
        connect.origin = Some(origin.to_owned());
        (token, open(&connect))
    };
    let (token, session) = origins("https://app.example.com", json!("https://app.example.com"));
    session.unwrap();
    tokens.push(token);
    let (token, session) = origins("https://app.example.com", json!(null));
    session.unwrap();
    tokens.push(token);
    let (token, refused) = origins(
        "https://other.example.com",
        json!("https://app.example.com"),
    );
    assert_closed("the origin of another page", refused, 4403);
    tokens.push(token);
    for origin in [
        "https://evil.example.com",
        "null",
        "https://app.example.com.evil.com",
        "HTTPS://app.example.com",
    ] {
        let (token, refused) = origins(origin, json!(null));
        tokens.push(token);
        let Err(SignallingError::Refused { status: 403, body }) = refused else {
            panic!("{origin} was not refused with HTTP 403")
        };
        assert!(
            body.contains("\"code\":\"scope\"") && body.contains("Origin"),
            "{body}"
        );
        shown += &body;
    }

    // A token without the scope opens a session that may not dial.
    let silent = keys
        .ed25519()
        .sign(&claims_with("acme", "scope", json!("call.listen")));
    let mut plan = gateway.call_plan("acme").unwrap();
    plan.token = silent.clone();
    tokens.push(silent);
    let mut call = WebRtcCall::connect(&plan).unwrap();
    let refused = call.place(&plan).unwrap_err();
    assert!(refused.to_string().contains("call.dial"), "{refused}");
    let end = call.signalling().wait_for_end(Instant::now() + WAIT);
    assert_closed("no scope to dial", end.map_or_else(Err, Err), 4403);
    drop(call);

    gateway.assert_drained();
    for path in ["/metrics", "/v1/calls", "/v1/calls?ended=true"] {
        shown += &gateway.admin("GET", path).unwrap().body;
    }
    shown += &format!("{:?}", gateway.events());
    let log = gateway.log();
    assert!(log.contains("session authenticated"), "the log is empty");
    for token in &tokens {
        for part in token.split('.').chain([token.as_str()]) {
            // All headers begin alike; what is secret is the rest.
            let secret = part.len() > 40 && !part.starts_with("eyJ0eXAi");
            assert!(!secret || !shown.contains(part), "a token in an answer");
            assert!(!secret || !log.contains(part), "a token in the log");
        }
    }
    assert!(gateway.stop().unwrap().success());
}

#[test]
fn a_live_call_outlives_its_token() {
    let keys = TenantKeys::generate();
    let gateway = start(&keys);
    // Past `exp`, but within the leeway of 5 s.
    let mut dying = claims("acme");
    let expires = now_unix_s() - 2;
    dying["iat"] = json!(expires - 1);
    dying["exp"] = json!(expires);
    let mut plan = gateway.call_plan("acme").unwrap();
    plan.token = keys.ed25519().sign(&dying);
    let call = WebRtcCall::dial(&plan).unwrap();

    dying["jti"] = json!("another");
    let later = keys.ed25519().sign(&dying);
    while now_unix_s() < expires + 6 {
        std::thread::sleep(Duration::from_millis(50));
    }
    let refused = open(&connect(&gateway, "acme", &later, TokenVia::Subprotocol));
    assert_closed("the same token for another session", refused, 4402);
    call.hold().unwrap();
    call.unhold().unwrap();
    let report = call.hang_up().unwrap();
    let types: Vec<EventType> = report.events.iter().map(|event| event.event_type).collect();
    assert_eq!(
        types,
        [
            EventType::ChannelCreate,
            EventType::ChannelAnswer,
            EventType::ChannelHold,
            EventType::ChannelResume,
            EventType::ChannelHangupComplete
        ]
    );
    assert_eq!(report.events[4].q850_cause, 16);
    stop_cleanly(gateway);
}
