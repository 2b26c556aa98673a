//! Scores of two signals of the same length that are aligned already, at 8 kHz.

use std::f64::consts::TAU;

use realfft::RealFftPlanner;

use super::{energy, samples_to_ms};

/// Analysis window of the match score and of gaps: 20 ms.
const WINDOW_SAMPLES: usize = 160;
/// Distance of the windows: 5 ms, so that a lost 20 ms frame fills at least one window whatever its phase.
const HOP_SAMPLES: usize = 40;
/// Edges of the 8 bands in Hz: about as wide as the ear's at these frequencies, taken together by twos.
const BAND_EDGES_HZ: [f64; 9] = [
    100.0, 250.0, 400.0, 600.0, 850.0, 1_150.0, 1_600.0, 2_300.0, 3_400.0,
];
const BANDS: usize = BAND_EDGES_HZ.len() - 1;
/// Energies below the band's mean by more than this count as silence: noise floors of codecs are no difference.
const FLOOR_DB: f64 = -50.0;
/// A window is speech when it is not further below the mean level than this.
const SPEECH_DB: f64 = -15.0;
/// A window is dead when what is heard lies below what is expected by more than this.
const DEAD_DB: f64 = -20.0;

/// Level of `heard` over that of `expected`, in dB; -120 for silence.
pub(super) fn gain_db(expected: &[f64], heard: &[f64]) -> f64 {
    let (expected, heard) = (energy(expected), energy(heard));
    (10.0 * (heard / expected.max(1e-9)).max(1e-12).log10()).clamp(-120.0, 120.0)
}

/// Energy of the best-fitting multiple of `expected` over that of the rest, in dB, within -120 to 120.
pub(super) fn snr_db(expected: &[f64], heard: &[f64]) -> f64 {
    let dot: f64 = expected.iter().zip(heard).map(|(x, y)| x * y).sum();
    let gain = dot / energy(expected).max(1e-9);
    // An inverted copy is not what went in.
    if gain <= 0.0 {
        return -120.0;
    }
    let noise: f64 = expected
        .iter()
        .zip(heard)
        .map(|(x, y)| (y - gain * x).powi(2))
        .sum();
    let signal = gain * gain * energy(expected);
    (10.0 * (signal.max(1e-12) / noise.max(1e-12)).log10()).clamp(-120.0, 120.0)
}

/// Pearson correlation of the log energies in time and band where `expected` speaks, each band around its own mean; negative
/// ones are 0.
///
/// Around each band's mean, because otherwise any two voices are alike: all speech is loud at 500 Hz and soft at 3 kHz. Only
/// where there is speech, because pauses are easy to match and would hide lost frames.
pub(super) fn match_score(expected: &[f64], heard: &[f64]) -> f64 {
    let speaks = speech_windows(expected);
    let spoken = |samples| -> Vec<[f64; BANDS]> {
        log_energies(samples)
            .into_iter()
            .zip(&speaks)
            .filter(|(_, speaks)| **speaks)
            .map(|(frame, _)| frame)
            .collect()
    };
    let (expected, heard) = (spoken(expected), spoken(heard));
    if expected.is_empty() || heard.is_empty() {
        return 0.0;
    }
    let (mut xy, mut xx, mut yy) = (0.0, 0.0, 0.0);
    for band in 0..BANDS {
        let mean = |frames: &[[f64; BANDS]]| {
            frames.iter().map(|frame| frame[band]).sum::<f64>() / frames.len() as f64
        };
        let (x_mean, y_mean) = (mean(&expected), mean(&heard));
        for (x, y) in expected.iter().zip(&heard) {
            let (x, y) = (x[band] - x_mean, y[band] - y_mean);
            xy += x * y;
            xx += x * x;
            yy += y * y;
        }
    }
    if xx <= 0.0 || yy <= 0.0 {
        return 0.0;
    }
    (xy / (xx * yy).sqrt()).clamp(0.0, 1.0)
}

