//! Lost packets: LBRR present when asked for, recovery from it, concealment.
#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use super::*;
use crate::signals::{snr_db, vowel};

#[test]
fn lbrr_is_there_when_it_should_be() {
    let share_with_lbrr = |config: EncoderConfig| {
        let packets = encode_all(config, &changing_voice(config.sample_rate));
        packets.iter().filter(|packet| has_lbrr(packet)).count() as f64 / packets.len() as f64
    };
    // Syllables are three fifths of this voice, and each has its copy one packet later.
    for config in CONFIGS {
        for complexity in [0, config.complexity, 10] {
            for expected_loss_pct in [1, 2, 3, 5, 6, 10, 20] {
                let config = EncoderConfig {
                    complexity,
                    ..config
                }
                .with_fec(expected_loss_pct);
                let share = share_with_lbrr(config);
                assert!(share >= 0.55, "{config:?}: LBRR in {share} of packets");
            }
        }
    }
    // What the documentation warns of.
    assert_eq!(
        share_with_lbrr(EncoderConfig {
            bitrate_bps: 24_000,
            ..WITH_FEC
        }),
        0.0
    );
    assert_eq!(
        share_with_lbrr(EncoderConfig {
            expected_loss_pct: 0,
            ..WITH_FEC
        }),
        0.0
    );
    assert_eq!(
        share_with_lbrr(EncoderConfig {
            inband_fec: false,
            ..WITH_FEC
        }),
        0.0
    );
}

#[test]
fn a_lost_packet_comes_back_from_the_next_ones_lbrr() {
    let rate = SampleRate::Hz8000;
    let packets = encode_all(WITH_FEC, &changing_voice(rate));
    let intact = decode_all(rate, &packets);
    let mean_snr_db = |with_fec: bool| {
        let mut decoder = Decoder::new(rate).unwrap();
        let mut pcm = [0; 160];
        let mut snrs_db = Vec::new();
        for (index, packet) in packets.iter().enumerate() {
            let lost = index % 7 == 6 && has_lbrr(&packets[(index + 1).min(packets.len() - 1)]);
            let samples = match packets.get(index + 1) {
                Some(next) if lost && with_fec => decoder.decode_fec(next, &mut pcm).unwrap(),
                Some(_) if lost => decoder.conceal(&mut pcm).unwrap(),
                _ => decoder.decode(packet, &mut pcm).unwrap(),
            };
            assert_eq!(samples, 160);
            if lost {
                snrs_db.push(snr_db(&intact[index * 160..][..160], &pcm));
            }
        }
        assert!(snrs_db.len() > 10);
        snrs_db.iter().sum::<f64>() / snrs_db.len() as f64
    };
    let (fec_db, conceal_db) = (mean_snr_db(true), mean_snr_db(false));
    assert!(
        fec_db > conceal_db + 3.0,
        "FEC {fec_db} dB, concealment {conceal_db} dB"
    );
}

#[test]
fn gaps_of_every_length_are_filled() {
    let rate = SampleRate::Hz48000;
    let packets = encode_all(
        EncoderConfig {
            sample_rate: rate,
            ..WITH_FEC
        },
        &changing_voice(rate),
    );
    let mut decoder = Decoder::new(rate).unwrap();
    let mut pcm = vec![0; packet_samples_max(rate)];
    decoder.decode(&packets[0], &mut pcm).unwrap();
    for quanta in 1..=48 {
        let samples = quanta * 120;
        assert_eq!(
            decoder.decode_fec(&packets[3], &mut pcm[..samples]),
            Ok(samples)
        );
        assert_eq!(decoder.decode(&packets[3], &mut pcm), Ok(960));
        assert_eq!(decoder.conceal(&mut pcm[..samples]), Ok(samples));
        assert_eq!(decoder.last_packet_samples(), 960);
    }
    let mut too_long = vec![0; packet_samples_max(rate) + 120];
    for samples in [0, 119, 121, too_long.len()] {
        let refused = Err(OpusError::FrameLength { samples, rate });
        assert_eq!(decoder.conceal(&mut too_long[..samples]), refused);
        assert_eq!(
            decoder.decode_fec(&packets[3], &mut too_long[..samples]),
            refused
        );
    }
}

#[test]
fn a_long_loss_fades_out() {
    let rate = SampleRate::Hz8000;
    let mut decoder = Decoder::new(rate).unwrap();
    let mut pcm = [0; 160];
    for packet in encode_all(EncoderConfig::narrowband(), &vowel(rate, 120.0, 4_000)) {
        decoder.decode(&packet, &mut pcm).unwrap();
    }
    let before_dbov = crate::level::rms_dbov(&pcm);
    for _ in 0..50 {
        decoder.conceal(&mut pcm).unwrap();
    }
    assert!(crate::level::rms_dbov(&pcm) < before_dbov - 30.0);
}
