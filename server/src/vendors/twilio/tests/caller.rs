//! A bot for Media Streams hears and says what Twilio's documentation has.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::call::q850::Q850Cause;
use crate::fault::Fault;
use crate::pcm::fixtures::{Wire, all_asks, leg, played};
use crate::pcm::{Ask, Dialect, Encoding, News, PcmLeg, SocketEnd, ViolationKind};
use crate::trunk::agent::AgentStart;
use crate::vendors::twilio::{ACCOUNT_SID_NONE, TwilioCaller, TwilioSession};

const SID: &str = "CS0000abababababababababababababab";

struct Bot {
    caller: TwilioCaller,
    now: Instant,
    wire: Wire,
    leg: PcmLeg,
    stream_sid: String,
}

impl Bot {
    fn new() -> Self {
        let now = Instant::now();
        let start = AgentStart {
            call_sid: SID.parse().unwrap(),
            tenant_id: "acme".parse().unwrap(),
            from: "+1555\"0100".to_owned(),
            to: "+15550101".to_owned(),
            encoding: Encoding::Mulaw,
        };
        let entropy = std::array::from_fn(|i| i as u8);
        let mut bot = Self {
            caller: TwilioCaller::new(now, start, None, entropy),
            now,
            wire: Wire::new(),
            leg: leg(now, Encoding::Mulaw, 60_000),
            stream_sid: "MZ000102030405060708090a0b0c0d0e0f".to_owned(),
        };
        bot.caller.open(now, &mut bot.wire.out);
        bot
    }

    fn say(&mut self, message: &Value) {
        let text = message.to_string();
        self.caller
            .handle_text(self.now, &text, Some(&mut self.leg), &mut self.wire.out);
    }

    fn say_event(&mut self, event: &str, name: &str, body: Value) {
        self.say(&json!({"event": event, "streamSid": self.stream_sid, name: body}));
    }

    fn asks(&mut self) -> Vec<Ask> {
        all_asks(|| self.caller.poll_ask())
    }

    /// Hands the leg's events on.
    fn pass_events(&mut self) {
        while let Some(event) = self.leg.poll_event() {
            self.caller.handle_leg_event(event, &mut self.wire.out);
        }
    }
}

#[test]
fn the_bot_hears_connected_and_start() {
    let mut bot = Bot::new();
    bot.caller.open(bot.now, &mut bot.wire.out);
    let call_sid = "CA101112131415161718191a1b1c1d1e1f";
    let account_sid = "AC00000000000000000000000000000000";
    let expected = [
        json!({"event": "connected", "protocol": "Call", "version": "1.0.0"}),
        json!({"event": "start", "sequenceNumber": "1", "streamSid": bot.stream_sid, "start": {
            "accountSid": account_sid, "streamSid": bot.stream_sid, "callSid": call_sid, "tracks": ["inbound"],
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
            "customParameters": {"call_sid": SID, "tenant_id": "acme", "from": "+1555\"0100", "to": "+15550101"}}}),
    ];
    assert_eq!(bot.wire.texts(), expected);
    bot.caller.handle_news(
        News::Digit {
            digit: '5',
            duration_ms: 100,
        },
        &mut bot.wire.out,
    );
    bot.caller.handle_news(
        News::Ended {
            cause: Q850Cause::NORMAL,
            reason: "over",
        },
        &mut bot.wire.out,
    );
    bot.caller
        .write_frame(bot.now, &[0; 160], &mut bot.wire.out);
    let expected = [
        json!({"event": "dtmf", "sequenceNumber": "2", "streamSid": bot.stream_sid, "dtmf": {"track": "inbound_track", "digit": "5"}}),
        json!({"event": "stop", "sequenceNumber": "3", "streamSid": bot.stream_sid, "stop": {"accountSid": account_sid, "callSid": call_sid}}),
    ];
    assert_eq!(bot.wire.texts(), expected);
}

#[test]
fn media_is_numbered_and_timed() {
    let mut bot = Bot::new();
    let _opening = bot.wire.texts();
    for chunk in 1..=3_u64 {
        bot.now += Duration::from_millis(20);
        let frame = [chunk as u8; 160];
        bot.caller.write_frame(bot.now, &frame, &mut bot.wire.out);
        let expected = json!({"event": "media", "sequenceNumber": (chunk + 1).to_string(), "streamSid": bot.stream_sid,
            "media": {"track": "inbound", "chunk": chunk.to_string(), "timestamp": (chunk * 20).to_string(),
            "payload": STANDARD.encode(frame)}});
        assert_eq!(bot.wire.texts(), [expected]);
    }
}

