//! The raw dialect: 16-bit samples at each rate and JSON beside them, as `deploy/agents.md` says.

use super::*;
use loadtest::gateway::Gateway;
use loadtest::sip_peer::{CallId, SipPeer};
use loadtest::stream_peer::{PcmFormat, StreamPeer};
use serde_json::Value;
use std::sync::Arc;

struct Call {
    gateway: Gateway,
    carrier: SipPeer,
    at_carrier: CallId,
    source: std::net::SocketAddr,
    agent: Arc<StreamPeer>,
    start: Value,
    _service: StreamService,
    _setup: StreamSetup,
}

/// A call of the carrier's that the agent has taken.
fn taken(rate_hz: u32, lines: &str) -> Call {
    let wire = AudioWire::Binary(PcmFormat::Linear16(rate_hz));
    let service = StreamService::start(ServiceConfig::new(wire)).unwrap();
    let carrier = far_end(AudioCodec::Pcmu);
    let mut setup = StreamSetup::new(&carrier);
    let token = setup.secret("agent-token", "agent-0123456789abcdef");
    let lines = format!(
        "agent_dialect = \"pcm16\"\nagent_sample_rate_hz = {rate_hz}\nagent_bearer_token_file = \"{}\"\n{lines}",
        token.display()
    );
    setup.add_agent(&format!("ws://{}/agent", service.local_addr()), &lines);
    setup.inbound =
        "[[tenants.inbound]]\ntrunk_id = \"carrier\"\nnumber = \"*\"\ntarget = \"agent\"\n\
                     agent_trunk_id = \"agent\"\n"
            .to_owned();
    let gateway = setup.start();
    let at_carrier = carrier.call(OutgoingCall::new(&setup.uri("+15550123")));
    carrier
        .wait_for_state(at_carrier, CallState::Answered, in_time())
        .unwrap();
    let agent = service.wait_for_stream(0, in_time()).unwrap();
    let start = agent.wait_for_kind("start", in_time()).unwrap().message;
    let upgrade = service.wait_for_request(0, in_time()).unwrap();
    assert_eq!(upgrade.path, "/agent");
    assert_eq!(
        upgrade.header("Authorization"),
        Some("Bearer agent-0123456789abcdef")
    );
    let source = carrier.view(at_carrier).remote_rtp.unwrap();
    carrier.rtp().wait_for_source(0, in_time()).unwrap();
    Call {
        gateway,
        carrier,
        at_carrier,
        source,
        agent,
        start,
        _service: service,
        _setup: setup,
    }
}

impl Call {
    /// The carrier hangs up, and the agent is told.
    fn finish(self) {
        self.carrier.hang_up(self.at_carrier);
        let stop = self.agent.wait_for_kind("stop", in_time()).unwrap().message;
        assert_eq!(stop["q850_cause"], 16, "{stop}");
        assert_eq!(self.agent.wait_for_end(in_time()).unwrap().code, 1000);
        assert_eq!(whole_call(&self.gateway).0.q850_cause, 16);
        end(self.gateway);
    }
}

fn both_hear_each_other(rate_hz: u32) {
    let call = taken(rate_hz, "");
    let format = json!({"encoding": "linear16", "sample_rate_hz": rate_hz, "channels": 1});
    assert_eq!(call.start["format"], format);
    assert_eq!(call.start["tenant_id"], "acme");
    assert_eq!(call.start["from"], "far-end", "{}", call.start);
    assert_eq!(call.start["to"], "+15550123");
    call.agent.set_sending(true);
    let ends = Ends {
        stream: &call.agent,
        rtp: call.carrier.rtp(),
        source: call.source,
    };
    ends.talk(
        &opening(speech::alpha(), OPENING_S),
        &opening(speech::bravo(), OPENING_S),
        Bar::PcmuToRtp,
    );
    let frame_bytes = PcmFormat::Linear16(rate_hz).frame_bytes();
    assert!(
        call.agent
            .frames()
            .iter()
            .all(|frame| frame.bytes.len() == frame_bytes)
    );
    call.finish();
}

#[test]
fn at_8_khz() {
    both_hear_each_other(8_000);
}

#[test]
fn at_16_khz() {
    both_hear_each_other(16_000);
}

#[test]
fn at_24_khz() {
    both_hear_each_other(24_000);
}

