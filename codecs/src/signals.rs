//! Test signals and yardsticks that the modules' tests share.

use crate::SampleRate;
use std::f64::consts::TAU;

/// `samples` of a sine of `frequency_hz`.
pub fn tone(rate: SampleRate, frequency_hz: f64, amplitude: f64, samples: usize) -> Vec<i16> {
    (0..samples)
        .map(|n| {
            (amplitude * (TAU * frequency_hz * n as f64 / f64::from(rate.hz())).sin()).round()
                as i16
        })
        .collect()
}

/// Something like a voiced vowel: harmonics of `pitch_hz` with formants near 500 and 1500 Hz and a slow tremolo.
pub fn vowel(rate: SampleRate, pitch_hz: f64, samples: usize) -> Vec<i16> {
    let formant = |hz: f64, centre_hz: f64| 1.0 / (1.0 + ((hz - centre_hz) / 200.0).powi(2));
    let harmonics: Vec<(f64, f64)> = (1..)
        .map(|k| f64::from(k) * pitch_hz)
        .take_while(|&hz| hz < 3_400.0)
        .map(|hz| (hz, formant(hz, 500.0) + 0.4 * formant(hz, 1_500.0) + 0.02))
        .collect();
    (0..samples)
        .map(|n| {
            let t = n as f64 / f64::from(rate.hz());
            let tremolo = 1.0 + 0.3 * (TAU * 4.0 * t).sin();
            let sum: f64 = harmonics
                .iter()
                .map(|&(hz, gain)| gain * (TAU * hz * t).sin())
                .sum();
            (4_000.0 * tremolo * sum).clamp(-32_000.0, 32_000.0) as i16
        })
        .collect()
}

/// White noise from a fixed seed.
pub fn noise(amplitude: i32, samples: usize) -> Vec<i16> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    (0..samples)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            ((state >> 33) as i32 % (2 * amplitude + 1) - amplitude) as i16
        })
        .collect()
}

/// Signal-to-noise ratio of `actual` against `expected`, sample by sample, in dB.
pub fn snr_db(expected: &[i16], actual: &[i16]) -> f64 {
    assert_eq!(expected.len(), actual.len());
    let signal: f64 = expected.iter().map(|&x| f64::from(x).powi(2)).sum();
    let error: f64 = expected
        .iter()
        .zip(actual)
        .map(|(&x, &y)| (f64::from(x) - f64::from(y)).powi(2))
        .sum();
    10.0 * (signal / error.max(1.0)).log10()
}

/// Amplitude and SNR (dB) of the sine of `frequency_hz` in `pcm`, by least squares: whatever is not that sine is noise,
/// so delay and gain do not count.
pub fn sine_fit(rate: SampleRate, frequency_hz: f64, pcm: &[i16]) -> (f64, f64) {
    let (sine, cosine, fitted) = least_squares(rate, frequency_hz, pcm);
    let energy: f64 = pcm.iter().map(|&sample| f64::from(sample).powi(2)).sum();
    let snr_db = 10.0 * (fitted / (energy - fitted).max(1e-9)).log10();
    (sine.hypot(cosine), snr_db)
}

/// Phase of the sine of `frequency_hz` at the first sample of `pcm`, in radians, by least squares.
pub fn sine_phase(rate: SampleRate, frequency_hz: f64, pcm: &[i16]) -> f64 {
    let (sine, cosine, _) = least_squares(rate, frequency_hz, pcm);
    cosine.atan2(sine)
}

/// Amplitudes of sine and cosine of `frequency_hz` that come nearest to `pcm`, and the energy that they make up.
fn least_squares(rate: SampleRate, frequency_hz: f64, pcm: &[i16]) -> (f64, f64, f64) {
    let (mut ss, mut sc, mut cc, mut ys, mut yc) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for (n, &sample) in pcm.iter().enumerate() {
        let (sin, cos) = (TAU * frequency_hz * n as f64 / f64::from(rate.hz())).sin_cos();
        let y = f64::from(sample);
        ss += sin * sin;
        sc += sin * cos;
        cc += cos * cos;
        ys += y * sin;
        yc += y * cos;
    }
    let determinant = ss * cc - sc * sc;
    let sine = (ys * cc - yc * sc) / determinant;
    let cosine = (yc * ss - ys * sc) / determinant;
    (sine, cosine, sine * ys + cosine * yc)
}

/// Shift of `delayed` behind `reference` (0..`max_delay` samples) with the highest normalised correlation, and that
/// correlation.
pub fn best_delay(reference: &[i16], delayed: &[i16], max_delay: usize) -> (usize, f64) {
    (0..max_delay)
        .map(|delay| {
            let (mut xy, mut xx, mut yy) = (0.0, 0.0, 0.0);
            for (&x, &y) in reference.iter().zip(&delayed[delay..]) {
                let (x, y) = (f64::from(x), f64::from(y));
                xy += x * y;
                xx += x * x;
                yy += y * y;
            }
            (delay, xy / (xx * yy).sqrt().max(1.0))
        })
        .fold((0, -1.0), |best, candidate| {
            if candidate.1 > best.1 {
                candidate
            } else {
                best
            }
        })
}
