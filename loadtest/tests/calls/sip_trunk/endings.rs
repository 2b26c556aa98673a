//! How calls end, and how they come to nothing: each with its cause and its exact CallEvents.

use super::*;
use loadtest::sip_peer::{Action, Challenge, DigestAlgorithm, Response, refuse};
use loadtest::webrtc_client::CallError;
use server::call::{CallEvent, EventType};
use std::time::Duration;

const CAME_TO_NOTHING: [EventType; 2] =
    [EventType::ChannelCreate, EventType::ChannelHangupComplete];

/// Dials, and is refused: the cause, and what the record says.
fn unanswered(gateway: &Gateway) -> (u8, String) {
    match WebRtcCall::dial(&plan(gateway, AudioCodec::Opus)) {
        Err(CallError::Unanswered { q850_cause, reason }) => (q850_cause, reason),
        Err(other) => panic!("a cause was due, not {other}"),
        Ok(_) => panic!("nobody was to answer"),
    }
}

/// The events and the cause of the call that ended last.
fn ended_with(gateway: &Gateway, cause: i32) {
    // The page hears of an end before the event stream tells it.
    let calls = gateway.metrics().unwrap().sum("clutchcall_calls_total") as usize;
    let found = gateway.wait_for_events(in_time(), |events| {
        let is_end = |event: &&CallEvent| event.event_type == EventType::ChannelHangupComplete;
        let ends: Vec<&CallEvent> = events.iter().filter(is_end).collect();
        let last = ends.last().filter(|_| ends.len() == calls)?;
        Some((last.call_sid.to_string(), last.q850_cause))
    });
    let (call_sid, q850_cause) = found.expect("a final event of every call");
    assert_eq!(q850_cause, cause);
    assert_eq!(gateway.event_types(&call_sid), CAME_TO_NOTHING);
}

#[test]
fn each_refusal_has_its_cause() {
    let peer = far_end(AudioCodec::Pcmu);
    let mut setup = SipSetup::new(&peer, AudioCodec::Pcmu);
    setup.trunk_lines = "circuit_breaker_failures = 0\n".to_owned();
    let gateway = setup.start();
    for (status, cause) in [
        (486, 17),
        (404, 1),
        (480, 18),
        (603, 21),
        (500, 41),
        (503, 41),
        (488, 65),
        (410, 22),
        (484, 28),
        (600, 17),
        (606, 65),
    ] {
        peer.set_script(refuse(status, "No"));
        let (told, reason) = unanswered(&gateway);
        assert_eq!(i32::from(told), cause, "{status}: {reason}");
        assert!(reason.contains(&status.to_string()), "{reason}");
        ended_with(&gateway, cause);
    }
    end(gateway);
}

#[test]
fn a_q850_reason_of_the_far_end_counts_more_than_its_status() {
    let peer = far_end(AudioCodec::Pcmu);
    let gateway = SipSetup::new(&peer, AudioCodec::Pcmu).start();
    let response = Response::new(500, "No").with("Reason", "Q.850;cause=27");
    peer.set_script(vec![Action::Respond(response)]);
    assert_eq!(unanswered(&gateway).0, 27);
    ended_with(&gateway, 27);
    end(gateway);
}

#[test]
fn nobody_answers_and_the_caller_gives_up() {
    let peer = far_end_with(AudioCodec::Pcmu, |config| {
        config.script = vec![Action::Respond(Response::ringing())];
    });
    let gateway = SipSetup::new(&peer, AudioCodec::Pcmu).start();
    let mut plan = plan(&gateway, AudioCodec::Opus);
    plan.step_timeout = Duration::from_secs(2);
    assert!(WebRtcCall::dial(&plan).is_err(), "nobody answers");
    let at_peer = peer.wait_for_incoming(0, in_time()).unwrap();
    let view = peer
        .wait_for_state(at_peer, CallState::Ended, in_time())
        .unwrap();
    assert!(view.ended_by_other, "cancelled: {view:?}");
    end(gateway);
}

#[test]
fn a_challenge_is_answered_by_either_hash_and_a_wrong_password_is_told() {
    for algorithm in [DigestAlgorithm::Md5, DigestAlgorithm::Sha256] {
        let peer = far_end_with(AudioCodec::Pcmu, |config| {
            config.challenge = Some(Challenge {
                realm: "carrier".into(),
                username: "line1".into(),
                password: "s3cret".into(),
                algorithm,
                nonce_uses_max: 1,
            });
        });
        let mut setup = SipSetup::new(&peer, AudioCodec::Pcmu);
        let password =
            std::env::temp_dir().join(format!("clutchcall-sip-password-{}", setup.sip_port));
        std::fs::write(&password, "s3cret\n").unwrap();
        setup.trunk_lines = format!(
            "sip_username = \"line1\"\nsip_password_file = \"{}\"\n",
            password.display()
        );
        let gateway = setup.start();
        let (call, _) = dial(&gateway, &peer, AudioCodec::Opus);
        let report = call.hang_up().unwrap();
        assert_events(&gateway, &report, &WHOLE_CALL);
        end(gateway);
        std::fs::write(&password, "wrong\n").unwrap();
        let gateway = setup.start();
        let (cause, reason) = unanswered(&gateway);
        assert_eq!(cause, 21, "{reason}");
        assert!(
            reason.contains("sip_password") && !reason.contains("wrong"),
            "{reason}"
        );
        ended_with(&gateway, 21);
        end(gateway);
        std::fs::remove_file(&password).unwrap();
    }
}

#[test]
fn a_far_end_that_vanishes_is_missed_by_its_media() {
    let peer = far_end(AudioCodec::Pcmu);
    let mut setup = SipSetup::new(&peer, AudioCodec::Pcmu);
    setup.trunk_lines = "no_media_timeout_s = 2\n".to_owned();
    let gateway = setup.start();
    let (call, at_peer) = dial(&gateway, &peer, AudioCodec::Opus);
    peer.order(at_peer, Action::Vanish);
    let report = call.wait_for_end().unwrap();
    assert_events(&gateway, &report, &WHOLE_CALL);
    let record = record(&gateway, &report.call_sid);
    assert_eq!(record["event"]["q850_cause"], 102);
    assert_eq!(record["fault"], "trunk");
    assert!(
        record["end_reason"].as_str().unwrap().contains("trunk leg"),
        "{record:#}"
    );
    drop(peer);
    end(gateway);
}

#[test]
fn a_trunk_that_is_down_refuses_at_once_and_works_again_when_it_is_up() {
    let peer = far_end(AudioCodec::Pcmu);
    let mut setup = SipSetup::new(&peer, AudioCodec::Pcmu);
    setup.trunk_lines = "options_interval_s = 1\n".to_owned();
    let gateway = setup.start();
    let up = |wanted: f64| {
        let deadline = std::time::Instant::now() + Duration::from_secs(30);
        while gateway.metrics().unwrap().sum("clutchcall_sip_trunk_up") != wanted {
            assert!(
                std::time::Instant::now() < deadline,
                "the trunk's health did not become {wanted}"
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    up(1.0);
    peer.set_silent(true);
    up(0.0);
    let refused = WebRtcCall::dial(&plan(&gateway, AudioCodec::Opus)).err();
    let refused = refused.expect("the trunk is down").to_string();
    assert!(
        refused.contains("OPTIONS") && refused.contains("fault trunk"),
        "{refused}"
    );
    ended_with(&gateway, 38);
    peer.set_silent(false);
    up(1.0);
    let (call, _) = dial(&gateway, &peer, AudioCodec::Opus);
    call.hang_up().unwrap();
    end(gateway);
}
