//! What is lost, what is late, what is silence.

use super::*;

const FRAME: [u8; 160] = [0x7f; 160];
/// Where the source's numbers and clock begin: both wrap within each test.
const SEQUENCE: u16 = 65_534;
const CLOCK: u32 = u32::MAX - 200;

struct Case {
    name: &'static str,
    /// Packets by their index at the source; each is 20 ms of audio, 20 ms after the one before.
    arrivals: &'static [u16],
    /// Ticks of the frames that come out, in units of 20 ms.
    frames: &'static [u32],
    concealed: u64,
    late: u64,
    duplicates: u64,
}

/// Every packet comes 20 ms after the one before it in `arrivals`, but a lower index comes at once.
fn transcode(arrivals: &[u16]) -> Harness {
    let mut harness = Harness::new(&format(Codec::Pcmu), &format(Codec::Pcma));
    let mut newest = 0;
    for index in arrivals {
        if *index > newest {
            harness.pass(u64::from(index - newest) * 20 - 1);
            newest = *index;
        }
        let timestamp = CLOCK.wrapping_add(u32::from(*index) * 160);
        harness.audio(SEQUENCE.wrapping_add(*index), timestamp, &FRAME);
    }
    harness.pass(200);
    harness
}

#[test]
fn the_loss_rule() {
    let cases = [
        Case {
            name: "nothing lost",
            arrivals: &[0, 1, 2, 3],
            frames: &[0, 1, 2, 3],
            concealed: 0,
            late: 0,
            duplicates: 0,
        },
        Case {
            name: "one lost",
            arrivals: &[0, 1, 3, 4],
            frames: &[0, 1, 2, 3, 4],
            concealed: 1,
            late: 0,
            duplicates: 0,
        },
        Case {
            name: "two lost",
            arrivals: &[0, 3, 4],
            frames: &[0, 1, 2, 3, 4],
            concealed: 2,
            late: 0,
            duplicates: 0,
        },
        Case {
            name: "ten lost: 100 ms are made up",
            arrivals: &[0, 11, 12],
            frames: &[0, 1, 2, 3, 4, 5, 11, 12],
            concealed: 5,
            late: 0,
            duplicates: 0,
        },
        Case {
            name: "reordered by one",
            arrivals: &[0, 2, 1, 3],
            frames: &[0, 1, 2, 3],
            concealed: 0,
            late: 0,
            duplicates: 0,
        },
        Case {
            name: "three late ones at once",
            arrivals: &[0, 4, 1, 3, 2, 5],
            frames: &[0, 1, 2, 3, 4, 5],
            concealed: 0,
            late: 0,
            duplicates: 0,
        },
        Case {
            name: "later than the wait",
            arrivals: &[0, 2, 4, 1, 5],
            frames: &[0, 1, 2, 3, 4, 5],
            concealed: 2,
            late: 1,
            duplicates: 0,
        },
        Case {
            name: "copies",
            arrivals: &[0, 0, 1, 0, 1, 2],
            frames: &[0, 1, 2],
            concealed: 0,
            late: 0,
            duplicates: 3,
        },
        Case {
            name: "the last is lost: nothing is missing",
            arrivals: &[0, 1],
            frames: &[0, 1],
            concealed: 0,
            late: 0,
            duplicates: 0,
        },
    ];
    for case in cases {
        let harness = transcode(case.arrivals);
        let seen = harness.audio_seen();
        let ticks: Vec<_> = seen.iter().map(|(_, ticks, _)| *ticks / 160).collect();
        assert_eq!(ticks, case.frames, "{}", case.name);
        assert!(
            seen.iter().all(|(_, ticks, _)| ticks % 160 == 0),
            "{}",
            case.name
        );
        let continuous = seen
            .iter()
            .zip(0..)
            .all(|((sequence, ..), n)| *sequence == n);
        assert!(continuous, "{}: {seen:?}", case.name);
        let statistics = harness.statistics();
        assert_eq!(statistics.concealed, case.concealed, "{}", case.name);
        assert_eq!(statistics.late, case.late, "{}", case.name);
        assert_eq!(statistics.duplicates, case.duplicates, "{}", case.name);
        assert!(seen[0].2, "{}: the first packet has the marker", case.name);
    }
}

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
fn a_pause_of_the_source_is_silence() {
    let mut harness = Harness::new(&format(Codec::Pcmu), &format(Codec::Pcma));
    harness.audio(0, 0, &FRAME);
    harness.pass(1_000);
    harness.audio(1, 8_000, &FRAME);
    harness.pass(1_000);
    // A packet lost beside a pause is one packet's worth of loss.
    harness.audio(3, 16_000, &FRAME);
    harness.pass(20);
    assert_eq!(
        harness.audio_seen(),
        [
            (0, 0, true),
            (1, 8_000, true),
            (2, 8_160, false),
            (3, 16_000, true),
        ]
    );
    assert_eq!(harness.statistics().concealed, 1);
}