#[test]
fn digits_cross_both_ways() {
    let call = taken(16_000, "");
    call.agent.send(&json!({"type": "dtmf", "digits": "15#"}));
    let digits = call
        .carrier
        .rtp()
        .wait_for_digits(call.source, 3, in_time());
    let digits: String = digits.unwrap().iter().map(|event| event.digit).collect();
    assert_eq!(digits, "15#");
    call.carrier
        .rtp()
        .send_digits(call.source, "72", 120, true)
        .unwrap();
    let told = call.agent.wait_for("two digits", in_time(), |messages| {
        let told = messages.iter().map(|seen| &seen.message);
        let told: Vec<Value> = told.filter(|m| m["type"] == "dtmf").cloned().collect();
        (told.len() == 2).then_some(told)
    });
    let told: Vec<Value> = told.unwrap().iter().map(|m| m["digit"].clone()).collect();
    assert_eq!(told, ["7", "2"]);
    call.finish();
}

/// Half a sample at the end of a message waits for its other half.
#[test]
fn messages_of_any_length_are_one_stream() {
    let call = taken(16_000, "");
    let alpha = opening(speech::alpha(), 3);
    let began = Instant::now();
    call.agent.speak_at_once(&alpha, 333);
    std::thread::sleep(Duration::from_secs(4));
    let heard = call.carrier.rtp().recording(call.source).unwrap();
    let heard = verdict(&alpha, Some(began), &heard, Bar::PcmuToRtp);
    println!("{heard}");
    assert!(heard.pass, "{heard}");
    call.finish();
}

#[test]
fn marks_come_back_when_played_and_a_clear_says_how_much_was() {
    let call = taken(16_000, "");
    let began = Instant::now();
    call.agent.speak_at_once(&opening(speech::alpha(), 2), 640);
    call.agent
        .send(&json!({"type": "mark", "name": "two seconds"}));
    let mark = call.agent.wait_for_kind("mark", in_time()).unwrap();
    assert_eq!(mark.message["name"], "two seconds");
    let after = mark.at - began;
    assert!(
        (Duration::from_millis(1_950)..Duration::from_millis(2_300)).contains(&after),
        "{after:?}"
    );
    call.agent.speak_at_once(&opening(speech::bravo(), 4), 640);
    std::thread::sleep(Duration::from_secs(1));
    call.agent.send(&json!({"type": "clear"}));
    let cleared = call.agent.wait_for_kind("cleared", in_time()).unwrap();
    let played_ms = cleared.message["played_ms"].as_u64().unwrap();
    println!("{played_ms} ms were played since the start");
    assert!((2_850..=3_250).contains(&played_ms), "{played_ms}");
    call.finish();
}

/// The caller talks over the agent, and the gateway stops it by itself.
#[test]
fn a_caller_who_barges_in_stops_the_agent() {
    let call = taken(16_000, "auto_barge_in = true\nbarge_in_patience_ms = 200\n");
    let mut long = speech::alpha();
    long.samples.extend(speech::bravo().samples);
    call.agent.speak_at_once(&long, 640);
    std::thread::sleep(Duration::from_millis(1_500));
    assert!(
        call.agent
            .messages()
            .iter()
            .all(|m| m.message["type"] != "interrupted")
    );
    let spoke = Instant::now();
    let bravo = opening(speech::bravo(), 3);
    call.carrier
        .rtp()
        .speak(call.source, &bravo, Playback::Once)
        .unwrap();
    let interrupted = call.agent.wait_for_kind("interrupted", in_time()).unwrap();
    let played_ms = interrupted.message["played_ms"].as_u64().unwrap();
    let after = interrupted.at - spoke;
    println!("interrupted after {after:?}; {played_ms} ms were played");
    assert!(after < Duration::from_millis(1_500), "{after:?}");
    assert!((1_300..3_500).contains(&played_ms), "{played_ms}");
    std::thread::sleep(TAIL);
    let heard = call.carrier.rtp().recording(call.source).unwrap();
    let heard_for = last_sound(&heard)
        .unwrap()
        .saturating_duration_since(interrupted.at);
    assert!(heard_for < Duration::from_millis(80), "{heard_for:?}");
    call.finish();
}

#[test]
fn an_agent_hangs_up_with_a_cause() {
    let call = taken(16_000, "");
    call.agent
        .send(&json!({"type": "hangup", "q850_cause": 17}));
    let view = call
        .carrier
        .wait_for_state(call.at_carrier, CallState::Ended, in_time())
        .unwrap();
    assert!(view.ended_by_other);
    assert!(
        view.reason
            .as_deref()
            .unwrap_or_default()
            .contains("cause=17"),
        "{view:?}"
    );
    assert_eq!(call.agent.wait_for_end(in_time()).unwrap().code, 1000);
    assert_eq!(whole_call(&call.gateway).0.q850_cause, 17);
    end(call.gateway);
}
