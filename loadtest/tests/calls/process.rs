//! The process as an operator sees it: health, drain, signals, exit codes, a clean log.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use loadtest::gateway::{ECHO_TENANT, Gateway, GatewaySetup};
use loadtest::signalling::{Connect, ServerMessage, Signalling, SignallingError, TokenVia};
use loadtest::webrtc_client::WebRtcCall;
use server::call::EventType;

use crate::rtp_trunk::WHOLE_CALL;

const WAIT: Duration = Duration::from_secs(10);

fn start(server_lines: &str) -> Gateway {
    let mut setup = GatewaySetup::new(ECHO_TENANT);
    setup.server_lines = server_lines.to_owned();
    Gateway::start(&setup).unwrap()
}

/// An idle session.
fn session(gateway: &Gateway) -> Result<Signalling, SignallingError> {
    let signalling = Signalling::connect(&Connect {
        url: format!("{}/signal/browser/acme", gateway.url()),
        trust: gateway.trust(),
        token: gateway.token("acme").unwrap(),
        token_via: TokenVia::Subprotocol,
        origin: None,
        timeout: WAIT,
    })?;
    signalling.wait_for_message("session", Instant::now() + WAIT, |message| {
        matches!(message, ServerMessage::Session { .. }).then_some(())
    })?;
    Ok(signalling)
}

/// The process ends with 0, and nothing in its log is worse than information.
#[track_caller]
fn ends_cleanly(gateway: &mut Gateway, within: Duration) {
    let status = gateway.wait_for_exit(within).unwrap();
    let log = gateway.log();
    assert_eq!(status.code(), Some(0), "{log}");
    let begin = log.find("the gateway is ready").expect("a log");
    for line in log[begin..].lines() {
        assert!(
            !line.contains(" WARN ") && !line.contains(" ERROR "),
            "{line}"
        );
    }
    assert!(
        !log.contains("scope"),
        "a descriptor was left to chance: {log}"
    );
}

