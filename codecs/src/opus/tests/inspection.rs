//! Packet inspection; libopus is the oracle.
#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use super::*;
use opusic_sys as ffi;
use proptest::prelude::*;

/// What libopus says about LBRR and duration of a packet that is not empty.
fn libopus_says(packet: &[u8], rate: SampleRate) -> (bool, Option<usize>) {
    let bytes = packet.len() as i32;
    // SAFETY: both read at most `bytes` bytes, and at least one, which is there.
    let (lbrr, samples) = unsafe {
        (
            ffi::opus_packet_has_lbrr(packet.as_ptr(), bytes),
            ffi::opus_packet_get_nb_samples(packet.as_ptr(), bytes, rate_for_libopus(rate)),
        )
    };
    (
        lbrr == 1,
        usize::try_from(samples).ok().filter(|&samples| samples > 0),
    )
}

#[test]
fn toc_agrees_with_libopus_on_every_byte() {
    for byte in 0..=u8::MAX {
        let toc = Toc::of(&[byte]).unwrap();
        // SAFETY: each reads the one byte that is there.
        let (bandwidth, channels, samples) = unsafe {
            (
                ffi::opus_packet_get_bandwidth(&raw const byte),
                ffi::opus_packet_get_nb_channels(&raw const byte),
                ffi::opus_packet_get_samples_per_frame(&raw const byte, 48_000),
            )
        };
        let expected = match bandwidth {
            ffi::OPUS_BANDWIDTH_NARROWBAND => Bandwidth::Narrowband,
            ffi::OPUS_BANDWIDTH_MEDIUMBAND => Bandwidth::Mediumband,
            ffi::OPUS_BANDWIDTH_WIDEBAND => Bandwidth::Wideband,
            ffi::OPUS_BANDWIDTH_SUPERWIDEBAND => Bandwidth::SuperWideband,
            _ => Bandwidth::Fullband,
        };
        assert_eq!(toc.bandwidth(), expected, "{byte:#04x}");
        assert_eq!(toc.is_stereo(), channels == 2);
        assert_eq!(
            u64::from(toc.frame_duration_us()) * 48 / 1_000,
            samples as u64,
            "{byte:#04x}"
        );
    }
    // RFC 6716 table 2.
    assert_eq!(Toc::of(&[11 << 3]).unwrap().mode(), Mode::Silk);
    assert_eq!(Toc::of(&[12 << 3]).unwrap().mode(), Mode::Hybrid);
    assert_eq!(Toc::of(&[16 << 3]).unwrap().mode(), Mode::Celt);
    assert_eq!(Toc::of(&[]), None);
}

#[test]
fn lbrr_agrees_with_libopus_on_real_packets() {
    let mut seen = [0, 0];
    let rate = SampleRate::Hz48000;
    let stereo = stereo_packets(
        changing_voice(rate)
            .into_iter()
            .flat_map(|sample| [sample, sample / 2])
            .collect(),
    );
    let mono = [
        WITH_FEC,
        EncoderConfig {
            sample_rate: rate,
            ..WITH_FEC
        },
    ]
    .map(|config| encode_all(config, &changing_voice(config.sample_rate)))
    .concat();
    let mut long = Vec::new();
    for duration_ms in [10, 40, 60, 120] {
        let mut encoder = Encoder::new(WITH_FEC).unwrap();
        for frame in
            changing_voice(SampleRate::Hz8000).chunks_exact(SampleRate::Hz8000.samples(duration_ms))
        {
            let mut packet = vec![0; 6 * PACKET_BYTES_MAX_20_MS];
            let written = encoder.encode(frame, &mut packet).unwrap();
            packet.truncate(written);
            long.push(packet);
        }
    }
    for packet in [stereo, mono, long].concat() {
        let (lbrr, samples) = libopus_says(&packet, rate);
        assert_eq!(has_lbrr(&packet), lbrr);
        assert_eq!(packet_duration_samples(&packet, rate).ok(), samples);
        seen[usize::from(lbrr)] += 1;
    }
    assert!(seen[0] > 0 && seen[1] > 0, "{seen:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn garbage_is_read_as_libopus_reads_it(packet in proptest::collection::vec(any::<u8>(), 1..60), rate in 0_usize..4) {
        let rate = SampleRate::ALL[rate];
        let (lbrr, samples) = libopus_says(&packet, rate);
        prop_assert_eq!(packet_duration_samples(&packet, rate).ok(), samples);
        prop_assert_eq!(has_lbrr(&packet), samples.is_some() && lbrr);
    }

    #[test]
    fn garbage_decodes_or_is_refused(
        packets in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 1..6),
        rate in 0_usize..4,
        lost_quanta in 0_usize..50,
    ) {
        let rate = SampleRate::ALL[rate];
        let mut decoder = Decoder::new(rate).unwrap();
        let mut pcm = vec![0; packet_samples_max(rate)];
        let gap = (lost_quanta * quantum_samples(rate)).min(pcm.len());
        for packet in packets {
            let _filled_or_refused = decoder.decode_fec(&packet, &mut pcm[..gap]);
            if let Ok(samples) = decoder.decode(&packet, &mut pcm) {
                prop_assert_eq!(Ok(samples), packet_duration_samples(&packet, rate));
            }
        }
    }
}