#[test]
fn a_clock_that_jumps_does_not_jump_at_the_sink() {
    for force_transcode in [false, true] {
        let mut harness = Harness::with_options(
            &format(Codec::Pcmu),
            &format(Codec::Pcmu),
            options(force_transcode),
        );
        harness.audio(0, 0, &FRAME);
        harness.pass(20);
        harness.audio(1, 3_000_000_000, &FRAME);
        harness.pass(20);
        harness.audio(2, 3_000_000_160, &FRAME);
        assert_eq!(
            harness
                .audio_seen()
                .iter()
                .map(|seen| seen.1)
                .collect::<Vec<_>>(),
            [0, 160, 320]
        );
    }
}

#[test]
fn another_source_goes_on_where_the_first_ended() {
    for force_transcode in [false, true] {
        let mut harness = Harness::with_options(
            &format(Codec::Pcmu),
            &format(Codec::Pcmu),
            options(force_transcode),
        );
        harness.audio(7, 77, &FRAME);
        harness.pass(20);
        harness.ssrc = 2;
        harness.audio(40_000, 900_000, &FRAME);
        harness.pass(20);
        harness.audio(40_001, 900_160, &FRAME);
        harness.ssrc = 1;
        harness.audio(8, 237, &FRAME);
        assert_eq!(
            harness.audio_seen(),
            [(0, 0, true), (1, 160, true), (2, 320, false)],
            "forced: {force_transcode}"
        );
        assert_eq!(harness.statistics().source_restarts, 1);
        assert_eq!(harness.statistics().late, 1);
    }
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
fn passthrough_keeps_gaps_and_order_and_drops_copies() {
    let mut harness = Harness::new(&format(Codec::Opus), &format(Codec::Opus));
    assert_eq!(harness.direction.plan().to_string(), "opus passthrough");
    for index in [0u16, 1, 3, 3, 6, 4, 5, 4] {
        let timestamp = CLOCK.wrapping_add(u32::from(index) * 960);
        harness.audio(SEQUENCE.wrapping_add(index), timestamp, &[index as u8; 40]);
    }
    let seen: Vec<_> = harness
        .seen
        .iter()
        .map(|seen| (seen.sequence, seen.ticks / 960, seen.payload[0]))
        .collect();
    assert_eq!(
        seen,
        [
            (0, 0, 0),
            (1, 1, 1),
            (3, 3, 3),
            (6, 6, 6),
            (4, 4, 4),
            (5, 5, 5)
        ]
    );
    assert_eq!(harness.statistics().duplicates, 2);
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

#[test]
fn a_lost_opus_packet_comes_back_from_the_next() {
    let packets = opus_packets(20, 40);
    let mut harness = Harness::new(&format(Codec::Opus), &format(Codec::Pcmu));
    for (packet, index) in packets.iter().zip(0u16..) {
        if index != 20 && index != 30 && index != 31 {
            harness.audio(index, u32::from(index) * 960, packet);
        }
        harness.pass(20);
    }
    harness.pass(20);
    let statistics = harness.statistics();
    assert_eq!((statistics.fec_recovered, statistics.concealed), (2, 1));
    let seen = harness.audio_seen();
    let continuous = seen
        .iter()
        .zip(0u16..)
        .all(|((sequence, ticks, _), n)| *sequence == n && *ticks == u32::from(n) * 160);
    assert!(continuous && seen.len() == 40, "{seen:?}");
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
