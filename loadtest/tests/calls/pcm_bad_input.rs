//! What Twilio, a relay or an agent must not send: a close code and a reason that say what was wrong, a counter, the final event
//! of a call that had begun; and the gateway goes on.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed unwrap is a failed test"
)]

use std::time::Duration;

use loadtest::gateway::Gateway;
use loadtest::media::AudioCodec;
use loadtest::sip_peer::CallState;
use loadtest::stream_peer::{
    AudioWire, PcmFormat, ServiceConfig, StreamPeer, StreamService, TwilioIds,
};
use serde_json::{Value, json};

use crate::rtp_trunk::{end, in_time};
use crate::sip_trunk::far_end;
use crate::streams::*;
use crate::wire::{BINARY, TEXT, masked_frame, unmasked_frame};

/// The longest message of each dialect.
const MESSAGE_BYTES_MAX: usize = 64 << 10;
/// More messages than anybody may send at once, each a short one: what counts is how many they are.
const FLOOD: usize = 40_000;
const FLOOD_BYTES: usize = 20;

/// What is sent, and how it ends: name, close code, the kind in the counter.
struct Case {
    name: &'static str,
    send: fn(&Twilio),
    close_code: u16,
    kind: &'static str,
}

fn violations(gateway: &Gateway, kind: &str) -> f64 {
    let metrics = gateway.metrics().unwrap();
    metrics.matching(VIOLATIONS, &format!("kind=\"{kind}\""))
}

const VIOLATIONS: &str = "clutchcall_pcm_violations_total";

#[track_caller]
fn closed(peer: &StreamPeer, name: &str, close_code: u16) {
    let end = peer
        .wait_for_end(in_time() + Duration::from_secs(5))
        .unwrap();
    println!("{name}: {} {:?}", end.code, end.reason);
    assert_eq!(end.code, close_code, "{name}: {end:?}");
    assert!(!end.reason.is_empty(), "{name}: no reason");
}

fn text(twilio: &Twilio, message: Value) {
    twilio.peer.send(&message);
}

fn connected_and(twilio: &Twilio, message: Value) {
    twilio.peer.send(&TwilioIds::connected());
    twilio.peer.send(&message);
}

fn start_with(twilio: &Twilio, change: impl FnOnce(&mut Value)) {
    let mut start = twilio.ids.start(&[]);
    change(&mut start);
    connected_and(twilio, start);
}

fn media(stream_sid: &str, payload: &str) -> Value {
    json!({"event": "media", "streamSid": stream_sid, "sequenceNumber": "2",
           "media": {"track": "inbound", "chunk": "1", "timestamp": "0", "payload": payload}})
}

