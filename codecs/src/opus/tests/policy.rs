//! What is decided for a listener, and what then is really in the packets.
#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use super::*;

const CLEAN: Conditions = Conditions {
    available_bps: u32::MAX,
    loss_fraction: 0.0,
    cpu_is_scarce: false,
};

/// Bitrate, complexity, expected loss (0: no LBRR); none when nothing changed.
fn decided(
    policy: &mut Policy,
    limits: Limits,
    conditions: Conditions,
) -> Option<(u32, u8, Option<u8>)> {
    let config = policy.decide(&limits, &conditions)?;
    assert_eq!(policy.config(), config);
    let loss_pct = config.inband_fec.then_some(config.expected_loss_pct);
    Some((config.bitrate_bps, config.complexity, loss_pct))
}

#[test]
fn a_policy_starts_at_the_knee_of_its_rate() {
    for (rate, bitrate_bps, complexity) in [
        (SampleRate::Hz8000, 24_000, 0),
        (SampleRate::Hz16000, 32_000, 0),
        (SampleRate::Hz24000, 32_000, 5),
        (SampleRate::Hz48000, 32_000, 5),
    ] {
        let mut policy = Policy::new(rate);
        let config = policy.config();
        assert_eq!((config.sample_rate, config.inband_fec), (rate, false));
        assert_eq!(
            (config.bitrate_bps, config.complexity),
            (bitrate_bps, complexity)
        );
        assert_eq!(policy.decide(&Limits::default(), &CLEAN), None);
    }
}

#[test]
fn lbrr_comes_with_the_loss_and_goes_below_half_of_it() {
    let mut policy = Policy::new(SampleRate::Hz8000);
    for (loss_fraction, expected) in [
        (0.019, None),
        (0.02, Some((32_000, 0, Some(5)))),
        (0.08, Some((32_000, 0, Some(8)))),
        (0.015, Some((32_000, 0, Some(5)))),
        (0.9, Some((32_000, 0, Some(30)))),
        (0.009, Some((24_000, 0, None))),
        (0.015, None),
        (f64::NAN, None),
    ] {
        let conditions = Conditions {
            loss_fraction,
            ..CLEAN
        };
        let decided = decided(&mut policy, Limits::default(), conditions);
        assert_eq!(decided, expected, "{loss_fraction}");
    }
}

#[test]
fn path_and_operator_limit_the_bitrate_with_and_without_lbrr() {
    let mut policy = Policy::new(SampleRate::Hz48000);
    let limits = Limits {
        bitrate_min_bps: 8_000,
        bitrate_max_bps: 40_000,
        complexity_max: None,
        voice_activity_gate: true,
    };
    for (available_bps, loss_fraction, expected) in [
        (u32::MAX, 0.0, None),
        (20_000, 0.0, Some((20_000, 5, None))),
        (20_000, 0.05, Some((20_000, 5, Some(5)))),
        (u32::MAX, 0.05, Some((40_000, 5, Some(5)))),
        (0, 0.0, Some((8_000, 5, None))),
        (u32::MAX, 0.0, Some((32_000, 5, None))),
    ] {
        let conditions = Conditions {
            available_bps,
            loss_fraction,
            cpu_is_scarce: false,
        };
        let decided = decided(&mut policy, limits, conditions);
        assert_eq!(decided, expected, "{available_bps}, {loss_fraction}");
    }
    for (bitrate_min_bps, bitrate_max_bps, expected_bps) in [
        (44_000, 48_000, 44_000),
        (0, 1, 6_000),
        (9_000, 8_000, 9_000),
        (u32::MAX, u32::MAX, 510_000),
    ] {
        let limits = Limits {
            bitrate_min_bps,
            bitrate_max_bps,
            complexity_max: None,
            voice_activity_gate: true,
        };
        let config = policy.decide(&limits, &CLEAN).unwrap();
        assert_eq!(config.bitrate_bps, expected_bps);
        Encoder::new(config).unwrap();
    }
}

