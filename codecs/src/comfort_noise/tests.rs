//! The payload's bytes, and noise that is made from its own description.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use super::*;
use crate::{SampleRate, level, signals};
use proptest::prelude::*;

const RATE: SampleRate = SampleRate::Hz8000;

/// Spectra from rumbling to hissing, and one with a peak near 1 kHz.
const SPECTRA: [&[f64]; 6] = [
    &[],
    &[-0.5],
    &[-0.9, 0.3],
    &[0.7],
    &[-0.9, 0.85, -0.1],
    &[-0.8, 0.6, -0.3, 0.2, -0.1, 0.1, 0.0, 0.1, -0.1, 0.05],
];

fn made(noise: &ComfortNoise, seed: u64, samples: usize) -> Vec<i16> {
    let mut generator = NoiseGenerator::new(RATE, seed);
    generator.update(noise);
    let mut pcm = vec![0; RATE.samples(400) + samples];
    generator.fill(&mut pcm);
    pcm.split_off(RATE.samples(400))
}

fn described(pcm: &[i16], order: usize) -> ComfortNoise {
    let mut analyser = NoiseAnalyser::new(RATE, order);
    for block in pcm.chunks(160) {
        analyser.process(block);
    }
    analyser.describe()
}

/// Power of `pcm` around a frequency, in dB: the mean of many short spectra.
fn power_db(pcm: &[i16], hz: f64) -> f64 {
    let power: f64 = pcm
        .chunks_exact(256)
        .map(|block| {
            let (mut real, mut imaginary) = (0.0, 0.0);
            for (n, &sample) in block.iter().enumerate() {
                let window = 0.5 - 0.5 * (std::f64::consts::TAU * n as f64 / 256.0).cos();
                let phase = std::f64::consts::TAU * hz * n as f64 / f64::from(RATE.hz());
                real += window * f64::from(sample) * phase.cos();
                imaginary += window * f64::from(sample) * phase.sin();
            }
            real * real + imaginary * imaginary
        })
        .sum();
    10.0 * power.log10()
}

#[test]
fn the_bytes_are_those_of_the_rfc() {
    let noise = ComfortNoise::new(60, &[0.0, -1.0, 1.0, 0.5]);
    let mut payload = [0; PAYLOAD_BYTES_MAX];
    assert_eq!(noise.write(&mut payload), Ok(5));
    // Section 3.2: k = 258 (N - 127) / 32768.
    assert_eq!(payload[..5], [60, 127, 0, 254, 191]);
    let read = ComfortNoise::parse(&payload[..5]).unwrap();
    assert_eq!(read, noise);
    let reflection: Vec<f64> = read.reflection().collect();
    assert_eq!(reflection[1], -258.0 * 127.0 / 32_768.0);
    assert_eq!(reflection[3], 258.0 * 64.0 / 32_768.0);
}

#[test]
fn a_payload_may_be_short_long_or_strange() {
    let level_alone = ComfortNoise::parse(&[0x80 | 45]).unwrap();
    assert_eq!(level_alone, ComfortNoise::new(45, &[]));
    let long = ComfortNoise::parse(&[45; 100]).unwrap();
    assert_eq!(long.reflection().count(), ORDER_MAX);
    let reserved = ComfortNoise::parse(&[45, 100, 255, 100]).unwrap();
    assert_eq!(reserved.reflection().count(), 1);
    assert_eq!(ComfortNoise::parse(&[]), Err(ComfortNoiseError::Empty));
    let (needed, available) = (1 + ORDER_MAX, 10);
    assert_eq!(
        long.write(&mut [0; 10]),
        Err(ComfortNoiseError::NoRoom { needed, available })
    );
    assert_eq!(ComfortNoise::new(200, &[]).level(), LEVEL_MAX);
}

#[test]
fn the_level_is_the_one_described() {
    for level in [10, 20, 30, 40, 50, 60, 70, 75] {
        for (seed, spectrum) in SPECTRA.iter().enumerate() {
            let noise = ComfortNoise::new(level, spectrum);
            let pcm = made(&noise, seed as u64, RATE.samples(10_000));
            let error_db = level::rms_dbov(&pcm) + f32::from(level);
            assert!(error_db.abs() < 1.0, "{level} {spectrum:?}: {error_db} dB");
            let told = described(&pcm, ORDER_MAX).level();
            assert!(told.abs_diff(level) <= 1, "{level} {spectrum:?}: {told}");
        }
    }
}

