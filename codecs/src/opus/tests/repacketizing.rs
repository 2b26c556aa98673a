//! Frames of packets, and packets of other durations; libopus is the oracle.
#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use super::*;
use proptest::prelude::*;
use std::ptr;

/// What `opus_packet_parse` finds.
fn libopus_frames(packet: &[u8]) -> Option<Vec<&[u8]>> {
    let mut toc = 0;
    let mut starts = [ptr::null(); FRAMES_MAX];
    let mut sizes = [0; FRAMES_MAX];
    let mut payload_offset = 0;
    // SAFETY: reads at most the packet's bytes and writes at most 48 frames (RFC 6716 section 3.4, R5).
    let count = unsafe {
        ffi::opus_packet_parse(
            packet.as_ptr(),
            packet.len() as i32,
            &raw mut toc,
            starts.as_mut_ptr(),
            sizes.as_mut_ptr(),
            &raw mut payload_offset,
        )
    };
    let frame = |index: usize| {
        let offset = starts[index] as usize - packet.as_ptr() as usize;
        &packet[offset..][..sizes[index] as usize]
    };
    Some((0..usize::try_from(count).ok()?).map(frame).collect())
}

/// What `opus_repacketizer_cat` and `opus_repacketizer_out` make of packets of one configuration.
fn libopus_joined(packets: &[Vec<u8>]) -> Option<Vec<u8>> {
    let mut joined = vec![0; 65_536];
    // SAFETY: made here, used with packets that outlive it, and freed once; `out` writes at most `joined.len()` bytes.
    let written = unsafe {
        let state = ffi::opus_repacketizer_create();
        let mut result = ffi::OPUS_OK;
        for packet in packets {
            result = ffi::opus_repacketizer_cat(state, packet.as_ptr(), packet.len() as i32);
            if result != ffi::OPUS_OK {
                break;
            }
        }
        if result == ffi::OPUS_OK {
            result = ffi::opus_repacketizer_out(state, joined.as_mut_ptr(), joined.len() as i32);
        }
        ffi::opus_repacketizer_destroy(state);
        result
    };
    joined.truncate(usize::try_from(written).ok().filter(|&len| len > 0)?);
    Some(joined)
}

/// Everything at `duration_ms`, and how long each packet lasts.
fn repacketized(packets: &[Vec<u8>], duration_ms: u32) -> Vec<(Vec<u8>, u32)> {
    let mut repacketizer = Repacketizer::new(duration_ms);
    let mut room = vec![0; 65_536];
    let mut out = Vec::new();
    for packet in packets {
        repacketizer.push(packet).unwrap();
        while let Some(popped) = repacketizer.pop(&mut room) {
            let popped = popped.unwrap();
            out.push((room[..popped.len].to_vec(), popped.duration_us));
        }
    }
    while let Some(flushed) = repacketizer.flush(&mut room) {
        let flushed = flushed.unwrap();
        out.push((room[..flushed.len].to_vec(), flushed.duration_us));
    }
    for (packet, duration_us) in &out {
        let samples = packet_duration_samples(packet, SampleRate::Hz48000).unwrap();
        assert_eq!(samples, *duration_us as usize * 48 / 1_000);
    }
    out
}

fn all_frames(packets: &[Vec<u8>]) -> Vec<Vec<u8>> {
    packets
        .iter()
        .flat_map(|packet| frames(packet).unwrap().map(<[u8]>::to_vec))
        .collect()
}

#[test]
fn speech_is_the_same_at_every_ptime() {
    let rate = SampleRate::Hz8000;
    let packets = encode_all(WITH_FEC, &changing_voice(rate));
    let expected = decode_all(rate, &packets);
    for duration_ms in [0, 10, 20, 40, 60, 100, 120, 5_000] {
        let out = repacketized(&packets, duration_ms);
        let frames_each = (duration_ms.min(120) / 20).max(1);
        let (last, whole) = out.split_last().unwrap();
        assert!(whole.iter().all(|packet| packet.1 == frames_each * 20_000));
        assert!(last.1 <= frames_each * 20_000);
        let out: Vec<_> = out.into_iter().map(|(packet, _)| packet).collect();
        let heard = decode_all(rate, &out);
        assert!(heard == expected, "{duration_ms} ms");
        // And back.
        let single: Vec<_> = repacketized(&out, 20)
            .into_iter()
            .map(|(packet, _)| packet)
            .collect();
        assert!(single == packets, "{duration_ms} ms");
    }
}

#[test]
fn a_change_of_configuration_begins_another_packet() {
    let narrow = encode_all(
        EncoderConfig::narrowband(),
        &changing_voice(SampleRate::Hz8000),
    );
    let wide = encode_all(
        EncoderConfig::wideband(),
        &changing_voice(SampleRate::Hz16000),
    );
    let mixed = [&narrow[..4], &wide[..2], &narrow[4..5]].concat();
    let durations_ms: Vec<_> = repacketized(&mixed, 60)
        .into_iter()
        .map(|(_, duration_us)| duration_us / 1_000)
        .collect();
    assert_eq!(durations_ms, [60, 20, 40, 20]);
}

