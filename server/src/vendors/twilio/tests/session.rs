//! Twilio's side is played by the messages of its documentation.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use codecs::SampleRate;
use serde_json::{Value, json};

use crate::call::q850::Q850Cause;
use crate::fault::Fault;
use crate::pcm::fixtures::{Wire, all_asks, leg, played};
use crate::pcm::{Ask, Dialect, Encoding, News, PcmLeg, SocketEnd, Violation, ViolationKind};
use crate::vendors::twilio::TwilioSession;

const STREAM: &str = "MZ00112233445566778899aabbccddeeff";
const ACCOUNT: &str = "AC00112233445566778899aabbccddeeff";
const CALL: &str = "CA00112233445566778899aabbccddeeff";

struct Stream {
    session: TwilioSession,
    now: Instant,
    wire: Wire,
    leg: Option<PcmLeg>,
}

impl Stream {
    fn new() -> Self {
        let now = Instant::now();
        Self {
            session: TwilioSession::new(now, ACCOUNT),
            now,
            wire: Wire::new(),
            leg: None,
        }
    }

    fn started() -> Self {
        let mut stream = Self::new();
        stream.say(&connected());
        stream.say(&start());
        assert!(matches!(stream.asks()[..], [Ask::Begin(_)]));
        stream.leg = Some(leg(stream.now, Encoding::Mulaw, 1000));
        stream
    }

    fn say(&mut self, message: &Value) {
        self.say_text(&message.to_string());
    }

    fn say_text(&mut self, text: &str) {
        let out = &mut self.wire.out;
        self.session
            .handle_text(self.now, text, self.leg.as_mut(), out);
    }

    fn asks(&mut self) -> Vec<Ask> {
        all_asks(|| self.session.poll_ask())
    }

    fn violation(&mut self) -> Violation {
        match self.asks().pop() {
            Some(Ask::Close(violation)) => violation,
            other => panic!("no violation: {other:?}"),
        }
    }
}

fn connected() -> Value {
    json!({"event": "connected", "protocol": "Call", "version": "1.0.0"})
}

fn start() -> Value {
    json!({"event": "start", "sequenceNumber": "1", "streamSid": STREAM, "start": {
        "accountSid": ACCOUNT, "streamSid": STREAM, "callSid": CALL, "tracks": ["inbound"],
        "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
        "customParameters": {"to": "+15550100", "trunk_id": "t1", "token": "a.b.c", "client_id": "7", "tok": "x"}}})
}

fn media(chunk: u64, bytes: &[u8]) -> Value {
    json!({"event": "media", "sequenceNumber": (chunk + 1).to_string(), "streamSid": STREAM, "media": {
        "track": "inbound", "chunk": chunk.to_string(), "timestamp": (chunk * 20).to_string(),
        "payload": STANDARD.encode(bytes)}})
}

#[test]
fn a_start_asks_for_the_call() {
    let mut stream = Stream::new();
    stream.say(&connected());
    assert_eq!(stream.asks(), []);
    stream.say(&start());
    let asks = stream.asks();
    let [Ask::Begin(begin)] = &asks[..] else {
        panic!("{asks:?}");
    };
    assert_eq!(begin.to.as_deref(), Some("+15550100"));
    assert_eq!(begin.trunk_id, Some("t1".parse().unwrap()));
    assert_eq!(begin.client_id, "7");
    assert_eq!(begin.token.as_ref().unwrap().expose(), "a.b.c");
    assert_eq!(begin.vendor_call.as_deref(), Some(CALL));
    assert_eq!(begin.encoding, Encoding::Mulaw);
    assert!(!begin.listen_only);
    assert!(!format!("{begin:?}").contains("a.b.c"));
}