#[test]
fn the_spectrum_is_the_one_that_was_heard() {
    for spectrum in SPECTRA {
        let original = made(&ComfortNoise::new(40, spectrum), 1, RATE.samples(20_000));
        let mut payload = [0; PAYLOAD_BYTES_MAX];
        let bytes = described(&original, ORDER_MAX).write(&mut payload).unwrap();
        let noise = ComfortNoise::parse(&payload[..bytes]).unwrap();
        let again = made(&noise, 2, RATE.samples(20_000));
        for hz in [
            200.0, 500.0, 1_000.0, 1_500.0, 2_000.0, 2_500.0, 3_000.0, 3_500.0,
        ] {
            let error_db = power_db(&again, hz) - power_db(&original, hz);
            assert!(
                error_db.abs() < 3.0,
                "{spectrum:?} at {hz} Hz: {error_db} dB"
            );
        }
    }
}

#[test]
fn coefficients_are_found_again() {
    for spectrum in SPECTRA {
        let pcm = made(&ComfortNoise::new(30, spectrum), 3, RATE.samples(5_000));
        let found = described(&pcm, ORDER_MAX);
        for (index, found) in found.reflection().enumerate() {
            let expected = spectrum.get(index).copied().unwrap_or_default();
            assert!(
                (found - expected).abs() < 0.15,
                "{spectrum:?}: {index} {found}"
            );
        }
    }
}

#[test]
fn a_new_level_is_reached_without_a_step() {
    let mut generator = NoiseGenerator::new(RATE, 7);
    let mut level_before = None;
    let mut frame = vec![0; RATE.samples(20)];
    for index in 0..150 {
        match index {
            0 => generator.update(&ComfortNoise::new(60, &[-0.5])),
            50 => generator.update(&ComfortNoise::new(30, &[0.5])),
            100 => generator.update(&ComfortNoise::new(60, &[-0.5])),
            _ => {}
        }
        generator.fill(&mut frame);
        let level_dbov = level::rms_dbov(&frame);
        if index > 5
            && index != 50
            && let Some(before) = level_before
        {
            let step_db: f32 = level_dbov - before;
            assert!(step_db.abs() < 12.0, "frame {index}: {step_db} dB");
        }
        level_before = Some(level_dbov);
        if index % 50 > 30 {
            let expected = if (50..100).contains(&index) {
                -30.0
            } else {
                -60.0
            };
            assert!(
                (level_dbov - expected).abs() < 3.0,
                "frame {index}: {level_dbov}"
            );
        }
    }
}

#[test]
fn silence_stays_silent() {
    let silence = described(&[0; 8_000], ORDER_MAX);
    assert_eq!(silence, ComfortNoise::new(LEVEL_MAX, &[]));
    assert_eq!(NoiseAnalyser::new(RATE, 10).describe(), silence);
    assert!(made(&silence, 1, 8_000).iter().all(|&sample| sample == 0));
    let mut generator = NoiseGenerator::new(RATE, 1);
    generator.update(&ComfortNoise::new(30, &[]));
    let mut pcm = [0; 8_000];
    generator.fill(&mut pcm);
    generator.update(&silence);
    generator.fill(&mut pcm);
    assert!(pcm[4_000..].iter().all(|&sample| sample == 0));
}

#[test]
fn a_pure_tone_and_full_scale_are_described_too() {
    for amplitude in [100.0, 10_000.0, 32_767.0] {
        let noise = described(&signals::tone(RATE, 1_000.0, amplitude, 16_000), ORDER_MAX);
        let pcm = made(&noise, 1, 16_000);
        assert!(power_db(&pcm, 1_000.0) > power_db(&pcm, 3_000.0) + 20.0);
    }
    assert_eq!(described(&[i16::MIN; 8_000], 10).level(), 0);
}

#[test]
fn blocks_of_any_length_give_the_same() {
    let pcm = signals::noise(1_000, 8_000);
    let whole = described(&pcm, 6);
    let mut analyser = NoiseAnalyser::new(RATE, 6);
    for block in pcm.chunks(7) {
        analyser.process(block);
    }
    assert_eq!(analyser.describe(), whole);
    let expected = made(&whole, 5, 1_000);
    let mut generator = NoiseGenerator::new(RATE, 5);
    generator.update(&whole);
    let mut made_in_parts = vec![0; RATE.samples(400) + 1_000];
    for block in made_in_parts.chunks_mut(13) {
        generator.fill(block);
    }
    assert_eq!(made_in_parts[RATE.samples(400)..], expected);
    let other = made(&whole, 6, 1_000);
    assert_ne!(other, expected, "another seed is other noise");
}

proptest! {
    #[test]
    fn what_is_written_is_read(level in 0..=LEVEL_MAX, reflection in proptest::collection::vec(-1.0..1.0, 0..=ORDER_MAX)) {
        let noise = ComfortNoise::new(level, &reflection);
        let mut payload = [0; PAYLOAD_BYTES_MAX];
        let bytes = noise.write(&mut payload).unwrap();
        prop_assert_eq!(ComfortNoise::parse(&payload[..bytes]).unwrap(), noise);
        for (sent, read) in reflection.iter().zip(noise.reflection()) {
            prop_assert!((sent - read).abs() < 0.005);
        }
    }
}
