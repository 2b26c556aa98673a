//! Admission by load: a shard that has no time for more calls refuses them with the reason, and the ones that it has go on.
//! The work is made up, by an order that test builds take.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use loadtest::gateway::{Gateway, GatewaySetup};
use loadtest::judge::{Bar, Playback};
use loadtest::media::AudioCodec;
use loadtest::signalling::{ClientMessage, ServerMessage, Signalling, SignallingError};
use loadtest::sip_peer::{CallState, OutgoingCall};
use loadtest::speech;
use loadtest::webrtc_client::{CallPlan, WebRtcCall};
use serde_json::json;
use server::call::EventType;

use crate::admission::open;
use crate::rtp_trunk::{end, in_time, opening};
use crate::sip_trunk::incoming::wait_until_waiting;
use crate::sip_trunk::{SipSetup, TO_A_PAGE, far_end};
use crate::wire::OFFER;

/// An echo beside the SIP trunk.
const ECHO: &str =
    "[[trunks]]\ntrunk_id = \"echo\"\ntenant_id = \"acme\"\nkind = \"echo\"\ncodec = \"PCMU\"\n";

fn burden(gateway: &Gateway, busy_us: u64, held_up_us: u64) {
    let order =
        json!({"fault": "burden", "shard": 0, "busy_us": busy_us, "held_up_us": held_up_us});
    assert_eq!(gateway.post("/v1/faults", &order).unwrap().status, 202);
}

