//! A call outlives its signalling socket: it goes on on another one, on another network, on its own shard, while the gateway
//! drains; and nobody else gets at it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use loadtest::gateway::{ECHO_TENANT, Gateway, GatewaySetup};
use loadtest::judge::Bar;
use loadtest::media::AudioCodec;
use loadtest::rtp_peer::{RtpPeer, RtpPeerConfig};
use loadtest::signalling::{Connect, ServerMessage, Signalling, SignallingError, TokenVia};
use loadtest::speech;
use loadtest::webrtc_client::WebRtcCall;
use server::call::EventType;

use crate::rtp_trunk::{
    TrunkSetup, WHOLE_CALL, assert_events, end, in_time, opening, record, talk,
};

const PAGE: &str = "https://app.example.com";
const OTHER_PAGE: &str = "https://other.example.com";
const OPENING_S: usize = 5;

fn start(server_lines: &str, tenants: &str) -> Gateway {
    let mut setup = GatewaySetup::new(tenants);
    setup.server_lines = server_lines.to_owned();
    Gateway::start(&setup).unwrap()
}

fn dial(gateway: &Gateway) -> WebRtcCall {
    let mut plan = gateway.call_plan("acme").unwrap();
    plan.origin = Some(PAGE.to_owned());
    WebRtcCall::dial(&plan).unwrap()
}

fn session_id(signalling: &Signalling) -> String {
    let id = |message: &ServerMessage| match message {
        ServerMessage::Session { session_id, .. } => Some(session_id.clone()),
        _ => None,
    };
    signalling
        .wait_for_message("session", in_time(), id)
        .unwrap()
}

/// The shard on which a session runs.
fn shard_of(signalling: &Signalling) -> u16 {
    session_id(signalling)
        .split('-')
        .next()
        .unwrap()
        .parse()
        .unwrap()
}

/// How somebody who comes with `token` is sent away.
fn refused(connect: &Connect, token: &str, change: impl FnOnce(&mut Connect)) -> (u16, String) {
    let mut connect = connect.clone();
    token.clone_into(&mut connect.token);
    connect.token_via = TokenVia::Resume;
    change(&mut connect);
    let signalling = Signalling::connect(&connect).unwrap();
    match signalling.wait_for_end(in_time()).unwrap() {
        SignallingError::Closed { code, reason } => {
            let told = signalling.received();
            assert!(
                !told
                    .iter()
                    .any(|received| matches!(received.message, ServerMessage::Session { .. })),
                "{told:?}"
            );
            (code, reason)
        }
        other => panic!("{other}"),
    }
}

