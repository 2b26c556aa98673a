//! Digits both ways: Twilio's `dtmf` is RFC 4733 at the carrier, the carrier's digits are tones at Twilio, which has no
//! message for them.

use super::*;
use codecs::SampleRate;
use codecs::digit::DigitProgress;
use codecs::dtmf::ToneDetector;
use loadtest::media::telephone_events;

const DIGIT_MS: u32 = 120;

#[test]
fn digits_cross_both_ways() {
    let carrier = far_end(AudioCodec::Pcmu);
    let gateway = StreamSetup::new(&carrier).start();
    let twilio = Twilio::start(&gateway, &[]);
    let (_, source) = answered(&carrier, 0);

    for digit in ["1", "5", "#", "5"] {
        let dtmf = json!({"track": "inbound_track", "digit": digit});
        twilio.peer.send_event("dtmf", Some(("dtmf", dtmf)));
    }
    carrier.rtp().wait_for_digits(source, 4, in_time()).unwrap();
    let events = telephone_events(&carrier.rtp().telephone_event_packets(source).unwrap());
    let digits: String = events.iter().map(|event| event.digit).collect();
    assert_eq!(digits, "15#5");
    for event in &events {
        assert!(event.duration >= 8 * 80, "too short to be heard: {event:?}");
    }

    carrier
        .rtp()
        .send_digits(source, "729", DIGIT_MS, true)
        .unwrap();
    std::thread::sleep(std::time::Duration::from_millis(1_500));
    let heard = twilio.peer.recording().audio;
    assert_eq!(tones(&heard.samples), "729");
    twilio.peer.stop();
    whole_call(&gateway);
    end(gateway);
}

fn tones(samples: &[i16]) -> String {
    let mut detector = ToneDetector::new(SampleRate::Hz8000);
    let mut digits = String::new();
    for frame in samples.chunks(160) {
        detector.process(frame, |progress| {
            if let DigitProgress::Ended(received) = progress {
                digits.push(received.digit);
            }
        });
    }
    digits
}
