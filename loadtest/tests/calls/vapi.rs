//! Vapi: a relay dials the gateway with Vapi's framing, and the gateway calls an assistant at a service of our own, which Vapi's
//! own client can talk to.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed unwrap is a failed test"
)]

mod calls;
mod failures;

use loadtest::judge::Bar;
use loadtest::media::AudioCodec;
use loadtest::sip_peer::CallState;
use loadtest::speech;
use loadtest::stream_peer::{PcmFormat, StreamPeerError};
use serde_json::json;

use crate::rtp_trunk::{OPENING_S, end, in_time, opening};
use crate::sip_trunk::far_end;
use crate::streams::*;

const LINEAR_16K: PcmFormat = PcmFormat::Linear16(16_000);

fn relay_calls(format: PcmFormat, vapi_lines: &str, plan: [&str; 2]) {
    let carrier = far_end(AudioCodec::Pcmu);
    let mut setup = StreamSetup::new(&carrier);
    setup.vapi_lines = vapi_lines.to_owned();
    let gateway = setup.start();
    let relay = relay(&gateway, RELAY_TOKEN, format).unwrap();
    relay.set_sending(true);
    let (call, source) = answered(&carrier, 0);
    assert!(
        carrier
            .view(call)
            .request_uri
            .starts_with(&format!("sip:{NUMBER}@"))
    );
    let ends = Ends {
        stream: &relay,
        rtp: carrier.rtp(),
        source,
    };
    ends.talk(
        &opening(speech::alpha(), OPENING_S),
        &opening(speech::bravo(), OPENING_S),
        Bar::PcmuToRtp,
    );
    assert!(
        relay
            .frames()
            .iter()
            .all(|frame| frame.bytes.len() == format.frame_bytes())
    );
    relay.send(&json!({"type": "end-call"}));
    let view = carrier.wait_for_state(call, CallState::Ended, in_time());
    assert!(view.unwrap().ended_by_other);
    assert_eq!(relay.wait_for_end(in_time()).unwrap().code, 1000);
    let (event, record) = whole_call(&gateway);
    assert_eq!(event.q850_cause, 16);
    assert_eq!(plans(&record), plan);
    end(gateway);
}

#[test]
fn a_relay_in_16_bit_samples_calls_pcmu() {
    relay_calls(
        LINEAR_16K,
        "",
        ["L16>pcm16k>pcm8k>PCMU", "PCMU>pcm8k>pcm16k>L16"],
    );
}

#[test]
fn a_relay_in_mu_law_is_passed_through() {
    let lines = "audio_format = \"mulaw\"\n";
    relay_calls(PcmFormat::Mulaw, lines, ["PCMU passthrough"; 2]);
}

#[test]
fn a_relay_hears_how_the_call_goes() {
    let carrier = far_end(AudioCodec::Pcmu);
    let gateway = StreamSetup::new(&carrier).start();
    let relay = relay(&gateway, RELAY_TOKEN, LINEAR_16K).unwrap();
    relay.set_sending(true);
    let (call, _) = answered(&carrier, 0);
    let statuses = |count: usize| {
        let found = relay.wait_for("status-update", in_time(), |messages| {
            let updates = messages.iter().map(|seen| &seen.message);
            let updates = updates.filter(|message| message["type"] == "status-update");
            let statuses: Vec<String> = updates
                .map(|update| update["status"].as_str().unwrap().to_owned())
                .collect();
            (statuses.len() >= count).then_some(statuses)
        });
        found.unwrap()
    };
    assert_eq!(statuses(2), ["ringing", "in-progress"]);
    // Nobody hangs up with it.
    relay.send(&json!({"type": "hang"}));
    relay.send(&json!({"type": "transcript", "role": "user", "transcript": "hello"}));
    std::thread::sleep(TAIL);
    assert!(relay.ended().is_none());
    carrier.hang_up(call);
    assert_eq!(statuses(3)[2], "ended");
    relay.wait_for_kind("end-call", in_time()).unwrap();
    assert_eq!(relay.wait_for_end(in_time()).unwrap().code, 1000);
    assert_eq!(whole_call(&gateway).0.q850_cause, 16);
    end(gateway);
}

#[test]
fn a_relay_without_the_token_is_refused_before_the_upgrade() {
    let carrier = far_end(AudioCodec::Pcmu);
    let gateway = StreamSetup::new(&carrier).start();
    for token in [
        "",
        "relay",
        &RELAY_TOKEN.to_uppercase(),
        &format!("{RELAY_TOKEN}0"),
    ] {
        match relay(&gateway, token, LINEAR_16K) {
            Err(StreamPeerError::Refused { status, body }) => {
                assert!(matches!(status, 401 | 403), "{token}: {status} {body}");
            }
            Err(other) => panic!("{token}: {other}"),
            Ok(_) => panic!("{token}: was let in"),
        }
    }
    assert_eq!(gateway.events(), []);
    end(gateway);
}
