use std::time::{Duration, Instant};

use codecs::SampleRate;
use serde_json::{Value, json};

use super::{AgentStart, RawAgent};
use crate::call::q850::Q850Cause;
use crate::fault::Fault;
use crate::pcm::fixtures::{Wire, Written, all_asks, leg, played};
use crate::pcm::{Ask, Dialect, Encoding, News, PcmEvent, PcmLeg, SocketEnd, ViolationKind};

const HZ24000: Encoding = Encoding::Linear16(SampleRate::Hz24000);
const CALL: &str = "CS0000abababababababababababababab";

struct Agent {
    raw: RawAgent,
    now: Instant,
    wire: Wire,
    leg: PcmLeg,
}

impl Agent {
    fn new() -> Self {
        let now = Instant::now();
        let start = AgentStart {
            call_sid: CALL.parse().unwrap(),
            tenant_id: "acme".parse().unwrap(),
            from: "+15550100".to_owned(),
            to: "\"sales\"".to_owned(),
            encoding: HZ24000,
        };
        let mut agent = Self {
            raw: RawAgent::new(now, start),
            now,
            wire: Wire::new(),
            leg: leg(now, HZ24000, 60_000),
        };
        agent.raw.open(now, &mut agent.wire.out);
        let expected = json!({"type": "start", "call_sid": CALL, "tenant_id": "acme", "from": "+15550100",
            "to": "\"sales\"", "format": {"encoding": "linear16", "sample_rate_hz": 24000, "channels": 1}});
        assert_eq!(agent.wire.texts(), [expected]);
        agent
    }

    fn say(&mut self, message: &Value) {
        self.say_text(&message.to_string());
    }

    fn say_text(&mut self, text: &str) {
        let out = &mut self.wire.out;
        self.raw
            .handle_text(self.now, text, Some(&mut self.leg), out);
    }

    fn speak(&mut self, bytes: &[u8]) {
        self.raw.handle_binary(self.now, bytes, Some(&mut self.leg));
    }

    fn asks(&mut self) -> Vec<Ask> {
        all_asks(|| self.raw.poll_ask())
    }

    fn pass_events(&mut self) {
        while let Some(event) = self.leg.poll_event() {
            self.raw.handle_leg_event(event, &mut self.wire.out);
        }
    }
}

#[test]
fn audio_goes_both_ways_as_it_is() {
    let mut agent = Agent::new();
    agent.speak(&[1, 2].repeat(480));
    let end = agent.now + Duration::from_millis(60);
    assert_eq!(played(&mut agent.leg, end)[..960], [2, 1].repeat(480));
    agent
        .raw
        .write_frame(agent.now, &[5; 960], &mut agent.wire.out);
    assert_eq!(agent.wire.take(), [Written::Binary(vec![5; 960])]);
}

#[test]
fn marks_and_clear_are_answered() {
    let mut agent = Agent::new();
    agent.speak(&vec![1; 48_000]);
    agent.say(&json!({"type": "mark", "name": "a"}));
    let now = agent.now + Duration::from_millis(200);
    let _audio = played(&mut agent.leg, now);
    agent.now = now;
    agent.say(&json!({"type": "clear"}));
    assert_eq!(agent.asks(), [Ask::Clear]);
    agent.pass_events();
    let texts = agent.wire.texts();
    let played_ms = texts[0]["played_ms"].as_u64().unwrap();
    assert!((140..=200).contains(&played_ms), "{played_ms} ms");
    let expected = [
        json!({"type": "cleared", "played_ms": played_ms}),
        json!({"type": "mark", "name": "a"}),
    ];
    assert_eq!(texts, expected);
    assert_eq!(agent.leg.statistics().queue_ms, 0);
}

