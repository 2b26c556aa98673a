//! Chromium behind a firewall that lets only a TURN server through (`iceTransportPolicy: "relay"`): coturn, with the
//! credentials that the gateway made for the session.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::io::Write;
use std::time::Duration;

use loadtest::gateway::{ECHO_TENANT, Gateway};
use loadtest::turn_server::TurnServer;
use serde_json::json;
use server::call::EventType;
use tempfile::NamedTempFile;

use crate::chromium::{assert_events, gateway_with_page, hear, open_page};

const SECRET: &str = "north-wind-and-the-sun";
/// The gateway gives up a page that does not connect after 30 s.
const GIVEN_UP_WITHIN: Duration = Duration::from_secs(40);

/// A gateway that shares `secret` with this TURN server, as far as it knows.
fn gateway(coturn: &TurnServer, secret: &NamedTempFile) -> Gateway {
    let lines = format!(
        "[[webrtc.ice_servers]]\nurls = [\"{}\"]\nsecret_file = \"{}\"\n",
        coturn.url(),
        secret.path().display(),
    );
    gateway_with_page(&lines, ECHO_TENANT)
}

fn secret_file(secret: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    writeln!(file, "{secret}").unwrap();
    file
}

/// What opens the relay is told to the page alone.
#[track_caller]
fn assert_kept_secret(gateway: &Gateway, secret: &str, credential: &str) {
    assert!(credential.len() >= 28, "{credential}");
    let told = format!(
        "{}{}{}",
        gateway.log(),
        gateway.admin("GET", "/v1/calls?ended=true").unwrap().body,
        gateway.admin("GET", "/metrics").unwrap().body,
    );
    assert!(!told.contains(secret) && !told.contains(credential));
}

#[test]
fn a_page_that_reaches_only_a_turn_server_hears_itself() {
    let coturn = TurnServer::start(SECRET).unwrap_or_else(|error| panic!("{error}"));
    let secret = secret_file(SECRET);
    let gateway = gateway(&coturn, &secret);
    let mut page = open_page(&gateway, "");
    let token = gateway.token("acme").unwrap();
    let connected_after = page.connect_by_turn("acme", &token).unwrap();
    page.dial("echo").unwrap();
    let verdict = hear(&mut page, "echo");
    let stats = page.transport_stats().unwrap();
    println!("connected after {connected_after:?}, {stats:?}");
    assert!(verdict.pass, "{verdict}");
    assert_eq!(stats.packets_lost, 0, "{stats:?}");
    assert_eq!(stats.local_candidate_type.as_deref(), Some("relay"));

    let server = page
        .run("phone.connection.getConfiguration().iceServers[0]")
        .unwrap();
    let (expires_unix_s, user) = server["username"]
        .as_str()
        .unwrap()
        .split_once(':')
        .unwrap();
    assert_eq!(user, "acme");
    assert!(expires_unix_s.parse::<u64>().is_ok(), "{server}");
    page.run("phone.hangUp()").unwrap();
    let whole_call = [
        EventType::ChannelCreate,
        EventType::ChannelAnswer,
        EventType::ChannelHangupComplete,
    ];
    assert_eq!(
        assert_events(&gateway, &mut page, &whole_call).q850_cause,
        16
    );
    assert_kept_secret(&gateway, SECRET, server["credential"].as_str().unwrap());
    gateway.assert_drained();
    assert_eq!(gateway.stop().unwrap().code(), Some(0));
}

#[test]
fn with_another_secret_than_the_servers_a_page_hears_why_it_does_not_connect() {
    let coturn = TurnServer::start(SECRET).unwrap_or_else(|error| panic!("{error}"));
    let secret = secret_file("another-wind-and-no-sun");
    let gateway = gateway(&coturn, &secret);
    let mut page = open_page(&gateway, "");
    let token = gateway.token("acme").unwrap();
    let options = json!({ "tenantId": "acme", "token": token, "iceTransportPolicy": "relay" });
    // Not awaited: it would wait for a connection that never comes.
    page.run(&format!("void connectPhone({options}).catch(() => {{}})"))
        .unwrap();
    page.wait_for("globalThis.phone?.state === 'ready'")
        .unwrap();
    page.run("phone.dial({ trunkId: 'echo' })").unwrap();
    let told = "phone.messages.find(({ type }) => type === 'ice_server')";
    page.wait_for(&format!("{told} !== undefined")).unwrap();
    let why = page.run(told).unwrap()["message"].to_string();
    println!("the page was told: {why}");
    assert!(
        why.contains(&coturn.url()) && why.contains("401 Unauthorized"),
        "{why}"
    );

    page.page()
        .wait_for("phone.closeCode !== undefined", GIVEN_UP_WITHIN)
        .unwrap();
    let closed = page
        .run("[phone.closeCode, phone.closeReason, phone.connection.connectionState]")
        .unwrap();
    println!("{closed}");
    let reason = closed[1].as_str().unwrap();
    assert!(reason.starts_with("no ICE check arrived"), "{reason}");
    let unanswered = [EventType::ChannelCreate, EventType::ChannelHangupComplete];
    let end = assert_events(&gateway, &mut page, &unanswered);
    // Recovery on timer expiry.
    assert_eq!(end.q850_cause, 102);
    gateway.assert_drained();
    assert_eq!(gateway.stop().unwrap().code(), Some(0));
}
