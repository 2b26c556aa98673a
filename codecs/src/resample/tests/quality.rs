//! The figures of the module's first lines, measured with tones: gain, aliases, images, noise, delay.

use super::*;
use crate::signals::{sine_fit, sine_phase, tone};
use std::f64::consts::TAU;

const AMPLITUDE: f64 = 20_000.0;

/// A tone of one second through the resampler, without its first 100 ms.
fn settled_tone(from: SampleRate, to: SampleRate, frequency_hz: f64) -> Vec<i16> {
    let input = tone(from, frequency_hz, AMPLITUDE, from.samples(1_000));
    convert(from, to, &input, from.samples(20)).split_off(to.samples(100))
}

fn gain_db(amplitude: f64) -> f64 {
    20.0 * (amplitude / AMPLITUDE).log10()
}

fn rms_db(pcm: &[i16]) -> f64 {
    let mean_square = pcm.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / pcm.len() as f64;
    gain_db((2.0 * mean_square).sqrt().max(1e-3))
}

fn low_hz(from: SampleRate, to: SampleRate) -> f64 {
    f64::from(from.hz().min(to.hz()))
}

#[test]
fn the_pass_band_is_flat() {
    for (from, to) in pairs() {
        let mut worst_db = 0.0_f64;
        for step in 1..=85 {
            let frequency_hz = low_hz(from, to) * 0.005 * f64::from(step);
            let (amplitude, _) = sine_fit(to, frequency_hz, &settled_tone(from, to, frequency_hz));
            worst_db = worst_db.max(gain_db(amplitude).abs());
        }
        let edge_hz = 0.45 * low_hz(from, to);
        let (amplitude, _) = sine_fit(to, edge_hz, &settled_tone(from, to, edge_hz));
        let edge_db = gain_db(amplitude);
        println!(
            "{from:?} to {to:?}: ripple {worst_db:.4} dB up to 0.425, {edge_db:.4} dB at 0.45"
        );
        assert!(worst_db <= 0.01, "{from:?} to {to:?}: {worst_db} dB");
        assert!(
            edge_db.abs() <= 0.05,
            "{from:?} to {to:?} at 0.45: {edge_db} dB"
        );
    }
}

#[test]
fn a_tone_of_1_khz_comes_out_clean() {
    for (from, to) in pairs() {
        let (_, snr_db) = sine_fit(to, 1_000.0, &settled_tone(from, to, 1_000.0));
        println!("{from:?} to {to:?}: SNR {snr_db:.1} dB at 1 kHz");
        assert!(snr_db >= 76.0, "{from:?} to {to:?}: {snr_db} dB");
    }
}

#[test]
fn what_the_lower_rate_cannot_carry_is_gone() {
    for (from, to) in pairs().filter(|(from, to)| from > to) {
        let mut worst_db = -200.0_f64;
        let mut frequency_hz = 0.575 * low_hz(from, to);
        while frequency_hz < f64::from(from.hz()) / 2.0 {
            worst_db = worst_db.max(rms_db(&settled_tone(from, to, frequency_hz)));
            frequency_hz += low_hz(from, to) / 97.0;
        }
        println!("{from:?} to {to:?}: aliases at {worst_db:.1} dB");
        assert!(worst_db <= -68.0, "{from:?} to {to:?}: {worst_db} dB");
    }
}

#[test]
fn no_images_of_what_went_in() {
    for (from, to) in pairs().filter(|(from, to)| from < to) {
        let mut worst_db = -200.0_f64;
        let mut frequency_hz = low_hz(from, to) / 97.0;
        // The image of a tone lies as far above the old rate's Nyquist frequency as the tone lies below: from 0.575 on.
        while frequency_hz <= 0.425 * low_hz(from, to) {
            let heard = settled_tone(from, to, frequency_hz);
            let (amplitude, _) = sine_fit(to, frequency_hz, &heard);
            let phase = sine_phase(to, frequency_hz, &heard);
            let rest: f64 = heard
                .iter()
                .enumerate()
                .map(|(n, &sample)| {
                    let angle = TAU * frequency_hz * n as f64 / f64::from(to.hz()) + phase;
                    (f64::from(sample) - amplitude * angle.sin()).powi(2)
                })
                .sum();
            worst_db = worst_db.max(gain_db((2.0 * rest / heard.len() as f64).sqrt()));
            frequency_hz += low_hz(from, to) / 97.0;
        }
        println!("{from:?} to {to:?}: images and noise at {worst_db:.1} dB");
        assert!(worst_db <= -68.0, "{from:?} to {to:?}: {worst_db} dB");
    }
}

#[test]
fn the_delay_is_what_is_said_at_every_frequency() {
    for (from, to) in pairs() {
        let said_s = Resampler::new(from, to).group_delay().as_secs_f64();
        for fraction in [0.011, 0.05, 0.13, 0.21, 0.33, 0.42] {
            let frequency_hz = low_hz(from, to) * fraction;
            let heard = settled_tone(from, to, frequency_hz);
            // The tone's phase is 0 at the stream's beginning; `heard` begins 100 ms later.
            let lag = TAU * frequency_hz * (0.1 - said_s) - sine_phase(to, frequency_hz, &heard);
            let lag_s = (lag + TAU / 2.0).rem_euclid(TAU) - TAU / 2.0;
            let error_us = lag_s / (TAU * frequency_hz) * 1e6;
            assert!(
                error_us.abs() < 0.2,
                "{from:?} to {to:?} at {frequency_hz} Hz: {error_us} us"
            );
        }
    }
}

#[test]
fn the_delays_are_those_of_the_design() {
    use SampleRate::{Hz8000, Hz16000, Hz24000, Hz48000};
    for (a, b, delay_us) in [
        (Hz8000, Hz16000, 3_000.0),
        (Hz8000, Hz24000, 3_000.0),
        (Hz8000, Hz48000, 3_312.5),
        (Hz16000, Hz24000, 1_500.0),
        (Hz16000, Hz48000, 1_500.0),
        (Hz24000, Hz48000, 1_000.0),
        (Hz24000, Hz24000, 0.0),
    ] {
        for (from, to) in [(a, b), (b, a)] {
            let delay = Resampler::new(from, to).group_delay();
            assert_eq!(delay.as_secs_f64() * 1e6, delay_us, "{from:?} to {to:?}");
        }
    }
}

#[test]
fn overload_saturates() {
    for (from, to) in pairs().filter(|(from, to)| from != to) {
        // A full-scale square wave rings beyond full scale when its harmonics are cut.
        let half_period = from.samples(1);
        let input: Vec<i16> = (0..from.samples(100))
            .map(|n| {
                if n / half_period % 2 == 0 {
                    i16::MAX
                } else {
                    i16::MIN
                }
            })
            .collect();
        let delay = samples_of(Resampler::new(from, to).group_delay(), to).round() as usize;
        let output = convert(from, to, &input, 160).split_off(delay + to.samples(20));
        for (index, half) in output.chunks_exact(to.samples(1)).enumerate() {
            let middle = half[half.len() / 2];
            assert!(
                middle.unsigned_abs() > 20_000,
                "{from:?} to {to:?}: {middle}"
            );
            assert_eq!(
                middle > 0,
                index % 2 == 0,
                "{from:?} to {to:?}: the sign wrapped"
            );
        }
        assert!(output.contains(&i16::MAX) && output.contains(&i16::MIN));
    }
}
