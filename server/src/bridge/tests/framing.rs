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

/// A harness in which both legs speak `codec`, and the sink wants packets of `ptime_ms`.
fn same_codec(codec: Codec, ptime_ms: u8) -> Harness {
    let sink = StreamFormat {
        ptime_ms,
        ..format(codec)
    };
    Harness::new(&format(codec), &sink)
}

#[test]
fn g711_and_l16_of_another_ptime_are_framed_anew_without_a_change() {
    let wide = Codec::L16(SampleRate::Hz24000);
    for (codec, bytes_per_ms, ticks_per_ms) in [(Codec::Pcma, 8, 8), (L16, 32, 16), (wide, 48, 24)]
    {
        for (ptime_ms, sink_ptime_ms) in [(30, 20), (20, 40), (20, 10), (10, 30)] {
            if codec == wide && sink_ptime_ms == 40 {
                continue; // It fits into no datagram.
            }
            let mut harness = same_codec(codec, sink_ptime_ms);
            let sent: Vec<u8> = (0..1_200 * bytes_per_ms).map(|n| (n % 251) as u8).collect();
            let payloads = sent.chunks((ptime_ms * bytes_per_ms) as usize);
            for (payload, index) in payloads.zip(0u32..) {
                harness.audio(index as u16, index * ptime_ms * ticks_per_ms, payload);
                harness.pass(ptime_ms.into());
            }
            // The first packet goes as it came: one alone says nothing of the source's framing.
            let frame_len = usize::from(sink_ptime_ms) * bytes_per_ms as usize;
            let mut numbers = Vec::new();
            for (seen, index) in harness.seen.iter().zip(0u32..) {
                numbers.push(seen.sequence);
                let ticks = match index {
                    0 => 0,
                    n => (ptime_ms + (n - 1) * u32::from(sink_ptime_ms)) * ticks_per_ms,
                };
                assert_eq!(seen.ticks, ticks, "{codec:?} {ptime_ms}>{sink_ptime_ms}");
                if index > 0 {
                    assert_eq!(seen.payload.len(), frame_len);
                }
            }
            assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1));
            let heard: Vec<u8> = harness
                .seen
                .iter()
                .flat_map(|seen| seen.payload.clone())
                .collect();
            assert!(heard.len() + frame_len > sent.len());
            assert_eq!(
                heard[..],
                sent[..heard.len()],
                "{codec:?} {ptime_ms}>{sink_ptime_ms}"
            );
            assert_eq!(harness.statistics().concealed, 0);
        }
    }
}

#[test]
fn opus_is_put_together_and_taken_apart_without_decoding() {
    let packets = opus_packets(20, 24);
    let mut joined = same_codec(Codec::Opus, 40);
    for (packet, index) in packets.iter().zip(0u32..) {
        joined.audio(index as u16, index * 960, packet);
        joined.pass(20);
    }
    let seen = joined.audio_seen();
    assert_eq!(
        seen[..3],
        [(0, 0, true), (1, 960, false), (2, 2_880, false)]
    );
    assert_eq!(seen.len(), 12);
    assert!(!joined.direction.plan().is_transcode());
    let joined: Vec<Vec<u8>> = joined.seen.into_iter().map(|seen| seen.payload).collect();

    let mut apart = same_codec(Codec::Opus, 20);
    for (packet, index) in joined[1..].iter().zip(0u32..) {
        apart.audio(index as u16, index * 1_920, packet);
        apart.pass(40);
    }
    let ticks: Vec<_> = apart.audio_seen().iter().map(|seen| seen.1).collect();
    assert_eq!(
        ticks[..4],
        [0, 1_920, 2_880, 3_840],
        "the first went as it came"
    );
    // Frame for frame what was encoded, but for the first of all.
    let frames = |payload: &Vec<u8>| {
        let frames = codecs::opus::frames(payload).unwrap();
        frames.map(<[u8]>::to_vec).collect::<Vec<_>>()
    };
    let heard: Vec<_> = apart
        .seen
        .iter()
        .flat_map(|seen| frames(&seen.payload))
        .collect();
    let sent: Vec<_> = packets[1..].iter().flat_map(frames).collect();
    assert_eq!(heard[..], sent[..heard.len()]);
}

#[test]
fn a_gap_in_joined_opus_keeps_its_place_and_a_frame_that_is_longer_goes_alone() {
    let packets = opus_packets(20, 12);
    let mut harness = same_codec(Codec::Opus, 40);
    for (packet, index) in packets.iter().zip(0u32..) {
        if index != 6 {
            harness.audio(index as u16, index * 960, packet);
        }
        harness.pass(20);
    }
    assert_eq!(
        harness.audio_seen(),
        [
            (0, 0, true),
            (1, 960, false),
            (2, 2_880, false),
            (3, 4_800, false),
            (5, 6_720, false),
            (6, 8_640, false),
        ]
    );
    let mut long = same_codec(Codec::Opus, 20);
    for (packet, index) in opus_packets(60, 5).iter().zip(0u32..) {
        long.audio(index as u16, index * 2_880, packet);
    }
    let ticks: Vec<_> = long.audio_seen().iter().map(|seen| seen.1).collect();
    assert_eq!(ticks, [0, 2_880, 5_760, 8_640, 11_520]);
}
