//! Whole-signal operations in the frequency domain: band-limiting with resampling, and cross-correlation.

use realfft::RealFftPlanner;
use realfft::num_complex::Complex;

use crate::audio::Audio;

/// `audio` with everything below `low_hz` and above `high_hz` removed, at `to_rate_hz`. Linear phase, zero delay, in units of
/// 16-bit samples. The edges fall off over 20 Hz below and 60 Hz above, so that a passband edge does not ring.
///
/// Both rates may be anything; the output has `len * to_rate_hz / sample_rate_hz` samples, rounded up.
pub fn band_limited(audio: &Audio, low_hz: f64, high_hz: f64, to_rate_hz: u32) -> Vec<f64> {
    let from_rate = audio.sample_rate_hz.max(1) as usize;
    let to_rate = to_rate_hz.max(1) as usize;
    let divisor = greatest_common_divisor(from_rate, to_rate);
    // Both transforms must span the same time: whole multiples of the rates' common period, with 50 ms of padding so that
    // the circular convolution does not wrap speech onto speech.
    let period_in = from_rate / divisor;
    let period_out = to_rate / divisor;
    let padded = audio.samples.len() + from_rate / 20;
    // The real transforms want even lengths.
    let periods = padded.div_ceil(period_in).next_multiple_of(2);
    let (len_in, len_out) = (periods * period_in, periods * period_out);

    let mut planner = RealFftPlanner::<f64>::new();
    let forward = planner.plan_fft_forward(len_in);
    let inverse = planner.plan_fft_inverse(len_out);
    let mut time = forward.make_input_vec();
    for (slot, sample) in time.iter_mut().zip(&audio.samples) {
        *slot = f64::from(*sample);
    }
    let mut bins = forward.make_output_vec();
    transform(forward.process(&mut time, &mut bins));

    let hz_per_bin = from_rate as f64 / len_in as f64;
    let mut kept = inverse.make_input_vec();
    let top = bins.len().min(kept.len()) - 1;
    for (index, (slot, bin)) in kept.iter_mut().zip(&bins).enumerate().take(top) {
        let hz = index as f64 * hz_per_bin;
        let low_edge = if low_hz > 0.0 {
            ((hz - low_hz) / 20.0 + 1.0).clamp(0.0, 1.0)
        } else {
            1.0
        };
        let high_edge = ((high_hz - hz) / 60.0 + 1.0).clamp(0.0, 1.0);
        *slot = bin * (low_edge * high_edge / len_in as f64);
    }
    if let Some(direct) = kept.first_mut() {
        direct.im = 0.0;
    }
    let mut output = inverse.make_output_vec();
    transform(inverse.process(&mut kept, &mut output));
    output.truncate((audio.samples.len() * period_out).div_ceil(period_in));
    output
}

/// The cross-correlation of `pattern` with `signal`: element `lag + pattern.len() - 1` is the sum over n of
/// `pattern[n] * signal[n + lag]`, for every lag at which the two overlap.
pub fn cross_correlation(pattern: &[f64], signal: &[f64]) -> Vec<f64> {
    if pattern.is_empty() || signal.is_empty() {
        return Vec::new();
    }
    let lags = pattern.len() + signal.len() - 1;
    let len = lags.next_power_of_two().max(2);
    let mut planner = RealFftPlanner::<f64>::new();
    let forward = planner.plan_fft_forward(len);
    let inverse = planner.plan_fft_inverse(len);
    let spectrum_of = |samples: &[f64]| {
        let mut time = forward.make_input_vec();
        for (slot, sample) in time.iter_mut().zip(samples) {
            *slot = *sample;
        }
        let mut bins = forward.make_output_vec();
        transform(forward.process(&mut time, &mut bins));
        bins
    };
    let pattern_bins = spectrum_of(pattern);
    let mut product: Vec<Complex<f64>> = spectrum_of(signal)
        .iter()
        .zip(&pattern_bins)
        .map(|(signal, pattern)| signal * pattern.conj() / len as f64)
        .collect();
    let mut circular = inverse.make_output_vec();
    transform(inverse.process(&mut product, &mut circular));
    // Negative lags stand at the end of the circular result.
    let negative = pattern.len() - 1;
    let mut linear = Vec::with_capacity(lags);
    linear.extend_from_slice(&circular[len - negative..]);
    linear.extend_from_slice(&circular[..signal.len()]);
    linear
}

/// The transforms fail only for buffers of the wrong length or a spectrum whose first bin is not real; every buffer here
/// comes from the plan itself.
fn transform(result: Result<(), realfft::FftError>) {
    debug_assert!(result.is_ok(), "{result:?}");
}

fn greatest_common_divisor(a: usize, b: usize) -> usize {
    if b == 0 {
        a
    } else {
        greatest_common_divisor(b, a % b)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(rate_hz: u32, hz: f64, len: usize) -> Audio {
        let samples = (0..len)
            .map(|n| {
                (8000.0 * (std::f64::consts::TAU * hz * n as f64 / f64::from(rate_hz)).sin()) as i16
            })
            .collect();
        Audio {
            sample_rate_hz: rate_hz,
            samples,
        }
    }

    #[test]
    fn a_tone_keeps_its_phase_through_a_change_of_rate() {
        for rate in [8_000, 16_000, 44_100, 48_000] {
            let output = band_limited(&tone(rate, 1000.0, rate as usize), 100.0, 3400.0, 8_000);
            assert_eq!(output.len(), 8_000);
            for (n, sample) in output.iter().enumerate().take(7_500).skip(500) {
                let ideal = 8000.0 * (std::f64::consts::TAU * 1000.0 * n as f64 / 8_000.0).sin();
                assert!(
                    (sample - ideal).abs() < 60.0,
                    "{rate} Hz, sample {n}: {sample} for {ideal}"
                );
            }
        }
    }

    #[test]
    fn what_is_out_of_band_is_gone() {
        for hz in [50.0, 3800.0, 6000.0] {
            let output = band_limited(&tone(16_000, hz, 16_000), 100.0, 3400.0, 8_000);
            let loudest = output[800..7_200]
                .iter()
                .fold(0.0f64, |max, sample| max.max(sample.abs()));
            assert!(loudest < 8.0, "{hz} Hz leaves {loudest}");
        }
    }

    #[test]
    fn correlation_peaks_at_the_lag() {
        let pattern = [1.0, -2.0, 3.0];
        let signal = [0.0, 0.0, 0.0, 1.0, -2.0, 3.0, 0.0];
        let correlation = cross_correlation(&pattern, &signal);
        assert_eq!(correlation.len(), 9);
        let peak = correlation
            .iter()
            .enumerate()
            .max_by(|a, b| a.1.total_cmp(b.1))
            .map(|(index, _)| index);
        assert_eq!(peak, Some(3 + 2));
        assert!((correlation[5] - 14.0).abs() < 1e-9);
    }
}
