//! A gateway whose sockets have another address than the one that callers reach, behind a router that translates
//! (`webrtc.advertised_ips`), and that may lose things.
//!
//! In network namespaces: root only.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::time::{Duration, Instant};

use loadtest::audio::Audio;
use loadtest::gateway::{ECHO_TENANT, Gateway, GatewaySetup};
use loadtest::judge::{Bar, Playback, Question, judge};
use loadtest::nat_network::{CALLER_IP, INSIDE_IP, NatNetwork, OUTSIDE_IP};
use loadtest::signalling::{ClientMessage, ServerMessage};
use loadtest::speech;
use loadtest::webrtc_client::{CallError, CallPlan, CallReport, WebRtcCall, call};
use server::call::{CallEvent, EventType};

use crate::rtp_trunk::{WHOLE_CALL, assert_events, end, in_time, opening, record};

/// The last words travel so long at most.
const TAIL: Duration = Duration::from_millis(600);
/// The gateway gives up a caller whose checks do not arrive after 30 s.
const GIVEN_UP_WITHIN: Duration = Duration::from_secs(45);

/// A gateway inside that tells the outside address.
fn start(network: &NatNetwork) -> Gateway {
    let mut setup = GatewaySetup::new(ECHO_TENANT);
    setup.webrtc_lines = format!("advertised_ips = [\"{OUTSIDE_IP}\"]\n");
    setup.names = vec![OUTSIDE_IP.to_string()];
    network.inside(|| Gateway::start(&setup).unwrap()).unwrap()
}

fn plan(gateway: &Gateway) -> CallPlan {
    let mut plan = gateway.call_plan("acme").unwrap();
    plan.url = format!("wss://{OUTSIDE_IP}:{}", gateway.signalling_addr().port());
    plan.local_ips = vec![CALLER_IP.into()];
    plan.speech = opening(speech::alpha(), 5);
    plan
}

fn call_outside(network: &NatNetwork, plan: &CallPlan) -> Result<CallReport, CallError> {
    network.outside(|| call(plan)).unwrap()
}

/// Runs a test where the gateway is: its admin window listens on loopback there.
fn inside(network: &NatNetwork, test: impl FnOnce(Gateway) + Send) {
    let gateway = start(network);
    network.inside(|| test(gateway)).unwrap();
}

#[test]
fn a_caller_who_knows_only_the_outside_address_is_heard() {
    let network = NatNetwork::new().unwrap_or_else(|error| panic!("{error}"));
    inside(&network, |gateway| {
        let plan = plan(&gateway);
        let report = call_outside(&network, &plan).unwrap();
        let verdict = report.verdict(&plan.speech, Bar::OpusClean).unwrap();
        println!("{verdict}, {:?}", report.media);
        assert!(verdict.pass, "{verdict}");
        let answer = report
            .messages
            .iter()
            .find_map(|received| match &received.message {
                ServerMessage::Answer { sdp } => Some(sdp),
                _ => None,
            });
        let answer = answer.unwrap();
        assert!(answer.contains(&format!(" {OUTSIDE_IP} ")), "{answer}");
        assert!(!answer.contains(&INSIDE_IP.to_string()), "{answer}");
        assert_events(&gateway, &report, &WHOLE_CALL);
        end(gateway);
    });
}

#[test]
fn a_blocked_media_port_is_named_and_leaves_nothing_behind() {
    let network = NatNetwork::new().unwrap_or_else(|error| panic!("{error}"));
    inside(&network, |gateway| {
        network.block_udp_port(gateway.media_addr().port()).unwrap();
        let mut plan = plan(&gateway);
        plan.step_timeout = GIVEN_UP_WITHIN;
        let refused = network
            .outside(|| WebRtcCall::open(&plan)?.place(&plan))
            .unwrap()
            .unwrap_err();
        println!("{refused}");
        let CallError::Unanswered { q850_cause, reason } = refused else {
            panic!("{refused}")
        };
        // Recovery on timer expiry.
        assert_eq!(q850_cause, 102);
        assert!(
            reason.contains("the gateway's UDP port is not reachable from there"),
            "{reason}"
        );
        let dropped = network.dropped().unwrap();
        println!("{dropped} checks were dropped");
        assert!(dropped > 0, "no checks were sent");
        let call_sid = gateway.events()[0].call_sid.to_string();
        let record = record(&gateway, &call_sid);
        assert_eq!(record["end_reason"], reason);
        let unanswered = [EventType::ChannelCreate, EventType::ChannelHangupComplete];
        assert_eq!(gateway.event_types(&call_sid), unanswered);
        end(gateway);
    });
}

#[test]
fn a_link_that_is_cut_for_3_s_costs_3_s_and_one_that_stays_cut_the_call() {
    let network = NatNetwork::new().unwrap_or_else(|error| panic!("{error}"));
    inside(&network, |gateway| {
        let plan = plan(&gateway);
        let call = network
            .outside(|| WebRtcCall::dial(&plan))
            .unwrap()
            .unwrap();
        hear(&call, &plan.speech);
        network.cut().unwrap();
        std::thread::sleep(Duration::from_secs(3));
        assert!(network.dropped().unwrap() > 100);
        network.mend().unwrap();
        wait_until_heard(&call);
        hear(&call, &opening(speech::bravo(), 5));

        // Heard last just now: the gateway takes the signalling socket for lost 40 s later, after the call has ended. Nobody
        // hears the end, and all is given back nevertheless.
        call.signalling().send(&ClientMessage::Ping { id: 1 });
        call.signalling()
            .wait_for_message("pong", in_time(), |message| {
                matches!(message, ServerMessage::Pong { .. }).then_some(())
            })
            .unwrap();
        network.cut().unwrap();
        let call_sid = call.call_sid().to_owned();
        let deadline = Instant::now() + GIVEN_UP_WITHIN;
        let ended = gateway.wait_for_events(deadline, |events| {
            let end = |event: &&CallEvent| event.event_type == EventType::ChannelHangupComplete;
            events.iter().find(end).map(|event| event.q850_cause)
        });
        assert_eq!(ended, Some(102));
        let record = record(&gateway, &call_sid);
        let reason = record["end_reason"].as_str().unwrap();
        assert!(
            reason.contains("media leg") && reason.contains("30 s"),
            "{reason}"
        );
        assert_eq!(record["fault"], "caller");
        // 150 packets of the caller were lost; an echo's events tell the caller's leg.
        let lost = record["event"]["packets_lost"].as_i64().unwrap();
        println!("{reason}; {lost} packets lost");
        assert!((130..=170).contains(&lost), "{record:#}");
        assert_eq!(gateway.event_types(&call_sid), WHOLE_CALL);
        end(gateway);
        call.vanish();
    });
}

/// Half a second of audio has come, without what was under way.
fn wait_until_heard(call: &WebRtcCall) {
    let received = || call.recording().unwrap().statistics.received;
    let (before, deadline) = (received(), in_time());
    while received() <= before + 25 {
        assert!(Instant::now() < deadline, "nothing is heard");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The caller speaks, and hears itself.
#[track_caller]
fn hear(call: &WebRtcCall, speech: &Audio) {
    call.speak(speech, Playback::Once);
    std::thread::sleep(Duration::from_millis(speech.duration_ms() as u64));
    call.wait_until_spoken(in_time()).unwrap();
    std::thread::sleep(TAIL);
    let heard = call.recording().unwrap().audio;
    let verdict = judge(speech, &heard, &Question::new(Bar::OpusClean)).unwrap();
    println!("{verdict}");
    assert!(verdict.pass, "{verdict}");
}
