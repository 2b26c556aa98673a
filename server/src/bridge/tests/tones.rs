//! Digits as tones, for legs without telephone-events.

use codecs::SampleRate;
use codecs::digit::{DigitProgress, DigitReceived};
use codecs::dtmf::{ToneDetector, ToneGenerator, ToneLevels};
use codecs::g711::{self, Law};

use super::*;

fn tones(source: Codec, sink: Codec, to_sink: DigitTones, from_source: DigitTones) -> Harness {
    let plain = |codec| StreamFormat {
        telephone_event: None,
        ..format(codec)
    };
    let with_events = |codec| StreamFormat {
        telephone_event: Some(TelephoneEventFormat {
            payload_type: PayloadType(EVENT),
            clock_rate_hz: codec_clock(codec),
        }),
        ..format(codec)
    };
    let options = DirectionOptions {
        tones_to_sink: to_sink,
        tones_from_source: from_source,
        ..options(false)
    };
    let (source, sink) = match from_source {
        DigitTones::Never => (with_events(source), plain(sink)),
        _ => (plain(source), with_events(sink)),
    };
    Harness::with_options(&source, &sink, options)
}

fn codec_clock(codec: Codec) -> u32 {
    codec.clock_rate_hz()
}

/// The digits in what a sink got, by a detector of its own.
fn detected(codec: Codec, seen: &[Seen]) -> Vec<DigitReceived> {
    let rate = match codec {
        Codec::L16(rate) => rate,
        _ => SampleRate::Hz8000,
    };
    let mut decoder = codecs::opus::Decoder::new(rate).unwrap();
    let mut detector = ToneDetector::new(rate);
    let mut digits = Vec::new();
    let mut listen = |pcm: &[i16]| {
        detector.process(pcm, |progress| {
            if let DigitProgress::Ended(digit) = progress {
                digits.push(digit);
            }
        });
    };
    for seen in seen {
        let mut pcm = [0; 960];
        let samples = match codec {
            Codec::Pcmu => g711::decode(Law::Mu, &seen.payload, &mut pcm),
            Codec::Pcma => g711::decode(Law::A, &seen.payload, &mut pcm),
            Codec::L16(_) => codecs::linear16::from_be_bytes(&seen.payload, &mut pcm),
            Codec::Opus => decoder.decode(&seen.payload, &mut pcm).unwrap(),
        };
        listen(&pcm[..samples]);
    }
    listen(&[0; 1_600]);
    digits
}

#[test]
fn digits_are_tones_in_the_sinks_codec_whether_or_not_the_source_speaks() {
    for (source, sink) in [
        (Codec::Pcmu, Codec::Pcmu),
        (Codec::Opus, Codec::Pcma),
        (Codec::Pcmu, L16),
        (Codec::Opus, Codec::Opus),
    ] {
        let mut harness = tones(source, sink, DigitTones::Always, DigitTones::Never);
        harness
            .direction
            .send_digits(harness.now, "1#", 100)
            .unwrap();
        harness.drain();
        harness.pass(600);
        let digits = detected(sink, &harness.seen);
        let names: String = digits.iter().map(|digit| digit.digit).collect();
        assert_eq!(names, "1#", "{source:?} to {sink:?}");
        assert!(
            digits
                .iter()
                .all(|digit| digit.duration_ms.abs_diff(100) <= 15)
        );
        let frame_ticks = sink.clock_rate_hz() / 50;
        let seen = harness.audio_seen();
        assert_eq!(seen.len(), 16, "two digits and their pauses");
        for ((sequence, ticks, _), n) in seen.into_iter().zip(0u16..) {
            assert_eq!((sequence, ticks), (n, u32::from(n) * frame_ticks));
        }
        assert_eq!(harness.direction.poll_timeout(), None, "silent again");
    }
}

#[test]
fn audio_gives_way_to_tones_and_comes_back_behind_them() {
    let mut harness = tones(
        Codec::Pcmu,
        Codec::Pcmu,
        DigitTones::WhereCarried,
        DigitTones::Never,
    );
    for index in 0..40u32 {
        if index == 10 {
            harness
                .direction
                .send_digits(harness.now, "5", 100)
                .unwrap();
            harness.drain();
        }
        harness.audio(index as u16, index * 160, &[0x55; 160]);
        harness.pass(20);
    }
    let numbers: Vec<u16> = harness.seen.iter().map(|seen| seen.sequence).collect();
    assert!(
        numbers.windows(2).all(|pair| pair[1] == pair[0] + 1),
        "{numbers:?}"
    );
    let ticks: Vec<u32> = harness.seen.iter().map(|seen| seen.ticks).collect();
    assert!(ticks.windows(2).all(|pair| pair[1] > pair[0]), "{ticks:?}");
    assert_eq!(harness.statistics().under_event, 8);
    assert_eq!(harness.statistics().tone_packets, 8);
    let digits = detected(Codec::Pcmu, &harness.seen);
    assert_eq!(digits.len(), 1);
    assert_eq!(digits[0].digit, '5');
}

