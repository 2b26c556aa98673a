//! SIGHUP and `POST /v1/reload`: both files are read again and taken whole, or refused whole. What runs goes on.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use loadtest::gateway::{ECHO_TENANT, Gateway, GatewaySetup, HttpAnswer};
use loadtest::judge::{Bar, Playback};
use loadtest::signalling::{Connect, ServerMessage, Signalling, SignallingError, TokenVia};
use loadtest::speech;
use loadtest::webrtc_client::WebRtcCall;
use serde_json::{Value, json};

use crate::rtp_trunk::{WHOLE_CALL, assert_events, end, in_time, opening};

const GLOBEX: &str = r#"
[[tenants]]
tenant_id = "globex"
[tenants.browser]
[[tenants.routes]]
vendor = "browser"
trunk_id = "globex-echo"
[[trunks]]
trunk_id = "globex-echo"
tenant_id = "globex"
kind = "echo"
"#;

fn start() -> Gateway {
    let mut setup = GatewaySetup::new(ECHO_TENANT);
    setup.cores = vec![0, 1];
    Gateway::start(&setup).unwrap()
}

pub(crate) fn config(gateway: &Gateway) -> String {
    fs::read_to_string(gateway.file("gateway.toml")).unwrap()
}

pub(crate) fn write_config(gateway: &Gateway, text: &str) {
    fs::write(gateway.file("gateway.toml"), text).unwrap();
}

fn reload(gateway: &Gateway) -> HttpAnswer {
    gateway.post("/v1/reload", &json!({})).unwrap()
}

#[track_caller]
pub(crate) fn reload_ok(gateway: &Gateway) -> Value {
    let answer = reload(gateway);
    assert_eq!(answer.status, 200, "{}", answer.body);
    let taken: Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(taken["result"], "ok", "{taken}");
    taken
}

