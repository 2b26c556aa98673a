//! Silence behind the gate: what it saves, and what the listener hears instead.
#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use super::*;
use crate::level::rms_dbov;
use crate::signals::{noise, snr_db, vowel};

/// Packets of 20 ms, and whether each is silence.
fn encode_gated(config: EncoderConfig, is_gated: bool, pcm: &[i16]) -> Vec<(Vec<u8>, bool)> {
    let mut encoder = GatedEncoder::new(config).unwrap();
    encoder.set_gated(is_gated);
    pcm.chunks_exact(config.sample_rate.samples(20))
        .map(|frame| {
            let mut packet = vec![0; PACKET_BYTES_MAX_20_MS];
            let encoded = encoder.encode(frame, &mut packet).unwrap();
            packet.truncate(encoded.len);
            (packet, encoded.is_silence)
        })
        .collect()
}

fn heard(rate: SampleRate, packets: &[(Vec<u8>, bool)]) -> Vec<i16> {
    let packets: Vec<Vec<u8>> = packets.iter().map(|(packet, _)| packet.clone()).collect();
    decode_all(rate, &packets)
}

/// A second of voice, three of a background of `amplitude`, a second of voice; the background goes through all of it.
fn voice_pause_voice(rate: SampleRate, amplitude: i32) -> Vec<i16> {
    let mut pcm = noise(amplitude, rate.samples(5_000));
    let voice = vowel(rate, 130.0, rate.samples(1_000));
    for start_ms in [0, 4_000] {
        for (sample, voice) in pcm[rate.samples(start_ms)..].iter_mut().zip(&voice) {
            *sample = sample.saturating_add(*voice);
        }
    }
    pcm
}

#[test]
fn silence_is_not_encoded_but_for_a_refresh() {
    for config in CONFIGS {
        let rate = config.sample_rate;
        let packets = encode_gated(config, true, &vec![0; rate.samples(10_000)]);
        let silent = packets.iter().filter(|(_, is_silence)| *is_silence).count();
        assert!(silent >= 450, "{rate:?}: {silent} of 500");
        for (packet, is_silence) in &packets {
            assert_eq!(packet.len() == 1, *is_silence, "{rate:?}");
            assert_eq!(packet_duration_samples(packet, rate), Ok(rate.samples(20)));
        }
        // 400 ms are 20 packets.
        let refreshed = packets[100..]
            .chunks(20)
            .filter(|of_400_ms| of_400_ms.iter().any(|(_, is_silence)| !is_silence));
        assert_eq!(refreshed.count(), 20, "{rate:?}");
        assert!(
            encode_gated(config, false, &vec![0; rate.samples(1_000)])
                .iter()
                .all(|(_, is_silence)| !is_silence)
        );
    }
}

#[test]
fn a_pause_sounds_like_the_background_that_it_had() {
    for config in CONFIGS {
        let rate = config.sample_rate;
        // -60 dBov.
        let pcm = voice_pause_voice(rate, 57);
        let packets = encode_gated(config, true, &pcm);
        let silent = packets.iter().filter(|(_, is_silence)| *is_silence).count();
        assert!(silent > 100, "{rate:?}: {silent} of 250");
        let gated = heard(rate, &packets);
        let plain = heard(rate, &encode_gated(config, false, &pcm));
        let pause = rate.samples(1_600)..rate.samples(3_900);
        let (gated_dbov, plain_dbov) = (
            rms_dbov(&gated[pause.clone()]),
            rms_dbov(&plain[pause.clone()]),
        );
        println!("{rate:?}: pause at {gated_dbov} dBov with the gate, {plain_dbov} without");
        assert!(
            (gated_dbov - plain_dbov).abs() < 6.0,
            "{rate:?}: {gated_dbov} against {plain_dbov} dBov"
        );
        // Nothing clicks when it closes, and when single frames are refreshed.
        let peak = gated[pause]
            .iter()
            .map(|sample| sample.unsigned_abs())
            .max();
        assert!(
            peak.is_some_and(|peak| peak < 400),
            "{rate:?}: a click of {peak:?}"
        );
    }
}

#[test]
fn the_first_word_after_a_pause_is_whole() {
    for config in CONFIGS {
        let rate = config.sample_rate;
        let pcm = voice_pause_voice(rate, 6);
        let packets = encode_gated(config, true, &pcm);
        // Its packets are all encoded, from the first on.
        assert!(
            packets[200..].iter().all(|(_, is_silence)| !is_silence),
            "{rate:?}"
        );
        let gated = heard(rate, &packets);
        let plain = heard(rate, &encode_gated(config, false, &pcm));
        let level_db = |range: std::ops::Range<usize>| {
            rms_dbov(&gated[range.clone()]) - rms_dbov(&plain[range])
        };
        for start_ms in [4_010, 4_030, 4_060, 4_500] {
            let off_db = level_db(rate.samples(start_ms)..rate.samples(start_ms + 20));
            assert!(off_db.abs() < 3.0, "{rate:?}, {start_ms} ms: {off_db} dB");
        }
    }
}

/// What was closed leaves no trace later: the encoder's state is stale for a moment only.
#[test]
fn a_stale_encoder_catches_up() {
    let config = EncoderConfig::narrowband();
    let pcm = voice_pause_voice(config.sample_rate, 6);
    let gated = heard(config.sample_rate, &encode_gated(config, true, &pcm));
    let later = config.sample_rate.samples(4_100)..config.sample_rate.samples(4_900);
    let expected = &pcm[later.clone()];
    let lookahead = Encoder::new(config).unwrap().lookahead_samples().unwrap();
    let delayed = &gated[later.start + lookahead..later.end + lookahead];
    let snr_gated_db = snr_db(expected, delayed);
    let plain = heard(config.sample_rate, &encode_gated(config, false, &pcm));
    let snr_plain_db = snr_db(
        expected,
        &plain[later.start + lookahead..later.end + lookahead],
    );
    assert!(
        snr_gated_db > snr_plain_db - 1.0,
        "{snr_gated_db} against {snr_plain_db} dB"
    );
}

#[test]
fn packets_of_other_durations_are_silence_as_well() {
    for duration_ms in [10, 20, 40, 60] {
        let rate = SampleRate::Hz8000;
        let mut encoder = GatedEncoder::new(EncoderConfig::narrowband()).unwrap();
        let frame = vec![0; rate.samples(duration_ms)];
        let mut packet = [0; 6 * PACKET_BYTES_MAX_20_MS];
        let mut silent = 0;
        for _ in 0..200 {
            let encoded = encoder.encode(&frame, &mut packet).unwrap();
            silent += usize::from(encoded.is_silence);
            assert_eq!(
                packet_duration_samples(&packet[..encoded.len], rate),
                Ok(frame.len())
            );
        }
        assert!(silent > 150, "{duration_ms} ms: {silent} of 200");
    }
}