#[test]
fn a_key_that_the_source_holds_down_sounds_as_long() {
    let mut harness = tones(
        Codec::Pcmu,
        Codec::Pcmu,
        DigitTones::WhereCarried,
        DigitTones::Never,
    );
    harness.audio(0, 0, &[0xff; 160]);
    // RFC 4733: key 7, held for 180 ms, told every 20 ms, the end thrice.
    for step in 1..=11u16 {
        harness.pass(20);
        let duration = (step.min(9) * 160).to_be_bytes();
        let end = if step >= 9 { 0x80 } else { 0 };
        let payload = [7, end | 10, duration[0], duration[1]];
        harness.send(EVENT, step == 1, step, 160, &payload);
    }
    harness.pass(500);
    let digits = detected(Codec::Pcmu, &harness.seen);
    assert_eq!(digits.len(), 1);
    assert_eq!(digits[0].digit, '7');
    assert!(digits[0].duration_ms.abs_diff(180) <= 25, "{digits:?}");
    assert_eq!(harness.digits, [('7', 180)], "and it is told");
}

#[test]
fn no_tones_where_the_codec_does_not_carry_them_or_nobody_wants_them() {
    for (sink, tones_to_sink) in [
        (Codec::Opus, DigitTones::WhereCarried),
        (Codec::Pcmu, DigitTones::Never),
    ] {
        let mut harness = tones(Codec::Pcmu, sink, tones_to_sink, DigitTones::Never);
        let refused = harness.direction.send_digits(harness.now, "1", 100);
        assert_eq!(refused, Err(BridgeError::NoTelephoneEvent));
    }
    let mut harness = tones(
        Codec::Pcmu,
        Codec::Pcmu,
        DigitTones::Always,
        DigitTones::Never,
    );
    let refused = harness.direction.send_digits(harness.now, "1x", 100);
    assert!(matches!(refused, Err(BridgeError::Tones(_))));
}

#[test]
fn tones_of_the_source_are_told_and_pass_as_they_came() {
    for (source, sink) in [(Codec::Pcmu, Codec::Pcmu), (Codec::Pcma, Codec::Opus)] {
        let mut harness = tones(source, sink, DigitTones::Never, DigitTones::WhereCarried);
        let law = match source {
            Codec::Pcmu => Law::Mu,
            _ => Law::A,
        };
        let mut generator = ToneGenerator::new(SampleRate::Hz8000, ToneLevels::default());
        generator.start("42", 80, 80).unwrap();
        let mut sent = Vec::new();
        for index in 0..30u32 {
            let mut pcm = [0; 160];
            generator.fill(&mut pcm);
            let mut payload = [0; 160];
            g711::encode(law, &pcm, &mut payload);
            harness.audio(index as u16, index * 160, &payload);
            harness.pass(20);
            sent.push(payload.to_vec());
        }
        let digits: String = harness.digits.iter().map(|(digit, _)| *digit).collect();
        assert_eq!(digits, "42", "{source:?} to {sink:?}");
        assert!(harness.digits.iter().all(|(_, ms)| ms.abs_diff(80) <= 10));
        assert_eq!(harness.seen.len(), 30);
        if source == sink {
            let passed: Vec<_> = harness
                .seen
                .iter()
                .map(|seen| seen.payload.clone())
                .collect();
            assert_eq!(passed, sent);
        }
    }
}

#[test]
fn a_lost_packet_splits_no_tone() {
    let mut harness = tones(
        Codec::Pcmu,
        Codec::Pcmu,
        DigitTones::Never,
        DigitTones::WhereCarried,
    );
    let mut generator = ToneGenerator::new(SampleRate::Hz8000, ToneLevels::default());
    generator.start("9", 200, 80).unwrap();
    for index in 0..20u32 {
        let mut pcm = [0; 160];
        generator.fill(&mut pcm);
        let mut payload = [0; 160];
        g711::encode(Law::Mu, &pcm, &mut payload);
        if index != 5 {
            harness.audio(index as u16, index * 160, &payload);
        }
        harness.pass(20);
    }
    assert_eq!(harness.digits.len(), 1, "{:?}", harness.digits);
    let (digit, duration_ms) = harness.digits[0];
    assert_eq!(digit, '9');
    assert!(duration_ms.abs_diff(200) <= 15, "{duration_ms}");
}
