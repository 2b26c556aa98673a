//! Digits both ways (RFC 4733): each one exactly once, in the clock of whoever hears it.

use super::*;
use loadtest::media::{TelephoneEvent, telephone_events};
use loadtest::signalling::ServerMessage;

const DIGIT_MS: u32 = 120;
/// The relay may see a digit's first packet as up to one packet of sound.
const TOLERANCE_MS: u32 = 20;
/// Longer than a digit with its pause: whatever would be doubled has come.
const SETTLED: Duration = Duration::from_millis(400);

#[test]
fn digits_cross_from_48_to_8_khz_and_back() {
    digits_both_ways(AudioCodec::Opus, AudioCodec::Pcmu);
}

#[test]
fn digits_cross_from_8_to_48_khz_and_back() {
    digits_both_ways(AudioCodec::Pcmu, AudioCodec::Opus);
}

fn digits_both_ways(at_browser: AudioCodec, at_peer: AudioCodec) {
    let peer = peer(at_peer);
    let gateway = TrunkSetup::new(peer.local_addr(), at_peer).start();
    let call = dial(&gateway, at_browser);
    let source = peer.wait_for_source(0, in_time()).unwrap();
    let (_, clock_at_browser_hz) = call.format().unwrap().telephone_event.unwrap();
    assert_eq!(clock_at_browser_hz, at_browser.clock_rate_hz());

    // In the media path, the same digit twice in a row.
    call.send_digits("15#55", DIGIT_MS).unwrap();
    peer.wait_for_digits(source, 5, in_time()).unwrap();
    // By message, played by the gateway.
    call.send_digits_by_message("*0D", DIGIT_MS as u16);
    peer.wait_for_digits(source, 8, in_time()).unwrap();
    // From the peer, which forgets the marker on the last two.
    peer.send_digits(source, "72", DIGIT_MS, true).unwrap();
    peer.send_digits(source, "29", DIGIT_MS, false).unwrap();
    call.signalling()
        .wait_for("4 digits", in_time(), |received| {
            (received.iter().filter_map(|r| digit(&r.message)).count() >= 4).then_some(())
        })
        .unwrap();
    std::thread::sleep(SETTLED);

    let at_far_end = telephone_events(&peer.telephone_event_packets(source).unwrap());
    println!("at the peer: {at_far_end:?}");
    assert_digits(
        &at_far_end,
        "15#55*0D",
        at_peer.clock_rate_hz(),
        TOLERANCE_MS,
    );

    let report = call.hang_up().unwrap();
    let by_message: Vec<(String, u32)> = report
        .messages
        .iter()
        .filter_map(|received| digit(&received.message))
        .collect();
    println!("at the browser: {by_message:?}");
    let wanted = ["7", "2", "2", "9"].map(|digit| (digit.to_owned(), DIGIT_MS));
    assert_eq!(by_message, wanted);
    let in_media = telephone_events(&report.telephone_events);
    println!("at the browser: {in_media:?}");
    assert_digits(&in_media, "7229", clock_at_browser_hz, TOLERANCE_MS);

    let record = record(&gateway, &report.call_sid);
    let of = |from: u64| {
        let directions = record["directions"].as_array().unwrap();
        let direction = directions.iter().find(|d| d["from"] == from).unwrap();
        let statistics = &direction["statistics"];
        (
            statistics["digits_received"].as_u64(),
            statistics["digits_sent"].as_u64(),
        )
    };
    assert_eq!(of(0), (Some(5), Some(8)), "{record:#}");
    assert_eq!(of(1), (Some(4), Some(4)), "{record:#}");
    assert_events(&gateway, &report, &WHOLE_CALL);
    end(gateway);
}

fn digit(message: &ServerMessage) -> Option<(String, u32)> {
    match message {
        ServerMessage::Dtmf { digit, duration_ms } => Some((digit.clone(), *duration_ms)),
        _ => None,
    }
}

/// Exactly these, each well formed, 120 ms long give or take the tolerance, none in another's place.
#[track_caller]
pub(crate) fn assert_digits(
    events: &[TelephoneEvent],
    wanted: &str,
    clock_rate_hz: u32,
    tolerance_ms: u32,
) {
    let digits: String = events.iter().map(|event| event.digit).collect();
    assert_eq!(digits, wanted, "{events:?}");
    for event in events {
        assert!(event.marker && event.end_packets == 3, "{event:?}");
        let duration_ms = u32::from(event.duration) * 1000 / clock_rate_hz;
        assert!(
            duration_ms.abs_diff(DIGIT_MS) <= tolerance_ms,
            "{duration_ms} ms by a clock of {clock_rate_hz} Hz: {event:?}"
        );
    }
    for pair in events.windows(2) {
        let apart = pair[1].timestamp.wrapping_sub(pair[0].timestamp);
        assert!(apart >= u32::from(pair[0].duration), "{pair:?}");
    }
}
