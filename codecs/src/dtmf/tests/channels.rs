//! What codecs and rates between the two leave of the tones.

use super::*;
use crate::g711::{self, Law};
use crate::opus::{Decoder, Encoder, EncoderConfig};

/// All digits, 60 ms each with 60 ms between them, as the generator plays them.
fn all_digits(rate: SampleRate, level_dbm0: f32, duration_ms: u32) -> Vec<i16> {
    let levels = ToneLevels {
        low_dbm0: level_dbm0,
        high_dbm0: level_dbm0,
    };
    let mut generator = ToneGenerator::new(rate, levels);
    let text: String = DIGITS.iter().collect();
    generator.start(&text, duration_ms, duration_ms).unwrap();
    let mut pcm = vec![0; rate.samples(32 * duration_ms + 200)];
    let written = generator.fill(&mut pcm[rate.samples(100)..]);
    assert_eq!(written, rate.samples(32 * duration_ms));
    pcm
}

fn assert_all_heard(rate: SampleRate, pcm: &[i16], duration_ms: u32, what: &str) {
    let told = digits_of(&heard(rate, pcm));
    let text: String = told.iter().map(|ended| ended.digit).collect();
    assert_eq!(text, DIGITS.iter().collect::<String>(), "{what}");
    for ended in told {
        let error_ms = ended.duration_ms.abs_diff(duration_ms);
        assert!(error_ms <= 10, "{what}: {ended:?} of {duration_ms} ms");
    }
}

#[test]
fn at_every_rate() {
    for rate in SampleRate::ALL {
        for level_dbm0 in [0.0, -10.0, -27.0] {
            for duration_ms in [40, 60, 100] {
                let pcm = all_digits(rate, level_dbm0, duration_ms);
                assert_all_heard(
                    rate,
                    &pcm,
                    duration_ms,
                    &format!("{rate:?} {level_dbm0} dBm0"),
                );
            }
        }
    }
}

#[test]
fn after_g711() {
    for law in [Law::Mu, Law::A] {
        for level_dbm0 in [0.0, -10.0, -27.0] {
            for duration_ms in [40, 60, 100] {
                let mut pcm = all_digits(SampleRate::Hz8000, level_dbm0, duration_ms);
                let mut octets = vec![0; pcm.len()];
                g711::encode(law, &pcm, &mut octets);
                g711::decode(law, &octets, &mut pcm);
                let what = format!("{law:?} {level_dbm0} dBm0");
                assert_all_heard(SampleRate::Hz8000, &pcm, duration_ms, &what);
            }
        }
    }
}

/// A speech codec promises nothing for tones; libopus keeps them well enough nevertheless.
#[test]
fn after_opus_at_24_kbps() {
    let rate = SampleRate::Hz8000;
    for level_dbm0 in [-3.0, -10.0, -27.0] {
        for duration_ms in [40, 60, 100, 200] {
            let pcm = through_opus(rate, &all_digits(rate, level_dbm0, duration_ms));
            let what = format!("Opus, {duration_ms} ms at {level_dbm0} dBm0");
            assert_eq!(
                text_of(&heard(rate, &pcm)),
                DIGITS.iter().collect::<String>(),
                "{what}"
            );
        }
    }
}

fn through_opus(rate: SampleRate, pcm: &[i16]) -> Vec<i16> {
    let mut encoder = Encoder::new(EncoderConfig::narrowband()).unwrap();
    let mut decoder = Decoder::new(rate).unwrap();
    let mut packet = [0; 1_276];
    let mut decoded = Vec::new();
    let mut frame = vec![0; rate.samples(20)];
    for block in pcm.chunks_exact(rate.samples(20)) {
        let bytes = encoder.encode(block, &mut packet).unwrap();
        let samples = decoder.decode(&packet[..bytes], &mut frame).unwrap();
        decoded.extend_from_slice(&frame[..samples]);
    }
    decoded
}