#[test]
fn complexity_is_the_operators_unless_cpu_is_scarce() {
    let mut policy = Policy::new(SampleRate::Hz8000);
    for (complexity_max, cpu_is_scarce, expected) in [
        (Some(7), false, Some(7)),
        (Some(7), true, Some(0)),
        (None, true, None),
        (None, false, None),
        (Some(255), false, Some(10)),
    ] {
        let limits = Limits {
            complexity_max,
            ..Limits::default()
        };
        let conditions = Conditions {
            cpu_is_scarce,
            ..CLEAN
        };
        let decided = decided(&mut policy, limits, conditions);
        assert_eq!(decided.map(|(_, complexity, _)| complexity), expected);
    }
    let mut wide = Policy::new(SampleRate::Hz48000);
    let scarce = Conditions {
        cpu_is_scarce: true,
        ..CLEAN
    };
    let limits = Limits::default();
    assert_eq!(
        decided(&mut wide, limits, scarce),
        Some((32_000, 0, None)),
        "down from the knee"
    );
    assert_eq!(
        decided(&mut wide, limits, CLEAN),
        Some((32_000, 5, None)),
        "and back"
    );
}

/// One encoder through a call: clean, lossy, clean.
#[test]
fn what_was_decided_is_in_the_packets() {
    for rate in SampleRate::ALL {
        let mut policy = Policy::new(rate);
        let mut encoder = Encoder::new(policy.config()).unwrap();
        let mut packet = [0; PACKET_BYTES_MAX_20_MS];
        let mut with_lbrr = [0, 0, 0];
        let voice = changing_voice(rate);
        for (index, frame) in voice.chunks_exact(rate.samples(20)).take(120).enumerate() {
            let loss_fraction = if index / 40 == 1 { 0.03 } else { 0.0 };
            let conditions = Conditions {
                loss_fraction,
                ..CLEAN
            };
            if let Some(config) = policy.decide(&Limits::default(), &conditions) {
                encoder.apply(&config).unwrap();
            }
            assert_eq!(encoder.config(), policy.config());
            let written = encoder.encode(frame, &mut packet).unwrap();
            with_lbrr[index / 40] += usize::from(has_lbrr(&packet[..written]));
        }
        assert!(
            with_lbrr[0] == 0 && with_lbrr[1] >= 20 && with_lbrr[2] <= 1,
            "{rate:?}: {with_lbrr:?}"
        );
    }
}

#[test]
fn settings_are_taken_whole_or_not_at_all() {
    let voice = changing_voice(SampleRate::Hz8000);
    let mut encoder = Encoder::new(WITH_FEC).unwrap();
    for (config, name, value) in [
        (
            EncoderConfig {
                bitrate_bps: 12_000,
                complexity: 11,
                ..WITH_FEC
            },
            "complexity",
            11,
        ),
        (
            EncoderConfig {
                bitrate_bps: 12_000,
                inband_fec: false,
                expected_loss_pct: 101,
                ..WITH_FEC
            },
            "expected_loss_pct",
            101,
        ),
        (
            EncoderConfig {
                complexity: 9,
                bitrate_bps: 5_999,
                ..WITH_FEC
            },
            "bitrate_bps",
            5_999,
        ),
        (EncoderConfig::wideband(), "sample_rate", 16_000),
    ] {
        assert_eq!(
            encoder.apply(&config),
            Err(OpusError::Setting { name, value })
        );
        assert_eq!(encoder.config(), WITH_FEC);
    }
    let expected = encode_all(WITH_FEC, &voice);
    let mut packet = [0; PACKET_BYTES_MAX_20_MS];
    for (frame, expected) in voice.chunks_exact(160).zip(&expected) {
        let written = encoder.encode(frame, &mut packet).unwrap();
        assert!(packet[..written] == expected[..], "as before");
    }
}

/// What was applied works as if the encoder had been made with it.
#[test]
fn applied_is_as_made() {
    let voice = changing_voice(SampleRate::Hz8000);
    let mut encoder = Encoder::new(EncoderConfig::narrowband()).unwrap();
    let mut packet = [0; PACKET_BYTES_MAX_20_MS];
    for config in [
        WITH_FEC,
        EncoderConfig {
            complexity: 10,
            ..EncoderConfig::narrowband()
        },
        EncoderConfig::narrowband(),
    ] {
        encoder.apply(&config).unwrap();
        encoder.reset();
        let expected = encode_all(config, &voice);
        for (frame, expected) in voice.chunks_exact(160).zip(&expected) {
            let written = encoder.encode(frame, &mut packet).unwrap();
            assert!(packet[..written] == expected[..], "{config:?}");
        }
    }
}
