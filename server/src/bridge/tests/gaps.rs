//! Beside the loss rule: when a gap is given up, what only looks like loss, and what comes to the same as loss.

use super::*;

const FRAME: [u8; 160] = [0x7f; 160];
/// Where the source's numbers and clock begin: both wrap within each test.
const SEQUENCE: u16 = 65_534;
const CLOCK: u32 = u32::MAX - 200;

#[test]
fn a_gap_is_given_up_after_the_wait_and_not_before() {
    let mut harness = Harness::new(&format(Codec::Pcmu), &format(Codec::Pcma));
    harness.audio(0, 0, &FRAME);
    harness.pass(40);
    harness.audio(2, 320, &FRAME);
    harness.pass(19);
    assert_eq!(harness.seen.len(), 1);
    harness.pass(1);
    assert_eq!(harness.seen.len(), 3);
    assert_eq!(harness.direction.poll_timeout(), None);
}

#[test]
fn an_unknown_payload_type_is_no_loss() {
    let mut harness = Harness::new(&format(Codec::Pcmu), &format(Codec::Pcma));
    harness.audio(0, 0, &FRAME);
    harness.send(13, false, 1, 160, &[0x40]);
    harness.audio(2, 320, &FRAME);
    assert_eq!(harness.seen.len(), 2, "nothing is waited for");
    assert_eq!(harness.statistics().unknown_payload_type, 1);
    assert_eq!(harness.statistics().concealed, 0);
}

#[test]
fn hold_is_no_loss_and_ends_with_a_marker() {
    for sink in [Codec::Pcmu, Codec::Pcma] {
        let mut harness = Harness::new(&format(Codec::Pcmu), &format(sink));
        for index in 0..10u16 {
            harness.direction.set_held((3..7).contains(&index));
            harness.audio(index, u32::from(index) * 160, &FRAME);
            harness.pass(20);
        }
        assert_eq!(
            harness.audio_seen(),
            [
                (0, 0, true),
                (1, 160, false),
                (2, 320, false),
                (3, 1_120, true),
                (4, 1_280, false),
                (5, 1_440, false),
            ],
            "{sink:?}"
        );
        assert_eq!(harness.statistics().held, 4);
        assert_eq!(harness.statistics().concealed, 0);
    }
}

/// Chromium probes the bandwidth with packets of padding alone, which repeat the last timestamp.
#[test]
fn padding_alone_is_neither_audio_nor_loss() {
    for sink in [Codec::Pcmu, Codec::Pcma] {
        let mut harness = Harness::new(&format(Codec::Pcmu), &format(sink));
        harness.audio(SEQUENCE, CLOCK, &FRAME);
        harness.audio(SEQUENCE.wrapping_add(1), CLOCK, &[]);
        harness.pass(19);
        harness.audio(SEQUENCE.wrapping_add(2), CLOCK.wrapping_add(160), &FRAME);
        harness.pass(200);
        let seen = harness.audio_seen();
        assert_eq!(seen.len(), 2, "{sink:?}: {seen:?}");
        assert_eq!(seen[1].1.wrapping_sub(seen[0].1), 160, "{sink:?}");
        let statistics = harness.statistics();
        let troubles = (
            statistics.padding,
            statistics.concealed,
            statistics.codec_errors,
        );
        assert_eq!(troubles, (1, 0, 0), "{sink:?}");
    }
}

#[test]
fn what_can_t_be_decoded_is_counted_and_made_up_for_100_ms() {
    let packets = opus_packets(20, 30);
    let mut harness = Harness::new(&format(Codec::Opus), &format(Codec::Pcmu));
    for (packet, index) in packets.iter().zip(0u16..) {
        // A packet of several frames that says it has none (RFC 6716 section 3.2.5).
        let payload: &[u8] = if (10..20).contains(&index) {
            &[0xff, 0x00]
        } else {
            packet
        };
        harness.audio(index, u32::from(index) * 960, payload);
        harness.pass(20);
    }
    let statistics = harness.statistics();
    assert_eq!((statistics.codec_errors, statistics.concealed), (10, 5));
    let markers: Vec<_> = harness
        .audio_seen()
        .iter()
        .filter(|(_, _, marker)| *marker)
        .map(|(_, ticks, _)| *ticks)
        .collect();
    assert_eq!(markers, [0, 20 * 160]);
}

#[test]
fn renegotiation_goes_on_with_numbers_and_clock() {
    let mut harness = Harness::new(&format(Codec::Pcmu), &format(Codec::Pcmu));
    for index in 0..5u16 {
        harness.audio(index, u32::from(index) * 160, &FRAME);
        harness.pass(20);
    }
    let now = harness.now;
    harness
        .direction
        .replace_formats(now, &format(Codec::Pcmu), &format(Codec::Pcma))
        .unwrap();
    assert_eq!(harness.direction.plan().to_string(), "PCMU>pcm8k>PCMA");
    harness.audio(5, 800, &FRAME);
    harness
        .direction
        .replace_formats(now, &format(Codec::Pcmu), &format(Codec::Pcmu))
        .unwrap();
    harness.pass(20);
    harness.audio(6, 960, &FRAME);
    let seen = harness.audio_seen();
    let ticks: Vec<_> = seen.iter().map(|seen| seen.1).collect();
    assert_eq!(ticks, [0, 160, 320, 480, 640, 800, 960]);
    assert!(seen.iter().zip(0..).all(|(seen, n)| seen.0 == n));
    assert!(seen[5].2 && seen[6].2);
}