#[test]
fn media_goes_through_untouched_both_ways() {
    let mut stream = Stream::started();
    let mut expected = Vec::new();
    let mut heard = Vec::new();
    for chunk in 1..=50 {
        let frame: Vec<u8> = (0..160).map(|i| (i * 7 + chunk) as u8).collect();
        stream.say(&media(chunk, &frame));
        expected.extend_from_slice(&frame);
        stream.now += Duration::from_millis(20);
        heard.extend(played(stream.leg.as_mut().unwrap(), stream.now));
    }
    let end = stream.now + Duration::from_millis(40);
    heard.extend(played(stream.leg.as_mut().unwrap(), end));
    assert_eq!(heard[..expected.len()], expected);
    assert_eq!(stream.session.statistics().media_received, 50);

    let frame: Vec<u8> = (0..160).map(|i| i as u8).collect();
    stream
        .session
        .write_frame(stream.now, &frame, &mut stream.wire.out);
    let sent = json!({"event": "media", "streamSid": STREAM, "media": {"payload": STANDARD.encode(&frame)}});
    assert_eq!(stream.wire.texts(), [sent]);
}

#[test]
fn what_never_came_is_counted() {
    let mut stream = Stream::started();
    // The last one counts on from somewhere else.
    for chunk in [1, 2, 5, 6, 6, 10, 1_000_000, u64::MAX / 20] {
        stream.say(&media(chunk, &[0xff; 160]));
    }
    assert_eq!(stream.session.statistics().media_missing, 5);
    // Without chunks the times tell it.
    let mut stream = Stream::started();
    for timestamp in ["0", "20", "80", "105"] {
        let mut message = media(1, &[0xff; 160]);
        message["media"]["timestamp"] = timestamp.into();
        message["media"].as_object_mut().unwrap().remove("chunk");
        stream.say(&message);
    }
    assert_eq!(stream.session.statistics().media_missing, 2);
    assert_eq!(stream.asks(), []);
}

#[test]
fn digits_marks_and_the_stop_are_asks() {
    let mut stream = Stream::started();
    stream.say(&json!({"event": "dtmf", "sequenceNumber": "5", "streamSid": STREAM, "dtmf": {"track": "inbound_track", "digit": "#"}}));
    stream.say(&json!({"event": "mark", "sequenceNumber": "6", "streamSid": STREAM, "mark": {"name": "m\"1"}}));
    stream.say(&json!({"event": "stop", "sequenceNumber": "7", "streamSid": STREAM, "stop": {"accountSid": ACCOUNT, "callSid": CALL}}));
    stream.session.handle_end(SocketEnd::Closed(Some(1000)));
    stream.say(&connected());
    let name = "m\"1".to_owned();
    let expected = [
        Ask::Digit {
            digit: '#',
            duration_ms: 200,
        },
        Ask::MarkPlayed { name },
        Ask::HangUp {
            cause: Q850Cause::NORMAL,
            fault: None,
            text: "Twilio stopped the stream".to_owned(),
        },
    ];
    assert_eq!(stream.asks(), expected);
}

#[test]
fn a_socket_that_ends_without_a_stop_is_the_vendors_fault() {
    let mut stream = Stream::started();
    stream.session.handle_end(SocketEnd::Lost);
    let asks = stream.asks();
    assert!(matches!(
        asks[..],
        [Ask::HangUp {
            fault: Some(Fault::Vendor),
            ..
        }]
    ));
}

#[test]
fn twilio_hears_of_a_flush_and_of_marks() {
    let mut stream = Stream::started();
    assert!(stream.session.tells_marks());
    for news in [
        News::Ringing,
        News::Answered,
        News::Digit {
            digit: '1',
            duration_ms: 100,
        },
        News::Mark { name: "a" },
        News::Cleared,
        News::Ended {
            cause: Q850Cause::NORMAL,
            reason: "over",
        },
        News::Cleared,
    ] {
        stream.session.handle_news(news, &mut stream.wire.out);
    }
    let expected = [
        json!({"event": "mark", "streamSid": STREAM, "mark": {"name": "a"}}),
        json!({"event": "clear", "streamSid": STREAM}),
    ];
    assert_eq!(stream.wire.texts(), expected);
}