#[test]
fn both_ends_of_the_dialect_understand_each_other() {
    let mut bot = Bot::new();
    let mut session = TwilioSession::new(bot.now, ACCOUNT_SID_NONE);
    let mut sink = leg(bot.now, Encoding::Mulaw, 1000);
    let mut out = Wire::new();
    for _ in 0..10 {
        bot.now += Duration::from_millis(20);
        bot.caller
            .write_frame(bot.now, &[7; 160], &mut bot.wire.out);
    }
    for message in bot.wire.texts() {
        let text = message.to_string();
        session.handle_text(bot.now, &text, Some(&mut sink), &mut out.out);
    }
    assert!(matches!(session.poll_ask(), Some(Ask::Begin(_))));
    assert_eq!(session.poll_ask(), None);
    assert_eq!(session.statistics().media_received, 10);
    assert_eq!(session.statistics().media_missing, 0);
    let answer = [9; 160];
    session.write_frame(bot.now, &answer, &mut out.out);
    for message in out.texts() {
        bot.say(&message);
    }
    let end = bot.now + Duration::from_millis(60);
    assert_eq!(played(&mut bot.leg, end)[..160], answer);
}

#[test]
fn a_burst_is_paced_and_its_mark_comes_back_when_it_was_played() {
    let mut bot = Bot::new();
    let _opening = bot.wire.texts();
    // Half a second at once, in one message and without a frame's bounds.
    let burst: Vec<u8> = (0..4_000).map(|i| (i % 251) as u8).collect();
    let payload = STANDARD.encode(&burst);
    bot.say_event("media", "media", json!({"payload": payload}));
    bot.say_event("mark", "mark", json!({"name": "spoken"}));
    let mut heard = Vec::new();
    let mut told_after_ms = None;
    for ms in (20..=1_000).step_by(20) {
        let now = bot.now + Duration::from_millis(ms);
        heard.extend(played(&mut bot.leg, now));
        bot.pass_events();
        if bot.wire.texts().iter().any(|text| text["event"] == "mark") {
            told_after_ms.get_or_insert(ms);
        }
    }
    assert_eq!(heard[..burst.len()], burst);
    let told_after_ms = told_after_ms.unwrap();
    assert!((480..=560).contains(&told_after_ms), "{told_after_ms} ms");
}

#[test]
fn a_clear_empties_the_queue_and_brings_the_marks_back() {
    let mut bot = Bot::new();
    let _opening = bot.wire.texts();
    let payload = STANDARD.encode([1; 16_000]);
    bot.say_event("media", "media", json!({"payload": payload}));
    bot.say_event("mark", "mark", json!({"name": "unheard"}));
    // Twilio never sends a mark without its object back.
    bot.say(&json!({"event": "mark", "streamSid": bot.stream_sid}));
    bot.say(&json!({"event": "clear", "streamSid": bot.stream_sid}));
    assert_eq!(bot.asks(), [Ask::Clear]);
    bot.pass_events();
    let expected = json!({"event": "mark", "sequenceNumber": "2", "streamSid": bot.stream_sid, "mark": {"name": "unheard"}});
    assert_eq!(bot.wire.texts(), [expected]);
    assert_eq!(bot.leg.statistics().queue_ms, 0);
    assert_eq!(bot.caller.statistics().ignored, 1);
}

#[test]
fn what_twilio_refuses_is_the_agents_fault() {
    for (message, kind) in [
        (
            json!({"event": "stop", "streamSid": "S"}),
            ViolationKind::UnknownMessage,
        ),
        (
            json!({"event": "media", "media": {"payload": "AAAA"}}),
            ViolationKind::Malformed,
        ),
        (
            json!({"event": "clear", "streamSid": "MZ00"}),
            ViolationKind::WrongStream,
        ),
        (
            json!({"event": "media", "streamSid": "S"}),
            ViolationKind::Malformed,
        ),
        (
            json!({"event": "media", "streamSid": "S", "media": {"payload": "AAA"}}),
            ViolationKind::WrongBase64,
        ),
        (
            json!({"event": "media", "streamSid": "S", "media": {}}),
            ViolationKind::Malformed,
        ),
        (
            json!({"event": "mark", "streamSid": "S", "mark": {"name": "n".repeat(1000)}}),
            ViolationKind::TooLong,
        ),
        (json!({"type": "media"}), ViolationKind::Malformed),
    ] {
        let mut bot = Bot::new();
        let text = message
            .to_string()
            .replace("\"S\"", &format!("\"{}\"", bot.stream_sid));
        bot.say(&serde_json::from_str(&text).unwrap());
        let asks = bot.asks();
        let [Ask::Close(violation)] = &asks[..] else {
            panic!("{message}: {asks:?}");
        };
        assert_eq!(violation.kind, kind, "{message}: {violation}");
        assert_eq!(violation.fault, Fault::Agent);
    }
    let mut bot = Bot::new();
    bot.caller.handle_binary(bot.now, &[0; 160], None);
    assert!(matches!(&bot.asks()[..], [Ask::Close(violation)] if violation.close_code == 1003));
}

#[test]
fn a_bot_hangs_up_by_closing() {
    for (end, cause) in [
        (SocketEnd::Closed(None), 16),
        (SocketEnd::Closed(Some(1000)), 16),
        (SocketEnd::Closed(Some(1011)), 27),
        (SocketEnd::Lost, 27),
    ] {
        let mut bot = Bot::new();
        bot.caller.handle_end(end);
        let asks = bot.asks();
        assert!(matches!(&asks[..], [Ask::HangUp { cause: found, .. }] if found.0 == cause));
    }
}