/// Waits until the gateway has noticed that a socket is gone: it then logs it.
fn wait_until_lost(gateway: &Gateway, times: usize) {
    let deadline = in_time();
    while gateway
        .log()
        .matches("the session waits for another")
        .count()
        < times
    {
        assert!(
            Instant::now() < deadline,
            "no loss noticed:\n{}",
            gateway.log()
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A phone goes from one network to another: the socket is gone, then another comes, then ICE starts anew from another port.
#[test]
fn a_call_goes_on_over_a_lost_socket_and_on_another_network() {
    let peer = RtpPeer::start(RtpPeerConfig::new(
        Ipv4Addr::LOCALHOST.into(),
        AudioCodec::Pcmu,
    ))
    .unwrap();
    let gateway = TrunkSetup::new(peer.local_addr(), AudioCodec::Pcmu).start();
    let mut call = dial(&gateway);
    let source = peer.wait_for_source(0, in_time()).unwrap();
    let (alpha, bravo) = (
        opening(speech::alpha(), OPENING_S),
        opening(speech::bravo(), OPENING_S),
    );
    let first = session_id(call.signalling());
    let used = call.signalling().resume_token().unwrap();

    // Without a socket the call goes on, and what happens waits.
    call.lose_socket();
    wait_until_lost(&gateway, 1);
    talk(&call, &peer, source, (&alpha, &bravo), Bar::OpusClean);
    peer.send_digits(source, "5", 100, true).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    call.resume().unwrap();
    assert_eq!(session_id(call.signalling()), first, "the same session");
    assert_ne!(
        call.signalling().resume_token().unwrap(),
        used,
        "another token"
    );
    call.signalling()
        .wait_for_message("dtmf", in_time(), |message| {
            matches!(message, ServerMessage::Dtmf { digit, .. } if digit == "5").then_some(())
        })
        .unwrap();

    // The other network.
    call.restart_ice(&[Ipv4Addr::LOCALHOST.into()]).unwrap();
    talk(&call, &peer, source, (&bravo, &alpha), Bar::OpusClean);
    call.hold().unwrap();
    call.unhold().unwrap();
    let report = call.hang_up().unwrap();
    peer.wait_for_goodbye(source, in_time()).unwrap();
    let [create, answer, hangup] = WHOLE_CALL;
    let wanted = [
        create,
        answer,
        EventType::ChannelHold,
        EventType::ChannelResume,
        hangup,
    ];
    assert_events(&gateway, &report, &wanted);
    let metrics = gateway.metrics().unwrap();
    assert_eq!(metrics.sum("clutchcall_sessions_resumed_total"), 1.0);
    assert!(!gateway.log().contains(&used), "a token in the log");
    end(gateway);
}

#[test]
fn a_resume_token_is_good_once_and_for_its_own_page_only() {
    let origins = ECHO_TENANT.replace(PAGE, &format!("{PAGE}\", \"{OTHER_PAGE}"));
    let globex = "[[tenants]]\ntenant_id = \"globex\"\n[tenants.browser]\norigins = [\"https://app.example.com\"]\n";
    let gateway = start("", &format!("{origins}{globex}"));
    let mut call = dial(&gateway);
    let own = call.connection().clone();
    let token = call.signalling().resume_token().unwrap();

    let foreign_url = own.url.replace("/acme", "/globex");
    let foreign = refused(&own, &token, |connect| connect.url = foreign_url);
    assert_eq!(
        foreign,
        (4407, "the resume token is for another tenant".to_owned())
    );
    for origin in [Some(OTHER_PAGE.to_owned()), None] {
        let stolen = refused(&own, &token, |connect| connect.origin = origin);
        assert_eq!(
            stolen,
            (4403, "the resume token is for another origin".to_owned())
        );
    }
    let mut guessed = token.clone();
    guessed.replace_range(..1, if token.starts_with('A') { "B" } else { "A" });
    assert_eq!(refused(&own, &guessed, |_| {}).0, 4401);
    assert_eq!(refused(&own, "short", |_| {}).0, 4401);
    assert!(
        call.signalling().ended().is_none(),
        "the page hears nothing of it"
    );

    // The page itself comes back while its old socket lives: that one gives way.
    let old = call.resume().unwrap();
    let gave_way = old.wait_for_end(in_time()).unwrap();
    assert!(
        matches!(gave_way, SignallingError::Closed { code: 4409, .. }),
        "{gave_way}"
    );
    assert_eq!(
        refused(&own, &token, |_| {}),
        (
            4406,
            "the resume token was used before: each is good once".to_owned()
        )
    );
    call.hold().unwrap();
    call.unhold().unwrap();
    let last = call.signalling().resume_token().unwrap();
    let report = call.hang_up().unwrap();
    assert_eq!(report.events.len(), 5, "{:?}", report.events);
    assert_eq!(
        refused(&own, &last, |_| {}).0,
        4401,
        "the session has ended"
    );
    let metrics = gateway.metrics().unwrap();
    let counted = metrics.matching("clutchcall_connections_refused_total", "reason=\"resume\"");
    assert_eq!(counted, 7.0);
    end(gateway);
}

#[test]
fn a_page_that_does_not_come_back_ends_its_call_once_and_one_that_says_goodbye_at_once() {
    let gateway = start("signal_grace_ms = 1500\n", ECHO_TENANT);
    let call = dial(&gateway);
    let call_sid = call.call_sid().to_owned();
    let token = call.signalling().resume_token().unwrap();
    let own = call.connection().clone();
    let lost_at = Instant::now();
    call.lose_socket();
    let record = record(&gateway, &call_sid);
    let ended_after = lost_at.elapsed();
    assert!(
        ended_after >= Duration::from_millis(1500),
        "ended after {ended_after:?}"
    );
    assert_eq!(record["fault"], "caller", "{record:#}");
    let reason = record.to_string();
    assert!(reason.contains("not resumed within 1500 ms"), "{record:#}");
    assert_eq!(gateway.event_types(&call_sid), WHOLE_CALL);
    let late = refused(&own, &token, |_| {});
    assert_eq!(
        late,
        (
            4402,
            "the session was not resumed in time: open a new one".to_owned()
        )
    );
    drop(call);

    let call = dial(&gateway);
    let call_sid = call.call_sid().to_owned();
    let left_at = Instant::now();
    call.signalling().close_with(1001);
    crate::rtp_trunk::record(&gateway, &call_sid);
    println!(
        "a page that says goodbye: ended after {:?}",
        left_at.elapsed()
    );
    assert!(
        left_at.elapsed() < Duration::from_millis(1400),
        "it waited for a page that is gone"
    );
    assert_eq!(gateway.event_types(&call_sid), WHOLE_CALL);
    drop(call);
    end(gateway);
}

#[test]
fn a_resume_finds_the_calls_own_shard_and_works_while_the_gateway_drains() {
    let mut setup = GatewaySetup::new(ECHO_TENANT);
    setup.cores = vec![0, 1];
    setup.shards_lines = "[spread]\nacme = 2\n".to_owned();
    setup.server_lines = "drain_timeout_s = 30\n".to_owned();
    let mut gateway = Gateway::start(&setup).unwrap();
    let first_choice = gateway.shards_of("acme").unwrap()[0];
    // The kernel chooses the shard that accepts; with `spread = 2` that one keeps the session.
    let mut call = (0..64)
        .map(|_| dial(&gateway))
        .find(|call| shard_of(call.signalling()) != first_choice)
        .expect("64 calls on one of two shards");
    let shard = shard_of(call.signalling());
    let resume = |call: &mut WebRtcCall| {
        call.resume().unwrap();
        assert_eq!(shard_of(call.signalling()), shard);
    };
    // Each socket may be accepted by either shard.
    for _ in 0..8 {
        resume(&mut call);
    }
    call.lose_socket();
    wait_until_lost(&gateway, 1);
    gateway.signal("TERM").unwrap();
    let deadline = in_time();
    while gateway.get("/readyz").unwrap().status != 503 {
        assert!(Instant::now() < deadline, "still ready after SIGTERM");
        std::thread::sleep(Duration::from_millis(10));
    }
    resume(&mut call);
    call.restart_ice(&[Ipv4Addr::LOCALHOST.into()]).unwrap();
    call.hold().unwrap();
    call.unhold().unwrap();
    let report = call.hang_up().unwrap();
    assert_eq!(report.events.len(), 5, "{:?}", report.events);
    assert_eq!(gateway.event_types(&report.call_sid).len(), 5);
    let status = gateway.wait_for_exit(Duration::from_secs(15)).unwrap();
    assert!(status.success(), "{status}\n{}", gateway.log());
}