#[test]
fn the_coding_is_what_the_start_says() {
    let hz16000 = Encoding::Linear16(SampleRate::Hz16000);
    for (encoding, rate, channels, expected) in [
        (
            "audio/x-mulaw",
            json!(8000),
            json!(1),
            Some(Encoding::Mulaw),
        ),
        (
            "audio/x-mulaw",
            json!("8000"),
            json!("1"),
            Some(Encoding::Mulaw),
        ),
        ("audio/x-mulaw", json!(16000), json!(1), None),
        ("audio/x-mulaw", json!(8000), json!(2), None),
        ("audio/l16", json!(16000), json!(1), Some(hz16000)),
        ("audio/x-l16", json!(16000), json!(null), Some(hz16000)),
        ("audio/l16", json!(48000), json!(1), None),
        ("audio/opus", json!(48000), json!(1), None),
    ] {
        let mut stream = Stream::new();
        stream.say(&connected());
        let mut message = start();
        message["start"]["mediaFormat"] =
            json!({"encoding": encoding, "sampleRate": rate, "channels": channels});
        stream.say(&message);
        let asks = stream.asks();
        match (&asks[..], expected) {
            ([Ask::Begin(begin)], Some(expected)) => assert_eq!(begin.encoding, expected),
            ([Ask::Close(violation)], None) => {
                assert_eq!(violation.kind, ViolationKind::WrongFormat);
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_stream_without_a_way_back_only_listens() {
    for (tracks, parameters, heard) in [
        (json!(["outbound"]), json!({}), 2),
        (json!(["inbound", "outbound"]), json!({}), 1),
        (json!(["inbound"]), json!({"listen_only": "true"}), 1),
    ] {
        let mut stream = Stream::new();
        stream.say(&connected());
        let mut message = start();
        message["start"]["tracks"] = tracks;
        message["start"]["customParameters"] = parameters;
        stream.say(&message);
        let asks = stream.asks();
        assert!(matches!(&asks[..], [Ask::Begin(begin)] if begin.listen_only));
        stream.leg = Some(leg(stream.now, Encoding::Mulaw, 1000));
        for (track, byte) in [("inbound", 1), ("outbound", 2)] {
            let mut message = media(1, &[byte; 160]);
            message["media"]["track"] = track.into();
            stream.say(&message);
        }
        let statistics = stream.session.statistics();
        assert_eq!((statistics.media_received, statistics.media_unused), (1, 1));
        assert!(!stream.session.tells_marks(), "no mark would come back");
        let end = stream.now + Duration::from_millis(60);
        let audio = played(stream.leg.as_mut().unwrap(), end);
        assert_eq!(audio[..160], [heard; 160]);
        let out = &mut stream.wire.out;
        stream.session.write_frame(stream.now, &[1; 160], out);
        stream.session.handle_news(News::Cleared, out);
        assert_eq!(stream.wire.take(), []);
    }
}

#[test]
fn every_broken_rule_has_its_close_code() {
    let mut other_stream = media(1, &[1; 160]);
    other_stream["streamSid"] = STREAM.replace("00", "01").into();
    let mut no_stream = media(1, &[1; 160]);
    no_stream.as_object_mut().unwrap().remove("streamSid");
    let mut no_base64 = media(1, &[]);
    no_base64["media"]["payload"] = "//7+*".into();
    for (text, kind, code) in [
        (other_stream.to_string(), ViolationKind::WrongStream, 1008),
        (no_stream.to_string(), ViolationKind::Malformed, 4400),
        (no_base64.to_string(), ViolationKind::WrongBase64, 1007),
        (connected().to_string(), ViolationKind::OutOfOrder, 1008),
        (start().to_string(), ViolationKind::OutOfOrder, 1008),
        (
            json!({"event": "clear", "streamSid": STREAM}).to_string(),
            ViolationKind::UnknownMessage,
            4400,
        ),
        (
            json!({"event": "dtmf", "streamSid": STREAM, "dtmf": {"digit": "12"}}).to_string(),
            ViolationKind::Malformed,
            4400,
        ),
        (
            json!({"event": "mark", "streamSid": STREAM}).to_string(),
            ViolationKind::Malformed,
            4400,
        ),
        (
            json!({"event": "media", "streamSid": STREAM}).to_string(),
            ViolationKind::Malformed,
            4400,
        ),
        (String::new(), ViolationKind::Malformed, 4400),
        ("[]".to_owned(), ViolationKind::Malformed, 4400),
        ("{\"event\":7}".to_owned(), ViolationKind::Malformed, 4400),
        (
            media(1, &[1; 160]).to_string()[..100].to_owned(),
            ViolationKind::Malformed,
            4400,
        ),
    ] {
        let mut stream = Stream::started();
        stream.say_text(&text);
        let violation = stream.violation();
        assert_eq!(violation.kind, kind, "{text}: {violation}");
        assert_eq!(violation.close_code, code);
        assert_eq!(violation.fault, Fault::Vendor);
        // Nothing is read any more.
        stream.say(&media(1, &[1; 160]));
        assert_eq!(stream.asks(), []);
    }
}

#[test]
fn nothing_comes_before_the_start() {
    for message in [start(), media(1, &[1; 160])] {
        let mut stream = Stream::new();
        stream.say(&message);
        assert_eq!(stream.violation().kind, ViolationKind::OutOfOrder);
    }
    let mut stream = Stream::new();
    stream.say(&connected());
    stream.say(&media(1, &[1; 160]));
    assert_eq!(stream.violation().kind, ViolationKind::OutOfOrder);
    let mut stream = Stream::new();
    stream.session.handle_binary(stream.now, &[1; 160], None);
    assert_eq!(stream.violation().close_code, 1003);
}

#[test]
fn a_start_is_checked() {
    for (pointer, value, kind) in [
        (
            "/start/accountSid",
            json!(ACCOUNT.replace("00", "01")),
            ViolationKind::WrongAccount,
        ),
        ("/start/accountSid", json!("AC1"), ViolationKind::Malformed),
        (
            "/start/callSid",
            json!("CA../../Accounts/000000000000000000"),
            ViolationKind::Malformed,
        ),
        ("/streamSid", json!("MZ\"}"), ViolationKind::Malformed),
        (
            "/start/streamSid",
            json!(STREAM.replace("00", "01")),
            ViolationKind::WrongStream,
        ),
        (
            "/start/customParameters/trunk_id",
            json!("a b"),
            ViolationKind::Malformed,
        ),
        (
            "/start/customParameters/to",
            json!("1".repeat(257)),
            ViolationKind::TooLong,
        ),
        (
            "/start/customParameters/to",
            json!("1\r\n"),
            ViolationKind::TooLong,
        ),
        (
            "/start/customParameters",
            json!("my secret"),
            ViolationKind::Malformed,
        ),
        ("/start/mediaFormat", json!(null), ViolationKind::Malformed),
    ] {
        let mut stream = Stream::new();
        stream.say(&connected());
        let mut message = start();
        *message.pointer_mut(pointer).unwrap() = value;
        stream.say(&message);
        let violation = stream.violation();
        assert_eq!(violation.kind, kind, "{pointer}: {violation}");
        assert!(!violation.reason.contains("secret"));
    }
}

#[test]
fn the_start_must_come_in_time() {
    let mut stream = Stream::new();
    stream.say(&connected());
    let due = stream.session.poll_timeout().unwrap();
    assert_eq!(due - stream.now, Duration::from_secs(10));
    stream.session.handle_timeout(due);
    assert_eq!(stream.violation().close_code, 4408);
    assert_eq!(stream.session.poll_timeout(), None);
    assert_eq!(Stream::started().session.poll_timeout(), None);
}

#[test]
fn a_flood_is_stopped() {
    let mut stream = Stream::started();
    let text = media(1, &[1; 160]).to_string();
    for _ in 0..crate::pcm::MESSAGES_BURST_MAX {
        stream.say_text(&text);
    }
    assert_eq!(stream.violation().kind, ViolationKind::Flood);
}
