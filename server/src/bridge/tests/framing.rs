//! Packets of every length in, packets of the sink's length out, with exact timestamps.

use super::*;

#[test]
fn pcmu_of_any_ptime_is_cut_to_the_sinks() {
    for ptime_ms in [10u32, 20, 30, 40, 60] {
        for sink_ptime_ms in [10u8, 20, 40] {
            let sink = StreamFormat {
                ptime_ms: sink_ptime_ms,
                ..format(Codec::Pcma)
            };
            let mut harness = Harness::new(&format(Codec::Pcmu), &sink);
            let samples = ptime_ms * 8;
            let payload = vec![0x7f; samples as usize];
            let packets = 1_200 / ptime_ms;
            for index in 0..packets {
                harness.audio(index as u16, index * samples, &payload);
                harness.pass(ptime_ms.into());
            }
            let frame = u32::from(sink_ptime_ms) * 8;
            let seen = harness.audio_seen();
            assert_eq!(seen.len() as u32, 1_200 / u32::from(sink_ptime_ms));
            for ((sequence, ticks, marker), n) in seen.into_iter().zip(0u16..) {
                assert_eq!((sequence, ticks), (n, u32::from(n) * frame), "{ptime_ms}");
                assert_eq!(marker, n == 0);
            }
            assert!(
                harness
                    .seen
                    .iter()
                    .all(|seen| seen.payload.len() == frame as usize)
            );
        }
    }
}

#[test]
fn a_rest_before_a_pause_is_filled_up() {
    let mut harness = Harness::new(&format(Codec::Pcmu), &format(Codec::Pcma));
    harness.audio(0, 0, &[0x7f; 240]);
    harness.pass(500);
    harness.audio(1, 4_000, &[0x7f; 240]);
    harness.pass(30);
    harness.audio(2, 4_240, &[0x7f; 240]);
    assert_eq!(
        harness.audio_seen(),
        [
            (0, 0, true),
            (1, 160, false),
            (2, 4_000, true),
            (3, 4_160, false),
            (4, 4_320, false),
        ]
    );
}

#[test]
fn opus_of_any_frame_length_is_cut_to_20_ms() {
    for frame_ms in [10, 20, 40, 60] {
        let packets = opus_packets(frame_ms, (600 / frame_ms) as usize);
        let mut harness = Harness::new(&format(Codec::Opus), &format(Codec::Pcmu));
        for (packet, index) in packets.iter().zip(0u32..) {
            harness.audio(index as u16, index * frame_ms * 48, packet);
            harness.pass(frame_ms.into());
        }
        let ticks: Vec<_> = harness.audio_seen().iter().map(|seen| seen.1).collect();
        assert_eq!(
            ticks,
            (0..30).map(|n| n * 160).collect::<Vec<_>>(),
            "{frame_ms} ms"
        );
    }
}

#[test]
fn two_opus_frames_in_one_packet() {
    let frames = opus_packets(20, 20);
    let mut harness = Harness::new(&format(Codec::Opus), &format(Codec::Pcmu));
    for (pair, index) in frames.chunks(2).zip(0u32..) {
        // RFC 6716 section 3.2.4: code 2, the first frame's length, both frames.
        let mut packet = vec![pair[0][0] & 0xfc | 2];
        let first_len = pair[0].len() - 1;
        if first_len < 252 {
            packet.push(first_len as u8);
        } else {
            packet.push(252 + (first_len % 4) as u8);
            packet.push(((first_len - 252) / 4) as u8);
        }
        packet.extend_from_slice(&pair[0][1..]);
        packet.extend_from_slice(&pair[1][1..]);
        if index != 5 {
            harness.audio(index as u16, index * 1_920, &packet);
        }
        harness.pass(40);
    }
    let ticks: Vec<_> = harness.audio_seen().iter().map(|seen| seen.1).collect();
    assert_eq!(ticks, (0..20).map(|n| n * 160).collect::<Vec<_>>());
    let statistics = harness.statistics();
    assert_eq!((statistics.fec_recovered, statistics.concealed), (1, 1));
}