#[test]
fn an_agent_hears_digits_interruptions_and_the_end() {
    let mut agent = Agent::new();
    let out = &mut agent.wire.out;
    let digit = News::Digit {
        digit: '*',
        duration_ms: 160,
    };
    agent.raw.handle_news(digit, out);
    let barge_in = PcmEvent::BargeIn { played_ms: 1_240 };
    agent.raw.handle_leg_event(barge_in, out);
    let ended = News::Ended {
        cause: Q850Cause::NORMAL,
        reason: "over",
    };
    agent.raw.handle_news(ended, out);
    agent.raw.handle_news(ended, out);
    agent.raw.write_frame(agent.now, &[5; 960], out);
    let expected = [
        json!({"type": "dtmf", "digit": "*", "duration_ms": 160}),
        json!({"type": "interrupted", "played_ms": 1_240}),
        json!({"type": "stop", "q850_cause": 16, "reason": "over"}),
    ];
    assert_eq!(agent.wire.texts(), expected);
    assert_eq!(agent.asks(), []);
}

#[test]
fn too_much_audio_is_told_once_a_second() {
    let mut agent = Agent::new();
    let mut told = Vec::new();
    for tick in 0..100 {
        let overflow = PcmEvent::Overflow { dropped_ms: 20 };
        let out = &mut agent.wire.out;
        agent.raw.handle_leg_event(overflow, out);
        let now = agent.now + Duration::from_millis(20 * tick);
        agent.raw.write_frame(now, &[5; 960], out);
        for written in agent.wire.take() {
            if let Written::Text(text) = written {
                told.push(text["dropped_ms"].as_u64().unwrap());
            }
        }
    }
    assert_eq!(told, [20, 1_000]);
}

#[test]
fn an_agent_presses_digits_and_hangs_up() {
    let mut agent = Agent::new();
    agent.say(&json!({"type": "dtmf", "digits": "1d#"}));
    agent.say(&json!({"type": "hangup", "q850_cause": 17}));
    agent.say(&json!({"type": "dtmf", "digits": "2"}));
    agent.raw.handle_end(SocketEnd::Lost);
    let asks = agent.asks();
    let digits: String = asks
        .iter()
        .filter_map(|ask| match ask {
            Ask::Digit { digit, .. } => Some(*digit),
            _ => None,
        })
        .collect();
    assert_eq!(digits, "1D#");
    assert!(matches!(&asks[3..], [Ask::HangUp { cause, fault: None, .. }] if cause.0 == 17));

    let mut agent = Agent::new();
    agent.say(&json!({"type": "hangup"}));
    assert!(matches!(&agent.asks()[..], [Ask::HangUp { cause, .. }] if cause.0 == 16));
    let mut agent = Agent::new();
    agent.raw.handle_end(SocketEnd::Lost);
    assert!(matches!(
        &agent.asks()[..],
        [Ask::HangUp {
            fault: Some(Fault::Agent),
            ..
        }]
    ));
}

#[test]
fn mistakes_are_the_agents() {
    for (text, kind) in [
        ("", ViolationKind::Malformed),
        ("{}", ViolationKind::Malformed),
        (r#"{"type":"start"}"#, ViolationKind::UnknownMessage),
        (r#"{"type":"mark"}"#, ViolationKind::Malformed),
        (r#"{"type":"mark","name":7}"#, ViolationKind::Malformed),
        (r#"{"type":"dtmf"}"#, ViolationKind::Malformed),
        (r#"{"type":"dtmf","digits":"1x"}"#, ViolationKind::Malformed),
        (r#"{"type":"dtmf","digits":"ä"}"#, ViolationKind::Malformed),
        (
            r#"{"type":"dtmf","digits":"111111111111111111111111111111111"}"#,
            ViolationKind::Malformed,
        ),
        (
            r#"{"type":"hangup","q850_cause":0}"#,
            ViolationKind::Malformed,
        ),
        (
            r#"{"type":"hangup","q850_cause":300}"#,
            ViolationKind::Malformed,
        ),
    ] {
        let mut agent = Agent::new();
        agent.say_text(text);
        let asks = agent.asks();
        let [Ask::Close(violation)] = &asks[..] else {
            panic!("{text}: {asks:?}");
        };
        assert_eq!(violation.kind, kind, "{text}");
        assert_eq!(
            (violation.close_code, violation.fault),
            (4400, Fault::Agent)
        );
    }
    let mut agent = Agent::new();
    let name = "n".repeat(300);
    agent.say(&json!({"type": "mark", "name": name}));
    assert!(matches!(&agent.asks()[..], [Ask::Close(violation)]
            if (violation.kind, violation.close_code) == (ViolationKind::TooLong, 1009)));
}
