//! What goes in comes out: rates, durations, levels, settings, bad packets between good ones.
#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use super::*;
use crate::signals::{best_delay, noise, sine_fit, tone, vowel};

#[test]
fn speech_survives_between_any_two_rates() {
    for config in CONFIGS {
        let spoken = changing_voice(config.sample_rate);
        let packets = encode_all(config, &spoken);
        let lookahead_ms = Encoder::new(config).unwrap().lookahead_samples().unwrap() as f64
            * 1_000.0
            / f64::from(config.sample_rate.hz());
        for rate in SampleRate::ALL {
            let expected = changing_voice(rate);
            let heard = decode_all(rate, &packets);
            assert_eq!(heard.len(), expected.len());
            let window = rate.samples(200)..rate.samples(2_900);
            let (delay, correlation) = best_delay(
                &expected[window.clone()],
                &heard[window.start..],
                rate.samples(20),
            );
            let delay_ms = delay as f64 * 1_000.0 / f64::from(rate.hz());
            assert!(
                correlation > 0.93,
                "{:?} to {rate:?}: correlation {correlation}",
                config.sample_rate
            );
            assert!(
                (delay_ms - lookahead_ms).abs() < 2.0,
                "{:?} to {rate:?}: delay {delay_ms} ms, look-ahead {lookahead_ms} ms",
                config.sample_rate
            );
        }
    }
}

#[test]
fn tones_keep_their_level_and_frequency() {
    for config in CONFIGS {
        let rate = config.sample_rate;
        let packets = encode_all(config, &tone(rate, 440.0, 10_000.0, rate.samples(1_000)));
        let heard = decode_all(rate, &packets);
        let (amplitude, snr_db) = sine_fit(rate, 440.0, &heard[rate.samples(300)..]);
        assert!(
            (9_000.0..11_000.0).contains(&amplitude),
            "{rate:?}: amplitude {amplitude}"
        );
        assert!(snr_db > 15.0, "{rate:?}: SNR {snr_db} dB");
    }
}

#[test]
fn a_browsers_48_khz_packet_decodes_at_8_khz() {
    let browser = EncoderConfig {
        bitrate_bps: 24_000,
        complexity: 9,
        ..EncoderConfig::fullband()
    };
    let packets = encode_all(
        browser,
        &tone(SampleRate::Hz48000, 1_000.0, 12_000.0, 48_000),
    );
    let heard = decode_all(SampleRate::Hz8000, &packets);
    let (amplitude, snr_db) = sine_fit(SampleRate::Hz8000, 1_000.0, &heard[2_400..]);
    assert!(
        (11_000.0..13_000.0).contains(&amplitude),
        "amplitude {amplitude}"
    );
    assert!(snr_db > 15.0, "SNR {snr_db} dB");
}

#[test]
fn the_bitrate_follows_the_setting() {
    for config in CONFIGS {
        let packets = encode_all(config, &changing_voice(config.sample_rate));
        let bits: usize = packets.iter().map(|packet| packet.len() * 8).sum();
        let bitrate_bps = bits as f64 / (packets.len() as f64 * 0.02);
        // Variable bitrate: the pauses, two fifths of this voice, take little.
        let share = bitrate_bps / f64::from(config.bitrate_bps);
        assert!(
            (0.4..1.05).contains(&share),
            "{:?}: {bitrate_bps} bit/s",
            config.sample_rate
        );
    }
    let mut encoder = Encoder::new(EncoderConfig::narrowband()).unwrap();
    let voice = changing_voice(SampleRate::Hz8000);
    let bytes_at = |encoder: &mut Encoder, bitrate_bps| {
        let config = EncoderConfig {
            bitrate_bps,
            ..encoder.config()
        };
        encoder.apply(&config).unwrap();
        let mut packet = [0; PACKET_BYTES_MAX_20_MS];
        voice
            .chunks_exact(160)
            .map(|frame| encoder.encode(frame, &mut packet).unwrap())
            .sum::<usize>()
    };
    assert!(bytes_at(&mut encoder, 40_000) > 2 * bytes_at(&mut encoder, 12_000));
}

#[test]
fn every_duration_encodes_and_decodes() {
    for config in CONFIGS {
        let rate = config.sample_rate;
        let mut encoder = Encoder::new(config).unwrap();
        let mut decoder = Decoder::new(SampleRate::Hz8000).unwrap();
        let mut packet = [0; 6 * PACKET_BYTES_MAX_20_MS];
        let mut pcm = [0; packet_samples_max(SampleRate::Hz8000)];
        for tenths_ms in [25, 50, 100, 200, 400, 600, 800, 1_000, 1_200] {
            let sound = noise(5_000, rate.samples(tenths_ms) / 10);
            let written = encoder.encode(&sound, &mut packet).unwrap();
            let samples = SampleRate::Hz8000.samples(tenths_ms) / 10;
            assert_eq!(
                packet_duration_samples(&packet[..written], rate).unwrap(),
                sound.len()
            );
            assert_eq!(
                decoder.decode(&packet[..written], &mut pcm).unwrap(),
                samples,
                "{tenths_ms} / 10 ms"
            );
            assert_eq!(decoder.last_packet_samples(), samples);
        }
        for samples in [
            0,
            1,
            rate.samples(15),
            rate.samples(20) - 1,
            rate.samples(140),
        ] {
            let refused = encoder.encode(&vec![0; samples], &mut packet);
            assert_eq!(refused, Err(OpusError::FrameLength { samples, rate }));
        }
    }
}