const BEFORE_THE_CALL: &[Case] = &[
    Case {
        name: "no JSON",
        send: |twilio| twilio.peer.send_text("hello"),
        close_code: 4400,
        kind: "malformed",
    },
    Case {
        name: "no event",
        send: |twilio| text(twilio, json!({"streamSid": "MZ"})),
        close_code: 4400,
        kind: "malformed",
    },
    Case {
        name: "an unknown event",
        send: |twilio| connected_and(twilio, json!({"event": "begin"})),
        close_code: 4400,
        kind: "unknown_message",
    },
    Case {
        name: "media before the start",
        send: |twilio| connected_and(twilio, media(&twilio.ids.stream_sid, "//8=")),
        close_code: 1008,
        kind: "out_of_order",
    },
    Case {
        name: "a start before connected",
        send: |twilio| text(twilio, twilio.ids.start(&[])),
        close_code: 1008,
        kind: "out_of_order",
    },
    Case {
        name: "connected twice",
        send: |twilio| connected_and(twilio, TwilioIds::connected()),
        close_code: 1008,
        kind: "out_of_order",
    },
    Case {
        name: "a stream without a name",
        send: |twilio| start_with(twilio, |start| start["streamSid"] = json!("MZ1")),
        close_code: 4400,
        kind: "malformed",
    },
    Case {
        name: "a format that nobody speaks",
        send: |twilio| {
            start_with(twilio, |start| {
                start["start"]["mediaFormat"]["encoding"] = json!("audio/flac");
            });
        },
        close_code: 1003,
        kind: "wrong_format",
    },
    Case {
        name: "another account",
        send: |twilio| {
            start_with(twilio, |start| {
                start["start"]["accountSid"] = json!("AC00000000000000000000000000000009");
            });
        },
        close_code: 1008,
        kind: "wrong_account",
    },
    Case {
        name: "a parameter that is too long",
        send: |twilio| {
            start_with(twilio, |start| {
                start["start"]["customParameters"]["to"] = json!("1".repeat(1000));
            });
        },
        close_code: 1009,
        kind: "too_long",
    },
    Case {
        name: "binary where text belongs",
        send: |twilio| twilio.peer.send_binary(&[0xff; 160]),
        close_code: 1003,
        kind: "wrong_frame_kind",
    },
    Case {
        name: "a message beyond the bound",
        send: |twilio| twilio.peer.send_text(&" ".repeat(MESSAGE_BYTES_MAX + 1)),
        close_code: 1009,
        kind: "",
    },
    Case {
        name: "a frame that is not masked",
        send: |twilio| twilio.peer.send_raw(&unmasked_frame(TEXT, b"{}")),
        close_code: 1002,
        kind: "protocol",
    },
    Case {
        name: "text that is no UTF-8",
        send: |twilio| twilio.peer.send_raw(&masked_frame(TEXT, &[0xff, 0xfe])),
        close_code: 1007,
        kind: "",
    },
    Case {
        name: "reserved bits",
        send: |twilio| twilio.peer.send_raw(&masked_frame(TEXT | 0x40, b"{}")),
        close_code: 1002,
        kind: "protocol",
    },
    Case {
        name: "an unknown opcode",
        send: |twilio| twilio.peer.send_raw(&masked_frame(0x83, b"")),
        close_code: 1002,
        kind: "protocol",
    },
];

#[test]
fn what_is_wrong_before_twilios_start_is_told() {
    let carrier = far_end(AudioCodec::Pcmu);
    let gateway = StreamSetup::new(&carrier).start();
    for case in BEFORE_THE_CALL {
        let before = violations(&gateway, case.kind);
        let twilio = Twilio::connect(&gateway);
        (case.send)(&twilio);
        closed(&twilio.peer, case.name, case.close_code);
        if !case.kind.is_empty() {
            assert_eq!(
                violations(&gateway, case.kind),
                before + 1.0,
                "{}",
                case.name
            );
        }
    }
    assert_eq!(carrier.calls().len(), 0);
    still_works(&gateway);
    end(gateway);
}

const DURING_THE_CALL: &[Case] = &[
    Case {
        name: "another stream's media",
        send: |twilio| text(twilio, media("MZ00000000000000000000000000000000", "//8=")),
        close_code: 1008,
        kind: "wrong_stream",
    },
    Case {
        name: "media without a stream",
        send: |twilio| {
            text(
                twilio,
                json!({"event": "media", "media": {"payload": "//8="}}),
            )
        },
        close_code: 4400,
        kind: "malformed",
    },
    Case {
        name: "no base64",
        send: |twilio| text(twilio, media(&twilio.ids.stream_sid, "!!!!")),
        close_code: 1007,
        kind: "wrong_base64",
    },
    Case {
        name: "base64 without its end",
        send: |twilio| text(twilio, media(&twilio.ids.stream_sid, "//8")),
        close_code: 1007,
        kind: "wrong_base64",
    },
    Case {
        name: "a second start",
        send: |twilio| text(twilio, twilio.ids.start(&[])),
        close_code: 1008,
        kind: "out_of_order",
    },
    Case {
        name: "an unknown event",
        send: |twilio| twilio.peer.send_event("speed", None),
        close_code: 4400,
        kind: "unknown_message",
    },
    Case {
        name: "a digit that is none",
        send: |twilio| {
            twilio
                .peer
                .send_event("dtmf", Some(("dtmf", json!({"digit": "55"}))))
        },
        close_code: 4400,
        kind: "malformed",
    },
    Case {
        name: "binary where text belongs",
        send: |twilio| twilio.peer.send_raw(&masked_frame(BINARY, &[0xff; 160])),
        close_code: 1003,
        kind: "wrong_frame_kind",
    },
    Case {
        name: "a flood",
        send: |twilio| {
            twilio
                .peer
                .send_frames(vec![vec![0xff; FLOOD_BYTES]; FLOOD])
        },
        close_code: 1008,
        kind: "flood",
    },
];

