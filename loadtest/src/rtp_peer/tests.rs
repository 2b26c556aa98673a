//! Two far ends talk to each other: what one says, counts and hangs up the other hears.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::net::Ipv4Addr;

use super::*;
use crate::judge::{Bar, Question, judge};
use crate::speech;

fn in_s(seconds: u64) -> Instant {
    Instant::now() + Duration::from_secs(seconds)
}

fn pair(codec: AudioCodec, rtcp_mux: bool) -> (RtpPeer, RtpPeer, SocketAddr, SocketAddr) {
    let config = RtpPeerConfig {
        rtcp_mux,
        report_interval: Duration::from_millis(300),
        ..RtpPeerConfig::new(Ipv4Addr::LOCALHOST.into(), codec)
    };
    let caller = RtpPeer::start(config.clone()).unwrap();
    let callee = RtpPeer::start(config).unwrap();
    caller.open(callee.local_addr());
    let of_caller = callee.wait_for_source(0, in_s(5)).unwrap();
    let of_callee = caller.wait_for_source(0, in_s(5)).unwrap();
    (caller, callee, of_caller, of_callee)
}

#[test]
fn speech_reports_and_goodbye_arrive() {
    let (caller, callee, of_caller, of_callee) = pair(AudioCodec::Pcmu, false);
    let speech = speech::alpha();
    caller.speak(of_callee, &speech, Playback::Once).unwrap();
    std::thread::sleep(Duration::from_millis(speech.duration_ms() as u64 + 400));
    let recording = callee.recording(of_caller).unwrap();
    let spoken_at = caller.spoken_at(of_callee).unwrap().unwrap();
    let question = Question::new(Bar::PcmuToRtp).spoken_at_ms(recording.at_ms(spoken_at));
    let verdict = judge(&speech, &recording.audio, &question).unwrap();
    assert!(verdict.pass, "{verdict}");
    assert!(verdict.delay_ms.unwrap() < 60.0, "{verdict}");
    assert_eq!(recording.statistics.lost, 0);

    let rtcp = callee.rtcp(of_caller).unwrap();
    assert!(rtcp.sender_reports.len() >= 5, "{rtcp:?}");
    assert!(
        rtcp.report_blocks
            .iter()
            .any(|(_, block)| block.last_sender_report.0 != 0),
        "{rtcp:?}"
    );
    assert_eq!(rtcp.canonical_names, ["far-end@loadtest"]);
    caller.hang_up(of_callee).unwrap();
    callee.wait_for_goodbye(of_caller, in_s(5)).unwrap();
}

#[test]
fn digits_are_single_events_in_their_clock() {
    for (codec, marker) in [(AudioCodec::Pcmu, true), (AudioCodec::L16, false)] {
        let (caller, callee, of_caller, of_callee) = pair(codec, true);
        caller.send_digits(of_callee, "1#D", 120, marker).unwrap();
        let events = callee.wait_for_digits(of_caller, 3, in_s(5)).unwrap();
        assert_eq!(
            events.iter().map(|event| event.digit).collect::<String>(),
            "1#D"
        );
        for event in &events {
            assert_eq!(event.duration, (codec.clock_rate_hz() / 1000 * 120) as u16);
            assert_eq!(event.marker, marker);
        }
        assert!(
            events[..2].iter().all(|event| event.end_packets == 3),
            "{events:?}"
        );
    }
}