#[test]
fn what_does_not_fit_goes_into_more_packets() {
    let packets = encode_all(
        EncoderConfig::narrowband(),
        &changing_voice(SampleRate::Hz8000),
    );
    let mut repacketizer = Repacketizer::new(60);
    for packet in &packets[4..7] {
        repacketizer.push(packet).unwrap();
    }
    let two = packets[4].len() + packets[5].len() + 2;
    let mut room = vec![0; two];
    let mut out = Vec::new();
    while let Some(flushed) = repacketizer.flush(&mut room) {
        let flushed = flushed.unwrap();
        out.push(room[..flushed.len].to_vec());
    }
    assert_eq!(all_frames(&out), all_frames(&packets[4..7]));
    assert_eq!(out.len(), 2);
    // A frame that has no room at all is dropped, and the next one comes.
    let shortest = packets.iter().min_by_key(|packet| packet.len()).unwrap();
    let longest = packets.iter().max_by_key(|packet| packet.len()).unwrap();
    repacketizer.push(longest).unwrap();
    repacketizer.push(shortest).unwrap();
    let mut room = vec![0; shortest.len()];
    assert_eq!(
        repacketizer.flush(&mut room),
        Some(Err(OpusError::OutputTooShort { room: room.len() }))
    );
    assert!(repacketizer.flush(&mut room).unwrap().is_ok());
    assert!(room == *shortest);
    assert_eq!(repacketizer.flush(&mut room), None);
}

#[test]
fn who_does_not_pop_is_refused_in_the_end() {
    let mut repacketizer = Repacketizer::new(120);
    let packet = [0x83, 48];
    assert_eq!(frames(&packet).unwrap().len(), 48);
    assert_eq!(repacketizer.push(&packet), Ok(()));
    assert_eq!(repacketizer.push(&packet), Ok(()));
    assert!(matches!(
        repacketizer.push(&packet),
        Err(OpusError::OutputTooShort { .. })
    ));
    assert_eq!(repacketizer.push(&[]), Err(OpusError::InvalidPacket));
}

/// A valid packet of any code, with any frames of one configuration; `vbr` and `padding` only in code 3.
fn packet_of(toc: u8, lengths: &[usize], padding: Option<usize>) -> Vec<u8> {
    let mut packet = vec![toc | 3, 0x80 | lengths.len() as u8];
    if let Some(padding) = padding {
        packet[1] |= 0x40;
        packet.extend(std::iter::repeat_n(255, padding / 254));
        packet.push((padding % 254) as u8);
    }
    for &length in &lengths[..lengths.len() - 1] {
        match length {
            0..252 => packet.push(length as u8),
            _ => packet.extend([252 + (length % 4) as u8, ((length - 252) / 4) as u8]),
        }
    }
    for (index, &length) in lengths.iter().enumerate() {
        packet.extend(std::iter::repeat_n(index as u8, length));
    }
    packet.extend(std::iter::repeat_n(0, padding.unwrap_or(0)));
    packet
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn frames_are_those_that_libopus_finds(packet in proptest::collection::vec(any::<u8>(), 1..80)) {
        let found: Option<Vec<&[u8]>> = frames(&packet).ok().map(Iterator::collect);
        prop_assert_eq!(found, libopus_frames(&packet));
    }

    #[test]
    fn every_length_is_read_and_written(
        config in 0_u8..32,
        lengths in proptest::collection::vec(prop_oneof![0_usize..4, 248..260_usize, Just(1_275)], 1..=48),
        padding in proptest::option::of(0_usize..600),
    ) {
        let toc = config << 3;
        let frames_max = 120_000 / Toc::of(&[toc]).unwrap().frame_duration_us() as usize;
        let lengths = &lengths[..lengths.len().min(frames_max).min(12)];
        let packet = packet_of(toc, lengths, padding);
        let found: Vec<_> = frames(&packet).unwrap().collect();
        prop_assert_eq!(Some(found.clone()), libopus_frames(&packet));
        let written: Vec<_> = found.iter().map(|frame| frame.len()).collect();
        prop_assert_eq!(&written[..], lengths);
        prop_assert_eq!(frames(&packet).unwrap().len(), lengths.len());
        if packet.len() <= 7_650 {
            let singles: Vec<_> =
                repacketized(&[packet], 0).into_iter().map(|(packet, _)| packet).collect();
            let joined: Vec<_> = repacketized(&singles, 120);
            prop_assert_eq!(Some(joined[0].0.clone()), libopus_joined(&singles));
        }
    }

    #[test]
    fn packets_of_any_kind_are_joined_as_libopus_joins_them(
        config in 0_u8..32,
        packets in proptest::collection::vec(proptest::collection::vec(0_usize..300, 1..4), 1..6),
    ) {
        let packets: Vec<_> =
            packets.iter().map(|lengths| packet_of(config << 3, lengths, None)).collect();
        let is_valid = packets.iter().all(|packet| frames(packet).is_ok());
        if let Some(expected) = libopus_joined(&packets).filter(|_| is_valid) {
            let joined = repacketized(&packets, 120);
            prop_assert_eq!(&joined[0].0, &expected);
            prop_assert_eq!(joined.len(), 1);
        }
    }

    #[test]
    fn garbage_comes_out_as_it_went_in(
        packets in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..60), 1..8),
        duration_ms in 0_u32..130,
    ) {
        let valid: Vec<_> =
            packets.into_iter().filter(|packet| frames(packet).is_ok()).collect();
        let out: Vec<_> =
            repacketized(&valid, duration_ms).into_iter().map(|(packet, _)| packet).collect();
        prop_assert_eq!(all_frames(&out), all_frames(&valid));
    }
}