#[test]
fn what_is_wrong_during_a_call_of_twilios_ends_it() {
    let carrier = far_end(AudioCodec::Pcmu);
    let gateway = StreamSetup::new(&carrier).start();
    for (number, case) in DURING_THE_CALL.iter().enumerate() {
        let twilio = Twilio::start(&gateway, &[]);
        let (call, _) = answered(&carrier, number);
        twilio.peer.set_sending(false);
        (case.send)(&twilio);
        closed(&twilio.peer, case.name, case.close_code);
        let view = carrier.wait_for_state(call, CallState::Ended, in_time());
        assert!(view.unwrap().ended_by_other, "{}", case.name);
        let (event, record) = ended(&gateway, number);
        assert_eq!(record["fault"], "vendor", "{}: {record:#}", case.name);
        assert_eq!(event.q850_cause, 111, "{}: {record:#}", case.name);
        assert!(violations(&gateway, case.kind) >= 1.0, "{}", case.name);
    }
    end(gateway);
}

/// A stranger who has a signed URL may hold a socket, but not for long.
#[test]
fn a_stream_that_never_starts_is_closed() {
    let carrier = far_end(AudioCodec::Pcmu);
    let gateway = StreamSetup::new(&carrier).start();
    let silent = Twilio::connect(&gateway);
    let half = Twilio::connect(&gateway);
    half.peer.send(&TwilioIds::connected());
    for twilio in [&silent, &half] {
        closed(&twilio.peer, "no start", 4408);
    }
    assert_eq!(violations(&gateway, "timeout"), 2.0);
    end(gateway);
}

/// The half of a frame, and then the connection is gone.
#[test]
fn a_truncated_frame_ends_the_call() {
    let carrier = far_end(AudioCodec::Pcmu);
    let gateway = StreamSetup::new(&carrier).start();
    let twilio = Twilio::start(&gateway, &[]);
    let (call, _) = answered(&carrier, 0);
    twilio.peer.set_sending(false);
    let whole = masked_frame(
        TEXT,
        media(&twilio.ids.stream_sid, "//8=").to_string().as_bytes(),
    );
    twilio.peer.send_raw(&whole[..whole.len() / 2]);
    std::thread::sleep(Duration::from_millis(300));
    assert!(
        twilio.peer.ended().is_none(),
        "the other half may still come"
    );
    twilio.peer.lose();
    carrier
        .wait_for_state(call, CallState::Ended, in_time())
        .unwrap();
    assert_eq!(whole_call(&gateway).0.q850_cause, 27);
    end(gateway);
}

#[test]
fn what_is_wrong_from_a_relay_ends_its_call() {
    let carrier = far_end(AudioCodec::Pcmu);
    let gateway = StreamSetup::new(&carrier).start();
    type Send = fn(&StreamPeer);
    let cases: &[(&str, Send, u16)] = &[
        ("no JSON", |relay| relay.send_text("hello"), 4400),
        ("no type", |relay| relay.send_text("{}"), 4400),
        (
            "a message beyond the bound",
            |relay| relay.send_binary(&vec![0; MESSAGE_BYTES_MAX + 1]),
            1009,
        ),
        (
            "a flood",
            |relay| relay.send_frames(vec![vec![0; FLOOD_BYTES]; FLOOD]),
            1008,
        ),
    ];
    for (number, (name, send, close_code)) in cases.iter().enumerate() {
        let relay = relay(&gateway, RELAY_TOKEN, PcmFormat::Linear16(16_000)).unwrap();
        let (call, _) = answered(&carrier, number);
        send(&relay);
        closed(&relay, name, *close_code);
        carrier
            .wait_for_state(call, CallState::Ended, in_time())
            .unwrap();
        let (_, record) = ended(&gateway, number);
        assert_eq!(record["fault"], "vendor", "{name}: {record:#}");
    }
    end(gateway);
}