/// SIGHUP, and waits until the log says `line` once more.
fn hang_up(gateway: &Gateway, line: &str) {
    let times = gateway.log().matches(line).count();
    gateway.signal("HUP").unwrap();
    let deadline = in_time();
    while gateway.log().matches(line).count() == times {
        assert!(Instant::now() < deadline, "no {line:?}:\n{}", gateway.log());
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn reloads(gateway: &Gateway, result: &str) -> f64 {
    let metrics = gateway.metrics().unwrap();
    metrics.matching("clutchcall_reloads_total", &format!("result=\"{result}\""))
}

/// How a new session of `tenant` is sent away; none: it is not.
fn refusal(gateway: &Gateway, tenant: &str, token: &str) -> Option<u16> {
    let signalling = Signalling::connect(&Connect {
        url: format!("{}/signal/browser/{tenant}", gateway.url()),
        trust: gateway.trust(),
        token: token.to_owned(),
        token_via: TokenVia::Subprotocol,
        origin: None,
        timeout: Duration::from_secs(10),
    })
    .unwrap();
    let session =
        |message: &ServerMessage| matches!(message, ServerMessage::Session { .. }).then_some(None);
    match signalling.wait_for_message("session", in_time(), session) {
        Ok(opened) => opened,
        Err(SignallingError::Closed { code, .. }) => Some(code),
        Err(other) => panic!("{other}"),
    }
}

/// A shard takes new settings with its next turn: polls until `tenant` is known, or is not.
fn wait_until_known(gateway: &Gateway, tenant: &str, token: impl Fn() -> String, known: bool) {
    let wanted = if known { None } else { Some(4404) };
    let deadline = in_time();
    loop {
        let refused = refusal(gateway, tenant, &token());
        if refused == wanted {
            return;
        }
        assert!(Instant::now() < deadline, "{tenant}: {refused:?}");
    }
}

#[test]
fn tenants_come_and_go_while_calls_go_on() {
    let gateway = start();
    let running = WebRtcCall::dial(&gateway.call_plan("acme").unwrap()).unwrap();
    let spoken = opening(speech::alpha(), 6);
    running.speak(&spoken, Playback::Once);
    let globex_token = gateway.token("acme").unwrap();
    assert_eq!(refusal(&gateway, "globex", &globex_token), Some(4404));

    // A second tenant, by POST.
    let both = config(&gateway) + GLOBEX;
    write_config(&gateway, &both);
    let taken = reload_ok(&gateway);
    assert_eq!(
        (&taken["tenants"], &taken["trunks"]),
        (&2.into(), &4.into())
    );
    assert_eq!(taken["needs_restart"], json!([]), "{taken}");
    wait_until_known(
        &gateway,
        "globex",
        || gateway.token("globex").unwrap(),
        true,
    );
    let globex = WebRtcCall::dial(&gateway.call_plan("globex").unwrap()).unwrap();

    // Without the first one, by SIGHUP. Its tokens were made before: the command knows it no more.
    let late_token = gateway.token("acme").unwrap();
    let first = both.find("[[tenants]]").unwrap();
    let without_acme = both[..first].to_owned() + GLOBEX;
    write_config(&gateway, &without_acme);
    hang_up(&gateway, "configuration reloaded");
    wait_until_known(&gateway, "acme", || late_token.clone(), false);

    // Its running call goes on: audio, hold, a lost socket.
    running.wait_until_spoken(in_time()).unwrap();
    std::thread::sleep(Duration::from_millis(600));
    let mut running = running;
    running.lose_socket();
    running.resume().unwrap();
    running.hold().unwrap();
    running.unhold().unwrap();
    let report = running.hang_up().unwrap();
    let verdict = report.verdict(&spoken, Bar::OpusClean).unwrap();
    println!("across two reloads: {verdict}");
    assert!(verdict.pass, "{verdict}");
    assert_eq!(gateway.event_types(&report.call_sid).len(), 5);
    let report = globex.hang_up().unwrap();
    assert_events(&gateway, &report, &WHOLE_CALL);
    assert_eq!(
        (reloads(&gateway, "ok"), reloads(&gateway, "refused")),
        (2.0, 0.0)
    );
    end(gateway);
}

#[test]
fn a_renewed_certificate_is_served_to_new_connections() {
    let gateway = start();
    let running = WebRtcCall::dial(&gateway.call_plan("acme").unwrap()).unwrap();
    assert_eq!(gateway.get("/readyz").unwrap().status, 200);
    let binary = fs::read_link(format!("/proc/{}/exe", gateway.pid())).unwrap();
    let renewed = Command::new(binary)
        .arg("keygen")
        .args(["--force", "--tls-cert"])
        .arg(gateway.file("cert.pem"))
        .arg("--tls-key")
        .arg(gateway.file("key.pem"))
        .arg("--token-key")
        .arg(gateway.file("other-token-key.pem"))
        .output()
        .unwrap();
    assert!(renewed.status.success(), "{renewed:?}");
    reload_ok(&gateway);
    // Who believes the old certificate alone is told of another one.
    let deadline = in_time();
    while gateway.get("/readyz").is_ok() {
        assert!(Instant::now() < deadline, "the old certificate is served");
        std::thread::sleep(Duration::from_millis(10));
    }
    let call = WebRtcCall::dial(&gateway.call_plan("acme").unwrap()).unwrap();
    for call in [running, call] {
        let report = call.hang_up().unwrap();
        assert_events(&gateway, &report, &WHOLE_CALL);
    }
    end(gateway);
}

#[test]
fn a_bad_file_is_refused_whole_and_says_where() {
    let gateway = start();
    let good = config(&gateway);
    let broken = good.replacen("kind = \"echo\"", "kind = \"ecco\"", 1) + GLOBEX;
    let line = 1 + broken[..broken.find("ecco").unwrap()].matches('\n').count();
    write_config(&gateway, &broken);
    let answer = reload(&gateway);
    assert_eq!(answer.status, 422, "{}", answer.body);
    let problem: Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(problem["code"], "config_refused");
    assert_eq!(problem["fault"], "config");
    let message = problem["message"].as_str().unwrap();
    assert!(
        message.contains(&format!("gateway.toml:{line}:")) && message.contains("trunks[0].kind"),
        "{message}"
    );
    hang_up(&gateway, "reload refused, the old configuration stays");
    assert_eq!(
        (reloads(&gateway, "ok"), reloads(&gateway, "refused")),
        (0.0, 2.0)
    );
    // The good half of the file was not taken either.
    write_config(&gateway, &(good.clone() + GLOBEX));
    let token = gateway.token("globex").unwrap();
    assert_eq!(refusal(&gateway, "globex", &token), Some(4404));
    // A key that does not fit its certificate is a bad file too.
    let key = fs::read(gateway.file("key.pem")).unwrap();
    fs::write(gateway.file("key.pem"), "no key").unwrap();
    let answer = reload(&gateway);
    assert_eq!(answer.status, 422, "{}", answer.body);
    assert!(answer.body.contains("server.key_file"), "{}", answer.body);
    fs::write(gateway.file("key.pem"), key).unwrap();

    write_config(&gateway, &good);
    reload_ok(&gateway);
    let report = WebRtcCall::dial(&gateway.call_plan("acme").unwrap())
        .unwrap()
        .hang_up()
        .unwrap();
    assert_events(&gateway, &report, &WHOLE_CALL);
    end(gateway);
}

#[test]
fn keys_that_need_a_restart_are_named_and_the_rest_is_taken() {
    let gateway = start();
    let good = config(&gateway);
    let shards = fs::read_to_string(gateway.file("shards.toml")).unwrap();
    let token = fs::read_to_string(gateway.file("admin-token")).unwrap();
    let changed = good
        .replacen("[webrtc]\n", "[webrtc]\ndtls = \"1.3\"\n", 1)
        .replacen("max_calls = 1000", "max_calls = 1", 1);
    assert_eq!(changed.matches("dtls = \"1.3\"").count(), 1);
    write_config(&gateway, &changed);
    fs::write(
        gateway.file("shards.toml"),
        format!("tick_us = 2000\n{shards}"),
    )
    .unwrap();
    let taken = reload_ok(&gateway);
    assert_eq!(
        taken["needs_restart"],
        json!(["webrtc.dtls", "tick_us"]),
        "{taken}"
    );
    assert!(gateway.log().contains("needs a restart"));
    // `max_calls` counts at once.
    let first = WebRtcCall::dial(&gateway.call_plan("acme").unwrap()).unwrap();
    let second = WebRtcCall::dial(&gateway.call_plan("acme").unwrap());
    let refused = second.map(|_| ()).unwrap_err().to_string();
    assert!(refused.contains("has its 1 calls"), "{refused}");
    first.hang_up().unwrap();

    // So does the admin window's own token: it can only be changed back by signal here.
    fs::write(gateway.file("admin-token"), "another-token-of-the-operator").unwrap();
    hang_up(&gateway, "configuration reloaded");
    assert_eq!(gateway.admin("GET", "/metrics").unwrap().status, 401);
    fs::write(gateway.file("admin-token"), token).unwrap();
    hang_up(&gateway, "configuration reloaded");
    assert_eq!(reloads(&gateway, "ok"), 3.0);
    end(gateway);
}

/// The drain timeout is the one of the last reload.
#[test]
fn a_drain_takes_the_reloaded_timeout() {
    let mut setup = GatewaySetup::new(ECHO_TENANT);
    setup.server_lines = "drain_timeout_s = 600\n".to_owned();
    let mut gateway = Gateway::start(&setup).unwrap();
    let call = WebRtcCall::dial(&gateway.call_plan("acme").unwrap()).unwrap();
    let good = config(&gateway);
    write_config(
        &gateway,
        &good.replace("drain_timeout_s = 600", "drain_timeout_s = 1"),
    );
    reload_ok(&gateway);
    let began = Instant::now();
    gateway.signal("TERM").unwrap();
    let report = call.wait_for_end().unwrap();
    assert_eq!(report.events.last().unwrap().q850_cause, 41);
    assert!(
        began.elapsed() < Duration::from_secs(4),
        "{:?}",
        began.elapsed()
    );
    let status = gateway.wait_for_exit(Duration::from_secs(10)).unwrap();
    assert!(status.success(), "{status}");
}
