//! Digits in the media: by RFC 4733 with the numbers of each side, and as tones where the far end has no telephone-event.

use super::*;
use codecs::SampleRate;
use codecs::digit::DigitProgress;
use codecs::dtmf::{ToneDetector, ToneGenerator, ToneLevels};
use loadtest::audio::Audio;
use loadtest::judge::Playback;
use loadtest::media::telephone_events;
use loadtest::signalling::ServerMessage;

fn heard(call: &WebRtcCall, count: usize) -> String {
    let digits = call.signalling().wait_for("digits", in_time(), |received| {
        let digits: String = received
            .iter()
            .filter_map(|received| match &received.message {
                ServerMessage::Dtmf { digit, .. } => Some(digit.as_str()),
                _ => None,
            })
            .collect();
        (digits.len() >= count).then_some(digits)
    });
    digits.unwrap()
}

#[test]
fn digits_go_by_rfc_4733_both_ways() {
    let peer = far_end(AudioCodec::Pcmu);
    let gateway = SipSetup::new(&peer, AudioCodec::Pcmu).start();
    let (call, at_peer) = dial(&gateway, &peer, AudioCodec::Opus);
    let source = peer.view(at_peer).remote_rtp.unwrap();
    peer.rtp().wait_for_source(0, in_time()).unwrap();
    call.send_digits("15#", 120).unwrap();
    peer.rtp().wait_for_digits(source, 3, in_time()).unwrap();
    call.send_digits_by_message("*0D", 120);
    peer.rtp().wait_for_digits(source, 6, in_time()).unwrap();
    let events = telephone_events(&peer.rtp().telephone_event_packets(source).unwrap());
    let digits: String = events.iter().map(|event| event.digit).collect();
    assert_eq!(digits, "15#*0D");
    peer.rtp().send_digits(source, "729", 120, true).unwrap();
    assert_eq!(heard(&call, 3), "729");
    call.hang_up().unwrap();
    end(gateway);
}

/// A far end without telephone-event hears tones, and its tones are digits.
#[test]
fn digits_are_tones_where_the_far_end_takes_no_events() {
    let peer = far_end_with(AudioCodec::Pcmu, |config| {
        config.media[0].format.telephone_event = None;
    });
    let gateway = SipSetup::new(&peer, AudioCodec::Pcmu).start();
    let (call, at_peer) = dial(&gateway, &peer, AudioCodec::Opus);
    let source = peer.view(at_peer).remote_rtp.unwrap();
    peer.rtp().wait_for_source(0, in_time()).unwrap();
    call.send_digits_by_message("15#", 120);
    std::thread::sleep(std::time::Duration::from_millis(1_500));
    let recording = peer.rtp().recording(source).unwrap();
    let mut detector = ToneDetector::new(SampleRate::Hz8000);
    let samples = recording.audio.resampled(8_000).samples;
    let mut digits = String::new();
    for frame in samples.chunks(160) {
        detector.process(frame, |progress| {
            if let DigitProgress::Ended(received) = progress {
                digits.push(received.digit);
            }
        });
    }
    assert_eq!(digits, "15#");
    let mut generator = ToneGenerator::new(SampleRate::Hz8000, ToneLevels::default());
    generator.start("42*", 120, 120).unwrap();
    let mut tones = Audio::silence(8_000, 1_200);
    generator.fill(&mut tones.samples);
    peer.rtp().speak(source, &tones, Playback::Once).unwrap();
    assert_eq!(heard(&call, 3), "42*");
    call.hang_up().unwrap();
    end(gateway);
}