#[test]
fn what_is_wrong_from_a_bot_ends_its_call() {
    let cases: &[(&str, Send, u16)] = &[
        ("no JSON", |bot, _| bot.send_text("hello"), 4400),
        (
            "an unknown event",
            |bot, _| bot.send_event("hangup", None),
            4400,
        ),
        (
            "another stream's media",
            |bot, _| {
                bot.send(
                    &json!({"event": "media", "streamSid": "MZ1", "media": {"payload": "//8="}}),
                )
            },
            1008,
        ),
        (
            "no base64",
            |bot, sid| {
                bot.send(&json!({"event": "media", "streamSid": sid, "media": {"payload": "!"}}))
            },
            1007,
        ),
        (
            "binary where text belongs",
            |bot, _| bot.send_binary(&[0; 160]),
            1003,
        ),
        (
            "a masked frame from a server",
            |bot, _| bot.send_raw(&masked_frame(TEXT, b"{}")),
            1002,
        ),
        (
            "a flood",
            |bot, _| bot.send_frames(vec![vec![0xff; FLOOD_BYTES]; FLOOD]),
            1008,
        ),
    ];
    agent_cases(AudioWire::TwilioBot, "", cases);
}

#[test]
fn what_is_wrong_from_an_agent_of_our_own_dialect_ends_its_call() {
    let cases: &[(&str, Send, u16)] = &[
        ("no JSON", |agent, _| agent.send_text("{"), 4400),
        (
            "an unknown type",
            |agent, _| agent.send(&json!({"type": "say"})),
            4400,
        ),
        (
            "a mark without a name",
            |agent, _| agent.send(&json!({"type": "mark"})),
            4400,
        ),
        (
            "digits that are none",
            |agent, _| agent.send(&json!({"type": "dtmf", "digits": "1x"})),
            4400,
        ),
        (
            "a cause that is none",
            |agent, _| agent.send(&json!({"type": "hangup", "q850_cause": 0})),
            4400,
        ),
    ];
    let wire = AudioWire::Binary(PcmFormat::Linear16(16_000));
    agent_cases(wire, "agent_dialect = \"pcm16\"\n", cases);
}

/// What an agent sends on its stream.
type Send = fn(&StreamPeer, &str);

fn agent_cases(wire: AudioWire, lines: &str, cases: &[(&str, Send, u16)]) {
    let service = StreamService::start(ServiceConfig::new(wire)).unwrap();
    let carrier = far_end(AudioCodec::Pcmu);
    let mut setup = StreamSetup::new(&carrier);
    setup.route_to_agent(&format!("ws://{}/", service.local_addr()), lines);
    let gateway = setup.start();
    for (number, (name, send, close_code)) in cases.iter().enumerate() {
        let twilio = Twilio::start(&gateway, &[]);
        let agent = service.wait_for_stream(number, in_time()).unwrap();
        let start = agent.wait_for_kind("start", in_time()).unwrap().message;
        agent.wait_for_frames(5, in_time()).unwrap();
        send(&agent, start["streamSid"].as_str().unwrap_or_default());
        closed(&agent, name, *close_code);
        twilio.peer.wait_for_end(in_time()).unwrap();
        let (_, record) = ended(&gateway, number);
        assert_eq!(record["fault"], "agent", "{name}: {record:#}");
    }
    end(gateway);
}

/// After everything that was thrown at it, a stream makes its call.
fn still_works(gateway: &Gateway) {
    let twilio = Twilio::start(gateway, &[]);
    twilio.peer.wait_for_frames(10, in_time()).unwrap();
    twilio.peer.stop();
    whole_call(gateway);
}