fn wait_until_closed(gateway: &Gateway, closed: bool) {
    let deadline = in_time();
    let figure = |name: &str| gateway.metrics().unwrap().sum(name);
    while figure("clutchcall_admission_closed") != f64::from(u8::from(closed)) {
        assert!(
            std::time::Instant::now() < deadline,
            "closed is not {closed}: {} busy, {} s late",
            figure("clutchcall_busy_ratio"),
            figure("clutchcall_tick_late_seconds"),
        );
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

fn refused(gateway: &Gateway, at: &str) -> f64 {
    let label = format!("at=\"{at}\"");
    let metrics = gateway.metrics().unwrap();
    metrics.matching("clutchcall_calls_refused_by_load_total", &label)
}

fn session(gateway: &Gateway) -> Result<Signalling, SignallingError> {
    open(gateway, &gateway.token("acme").unwrap())
}

#[track_caller]
fn assert_closed_by_load(ended: &SignallingError, about: &str) {
    let SignallingError::Closed { code, reason } = ended else {
        panic!("{ended}");
    };
    assert_eq!(*code, 1013, "{reason}");
    assert!(reason.contains(about), "{reason}");
}

fn told_overload(signalling: &Signalling) -> bool {
    signalling.received().iter().any(|told| {
        matches!(&told.message, ServerMessage::Error { code, fault, .. } if code == "overload" && fault == "us")
    })
}

fn echo_plan(gateway: &Gateway) -> CallPlan {
    let mut plan = gateway.call_plan("acme").unwrap();
    plan.trunk_id = Some("echo".to_owned());
    plan
}

#[test]
fn a_busy_shard_refuses_whoever_comes_and_keeps_its_calls() {
    let peer = far_end(AudioCodec::Pcmu);
    let mut setup = SipSetup::new(&peer, AudioCodec::Pcmu);
    setup.inbound = format!("{TO_A_PAGE}{ECHO}");
    // Of a core that other tests use too.
    setup.shards_lines = "admission_busy_pct_max = 30\nadmission_tick_late_ms_max = 0\n".to_owned();
    let gateway = setup.start();
    let caller = WebRtcCall::dial(&echo_plan(&gateway)).unwrap();
    let without_offer = session(&gateway).unwrap();
    let mut page = WebRtcCall::connect(&echo_plan(&gateway)).unwrap();
    wait_until_waiting(&gateway, 1);
    let spoken = opening(speech::alpha(), 5);
    caller.speak(&spoken, Playback::Once);
    burden(&gateway, 700, 0);
    wait_until_closed(&gateway, true);

    // Whoever comes over a trunk; the page goes on waiting, and is called again.
    for _ in 0..2 {
        let call = peer.call(OutgoingCall::new(&setup.uri("1")));
        let view = peer
            .wait_for_state(call, CallState::Ended, in_time())
            .unwrap();
        assert_eq!(view.statuses.last(), Some(&503), "{view:?}");
        assert!(view.reason.unwrap().contains("cause=42"));
        wait_until_waiting(&gateway, 1);
    }
    let log = peer.messages(None);
    let refusal = log
        .iter()
        .rfind(|logged| logged.message.status() == Some(503));
    let retry_after = refusal.unwrap().message.header("Retry-After");
    assert_eq!(retry_after, Some("5"));

    // A page that dials, one that offers, one that comes.
    let error = page.place(&echo_plan(&gateway)).unwrap_err().to_string();
    assert!(error.contains("its limit is 30 %"), "{error}");
    let ended = page.signalling().wait_for_end(in_time()).unwrap();
    assert_closed_by_load(&ended, "admission_busy_pct_max");
    assert!(told_overload(page.signalling()));
    let events = page.events();
    let types: Vec<EventType> = events.iter().map(|event| event.event_type).collect();
    assert_eq!(
        types,
        [EventType::ChannelCreate, EventType::ChannelHangupComplete]
    );
    assert_eq!(events[1].q850_cause, 42);
    without_offer.send(&ClientMessage::Offer {
        sdp: OFFER.replace('\n', "\r\n"),
    });
    let ended = without_offer.wait_for_end(in_time()).unwrap();
    assert_closed_by_load(&ended, "admission_busy_pct_max");
    assert!(told_overload(&without_offer));
    let Err(refused_at_once) = session(&gateway) else {
        panic!("a session on a shard that is too busy");
    };
    assert_closed_by_load(&refused_at_once, "admission_busy_pct_max");
    for (at, count) in [
        ("incoming", 2.0),
        ("dial", 1.0),
        ("offer", 1.0),
        ("upgrade", 1.0),
    ] {
        assert_eq!(refused(&gateway, at), count, "{at}");
    }
    assert!(gateway.metrics().unwrap().sum("clutchcall_busy_ratio") > 0.28);

    // The call that was there talks on, may lose its socket and negotiate again.
    let mut caller = caller;
    caller.lose_socket();
    caller.resume().unwrap();
    caller
        .restart_ice(&[std::net::Ipv4Addr::LOCALHOST.into()])
        .unwrap();
    caller.wait_until_spoken(in_time()).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(600));
    burden(&gateway, 0, 0);
    wait_until_closed(&gateway, false);
    let again = WebRtcCall::dial(&echo_plan(&gateway)).unwrap();
    again.hang_up().unwrap();
    let report = caller.hang_up().unwrap();
    let verdict = report.verdict(&spoken, Bar::OpusClean).unwrap();
    assert!(verdict.pass, "{verdict}");
    end(gateway);
}

/// A core that others use as well: the thread does nothing, and comes late.
#[test]
fn a_late_shard_refuses_calls() {
    let mut setup = GatewaySetup::new(loadtest::gateway::ECHO_TENANT);
    setup.shards_lines =
        "admission_busy_pct_max = 100\nadmission_tick_late_ms_max = 10\n".to_owned();
    let gateway = Gateway::start(&setup).unwrap();
    let caller = WebRtcCall::dial(&gateway.call_plan("acme").unwrap()).unwrap();
    burden(&gateway, 0, 60_000);
    wait_until_closed(&gateway, true);
    let Err(late) = session(&gateway) else {
        panic!("a session on a shard that is late");
    };
    assert_closed_by_load(&late, "its limit is 10 ms (admission_tick_late_ms_max)");
    burden(&gateway, 0, 0);
    wait_until_closed(&gateway, false);
    session(&gateway).unwrap();
    caller.hang_up().unwrap();
    end(gateway);
}
