//! Vapi's messages are those of its SDK's types.

use std::time::{Duration, Instant};

use codecs::SampleRate;
use serde_json::{Value, json};

use super::VapiSession;
use crate::call::q850::Q850Cause;
use crate::fault::Fault;
use crate::pcm::fixtures::{Wire, Written, all_asks, leg, played};
use crate::pcm::{Ask, Dialect, Encoding, News, PcmLeg, SocketEnd, ViolationKind};

const HZ16000: Encoding = Encoding::Linear16(SampleRate::Hz16000);

struct Peer {
    session: VapiSession,
    now: Instant,
    wire: Wire,
    leg: PcmLeg,
}

impl Peer {
    fn new(session: fn(Instant, Encoding) -> VapiSession) -> Self {
        let now = Instant::now();
        Self {
            session: session(now, HZ16000),
            now,
            wire: Wire::new(),
            leg: leg(now, HZ16000, 60_000),
        }
    }

    fn assistant() -> Self {
        Self::new(VapiSession::client)
    }

    fn relay() -> Self {
        let mut peer = Self::new(VapiSession::server);
        assert!(matches!(&peer.asks()[..], [Ask::Begin(begin)] if begin.encoding == HZ16000));
        peer
    }

    fn say(&mut self, message: &Value) {
        self.say_text(&message.to_string());
    }

    fn say_text(&mut self, text: &str) {
        let out = &mut self.wire.out;
        self.session
            .handle_text(self.now, text, Some(&mut self.leg), out);
    }

    fn speak(&mut self, bytes: &[u8]) {
        self.session
            .handle_binary(self.now, bytes, Some(&mut self.leg));
    }

    fn asks(&mut self) -> Vec<Ask> {
        all_asks(|| self.session.poll_ask())
    }
}

/// Samples as they lie on the wire, and as RTP has them.
fn speech(samples: i16) -> (Vec<u8>, Vec<u8>) {
    let little = (0..samples).flat_map(i16::to_le_bytes).collect();
    let big = (0..samples).flat_map(i16::to_be_bytes).collect();
    (little, big)
}

#[test]
fn audio_of_any_length_is_played_whole() {
    let mut peer = Peer::assistant();
    let (wire, expected) = speech(3_200);
    // 1024 samples as in the documentation, then odd pieces.
    let (first, rest) = wire.split_at(2_048);
    peer.speak(first);
    for piece in rest.chunks(333) {
        peer.speak(piece);
    }
    let end = peer.now + Duration::from_millis(400);
    let heard = played(&mut peer.leg, end);
    assert_eq!(heard[..expected.len()], expected);
    peer.session
        .write_frame(peer.now, &wire[..640], &mut peer.wire.out);
    assert_eq!(peer.wire.take(), [Written::Binary(wire[..640].to_vec())]);
    assert_eq!(peer.session.statistics().media_sent, 1);
}

#[test]
fn an_interruption_empties_the_queue() {
    let mut peer = Peer::assistant();
    peer.speak(&[1; 64_000]);
    peer.say(&json!({"type": "user-interrupted", "turnId": "t"}));
    assert_eq!(peer.leg.statistics().queue_ms, 0);
    assert_eq!(peer.asks(), [Ask::Clear]);
}

#[test]
fn the_end_has_its_cause() {
    for (message, cause, fault) in [
        (json!({"type": "end-call"}), 16, None),
        (json!({"type": "hangup"}), 16, None),
        (
            json!({"type": "status-update", "status": "ended", "endedReason": "customer-ended-call"}),
            16,
            None,
        ),
        (
            json!({"type": "status-update", "status": "ended", "endedReason": "exceeded-max-duration"}),
            102,
            None,
        ),
        (
            json!({"type": "status-update", "status": "ended",
                "endedReason": "call.in-progress.error-vapifault-worker-died"}),
            41,
            Some(Fault::Vendor),
        ),
        (
            json!({"type": "status-update", "status": "ended"}),
            16,
            None,
        ),
    ] {
        let mut peer = Peer::assistant();
        peer.say(&message);
        let asks = peer.asks();
        let [
            Ask::HangUp {
                cause: found,
                fault: blamed,
                text,
            },
        ] = &asks[..]
        else {
            panic!("{message}: {asks:?}");
        };
        assert_eq!((found.0, *blamed), (cause, fault), "{message}");
        assert!(!text.is_empty(), "{message}");
        peer.session.handle_end(SocketEnd::Lost);
        assert_eq!(peer.asks(), []);
    }
}