#[test]
fn stereo_packets_come_out_mono() {
    let left = tone(SampleRate::Hz48000, 440.0, 10_000.0, 48_000);
    let packets = stereo_packets(left.iter().flat_map(|&sample| [sample, sample]).collect());
    assert!(
        packets
            .iter()
            .all(|packet| Toc::of(packet).unwrap().is_stereo())
    );
    let heard = decode_all(SampleRate::Hz16000, &packets);
    let (amplitude, _) = sine_fit(SampleRate::Hz16000, 440.0, &heard[4_800..]);
    assert!(
        (9_000.0..11_000.0).contains(&amplitude),
        "amplitude {amplitude}"
    );
}

#[test]
fn bad_packets_and_short_buffers_are_refused_and_leave_no_trace() {
    let rate = SampleRate::Hz16000;
    let packets = encode_all(
        EncoderConfig::wideband(),
        &vowel(rate, 140.0, rate.samples(400)),
    );
    let intact = decode_all(rate, &packets);
    let mut decoder = Decoder::new(rate).unwrap();
    let mut pcm = vec![0; packet_samples_max(rate)];
    let mut heard = Vec::new();
    let too_long_frame = [[0x08].as_slice(), &[0; 1_276]].concat();
    // Empty; odd length for two equal frames; length beyond the end; no frames; 48 x 60 ms; padding beyond the end.
    let bad: [&[u8]; 7] = [
        &[],
        &[0x09, 1],
        &[0x0a, 200, 1],
        &[0x0b, 0],
        &[0x1b, 48],
        &[0x0b, 0x41, 99],
        &too_long_frame,
    ];
    for packet in &packets {
        for bad in bad {
            assert_eq!(
                decoder.decode(bad, &mut pcm),
                Err(OpusError::InvalidPacket),
                "{bad:?}"
            );
            assert!(!has_lbrr(bad));
        }
        assert_eq!(
            decoder.decode_fec(&[], &mut pcm[..320]),
            Err(OpusError::InvalidPacket)
        );
        assert_eq!(
            decoder.decode(packet, &mut pcm[..319]),
            Err(OpusError::OutputTooShort { room: 319 })
        );
        let written = decoder.decode(packet, &mut pcm).unwrap();
        heard.extend_from_slice(&pcm[..written]);
    }
    assert!(heard == intact);
}

#[test]
fn settings_out_of_range_are_named() {
    let refused = |config| Encoder::new(config).err();
    let base = EncoderConfig::narrowband();
    let setting = |name, value| Some(OpusError::Setting { name, value });
    assert_eq!(
        refused(EncoderConfig {
            bitrate_bps: 5_999,
            ..base
        }),
        setting("bitrate_bps", 5_999)
    );
    assert_eq!(
        refused(EncoderConfig {
            bitrate_bps: u32::MAX,
            ..base
        }),
        setting("bitrate_bps", u32::MAX)
    );
    assert_eq!(
        refused(EncoderConfig {
            complexity: 11,
            ..base
        }),
        setting("complexity", 11)
    );
    assert_eq!(
        refused(EncoderConfig {
            expected_loss_pct: 101,
            ..base
        }),
        setting("expected_loss_pct", 101)
    );
    let mut encoder = Encoder::new(base).unwrap();
    assert_eq!(
        encoder.encode(&[0; 160], &mut []),
        Err(OpusError::OutputTooShort { room: 0 })
    );
}

#[test]
fn reset_begins_anew() {
    let voice = changing_voice(SampleRate::Hz8000);
    let mut used = Encoder::new(WITH_FEC).unwrap();
    let mut packet = [0; PACKET_BYTES_MAX_20_MS];
    for frame in voice.chunks_exact(160) {
        used.encode(frame, &mut packet).unwrap();
    }
    used.reset();
    let fresh = encode_all(WITH_FEC, &voice);
    for (frame, expected) in voice.chunks_exact(160).zip(&fresh) {
        let written = used.encode(frame, &mut packet).unwrap();
        assert!(
            packet[..written] == expected[..],
            "settings outlive a reset, the past does not"
        );
    }
    let mut decoder = Decoder::new(SampleRate::Hz8000).unwrap();
    let mut pcm = [0; 160];
    decoder.decode(&fresh[9], &mut pcm).unwrap();
    decoder.reset();
    assert_eq!(decoder.last_packet_samples(), 0);
    decoder.conceal(&mut pcm).unwrap();
    assert_eq!(pcm, [0; 160]);
}