pub(crate) fn wait_for_status(gateway: &Gateway, path: &str, status: u16) {
    let deadline = Instant::now() + WAIT;
    loop {
        let now = gateway.get(path).map(|answer| answer.status);
        if now.as_ref().is_ok_and(|now| *now == status) {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "{path}: {now:?} instead of {status}"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn health_is_told_and_an_idle_gateway_ends_at_once() {
    let mut setup = GatewaySetup::new(ECHO_TENANT);
    setup.cores = vec![0, 1];
    let mut gateway = Gateway::start(&setup).unwrap();
    for path in ["/healthz", "/readyz"] {
        let answer = gateway.get(path).unwrap();
        assert_eq!(
            (answer.status, answer.body.as_str()),
            (200, "ok\n"),
            "{path}"
        );
    }
    for path in ["/nothing", "/", "/metrics", "/v1/calls"] {
        let answer = gateway.get(path).unwrap();
        assert_eq!(answer.status, 404, "{path}");
        assert!(
            answer.body.contains("\"code\":\"not_found\""),
            "{}",
            answer.body
        );
    }
    gateway.assert_drained();
    let began = Instant::now();
    gateway.signal("TERM").unwrap();
    ends_cleanly(&mut gateway, Duration::from_secs(5));
    println!("SIGTERM without calls: ended after {:?}", began.elapsed());
    assert!(
        began.elapsed() < Duration::from_secs(2),
        "{:?}",
        began.elapsed()
    );
}

#[test]
fn an_idle_session_is_told_of_the_end() {
    let mut gateway = start("");
    let idle = session(&gateway).unwrap();
    // One with media but no call is as idle.
    let connected = WebRtcCall::connect(&gateway.call_plan("acme").unwrap()).unwrap();
    gateway.signal("TERM").unwrap();
    for signalling in [&idle, connected.signalling()] {
        let end = signalling.wait_for_end(Instant::now() + WAIT).unwrap();
        assert!(
            matches!(end, SignallingError::Closed { code: 1012, .. }),
            "{end}"
        );
    }
    ends_cleanly(&mut gateway, Duration::from_secs(5));
}

#[test]
fn a_drain_lets_calls_go_on_until_its_deadline() {
    let mut gateway = start("drain_timeout_s = 2\n");
    let call = WebRtcCall::dial(&gateway.call_plan("acme").unwrap()).unwrap();
    let began = Instant::now();
    gateway.signal("TERM").unwrap();
    wait_for_status(&gateway, "/readyz", 503);
    assert_eq!(gateway.get("/healthz").unwrap().status, 200);
    // Probes and callers are told when to come back; no upgrade is needed to hear it.
    for path in ["/readyz", "/signal/browser/acme"] {
        let answer = gateway.get(path).unwrap();
        assert_eq!(answer.status, 503, "{path}");
        assert_eq!(answer.retry_after.as_deref(), Some("5"), "{path}");
    }
    let metrics = gateway.metrics().unwrap();
    let refused = metrics.matching(
        "clutchcall_connections_refused_total",
        "reason=\"draining\"",
    );
    assert_eq!(refused, 1.0);
    assert_eq!(metrics.sum("clutchcall_draining"), 1.0);
    match session(&gateway) {
        Err(SignallingError::Refused { status: 503, body }) => {
            assert!(body.contains("\"code\":\"draining\""), "{body}")
        }
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("a new session while the gateway drains"),
    }
    // The call is a whole call still.
    call.hold().unwrap();
    call.unhold().unwrap();
    let before = call.recording().unwrap().statistics.received;
    assert!(call.signalling().ended().is_none());
    let report = call.wait_for_end().unwrap();
    let ended_after = began.elapsed();
    assert!(
        report.recording.statistics.received > before + 20,
        "media stopped with the drain"
    );
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
    assert_eq!(report.events[4].q850_cause, 41);
    let bye = report
        .messages
        .iter()
        .any(|told| matches!(told.message, ServerMessage::Bye { q850_cause: 41, .. }));
    assert!(bye, "{:?}", report.messages);
    assert!(
        ended_after >= Duration::from_millis(1900) && ended_after < Duration::from_secs(4),
        "drain_timeout_s = 2, but the call ended after {ended_after:?}"
    );
    ends_cleanly(&mut gateway, Duration::from_secs(5));
    // Whoever reads the events has heard the last one too.
    assert_eq!(gateway.event_types(&report.call_sid), types);
    assert!(gateway.get("/healthz").is_err(), "the listeners are open");
    println!(
        "drain: the call ended after {ended_after:?}, the process after {:?}",
        began.elapsed()
    );
}

#[test]
fn a_drain_ends_when_the_last_call_does() {
    let mut gateway = start("drain_timeout_s = 60\n");
    let call = WebRtcCall::dial(&gateway.call_plan("acme").unwrap()).unwrap();
    gateway.signal("TERM").unwrap();
    wait_for_status(&gateway, "/readyz", 503);
    let report = call.hang_up().unwrap();
    assert_eq!(report.events.last().unwrap().q850_cause, 16);
    ends_cleanly(&mut gateway, Duration::from_secs(6));
}

#[test]
fn a_second_signal_ends_at_once() {
    // Of whatever kind: Ctrl-C is SIGINT.
    for (first, second) in [("TERM", "TERM"), ("INT", "TERM")] {
        second_signal(first, second);
    }
}

fn second_signal(first: &str, second: &str) {
    let mut gateway = start("drain_timeout_s = 60\n");
    let call = WebRtcCall::dial(&gateway.call_plan("acme").unwrap()).unwrap();
    gateway.signal(first).unwrap();
    wait_for_status(&gateway, "/readyz", 503);
    let began = Instant::now();
    gateway.signal(second).unwrap();
    let report = call.wait_for_end().unwrap();
    assert_eq!(
        report.events.last().unwrap().event_type,
        EventType::ChannelHangupComplete
    );
    assert_eq!(report.events.last().unwrap().q850_cause, 41);
    ends_cleanly(&mut gateway, Duration::from_secs(6));
    let ended_after = began.elapsed();
    println!("SIG{first}, SIG{second}: ended after {ended_after:?}");
    assert!(ended_after < Duration::from_secs(3), "{ended_after:?}");
    assert_eq!(gateway.event_types(&report.call_sid), WHOLE_CALL);
}

#[test]
fn check_refuses_what_the_gateway_would_not_start_with() {
    let gateway = start("");
    // The running binary itself, wherever it stands.
    let binary = fs::read_link(format!("/proc/{}/exe", gateway.pid())).unwrap();
    let check = |toml: &str| {
        let file = gateway.file("changed.toml");
        fs::write(&file, toml).unwrap();
        let output = Command::new(&binary)
            .args(["check", "--config"])
            .arg(&file)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), said)
    };
    let good = fs::read_to_string(gateway.file("gateway.toml")).unwrap();
    let (code, said) = check(&good);
    assert_eq!(code, Some(0), "{said}");
    for (from, to, about) in [
        ("kind = \"echo\"", "kind = \"ecco\"", "is no kind of trunk"),
        ("[webrtc]", "[webrct]", "webrct"),
        ("cert.pem", "no-cert.pem", "no-cert.pem"),
        ("max_calls = 1000", "max_calls = 0", "max_calls"),
        (
            "trunk_id = \"echo\"\n\n",
            "trunk_id = \"nowhere\"\n\n",
            "nowhere",
        ),
        ("[server]", "[server", "changed.toml"),
    ] {
        assert!(good.contains(from), "{from}");
        let (code, said) = check(&good.replacen(from, to, 1));
        assert_eq!(code, Some(2), "{from}: {said}");
        assert!(
            said.contains(about) && said.contains("changed.toml"),
            "{from}: {said}"
        );
    }
    gateway.assert_drained();
    assert!(gateway.stop().unwrap().success());
}