#[test]
fn what_means_nothing_is_ignored() {
    let messages = [
        json!({"type": "hang"}),
        json!({"type": "speech-update", "status": "started", "role": "user", "turn": 1}),
        json!({"type": "transcript", "role": "user", "transcriptType": "final", "transcript": "hello"}),
        json!({"type": "status-update", "status": "in-progress"}),
        json!({"type": "conversation-update", "status": {"a": [1]}, "control": [1, {"b": null}], "endedReason": 1.5}),
        json!({"type": "control", "control": "say-first-message"}),
        json!({"type": "say", "content": "hello", "endCallAfterSpoken": true}),
        json!({"type": "of next year", "deep": [[[[[[[]]]]]]]}),
    ];
    let mut peer = Peer::assistant();
    for message in &messages {
        peer.say(message);
    }
    assert_eq!(peer.asks(), []);
    assert_eq!(peer.session.statistics().ignored, messages.len() as u64);
}

#[test]
fn mutes_are_honoured() {
    let mut peer = Peer::relay();
    let control = |word: &str| json!({"type": "control", "control": word});
    peer.say(&control("mute-customer"));
    let out = &mut peer.wire.out;
    peer.session.write_frame(peer.now, &[7; 640], out);
    peer.say(&control("unmute-customer"));
    let out = &mut peer.wire.out;
    peer.session.write_frame(peer.now, &[7; 640], out);
    let expected = [0, 7].map(|byte| Written::Binary(vec![byte; 640]));
    assert_eq!(peer.wire.take(), expected);

    peer.say(&control("mute-assistant"));
    peer.speak(&[1; 640]);
    peer.say(&control("unmute-assistant"));
    peer.speak(&[2; 640]);
    let statistics = peer.session.statistics();
    assert_eq!((statistics.media_received, statistics.media_unused), (1, 1));
}

#[test]
fn a_relay_hears_of_the_call_in_vapis_words() {
    let news = [
        News::Ringing,
        News::Answered,
        News::Cleared,
        News::Digit {
            digit: '1',
            duration_ms: 100,
        },
        News::Ended {
            cause: Q850Cause::USER_BUSY,
            reason: "busy",
        },
    ];
    let mut relay = Peer::relay();
    let mut assistant = Peer::assistant();
    for news in news {
        relay.session.handle_news(news, &mut relay.wire.out);
        assistant.session.handle_news(news, &mut assistant.wire.out);
    }
    let expected = [
        json!({"type": "status-update", "status": "ringing"}),
        json!({"type": "status-update", "status": "in-progress"}),
        json!({"type": "user-interrupted"}),
        json!({"type": "status-update", "status": "ended", "endedReason": "customer-busy"}),
        json!({"type": "end-call"}),
    ];
    assert_eq!(relay.wire.texts(), expected);
    assert_eq!(assistant.wire.texts(), [json!({"type": "end-call"})]);
    let out = &mut relay.wire.out;
    relay.session.write_frame(relay.now, &[7; 640], out);
    assert_eq!(relay.wire.take(), []);
}

#[test]
fn text_where_audio_belongs_is_refused() {
    for text in [
        "",
        "AAAA",
        "[1]",
        "{}",
        "{\"type\":1}",
        "{\"type\":\"x\",\"type\":\"y\"}",
        "null",
    ] {
        let mut peer = Peer::relay();
        peer.say_text(text);
        let asks = peer.asks();
        let [Ask::Close(violation)] = &asks[..] else {
            panic!("{text}: {asks:?}");
        };
        assert_eq!(violation.kind, ViolationKind::Malformed);
        assert_eq!(
            (violation.close_code, violation.fault),
            (4400, Fault::Vendor)
        );
        peer.speak(&[1; 640]);
        assert_eq!(peer.session.statistics().media_received, 0);
    }
}
