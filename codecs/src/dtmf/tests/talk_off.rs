//! What is no digit and must not be taken for one: speech, music, the network's own tones.

use super::*;
use crate::resample::Resampler;

const GAINS: [f64; 5] = [0.1, 0.5, 1.0, 2.0, 4.0];

fn assert_silent(rate: SampleRate, pcm: &[i16], what: &str) {
    for gain in GAINS {
        let louder: Vec<f64> = pcm.iter().map(|&sample| gain * f64::from(sample)).collect();
        let told = heard(rate, &to_pcm(&louder));
        assert_eq!(told, [], "{what}, gain {gain}, {rate:?}");
    }
}

/// The load test's sentences, 16 kHz.
fn speech(name: &str) -> Vec<i16> {
    let path = format!(
        "{}/../loadtest/speech/{name}.wav",
        env!("CARGO_MANIFEST_DIR")
    );
    let wav = std::fs::read(path).unwrap();
    let data = wav.windows(4).position(|chunk| chunk == b"data").unwrap() + 8;
    let (samples, _) = wav[data..].as_chunks::<2>();
    samples
        .iter()
        .map(|&bytes| i16::from_le_bytes(bytes))
        .collect()
}

#[test]
fn speech_is_no_digit() {
    for name in ["alpha", "bravo"] {
        let original = speech(name);
        assert!(original.len() > 8 * 16_000);
        for rate in SampleRate::ALL {
            let mut resampler = Resampler::new(SampleRate::Hz16000, rate);
            let mut pcm = vec![0; resampler.output_len_max(original.len())];
            let samples = resampler.process(&original, &mut pcm);
            assert_silent(rate, &pcm[..samples], name);
        }
        // Read as another rate it is another voice: lower, and higher.
        for rate in [SampleRate::Hz8000, SampleRate::Hz24000] {
            assert_silent(rate, &original, name);
        }
    }
}

#[test]
fn vowels_are_no_digits() {
    for rate in [SampleRate::Hz8000, SampleRate::Hz16000] {
        for pitch_hz in (80..400).step_by(3) {
            let pcm = signals::vowel(rate, f64::from(pitch_hz), rate.samples(500));
            assert_eq!(heard(rate, &pcm), [], "{pitch_hz} Hz");
        }
    }
}

/// Chords and scales of notes with falling harmonics, and of pure ones.
#[test]
fn music_is_no_digit() {
    let rate = SampleRate::Hz8000;
    let note_hz = |note: i32| 440.0 * 2f64.powf(f64::from(note - 69) / 12.0);
    for root in 48..84 {
        for chord in [&[0, 4, 7][..], &[0, 3, 7], &[0, 4, 7, 10], &[0, 12], &[0]] {
            for harmonics in [1, 4, 8] {
                let pcm: Vec<i16> = (0..rate.samples(300))
                    .map(|n| {
                        let t = n as f64 / f64::from(rate.hz());
                        let note = |&interval: &i32| -> f64 {
                            (1..=harmonics)
                                .map(|k| (f64::from(k), f64::from(k) * note_hz(root + interval)))
                                .filter(|(_, hz)| *hz < 3_800.0)
                                .map(|(k, hz)| (TAU * hz * t).sin() / k)
                                .sum()
                        };
                        (2_500.0 * chord.iter().map(note).sum::<f64>()) as i16
                    })
                    .collect();
                let told = heard(rate, &pcm);
                assert_eq!(told, [], "{chord:?} on {root} with {harmonics} harmonics");
            }
        }
    }
}

#[test]
fn the_networks_own_tones_are_no_digits() {
    let rate = SampleRate::Hz8000;
    // Dial, ringback, busy (North America; Europe), fax, modem, special information, test tone.
    let tones: [&[f64]; 12] = [
        &[350.0, 440.0],
        &[440.0, 480.0],
        &[480.0, 620.0],
        &[425.0],
        &[1_100.0],
        &[2_100.0],
        &[950.0],
        &[1_400.0],
        &[1_800.0],
        &[1_004.0],
        &[941.0],
        &[1_336.0],
    ];
    for tone in tones {
        let pcm: Vec<i16> = (0..rate.samples(1_000))
            .map(|n| {
                let t = n as f64 / f64::from(rate.hz());
                let sum: f64 = tone.iter().map(|hz| (TAU * hz * t).sin()).sum();
                (4_000.0 * sum) as i16
            })
            .collect();
        assert_silent(rate, &pcm, &format!("{tone:?} Hz"));
    }
}

#[test]
fn noise_and_full_scale_are_no_digits() {
    let rate = SampleRate::Hz8000;
    assert_silent(rate, &signals::noise(6_000, rate.samples(60_000)), "noise");
    for period in [2, 4, 5, 6, 8, 10, 11] {
        let square = |n: usize| {
            if n % period < period / 2 {
                i16::MAX
            } else {
                i16::MIN
            }
        };
        let pcm: Vec<i16> = (0..rate.samples(500)).map(square).collect();
        assert_eq!(heard(rate, &pcm), [], "a square wave of {period} samples");
    }
    assert_eq!(heard(rate, &[i16::MIN; 4_000]), []);
}