/// What of the speech is missing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Missing {
    /// The longest stretch in ms, from its first to its last dead moment; pauses of the speaker inside of it belong to it.
    pub(super) longest_ms: f64,
    /// All dead moments together, as a share of the time that has speech, 0 to 1.
    pub(super) share: f64,
}

/// Looks for moments (5 ms) in which `expected` speaks and `heard` is dead.
pub(super) fn missing(expected: &[f64], heard: &[f64]) -> Missing {
    let gain = 10f64.powf(gain_db(expected, heard) / 10.0);
    let levels =
        |samples: &[f64]| -> Vec<f64> { samples.chunks(HOP_SAMPLES).map(energy).collect() };
    let (expected, heard) = (levels(expected), levels(heard));
    let mean = expected.iter().sum::<f64>() / expected.len().max(1) as f64;
    let (mut longest, mut first) = (0, None);
    let (mut spoken, mut dead_in_all) = (0, 0);
    for (index, (x, y)) in expected.iter().zip(&heard).enumerate() {
        if *x <= mean * 10f64.powf(SPEECH_DB / 10.0) {
            continue;
        }
        spoken += 1;
        if *y <= x * gain * 10f64.powf(DEAD_DB / 10.0) {
            dead_in_all += 1;
            let first = *first.get_or_insert(index);
            longest = longest.max(index + 1 - first);
        } else {
            first = None;
        }
    }
    Missing {
        longest_ms: samples_to_ms((longest * HOP_SAMPLES) as f64),
        share: f64::from(dead_in_all) / f64::from(spoken.max(1)),
    }
}

fn speech_windows(samples: &[f64]) -> Vec<bool> {
    let levels: Vec<f64> = windows(samples).map(energy).collect();
    let mean = levels.iter().sum::<f64>() / levels.len().max(1) as f64;
    levels
        .iter()
        .map(|level| *level > mean * 10f64.powf(SPEECH_DB / 10.0))
        .collect()
}

fn windows(samples: &[f64]) -> impl Iterator<Item = &[f64]> {
    samples.windows(WINDOW_SAMPLES).step_by(HOP_SAMPLES)
}

/// Per window the energy of each band in dB over the band's floor; empty for a signal that is silent or too short.
fn log_energies(samples: &[f64]) -> Vec<[f64; BANDS]> {
    let mut planner = RealFftPlanner::<f64>::new();
    let fft = planner.plan_fft_forward(WINDOW_SAMPLES);
    let mut bins = fft.make_output_vec();
    let hann: Vec<f64> = (0..WINDOW_SAMPLES)
        .map(|n| 0.5 - 0.5 * (TAU * (n as f64 + 0.5) / WINDOW_SAMPLES as f64).cos())
        .collect();
    let hz_per_bin = f64::from(super::JUDGING_RATE_HZ) / WINDOW_SAMPLES as f64;

    let mut frames: Vec<[f64; BANDS]> = windows(samples)
        .map(|window| {
            let mut time: Vec<f64> = window
                .iter()
                .zip(&hann)
                .map(|(sample, weight)| sample * weight)
                .collect();
            // Only a buffer of a wrong length is refused; these come from the plan.
            let transformed = fft.process(&mut time, &mut bins);
            debug_assert!(transformed.is_ok());
            let mut energies = [0.0; BANDS];
            for (index, bin) in bins.iter().enumerate() {
                let hz = index as f64 * hz_per_bin;
                if let Some(band) = BAND_EDGES_HZ
                    .windows(2)
                    .position(|edge| (edge[0]..edge[1]).contains(&hz))
                {
                    energies[band] += bin.norm_sqr();
                }
            }
            energies
        })
        .collect();
    for band in 0..BANDS {
        let mean = frames.iter().map(|frame| frame[band]).sum::<f64>() / frames.len().max(1) as f64;
        if mean <= 0.0 {
            return Vec::new();
        }
        for frame in &mut frames {
            let over_floor = frame[band] / (mean * 10f64.powf(FLOOR_DB / 10.0));
            frame[band] = 10.0 * (1.0 + over_floor).log10();
        }
    }
    frames
}
